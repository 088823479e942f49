# Made by: python3 tools/abigen/later_calls.py --write
"""The methods of `Process` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._later import Later
from rsyscall.handle.base_process import BaseProcess

__all__ = ["LaterProcess"]

if TYPE_CHECKING:
    from rsyscall._sched_calls import SchedProcess
    from rsyscall._signal_process import SignalProcess
    from rsyscall.linux._futex_process import FutexProcess
    from rsyscall.linux.kcmp import KcmpProcess
    from rsyscall.linux.mempolicy import MempolicyProcess
    from rsyscall.sys._uio_process import UioProcess
    from rsyscall.sys.ptrace import PtraceProcess

    class LaterProcess(
        SchedProcess,
        SignalProcess,
        FutexProcess,
        KcmpProcess,
        MempolicyProcess,
        UioProcess,
        PtraceProcess,
        BaseProcess,
    ):
        """Calls about a process."""

else:

    class LaterProcess(BaseProcess):
        """Calls about a process."""

        sched_setscheduler = Later("rsyscall._sched_calls", "SchedProcess")
        sched_getscheduler = Later("rsyscall._sched_calls", "SchedProcess")
        sched_setparam = Later("rsyscall._sched_calls", "SchedProcess")
        sched_getparam = Later("rsyscall._sched_calls", "SchedProcess")
        sched_rr_get_interval = Later("rsyscall._sched_calls", "SchedProcess")
        sched_setattr = Later("rsyscall._sched_calls", "SchedProcess")
        sched_getattr = Later("rsyscall._sched_calls", "SchedProcess")
        sched_setaffinity = Later("rsyscall._sched_calls", "SchedProcess")
        sched_getaffinity = Later("rsyscall._sched_calls", "SchedProcess")
        tgkill = Later("rsyscall._signal_process", "SignalProcess")
        tkill = Later("rsyscall._signal_process", "SignalProcess")
        rt_sigqueueinfo = Later("rsyscall._signal_process", "SignalProcess")
        rt_tgsigqueueinfo = Later("rsyscall._signal_process", "SignalProcess")
        get_robust_list = Later("rsyscall.linux._futex_process", "FutexProcess")
        kcmp = Later("rsyscall.linux.kcmp", "KcmpProcess")
        migrate_pages = Later("rsyscall.linux.mempolicy", "MempolicyProcess")
        move_pages = Later("rsyscall.linux.mempolicy", "MempolicyProcess")
        process_vm_readv = Later("rsyscall.sys._uio_process", "UioProcess")
        process_vm_writev = Later("rsyscall.sys._uio_process", "UioProcess")
        ptrace_seize = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_attach = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_setoptions = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_cont = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_syscall = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_singlestep = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_sysemu = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_sysemu_singlestep = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_interrupt = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_listen = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_kill = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_detach = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_peekdata = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_peektext = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_peekuser = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_pokedata = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_poketext = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_pokeuser = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_getregset = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_setregset = Later("rsyscall.sys.ptrace", "PtraceProcess")
        _regset = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_geteventmsg = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_getsiginfo = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_setsiginfo = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_peeksiginfo = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_getsigmask = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_setsigmask = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_get_syscall_info = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_set_syscall_info = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_seccomp_get_filter = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_seccomp_get_metadata = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_get_rseq_configuration = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_get_syscall_user_dispatch_config = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace_set_syscall_user_dispatch_config = Later("rsyscall.sys.ptrace", "PtraceProcess")
        ptrace = Later("rsyscall.sys.ptrace", "PtraceProcess")
        _fill = Later("rsyscall.sys.ptrace", "PtraceProcess")
        _ptrace = Later("rsyscall.sys.ptrace", "PtraceProcess")
