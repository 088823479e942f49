/*
 * What drives processes belongs to one OS thread of one program: signal masks, credentials
 * and the duty to reap children are things of a thread, and a forked copy has our memory
 * but not our children.
 */
#ifndef RSYS_OWNER_H
#define RSYS_OWNER_H

#include "limited_api.h"

#include <stdint.h>

struct owner {
	uint64_t thread;	/* serial number of the thread */
	int tid;		/* for messages */
	unsigned int generation;	/* of forks */
};

#pragma GCC visibility push(hidden)

/* Changes in the child of every fork. */
extern unsigned int rsys_fork_generation;

/* Serial number of the running thread; 0 until it has asked for one. No other thread ever gets it. */
extern __thread uint64_t rsys_thread_serial;

/* Makes the exceptions and adds them to the module; once. -1 with an exception on failure. */
int rsys_owner_init(PyObject *module);

/* Make the running thread the owner. */
void rsys_owner_bind(struct owner *owner);

/* Raises WrongThreadError or ForkedProcessError; returns -1. */
int rsys_owner_refuse(const struct owner *owner);

#pragma GCC visibility pop

/* -1 with an exception unless the running thread is the owner. */
static inline int rsys_owner_check(const struct owner *owner)
{
	if (owner->thread == rsys_thread_serial && owner->generation == rsys_fork_generation)
		return 0;
	return rsys_owner_refuse(owner);
}

#endif
