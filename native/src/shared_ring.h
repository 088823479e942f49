/* The ring of a process with memory of its own: see shared_ring.c. */
#ifndef RSYS_SHARED_RING_H
#define RSYS_SHARED_RING_H

#include "rsyscall.h"

/*
 * What is in the memory file, which both sides have mapped. Behind it, each at the beginning of a page of any
 * size: room for what is copied from or to other memory of the process, and the arena, in which the client allocates.
 */
struct rsys_shared {
	struct rsys_ring ring;
	struct rsys_hub hub;	/* of this ring alone; the server's budget is the client's to set */
	_Alignas(64) uint32_t ready;	/* 1 when the fields below are valid */
	uint32_t life;		/* the word of a robust mutex that the process holds until exec or exit */
	uint64_t base;		/* address of this structure in the process */
	struct rsys_hello hello;
};

#define RSYS_SHARED_PAGE 65536
#define RSYS_BOUNCE_OFFSET RSYS_SHARED_PAGE
#define RSYS_BOUNCE_SIZE 65536
#define RSYS_ARENA_OFFSET (RSYS_BOUNCE_OFFSET + RSYS_BOUNCE_SIZE)
#define RSYS_ARENA_SIZE (4 << 20)
#define RSYS_SHARED_SIZE (RSYS_ARENA_OFFSET + RSYS_ARENA_SIZE)

_Static_assert(sizeof(struct rsys_shared) <= RSYS_SHARED_PAGE, "the arena begins too early");

#endif
