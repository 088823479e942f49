"""`<sys/uio.h>`: reading into, and writing from, several pieces of memory in one call."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rsyscall.cstruct import CStruct, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, LONG, NOTHING, SIZE, Memory, call, flags
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import types as near
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["RWF", "UIO_MAXIOV", "Iovec", "IovecList", "UioFileDescriptor", "split_iovec"]

UIO_MAXIOV = 1024
"""How many pieces of memory one call takes at most."""

# The offset that stands for the current position of the file.
_CURRENT_POSITION = -1


class RWF(enum.IntFlag):
    """`RWF_*`: flags of a single read or write.

    manpage: readv2(2)
    """

    NONE = 0
    HIPRI = 0x1
    DSYNC = 0x2
    SYNC = 0x4
    NOWAIT = 0x8
    APPEND = 0x10
    NOAPPEND = 0x20  # Linux 6.9
    ATOMIC = 0x40  # Linux 6.11
    DONTCACHE = 0x80  # Linux 6.14
    NOSIGNAL = 0x100  # Linux 6.18


class Iovec(CStruct, c="struct iovec", headers=("linux/uio.h",)):
    """`struct iovec`: a piece of memory, as numbers; see `IovecList` for what calls take.

    manpage: iovec(3type)
    """

    base: int = u64("iov_base")
    len: int = u64("iov_len")


_IOVEC = Iovec.layout().codec


class IovecList(list["Pointer[Any]"], Serializable):
    """An array of `struct iovec`: pieces of memory, to be used one after another as if they were one.

    manpage: readv(2)
    """

    def to_bytes(self) -> bytes:
        """Address and size of each piece, 16 bytes each."""
        return b"".join([_IOVEC.pack(int(ptr.near), ptr.size()) for ptr in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> IovecList:
        """Raises NotImplementedError: addresses cannot be made into pointers again."""
        raise NotImplementedError("an array of iovec is never read back")

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow every piece for `task`, until `stack` is left."""
        for ptr in self:
            stack.enter_context(ptr.borrow(task))

    def size(self) -> int:
        """Bytes in all pieces together."""
        return sum([ptr.size() for ptr in self])

    def split(self, n: int) -> tuple[IovecList, IovecList]:
        """The first `n` bytes, and the rest.

        A piece that straddles the boundary is split, so that one part is in each list.

        Raises:
            ValueError: there are fewer than `n` bytes.
        """
        before, middle, after = self.split_with_middle(n)
        if middle is not None:
            before.append(middle[0])
            after.insert(0, middle[1])
        return before, after

    def split_with_middle(
        self, n: int
    ) -> tuple[IovecList, tuple[Pointer[Any], Pointer[Any]] | None, IovecList]:
        """The first `n` bytes; the two parts of the piece that straddles the boundary, if any; the rest.

        Raises:
            ValueError: there are fewer than `n` bytes. Nothing is split then.
        """
        if not 0 <= n <= self.size():
            raise ValueError("cannot split an iovec there", n, self.size())
        for index, ptr in enumerate(self):
            if n == 0:
                return IovecList(self[:index]), None, IovecList(self[index:])
            size = ptr.size()
            if n < size:
                return IovecList(self[:index]), ptr.split(n), IovecList(self[index + 1 :])
            n -= size
        return IovecList(self), None, IovecList()


def split_iovec(
    iov: WrittenPointer[IovecList], ret: int
) -> tuple[WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]]:
    """Split an array of iovec in memory by how much a call has transferred; see `UioFileDescriptor.readv`.

    Consumes `iov`, and the piece that straddles the boundary.

    Args:
        iov: what the call was given.
        ret: bytes.
    """
    done, partial, untouched = iov.value.split_with_middle(ret)
    entries = len(done) + (partial is not None)
    done_ptr, untouched_ptr = iov.split(entries * _IOVEC.size)
    return done_ptr.wrote(done), partial, untouched_ptr.wrote(untouched)


@late
class UioFileDescriptor(BaseFileDescriptor):
    """Reading and writing several pieces of memory at once."""

    __slots__ = ()

    async def readv(
        self, iov: WrittenPointer[IovecList], flags: RWF = RWF.NONE
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`preadv2(fd, iov, iovcnt, -1, flags)`: read into each piece in turn, from the current position.

        Consumes `iov`; the pieces stay as they are, but for the one that was filled in part, which is split.

        Returns:
            The pieces that were filled; the filled and the empty part of the piece at the boundary, or None
            if there is no such piece; the pieces that were not touched. No piece is in two of them. (The
            entry for the piece at the boundary is in the memory of the first array, behind those that it
            lists.)

        Raises:
            OSError: EAGAIN, also for `RWF.NOWAIT`; EOPNOTSUPP for flags that the file does not support;
                EINVAL for more than `UIO_MAXIOV` pieces.

        manpage: preadv2(2)
        """
        return await self.preadv(iov, _CURRENT_POSITION, flags)

    async def writev(
        self, iov: WrittenPointer[IovecList], flags: RWF = RWF.NONE
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`pwritev2(fd, iov, iovcnt, -1, flags)`: write each piece in turn, at the current position.

        Consumes `iov`; the pieces stay as they are, but for the one that was written in part, which is split.

        Returns:
            The pieces that were written; the written part and the rest of the piece at the boundary, or None
            if there is no such piece; the pieces that were not touched; as in `readv`.

        Raises:
            OSError: EAGAIN, also for `RWF.NOWAIT`; EPIPE; EOPNOTSUPP for flags that the file does not
                support; EINVAL for more than `UIO_MAXIOV` pieces.

        manpage: pwritev2(2)
        """
        return await self.pwritev(iov, _CURRENT_POSITION, flags)

    async def preadv(
        self, iov: WrittenPointer[IovecList], offset: int, flags: RWF = RWF.NONE
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`preadv2(fd, iov, iovcnt, offset, flags)`: like `readv`, from a given position.

        Args:
            offset: bytes from the start of the file.

        manpage: preadv2(2)
        """
        return await self._transfer(_preadv2, iov, offset, flags)

    async def pwritev(
        self, iov: WrittenPointer[IovecList], offset: int, flags: RWF = RWF.NONE
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`pwritev2(fd, iov, iovcnt, offset, flags)`: like `writev`, at a given position.

        Args:
            offset: bytes from the start of the file.

        manpage: pwritev2(2)
        """
        return await self._transfer(_pwritev2, iov, offset, flags)

    async def _transfer(
        self,
        raw: Callable[[SyscallInterface, near.FileDescriptor, near.Address, int, int, RWF], Awaitable[int]],
        iov: WrittenPointer[IovecList],
        offset: int,
        flags: RWF,
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        self._validate()
        require_size(iov, len(iov.value) * _IOVEC.size)
        with ExitStack() as stack:
            iov_near = stack.enter_context(iov.borrow(self.task))
            iov.value.borrow_with(stack, self.task)
            with naming(self):
                ret = await raw(self.task.sysif, self.near, iov_near, len(iov.value), offset, flags)
        return split_iovec(iov, ret)


@call("preadv2", FDNUM, Memory("iovecs", after=True), SIZE, LONG, NOTHING, flags(RWF, "RWF_"))
async def _preadv2(
    sysif: SyscallInterface, fd: near.FileDescriptor, iov: near.Address, iovcnt: int, offset: int, flags: RWF
) -> int:
    """The raw call; an offset of -1 is the current position."""
    # The offset comes in two halves for 32-bit kernels; the others take the first for all of it and ignore
    # the second.
    return await sysif.syscall(nr.preadv2, fd, iov, iovcnt, offset, 0, flags)


@call("pwritev2", FDNUM, Memory("iovecs"), SIZE, LONG, NOTHING, flags(RWF, "RWF_"))
async def _pwritev2(
    sysif: SyscallInterface, fd: near.FileDescriptor, iov: near.Address, iovcnt: int, offset: int, flags: RWF
) -> int:
    """The raw call; an offset of -1 is the current position."""
    return await sysif.syscall(nr.pwritev2, fd, iov, iovcnt, offset, 0, flags)
