/* A test is a function that runs in a process of its own; it fails by a CHECK, a signal or the alarm. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

struct test {
	const char *name;
	void (*run)(void);
};

/* Each ends with an entry without a name. */
extern const struct test stream_tests[], stream_kernel_tests[], ring_tests[], watcher_tests[];

__attribute__((noreturn)) void check_failed(const char *file, int line, const char *text, long long got,
					    long long wanted);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			check_failed(__FILE__, __LINE__, #condition, 0, 1); \
	} while (0)

#define CHECK_EQUAL(expression, expected) \
	do { \
		long long check_got = (long long)(expression), check_wanted = (long long)(expected); \
		if (check_got != check_wanted) \
			check_failed(__FILE__, __LINE__, #expression, check_got, check_wanted); \
	} while (0)

/* A libc call that returns -1 for an error; its result. */
#define CHECK_CALL(expression) \
	({ \
		long long check_result = (long long)(expression); \
		if (check_result == -1) \
			check_failed(__FILE__, __LINE__, #expression, -errno, 0); \
		check_result; \
	})

/* Wait until the condition holds, for as long as the test may take. */
#define CHECK_COMES_TRUE(condition) \
	do { \
		int check_tries; \
		for (check_tries = 0; !(condition); check_tries++) { \
			if (check_tries > 100000) \
				check_failed(__FILE__, __LINE__, #condition, 0, 1); \
			usleep(100); \
		} \
	} while (0)

/* Memory that is not ours to keep: anonymous, zeroed, given back when the test's process ends. */
void *pages(size_t length);

/* Wait for the exit of a child; returns its status as the shell shows it: 128 + the signal that killed it. */
int wait_for_exit(pid_t pid);

/* A pidfd of a process that has exited; it may have been reaped. */
int pidfd_of_dead(void);

static inline int64_t as_arg(const void *pointer)
{
	return (int64_t)(uintptr_t)pointer;
}

#endif
