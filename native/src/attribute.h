/* Looking at attributes of objects that we know, where a missing one is no error. */
#ifndef RSYS_ATTRIBUTE_H
#define RSYS_ATTRIBUTE_H

#include "limited_api.h"

/* A borrowed reference: the object keeps the value. NULL, without an exception, if there is no such attribute. */
static inline PyObject *attribute(PyObject *op, PyObject *name)
{
	PyObject *value = PyObject_GetAttr(op, name);

	if (!value)
		PyErr_Clear();
	else
		Py_DECREF(value);
	return value;
}

static inline int is_true(PyObject *op, PyObject *name)
{
	return attribute(op, name) == Py_True;
}

#endif
