"""Every constant and every structure of the header modules, compared with what a C compiler says.

The tables in `abi_probe` say what is called what in C; structures that are declared field by field say it
themselves. Whatever neither covers fails here, so a new constant or structure comes with its line there.
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import functools
import importlib
from typing import Any, cast

import pytest

from rsyscall.cstruct import CStruct, u32
from rsyscall.near.abi import ABIS, native_abi
from rsyscall.struct import FixedSize
from rsyscall.sys import socket, uio

from .abi_probe import compiler, constants, discover, layouts
from .abi_probe.compiler import evaluate, macros
from .abi_probe.constants import Constants
from .abi_probe.layouts import Field, Layout
from .support import make_task

pytestmark = pytest.mark.slow

ENUMS = {cls: constants.constants_of(cls) for cls in discover.enums()}
DECLARED = [cls for cls in discover.structures() if issubclass(cls, CStruct)]

architectures = pytest.mark.parametrize("architecture", compiler.ARCHITECTURES)


def need_compiler(architecture: str) -> None:
    if compiler.compiler(architecture) is None:
        pytest.skip(f"package: no C compiler for {architecture} is installed")


@functools.cache
def linux_version(architecture: str) -> tuple[int, int]:
    """The version of the kernel headers."""
    code, _ = evaluate(architecture, ("linux/version.h",), ("LINUX_VERSION_CODE",))["LINUX_VERSION_CODE"]
    return code >> 16, code >> 8 & 0xFF


# the tables are complete


def test_every_number_is_in_the_table() -> None:
    assert {
        name for name in discover.constants() if name.rpartition(".")[0] not in constants.NUMBERS
    } == set()


def test_every_structure_is_in_the_table() -> None:
    missing = set(discover.structures()) - set(layouts.LAYOUTS) - set(layouts.NOT_ONE_STRUCTURE) - {*DECLARED}
    assert {cls.__qualname__ for cls in missing} == set()


def test_the_tables_have_nothing_else() -> None:
    assert set(constants.ENUMS) <= set(discover.enums())
    assert set(constants.NUMBERS) <= {name.rpartition(".")[0] for name in discover.constants()}
    by_hand = set(discover.structures()) - {*DECLARED}
    assert (set(layouts.LAYOUTS) | set(layouts.NOT_ONE_STRUCTURE)) <= by_hand
    assert {*layouts.BEGINNINGS, *layouts.OTHER_SIGNS, *layouts.ONLY_ON} <= {*DECLARED}
    for cls, table in ENUMS.items():
        named = {*table.names, *table.no_header, *table.newer, *table.only_on}
        assert named <= set(cls.__members__), cls


@pytest.mark.parametrize("cls", layouts.LAYOUTS, ids=lambda cls: cls.__name__)
def test_every_field_is_in_the_table(cls: type) -> None:
    if dataclasses.is_dataclass(cls) and cls not in (socket.SendMsghdr, socket.RecvMsghdr):
        layout = layouts.LAYOUTS[cls]
        covered = {field.name for field in layout.fields} | set(layout.derived)
        assert {field.name for field in dataclasses.fields(cls)} == covered


# constants


def compare(architecture: str, table: Constants, members: dict[str, int]) -> list[str]:
    """What is wrong with the members, in words."""
    need_compiler(architecture)
    abi = ABIS[architecture]
    expressions = tuple(map(table.expression, members))
    known = evaluate(architecture, table.headers, expressions)
    for header in table.also:
        missing = tuple(e for e in expressions if e not in known)
        if missing:
            known = known | evaluate(architecture, _types_for(header), missing)
    problems = []
    for name, value in members.items():
        expression = table.expression(name)
        if expression in known:
            actual, size = known[expression]
            # An int with the highest bit set is negative in C and not here, or the other way round.
            if (actual - table.encode(abi, value)) % (1 << 8 * size):
                problems.append(f"{name} = {value:#x}, but {expression} is {actual:#x}")
        elif not is_excused(architecture, table, name, value):
            problems.append(f"{name}: {expression} is not in {', '.join(table.headers)}")
    return problems


def is_excused(architecture: str, table: Constants, name: str, value: int) -> bool:
    """Whether there is a reason for a constant not to be in the headers."""
    if name == "NONE" and value == 0:
        return True  # no flag at all
    if architecture not in table.only_on.get(name, (architecture,)):
        return True
    return linux_version(architecture) < table.newer.get(name, (0, 0)) or name in table.no_header


def _types_for(header: str) -> tuple[str, ...]:
    """A header with what it needs before it."""
    return ("#include <linux/types.h>", header) if header.startswith("asm/") else (header,)


def left_out(architecture: str, table: Constants) -> list[str]:
    """The macros that have the prefix of a family and are not in it."""
    need_compiler(architecture)
    found = set(macros(architecture, table.headers))
    for header in table.also:
        found |= macros(architecture, _types_for(header))
    return sorted(
        name
        for name in found
        if name.startswith(table.prefix)
        and name not in names_in_c()
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in table.left_out)
    )


@functools.cache
def names_in_c() -> frozenset[str]:
    """What everything is called that there is, in whatever enumeration."""
    names = set()
    for cls, table in ENUMS.items():
        for name in cls.__members__:
            names |= {table.expression(name), table.prefix + name}
    for qualified in discover.constants():
        module, _, name = qualified.rpartition(".")
        names.add(constants.NUMBERS[module].expression(name))
    return frozenset(names)


@architectures
@pytest.mark.parametrize("cls", [cls for cls, t in ENUMS.items() if t.prefix], ids=lambda c: c.__name__)
def test_nothing_is_left_out(cls: type[enum.Enum], architecture: str) -> None:
    """Every macro of the family is a member, or there is a reason."""
    need_compiler(architecture)
    if linux_version(architecture) > constants.CHECKED_WITH:
        pytest.skip("kernel: its headers are newer than the tables")
    assert left_out(architecture, ENUMS[cls]) == []


def test_reasons_are_for_what_is_left_out() -> None:
    wrong = {
        f"{cls.__name__} {pattern}": member
        for cls, table in ENUMS.items()
        for pattern in table.left_out
        if pattern != "*"
        for member in fnmatch.filter(map(table.expression, cls.__members__), pattern)
    }
    assert wrong == {}


@architectures
@pytest.mark.parametrize("cls", ENUMS, ids=lambda cls: cls.__name__)
def test_enumeration(cls: type[enum.Enum], architecture: str) -> None:
    members = {name: int(member.value) for name, member in cls.__members__.items()}
    assert compare(architecture, ENUMS[cls], members) == []


@architectures
@pytest.mark.parametrize("module", constants.NUMBERS)
def test_numbers(module: str, architecture: str) -> None:
    names = [name.rpartition(".")[2] for name in discover.constants() if name.rpartition(".")[0] == module]
    members = {name: getattr(importlib.import_module(module), name) for name in names}
    assert compare(architecture, constants.NUMBERS[module], members) == []


# structures


@architectures
@pytest.mark.parametrize("cls", DECLARED, ids=lambda cls: cls.__name__)
def test_declared_structure(cls: type[CStruct], architecture: str) -> None:
    assert differences(cls, architecture) == []


def differences(cls: type[CStruct], architecture: str) -> list[str]:
    """Where the declaration is not what the compiler says, in words."""
    if layouts.ONLY_ON.get(cls, architecture) != architecture:
        return []
    need_compiler(architecture)
    layout = cls.layout(ABIS[architecture])
    fields = {field.member: field.name for field in cls.c_fields()}
    versions = discover.versions(cls)
    newer = {name for name, since in versions.items() if linux_version(architecture) < since}
    if newer.issuperset(fields.values()):
        return []  # all of it
    size_of = {m: f"sizeof((({cls.c_type} *)0)->{m.name})" for m in layout.members}
    offset_of = {m: f"__builtin_offsetof({cls.c_type}, {m.name})" for m in layout.members}
    numbers = [m for m in layout.members if not m.code.endswith("s")]
    signed = ", ".join(f"{c_type}: 1" for c_type in ("signed char", "short", "int", "long", "long long"))
    sign_of = {m: f"_Generic((({cls.c_type} *)0)->{m.name}, {signed}, default: 0)" for m in numbers}
    whole = f"sizeof({cls.c_type})"
    expressions = (whole, *size_of.values(), *offset_of.values(), *sign_of.values())
    known = {name: value for name, (value, _) in evaluate(architecture, cls.c_headers, expressions).items()}

    found = []
    grown = [m.offset for m in layout.members if fields.get(m.name.partition(".")[0]) in newer]
    if (
        layout.size != known[whole]
        and not (cls in layouts.BEGINNINGS and layout.size < known[whole])
        and known[whole] not in grown
    ):
        found.append(f"{layout.size} bytes instead of {known[whole]}")
    if architecture == NATIVE and cls.sizeof() < layout.size:
        found.append(f"room for {cls.sizeof()} bytes, {layout.size} are needed")
    for m in layout.members:
        if offset_of[m] not in known:
            if fields.get(m.name, fields.get(m.name.partition(".")[0])) not in newer:
                found.append(f"{m.name} is not in {', '.join(cls.c_headers)}")
            continue
        there = known[offset_of[m]], known[size_of[m]]
        if (m.offset, m.size) != there:
            found.append(f"{m.name} is (offset, size) {there}, not {(m.offset, m.size)}")
        is_signed = known[sign_of[m]] if m in sign_of else m.code.islower()
        if is_signed != m.code.islower() and m.name not in layouts.OTHER_SIGNS.get(cls, ()):
            found.append(f"{m.name} is {'signed' if is_signed else 'unsigned'}")
    return found


def fields_of(layout: Layout, architecture: str) -> list[Field]:
    return [f for f in layout.fields if f.only_on is None or architecture in f.only_on]


@architectures
@pytest.mark.parametrize("cls", layouts.LAYOUTS, ids=lambda cls: cls.__name__)
def test_structure(cls: type, architecture: str) -> None:
    need_compiler(architecture)
    layout = layouts.LAYOUTS[cls]
    fields = fields_of(layout, architecture)
    size_of = {f: f"sizeof((({layout.c_type} *)0)->{f.member})" for f in fields}
    offset_of = {f: f"__builtin_offsetof({layout.c_type}, {f.member})" for f in fields}
    whole = f"sizeof({layout.c_type})"
    known = evaluate(architecture, layout.headers, (whole, *size_of.values(), *offset_of.values()))

    task = make_task()
    task.sysif = type("Foreign", (type(task.sysif),), {"abi": ABIS[architecture]})()
    native = native_abi().name == architecture
    # A few are not FixedSerializers but write themselves.
    serializer: Any = cast(Any, cls).get_serializer(task) if hasattr(cls, "get_serializer") else cls
    build = layout.build or cls

    base: bytes = serializer.to_bytes(build(**layout.base))
    c_size = known[whole][0]
    if layout.variable:
        assert len(base) <= c_size
    elif layout.room:
        assert len(base) >= c_size
    else:
        assert len(base) == c_size
    if issubclass(cls, FixedSize) and native:
        assert cls.sizeof() >= c_size if layout.room else cls.sizeof() == c_size

    for field in fields:
        size, offset = known[size_of[field]][0], known[offset_of[field]][0]
        exact = field.value is None
        value = field.convert(int.from_bytes(b"\1" * size, "little")) if exact else field.value
        data: bytes = serializer.to_bytes(build(**{**layout.base, field.name: value}))
        length = max(len(data), len(base))
        changed = [
            i for i, (a, b) in enumerate(zip(base.ljust(length), data.ljust(length), strict=True)) if a != b
        ]
        assert changed[0] == offset, field
        if exact:
            assert changed == list(range(offset, offset + size)), field
        else:
            assert changed[-1] < offset + size, field
        if field.reads_back:
            assert getattr(serializer.from_bytes(data), field.name) == value, field


# the probe itself


NATIVE = native_abi().name
EVENTFD = Constants(("sys/eventfd.h",), "EFD_")


def test_a_wrong_value_is_noticed() -> None:
    assert compare(NATIVE, EVENTFD, {"SEMAPHORE": 1, "CLOEXEC": 0x80000}) == []
    [problem] = compare(NATIVE, EVENTFD, {"SEMAPHORE": 1, "CLOEXEC": 0x80001})
    assert "EFD_CLOEXEC is 0x80000" in problem


def test_a_macro_that_is_left_out_is_noticed() -> None:
    family = Constants(("sys/socket.h",), "SO_", also=("linux/errqueue.h",))
    assert "SO_EE_RFC4884_FLAG_INVALID" in left_out(NATIVE, family)
    assert "SO_TYPE" not in left_out(NATIVE, family)
    excused = dataclasses.replace(family, left_out={"SO_EE_*": "a reason"})
    assert left_out(NATIVE, excused) == []


def test_a_name_that_no_header_has_is_noticed() -> None:
    [problem] = compare(NATIVE, EVENTFD, {"SEMAPHORE": 1, "NO_SUCH_FLAG": 2, "NONE": 0})
    assert "EFD_NO_SUCH_FLAG" in problem


@pytest.mark.parametrize(
    ("excuse", "holds"),
    [
        ({"no_header": {"X": "a reason"}}, True),
        ({"newer": {"X": (99, 0)}}, True),
        ({"newer": {"X": (2, 6)}}, False),
        ({"only_on": {"X": ("vax",)}}, True),
        ({"only_on": {"X": (NATIVE,)}}, False),
    ],
)
def test_excuses(excuse: dict[str, Any], holds: bool) -> None:
    table = dataclasses.replace(EVENTFD, **excuse)
    assert (compare(NATIVE, table, {"X": 5}) == []) is holds


def test_an_excuse_does_not_cover_a_wrong_value() -> None:
    table = dataclasses.replace(EVENTFD, no_header={"CLOEXEC": "it is there"}, newer={"CLOEXEC": (99, 0)})
    assert compare(NATIVE, table, {"CLOEXEC": 5}) != []


class WrongOrder(CStruct, c="struct ucred", headers=("sys/socket.h",)):
    """The right size, but two members the wrong way round, and one with the wrong sign."""

    uid: int = u32("uid")
    pid: int = u32("pid")
    gid: int = u32("gid")


def test_a_wrong_declaration_is_noticed() -> None:
    assert differences(socket.Ucred, NATIVE) == []
    assert differences(WrongOrder, NATIVE) == [
        "uid is (offset, size) (4, 4), not (0, 4)",
        "pid is (offset, size) (0, 4), not (4, 4)",
        "pid is signed",
    ]


class WrongOffset(uio.IovecList):
    """The right size, but the members the wrong way round."""

    def to_bytes(self) -> bytes:
        data = super().to_bytes()
        return data[8:] + data[:8]


def test_a_wrong_offset_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = layouts.LAYOUTS[uio.IovecList]
    wrong = dataclasses.replace(right, build=lambda **fields: WrongOffset(right.build(**fields)))
    monkeypatch.setitem(layouts.LAYOUTS, WrongOffset, wrong)
    with pytest.raises(AssertionError):
        test_structure(WrongOffset, NATIVE)


def test_a_program_that_does_not_compile_is_an_error() -> None:
    with pytest.raises(compiler.ProbeError):
        evaluate(NATIVE, ("no/such/header.h",), ("1",))
