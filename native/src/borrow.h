#ifndef RSYS_BORROW_H
#define RSYS_BORROW_H

#include "limited_api.h"

/* borrow_pointer(pointer, task), for the table of the module. */
PyObject *rsys_borrow_pointer(PyObject *module, PyObject *const *args, Py_ssize_t count);

int rsys_borrow_init(PyObject *module);

#endif
