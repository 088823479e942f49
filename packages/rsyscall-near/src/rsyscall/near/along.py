"""A call, and steps that travel with it in the same round trip.

A function that makes a call takes a `SyscallInterface`. Given an `Along` in its place, it does what it always
does, and the steps before and after its call are sent together with the call:

    along = Along(sysif, before=[MemoryWrite(address, path)], linked=True)
    file = await open_along(task, along, address, O.RDONLY, 0)

This saves round trips where `SyscallInterface.pipelines` is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsInt

from rsyscall.near.abi import SYS
from rsyscall.near.record import CallRecord
from rsyscall.near.sysif import MAX_ERRNO, Step, Syscall, SyscallInterface, SyscallSendError, error_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rsyscall.near.abi import ABI

__all__ = ["Along", "bytes_of", "number_of"]


class Along(SyscallInterface):
    """Makes one call, and with it other steps.

    Args:
        sysif: makes them.
        before: steps before the call.
        after: steps after it.
        linked: after a call or a write that fails make no other call. If it is one of `before`, the call
            raises its error.

    Attributes:
        results: what came of the steps of `before` and `after`, once the call has been answered.
    """

    def __init__(
        self,
        sysif: SyscallInterface,
        before: Iterable[Step] = (),
        after: Iterable[Step] = (),
        linked: bool = False,
    ) -> None:
        self.abi: ABI = sysif.abi
        self.results: Sequence[int | bytes] = ()
        self._sysif = sysif
        self._before = list(before)
        self._after = list(after)
        self._linked = linked
        self._used = False

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make the call; see `SyscallInterface.syscall`."""
        return await self._call(None, Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6))

    async def recorded_syscall(
        self,
        record: CallRecord,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make the call; see `SyscallInterface.recorded_syscall`."""
        return await self._call(record, Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6))

    async def _call(self, record: CallRecord | None, call: Syscall) -> int:
        if self._used:
            raise RuntimeError(f"{self} makes one call, and has made it")
        self._used = True
        index = len(self._before)
        steps = [*self._before, call, *self._after]
        results = await self._sysif.steps(steps, self._linked, record, index)
        result = results.pop(index)
        self.results = results
        if self._linked:
            for other in results[:index]:
                number_of(other)
        return number_of(result)

    def check_owner(self) -> None:
        """As the interface that makes the steps."""
        self._sysif.check_owner()

    async def close_interface(self) -> None:
        """Do nothing: the connection is another's."""

    def get_activity_fd(self) -> object | None:
        """Raise `SyscallSendError`: this is for one call."""
        raise SyscallSendError(f"{self} has no activity fd")


def number_of(result: int | bytes) -> int:
    """The number that a call or a write has returned.

    Raises:
        OSError: it is an error.
    """
    if isinstance(result, bytes):
        raise TypeError("these are bytes that were read, and no number")
    if -MAX_ERRNO <= result < 0:
        raise error_of(result)
    return result if result >= 0 else result + 2**64


def bytes_of(result: int | bytes) -> bytes:
    """The bytes that were read.

    Raises:
        OSError: they could not be.
    """
    if isinstance(result, bytes):
        return result
    if result < 0:
        raise error_of(result)
    return b""
