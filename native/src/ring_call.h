/* Methods of Ring that make calls and take their results. */
#ifndef RSYS_RING_CALL_H
#define RSYS_RING_CALL_H

#include "client.h"

#pragma GCC visibility push(hidden)

PyObject *rsys_ring_call(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_put_method(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_call_many(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_next_result(PyObject *op, PyObject *unused);
PyObject *rsys_ring_wait_method(PyObject *op, PyObject *arg);
PyObject *rsys_ring_prepare_calls(PyObject *op, PyObject *list);
PyObject *rsys_ring_announce(PyObject *op, PyObject *unused);
PyObject *rsys_ring_kick_method(PyObject *op, PyObject *unused);

/* The server returns, and with it the process, after what it has been sent. */
void rsys_ring_send_shutdown(Ring *self);

#pragma GCC visibility pop

#endif
