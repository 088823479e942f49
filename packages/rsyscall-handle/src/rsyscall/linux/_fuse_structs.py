"""The structures of requests of `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names.

The fields have the names of the members in C. `fh` is always the number that the file system gave the kernel
for an open file, `nodeid` the one that it gave for a file. Sizes, lengths and offsets are in bytes.
"""

from __future__ import annotations

from typing import ClassVar

from rsyscall.cstruct import CStruct, nested, u16, u32, u64
from rsyscall.fcntl import O
from rsyscall.linux._fuse_constants import (
    FATTR,
    FUSE_FSYNC,
    FUSE_GETATTR,
    FUSE_INIT,
    FUSE_IOCTL,
    FUSE_LK,
    FUSE_OPCODE,
    FUSE_OPEN,
    FUSE_POLL,
    FUSE_READ,
    FUSE_RELEASE,
    FUSE_SETUPMAPPING_FLAG,
    FUSE_SETXATTR,
    FUSE_WRITE,
)
from rsyscall.sys.stat import TypeMode
from rsyscall.time import Timespec

HEADERS = ("linux/ioctl.h", "linux/fuse.h")
_LOW = 0xFFFFFFFF


def high_flags(number: int) -> FUSE_INIT:
    """The flags that stand for a number in `flags2`."""
    return FUSE_INIT(number << 32)


def _epoch() -> Timespec:
    return Timespec(0, 0)


def _no_mode() -> TypeMode:
    return TypeMode.from_int(0)


class FuseInHeader(CStruct, c="struct fuse_in_header", headers=HEADERS, size=40):
    """`struct fuse_in_header`: in front of every request.

    Args:
        unique: the number of the request, for the answer.
        nodeid: the file that it is about.
        uid, gid, pid: who asks; 0 where the mount does not know them.
        total_extlen: how much stands behind the message, in units of 8 bytes.
        len: of the message with this header.
        opcode: one of `FUSE_OPCODE`, or newer.
    """

    unique: int = u64("unique", offset=8)
    nodeid: int = u64("nodeid")
    uid: int = u32("uid")
    gid: int = u32("gid")
    pid: int = u32("pid")
    total_extlen: int = u16("total_extlen", default=0)  # since Linux 6.3
    len: int = u32("len", offset=0, default=0)
    opcode: int = u32("opcode", offset=4, default=0)


class FuseInitIn(CStruct, c="struct fuse_init_in", headers=HEADERS, size=64):
    """`struct fuse_init_in`: what the kernel can do.

    Args:
        major, minor: the version of the protocol.
        max_readahead: bytes.
        flags: what it offers.
        flags2: the flags from `FUSE_INIT.SECURITY_CTX` on.
    """

    major: int = u32("major")
    minor: int = u32("minor")
    max_readahead: int = u32("max_readahead")
    flags: FUSE_INIT = u32("flags", FUSE_INIT)
    flags2: FUSE_INIT = u32(
        "flags2", high_flags, encode=lambda n: n >> 32, default=FUSE_INIT.NONE, prefix="FUSE_"
    )

    opcode: ClassVar[FUSE_OPCODE] = FUSE_OPCODE.INIT

    def __post_init__(self) -> None:
        self.flags, self.flags2 = split_flags(self.flags, self.flags2)

    @classmethod
    def from_bytes(cls, data: bytes) -> FuseInitIn:
        """Parse the message, which is shorter before version 7.36; StructError if it is too short."""
        return super().from_bytes(data.ljust(cls.sizeof(), b"\0") if len(data) >= 16 else data)

    @property
    def features(self) -> FUSE_INIT:
        """All the flags."""
        return self.flags | self.flags2


def split_flags(flags: FUSE_INIT, flags2: FUSE_INIT) -> tuple[FUSE_INIT, FUSE_INIT]:
    """Move the flags where they travel."""
    both = int(flags) | int(flags2)
    return FUSE_INIT(both & _LOW), FUSE_INIT(both & ~_LOW)


class CuseInitIn(CStruct, c="struct cuse_init_in", headers=HEADERS):
    """`struct cuse_init_in`: what the kernel can do, for a character device."""

    major: int = u32("major")
    minor: int = u32("minor")
    flags: int = u32("flags", offset=12, default=0)


class FuseForgetIn(CStruct, c="struct fuse_forget_in", headers=HEADERS):
    """`struct fuse_forget_in`: the kernel forgets so many of the lookups of a node."""

    nlookup: int = u64("nlookup")


class FuseForgetOne(CStruct, c="struct fuse_forget_one", headers=HEADERS):
    """`struct fuse_forget_one`: the kernel forgets so many of the lookups of this node."""

    nodeid: int = u64("nodeid")
    nlookup: int = u64("nlookup")


class FuseBatchForgetIn(CStruct, c="struct fuse_batch_forget_in", headers=HEADERS, size=8):
    """`struct fuse_batch_forget_in`: how many `FuseForgetOne` there are."""

    count: int = u32("count")


class FuseGetattrIn(CStruct, c="struct fuse_getattr_in", headers=HEADERS):
    """`struct fuse_getattr_in`: `fh` counts if `FUSE_GETATTR.FH` is set."""

    getattr_flags: FUSE_GETATTR = u32("getattr_flags", FUSE_GETATTR)
    fh: int = u64("fh")


class FuseStatxIn(CStruct, c="struct fuse_statx_in", headers=HEADERS):
    """`struct fuse_statx_in`: as `FuseGetattrIn`, with the flags and the mask of `statx`."""

    getattr_flags: FUSE_GETATTR = u32("getattr_flags", FUSE_GETATTR)  # since Linux 6.6
    fh: int = u64("fh")  # since Linux 6.6
    sx_flags: int = u32("sx_flags")  # since Linux 6.6
    sx_mask: int = u32("sx_mask")  # since Linux 6.6


class FuseSetattrIn(CStruct, c="struct fuse_setattr_in", headers=HEADERS, size=88):
    """`struct fuse_setattr_in`: new attributes; `valid` says which."""

    valid: FATTR = u32("valid", FATTR, prefix="FATTR_")
    fh: int = u64("fh", default=0)
    size: int = u64("size", default=0)
    lock_owner: int = u64("lock_owner", default=0)
    atime: Timespec = nested(
        "atime", Timespec, ("atime", "atimensec"), ((32, "q"), (56, "I")), default_factory=_epoch
    )
    mtime: Timespec = nested(
        "mtime", Timespec, ("mtime", "mtimensec"), ((40, "q"), (60, "I")), default_factory=_epoch
    )
    ctime: Timespec = nested(
        "ctime", Timespec, ("ctime", "ctimensec"), ((48, "q"), (64, "I")), default_factory=_epoch
    )
    mode: TypeMode = u32("mode", TypeMode.from_int, encode=int, offset=68, default_factory=_no_mode)
    uid: int = u32("uid", offset=76, default=0)
    gid: int = u32("gid", default=0)


class FuseMknodIn(CStruct, c="struct fuse_mknod_in", headers=HEADERS, size=16):
    """`struct fuse_mknod_in`: a new file; the kernel has applied `umask` unless `FUSE_INIT.DONT_MASK`."""

    mode: TypeMode = u32("mode", TypeMode.from_int, encode=int)
    rdev: int = u32("rdev")
    umask: int = u32("umask", default=0)


class FuseMkdirIn(CStruct, c="struct fuse_mkdir_in", headers=HEADERS):
    """`struct fuse_mkdir_in`: a new directory."""

    mode: int = u32("mode")
    umask: int = u32("umask", default=0)


class FuseRenameIn(CStruct, c="struct fuse_rename_in", headers=HEADERS):
    """`struct fuse_rename_in`: the node of the directory that the file is moved to."""

    newdir: int = u64("newdir")


class FuseRename2In(CStruct, c="struct fuse_rename2_in", headers=HEADERS):
    """`struct fuse_rename2_in`: the same, with the flags of `renameat2`."""

    newdir: int = u64("newdir")
    flags: int = u32("flags")


class FuseLinkIn(CStruct, c="struct fuse_link_in", headers=HEADERS):
    """`struct fuse_link_in`: the node of the file that gets another name."""

    oldnodeid: int = u64("oldnodeid")


class FuseOpenIn(CStruct, c="struct fuse_open_in", headers=HEADERS):
    """`struct fuse_open_in`: how a file or a directory is opened."""

    flags: O = u32("flags", O, prefix="O_")
    open_flags: FUSE_OPEN = u32("open_flags", FUSE_OPEN, default=FUSE_OPEN.NONE)


class FuseCreateIn(CStruct, c="struct fuse_create_in", headers=HEADERS):
    """`struct fuse_create_in`: how a file is made and opened."""

    flags: O = u32("flags", O, prefix="O_")
    mode: TypeMode = u32("mode", TypeMode.from_int, encode=int)
    umask: int = u32("umask", default=0)
    open_flags: FUSE_OPEN = u32("open_flags", FUSE_OPEN, default=FUSE_OPEN.NONE)


class FuseReadIn(CStruct, c="struct fuse_read_in", headers=HEADERS, size=40):
    """`struct fuse_read_in`: what to read, at most `size` bytes; `flags` are those of the open file."""

    fh: int = u64("fh")
    offset: int = u64("offset")
    size: int = u32("size")
    read_flags: FUSE_READ = u32("read_flags", FUSE_READ)
    flags: O = u32("flags", O, prefix="O_", offset=32)
    lock_owner: int = u64("lock_owner", offset=24, default=0)


class FuseWriteIn(CStruct, c="struct fuse_write_in", headers=HEADERS, size=40):
    """`struct fuse_write_in`: where to write the `size` bytes that follow."""

    fh: int = u64("fh")
    offset: int = u64("offset")
    size: int = u32("size")
    write_flags: FUSE_WRITE = u32("write_flags", FUSE_WRITE, default=FUSE_WRITE.NONE)
    lock_owner: int = u64("lock_owner", default=0)
    flags: O = u32("flags", O, prefix="O_", default=O.RDONLY)


class FuseFlushIn(CStruct, c="struct fuse_flush_in", headers=HEADERS):
    """`struct fuse_flush_in`: a descriptor for the open file is closed."""

    fh: int = u64("fh")
    lock_owner: int = u64("lock_owner", offset=16)


class FuseReleaseIn(CStruct, c="struct fuse_release_in", headers=HEADERS):
    """`struct fuse_release_in`: the last descriptor for the open file has been closed."""

    fh: int = u64("fh")
    flags: O = u32("flags", O, prefix="O_")
    release_flags: FUSE_RELEASE = u32("release_flags", FUSE_RELEASE)
    lock_owner: int = u64("lock_owner")


class FuseFsyncIn(CStruct, c="struct fuse_fsync_in", headers=HEADERS):
    """`struct fuse_fsync_in`: what to write to the disk."""

    fh: int = u64("fh")
    fsync_flags: FUSE_FSYNC = u32("fsync_flags", FUSE_FSYNC)


class FuseSetxattrIn(CStruct, c="struct fuse_setxattr_in", headers=HEADERS):
    """`struct fuse_setxattr_in`: the size of the value, and the flags of `setxattr`."""

    size: int = u32("size")
    flags: int = u32("flags")
    setxattr_flags: FUSE_SETXATTR = u32("setxattr_flags", FUSE_SETXATTR, default=FUSE_SETXATTR.NONE)
    padding: int = u32("padding", default=0)


class FuseGetxattrHeader(CStruct, c="struct fuse_getxattr_in", headers=HEADERS):
    """`struct fuse_getxattr_in`: how many bytes the answer may have; 0 to ask for its size."""

    size: int = u32("size")
    padding: int = u32("padding", default=0)


class FuseFileLock(CStruct, c="struct fuse_file_lock", headers=HEADERS):
    """`struct fuse_file_lock`: a lock from `start` to `end`; `type` is one of `F_LCK`."""

    start: int = u64("start")
    end: int = u64("end")
    type: int = u32("type")
    pid: int = u32("pid")


class FuseLkIn(CStruct, c="struct fuse_lk_in", headers=HEADERS):
    """`struct fuse_lk_in`: whose lock it is."""

    fh: int = u64("fh")
    owner: int = u64("owner")
    lk: FuseFileLock = nested("lk", FuseFileLock)
    lk_flags: FUSE_LK = u32("lk_flags", FUSE_LK)


class FuseAccessIn(CStruct, c="struct fuse_access_in", headers=HEADERS):
    """`struct fuse_access_in`: the mode of `access`."""

    mask: int = u32("mask")
    padding: int = u32("padding", default=0)


class FuseInterruptIn(CStruct, c="struct fuse_interrupt_in", headers=HEADERS):
    """`struct fuse_interrupt_in`: the request whose answer is wanted no more."""

    unique: int = u64("unique")


class FuseBmapIn(CStruct, c="struct fuse_bmap_in", headers=HEADERS):
    """`struct fuse_bmap_in`: a block of the file."""

    block: int = u64("block")
    blocksize: int = u32("blocksize")


class FuseIoctlIn(CStruct, c="struct fuse_ioctl_in", headers=HEADERS):
    """`struct fuse_ioctl_in`: an ioctl; `in_size` bytes follow, and `out_size` may be answered."""

    fh: int = u64("fh")
    flags: FUSE_IOCTL = u32("flags", FUSE_IOCTL)
    cmd: int = u32("cmd")
    arg: int = u64("arg")
    in_size: int = u32("in_size")
    out_size: int = u32("out_size")


class FusePollIn(CStruct, c="struct fuse_poll_in", headers=HEADERS):
    """`struct fuse_poll_in`: which events; `kh` is for a later `FUSE_NOTIFY.POLL`."""

    fh: int = u64("fh")
    kh: int = u64("kh")
    flags: FUSE_POLL = u32("flags", FUSE_POLL)
    events: int = u32("events")


class FuseFallocateIn(CStruct, c="struct fuse_fallocate_in", headers=HEADERS):
    """`struct fuse_fallocate_in`: what to reserve; `mode` is one of `FALLOC_FL`."""

    fh: int = u64("fh")
    offset: int = u64("offset")
    length: int = u64("length")
    mode: int = u32("mode")


class FuseLseekIn(CStruct, c="struct fuse_lseek_in", headers=HEADERS):
    """`struct fuse_lseek_in`: find data or a hole; `whence` is one of `SEEK`."""

    fh: int = u64("fh")
    offset: int = u64("offset")
    whence: int = u32("whence")


class FuseCopyFileRangeIn(CStruct, c="struct fuse_copy_file_range_in", headers=HEADERS):
    """`struct fuse_copy_file_range_in`: what to copy, and where to."""

    fh_in: int = u64("fh_in")
    off_in: int = u64("off_in")
    nodeid_out: int = u64("nodeid_out")
    fh_out: int = u64("fh_out")
    off_out: int = u64("off_out")
    len: int = u64("len")
    flags: int = u64("flags")


class FuseSetupmappingIn(CStruct, c="struct fuse_setupmapping_in", headers=HEADERS):
    """`struct fuse_setupmapping_in`: a part of a file to be mapped at `moffset` in a window of memory."""

    fh: int = u64("fh")
    foffset: int = u64("foffset")
    len: int = u64("len")
    flags: FUSE_SETUPMAPPING_FLAG = u64("flags", FUSE_SETUPMAPPING_FLAG)
    moffset: int = u64("moffset")


class FuseRemovemappingIn(CStruct, c="struct fuse_removemapping_in", headers=HEADERS):
    """`struct fuse_removemapping_in`: how many `FuseRemovemappingOne` follow."""

    count: int = u32("count")


class FuseRemovemappingOne(CStruct, c="struct fuse_removemapping_one", headers=HEADERS):
    """`struct fuse_removemapping_one`: a mapping that ends."""

    moffset: int = u64("moffset")
    len: int = u64("len")


class FuseSyncfsIn(CStruct, c="struct fuse_syncfs_in", headers=HEADERS):
    """`struct fuse_syncfs_in`: nothing yet."""

    padding: int = u64("padding", default=0)


class FuseNotifyRetrieveIn(CStruct, c="struct fuse_notify_retrieve_in", headers=HEADERS, size=40):
    """`struct fuse_notify_retrieve_in`: the data that `FUSE_NOTIFY.RETRIEVE` asked for follows."""

    offset: int = u64("offset", offset=8)
    size: int = u32("size")


class FuseSecctx(CStruct, c="struct fuse_secctx", headers=HEADERS):
    """`struct fuse_secctx`: the size of a label; its name and the label follow."""

    size: int = u32("size")
    padding: int = u32("padding", default=0)


class FuseSecctxHeader(CStruct, c="struct fuse_secctx_header", headers=HEADERS):
    """`struct fuse_secctx_header`: how many labels of a new file follow."""

    size: int = u32("size")
    nr_secctx: int = u32("nr_secctx")


class FuseExtHeader(CStruct, c="struct fuse_ext_header", headers=HEADERS):
    """`struct fuse_ext_header`: in front of what stands behind a request; `type` as in `FUSE_EXT`."""

    size: int = u32("size")  # since Linux 6.2
    type: int = u32("type")  # since Linux 6.2


class FuseUringEntInOut(CStruct, c="struct fuse_uring_ent_in_out", headers=HEADERS):
    """`struct fuse_uring_ent_in_out`: a request in a ring, and its answer."""

    flags: int = u64("flags")  # since Linux 6.14
    commit_id: int = u64("commit_id")  # since Linux 6.14
    payload_sz: int = u32("payload_sz")  # since Linux 6.14
    reserved: int = u64("reserved", default=0)  # since Linux 6.14


class FuseUringCmdReq(CStruct, c="struct fuse_uring_cmd_req", headers=HEADERS, size=24):
    """`struct fuse_uring_cmd_req`: what a command of a ring is about."""

    flags: int = u64("flags")  # since Linux 6.14
    commit_id: int = u64("commit_id")  # since Linux 6.14
    qid: int = u16("qid")  # since Linux 6.14
