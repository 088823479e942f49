/*
 * Numbers that have no handle any more, and have to be closed: at once in our own table (closer.c); of another one
 * by a hook of Python, see handles.c.
 */
#include "garbage.h"

#include "attribute.h"
#include "closer.h"
#include "entries.h"

/* Names of attributes. */
#define NAMES(X) X(append) X(_entries) X(_garbage) X(garbage_hook) X(keep_open) X(number)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

int rsys_became_garbage(PyObject *table, PyObject *entry, int quietly)
{
	PyObject *entries = attribute(table, s__entries), *number = attribute(entry, s_number);
	PyObject *keep, *hook, *result;

	if (!entries || !number || PyDict_GetItemWithError(entries, number) != entry)
		return 0;
	keep = attribute(table, s_keep_open);
	if (keep && PySequence_Contains(keep, number) > 0)
		return PyDict_DelItem(entries, number);
	result = PyObject_CallMethodObjArgs(attribute(table, s__garbage), s_append, entry, NULL);
	if (!result)
		return -1;
	Py_DECREF(result);
	hook = attribute(table, s_garbage_hook);
	if (!hook || hook == Py_None || quietly)
		return 0;
	if (rsys_is_closer(hook))
		return rsys_closer_run(hook, table);
	Py_INCREF(hook);
	result = PyObject_CallNoArgs(hook);
	Py_DECREF(hook);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

static int abandon(PyObject *table, PyObject *number, int quietly)
{
	PyObject *entries = attribute(table, s__entries), *none = PyTuple_New(0), *entry = NULL;
	int err = -1;

	if (!entries || !none)
		goto out;
	entry = rsys_new_entry(table, number, none);
	if (!entry)
		goto out;
	err = 0;
	/* Not if it has been opened again meanwhile. */
	if (!PyDict_GetItemWithError(entries, number)) {
		err = PyDict_SetItem(entries, number, entry);
		if (!err)
			err = rsys_became_garbage(table, entry, quietly);
	}
out:
	Py_XDECREF(entry);
	Py_XDECREF(none);
	return err;
}

void rsys_abandon(PyObject *table, int number, int quietly)
{
	PyObject *type, *value, *traceback, *num;

	PyErr_Fetch(&type, &value, &traceback);
	num = PyLong_FromLong(number);
	if (!num || abandon(table, num, quietly) < 0)
		PyErr_WriteUnraisable(table);
	Py_XDECREF(num);
	PyErr_Restore(type, value, traceback);
}

/* became_garbage(table, entry): have its number closed, unless that has been arranged already */
static PyObject *became_garbage_function(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "became_garbage(table, entry)");
		return NULL;
	}
	if (rsys_became_garbage(args[0], args[1], 0) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* abandon(table, number): it is open and has no handle. Not if it has been opened again meanwhile. */
static PyObject *abandon_function(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "abandon(table, number)");
		return NULL;
	}
	if (abandon(args[0], args[1], 0) < 0)
		return NULL;
	Py_RETURN_NONE;
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef functions[] = {
	{ "became_garbage", FASTCALL(became_garbage_function), NULL },
	{ "abandon", FASTCALL(abandon_function), NULL },
	{ NULL, NULL, 0, NULL },
};

int rsys_garbage_init(PyObject *module)
{
#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	return PyModule_AddFunctions(module, functions);
}
