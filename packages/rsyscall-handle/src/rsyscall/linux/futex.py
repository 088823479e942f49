"""`<linux/futex.h>`: words in memory that processes wait for, and how they survive their owner."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, ClassVar

import rsyscall.far
from rsyscall.cstruct import CStruct, constant, i64, u32, u64
from rsyscall.handle._later import late
from rsyscall.handle.arguments import ADDRESS, SIZE, call
from rsyscall.handle.buffers import require_size
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface

__all__ = [
    "FUTEX",
    "FUTEX2",
    "FUTEX_BITSET_MATCH_ANY",
    "FUTEX_OP",
    "FUTEX_OP_CMP",
    "FUTEX_OWNER_DIED",
    "FUTEX_TID_MASK",
    "FUTEX_WAITERS",
    "FUTEX_WAITV_MAX",
    "FutexNode",
    "FutexTask",
    "FutexWaitv",
    "RobustListHead",
]


class FUTEX(enum.IntFlag):
    """`FUTEX_*`: operations of `futex`, or-ed with flags.

    The operations are numbers and not bits: compare `op.command`.

    manpage: futex(2)
    """

    WAIT = 0
    WAKE = 1
    FD = 2  # until Linux 2.6.25
    REQUEUE = 3
    CMP_REQUEUE = 4
    WAKE_OP = 5
    LOCK_PI = 6
    UNLOCK_PI = 7
    TRYLOCK_PI = 8
    WAIT_BITSET = 9
    WAKE_BITSET = 10
    WAIT_REQUEUE_PI = 11
    CMP_REQUEUE_PI = 12
    LOCK_PI2 = 13
    PRIVATE_FLAG = 128
    CLOCK_REALTIME = 256
    ROBUST_UNLOCK = 512  # since Linux 7.3
    ROBUST_LIST32 = 1024  # since Linux 7.3
    WAIT_PRIVATE = WAIT | PRIVATE_FLAG
    WAKE_PRIVATE = WAKE | PRIVATE_FLAG
    REQUEUE_PRIVATE = REQUEUE | PRIVATE_FLAG
    CMP_REQUEUE_PRIVATE = CMP_REQUEUE | PRIVATE_FLAG
    WAKE_OP_PRIVATE = WAKE_OP | PRIVATE_FLAG
    LOCK_PI_PRIVATE = LOCK_PI | PRIVATE_FLAG
    UNLOCK_PI_PRIVATE = UNLOCK_PI | PRIVATE_FLAG
    TRYLOCK_PI_PRIVATE = TRYLOCK_PI | PRIVATE_FLAG
    WAIT_BITSET_PRIVATE = WAIT_BITSET | PRIVATE_FLAG
    WAKE_BITSET_PRIVATE = WAKE_BITSET | PRIVATE_FLAG
    WAIT_REQUEUE_PI_PRIVATE = WAIT_REQUEUE_PI | PRIVATE_FLAG
    CMP_REQUEUE_PI_PRIVATE = CMP_REQUEUE_PI | PRIVATE_FLAG
    LOCK_PI2_PRIVATE = LOCK_PI2 | PRIVATE_FLAG

    @property
    def command(self) -> FUTEX:
        """The operation alone, without the flags."""
        return FUTEX(self.value & ~(FUTEX.PRIVATE_FLAG.value | FUTEX.CLOCK_REALTIME.value))


class FUTEX_OP(enum.IntFlag):
    """`FUTEX_OP_*`: what `FUTEX.WAKE_OP` does to the second word; one of these, or-ed with `OPARG_SHIFT`.

    manpage: FUTEX_WAKE_OP(2const)
    """

    SET = 0
    ADD = 1
    OR = 2
    ANDN = 3
    XOR = 4
    OPARG_SHIFT = 8


class FUTEX_OP_CMP(enum.IntEnum):
    """`FUTEX_OP_CMP_*`: how `FUTEX.WAKE_OP` compares the second word.

    manpage: FUTEX_WAKE_OP(2const)
    """

    EQ = 0
    NE = 1
    LT = 2
    LE = 3
    GT = 4
    GE = 5


class FUTEX2(enum.IntFlag):
    """`FUTEX2_*`: flags of a word for `futex_waitv` and later calls. Only `SIZE_U32` works.

    manpage: futex_waitv(2)
    """

    SIZE_U8 = 0  # since Linux 6.7
    SIZE_U16 = 1  # since Linux 6.7
    SIZE_U32 = 2
    SIZE_U64 = 3  # since Linux 6.7
    SIZE_MASK = 3  # since Linux 6.7
    NUMA = 4  # since Linux 6.7
    MPOL = 8  # since Linux 6.16
    PRIVATE = 128  # since Linux 6.7

    @property
    def word_size(self) -> int:
        """How many bytes the kernel uses: the word, and with `NUMA` the number of a node of the same size."""
        size = 1 << (self.value & FUTEX2.SIZE_MASK.value)
        return 2 * size if self.value & FUTEX2.NUMA.value else size


FUTEX_BITSET_MATCH_ANY = 0xFFFFFFFF
"""Bits for `FUTEX.WAIT_BITSET` and `FUTEX.WAKE_BITSET`: any."""
FUTEX_WAITV_MAX = 128
"""How many words `futex_waitv` waits for at once."""
FUTEX_WAITERS = 0x80000000
"""Bit of a futex word: there are waiters."""
FUTEX_OWNER_DIED = 0x40000000
"""Bit of a futex word: the kernel sets it when the owner dies while holding the lock."""
FUTEX_TID_MASK = 0x3FFFFFFF
"""Bits of a futex word: the thread id of the owner."""

_FUTEX_OFFSET = 8


def _next_node(address: int) -> near.Address | None:
    return near.Address(address) if address else None


def _address(pointer: Pointer[FutexNode] | near.Address | None) -> int:
    if pointer is None:
        return 0
    return int(pointer if isinstance(pointer, near.Address) else pointer.near)


class FutexNode(
    CStruct,
    c="struct futex_node",
    headers=("linux/futex.h", "struct futex_node { struct robust_list list; __u32 futex; };"),
):
    """A futex word as an element of a list of robust futexes.

    Also used where just a futex word is wanted; that is at `FUTEX_OFFSET` bytes from the start.

    Args:
        next: the next node of the list; None at its end. When read from memory it is a bare address.
        futex: the 32-bit word.

    manpage: get_robust_list(2)
    """

    next: Pointer[FutexNode] | near.Address | None = u64("list.next", _next_node, encode=_address)
    futex: int = u32("futex", encode=lambda word: word & 0xFFFFFFFF)

    FUTEX_OFFSET = _FUTEX_OFFSET


class RobustListHead(CStruct, c="struct robust_list_head", headers=("linux/futex.h",)):
    """The head of a list of robust futexes: the kernel marks and wakes them when the process exits or execs.

    The list ends with a null pointer instead of leading back to the head. The kernel stops there, since it
    cannot read at address 0; so nothing may be mapped there.

    Args:
        first: the first node.

    manpage: get_robust_list(2)
    """

    first: WrittenPointer[FutexNode] = u64("list.next", encode=_address)
    futex_offset: ClassVar[int] = constant(i64("futex_offset"), _FUTEX_OFFSET)
    list_op_pending: ClassVar[int] = constant(u64("list_op_pending"), 0)

    @classmethod
    def from_bytes(cls, data: bytes) -> RobustListHead:
        """Raise: the node cannot be found from its address."""
        raise NotImplementedError("the head of a robust list cannot be read back: it consists of addresses")


def _word(pointer: Pointer[Any] | near.Address) -> int:
    return int(pointer if isinstance(pointer, near.Address) else pointer.near)


class FutexWaitv(CStruct, c="struct futex_waitv", headers=("linux/futex.h",)):
    """`struct futex_waitv`: a word to wait for.

    Args:
        val: the value that it has while waiting makes sense.
        uaddr: memory that begins with the word; read back, a bare address.
        flags: its size; `FUTEX2.PRIVATE` if no other process has the memory. With `FUTEX2.NUMA` the number of
            a node is behind the word, of the same size, and the kernel may set it.

    manpage: futex_waitv(2)
    """

    val: int = u64("val")
    uaddr: Pointer[Any] | near.Address = u64("uaddr", near.Address, encode=_word)
    flags: FUTEX2 = u32("flags", FUTEX2, default=FUTEX2.SIZE_U32)
    reserved: ClassVar[int] = constant(u32("__reserved"), 0)

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow the memory for `task`, until `stack` is left; `BufferTooSmallError` if it is too small."""
        if not isinstance(self.uaddr, near.Address):
            stack.enter_context(self.uaddr.borrow(task))
            require_size(self.uaddr, self.flags.word_size)


@late
class FutexTask(rsyscall.far.Task):
    """Calls about futexes."""

    async def set_robust_list(self, head: WrittenPointer[RobustListHead]) -> None:
        """Tell the kernel which futexes to mark and wake when this process exits or execs.

        The kernel keeps the address: the head and all nodes must stay allocated until then.

        manpage: set_robust_list(2)
        """
        with head.borrow(self) as address, head.value.first.borrow(self), naming(head):
            await _set_robust_list(self.sysif, address, head.size())


@call("set_robust_list", ADDRESS, SIZE)
async def _set_robust_list(sysif: SyscallInterface, head: near.Address, len: int) -> None:
    """`set_robust_list`; `len` is the size of the head in bytes."""
    await sysif.syscall(nr.set_robust_list, head, len)
