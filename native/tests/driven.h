/* Processes that share the memory of the test, started as the library starts them. */
#ifndef DRIVEN_H
#define DRIVEN_H

#include "check.h"
#include "rsyscall.h"

struct child {
	pid_t pid;
	int pidfd;
};

/*
 * Runs function(args...) in a new process, on a stack of its own. The kernel sets *ctid to 0
 * when that process leaves our memory. flags: what is added to (or, if it is
 * CLONE_CLEAR_SIGHAND, taken from) what a driven process is ordinarily cloned with.
 */
struct child start_child_by(void (*trampoline)(void), uint64_t flags, uint32_t *ctid, void *function,
			    const int64_t args[6]);
struct child start_child(uint64_t flags, uint32_t *ctid, void *function, const int64_t args[6]);

/* Gives a hub the pipe that its processes announce answers by; returns the end to read from. */
int make_pipe(struct rsys_hub *hub);

/* How long a futex word may take to change, as an absolute wait; fails the test after that. */
void wait_for_zero(uint32_t *word);

#define STACK_SIZE 8192

#endif
