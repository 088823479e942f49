#include "sleep.h"

/* Of a process that cannot sleep, before it gives up: at least a tenth of a second, for its client. */
#define LAST_LOOKS 1000000

static int sleep_for(int64_t ns)
{
	struct rsys_timespec time = { ns / 1000000000, ns % 1000000000 };
	uint64_t no_signals = 0;

	/* Each is asked anew: the processes that share these variables have different filters. */
	if (!rsys_is_denied(rsys_call4(__NR_clock_nanosleep, 1 /* CLOCK_MONOTONIC */, 0, &time, 0)))
		return 1;
	if (!rsys_is_denied(rsys_call2(__NR_nanosleep, &time, 0)))
		return 1;
	if (!rsys_is_denied(rsys_call5(__NR_ppoll, 0, 0, &time, 0, 8)))
		return 1;
	if (!rsys_is_denied(rsys_call6(__NR_pselect6, 0, 0, 0, 0, &time, 0)))
		return 1;
	return !rsys_is_denied(rsys_call4(__NR_rt_sigtimedwait, &no_signals, 0, &time, 8));
}

int rsys_pause_longer(int64_t *pause)
{
	int64_t now = *pause;

	*pause = now < RSYS_LONGEST_PAUSE_NS / 2 ? 2 * now : RSYS_LONGEST_PAUSE_NS;
	return sleep_for(now);
}

int rsys_sleep_on(uint32_t *word, uint32_t value, int flags, const struct rsys_timespec *most)
{
	int64_t pause = RSYS_FIRST_PAUSE_NS, left = most ? most->sec * 1000000000 + most->nsec : INT64_MAX;
	int look;

	if (!rsys_is_denied(rsys_call4(__NR_futex, word, RSYS_FUTEX_WAIT | flags, value, most)))
		return 1;
	while (left > 0 && __atomic_load_n(word, __ATOMIC_SEQ_CST) == value) {
		if (pause > left)
			pause = left;
		left -= pause;
		if (rsys_pause_longer(&pause))
			continue;
		for (look = 0; look < LAST_LOOKS; look++) {
			if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value)
				return 1;
			rsys_call0(__NR_sched_yield);
			rsys_pause();
		}
		return 0;
	}
	return 1;
}
