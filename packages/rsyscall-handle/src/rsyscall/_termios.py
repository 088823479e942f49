"""The structures and constants of `<termios.h>`; import them from `rsyscall.termios`."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, array, u8, u16, u32

__all__ = [
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

NCCS = 19
"""How many control characters the kernel keeps; the C library has room for more."""


class IFLAG(enum.IntFlag):
    """Flags of `c_iflag`: what is done to what arrives at the terminal. They have no prefix in C: `ICRNL`.

    manpage: termios(3)
    """

    NONE = 0
    IGNBRK = 0x1
    BRKINT = 0x2
    IGNPAR = 0x4
    PARMRK = 0x8
    INPCK = 0x10
    ISTRIP = 0x20
    INLCR = 0x40
    IGNCR = 0x80
    ICRNL = 0x100
    IUCLC = 0x200
    IXON = 0x400
    IXANY = 0x800
    IXOFF = 0x1000
    IMAXBEL = 0x2000
    IUTF8 = 0x4000


class OFLAG(enum.IntFlag):
    """Flags of `c_oflag`: what is done to what a program writes. Those that end in DLY are masks.

    manpage: termios(3)
    """

    NONE = 0
    OPOST = 0x1
    OLCUC = 0x2
    ONLCR = 0x4
    OCRNL = 0x8
    ONOCR = 0x10
    ONLRET = 0x20
    OFILL = 0x40
    OFDEL = 0x80
    NL0 = 0x0
    NL1 = 0x100
    NLDLY = 0x100
    CR0 = 0x0
    CR1 = 0x200
    CR2 = 0x400
    CR3 = 0x600
    CRDLY = 0x600
    TAB0 = 0x0
    TAB1 = 0x800
    TAB2 = 0x1000
    TAB3 = 0x1800
    XTABS = 0x1800
    TABDLY = 0x1800
    BS0 = 0x0
    BS1 = 0x2000
    BSDLY = 0x2000
    VT0 = 0x0
    VT1 = 0x4000
    VTDLY = 0x4000
    FF0 = 0x0
    FF1 = 0x8000
    FFDLY = 0x8000


class CFLAG(enum.IntFlag):
    """Flags of `c_cflag`: the line. `CSIZE` is the mask of the sizes of characters, `CBAUD` that of the speed
    (see `BAUD`), and `CIBAUD` that of the speed of input, where that is another one.

    manpage: termios(3)
    """

    NONE = 0
    CS5 = 0x0
    CS6 = 0x10
    CS7 = 0x20
    CS8 = 0x30
    CSIZE = 0x30
    CSTOPB = 0x40
    CREAD = 0x80
    PARENB = 0x100
    PARODD = 0x200
    HUPCL = 0x400
    CLOCAL = 0x800
    CBAUD = 0x100F
    CBAUDEX = 0x1000
    CIBAUD = 0x100F0000
    ADDRB = 0x20000000
    CMSPAR = 0x40000000
    CRTSCTS = 0x80000000


class LFLAG(enum.IntFlag):
    """Flags of `c_lflag`: lines, signals and echo.

    manpage: termios(3)
    """

    NONE = 0
    ISIG = 0x1
    ICANON = 0x2
    XCASE = 0x4
    ECHO = 0x8
    ECHOE = 0x10
    ECHOK = 0x20
    ECHONL = 0x40
    NOFLSH = 0x80
    TOSTOP = 0x100
    ECHOCTL = 0x200
    ECHOPRT = 0x400
    ECHOKE = 0x800
    FLUSHO = 0x1000
    PENDIN = 0x4000
    IEXTEN = 0x8000
    EXTPROC = 0x10000


class BAUD(enum.IntEnum):
    """`B0`, `B50`...: speeds, as they are in `c_cflag`. With `BOTHER` they are the numbers in a `Termios2`.

    manpage: termios(3)
    """

    B0 = 0x0
    B50 = 0x1
    B75 = 0x2
    B110 = 0x3
    B134 = 0x4
    B150 = 0x5
    B200 = 0x6
    B300 = 0x7
    B600 = 0x8
    B1200 = 0x9
    B1800 = 0xA
    B2400 = 0xB
    B4800 = 0xC
    B9600 = 0xD
    B19200 = 0xE
    B38400 = 0xF
    B57600 = 0x1001
    B115200 = 0x1002
    B230400 = 0x1003
    B460800 = 0x1004
    B500000 = 0x1005
    B576000 = 0x1006
    B921600 = 0x1007
    B1000000 = 0x1008
    B1152000 = 0x1009
    B1500000 = 0x100A
    B2000000 = 0x100B
    B2500000 = 0x100C
    B3000000 = 0x100D
    B3500000 = 0x100E
    B4000000 = 0x100F
    BOTHER = 0x1000


class V(enum.IntEnum):
    """`V*`: places of the control characters in `c_cc`.

    manpage: termios(3)
    """

    INTR = 0
    QUIT = 1
    ERASE = 2
    KILL = 3
    EOF = 4
    TIME = 5
    MIN = 6
    SWTC = 7
    START = 8
    STOP = 9
    SUSP = 10
    EOL = 11
    REPRINT = 12
    DISCARD = 13
    WERASE = 14
    LNEXT = 15
    EOL2 = 16


class TCSA(enum.IntEnum):
    """`TCSA*`: when `tcsetattr` changes the attributes.

    manpage: termios(3)
    """

    NOW = 0
    DRAIN = 1
    FLUSH = 2


class Termios(CStruct, c="struct termios", headers=("asm/termbits.h",)):
    """`struct termios`: the attributes of a terminal.

    Args:
        iflag: what is done to its input.
        oflag: what is done to its output.
        cflag: what the line is like.
        lflag: lines, signals and echo.
        line: the line discipline; 0 is that of terminals.
        cc: the control characters, with the numbers of `V`: `cc[V.INTR]`. They can be assigned to.

    manpage: termios(3)
    """

    iflag: IFLAG = u32("c_iflag", IFLAG, default=IFLAG.NONE, prefix="")
    oflag: OFLAG = u32("c_oflag", OFLAG, default=OFLAG.NONE, prefix="")
    cflag: CFLAG = u32("c_cflag", CFLAG, default=CFLAG.NONE, prefix="")
    lflag: LFLAG = u32("c_lflag", LFLAG, default=LFLAG.NONE, prefix="")
    line: int = u8("c_line", default=0)
    cc: bytearray = array("c_cc", NCCS, bytearray, default_factory=lambda: bytearray(NCCS))


class Termios2(CStruct, c="struct termios2", headers=("asm/termbits.h",)):
    """`struct termios2`: the attributes of a terminal, with speeds of any number.

    Args:
        iflag: what is done to its input.
        oflag: what is done to its output.
        cflag: what the line is like.
        lflag: lines, signals and echo.
        line: the line discipline; 0 is that of terminals.
        cc: the control characters, with the numbers of `V`: `cc[V.INTR]`. They can be assigned to.
        ispeed, ospeed: the speeds of input and output, if those of `cflag` are `BAUD.BOTHER`.

    manpage: ioctl_tty(2)
    """

    iflag: IFLAG = u32("c_iflag", IFLAG, default=IFLAG.NONE, prefix="")
    oflag: OFLAG = u32("c_oflag", OFLAG, default=OFLAG.NONE, prefix="")
    cflag: CFLAG = u32("c_cflag", CFLAG, default=CFLAG.NONE, prefix="")
    lflag: LFLAG = u32("c_lflag", LFLAG, default=LFLAG.NONE, prefix="")
    line: int = u8("c_line", default=0)
    cc: bytearray = array("c_cc", NCCS, bytearray, default_factory=lambda: bytearray(NCCS))
    ispeed: int = u32("c_ispeed", default=0)
    ospeed: int = u32("c_ospeed", default=0)


class Winsize(CStruct, c="struct winsize", headers=("asm/termios.h",)):
    """`struct winsize`: the size of the window of a terminal.

    Args:
        row: lines.
        col: characters in a line.
        xpixel, ypixel: the size in pixels, or 0.

    manpage: ioctl_tty(2)
    """

    row: int = u16("ws_row", default=0)
    col: int = u16("ws_col", default=0)
    xpixel: int = u16("ws_xpixel", default=0)
    ypixel: int = u16("ws_ypixel", default=0)


# What `cfmakeraw` switches off.
_RAW_IFLAG = (
    IFLAG.IGNBRK
    | IFLAG.BRKINT
    | IFLAG.PARMRK
    | IFLAG.ISTRIP
    | IFLAG.INLCR
    | IFLAG.IGNCR
    | IFLAG.ICRNL
    | IFLAG.IXON
)
_RAW_LFLAG = LFLAG.ECHO | LFLAG.ECHONL | LFLAG.ICANON | LFLAG.ISIG | LFLAG.IEXTEN


def cfmakeraw(termios: Termios | Termios2) -> None:
    """`cfmakeraw(termios)`: pass on every byte as it is, in both directions, without echo or signals.

    This changes the object; `tcsetattr` changes a terminal.

    manpage: termios(3)
    """
    termios.iflag &= ~_RAW_IFLAG
    termios.oflag &= ~OFLAG.OPOST
    termios.lflag &= ~_RAW_LFLAG
    termios.cflag = termios.cflag & ~(CFLAG.CSIZE | CFLAG.PARENB) | CFLAG.CS8
    termios.cc[V.MIN], termios.cc[V.TIME] = 1, 0


def cfgetospeed(termios: Termios | Termios2) -> BAUD:
    """`cfgetospeed(termios)`: the speed.

    manpage: termios(3)
    """
    return BAUD(termios.cflag & CFLAG.CBAUD)


def cfsetspeed(termios: Termios | Termios2, speed: BAUD) -> None:
    """`cfsetspeed(termios, speed)`: set the speed of both directions. This changes the object.

    manpage: termios(3)
    """
    termios.cflag = termios.cflag & ~(CFLAG.CBAUD | CFLAG.CIBAUD) | BAUD(speed)
