"""`<linux/mount.h>`: what mounts there are. `rsyscall.sys.mount` has the calls that make and change them.

A mount has an id that the kernel never uses again: `Statx.mnt_id` if `STATX.MNT_ID_UNIQUE` was asked for, and
what `listmount` returns. The ids in /proc/self/mountinfo are others, which the kernel reuses.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, u32, u64
from rsyscall.handle.arguments import SIZE, Memory, call, flags, given, words
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import WrittenPointer, check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable
from rsyscall.sys._mount_constants import MS
from rsyscall.sys._mount_files import MOUNT_ATTR

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "LISTMOUNT",
    "LSMT_ROOT",
    "STATMOUNT",
    "ListmountTask",
    "MntIdReq",
    "MountIdList",
    "Statmount",
    "StatmountHeader",
]

LSMT_ROOT = 2**64 - 1
"""In place of the id of a mount, for `listmount`: the root of the mount namespace."""


class STATMOUNT(enum.IntFlag):
    """`STATMOUNT_*`: what `statmount` is asked for, and what it has found.

    manpage: statmount(2)
    """

    NONE = 0
    SB_BASIC = 0x1  # since Linux 6.8
    MNT_BASIC = 0x2  # since Linux 6.8
    PROPAGATE_FROM = 0x4  # since Linux 6.8
    MNT_ROOT = 0x8  # since Linux 6.8
    MNT_POINT = 0x10  # since Linux 6.8
    FS_TYPE = 0x20  # since Linux 6.8
    MNT_NS_ID = 0x40  # since Linux 6.11
    MNT_OPTS = 0x80  # since Linux 6.11
    FS_SUBTYPE = 0x100  # since Linux 6.13
    SB_SOURCE = 0x200  # since Linux 6.13
    OPT_ARRAY = 0x400  # since Linux 6.13
    OPT_SEC_ARRAY = 0x800  # since Linux 6.13
    SUPPORTED_MASK = 0x1000  # since Linux 6.15
    MNT_UIDMAP = 0x2000  # since Linux 6.15
    MNT_GIDMAP = 0x4000  # since Linux 6.15


class LISTMOUNT(enum.IntFlag):
    """`LISTMOUNT_*`: flags of `listmount`.

    manpage: listmount(2)
    """

    NONE = 0
    REVERSE = 0x1  # since Linux 6.11


class MntIdReq(CStruct, c="struct mnt_id_req", headers=("linux/mount.h",), brief=("mnt_id", "param")):
    """`struct mnt_id_req`: which mount `statmount` and `listmount` are about.

    Args:
        size: of this structure.
        mnt_ns_fd: the number of a descriptor of a mount namespace, in place of `mnt_ns_id`; or 0.
        mnt_id: the id of the mount; for `listmount` `LSMT_ROOT`, too.
        param: for `statmount` what is wanted, `STATMOUNT`; for `listmount` the last id that the call before
            has returned, to go on from there, or 0.
        mnt_ns_id: the id of the mount namespace to look in; 0 for that of the task.

    manpage: statmount(2)
    """

    size: int = u32("size", default=32)  # since Linux 6.8
    mnt_ns_fd: int = u32("mnt_ns_fd", default=0)  # since Linux 6.18
    mnt_id: int = u64("mnt_id", default=0)  # since Linux 6.8
    param: int = u64("param", default=0)  # since Linux 6.8
    mnt_ns_id: int = u64("mnt_ns_id", default=0)  # since Linux 6.11


class StatmountHeader(
    CStruct, c="struct statmount", headers=("linux/mount.h",), size=512, brief=("mask", "mnt_id")
):
    """What is in front of the strings in `struct statmount`: numbers, and where the strings are.

    manpage: statmount(2)
    """

    size: int = u32("size")  # since Linux 6.8
    mnt_opts: int = u32("mnt_opts")  # since Linux 6.11
    mask: STATMOUNT = u64("mask", STATMOUNT)  # since Linux 6.8
    sb_dev_major: int = u32("sb_dev_major")  # since Linux 6.8
    sb_dev_minor: int = u32("sb_dev_minor")  # since Linux 6.8
    sb_magic: int = u64("sb_magic")  # since Linux 6.8
    sb_flags: MS = u32("sb_flags", MS)  # since Linux 6.8
    fs_type: int = u32("fs_type")  # since Linux 6.8
    mnt_id: int = u64("mnt_id")  # since Linux 6.8
    mnt_parent_id: int = u64("mnt_parent_id")  # since Linux 6.8
    mnt_id_old: int = u32("mnt_id_old")  # since Linux 6.8
    mnt_parent_id_old: int = u32("mnt_parent_id_old")  # since Linux 6.8
    mnt_attr: MOUNT_ATTR = u64("mnt_attr", MOUNT_ATTR)  # since Linux 6.8
    mnt_propagation: MS = u64("mnt_propagation", MS)  # since Linux 6.8
    mnt_peer_group: int = u64("mnt_peer_group")  # since Linux 6.8
    mnt_master: int = u64("mnt_master")  # since Linux 6.8
    propagate_from: int = u64("propagate_from")  # since Linux 6.8
    mnt_root: int = u32("mnt_root")  # since Linux 6.8
    mnt_point: int = u32("mnt_point")  # since Linux 6.8
    mnt_ns_id: int = u64("mnt_ns_id")  # since Linux 6.11
    fs_subtype: int = u32("fs_subtype")  # since Linux 6.13
    sb_source: int = u32("sb_source")  # since Linux 6.13
    opt_num: int = u32("opt_num")  # since Linux 6.13
    opt_array: int = u32("opt_array")  # since Linux 6.13
    opt_sec_num: int = u32("opt_sec_num")  # since Linux 6.13
    opt_sec_array: int = u32("opt_sec_array")  # since Linux 6.13
    supported_mask: STATMOUNT = u64("supported_mask", STATMOUNT)  # since Linux 6.15
    mnt_uidmap_num: int = u32("mnt_uidmap_num")  # since Linux 6.15
    mnt_uidmap: int = u32("mnt_uidmap")  # since Linux 6.15
    mnt_gidmap_num: int = u32("mnt_gidmap_num")  # since Linux 6.15
    mnt_gidmap: int = u32("mnt_gidmap")  # since Linux 6.15


@dataclass
class Statmount(Serializable):
    """`struct statmount`: what `statmount` has found. Fields that the kernel has not filled in are None.

    Args:
        header: the numbers, and where in `strings` each string begins.
        strings: all of them, each with a NUL behind it.

    manpage: statmount(2)
    """

    header: StatmountHeader
    strings: bytes

    def to_bytes(self) -> bytes:
        """The structure as the kernel writes it."""
        return self.header.to_bytes() + self.strings

    @classmethod
    def from_bytes(cls, data: bytes) -> Statmount:
        """Parse the structure; raises StructError if there are too few bytes."""
        header = StatmountHeader.from_bytes(data)
        return cls(header, data[StatmountHeader.sizeof() : header.size])

    def _strings(self, start: int, count: int) -> Iterator[bytes]:
        for _ in range(count):
            end = self.strings.find(b"\0", start)
            if not 0 <= start <= end:
                raise ValueError(
                    f"no string at {start} in the {len(self.strings)} bytes of strings of statmount"
                )
            yield self.strings[start:end]
            start = end + 1

    def _string(self, wanted: STATMOUNT, start: int) -> bytes | None:
        return next(self._strings(start, 1)) if self.header.mask & wanted else None

    def _text(self, wanted: STATMOUNT, start: int) -> str | None:
        found = self._string(wanted, start)
        return None if found is None else os.fsdecode(found)

    def _texts(self, wanted: STATMOUNT, start: int, count: int) -> list[str] | None:
        if not self.header.mask & wanted:
            return None
        return [os.fsdecode(found) for found in self._strings(start, count)]

    @property
    def fs_type(self) -> str | None:
        """The type of the file system: `STATMOUNT.FS_TYPE`."""
        return self._text(STATMOUNT.FS_TYPE, self.header.fs_type)

    @property
    def fs_subtype(self) -> str | None:
        """What is behind the dot in a type like `fuse.sshfs`: `STATMOUNT.FS_SUBTYPE`."""
        return self._text(STATMOUNT.FS_SUBTYPE, self.header.fs_subtype)

    @property
    def mnt_root(self) -> str | None:
        """Which directory of the file system is mounted: `STATMOUNT.MNT_ROOT`."""
        return self._text(STATMOUNT.MNT_ROOT, self.header.mnt_root)

    @property
    def mnt_point(self) -> str | None:
        """Where it is mounted, seen from the root of the task: `STATMOUNT.MNT_POINT`."""
        return self._text(STATMOUNT.MNT_POINT, self.header.mnt_point)

    @property
    def sb_source(self) -> str | None:
        """The source, the first column of /proc/mounts: `STATMOUNT.SB_SOURCE`."""
        return self._text(STATMOUNT.SB_SOURCE, self.header.sb_source)

    @property
    def mnt_opts(self) -> str | None:
        """The options of the file system, separated by commas: `STATMOUNT.MNT_OPTS`."""
        return self._text(STATMOUNT.MNT_OPTS, self.header.mnt_opts)

    @property
    def opts(self) -> list[str] | None:
        """The options of the file system, one by one: `STATMOUNT.OPT_ARRAY`."""
        return self._texts(STATMOUNT.OPT_ARRAY, self.header.opt_array, self.header.opt_num)

    @property
    def sec_opts(self) -> list[str] | None:
        """The options of security modules: `STATMOUNT.OPT_SEC_ARRAY`."""
        return self._texts(STATMOUNT.OPT_SEC_ARRAY, self.header.opt_sec_array, self.header.opt_sec_num)

    @property
    def mnt_uidmap(self) -> list[str] | None:
        """The map of user ids of an id-mapped mount: `STATMOUNT.MNT_UIDMAP`."""
        return self._texts(STATMOUNT.MNT_UIDMAP, self.header.mnt_uidmap, self.header.mnt_uidmap_num)

    @property
    def mnt_gidmap(self) -> list[str] | None:
        """The map of group ids of an id-mapped mount: `STATMOUNT.MNT_GIDMAP`."""
        return self._texts(STATMOUNT.MNT_GIDMAP, self.header.mnt_gidmap, self.header.mnt_gidmap_num)


class MountIdList(list[int], Serializable):
    """What `listmount` returns: ids of mounts."""

    def to_bytes(self) -> bytes:
        """The ids, 8 bytes each."""
        return struct.pack(f"={len(self)}Q", *self)

    @classmethod
    def from_bytes(cls, data: bytes) -> MountIdList:
        """Parse ids; raises ValueError for a part of one."""
        if len(data) % 8:
            raise ValueError(f"{len(data)} bytes are no whole number of ids of mounts, of 8 bytes each")
        return cls(struct.unpack(f"={len(data) // 8}Q", data))


def _check_request(req: Pointer[MntIdReq]) -> None:
    require_size(req, MntIdReq.sizeof())
    if isinstance(req, WrittenPointer):
        # The kernel believes what the structure says.
        require_size(req, req.value.size)


class ListmountTask(far.Task):
    """Which mounts there are. No method consumes the request."""

    async def statmount(self, req: Pointer[MntIdReq], buf: Pointer[Statmount]) -> Pointer[Statmount]:
        """`statmount(req, buf, bufsize, 0)`: describe a mount.

        Args:
            req: the mount, and what is wanted of it.
            buf: memory for the numbers, 512 bytes, and the strings.

        Returns:
            `buf`.

        Raises:
            BufferTooSmallError: `req` or `buf` is too small for the numbers.
            OSError: EOVERFLOW (`buf` is too small for the strings), ENOENT (no such mount), EINVAL, EPERM
                (of another mount namespace, without CAP_SYS_ADMIN); ENOSYS before Linux 6.8; `filename` is
                "statmount".

        manpage: statmount(2)
        """
        check_pointers(req, buf)
        _check_request(req)
        require_size(buf, StatmountHeader.sizeof())
        with req.borrow(self) as req_addr, buf.borrow(self) as buf_addr, naming("statmount"):
            await _statmount(self.sysif, req_addr, buf_addr, buf.size(), 0)
        return buf

    async def listmount(
        self, req: Pointer[MntIdReq], mnt_ids: Pointer[MountIdList], flags: LISTMOUNT = LISTMOUNT.NONE
    ) -> tuple[ReadablePointer[MountIdList], Pointer[MountIdList]]:
        """`listmount(req, mnt_ids, nr_mnt_ids, flags)`: list the mounts below a mount, at any depth.

        Args:
            req: the mount, and after which id to begin.
            mnt_ids: memory for the ids, 8 bytes each; consumed.

        Returns:
            The memory with the ids, and the rest. There may be more mounts if the rest is shorter than an
            id.

        Raises:
            BufferTooSmallError: `req` is too small, or `mnt_ids` for one id.
            OSError: ENOENT (no such mount), EINVAL, EPERM (another mount namespace, without CAP_SYS_ADMIN);
                ENOSYS before Linux 6.8; `filename` is "listmount".

        manpage: listmount(2)
        """
        check_pointers(req, mnt_ids)
        _check_request(req)
        require_size(mnt_ids, 8)
        with req.borrow(self) as req_addr, mnt_ids.borrow(self) as ids_addr, naming("listmount"):
            count = await _listmount(self.sysif, req_addr, ids_addr, mnt_ids.size() // 8, flags)
        return mnt_ids.readable_split(count * 8)


@call("statmount", given(MntIdReq), Memory("struct", after=True, cls=StatmountHeader), SIZE, SIZE)
async def _statmount(
    sysif: SyscallInterface, req: near.Address, buf: near.Address, bufsize: int, flags: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.statmount, req, buf, bufsize, flags)


@call("listmount", given(MntIdReq), words(None, after=True), SIZE, flags(LISTMOUNT, "LISTMOUNT_"))
async def _listmount(
    sysif: SyscallInterface, req: near.Address, mnt_ids: near.Address, nr_mnt_ids: int, flags: LISTMOUNT
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.listmount, req, mnt_ids, nr_mnt_ids, flags)
