/* The entries of a table of descriptors: see entries.c. */
#ifndef RSYS_ENTRIES_H
#define RSYS_ENTRIES_H

#include "limited_api.h"

#pragma GCC visibility push(hidden)

/* Adds the functions to the module; once. */
int rsys_entries_init(PyObject *module);

/* The class of entries, and what gives each event the next number. */
void rsys_entries_use(PyObject *type, PyObject *serial);

/* An entry that is in no table yet. May collect garbage, so that tables change. */
PyObject *rsys_new_entry(PyObject *table, PyObject *number, PyObject *origins);

/* The table of an entry, as a new reference; NULL without an exception if it is gone. */
PyObject *rsys_table_of(PyObject *entry);

/* Take the entry of a number that is about to be closed out of its table. */
int rsys_forget_entry(PyObject *table, PyObject *entry);

#pragma GCC visibility pop

#endif
