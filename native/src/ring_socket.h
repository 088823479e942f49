/* The socket between a process with memory of its own and its client: see ring_socket.c. */
#ifndef RSYS_RING_SOCKET_H
#define RSYS_RING_SOCKET_H

#include "rsyscall.h"

static inline int rsys_has_own_memory(const struct rsys_ring *ring)
{
	return ring->origin.flags & RSYS_ORIGIN_OWN_MEMORY;
}

/* Of the server, whose end of the socket is ring->completion. */
#pragma GCC visibility push(hidden)

/* Sleep until the client has sent something; 0 when it is gone, or the socket is. */
int rsys_wait_for_client(struct rsys_ring *ring);

/* Take what the client has sent. */
int rsys_drain(struct rsys_ring *ring);

/* Wake the client, which waits for an answer. */
void rsys_tell_client(struct rsys_ring *ring);

/* Whether a filter denies that. */
int rsys_may_not_tell_client(struct rsys_ring *ring);

#pragma GCC visibility pop

#endif
