"""`<sys/select.h>`: waiting for sets of file descriptors with numbers below 1024."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import ADDRESS, INT, call, given
from rsyscall.handle.buffers import require_size_if_given
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.signal import Sigset
from rsyscall.struct import HasSerializer, Serializer, Struct, bits
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["FdSet", "SelectTask", "SigmaskArg"]


_FD_SETSIZE = 1024


class FdSet(Struct):
    """`fd_set`: a set of descriptors, with numbers up to 1023.

    Args:
        fds: handles, or numbers. Read back, there are only numbers.

    Attributes:
        numbers: the numbers.
        handles: the handles that it was made of.

    manpage: select(2)
    """

    __slots__ = ("handles", "numbers")

    def __init__(self, fds: Iterable[BaseFileDescriptor | int] = ()) -> None:
        members = list(fds)
        self.handles: tuple[BaseFileDescriptor, ...] = tuple(
            fd for fd in members if isinstance(fd, BaseFileDescriptor)
        )
        self.numbers: frozenset[int] = frozenset(int(fd) for fd in members)

    def __contains__(self, fd: BaseFileDescriptor | int) -> bool:
        """Whether the descriptor is in the set."""
        return int(fd) in self.numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __eq__(self, other: object) -> bool:
        return self.numbers == other.numbers if isinstance(other, FdSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.numbers)

    def __repr__(self) -> str:
        return f"FdSet({sorted(self.numbers)})"

    def to_bytes(self) -> bytes:
        """Return 128 bytes; ValueError for a number that there is no bit for."""
        mask = 0
        for number in self.numbers:
            if not 0 <= number < _FD_SETSIZE:
                raise ValueError(f"descriptor {number} cannot be in an FdSet; use ppoll")
            mask |= 1 << number
        return mask.to_bytes(_FD_SETSIZE // 8, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> FdSet:
        """Read a set of any length."""
        return cls(bits(int.from_bytes(data, "little"), one_indexed=False))

    @classmethod
    def sizeof(cls) -> int:
        """Return 128."""
        return _FD_SETSIZE // 8


class SigmaskArg(HasSerializer):
    """The last argument of `pselect6`: the signals that are blocked meanwhile, in memory of their own.

    Args:
        sigset: the signals.

    manpage: select(2)
    """

    __slots__ = ("sigset",)

    def __init__(self, sigset: WrittenPointer[Sigset]) -> None:
        self.sigset: WrittenPointer[Sigset] = sigset

    def get_self_serializer(self, task: rsyscall.far.Task) -> _SigmaskSerializer:
        """The serializer, which writes the address and the size of the set."""
        return _SigmaskSerializer()


_SIGMASK = struct.Struct("=QQ")


class _SigmaskSerializer(Serializer[SigmaskArg]):
    def to_bytes(self, val: SigmaskArg) -> bytes:
        return _SIGMASK.pack(int(val.sigset.near), Sigset.sizeof())

    def from_bytes(self, data: bytes) -> SigmaskArg:
        raise NotImplementedError("an address cannot be made into a pointer again")


class SelectTask(rsyscall.far.Task):
    """Waiting for descriptors."""

    async def pselect(
        self,
        readfds: WrittenPointer[FdSet] | None,
        writefds: WrittenPointer[FdSet] | None = None,
        exceptfds: WrittenPointer[FdSet] | None = None,
        timeout: WrittenPointer[Timespec] | None = None,
        sigmask: WrittenPointer[SigmaskArg] | None = None,
    ) -> int:
        """`pselect6(nfds, readfds, writefds, exceptfds, timeout, sigmask)`: wait until a descriptor is ready.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            readfds, writefds, exceptfds: descriptors to wait for; not consumed. Read them again to see which
                are ready.
            timeout: how long to wait; 0 does not wait, None waits for ever. The kernel puts what is left
                there.
            sigmask: the signals that are blocked meanwhile.

        Returns:
            How many are ready, in all sets; 0 if the time is over.

        Raises:
            BufferTooSmallError: the memory is too small.
            FDTableMismatchError: a descriptor is of another table.
            OSError: EBADF, EINTR, EINVAL; `filename`
                is the three sets.

        manpage: select(2)
        """
        require_size_if_given(readfds, FdSet.sizeof())
        require_size_if_given(writefds, FdSet.sizeof())
        require_size_if_given(exceptfds, FdSet.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        require_size_if_given(sigmask, _SIGMASK.size)
        with ExitStack() as stack:
            readfds_addr = self._borrow_optional(stack, readfds)
            writefds_addr = self._borrow_optional(stack, writefds)
            exceptfds_addr = self._borrow_optional(stack, exceptfds)
            timeout_addr = self._borrow_optional(stack, timeout)
            sigmask_addr = self._borrow_optional(stack, sigmask)
            if sigmask is not None:
                stack.enter_context(sigmask.value.sigset.borrow(self))
            nfds = 0
            for fds in (readfds, writefds, exceptfds):
                if fds is not None:
                    nfds = max(nfds, 1 + max(fds.value.numbers, default=-1))
                    for handle in fds.value.handles:
                        stack.enter_context(handle.borrow(self))
            with naming((readfds, writefds, exceptfds)):
                return await _pselect6(
                    self.sysif, nfds, readfds_addr, writefds_addr, exceptfds_addr, timeout_addr, sigmask_addr
                )


@call("pselect6", INT, ADDRESS, ADDRESS, ADDRESS, given(Timespec), ADDRESS)
async def _pselect6(
    sysif: SyscallInterface,
    nfds: int,
    readfds: near.Address | None,
    writefds: near.Address | None,
    exceptfds: near.Address | None,
    timeout: near.Address | None,
    sigmask: near.Address | None,
) -> int:
    """The raw call."""
    return await sysif.syscall(
        nr.pselect6, nfds, readfds or 0, writefds or 0, exceptfds or 0, timeout or 0, sigmask or 0
    )
