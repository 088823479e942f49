#ifndef RSYS_NAMING_H
#define RSYS_NAMING_H

#include "limited_api.h"

/* naming(filename, filename2=None), for the table of the module. */
PyObject *rsys_naming(PyObject *module, PyObject *const *args, Py_ssize_t count);

int rsys_naming_init(PyObject *module);

#endif
