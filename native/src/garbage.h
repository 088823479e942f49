/* Numbers that have no handle any more: see garbage.c. */
#ifndef RSYS_GARBAGE_H
#define RSYS_GARBAGE_H

#include "limited_api.h"

#pragma GCC visibility push(hidden)

/* Adds the functions to the module; once. */
int rsys_garbage_init(PyObject *module);

/* Have the number of an entry without handles closed, unless that has been arranged already. */
int rsys_became_garbage(PyObject *table, PyObject *entry, int quietly);

/*
 * Have a number without a handle closed, now or soon; quietly: when garbage is collected the next time. Keeps
 * the current exception.
 */
void rsys_abandon(PyObject *table, int number, int quietly);

#pragma GCC visibility pop

#endif
