/*
 * The holes of a set of arenas. Everything here is arithmetic on offsets.
 *
 * A *hole* is a maximal run of free bytes of one arena. Only holes are recorded; live allocations are known to
 * their owners alone, so nothing ever walks over them. Holes are found
 *
 *  - by where they start and by where they end, through one hash table: what comes back is joined with its
 *    neighbours in constant time;
 *  - by size, through bins. Below 512 bytes there is one for every multiple of 16, above eight for every power
 *    of two. A bit says that a bin has something in it; so a hole that certainly fits is found with a few
 *    shifts.
 */
#include "holes.h"

/* How many holes that perhaps fit are looked at before giving up. */
#define SCAN_LIMIT 16

PyTypeObject *rsys_space_type;

static size_t bucket(FreeSpace *self, struct arena *arena, uint64_t offset)
{
	uint64_t key = ((uintptr_t)arena >> 4) * 0x9e3779b97f4a7c15ull ^ offset * 0xc2b2ae3d27d4eb4full;

	return (key ^ key >> 29) & (self->n_buckets - 1);
}

static void hash_add(FreeSpace *self, struct hole *hole)
{
	struct hole **first = &self->starts[bucket(self, hole->arena, hole->start)];

	hole->by_start = *first;
	*first = hole;
	first = &self->ends[bucket(self, hole->arena, hole->end)];
	hole->by_end = *first;
	*first = hole;
}

static struct hole *starting_at(FreeSpace *self, struct arena *arena, uint64_t offset)
{
	struct hole *hole = self->starts[bucket(self, arena, offset)];

	for (; hole && (hole->arena != arena || hole->start != offset); hole = hole->by_start)
		self->looked_at++;
	return hole;
}

static struct hole *ending_at(FreeSpace *self, struct arena *arena, uint64_t offset)
{
	struct hole *hole = self->ends[bucket(self, arena, offset)];

	for (; hole && (hole->arena != arena || hole->end != offset); hole = hole->by_end)
		self->looked_at++;
	return hole;
}

static void hash_remove(FreeSpace *self, struct hole *hole)
{
	struct hole **link = &self->starts[bucket(self, hole->arena, hole->start)];

	while (*link != hole)
		link = &(*link)->by_start;
	*link = hole->by_start;
	link = &self->ends[bucket(self, hole->arena, hole->end)];
	while (*link != hole)
		link = &(*link)->by_end;
	*link = hole->by_end;
}

static int grow(FreeSpace *self)
{
	size_t n = self->n_buckets ? 2 * self->n_buckets : 64;
	struct hole **starts = PyMem_Calloc(n, sizeof(*starts)), **ends = PyMem_Calloc(n, sizeof(*ends));
	struct arena *arena;
	struct hole *hole;

	if (!starts || !ends) {
		PyMem_Free(starts);
		PyMem_Free(ends);
		return -1;
	}
	PyMem_Free(self->starts);
	PyMem_Free(self->ends);
	self->starts = starts;
	self->ends = ends;
	self->n_buckets = n;
	for (arena = self->arenas; arena; arena = arena->next)
		for (hole = arena->holes; hole; hole = hole->sibling)
			hash_add(self, hole);
	return 0;
}

/*
 * Before anything becomes live: memory for the holes that giving it back may make. There are never more holes
 * than arenas and live allocations.
 */
int rsys_holes_prepare(FreeSpace *self, size_t more)
{
	size_t wanted = self->n_arenas + self->n_live + more + 2;

	while (self->n_spare + self->n_holes < wanted) {
		struct hole *hole = PyMem_Malloc(sizeof(*hole));

		if (!hole)
			goto failed;
		hole->next = self->spare;
		self->spare = hole;
		self->n_spare++;
	}
	/* Better chains that are long than no memory. */
	if (wanted > self->n_buckets && grow(self) < 0 && !self->n_buckets)
		goto failed;
	return 0;
failed:
	PyErr_NoMemory();
	return -1;
}

static int bin_of(uint64_t size)
{
	int bits;

	if (size < 512)
		return size >> 4;
	bits = 64 - __builtin_clzll(size);
	return (bits << 3) + (int)(size >> (bits - 4)) - 56;
}

/* The first bin all of whose holes have this size, which is a multiple of the granule. */
static int first_sufficient_bin(uint64_t size)
{
	int bits;

	if (size < 512)
		return size >> 4;
	bits = 64 - __builtin_clzll(size);
	return bin_of(size) + !!(size & ((1ull << (bits - 4)) - 1));
}

void rsys_arena_changed(FreeSpace *self, struct arena *arena)
{
	struct hole *hole = arena->holes;
	int empty = !arena->n_live && hole && hole->end - hole->start == arena->size;

	self->n_empty += empty - arena->empty;
	arena->empty = empty;
}

/* The bytes are in no hole yet, and none is beside them. */
void rsys_hole_add(FreeSpace *self, struct arena *arena, uint64_t start, uint64_t end)
{
	struct hole *hole = self->spare;
	uint64_t aligned = (start + GRANULE - 1) & -(uint64_t)GRANULE;

	self->spare = hole->next;
	self->n_spare--;
	self->n_holes++;
	hole->arena = arena;
	hole->start = start;
	hole->end = end;
	hash_add(self, hole);
	hole->sibling = arena->holes;
	hole->sibling_link = &arena->holes;
	if (hole->sibling)
		hole->sibling->sibling_link = &hole->sibling;
	arena->holes = hole;
	hole->bin = -1;
	if (end >= aligned + GRANULE) {
		struct hole **bin = &self->bins[hole->bin = bin_of(end - aligned)];

		hole->next = *bin;
		hole->link = bin;
		if (*bin)
			(*bin)->link = &hole->next;
		*bin = hole;
		self->bits[hole->bin / 64] |= 1ull << hole->bin % 64;
	}
	rsys_arena_changed(self, arena);
}

void rsys_hole_remove(FreeSpace *self, struct hole *hole)
{
	hash_remove(self, hole);
	*hole->sibling_link = hole->sibling;
	if (hole->sibling)
		hole->sibling->sibling_link = hole->sibling_link;
	rsys_arena_changed(self, hole->arena);
	if (hole->bin >= 0) {
		*hole->link = hole->next;
		if (hole->next)
			hole->next->link = hole->link;
		if (!self->bins[hole->bin])
			self->bits[hole->bin / 64] &= ~(1ull << hole->bin % 64);
	}
	hole->next = self->spare;
	self->spare = hole;
	self->n_spare++;
	self->n_holes--;
}

/* These bytes are free, and joined with what is free around them. */
void rsys_holes_give(FreeSpace *self, struct arena *arena, uint64_t start, uint64_t end)
{
	struct hole *beside;

	if (start == end)
		return;
	beside = ending_at(self, arena, start);
	if (beside) {
		start = beside->start;
		rsys_hole_remove(self, beside);
	}
	beside = starting_at(self, arena, end);
	if (beside) {
		end = beside->end;
		rsys_hole_remove(self, beside);
	}
	rsys_hole_add(self, arena, start, end);
}

/* A hole that has room; NULL if none was found. There may be one nevertheless, among many that have not. */
struct hole *rsys_holes_find(FreeSpace *self, uint64_t size, uint64_t alignment)
{
	int first = first_sufficient_bin(size + alignment - GRANULE), word = first / 64, bin, i;
	uint64_t bits;
	struct hole *hole;

	/* What came back last is most often what is asked for next. */
	bin = bin_of(size);
	if (bin < first && bin < BINS && (hole = self->bins[bin]) && fits(hole, size, alignment))
		return hole;
	if (first < BINS) {
		bits = self->bits[word] & -(1ull << first % 64);
		while (!bits && ++word < BINS / 64)
			bits = self->bits[word];
		if (bits)
			return self->bins[64 * word + __builtin_ctzll(bits)];
	}
	for (bin = bin_of(size); bin < first && bin < BINS; bin++)
		for (hole = self->bins[bin], i = 0; hole && i < SCAN_LIMIT; hole = hole->next, i++) {
			self->looked_at++;
			if (fits(hole, size, alignment))
				return hole;
		}
	return NULL;
}

/* Take bytes out of a hole in which they fit; returns where they start. */
uint64_t rsys_holes_cut(FreeSpace *self, struct hole *hole, uint64_t size, uint64_t alignment)
{
	struct arena *arena = hole->arena;
	uint64_t hole_start = hole->start, hole_end = hole->end, start = aligned_start(hole, alignment);

	rsys_hole_remove(self, hole);
	if (hole_start < start)
		rsys_hole_add(self, arena, hole_start, start);
	if (start + size < hole_end)
		rsys_hole_add(self, arena, start + size, hole_end);
	return start;
}
