"""The structures of answers and notices of `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

from rsyscall.cstruct import CStruct, i32, i64, nested, u16, u32, u64
from rsyscall.linux._fuse_constants import FOPEN, FUSE_ATTR, FUSE_EXPIRE, FUSE_INIT, FUSE_IOCTL
from rsyscall.linux._fuse_structs import HEADERS, FuseFileLock, high_flags, split_flags
from rsyscall.sys.stat import Stat, StatxTimestamp, TypeMode
from rsyscall.time import Timespec


class FuseOutHeader(CStruct, c="struct fuse_out_header", headers=HEADERS, size=16):
    """`struct fuse_out_header`: in front of every answer.

    Args:
        error: 0 or a negative number of an error.
        unique: the number of the request.
        len: of the message with this header.
    """

    error: int = i32("error", offset=4)
    unique: int = u64("unique")
    len: int = u32("len", offset=0, default=0)


class FuseAttr(CStruct, c="struct fuse_attr", headers=HEADERS, brief=("mode", "size"), size=88):
    """`struct fuse_attr`: the attributes of a file, as in `Stat`; `rdev` has 32 bits here.

    manpage: stat(3type)
    """

    ino: int = u64("ino")
    size: int = u64("size")
    blocks: int = u64("blocks")
    # The header says that seconds are unsigned, but the kernel takes them for signed numbers.
    atime: Timespec = nested("atime", Timespec, ("atime", "atimensec"), ((24, "q"), (48, "I")))
    mtime: Timespec = nested("mtime", Timespec, ("mtime", "mtimensec"), ((32, "q"), (52, "I")))
    ctime: Timespec = nested("ctime", Timespec, ("ctime", "ctimensec"), ((40, "q"), (56, "I")))
    mode: TypeMode = u32("mode", TypeMode.from_int, encode=int, offset=60)
    nlink: int = u32("nlink")
    uid: int = u32("uid")
    gid: int = u32("gid")
    rdev: int = u32("rdev")
    blksize: int = u32("blksize")
    flags: FUSE_ATTR = u32("flags", FUSE_ATTR, default=FUSE_ATTR.NONE)

    @classmethod
    def from_stat(cls, stat: Stat) -> FuseAttr:
        """Return what `fstat` has said about a file, for the kernel."""
        return cls(
            stat.ino,
            stat.size,
            stat.blocks,
            stat.atime,
            stat.mtime,
            stat.ctime,
            stat.mode,
            min(stat.nlink, 0xFFFFFFFF),
            stat.uid,
            stat.gid,
            stat.rdev & 0xFFFFFFFF,
            stat.blksize,
        )


class FuseStatx(CStruct, c="struct fuse_statx", headers=HEADERS, size=256):
    """`struct fuse_statx`: the attributes of a file as in `Statx`.

    manpage: statx(2)
    """

    mask: int = u32("mask")  # since Linux 6.6
    blksize: int = u32("blksize")  # since Linux 6.6
    attributes: int = u64("attributes")  # since Linux 6.6
    nlink: int = u32("nlink")  # since Linux 6.6
    uid: int = u32("uid")  # since Linux 6.6
    gid: int = u32("gid")  # since Linux 6.6
    mode: TypeMode = u16("mode", TypeMode.from_int, encode=int)  # since Linux 6.6
    ino: int = u64("ino")  # since Linux 6.6
    size: int = u64("size")  # since Linux 6.6
    blocks: int = u64("blocks")  # since Linux 6.6
    attributes_mask: int = u64("attributes_mask")  # since Linux 6.6
    atime: StatxTimestamp = nested("atime", StatxTimestamp)  # since Linux 6.6
    btime: StatxTimestamp = nested("btime", StatxTimestamp)  # since Linux 6.6
    ctime: StatxTimestamp = nested("ctime", StatxTimestamp)  # since Linux 6.6
    mtime: StatxTimestamp = nested("mtime", StatxTimestamp)  # since Linux 6.6
    rdev_major: int = u32("rdev_major")  # since Linux 6.6
    rdev_minor: int = u32("rdev_minor")  # since Linux 6.6
    dev_major: int = u32("dev_major")  # since Linux 6.6
    dev_minor: int = u32("dev_minor")  # since Linux 6.6


class FuseInitOut(CStruct, c="struct fuse_init_out", headers=HEADERS, size=64):
    """`struct fuse_init_out`: what the file system takes of what the kernel offers.

    Args:
        major, minor: the version of the protocol.
        max_readahead: bytes.
        flags: what it takes.
        max_background: how many requests that no process waits for there may be.
        congestion_threshold: at how many of those the kernel sends fewer.
        max_write: bytes in one request.
        time_gran: nanoseconds between two times that files can have.
        max_pages: in one request, with `FUSE_INIT.MAX_PAGES`.
        map_alignment: the logarithm of the alignment of mappings, with `FUSE_INIT.MAP_ALIGNMENT`.
        flags2: the flags from `FUSE_INIT.SECURITY_CTX` on.
        max_stack_depth: with `FUSE_INIT.PASSTHROUGH`, how many file systems may be on one another.
        request_timeout: seconds, with `FUSE_INIT.REQUEST_TIMEOUT`.
    """

    major: int = u32("major")
    minor: int = u32("minor")
    max_readahead: int = u32("max_readahead")
    flags: FUSE_INIT = u32("flags", FUSE_INIT)
    max_background: int = u16("max_background")
    congestion_threshold: int = u16("congestion_threshold")
    max_write: int = u32("max_write")
    time_gran: int = u32("time_gran")
    max_pages: int = u16("max_pages", default=0)
    map_alignment: int = u16("map_alignment", default=0)
    flags2: FUSE_INIT = u32(
        "flags2", high_flags, encode=lambda n: n >> 32, default=FUSE_INIT.NONE, prefix="FUSE_"
    )
    max_stack_depth: int = u32("max_stack_depth", default=0)  # since Linux 6.9
    request_timeout: int = u16("request_timeout", default=0)  # since Linux 6.15

    def __post_init__(self) -> None:
        self.flags, self.flags2 = split_flags(self.flags, self.flags2)

    @property
    def features(self) -> FUSE_INIT:
        """All the flags."""
        return self.flags | self.flags2


class CuseInitOut(CStruct, c="struct cuse_init_out", headers=HEADERS, size=72):
    """`struct cuse_init_out`: the character device that is made."""

    major: int = u32("major")
    minor: int = u32("minor")
    flags: int = u32("flags", offset=12)
    max_read: int = u32("max_read")
    max_write: int = u32("max_write")
    dev_major: int = u32("dev_major")
    dev_minor: int = u32("dev_minor")


class FuseEntryOut(CStruct, c="struct fuse_entry_out", headers=HEADERS, size=128):
    """`struct fuse_entry_out`: a file that has been found or made.

    Args:
        nodeid: what the kernel shall call it from now on; 0 for a name that does not exist.
        generation: makes a node that is used a second time another one.
        entry_valid: how long the kernel may believe the name.
        attr_valid: how long it may believe the attributes.
        attr: the attributes.
    """

    nodeid: int = u64("nodeid")
    generation: int = u64("generation")
    entry_valid: Timespec = nested(
        "entry_valid", Timespec, ("entry_valid", "entry_valid_nsec"), ((16, "Q"), (32, "I"))
    )
    attr_valid: Timespec = nested(
        "attr_valid", Timespec, ("attr_valid", "attr_valid_nsec"), ((24, "Q"), (36, "I"))
    )
    attr: FuseAttr = nested("attr", FuseAttr, offset=40)


class FuseAttrOut(CStruct, c="struct fuse_attr_out", headers=HEADERS, size=104):
    """`struct fuse_attr_out`: attributes, and how long the kernel may believe them."""

    attr_valid: Timespec = nested(
        "attr_valid", Timespec, ("attr_valid", "attr_valid_nsec"), ((0, "Q"), (8, "I"))
    )
    attr: FuseAttr = nested("attr", FuseAttr, offset=16)


class FuseStatxOut(CStruct, c="struct fuse_statx_out", headers=HEADERS, size=288):
    """`struct fuse_statx_out`: attributes as of `statx`, and how long the kernel may believe them."""

    attr_valid: Timespec = nested(  # since Linux 6.6
        "attr_valid", Timespec, ("attr_valid", "attr_valid_nsec"), ((0, "Q"), (8, "I"))
    )
    flags: int = u32("flags", offset=12)  # since Linux 6.6
    stat: FuseStatx = nested("stat", FuseStatx, offset=32)  # since Linux 6.6


class FuseOpenOut(CStruct, c="struct fuse_open_out", headers=HEADERS, size=16):
    """`struct fuse_open_out`: an open file.

    Args:
        fh: what the kernel shall call it.
        open_flags: how the kernel shall treat it.
        backing_id: the file that stands for it, with `FOPEN.PASSTHROUGH`.
    """

    fh: int = u64("fh")
    open_flags: FOPEN = u32("open_flags", FOPEN, default=FOPEN.NONE, prefix="FOPEN_")
    backing_id: int = i32("backing_id", default=0)  # since Linux 6.9


class FuseWriteOut(CStruct, c="struct fuse_write_out", headers=HEADERS, size=8):
    """`struct fuse_write_out`: how many bytes were written."""

    size: int = u32("size")


class FuseKstatfs(CStruct, c="struct fuse_kstatfs", headers=HEADERS, size=80):
    """`struct fuse_kstatfs`: how large and how full the file system is; see `Statfs`."""

    blocks: int = u64("blocks")
    bfree: int = u64("bfree")
    bavail: int = u64("bavail")
    files: int = u64("files")
    ffree: int = u64("ffree")
    bsize: int = u32("bsize")
    namelen: int = u32("namelen")
    frsize: int = u32("frsize")


class FuseStatfsOut(CStruct, c="struct fuse_statfs_out", headers=HEADERS):
    """`struct fuse_statfs_out`: how large and how full the file system is."""

    st: FuseKstatfs = nested("st", FuseKstatfs)


class FuseGetxattrSize(CStruct, c="struct fuse_getxattr_out", headers=HEADERS):
    """`struct fuse_getxattr_out`: the size of an extended attribute, or of all their names."""

    size: int = u32("size")
    padding: int = u32("padding", default=0)


class FuseLkOut(CStruct, c="struct fuse_lk_out", headers=HEADERS):
    """`struct fuse_lk_out`: the lock that is in the way."""

    lk: FuseFileLock = nested("lk", FuseFileLock)


class FuseBmapOut(CStruct, c="struct fuse_bmap_out", headers=HEADERS):
    """`struct fuse_bmap_out`: a block of the device."""

    block: int = u64("block")


class FuseIoctlIovec(CStruct, c="struct fuse_ioctl_iovec", headers=HEADERS):
    """`struct fuse_ioctl_iovec`: memory that an ioctl reads or writes."""

    base: int = u64("base")
    len: int = u64("len")


class FuseIoctlOut(CStruct, c="struct fuse_ioctl_out", headers=HEADERS):
    """`struct fuse_ioctl_out`: what an ioctl returns; data or `FuseIoctlIovec`s follow."""

    result: int = i32("result")
    flags: FUSE_IOCTL = u32("flags", FUSE_IOCTL, default=FUSE_IOCTL.NONE)
    in_iovs: int = u32("in_iovs", default=0)
    out_iovs: int = u32("out_iovs", default=0)


class FusePollOut(CStruct, c="struct fuse_poll_out", headers=HEADERS):
    """`struct fuse_poll_out`: the events that there are."""

    revents: int = u32("revents")
    padding: int = u32("padding", default=0)


class FuseLseekOut(CStruct, c="struct fuse_lseek_out", headers=HEADERS):
    """`struct fuse_lseek_out`: where data or a hole begins."""

    offset: int = u64("offset")


class FuseCopyFileRangeOut(CStruct, c="struct fuse_copy_file_range_out", headers=HEADERS):
    """`struct fuse_copy_file_range_out`: how many bytes were copied."""

    bytes_copied: int = u64("bytes_copied")  # since Linux 6.18


class FuseDirentHeader(CStruct, c="struct fuse_dirent", headers=HEADERS):
    """`struct fuse_dirent`: an entry of a directory; the name follows."""

    ino: int = u64("ino")
    off: int = u64("off")
    namelen: int = u32("namelen")
    type: int = u32("type")


class FuseNotifyPollWakeupOut(CStruct, c="struct fuse_notify_poll_wakeup_out", headers=HEADERS):
    """`struct fuse_notify_poll_wakeup_out`: the `FusePollIn.kh` of what has become ready."""

    kh: int = u64("kh")


class FuseNotifyInvalInodeOut(CStruct, c="struct fuse_notify_inval_inode_out", headers=HEADERS):
    """`struct fuse_notify_inval_inode_out`: data that the kernel shall forget.

    Args:
        ino: the node.
        off, len: which bytes; a negative `off` for the attributes only, a `len` of 0 for all behind.
    """

    ino: int = u64("ino")
    off: int = i64("off")
    len: int = i64("len")


class FuseNotifyInvalEntryOut(CStruct, c="struct fuse_notify_inval_entry_out", headers=HEADERS):
    """`struct fuse_notify_inval_entry_out`: a name that the kernel shall forget."""

    parent: int = u64("parent")
    namelen: int = u32("namelen")
    flags: FUSE_EXPIRE = u32("flags", FUSE_EXPIRE, default=FUSE_EXPIRE.NONE)  # since Linux 6.2


class FuseNotifyDeleteOut(CStruct, c="struct fuse_notify_delete_out", headers=HEADERS, size=24):
    """`struct fuse_notify_delete_out`: a file that was deleted."""

    parent: int = u64("parent")
    child: int = u64("child")
    namelen: int = u32("namelen")


class FuseNotifyStoreOut(CStruct, c="struct fuse_notify_store_out", headers=HEADERS, size=24):
    """`struct fuse_notify_store_out`: data for the kernel to keep follows."""

    nodeid: int = u64("nodeid")
    offset: int = u64("offset")
    size: int = u32("size")


class FuseNotifyRetrieveOut(CStruct, c="struct fuse_notify_retrieve_out", headers=HEADERS, size=32):
    """`struct fuse_notify_retrieve_out`: data that the kernel shall send."""

    notify_unique: int = u64("notify_unique")
    nodeid: int = u64("nodeid")
    offset: int = u64("offset")
    size: int = u32("size")


class FuseNotifyPruneOut(CStruct, c="struct fuse_notify_prune_out", headers=HEADERS, size=16):
    """`struct fuse_notify_prune_out`: how many nodes that the kernel shall forget follow."""

    count: int = u32("count")  # since Linux 6.18


class FuseBackingMap(CStruct, c="struct fuse_backing_map", headers=HEADERS, size=16):
    """`struct fuse_backing_map`: a file that stands for one of the file system."""

    fd: int = i32("fd")  # since Linux 6.9
    flags: int = u32("flags", default=0)  # since Linux 6.9


class FuseSuppGroups(CStruct, c="struct fuse_supp_groups", headers=HEADERS):
    """`struct fuse_supp_groups`: how many groups of who makes a file follow."""

    nr_groups: int = u32("nr_groups")  # since Linux 6.3
