"""`<linux/io_uring.h>`: input and output through rings in shared memory."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rsyscall.cstruct import CStruct, i32, nested, u8, u16, u32, u64
from rsyscall.handle.arguments import (
    ADDRESS,
    FDNUM,
    INT,
    SIZE,
    array,
    by,
    call,
    changed,
    choice,
    each,
    flags,
    integers,
)
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys.uio import Iovec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "IORING_ENTER",
    "IORING_OFF",
    "IORING_OP",
    "IORING_REGISTER",
    "IORING_SETUP",
    "IoCqringOffsets",
    "IoSqringOffsets",
    "IoUringCqe",
    "IoUringFileDescriptor",
    "IoUringParams",
    "IoUringSqe",
    "IoUringTask",
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


_USE_REGISTERED_RING = 1 << 31
# What an operation uses in memory: so many bytes, and so many more for each element. `nr_args` is no count of
# elements for those with nothing in the second place.
_REGISTERED: dict[int, tuple[int, int]] = {
    IORING_REGISTER.BUFFERS: (0, 16),  # struct iovec
    IORING_REGISTER.FILES: (0, 4),
    IORING_REGISTER.EVENTFD: (4, 0),
    IORING_REGISTER.FILES_UPDATE: (16, 0),  # struct io_uring_files_update
    IORING_REGISTER.EVENTFD_ASYNC: (4, 0),
    IORING_REGISTER.PROBE: (16, 8),  # struct io_uring_probe with its operations
    IORING_REGISTER.RESTRICTIONS: (0, 16),  # struct io_uring_restriction
}


class IORING_OFF(enum.IntEnum):
    """`IORING_OFF_*`: where `mmap` finds the rings and the entries.

    manpage: io_uring_setup(2)
    """

    SQ_RING = 0
    CQ_RING = 0x8000000
    SQES = 0x10000000


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
    features: int = u32("features", default=0)
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


class IoUringFileDescriptor(BaseFileDescriptor):
    """A ring."""

    __slots__ = ()

    async def io_uring_enter(
        self,
        to_submit: int,
        min_complete: int = 0,
        flags: IORING_ENTER = IORING_ENTER.NONE,
        arg: WrittenPointer[Any] | None = None,
    ) -> int:
        """`io_uring_enter(fd, to_submit, min_complete, flags, arg, size)`: submit entries, or wait for
        completions.

        Waits in the process, which can make no other calls meanwhile, if it is to wait for completions.

        Args:
            to_submit: how many entries.
            min_complete: how many completions to wait for, with `IORING_ENTER.GETEVENTS`.
            arg: a set of signals; or what `IORING_ENTER.EXT_ARG` says. Not consumed.

        Returns:
            How many entries were taken.

        Raises:
            ValueError: `IORING_ENTER.REGISTERED_RING`, which takes the index of another ring for the number
                of this descriptor.
            OSError: EAGAIN, EBUSY, EBADFD, EBADR, EINTR, EINVAL, EOPNOTSUPP; `filename` is this descriptor.

        manpage: io_uring_enter(2)
        """
        self._validate()
        if flags & IORING_ENTER.REGISTERED_RING:
            raise ValueError("IORING_ENTER.REGISTERED_RING takes no descriptor")
        with ExitStack() as stack:
            arg_addr = self.task._borrow_optional(stack, arg)
            with naming(self):
                return await _io_uring_enter(
                    self.task.sysif,
                    self.near,
                    to_submit,
                    min_complete,
                    flags,
                    arg_addr,
                    0 if arg is None else arg.size(),
                )

    async def io_uring_register(
        self, opcode: IORING_REGISTER | int, arg: Pointer[Any] | None, nr_args: int
    ) -> int:
        """`io_uring_register(fd, opcode, arg, nr_args)`: register memory, files and the like with the ring.

        The kernel keeps addresses of memory that is registered: it must stay allocated.

        Args:
            arg: what the operation says; not consumed.
            nr_args: how many elements that has. Their size is known for the operations that have a name
                here; for others see to it that the memory is large enough.

        Returns:
            What the operation says; 0 for most.

        Raises:
            BufferTooSmallError: the memory is too small.
            ValueError: the operation has the bit with which the kernel takes the index of another ring for
                the number of this descriptor.
            OSError: EBUSY, EFAULT, EINVAL, ENXIO, EOPNOTSUPP; `filename` is (descriptor, opcode).

        manpage: io_uring_register(2)
        """
        self._validate()
        if opcode & _USE_REGISTERED_RING:
            raise ValueError("IORING_REGISTER_USE_REGISTERED_RING takes no descriptor", opcode)
        if arg is not None:
            fixed, each = _REGISTERED.get(opcode, (0, 0))
            require_size(arg, fixed + each * (nr_args & 0xFFFFFFFF))
        with ExitStack() as stack:
            arg_addr = self.task._borrow_optional(stack, arg)
            with naming((self, opcode)):
                return await _io_uring_register(self.task.sysif, self.near, opcode, arg_addr, nr_args)


class IoUringTask(FileDescriptorTask[T_fd]):
    """Making rings."""

    async def io_uring_setup(
        self, entries: int, params: WrittenPointer[IoUringParams]
    ) -> tuple[T_fd, ReadablePointer[IoUringParams]]:
        """`io_uring_setup(entries, params)`: make a ring.

        Args:
            entries: how many submissions it has room for.
            params: how to make it, and where to put what it is like; consumed.

        Returns:
            A new descriptor, and `params` with the answer.

        All memory whose address an entry has must stay allocated until its completion has come, and longer
        if the ring goes on using it: closing the descriptor does not wait for that. With
        `IORING_SETUP.NO_MMAP` that is also true of the rings, whose addresses are in `params` then.

        Raises:
            BufferTooSmallError: the memory is too small.
            ValueError: `IORING_SETUP.REGISTERED_FD_ONLY`: the kernel would answer with an index into the
                rings that this process has registered, not with a descriptor.
            OSError: EINVAL, ENOMEM, EMFILE, EPERM; `filename` is the memory.

        manpage: io_uring_setup(2)
        """
        check_pointers(params)
        require_size(params, IoUringParams.sizeof())
        if params.value.flags & IORING_SETUP.REGISTERED_FD_ONLY:
            raise ValueError("IORING_SETUP.REGISTERED_FD_ONLY makes no descriptor")
        record = CallRecord(self.fd_table)
        with params.borrow(self) as params_addr, naming(params):
            fd = await _io_uring_setup(self.sysif, record, entries, params_addr)
        return self._adopt(fd, record), params.unsafe()


@call("io_uring_enter", FDNUM, INT, INT, flags(IORING_ENTER, "IORING_ENTER_"), ADDRESS, SIZE)
async def _io_uring_enter(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    to_submit: int,
    min_complete: int,
    flags: IORING_ENTER,
    arg: near.Address | None,
    argsz: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.io_uring_enter, fd, to_submit, min_complete, flags, arg or 0, argsz)


_OPERATION = choice(
    IORING_REGISTER,
    "IORING_REGISTER_",
    {name: f"IORING_{name}" for name in IORING_REGISTER.__members__ if name.startswith("UNREGISTER_")},
)


@call(
    "io_uring_register",
    FDNUM,
    _OPERATION,
    by(
        1,
        {
            IORING_REGISTER.BUFFERS: array(Iovec, 3),
            **each(
                (IORING_REGISTER.FILES, IORING_REGISTER.EVENTFD, IORING_REGISTER.EVENTFD_ASYNC), integers(3)
            ),
        },
        ADDRESS,
    ),
    INT,
)
async def _io_uring_register(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    opcode: IORING_REGISTER | int,
    arg: near.Address | None,
    nr_args: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.io_uring_register, fd, opcode, arg or 0, nr_args)


@call("io_uring_setup", INT, changed(IoUringParams))
async def _io_uring_setup(
    sysif: SyscallInterface, record: CallRecord, entries: int, params: near.Address
) -> near.FileDescriptor:
    """The raw call."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.io_uring_setup, entries, params))
