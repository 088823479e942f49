"""What the kernel does in a system call: the facts that decide how a call is sent, waited for and prepared.

Every fact about a call stands here once. The layers above derive their sets of calls from this book with
`having`, and the lists of the C code are generated from it (`tools/abigen/call_facts.py`). The arguments of a
call are described beside its method, in the module of its header. `LATER` has the calls that have no
method yet; some of them have their row already.

A fact holds for the call with any arguments: a call that waits only with some arguments counts as one that
may wait.
"""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

from rsyscall.near.abi import SYS

__all__ = ["BOOK", "LATER", "CallFacts", "Fact", "having"]


class Fact(enum.Flag):
    """A fact about a system call with any arguments."""

    NONE = 0
    QUICK = enum.auto()
    """The kernel answers at once: it waits for no disk, no network and no other process."""
    WAITS = enum.auto()
    """The purpose of the call is to wait: for an event, for time to pass, for another process."""
    POLLS = enum.auto()
    """It waits for descriptors, so it can also wait for the one with which we wake the process."""
    LEAVES = enum.auto()
    """When it succeeds, the process has left its address space, and there is no answer."""
    RELEASES = enum.auto()
    """It releases a resource. A cancelled caller makes it all the same."""
    CLOSES = enum.auto()
    """It closes descriptors, or replaces their files."""
    CREDENTIALS = enum.auto()
    """It may change credentials: user, group, capabilities, user namespace."""
    PREPARABLE = enum.auto()
    """A caller does not need its result if it succeeds, so it can be queued before the process exists."""
    ADDRESS = enum.auto()
    """Its result is an address."""


class CallFacts(NamedTuple):
    """A row of the book.

    Attributes:
        facts: what is true of the call.
        since: the first kernel that has it, if that is newer than 2.6; or an empty string.
        skipped: why there is no method, and what to use; an empty string if there is one.
    """

    facts: Fact
    since: str = ""
    skipped: str = ""


def facts(*all_of: Fact, since: str = "") -> CallFacts:
    """The row of a call that has a method."""
    return CallFacts(_union(all_of), since)


def skipped(reason: str, *all_of: Fact) -> CallFacts:
    """The row of a call that will have no method."""
    return CallFacts(_union(all_of), skipped=reason)


def instead(name: str, *all_of: Fact) -> CallFacts:
    """The row of a call that will have no method, because another one does the same and more."""
    return skipped(f"{name} does the same", *all_of)


@functools.cache  # to combine flags is slow, and few combinations occur
def _union(all_of: tuple[Fact, ...]) -> Fact:
    union = Fact.NONE
    for fact in all_of:
        union |= fact
    return union


QUICK, WAITS, POLLS, LEAVES, RELEASES, CLOSES, CREDENTIALS, PREPARABLE, ADDRESS = (
    Fact.QUICK, Fact.WAITS, Fact.POLLS, Fact.LEAVES, Fact.RELEASES, Fact.CLOSES, Fact.CREDENTIALS,
    Fact.PREPARABLE, Fact.ADDRESS,
)  # fmt: skip

BOOK: dict[str, CallFacts] = {
    "read": facts(),
    "write": facts(PREPARABLE),
    "open": instead("openat"),
    "close": facts(CLOSES, RELEASES, PREPARABLE),
    "stat": instead("newfstatat"),
    "fstat": facts(),
    "lstat": instead("newfstatat"),
    "poll": instead("ppoll", WAITS, POLLS),
    "lseek": facts(),
    "mmap": facts(ADDRESS),
    "mprotect": facts(),
    "munmap": facts(RELEASES),
    "brk": skipped(
        "the program break belongs to the malloc of the program whose memory a task may share; mmap", ADDRESS
    ),
    "rt_sigaction": facts(QUICK, PREPARABLE),
    "rt_sigprocmask": facts(QUICK, PREPARABLE),
    "rt_sigreturn": skipped("replaces all registers of the server by what lies on its stack"),
    "ioctl": facts(PREPARABLE),
    "pread64": facts(),
    "pwrite64": facts(),
    "readv": instead("preadv2"),
    "writev": instead("pwritev2"),
    "access": instead("faccessat"),
    "pipe": instead("pipe2"),
    "select": instead("pselect6", WAITS, POLLS),
    "sched_yield": facts(),
    "mremap": facts(ADDRESS),
    "msync": facts(),
    "mincore": facts(),
    "madvise": facts(),
    "shmget": facts(),
    "shmat": facts(ADDRESS),
    "shmctl": facts(),
    "dup": instead("fcntl"),
    "dup2": instead("dup3", CLOSES),
    "pause": skipped(
        "returns only after a signal handler has run there; ppoll, rt_sigtimedwait, signalfd", WAITS
    ),
    "nanosleep": facts(WAITS),
    "getitimer": facts(QUICK),
    "alarm": instead("setitimer"),
    "setitimer": facts(QUICK, PREPARABLE),
    "getpid": facts(QUICK),
    "sendfile": facts(),
    "socket": facts(),
    "connect": facts(),
    "accept": instead("accept4", WAITS),
    "sendto": facts(),
    "recvfrom": facts(),
    "sendmsg": facts(),
    "recvmsg": facts(),
    "shutdown": facts(),
    "bind": facts(PREPARABLE),
    "listen": facts(QUICK, PREPARABLE),
    "getsockname": facts(QUICK),
    "getpeername": facts(QUICK),
    "socketpair": facts(),
    "setsockopt": facts(QUICK, PREPARABLE),
    "getsockopt": facts(QUICK),
    "clone": facts(),
    "fork": skipped("both processes would go on in the code of the server; clone with a stack of its own"),
    "vfork": skipped(
        "suspends the server and shares its stack; clone with CLONE_VFORK and a stack of its own"
    ),
    "execve": facts(LEAVES),
    "exit": facts(LEAVES, RELEASES),
    "wait4": instead("waitid", WAITS),
    "kill": facts(QUICK, PREPARABLE),
    "uname": facts(QUICK),
    "semget": facts(),
    "semop": facts(WAITS),
    "semctl": facts(),
    "shmdt": facts(RELEASES),
    "msgget": facts(),
    "msgsnd": facts(WAITS),
    "msgrcv": facts(WAITS),
    "msgctl": facts(),
    "fcntl": facts(PREPARABLE),
    "flock": facts(WAITS),
    "fsync": facts(),
    "fdatasync": facts(),
    "truncate": facts(),
    "ftruncate": facts(PREPARABLE),
    "getdents": instead("getdents64"),
    "getcwd": facts(),
    "chdir": facts(PREPARABLE),
    "fchdir": facts(QUICK, PREPARABLE),
    "rename": instead("renameat2"),
    "mkdir": instead("mkdirat"),
    "rmdir": instead("unlinkat"),
    "creat": instead("openat"),
    "link": instead("linkat"),
    "unlink": instead("unlinkat"),
    "symlink": instead("symlinkat"),
    "readlink": instead("readlinkat"),
    "chmod": instead("fchmodat"),
    "fchmod": facts(PREPARABLE),
    "chown": instead("fchownat"),
    "fchown": facts(),
    "lchown": instead("fchownat"),
    "umask": facts(QUICK, PREPARABLE),
    "gettimeofday": facts(QUICK),
    "getrlimit": instead("prlimit64"),
    "getrusage": facts(QUICK),
    "sysinfo": facts(QUICK),
    "times": facts(QUICK),
    "ptrace": facts(),
    "getuid": facts(QUICK),
    "syslog": facts(WAITS),
    "getgid": facts(QUICK),
    "setuid": facts(CREDENTIALS, PREPARABLE),
    "setgid": facts(CREDENTIALS, PREPARABLE),
    "geteuid": facts(QUICK),
    "getegid": facts(QUICK),
    "setpgid": facts(QUICK, PREPARABLE),
    "getppid": facts(QUICK),
    "getpgrp": instead("getpgid"),
    "setsid": facts(QUICK, PREPARABLE),
    "setreuid": facts(CREDENTIALS, PREPARABLE),
    "setregid": facts(CREDENTIALS, PREPARABLE),
    "getgroups": facts(QUICK),
    "setgroups": facts(PREPARABLE),
    "setresuid": facts(CREDENTIALS, PREPARABLE),
    "getresuid": facts(QUICK),
    "setresgid": facts(CREDENTIALS, PREPARABLE),
    "getresgid": facts(QUICK),
    "getpgid": facts(QUICK),
    "setfsuid": facts(CREDENTIALS, PREPARABLE),
    "setfsgid": facts(CREDENTIALS, PREPARABLE),
    "getsid": facts(QUICK),
    "capget": facts(QUICK),
    "capset": facts(CREDENTIALS, PREPARABLE),
    "rt_sigpending": facts(QUICK),
    "rt_sigtimedwait": facts(WAITS),
    "rt_sigqueueinfo": facts(QUICK),
    "rt_sigsuspend": skipped(
        "returns only after a signal handler has run there; rt_sigtimedwait, signalfd", WAITS
    ),
    "sigaltstack": facts(QUICK),
    "utime": instead("utimensat"),
    "mknod": instead("mknodat"),
    "uselib": skipped("removed from the kernel"),
    "personality": facts(PREPARABLE),
    "ustat": skipped("obsolete; statfs"),
    "statfs": facts(),
    "fstatfs": facts(),
    "sysfs": skipped("obsolete; /proc/filesystems"),
    "getpriority": facts(),
    "setpriority": facts(PREPARABLE),
    "sched_setparam": facts(QUICK, PREPARABLE),
    "sched_getparam": facts(QUICK),
    "sched_setscheduler": facts(PREPARABLE),
    "sched_getscheduler": facts(QUICK),
    "sched_get_priority_max": facts(QUICK),
    "sched_get_priority_min": facts(QUICK),
    "sched_rr_get_interval": facts(QUICK),
    "mlock": facts(),
    "munlock": facts(),
    "mlockall": facts(),
    "munlockall": facts(),
    "vhangup": facts(),
    "modify_ldt": facts(),
    "pivot_root": facts(PREPARABLE),
    "_sysctl": skipped("removed in 5.5; /proc/sys"),
    "prctl": facts(QUICK, PREPARABLE),
    "arch_prctl": facts(),
    "adjtimex": facts(),
    "setrlimit": instead("prlimit64"),
    "chroot": facts(PREPARABLE),
    "sync": facts(),
    "acct": facts(),
    "settimeofday": facts(),
    "mount": facts(PREPARABLE),
    "umount2": facts(PREPARABLE),
    "swapon": facts(),
    "swapoff": facts(),
    "reboot": facts(),
    "sethostname": facts(PREPARABLE),
    "setdomainname": facts(PREPARABLE),
    "iopl": facts(QUICK, PREPARABLE),
    "ioperm": facts(QUICK, PREPARABLE),
    "create_module": skipped("never in a 64-bit kernel"),
    "init_module": facts(),
    "delete_module": facts(),
    "get_kernel_syms": skipped("never in a 64-bit kernel"),
    "query_module": skipped("never in a 64-bit kernel"),
    "quotactl": facts(),
    "nfsservctl": skipped("removed in 3.1"),
    "getpmsg": skipped("never implemented"),
    "putpmsg": skipped("never implemented"),
    "afs_syscall": skipped("never implemented"),
    "tuxcall": skipped("never implemented"),
    "security": skipped("never implemented"),
    "gettid": facts(QUICK),
    "readahead": facts(),
    "setxattr": facts(),
    "lsetxattr": facts(),
    "fsetxattr": facts(),
    "getxattr": facts(),
    "lgetxattr": facts(),
    "fgetxattr": facts(),
    "listxattr": facts(),
    "llistxattr": facts(),
    "flistxattr": facts(),
    "removexattr": facts(),
    "lremovexattr": facts(),
    "fremovexattr": facts(),
    "tkill": facts(QUICK),
    "time": instead("clock_gettime"),
    "futex": facts(WAITS),
    "sched_setaffinity": facts(PREPARABLE),
    "sched_getaffinity": facts(QUICK),
    "set_thread_area": skipped("for 32-bit programs; arch_prctl"),
    "io_setup": facts(),
    "io_destroy": facts(WAITS, RELEASES),
    "io_getevents": facts(WAITS),
    "io_submit": facts(),
    "io_cancel": facts(),
    "get_thread_area": skipped("for 32-bit programs; arch_prctl"),
    "lookup_dcookie": skipped("removed from the kernel"),
    "epoll_create": instead("epoll_create1"),
    "epoll_ctl_old": skipped("never implemented"),
    "epoll_wait_old": skipped("never implemented"),
    "remap_file_pages": skipped("obsolete; emulated by mmap since 4.0"),
    "getdents64": facts(),
    "set_tid_address": skipped(
        "replaces the word by which the end of the process is noticed (CLONE_CHILD_CLEARTID)"
    ),
    "restart_syscall": skipped("made by the kernel itself, after a stop signal"),
    "semtimedop": facts(WAITS),
    "fadvise64": facts(),
    "timer_create": facts(QUICK),
    "timer_settime": facts(QUICK),
    "timer_gettime": facts(QUICK),
    "timer_getoverrun": facts(QUICK),
    "timer_delete": facts(QUICK),
    "clock_settime": facts(),
    "clock_gettime": facts(QUICK),
    "clock_getres": facts(QUICK),
    "clock_nanosleep": facts(WAITS),
    "exit_group": skipped("exit: a task is a process of one thread", LEAVES, RELEASES),
    "epoll_wait": instead("epoll_pwait", WAITS, POLLS),
    "epoll_ctl": facts(QUICK),
    "tgkill": facts(QUICK),
    "utimes": instead("utimensat"),
    "vserver": skipped("never implemented"),
    "mbind": facts(),
    "set_mempolicy": facts(),
    "get_mempolicy": facts(),
    "mq_open": facts(),
    "mq_unlink": facts(),
    "mq_timedsend": facts(WAITS),
    "mq_timedreceive": facts(WAITS),
    "mq_notify": facts(),
    "mq_getsetattr": facts(QUICK),
    "kexec_load": facts(),
    "waitid": facts(WAITS),
    "add_key": facts(),
    "request_key": facts(WAITS),
    "keyctl": facts(),
    "ioprio_set": facts(PREPARABLE),
    "ioprio_get": facts(),
    "inotify_init": instead("inotify_init1"),
    "inotify_add_watch": facts(),
    "inotify_rm_watch": facts(QUICK),
    "migrate_pages": facts(),
    "openat": facts(),
    "mkdirat": facts(PREPARABLE),
    "mknodat": facts(),
    "fchownat": facts(),
    "futimesat": instead("utimensat"),
    "newfstatat": facts(),
    "unlinkat": facts(PREPARABLE),
    "renameat": instead("renameat2"),
    "linkat": facts(PREPARABLE),
    "symlinkat": facts(PREPARABLE),
    "readlinkat": facts(),
    "fchmodat": facts(),
    "faccessat": facts(),
    "pselect6": facts(WAITS, POLLS),
    "ppoll": facts(WAITS, POLLS),
    "unshare": facts(CREDENTIALS, PREPARABLE),
    "set_robust_list": facts(),
    "get_robust_list": facts(QUICK),
    "splice": facts(),
    "tee": facts(),
    "sync_file_range": facts(),
    "vmsplice": facts(),
    "move_pages": facts(),
    "utimensat": facts(),
    "epoll_pwait": facts(WAITS, POLLS),
    "signalfd": instead("signalfd4"),
    "timerfd_create": facts(QUICK),
    "eventfd": instead("eventfd2"),
    "fallocate": facts(),
    "timerfd_settime": facts(QUICK),
    "timerfd_gettime": facts(QUICK),
    "accept4": facts(WAITS),
    "signalfd4": facts(QUICK),
    "eventfd2": facts(QUICK),
    "epoll_create1": facts(QUICK),
    "dup3": facts(CLOSES, PREPARABLE),
    "pipe2": facts(QUICK),
    "inotify_init1": facts(QUICK),
    "preadv": instead("preadv2"),
    "pwritev": instead("pwritev2"),
    "rt_tgsigqueueinfo": facts(QUICK),
    "perf_event_open": facts(),
    "recvmmsg": facts(),
    "fanotify_init": facts(),
    "fanotify_mark": facts(),
    "prlimit64": facts(QUICK, PREPARABLE),
    "name_to_handle_at": facts(),
    "open_by_handle_at": facts(),
    "clock_adjtime": facts(),
    "syncfs": facts(),
    "sendmmsg": facts(since="3.0"),
    "setns": facts(CREDENTIALS, PREPARABLE, since="3.0"),
    "getcpu": facts(QUICK),
    "process_vm_readv": facts(since="3.2"),
    "process_vm_writev": facts(since="3.2"),
    "kcmp": facts(since="3.5"),
    "finit_module": facts(since="3.8"),
    "sched_setattr": facts(PREPARABLE, since="3.14"),
    "sched_getattr": facts(QUICK, since="3.14"),
    "renameat2": facts(PREPARABLE, since="3.15"),
    "seccomp": facts(PREPARABLE, since="3.17"),
    "getrandom": facts(since="3.17"),
    "memfd_create": facts(QUICK, since="3.17"),
    "kexec_file_load": facts(since="3.17"),
    "bpf": facts(since="3.18"),
    "execveat": facts(LEAVES, since="3.19"),
    "userfaultfd": facts(since="4.3"),
    "membarrier": facts(since="4.3"),
    "mlock2": facts(since="4.4"),
    "copy_file_range": facts(since="4.5"),
    "preadv2": facts(since="4.6"),
    "pwritev2": facts(since="4.6"),
    "pkey_mprotect": facts(since="4.9"),
    "pkey_alloc": facts(QUICK, since="4.9"),
    "pkey_free": facts(QUICK, since="4.9"),
    "statx": facts(since="4.11"),
    "io_pgetevents": facts(WAITS, since="4.18"),
    "rseq": facts(since="4.18"),
    "uretprobe": skipped("made by the kernel's own trampoline; SIGILL for others"),
    "uprobe": skipped("made by the kernel's own trampoline; ENXIO for others"),
    "pidfd_send_signal": facts(QUICK, since="5.1"),
    "io_uring_setup": facts(since="5.1"),
    "io_uring_enter": facts(WAITS, since="5.1"),
    "io_uring_register": facts(since="5.1"),
    "open_tree": facts(since="5.2"),
    "move_mount": facts(since="5.2"),
    "fsopen": facts(since="5.2"),
    "fsconfig": facts(since="5.2"),
    "fsmount": facts(since="5.2"),
    "fspick": facts(since="5.2"),
    "pidfd_open": facts(QUICK, since="5.3"),
    "clone3": facts(since="5.3"),
    "close_range": facts(CLOSES, RELEASES, PREPARABLE, since="5.9"),
    "openat2": facts(since="5.6"),
    "pidfd_getfd": facts(since="5.6"),
    "faccessat2": facts(since="5.8"),
    "process_madvise": facts(since="5.10"),
    "epoll_pwait2": facts(WAITS, POLLS, since="5.11"),
    "mount_setattr": facts(PREPARABLE, since="5.12"),
    "quotactl_fd": facts(since="5.14"),
    "landlock_create_ruleset": facts(QUICK, since="5.13"),
    "landlock_add_rule": facts(QUICK, since="5.13"),
    "landlock_restrict_self": facts(PREPARABLE, since="5.13"),
    "memfd_secret": facts(QUICK, since="5.14"),
    "process_mrelease": facts(since="5.15"),
    "futex_waitv": facts(WAITS, since="5.16"),
    "set_mempolicy_home_node": facts(since="5.17"),
    "cachestat": facts(since="6.5"),
    "fchmodat2": facts(since="6.6"),
    "map_shadow_stack": facts(ADDRESS, since="6.6"),
    "futex_wake": facts(QUICK, since="6.7"),
    "futex_wait": facts(WAITS, since="6.7"),
    "futex_requeue": facts(QUICK, since="6.7"),
    "statmount": facts(since="6.8"),
    "listmount": facts(since="6.8"),
    "lsm_get_self_attr": facts(since="6.8"),
    "lsm_set_self_attr": facts(since="6.8"),
    "lsm_list_modules": facts(QUICK, since="6.8"),
    "mseal": facts(since="6.10"),
    "setxattrat": facts(since="6.13"),
    "getxattrat": facts(since="6.13"),
    "listxattrat": facts(since="6.13"),
    "removexattrat": facts(since="6.13"),
    "open_tree_attr": facts(since="6.15"),
    "file_getattr": facts(since="6.17"),
    "file_setattr": facts(since="6.17"),
    "listns": facts(since="6.19"),
    "rseq_slice_yield": skipped("answers for a critical section of the very thread that calls"),
    "fchroot": facts(since="7.3"),
    "riscv_hwprobe": facts(QUICK, since="6.4"),
    "riscv_flush_icache": facts(QUICK),
}
"""The rows, by the name of the call, in the order of the numbers on x86_64; at the end what it lacks."""

LATER: frozenset[str] = frozenset()
"""The calls that have no method yet, and no reason not to have one."""


def having(fact: Fact) -> frozenset[SYS]:
    """The calls of the running architecture of which `fact` is true."""
    # Few combinations occur, and to look into one is slow.
    combinations = {id(row.facts): row.facts for row in BOOK.values()}
    fitting = {key for key, facts in combinations.items() if facts & fact}
    known = SYS.__members__
    return frozenset(known[name] for name, row in BOOK.items() if id(row.facts) in fitting and name in known)
