#include "execute.h"

RSYS_ARCH_ASM;

/* A pidfd is readable once its process has exited. */
int rsys_owner_gone(const struct rsys_origin *origin)
{
	struct rsys_pollfd owner = { .fd = origin->owner_fd, .events = RSYS_POLLIN };
	struct rsys_timespec now = { 0, 0 };

	/* When a program has exited, its children have another parent. This cannot be mistaken, a number of a
	 * descriptor can: whoever shares our table may have opened something else under it. */
	if (origin->parent_pid > 0) {
		long parent = rsys_call0(__NR_getppid);

		if (!rsys_is_error(parent))	/* a filter may deny even this */
			return parent != origin->parent_pid;
	}
	if (origin->owner_fd < 0)
		return 0;
	return rsys_call5(__NR_ppoll, &owner, 1, &now, 0, 8) == 1 && owner.revents & RSYS_POLLIN;
}

/* Python's handlers must never run here; what was ignored stays ignored, as over an exec. */
static void reset_handlers(uint64_t sigmask)
{
	struct { uint64_t handler, flags, restorer, mask; } old, dfl;
	int sig;

	dfl.handler = dfl.flags = dfl.restorer = dfl.mask = 0;
	for (sig = 1; sig <= 64; sig++) {
		if (rsys_call4(__NR_rt_sigaction, sig, 0, &old, 8) == 0 && old.handler > 1)
			rsys_call4(__NR_rt_sigaction, sig, &dfl, 0, 8);
	}
	rsys_call4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &sigmask, 0, 8);
}

int rsys_begin(struct rsys_origin *origin)
{
	if (origin->flags & RSYS_ORIGIN_RESET_SIGNALS)
		reset_handlers(origin->sigmask);
	/* The trampoline has set PDEATHSIG; an owner that died before that would never be noticed. */
	return !rsys_owner_gone(origin);
}

/*
 * A change of credentials clears PDEATHSIG, and makes the memory that we share undumpable
 * (credentials(7), prctl(2)). The first must be undone here: between two requests our owner
 * may die, and nobody would tell us. The second protects our owner from processes of our new
 * user, so it stays until we have left its memory; we only record that and what was before.
 */
static long change_credentials(struct rsys_origin *origin, long nr, const int64_t *a)
{
	int32_t deathsig = 0;
	long ret;

	rsys_call2(__NR_prctl, RSYS_PR_GET_PDEATHSIG, &deathsig);
	if (!origin->creds_changed) {
		origin->dumpable = rsys_call1(__NR_prctl, RSYS_PR_GET_DUMPABLE);
		__atomic_store_n(&origin->creds_changed, 1, __ATOMIC_RELEASE);
	}
	ret = rsys_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (deathsig) {
		rsys_call2(__NR_prctl, RSYS_PR_SET_PDEATHSIG, deathsig);
		if (rsys_owner_gone(origin))
			rsys_call1(__NR_exit_group, 0);
	}
	return ret;
}

long rsys_execute(struct rsys_origin *origin, long nr, const int64_t *a)
{
	if (rsys_may_change_credentials(nr))
		return change_credentials(origin, nr, a);
	/* Out of line, because a clone on a new stack returns there a second time. */
	return rsyscall_raw_syscall(a[0], a[1], a[2], a[3], a[4], a[5], nr);
}
