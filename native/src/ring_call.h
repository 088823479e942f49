/* Methods of Ring that make calls and take their results. */
#ifndef RSYS_RING_CALL_H
#define RSYS_RING_CALL_H

#include "client.h"

#pragma GCC visibility push(hidden)

PyObject *rsys_ring_call(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_recorded_call(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_put_method(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_call_many(PyObject *op, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_ring_next_result(PyObject *op, PyObject *unused);
PyObject *rsys_ring_sleep(PyObject *op, PyObject *args);
PyObject *rsys_ring_put_backlog(PyObject *op, PyObject *backlog);
PyObject *rsys_ring_deliver(PyObject *op, PyObject *unused);
PyObject *rsys_ring_sleepers(PyObject *op, PyObject *unused);
PyObject *rsys_ring_last_sleeper(PyObject *op, PyObject *unused);
PyObject *rsys_ring_forget(PyObject *op, PyObject *unused);
PyObject *rsys_ring_results(PyObject *op, PyObject *unused);

/* As rsys_parse_call; a number that the word of a slot cannot hold is not that of a call. */
int rsys_ring_parse(PyObject *const *args, Py_ssize_t n, int64_t v[7]);

/* Publish a call, where there is room; then, after one or several, wake who is to make them. */
void rsys_ring_put(Ring *self, const int64_t v[7]);
void rsys_ring_kick(Ring *self);
PyObject *rsys_ring_wait_method(PyObject *op, PyObject *arg);
PyObject *rsys_ring_block_method(PyObject *op, PyObject *arg);
PyObject *rsys_ring_prepare_calls(PyObject *op, PyObject *list);
PyObject *rsys_ring_prepare_exit(PyObject *op, PyObject *unused);
PyObject *rsys_ring_announce(PyObject *op, PyObject *unused);
PyObject *rsys_ring_kick_method(PyObject *op, PyObject *unused);

/* The server returns, and with it the process, after what it has been sent. */
void rsys_ring_send_shutdown(Ring *self);

#pragma GCC visibility pop

#endif
