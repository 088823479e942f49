/* The type OwnedPidfd, and the end of children that no caller has been given. */
#ifndef RSYS_PIDFD_H
#define RSYS_PIDFD_H

#include "limited_api.h"
#include "record.h"

#pragma GCC visibility push(hidden)

/* Makes the type; once. */
PyTypeObject *rsys_pidfd_init(void);

int rsys_is_pidfd(PyObject *op);

/* From now on it owns this descriptor; -1 with an exception if it cannot. */
int rsys_pidfd_set(PyObject *op, int number);

/*
 * Kill a child of ours and reap it. Of pidfd (or -1) and pid (or 0) at least one has to be given. -1: it may
 * not be signalled, or is not a child of ours.
 */
int rsys_end_child(int pidfd, int pid);

#pragma GCC visibility pop

#endif
