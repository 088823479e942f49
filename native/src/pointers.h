/* Pointers of the handle layer (pointers.c), and code that is called outside of destructors. */
#ifndef RSYS_POINTERS_H
#define RSYS_POINTERS_H

#include "limited_api.h"

typedef struct {
	PyObject_HEAD
	PyObject *mapping, *transport, *serializer, *allocation, *typ;
	PyObject *address;	/* None until it has been asked for */
	PyObject *pinned_by;	/* a tuple of consumed pointers to the same memory that are still borrowed */
	PyObject *waiting;	/* None, or a list of what to free when the last borrow ends */
	PyObject *valid;
	Py_ssize_t pins;	/* how many borrows are going on */
} Pointer;

#pragma GCC visibility push(hidden)

/* Makes the types; once. */
int rsys_pointers_init(PyObject *module);
int rsys_is_pointer(PyObject *op);

PyObject *rsys_successor(PyObject *module, PyObject *const *args, Py_ssize_t count);

/* Call it between two instructions of the main thread; in another thread at once. For destructors. */
void rsys_call_soon(PyObject *callable);

#pragma GCC visibility pop

#endif
