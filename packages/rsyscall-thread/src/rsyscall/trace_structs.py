"""The text of arguments of system calls that are structures or arrays."""

from __future__ import annotations

import enum
import os
import struct
from typing import cast

from rsyscall.cstruct import CStruct
from rsyscall.fcntl import O, decode_open_flags
from rsyscall.handle.arguments import Kind, Memory
from rsyscall.linux.dirent import DirentList
from rsyscall.net.if_ import IFF, SIOC, Ifreq
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import IP, IPPROTO, IPV6
from rsyscall.netinet.tcp import TCP
from rsyscall.sched import CLONE
from rsyscall.signal import Sigset
from rsyscall.sys.epoll import EpollEvent
from rsyscall.sys.ioctl import FIO, TC, TIOC
from rsyscall.sys.mman import MAP
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import (
    AF,
    CMSG_ALIGN,
    MSG,
    SCM,
    SO,
    SOCK,
    SOL,
    Cmsghdr,
    Linger,
    Mmsghdr,
    Msghdr,
    SockaddrStorage,
    Ucred,
)
from rsyscall.sys.time import Timeval
from rsyscall.sys.uio import Iovec
from rsyscall.sys.un import SockaddrUn
from rsyscall.trace_decode import (
    LIST_LIMIT,
    PATH_MAX,
    STRING_LIMIT,
    WORD,
    Frame,
    address,
    flag_names,
    members,
    name_of,
    number,
    quote,
    shows,
    signed,
)
from rsyscall.trace_values import (
    read_struct,
    show_struct,
    show_structs,
    signal_name,
    signal_set_text,
    value_text,
)

WORD32 = 2**32 - 1


@shows("open_flags")
def show_open_flags(frame: Frame, kind: Kind, arg: int) -> str:
    return open_flags(frame, arg)


def open_flags(frame: Frame, arg: int) -> str:
    value = int(decode_open_flags(frame.abi, arg & 0xFFFFFFFF))
    access = {0: "O_RDONLY", 1: "O_WRONLY", 2: "O_RDWR", 3: "O_ACCMODE"}[value & 3]
    if value & O.PATH and not value & 3:
        access = ""
    rest = flag_names(value & ~3, O, "O_")
    return "|".join([access, *rest] if access else rest)


@shows("mode_if_creating")
def show_if_creating(frame: Frame, kind: Kind, arg: int) -> str:
    creating = frame.args[2] & (O.CREAT | (frame.abi.O_TMPFILE & ~frame.abi.O_DIRECTORY))
    return f"0{arg & 0o7777:o}" if creating else ""


def _clone_flags(value: int, mask: int) -> str:
    return "|".join(flag_names(value & ~mask, CLONE, "CLONE_"))


@shows("clone_flags_signal")
def show_clone(frame: Frame, kind: Kind, arg: int) -> str:
    sig = arg & 0x7F
    return "|".join(filter(None, [_clone_flags(arg, 0x7F), signal_name(sig) if sig else ""])) or "0"


@shows("socket_type")
def show_socket_type(frame: Frame, kind: Kind, arg: int) -> str:
    return "|".join([name_of(SOCK, "SOCK_", arg & 0xF), *flag_names(arg & 0xFFFFFFF0, SOCK, "SOCK_")])


@shows("socket_protocol")
def show_protocol(frame: Frame, kind: Kind, arg: int) -> str:
    return name_of(IPPROTO, "IPPROTO_", arg) if arg and frame.args[0] in (AF.INET, AF.INET6) else number(arg)


@shows("mmap_flags")
def show_mmap_flags(frame: Frame, kind: Kind, arg: int) -> str:
    sharing = {1: "MAP_SHARED", 2: "MAP_PRIVATE", 3: "MAP_SHARED_VALIDATE"}.get(arg & 0xF)
    rest = [] if sharing is None else [sharing]
    bits = [
        name
        for name, flag in MAP.__members__.items()
        if bin(flag).count("1") == 1 and flag > 8 and flag.name == name
    ]
    return "|".join(rest + flag_names(arg & (~0xF if rest else WORD), MAP, "MAP_", bits)) or "0"


@shows("signal")
def show_signal(frame: Frame, kind: Kind, arg: int) -> str:
    return signal_name(signed(arg, 32))


# ---------------------------------------------------------------------------------------------- memory


@shows("string")
def show_string(frame: Frame, kind: Kind, arg: int) -> str:
    return _string(frame, arg)


def _string(frame: Frame, arg: int, limit: int = PATH_MAX) -> str:
    found = frame.read_string(arg, limit)
    return address(arg) if found is None else quote(*found, limit)


def _bytes_at(frame: Frame, start: int, length: int) -> str:
    data = frame.read(start, min(length, STRING_LIMIT + 1))
    return address(start) if data is None else quote(data)


@shows("counted")
def show_counted(frame: Frame, kind: Kind, arg: int) -> str:
    return _bytes_at(frame, arg, _length(frame, kind))


def _length(frame: Frame, kind: Kind) -> int:
    """The argument with the length of the memory."""
    assert isinstance(kind, Memory)
    assert kind.length_in is not None
    return frame.args[kind.length_in]


@shows("out")
def show_out(frame: Frame, kind: Kind, arg: int) -> str:
    return _bytes_at(frame, arg, frame.result or 0)


@shows("strings")
def show_strings(frame: Frame, kind: Kind, arg: int) -> str:
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


@shows("environment")
def show_environment(frame: Frame, kind: Kind, arg: int) -> str:
    """The number of variables: the whole environment would be too long."""
    count = 0
    while arg and count < 10000:
        word = frame.words(arg + 8 * count, 1)
        if word is None:
            return f"{arg:#x}"
        if not word[0]:
            return f"{arg:#x} /* {count} var{'' if count == 1 else 's'} */"
        count += 1
    return address(arg)


@shows("int_array")
def show_int_array(frame: Frame, kind: Kind, arg: int) -> str:
    assert isinstance(kind, Memory)
    return _int_array(frame, arg, kind.size // 4)


def _int_array(frame: Frame, arg: int, count: int) -> str:
    data = frame.read(arg, 4 * count)
    if data is None:
        return address(arg)
    return f"[{', '.join(map(str, struct.unpack(f'={count}i', data)))}]"


@shows("offset")
def show_offset(frame: Frame, kind: Kind, arg: int) -> str:
    """An offset in memory, or none."""
    word = frame.words(arg, 1) if arg else None
    return address(arg) if word is None else f"[{signed(word[0], 64)}]"


def _signal_set(frame: Frame, arg: int) -> str:
    word = frame.words(arg, 1)
    return address(arg) if word is None else signal_set_text(Sigset.from_int(word[0]))


@shows("epoll_events")
def show_epoll_events(frame: Frame, kind: Kind, arg: int) -> str:
    return show_structs(frame, arg, EpollEvent, frame.result or 0)


@shows("directory_entries")
def show_directory_entries(frame: Frame, kind: Kind, arg: int) -> str:
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


@shows("sockaddr")
def show_sockaddr(frame: Frame, kind: Kind, arg: int) -> str:
    """An address that the call reads; another argument says how long it is."""
    data = frame.read(arg, min(_length(frame, kind), 128))
    return address(arg) if data is None else _address_text(data)


@shows("sockaddr_out")
def show_sockaddr_out(frame: Frame, kind: Kind, arg: int) -> str:
    length = frame.read(_length(frame, kind), 4)
    if length is None:
        return address(arg)
    data = frame.read(arg, min(struct.unpack("=I", length)[0], 128))
    return address(arg) if data is None else _address_text(data)


def _vectors_text(frame: Frame, start: int, count: int, total: int | None = None) -> str:
    """An array of iovecs with what is in the buffers: all of it, or the first `total` bytes."""
    shown = []
    for index in range(min(count, LIST_LIMIT)):
        vector = read_struct(frame, Iovec, start + Iovec.sizeof() * index)
        if vector is None:
            return address(start)
        filled = vector.len if total is None else min(total, vector.len)
        total = None if total is None else total - filled
        shown.append(f"{{iov_base={_bytes_at(frame, vector.base, filled)}, iov_len={vector.len}}}")
    return f"[{', '.join([*shown, '...'] if count > LIST_LIMIT else shown)}]"


@shows("iovecs")
def show_vectors(frame: Frame, kind: Kind, arg: int) -> str:
    return _vectors_text(frame, arg, frame.args[2], frame.result if kind.after else None)


def _control_text(data: bytes) -> str:
    shown = []
    while len(data) >= Cmsghdr.sizeof():
        header = Cmsghdr.from_bytes(data)
        if header.len < Cmsghdr.sizeof():
            break
        payload = data[Cmsghdr.sizeof() : header.len]
        if header.level == SOL.SOCKET and header.type == SCM.RIGHTS:
            kind = "SCM_RIGHTS"
            text = f"[{', '.join(str(number) for (number,) in struct.iter_unpack('=i', payload))}]"
        else:
            kind, text = number(header.type), quote(payload)
        level = name_of(SOL, "SOL_", header.level)
        shown.append(f"{{cmsg_len={header.len}, cmsg_level={level}, cmsg_type={kind}, cmsg_data={text}}}")
        data = data[CMSG_ALIGN(header.len) :]
    return f"[{', '.join(shown)}]"


def _message_text(frame: Frame, header: Msghdr, total: int | None) -> str:
    """A message with what is in its buffers: all of it, or the first `total` bytes."""
    parts = []
    if header.name:
        found = frame.read(header.name, min(header.namelen, 128))
        text = address(header.name) if found is None else _address_text(found)
        parts.append(f"msg_name={text}")
    parts.append(f"msg_iov={_vectors_text(frame, header.iov, header.iovlen, total)}")
    if header.control and header.controllen:
        found = frame.read(header.control, min(header.controllen, 4096))
        text = address(header.control) if found is None else _control_text(found)
        parts.append(f"msg_control={text}")
    if total is not None:
        parts.append(f"msg_flags={value_text(MSG(header.flags & WORD32))}")
    return f"{{{', '.join(parts)}}}"


@shows("message")
def show_message(frame: Frame, kind: Kind, arg: int) -> str:
    header = read_struct(frame, Msghdr, arg)
    return address(arg) if header is None else _message_text(frame, header, frame.result)


@shows("messages")
def show_messages(frame: Frame, kind: Kind, arg: int) -> str:
    """Those messages that the call has sent or received."""
    count = min(frame.result or 0, frame.args[2])
    shown = []
    for index in range(min(count, LIST_LIMIT)):
        message = read_struct(frame, Mmsghdr, arg + Mmsghdr.sizeof() * index)
        if message is None:
            return address(arg)
        text = _message_text(frame, message.hdr, message.len)
        shown.append(f"{{msg_hdr={text}, msg_len={message.len}}}")
    return f"[{', '.join([*shown, '...'] if count > LIST_LIMIT else shown)}]"


_LEVELS: dict[int, type[enum.IntEnum]] = {
    SOL.SOCKET: SO,
    IPPROTO.IP: IP,
    IPPROTO.IPV6: IPV6,
    IPPROTO.TCP: TCP,
}


@shows("socket_option")
def show_option_name(frame: Frame, kind: Kind, arg: int) -> str:
    cls = _LEVELS.get(frame.args[1])
    return number(arg) if cls is None else name_of(cls, f"{cls.__name__}_", arg)


_OPTIONS: dict[tuple[int, int], type[CStruct]] = {
    (SOL.SOCKET, SO.LINGER): Linger,
    (SOL.SOCKET, SO.PEERCRED): Ucred,
    (SOL.SOCKET, SO.RCVTIMEO): Timeval,
    (SOL.SOCKET, SO.SNDTIMEO): Timeval,
}


def _option(frame: Frame, arg: int, size: int) -> str:
    cls = _OPTIONS.get((frame.args[1], frame.args[2]))
    if cls is not None and size >= cls.layout(frame.abi).size:
        return show_struct(frame, arg, cls)
    return _int_array(frame, arg, 1) if size == 4 else _bytes_at(frame, arg, size)


@shows("option")
def show_option(frame: Frame, kind: Kind, arg: int) -> str:
    return _option(frame, arg, frame.args[4])


@shows("option_out")
def show_option_out(frame: Frame, kind: Kind, arg: int) -> str:
    length = frame.read(frame.args[4], 4)
    size = 0 if length is None else struct.unpack("=I", length)[0]
    return _option(frame, arg, size)


# ---------------------------------------------------------------------- calls that are many calls in one


@shows("ioctl_request")
def show_ioctl_request(frame: Frame, kind: Kind, arg: int) -> str:
    for cls, prefix in ((SIOC, "SIOC"), (TIOC, "TIOC"), (TC, "TC"), (FIO, "FIO")):
        name = dict(members(cls)).get(arg & 0xFFFFFFFF)
        if name is not None:
            return prefix + name
    return f"{arg & 0xFFFFFFFF:#x}"


@shows("quota_command")
def show_quota_command(frame: Frame, kind: Kind, arg: int) -> str:
    # Not with the module: few traces have one.
    from rsyscall.sys.quota import QUOTA, Q

    names = {int(member): f"{member.name}QUOTA" for member in QUOTA}
    return f"QCMD({name_of(Q, 'Q_', arg >> 8 & 0xFFFFFF)}, {names.get(arg & 0xFF, arg & 0xFF)})"


@shows("ifreq")
def show_ioctl_argument(frame: Frame, kind: Kind, arg: int) -> str:
    request = frame.args[1] & 0xFFFFFFFF
    data = frame.read(arg, Ifreq.sizeof())
    if data is None:
        return address(arg)
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


@shows("prctl_argument")
def show_prctl_argument(frame: Frame, kind: Kind, arg: int) -> str:
    option = frame.args[0]
    asks = name_of(PR, "", option).startswith("GET_")
    return "" if asks and not arg else number(arg)


@shows("struct")
def show_structure(frame: Frame, kind: Kind, arg: int) -> str:
    assert isinstance(kind, Memory)
    if kind.cls is Sigset:
        return _signal_set(frame, arg)
    # Every other structure that is shown as one is declared.
    length = None if kind.length_in is None else frame.args[kind.length_in]
    return show_struct(frame, arg, cast("type[CStruct]", kind.cls), length)
