#ifndef RSYS_IMAGE_H
#define RSYS_IMAGE_H

#include "limited_api.h"

#include <stdint.h>

/* For the table of the module. */
PyObject *rsys_exec_strings(PyObject *module, PyObject *strings);
PyObject *rsys_exec_image(PyObject *module, PyObject *args);

#endif
