/*
 * Roles of rsyscall-stub in processes that others have started: behind a command, which passes on its standard
 * input, or in the place of another program. Three sockets come over a Unix socket:
 *
 *   stream    requests and responses
 *   passage   descriptors, later
 *   life      closed when our client ends or has no use for us
 *
 * A process that is in a call does not see the end of its stream, and it is no child of its client, which can
 * neither kill it nor have it killed. So it has the kernel send it SIGKILL when the other end of `life` is closed
 * (F_SETSIG, O_ASYNC in fcntl(2)). Nothing is ever sent there.
 */
#include "received.h"

const volatile struct rsys_stamp rsys_stamp = { "RSYSCALL ADDRESS", 0 };

enum {
	STREAM, PASSAGE, LIFE, RECEIVED,
	UNAVAILABLE = 69,	/* EX_UNAVAILABLE in sysexits.h */
	AF_UNIX = 1,
	SOCK_STREAM = 1,
	SOCK_CLOEXEC = 02000000,
	SOL_SOCKET = 1,
	SCM_RIGHTS = 1,
	MSG_CTRUNC = 8,
	MSG_CMSG_CLOEXEC = 0x40000000,
	F_SETFL = 4,
	F_SETOWN = 8,
	F_SETSIG = 10,
	O_ASYNC = 020000,
	O_RDONLY = 0,
	O_RDWR = 2,
	O_CLOEXEC = 02000000,
	O_PATH = 010000000,
	MAX_PATH = 4096,
	MAX_ADDRESS = 108,
};

/* Say this in one write, so that the words of many processes do not mix. The last piece is NULL. */
static void complain(const char *const *pieces)
{
	char line[MAX_PATH + 512];
	size_t n = 0;

	for (; *pieces; pieces++) {
		const char *c;

		for (c = *pieces; *c && n < sizeof(line); c++)
			line[n++] = *c;
	}
	rsys_call3(__NR_write, 2, line, n);
}

static int unavailable(const char *name, const char *what, const char *path, const char *why)
{
	const char *pieces[] = { name, ": ", what, path, why, "\n", 0 };

	complain(pieces);
	return UNAVAILABLE;
}

/* Receive the sockets; 0 or an error. */
static long receive(long sock, int32_t *fds)
{
	struct {
		size_t length;
		int32_t level, type, fds[RECEIVED];
	} control __attribute__((aligned(8)));
	char bytes[8];
	struct rsys_iovec vector = { bytes, sizeof(bytes) };
	struct rsys_msghdr message = { 0, 0, &vector, 1, &control, sizeof(control), 0 };
	long result = rsys_call3(__NR_recvmsg, sock, &message, MSG_CMSG_CLOEXEC);
	int i;

	if (result < 0)
		return result;
	if (result == 0)
		return -ECONNRESET;
	if (message.flags & MSG_CTRUNC)
		return -EMFILE;
	if (message.control_length < sizeof(size_t) + 8 + sizeof(control.fds) || control.level != SOL_SOCKET ||
	    control.type != SCM_RIGHTS || control.length != sizeof(size_t) + 8 + sizeof(control.fds))
		return -EPROTO;
	for (i = 0; i < RECEIVED; i++)
		fds[i] = control.fds[i];
	return 0;
}

/* Or others would get the numbers of standard descriptors that are closed. */
static void open_standard(void)
{
	long fd;

	do {
		fd = rsys_call4(__NR_openat, RSYS_AT_FDCWD, "/dev/null", O_RDWR, 0);
		if (fd < 0)	/* no such file: what can be neither read nor written */
			fd = rsys_call3(__NR_socket, AF_UNIX, SOCK_STREAM, 0);
	} while (fd >= 0 && fd <= 2);
	rsys_call1(__NR_close, fd);
}

/* Have the kernel kill this process when `fd` has no peer any more; 0 or an error. */
static long die_with(long fd)
{
	struct rsys_pollfd poll = { .fd = fd, .events = RSYS_POLLIN };
	struct rsys_timespec now = { 0, 0 };
	long result = rsys_call3(__NR_fcntl, fd, F_SETOWN, rsys_call0(__NR_getpid));

	if (result == 0)
		result = rsys_call3(__NR_fcntl, fd, F_SETSIG, RSYS_SIGKILL);
	if (result == 0)
		result = rsys_call3(__NR_fcntl, fd, F_SETFL, O_ASYNC);
	/* It may have gone before. */
	if (result == 0 && rsys_call5(__NR_ppoll, &poll, 1, &now, 0, 0) > 0)
		result = -ECONNRESET;
	return result;
}

/* Returns only when the client is done with a process that cannot be killed, the init of a pid namespace. */
static int serve(const int32_t *fds, char **argv, char **envp, uint32_t page_size)
{
	struct rsys_received received = { "RSYSARGV", sizeof(received), 0, fds[PASSAGE], fds[LIFE] };
	struct rsys_preface preface = { &received, sizeof(received), argv };

	for (; argv[received.count]; received.count++)
		received.length += 4 + rsys_string_length(argv[received.count]);
	if (die_with(fds[LIFE]) == 0)
		rsyscall_prefaced_server(fds[STREAM], fds[STREAM], envp, page_size, 0, &preface);
	/* As if it had been in a call: no exit status of ours is to look like one of the client's. */
	rsys_call2(__NR_kill, rsys_call0(__NR_getpid), RSYS_SIGKILL);
	return UNAVAILABLE;
}

/*
 * A command has executed this program, and standard input is a socket. Programs that this process executes must
 * find an empty input instead.
 */
int rsys_serve_stdin(char **argv, char **envp, uint32_t page_size)
{
	int32_t fds[RECEIVED], empty[2];
	long result;

	open_standard();
	result = receive(0, fds);
	if (rsys_is_error(result))
		return unavailable(argv[0], "no descriptors came over standard input", "",
				   result == -ENOTSOCK ? ", which is no socket" : "");
	/* A carrier that dies may not end its children. */
	rsys_call5(__NR_prctl, RSYS_PR_SET_PDEATHSIG, RSYS_SIGKILL, 0, 0, 0);
	if (rsys_is_error(rsys_call2(__NR_pipe2, empty, SOCK_CLOEXEC)))
		return unavailable(argv[0], "cannot make a pipe", "", "");
	rsys_call3(__NR_dup3, empty[0], 0, 0);
	if (empty[0] > 0)
		rsys_call1(__NR_close, empty[0]);
	rsys_call1(__NR_close, empty[1]);
	return serve(fds, argv, envp, page_size);
}

/* Read the path of the socket from the file that is this program; its length or an error. */
static long read_address(const char *executed, char *path)
{
	long fd = rsys_call4(__NR_openat, RSYS_AT_FDCWD, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0);
	long n;

	if (fd < 0)
		fd = rsys_call4(__NR_openat, RSYS_AT_FDCWD, executed, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	n = rsys_call4(__NR_pread64, fd, path, MAX_PATH, rsys_stamp.address);
	rsys_call1(__NR_close, fd);
	path[n > 0 ? n : 0] = 0;
	return n < 0 ? n : (long)rsys_string_length(path);
}

/* Connect to a path of any length; 0 or an error. */
static long connect_to(long sock, const char *path, size_t length)
{
	static const char prefix[] = "/proc/self/fd/";
	struct {
		uint16_t family;
		/* Volatile, or the compiler calls memcpy. */
		volatile char path[MAX_ADDRESS];
	} address;
	long fd = -1, result;
	size_t i;

	address.family = AF_UNIX;
	if (length < MAX_ADDRESS) {
		for (i = 0; i < length; i++)
			address.path[i] = path[i];
	} else {
		char digits[12];
		long left;
		size_t count = 0;

		fd = rsys_call4(__NR_openat, RSYS_AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
		if (fd < 0)
			return fd;
		for (left = fd; left || !count; left /= 10)
			digits[count++] = '0' + left % 10;
		for (i = 0; prefix[i]; i++)
			address.path[i] = prefix[i];
		while (count)
			address.path[i++] = digits[--count];
	}
	address.path[i] = 0;
	result = rsys_call3(__NR_connect, sock, &address, sizeof(address.family) + i + 1);
	if (fd >= 0)
		rsys_call1(__NR_close, fd);
	return result;
}

/* Another program has executed this one under a name of its own, and waits for it. */
int rsys_serve_caller(char **argv, char **envp, const char *executed, uint32_t page_size)
{
	char path[MAX_PATH + 1];
	const char *name = argv[0] ? argv[0] : "rsyscall-stub";
	int32_t fds[RECEIVED];
	long length, sock, result;

	open_standard();
	length = read_address(executed, path);
	if (length <= 0)
		return unavailable(name, "cannot read the address in this program", "", "");
	sock = rsys_call3(__NR_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return unavailable(name, "cannot make a socket", "", "");
	result = connect_to(sock, path, length);
	if (result == -ENOENT || result == -ECONNREFUSED)
		return unavailable(name, "no program listens at ", path, "");
	if (result < 0)
		return unavailable(name, "cannot connect to ", path,
				   result == -EACCES ? ": it belongs to another user" : "");
	result = receive(sock, fds);
	rsys_call1(__NR_close, sock);
	if (result == -EMFILE)
		return unavailable(name, "this process may not have three more descriptors", "", "");
	if (result < 0)
		return unavailable(name, "the program that listens at ", path,
				   " has ended, or refused this process");
	return serve(fds, argv, envp, page_size);
}
