#include "execute.h"

RSYS_ARCH_ASM;

/* By the number: one that is not told, or whose parent is outside our pid namespace, does not notice. */
static int parent_gone(const struct rsys_origin *origin)
{
	long parent;

	if (origin->parent_pid <= 0)
		return 0;
	parent = rsys_call0(__NR_getppid);
	return !rsys_is_error(parent) && parent != origin->parent_pid;	/* a filter may deny even this */
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
	/* PDEATHSIG has been set; a parent that died before that would never be noticed. */
	return !rsys_owner_gone(origin) && !parent_gone(origin);
}

/*
 * A process that may trace us may write into the memory that we share. In a user namespace other than the one
 * that the memory belongs to, that is its root: a program that we or a relative of ours executes there,
 * or one that was there before we came. The kernel keeps it away from undumpable memory
 * (ptrace(2), PTRACE_MODE_ATTACH), so the flag goes to 0 here, in the process itself and right before the
 * call that could let such a program in: by whatever way the call came to us, there is no instant in
 * between. Our owner gives the flag back when none of us is left.
 */
static long protect_memory(struct rsys_origin *origin)
{
	long dumpable;

	if (origin->flags & RSYS_ORIGIN_OWN_MEMORY)
		return 0;
	dumpable = rsys_call1(__NR_prctl, RSYS_PR_GET_DUMPABLE);
	/* 0 and 2 protect; a filter that denies even the question must not leave us without. */
	if (dumpable != RSYS_DUMPABLE_BY_USER)
		return dumpable < 0 ? dumpable : 0;
	if (origin->dumpable < 0)
		origin->dumpable = dumpable;
	__atomic_store_n(&origin->creds_changed, 1, __ATOMIC_RELEASE);
	return rsys_call2(__NR_prctl, RSYS_PR_SET_DUMPABLE, 0);
}

/* Whether a setns may lead into another user namespace. */
static int enters_user_namespace(int fd, unsigned int nstype)
{
	/* Any kind, or a pidfd with several: then the file says what it is. */
	long type = nstype ? nstype : rsys_call2(__NR_ioctl, fd, RSYS_NS_GET_NSTYPE);

	return type > 0 && type & RSYS_CLONE_NEWUSER;
}

/*
 * A change of credentials clears PDEATHSIG, and makes the memory that we share undumpable
 * (credentials(7), prctl(2)). The first must be undone here: between two requests our parent
 * may die, and no signal would tell us. The second protects our owner from processes of our new
 * user, so it stays until we have left its memory; we only record that and what was before.
 */
static long change_credentials(struct rsys_origin *origin, long nr, const int64_t *a)
{
	int32_t deathsig = 0, before;
	int first = origin->dumpable == RSYS_DUMPABLE_UNCHANGED, entering;
	long ret;

	rsys_call2(__NR_prctl, RSYS_PR_GET_PDEATHSIG, &deathsig);
	before = rsys_call1(__NR_prctl, RSYS_PR_GET_DUMPABLE);
	if (before < 0)
		before = RSYS_DUMPABLE_UNKNOWN;
	if (first)
		origin->dumpable = before;
	__atomic_store_n(&origin->creds_changed, 1, __ATOMIC_RELEASE);
	entering = nr == __NR_setns && enters_user_namespace(a[0], a[1]);
	if (entering) {
		/* It may have processes already. One that unshare makes has none yet. */
		ret = protect_memory(origin);
		if (ret < 0)
			return ret;
	}
	ret = rsys_syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (ret == 0 && (entering || (nr == __NR_unshare && a[0] & RSYS_CLONE_NEWUSER)))
		__atomic_store_n(&origin->user_namespace, 1, __ATOMIC_RELEASE);
	if (first && rsys_call1(__NR_prctl, RSYS_PR_GET_DUMPABLE) == before)
		/* Not because of us: if it is changed later, it is not for us to undo. */
		origin->dumpable = RSYS_DUMPABLE_UNCHANGED;
	if (deathsig) {
		rsys_call2(__NR_prctl, RSYS_PR_SET_PDEATHSIG, deathsig);
		if (rsys_owner_gone(origin) || parent_gone(origin))
			rsys_call1(__NR_exit_group, 0);
	}
	return ret;
}

long rsys_execute(struct rsys_origin *origin, long nr, const int64_t *a)
{
	if (rsys_may_change_credentials(nr))
		return change_credentials(origin, nr, a);
	if (origin->user_namespace && (nr == __NR_execve || nr == __NR_execveat)) {
		long ret = protect_memory(origin);

		if (ret < 0)
			return ret;
	}
	/* Our owner would have it, too, for as long as it lives. */
	if (rsys_changes_memory_for_good(nr, a) && !(origin->flags & RSYS_ORIGIN_OWN_MEMORY))
		return -EPERM;
	/* Out of line, because a clone on a new stack returns there a second time. */
	return rsyscall_raw_syscall(a[0], a[1], a[2], a[3], a[4], a[5], nr);
}
