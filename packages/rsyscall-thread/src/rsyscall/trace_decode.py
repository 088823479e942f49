"""System calls as text: `openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC)`.

A table, `rsyscall.trace_calls.CALLS`, says for each call what kind of thing each of its arguments is. A kind
turns the number in the register into text. It may look at the memory that the number points to, at other
arguments, and, if it is about something that the call gives back, at the result. A call that is not in the
table is shown with numbers.

Memory is read by the kernel on our behalf, so that an address that is wrong is shown as a number instead of
being the end of the program.
"""

from __future__ import annotations

import enum
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from rsyscall.fcntl import AT
from rsyscall.native import syscall
from rsyscall.near import nr
from rsyscall.near.abi import ABI, native_abi

__all__ = ["Frame", "Kind", "Memory", "OwnMemory", "choice", "flags", "quote"]

STRING_LIMIT = 64
"""How many bytes of a buffer, or of an argument of a program, are shown. Paths are shown whole."""
LIST_LIMIT = 16
"""How many elements of an array are shown."""
PATH_MAX = 4096
READ_LIMIT = 256 * 1024
"""What is longer is not looked at."""
WORD = 2**64 - 1


# ---------------------------------------------------------------------------------------------- memory


class Memory(Protocol):
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
    """One call: what the kinds look at.

    Args:
        name: of the call.
        args: the six registers.
        kinds: what they are; if that is not known, they are shown as numbers.
        abi: of the process that makes it.
        memory: of that process; None if it cannot be read.
    """

    __slots__ = ("abi", "args", "kinds", "memory", "name", "result")

    def __init__(
        self,
        name: str,
        args: Sequence[int],
        kinds: Sequence[Kind] | None,
        abi: ABI | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.name = name
        self.args = [arg & WORD for arg in args]
        self.abi = native_abi() if abi is None else abi
        self.memory = memory
        self.kinds = kinds
        self.result: int | None = None

    def before(self) -> list[str | None]:
        """The arguments as text, before the call is made; None for those that the call will fill in."""
        if self.kinds is None:
            args = list(self.args)
            while args and args[-1] == 0:
                args.pop()
            return [number(arg) for arg in args]
        return [
            None if kind.is_after(self) else self._show(kind, arg)
            for kind, arg in zip(self.kinds, self.args, strict=False)
        ]

    def after(self, parts: Sequence[str | None], result: int | None) -> list[str]:
        """The arguments as text, now that the call has returned; `result` is None if it has not."""
        self.result = result
        shown = []
        for index, part in enumerate(parts):
            if part is None:
                assert self.kinds is not None
                succeeded = result is not None and not -4096 < result < 0
                part = self._show(self.kinds[index] if succeeded else ADDRESS, self.args[index])
            shown.append(part)
        return shown

    def _show(self, kind: Kind, arg: int) -> str:
        try:
            return kind.show(self, arg)
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


class Kind(NamedTuple):
    """What an argument is. An empty text, at the end of the arguments, is left out."""

    show: Callable[[Frame, int], str]
    after: bool | Callable[[Frame], bool] = False
    """Whether it is about what the call gives back."""

    def is_after(self, frame: Frame) -> bool:
        """Whether this argument of that call is something that the call gives back."""
        return self.after if isinstance(self.after, bool) else self.after(frame)


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def number(value: int) -> str:
    """A number of which we do not know what it is."""
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

DECIMAL = Kind(lambda frame, arg: str(signed(arg)))
INT = Kind(lambda frame, arg: str(signed(arg, 32)))
SIZE = Kind(lambda frame, arg: str(arg))
OCTAL = Kind(lambda frame, arg: f"0{arg & 0xFFFF:o}" if arg else "0")
ADDRESS = Kind(lambda frame, arg: f"{arg:#x}" if arg else "NULL")
DIRFD = Kind(lambda frame, arg: "AT_FDCWD" if signed(arg, 32) == AT.FDCWD else str(signed(arg, 32)))
FDNUM = INT
PID = INT
# Left out if it is 0 and the last.
OPTIONAL = Kind(lambda frame, arg: number(arg) if arg else "")


@cache
def members(cls: type[enum.IntEnum] | type[enum.IntFlag]) -> tuple[tuple[int, str], ...]:
    """The names of an enumeration, those with the most bits first; of several for one value the first."""
    found: dict[int, str] = {}
    for name, member in cls.__members__.items():
        found.setdefault(int(member), name)
    return tuple(sorted(found.items(), key=lambda item: -bin(item[0]).count("1")))


def flag_names(
    value: int,
    cls: type[enum.IntFlag],
    prefix: str,
    only: Sequence[str] = (),
    renamed: dict[str, str] | None = None,
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


def flags(
    cls: type[enum.IntFlag],
    prefix: str,
    only: Sequence[str] = (),
    renamed: dict[str, str] | None = None,
    zero: str = "0",
) -> Kind:
    """Bits of an enumeration; `only` where a bit has several meanings."""
    return Kind(lambda frame, arg: "|".join(flag_names(arg & 0xFFFFFFFF, cls, prefix, only, renamed)) or zero)


def name_of(cls: type[enum.IntEnum] | type[enum.IntFlag], prefix: str, value: int) -> str:
    name = dict(members(cls)).get(value)
    return number(value) if name is None else prefix + name


def choice(cls: type[enum.IntEnum] | type[enum.IntFlag], prefix: str) -> Kind:
    """One member of an enumeration."""
    return Kind(lambda frame, arg: name_of(cls, prefix, signed(arg, 32)))
