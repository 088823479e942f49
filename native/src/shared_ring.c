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

#include "freestanding.h"
#include "ring_socket.h"

struct robust_entry {
	struct robust_entry *next;
};

struct robust_head {
	struct robust_entry list;
	long offset;
	struct robust_entry *pending;
};

/*
 * greets: the hello is there, and the client is told. 0 for a process that shares its memory with the one that cloned
 * it: the client knows all that such a process could greet with.
 */
int rsyscall_shared_ring_server(struct rsys_shared *shared, int socket, uint32_t greets)
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
	if (greets) {
		shared->base = (uint64_t)shared;
		__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
		rsys_tell_client(ring);
	}
	return rsyscall_ring_server(ring);
}
