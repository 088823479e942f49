/*
 * rsyscall-stub: the server as a program of its own, static and without libc, for every
 * process that does not share our memory. One sub-command per role.
 */
#include "execute.h"

RSYS_ARCH_START;

static void say(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	rsys_call3(__NR_write, 2, text, n);
}

static int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/*
 * Write each text to its file, in one write: the files in which user mappings are declared take nothing
 * less. The status is 0, or where and why: 64 * index + errno.
 */
static int write_files(char **argv)
{
	int index;

	for (index = 0; argv[2 * index]; index++) {
		const char *text = argv[2 * index + 1];
		long fd, result;
		size_t n = 0;

		while (text[n])
			n++;
		fd = result = rsys_call3(__NR_openat, RSYS_AT_FDCWD, argv[2 * index], RSYS_O_WRONLY);
		if (fd >= 0) {
			result = rsys_call3(__NR_write, fd, text, n);
			rsys_call1(__NR_close, fd);
		}
		if (result < 0)
			return 64 * index + (result > -64 ? -result : 63);
	}
	return 0;
}

static const char usage[] =
	"usage: rsyscall-stub stdio | write [FILE TEXT]...\n"
	"  stdio   serve system calls over standard input and output\n"
	"  write   write each text to its file; at most 4\n"
	"This program is driven by the rsyscall library; it is of little use by hand.\n";

static int run(int argc, char **argv, char **envp)
{
	if (argc == 2 && equal(argv[1], "stdio"))
		return rsyscall_greeting_server(0, 1, envp);
	if (argc >= 2 && argc <= 10 && argc % 2 == 0 && equal(argv[1], "write"))
		return write_files(argv + 2);
	if (argc == 2 && equal(argv[1], "--help")) {
		say(usage);
		return 0;
	}
	say(usage);
	return 2;
}

__attribute__((used, noreturn)) void rsys_start(long *stack)
{
	int argc = stack[0];
	char **argv = (char **)(stack + 1);

	rsys_call1(__NR_exit_group, run(argc, argv, argv + argc + 1));
	for (;;)
		;
}
