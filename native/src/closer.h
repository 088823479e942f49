/* Closing the garbage of a table: closer.c, for garbage.c. */
#ifndef RSYS_CLOSER_H
#define RSYS_CLOSER_H

#include "limited_api.h"

#pragma GCC visibility push(hidden)

/* Makes the type; once. */
int rsys_closer_init(PyObject *module);

int rsys_is_closer(PyObject *hook);

/* Close the garbage of a table now, or have it closed soon; -1 with an exception. */
int rsys_closer_run(PyObject *closer, PyObject *table);

#pragma GCC visibility pop

#endif
