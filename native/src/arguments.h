/* Python objects as arguments of system calls. */
#ifndef RSYS_ARGUMENTS_H
#define RSYS_ARGUMENTS_H

#include "limited_api.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Once, before anything else here. */
int rsys_arguments_init(void);

int rsys_as_word(PyObject *obj, int64_t *ret);

/* number, up to six arguments */
int rsys_parse_call(PyObject *const *args, Py_ssize_t n, int64_t v[7]);

/* For the table of the module. */
PyObject *rsys_set_word_types(PyObject *module, PyObject *types);
PyObject *rsys_note(PyObject *module, PyObject *const *args, Py_ssize_t n);

#pragma GCC visibility pop

#endif
