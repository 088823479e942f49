"""`<sys/random.h>`: random bytes."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, TypeVar

import rsyscall.far
from rsyscall.handle.arguments import OUT, SIZE, call, flags
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["GRND", "RandomTask"]

T = TypeVar("T")


class GRND(enum.IntFlag):
    """`GRND_*`: from which source, and whether to wait for it.

    manpage: getrandom(2)
    """

    NONE = 0
    NONBLOCK = 1
    RANDOM = 2
    INSECURE = 4


class RandomTask(rsyscall.far.Task):
    """Random bytes."""

    async def getrandom(
        self, buf: Pointer[T], flags: GRND = GRND.NONE
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`getrandom(buf, size, flags)`: random bytes, fit for keys.

        Args:
            buf: where to put them, as many as it has room for; consumed.
            flags: `GRND.NONBLOCK` not to wait when the machine has just started, `GRND.INSECURE` to take what
                there is.

        Returns:
            What was filled, all of it up to 256 bytes, and the rest.

        Raises:
            OSError: EAGAIN (`GRND.NONBLOCK`), EINTR, EINVAL; `filename` is the memory.

        manpage: getrandom(2)
        """
        check_pointers(buf)
        with buf.borrow(self) as addr, naming(buf):
            count = await _getrandom(self.sysif, addr, buf.size(), flags)
        return buf.readable_split(count)


@call("getrandom", OUT, SIZE, flags(GRND, "GRND_"))
async def _getrandom(sysif: SyscallInterface, buf: near.Address, buflen: int, flags: GRND) -> int:
    """The raw call."""
    return await sysif.syscall(nr.getrandom, buf, buflen, flags)
