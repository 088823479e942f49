"""The call of `<linux/futex.h>` about the robust futexes of another process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle.arguments import PID, buffer, call
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Int64

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["FutexProcess"]


class FutexProcess(BaseProcess):
    """The robust futexes of the process."""

    async def get_robust_list(self, head_ptr: Pointer[Int64], len_ptr: Pointer[Int64]) -> None:
        """`get_robust_list(pid, head_ptr, len_ptr)`: where the process has its list of robust futexes.

        Args:
            head_ptr, len_ptr: where to put the address and the size of its head; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EPERM (it may not be traced), ESRCH; `filename` is the process.

        manpage: get_robust_list(2)
        """
        check_pointers(head_ptr, len_ptr)
        require_size(head_ptr, Int64.sizeof())
        require_size(len_ptr, Int64.sizeof())
        with (
            self._using(),
            head_ptr.borrow(self.task) as head_ptr_addr,
            len_ptr.borrow(self.task) as len_ptr_addr,
            naming(self.near),
        ):
            await _get_robust_list(self.task.sysif, self.near, head_ptr_addr, len_ptr_addr)


@call("get_robust_list", PID, buffer(8), buffer(8))
async def _get_robust_list(
    sysif: SyscallInterface, pid: near.Process, head_ptr: near.Address, len_ptr: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.get_robust_list, pid, head_ptr, len_ptr)
