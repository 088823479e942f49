"""`<termios.h>`: terminals.

What has no function in C is an `ioctl`, with the numbers of `rsyscall.sys.ioctl`: `TIOC.SCTTY` makes a
terminal the controlling one of a session, `TIOC.NOTTY` gives it up, `TIOC.SPTLCK` unlocks a new one, and
`TIOC.GPTN` tells its number in /dev/pts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.fcntl import O
from rsyscall.handle._facade import facade
from rsyscall.handle._later import late
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import Int32
from rsyscall.sys.ioctl import TC, TCFLOW, TCFLUSH, TIOC, _argument_size, _ioctl

if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self

    from rsyscall._termios import (
        BAUD,
        CFLAG,
        IFLAG,
        LFLAG,
        NCCS,
        OFLAG,
        TCSA,
        Termios,
        Termios2,
        V,
        Winsize,
        cfgetospeed,
        cfmakeraw,
        cfsetspeed,
    )
    from rsyscall.handle.pointer import Pointer, WrittenPointer
else:
    # Most programs use no terminal.
    __getattr__ = facade(
        __name__,
        {
            "rsyscall._termios": [
                "BAUD",
                "CFLAG",
                "IFLAG",
                "LFLAG",
                "NCCS",
                "OFLAG",
                "TCSA",
                "Termios",
                "Termios2",
                "V",
                "Winsize",
                "cfgetospeed",
                "cfmakeraw",
                "cfsetspeed",
            ]
        },
    )

__all__ = [
    "BAUD",
    "CFLAG",
    "IFLAG",
    "LFLAG",
    "NCCS",
    "OFLAG",
    "TCFLOW",
    "TCFLUSH",
    "TCSA",
    "Termios",
    "Termios2",
    "TermiosFileDescriptor",
    "V",
    "Winsize",
    "cfgetospeed",
    "cfmakeraw",
    "cfsetspeed",
]

_CLOEXEC = int(O.CLOEXEC)


@late
class TermiosFileDescriptor(BaseFileDescriptor):
    """Terminals."""

    __slots__ = ()

    async def tcgetattr(self, termios: Pointer[Termios]) -> Pointer[Termios]:
        """`tcgetattr(fd, termios)`: the attributes of a terminal.

        Args:
            termios: not consumed; the same memory is returned.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOTTY, also for the other end of a hung up terminal; `filename` is this descriptor.

        manpage: tcgetattr(3)
        """
        await self._request(TC.GETS, termios)
        return termios

    async def tcsetattr(self, optional_actions: TCSA, termios: WrittenPointer[Termios]) -> None:
        """`tcsetattr(fd, optional_actions, termios)`: change the attributes of a terminal.

        A process in the background that does this is sent SIGTTOU, unless it ignores or blocks that.

        Raises:
            OSError: ENOTTY, EINVAL, EINTR, EIO (an orphan in the background); `filename` is this descriptor.

        manpage: tcsetattr(3)
        """
        from rsyscall._termios import TCSA

        await self._request(TC.SETS + TCSA(optional_actions), termios)

    async def tcsendbreak(self, duration: int = 0) -> None:
        """`tcsendbreak(fd, duration)`: send a break; 0 is a quarter of a second, a number as many tenths.

        manpage: tcsendbreak(3)
        """
        await self._number(TC.SBRKP if duration > 0 else TC.SBRK, max(duration, 0))

    async def tcdrain(self) -> None:
        """`tcdrain(fd)`: wait until everything that was written has been sent. Blocks the process meanwhile.

        manpage: tcdrain(3)
        """
        await self._number(TC.SBRK, 1)

    async def tcflush(self, queue_selector: TCFLUSH) -> None:
        """`tcflush(fd, queue_selector)`: discard what was received and not read, or written and not sent.

        manpage: tcflush(3)
        """
        await self._number(TC.FLSH, queue_selector)

    async def tcflow(self, action: TCFLOW) -> None:
        """`tcflow(fd, action)`: stop or start output, or tell the other side to.

        manpage: tcflow(3)
        """
        await self._number(TC.XONC, action)

    async def tcgetpgrp(self, pgrp: Pointer[Int32]) -> Pointer[Int32]:
        """`tcgetpgrp(fd)`: the process group in the foreground, as a number in the pid namespace of this
        process; 0 if it is not in that.

        Args:
            pgrp: where to put it; not consumed, the same memory is returned.

        Raises:
            OSError: ENOTTY (it is not the controlling terminal of this process); `filename` is this
                descriptor.

        manpage: tcgetpgrp(3)
        """
        await self._request(TIOC.GPGRP, pgrp)
        return pgrp

    async def tcsetpgrp(self, pgrp: WrittenPointer[Int32]) -> None:
        """`tcsetpgrp(fd, pgrp)`: move a process group of the session of this process to the foreground.

        A process in the background that does this is sent SIGTTOU, unless it ignores or blocks that.

        Raises:
            OSError: ENOTTY, EPERM (a group of another session), ESRCH, EINVAL; `filename` is this descriptor.

        manpage: tcsetpgrp(3)
        """
        await self._request(TIOC.SPGRP, pgrp)

    async def tcgetsid(self, sid: Pointer[Int32]) -> Pointer[Int32]:
        """`tcgetsid(fd)`: the session whose controlling terminal this is.

        Args:
            sid: where to put it; not consumed, the same memory is returned.

        Raises:
            OSError: ENOTTY (it is not the controlling terminal of this process); `filename` is this
                descriptor.

        manpage: tcgetsid(3)
        """
        await self._request(TIOC.GSID, sid)
        return sid

    async def tcgetwinsize(self, winsize: Pointer[Winsize]) -> Pointer[Winsize]:
        """`tcgetwinsize(fd, winsize)`: the size of the window of a terminal, TIOCGWINSZ.

        Args:
            winsize: not consumed; the same memory is returned.

        manpage: ioctl_tty(2)
        """
        await self._request(TIOC.GWINSZ, winsize)
        return winsize

    async def tcsetwinsize(self, winsize: WrittenPointer[Winsize]) -> None:
        """`tcsetwinsize(fd, winsize)`: set the size of the window, TIOCSWINSZ.

        If that changes it, the process group in the foreground is sent SIGWINCH.

        manpage: ioctl_tty(2)
        """
        await self._request(TIOC.SWINSZ, winsize)

    async def tiocgptpeer(self, flags: O) -> Self:
        """`ioctl(fd, TIOCGPTPEER, flags | O_CLOEXEC)`: open the terminal of which this is the other end,
        whatever there is in /dev/pts.

        Args:
            flags: `O.RDWR | O.NOCTTY`, for example. Without `O.NOCTTY`, a leader of a session that has no
                controlling terminal gets this one.

        Returns:
            A new descriptor.

        Raises:
            OSError: EIO (it is locked: `TIOC.SPTLCK`), ENOTTY, EMFILE; `filename` is this descriptor.

        manpage: ioctl_tty(2)
        """
        self._validate()
        record = CallRecord(self.task.fd_table)
        with naming(self):
            number = await self.task.sysif.recorded_syscall(
                record, nr.ioctl, self.near, TIOC.GPTPEER, flags | _CLOEXEC
            )
        new: Self = self.task._adopt(near.FileDescriptor(number), record)
        return new

    async def _request(self, request: int, argument: Pointer[Any]) -> None:
        self._validate()
        with argument.borrow(self.task) as address, naming(self):
            require_size(argument, _argument_size(request))
            await _ioctl(self.task.sysif, self.near, request, address)

    async def _number(self, request: int, argument: int) -> None:
        self._validate()
        with naming(self):
            await _ioctl(self.task.sysif, self.near, request, argument)
