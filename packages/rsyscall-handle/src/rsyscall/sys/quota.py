"""`<sys/quota.h>`, `<linux/quota.h>`: limits on what users may store in a file system."""

from __future__ import annotations

import enum
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar, overload

from rsyscall import far
from rsyscall.cstruct import CStruct, u32, u64
from rsyscall.handle.arguments import (
    FDNUM,
    ID,
    NOTHING,
    OUT_INT,
    PATH,
    STRING,
    Kind,
    buffer,
    by,
    call,
    given,
    out,
)
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "DQF",
    "IIF",
    "Q",
    "QFMT",
    "QIF",
    "QUOTA",
    "IfDqblk",
    "IfDqinfo",
    "IfNextdqblk",
    "QuotaFileDescriptor",
    "QuotaTask",
]

T = TypeVar("T")


class Q(enum.IntEnum):
    """`Q_*`: what to do, with the memory that it takes. XFS has those with an X: `rsyscall.linux.dqblk_xfs`.

    manpage: quotactl(2)
    """

    SYNC = 0x800001
    QUOTAON = 0x800002  # the path of a file; the id is a QFMT
    QUOTAOFF = 0x800003
    GETFMT = 0x800004  # Int32
    GETINFO = 0x800005  # IfDqinfo
    SETINFO = 0x800006  # IfDqinfo
    GETQUOTA = 0x800007  # IfDqblk
    SETQUOTA = 0x800008  # IfDqblk
    GETNEXTQUOTA = 0x800009  # IfNextdqblk
    XQUOTAON = 0x5801  # Int32
    XQUOTAOFF = 0x5802  # Int32
    XGETQUOTA = 0x5803  # FsDiskQuota
    XSETQLIM = 0x5804  # FsDiskQuota
    XGETQSTAT = 0x5805  # FsQuotaStat
    XQUOTARM = 0x5806  # Int32
    XQUOTASYNC = 0x5807
    XGETQSTATV = 0x5808  # FsQuotaStatv
    XGETNEXTQUOTA = 0x5809  # FsDiskQuota


class QUOTA(enum.IntEnum):
    """`USRQUOTA` and others: whose quotas.

    manpage: quotactl(2)
    """

    USR = 0
    GRP = 1
    PRJ = 2


class QFMT(enum.IntEnum):
    """`QFMT_*`: formats of quotas.

    manpage: quotactl(2)
    """

    VFS_OLD = 1
    VFS_V0 = 2
    OCFS2 = 3
    VFS_V1 = 4
    SHMEM = 5  # since Linux 6.6


class QIF(enum.IntFlag):
    """`QIF_*`: which members of `IfDqblk` mean something.

    manpage: quotactl(2)
    """

    NONE = 0
    BLIMITS = 1
    SPACE = 2
    ILIMITS = 4
    INODES = 8
    BTIME = 16
    ITIME = 32
    LIMITS = 5
    USAGE = 10
    TIMES = 48
    ALL = 63


class IIF(enum.IntFlag):
    """`IIF_*`: which members of `IfDqinfo` mean something.

    manpage: quotactl(2)
    """

    NONE = 0
    BGRACE = 1
    IGRACE = 2
    FLAGS = 4
    ALL = 7


class DQF(enum.IntFlag):
    """`DQF_*`: flags in `IfDqinfo`.

    manpage: quotactl(2)
    """

    NONE = 0
    ROOT_SQUASH = 1
    SYS_FILE = 0x10000


_HEADERS = ("linux/quota.h",)


class IfDqblk(CStruct, c="struct if_dqblk", headers=_HEADERS):
    """`struct if_dqblk`, in the manual `struct dqblk`: the quota of a user, a group or a project.

    A limit of 0 is none.

    Args:
        bhardlimit, bsoftlimit: limits of the space, in units of 1024 bytes.
        curspace: bytes that are used.
        ihardlimit, isoftlimit: limits of the number of files.
        curinodes: how many there are.
        btime, itime: until when, in seconds since 1970, the soft limits may be exceeded.
        valid: which of these mean something.

    manpage: quotactl(2)
    """

    bhardlimit: int = u64("dqb_bhardlimit", default=0)
    bsoftlimit: int = u64("dqb_bsoftlimit", default=0)
    curspace: int = u64("dqb_curspace", default=0)
    ihardlimit: int = u64("dqb_ihardlimit", default=0)
    isoftlimit: int = u64("dqb_isoftlimit", default=0)
    curinodes: int = u64("dqb_curinodes", default=0)
    btime: int = u64("dqb_btime", default=0)
    itime: int = u64("dqb_itime", default=0)
    valid: QIF = u32("dqb_valid", QIF, default=QIF.NONE)


class IfNextdqblk(CStruct, c="struct if_nextdqblk", headers=_HEADERS):
    """`struct if_nextdqblk`, in the manual `struct nextdqblk`: as `IfDqblk`, and whose quota it is: `id`.

    manpage: quotactl(2)
    """

    bhardlimit: int = u64("dqb_bhardlimit", default=0)
    bsoftlimit: int = u64("dqb_bsoftlimit", default=0)
    curspace: int = u64("dqb_curspace", default=0)
    ihardlimit: int = u64("dqb_ihardlimit", default=0)
    isoftlimit: int = u64("dqb_isoftlimit", default=0)
    curinodes: int = u64("dqb_curinodes", default=0)
    btime: int = u64("dqb_btime", default=0)
    itime: int = u64("dqb_itime", default=0)
    valid: QIF = u32("dqb_valid", QIF, default=QIF.NONE)
    id: int = u32("dqb_id", default=0)


class IfDqinfo(CStruct, c="struct if_dqinfo", headers=_HEADERS):
    """`struct if_dqinfo`, in the manual `struct dqinfo`: what holds for all quotas of a kind.

    Args:
        bgrace, igrace: for how many seconds the soft limits may be exceeded.
        valid: which of these mean something.

    manpage: quotactl(2)
    """

    bgrace: int = u64("dqi_bgrace", default=0)
    igrace: int = u64("dqi_igrace", default=0)
    flags: DQF = u32("dqi_flags", DQF, default=DQF.NONE)
    valid: IIF = u32("dqi_valid", IIF, default=IIF.NONE)


def _command(cmd: Q | int, type: QUOTA | int) -> int:
    """`QCMD(cmd, type)`."""
    return (int(cmd) << 8 | int(type) & 0xFF) & 0xFFFFFFFF


def _arguments() -> dict[int, Kind]:
    """What each command reads or writes, for each type."""
    from rsyscall.linux.dqblk_xfs import FsDiskQuota, FsQuotaStat, FsQuotaStatv

    kinds: dict[Q, Kind] = {
        Q.SYNC: NOTHING,
        Q.QUOTAON: STRING,
        Q.QUOTAOFF: NOTHING,
        Q.GETFMT: OUT_INT,
        Q.GETINFO: out(IfDqinfo),
        Q.SETINFO: given(IfDqinfo),
        Q.GETQUOTA: out(IfDqblk),
        Q.SETQUOTA: given(IfDqblk),
        Q.GETNEXTQUOTA: out(IfNextdqblk),
        **dict.fromkeys((Q.XQUOTAON, Q.XQUOTAOFF, Q.XQUOTARM), buffer(4)),
        Q.XGETQUOTA: out(FsDiskQuota),
        Q.XSETQLIM: given(FsDiskQuota),
        Q.XGETQSTAT: out(FsQuotaStat),
        Q.XQUOTASYNC: NOTHING,
        Q.XGETQSTATV: out(FsQuotaStatv),
        Q.XGETNEXTQUOTA: out(FsDiskQuota),
    }
    return {_command(cmd, type): kind for cmd, kind in kinds.items() for type in QUOTA}


_COMMAND = Kind("quota_command")
_ARGUMENT = by(0, _arguments)
_ARGUMENT_OF_FD = by(1, _arguments)


def _check_argument(command: int, addr: Pointer[Any] | None) -> None:
    """Raise unless the memory is what the command takes, as far as that is known."""
    if addr is not None:
        require_size(addr, _ARGUMENT.size(command))
    elif _ARGUMENT.size(command):
        raise TypeError(f"addr: {Q(command >> 8)!r} needs memory, of the type that `Q` names")


class QuotaFileDescriptor(BaseFileDescriptor):
    """Quotas of the file system of an open file."""

    __slots__ = ()

    @overload
    async def quotactl_fd(self, cmd: Q | int, type: QUOTA | int, id: int, addr: Pointer[T]) -> Pointer[T]: ...
    @overload
    async def quotactl_fd(self, cmd: Q | int, type: QUOTA | int, id: int = 0, addr: None = None) -> None: ...

    async def quotactl_fd(
        self, cmd: Q | int, type: QUOTA | int, id: int = 0, addr: Pointer[Any] | None = None
    ) -> Pointer[Any] | None:
        """`quotactl_fd(fd, QCMD(cmd, type), id, addr)`: quotas of the file system that this file is in.

        Args:
            id: of the user, group or project; a `QFMT` for `Q.QUOTAON`.
            addr: memory of the type that `Q` says; None for a command that takes none, and for `Q.QUOTAON` if
                the file system itself has the file. Not consumed.

        Returns:
            The memory of `addr`.

        Raises:
            BufferTooSmallError: the memory is too small.
            TypeError: there is no memory, and the command takes some.
            OSError: ENOSYS (before Linux 5.14, and for a file system without quotas), ESRCH (they are not on
                for this type), EPERM, EINVAL, EROFS...; `filename` is (this descriptor, command, id).

        manpage: quotactl(2)
        """
        self._validate()
        command = _command(cmd, type)
        _check_argument(command, addr)
        with ExitStack() as stack:
            address = self.task._borrow_optional(stack, addr)
            with naming((self, cmd, id)):
                await _quotactl_fd(self.task.sysif, self.near, command, id, address)
        return addr


class QuotaTask(far.Task):
    """Quotas of file systems on block devices."""

    @overload
    async def quotactl(
        self,
        cmd: Q | int,
        type: QUOTA | int,
        special: WrittenPointer[str | os.PathLike[str]] | None,
        id: int,
        addr: Pointer[T],
    ) -> Pointer[T]: ...
    @overload
    async def quotactl(
        self,
        cmd: Q | int,
        type: QUOTA | int,
        special: WrittenPointer[str | os.PathLike[str]] | None = None,
        id: int = 0,
        addr: None = None,
    ) -> None: ...

    async def quotactl(
        self,
        cmd: Q | int,
        type: QUOTA | int,
        special: WrittenPointer[str | os.PathLike[str]] | None = None,
        id: int = 0,
        addr: Pointer[Any] | None = None,
    ) -> Pointer[Any] | None:
        """`quotactl(QCMD(cmd, type), special, id, addr)`: quotas of the file system on a block device.

        Args:
            special: the device; None with `Q.SYNC`, for all file systems. Not consumed.
            id: of the user, group or project; a `QFMT` for `Q.QUOTAON`.
            addr: memory of the type that `Q` says; None for a command that takes none, and for `Q.QUOTAON` if
                the file system itself has the file. Not consumed.

        Returns:
            The memory of `addr`.

        Raises:
            BufferTooSmallError: the memory is too small.
            TypeError: there is no memory, and the command takes some.
            OSError: ENOSYS (the kernel, or the file system, is without quotas), ENOTBLK (no block device),
                ENODEV (it is not mounted), ESRCH (quotas are not on for this type), EPERM, EINVAL, EROFS...;
                `filename` is (device, command, id).

        manpage: quotactl(2)
        """
        command = _command(cmd, type)
        _check_argument(command, addr)
        with ExitStack() as stack:
            special_addr = self._borrow_optional(stack, special)
            address = self._borrow_optional(stack, addr)
            with naming((None if special is None else special.value, cmd, id)):
                await _quotactl(self.sysif, command, special_addr, id, address)
        return addr


@call("quotactl_fd", FDNUM, _COMMAND, ID, _ARGUMENT_OF_FD)
async def _quotactl_fd(
    sysif: SyscallInterface, fd: near.FileDescriptor, command: int, id: int, addr: near.Address | None
) -> None:
    """The raw call."""
    await sysif.syscall(nr.quotactl_fd, fd, command, id, addr or 0)


@call("quotactl", _COMMAND, PATH, ID, _ARGUMENT)
async def _quotactl(
    sysif: SyscallInterface,
    command: int,
    special: near.Address | None,
    id: int,
    addr: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.quotactl, command, special or 0, id, addr or 0)
