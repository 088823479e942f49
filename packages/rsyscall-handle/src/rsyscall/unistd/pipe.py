"""`pipe`, from `<unistd.h>`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsyscall import far
from rsyscall.fcntl import O, encode_open_flags
from rsyscall.handle._later import late
from rsyscall.handle.arguments import OUT_PAIR, call, flags
from rsyscall.handle.fd import FileDescriptorTask, T_fd, T_held
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import FixedSize, Serializer
from rsyscall.sys._received import take_over_all

if TYPE_CHECKING:
    from rsyscall.handle.pointer import LinearPointer, Pointer
    from rsyscall.near import SyscallInterface

__all__ = ["Pipe", "PipeSerializer", "PipeTask"]

_FORMAT = struct.Struct("=ii")

T_pipe = TypeVar("T_pipe", bound="Pipe[Any]")


@light_dataclass
class Pipe(FixedSize, Generic[T_held]):
    """`int pipefd[2]`: the two ends of a pipe. What is written to `write` can be read from `read`."""

    read: T_held
    write: T_held

    def __getitem__(self, idx: int) -> T_held:
        return (self.read, self.write)[idx]

    def __iter__(self) -> Iterator[T_held]:
        return iter((self.read, self.write))

    @classmethod
    def get_serializer(cls: type[T_pipe], task: FileDescriptorTask[Any]) -> Serializer[T_pipe]:
        """Return a serializer that makes handles for `task` from the numbers that it reads."""
        return PipeSerializer(cls, task)

    @classmethod
    def sizeof(cls) -> int:
        """8 bytes."""
        return _FORMAT.size


@light_dataclass
class PipeSerializer(Serializer[T_pipe]):
    """Reads two numbers and makes handles for them. Do that once only: see `LinearPointer`."""

    cls: type[T_pipe]
    task: FileDescriptorTask[Any]

    all_or_nothing = True

    def to_bytes(self, val: T_pipe) -> bytes:
        """The two numbers."""
        return _FORMAT.pack(val.read.near.number, val.write.near.number)

    def from_bytes(self, data: bytes) -> T_pipe:
        """Take ownership of the two numbers, or, when it raises, of neither."""
        read, write = take_over_all(self.task, _FORMAT.unpack_from(data))
        return self.cls(read, write)


@late
class PipeTask(FileDescriptorTask[T_fd]):
    """Making pipes."""

    async def pipe(self, buf: Pointer[Pipe[Any]], flags: O = O(0)) -> LinearPointer[Pipe[T_fd]]:
        """`pipe2(buf, flags | O_CLOEXEC)`: make a pipe.

        Args:
            buf: room for the two numbers. Consumed.
            flags: `O.NONBLOCK`, `O.DIRECT` (packets); `O.CLOEXEC` is always added.

        Returns:
            The memory. Read it exactly once: this makes the two handles, for the task with which `buf` was
            allocated.

        Raises:
            FDTableMismatchError: `buf` was allocated with a task that has another descriptor table, so that
                the handles would be for other files.
            ValueError: the memory is too small.
            OSError: EMFILE, ENFILE.

        manpage: pipe(2)
        """
        if buf.size() < _FORMAT.size:
            raise ValueError(f"two descriptors take {_FORMAT.size} bytes, there are {buf.size()}")
        serializer = buf.serializer
        if isinstance(serializer, PipeSerializer) and serializer.task.fd_table is not self.fd_table:
            raise far.FDTableMismatchError(serializer.task.fd_table, self.fd_table)
        record = CallRecord(self.fd_table, True)
        with buf.borrow(self) as buf_addr, naming(buf):
            await _pipe(self.sysif, record, buf_addr, flags | O.CLOEXEC)
        return buf._linearize(record if isinstance(serializer, PipeSerializer) else None)


@call("pipe2", OUT_PAIR, flags(O, "O_"))
async def _pipe(sysif: SyscallInterface, record: CallRecord, pipefd: near.Address, flags: O) -> None:
    """The raw call; `record` owns the two numbers, if `pipefd` is in our own memory."""
    await sysif.recorded_syscall(record, nr.pipe2, pipefd, encode_open_flags(sysif.abi, flags))
