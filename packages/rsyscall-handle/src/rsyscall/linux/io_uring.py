"""`<linux/io_uring.h>`: input and output through rings in shared memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

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
from rsyscall.linux._io_uring_rings import IoUringRings
from rsyscall.linux._io_uring_structs import (
    IORING_ENTER,
    IORING_FEAT,
    IORING_OFF,
    IORING_OP,
    IORING_REGISTER,
    IORING_SETUP,
    IoCqringOffsets,
    IoSqringOffsets,
    IoUringCqe,
    IoUringParams,
    IoUringSqe,
)
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
    "IORING_FEAT",
    "IORING_OFF",
    "IORING_OP",
    "IORING_REGISTER",
    "IORING_SETUP",
    "IoCqringOffsets",
    "IoSqringOffsets",
    "IoUringCqe",
    "IoUringFileDescriptor",
    "IoUringParams",
    "IoUringRings",
    "IoUringSqe",
    "IoUringTask",
]


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
