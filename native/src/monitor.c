/*
 * The monitor, see struct rsys_monitor. It needs one descriptor, the pipe, and gives up
 * all others at once: a helper that kept its creator's table alive would keep pipes open
 * that everybody believes closed.
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
#define MOST_DESCRIPTORS (1u << 20)	/* that are closed one by one, where close_range is denied */
#ifndef __NR_futex_waitv
#define __NR_futex_waitv 449
#endif

/* Frees the entries whose word is 0; returns how many there were, and fills the wait list. */
static unsigned int collect(struct rsys_monitor *m, struct futex_waitv_ *waits, unsigned int *ret_n,
			    unsigned int *ret_more)
{
	uint32_t count = __atomic_load_n(&m->count, __ATOMIC_ACQUIRE), i;
	unsigned int fired = 0, n = 1;

	*ret_more = 0;
	for (i = 0; i < count; i++) {
		uint64_t entry = __atomic_load_n(&m->words[i], __ATOMIC_ACQUIRE);
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
			if (__atomic_compare_exchange_n(&m->words[i], &entry, 0, 0, __ATOMIC_SEQ_CST,
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

int rsyscall_futex_helper(struct rsys_hub *hub)
{
	struct rsys_monitor *m = &hub->monitor;
	struct futex_waitv_ waits[WAITV_MAX];
	uint64_t all = ~0ull;
	int32_t fd = m->completion;

	if (!rsys_begin(&m->origin))
		return 0;
	close_others(fd);
	/* Not the addressee of what a terminal or a process group is sent. */
	rsys_call4(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8);
	for (;;) {
		uint32_t control = __atomic_load_n(&m->control, __ATOMIC_SEQ_CST);
		struct rsys_timespec pause = { 0, 1000000 };
		unsigned int n, more;
		long ret;

		if (collect(m, waits, &n, &more) || __atomic_load_n(&hub->ready, __ATOMIC_SEQ_CST))
			rsys_call3(__NR_write, fd, "", 1);
		waits[0].value = control;
		waits[0].address = (uint64_t)&m->control;
		waits[0].flags = FUTEX_32;
		waits[0].reserved = 0;
		if (!more) {
			ret = rsys_call5(__NR_futex_waitv, waits, n, 0, 0, 0);
			if (ret >= 0 || ret == -EAGAIN || ret == -EINTR)
				continue;
		}
		/*
		 * Too many words, a kernel before 5.16, or a filter that does not know the call: look at
		 * them all every millisecond.
		 */
		if (!rsys_sleep_on(&m->control, control, 0, n > 1 ? &pause : 0))
			return 0;
	}
}
