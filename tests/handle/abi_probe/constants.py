"""Which C names the members of the enumerations stand for, and in which headers those are."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rsyscall import fcntl, sched, signal, time
from rsyscall.linux import dirent, memfd
from rsyscall.near.abi import ABI
from rsyscall.net import if_
from rsyscall.netinet import ip
from rsyscall.sys import (
    _socket_constants as sc,
)
from rsyscall.sys import (
    epoll,
    eventfd,
    ioctl,
    mman,
    mount,
    prctl,
    signalfd,
    stat,
    timerfd,
    uio,
    wait,
)
from rsyscall.unistd import fds, fs, io

X86 = ("x86_64",)
ARM = ("aarch64",)


@dataclass(frozen=True)
class Constants:
    """How to find the members of one enumeration (or some numbers) in C.

    Args:
        headers: names of headers, or lines of C.
        prefix: what the C names begin with.
        names: member -> C expression, for those that are not the prefix and the name of the member.
        no_header: member -> why no header has it. If one does have it after all, it is compared.
        newer: member -> the version of Linux that it came with; only headers older than that may be without
            it.
        only_on: member -> the architectures that have it.
        encode: the number for a process of some architecture, where that differs.
    """

    headers: tuple[str, ...]
    prefix: str
    names: Mapping[str, str] = field(default_factory=dict)
    no_header: Mapping[str, str] = field(default_factory=dict)
    newer: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    only_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encode: Callable[[ABI, int], int] = lambda abi, value: value

    def expression(self, member: str) -> str:
        """The C expression for a member."""
        return self.names.get(member, self.prefix + member)


_SOCKET = ("sys/socket.h",)
_SOL = (
    *("sys/socket.h", "netinet/in.h", "netinet/tcp.h", "netinet/udp.h"),
    *("netipx/ipx.h", "netax25/ax25.h", "netatalk/at.h", "netrom/netrom.h", "netrose/rose.h"),
)
ENUMS: dict[type[enum.Enum], Constants] = {
    # fcntl
    fcntl.AT: Constants(
        ("linux/fcntl.h", "linux/fs.h"),
        "AT_",
        names={
            # AT_RENAME_* came with Linux 6.13 as other names for these
            **{name: name for name in ("RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_WHITEOUT")},
        },
        newer={
            "EXECVE_CHECK": (6, 14),
            "HANDLE_MNT_ID_UNIQUE": (6, 12),
            "HANDLE_CONNECTABLE": (6, 13),
            "HANDLE_FID": (6, 5),
        },
    ),
    fcntl.O: Constants(
        ("linux/fcntl.h",),
        "O_",
        names={"ASYNC": "FASYNC"},
        no_header={
            "FMODE_EXEC": "internal to the kernel; FUSE shows it",
            "FMODE_NONOTIFY": "internal to the kernel; FUSE shows it",
        },
        encode=fcntl.encode_open_flags,
    ),
    fcntl.F: Constants(
        ("linux/fcntl.h",),
        "F_",
        newer={"DUPFD_QUERY": (6, 10), "CREATED_QUERY": (6, 12)},
    ),
    fcntl.F_SEAL: Constants(("linux/fcntl.h",), "F_SEAL_", newer={"EXEC": (6, 3)}),
    fcntl.FD: Constants(("linux/fcntl.h",), "FD_"),
    fcntl.F_LCK: Constants(
        ("linux/fcntl.h",), "F_", names={"RD": "F_RDLCK", "WR": "F_WRLCK", "UN": "F_UNLCK"}
    ),
    fcntl.F_OWNER: Constants(("linux/fcntl.h",), "F_OWNER_"),
    fcntl.DN: Constants(("linux/fcntl.h",), "DN_"),
    fcntl.RWH: Constants(("linux/fcntl.h",), "RWH_"),
    # sched, signal, time
    sched.CLONE: Constants(("linux/sched.h",), "CLONE_"),
    signal.SIG: Constants(("signal.h",), "SIG", no_header={"NONE": "signal 0, which sends nothing"}),
    signal.SA: Constants(
        ("#include <linux/types.h>", "asm/signal.h"), "SA_", only_on={"RESTORER": ("x86_64", "aarch64")}
    ),
    signal.HowSIG: Constants(("signal.h",), "SIG_"),
    signal.Sighandler: Constants(("signal.h",), "SIG_"),
    time.CLOCK: Constants(("linux/time.h",), "CLOCK_"),
    time.TIMER: Constants(("linux/time.h",), "TIMER_"),
    time.ITIMER: Constants(("linux/time.h",), "ITIMER_"),
    # unistd
    fds.CLOSE_RANGE: Constants(("linux/close_range.h",), "CLOSE_RANGE_"),
    fs.OK: Constants(("unistd.h",), "", names={name: f"{name}_OK" for name in "FXWR"}),
    fs.RENAME: Constants(("linux/fs.h",), "RENAME_"),
    io.SEEK: Constants(("linux/fs.h",), "SEEK_"),
    # sys
    epoll.EpollFlag: Constants(("linux/eventpoll.h",), "EPOLL_"),
    epoll.EPOLL_CTL: Constants(("linux/eventpoll.h",), "EPOLL_CTL_"),
    epoll.EPOLL: Constants(
        ("typedef unsigned __poll_t;", "linux/eventpoll.h"), "EPOLL", names={"URING_WAKE": "EPOLL_URING_WAKE"}
    ),
    eventfd.EFD: Constants(("sys/eventfd.h",), "EFD_"),
    ioctl.IOC: Constants(("linux/ioctl.h",), "_IOC_"),
    ioctl.FIO: Constants(("asm/ioctls.h",), "FIO"),
    ioctl.TC: Constants(("asm/ioctls.h", "asm/termbits.h"), "TC"),
    ioctl.TIOC: Constants(("asm/ioctls.h", "asm/termbits.h", "linux/serial.h"), "TIOC"),
    mman.PROT: Constants(("linux/mman.h",), "PROT_", only_on={"BTI": ARM, "MTE": ARM}),
    mman.MAP: Constants(
        ("linux/mman.h",),
        "MAP_",
        names={"BIT32": "MAP_32BIT"},
        newer={"DROPPABLE": (6, 11), "ABOVE4G": (6, 6)},
        only_on={"BIT32": X86, "ABOVE4G": X86},
    ),
    mman.MADV: Constants(
        ("linux/mman.h",),
        "MADV_",
        newer={"COLLAPSE": (6, 1), "GUARD_INSTALL": (6, 13), "GUARD_REMOVE": (6, 13)},
    ),
    mount.MS: Constants(("linux/mount.h",), "MS_"),
    mount.UMOUNT: Constants(("sys/mount.h",), "MNT_", names={"NOFOLLOW": "UMOUNT_NOFOLLOW"}),
    prctl.PR: Constants(
        ("linux/prctl.h",),
        "PR_",
        newer={
            "SET_MDWE": (6, 3),
            "GET_MDWE": (6, 3),
            "SET_MEMORY_MERGE": (6, 4),
            "GET_MEMORY_MERGE": (6, 4),
            "GET_AUXV": (6, 4),
            "RISCV_V_SET_CONTROL": (6, 5),
            "RISCV_V_GET_CONTROL": (6, 5),
            "PPC_GET_DEXCR": (6, 10),
            "PPC_SET_DEXCR": (6, 10),
            "RISCV_SET_ICACHE_FLUSH_CTX": (6, 10),
            **{f"{verb}_SHADOW_STACK_STATUS": (6, 13) for verb in ("GET", "SET", "LOCK")},
            "TIMER_CREATE_RESTORE_IDS": (6, 15),
            "FUTEX_HASH": (6, 16),
        },
    ),
    prctl.PR_CAP_AMBIENT: Constants(("linux/prctl.h",), "PR_CAP_AMBIENT_"),
    signalfd.SFD: Constants(("linux/signalfd.h",), "SFD_"),
    sc.AF: Constants(_SOCKET, "AF_"),
    sc.SOCK: Constants(_SOCKET, "SOCK_"),
    sc.SHUT: Constants(_SOCKET, "SHUT_"),
    sc.SOL: Constants(
        _SOL,
        "SOL_",
        # the kernel does not export these two, but they are the numbers of the protocols
        names={"SCTP": "IPPROTO_SCTP", "UDPLITE": "IPPROTO_UDPLITE"},
        no_header={"VSOCK": "internal to the kernel until its 6.7, and still missing in C libraries"},
    ),
    sc.SO: Constants(
        _SOCKET,
        "SO_",
        newer={
            "PASSPIDFD": (6, 5),
            "PEERPIDFD": (6, 5),
            "DEVMEM_LINEAR": (6, 12),
            "DEVMEM_DMABUF": (6, 12),
            "DEVMEM_DONTNEED": (6, 12),
            "RCVPRIORITY": (6, 14),
            "PASSRIGHTS": (6, 16),
            "INQ": (6, 17),
        },
    ),
    sc.SCM: Constants(
        (*_SOCKET, "asm/socket.h"),
        "SCM_",
        no_header={
            "SECURITY": "internal to the kernel; only newer C libraries have it",
            "PIDFD": "internal to the kernel; only newer C libraries have it",
        },
        newer={"DEVMEM_LINEAR": (6, 12), "DEVMEM_DMABUF": (6, 12), "TS_OPT_ID": (6, 13), "INQ": (6, 17)},
    ),
    sc.MSG: Constants(_SOCKET, "MSG_"),
    sc.SendmsgFlags: Constants(_SOCKET, "MSG_"),
    sc.RecvmsgFlags: Constants(_SOCKET, "MSG_"),
    sc.MsghdrFlags: Constants(_SOCKET, "MSG_"),
    stat.S_IF: Constants(("linux/stat.h",), "S_IF", names={"IFO": "S_IFIFO", "FIFO": "S_IFIFO"}),
    stat.S_I: Constants(("linux/stat.h",), "S_I"),
    timerfd.TFD: Constants(("linux/timerfd.h",), "TFD_"),
    timerfd.TFD_TIMER: Constants(("linux/timerfd.h",), "TFD_TIMER_"),
    uio.RWF: Constants(
        ("linux/fs.h",),
        "RWF_",
        newer={"NOAPPEND": (6, 9), "ATOMIC": (6, 11), "DONTCACHE": (6, 14), "NOSIGNAL": (6, 18)},
    ),
    wait.IdType: Constants(("linux/wait.h",), "P_"),
    wait.CLD: Constants(("#include <linux/types.h>", "asm/siginfo.h"), "CLD_"),
    wait.W: Constants(
        ("linux/wait.h",), "W", names={"NOTHREAD": "__WNOTHREAD", "ALL": "__WALL", "CLONE": "__WCLONE"}
    ),
    # linux
    dirent.DT: Constants(("dirent.h",), "DT_"),
    memfd.MFD: Constants(("linux/memfd.h",), "MFD_", newer={"NOEXEC_SEAL": (6, 3), "EXEC": (6, 3)}),
    # net, netinet
    if_.SIOC: Constants(("sys/time.h", "linux/sockios.h", "asm/ioctls.h"), "SIOC"),
    if_.IFF: Constants(("sys/socket.h", "linux/if.h", "linux/if_tun.h"), "IFF_"),
    if_.TUN: Constants(("linux/ioctl.h", "linux/filter.h", "linux/if_tun.h"), "TUN"),
    ip.IPPROTO: Constants(
        ("linux/in.h", "linux/in6.h"), "IPPROTO_", newer={"AGGFRAG": (6, 14), "SMC": (6, 11)}
    ),
    ip.IP: Constants(("linux/in.h",), "IP_", newer={"LOCAL_PORT_RANGE": (6, 3), "PROTOCOL": (6, 4)}),
    ip.IP_PMTUDISC: Constants(("linux/in.h",), "IP_PMTUDISC_"),
    ip.IPV6: Constants(
        ("linux/in6.h",),
        "IPV6_",
        names={
            "JOIN_GROUP": "IPV6_ADD_MEMBERSHIP",
            "LEAVE_GROUP": "IPV6_DROP_MEMBERSHIP",
            **{
                f"{name}_2292": f"IPV6_2292{name}"
                for name in ("PKTINFO", "HOPOPTS", "DSTOPTS", "RTHDR", "PKTOPTIONS", "HOPLIMIT")
            },
        },
    ),
    ip.IPV6_PMTUDISC: Constants(("linux/in6.h",), "IPV6_PMTUDISC_"),
}
"""Every enumeration of the header modules."""

NUMBERS: dict[str, Constants] = {
    "rsyscall.limits": Constants(("linux/limits.h",), ""),
    "rsyscall.linux.futex": Constants(("linux/futex.h",), ""),
    "rsyscall.linux.memfd": Constants(("linux/memfd.h",), ""),
    "rsyscall.net.if_": Constants(("linux/ioctl.h", "sys/socket.h", "linux/if.h", "linux/if_tun.h"), ""),
    "rsyscall.sys.mman": Constants(("linux/mman.h",), ""),
    "rsyscall.sys.timerfd": Constants(("linux/timerfd.h",), ""),
    "rsyscall.sys.uio": Constants(("linux/uio.h",), ""),
}
"""For every module that has numbers outside of enumerations, where those are."""
