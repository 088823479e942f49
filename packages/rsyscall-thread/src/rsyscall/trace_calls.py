"""What the arguments of each system call are, for showing them: `CALLS`, and how its result is shown."""

from __future__ import annotations

import errno
import os

from rsyscall.fcntl import AT, FD, F, O
from rsyscall.linux.memfd import MFD
from rsyscall.near import Syscall
from rsyscall.signal import HowSIG
from rsyscall.sys.epoll import EPOLL_CTL, EpollFlag
from rsyscall.sys.eventfd import EFD
from rsyscall.sys.mman import MADV
from rsyscall.sys.mount import MS, UMOUNT
from rsyscall.sys.prctl import PR
from rsyscall.sys.signalfd import SFD
from rsyscall.sys.socket import SHUT, SOL
from rsyscall.sys.timerfd import TFD, TFD_TIMER
from rsyscall.sys.wait import IdType
from rsyscall.time import CLOCK
from rsyscall.trace_decode import (
    ADDRESS,
    DECIMAL,
    DIRFD,
    FDNUM,
    INT,
    OCTAL,
    OPTIONAL,
    PID,
    SIZE,
    WORD,
    Frame,
    Kind,
    OwnMemory,
    choice,
    flag_names,
    flags,
)
from rsyscall.trace_structs import (
    AT_FOLLOW,
    AT_NOFOLLOW,
    CLONE_FLAGS,
    FAMILY,
    ID3_OUT,
    INT_OUT,
    ITIMERSPEC,
    ITIMERSPEC_OUT,
    MSG_FLAGS,
    OPEN_FLAGS,
    OUT,
    OUT_STRING,
    PAIR_OUT,
    PROT_FLAGS,
    SIGNAL,
    SIGSET,
    SIGSET_OUT,
    SOCK_FLAGS,
    STRING,
    TIMESPEC,
    WAIT,
    address,
    counted,
    ioctl_gives,
    show_address_out,
    show_clone,
    show_clone_args,
    show_clone_rest,
    show_directory_entries,
    show_environment,
    show_epoll_event,
    show_epoll_events,
    show_fcntl_argument,
    show_if_creating,
    show_ioctl_argument,
    show_ioctl_request,
    show_message,
    show_mmap_flags,
    show_open_flags,
    show_option,
    show_option_name,
    show_option_out,
    show_prctl_argument,
    show_protocol,
    show_sigaction,
    show_siginfo,
    show_socket_type,
    show_stat,
    show_strings,
    show_utsname,
    show_vectors,
    show_vectors_out,
    show_waitid_id,
)
from rsyscall.unistd import OK
from rsyscall.unistd.fds import CLOSE_RANGE
from rsyscall.unistd.fs import RENAME
from rsyscall.unistd.io import SEEK

show__all__ = ["CALLS", "format_result"]

CALLS: dict[str, tuple[Kind, ...]] = {
    # files
    "openat": (DIRFD, STRING, OPEN_FLAGS, Kind(show_if_creating)),
    "close": (FDNUM,),
    "close_range": (FDNUM, FDNUM, flags(CLOSE_RANGE, "CLOSE_RANGE_")),
    "read": (FDNUM, OUT, SIZE),
    "write": (FDNUM, counted(2), SIZE),
    "pread64": (FDNUM, OUT, SIZE, DECIMAL),
    "pwrite64": (FDNUM, counted(2), SIZE, DECIMAL),
    "readv": (FDNUM, Kind(show_vectors_out, after=True), SIZE),
    "writev": (FDNUM, Kind(show_vectors), SIZE),
    "preadv2": (FDNUM, Kind(show_vectors_out, after=True), SIZE, DECIMAL, OPTIONAL, OPTIONAL),
    "pwritev2": (FDNUM, Kind(show_vectors), SIZE, DECIMAL, OPTIONAL, OPTIONAL),
    "lseek": (FDNUM, DECIMAL, choice(SEEK, "SEEK_")),
    "dup3": (FDNUM, FDNUM, OPEN_FLAGS._replace(show=lambda frame, arg: "O_CLOEXEC" if arg else "0")),
    "fcntl": (FDNUM, choice(F, "F_"), Kind(show_fcntl_argument)),
    "ioctl": (FDNUM, Kind(show_ioctl_request), Kind(show_ioctl_argument, after=ioctl_gives)),
    "pipe2": (PAIR_OUT, Kind(lambda frame, arg: "|".join(flag_names(arg, O, "O_")) or "0")),
    "fstat": (FDNUM, Kind(show_stat, after=True)),
    "newfstatat": (DIRFD, STRING, Kind(show_stat, after=True), AT_NOFOLLOW),
    "getdents64": (FDNUM, Kind(show_directory_entries, after=True), SIZE),
    "faccessat": (DIRFD, STRING, flags(OK, "", renamed={n: f"{n}_OK" for n in "RWXF"}, zero="F_OK")),
    "faccessat2": (
        DIRFD,
        STRING,
        flags(OK, "", renamed={n: f"{n}_OK" for n in "RWXF"}, zero="F_OK"),
        flags(AT, "AT_", ["EACCESS", "SYMLINK_NOFOLLOW", "EMPTY_PATH"]),
    ),
    "readlinkat": (DIRFD, STRING, OUT, SIZE),
    "mkdirat": (DIRFD, STRING, OCTAL),
    "unlinkat": (DIRFD, STRING, flags(AT, "AT_", ["REMOVEDIR"])),
    "linkat": (DIRFD, STRING, DIRFD, STRING, AT_FOLLOW),
    "symlinkat": (STRING, DIRFD, STRING),
    "renameat2": (DIRFD, STRING, DIRFD, STRING, flags(RENAME, "RENAME_")),
    "fchmod": (FDNUM, OCTAL),
    "fchmodat": (DIRFD, STRING, OCTAL),
    "fchmodat2": (DIRFD, STRING, OCTAL, AT_NOFOLLOW),
    "fchown": (FDNUM, INT, INT),
    "fchownat": (DIRFD, STRING, INT, INT, AT_NOFOLLOW),
    "ftruncate": (FDNUM, DECIMAL),
    "truncate": (STRING, DECIMAL),
    "memfd_create": (STRING, flags(MFD, "MFD_")),
    "fsync": (FDNUM,),
    "fdatasync": (FDNUM,),
    "sync": (),
    "syncfs": (FDNUM,),
    "chdir": (STRING,),
    "fchdir": (FDNUM,),
    "getcwd": (OUT_STRING, SIZE),
    "chroot": (STRING,),
    "umask": (OCTAL,),
    "mount": (STRING, STRING, STRING, flags(MS, "MS_"), STRING),
    "umount2": (STRING, flags(UMOUNT, "MNT_", renamed={"NOFOLLOW": "UMOUNT_NOFOLLOW"})),
    "pivot_root": (STRING, STRING),
    # memory
    "mmap": (
        ADDRESS,
        SIZE,
        PROT_FLAGS,
        Kind(show_mmap_flags),
        FDNUM,
        Kind(lambda f, arg: f"{arg:#x}" if arg else "0"),
    ),
    "munmap": (ADDRESS, SIZE),
    "mprotect": (ADDRESS, SIZE, PROT_FLAGS),
    "madvise": (ADDRESS, SIZE, choice(MADV, "MADV_")),
    # processes
    "clone3": (Kind(show_clone_args), SIZE),
    "clone": (Kind(show_clone), ADDRESS, Kind(show_clone_rest), Kind(show_clone_rest), Kind(show_clone_rest)),
    "unshare": (CLONE_FLAGS,),
    "setns": (FDNUM, CLONE_FLAGS),
    "execve": (STRING, Kind(show_strings), Kind(show_environment)),
    "execveat": (DIRFD, STRING, Kind(show_strings), Kind(show_environment), AT_NOFOLLOW),
    "exit": (INT,),
    "exit_group": (INT,),
    "wait4": (PID, ADDRESS, WAIT, ADDRESS),
    "waitid": (choice(IdType, "P_"), Kind(show_waitid_id), Kind(show_siginfo, after=True), WAIT, ADDRESS),
    "kill": (PID, SIGNAL),
    "pidfd_open": (PID, SIZE),
    "pidfd_getfd": (FDNUM, FDNUM, SIZE),
    "pidfd_send_signal": (FDNUM, SIGNAL, ADDRESS, SIZE),
    "getpid": (),
    "gettid": (),
    "getppid": (),
    "getsid": (PID,),
    "setsid": (),
    "getpgid": (PID,),
    "setpgid": (PID, PID),
    "kcmp": (PID, PID, INT, OPTIONAL, OPTIONAL),
    "getpriority": (SIZE, INT),
    "setpriority": (SIZE, INT, INT),
    "sched_getaffinity": (PID, SIZE, ADDRESS),
    "sched_setaffinity": (PID, SIZE, ADDRESS),
    "prctl": (choice(PR, "PR_"), Kind(show_prctl_argument), OPTIONAL, OPTIONAL, OPTIONAL),
    "rt_sigprocmask": (choice(HowSIG, "SIG_"), SIGSET, SIGSET_OUT, SIZE),
    "rt_sigaction": (SIGNAL, Kind(show_sigaction), Kind(show_sigaction, after=True), SIZE),
    "sched_setscheduler": (PID, INT, ADDRESS),
    "ioprio_set": (INT, INT, INT),
    "prlimit64": (PID, INT, ADDRESS, ADDRESS),
    "personality": (ADDRESS,),
    "seccomp": (INT, INT, ADDRESS),
    "landlock_restrict_self": (FDNUM, SIZE),
    "process_vm_readv": (PID, ADDRESS, SIZE, ADDRESS, SIZE, SIZE),
    "process_vm_writev": (PID, ADDRESS, SIZE, ADDRESS, SIZE, SIZE),
    "set_robust_list": (ADDRESS, SIZE),
    # who we are
    "getuid": (),
    "geteuid": (),
    "getgid": (),
    "getegid": (),
    "setuid": (INT,),
    "setgid": (INT,),
    "setreuid": (INT, INT),
    "setregid": (INT, INT),
    "setresuid": (INT, INT, INT),
    "setresgid": (INT, INT, INT),
    "setfsuid": (INT,),
    "setfsgid": (INT,),
    "getgroups": (INT, ADDRESS),
    "setgroups": (SIZE, ADDRESS),
    "capget": (ADDRESS, ADDRESS),
    "capset": (ADDRESS, ADDRESS),
    "getresuid": ID3_OUT,
    "getresgid": ID3_OUT,
    "uname": (Kind(show_utsname, after=True),),
    "sethostname": (counted(1), SIZE),
    "setdomainname": (counted(1), SIZE),
    # waiting
    "epoll_create1": (flags(EpollFlag, "EPOLL_"),),
    "epoll_ctl": (FDNUM, choice(EPOLL_CTL, "EPOLL_CTL_"), FDNUM, Kind(show_epoll_event)),
    "epoll_pwait": (FDNUM, Kind(show_epoll_events, after=True), INT, INT, ADDRESS, SIZE),
    "eventfd2": (SIZE, flags(EFD, "EFD_")),
    "signalfd4": (FDNUM, SIGSET, SIZE, flags(SFD, "SFD_")),
    "timerfd_create": (choice(CLOCK, "CLOCK_"), flags(TFD, "TFD_")),
    "timerfd_settime": (FDNUM, flags(TFD_TIMER, "TFD_TIMER_"), ITIMERSPEC, ITIMERSPEC_OUT),
    "timerfd_gettime": (FDNUM, ITIMERSPEC_OUT),
    "nanosleep": (TIMESPEC, ADDRESS),
    # sockets
    "socket": (FAMILY, Kind(show_socket_type), Kind(show_protocol)),
    "socketpair": (FAMILY, Kind(show_socket_type), Kind(show_protocol), PAIR_OUT),
    "bind": (FDNUM, address(2), SIZE),
    "connect": (FDNUM, address(2), SIZE),
    "listen": (FDNUM, INT),
    "accept4": (FDNUM, Kind(show_address_out(2), after=True), INT_OUT, SOCK_FLAGS),
    "getsockname": (FDNUM, Kind(show_address_out(2), after=True), INT_OUT),
    "getpeername": (FDNUM, Kind(show_address_out(2), after=True), INT_OUT),
    "setsockopt": (FDNUM, choice(SOL, "SOL_"), Kind(show_option_name), Kind(show_option), SIZE),
    "getsockopt": (
        FDNUM,
        choice(SOL, "SOL_"),
        Kind(show_option_name),
        Kind(show_option_out, after=True),
        INT_OUT,
    ),
    "shutdown": (FDNUM, choice(SHUT, "SHUT_")),
    "sendto": (FDNUM, counted(2), SIZE, MSG_FLAGS, address(5), SIZE),
    "recvfrom": (FDNUM, OUT, SIZE, MSG_FLAGS, Kind(show_address_out(5), after=True), INT_OUT),
    "sendmsg": (FDNUM, Kind(show_message), MSG_FLAGS),
    "recvmsg": (FDNUM, Kind(show_message, after=True), MSG_FLAGS),
}
"""What the arguments of each call are. A call that is missing is shown with numbers."""

_ADDRESS_RESULTS = frozenset({"mmap", "mremap", "brk", "shmat"})


def describe_call(call: Syscall) -> str:
    """A call that has been made in a process that shares our memory, as it would be in a trace."""
    name = getattr(call.number, "name", f"syscall_{int(call.number):d}")
    frame = Frame(name, call.args(), CALLS.get(name), memory=OwnMemory())
    return f"{name}({', '.join(frame.after(frame.before(), None))})"


def format_result(frame: Frame, result: int) -> str:
    """What a call returned: a number, or -1 with the name of the error and what it means.

    Args:
        frame: the call.
        result: as the kernel returned it, -4095 to -1 being errors.
    """
    if -4096 < result < 0:
        name = errno.errorcode.get(-result, f"errno {-result}")
        return f"-1 {name} ({os.strerror(-result)})"
    if frame.name in _ADDRESS_RESULTS or result >= 2**63:
        return f"{result & WORD:#x}"
    if frame.name == "umask":
        return f"0{result:o}"
    if frame.name == "fcntl" and frame.args[1] == F.GETFL:
        return f"{result:#x} (flags {show_open_flags(frame, result)})"
    if frame.name == "fcntl" and frame.args[1] == F.GETFD and result:
        return f"{result:#x} (flags {'|'.join(flag_names(result, FD, 'FD_'))})"
    return str(result)
