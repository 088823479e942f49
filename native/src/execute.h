/* Making one requested call on behalf of the client. */
#ifndef RSYS_EXECUTE_H
#define RSYS_EXECUTE_H

#include "call_facts.h"
#include "freestanding.h"
#include "rsyscall.h"

/* Calls after which others may be denied. */
static inline int rsys_may_filter(long nr, const int64_t *args)
{
	return nr == __NR_seccomp || (nr == __NR_prctl && args[0] == RSYS_PR_SET_SECCOMP);
}

/* Called first in every driven process: false when our owner, or our parent, is already gone. */
RSYS_EXPORT int rsys_begin(struct rsys_origin *origin);

/* The call, with what must go with it in a process that shares its owner's memory. */
RSYS_EXPORT long rsys_execute(struct rsys_origin *origin, long nr, const int64_t *args);

/* Whether the OS thread that owns us has exited, been killed or executed a program: see watcher.c. */
static inline int rsys_owner_gone(const struct rsys_origin *origin)
{
	return origin->owner &&
	       __atomic_load_n((const uint32_t *)origin->owner, __ATOMIC_SEQ_CST) & RSYS_FUTEX_OWNER_DIED;
}

#endif
