/*
 * The socket by which a process with memory of its own and its client wake each other, from the process' side: see
 * shared_ring.c.
 */
#include "ring_socket.h"

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
