/*
 * The server behind a byte stream with sanitizers. What is wrong ends it by a signal, or with a report where
 * ASAN_OPTIONS says.
 *
 * It serves one connection after the other of the listening socket that is its standard input. Whatever it is sent can
 * do no harm: the calls of the client are not made, but have results that are computed from their arguments; and its
 * addresses are those of MEMORY, which is new for each connection.
 *
 * With an argument, things go wrong that can: reads and writes are short or interrupted, and a filter denies calls.
 */
#include "freestanding.h"

#include <sanitizer/asan_interface.h>

#define MEMORY 0x10000000ull
#define MEMORY_SIZE 0x30000ull	/* more than the server moves in one piece */
#define SIGPIPE 13

static const char *stack_top;
static int hard;
static unsigned int turn;

/*
 * The addresses that the server gives to the kernel are compared with those of its stack. To find uses after return,
 * the sanitizer would move the variables to a heap of its own.
 */
const char *__asan_default_options(void)
{
	return "detect_stack_use_after_return=0";
}

static void check(int right)
{
	if (!right)
		__builtin_trap();
}

/* How much of this the client may have; 0 where it has nothing. */
static size_t in_memory(uint64_t address, size_t len)
{
	uint64_t left = MEMORY + MEMORY_SIZE - address;

	if (address < MEMORY || address >= MEMORY + MEMORY_SIZE)
		return 0;
	return len < left ? len : left;
}

/* The kernel is asked to use this: what of it is there. 0 for an address of the client that leads nowhere. */
static size_t usable(long address, size_t len)
{
	const char *p = (const char *)address;

	if (p < (const char *)__builtin_frame_address(0) || p >= stack_top)
		return in_memory(address, len);
	check(len <= (size_t)(stack_top - p));
	check(__asan_region_is_poisoned((void *)address, len) == 0);
	return len;
}

/* Bytes that go through the stream: a length that has become smaller now and then, or an error. */
static long pass(long address, size_t len)
{
	size_t there = usable(address, len);

	check(len > 0);
	if (!there)
		return -EFAULT;
	if (!hard)
		return there;
	turn++;
	if (turn % 11 == 0)
		return -EINTR;
	if (turn % 13 == 0)
		return -EAGAIN;
	return turn % 3 ? 1 + turn * 31 % there : there;
}

static long look(const struct rsys_iovec *local, long local_count, const struct rsys_iovec *remote, long remote_count)
{
	struct rsys_iovec there = *remote;
	size_t room = 0;
	long i;

	check(remote_count == 1);
	for (i = 0; i < local_count; i++) {
		check(usable((long)local[i].base, local[i].len) == local[i].len);
		room += local[i].len;
	}
	check(there.len <= room);
	there.len = in_memory((uint64_t)there.base, there.len);
	if (!there.len)
		return -EFAULT;
	return rsys_call6(__NR_process_vm_readv, rsys_call0(__NR_getpid), local, local_count, &there, 1, 0);
}

/* All calls that the server makes, which are no others than these. */
static long checked_call(long nr, long a, long b, long c, long d, long e, long f)
{
	long n;

	switch (nr) {
	case __NR_read:
		n = pass(b, c);
		return n < 0 ? n : rsys_call3(nr, a, b, n);
	case __NR_sendto:
		check(!e && !f);
		if (hard && ++turn % 2)
			return -EPERM;
		n = pass(b, c);
		return n < 0 ? n : rsys_call6(nr, a, b, n, d, e, f);
	case __NR_write:
		n = pass(b, c);
		return n < 0 ? n : rsys_call3(nr, a, b, n);
	case __NR_process_vm_readv:
		if (hard && ++turn % 2)
			return -EPERM;
		return look((const struct rsys_iovec *)b, c, (const struct rsys_iovec *)d, e);
	case __NR_rt_sigprocmask:
		check(a == -1 && !c);
		return in_memory(b, d) == (size_t)d ? rsys_call4(nr, a, b, c, d) : -EFAULT;
	case __NR_ppoll:
		check(usable(a, b * sizeof(struct rsys_pollfd)) > 0 && !c);
		return hard && ++turn % 2 ? -EPERM : rsys_call5(nr, a, b, c, d, e);
	case __NR_clock_nanosleep:
		return rsys_call4(nr, a, b, c, d);
	case __NR_getpid:
		return rsys_call0(nr);
	default:
		check(0);
		return -ENOSYS;
	}
}

#define rsys_syscall6 checked_call
#include "../../src/sleep.c"
#include "../../src/stream_server.c"
#undef rsys_syscall6

int rsys_begin(struct rsys_origin *origin)
{
	return origin != 0;
}

/* No call at all; tests compute the same. */
long rsys_execute(struct rsys_origin *origin, long nr, const int64_t *args)
{
	uint64_t result = nr;
	int i;

	check(origin->flags & RSYS_ORIGIN_OWN_MEMORY);
	for (i = 0; i < 6; i++)
		result = result * 31 + args[i];
	return result % 4 ? (long)result : -(long)(1 + result / 4 % 4095);
}

static void renew_memory(void)
{
	volatile unsigned char *memory = (volatile unsigned char *)MEMORY;
	size_t i;

	for (i = 0; i < MEMORY_SIZE; i++)
		memory[i] = i % 251;
}

int main(int argc, char **argv)
{
	uint64_t ignore[4] = { 1 /* SIG_IGN */, 0, 0, 0 };
	long fd;

	(void)argv;
	hard = argc > 1;
	stack_top = __builtin_frame_address(0);
	rsys_call4(__NR_rt_sigaction, SIGPIPE, ignore, 0, 8);
	check(rsys_call6(__NR_mmap, MEMORY, MEMORY_SIZE, 3 /* PROT_READ | PROT_WRITE */,
			 0x100022 /* MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE */, -1, 0) == (long)MEMORY);
	while ((fd = rsys_call4(__NR_accept4, 0, 0, 0, 0)) >= 0) {
		renew_memory();
		check(rsyscall_server(fd, fd, 0) == 0);
		check(rsys_call1(__NR_close, fd) == 0);
	}
	return 0;
}
