/* Made by: python3 tools/abigen/call_facts.py --write */
/* What is true of system calls, from rsyscall.near.calls and rsyscall.near.address_space. */
#ifndef RSYS_CALL_FACTS_H
#define RSYS_CALL_FACTS_H

#include <asm/unistd.h>
#include <stdint.h>

/* The kernel answers at once, whatever the arguments. */
static inline int rsys_is_quick(long nr)
{
	switch (nr) {
	case __NR_capget:
	case __NR_clock_getres:
	case __NR_clock_gettime:
	case __NR_epoll_create1:
	case __NR_epoll_ctl:
	case __NR_eventfd2:
	case __NR_fchdir:
#ifdef __NR_futex_requeue
	case __NR_futex_requeue:
#endif
#ifdef __NR_futex_wake
	case __NR_futex_wake:
#endif
	case __NR_get_robust_list:
	case __NR_getcpu:
	case __NR_getegid:
	case __NR_geteuid:
	case __NR_getgid:
	case __NR_getgroups:
	case __NR_getitimer:
	case __NR_getpeername:
	case __NR_getpgid:
	case __NR_getpid:
	case __NR_getppid:
	case __NR_getresgid:
	case __NR_getresuid:
	case __NR_getrusage:
	case __NR_getsid:
	case __NR_getsockname:
	case __NR_getsockopt:
	case __NR_gettid:
	case __NR_gettimeofday:
	case __NR_getuid:
	case __NR_inotify_init1:
	case __NR_inotify_rm_watch:
#ifdef __NR_ioperm
	case __NR_ioperm:
#endif
#ifdef __NR_iopl
	case __NR_iopl:
#endif
	case __NR_kill:
#ifdef __NR_landlock_add_rule
	case __NR_landlock_add_rule:
#endif
	case __NR_landlock_create_ruleset:
	case __NR_listen:
#ifdef __NR_lsm_list_modules
	case __NR_lsm_list_modules:
#endif
	case __NR_memfd_create:
#ifdef __NR_memfd_secret
	case __NR_memfd_secret:
#endif
	case __NR_mq_getsetattr:
	case __NR_pidfd_open:
	case __NR_pidfd_send_signal:
	case __NR_pipe2:
	case __NR_pkey_alloc:
	case __NR_pkey_free:
	case __NR_prctl:
	case __NR_prlimit64:
#ifdef __NR_riscv_flush_icache
	case __NR_riscv_flush_icache:
#endif
#ifdef __NR_riscv_hwprobe
	case __NR_riscv_hwprobe:
#endif
	case __NR_rt_sigaction:
	case __NR_rt_sigpending:
	case __NR_rt_sigprocmask:
	case __NR_rt_sigqueueinfo:
	case __NR_rt_tgsigqueueinfo:
	case __NR_sched_get_priority_max:
	case __NR_sched_get_priority_min:
	case __NR_sched_getaffinity:
	case __NR_sched_getattr:
	case __NR_sched_getparam:
	case __NR_sched_getscheduler:
	case __NR_sched_rr_get_interval:
	case __NR_sched_setparam:
	case __NR_setitimer:
	case __NR_setpgid:
	case __NR_setsid:
	case __NR_setsockopt:
	case __NR_sigaltstack:
	case __NR_signalfd4:
	case __NR_sysinfo:
	case __NR_tgkill:
	case __NR_timer_create:
	case __NR_timer_delete:
	case __NR_timer_getoverrun:
	case __NR_timer_gettime:
	case __NR_timer_settime:
	case __NR_timerfd_create:
	case __NR_timerfd_gettime:
	case __NR_timerfd_settime:
	case __NR_times:
	case __NR_tkill:
	case __NR_umask:
	case __NR_uname:
		return 1;
	}
	return 0;
}

/* They are there to wait: for an event, for time, for another process. */
static inline int rsys_waits(long nr)
{
	switch (nr) {
	case __NR_accept:
	case __NR_accept4:
	case __NR_clock_nanosleep:
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2:
#ifdef __NR_epoll_wait
	case __NR_epoll_wait:
#endif
	case __NR_flock:
	case __NR_futex:
#ifdef __NR_futex_wait
	case __NR_futex_wait:
#endif
#ifdef __NR_futex_waitv
	case __NR_futex_waitv:
#endif
	case __NR_io_destroy:
	case __NR_io_getevents:
	case __NR_io_pgetevents:
	case __NR_io_uring_enter:
	case __NR_mq_timedreceive:
	case __NR_mq_timedsend:
	case __NR_msgrcv:
	case __NR_msgsnd:
	case __NR_nanosleep:
#ifdef __NR_pause
	case __NR_pause:
#endif
#ifdef __NR_poll
	case __NR_poll:
#endif
	case __NR_ppoll:
	case __NR_pselect6:
	case __NR_request_key:
	case __NR_rt_sigsuspend:
	case __NR_rt_sigtimedwait:
#ifdef __NR_select
	case __NR_select:
#endif
	case __NR_semop:
	case __NR_semtimedop:
	case __NR_syslog:
	case __NR_wait4:
	case __NR_waitid:
		return 1;
	}
	return 0;
}

/* They wait for descriptors. */
static inline int rsys_polls(long nr)
{
	switch (nr) {
	case __NR_epoll_pwait:
	case __NR_epoll_pwait2:
#ifdef __NR_epoll_wait
	case __NR_epoll_wait:
#endif
#ifdef __NR_poll
	case __NR_poll:
#endif
	case __NR_ppoll:
	case __NR_pselect6:
#ifdef __NR_select
	case __NR_select:
#endif
		return 1;
	}
	return 0;
}

/* They may change user, group, capabilities. */
static inline int rsys_may_change_credentials(long nr)
{
	switch (nr) {
	case __NR_capset:
	case __NR_setfsgid:
	case __NR_setfsuid:
	case __NR_setgid:
	case __NR_setns:
	case __NR_setregid:
	case __NR_setresgid:
	case __NR_setresuid:
	case __NR_setreuid:
	case __NR_setuid:
	case __NR_unshare:
		return 1;
	}
	return 0;
}

/* It changes the address space for good: refused where that is another's. */
static inline int rsys_changes_memory_for_good(long nr, const int64_t *a)
{
	switch (nr) {
#ifdef __NR_arch_prctl
	case __NR_arch_prctl:
		return (int32_t)a[0] == 0x4002 ||
		       (int32_t)a[0] == 0x4004;
#endif
	case 462: /* mseal */
		return 1;
	case __NR_prctl:
		return (int32_t)a[0] == 65 ||
		       ((int32_t)a[0] == 78 && a[1] == 1);
	}
	return 0;
}

#endif
