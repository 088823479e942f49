/* Making one requested call on behalf of the client. */
#ifndef RSYS_EXECUTE_H
#define RSYS_EXECUTE_H

#include "freestanding.h"
#include "rsyscall.h"

/* Called first in every driven process: false when our owner is already gone. */
RSYS_EXPORT int rsys_begin(struct rsys_origin *origin);

/* The call, with what must go with it in a process that shares its owner's memory. */
RSYS_EXPORT long rsys_execute(struct rsys_origin *origin, long nr, const int64_t *args);

RSYS_EXPORT int rsys_owner_gone(const struct rsys_origin *origin);

#endif
