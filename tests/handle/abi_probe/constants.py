"""Which C names the members of the enumerations stand for, and in which headers those are.

An enumeration of `rsyscall.sys.stat` is looked for in `<linux/stat.h>`, or else in `<sys/stat.h>`, and its
members have its name and an underscore before them in C. The table has what is not like that.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rsyscall import _fcntl_copy, _sched_policy, _signal_info, _termios, fcntl, poll, sched, signal, time
from rsyscall.asm import hwprobe, ldt
from rsyscall.asm import prctl as asm_prctl
from rsyscall.linux import (
    _fuse_constants as fuse,
)
from rsyscall.linux import (
    aio_abi,
    bpf,
    dirent,
    dqblk_xfs,
    errqueue,
    fib_rules,
    futex,
    if_alg,
    if_packet,
    io_uring,
    ioprio,
    kexec,
    keyctl,
    landlock,
    membarrier,
    mempolicy,
    netlink,
    openat2,
    perf_event,
    rtnetlink,
    seccomp,
    userfaultfd,
    vm_sockets,
)
from rsyscall.linux import filter as bpf_filter
from rsyscall.linux import fs as fs_h
from rsyscall.linux import mount as linux_mount
from rsyscall.near.abi import ABI
from rsyscall.net import if_
from rsyscall.netinet import in_, ip, tcp
from rsyscall.sys import (
    _mman_calls,
    _mman_pages,
    _mount_files,
    _stat_files,
    cachectl,
    capability,
    epoll,
    fanotify,
    file,
    inotify,
    ioctl,
    ipc,
    klog,
    mman,
    mount,
    msg,
    personality,
    prctl,
    ptrace,
    quota,
    reboot,
    resource,
    sem,
    shm,
    stat,
    statfs,
    swap,
    timex,
    uio,
    wait,
    xattr,
)
from rsyscall.sys import (
    _socket_constants as sc,
)
from rsyscall.unistd import fds, fs, io

from .discover import versions

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
            it. Not for those with a comment that says so, see `discover.versions`.
        only_on: member -> the architectures that have it.
        encode: the number for a process of some architecture, where that differs.
        also: other headers that have some of the family, each on its own.
        left_out: pattern -> why there are no members for macros with the prefix that match it.
    """

    headers: tuple[str, ...]
    prefix: str
    names: Mapping[str, str] = field(default_factory=dict)
    no_header: Mapping[str, str] = field(default_factory=dict)
    newer: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    only_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encode: Callable[[ABI, int], int] = lambda abi, value: value
    also: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def expression(self, member: str) -> str:
        """The C expression for a member."""
        return self.names.get(member, self.prefix + member)


_SOCKET = ("sys/socket.h",)
_SECCOMP = ("linux/ioctl.h", "linux/types.h", "linux/seccomp.h")
_MOUNT = ("linux/mount.h",)
_SOL = (
    *("sys/socket.h", "netinet/in.h", "netinet/tcp.h", "netinet/udp.h"),
    *("netipx/ipx.h", "netax25/ax25.h", "netatalk/at.h", "netrom/netrom.h", "netrose/rose.h"),
)
_ASM_SIGNAL = ("#include <linux/types.h>", "asm/signal.h")
_ASM_SIGINFO = ("#include <linux/types.h>", "asm/siginfo.h")
_UFFD = ("linux/types.h", "linux/ioctl.h", "linux/userfaultfd.h")
_IO_URING = ("linux/types.h", "linux/io_uring.h")
_TERMINALS = ("asm/ioctls.h", "asm/termbits.h")
_TUN = ("linux/ioctl.h", "linux/filter.h", "linux/if_tun.h")
_FUSE = ("linux/ioctl.h", "linux/fuse.h")
_FUSE_URING = dict.fromkeys(("FUSE_URING_IN_OUT_HEADER_SZ", "FUSE_URING_OP_IN_OUT_SZ"), (6, 14))
_OF_C_FUNCTIONS = {"SIG_ERR": "of the C function signal", "SIG_HOLD": "of the C function sigset"}
_EPOLL_PACKED = {"EPOLL_PACKED": "attribute of a structure"}
_FUTEX_CMD_MASK = {"FUTEX_CMD_MASK": "see FUTEX.command"}

CHECKED_WITH = (6, 1)
"""The version of Linux whose headers have nothing that the tables do not know, as far as this is tested."""

ENUMS: dict[type[enum.Enum], Constants] = {
    # fcntl
    fcntl.AT: Constants(
        ("linux/fcntl.h", "linux/fs.h"),
        "AT_",
        names={
            # AT_RENAME_* came with Linux 6.13 as other names for these
            **{name: name for name in ("RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_WHITEOUT")},
        },
    ),
    fcntl.O: Constants(
        ("linux/fcntl.h",),
        "O_",
        names={"ASYNC": "FASYNC"},
        also=("fcntl.h",),
        left_out={"O_TMPFILE_MASK": "mask"},
        no_header={
            "FMODE_EXEC": "internal to the kernel; FUSE shows it",
            "FMODE_NONOTIFY": "internal to the kernel; FUSE shows it",
        },
        encode=fcntl.encode_open_flags,
    ),
    fcntl.F: Constants(
        ("linux/fcntl.h",),
        "F_",
        also=("fcntl.h",),
        left_out={
            "F_LINUX_SPECIFIC_BASE": "where some of the numbers begin",
            **dict.fromkeys(("F_LOCK", "F_TLOCK", "F_ULOCK", "F_TEST"), "of the C function lockf"),
        },
    ),
    fcntl.FD: Constants(
        ("linux/fcntl.h",),
        "FD_",
        also=("fcntl.h",),
        left_out={"FD_*_ROOT": "see FD_ROOT", "FD_INVALID": "a number that is no descriptor"},
    ),
    fcntl.FD_ROOT: Constants(
        ("linux/fcntl.h",),
        "FD_",
        names={name: f"FD_{name}_ROOT" for name in ("PIDFS", "NSFS", "FAILFS")},
        left_out={"FD_CLOEXEC": "see FD", "FD_INVALID": "a number that is no descriptor"},
    ),
    fcntl.PIDFD_SELF: Constants(("linux/fcntl.h", "linux/pidfd.h"), "PIDFD_SELF_"),
    fcntl.F_LCK: Constants(
        ("linux/fcntl.h",),
        "F_",
        names={name: f"F_{name}LCK" for name in ("RD", "WR", "UN", "EX", "SH")},
        left_out={"*": "see F"},
    ),
    # sched, signal, time
    sched.CLONE: Constants(
        ("linux/sched.h",),
        "CLONE_",
        also=("sched.h",),
        left_out={"CLONE_ARGS_SIZE_VER*": "sizes of what there was of CloneArgs before"},
    ),
    _sched_policy.SCHED: Constants(
        ("linux/sched.h",),
        "SCHED_",
        names={"OTHER": "SCHED_NORMAL"},
        left_out={"SCHED_FLAG_*": "see SCHED_FLAG", "SCHED_RESET_ON_FORK": "a number"},
    ),
    _sched_policy.SCHED_FLAG: Constants(("linux/sched.h",), "SCHED_FLAG_"),
    poll.POLL: Constants(
        ("linux/poll.h",), "POLL", left_out={"POLLFREE": "internal", "POLL_BUSY_LOOP": "internal"}
    ),
    ipc.IPC: Constants(
        ("linux/ipc.h",),
        "IPC_",
        left_out={
            **dict.fromkeys(("IPC_RMID", "IPC_SET", "IPC_STAT", "IPC_INFO"), "see MSGCTL, SEMCTL, SHMCTL"),
            **dict.fromkeys(
                ("IPC_PRIVATE", "IPC_OLD", "IPC_64", "IPC_DIPC", "IPC_OWN"), "no flags of these calls"
            ),
        },
    ),
    msg.MSG: Constants(
        ("linux/msg.h",), "MSG_", left_out=dict.fromkeys(("MSG_STAT*", "MSG_INFO"), "see MSGCTL")
    ),
    sem.SEM: Constants(
        ("linux/sem.h",), "SEM_", left_out=dict.fromkeys(("SEM_STAT*", "SEM_INFO"), "see SEMCTL")
    ),
    shm.SHM: Constants(
        ("linux/shm.h",),
        "SHM_",
        left_out={
            **dict.fromkeys(("SHM_LOCK", "SHM_UNLOCK", "SHM_STAT*", "SHM_INFO"), "see SHMCTL"),
            "SHM_HUGE_*": "see MAP, which has the same sizes",
            **dict.fromkeys(("SHM_R", "SHM_W"), "permissions"),
        },
    ),
    **{
        cls: Constants(
            (f"linux/{header}.h",),
            "",
            names={
                **{name: f"IPC_{name}" for name in ("RMID", "SET", "STAT", "INFO")},
                **{name: f"SHM_{name}" for name in ("LOCK", "UNLOCK") if cls is shm.SHMCTL},
            },
            left_out={"*": "of all kinds"},
        )
        for header, cls in (("msg", msg.MSGCTL), ("sem", sem.SEMCTL), ("shm", shm.SHMCTL))
    },
    keyctl.KEYCTL: Constants(
        ("linux/keyctl.h",),
        "KEYCTL_",
        left_out={
            **dict.fromkeys(("KEYCTL_SUPPORTS_*", "KEYCTL_CAPS*"), "bits of answers"),
            "KEYCTL_MOVE_EXCL": "the flag of keyctl_move",
        },
    ),
    ptrace.PTRACE: Constants(
        ("linux/ptrace.h", "asm/ptrace.h"),
        "PTRACE_",
        only_on=dict.fromkeys(("SYSEMU", "SYSEMU_SINGLESTEP"), (*X86, *ARM)),
        left_out={
            **dict.fromkeys(("PTRACE_*REGS", "PTRACE_*PXREGS"), "of x86_64; PTRACE_GETREGSET"),
            **dict.fromkeys(("PTRACE_*_THREAD_AREA", "PTRACE_OLDSETOPTIONS"), "of processes of 32 bits"),
            "PTRACE_ARCH_PRCTL": "of x86_64; PTRACE_GETREGSET",
            "PTRACE_SINGLEBLOCK": "of x86_64, with a number that is another request of aarch64",
            "PTRACE_*MTETAGS": "of aarch64, with a number that is another request of x86_64",
            "PTRACE_O_MASK": "mask",
        },
    ),
    ptrace.PTRACE_O: Constants(("linux/ptrace.h",), "PTRACE_O_", left_out={"PTRACE_O_MASK": "mask"}),
    ptrace.PTRACE_EVENT: Constants(("linux/ptrace.h",), "PTRACE_EVENT_"),
    ptrace.NT: Constants(
        ("linux/elf.h",),
        "NT_",
        left_out={
            **dict.fromkeys(("NT_PPC_*", "NT_S390_*", "NT_MIPS_*", "NT_ARC_*", "NT_LOONGARCH_*"), "others"),
            **dict.fromkeys(("NT_386_*", "NT_ARM_VFP", "NT_PRXFPREG"), "of processes of 32 bits"),
            **dict.fromkeys(("NT_PRPSINFO", "NT_TASKSTRUCT", "NT_AUXV", "NT_SIGINFO", "NT_FILE"), "of cores"),
            **dict.fromkeys(("NT_VMCOREDD", "NT_GNU_PROPERTY_TYPE_0"), "no registers"),
        },
    ),
    **{
        cls: Constants(("linux/ptrace.h",), f"{cls.__name__}_")
        for cls in (ptrace.PTRACE_EVENTMSG_SYSCALL, ptrace.PTRACE_PEEKSIGINFO, ptrace.PTRACE_SYSCALL_INFO)
    },
    membarrier.MEMBARRIER_CMD_FLAG: Constants(("linux/membarrier.h",), "MEMBARRIER_CMD_FLAG_"),
    personality.Persona: Constants(
        ("linux/personality.h",), "", names={"LINUX32": "PER_LINUX32"}, left_out={"*": "of all kinds"}
    ),
    timex.STA: Constants(("linux/timex.h",), "STA_"),
    timex.TIME: Constants(("linux/timex.h",), "TIME_", left_out={"TIME_BAD": "another name"}),
    klog.SYSLOG_ACTION: Constants(
        (),
        "SYSLOG_ACTION_",
        no_header=dict.fromkeys(
            klog.SYSLOG_ACTION.__members__, "internal to the kernel, the manual has them"
        ),
    ),
    userfaultfd.UFFD: Constants(
        _UFFD,
        "UFFD_",
        names={"CLOEXEC": "O_CLOEXEC", "NONBLOCK": "O_NONBLOCK"},
        also=("fcntl.h",),
        left_out={"*": "of the requests and events"},
    ),
    userfaultfd.UFFD_EVENT: Constants(_UFFD, "UFFD_EVENT_"),
    userfaultfd.UFFDIO: Constants(_UFFD, "UFFDIO_", left_out={"*": "fields of requests, or newer"}),
    **{
        cls: Constants(
            _FUSE,
            f"{cls.__name__}_",
            left_out={
                "CUSE_INIT_INFO_MAX": "a size",
                "FUSE_DEV_IOC_MAGIC": "a part of the numbers",
                "FUSE_WRITE_KILL_PRIV": "another name of FUSE_WRITE_KILL_SUIDGID",
            },
        )
        for cls in (
            *(fuse.CUSE, fuse.FATTR, fuse.FOPEN, fuse.FUSE_ATTR, fuse.FUSE_DEV_IOC, fuse.FUSE_EXPIRE),
            *(fuse.FUSE_FSYNC, fuse.FUSE_GETATTR, fuse.FUSE_LK, fuse.FUSE_NOTIFY, fuse.FUSE_OPEN),
            *(fuse.FUSE_POLL, fuse.FUSE_READ, fuse.FUSE_RELEASE, fuse.FUSE_SETUPMAPPING_FLAG),
            *(fuse.FUSE_SETXATTR, fuse.FUSE_WRITE, fuse.FUSE_IO_URING_CMD),
        )
    },
    fuse.FUSE_EXT: Constants(_FUSE, "FUSE_EXT_", names={"MAX_NR_SECCTX": "FUSE_MAX_NR_SECCTX"}),
    fuse.FUSE_IOCTL: Constants(_FUSE, "FUSE_IOCTL_", names={"IS_32BIT": "FUSE_IOCTL_32BIT"}),
    fuse.FUSE_OPCODE: Constants(
        _FUSE, "FUSE_", names={"CUSE_INIT": "CUSE_INIT"}, left_out={"*": "see FUSE_INIT"}
    ),
    fuse.FUSE_INIT: Constants(
        _FUSE,
        "FUSE_",
        left_out={
            "FUSE_KERNEL_*": "the version of the headers",
            **dict.fromkeys(("FUSE_COMPAT_*", "FUSE_NAME_OFFSET*"), "sizes"),
            "FUSE_DIRECT_IO_RELAX": "another name of FUSE_DIRECT_IO_ALLOW_MMAP",
            "FUSE_WRITE_KILL_PRIV": "another name of FUSE_WRITE_KILL_SUIDGID",
            "FUSE_DEV_IOC_MAGIC": "a part of FUSE_DEV_IOC",
            "FUSE_REMOVEMAPPING_MAX_ENTRY": "of the size of a page",
        },
    ),
    **{
        cls: Constants(_IO_URING, f"{cls.__name__}_")
        for cls in (io_uring.IORING_ENTER, io_uring.IORING_FEAT, io_uring.IORING_OP, io_uring.IORING_SETUP)
    },
    io_uring.IORING_REGISTER: Constants(
        _IO_URING,
        "IORING_REGISTER_",
        names={
            name: f"IORING_{name}"
            for name in io_uring.IORING_REGISTER.__members__
            if name.startswith("UNREGISTER_")
        },
        left_out={"*_SKIP": "a number of a file"},
    ),
    io_uring.IORING_OFF: Constants(_IO_URING, "IORING_OFF_", left_out={"IORING_OFF_MMAP_MASK": "mask"}),
    aio_abi.IOCB_CMD: Constants(("linux/types.h", "linux/fs.h", "linux/aio_abi.h"), "IOCB_CMD_"),
    aio_abi.IOCB_FLAG: Constants(("linux/types.h", "linux/fs.h", "linux/aio_abi.h"), "IOCB_FLAG_"),
    **{
        cls: Constants(("linux/fanotify.h",), prefix, left_out={"*": "see the other enumerations"})
        for cls, prefix in (
            (fanotify.FAN, "FAN_"),
            (fanotify.FAN_INIT, "FAN_"),
            (fanotify.FAN_MARK, "FAN_MARK_"),
            (fanotify.FAN_RESPONSE, "FAN_"),
        )
    },
    mempolicy.MPOL: Constants(
        ("linux/mempolicy.h",), "MPOL_", left_out={"*": "flags, see MPOL_F and MPOL_MF"}
    ),
    mempolicy.MPOL_F: Constants(
        ("linux/mempolicy.h",),
        "MPOL_F_",
        left_out=dict.fromkeys(("MPOL_F_SHARED", "MPOL_F_MOF", "MPOL_F_MORON"), "internal to the kernel"),
    ),
    mempolicy.MPOL_MF: Constants(
        ("linux/mempolicy.h",),
        "MPOL_MF_",
        left_out=dict.fromkeys(
            ("MPOL_MF_LAZY", "MPOL_MF_INTERNAL", "MPOL_MF_VALID"), "internal to the kernel"
        ),
    ),
    **{
        cls: Constants(("linux/perf_event.h",), f"{cls.__name__}_", left_out={"*": "of all kinds"})
        for cls in (perf_event.PERF_COUNT_SW, perf_event.PERF_COUNT_HW, perf_event.PERF_EVENT_IOC)
    },
    perf_event.PERF_ATTR: Constants(
        (),
        "",
        no_header=dict.fromkeys(perf_event.PERF_ATTR.__members__, "a bit of the structure"),
    ),
    bpf.BPF: Constants(("linux/bpf.h",), "BPF_", left_out={"*": "instructions, flags and the like"}),
    quota.Q: Constants(("linux/quota.h", "linux/dqblk_xfs.h"), "Q_"),
    quota.QUOTA: Constants(
        ("linux/quota.h",),
        "",
        names={name: f"{name}QUOTA" for name in quota.QUOTA.__members__},
    ),
    quota.QFMT: Constants(("linux/quota.h",), "QFMT_"),
    quota.QIF: Constants(
        ("linux/quota.h",),
        "QIF_",
        left_out={"QIF_DQBLKSIZE*": "the unit of space", "QIF_*_B": "numbers of bits"},
    ),
    quota.IIF: Constants(("linux/quota.h",), "IIF_"),
    quota.DQF: Constants(("linux/quota.h",), "DQF_", left_out={"DQF_*_B": "numbers of bits"}),
    dqblk_xfs.FS_DQ: Constants(("linux/types.h", "linux/dqblk_xfs.h"), "FS_DQ_"),
    dqblk_xfs.FS_QUOTA: Constants(("linux/types.h", "linux/dqblk_xfs.h"), "FS_QUOTA_"),
    kexec.KEXEC: Constants(
        ("linux/kexec.h",),
        "KEXEC_",
        left_out={
            "KEXEC_FILE_*": "see KEXEC_FILE",
            "KEXEC_ARCH_MASK": "the bits of the architecture",
            "KEXEC_SEGMENT_MAX": "a limit",
        },
    ),
    kexec.KEXEC_FILE: Constants(("linux/kexec.h",), "KEXEC_FILE_"),
    **{
        cls: Constants(
            ("#if __has_include(<asm/prctl.h>)\n#include <asm/prctl.h>\n#endif",),
            f"{cls.__name__}_",
            only_on=dict.fromkeys(cls.__members__, X86),
        )
        for cls in (asm_prctl.ARCH, asm_prctl.ARCH_XCOMP, asm_prctl.ARCH_SHSTK)
    },
    **{
        cls: Constants((), "", no_header=dict.fromkeys(cls.__members__, "no macro"))
        for cls in (ldt.LDT, ldt.USER_DESC)
    },
    hwprobe.RISCV_HWPROBE: Constants(
        hwprobe.RiscvHwprobe.c_headers, "RISCV_HWPROBE_", left_out={"*": "keys, and values of all kinds"}
    ),
    hwprobe.RISCV_HWPROBE_KEY: Constants(hwprobe.RiscvHwprobe.c_headers, "RISCV_HWPROBE_KEY_"),
    cachectl.SYS_RISCV_FLUSH_ICACHE: Constants(
        (), "", no_header=dict.fromkeys(cachectl.SYS_RISCV_FLUSH_ICACHE.__members__, "internal to the kernel")
    ),
    _mman_calls.SHADOW_STACK: Constants(("asm/mman.h",), "SHADOW_STACK_"),
    swap.SWAP_FLAG: Constants(
        ("sys/swap.h",), "SWAP_FLAG_", left_out={"SWAP_FLAG_PRIO_*": "of the number that is or-ed with it"}
    ),
    reboot.LINUX_REBOOT_CMD: Constants(("linux/reboot.h",), "LINUX_REBOOT_CMD_"),
    signal.SIG: Constants(
        ("signal.h",),
        "SIG",
        no_header={"NONE": "signal 0, which sends nothing", "UNUSED": "on x86_64 only"},
        also=_ASM_SIGNAL,
        left_out={
            "SIGRT*": "realtime signals are numbers, see signal_number",
            "SIGEV_*": "see SIGEV",
            "SIGSTKSZ": "size of a stack, of C libraries",
            **_OF_C_FUNCTIONS,
        },
    ),
    signal.SA: Constants(_ASM_SIGNAL, "SA_", only_on={"RESTORER": ("x86_64", "aarch64")}, also=("signal.h",)),
    signal.HowSIG: Constants(("signal.h",), "SIG_", left_out=_OF_C_FUNCTIONS),
    signal.Sighandler: Constants(("signal.h",), "SIG_", left_out=_OF_C_FUNCTIONS),
    _signal_info.SI: Constants(
        _ASM_SIGINFO, "SI_", left_out={"SI_*_SIZE": "of a structure", "SI_FROM*": "functions"}
    ),
    _signal_info.SIGEV: Constants(_ASM_SIGINFO, "SIGEV_", left_out={"SIGEV_*_SIZE": "of a structure"}),
    _signal_info.SS: Constants(
        ("#include <linux/types.h>", "linux/signal.h"), "SS_", left_out={"SS_FLAG_BITS": "mask"}
    ),
    time.CLOCK: Constants(("linux/time.h",), "CLOCK_", also=("time.h",)),
    time.TIMER: Constants(("linux/time.h",), "TIMER_", also=("time.h",)),
    time.ITIMER: Constants(("linux/time.h",), "ITIMER_", also=("sys/time.h",)),
    # unistd
    fds.CLOSE_RANGE: Constants(("linux/close_range.h",), "CLOSE_RANGE_"),
    fs.OK: Constants(("unistd.h",), "", names={name: f"{name}_OK" for name in "FXWR"}),
    fs.RENAME: Constants(("linux/fs.h",), "RENAME_", also=("stdio.h",)),
    io.SEEK: Constants(
        ("linux/fs.h",),
        "SEEK_",
        also=("unistd.h", "stdio.h"),
        left_out={"SEEK_MAX": "the last one"},
    ),
    # sys
    _fcntl_copy.SPLICE_F: Constants(("#define _GNU_SOURCE", "fcntl.h"), "SPLICE_F_"),
    _fcntl_copy.FALLOC_FL: Constants(
        ("linux/falloc.h",), "FALLOC_FL_", left_out={"FALLOC_FL_ALLOCATE_RANGE": "no flag"}
    ),
    _fcntl_copy.POSIX_FADV: Constants(("linux/fadvise.h",), "POSIX_FADV_"),
    _fcntl_copy.SYNC_FILE_RANGE: Constants(("linux/fs.h",), "SYNC_FILE_RANGE_"),
    _mman_pages.MCL: Constants(("sys/mman.h",), "MCL_"),
    _mman_pages.MLOCK: Constants(("#define _GNU_SOURCE", "sys/mman.h"), "MLOCK_"),
    _mman_pages.MREMAP: Constants(("linux/mman.h",), "MREMAP_"),
    _mman_pages.MS: Constants(("sys/mman.h",), "MS_"),
    _mman_pages.PKEY: Constants(
        ("linux/mman.h",),
        "PKEY_",
        newer={"UNRESTRICTED": (6, 15)},
        left_out={"PKEY_ACCESS_MASK": "mask"},
    ),
    _mount_files.OPEN_TREE: Constants(("linux/fcntl.h", *_MOUNT), "OPEN_TREE_"),
    _mount_files.MOVE_MOUNT: Constants(_MOUNT, "MOVE_MOUNT_", left_out={"MOVE_MOUNT__MASK": "mask"}),
    _mount_files.FSOPEN: Constants(_MOUNT, "FSOPEN_"),
    _mount_files.FSPICK: Constants(_MOUNT, "FSPICK_"),
    _mount_files.FSMOUNT: Constants(_MOUNT, "FSMOUNT_"),
    _mount_files.FSCONFIG: Constants(_MOUNT, "FSCONFIG_"),
    _mount_files.MOUNT_ATTR: Constants(
        _MOUNT, "MOUNT_ATTR_", left_out={"MOUNT_ATTR_SIZE_*": "sizes of versions of the structure"}
    ),
    **{
        cls: Constants(("linux/landlock.h",), f"{cls.__name__}_")
        for cls in (
            landlock.LANDLOCK_ACCESS_FS,
            landlock.LANDLOCK_ACCESS_NET,
            landlock.LANDLOCK_ADD_RULE,
            landlock.LANDLOCK_CREATE_RULESET,
            landlock.LANDLOCK_RESTRICT_SELF,
            landlock.LANDLOCK_RULE,
            landlock.LANDLOCK_SCOPE,
        )
    },
    bpf_filter.BPF: Constants(
        ("linux/filter.h",),
        "BPF_",
        left_out=dict.fromkeys(
            (
                *("BPF_M*_VERSION", "BPF_MAXINSNS", "BPF_MEMWORDS", "BPF_*_OFF", "BPF_STMT", "BPF_JUMP"),
                *("BPF_SRC", "BPF_RVAL", "BPF_MISCOP", "BPF_CLASS", "BPF_SIZE", "BPF_MODE", "BPF_OP"),
            ),
            "no part of an instruction",
        ),
    ),
    seccomp.AUDIT_ARCH: Constants(
        ("linux/audit.h",), "AUDIT_ARCH_", left_out={"*": "not in the tables of this library"}
    ),
    seccomp.SECCOMP: Constants(
        _SECCOMP,
        "SECCOMP_",
        left_out={
            "SECCOMP_MODE_*": "of prctl",
            **dict.fromkeys(
                ["SECCOMP_RET_*", "SECCOMP_FILTER_*", "SECCOMP_IOC*", "SECCOMP_USER_*", "SECCOMP_ADDFD_*"],
                "of another family",
            ),
        },
    ),
    seccomp.SECCOMP_IOCTL: Constants(_SECCOMP, "SECCOMP_IOCTL_"),
    seccomp.SECCOMP_RET: Constants(_SECCOMP, "SECCOMP_RET_"),
    seccomp.SECCOMP_FILTER_FLAG: Constants(_SECCOMP, "SECCOMP_FILTER_FLAG_"),
    seccomp.SECCOMP_USER_NOTIF_FLAG: Constants(_SECCOMP, "SECCOMP_USER_NOTIF_FLAG_"),
    seccomp.SECCOMP_ADDFD_FLAG: Constants(_SECCOMP, "SECCOMP_ADDFD_FLAG_"),
    fs_h.FS_XFLAG: Constants(("linux/fs.h",), "FS_XFLAG_"),
    openat2.OPENAT2: Constants(("linux/openat2.h",), "OPENAT2_"),
    openat2.RESOLVE: Constants(("linux/openat2.h",), "RESOLVE_"),
    linux_mount.STATMOUNT: Constants(_MOUNT, "STATMOUNT_", left_out={"STATMOUNT_BY_FD": "a flag"}),
    linux_mount.LISTMOUNT: Constants(_MOUNT, "LISTMOUNT_"),
    _stat_files.UTIME: Constants(("sys/stat.h",), "UTIME_"),
    file.LOCK: Constants(
        ("sys/file.h",),
        "LOCK_",
        left_out=dict.fromkeys(("LOCK_MAND", "LOCK_READ", "LOCK_WRITE", "LOCK_RW"), "removed in Linux 5.15"),
    ),
    statfs.ST: Constants(
        ("sys/statvfs.h",),
        "ST_",
        no_header={
            "VALID": "internal to the kernel and the C library",
            "NOSYMFOLLOW": "not in all C libraries",
        },
        left_out=dict.fromkeys(("ST_WRITE", "ST_APPEND", "ST_IMMUTABLE"), "never set"),
    ),
    **{
        cls: Constants(("time.h", "linux/errqueue.h"), f"{cls.__name__}_")
        for cls in (errqueue.SO_EE_ORIGIN, errqueue.SO_EE_CODE)
    },
    **{
        cls: Constants(
            ("linux/fib_rules.h",),
            f"{cls.__name__}_",
            left_out={f"{cls.__name__}_MAX": "where the numbers end"},
        )
        for cls in (fib_rules.FRA, fib_rules.FR_ACT)
    },
    inotify.InotifyFlag: Constants(("linux/inotify.h",), "IN_", left_out={"*": "see IN"}),
    xattr.XATTR: Constants(
        ("linux/xattr.h",),
        "XATTR_",
        left_out={"*": "names of attributes"},
    ),
    epoll.EpollFlag: Constants(("linux/eventpoll.h",), "EPOLL_", left_out=_EPOLL_PACKED),
    epoll.EPOLL_CTL: Constants(("linux/eventpoll.h",), "EPOLL_CTL_"),
    epoll.EPOLL: Constants(
        ("typedef unsigned __poll_t;", "linux/eventpoll.h"),
        "EPOLL",
        names={"URING_WAKE": "EPOLL_URING_WAKE"},
        left_out=_EPOLL_PACKED,
    ),
    ioctl.IOC: Constants(
        ("linux/ioctl.h",),
        "_IOC_",
        left_out={
            f"_IOC_*{what}": "how numbers are put together, see IOR and others"
            for what in ("BITS", "MASK", "SHIFT")
        },
    ),
    ioctl.FIO: Constants(("asm/ioctls.h",), "FIO", also=("asm/sockios.h",)),
    ioctl.TC: Constants(_TERMINALS, "TC", left_out={"TCSA*": "of the C function tcsetattr"}),
    ioctl.TCFLOW: Constants(_TERMINALS, "TC", left_out={"*": "see TC"}),
    ioctl.TCFLUSH: Constants(_TERMINALS, "TC", left_out={"*": "see TC"}),
    ioctl.TIOC: Constants((*_TERMINALS, "linux/serial.h"), "TIOC", also=("sys/ioctl.h",)),
    ioctl.TIOCM: Constants(("asm/termios.h",), "TIOCM_", also=("sys/ioctl.h",)),
    ioctl.TIOCPKT: Constants(_TERMINALS, "TIOCPKT_"),
    ioctl.TIOCSER: Constants(_TERMINALS, "TIOCSER_"),
    **{
        cls: Constants(("asm/termbits.h",), "")
        for cls in (_termios.IFLAG, _termios.OFLAG, _termios.CFLAG, _termios.LFLAG, _termios.BAUD)
    },
    _termios.V: Constants(
        ("asm/termbits.h",), "V", left_out={f"VT{what}": "see OFLAG" for what in ("0", "1", "DLY")}
    ),
    _termios.TCSA: Constants(("asm/termbits.h",), "TCSA"),
    mman.PROT: Constants(("linux/mman.h",), "PROT_", only_on={"BTI": ARM, "MTE": ARM}, also=("sys/mman.h",)),
    mman.MAP: Constants(
        ("linux/mman.h",),
        "MAP_",
        names={"BIT32": "MAP_32BIT"},
        only_on={"BIT32": X86, "ABOVE4G": X86},
        also=("sys/mman.h",),
        left_out={
            "MAP_TYPE": "mask: see MAP",
            "MAP_FAILED": "what the C function returns",
        },
    ),
    mman.MADV: Constants(
        ("linux/mman.h",),
        "MADV_",
        also=("sys/mman.h",),
    ),
    mount.MS: Constants(("linux/mount.h",), "MS_", also=("sys/mount.h",)),
    mount.UMOUNT: Constants(("sys/mount.h",), "MNT_", names={"NOFOLLOW": "UMOUNT_NOFOLLOW"}),
    prctl.PR: Constants(
        ("linux/prctl.h",),
        "PR_",
        also=("sys/prctl.h",),
        left_out={"PR_SCHED_CORE_MAX": "how many there are", "PR_MTE_TCF_SHIFT": "unused, it says"},
    ),
    capability.CAP: Constants(
        ("linux/capability.h",), "CAP_", left_out={"CAP_LAST_CAP": "the same as the last one"}
    ),
    ioprio.IOPRIO_CLASS: Constants(
        ("linux/ioprio.h",), "IOPRIO_CLASS_", left_out={"IOPRIO_CLASS_[MS]*": "where it is in a priority"}
    ),
    resource.PRIO: Constants(
        ("linux/resource.h",),
        "PRIO_",
        left_out={"PRIO_MIN": "a value, not whose it is", "PRIO_MAX": "a value, not whose it is"},
    ),
    resource.RUSAGE: Constants(
        ("linux/resource.h",), "RUSAGE_", left_out={"RUSAGE_BOTH": "for the kernel itself; EINVAL"}
    ),
    **{
        cls: Constants(("linux/prctl.h",), f"{cls.__name__}_", left_out={"PR_SCHED_CORE_MAX": "see PR"})
        for cls in (
            *(prctl.PR_CAP_AMBIENT, prctl.PR_ENDIAN, prctl.PR_FPEMU, prctl.PR_FP_EXC, prctl.PR_FP_MODE),
            *(prctl.PR_MCE_KILL, prctl.PR_PAC, prctl.PR_SCHED_CORE, prctl.PR_SCHED_CORE_SCOPE),
            *(prctl.PR_SET_MM, prctl.PR_SET_VMA, prctl.PR_SME, prctl.PR_SPEC, prctl.PR_SVE),
            *(prctl.PR_SYS_DISPATCH, prctl.PR_TIMING, prctl.PR_TSC, prctl.PR_UNALIGN),
        )
    },
    prctl.PR_MCE_KILL_POLICY: Constants(("linux/prctl.h",), "PR_MCE_KILL_"),
    prctl.PR_SPEC_VARIANT: Constants(("linux/prctl.h",), "PR_SPEC_"),
    prctl.PR_TAGGED_ADDR_CTRL: Constants(("linux/prctl.h",), "PR_", left_out={"*": "see PR"}),
    **{
        cls: Constants(("linux/prctl.h",), f"{cls.__name__}_", newer=dict.fromkeys(cls.__members__, version))
        for cls, version in (
            (prctl.PR_MDWE, (6, 6)),
            (prctl.PR_RISCV_V_VSTATE_CTRL, (6, 5)),
            (prctl.PR_SHADOW_STACK, (6, 13)),
            (prctl.PR_TIMER_CREATE_RESTORE_IDS, (6, 15)),
            (prctl.PR_FUTEX_HASH, (6, 16)),
            (prctl.PR_RSEQ_SLICE_EXTENSION, (7, 0)),
            (prctl.PR_RSEQ_SLICE_EXT, (7, 0)),
            (prctl.PR_CFI, (7, 0)),
        )
    },
    sc.AF: Constants(_SOCKET, "AF_", also=("linux/socket.h",), left_out={"AF_MAX": "how many there are"}),
    sc.SOCK: Constants(_SOCKET, "SOCK_", also=("linux/socket.h",)),
    sc.SOCK_BUF_LOCK: Constants(
        ("linux/socket.h",),
        "SOCK_",
        names={
            **{name: f"SOCK_{name}_LOCK" for name in ("SNDBUF", "RCVBUF")},
            "MASK": "SOCK_BUF_LOCK_MASK",
        },
        left_out={"*": "see SOCK"},
    ),
    sc.SOCK_TXREHASH: Constants(("linux/socket.h",), "SOCK_TXREHASH_"),
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
    ),
    sc.SCM: Constants(
        (*_SOCKET, "asm/socket.h"),
        "SCM_",
        no_header={
            "SECURITY": "internal to the kernel; only newer C libraries have it",
            "PIDFD": "internal to the kernel; only newer C libraries have it",
        },
    ),
    sc.MSG: Constants(_SOCKET, "MSG_", also=("linux/socket.h",)),
    sc.SendmsgFlags: Constants(_SOCKET, "MSG_"),
    sc.RecvmsgFlags: Constants(_SOCKET, "MSG_"),
    sc.MsghdrFlags: Constants(_SOCKET, "MSG_"),
    stat.S_IF: Constants(("linux/stat.h",), "S_IF", names={"IFO": "S_IFIFO", "FIFO": "S_IFIFO"}),
    stat.S_I: Constants(("linux/stat.h",), "S_I", also=("sys/stat.h", "fcntl.h")),
    uio.RWF: Constants(
        ("linux/fs.h",),
        "RWF_",
        also=("sys/uio.h",),
        left_out={"RWF_SUPPORTED": "all of them"},
    ),
    wait.IdType: Constants(("linux/wait.h",), "P_", also=("sys/wait.h",)),
    wait.CLD: Constants(("#include <linux/types.h>", "asm/siginfo.h"), "CLD_"),
    wait.W: Constants(
        ("linux/wait.h",),
        "W",
        names={"NOTHREAD": "__WNOTHREAD", "ALL": "__WALL", "CLONE": "__WCLONE"},
        also=("sys/wait.h",),
        left_out={
            **dict.fromkeys(("WAIT_ANY", "WAIT_MYPGRP"), "process ids for wait4, which there is no call for"),
            "WCOREFLAG": "bit of what wait4 reports",
        },
    ),
    # linux
    dirent.DT: Constants(("dirent.h",), "DT_"),
    **{
        cls: Constants(("linux/futex.h",), f"{cls.__name__}_", left_out=_FUTEX_CMD_MASK)
        for cls in (futex.FUTEX_OP, futex.FUTEX_OP_CMP)
    },
    futex.FUTEX: Constants(
        ("linux/futex.h",),
        "FUTEX_",
        left_out=_FUTEX_CMD_MASK,
    ),
    futex.FUTEX2: Constants(
        ("linux/futex.h",),
        "FUTEX2_",
        names={"SIZE_U32": "FUTEX_32"},
    ),
    # net, netinet
    if_.SIOC: Constants(("sys/time.h", "linux/sockios.h", "asm/ioctls.h", "linux/un.h"), "SIOC"),
    if_.IFF: Constants(("sys/socket.h", "linux/if.h", "linux/if_tun.h"), "IFF_", also=("net/if.h",)),
    if_.TUN: Constants(
        _TUN,
        "TUN",
        left_out={
            "TUN_*_DEV": "other names of two IFF flags",
            "TUN_TYPE_MASK": "mask of IFF flags",
            **dict.fromkeys(("TUN_PKT_STRIP", "TUN_FLT_ALLMULTI"), "flags in structures that are not here"),
            **dict.fromkeys(("TUN_READQ_SIZE", "TUN_TX_TIMESTAMP"), "internal to the kernel"),
        },
    ),
    if_.TUN_F: Constants(_TUN, "TUN_F_"),
    in_.INADDR: Constants(("linux/in.h",), "INADDR_", also=("netinet/in.h",)),
    netlink.NETLINK: Constants(
        ("linux/netlink.h",),
        "NETLINK_",
        left_out=dict.fromkeys(
            (
                *("NETLINK_*_MEMBERSHIP", "NETLINK_LIST_MEMBERSHIPS", "NETLINK_PKTINFO", "NETLINK_*_RING"),
                *("NETLINK_BROADCAST_ERROR", "NETLINK_NO_ENOBUFS", "NETLINK_LISTEN_ALL_NSID"),
                *("NETLINK_*_ACK", "NETLINK_GET_STRICT_CHK"),
            ),
            "options of sockets",
        ),
    ),
    netlink.NETLINK_OPTION: Constants(
        ("linux/netlink.h",), "NETLINK_", left_out={"*": "protocols, which NETLINK has"}
    ),
    if_alg.ALG_OP: Constants(("linux/if_alg.h",), "ALG_OP_"),
    if_alg.ALG_SET: Constants(("linux/if_alg.h",), "ALG_SET_"),
    if_packet.PACKET: Constants(
        ("linux/if_packet.h",), "PACKET_", left_out={"*": "options, and values of options"}
    ),
    if_packet.PACKET_OPTION: Constants(
        ("linux/if_packet.h",), "PACKET_", left_out={"*": "kinds of packets, and values of options"}
    ),
    if_packet.PACKET_FANOUT: Constants(
        ("linux/if_packet.h",), "PACKET_FANOUT_", left_out={"PACKET_FANOUT_DATA": "an option"}
    ),
    if_packet.TP_STATUS: Constants(("linux/if_packet.h",), "TP_STATUS_"),
    if_packet.PACKET_MR: Constants(("linux/if_packet.h",), "PACKET_MR_"),
    vm_sockets.SO_VM_SOCKETS: Constants(("sys/socket.h", "linux/vm_sockets.h"), "SO_VM_SOCKETS_"),
    vm_sockets.VMADDR_CID: Constants(("sys/socket.h", "linux/vm_sockets.h"), "VMADDR_CID_"),
    vm_sockets.VMADDR_FLAG: Constants(("sys/socket.h", "linux/vm_sockets.h"), "VMADDR_FLAG_"),
    netlink.NLM_F: Constants(("linux/netlink.h",), "NLM_F_"),
    netlink.NLMSGERR_ATTR: Constants(
        ("linux/netlink.h",), "NLMSGERR_ATTR_", left_out={"NLMSGERR_ATTR_MAX": "where the numbers end"}
    ),
    netlink.NLMSG: Constants(
        ("linux/netlink.h",),
        "NLMSG_",
        left_out={"NLMSG_ALIGNTO": "see parse_messages", "NLMSG_HDRLEN": "size"},
    ),
    rtnetlink.RTM: Constants(
        ("linux/rtnetlink.h",),
        "RTM_",
        left_out={
            "RTM_F_*": "flags of routes",
            "RTM_NEWNVLAN": "RTM_NEWVLAN, misspelt in some headers",
            **dict.fromkeys(("RTM_BASE", "RTM_MAX", "RTM_NR_*"), "where the numbers begin and end"),
        },
    ),
    rtnetlink.RTMGRP: Constants(
        ("linux/rtnetlink.h",),
        "RTMGRP_",
        no_header=dict.fromkeys(
            ("NOP2", "DECnet_RULE", "NOP4", "IPV6_RULE", "MPLS_ROUTE"),
            "only the number of the group has a name",
        ),
    ),
    rtnetlink.IFA: Constants(
        ("linux/if_addr.h",),
        "IFA_",
        left_out={"IFA_F_*": "flags of addresses", "IFA_MAX": "where the numbers end"},
    ),
    rtnetlink.IFA_F: Constants(("linux/if_addr.h",), "IFA_F_"),
    rtnetlink.IFLA_INFO: Constants(
        ("linux/if_link.h",), "IFLA_INFO_", left_out={"IFLA_INFO_MAX": "where the numbers end"}
    ),
    rtnetlink.RTA: Constants(
        ("linux/rtnetlink.h",),
        "RTA_",
        left_out={"RTA_ALIGNTO": "see parse_attributes", "RTA_MAX": "the last"},
    ),
    rtnetlink.RTN: Constants(("linux/rtnetlink.h",), "RTN_", left_out={"RTN_MAX": "where the numbers end"}),
    rtnetlink.VETH_INFO: Constants(
        ("linux/veth.h",), "VETH_INFO_", left_out={"VETH_INFO_MAX": "where the numbers end"}
    ),
    rtnetlink.IFLA: Constants(("linux/if_link.h",), "IFLA_", left_out={"*": "attributes inside of others"}),
    tcp.TCP: Constants(
        ("netinet/tcp.h",),
        "TCP_",
        also=("linux/tcp.h",),
        left_out={
            "TCP_REPAIR_ON": "a value of an option",
            "TCP_REPAIR_OFF*": "values of an option",
            "TCP_MD5SIG_FLAG_*": "of the structure of an option",
            "TCP_MD5SIG_MAXKEYLEN": "of the structure of an option",
            "TCP_MSS*": "of packets",
            "TCP_MAXWIN": "of packets",
            "TCP_MAX_WINSHIFT": "of packets",
            "TCP_COOKIE_[!T]*": "of the structure of an option",
            "TCP_S_DATA_*": "of the structure of an option",
            "TCP_RECEIVE_ZEROCOPY_*": "of the structure of an option",
        },
    ),
    tcp.TCP_STATE: Constants(("netinet/tcp.h",), "TCP_", left_out={"*": "see TCP"}),
    tcp.TCP_CA: Constants(("linux/types.h", "linux/tcp.h"), "TCP_CA_"),
    ip.IPPROTO: Constants(
        ("linux/in.h", "linux/in6.h"),
        "IPPROTO_",
        also=("netinet/in.h",),
    ),
    ip.IP: Constants(
        ("linux/in.h",),
        "IP_",
        also=("netinet/in.h",),
    ),
    ip.MCAST: Constants(
        ("linux/in.h",),
        "MCAST_",
        also=("netinet/in.h",),
        left_out=dict.fromkeys(("MCAST_EXCLUDE", "MCAST_INCLUDE"), "modes of a filter that is not here"),
    ),
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
        also=("netinet/in.h",),
        left_out={
            "IPV6_PRIORITY_*": "classes of traffic as they were in 1995",
            "IPV6_TLV_*": "types of options in packets",
            "IPV6_RTHDR_*": "types of headers in packets",
        },
    ),
    **{
        cls: Constants(("linux/in6.h",), f"{cls.__name__}_")
        for cls in (ip.IPV6_PMTUDISC, ip.IPV6_PREFER_SRC, ip.IPV6_FL_A, ip.IPV6_FL_F, ip.IPV6_FL_S)
    },
}
"""Every enumeration of the header modules that needs more than its name and its module to be found."""


def constants_of(cls: type[enum.Enum]) -> Constants:
    """How to find the members of an enumeration in C."""
    table = ENUMS.get(cls)
    if table is None:
        *_, package, header = cls.__module__.split(".")
        directories = [""] if package == "rsyscall" else [f"{package}/"]
        there = [f"{directory}{header.strip('_')}.h" for directory in ("linux/", *directories)]
        tests = "#el".join(f"if __has_include(<{name}>)\n#include <{name}>\n" for name in there)
        table = Constants((f"#{tests}#endif",), f"{cls.__name__}_")
    return dataclasses.replace(table, newer={**versions(cls), **table.newer})


NUMBERS: dict[str, Constants] = {
    "rsyscall.limits": Constants(("linux/limits.h",), ""),
    **{f"rsyscall.{name}": Constants(("asm/termbits.h",), "") for name in ("termios", "_termios")},
    "rsyscall._fcntl_handle": Constants(("#define _GNU_SOURCE", "fcntl.h"), ""),
    "rsyscall._sched_policy": Constants(("linux/sched.h",), ""),
    **{
        f"rsyscall.linux.{name}": Constants(
            _FUSE, "", newer={"FUSE_UNIQUE_RESEND": (6, 9), "FUSE_INVALID_UIDGID": (6, 12), **_FUSE_URING}
        )
        for name in ("fuse", "_fuse_constants")
    },
    "rsyscall.linux.futex": Constants(("linux/futex.h",), ""),
    "rsyscall.linux.userfaultfd": Constants(_UFFD, ""),
    "rsyscall.linux.vm_sockets": Constants(("sys/socket.h", "linux/vm_sockets.h"), ""),
    "rsyscall.linux.mount": Constants(
        _MOUNT, "", names={"LSMT_ROOT": "LSMT_ROOT"}, newer={"LSMT_ROOT": (6, 8)}
    ),
    "rsyscall.linux.memfd": Constants(("linux/memfd.h",), ""),
    "rsyscall.linux.nsfs": Constants(
        ("linux/types.h", "linux/nsfs.h"), "", newer={"LISTNS_CURRENT_USER": (6, 19)}
    ),
    "rsyscall.netinet.ip": Constants(("netinet/in.h",), "", also=("linux/in6.h",)),
    "rsyscall.net.if_": Constants(("linux/ioctl.h", "sys/socket.h", "linux/if.h", "linux/if_tun.h"), ""),
    "rsyscall.sys.ipc": Constants(("linux/ipc.h",), ""),
    "rsyscall.sys.mman": Constants(("linux/mman.h",), ""),
    "rsyscall.sys._mman_near": Constants(("linux/mman.h",), ""),
    "rsyscall.sys.prctl": Constants(("linux/prctl.h",), "", newer={"PR_CFI_BRANCH_LANDING_PADS": (7, 0)}),
    "rsyscall.sys.resource": Constants(("linux/resource.h",), ""),
    "rsyscall.sys.timerfd": Constants(("linux/timerfd.h",), ""),
    "rsyscall.sys.uio": Constants(("linux/uio.h",), ""),
}
"""For every module that has numbers outside of enumerations, where those are."""
