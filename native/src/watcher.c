/*
 * The watcher, see struct rsys_watcher.
 *
 * It ends with its owner, the OS thread that made it, and has all other processes on this memory end, too.
 * Each of them has asked the kernel to be killed when its parent dies (PDEATHSIG), but that is not enough:
 * a parent that has given up its privileges may not kill children that have kept theirs, and no signal is sent
 * when the parent executes another program. So the owner holds a robust mutex as long as it lives. When it
 * exits, is killed or executes a program, whatever its ids are by then, the kernel marks the word of the mutex
 * and wakes its waiter, which is us. We wake the servers that sleep for want of work; they see the mark
 * themselves, with no need of a permission. We kill those that are in a call, if we may: we have the ids that
 * the owner had when it made its first process. The others end after their call.
 *
 * The servers behind a stream, which wait for descriptors, watch a pidfd of ours: other servers may have the
 * end of their stream open, too.
 *
 * A copy of the owner made by fork has neither the mutex nor these processes.
 *
 * It needs one descriptor, the pipe, and closes all others at once: otherwise it would keep pipes open that all
 * other processes have closed.
 */
#include "execute.h"
#include "sleep.h"

struct futex_waitv_ {
	uint64_t value;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

#define FUTEX_32 2u	/* a 32-bit word; shared, because the kernel's own wake-up is */
#define WAITV_MAX 128
#define WAITV_FIXED 2	/* the first ones: our own word and the owner's */
#define MOST_DESCRIPTORS (1u << 20)	/* that are closed one by one, where close_range is denied */
#ifndef __NR_futex_waitv
#define __NR_futex_waitv 449
#endif

/* Frees the entries whose word is 0; returns how many there were, and fills the wait list. */
static unsigned int collect(struct rsys_watcher *w, struct futex_waitv_ *waits, unsigned int *ret_n,
			    unsigned int *ret_more)
{
	uint32_t count = __atomic_load_n(&w->count, __ATOMIC_ACQUIRE), i;
	unsigned int fired = 0, n = WAITV_FIXED;

	*ret_more = 0;
	for (i = 0; i < count; i++) {
		uint64_t entry = __atomic_load_n(&w->words[i], __ATOMIC_ACQUIRE);
		uint64_t address = entry & RSYS_WORD_ADDRESS;
		uint32_t value;

		if (!address)
			continue;
		value = __atomic_load_n((uint32_t *)address, __ATOMIC_ACQUIRE);
		if (!value) {
			/*
			 * The client may have taken the entry back meanwhile, and even have made another one
			 * for the same word, which is that of another process by now: both are not ours.
			 */
			if (__atomic_compare_exchange_n(&w->words[i], &entry, 0, 0, __ATOMIC_SEQ_CST,
							__ATOMIC_RELAXED))
				fired++;
		} else if (n < WAITV_MAX) {
			waits[n].value = value;
			waits[n].address = address;
			waits[n].flags = FUTEX_32;
			waits[n].reserved = 0;
			n++;
		} else {
			*ret_more = 1;
		}
	}
	*ret_n = n;
	return fired;
}

/* The table is a copy of the creator's. */
static void close_others(int32_t fd)
{
	struct { uint64_t soft, hard; } limit = { MOST_DESCRIPTORS, 0 };
	uint64_t i;

	if (fd > 0)
		rsys_call3(__NR_close_range, 0, fd - 1, 0);
	if (!rsys_is_error(rsys_call3(__NR_close_range, fd + 1, RSYS_CLOSE_RANGE_ALL, 0)))
		return;
	rsys_call4(__NR_prlimit64, 0, 7 /* RLIMIT_NOFILE */, 0, &limit);
	for (i = 0; i < limit.soft && i < MOST_DESCRIPTORS; i++)
		if (i != (uint64_t)fd)
			rsys_call1(__NR_close, i);
}

/*
 * Kill the process of a ring. It is a number of our pid namespace, and may be that of another process by
 * the time we use it; not so if the process has not left our memory yet when we have the pidfd.
 */
static void kill_process(const struct rsys_ring *ring)
{
	int foreign = __atomic_load_n(&ring->origin.flags, __ATOMIC_ACQUIRE) & RSYS_ORIGIN_FOREIGN_PID;
	int32_t pid = __atomic_load_n(&ring->pid, __ATOMIC_ACQUIRE);
	long pidfd;

	if (pid <= 0 || foreign)
		return;
	pidfd = rsys_call2(__NR_pidfd_open, pid, 0);
	if (pidfd < 0)
		return;
	if (__atomic_load_n(&ring->ctid, __ATOMIC_ACQUIRE))
		rsys_call4(__NR_pidfd_send_signal, pidfd, RSYS_SIGKILL, 0, 0);
	rsys_call1(__NR_close, pidfd);
}

/* The owner is gone. Who is made from now on sees that before anything else. */
static void end_all(struct rsys_hub *hub, const struct rsys_ring *self)
{
	uint64_t address = __atomic_load_n(&hub->rings, __ATOMIC_ACQUIRE);
	/* An owner that has unshared its pid namespace for its children has us in another one. */
	int may_kill = !self || rsys_call0(__NR_getpid) == self->pid;
	struct rsys_ring *ring;

	for (; address; address = ring->next_ring) {
		ring = (struct rsys_ring *)address;
		if (ring == self || !__atomic_load_n(&ring->ctid, __ATOMIC_ACQUIRE))
			continue;
		if (__atomic_exchange_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST) == RSYS_PARKED)
			rsys_call3(__NR_futex, &ring->state, RSYS_FUTEX_WAKE | RSYS_FUTEX_PRIVATE, 1);
		if (may_kill)
			kill_process(ring);
	}
}

static void wait_for(struct futex_waitv_ *wait, const uint32_t *word, uint32_t value)
{
	wait->value = value;
	wait->address = (uint64_t)word;
	wait->flags = FUTEX_32;
	wait->reserved = 0;
}

int rsyscall_futex_helper(struct rsys_hub *hub, const struct rsys_ring *self)
{
	struct rsys_watcher *w = &hub->watcher;
	const uint32_t *owner = (const uint32_t *)hub->owner;
	struct futex_waitv_ waits[WAITV_MAX];
	uint64_t all = ~0ull;
	int32_t fd = w->completion;

	/*
	 * What ends us when there is no mutex. Otherwise it must not: we may be the only one that the owner's end
	 * kills, and it has to be so from our first instruction on, hence the trampoline that does not ask for it.
	 */
	if (!owner)
		rsys_call2(__NR_prctl, RSYS_PR_SET_PDEATHSIG, RSYS_SIGKILL);
	if (!rsys_begin(&w->origin)) {
		/* The owner was gone before we came to run. */
		end_all(hub, self);
		return 0;
	}
	close_others(fd);
	/* Not the addressee of what a terminal or a process group is sent. */
	rsys_call4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8);
	for (;;) {
		uint32_t control = __atomic_load_n(&w->control, __ATOMIC_SEQ_CST);
		uint32_t alive = owner ? __atomic_load_n(owner, __ATOMIC_SEQ_CST) : 0;
		struct rsys_timespec pause = { 0, 1000000 }, long_pause = { 0, 200000000 };
		const struct rsys_timespec *most;
		unsigned int n, more;
		long ret;

		if (alive & RSYS_FUTEX_OWNER_DIED) {
			end_all(hub, self);
			return 0;
		}
		if (collect(w, waits, &n, &more) || __atomic_load_n(&hub->ready, __ATOMIC_SEQ_CST))
			rsys_call3(__NR_write, fd, "", 1);
		wait_for(&waits[0], &w->control, control);
		/* Where there is no mutex, this is the same word once more. */
		wait_for(&waits[1], owner ? owner : &w->control, owner ? alive : control);
		if (!more) {
			ret = rsys_call5(__NR_futex_waitv, waits, n, 0, 0, 0);
			if (ret >= 0 || ret == -EAGAIN || ret == -EINTR)
				continue;
		}
		/*
		 * Too many words, a kernel before 5.16, or a filter that does not know the call: look at
		 * them all every millisecond. Five times a second, if it is the owner's only.
		 */
		most = n > WAITV_FIXED ? &pause : owner ? &long_pause : 0;
		if (!rsys_sleep_on(&w->control, control, 0, most))
			return 0;
	}
}
