"""Values as text, in the way of C and strace: structures as they are declared, sets of flags, signals.

`struct_text` shows any `CStruct` as `{st_mode=S_IFREG|0644, st_size=5, ...}`: the names are those of the
declaration, and the text of a member follows from the type of its value.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from typing import Any, TypeVar

from rsyscall.cstruct import CStruct
from rsyscall.fcntl import F_LCK, Flock
from rsyscall.linux.openat2 import OpenHow
from rsyscall.near.types import Address
from rsyscall.sched import CloneArgs
from rsyscall.signal import SIG, Siginfo, Sigset
from rsyscall.sys.ipc import IPC, IpcPerm
from rsyscall.sys.sem import SEM, Sembuf
from rsyscall.sys.stat import S_IF, TypeMode
from rsyscall.sys.wait import CLD
from rsyscall.trace_decode import LIST_LIMIT, WORD, Frame, address, flag_names, name_of, number, quote

T_struct = TypeVar("T_struct", bound=CStruct)


def signal_name(number: int) -> str:
    return name_of(SIG, "SIG", number) if number else "0"


def signal_set_text(signals: Sigset) -> str:
    """Like strace: of what is nearly full, those that are missing."""
    if len(signals) > 32:
        missing = Sigset.from_int(~signals.to_int() & WORD)
        return f"~[{' '.join(signal_name(int(sig)).removeprefix('SIG') for sig in sorted(missing))}]"
    return f"[{' '.join(signal_name(int(sig)).removeprefix('SIG') for sig in sorted(signals))}]"


def _mode_text(mode: TypeMode) -> str:
    # A kind without a name is called by its number.
    kind = f"0{int(mode.type):o}" if mode.type not in list(S_IF) else f"S_IF{mode.type.name}"
    return f"{'S_IFIFO' if mode.type == S_IF.FIFO else kind}|0{int(mode.mode):o}"


def _siginfo_text(info: Siginfo) -> str:
    """What waitid fills in; nothing, if there was no child."""
    if not info.pid:
        return "{}"
    status = str(info.status) if info.code == CLD.EXITED else signal_name(info.status)
    return (
        f"{{si_signo=SIGCHLD, si_code={name_of(CLD, 'CLD_', info.code)}, si_pid={info.pid}, "
        f"si_uid={info.uid}, si_status={status}}}"
    )


def _octal(value: Any) -> str:
    return f"0{value:o}" if value else "0"


def _operation_flags(value: int) -> str:
    names = flag_names(value & SEM.UNDO, SEM, "SEM_") + flag_names(value & ~SEM.UNDO & 0xFFFF, IPC, "IPC_")
    return "|".join(names) or "0"


# What is not shown as its declaration says.
_TEXTS: dict[type, Callable[[Any], str]] = {
    Sigset: signal_set_text,
    TypeMode: _mode_text,
    Siginfo: _siginfo_text,
    Address: lambda value: address(int(value)),
    type(None): lambda _: "NULL",
    bool: lambda value: str(int(value)),
    str: lambda text: quote(os.fsencode(text)),
    bytes: quote,
    bytearray: lambda data: quote(bytes(data)),
}
_FIELDS: dict[tuple[type[CStruct], str], Callable[[Any], str]] = {
    (OpenHow, "mode"): _octal,
    (IpcPerm, "mode"): _octal,
    (Sembuf, "flg"): _operation_flags,
    (CloneArgs, "exit_signal"): lambda value: signal_name(int(value)),
    (Flock, "type"): lambda lock: f"F_{lock.name}LCK" if isinstance(lock, F_LCK) else number(lock),
}


def value_text(value: object, prefix: str | None = None) -> str:
    """A value as text; `prefix` is the prefix of the names of its enumeration in C, if that is not usual."""
    cls = type(value)
    if prefix is None:
        prefix = f"{cls.__name__}_"
    special = _TEXTS.get(cls)
    if special is not None:
        return special(value)
    if isinstance(value, CStruct):
        return struct_text(value)
    if isinstance(value, enum.IntFlag):
        return "|".join(flag_names(int(value), type(value), prefix)) or "0"
    if isinstance(value, enum.IntEnum):
        return name_of(type(value), prefix, int(value))
    return number(value) if isinstance(value, int) else str(value)


def struct_text(value: CStruct) -> str:
    """A structure: the fields that its class calls `brief`, in that order, or all of them."""
    cls = type(value)
    fields = {field.name: field for field in cls.c_fields()}
    shown = []
    for name in cls.c_brief or fields:
        _, member, prefix = fields[name]
        show = _FIELDS.get((cls, name))
        item = getattr(value, name)
        shown.append(f"{member}={value_text(item, prefix) if show is None else show(item)}")
    if cls.c_brief and len(cls.c_brief) < len(fields):
        shown.append("...")
    return f"{{{', '.join(shown)}}}"


def read_struct(frame: Frame, cls: type[T_struct], start: int, length: int | None = None) -> T_struct | None:
    """The structure there, as the process of the call lays it out; None if it cannot be read.

    Args:
        length: how many bytes there are; the rest is 0, as for the kernel.
    """
    size = cls.layout(frame.abi).size
    data = frame.read(start, size if length is None else min(size, length))
    return None if data is None else cls.serializer_for(frame.abi).from_bytes(data.ljust(size, b"\0"))


def show_struct(frame: Frame, arg: int, cls: type[CStruct], length: int | None = None) -> str:
    """The structure at an address; one that may be shorter or longer, if a length is given."""
    value = read_struct(frame, cls, arg, length)
    return address(arg) if value is None else value_text(value)


def show_structs(frame: Frame, arg: int, cls: type[CStruct], count: int) -> str:
    """An array of structures at an address."""
    size = cls.layout(frame.abi).size
    shown = [show_struct(frame, arg + size * index, cls) for index in range(min(count, LIST_LIMIT))]
    return f"[{', '.join([*shown, '...'] if count > LIST_LIMIT else shown)}]"
