"""What arguments of system calls look like that are more than a number: kinds for `rsyscall.trace_calls`."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from rsyscall.fcntl import AT, FD, F, O, decode_open_flags
from rsyscall.linux.dirent import DirentList
from rsyscall.net.if_ import IFF, SIOC, Ifreq
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import IPPROTO
from rsyscall.sched import CLONE, CloneArgs
from rsyscall.signal import Sigaction, Siginfo, Sigset
from rsyscall.sys.epoll import EpollEvent
from rsyscall.sys.ioctl import FIO, TC, TIOC
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import AF, CMSG_ALIGN, MSG, SCM, SO, SOCK, SOL, Cmsghdr, Msghdr, SockaddrStorage
from rsyscall.sys.stat import Stat
from rsyscall.sys.uio import Iovec
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.utsname import Utsname
from rsyscall.sys.wait import W
from rsyscall.time import Itimerspec, Timespec
from rsyscall.trace_decode import (
    ADDRESS,
    LIST_LIMIT,
    PATH_MAX,
    STRING_LIMIT,
    WORD,
    Frame,
    Kind,
    choice,
    flag_names,
    flags,
    members,
    name_of,
    number,
    quote,
    signed,
)
from rsyscall.trace_values import (
    read_struct,
    show_struct,
    show_structs,
    signal_name,
    signal_set_text,
    struct_text,
    structure,
)


def show_open_flags(frame: Frame, arg: int) -> str:
    value = int(decode_open_flags(frame.abi, arg & 0xFFFFFFFF))
    access = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"}[value & 3]
    if value & O.PATH and not value & 3:
        access = ""
    rest = flag_names(value & ~3, O, "O_")
    return "|".join([access, *rest] if access else rest)


def show_if_creating(frame: Frame, arg: int) -> str:
    creating = frame.args[2] & (O.CREAT | (frame.abi.O_TMPFILE & ~frame.abi.O_DIRECTORY))
    return f"0{arg & 0o7777:o}" if creating else ""


def _clone_flags(value: int, mask: int) -> str:
    return "|".join(flag_names(value & ~mask, CLONE, "CLONE_"))


def show_clone(frame: Frame, arg: int) -> str:
    sig = arg & 0x7F
    return "|".join(filter(None, [_clone_flags(arg, 0x7F), signal_name(sig) if sig else ""])) or "0"


def show_socket_type(frame: Frame, arg: int) -> str:
    return "|".join([name_of(SOCK, "SOCK_", arg & 0xF), *flag_names(arg & 0xFFFFFFF0, SOCK, "SOCK_")])


def show_protocol(frame: Frame, arg: int) -> str:
    return name_of(IPPROTO, "IPPROTO_", arg) if arg and frame.args[0] in (AF.INET, AF.INET6) else number(arg)


def show_mmap_flags(frame: Frame, arg: int) -> str:
    kind = {1: "MAP_SHARED", 2: "MAP_PRIVATE", 3: "MAP_SHARED_VALIDATE"}.get(arg & 0xF)
    rest = [] if kind is None else [kind]
    bits = [
        name
        for name, flag in MAP.__members__.items()
        if bin(flag).count("1") == 1 and flag > 8 and flag.name == name
    ]
    return "|".join(rest + flag_names(arg & (~0xF if rest else WORD), MAP, "MAP_", bits)) or "0"


SIGNAL = Kind(lambda frame, arg: signal_name(signed(arg, 32)))
OPEN_FLAGS = Kind(show_open_flags)
CLONE_FLAGS = Kind(lambda frame, arg: _clone_flags(arg, 0) or "0")
WAIT = flags(W, "W", renamed={"ALL": "__WALL", "CLONE": "__WCLONE", "NOTHREAD": "__WNOTHREAD"})
PROT_FLAGS = flags(PROT, "PROT_", zero="PROT_NONE")
MSG_FLAGS = flags(MSG, "MSG_")

# ---------------------------------------------------------------------------------------------- memory


def _string(frame: Frame, arg: int, limit: int = PATH_MAX) -> str:
    found = frame.read_string(arg, limit)
    return ADDRESS.show(frame, arg) if found is None else quote(*found, limit)


def _bytes_at(frame: Frame, address: int, length: int) -> str:
    data = frame.read(address, min(length, STRING_LIMIT + 1))
    return ADDRESS.show(frame, address) if data is None else quote(data)


def counted(length_in: int) -> Kind:
    """Bytes that the call reads; another argument says how many."""
    return Kind(lambda frame, arg: _bytes_at(frame, arg, frame.args[length_in]))


def show_strings(frame: Frame, arg: int) -> str:
    """An array of strings, with NULL at its end."""
    if not arg:
        return "NULL"
    shown: list[str] = []
    for index in range(LIST_LIMIT + 1):
        word = frame.words(arg + 8 * index, 1)
        if word is None:
            return f"{arg:#x}"
        if not word[0]:
            return f"[{', '.join(shown)}]"
        shown.append(_string(frame, word[0], STRING_LIMIT) if index < LIST_LIMIT else "...")
    return f"[{', '.join(shown)}]"


def show_environment(frame: Frame, arg: int) -> str:
    """Nobody wants to see all of it."""
    count = 0
    while arg and count < 10000:
        word = frame.words(arg + 8 * count, 1)
        if word is None:
            return f"{arg:#x}"
        if not word[0]:
            return f"{arg:#x} /* {count} var{'' if count == 1 else 's'} */"
        count += 1
    return ADDRESS.show(frame, arg)


def _int_array(count: int) -> Callable[[Frame, int], str]:
    def show(frame: Frame, arg: int) -> str:
        data = frame.read(arg, 4 * count)
        if data is None:
            return ADDRESS.show(frame, arg)
        return f"[{', '.join(map(str, struct.unpack(f'={count}i', data)))}]"

    return show


def _signal_set(frame: Frame, arg: int) -> str:
    word = frame.words(arg, 1)
    return ADDRESS.show(frame, arg) if word is None else signal_set_text(Sigset.from_int(word[0]))


def show_sigaction(frame: Frame, arg: int) -> str:
    return show_struct(frame, arg, Sigaction)


def show_siginfo(frame: Frame, arg: int) -> str:
    return show_struct(frame, arg, Siginfo)


def show_clone_args(frame: Frame, arg: int) -> str:
    # Programs for older kernels have a shorter structure.
    length = CloneArgs.sizeof()
    data = frame.read(arg, min(frame.args[1], length))
    if data is None:
        return ADDRESS.show(frame, arg)
    return struct_text(CloneArgs.from_bytes(data.ljust(length, b"\0")))


def show_epoll_event(frame: Frame, arg: int) -> str:
    return show_struct(frame, arg, EpollEvent)


def show_epoll_events(frame: Frame, arg: int) -> str:
    return show_structs(frame, arg, EpollEvent, frame.result or 0)


def show_stat(frame: Frame, arg: int) -> str:
    return show_struct(frame, arg, Stat)


def show_utsname(frame: Frame, arg: int) -> str:
    return show_struct(frame, arg, Utsname)


def show_directory_entries(frame: Frame, arg: int) -> str:
    result = frame.result or 0
    data = frame.read(arg, result) if result else b""
    count = 0 if data is None else len(DirentList.from_bytes(data))
    return f"{arg:#x} /* {count} entr{'y' if count == 1 else 'ies'} */"


# ---------------------------------------------------------------------------------------------- sockets


def _address_text(data: bytes) -> str:
    if len(data) < 2:
        return "{}"
    storage = SockaddrStorage.from_bytes(data)
    name = name_of(AF, "AF_", storage.family)
    try:
        found = storage.parse()
    except ValueError:
        found = storage
    parts = [f"sa_family={name}"]
    if isinstance(found, SockaddrUn):
        if found.path:
            path = f"@{quote(found.path[1:])}" if found.is_abstract() else quote(found.path)
            parts.append(f"sun_path={path}")
    elif isinstance(found, SockaddrIn):
        parts += [f"sin_port=htons({found.port})", f'sin_addr=inet_addr("{found.addr}")']
    elif isinstance(found, SockaddrIn6):
        parts += [f"sin6_port=htons({found.port})", f'sin6_addr="{found.addr}"']
    else:
        parts.append(quote(storage.data))
    return f"{{{', '.join(parts)}}}"


def address(length_in: int) -> Kind:
    """An address that the call reads; another argument says how long it is."""

    def show(frame: Frame, arg: int) -> str:
        data = frame.read(arg, min(frame.args[length_in], 128))
        return ADDRESS.show(frame, arg) if data is None else _address_text(data)

    return Kind(show)


def show_address_out(length_in: int) -> Callable[[Frame, int], str]:
    def show(frame: Frame, arg: int) -> str:
        length = frame.read(frame.args[length_in], 4)
        if length is None:
            return ADDRESS.show(frame, arg)
        data = frame.read(arg, min(struct.unpack("=I", length)[0], 128))
        return ADDRESS.show(frame, arg) if data is None else _address_text(data)

    return show


def _vectors_text(frame: Frame, address: int, count: int, total: int | None = None) -> str:
    """An array of iovecs with what is in the buffers: all of it, or the first `total` bytes."""
    shown = []
    for index in range(min(count, LIST_LIMIT)):
        vector = read_struct(frame, Iovec, address + Iovec.sizeof() * index)
        if vector is None:
            return ADDRESS.show(frame, address)
        filled = vector.len if total is None else min(total, vector.len)
        total = None if total is None else total - filled
        shown.append(f"{{iov_base={_bytes_at(frame, vector.base, filled)}, iov_len={vector.len}}}")
    return f"[{', '.join([*shown, '...'] if count > LIST_LIMIT else shown)}]"


def show_vectors(frame: Frame, arg: int) -> str:
    return _vectors_text(frame, arg, frame.args[2])


def show_vectors_out(frame: Frame, arg: int) -> str:
    return _vectors_text(frame, arg, frame.args[2], frame.result)


def _control_text(data: bytes) -> str:
    shown = []
    while len(data) >= Cmsghdr.sizeof():
        header = Cmsghdr.from_bytes(data)
        if header.len < Cmsghdr.sizeof():
            break
        payload = data[Cmsghdr.sizeof() : header.len]
        if header.level == SOL.SOCKET and header.type == SCM.RIGHTS:
            numbers = ", ".join(str(number) for (number,) in struct.iter_unpack("=i", payload))
            shown.append(f"{{SCM_RIGHTS, [{numbers}]}}")
        else:
            shown.append(f"{{{name_of(SOL, 'SOL_', header.level)}, {header.type}, {quote(payload)}}}")
        data = data[CMSG_ALIGN(header.len) :]
    return f"[{', '.join(shown)}]"


def show_message(frame: Frame, arg: int) -> str:
    header = read_struct(frame, Msghdr, arg)
    if header is None:
        return ADDRESS.show(frame, arg)
    parts = []
    if header.name:
        found = frame.read(header.name, min(header.namelen, 128))
        text = ADDRESS.show(frame, header.name) if found is None else _address_text(found)
        parts.append(f"msg_name={text}")
    parts.append(f"msg_iov={_vectors_text(frame, header.iov, header.iovlen, frame.result)}")
    if header.control and header.controllen:
        found = frame.read(header.control, min(header.controllen, 4096))
        text = ADDRESS.show(frame, header.control) if found is None else _control_text(found)
        parts.append(f"msg_control={text}")
    if frame.result is not None:
        parts.append(f"msg_flags={MSG_FLAGS.show(frame, header.flags)}")
    return f"{{{', '.join(parts)}}}"


def show_option_name(frame: Frame, arg: int) -> str:
    return name_of(SO, "SO_", arg) if frame.args[1] == SOL.SOCKET else number(arg)


def show_option(frame: Frame, arg: int) -> str:
    if frame.args[4] == 4:
        return _int_array(1)(frame, arg)
    return _bytes_at(frame, arg, frame.args[4])


def show_option_out(frame: Frame, arg: int) -> str:
    length = frame.read(frame.args[4], 4)
    size = 0 if length is None else struct.unpack("=I", length)[0]
    return _int_array(1)(frame, arg) if size == 4 else _bytes_at(frame, arg, size)


# ---------------------------------------------------------------------- calls that are many calls in one


def show_fcntl_argument(frame: Frame, arg: int) -> str:
    command = frame.args[1]
    if command in (F.GETFD, F.GETFL, F.GETOWN, F.GETSIG, F.GETLEASE, F.GETPIPE_SZ, F.GET_SEALS):
        return ""
    if command == F.SETFD:
        return "|".join(flag_names(arg, FD, "FD_")) or "0"
    if command == F.SETFL:
        return show_open_flags(frame, arg)
    return number(arg)


def show_ioctl_request(frame: Frame, arg: int) -> str:
    for cls, prefix in ((SIOC, "SIOC"), (TIOC, "TIOC"), (TC, "TC"), (FIO, "FIO")):
        name = dict(members(cls)).get(arg & 0xFFFFFFFF)
        if name is not None:
            return prefix + name
    return f"{arg & 0xFFFFFFFF:#x}"


_READS_IFREQ = {SIOC.SIFFLAGS, SIOC.SIFADDR, SIOC.SIFNETMASK, SIOC.SIFMTU, SIOC.SIFNAME}
_FILLS_IFREQ = {SIOC.GIFFLAGS, SIOC.GIFADDR, SIOC.GIFNETMASK, SIOC.GIFINDEX, SIOC.GIFMTU, SIOC.GIFNAME}


def ioctl_gives(frame: Frame) -> bool:
    return frame.args[1] & 0xFFFFFFFF in _FILLS_IFREQ


def show_ioctl_argument(frame: Frame, arg: int) -> str:
    request = frame.args[1] & 0xFFFFFFFF
    if request not in _READS_IFREQ | _FILLS_IFREQ:
        return number(arg) if arg else ""
    data = frame.read(arg, Ifreq.sizeof())
    if data is None:
        return ADDRESS.show(frame, arg)
    ifreq = Ifreq.from_bytes(data)
    parts = [f"ifr_name={quote(os.fsencode(ifreq.name))}"]
    if request in (SIOC.GIFFLAGS, SIOC.SIFFLAGS):
        parts.append(f"ifr_flags={'|'.join(flag_names(ifreq.flags & 0xFFFF, IFF, 'IFF_')) or '0'}")
    elif request == SIOC.GIFINDEX:
        parts.append(f"ifr_ifindex={ifreq.ifindex}")
    elif request in (SIOC.GIFMTU, SIOC.SIFMTU):
        parts.append(f"ifr_mtu={ifreq.mtu}")
    elif request in (SIOC.GIFADDR, SIOC.SIFADDR, SIOC.GIFNETMASK, SIOC.SIFNETMASK):
        parts.append(f"ifr_addr={_address_text(data[16:32])}")
    return f"{{{', '.join(parts)}}}"


def show_prctl_argument(frame: Frame, arg: int) -> str:
    option = frame.args[0]
    if option == PR.SET_NAME:
        return _string(frame, arg)
    if option == PR.SET_PDEATHSIG:
        return signal_name(arg)
    asks = name_of(PR, "", option).startswith("GET_")
    return "" if asks and not arg else number(arg)


def show_waitid_id(frame: Frame, arg: int) -> str:
    return str(signed(arg, 32))


def show_clone_rest(frame: Frame, arg: int) -> str:
    return ADDRESS.show(frame, arg) if arg else ""


STRING = Kind(_string)
OUT_STRING = Kind(_string, after=True)
OUT = Kind(lambda frame, arg: _bytes_at(frame, arg, frame.result or 0), after=True)
SIGSET = Kind(_signal_set)
SIGSET_OUT = Kind(_signal_set, after=True)
TIMESPEC = structure(Timespec)
ITIMERSPEC = structure(Itimerspec)
ITIMERSPEC_OUT = structure(Itimerspec, after=True)
INT_OUT = Kind(_int_array(1), after=True)
PAIR_OUT = Kind(_int_array(2), after=True)
AT_FOLLOW = flags(AT, "AT_", ["SYMLINK_FOLLOW", "EMPTY_PATH"])
AT_NOFOLLOW = flags(AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH", "NO_AUTOMOUNT"])
SOCK_FLAGS = flags(SOCK, "SOCK_", ["NONBLOCK", "CLOEXEC"])
FAMILY = choice(AF, "AF_")
ID3_OUT = (INT_OUT, INT_OUT, INT_OUT)
