/*
 * The entries of a table of descriptors: one for each open number, which is a set of weak references to the
 * handles. rsyscall.handle.fd has the classes.
 */
#include "entries.h"

#include "attribute.h"

/* Of rsyscall.handle.fd: a class, and what numbers its events. */
static PyObject *entry_type, *next_serial;

/* Names of attributes. */
#define NAMES(X) X(closer) X(_entries) X(_first_closed) X(number) X(origins) X(_parent) X(serial) X(_table)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

PyObject *rsys_new_entry(PyObject *table, PyObject *number, PyObject *origins)
{
	PyObject *weak_table = PyWeakref_NewRef(table, NULL), *entry = weak_table ? PyObject_CallNoArgs(entry_type) : NULL;
	PyObject *serial = entry ? PyObject_CallNoArgs(next_serial) : NULL;

	if (!serial || PyObject_SetAttr(entry, s__table, weak_table) < 0 || PyObject_SetAttr(entry, s_number, number) < 0 ||
	    PyObject_SetAttr(entry, s_serial, serial) < 0 || PyObject_SetAttr(entry, s_origins, origins) < 0 ||
	    PyObject_SetAttr(entry, s_closer, Py_None) < 0)
		Py_CLEAR(entry);
	Py_XDECREF(weak_table);
	Py_XDECREF(serial);
	return entry;
}

PyObject *rsys_table_of(PyObject *entry)
{
	PyObject *weak = attribute(entry, s__table), *table = weak && PyWeakref_Check(weak) ? PyWeakref_GetObject(weak) : NULL;

	if (table == Py_None)
		return NULL;
	Py_XINCREF(table);
	return table;
}

int rsys_forget_entry(PyObject *table, PyObject *entry)
{
	PyObject *entries = attribute(table, s__entries), *number = attribute(entry, s_number);
	PyObject *parent = attribute(table, s__parent), *closed, *serial;
	int err;

	if (!entries || !number || PyDict_DelItem(entries, number) < 0)
		return -1;
	if (!parent || parent == Py_None)
		return 0;
	closed = attribute(table, s__first_closed);
	if (!closed || PyDict_GetItemWithError(closed, number))
		return 0;
	serial = PyObject_CallNoArgs(next_serial);
	err = serial ? PyDict_SetItem(closed, number, serial) : -1;
	Py_XDECREF(serial);
	return err;
}

/* new_entry(table, number, origins): of a number that is, or is about to be, open */
static PyObject *new_entry_function(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	(void)module;
	if (n != 3) {
		PyErr_SetString(PyExc_TypeError, "new_entry(table, number, origins)");
		return NULL;
	}
	return rsys_new_entry(args[0], args[1], args[2]);
}

/* forget(entry): its number is about to be closed */
static PyObject *forget_function(PyObject *module, PyObject *entry)
{
	PyObject *table = rsys_table_of(entry);
	int err;

	(void)module;
	if (!table) {
		PyErr_SetString(PyExc_TypeError, "not an entry of a table");
		return NULL;
	}
	err = rsys_forget_entry(table, entry);
	Py_DECREF(table);
	if (err < 0)
		return NULL;
	Py_RETURN_NONE;
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef functions[] = {
	{ "new_entry", FASTCALL(new_entry_function), NULL },
	{ "forget", forget_function, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

void rsys_entries_use(PyObject *type, PyObject *serial)
{
	entry_type = type;
	next_serial = serial;
	Py_INCREF(entry_type);
	Py_INCREF(next_serial);
}

int rsys_entries_init(PyObject *module)
{
#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	return PyModule_AddFunctions(module, functions);
}
