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

static const char usage[] =
	"usage: rsyscall-stub stdio\n"
	"  stdio   serve system calls over standard input and output\n"
	"This program is driven by the rsyscall library; it is of little use by hand.\n";

static int run(int argc, char **argv, char **envp)
{
	if (argc == 2 && equal(argv[1], "stdio"))
		return rsyscall_greeting_server(0, 1, envp);
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
