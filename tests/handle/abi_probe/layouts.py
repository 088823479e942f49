"""Which C structures the classes stand for, and which members their fields are.

Offsets are found out by setting one field after the other and looking which bytes change, so it does not
matter how a class does its packing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsyscall import fcntl, sched, signal, time
from rsyscall.linux import dirent, futex
from rsyscall.near import types as near
from rsyscall.net import if_
from rsyscall.netinet import in_
from rsyscall.struct import BytesSerializer
from rsyscall.sys import epoll, signalfd, socket, stat, uio, un, utsname
from rsyscall.unistd import credentials, pipe


@dataclass(frozen=True, eq=False)
class Field:
    """One field of a class.

    Args:
        name: of the field.
        member: of the C structure.
        convert: makes the value of the field from the number which has the byte 1 in every byte of the
            member. The field has to fill the member, then.
        value: a value to try instead, for fields that do not take every number; its lowest byte differs from
            that of the field's value in `base`, and it need not fill the member.
        only_on: architectures that have the member.
        reads_back: whether `from_bytes` gives a value equal to the one that went in.
    """

    name: str
    member: str
    convert: Callable[[int], Any] = int
    value: Any = None
    only_on: Sequence[str] | None = None
    reads_back: bool = True


@dataclass(frozen=True)
class Layout:
    """How to compare a class with a C structure.

    Args:
        c_type: in C.
        headers: names of headers, or lines of C.
        fields: every field of the class.
        base: the values of the fields that are not being tried.
        build: makes a value of the class from values of its fields; the constructor by default.
        variable: values have different lengths, and the size of the class, if it has one, is the longest.
        room: the size of the class is enough for every architecture, and may be more than that of one.
        derived: fields that are not stored, and why.
    """

    c_type: str
    headers: tuple[str, ...]
    fields: Sequence[Field]
    base: Mapping[str, Any] = field(default_factory=dict)
    build: Callable[..., Any] | None = None
    variable: bool = False
    room: bool = False
    derived: Mapping[str, str] = field(default_factory=dict)


def _plain(names: str, prefix: str = "") -> list[Field]:
    """Fields that are numbers, called as in C but for the prefix."""
    return [Field(name, prefix + name) for name in names.split()]


class _FakePointer:
    """As much of a pointer as structures with addresses in them look at."""

    def __init__(self, address: int, size: int = 0, value: Any = None) -> None:
        self.near = near.Address(address)
        self._size = size
        self.value = value
        self.serializer = BytesSerializer()

    def size(self) -> int:
        return self._size


class _FakeFileDescriptor:
    """As much of a handle as structures with numbers of file descriptors in them look at."""

    def __init__(self, number: int) -> None:
        self.near = near.FileDescriptor(number)

    def __int__(self) -> int:
        return self.near.number


def _numbers_as_fds(cls: type[Any]) -> Callable[..., Any]:
    return lambda **fields: cls(*map(_FakeFileDescriptor, fields.values()))


def _ifreq(**fields: Any) -> if_.Ifreq:
    request = if_.Ifreq()
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def _hardware_address(number: int) -> socket.Sockaddr:
    return socket.Sockaddr.from_bytes(number.to_bytes(16, "little"))


def _address(value: int, length: int = 4) -> Any:
    return _FakePointer(value, length, b"x" * length)


def _send_msghdr(
    name: int = 0, namelen: int = 0, iov: int = 0, iovlen: int = 0, control: int = 0, controllen: int = 0
) -> Any:
    return socket.SendMsghdr(
        _FakePointer(name, namelen, b"x" * namelen),  # type: ignore[arg-type]  # see _FakePointer
        _FakePointer(iov, 0, [None] * iovlen),  # type: ignore[arg-type]  # see _FakePointer
        _FakePointer(control, controllen, b"x" * controllen),  # type: ignore[arg-type]  # see _FakePointer
    )


def _recv_msghdr(
    name: int = 0, namelen: int = 0, iov: int = 0, iovlen: int = 0, control: int = 0, controllen: int = 0
) -> Any:
    return socket.RecvMsghdr(
        _FakePointer(name, namelen),  # type: ignore[arg-type]  # see _FakePointer
        _FakePointer(iov, 0, [None] * iovlen),  # type: ignore[arg-type]  # see _FakePointer
        _FakePointer(control, controllen),  # type: ignore[arg-type]  # see _FakePointer
    )


_MSGHDR = [
    *(
        Field("name", "msg_name", reads_back=False),
        Field("namelen", "msg_namelen", value=3, reads_back=False),
    ),
    *(Field("iov", "msg_iov", reads_back=False), Field("iovlen", "msg_iovlen", value=3, reads_back=False)),
    Field("control", "msg_control", reads_back=False),
    Field("controllen", "msg_controllen", value=3, reads_back=False),
]

_STAT_TIMES = [
    each
    for name in ("atime", "mtime", "ctime")
    for each in (
        Field(name, f"st_{name}", lambda n: time.Timespec(n, 0)),
        Field(name, f"st_{name}_nsec", lambda n: time.Timespec(0, n)),
    )
]

_ADDRESS = in_.SockaddrIn(0x0101, 0x01010101)

LAYOUTS: dict[type, Layout] = {
    fcntl.Flock: Layout(
        "struct flock",
        ("linux/fcntl.h",),
        [Field("type", "l_type", value=fcntl.F_LCK.WR), *_plain("whence start len pid", "l_")],
        {"type": fcntl.F_LCK.RD},
    ),
    fcntl.OwnerEx: Layout(
        "struct f_owner_ex",
        ("linux/fcntl.h",),
        [Field("type", "type", value=fcntl.F_OWNER.PGRP), Field("pid", "pid")],
        {"type": fcntl.F_OWNER.TID, "pid": 0},
    ),
    sched.CpuSet: Layout("cpu_set_t", ("sched.h",), [], build=sched.CpuSet),
    sched.CloneArgs: Layout(
        "struct clone_args",
        ("linux/types.h", "linux/sched.h"),
        [
            Field("flags", "flags", sched.CLONE),
            *_plain(
                "pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup"
            ),
        ],
        {"flags": sched.CLONE.NONE},
    ),
    signal.Siginfo: Layout(
        "siginfo_t",
        ("#include <linux/types.h>", "asm/siginfo.h"),
        _plain("code pid uid status", "si_"),
        # without a pid there would be no signal number either
        {"code": 0, "pid": 2, "uid": 0, "status": 0},
    ),
    signal.Sigset: Layout("sigset_t", ("#include <linux/types.h>", "asm/signal.h"), [], build=signal.Sigset),
    signal.Sigaction: Layout(
        "struct sigaction",
        ("#include <linux/types.h>", "asm/signal.h"),
        [
            Field("handler", "sa_handler", near.Address),
            Field("flags", "sa_flags", signal.SA),
            Field("mask", "sa_mask", signal.Sigset.from_int),
            Field("restorer", "sa_restorer", near.Address, only_on=("x86_64", "aarch64")),
        ],
        {"handler": signal.Sighandler.DFL},
        room=True,
    ),
    time.Timespec: Layout(
        "struct __kernel_timespec", ("linux/time_types.h",), _plain("sec nsec", "tv_"), {"sec": 0, "nsec": 0}
    ),
    time.Itimerspec: Layout(
        "struct __kernel_itimerspec",
        ("linux/time_types.h",),
        [
            Field(name, f"it_{name}.{member}", convert)
            for name in ("interval", "value")
            for member, convert in (
                ("tv_sec", lambda n: time.Timespec(n, 0)),
                ("tv_nsec", lambda n: time.Timespec(0, n)),
            )
        ],
        {"interval": 0, "value": 0},
    ),
    credentials.ResIds: Layout(
        "struct res_ids",
        ("sys/types.h", "struct res_ids { uid_t real, effective, saved; };"),
        _plain("real effective saved"),
        {"real": 0, "effective": 0, "saved": 0},
    ),
    pipe.Pipe: Layout(
        "struct fds",
        ("struct fds { int first, second; };",),
        [Field("read", "first", reads_back=False), Field("write", "second", reads_back=False)],
        {"read": 0, "write": 0},
        _numbers_as_fds(pipe.Pipe),
    ),
    socket.Socketpair: Layout(
        "struct fds",
        ("struct fds { int first, second; };",),
        [Field("first", "first", reads_back=False), Field("second", "second", reads_back=False)],
        {"first": 0, "second": 0},
        _numbers_as_fds(socket.Socketpair),
    ),
    socket.Ucred: Layout(
        "struct ucred", ("sys/socket.h",), _plain("pid uid gid"), {"pid": 0, "uid": 0, "gid": 0}
    ),
    socket.Linger: Layout(
        "struct linger",
        ("sys/socket.h",),
        [Field("onoff", "l_onoff", value=True), Field("linger", "l_linger")],
        {"onoff": False, "linger": 0},
    ),
    socket.SendMsghdr: Layout(
        "struct msghdr",
        ("sys/socket.h",),
        _MSGHDR,
        build=_send_msghdr,
    ),
    socket.RecvMsghdr: Layout(
        "struct msghdr",
        ("sys/socket.h",),
        _MSGHDR,
        build=_recv_msghdr,
    ),
    socket.Sockaddr: Layout(
        "struct sockaddr",
        ("sys/socket.h",),
        [
            Field("family", "sa_family"),
            Field("data", "sa_data", lambda n: n.to_bytes(14, "little")),
        ],
        {"family": 0, "data": b""},
    ),
    socket.SockaddrStorage: Layout(
        "struct sockaddr_storage",
        ("sys/socket.h",),
        [Field("family", "ss_family")],
        {"family": 0, "data": b""},
        variable=True,
        derived={"data": "has no name in C: everything behind the family"},
    ),
    un.SockaddrUn: Layout(
        "struct sockaddr_un",
        ("sys/un.h",),
        [Field("path", "sun_path", lambda n: n.to_bytes(108, "little"))],
        {"path": b""},
        variable=True,
    ),
    in_.SockaddrIn: Layout(
        "struct sockaddr_in",
        ("netinet/in.h",),
        [Field("port", "sin_port"), Field("addr", "sin_addr", lambda n: _ADDRESS.addr)],
        {"port": 0, "addr": 0},
    ),
    in_.SockaddrIn6: Layout(
        "struct sockaddr_in6",
        ("netinet/in.h",),
        [
            Field("port", "sin6_port"),
            Field("addr", "sin6_addr", ipaddress.IPv6Address),
            Field("flowinfo", "sin6_flowinfo"),
            Field("scope_id", "sin6_scope_id"),
        ],
        {"port": 0, "addr": 0},
    ),
    epoll.EpollEvent: Layout(
        "struct epoll_event",
        ("typedef unsigned __poll_t;", "linux/eventpoll.h"),
        [Field("data", "data"), Field("events", "events", epoll.EPOLL)],
        {"data": 0, "events": epoll.EPOLL.NONE},
    ),
    signalfd.SignalfdSiginfo: Layout(
        "struct signalfd_siginfo",
        ("linux/signalfd.h",),
        [
            *_plain("signo errno code pid uid fd tid band overrun trapno status", "ssi_"),
            Field("int_value", "ssi_int"),
            *_plain("ptr utime stime addr addr_lsb syscall call_addr arch", "ssi_"),
        ],
        {"signo": 0},
    ),
    stat.Stat: Layout(
        "struct stat",
        ("#include <linux/types.h>", "asm/stat.h"),
        [
            *_plain("dev ino nlink uid gid rdev size blksize blocks", "st_"),
            Field("mode", "st_mode", value=stat.TypeMode.from_int(0o100644)),
            *_STAT_TIMES,
        ],
        {
            **dict.fromkeys(
                ["dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"], 0
            ),
            **dict.fromkeys(("atime", "mtime", "ctime"), time.Timespec(0, 0)),
        },
        room=True,
    ),
    uio.IovecList: Layout(
        "struct iovec",
        ("linux/uio.h",),
        [Field("base", "iov_base", reads_back=False), Field("len", "iov_len", reads_back=False)],
        {"base": 0, "len": 0},
        lambda base, len: uio.IovecList([_FakePointer(base, len)]),  # type: ignore[list-item]  # see there
    ),
    utsname.Utsname: Layout(
        "struct new_utsname",
        ("linux/utsname.h",),
        [
            Field(name, name, value="x")
            for name in ("sysname", "nodename", "release", "version", "machine", "domainname")
        ],
        dict.fromkeys(("sysname", "nodename", "release", "version", "machine", "domainname"), ""),
    ),
    dirent.Dirent: Layout(
        "struct dirent64",
        ("dirent.h",),
        [
            Field("inode", "d_ino", reads_back=False),
            Field("offset", "d_off", reads_back=False),
            Field("type", "d_type", dirent.DT, reads_back=False),
            Field("name", "d_name", value="x", reads_back=False),
        ],
        {"inode": 0, "offset": 0, "type": dirent.DT.UNKNOWN, "name": ""},
        variable=True,
    ),
    futex.FutexNode: Layout(
        "struct futex_node",
        ("linux/futex.h", "struct futex_node { struct robust_list list; __u32 futex; };"),
        [Field("next", "list.next", near.Address), Field("futex", "futex")],
        {"next": None, "futex": 0},
    ),
    futex.RobustListHead: Layout(
        "struct robust_list_head",
        ("linux/futex.h",),
        [Field("first", "list.next", _address, reads_back=False)],
        {"first": _address(0)},
    ),
    if_.Ifreq: Layout(
        "struct ifreq",
        ("sys/socket.h", "linux/if.h"),
        [
            Field("name", "ifr_name", value="x"),
            *(
                Field(name, f"ifr_{name}", value=_ADDRESS)
                for name in ("addr", "dstaddr", "broadaddr", "netmask")
            ),
            Field("hwaddr", "ifr_hwaddr", _hardware_address),
            Field("flags", "ifr_flags", if_.IFF),
            *_plain("ifindex metric mtu qlen", "ifr_"),
            Field("slave", "ifr_slave", value="x"),
            Field("newname", "ifr_newname", value="x"),
        ],
        build=_ifreq,
    ),
}
"""Every class that is one C structure."""

NOT_ONE_STRUCTURE: dict[type, str] = {
    sched.Stack: "made up here: a function and its arguments, for our own native code",
    credentials.GroupList: "an array of gid_t",
    epoll.EpollEventList: "an array of struct epoll_event",
    dirent.DirentList: "struct dirent64 one after another",
    un.SockaddrUnProcFd: "the same as SockaddrUn",
}
"""Classes that have no C structure of their own, and why."""
