"""Which C structures the classes that are packed by hand stand for, and which members their fields are.

A `CStruct` says all that itself; what is said of those here are the exceptions.

Offsets are found out by setting one field after the other and looking which bytes change, so it does not
matter how a class does its packing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsyscall import _fcntl_handle, poll, sched, signal
from rsyscall.asm import hwprobe, ldt
from rsyscall.linux import aio_abi, bpf, dirent, fuse, keyctl, lsm, mempolicy, mount, nsfs, rseq
from rsyscall.near import types as near
from rsyscall.net import if_
from rsyscall.netinet import in_
from rsyscall.struct import BytesSerializer
from rsyscall.sys import capability, epoll, inotify, msg, ptrace, select, sem, socket, stat, uio, un, xattr
from rsyscall.unistd import credentials, pipe

from . import discover


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

_ADDRESS = in_.SockaddrIn(0x0101, 0x01010101)

LAYOUTS: dict[type, Layout] = {
    sched.CpuSet: Layout("cpu_set_t", ("sched.h",), [], build=sched.CpuSet),
    select.FdSet: Layout("fd_set", ("sys/select.h",), [], build=select.FdSet),
    signal.Sigset: Layout("sigset_t", ("#include <linux/types.h>", "asm/signal.h"), [], build=signal.Sigset),
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
    uio.IovecList: Layout(
        "struct iovec",
        ("linux/uio.h",),
        [Field("base", "iov_base", reads_back=False), Field("len", "iov_len", reads_back=False)],
        {"base": 0, "len": 0},
        lambda base, len: uio.IovecList([_FakePointer(base, len)]),  # type: ignore[list-item]  # see there
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
"""Every class that is one C structure and not a `CStruct`."""

NOT_ONE_STRUCTURE: dict[type, str] = {
    sched.Stack: "made up here: a function and its arguments, for our own native code",
    capability.CapData: "two struct __user_cap_data_struct, with a half of each set in either",
    credentials.GroupList: "an array of gid_t",
    epoll.EpollEventList: "an array of struct epoll_event",
    dirent.DirentList: "struct dirent64 one after another",
    _fcntl_handle.FileHandle: "struct file_handle with the handle",
    inotify.InotifyEvent: "struct inotify_event with a name",
    inotify.InotifyEventList: "struct inotify_event one after another",
    poll.PollfdList: "an array of struct pollfd",
    keyctl.KeySerials: "an array of key_serial_t",
    msg.Msgbuf: "struct msgbuf with its text",
    sem.SemValues: "an array of unsigned short",
    **dict.fromkeys(
        (socket.MmsgLengths, socket.RecvMmsghdrList, socket.SendMmsghdrList), "an array of struct mmsghdr"
    ),
    **{
        cls: "a message: a header, structures, names and data"
        for cls in discover.structures()
        if issubclass(cls, (fuse.FuseIn, fuse.FuseOut, fuse.FuseNotify))
    },
    fuse.FuseInList: "requests one after another",
    **dict.fromkeys((fuse.FuseDirent, fuse.FuseDirentplus), "a structure with a name"),
    fuse.FuseGetxattrIn: "struct fuse_getxattr_in with a name",
    fuse.FuseGetxattrOut: "a value, or struct fuse_getxattr_out",
    mempolicy.NodeMask: "an array of unsigned long, however long",
    aio_abi.IocbList: "an array of pointers to struct iocb",
    aio_abi.IoEventList: "an array of struct io_event",
    lsm.LsmIds: "an array of numbers",
    mount.MountIdList: "an array of numbers",
    nsfs.NamespaceIdList: "an array of numbers",
    mount.Statmount: "struct statmount with its strings",
    xattr.XattrList: "strings one after another",
    un.SockaddrUnProcFd: "the same as SockaddrUn",
}
"""Classes that have no C structure of their own, and why."""

BEGINNINGS: dict[type, str] = {
    dirent.DirentHeader: "the name follows, of any length",
    inotify.InotifyEventHeader: "the name follows, of any length",
    **dict.fromkeys(
        (bpf.BpfMapCreate, bpf.BpfMapElem, bpf.BpfProgLoad),
        "one command of a union that is as large as the largest",
    ),
    lsm.LsmCtx: "the value follows, of any length",
    sem.SemidDs: "the rest differs between architectures",
    mount.StatmountHeader: "the strings follow, of any length",
    rseq.Rseq: "later kernels have more, and take this much",
}
"""Declared structures that are only the beginning of the C structure, and why."""

ONLY_ON: dict[type, str] = {
    ldt.UserDesc: "x86_64",
    hwprobe.RiscvHwprobe: "riscv64",
    ptrace.UserRegsX86: "x86_64",
    ptrace.UserPtRegs: "aarch64",
    ptrace.UserRegsRiscv: "riscv64",
}
"""Declared structures that a single architecture has."""

_TIMES = [f"st_{name}" for name in ("atime", "mtime", "ctime")]
OTHER_SIGNS: dict[type, set[str]] = {
    # The kernel writes signed seconds. Nanoseconds are never so many that it matters.
    fuse.FuseAttr: {"atime", "mtime", "ctime"},
    fuse.FuseAttrOut: {f"attr.{c}time" for c in "amc"},
    fuse.FuseEntryOut: {f"attr.{c}time" for c in "amc"},
    fuse.FuseSetattrIn: {"atime", "mtime", "ctime"},
    stat.Stat: {*_TIMES, *(f"{name}_nsec" for name in _TIMES)},
}
"""Members that are unsigned in the headers of some architecture, and that we have as signed numbers."""
