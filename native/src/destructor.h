#ifndef RSYS_DESTRUCTOR_H
#define RSYS_DESTRUCTOR_H

#include "limited_api.h"

/* Adds the type to the extension module. */
int rsys_destructor_init(PyObject *module);

#endif
