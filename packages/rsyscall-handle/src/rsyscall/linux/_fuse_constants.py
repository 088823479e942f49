"""The constants of `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

import enum

__all__ = [
    "CUSE",
    "FATTR",
    "FOPEN",
    "FUSE_ATTR",
    "FUSE_DEV_IOC",
    "FUSE_EXPIRE",
    "FUSE_EXT",
    "FUSE_FSYNC",
    "FUSE_GETATTR",
    "FUSE_INIT",
    "FUSE_INVALID_UIDGID",
    "FUSE_IOCTL",
    "FUSE_IOCTL_MAX_IOV",
    "FUSE_IO_URING_CMD",
    "FUSE_LK",
    "FUSE_MIN_READ_BUFFER",
    "FUSE_NOTIFY",
    "FUSE_OPCODE",
    "FUSE_OPEN",
    "FUSE_POLL",
    "FUSE_READ",
    "FUSE_RELEASE",
    "FUSE_ROOT_ID",
    "FUSE_SETUPMAPPING_FLAG",
    "FUSE_SETXATTR",
    "FUSE_UNIQUE_RESEND",
    "FUSE_URING_IN_OUT_HEADER_SZ",
    "FUSE_URING_OP_IN_OUT_SZ",
    "FUSE_WRITE",
]

FUSE_ROOT_ID = 1
"""The node of the root of the file system."""
FUSE_MIN_READ_BUFFER = 8192
"""Bytes: the kernel refuses to read a request into less."""
FUSE_IOCTL_MAX_IOV = 256
"""How many pieces of memory an answer to an ioctl may ask for."""
FUSE_UNIQUE_RESEND = 1 << 63
"""The bit in `FuseInHeader.unique` of a request that is sent again."""
FUSE_INVALID_UIDGID = 0xFFFFFFFF
"""A user or a group that an idmapped mount does not have."""
FUSE_URING_IN_OUT_HEADER_SZ = 128
"""Bytes for the header of a message, in a ring."""
FUSE_URING_OP_IN_OUT_SZ = 128
"""Bytes for the structure of a request, in a ring."""


class FUSE_OPCODE(enum.IntEnum):
    """`enum fuse_opcode`: what is asked for.

    manpage: fuse(4)
    """

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52  # since Linux 6.6
    COPY_FILE_RANGE_64 = 53  # since Linux 6.18
    CUSE_INIT = 4096


class FUSE_INIT(enum.IntFlag):
    """Flags of `FUSE_OPCODE.INIT`: what the kernel offers, and what the file system takes of it.

    manpage: fuse(4)
    """

    NONE = 0
    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    # From here on they travel in flags2, 32 bits lower.
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34  # since Linux 6.3
    HAS_EXPIRE_ONLY = 1 << 35  # since Linux 6.2
    DIRECT_IO_ALLOW_MMAP = 1 << 36  # since Linux 6.6
    PASSTHROUGH = 1 << 37  # since Linux 6.9
    NO_EXPORT_SUPPORT = 1 << 38  # since Linux 6.9
    HAS_RESEND = 1 << 39  # since Linux 6.9
    ALLOW_IDMAP = 1 << 40  # since Linux 6.12
    OVER_IO_URING = 1 << 41  # since Linux 6.14
    REQUEST_TIMEOUT = 1 << 42  # since Linux 6.15


class CUSE(enum.IntFlag):
    """`CUSE_*`: flags of `FUSE_OPCODE.CUSE_INIT`."""

    UNRESTRICTED_IOCTL = 1


class FOPEN(enum.IntFlag):
    """`FOPEN_*`: how the kernel treats a file that has been opened.

    manpage: fuse(4)
    """

    NONE = 0
    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    NONSEEKABLE = 1 << 2
    CACHE_DIR = 1 << 3
    STREAM = 1 << 4
    NOFLUSH = 1 << 5
    PARALLEL_DIRECT_WRITES = 1 << 6  # since Linux 6.2
    PASSTHROUGH = 1 << 7  # since Linux 6.9


class FATTR(enum.IntFlag):
    """`FATTR_*`: which members of a `FuseSetattrIn` are given."""

    NONE = 0
    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


class FUSE_ATTR(enum.IntFlag):
    """`FUSE_ATTR_*`: what is special about a file."""

    NONE = 0
    SUBMOUNT = 1
    DAX = 2


class FUSE_GETATTR(enum.IntFlag):
    """`FUSE_GETATTR_*`: whether the request is about an open file."""

    NONE = 0
    FH = 1


class FUSE_READ(enum.IntFlag):
    """`FUSE_READ_*`: whether the owner of locks is given."""

    NONE = 0
    LOCKOWNER = 2


class FUSE_WRITE(enum.IntFlag):
    """`FUSE_WRITE_*`: what kind of a write it is."""

    NONE = 0
    CACHE = 1
    LOCKOWNER = 2
    KILL_SUIDGID = 4


class FUSE_RELEASE(enum.IntFlag):
    """`FUSE_RELEASE_*`: what to do with a file before it is closed."""

    NONE = 0
    FLUSH = 1
    FLOCK_UNLOCK = 2


class FUSE_OPEN(enum.IntFlag):
    """`FUSE_OPEN_*`: what else to do with a file that is opened."""

    NONE = 0
    KILL_SUIDGID = 1


class FUSE_FSYNC(enum.IntFlag):
    """`FUSE_FSYNC_*`: whether the data is enough."""

    NONE = 0
    FDATASYNC = 1


class FUSE_SETXATTR(enum.IntFlag):
    """`FUSE_SETXATTR_*`: what else to change with an attribute."""

    NONE = 0
    ACL_KILL_SGID = 1


class FUSE_LK(enum.IntFlag):
    """`FUSE_LK_*`: whether a lock is one of `flock`."""

    NONE = 0
    FLOCK = 1


class FUSE_IOCTL(enum.IntFlag):
    """`FUSE_IOCTL_*`: who has made an ioctl, and on what."""

    NONE = 0
    COMPAT = 1
    UNRESTRICTED = 2
    RETRY = 4
    IS_32BIT = 8
    DIR = 16
    COMPAT_X32 = 32


class FUSE_POLL(enum.IntFlag):
    """`FUSE_POLL_*`: whether to tell the kernel when something changes, by `FUSE_NOTIFY.POLL`."""

    NONE = 0
    SCHEDULE_NOTIFY = 1


class FUSE_EXPIRE(enum.IntFlag):
    """`FUSE_EXPIRE_*`: flags of `FUSE_NOTIFY.INVAL_ENTRY`."""

    NONE = 0
    ONLY = 1  # since Linux 6.2


class FUSE_SETUPMAPPING_FLAG(enum.IntFlag):
    """`FUSE_SETUPMAPPING_FLAG_*`: what a mapping is for."""

    NONE = 0
    WRITE = 1
    READ = 2


class FUSE_NOTIFY(enum.IntEnum):
    """`enum fuse_notify_code`: what a file system tells the kernel without being asked."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7  # since Linux 6.9
    INC_EPOCH = 8  # since Linux 6.16
    PRUNE = 9  # since Linux 6.18


class FUSE_EXT(enum.IntEnum):
    """`enum fuse_ext_type`: what stands behind a request; up to `MAX_NR_SECCTX`, contexts."""

    MAX_NR_SECCTX = 31  # since Linux 6.2
    GROUPS = 32  # since Linux 6.3


class FUSE_DEV_IOC(enum.IntEnum):
    """`FUSE_DEV_IOC_*`: requests of `ioctl` on /dev/fuse."""

    CLONE = 0x8004E500
    BACKING_OPEN = 0x4010E501  # since Linux 6.9: takes a FuseBackingMap
    BACKING_CLOSE = 0x4004E502  # since Linux 6.9
    SYNC_INIT = 0xE503  # since Linux 6.18


class FUSE_IO_URING_CMD(enum.IntEnum):
    """`enum fuse_uring_cmd`: commands of `IORING_OP.URING_CMD` on /dev/fuse."""

    INVALID = 0  # since Linux 6.14
    REGISTER = 1  # since Linux 6.14
    COMMIT_AND_FETCH = 2  # since Linux 6.14
