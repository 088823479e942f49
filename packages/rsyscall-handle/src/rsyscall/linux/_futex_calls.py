"""The calls of `<linux/futex.h>` that wait for words and wake the waiters."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, SupportsInt

import rsyscall.far
from rsyscall.handle.arguments import (
    ADDRESS,
    INT,
    NUMBER,
    SIZE,
    UNSIGNED,
    array,
    call,
    choice,
    flags,
    given,
)
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.linux.futex import FUTEX, FUTEX2, FutexWaitv
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import StructList
from rsyscall.time import CLOCK, Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["FutexWaitTask"]


_ANY = 0xFFFFFFFF
_WORD = 4
_TIMED = frozenset(
    {
        FUTEX.WAIT,
        FUTEX.LOCK_PI,
        FUTEX.WAIT_BITSET,
        FUTEX.WAIT_REQUEUE_PI,
        FUTEX.LOCK_PI2,
    }
)
# The bits that say which operation it is; the others are flags.
_COMMAND = 0x7F


class FutexWaitTask(rsyscall.far.Task):
    """Waiting for words in memory."""

    async def futex(
        self,
        uaddr: Pointer[Any],
        futex_op: FUTEX,
        val: int,
        timeout: WrittenPointer[Timespec] | int | None = None,
        uaddr2: Pointer[Any] | None = None,
        val3: int = 0,
    ) -> int:
        """`futex(uaddr, futex_op, val, timeout, uaddr2, val3)`: wait for a word, wake its waiters...

        `FUTEX.WAIT` and others wait in the process, which can make no other calls meanwhile.

        Args:
            uaddr, uaddr2: memory that begins with the word; not consumed.
            timeout: how long, or until when, as the operation says, in memory; the number `val2` for the
                operations that do not wait.

        Returns:
            What the operation says; for a wake how many were woken.

        Raises:
            BufferTooSmallError: the memory is too small.
            TypeError: a number in place of the timeout, or the reverse.
            OSError: EAGAIN (the word has another value), ETIMEDOUT, EINTR, EINVAL, ENOSYS; `filename` is
                (memory, operation).

        manpage: futex(2)
        """
        check_pointers(uaddr)
        require_size(uaddr, _WORD)
        require_size_if_given(uaddr2, _WORD)
        if timeout and isinstance(timeout, int) is (futex_op & _COMMAND in _TIMED):
            raise TypeError(f"not a timeout, or not a number, for {futex_op!r}: {timeout!r}")
        with ExitStack() as stack:
            addr = stack.enter_context(uaddr.borrow(self))
            addr2 = self._borrow_optional(stack, uaddr2)
            limit: SupportsInt = 0
            if isinstance(timeout, int):
                limit = timeout
            elif timeout is not None:
                require_size(timeout, Timespec.sizeof())
                limit = stack.enter_context(timeout.borrow(self))
            with naming((uaddr, futex_op)):
                return await _futex(self.sysif, addr, futex_op, val, limit, addr2, val3)

    async def futex_waitv(
        self,
        waiters: WrittenPointer[StructList[FutexWaitv]],
        timeout: WrittenPointer[Timespec] | None = None,
        clockid: CLOCK = CLOCK.MONOTONIC,
    ) -> int:
        """`futex_waitv(waiters, nr_futexes, 0, timeout, clockid)`: wait for the first of several words.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            waiters: at most `FUTEX_WAITV_MAX`; not consumed.
            timeout: until when to wait; None waits for ever.

        Returns:
            The index of one that was woken.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (the word has another value), ETIMEDOUT, EINTR, EINVAL; `filename` is the array.

        manpage: futex_waitv(2)
        """
        check_pointers(waiters)
        require_size(waiters, len(waiters.value.elems) * FutexWaitv.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        with ExitStack() as stack:
            waiters_addr = stack.enter_context(waiters.borrow(self))
            timeout_addr = self._borrow_optional(stack, timeout)
            for waiter in waiters.value.elems:
                waiter.borrow_with(stack, self)
            with naming(waiters.value):
                return await _futex_waitv(
                    self.sysif, waiters_addr, len(waiters.value.elems), timeout_addr, clockid
                )

    async def futex_wait(
        self,
        uaddr: Pointer[Any],
        val: int,
        mask: int = _ANY,
        flags: FUTEX2 = FUTEX2.SIZE_U32,
        timeout: WrittenPointer[Timespec] | None = None,
        clockid: CLOCK = CLOCK.MONOTONIC,
    ) -> None:
        """`futex_wait(uaddr, val, mask, flags, timeout, clockid)`: wait while the word has a value.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            uaddr: memory that begins with the word, and the node with `FUTEX2.NUMA`; not consumed.
            timeout: until when to wait; None waits for ever.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (the word has another value), ETIMEDOUT, EINTR, EINVAL; ENOSYS before Linux 6.7;
                `filename` is the memory.

        manpage: futex(2)
        """
        check_pointers(uaddr)
        require_size(uaddr, FUTEX2(flags).word_size)
        require_size_if_given(timeout, Timespec.sizeof())
        with ExitStack() as stack:
            uaddr_addr = stack.enter_context(uaddr.borrow(self))
            timeout_addr = self._borrow_optional(stack, timeout)
            with naming(uaddr):
                await _futex_wait(self.sysif, uaddr_addr, val, mask, flags, timeout_addr, clockid)

    async def futex_wake(
        self,
        uaddr: Pointer[Any],
        mask: int = _ANY,
        count: int = 1,
        flags: FUTEX2 = FUTEX2.SIZE_U32,
    ) -> int:
        """`futex_wake(uaddr, mask, nr, flags)`: wake waiters.

        Args:
            uaddr: memory that begins with the word, and the node with `FUTEX2.NUMA`; not consumed.
            count: at most so many.

        Returns:
            How many were woken.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL; ENOSYS before Linux 6.7; `filename` is the memory.

        manpage: futex(2)
        """
        check_pointers(uaddr)
        require_size(uaddr, FUTEX2(flags).word_size)
        with uaddr.borrow(self) as uaddr_addr, naming(uaddr):
            return await _futex_wake(self.sysif, uaddr_addr, mask, count, flags)

    async def futex_requeue(
        self, waiters: WrittenPointer[StructList[FutexWaitv]], nr_wake: int, nr_requeue: int
    ) -> int:
        """`futex_requeue(waiters, 0, nr_wake, nr_requeue)`: wake waiters of a word, and let others wait for
        another.

        Args:
            waiters: the two words, and the value that the first must have; not consumed.

        Returns:
            How many were woken or moved.

        Raises:
            BufferTooSmallError: the memory is too small.
            ValueError: there are not two words.
            OSError: EAGAIN (the word has another value), EINVAL; ENOSYS before Linux 6.7; `filename` is the
                array.

        manpage: futex(2)
        """
        check_pointers(waiters)
        if len(waiters.value.elems) != 2:
            raise ValueError("expected two words", waiters.value)
        require_size(waiters, 2 * FutexWaitv.sizeof())
        with ExitStack() as stack:
            addr = stack.enter_context(waiters.borrow(self))
            for waiter in waiters.value.elems:
                waiter.borrow_with(stack, self)
            with naming(waiters.value):
                return await _futex_requeue(self.sysif, addr, nr_wake, nr_requeue)


@call("futex", ADDRESS, INT, UNSIGNED, ADDRESS, ADDRESS, UNSIGNED)
async def _futex(
    sysif: SyscallInterface,
    uaddr: near.Address,
    futex_op: FUTEX,
    val: int,
    timeout: SupportsInt,
    uaddr2: near.Address | None,
    val3: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.futex, uaddr, futex_op, val, timeout, uaddr2 or 0, val3)


@call("futex_waitv", array(FutexWaitv, 1), SIZE, NUMBER, given(Timespec), choice(CLOCK, "CLOCK_"))
async def _futex_waitv(
    sysif: SyscallInterface,
    waiters: near.Address,
    nr_futexes: int,
    timeout: near.Address | None,
    clockid: CLOCK,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.futex_waitv, waiters, nr_futexes, 0, timeout or 0, clockid)


@call(
    "futex_wait",
    ADDRESS,
    UNSIGNED,
    UNSIGNED,
    flags(FUTEX2, "FUTEX2_"),
    given(Timespec),
    choice(CLOCK, "CLOCK_"),
)
async def _futex_wait(
    sysif: SyscallInterface,
    uaddr: near.Address,
    val: int,
    mask: int,
    flags: FUTEX2,
    timeout: near.Address | None,
    clockid: CLOCK,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.futex_wait, uaddr, val, mask, flags, timeout or 0, clockid)


@call("futex_wake", ADDRESS, UNSIGNED, INT, flags(FUTEX2, "FUTEX2_"))
async def _futex_wake(
    sysif: SyscallInterface, uaddr: near.Address, mask: int, count: int, flags: FUTEX2
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.futex_wake, uaddr, mask, count, flags)


@call("futex_requeue", ADDRESS, NUMBER, INT, INT)
async def _futex_requeue(
    sysif: SyscallInterface, waiters: near.Address, nr_wake: int, nr_requeue: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.futex_requeue, waiters, 0, nr_wake, nr_requeue)
