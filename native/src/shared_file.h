/* The memory file of a process with memory of its own: see shared_file.c. */
#ifndef RSYS_SHARED_FILE_H
#define RSYS_SHARED_FILE_H

#include "client.h"

#pragma GCC visibility push(hidden)

/* Methods of Ring. */
PyObject *rsys_shared_share(PyObject *op, PyObject *args);
PyObject *rsys_shared_open(PyObject *op, PyObject *arg);
PyObject *rsys_shared_nest(PyObject *op, PyObject *args);
PyObject *rsys_shared_nested(PyObject *op, PyObject *args);
PyObject *rsys_shared_greeted(PyObject *op, PyObject *args);
PyObject *rsys_shared_heard(PyObject *op, PyObject *unused);
PyObject *rsys_shared_read(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_shared_write(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_shared_unshare(PyObject *op, PyObject *unused);

/* It may send one byte more. */
static inline void rsys_shared_expect(Ring *self)
{
	if (self->expected < UINT32_MAX)
		self->expected++;
}

/* Send a byte to the process, which sleeps, or waits for descriptors. */
void rsys_shared_wake(Ring *self);

/* Give the file and the socket back, if there are any. */
void rsys_shared_close(Ring *self);

#pragma GCC visibility pop

#endif
