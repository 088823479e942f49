/*
 * Tests of the code of driven processes, without Python.
 *
 *   test_server [stream|stream-kernel|ring|watcher [NAME]]
 */
#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIME_LIMIT 60	/* seconds, for a machine that is busy with other things */

void check_failed(const char *file, int line, const char *text, long long got, long long wanted)
{
	fprintf(stderr, "%s:%d: %s: got %lld, wanted %lld\n", file, line, text, got, wanted);
	fflush(NULL);
	_exit(1);
}

void *pages(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

int wait_for_exit(pid_t pid)
{
	int status;

	CHECK_EQUAL(CHECK_CALL(waitpid(pid, &status, 0)), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int pidfd_of_dead(void)
{
	pid_t pid = CHECK_CALL(fork());
	int pidfd;

	if (pid == 0)
		_exit(0);
	pidfd = CHECK_CALL(syscall(SYS_pidfd_open, pid, 0));
	wait_for_exit(pid);
	return pidfd;
}

static int run(const struct test *tests, const char *group, const char *only)
{
	int failures = 0;

	for (; tests->name; tests++) {
		pid_t pid;
		int status;

		if (only && strcmp(only, tests->name) != 0)
			continue;
		fflush(NULL);
		pid = CHECK_CALL(fork());
		if (pid == 0) {
			alarm(TIME_LIMIT);
			tests->run();
			fflush(NULL);
			_exit(0);
		}
		status = wait_for_exit(pid);
		if (status) {
			fprintf(stderr, "FAILED %s %s (status %d)\n", group, tests->name, status);
			failures++;
		} else {
			printf("ok %s %s\n", group, tests->name);
		}
	}
	return failures;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		const struct test *tests;
	} groups[] = {
		{ "stream", stream_tests },
		{ "stream-kernel", stream_kernel_tests },
		{ "ring", ring_tests },
		{ "watcher", watcher_tests },
	};
	size_t i;
	int failures = 0;

	/* What the test of exec runs. */
	if (argc == 2 && strcmp(argv[1], "--do-nothing") == 0)
		return 7;
	for (i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (argc < 2 || strcmp(argv[1], groups[i].name) == 0)
			failures += run(groups[i].tests, groups[i].name, argc > 2 ? argv[2] : NULL);
	return failures != 0;
}
