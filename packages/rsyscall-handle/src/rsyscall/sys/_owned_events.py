"""Reading events that carry file descriptors, which get an owner at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rsyscall.handle.arguments import FDNUM, OUT, SIZE, call
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.handle.pointer import LinearPointer, Pointer
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializer
from rsyscall.sys._received import take_over_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from rsyscall.near.sysif import SyscallInterface

__all__ = ["EventSerializer", "read_events"]

T = TypeVar("T")
T_buf = TypeVar("T_buf")


@dataclass
class EventSerializer(Serializer[T]):
    """Reads events, and makes handles for the descriptors in them. Do that once only: see `LinearPointer`.

    Args:
        task: has the table in which the descriptors are.
        numbers: the descriptors in the bytes, in their order.
        make: the events, from the bytes and the handles for these.
    """

    task: FileDescriptorTask[Any]
    numbers: Callable[[bytes], list[int]]
    make: Callable[[bytes, list[Any]], T]

    all_or_nothing = True

    def to_bytes(self, val: T) -> bytes:
        """Raises NotImplementedError: only the kernel writes events."""
        raise NotImplementedError("only the kernel writes events")

    def from_bytes(self, data: bytes) -> T:
        """Take ownership of all descriptors, or, when it raises, of none."""
        return self.make(data, take_over_all(self.task, self.numbers(data)))


class _Events(LinearPointer[T]):
    """Events from the kernel. What is dropped unread is closed, in memory that we can read at once."""

    __slots__ = ()

    def _log_loss(self, how: str) -> None:
        if self.mapping.task.sysif.shares_memory and not self.mapping.task.departed:
            reading = self.transport.read(self)
            try:
                reading.send(None)
            except StopIteration as done:
                # Handles without an owner: their descriptors are closed.
                self.serializer.from_bytes(done.value)
                return
            except Exception:
                pass
            finally:
                reading.close()
        super()._log_loss(how)


class _NoEvents(LinearPointer[T]):
    """Nothing has come, or nothing with a descriptor for all that is known: nothing is lost with it."""

    __slots__ = ()

    def _log_loss(self, how: str) -> None:
        pass


async def read_events(
    fd: BaseFileDescriptor, buf: Pointer[T_buf], serializer: EventSerializer[T], typ: type[T]
) -> tuple[LinearPointer[T], Pointer[T_buf]]:
    """Read from `fd`, and make a pointer that owns what has come; consumes `buf`."""
    with buf.borrow(fd.task) as address, naming(fd):
        count = await _read(fd.task.sysif, fd.near, address, buf.size())
    filled, rest = buf.split(count)
    arrived = filled._reinterpret(serializer, typ)
    pinned_by = arrived._consume()
    cls = _Events if count else _NoEvents
    events = cls(arrived.mapping, arrived.transport, arrived.serializer, arrived.allocation, typ)
    events._pinned_by = pinned_by
    return events, rest


@call("read", FDNUM, OUT, SIZE)
async def _read(sysif: SyscallInterface, fd: near.FileDescriptor, buf: near.Address, count: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.read, fd, buf, count)
