#define _GNU_SOURCE
#include "driven.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct child start_child_by(void (*trampoline)(void), uint64_t flags, uint32_t *ctid, void *function,
			    const int64_t args[6])
{
	struct child child = { -1, -1 };
	char *stack = pages(STACK_SIZE);
	/* What the trampoline pops; it starts in the `ret` of the out-of-line call. */
	uint64_t *top = (uint64_t *)(stack + STACK_SIZE) - 8;
	struct clone_args clone_args = {
		.flags = (CLONE_VM | CLONE_PIDFD | CLONE_CHILD_CLEARTID | CLONE_CLEAR_SIGHAND) ^ flags,
		.pidfd = (uint64_t)as_arg(&child.pidfd),
		.child_tid = (uint64_t)as_arg(ctid),
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)as_arg(stack),
		.stack_size = (char *)top - stack,
	};
	int i;

	*ctid = 1;
	top[0] = (uint64_t)(uintptr_t)trampoline;
	for (i = 0; i < 6; i++)
		top[1 + i] = args[i];
	top[7] = (uint64_t)(uintptr_t)function;
	child.pid = rsyscall_raw_syscall(as_arg(&clone_args), sizeof(clone_args), 0, 0, 0, 0, SYS_clone3);
	CHECK(child.pid > 0);
	return child;
}

struct child start_child(uint64_t flags, uint32_t *ctid, void *function, const int64_t args[6])
{
	return start_child_by(rsyscall_trampoline, flags, ctid, function, args);
}

int make_pipe(struct rsys_hub *hub)
{
	int ends[2];
	struct stat stat;

	CHECK_CALL(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
	CHECK_CALL(fstat(ends[1], &stat));
	hub->completion_dev = stat.st_dev;
	hub->completion_ino = stat.st_ino;
	hub->watcher.completion = ends[1];
	return ends[0];
}

void wait_for_zero(uint32_t *word)
{
	struct timespec limit = { 20, 0 };
	uint32_t value;

	while ((value = __atomic_load_n(word, __ATOMIC_ACQUIRE)) != 0) {
		/* Shared, as the kernel's own wake-up is. */
		if (syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0) < 0)
			CHECK(errno == EAGAIN || errno == EINTR);
	}
}
