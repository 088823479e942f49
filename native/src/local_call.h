/* Functions of the module: calls, memory and children of our own process. */
#ifndef RSYS_LOCAL_CALL_H
#define RSYS_LOCAL_CALL_H

#include "limited_api.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Calls that may wait are made without the interpreter lock. */
long rsys_make_local_call(const int64_t v[7]);

PyObject *rsys_local_syscall(PyObject *module, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_recorded_local_syscall(PyObject *module, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_read_memory(PyObject *module, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_write_memory(PyObject *module, PyObject *const *args, Py_ssize_t n);
PyObject *rsys_spin_for_exit(PyObject *module, PyObject *args);
PyObject *rsys_block_for_exit(PyObject *module, PyObject *args);
PyObject *rsys_forget_watched(PyObject *module, PyObject *args);
PyObject *rsys_set_raw_syscall(PyObject *module, PyObject *arg);

#pragma GCC visibility pop

#endif
