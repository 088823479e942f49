"""The calls of `<sys/uio.h>` about the memory of other processes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rsyscall.handle.arguments import NUMBER, PID, SIZE, Memory, array, call
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import StructList
from rsyscall.sys.uio import Iovec, IovecList, split_iovec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["UioProcess"]


async def _copy(
    process: BaseProcess,
    raw: Callable[[SyscallInterface, near.Process, near.Address, int, near.Address, int], Awaitable[int]],
    local_iov: WrittenPointer[IovecList],
    remote_iov: WrittenPointer[StructList[Iovec]],
) -> tuple[WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]]:
    check_pointers(local_iov, remote_iov)
    pieces = len(local_iov.value), len(remote_iov.value.elems)
    require_size(local_iov, pieces[0] * Iovec.sizeof())
    require_size(remote_iov, pieces[1] * Iovec.sizeof())
    with ExitStack() as stack:
        stack.enter_context(process._using())
        local_addr = stack.enter_context(local_iov.borrow(process.task))
        for piece in local_iov.value:
            stack.enter_context(piece.borrow(process.task))
        remote_addr = stack.enter_context(remote_iov.borrow(process.task))
        with naming(process.near):
            count = await raw(process.task.sysif, process.near, local_addr, pieces[0], remote_addr, pieces[1])
    return split_iovec(local_iov, count)


class UioProcess(BaseProcess):
    """Copying to and from the memory of the process."""

    async def process_vm_readv(
        self, local_iov: WrittenPointer[IovecList], remote_iov: WrittenPointer[StructList[Iovec]]
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`process_vm_readv(pid, local_iov, ...)`: copy memory of the process into ours.

        Args:
            local_iov: pieces of our memory, that of the task; consumed.
            remote_iov: pieces of the memory of the process, as addresses and sizes.

        Returns:
            As for `FileDescriptor.readv`: the array for the pieces of ours that were used, the two parts of a
            piece of which only the beginning was used, the array for the others.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EFAULT (no such memory), EPERM (it may not be traced), ESRCH, EINVAL; `filename` is the
                process.

        manpage: process_vm_readv(2)
        """
        return await _copy(self, _process_vm_readv, local_iov, remote_iov)

    async def process_vm_writev(
        self, local_iov: WrittenPointer[IovecList], remote_iov: WrittenPointer[StructList[Iovec]]
    ) -> tuple[
        WrittenPointer[IovecList], tuple[Pointer[Any], Pointer[Any]] | None, WrittenPointer[IovecList]
    ]:
        """`process_vm_writev(pid, local_iov, ...)`: copy our memory into that of the process.

        Args:
            local_iov: pieces of our memory, that of the task; consumed.
            remote_iov: pieces of the memory of the process, as addresses and sizes.

        Returns:
            As for `FileDescriptor.readv`: the array for the pieces of ours that were used, the two parts of a
            piece of which only the beginning was used, the array for the others.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EFAULT (no such memory), EPERM (it may not be traced), ESRCH, EINVAL; `filename` is the
                process.

        manpage: process_vm_readv(2)
        """
        return await _copy(self, _process_vm_writev, local_iov, remote_iov)


@call("process_vm_readv", PID, Memory("iovecs", after=True), SIZE, array(Iovec, 4), SIZE, NUMBER)
async def _process_vm_readv(
    sysif: SyscallInterface,
    pid: near.Process,
    local_iov: near.Address,
    liovcnt: int,
    remote_iov: near.Address,
    riovcnt: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.process_vm_readv, pid, local_iov, liovcnt, remote_iov, riovcnt, 0)


@call("process_vm_writev", PID, Memory("iovecs"), SIZE, array(Iovec, 4), SIZE, NUMBER)
async def _process_vm_writev(
    sysif: SyscallInterface,
    pid: near.Process,
    local_iov: near.Address,
    liovcnt: int,
    remote_iov: near.Address,
    riovcnt: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.process_vm_writev, pid, local_iov, liovcnt, remote_iov, riovcnt, 0)
