/* Free bytes (space.c) and their allocations (allocation.c). */
#ifndef RSYS_SPACE_H
#define RSYS_SPACE_H

#include "limited_api.h"

#include "record.h"

#pragma GCC visibility push(hidden)

/* Makes the types; once. */
int rsys_space_init(PyObject *module);

/* set_memory_errors(UseAfterFreeError) */
PyObject *rsys_set_memory_errors(PyObject *module, PyObject *error);

/* Give back an Allocation; -1 without an exception if it is not an Allocation. */
int rsys_free_allocation(PyObject *op);

/* Whether it is an Allocation, of this very class, that owns memory. */
int rsys_is_live_allocation(PyObject *op);

#pragma GCC visibility pop

#endif
