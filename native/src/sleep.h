/*
 * Sleeping where a filter denies the calls that are meant for it.
 *
 * A process that is driven may install a seccomp filter, or be made by one that has. Then futex
 * or ppoll may fail at once, with an error that says nothing about the word or the descriptor,
 * and a loop around it would use a whole processor. So a failure that is none of the expected
 * ones means "denied", and time passes in another way: any call that can wait for a time will
 * do. How long grows from look to look, which bounds both the delay and what an idle process
 * costs. A process to which the filter leaves no such call cannot wait: it ends.
 */
#ifndef RSYS_SLEEP_H
#define RSYS_SLEEP_H

#include "freestanding.h"

enum { RSYS_FIRST_PAUSE_NS = 50 * 1000, RSYS_LONGEST_PAUSE_NS = 10 * 1000 * 1000 };

/* Whether the result of a call that waits means that no wait took place, and none ever will. */
static inline int rsys_is_denied(long result)
{
	return rsys_is_error(result) && result != -EINTR && result != -EAGAIN && result != -ETIMEDOUT;
}

/* Whether a filter denies this process to wake one that sleeps on a word; at most one is woken, for nothing. */
static inline int rsys_may_not_wake(uint32_t *word)
{
	return rsys_is_denied(rsys_call3(__NR_futex, word, RSYS_FUTEX_WAKE | RSYS_FUTEX_PRIVATE, 1));
}

/* Let *pause nanoseconds pass, and make the next pause longer; 0 when no call can do that. */
RSYS_EXPORT int rsys_pause_longer(int64_t *pause);

/*
 * Sleep while *word is `value`: until a wake-up (which may be spurious), or for `most` (NULL:
 * without end). `flags` are 0 or FUTEX_PRIVATE. 0 when no call can do that.
 */
RSYS_EXPORT int rsys_sleep_on(uint32_t *word, uint32_t value, int flags, const struct rsys_timespec *most);

#endif
