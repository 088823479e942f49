/*
 * The ring of a process with memory of its own.
 *
 * The client and the process have mapped the same memory file, and between them is a pair of connected sockets. Calls
 * and answers go through the ring in that file, by the code that serves a ring in shared memory (ring_server.c). The
 * differences:
 *
 * - Either side is woken by a byte in the socket, and not by a futex: so the process sees the end of its client,
 *   as the end of the socket, while it sleeps. Nothing else could wake it then. And a call of the process that
 *   waits for descriptors can wait for this one among them, and hear of further calls.
 * - The kernel does not clear a word for us when we execute a program: CLONE_CHILD_CLEARTID is gone after the
 *   exec that made us. But it marks the words of robust mutexes that we hold, at exec as at exit (futex(2)), so
 *   we hold one.
 * - There is no hub and no watcher in this memory.
 *
 * A process that such a process clones shares its memory, and has its ring and its stack in the same file, where the
 * client has put them. It has a socket of its own.
 *
 * What the client does not want us to write is not in this file: see shared_file.c.
 */
#include "shared_ring.h"

#include "execute.h"
#include "sleep.h"

#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000

static int same_file(const struct rsys_ring *ring, const uint64_t *stat)
{
	return stat[0] == ring->hub->completion_dev && stat[1] == ring->hub->completion_ino;
}

/*
 * Calls may have closed the number and opened something else under it, and nothing may be written there or
 * read from it.
 */
static int has_socket(const struct rsys_ring *ring)
{
	uint64_t stat[32];
	long ret;

	if (ring->completion < 0)
		return 0;
	ret = rsys_call2(__NR_fstat, ring->completion, stat);
	return ret == 0 ? same_file(ring, stat) : ret != -EBADF;	/* otherwise a filter denies the question */
}

int rsys_drain(struct rsys_ring *ring)
{
	char bytes[64];
	long n;

	if (!has_socket(ring))
		return 0;
	do
		n = rsys_call6(__NR_recvfrom, ring->completion, bytes, sizeof(bytes), MSG_DONTWAIT, 0, 0);
	while (n == sizeof(bytes) || n == -EINTR);
	/* Where a filter denies it: something is there, or we would not have been woken. */
	if (n == -EPERM || n == -ENOSYS || n == -EACCES)
		n = rsys_call3(__NR_read, ring->completion, bytes, sizeof(bytes));
	return n > 0 || n == -EAGAIN;
}

int rsys_wait_for_client(struct rsys_ring *ring)
{
	struct rsys_pollfd fd = { .fd = ring->completion, .events = RSYS_POLLIN };
	int64_t pause = RSYS_FIRST_PAUSE_NS;

	if (!has_socket(ring))
		return 0;
	while (rsys_is_denied(rsys_call5(__NR_ppoll, &fd, 1, 0, 0, 8))) {
		if (!rsys_pause_longer(&pause))
			return 0;
		if (__atomic_load_n(&ring->state, __ATOMIC_SEQ_CST) != RSYS_PARKED)
			return 1;
		fd.revents = 0;
	}
	return !fd.revents || rsys_drain(ring);
}

static long send(const struct rsys_ring *ring, size_t length)
{
	long ret = rsys_call6(__NR_sendto, ring->completion, "", length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);

	if (ret == -EPERM || ret == -ENOSYS || ret == -EACCES)
		ret = rsys_call3(__NR_write, ring->completion, "", length);
	return ret;
}

void rsys_tell_client(struct rsys_ring *ring)
{
	/* -EAGAIN: it is as readable as can be */
	if (has_socket(ring)) {
		long ret = send(ring, 1);

		if (ret >= 0 || ret == -EAGAIN)
			return;
	}
	__atomic_store_n(&ring->mute, 1, __ATOMIC_RELEASE);
}

int rsys_may_not_tell_client(struct rsys_ring *ring)
{
	return rsys_is_error(send(ring, 0));
}

struct robust_entry {
	struct robust_entry *next;
};

struct robust_head {
	struct robust_entry list;
	long offset;
	struct robust_entry *pending;
};

/*
 * page_size: 0 for a process that shares its memory with the one that cloned it: the client knows all that such
 * a process could greet with.
 */
int rsyscall_shared_ring_server(struct rsys_shared *shared, int socket, uint32_t page_size)
{
	struct robust_entry entry;
	struct robust_head head = { { &entry }, (long)((uintptr_t)&shared->life - (uintptr_t)&entry), 0 };
	struct rsys_ring *ring = &shared->ring;
	uint64_t stat[32];
	long tid = rsys_call0(__NR_gettid);

	entry.next = &head.list;
	/* Where that is denied: the process has one thread. Without either number the word is as the client wrote it. */
	if (rsys_is_error(tid))
		tid = rsys_call0(__NR_getpid);
	if (!rsys_is_error(tid))
		shared->life = tid;
	rsys_call2(__NR_set_robust_list, &head, sizeof(head));
	ring->hub = &shared->hub;
	ring->completion = socket;
	ring->origin.watcher_fd = ring->origin.parent_pid = -1;
	ring->origin.flags = RSYS_ORIGIN_OWN_MEMORY;
	if (rsys_call2(__NR_fstat, socket, stat) == 0) {
		shared->hub.completion_dev = stat[0];
		shared->hub.completion_ino = stat[1];
	}
	if (page_size) {
		rsyscall_fill_hello(&shared->hello, page_size);
		shared->base = (uint64_t)shared;
		__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
		rsys_tell_client(ring);
	}
	return rsyscall_ring_server(ring);
}
