/* The free bytes of a set of arenas: the record of holes (holes.c) that space.c allocates from. */
#ifndef RSYS_HOLES_H
#define RSYS_HOLES_H

#include "limited_api.h"

#include <stddef.h>
#include <stdint.h>

#define GRANULE 16
/* Bins for up to 2^57 bytes. */
#define BINS 512

struct arena {
	PyObject *object;
	uint64_t size;
	struct arena *next;
	struct hole *holes;
	size_t n_live;			/* allocations, with those of no bytes: they refer to this */
	int empty;			/* has none, and can be unmapped */
};

struct hole {
	struct arena *arena;
	uint64_t start, end;
	int bin;			/* -1: too small for any */
	struct hole *next, **link;	/* of the bin */
	struct hole *by_start, *by_end;	/* next ones with this hash */
	struct hole *sibling, **sibling_link;	/* of the arena */
};

typedef struct {
	PyObject_HEAD
	PyTypeObject *allocation_type;
	struct arena *arenas, **last;	/* oldest first */
	struct hole *bins[BINS];
	uint64_t bits[BINS / 64];
	struct hole **starts, **ends;	/* hash tables */
	size_t n_buckets, n_holes, n_arenas, n_empty;
	struct hole *spare;		/* so that giving back never has to ask for memory */
	size_t n_spare, n_live;
	uint64_t largest_kept, looked_at;
} FreeSpace;

static inline uint64_t aligned_start(struct hole *hole, uint64_t alignment)
{
	return (hole->start + alignment - 1) & -alignment;
}

static inline int fits(struct hole *hole, uint64_t size, uint64_t alignment)
{
	uint64_t start = aligned_start(hole, alignment);

	return start <= hole->end && size <= hole->end - start;
}

#pragma GCC visibility push(hidden)

/* The type, which space.c makes. */
extern PyTypeObject *rsys_space_type;

/*
 * Before anything becomes live, `more` of it: memory for the holes that giving it back may make; -1: there is
 * none, and MemoryError is set. None of the others can fail.
 */
int rsys_holes_prepare(FreeSpace *self, size_t more);

/* The bytes are in no hole yet, and none is beside them. */
void rsys_hole_add(FreeSpace *self, struct arena *arena, uint64_t start, uint64_t end);
void rsys_hole_remove(FreeSpace *self, struct hole *hole);

/* Call it after a change of n_live. */
void rsys_arena_changed(FreeSpace *self, struct arena *arena);

/* These bytes are free, and joined with what is free around them. */
void rsys_holes_give(FreeSpace *self, struct arena *arena, uint64_t start, uint64_t end);

/* A hole that has room; NULL if none was found. There may be one nevertheless, among many that have not. */
struct hole *rsys_holes_find(FreeSpace *self, uint64_t size, uint64_t alignment);

/* Take bytes out of a hole in which they fit; returns where they start. */
uint64_t rsys_holes_cut(FreeSpace *self, struct hole *hole, uint64_t size, uint64_t alignment);

#pragma GCC visibility pop

#endif
