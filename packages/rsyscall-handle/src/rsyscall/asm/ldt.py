"""`<asm/ldt.h>`: the local descriptor table, of segments of memory, on x86_64 alone."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, u32
from rsyscall.handle.arguments import ADDRESS, SIZE, call, choice
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.sysif import raise_if_error

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["LDT", "USER_DESC", "LdtTask", "UserDesc"]


class LDT(enum.IntEnum):
    """What `modify_ldt` does; the header has no names for these.

    manpage: modify_ldt(2)
    """

    READ = 0
    WRITE_OLD = 1
    READ_DEFAULT = 2
    WRITE = 0x11


class USER_DESC(enum.IntFlag):
    """The bits of `UserDesc`.

    manpage: modify_ldt(2)
    """

    NONE = 0
    SEG_32BIT = 1 << 0
    CONTENTS_STACK = 1 << 1
    CONTENTS_CODE = 2 << 1
    READ_EXEC_ONLY = 1 << 3
    LIMIT_IN_PAGES = 1 << 4
    SEG_NOT_PRESENT = 1 << 5
    USEABLE = 1 << 6
    LM = 1 << 7


# The bits have no offset in C.
_DESC = """
struct rsyscall_user_desc { unsigned entry_number, base_addr, limit, flags; };
_Static_assert(
    __builtin_offsetof(struct rsyscall_user_desc, limit) == __builtin_offsetof(struct user_desc, limit), "");
_Static_assert(sizeof(struct rsyscall_user_desc) == sizeof(struct user_desc), "");
"""


class UserDesc(CStruct, c="struct rsyscall_user_desc", headers=("asm/ldt.h", _DESC)):
    """`struct user_desc`: a segment of memory.

    Args:
        entry_number: its index in the table, 0 to 8191.
        base_addr: where it begins.
        limit: its last byte, or its last page with `USER_DESC.LIMIT_IN_PAGES`.
        flags: what it is for.

    manpage: modify_ldt(2)
    """

    entry_number: int = u32("entry_number")
    base_addr: int = u32("base_addr", default=0)
    limit: int = u32("limit", default=0)
    flags: USER_DESC = u32("flags", USER_DESC, prefix="", default=USER_DESC.NONE)


class LdtTask(rsyscall.far.Task):
    """The local descriptor table, which belongs to the memory; UnsupportedSyscallError if not on x86_64."""

    async def modify_ldt(self, ptr: WrittenPointer[UserDesc], func: LDT | int = LDT.WRITE) -> None:
        """`modify_ldt(func, ptr, bytecount)`: set an entry of the table.

        Processes that share the memory of our program have its table.

        Args:
            ptr: the segment; not consumed. An empty one clears the entry.
            func: `LDT.WRITE`, or `LDT.WRITE_OLD`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, ENOMEM, ENOSYS (the kernel was built without it, or knows no such `func`);
                `filename` is (func, ptr).
            UnsupportedSyscallError: the process is not of x86_64.

        manpage: modify_ldt(2)
        """
        check_pointers(ptr)
        require_size(ptr, UserDesc.sizeof())
        with ptr.borrow(self) as address, naming((func, ptr)):
            await _modify_ldt(self.sysif, func, address, UserDesc.sizeof())

    async def modify_ldt_read(
        self, ptr: Pointer[bytes], func: LDT | int = LDT.READ
    ) -> tuple[ReadablePointer[bytes], Pointer[bytes]]:
        """`modify_ldt(func, ptr, bytecount)`: read the table, as the processor has it: 8 bytes an entry.

        Args:
            ptr: room for it; consumed.
            func: `LDT.READ`, or `LDT.READ_DEFAULT`.

        Returns:
            The memory with the table, and zeros behind it; and the rest, which is all if there is no table.

        Raises:
            OSError: EFAULT, ENOSYS (the kernel was built without it, or knows no such `func`); `filename` is
                (func, ptr).
            UnsupportedSyscallError: the process is not of x86_64.

        manpage: modify_ldt(2)
        """
        check_pointers(ptr)
        with ptr.borrow(self) as address, naming((func, ptr)):
            count = await _modify_ldt(self.sysif, func, address, ptr.size())
        return ptr.readable_split(count)


@call("modify_ldt", choice(LDT, "LDT_"), ADDRESS, SIZE)
async def _modify_ldt(sysif: SyscallInterface, func: LDT | int, ptr: near.Address, bytecount: int) -> int:
    """The raw call."""
    result = await sysif.syscall(sysif.abi.call("modify_ldt"), func, ptr, bytecount)
    # The kernel gives 32 bits, and an error is not extended to 64.
    raise_if_error(result - (1 << 32))
    return result
