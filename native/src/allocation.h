/* Allocations (allocation.c), as the FreeSpace that they are in makes them (space.c). */
#ifndef RSYS_ALLOCATION_H
#define RSYS_ALLOCATION_H

#include "holes.h"

typedef struct {
	PyObject_HEAD
	PyObject *arena, *start_object, *end_object, *valid;
	FreeSpace *space;
	struct arena *in;
	uint64_t start, end, limit;
} Allocation;

static inline struct arena *rsys_find_arena(FreeSpace *self, PyObject *object)
{
	struct arena *arena = self->arenas;

	while (arena && arena->object != object)
		arena = arena->next;
	return arena;
}

#pragma GCC visibility push(hidden)

/* Makes the type; once. */
int rsys_allocation_init(PyObject *module);
int rsys_is_allocation_type(PyObject *type);

/* One that owns nothing yet, of no arena. */
Allocation *rsys_new_allocation(PyTypeObject *type);

/* Say which bytes it is to own; rsys_set_valid() makes it the owner. -1: there is no memory for that. */
int rsys_place(Allocation *self, FreeSpace *space, struct arena *arena, uint64_t start, uint64_t end, uint64_t limit);
void rsys_set_valid(Allocation *self, PyObject *valid);

#pragma GCC visibility pop

#endif
