"""`<sys/ioctl.h>`: calls that only one kind of file understands.

The numbers of requests are in the header modules of their subjects (`rsyscall.net.if_`); here are those
of terminals and of files in general, and the functions that C headers make numbers with.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from rsyscall.handle._later import late
from rsyscall.handle.arguments import FDNUM, OUT_INT, Kind, Memory, buffer, by, call, each, given, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import Pointer
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = [
    "FIO",
    "IO",
    "IOC",
    "IOR",
    "IOW",
    "IOWR",
    "TC",
    "TCFLOW",
    "TCFLUSH",
    "TIOC",
    "TIOCM",
    "TIOCPKT",
    "TIOCSER",
    "IoctlFileDescriptor",
]


class IOC(enum.IntFlag):
    """`_IOC_*`: which way the argument of a request goes, seen from the caller.

    manpage: ioctl(2)
    """

    NONE = 0
    WRITE = 1
    READ = 2


def _make_request(direction: int, type: int | str, nr: int, size: int) -> int:
    if not 0 <= size < 1 << 14:
        raise ValueError(f"an ioctl request cannot carry {size} bytes")
    return direction << 30 | size << 16 | (ord(type) if isinstance(type, str) else type) << 8 | nr


def IO(type: int | str, nr: int) -> int:
    """`_IO(type, nr)`: number of a request without an argument; `type` may be a letter, as in C."""
    return _make_request(IOC.NONE, type, nr, 0)


def IOR(type: int | str, nr: int, size: int) -> int:
    """`_IOR(type, nr, T)`: number of a request that fills in an argument of `size` bytes."""
    return _make_request(IOC.READ, type, nr, size)


def IOW(type: int | str, nr: int, size: int) -> int:
    """`_IOW(type, nr, T)`: number of a request that reads an argument of `size` bytes."""
    return _make_request(IOC.WRITE, type, nr, size)


def IOWR(type: int | str, nr: int, size: int) -> int:
    """`_IOWR(type, nr, T)`: number of a request that reads and changes an argument of `size` bytes."""
    return _make_request(IOC.READ | IOC.WRITE, type, nr, size)


class FIO(enum.IntEnum):
    """`FIO*`: requests for any file.

    manpage: ioctl_tty(2)
    """

    SETOWN = 0x8901
    GETOWN = 0x8903
    NREAD = 0x541B
    NBIO = 0x5421
    NCLEX = 0x5450
    CLEX = 0x5451
    ASYNC = 0x5452
    QSIZE = 0x5460


class TC(enum.IntEnum):
    """`TC*`: attributes of a terminal.

    manpage: ioctl_tty(2)
    """

    GETS = 0x5401
    SETS = 0x5402
    SETSW = 0x5403
    SETSF = 0x5404
    GETA = 0x5405
    SETA = 0x5406
    SETAW = 0x5407
    SETAF = 0x5408
    SBRK = 0x5409
    XONC = 0x540A
    FLSH = 0x540B
    SBRKP = 0x5425
    GETX = 0x5432
    SETX = 0x5433
    SETXF = 0x5434
    SETXW = 0x5435
    GETS2 = 0x802C542A
    SETS2 = 0x402C542B
    SETSW2 = 0x402C542C
    SETSF2 = 0x402C542D


class TIOC(enum.IntEnum):
    """`TIOC*`: requests for terminals and pseudoterminals.

    manpage: ioctl_tty(2)
    """

    EXCL = 0x540C
    NXCL = 0x540D
    SCTTY = 0x540E
    GPGRP = 0x540F
    SPGRP = 0x5410
    OUTQ = 0x5411
    STI = 0x5412
    GWINSZ = 0x5413
    SWINSZ = 0x5414
    MGET = 0x5415
    MBIS = 0x5416
    MBIC = 0x5417
    MSET = 0x5418
    GSOFTCAR = 0x5419
    SSOFTCAR = 0x541A
    INQ = 0x541B
    LINUX = 0x541C
    CONS = 0x541D
    GSERIAL = 0x541E
    SSERIAL = 0x541F
    PKT = 0x5420
    NOTTY = 0x5422
    SETD = 0x5423
    GETD = 0x5424
    SBRK = 0x5427
    CBRK = 0x5428
    GSID = 0x5429
    GRS485 = 0x542E
    SRS485 = 0x542F
    GPTN = 0x80045430
    SPTLCK = 0x40045431
    GDEV = 0x80045432
    SIG = 0x40045436
    VHANGUP = 0x5437
    GPKT = 0x80045438
    GPTLCK = 0x80045439
    GEXCL = 0x80045440
    GPTPEER = 0x5441
    SERCONFIG = 0x5453
    SERGWILD = 0x5454
    SERSWILD = 0x5455
    GLCKTRMIOS = 0x5456
    SLCKTRMIOS = 0x5457
    SERGSTRUCT = 0x5458
    SERGETLSR = 0x5459
    SERGETMULTI = 0x545A
    SERSETMULTI = 0x545B
    GISO7816 = 0x80285442
    SISO7816 = 0xC0285443
    MIWAIT = 0x545C
    GICOUNT = 0x545D


class TCFLOW(enum.IntEnum):
    """`TCOOFF`, `TCOON`, `TCIOFF`, `TCION`: arguments of `TC.XONC`, to stop and start output and input.

    manpage: ioctl_tty(2)
    """

    OOFF = 0
    OON = 1
    IOFF = 2
    ION = 3


class TCFLUSH(enum.IntEnum):
    """`TCIFLUSH`, `TCOFLUSH`, `TCIOFLUSH`: arguments of `TC.FLSH`, what to discard.

    manpage: ioctl_tty(2)
    """

    IFLUSH = 0
    OFLUSH = 1
    IOFLUSH = 2


class TIOCM(enum.IntFlag):
    """`TIOCM_*`: lines of a modem, for `TIOC.MGET` and others.

    manpage: ioctl_tty(2)
    """

    LE = 0x001
    DTR = 0x002
    RTS = 0x004
    ST = 0x008
    SR = 0x010
    CTS = 0x020
    CAR = 0x040
    CD = 0x040
    RNG = 0x080
    RI = 0x080
    DSR = 0x100
    OUT1 = 0x2000
    OUT2 = 0x4000
    LOOP = 0x8000


class TIOCPKT(enum.IntFlag):
    """`TIOCPKT_*`: the byte in front of the data from a pseudoterminal in packet mode (`TIOC.PKT`).

    manpage: ioctl_tty(2)
    """

    DATA = 0
    FLUSHREAD = 1
    FLUSHWRITE = 2
    STOP = 4
    START = 8
    NOSTOP = 16
    DOSTOP = 32
    IOCTL = 64


class TIOCSER(enum.IntFlag):
    """`TIOCSER_*`: what `TIOC.SERGETLSR` finds.

    manpage: ioctl_tty(2)
    """

    TEMT = 0x01


def _requests() -> dict[int, Kind]:
    """What a request reads or writes whose number does not say so, or says something else."""
    # Not with the module: most programs make no request.
    from rsyscall._termios import Termios, Termios2, Winsize
    from rsyscall.net._if_requests import SIOC, TUN, ifreq_size

    termio, integer = buffer(18), buffer(4)
    return {
        **each((FIO.NREAD, FIO.NBIO, FIO.ASYNC, FIO.SETOWN, FIO.GETOWN), integer),
        FIO.QSIZE: buffer(8),
        **each((TC.GETS, TIOC.GLCKTRMIOS), out(Termios)),
        **each((TC.SETS, TC.SETSW, TC.SETSF, TIOC.SLCKTRMIOS), given(Termios)),
        TC.GETS2: out(Termios2),
        **each((TC.SETS2, TC.SETSW2, TC.SETSF2), given(Termios2)),
        **each((TC.GETA, TC.SETA, TC.SETAW, TC.SETAF), termio),
        **each((TIOC.GPGRP, TIOC.GSID, TIOC.GPTN), OUT_INT),
        **each((TIOC.SPGRP, TIOC.OUTQ, TIOC.GETD, TIOC.SETD), integer),
        **each((TIOC.MGET, TIOC.MBIS, TIOC.MBIC, TIOC.MSET, TIOC.PKT), integer),
        **each((TIOC.GSOFTCAR, TIOC.SSOFTCAR, TIOC.SERGETLSR), integer),
        TIOC.GWINSZ: out(Winsize),
        TIOC.SWINSZ: given(Winsize),
        **each((TIOC.GSERIAL, TIOC.SSERIAL), buffer(72)),
        **each((TIOC.GRS485, TIOC.SRS485), buffer(32)),
        TIOC.GICOUNT: buffer(80),
        TIOC.STI: buffer(1),
        # These are said to take a long or a size_t, and take an int.
        IOR("f", 1, 8): integer,  # FS_IOC_GETFLAGS
        IOW("f", 2, 8): integer,  # FS_IOC_SETFLAGS
        IOR("v", 1, 8): integer,  # FS_IOC_GETVERSION
        IOW("v", 2, 8): integer,  # FS_IOC_SETVERSION
        IOR(0x12, 112, 8): integer,  # BLKBSZGET
        IOW(0x12, 113, 8): integer,  # BLKBSZSET
        **each((SIOC.SPGRP, SIOC.GPGRP, SIOC.ATMARK, SIOC.OUTQNSD), integer),
        **each((SIOC.GSTAMP, SIOC.GSTAMPNS), buffer(16)),
        # Requests that take an Ifreq whatever the family of the socket. (For IPv6, those that set addresses
        # take something smaller.)
        **each(
            [
                *(TUN.SETIFF, TUN.SETQUEUE),  # as opposed to what their numbers say
                *(SIOC.SIFNAME, SIOC.SIFFLAGS, SIOC.SIFBRDADDR, SIOC.SIFNETMASK, SIOC.SIFMETRIC, SIOC.SIFMTU),
                *(SIOC.SIFHWADDR, SIOC.SIFHWBROADCAST, SIOC.ADDMULTI, SIOC.DELMULTI, SIOC.SIFSLAVE),
                *(SIOC.SIFPFLAGS, SIOC.SIFTXQLEN, SIOC.SIFMAP, SIOC.ETHTOOL, SIOC.SMIIREG, SIOC.SHWTSTAMP),
            ],
            Memory("ifreq", size=ifreq_size),
        ),
        **each(
            [
                TUN.GETIFF,
                *(SIOC.GIFNAME, SIOC.GIFINDEX, SIOC.GIFFLAGS, SIOC.GIFADDR, SIOC.GIFDSTADDR, SIOC.GIFBRDADDR),
                *(
                    SIOC.GIFNETMASK,
                    SIOC.GIFMETRIC,
                    SIOC.GIFMTU,
                    SIOC.GIFHWADDR,
                    SIOC.GIFSLAVE,
                    SIOC.GIFPFLAGS,
                ),
                *(SIOC.GIFTXQLEN, SIOC.GIFMAP, SIOC.GMIIPHY, SIOC.GMIIREG, SIOC.GHWTSTAMP),
            ],
            Memory("ifreq", after=True, size=ifreq_size),
        ),
    }


_ARGUMENT = by(1, _requests)


def _argument_size(request: int) -> int:
    """How many bytes a request uses at the address it is given, as far as can be said."""
    return _ARGUMENT.size(request) or (request >> 16 & 0x3FFF if request >> 30 & 3 else 0)


@late
class IoctlFileDescriptor(BaseFileDescriptor):
    """Requests that depend on the kind of the file."""

    __slots__ = ()

    async def ioctl(self, request: int, arg: Pointer[Any] | int = 0) -> int:
        """`ioctl(fd, request, arg)`: ask the driver behind this descriptor to do something.

        A request that makes a descriptor (`TIOC.GPTPEER`) returns a number that no handle owns; wrap it with
        `task.make_fd_handle`. `tiocgptpeer` returns a handle.

        Args:
            request: what to do; decides what `arg` has to be.
            arg: memory of the type that the request takes, at least as large as it says, not consumed: read
                the pointer to see what was written. Or a number.

        Returns:
            0 for most requests.

        Raises:
            BufferTooSmallError: the memory is smaller than what the request takes. That is known if the
                number says it (see `IOR`), and for those of terminals and network interfaces.
            OSError: ENOTTY (this kind of file does not know the request), EFAULT, EINVAL...; `filename` is
                the request.

        manpage: ioctl(2)
        """
        self._validate()
        with naming(request):
            if isinstance(arg, Pointer):
                with arg.borrow(self.task) as arg_addr:
                    require_size(arg, _argument_size(request))
                    return await _ioctl(self.task.sysif, self.near, request, arg_addr)
            return await _ioctl(self.task.sysif, self.near, request, arg)


@call("ioctl", FDNUM, Kind("ioctl_request"), _ARGUMENT)
async def _ioctl(
    sysif: SyscallInterface, fd: near.FileDescriptor, request: int, arg: int | near.Address | None = None
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.ioctl, fd, request, 0 if arg is None else arg)
