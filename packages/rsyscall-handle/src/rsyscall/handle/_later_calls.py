# Made by: python3 tools/abigen/later_calls.py --write
"""The methods of `FileDescriptor` and `Task` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.handle._later import Later, stand_in
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd

__all__ = [
    "LaterFileDescriptor",
    "LaterTask",
    "CapabilityTask",
    "CredentialsTask",
    "EpollFileDescriptor",
    "EpollTask",
    "EventFileDescriptor",
    "EventfdTask",
    "FutexTask",
    "GetdentsFileDescriptor",
    "InotifyFileDescriptor",
    "InotifyTask",
    "IoctlFileDescriptor",
    "IoprioTask",
    "MemfdTask",
    "MountTask",
    "PipeTask",
    "PrctlTask",
    "ResourceTask",
    "SignalFileDescriptor",
    "SignalfdTask",
    "SocketFileDescriptor",
    "SocketTask",
    "StatFileDescriptor",
    "StatTask",
    "TermiosFileDescriptor",
    "TimerFileDescriptor",
    "TimerfdTask",
    "UioFileDescriptor",
    "UtsnameTask",
]

if TYPE_CHECKING:
    from rsyscall._fcntl_copy import CopyFileDescriptor
    from rsyscall._fcntl_handle_calls import HandleFileDescriptor, HandleTask
    from rsyscall._sched_calls import SchedPolicyTask
    from rsyscall._signal_calls import SignalWaitTask
    from rsyscall._time_calls import TimeTask
    from rsyscall.asm.hwprobe import HwprobeTask
    from rsyscall.asm.ldt import LdtTask
    from rsyscall.asm.prctl import ArchPrctlTask
    from rsyscall.linux._futex_calls import FutexWaitTask
    from rsyscall.linux.aio_abi import AioTask
    from rsyscall.linux.bpf import BpfTask
    from rsyscall.linux.dirent import GetdentsFileDescriptor
    from rsyscall.linux.fs import FileAttrFileDescriptor, FileAttrTask
    from rsyscall.linux.futex import FutexTask
    from rsyscall.linux.io_uring import IoUringFileDescriptor, IoUringTask
    from rsyscall.linux.ioprio import IoprioTask
    from rsyscall.linux.kexec import KexecFileDescriptor, KexecTask
    from rsyscall.linux.keyctl import KeyTask
    from rsyscall.linux.landlock import LandlockFileDescriptor, LandlockTask
    from rsyscall.linux.lsm import LsmTask
    from rsyscall.linux.membarrier import MembarrierTask
    from rsyscall.linux.memfd import MemfdTask
    from rsyscall.linux.mempolicy import MempolicyTask
    from rsyscall.linux.module import ModuleFileDescriptor, ModuleTask
    from rsyscall.linux.mount import ListmountTask
    from rsyscall.linux.nsfs import NsfsTask
    from rsyscall.linux.openat2 import Openat2FileDescriptor, Openat2Task
    from rsyscall.linux.perf_event import PerfTask
    from rsyscall.linux.rseq import RseqTask
    from rsyscall.linux.seccomp import SeccompFileDescriptor, SeccompListenerTask, SeccompTask
    from rsyscall.linux.userfaultfd import UserfaultfdFileDescriptor, UserfaultfdTask
    from rsyscall.mqueue import MqueueFileDescriptor, MqueueTask
    from rsyscall.poll import PollTask
    from rsyscall.sys._epoll_pwait2 import EpollPwaitFileDescriptor
    from rsyscall.sys._mman_calls import (
        CachestatFileDescriptor,
        MadviseFileDescriptor,
        PagesTask,
        SecretTask,
        ShadowStackTask,
    )
    from rsyscall.sys._mmsg import MmsgFileDescriptor
    from rsyscall.sys._mount_files import MountFileDescriptor, MountFileTask
    from rsyscall.sys._socket_calls import SocketFileDescriptor
    from rsyscall.sys._socket_task import SocketTask
    from rsyscall.sys._stat_files import SpecialFileDescriptor, SpecialFileTask
    from rsyscall.sys._time_calls import TimevalTask
    from rsyscall.sys._xattr_at import XattrAtFileDescriptor, XattrAtTask
    from rsyscall.sys.cachectl import CacheTask
    from rsyscall.sys.capability import CapabilityTask
    from rsyscall.sys.epoll import EpollFileDescriptor, EpollTask
    from rsyscall.sys.eventfd import EventfdTask, EventFileDescriptor
    from rsyscall.sys.fanotify import FanotifyFileDescriptor, FanotifyTask
    from rsyscall.sys.file import FlockFileDescriptor
    from rsyscall.sys.fsuid import FsuidTask
    from rsyscall.sys.inotify import InotifyFileDescriptor, InotifyTask
    from rsyscall.sys.io import PortTask
    from rsyscall.sys.ioctl import IoctlFileDescriptor
    from rsyscall.sys.klog import KlogTask
    from rsyscall.sys.mount import MountTask
    from rsyscall.sys.msg import MsgTask
    from rsyscall.sys.personality import PersonalityTask
    from rsyscall.sys.pidfd import PidfdFileDescriptor, PidfdTask
    from rsyscall.sys.prctl import PrctlTask
    from rsyscall.sys.ptrace import PtraceTask
    from rsyscall.sys.quota import QuotaFileDescriptor, QuotaTask
    from rsyscall.sys.random import RandomTask
    from rsyscall.sys.reboot import RebootTask
    from rsyscall.sys.resource import ResourceTask
    from rsyscall.sys.select import SelectTask
    from rsyscall.sys.sem import SemTask
    from rsyscall.sys.sendfile import SendfileFileDescriptor
    from rsyscall.sys.shm import ShmTask
    from rsyscall.sys.signalfd import SignalfdTask, SignalFileDescriptor
    from rsyscall.sys.stat import StatFileDescriptor, StatTask
    from rsyscall.sys.statfs import StatfsFileDescriptor, StatfsTask
    from rsyscall.sys.swap import SwapTask
    from rsyscall.sys.sysinfo import SysinfoTask
    from rsyscall.sys.timerfd import TimerfdTask, TimerFileDescriptor
    from rsyscall.sys.times import TimesTask
    from rsyscall.sys.timex import TimexTask
    from rsyscall.sys.uio import UioFileDescriptor
    from rsyscall.sys.utsname import UtsnameTask
    from rsyscall.sys.xattr import XattrFileDescriptor, XattrTask
    from rsyscall.termios import TermiosFileDescriptor
    from rsyscall.unistd.acct import AcctTask
    from rsyscall.unistd.copy import CopyRangeFileDescriptor
    from rsyscall.unistd.credentials import CredentialsTask
    from rsyscall.unistd.pipe import PipeTask

    class LaterFileDescriptor(
        CopyFileDescriptor,
        HandleFileDescriptor,
        FileAttrFileDescriptor,
        IoUringFileDescriptor,
        KexecFileDescriptor,
        LandlockFileDescriptor,
        ModuleFileDescriptor,
        Openat2FileDescriptor,
        SeccompFileDescriptor,
        UserfaultfdFileDescriptor,
        MqueueFileDescriptor,
        EpollPwaitFileDescriptor,
        CachestatFileDescriptor,
        MadviseFileDescriptor,
        MmsgFileDescriptor,
        MountFileDescriptor,
        SpecialFileDescriptor,
        XattrAtFileDescriptor,
        FanotifyFileDescriptor,
        FlockFileDescriptor,
        PidfdFileDescriptor,
        QuotaFileDescriptor,
        SendfileFileDescriptor,
        StatfsFileDescriptor,
        XattrFileDescriptor,
        CopyRangeFileDescriptor,
        BaseFileDescriptor,
    ):
        """Calls on a descriptor."""

        __slots__ = ()

    class LaterTask(
        HandleTask[T_fd],
        SchedPolicyTask,
        SignalWaitTask,
        TimeTask,
        HwprobeTask,
        LdtTask,
        ArchPrctlTask,
        FutexWaitTask,
        AioTask,
        BpfTask[T_fd],
        FileAttrTask,
        IoUringTask[T_fd],
        KexecTask,
        KeyTask,
        LandlockTask[T_fd],
        LsmTask,
        MembarrierTask,
        MempolicyTask,
        ModuleTask,
        ListmountTask,
        NsfsTask,
        Openat2Task[T_fd],
        PerfTask[T_fd],
        RseqTask,
        SeccompTask,
        SeccompListenerTask[T_fd],
        UserfaultfdTask[T_fd],
        MqueueTask[T_fd],
        PollTask,
        PagesTask,
        SecretTask[T_fd],
        ShadowStackTask[T_fd],
        MountFileTask[T_fd],
        SpecialFileTask,
        TimevalTask,
        XattrAtTask,
        CacheTask,
        FanotifyTask[T_fd],
        FsuidTask,
        PortTask,
        KlogTask,
        MsgTask,
        PersonalityTask,
        PidfdTask[T_fd],
        PtraceTask,
        QuotaTask,
        RandomTask,
        RebootTask,
        SelectTask,
        SemTask,
        ShmTask,
        StatfsTask,
        SwapTask,
        SysinfoTask,
        TimesTask,
        TimexTask,
        XattrTask,
        AcctTask,
        FileDescriptorTask[T_fd],
    ):
        """All other calls."""

else:

    class LaterFileDescriptor(BaseFileDescriptor):
        """Calls on a descriptor."""

        __slots__ = ()

        splice = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        tee = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        vmsplice = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        fallocate = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        posix_fadvise = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        readahead = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        sync_file_range = Later("rsyscall._fcntl_copy", "CopyFileDescriptor")
        name_to_handle_at = Later("rsyscall._fcntl_handle_calls", "HandleFileDescriptor")
        open_by_handle_at = Later("rsyscall._fcntl_handle_calls", "HandleFileDescriptor")
        file_getattr = Later("rsyscall.linux.fs", "FileAttrFileDescriptor")
        file_setattr = Later("rsyscall.linux.fs", "FileAttrFileDescriptor")
        io_uring_enter = Later("rsyscall.linux.io_uring", "IoUringFileDescriptor")
        io_uring_register = Later("rsyscall.linux.io_uring", "IoUringFileDescriptor")
        kexec_file_load = Later("rsyscall.linux.kexec", "KexecFileDescriptor")
        landlock_add_rule = Later("rsyscall.linux.landlock", "LandlockFileDescriptor")
        landlock_restrict_self = Later("rsyscall.linux.landlock", "LandlockFileDescriptor")
        finit_module = Later("rsyscall.linux.module", "ModuleFileDescriptor")
        openat2 = Later("rsyscall.linux.openat2", "Openat2FileDescriptor")
        seccomp_notif_recv = Later("rsyscall.linux.seccomp", "SeccompFileDescriptor")
        seccomp_notif_send = Later("rsyscall.linux.seccomp", "SeccompFileDescriptor")
        seccomp_notif_id_valid = Later("rsyscall.linux.seccomp", "SeccompFileDescriptor")
        seccomp_notif_addfd = Later("rsyscall.linux.seccomp", "SeccompFileDescriptor")
        _listener_ioctl = Later("rsyscall.linux.seccomp", "SeccompFileDescriptor")
        userfaultfd_read = Later("rsyscall.linux.userfaultfd", "UserfaultfdFileDescriptor")
        mq_timedsend = Later("rsyscall.mqueue", "MqueueFileDescriptor")
        mq_timedreceive = Later("rsyscall.mqueue", "MqueueFileDescriptor")
        mq_notify = Later("rsyscall.mqueue", "MqueueFileDescriptor")
        mq_getsetattr = Later("rsyscall.mqueue", "MqueueFileDescriptor")
        epoll_pwait2 = Later("rsyscall.sys._epoll_pwait2", "EpollPwaitFileDescriptor")
        cachestat = Later("rsyscall.sys._mman_calls", "CachestatFileDescriptor")
        process_madvise = Later("rsyscall.sys._mman_calls", "MadviseFileDescriptor")
        process_mrelease = Later("rsyscall.sys._mman_calls", "MadviseFileDescriptor")
        sendmmsg = Later("rsyscall.sys._mmsg", "MmsgFileDescriptor")
        recvmmsg = Later("rsyscall.sys._mmsg", "MmsgFileDescriptor")
        open_tree = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        open_tree_attr = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        move_mount = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        fsconfig = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        fsmount = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        fspick = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        mount_setattr = Later("rsyscall.sys._mount_files", "MountFileDescriptor")
        futimens = Later("rsyscall.sys._stat_files", "SpecialFileDescriptor")
        utimensat = Later("rsyscall.sys._stat_files", "SpecialFileDescriptor")
        mknodat = Later("rsyscall.sys._stat_files", "SpecialFileDescriptor")
        setxattrat = Later("rsyscall.sys._xattr_at", "XattrAtFileDescriptor")
        getxattrat = Later("rsyscall.sys._xattr_at", "XattrAtFileDescriptor")
        listxattrat = Later("rsyscall.sys._xattr_at", "XattrAtFileDescriptor")
        removexattrat = Later("rsyscall.sys._xattr_at", "XattrAtFileDescriptor")
        fanotify_read = Later("rsyscall.sys.fanotify", "FanotifyFileDescriptor")
        fanotify_mark = Later("rsyscall.sys.fanotify", "FanotifyFileDescriptor")
        flock = Later("rsyscall.sys.file", "FlockFileDescriptor")
        pidfd_getfd = Later("rsyscall.sys.pidfd", "PidfdFileDescriptor")
        quotactl_fd = Later("rsyscall.sys.quota", "QuotaFileDescriptor")
        sendfile = Later("rsyscall.sys.sendfile", "SendfileFileDescriptor")
        fstatfs = Later("rsyscall.sys.statfs", "StatfsFileDescriptor")
        fsetxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        fgetxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        flistxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        fremovexattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        copy_file_range = Later("rsyscall.unistd.copy", "CopyRangeFileDescriptor")

    class LaterTask(FileDescriptorTask[T_fd]):
        """All other calls."""

        name_to_handle_at = Later("rsyscall._fcntl_handle_calls", "HandleTask")
        sched_setscheduler = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_getscheduler = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_setparam = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_getparam = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_rr_get_interval = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_setattr = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_getattr = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_yield = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_get_priority_max = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sched_get_priority_min = Later("rsyscall._sched_calls", "SchedPolicyTask")
        getcpu = Later("rsyscall._sched_calls", "SchedPolicyTask")
        sigpending = Later("rsyscall._signal_calls", "SignalWaitTask")
        sigtimedwait = Later("rsyscall._signal_calls", "SignalWaitTask")
        sigaltstack = Later("rsyscall._signal_calls", "SignalWaitTask")
        clock_gettime = Later("rsyscall._time_calls", "TimeTask")
        clock_getres = Later("rsyscall._time_calls", "TimeTask")
        clock_settime = Later("rsyscall._time_calls", "TimeTask")
        clock_nanosleep = Later("rsyscall._time_calls", "TimeTask")
        nanosleep = Later("rsyscall._time_calls", "TimeTask")
        timer_create = Later("rsyscall._time_calls", "TimeTask")
        timer_settime = Later("rsyscall._time_calls", "TimeTask")
        timer_gettime = Later("rsyscall._time_calls", "TimeTask")
        timer_getoverrun = Later("rsyscall._time_calls", "TimeTask")
        timer_delete = Later("rsyscall._time_calls", "TimeTask")
        riscv_hwprobe = Later("rsyscall.asm.hwprobe", "HwprobeTask")
        modify_ldt = Later("rsyscall.asm.ldt", "LdtTask")
        modify_ldt_read = Later("rsyscall.asm.ldt", "LdtTask")
        arch_prctl = Later("rsyscall.asm.prctl", "ArchPrctlTask")
        futex = Later("rsyscall.linux._futex_calls", "FutexWaitTask")
        futex_waitv = Later("rsyscall.linux._futex_calls", "FutexWaitTask")
        futex_wait = Later("rsyscall.linux._futex_calls", "FutexWaitTask")
        futex_wake = Later("rsyscall.linux._futex_calls", "FutexWaitTask")
        futex_requeue = Later("rsyscall.linux._futex_calls", "FutexWaitTask")
        io_setup = Later("rsyscall.linux.aio_abi", "AioTask")
        io_destroy = Later("rsyscall.linux.aio_abi", "AioTask")
        io_submit = Later("rsyscall.linux.aio_abi", "AioTask")
        io_getevents = Later("rsyscall.linux.aio_abi", "AioTask")
        io_pgetevents = Later("rsyscall.linux.aio_abi", "AioTask")
        io_cancel = Later("rsyscall.linux.aio_abi", "AioTask")
        bpf = Later("rsyscall.linux.bpf", "BpfTask")
        bpf_fd = Later("rsyscall.linux.bpf", "BpfTask")
        file_getattr = Later("rsyscall.linux.fs", "FileAttrTask")
        file_setattr = Later("rsyscall.linux.fs", "FileAttrTask")
        io_uring_setup = Later("rsyscall.linux.io_uring", "IoUringTask")
        kexec_load = Later("rsyscall.linux.kexec", "KexecTask")
        add_key = Later("rsyscall.linux.keyctl", "KeyTask")
        request_key = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_get_keyring_ID = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_join_session_keyring = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_update = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_revoke = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_invalidate = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_chown = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_setperm = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_set_timeout = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_clear = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_link = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_unlink = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_move = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_search = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_describe = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_read = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_get_security = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl_get_persistent = Later("rsyscall.linux.keyctl", "KeyTask")
        keyctl = Later("rsyscall.linux.keyctl", "KeyTask")
        landlock_create_ruleset = Later("rsyscall.linux.landlock", "LandlockTask")
        landlock_abi = Later("rsyscall.linux.landlock", "LandlockTask")
        lsm_list_modules = Later("rsyscall.linux.lsm", "LsmTask")
        lsm_get_self_attr = Later("rsyscall.linux.lsm", "LsmTask")
        lsm_set_self_attr = Later("rsyscall.linux.lsm", "LsmTask")
        membarrier = Later("rsyscall.linux.membarrier", "MembarrierTask")
        set_mempolicy = Later("rsyscall.linux.mempolicy", "MempolicyTask")
        get_mempolicy = Later("rsyscall.linux.mempolicy", "MempolicyTask")
        mbind = Later("rsyscall.linux.mempolicy", "MempolicyTask")
        set_mempolicy_home_node = Later("rsyscall.linux.mempolicy", "MempolicyTask")
        init_module = Later("rsyscall.linux.module", "ModuleTask")
        delete_module = Later("rsyscall.linux.module", "ModuleTask")
        statmount = Later("rsyscall.linux.mount", "ListmountTask")
        listmount = Later("rsyscall.linux.mount", "ListmountTask")
        listns = Later("rsyscall.linux.nsfs", "NsfsTask")
        openat2 = Later("rsyscall.linux.openat2", "Openat2Task")
        perf_event_open = Later("rsyscall.linux.perf_event", "PerfTask")
        rseq = Later("rsyscall.linux.rseq", "RseqTask")
        seccomp = Later("rsyscall.linux.seccomp", "SeccompTask")
        seccomp_listener = Later("rsyscall.linux.seccomp", "SeccompListenerTask")
        userfaultfd = Later("rsyscall.linux.userfaultfd", "UserfaultfdTask")
        mq_open = Later("rsyscall.mqueue", "MqueueTask")
        mq_unlink = Later("rsyscall.mqueue", "MqueueTask")
        ppoll = Later("rsyscall.poll", "PollTask")
        mlockall = Later("rsyscall.sys._mman_calls", "PagesTask")
        munlockall = Later("rsyscall.sys._mman_calls", "PagesTask")
        pkey_alloc = Later("rsyscall.sys._mman_calls", "PagesTask")
        pkey_free = Later("rsyscall.sys._mman_calls", "PagesTask")
        memfd_secret = Later("rsyscall.sys._mman_calls", "SecretTask")
        map_shadow_stack = Later("rsyscall.sys._mman_calls", "ShadowStackTask")
        fsopen = Later("rsyscall.sys._mount_files", "MountFileTask")
        move_mount = Later("rsyscall.sys._mount_files", "MountFileTask")
        open_tree = Later("rsyscall.sys._mount_files", "MountFileTask")
        open_tree_attr = Later("rsyscall.sys._mount_files", "MountFileTask")
        fspick = Later("rsyscall.sys._mount_files", "MountFileTask")
        mount_setattr = Later("rsyscall.sys._mount_files", "MountFileTask")
        utimensat = Later("rsyscall.sys._stat_files", "SpecialFileTask")
        mknod = Later("rsyscall.sys._stat_files", "SpecialFileTask")
        getitimer = Later("rsyscall.sys._time_calls", "TimevalTask")
        setitimer = Later("rsyscall.sys._time_calls", "TimevalTask")
        gettimeofday = Later("rsyscall.sys._time_calls", "TimevalTask")
        settimeofday = Later("rsyscall.sys._time_calls", "TimevalTask")
        setxattrat = Later("rsyscall.sys._xattr_at", "XattrAtTask")
        getxattrat = Later("rsyscall.sys._xattr_at", "XattrAtTask")
        listxattrat = Later("rsyscall.sys._xattr_at", "XattrAtTask")
        removexattrat = Later("rsyscall.sys._xattr_at", "XattrAtTask")
        riscv_flush_icache = Later("rsyscall.sys.cachectl", "CacheTask")
        fanotify_init = Later("rsyscall.sys.fanotify", "FanotifyTask")
        setfsuid = Later("rsyscall.sys.fsuid", "FsuidTask")
        setfsgid = Later("rsyscall.sys.fsuid", "FsuidTask")
        ioperm = Later("rsyscall.sys.io", "PortTask")
        iopl = Later("rsyscall.sys.io", "PortTask")
        klogctl = Later("rsyscall.sys.klog", "KlogTask")
        msgget = Later("rsyscall.sys.msg", "MsgTask")
        msgsnd = Later("rsyscall.sys.msg", "MsgTask")
        msgrcv = Later("rsyscall.sys.msg", "MsgTask")
        msgctl = Later("rsyscall.sys.msg", "MsgTask")
        personality = Later("rsyscall.sys.personality", "PersonalityTask")
        pidfd_open = Later("rsyscall.sys.pidfd", "PidfdTask")
        ptrace_traceme = Later("rsyscall.sys.ptrace", "PtraceTask")
        quotactl = Later("rsyscall.sys.quota", "QuotaTask")
        getrandom = Later("rsyscall.sys.random", "RandomTask")
        reboot = Later("rsyscall.sys.reboot", "RebootTask")
        pselect = Later("rsyscall.sys.select", "SelectTask")
        semget = Later("rsyscall.sys.sem", "SemTask")
        semop = Later("rsyscall.sys.sem", "SemTask")
        semtimedop = Later("rsyscall.sys.sem", "SemTask")
        semctl = Later("rsyscall.sys.sem", "SemTask")
        shmget = Later("rsyscall.sys.shm", "ShmTask")
        shmat = Later("rsyscall.sys.shm", "ShmTask")
        shmdt = Later("rsyscall.sys.shm", "ShmTask")
        shmctl = Later("rsyscall.sys.shm", "ShmTask")
        statfs = Later("rsyscall.sys.statfs", "StatfsTask")
        swapon = Later("rsyscall.sys.swap", "SwapTask")
        swapoff = Later("rsyscall.sys.swap", "SwapTask")
        sysinfo = Later("rsyscall.sys.sysinfo", "SysinfoTask")
        times = Later("rsyscall.sys.times", "TimesTask")
        adjtimex = Later("rsyscall.sys.timex", "TimexTask")
        clock_adjtime = Later("rsyscall.sys.timex", "TimexTask")
        setxattr = Later("rsyscall.sys.xattr", "XattrTask")
        lsetxattr = Later("rsyscall.sys.xattr", "XattrTask")
        getxattr = Later("rsyscall.sys.xattr", "XattrTask")
        lgetxattr = Later("rsyscall.sys.xattr", "XattrTask")
        listxattr = Later("rsyscall.sys.xattr", "XattrTask")
        llistxattr = Later("rsyscall.sys.xattr", "XattrTask")
        removexattr = Later("rsyscall.sys.xattr", "XattrTask")
        lremovexattr = Later("rsyscall.sys.xattr", "XattrTask")
        acct = Later("rsyscall.unistd.acct", "AcctTask")
        vhangup = Later("rsyscall.unistd.acct", "AcctTask")

    @stand_in("rsyscall.linux.dirent")
    class GetdentsFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        getdents = Later("rsyscall.linux.dirent", "GetdentsFileDescriptor")

    @stand_in("rsyscall.linux.futex")
    class FutexTask(far.Task):
        set_robust_list = Later("rsyscall.linux.futex", "FutexTask")

    @stand_in("rsyscall.linux.ioprio")
    class IoprioTask(far.Task):
        ioprio_set = Later("rsyscall.linux.ioprio", "IoprioTask")
        ioprio_get = Later("rsyscall.linux.ioprio", "IoprioTask")

    @stand_in("rsyscall.linux.memfd")
    class MemfdTask(FileDescriptorTask[T_fd]):
        memfd_create = Later("rsyscall.linux.memfd", "MemfdTask")

    @stand_in("rsyscall.sys._socket_calls")
    class SocketFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        bind = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        connect = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        listen = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        accept = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        shutdown = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        getsockopt = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        setsockopt = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        getsockname = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        getpeername = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        sendmsg = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        recvmsg = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        recv = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        send = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        recvfrom = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")
        sendto = Later("rsyscall.sys._socket_calls", "SocketFileDescriptor")

    @stand_in("rsyscall.sys._socket_task")
    class SocketTask(FileDescriptorTask[T_fd]):
        socket = Later("rsyscall.sys._socket_task", "SocketTask")
        socketpair = Later("rsyscall.sys._socket_task", "SocketTask")

    @stand_in("rsyscall.sys.capability")
    class CapabilityTask(far.Task):
        capset = Later("rsyscall.sys.capability", "CapabilityTask")
        capget = Later("rsyscall.sys.capability", "CapabilityTask")

    @stand_in("rsyscall.sys.epoll")
    class EpollFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        epoll_wait = Later("rsyscall.sys.epoll", "EpollFileDescriptor")
        epoll_ctl = Later("rsyscall.sys.epoll", "EpollFileDescriptor")

    @stand_in("rsyscall.sys.epoll")
    class EpollTask(FileDescriptorTask[T_fd]):
        epoll_create = Later("rsyscall.sys.epoll", "EpollTask")

    @stand_in("rsyscall.sys.eventfd")
    class EventFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

    @stand_in("rsyscall.sys.eventfd")
    class EventfdTask(FileDescriptorTask[T_fd]):
        eventfd = Later("rsyscall.sys.eventfd", "EventfdTask")

    @stand_in("rsyscall.sys.inotify")
    class InotifyFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        inotify_add_watch = Later("rsyscall.sys.inotify", "InotifyFileDescriptor")
        inotify_rm_watch = Later("rsyscall.sys.inotify", "InotifyFileDescriptor")

    @stand_in("rsyscall.sys.inotify")
    class InotifyTask(FileDescriptorTask[T_fd]):
        inotify_init = Later("rsyscall.sys.inotify", "InotifyTask")

    @stand_in("rsyscall.sys.ioctl")
    class IoctlFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        ioctl = Later("rsyscall.sys.ioctl", "IoctlFileDescriptor")

    @stand_in("rsyscall.sys.mount")
    class MountTask(far.Task):
        mount = Later("rsyscall.sys.mount", "MountTask")
        umount = Later("rsyscall.sys.mount", "MountTask")
        pivot_root = Later("rsyscall.sys.mount", "MountTask")

    @stand_in("rsyscall.sys.prctl")
    class PrctlTask(far.Task):
        prctl_set_pdeathsig = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_pdeathsig = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_cap_ambient = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_name = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_set_name = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_set_no_new_privs = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_no_new_privs = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_set_dumpable = Later("rsyscall.sys.prctl", "PrctlTask")
        _setting_dumpable = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_dumpable = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_set_keepcaps = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_keepcaps = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_set_child_subreaper = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_get_child_subreaper = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_capbset_read = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl_capbset_drop = Later("rsyscall.sys.prctl", "PrctlTask")
        _prctl_with_cap = Later("rsyscall.sys.prctl", "PrctlTask")
        prctl = Later("rsyscall.sys.prctl", "PrctlTask")

    @stand_in("rsyscall.sys.resource")
    class ResourceTask(far.Task):
        setpriority = Later("rsyscall.sys.resource", "ResourceTask")
        getpriority = Later("rsyscall.sys.resource", "ResourceTask")
        setrlimit = Later("rsyscall.sys.resource", "ResourceTask")
        getrlimit = Later("rsyscall.sys.resource", "ResourceTask")
        prlimit = Later("rsyscall.sys.resource", "ResourceTask")
        getrusage = Later("rsyscall.sys.resource", "ResourceTask")

    @stand_in("rsyscall.sys.signalfd")
    class SignalFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        signalfd = Later("rsyscall.sys.signalfd", "SignalFileDescriptor")

    @stand_in("rsyscall.sys.signalfd")
    class SignalfdTask(FileDescriptorTask[T_fd]):
        signalfd = Later("rsyscall.sys.signalfd", "SignalfdTask")

    @stand_in("rsyscall.sys.stat")
    class StatFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        fstat = Later("rsyscall.sys.stat", "StatFileDescriptor")
        fstatat = Later("rsyscall.sys.stat", "StatFileDescriptor")
        statx = Later("rsyscall.sys.stat", "StatFileDescriptor")

    @stand_in("rsyscall.sys.stat")
    class StatTask(far.Task):
        stat = Later("rsyscall.sys.stat", "StatTask")
        lstat = Later("rsyscall.sys.stat", "StatTask")
        statx = Later("rsyscall.sys.stat", "StatTask")

    @stand_in("rsyscall.sys.timerfd")
    class TimerFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        timerfd_settime = Later("rsyscall.sys.timerfd", "TimerFileDescriptor")
        timerfd_gettime = Later("rsyscall.sys.timerfd", "TimerFileDescriptor")

    @stand_in("rsyscall.sys.timerfd")
    class TimerfdTask(FileDescriptorTask[T_fd]):
        timerfd_create = Later("rsyscall.sys.timerfd", "TimerfdTask")

    @stand_in("rsyscall.sys.uio")
    class UioFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        readv = Later("rsyscall.sys.uio", "UioFileDescriptor")
        writev = Later("rsyscall.sys.uio", "UioFileDescriptor")
        preadv = Later("rsyscall.sys.uio", "UioFileDescriptor")
        pwritev = Later("rsyscall.sys.uio", "UioFileDescriptor")
        _transfer = Later("rsyscall.sys.uio", "UioFileDescriptor")

    @stand_in("rsyscall.sys.utsname")
    class UtsnameTask(far.Task):
        uname = Later("rsyscall.sys.utsname", "UtsnameTask")
        sethostname = Later("rsyscall.sys.utsname", "UtsnameTask")
        setdomainname = Later("rsyscall.sys.utsname", "UtsnameTask")

    @stand_in("rsyscall.termios")
    class TermiosFileDescriptor(BaseFileDescriptor):
        __slots__ = ()

        tcgetattr = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcsetattr = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcsendbreak = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcdrain = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcflush = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcflow = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcgetpgrp = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcsetpgrp = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcgetsid = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcgetwinsize = Later("rsyscall.termios", "TermiosFileDescriptor")
        tcsetwinsize = Later("rsyscall.termios", "TermiosFileDescriptor")
        tiocgptpeer = Later("rsyscall.termios", "TermiosFileDescriptor")
        _request = Later("rsyscall.termios", "TermiosFileDescriptor")
        _number = Later("rsyscall.termios", "TermiosFileDescriptor")

    @stand_in("rsyscall.unistd.credentials")
    class CredentialsTask(far.Task):
        getuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        geteuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getegid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getpid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        gettid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getppid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getpgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setpgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getsid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setsid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getresuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getresgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        _getres = Later("rsyscall.unistd.credentials", "CredentialsTask")
        getgroups = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setreuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setregid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setresuid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setresgid = Later("rsyscall.unistd.credentials", "CredentialsTask")
        setgroups = Later("rsyscall.unistd.credentials", "CredentialsTask")
        _change_credentials = Later("rsyscall.unistd.credentials", "CredentialsTask")

    @stand_in("rsyscall.unistd.pipe")
    class PipeTask(FileDescriptorTask[T_fd]):
        pipe = Later("rsyscall.unistd.pipe", "PipeTask")
