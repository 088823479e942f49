"""System calls as text: `openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC)`.

The module of each call gives the kind of each of its arguments (`rsyscall.handle.arguments`). For each kind
there is a function here, or in `rsyscall.trace_structs`, that turns the number in the register into text. It
may look at the memory at that address, at other arguments, and, if the call fills the memory, at the result.
A call that is not described is shown with numbers.

The kernel reads the memory for us, so that a wrong address is shown as a number instead of killing the
program.
"""

from __future__ import annotations

import enum
import os
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Protocol, TypeAlias, TypeVar

from rsyscall.fcntl import AT
from rsyscall.handle.arguments import Enumeration, Kind, Memory, kinds_of
from rsyscall.native import syscall
from rsyscall.near import nr
from rsyscall.near.abi import ABI, native_abi

__all__ = ["SHOWN", "Frame", "ProcessMemory", "OwnMemory", "quote", "shows"]

STRING_LIMIT = 64
"""How many bytes of a buffer, or of an argument of a program, are shown. Paths are shown whole."""
LIST_LIMIT = 16
"""How many elements of an array are shown."""
PATH_MAX = 4096
READ_LIMIT = 256 * 1024
"""Longer ones are cut off."""
WORD = 2**64 - 1


# ---------------------------------------------------------------------------------------------- memory


class ProcessMemory(Protocol):
    """The memory of a process, for reading only."""

    def read(self, address: int, length: int) -> bytes:
        """As many of the bytes there as can be read, beginning with the first; perhaps none."""
        ...


class OwnMemory:
    """The memory of our own process, and so of every process that shares it.

    manpage: process_vm_readv(2)
    """

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")

    def read(self, address: int, length: int) -> bytes:
        """Read page by page: the kernel may refuse a whole range for the sake of its last byte."""
        found = b""
        while len(found) < length:
            start = (address + len(found)) & WORD
            size = min(length - len(found), self._page - start % self._page)
            buffer = array("B", bytes(size))
            vectors = array("Q", [buffer.buffer_info()[0], size, start, size])
            local, _ = vectors.buffer_info()
            count = syscall(nr.process_vm_readv, os.getpid(), local, 1, local + 16, 1, 0)
            if count <= 0:
                break
            found += buffer.tobytes()[:count]
            if count < size:
                break
        return found


# ---------------------------------------------------------------------------------------------- a call


class Frame:
    """One call: what the functions that show arguments look at.

    Args:
        name: of the call. If it is not described, its arguments are shown as numbers.
        args: the six registers.
        abi: of the process that makes it.
        memory: of that process; None if it cannot be read.
    """

    __slots__ = ("abi", "args", "kinds", "memory", "name", "result")

    def __init__(
        self,
        name: str,
        args: Sequence[int],
        abi: ABI | None = None,
        memory: ProcessMemory | None = None,
    ) -> None:
        self.name: str = name
        self.args: list[int] = [arg & WORD for arg in args]
        self.abi: ABI = native_abi() if abi is None else abi
        self.memory: ProcessMemory | None = memory
        self.kinds: list[Kind] | None = kinds_of(name, self.args)
        self.result: int | None = None

    def before(self) -> list[str | None]:
        """The arguments as text, before the call is made; None for those that the call will fill in."""
        if self.kinds is None:
            args = list(self.args)
            while args and args[-1] == 0:
                args.pop()
            return [number(arg) for arg in args]
        return [
            None if kind.after else self._show(kind, arg)
            for kind, arg in zip(self.kinds, self.args, strict=False)
        ]

    def after(self, parts: Sequence[str | None], result: int | None) -> list[str]:
        """The arguments as text, now that the call has returned; `result` is None if it has not."""
        self.result = result
        shown = []
        for index, part in enumerate(parts):
            if part is None:
                assert self.kinds is not None
                kind, arg = self.kinds[index], self.args[index]
                succeeded = result is not None and not -4096 < result < 0
                # What the call reads, too, is there in any case.
                known = succeeded or (isinstance(kind, Memory) and kind.changed)
                part = self._show(kind, arg) if known else address(arg)
            shown.append(part)
        return shown

    def text(self, parts: Sequence[str], start: int = 0) -> str:
        """Arguments from that index on, without those at the end that are left out."""
        end = len(parts)
        while end > start and not parts[end - 1]:
            end -= 1
        kinds: Sequence[Kind] = self.kinds or ()
        return ", ".join(
            part or "0"
            for index, part in enumerate(parts[start:end], start)
            if part or index >= len(kinds) or kinds[index].name != "nothing"
        )

    def _show(self, kind: Kind, arg: int) -> str:
        try:
            return SHOWN[kind.name](self, kind, arg)
        except Exception:
            # What is in memory is not what it should be, and showing it must not disturb the call.
            return number(arg)

    def read(self, address: int, length: int) -> bytes | None:
        """That many bytes, or None if they are not all there."""
        if self.memory is None or not address or length > READ_LIMIT:
            return None
        data = self.memory.read(address, length)
        return data if len(data) == length else None

    def read_string(self, address: int, limit: int) -> tuple[bytes, bool] | None:
        """The bytes up to a NUL, and whether that was found within `limit`; None if the address is bad."""
        if self.memory is None or not address:
            return None
        data = self.memory.read(address, limit + 1)
        string, nul, _ = data.partition(b"\0")
        if nul:
            return string, True
        return (string[:limit], False) if data else None

    def words(self, address: int, count: int) -> tuple[int, ...] | None:
        """That many numbers of 64 bits."""
        data = self.read(address, 8 * count)
        return None if data is None else struct.unpack(f"={count}Q", data)


Show: TypeAlias = Callable[[Frame, Kind, int], str]
T_show = TypeVar("T_show", bound=Show)

SHOWN: dict[str, Show] = {}
"""The functions that show arguments, by the name of their kind. An empty text, at the end of the arguments,
is left out.
"""


def shows(name: str) -> Callable[[T_show], T_show]:
    """The function shows arguments of this kind."""

    def add(function: T_show) -> T_show:
        SHOWN[name] = function
        return function

    return add


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def number(value: int) -> str:
    """A number of unknown meaning."""
    as_int = signed(value)
    return str(as_int) if -(2**31) <= as_int < 2**31 else f"{value:#x}"


_ESCAPES = {ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r", ord('"'): '\\"', ord("\\"): "\\\\"}


def quote(data: bytes, whole: bool = True, limit: int = STRING_LIMIT) -> str:
    """As a string in C, cut to `limit` bytes; dots behind it mean that there is more."""
    shown = "".join(
        _ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in data[:limit]
    )
    return f'"{shown}"' if whole and len(data) <= limit else f'"{shown}"...'


# ---------------------------------------------------------------------------------------------- numbers


def address(arg: int) -> str:
    """An address of which the contents are not shown."""
    return f"{arg:#x}" if arg else "NULL"


def as_int(frame: Frame, kind: Kind, arg: int) -> str:
    return str(signed(arg, 32))


SHOWN.update(
    {
        "int": as_int,
        "fd": as_int,
        "pid": as_int,
        "long": lambda frame, kind, arg: str(signed(arg)),
        "unsigned": lambda frame, kind, arg: str(arg),
        "mode": lambda frame, kind, arg: f"0{arg & 0xFFFF:o}" if arg else "0",
        "hex": lambda frame, kind, arg: f"{arg:#x}" if arg else "0",
        "dirfd": lambda frame, kind, arg: "AT_FDCWD" if signed(arg, 32) == AT.FDCWD else str(signed(arg, 32)),
        "number": lambda frame, kind, arg: number(arg) if arg else "",
        "nothing": lambda frame, kind, arg: "",
        "buffer": lambda frame, kind, arg: number(arg) if arg else "",
        "address": lambda frame, kind, arg: address(arg),
        "address_if_any": lambda frame, kind, arg: address(arg) if arg else "",
    }
)


@cache
def members(cls: type[enum.IntEnum] | type[enum.IntFlag]) -> tuple[tuple[int, str], ...]:
    """The names of an enumeration, those with the most bits first; of several for one value the first."""
    found: dict[int, str] = {}
    for name, member in cls.__members__.items():
        found.setdefault(int(member), name)
    return tuple(sorted(found.items(), key=lambda item: -bin(item[0]).count("1")))


def flag_names(
    value: int,
    cls: type[enum.IntEnum] | type[enum.IntFlag],
    prefix: str,
    only: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> list[str]:
    names = []
    found = {int(cls[name]): name for name in only}.items() if only else members(cls)
    for bits, name in found:
        if bits > 0 and value & bits == bits:
            names.append((renamed or {}).get(name, prefix + name))
            value &= ~bits
    if value:
        names.append(f"{value:#x}")
    return names


@shows("flags")
def show_flags(frame: Frame, kind: Kind, arg: int) -> str:
    assert isinstance(kind, Enumeration)
    return "|".join(flag_names(arg & 0xFFFFFFFF, kind.cls, kind.prefix, kind.only, kind.renamed)) or kind.zero


def name_of(
    cls: type[enum.IntEnum] | type[enum.IntFlag],
    prefix: str,
    value: int,
    renamed: Mapping[str, str] | None = None,
) -> str:
    name = dict(members(cls)).get(value)
    return number(value) if name is None else (renamed or {}).get(name, prefix + name)


@shows("choice")
def show_choice(frame: Frame, kind: Kind, arg: int) -> str:
    assert isinstance(kind, Enumeration)
    return name_of(kind.cls, kind.prefix, signed(arg, 32), kind.renamed)
