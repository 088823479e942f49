"""The text of arguments that are arrays, sets of numbers, or of a kind that one family of calls has."""

from __future__ import annotations

import struct
from typing import cast

from rsyscall.cstruct import CStruct
from rsyscall.handle.arguments import Enumeration, Kind, Memory
from rsyscall.struct import bits
from rsyscall.trace_decode import (
    LIST_LIMIT,
    STRING_LIMIT,
    Frame,
    address,
    flag_names,
    name_of,
    number,
    quote,
    shows,
)
from rsyscall.trace_values import show_structs

__all__: list[str] = []


def _count(frame: Frame, kind: Kind) -> int:
    """How many elements there are, as an argument says, or the result."""
    assert isinstance(kind, Memory)
    return (frame.result or 0) if kind.length_in is None else frame.args[kind.length_in]


def _list(shown: list[str], more: bool) -> str:
    return f"[{', '.join([*shown, '...'] if more else shown)}]"


@shows("structs")
def show_array(frame: Frame, kind: Kind, arg: int) -> str:
    assert isinstance(kind, Memory)
    if not arg:
        return address(arg)
    return show_structs(frame, arg, cast("type[CStruct]", kind.cls), _count(frame, kind))


def _numbers(frame: Frame, arg: int, code: str, count: int) -> list[int] | None:
    found = frame.read(arg, struct.calcsize(code) * min(count, LIST_LIMIT)) if count else b""
    return None if found is None else [value for (value,) in struct.iter_unpack(f"={code}", found)]


@shows("integers")
def show_integers(frame: Frame, kind: Kind, arg: int) -> str:
    count = _count(frame, kind)
    found = _numbers(frame, arg, "i", count) if arg else None
    return address(arg) if found is None else _list(list(map(str, found)), count > LIST_LIMIT)


@shows("words")
def show_words(frame: Frame, kind: Kind, arg: int) -> str:
    count = _count(frame, kind)
    found = _numbers(frame, arg, "Q", count) if arg else None
    return address(arg) if found is None else _list([f"{value:#x}" for value in found], count > LIST_LIMIT)


# ---------------------------------------------------------------------------------- processors and nodes


def _bits(frame: Frame, arg: int, size: int, separator: str) -> str:
    found = frame.read(arg, size) if arg else None
    if found is None:
        return address(arg)
    return f"[{separator.join(map(str, bits(int.from_bytes(found, 'little'), one_indexed=False)))}]"


@shows("cpu_set")
def show_cpus(frame: Frame, kind: Kind, arg: int) -> str:
    """The processors in a set of as many bytes as the kernel has read or written."""
    return _bits(frame, arg, _count(frame, kind), " ")


@shows("node_mask")
def show_nodes(frame: Frame, kind: Kind, arg: int) -> str:
    """The nodes in a set; the kernel takes one bit less than it is told."""
    return _bits(frame, arg, (max(_count(frame, kind), 1) - 1) // 8, ", ")


# The modules of the enumerations are not imported with this one: few traces need them.


@shows("memory_policy")
def show_policy(frame: Frame, kind: Kind, arg: int) -> str:
    from rsyscall.linux.mempolicy import MPOL, MPOL_F

    only = ("NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES")
    flags = sum(int(MPOL_F[name]) for name in only)
    return "|".join([name_of(MPOL, "MPOL_", arg & ~flags), *flag_names(arg & flags, MPOL_F, "MPOL_F_", only)])


@shows("memory_policy_out")
def show_policy_there(frame: Frame, kind: Kind, arg: int) -> str:
    from rsyscall.linux.mempolicy import MPOL_F

    found = _numbers(frame, arg, "i", 1) if arg else None
    if found is None:
        return address(arg)
    return f"[{found[0] if frame.args[4] & MPOL_F.NODE else show_policy(frame, kind, found[0])}]"


# ---------------------------------------------------------------------------------- objects of System V


@shows("ipc_key")
def show_key(frame: Frame, kind: Kind, arg: int) -> str:
    key = arg & 0xFFFFFFFF
    return f"{key:#x}" if key else "IPC_PRIVATE"


@shows("ipc_flags")
def show_ipc_flags(frame: Frame, kind: Kind, arg: int) -> str:
    """Flags of the kind, those that all objects have, and permissions."""
    from rsyscall.sys.ipc import IPC

    assert isinstance(kind, Enumeration)
    value = arg & 0xFFFFFFFF
    mine = sum(kind.cls[name] for name in kind.only) if kind.only else sum(set(map(int, kind.cls)))
    names = flag_names(value & mine, kind.cls, kind.prefix, kind.only)
    names += flag_names(value & ~mine & ~0o777, IPC, "IPC_")
    if value & 0o777:
        names.append(f"0{value & 0o777:o}")
    return "|".join(names) or "0"


@shows("ipc_message")
def show_ipc_message(frame: Frame, kind: Kind, arg: int) -> str:
    size = _count(frame, kind)
    mtype = _numbers(frame, arg, "q", 1) if arg else None
    text = frame.read(arg + 8, min(size, STRING_LIMIT + 1)) if size else b""
    if mtype is None or text is None:
        return address(arg)
    return f"{{mtype={mtype[0]}, mtext={quote(text)}}}"


# ---------------------------------------------------------------------------------- confinement


@shows("seccomp_action")
def show_seccomp_action(frame: Frame, kind: Kind, arg: int) -> str:
    from rsyscall.linux.seccomp import SECCOMP_RET

    found = _numbers(frame, arg, "I", 1) if arg else None
    return number(arg) if found is None else f"[{name_of(SECCOMP_RET, 'SECCOMP_RET_', found[0])}]"
