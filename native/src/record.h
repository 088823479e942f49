/* Records of calls, and what owns the descriptors of handles: see record.c and handles.c. */
#ifndef RSYS_RECORD_H
#define RSYS_RECORD_H

#include "limited_api.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct CallRecord CallRecord;

/* Makes the type; once. */
PyTypeObject *rsys_record_init(void);

/* The record that an argument is; NULL for None; -1 with an exception if it is something else. */
int rsys_as_record(PyObject *obj, CallRecord **ret);

/*
 * What happens to a call, for those who make it: it is about to be made (in_memory: in a process that shares
 * our memory); it was not made after all; the kernel has answered. They cannot fail, and run no Python code.
 */
void rsys_record_sent(CallRecord *record, const int64_t v[7], int in_memory);
void rsys_record_unsent(CallRecord *record);
void rsys_record_answered(CallRecord *record, int64_t result);

/* What was made has another owner now. */
void rsys_record_release(CallRecord *record);

int rsys_record_owns(CallRecord *record);

/* A handle owns this number of the table now, so that no record does. */
void rsys_records_disown(PyObject *table, int number);

/* Likewise for one record. */
void rsys_record_disown(CallRecord *record, int number);

/* This record owns a number of its table from now on. */
void rsys_record_own(CallRecord *record, int number);

/* ---- handles.c ------------------------------------------------------------------------ */

/* Makes the types; once. */
int rsys_handles_init(PyObject *module);

#pragma GCC visibility pop

#endif
