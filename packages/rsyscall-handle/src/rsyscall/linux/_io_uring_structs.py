"""The constants and structures of `<linux/io_uring.h>`. `rsyscall.linux.io_uring` has the names."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, i32, nested, u8, u16, u32, u64

__all__ = [
    "IORING_ENTER",
    "IORING_FEAT",
    "IORING_OFF",
    "IORING_OP",
    "IORING_REGISTER",
    "IORING_SETUP",
    "IoCqringOffsets",
    "IoSqringOffsets",
    "IoUringCqe",
    "IoUringParams",
    "IoUringSqe",
]


class IORING_SETUP(enum.IntFlag):
    """`IORING_SETUP_*`: how to make a ring.

    manpage: io_uring_setup(2)
    """

    NONE = 0
    IOPOLL = 1 << 0
    SQPOLL = 1 << 1
    SQ_AFF = 1 << 2
    CQSIZE = 1 << 3
    CLAMP = 1 << 4
    ATTACH_WQ = 1 << 5
    R_DISABLED = 1 << 6
    SUBMIT_ALL = 1 << 7
    COOP_TASKRUN = 1 << 8
    TASKRUN_FLAG = 1 << 9
    SQE128 = 1 << 10
    CQE32 = 1 << 11
    SINGLE_ISSUER = 1 << 12
    DEFER_TASKRUN = 1 << 13
    NO_MMAP = 1 << 14  # since Linux 6.5
    REGISTERED_FD_ONLY = 1 << 15  # since Linux 6.5
    NO_SQARRAY = 1 << 16  # since Linux 6.6
    HYBRID_IOPOLL = 1 << 17  # since Linux 6.13
    CQE_MIXED = 1 << 18  # since Linux 6.18


class IORING_ENTER(enum.IntFlag):
    """`IORING_ENTER_*`: flags of `io_uring_enter`.

    manpage: io_uring_enter(2)
    """

    NONE = 0
    GETEVENTS = 1 << 0
    SQ_WAKEUP = 1 << 1
    SQ_WAIT = 1 << 2
    EXT_ARG = 1 << 3
    REGISTERED_RING = 1 << 4
    ABS_TIMER = 1 << 5  # since Linux 6.12
    EXT_ARG_REG = 1 << 6  # since Linux 6.13
    NO_IOWAIT = 1 << 7  # since Linux 6.15


class IORING_OP(enum.IntEnum):
    """`IORING_OP_*`: operations; there are more, which are numbers.

    manpage: io_uring_enter(2)
    """

    NOP = 0
    READV = 1
    WRITEV = 2
    FSYNC = 3
    READ_FIXED = 4
    WRITE_FIXED = 5
    POLL_ADD = 6
    POLL_REMOVE = 7
    SYNC_FILE_RANGE = 8
    SENDMSG = 9
    RECVMSG = 10
    TIMEOUT = 11
    TIMEOUT_REMOVE = 12
    ACCEPT = 13
    ASYNC_CANCEL = 14
    LINK_TIMEOUT = 15
    CONNECT = 16
    FALLOCATE = 17
    OPENAT = 18
    CLOSE = 19
    FILES_UPDATE = 20
    STATX = 21
    READ = 22
    WRITE = 23
    FADVISE = 24
    MADVISE = 25
    SEND = 26
    RECV = 27
    OPENAT2 = 28
    EPOLL_CTL = 29
    SPLICE = 30
    PROVIDE_BUFFERS = 31
    REMOVE_BUFFERS = 32
    TEE = 33
    SHUTDOWN = 34
    RENAMEAT = 35
    UNLINKAT = 36
    MKDIRAT = 37
    SYMLINKAT = 38
    LINKAT = 39
    MSG_RING = 40


class IORING_REGISTER(enum.IntEnum):
    """`IORING_REGISTER_*`: what to register, or to give up; there are more, which are numbers.

    manpage: io_uring_register(2)
    """

    BUFFERS = 0
    UNREGISTER_BUFFERS = 1
    FILES = 2
    UNREGISTER_FILES = 3
    EVENTFD = 4
    UNREGISTER_EVENTFD = 5
    FILES_UPDATE = 6
    EVENTFD_ASYNC = 7
    PROBE = 8
    PERSONALITY = 9
    UNREGISTER_PERSONALITY = 10
    RESTRICTIONS = 11
    ENABLE_RINGS = 12


class IORING_OFF(enum.IntEnum):
    """`IORING_OFF_*`: where `mmap` finds the rings and the entries.

    manpage: io_uring_setup(2)
    """

    SQ_RING = 0
    CQ_RING = 0x8000000
    SQES = 0x10000000


class IORING_FEAT(enum.IntFlag):
    """`IORING_FEAT_*`: what the kernel can do, in the answer of `io_uring_setup`.

    manpage: io_uring_setup(2)
    """

    NONE = 0
    SINGLE_MMAP = 1 << 0
    NODROP = 1 << 1
    SUBMIT_STABLE = 1 << 2
    RW_CUR_POS = 1 << 3
    CUR_PERSONALITY = 1 << 4
    FAST_POLL = 1 << 5
    POLL_32BITS = 1 << 6
    SQPOLL_NONFIXED = 1 << 7
    EXT_ARG = 1 << 8
    NATIVE_WORKERS = 1 << 9
    RSRC_TAGS = 1 << 10
    CQE_SKIP = 1 << 11
    LINKED_FILE = 1 << 12


_HEADERS = ("linux/types.h", "linux/io_uring.h")


class IoSqringOffsets(CStruct, c="struct io_sqring_offsets", headers=_HEADERS, size=40):
    """`struct io_sqring_offsets`: where in the ring of submissions something is.

    manpage: io_uring_setup(2)
    """

    head: int = u32("head", default=0)
    tail: int = u32("tail", default=0)
    ring_mask: int = u32("ring_mask", default=0)
    ring_entries: int = u32("ring_entries", default=0)
    flags: int = u32("flags", default=0)
    dropped: int = u32("dropped", default=0)
    array: int = u32("array", default=0)


class IoCqringOffsets(CStruct, c="struct io_cqring_offsets", headers=_HEADERS, size=40):
    """`struct io_cqring_offsets`: where in the ring of completions something is.

    manpage: io_uring_setup(2)
    """

    head: int = u32("head", default=0)
    tail: int = u32("tail", default=0)
    ring_mask: int = u32("ring_mask", default=0)
    ring_entries: int = u32("ring_entries", default=0)
    overflow: int = u32("overflow", default=0)
    cqes: int = u32("cqes", default=0)
    flags: int = u32("flags", default=0)


class IoUringParams(CStruct, c="struct io_uring_params", headers=_HEADERS):
    """`struct io_uring_params`: how to make a ring; answers with what it is like.

    Args:
        sq_entries, cq_entries: how many entries the rings have.
        flags: how to make it.
        sq_thread_cpu, sq_thread_idle: the CPU of the thread of the kernel, and after how many milliseconds it
            sleeps; with `IORING_SETUP.SQPOLL`.
        features: what the kernel can do; the answer.
        wq_fd: the number of another ring, with `IORING_SETUP.ATTACH_WQ`.
        sq_off, cq_off: where in memory everything is; the answer.

    manpage: io_uring_setup(2)
    """

    sq_entries: int = u32("sq_entries", default=0)
    cq_entries: int = u32("cq_entries", default=0)
    flags: IORING_SETUP = u32("flags", IORING_SETUP, default=IORING_SETUP.NONE)
    sq_thread_cpu: int = u32("sq_thread_cpu", default=0)
    sq_thread_idle: int = u32("sq_thread_idle", default=0)
    features: IORING_FEAT = u32("features", IORING_FEAT, default=IORING_FEAT.NONE)
    wq_fd: int = u32("wq_fd", default=0)
    sq_off: IoSqringOffsets = nested("sq_off", IoSqringOffsets, offset=40, default_factory=IoSqringOffsets)
    cq_off: IoCqringOffsets = nested("cq_off", IoCqringOffsets, offset=80, default_factory=IoCqringOffsets)


class IoUringSqe(
    CStruct, c="struct io_uring_sqe", headers=_HEADERS, size=64, brief=("opcode", "fd", "user_data")
):
    """`struct io_uring_sqe`: an entry of the ring of submissions.

    Members that share their place have the name of the first of them.

    Args:
        opcode: an `IORING_OP`.
        user_data: comes back with the completion.

    manpage: io_uring_enter(2)
    """

    opcode: int = u8("opcode", default=0)
    flags: int = u8("flags", default=0)
    ioprio: int = u16("ioprio", default=0)
    fd: int = i32("fd", default=-1)
    off: int = u64("off", default=0)
    addr: int = u64("addr", default=0)
    len: int = u32("len", default=0)
    rw_flags: int = u32("fsync_flags", default=0)
    user_data: int = u64("user_data", default=0)
    buf_index: int = u16("buf_index", default=0)
    personality: int = u16("personality", default=0)
    splice_fd_in: int = i32("splice_fd_in", default=0)
    addr3: int = u64("addr3", default=0)


class IoUringCqe(CStruct, c="struct io_uring_cqe", headers=_HEADERS):
    """`struct io_uring_cqe`: an entry of the ring of completions.

    Args:
        user_data: that of the submission.
        res: the result, or a negative error.
        flags: what else there is to know.

    manpage: io_uring_enter(2)
    """

    user_data: int = u64("user_data", default=0)
    res: int = i32("res", default=0)
    flags: int = u32("flags", default=0)
