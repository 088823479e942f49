/*
 * How a handle begins and ends to own a descriptor, without a moment in between.
 *
 * Python keeps the books (rsyscall.handle.fd): a table has an entry for each open number, an entry is a set
 * of weak references to the handles (entries.c). What is here are the steps that an exception must not divide, see
 * record.c: `track` takes a number over from a record, `untrack` gives it to one.
 *
 * The end of a handle that was dropped is here too. An exception in a destructor goes nowhere: the
 * interpreter prints it and goes on. A KeyboardInterrupt that comes while a destructor runs Python code is
 * lost. So no Python code runs in this one. A number of our own table is closed at once (closer.c). One of another
 * table takes an await: the callback that arranges it is called a moment later, outside of the destructor, where
 * an exception of a signal handler is raised as anywhere else.
 */
#include "attribute.h"
#include "closer.h"
#include "entries.h"
#include "garbage.h"
#include "record.h"

/* A class of rsyscall.handle.fd. */
static PyObject *ref_type;
static PyObject *dropped_callback;

/* Names of attributes. */
#define NAMES(X) X(append) X(closer) X(_copied_at) X(_entries) X(entry) X(fd_table) X(_first_closed) X(_garbage) \
	X(_handle_class) X(manipulating_fd_table) X(near) X(number) X(_parent) X(popleft) X(_ref) X(serial) \
	X(task) X(valid)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

/* The callback of the weak reference to a handle. Runs anywhere, in any thread, also at interpreter exit. */
static PyObject *handle_dropped(PyObject *module, PyObject *ref)
{
	PyObject *entry = attribute(ref, s_entry), *table, *result;
	int err = 0;

	(void)module;
	if (!entry)
		Py_RETURN_NONE;	/* it was never listed */
	Py_INCREF(entry);
	table = rsys_table_of(entry);
	PySet_Discard(entry, ref);
	if (table && !PySet_Size(entry)) {
		PyObject *task = attribute(ref, s_task);

		if (task)
			PyObject_SetAttr(entry, s_closer, task);
		err = rsys_became_garbage(table, entry, 0);
	}
	Py_XDECREF(table);
	Py_DECREF(entry);
	if (err < 0)
		return NULL;
	result = Py_None;
	Py_INCREF(result);
	return result;
}

static int do_track(PyObject *table, PyObject *handle, CallRecord *record)
{
	PyObject *near, *number = NULL, *task, *entries, *entry = NULL, *fresh = NULL;
	PyObject *ref = NULL, *weak_task = NULL, *none = NULL;
	long value;
	int err = -1;

	near = PyObject_GetAttr(handle, s_near);
	number = near ? PyObject_GetAttr(near, s_number) : NULL;
	Py_XDECREF(near);
	entries = attribute(table, s__entries);
	if (!number || !entries)
		goto out;
	value = PyLong_AsLong(number);
	if (value == -1 && PyErr_Occurred())
		goto out;
	/* First all objects are made: that may run destructors, which close what has no handle. */
	task = attribute(handle, s_task);
	ref = task ? PyObject_CallFunctionObjArgs(ref_type, handle, dropped_callback, NULL) : NULL;
	weak_task = ref ? PyWeakref_NewRef(task, NULL) : NULL;
	if (!weak_task || PyObject_SetAttr(ref, s_task, weak_task) < 0)
		goto out;
	entry = PyDict_GetItemWithError(entries, number);
	if (!entry) {
		none = PyTuple_New(0);
		fresh = none ? rsys_new_entry(table, number, none) : NULL;
		if (!fresh)
			goto out;
		entry = PyDict_GetItemWithError(entries, number);
		if (!entry) {
			entry = fresh;
			if (PyDict_SetItem(entries, number, entry) < 0)
				goto out;
		}
	}
	if (PyObject_SetAttr(ref, s_entry, entry) < 0 || PySet_Add(entry, ref) < 0 ||
	    PyObject_SetAttr(handle, s__ref, ref) < 0)
		goto out;
	if (record)
		rsys_record_disown(record, (int)value);
	rsys_records_disown(table, (int)value);
	err = 0;
out:
	if (err && !PyErr_Occurred())
		PyErr_SetString(PyExc_AttributeError, "not a handle, or not a table");
	Py_XDECREF(none);
	Py_XDECREF(fresh);
	Py_XDECREF(weak_task);
	Py_XDECREF(ref);
	Py_XDECREF(number);
	return err;
}

/* track(table, handle, record): list a handle; from now on it owns its number, and the record does not. */
static PyObject *track(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	CallRecord *record;

	(void)module;
	if (n != 3) {
		PyErr_SetString(PyExc_TypeError, "track(table, handle, record)");
		return NULL;
	}
	if (rsys_as_record(args[2], &record) < 0 || do_track(args[0], args[1], record) < 0)
		return NULL;
	Py_RETURN_NONE;
}

/* track_all(table, handles): several, in one step */
static PyObject *track_all(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	Py_ssize_t i, count;

	(void)module;
	count = n == 2 ? PyList_Size(args[1]) : -1;
	if (count < 0) {
		PyErr_SetString(PyExc_TypeError, "track_all(table, list of handles)");
		return NULL;
	}
	for (i = 0; i < count; i++)
		if (do_track(args[0], PyList_GetItem(args[1], i), NULL) < 0)
			return NULL;
	Py_RETURN_NONE;
}

/* Whether a valid handle is of the table that this one is a copy of, and its number is open in the copy. */
static int was_copied(PyObject *table, PyObject *parent, PyObject *fd, PyObject *number)
{
	PyObject *ref = attribute(fd, s__ref), *entry = ref && ref != Py_None ? attribute(ref, s_entry) : NULL;
	PyObject *owner = entry ? rsys_table_of(entry) : NULL, *closed = attribute(table, s__first_closed);
	PyObject *serial = entry ? attribute(entry, s_serial) : NULL, *copied_at = attribute(table, s__copied_at);

	Py_XDECREF(owner);	/* the parent keeps itself, and what is not the parent is not looked at */
	return owner && owner == parent && serial && copied_at && closed && PyDict_Check(closed) &&
	       PyObject_RichCompareBool(serial, copied_at, Py_LT) == 1 && !PyDict_GetItemWithError(closed, number);
}

/*
 * inherit(task, fd) -> a handle in the task for what `fd` is in its own: if both are in one table, or that of
 * the task was copied from the other one. None where there is more to be looked at. See
 * FileDescriptorTask.inherit_fd; a clone makes several.
 */
static PyObject *inherit(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	PyObject *task, *fd, *class, *table, *theirs, *near, *number, *handle, *none;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "inherit(task, fd)");
		return NULL;
	}
	task = args[0];
	fd = args[1];
	class = attribute(task, s__handle_class);
	table = attribute(task, s_fd_table);
	theirs = attribute(fd, s_task);
	theirs = theirs ? attribute(theirs, s_fd_table) : NULL;
	near = attribute(fd, s_near);
	number = near ? attribute(near, s_number) : NULL;
	if (!class || !PyType_Check(class) || !table || !theirs || !number || !is_true(fd, s_valid) ||
	    is_true(task, s_manipulating_fd_table) ||
	    (table != theirs && (attribute(table, s__parent) != theirs || !was_copied(table, theirs, fd, number)))) {
		PyErr_Clear();
		Py_RETURN_NONE;
	}
	none = PyTuple_New(0);
	handle = none ? ((newfunc)PyType_GetSlot((PyTypeObject *)class, Py_tp_new))((PyTypeObject *)class, none, NULL) : NULL;
	Py_XDECREF(none);
	if (!handle)
		return NULL;
	if (PyObject_SetAttr(handle, s_task, task) < 0 || PyObject_SetAttr(handle, s_near, near) < 0 ||
	    PyObject_SetAttr(handle, s_valid, Py_True) < 0 || PyObject_SetAttr(handle, s__ref, Py_None) < 0 ||
	    do_track(table, handle, NULL) < 0)
		Py_CLEAR(handle);
	return handle;
}

/*
 * leave(table, refs, quietly): take references out of a table that their handles have left; numbers without
 * any become garbage. quietly: no process is in the table any more that could close it.
 */
static PyObject *leave(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	Py_ssize_t i, count = n == 3 ? PyList_Size(args[1]) : -1;

	(void)module;
	if (count < 0) {
		PyErr_SetString(PyExc_TypeError, "leave(table, list of references, bool)");
		return NULL;
	}
	for (i = 0; i < count; i++) {
		PyObject *entry = PyObject_GetAttr(PyList_GetItem(args[1], i), s_entry);
		int err = entry ? PySet_Discard(entry, PyList_GetItem(args[1], i)) : -1;

		if (err >= 0 && !PySet_Size(entry))
			err = rsys_became_garbage(args[0], entry, args[2] == Py_True);
		Py_XDECREF(entry);
		if (err < 0)
			return NULL;
	}
	Py_RETURN_NONE;
}

/*
 * untrack(handle, record) -> whether it was the last handle of its number: make it invalid. If it was, the
 * number is no longer known to the table, and the record owns it; without one, the caller does.
 */
static PyObject *untrack(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	PyObject *handle, *ref, *entry, *table;
	CallRecord *record;
	int last;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "untrack(handle, record)");
		return NULL;
	}
	handle = args[0];
	if (rsys_as_record(args[1], &record) < 0)
		return NULL;
	ref = PyObject_GetAttr(handle, s__ref);
	entry = ref && ref != Py_None ? attribute(ref, s_entry) : NULL;
	table = entry ? rsys_table_of(entry) : NULL;
	if (!table) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "no table tracks this handle");
		Py_XDECREF(ref);
		return NULL;
	}
	Py_INCREF(entry);
	PyObject_SetAttr(handle, s_valid, Py_False);
	PyObject_SetAttr(handle, s__ref, Py_None);
	PySet_Discard(entry, ref);
	last = !PySet_Size(entry);
	if (last) {
		if (record)
			rsys_record_own(record, (int)PyLong_AsLong(attribute(entry, s_number)));
		if (rsys_forget_entry(table, entry) < 0)
			last = -1;
	}
	Py_DECREF(table);
	Py_DECREF(entry);
	Py_DECREF(ref);
	return last < 0 ? NULL : PyBool_FromLong(last);
}

/* Whether the last handle of this entry was of the task. */
static int is_of(PyObject *entry, PyObject *task)
{
	PyObject *closer = attribute(entry, s_closer);

	return closer && closer != Py_None && PyWeakref_GetObject(closer) == task;
}

/*
 * take_garbage(table, record, closer) -> number or None: the record owns it now, and the table knows it no
 * longer. closer: only what the last handle of was of this task; None: of any.
 */
static PyObject *take_garbage(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	PyObject *table, *garbage, *entry, *number = NULL, *done;
	CallRecord *record;
	Py_ssize_t left;

	(void)module;
	if (n != 3) {
		PyErr_SetString(PyExc_TypeError, "take_garbage(table, record, closer)");
		return NULL;
	}
	table = args[0];
	if (rsys_as_record(args[1], &record) < 0)
		return NULL;
	garbage = attribute(table, s__garbage);
	for (left = garbage ? PyObject_Size(garbage) : 0; left > 0 && !number; left--) {
		entry = PyObject_CallMethodObjArgs(garbage, s_popleft, NULL);
		if (!entry) {
			PyErr_Clear();	/* another thread was faster */
			break;
		}
		number = PyObject_GetAttr(entry, s_number);
		/* It may be listed twice, or have got a handle again. */
		if (!number || PySet_Size(entry) ||
		    PyDict_GetItemWithError(attribute(table, s__entries), number) != entry) {
			Py_CLEAR(number);
		} else if (args[2] != Py_None && !is_of(entry, args[2])) {
			Py_CLEAR(number);
			done = PyObject_CallMethodObjArgs(garbage, s_append, entry, NULL);
			Py_XDECREF(done);
		} else if (rsys_forget_entry(table, entry) < 0) {
			Py_CLEAR(number);
		} else if (record) {
			rsys_record_own(record, (int)PyLong_AsLong(number));
		}
		Py_DECREF(entry);
	}
	if (number)
		return number;
	if (PyErr_Occurred())
		return NULL;
	Py_RETURN_NONE;
}

/* set_handle_types(entry_type, ref_type, next_serial): of rsyscall.handle.fd */
static PyObject *set_handle_types(PyObject *module, PyObject *args)
{
	PyObject *entry_type, *next_serial;

	(void)module;
	if (!PyArg_ParseTuple(args, "OOO", &entry_type, &ref_type, &next_serial))
		return NULL;
	Py_INCREF(ref_type);
	rsys_entries_use(entry_type, next_serial);
	Py_RETURN_NONE;
}

#define FASTCALL(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL

static PyMethodDef functions[] = {
	{ "track", FASTCALL(track), NULL },
	{ "track_all", FASTCALL(track_all), NULL },
	{ "inherit", FASTCALL(inherit), NULL },
	{ "leave", FASTCALL(leave), NULL },
	{ "untrack", FASTCALL(untrack), NULL },
	{ "take_garbage", FASTCALL(take_garbage), NULL },
	{ "set_handle_types", set_handle_types, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyMethodDef dropped_def = { "handle_dropped", handle_dropped, METH_O, NULL };

int rsys_handles_init(PyObject *module)
{
#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	dropped_callback = PyCFunction_New(&dropped_def, NULL);
	if (!dropped_callback || rsys_entries_init(module) < 0 || rsys_closer_init(module) < 0 ||
	    rsys_garbage_init(module) < 0)
		return -1;
	return PyModule_AddFunctions(module, functions);
}
