/*
 * rsyscall-stub: the server as a program of its own, static and without libc, for every
 * process that does not share our memory. One sub-command per role.
 */
#include "door.h"
#include "execute.h"
#include "received.h"
#include "shared_ring.h"

RSYS_ARCH_START;

#define WNOHANG 1
#define __WCLONE 0x80000000

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

/* In decimal, below 2^63; -1 for anything else. */
static int64_t number(const char *text)
{
	int64_t n = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || n > INT64_MAX / 10 - 1)
			return -1;
		n = 10 * n + (*text - '0');
	}
	return n;
}

/* Have these effective, permitted and inheritable capabilities, and no ambient ones; 0 or an error. */
static long restore_capabilities(const int64_t *sets)
{
	struct { uint32_t version; int32_t pid; } header = { 0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0 };
	uint32_t wanted[6], present[6];
	int i, same = 1;

	rsys_call5(__NR_prctl, RSYS_PR_CAP_AMBIENT, RSYS_PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (rsys_is_error(rsys_call2(__NR_capget, &header, present)))
		return -EPERM;
	for (i = 0; i < 6; i++) {
		wanted[i] = sets[i % 3] >> (i < 3 ? 0 : 32);
		same &= wanted[i] == present[i];
	}
	/* A filter may deny what is not needed. */
	return same ? 0 : rsys_call2(__NR_capset, &header, wanted);
}

/* NULL where that is denied. */
static struct rsys_shared *map_shared(int64_t fd)
{
	long address = rsys_call6(__NR_mmap, 0, RSYS_SHARED_SIZE, 3 /* PROT_READ | PROT_WRITE */, 1 /* MAP_SHARED */,
				  fd, 0);

	return rsys_is_error(address) ? 0 : (struct rsys_shared *)address;
}

/*
 * Our client has executed us and goes on driving this process. The first descriptor is the socket, and with
 * `ring` the second one the memory file. They had to stay open for us, and are closed when we execute another program. The process had these capabilities before;
 * exec has given some back to root, and took them from others but for the ambient ones (capabilities(7)).
 */
static int serve(int ring, char **argv, char **envp, uint32_t page_size)
{
	int64_t sets[3];
	int i;

	for (i = 0; i < 3; i++) {
		sets[i] = number(argv[i]);
		if (sets[i] < 0)
			return 2;
	}
	argv += 3;
	for (i = 0; argv[i]; i++) {
		int64_t fd = number(argv[i]);

		if (fd < 0 || fd > INT32_MAX || rsys_is_error(rsys_call3(__NR_fcntl, fd, RSYS_F_SETFD, RSYS_FD_CLOEXEC)))
			return 2;
	}
	if (rsys_is_error(restore_capabilities(sets)))
		return 2;
	if (ring) {
		struct rsys_shared *shared = map_shared(number(argv[1]));

		if (shared) {
			rsyscall_fill_hello(&shared->hello, page_size);
			return rsyscall_shared_ring_server(shared, number(argv[0]), 1);
		}
	}
	return rsyscall_greeting_server(number(argv[0]), number(argv[0]), envp, page_size);
}

/*
 * A shell has written this program into a directory of its own and executed it, to be driven over the standard
 * input and output that the shell had. Neither file nor directory is needed any more.
 *
 * Programs that this process executes must not find the stream where they look for input, nor write into it. So
 * it moves to other descriptors, input is empty instead, and output goes where errors go.
 *
 * With one more argument, the death of the parent means nothing.
 */
static int serve_once(char **argv, char **envp, uint32_t page_size)
{
	int32_t empty[2];
	long infd, outfd;

	/* A carrier that dies, such as the one process of sshd's for this connection, may not end its children. */
	if (!argv[2])
		rsys_call5(__NR_prctl, RSYS_PR_SET_PDEATHSIG, RSYS_SIGKILL, 0, 0, 0);
	rsys_call3(__NR_unlinkat, RSYS_AT_FDCWD, argv[0], 0);
	rsys_call3(__NR_unlinkat, RSYS_AT_FDCWD, argv[1], RSYS_AT_REMOVEDIR);
	infd = rsys_call3(__NR_fcntl, 0, RSYS_F_DUPFD_CLOEXEC, 3);
	outfd = rsys_call3(__NR_fcntl, 1, RSYS_F_DUPFD_CLOEXEC, 3);
	if (infd < 0 || outfd < 0 || rsys_is_error(rsys_call2(__NR_pipe2, empty, 0)))
		return 2;
	rsys_call3(__NR_dup3, empty[0], 0, 0);
	if (rsys_is_error(rsys_call3(__NR_dup3, 2, 1, 0)))	/* there is no 2: let writing fail */
		rsys_call3(__NR_dup3, empty[0], 1, 0);
	if (empty[0] > 2)
		rsys_call1(__NR_close, empty[0]);
	rsys_call1(__NR_close, empty[1]);
	return rsyscall_greeting_server(infd, outfd, envp, page_size);
}

/*
 * Our client has executed us, and goes on over the first descriptor; others will connect to the second one, a socket
 * that has been bound.
 */
static int persist(char **argv, char **envp, uint32_t page_size)
{
	int64_t fds[2];
	int i;

	for (i = 0; i < 2; i++) {
		fds[i] = number(argv[i]);
		if (fds[i] < 0 || fds[i] > INT32_MAX ||
		    rsys_is_error(rsys_call3(__NR_fcntl, fds[i], RSYS_F_SETFD, RSYS_FD_CLOEXEC)))
			return 2;
	}
	return rsys_persist(fds[0], fds[1], envp, page_size);
}

/* Short: the program goes into a command line. CAPABILITIES are three numbers. */
static const char usage[] =
	"usage: rsyscall-stub stdio: serve the rsyscall library over standard input and output\n"
	"  once FILE DIRECTORY [keep]: the same, and remove these\n"
	"  serve CAPABILITIES FD...: over the first FD\n"
	"  ring CAPABILITIES FD MEMFD FD...: by a ring in MEMFD, or over FD\n"
	"  persist FD SOCKET: over FD, then over connections\n"
	"  stdin: over sockets that standard input brings\n"
	"  write [FILE TEXT]...: at most 4\n";

static int run(int argc, char **argv, char **envp, uint32_t page_size)
{
	if (argc == 2 && equal(argv[1], "stdio"))
		return rsyscall_greeting_server(0, 1, envp, page_size);
	if ((argc == 4 || argc == 5) && equal(argv[1], "once"))
		return serve_once(argv + 2, envp, page_size);
	if (argc >= 6 && equal(argv[1], "serve"))
		return serve(0, argv + 2, envp, page_size);
	if (argc >= 7 && equal(argv[1], "ring"))
		return serve(1, argv + 2, envp, page_size);
	if (argc == 4 && equal(argv[1], "persist"))
		return persist(argv + 2, envp, page_size);
	if (argc >= 2 && argc <= 10 && argc % 2 == 0 && equal(argv[1], "write"))
		return write_files(argv + 2);
	if (argc == 2 && equal(argv[1], "stdin"))
		return rsys_serve_stdin(argv, envp, page_size);
	say(usage);
	return argc == 2 && equal(argv[1], "--help") ? 0 : 2;
}

/*
 * The relay beside us (relay.c), if there is one, ends when the stream does, perhaps a little after us. Then it would
 * be for the init process to reap it, and that of a container often reaps nothing. No other child that we make is
 * without SIGCHLD; for one that a client made we do not wait long.
 */
static void reap_relay(void)
{
	const struct rsys_timespec millisecond = { 0, 1000000 };
	int tries = 200;

	while (rsys_call4(__NR_wait4, -1, 0, WNOHANG | __WCLONE, 0) == 0 && tries--)
		rsys_call5(__NR_ppoll, 0, 0, &millisecond, 0, 8);
}

__attribute__((used, noreturn)) void rsys_start(long *stack)
{
	int argc = stack[0];
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1, **end = envp;
	uint32_t page_size = 4096;
	const char *executed = "";
	const unsigned long *entry;
	int status;

	/* The auxiliary vector follows the environment (getauxval(3)). */
	while (*end)
		end++;
	for (entry = (const unsigned long *)(end + 1); entry[0]; entry += 2) {
		if (entry[0] == 6 /* AT_PAGESZ */)
			page_size = entry[1];
		else if (entry[0] == 31 /* AT_EXECFN */)
			executed = (const char *)entry[1];
	}
	status = rsys_stamp.address ? rsys_serve_caller(argv, envp, executed, page_size)
				    : run(argc, argv, envp, page_size);
	reap_relay();
	rsys_call1(__NR_exit_group, status);
	for (;;)
		;
}
