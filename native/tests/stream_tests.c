/* The server behind a byte stream, in a forked process. */
#define _GNU_SOURCE
#include "check.h"
#include "rsyscall.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct peer {
	int to, from;	/* what we write to and read from */
	pid_t pid;
};

static void on_signal(int sig)
{
	(void)sig;
}

static int64_t nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* SIGALRM, often, but so that there is time left for other work: under valgrind a signal takes long. */
static void start_storm(void)
{
	/* Without SA_RESTART every call that waits is interrupted. */
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval often = { { 0, 0 }, { 0, 0 } };
	int64_t start;
	int i;

	sigaction(SIGALRM, &action, NULL);
	start = nanoseconds();
	for (i = 0; i < 20; i++)
		raise(SIGALRM);
	often.it_interval.tv_usec = often.it_value.tv_usec = 150 + 5 * (nanoseconds() - start) / (20 * 1000);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* Forks a server on these descriptors of its own and closes them here. */
static struct peer serve(int to, int from, int infd, int outfd, struct rsys_origin *origin, int storm)
{
	struct peer peer = { to, from, CHECK_CALL(fork()) };

	if (peer.pid == 0) {
		close(to);
		if (from != to)
			close(from);
		if (storm)
			start_storm();
		_exit(rsyscall_server(infd, outfd, origin));
	}
	close(infd);
	if (outfd != infd)
		close(outfd);
	return peer;
}

static struct peer start_with(struct rsys_origin *origin, int storm)
{
	int pair[2];

	CHECK_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	return serve(pair[0], pair[0], pair[1], pair[1], origin, storm);
}

static struct peer start(void)
{
	return start_with(NULL, 0);
}

static void send_bytes(const struct peer *peer, const void *data, size_t length)
{
	const char *p = data;

	while (length) {
		ssize_t n = CHECK_CALL(write(peer->to, p, length));

		p += n;
		length -= n;
	}
}

/* Returns how many bytes came before the end of the stream. */
static size_t receive_bytes(const struct peer *peer, void *data, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = read(peer->from, (char *)data + done, length - done);

		if (n < 0 && errno == ECONNRESET)
			return done;	/* it went away with bytes of ours unread */
		CHECK_CALL(n);
		if (n == 0)
			return done;
		done += n;
	}
	return done;
}

static void send_request(const struct peer *peer, uint32_t op, uint32_t flags, uint64_t number,
			 const int64_t args[6])
{
	struct rsys_request request = { op, flags, number, { 0 } };

	memcpy(request.args, args, sizeof(request.args));
	send_bytes(peer, &request, sizeof(request));
}

static struct rsys_response receive_response(const struct peer *peer)
{
	struct rsys_response response;

	CHECK_EQUAL(receive_bytes(peer, &response, sizeof(response)), sizeof(response));
	return response;
}

static int64_t receive_result(const struct peer *peer)
{
	struct rsys_response response = receive_response(peer);

	CHECK_EQUAL(response.length, 0);
	return response.result;
}

#define ARGS(...) ((int64_t[6]){ __VA_ARGS__ })

static int64_t do_call(const struct peer *peer, uint64_t number, const int64_t args[6])
{
	send_request(peer, RSYS_OP_CALL, 0, number, args);
	return receive_result(peer);
}

#define CALL(peer, number, ...) do_call(peer, number, ARGS(__VA_ARGS__))

static int64_t write_to(const struct peer *peer, int64_t address, const void *data, size_t length)
{
	send_request(peer, RSYS_OP_WRITE, 0, address, ARGS(length));
	send_bytes(peer, data, length);
	return receive_result(peer);
}

static int64_t read_from(const struct peer *peer, int64_t address, void *data, size_t length)
{
	struct rsys_response response;

	send_request(peer, RSYS_OP_READ, 0, address, ARGS(length));
	response = receive_response(peer);
	if (response.result < 0) {
		CHECK_EQUAL(response.length, 0);
		return response.result;
	}
	CHECK_EQUAL(response.length, length);
	CHECK_EQUAL(receive_bytes(peer, data, length), length);
	return response.result;
}

static void expect_end(const struct peer *peer)
{
	char byte;

	CHECK_EQUAL(receive_bytes(peer, &byte, 1), 0);
	CHECK_EQUAL(wait_for_exit(peer->pid), 0);
}

static void finish(const struct peer *peer)
{
	/* Still in step after all that was done before. */
	CHECK_EQUAL(CALL(peer, SYS_getpid), peer->pid);
	close(peer->to);
	if (peer->from != peer->to)
		close(peer->from);
	CHECK_EQUAL(wait_for_exit(peer->pid), 0);
}

static int64_t map(const struct peer *peer, size_t length)
{
	int64_t address = CALL(peer, SYS_mmap, 0, length, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(address > 0);
	return address;
}

/* ---- Calls ------------------------------------------------------------------------------ */

static void calls(void)
{
	int memfd = CHECK_CALL(memfd_create("test", MFD_CLOEXEC));
	struct peer peer = start();
	char byte = 0;
	int64_t address;

	CHECK_EQUAL(CALL(&peer, SYS_getpid), peer.pid);
	CHECK_EQUAL(CALL(&peer, SYS_getppid), getpid());
	CHECK_EQUAL(CALL(&peer, SYS_close, -1), -EBADF);

	/* All six arguments; the last shows in what is mapped. */
	CHECK_CALL(ftruncate(memfd, 8192));
	CHECK_CALL(pwrite(memfd, "x", 1, 4096));
	address = CALL(&peer, SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, memfd, 4096);
	CHECK(address > 0);
	CHECK_EQUAL(read_from(&peer, address, &byte, 1), 1);
	CHECK_EQUAL(byte, 'x');
	finish(&peer);
}

static void unknown_calls(void)
{
	struct peer peer = start();

	CHECK_EQUAL(CALL(&peer, 100000), -ENOSYS);
	CHECK_EQUAL(CALL(&peer, ~0ull), -ENOSYS);
	finish(&peer);
}

static void pipelined_calls_in_order(void)
{
	enum { COUNT = 20000 };
	struct peer peer = start();
	pid_t writer = CHECK_CALL(fork());
	int i;

	if (writer == 0) {
		for (i = 0; i < COUNT; i++)
			send_request(&peer, RSYS_OP_CALL, 0, SYS_umask, ARGS(i % 0777));
		_exit(0);
	}
	/* Each returns the mask that the one before it has set. */
	receive_result(&peer);
	for (i = 1; i < COUNT; i++)
		CHECK_EQUAL(receive_result(&peer), (i - 1) % 0777);
	CHECK_EQUAL(wait_for_exit(writer), 0);
	finish(&peer);
}

static void linked_calls(void)
{
	struct peer peer = start();
	int before = umask(022);

	umask(before);
	send_request(&peer, RSYS_OP_CALL, RSYS_REQUEST_LINKED, SYS_getpid, ARGS(0));
	send_request(&peer, RSYS_OP_CALL, RSYS_REQUEST_LINKED, SYS_close, ARGS(-1));
	send_request(&peer, RSYS_OP_CALL, RSYS_REQUEST_LINKED, SYS_umask, ARGS(0123));
	send_request(&peer, RSYS_OP_CALL, 0, SYS_umask, ARGS(0124));
	/* The chain ended with a call that is not linked to the next one. */
	send_request(&peer, RSYS_OP_CALL, 0, SYS_umask, ARGS(0125));
	send_request(&peer, RSYS_OP_CALL, RSYS_REQUEST_LINKED, SYS_umask, ARGS(before));
	send_request(&peer, RSYS_OP_CALL, 0, SYS_getpid, ARGS(0));
	CHECK_EQUAL(receive_result(&peer), peer.pid);
	CHECK_EQUAL(receive_result(&peer), -EBADF);
	CHECK_EQUAL(receive_result(&peer), -ECANCELED);
	CHECK_EQUAL(receive_result(&peer), -ECANCELED);
	CHECK_EQUAL(receive_result(&peer), before);
	CHECK_EQUAL(receive_result(&peer), 0125);
	CHECK_EQUAL(receive_result(&peer), peer.pid);
	finish(&peer);
}

static void exit_is_not_answered(void)
{
	struct peer peer = start();
	char byte;

	send_request(&peer, RSYS_OP_CALL, 0, SYS_exit, ARGS(5));
	CHECK_EQUAL(receive_bytes(&peer, &byte, 1), 0);
	CHECK_EQUAL(wait_for_exit(peer.pid), 5);
}

/* ---- Memory ----------------------------------------------------------------------------- */

static void check_memory_round_trips(struct peer peer)
{
	static const size_t lengths[] = { 0, 1, 2047, 2048, 2049, 4096, 65537, RSYS_MAX_TRANSFER - 1,
					  RSYS_MAX_TRANSFER };
	int64_t address = map(&peer, RSYS_MAX_TRANSFER + 8192);
	char *data = pages(RSYS_MAX_TRANSFER + 2), *copy = pages(RSYS_MAX_TRANSFER + 2), edge[1];
	size_t i, j;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t length = lengths[i];

		for (j = 0; j < length; j++)
			data[j] = (char)(j * 7 + j / 251 + i + 1);
		CHECK_EQUAL(write_to(&peer, address + 1, data, length), length);
		CHECK_EQUAL(read_from(&peer, address + 1, copy, length), length);
		CHECK_EQUAL(memcmp(data, copy, length), 0);
		CHECK_EQUAL(read_from(&peer, address, edge, 1), 1);
		CHECK_EQUAL(edge[0], 0);
		CHECK_EQUAL(read_from(&peer, address + 1 + length, edge, 1), 1);
		CHECK_EQUAL(edge[0], 0);
	}
	finish(&peer);
}

static void memory_round_trips(void)
{
	check_memory_round_trips(start());
}

static void check_bad_addresses(struct peer peer)
{
	int64_t address = map(&peer, 4 * 4096);
	char *data = pages(RSYS_MAX_TRANSFER);

	/* A page, a hole, a page that can only be read. */
	CHECK_EQUAL(CALL(&peer, SYS_munmap, address + 4096, 4096), 0);
	CHECK_EQUAL(CALL(&peer, SYS_mprotect, address + 8192, 4096, PROT_READ), 0);

	CHECK_EQUAL(read_from(&peer, 0, data, 1), -EFAULT);
	CHECK_EQUAL(read_from(&peer, -4096, data, 100), -EFAULT);
	CHECK_EQUAL(read_from(&peer, -1, data, 100), -EFAULT);
	CHECK_EQUAL(read_from(&peer, address + 4096, data, 100), -EFAULT);
	CHECK_EQUAL(read_from(&peer, address + 4000, data, 97), -EFAULT);
	CHECK_EQUAL(read_from(&peer, address, data, RSYS_MAX_TRANSFER), -EFAULT);
	CHECK_EQUAL(read_from(&peer, address + 4000, data, 96), 96);

	CHECK_EQUAL(write_to(&peer, 0, data, 1), -EFAULT);
	CHECK_EQUAL(write_to(&peer, -4096, data, 100), -EFAULT);
	CHECK_EQUAL(write_to(&peer, address + 4000, data, 97), -EFAULT);
	CHECK_EQUAL(write_to(&peer, address + 8192, data, 1), -EFAULT);
	CHECK_EQUAL(write_to(&peer, address, data, RSYS_MAX_TRANSFER), -EFAULT);
	CHECK_EQUAL(write_to(&peer, address + 4000, data, 96), 96);
	/* Nothing is copied, so no address is bad. */
	CHECK_EQUAL(write_to(&peer, 0, data, 0), 0);
	CHECK_EQUAL(read_from(&peer, 0, data, 0), 0);
	finish(&peer);
}

static void bad_addresses_are_errors(void)
{
	check_bad_addresses(start());
}

/* A server that has installed a filter which denies it some of the calls that it makes for itself. */
static struct peer start_denied(unsigned int error)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
	};
	struct sock_fprog filter = { sizeof(program) / sizeof(program[0]), program };
	struct peer peer;

	/* The server has a copy of our stack, at the same address: all must be there before it is forked. */
	__asm__ volatile("" : : "r"(&filter) : "memory");
	peer = start();
	CHECK_EQUAL(CALL(&peer, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1), 0);
	CHECK_EQUAL(CALL(&peer, SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, as_arg(&filter)), 0);
	return peer;
}

static void memory_where_calls_are_denied(void)
{
	unsigned int errors[] = { EPERM, ENOSYS, EACCES }, i;

	for (i = 0; i < 3; i++) {
		check_memory_round_trips(start_denied(errors[i]));
		check_bad_addresses(start_denied(errors[i]));
	}
}

/* A write and the call that uses it need no round trip between them. */
static void memory_and_calls_in_one_go(void)
{
	struct peer peer = start();
	int64_t address = map(&peer, 4096);
	struct rsys_response response;
	char text[6];

	send_request(&peer, RSYS_OP_WRITE, 0, address, ARGS(5));
	send_bytes(&peer, "hello", 5);
	send_request(&peer, RSYS_OP_CALL, 0, SYS_memfd_create, ARGS(address, 0));
	send_request(&peer, RSYS_OP_READ, 0, address, ARGS(6));
	send_request(&peer, RSYS_OP_CALL, 0, SYS_getpid, ARGS(0));
	CHECK_EQUAL(receive_result(&peer), 5);
	CHECK(receive_result(&peer) >= 0);
	response = receive_response(&peer);
	CHECK_EQUAL(response.result, 6);
	CHECK_EQUAL(response.length, 6);
	CHECK_EQUAL(receive_bytes(&peer, text, 6), 6);
	CHECK_EQUAL(memcmp(text, "hello", 6), 0);
	CHECK_EQUAL(receive_result(&peer), peer.pid);
	finish(&peer);
}

/* ---- What breaks the rules --------------------------------------------------------------- */

/* An answer that may wait does so for the next call, and not for more than there is room for. */
static void answers_that_wait(void)
{
	static const uint32_t more = RSYS_REQUEST_MORE;
	struct peer peer = start();
	struct rsys_request request = { RSYS_OP_CALL, more, SYS_getpid, { 0 } };
	struct pollfd answer = { .fd = peer.from, .events = POLLIN };
	int i;

	for (i = 0; i < 100; i++)
		send_bytes(&peer, &request, sizeof(request));
	for (i = 0; i < 64; i++)
		CHECK_EQUAL(receive_result(&peer), peer.pid);
	CHECK_EQUAL(poll(&answer, 1, 50), 0);
	request.number = SYS_getuid;
	request.flags = 0;
	send_bytes(&peer, &request, sizeof(request));
	for (i = 0; i < 36; i++)
		CHECK_EQUAL(receive_result(&peer), peer.pid);
	CHECK_EQUAL(receive_result(&peer), getuid());
	/* Nor behind one that moves memory. */
	request.number = SYS_getpid;
	request.flags = more;
	send_bytes(&peer, &request, sizeof(request));
	request.op = RSYS_OP_WRITE;
	request.flags = 0;
	send_bytes(&peer, &request, sizeof(request));
	CHECK_EQUAL(receive_result(&peer), peer.pid);
	CHECK_EQUAL(receive_result(&peer), 0);
	finish(&peer);
}

static void malformed_requests_end_the_server(void)
{
	static const struct rsys_request bad[] = {
		{ 0, 0, SYS_getpid, { 0 } },
		{ 4, 0, SYS_getpid, { 0 } },
		{ ~0u, ~0u, ~0ull, { ~0ull } },
		{ RSYS_OP_CALL, 4, SYS_getpid, { 0 } },
		{ RSYS_OP_CALL, RSYS_REQUEST_LINKED | 0x80000000u, SYS_getpid, { 0 } },
		{ RSYS_OP_READ, RSYS_REQUEST_LINKED, 0, { 0 } },
		{ RSYS_OP_WRITE, RSYS_REQUEST_MORE, 0, { 0 } },
		{ RSYS_OP_READ, RSYS_REQUEST_MORE, 0, { 0 } },
		{ RSYS_OP_READ, 0, 0, { RSYS_MAX_TRANSFER + 1 } },
		{ RSYS_OP_WRITE, 0, 0, { RSYS_MAX_TRANSFER + 1 } },
		{ RSYS_OP_READ, 0, 0, { ~0ull } },
		{ RSYS_OP_WRITE, 0, 0, { ~0ull } },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer peer = start();

		CHECK_EQUAL(CALL(&peer, SYS_getpid), peer.pid);
		send_bytes(&peer, &bad[i], sizeof(bad[i]));
		CHECK_EQUAL(receive_result(&peer), -EPROTO);
		expect_end(&peer);
	}
}

static void truncated_requests_end_the_server(void)
{
	static const struct rsys_request call = { RSYS_OP_CALL, 0, SYS_getpid, { 0 } };
	struct rsys_request writing = { RSYS_OP_WRITE, 0, 0, { 5000 } };
	struct peer peer;
	size_t length;

	for (length = 0; length < sizeof(call); length += 7) {
		peer = start();
		send_bytes(&peer, &call, length);
		CHECK_CALL(shutdown(peer.to, SHUT_WR));
		expect_end(&peer);
	}
	peer = start();
	writing.number = map(&peer, 8192);
	send_bytes(&peer, &writing, sizeof(writing));
	send_bytes(&peer, pages(8192), 4999);
	CHECK_CALL(shutdown(peer.to, SHUT_WR));
	expect_end(&peer);
}

/* A request that arrives byte by byte is a request. */
static void slow_requests(void)
{
	static const struct rsys_request call = { RSYS_OP_CALL, 0, SYS_getpid, { 0 } };
	struct peer peer = start();
	size_t i;

	for (i = 0; i < sizeof(call); i++) {
		send_bytes(&peer, (const char *)&call + i, 1);
		usleep(100);
	}
	CHECK_EQUAL(receive_result(&peer), peer.pid);
	finish(&peer);
}

static void client_goes_away(void)
{
	struct peer peer = start();
	int i;

	/* It returns from an answer that no client takes, and is not killed by SIGPIPE. */
	for (i = 0; i < 100; i++)
		send_request(&peer, RSYS_OP_CALL, 0, SYS_getpid, ARGS(0));
	close(peer.to);
	CHECK_EQUAL(wait_for_exit(peer.pid), 0);
}

/* ---- Signals ------------------------------------------------------------------------------ */

static void signals_do_not_end_the_server(void)
{
	struct peer peer = start_with(NULL, 1);
	int64_t address = map(&peer, RSYS_MAX_TRANSFER);
	char *data = pages(RSYS_MAX_TRANSFER), *copy = pages(RSYS_MAX_TRANSFER);
	struct rsys_request request = { RSYS_OP_CALL, 0, SYS_getpid, { 0 } };
	int i;

	memset(data, 'd', RSYS_MAX_TRANSFER);
	for (i = 0; i < 100; i++) {
		/* Interrupted in the middle of a request, ... */
		send_bytes(&peer, &request, 20);
		usleep(i % 3 * 300);
		send_bytes(&peer, (char *)&request + 20, sizeof(request) - 20);
		CHECK_EQUAL(receive_result(&peer), peer.pid);
		/* ... between requests, ... */
		usleep(i % 5 * 200);
	}
	/* ... and in the middle of long transfers, some into a pipe that is full. */
	for (i = 0; i < 5; i++) {
		CHECK_EQUAL(write_to(&peer, address, data, RSYS_MAX_TRANSFER), RSYS_MAX_TRANSFER);
		send_request(&peer, RSYS_OP_READ, 0, address, ARGS(RSYS_MAX_TRANSFER));
		usleep(5000);
		CHECK_EQUAL(receive_response(&peer).length, RSYS_MAX_TRANSFER);
		CHECK_EQUAL(receive_bytes(&peer, copy, RSYS_MAX_TRANSFER), RSYS_MAX_TRANSFER);
		CHECK_EQUAL(memcmp(data, copy, RSYS_MAX_TRANSFER), 0);
	}
	finish(&peer);
}

/* The way to interrupt a call that blocks: a signal with a handler. */
static void interrupted_call_is_answered(void)
{
	struct peer peer;
	struct sigaction action = { .sa_handler = on_signal };
	struct pollfd answer;

	sigaction(SIGUSR1, &action, NULL);
	peer = start();
	send_request(&peer, RSYS_OP_CALL, 0, SYS_ppoll, ARGS(0, 0, 0, 0, 0));
	answer = (struct pollfd){ .fd = peer.from, .events = POLLIN };
	do {
		CHECK_CALL(kill(peer.pid, SIGUSR1));
	} while (CHECK_CALL(poll(&answer, 1, 20)) == 0);
	CHECK_EQUAL(receive_result(&peer), -EINTR);
	finish(&peer);
}

/* ---- How it is started --------------------------------------------------------------------- */

static void owner_that_is_gone(void)
{
	static uint32_t ended = FUTEX_OWNER_DIED;
	struct rsys_origin origin = { .watcher_fd = -1, .parent_pid = getpid() };
	struct peer peer = start_with(&origin, 0);

	finish(&peer);

	origin.parent_pid = getpid() + 1;
	peer = start_with(&origin, 0);
	expect_end(&peer);

	origin.parent_pid = -1;
	origin.owner = as_arg(&ended);
	peer = start_with(&origin, 0);
	expect_end(&peer);
}

/* It is told by the end of the watcher, even if other processes have copies of our end of the stream. */
static void owner_that_ends(void)
{
	uint32_t *owner = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rsys_origin origin = { .owner = as_arg(owner), .parent_pid = -1 };
	int wait;

	CHECK(owner != MAP_FAILED);
	/* While it waits for a request, and for room for an answer. */
	for (wait = 0; wait < 2; wait++) {
		pid_t watcher = CHECK_CALL(fork());
		struct peer peer;

		if (watcher == 0) {
			pause();
			_exit(0);
		}
		*owner = 0;
		origin.watcher_fd = CHECK_CALL(syscall(SYS_pidfd_open, watcher, 0));
		peer = start_with(&origin, 0);
		CHECK_EQUAL(CALL(&peer, SYS_getpid), peer.pid);
		if (wait)
			send_request(&peer, RSYS_OP_READ, 0, as_arg(pages(RSYS_MAX_TRANSFER)), ARGS(RSYS_MAX_TRANSFER));
		usleep(10000);
		__atomic_store_n(owner, FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
		CHECK_CALL(kill(watcher, SIGKILL));
		CHECK_EQUAL(wait_for_exit(peer.pid), 0);
		wait_for_exit(watcher);
	}
}

/* A watcher that was killed is not watched any more. */
static void watcher_that_is_killed(void)
{
	uint32_t owner = 0;
	struct rsys_origin origin = { .owner = as_arg(&owner), .watcher_fd = pidfd_of_dead(), .parent_pid = -1 };
	struct peer peer = start_with(&origin, 0);

	CHECK_EQUAL(CALL(&peer, SYS_getpid), peer.pid);
	finish(&peer);
}

static void over_pipes(void)
{
	int there[2], back[2];
	struct peer peer;

	CHECK_CALL(pipe2(there, O_CLOEXEC));
	CHECK_CALL(pipe2(back, O_CLOEXEC));
	peer = serve(there[1], back[0], there[0], back[1], NULL, 0);
	finish(&peer);
}

/* The descriptors that we inherit may be non-blocking. */
static void over_nonblocking_pipes(void)
{
	int there[2], back[2];
	struct peer peer;
	int64_t address;
	char *data = pages(RSYS_MAX_TRANSFER);

	CHECK_CALL(pipe2(there, O_CLOEXEC));
	CHECK_CALL(pipe2(back, O_CLOEXEC));
	CHECK_CALL(fcntl(there[0], F_SETFL, O_NONBLOCK));
	CHECK_CALL(fcntl(back[1], F_SETFL, O_NONBLOCK));
	peer = serve(there[1], back[0], there[0], back[1], NULL, 0);
	usleep(10000);
	address = map(&peer, RSYS_MAX_TRANSFER);
	send_request(&peer, RSYS_OP_READ, 0, address, ARGS(RSYS_MAX_TRANSFER));
	usleep(10000);
	CHECK_EQUAL(receive_response(&peer).length, RSYS_MAX_TRANSFER);
	CHECK_EQUAL(receive_bytes(&peer, data, RSYS_MAX_TRANSFER), RSYS_MAX_TRANSFER);
	CHECK_EQUAL(write_to(&peer, address, data, RSYS_MAX_TRANSFER), RSYS_MAX_TRANSFER);
	finish(&peer);
}

static int own_machine(void)
{
	Elf64_Ehdr header;
	int fd = CHECK_CALL(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));

	CHECK_EQUAL(read(fd, &header, sizeof(header)), sizeof(header));
	close(fd);
	return header.e_machine;
}

static void greeting(void)
{
	static char *environment[] = { "A=b", "", "NAME=value with = and \n", NULL };
	int pair[2], i;
	struct rsys_hello hello;
	struct peer peer;
	char text[100];
	uint32_t length, total = sizeof(hello);

	CHECK_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	peer = (struct peer){ pair[0], pair[0], CHECK_CALL(fork()) };
	if (peer.pid == 0) {
		sigset_t set;

		close(pair[0]);
		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigaddset(&set, SIGCHLD);
		sigprocmask(SIG_SETMASK, &set, NULL);
		_exit(rsyscall_greeting_server(pair[1], pair[1], environment, 4096));
	}
	close(pair[1]);
	CHECK_EQUAL(sizeof(hello), 120);
	CHECK_EQUAL(receive_bytes(&peer, &hello, sizeof(hello)), sizeof(hello));
	CHECK_EQUAL(memcmp(hello.magic, "RSYSCALL", 8), 0);
	CHECK_EQUAL(hello.version, 1);
	CHECK_EQUAL(hello.machine, own_machine());
	CHECK_EQUAL(hello.page_size, sysconf(_SC_PAGESIZE));
	CHECK_EQUAL(hello.pid, peer.pid);
	CHECK_EQUAL(hello.uid, getuid());
	CHECK_EQUAL(hello.gid, getgid());
	CHECK_EQUAL(hello.env_count, 3);
	CHECK_EQUAL(hello.sigmask, 1ull << (SIGUSR1 - 1) | 1ull << (SIGCHLD - 1));
	CHECK_EQUAL(hello.symbols[0], as_arg((void *)(uintptr_t)rsyscall_server));
	CHECK_EQUAL(hello.symbols[1], as_arg((void *)(uintptr_t)rsyscall_persistent_server));
	CHECK_EQUAL(hello.symbols[2], as_arg((void *)(uintptr_t)rsyscall_futex_helper));
	CHECK_EQUAL(hello.symbols[3], as_arg((void *)(uintptr_t)rsyscall_trampoline));
	CHECK_EQUAL(hello.symbols[4], as_arg((void *)(uintptr_t)rsyscall_ring_server));
	CHECK_EQUAL(hello.symbols[5], as_arg((void *)(uintptr_t)rsyscall_shared_ring_server));
	CHECK_EQUAL(hello.symbols[6], 0);
	CHECK_EQUAL(hello.symbols[7], 0);
	CHECK_EQUAL(hello.infd, pair[1]);
	CHECK_EQUAL(hello.outfd, pair[1]);
	for (i = 0; i < 3; i++) {
		CHECK_EQUAL(receive_bytes(&peer, &length, 4), 4);
		CHECK_EQUAL(length, strlen(environment[i]));
		CHECK_EQUAL(receive_bytes(&peer, text, length), length);
		CHECK_EQUAL(memcmp(text, environment[i], length), 0);
		total += 4 + length;
	}
	CHECK_EQUAL(hello.length, total);
	finish(&peer);
}

/* Each packet would wake the client, and a carrier. */
static void greeting_in_few_pieces(void)
{
	static char large[5000];
	char *environment[] = { "A=b", large, "C=d", NULL };
	struct rsys_hello *hello;
	struct peer peer;
	char text[8192];
	size_t said = 0;
	int pair[2], i;

	memset(large, 'x', sizeof(large) - 1);
	for (i = 0; i < 2; i++) {
		CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
		peer = (struct peer){ pair[0], pair[0], CHECK_CALL(fork()) };
		if (peer.pid == 0) {
			close(pair[0]);
			_exit(rsyscall_greeting_server(pair[1], pair[1], environment + 2 * (1 - i), 4096));
		}
		close(pair[1]);
		said = CHECK_CALL(read(pair[0], text, sizeof(text)));
		hello = (struct rsys_hello *)text;
		if (i == 0) {
			CHECK_EQUAL(hello->length, sizeof(*hello) + 4 + 3);
			CHECK_EQUAL(said, hello->length);
			CHECK_EQUAL(memcmp(text + sizeof(*hello) + 4, "C=d", 3), 0);
		} else {
			size_t length = hello->length;

			CHECK_EQUAL(length, sizeof(*hello) + 3 * 4 + 3 + sizeof(large) - 1 + 3);
			CHECK(said >= length / 2 && said < length);
			CHECK_EQUAL(read(pair[0], text + said, sizeof(text) - said), length - said);
			CHECK_EQUAL(memcmp(text + length - 3, "C=d", 3), 0);
			CHECK_EQUAL(memcmp(text + sizeof(*hello) + 4 + 3 + 4, large, sizeof(large) - 1), 0);
		}
		finish(&peer);
	}
}

const struct test stream_tests[] = {
	{ "calls", calls },
	{ "pipelined_calls_in_order", pipelined_calls_in_order },
	{ "linked_calls", linked_calls },
	{ "exit_is_not_answered", exit_is_not_answered },
	{ "memory_round_trips", memory_round_trips },
	{ "memory_and_calls_in_one_go", memory_and_calls_in_one_go },
	{ "answers_that_wait", answers_that_wait },
	{ "malformed_requests_end_the_server", malformed_requests_end_the_server },
	{ "truncated_requests_end_the_server", truncated_requests_end_the_server },
	{ "slow_requests", slow_requests },
	{ "client_goes_away", client_goes_away },
	{ "signals_do_not_end_the_server", signals_do_not_end_the_server },
	{ "interrupted_call_is_answered", interrupted_call_is_answered },
	{ "over_pipes", over_pipes },
	{ "over_nonblocking_pipes", over_nonblocking_pipes },
	{ "greeting", greeting },
	{ "greeting_in_few_pieces", greeting_in_few_pieces },
	{ NULL, NULL },
};

/* Calls that valgrind does not know, or rightly finds wrong. */
const struct test stream_kernel_tests[] = {
	{ "bad_addresses_are_errors", bad_addresses_are_errors },
	{ "memory_where_calls_are_denied", memory_where_calls_are_denied },
	{ "unknown_calls", unknown_calls },
	{ "owner_that_is_gone", owner_that_is_gone },
	{ "owner_that_ends", owner_that_ends },
	{ "watcher_that_is_killed", watcher_that_is_killed },
	{ NULL, NULL },
};
