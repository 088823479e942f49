/*
 * The end of a pointer that was dropped: its memory is given back.
 *
 * An exception that comes while a destructor runs Python code goes nowhere, see handles.c. So none runs here,
 * unless there is something to be said, or something to wait for: then `free` of the pointer is called a
 * moment later, outside of the destructor. Allocations of other people are freed by their own code.
 */
#include "space.h"

#include "attribute.h"
#include "freestanding.h"

#define NAMES(X) X(_gone) X(_pinned_by) X(_record) X(allocation) X(been_read) X(free) X(valid)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

static int run_soon(void *arg)
{
	PyObject *callable = arg, *result = PyObject_CallNoArgs(callable);

	Py_XDECREF(result);
	Py_DECREF(callable);
	return result ? 0 : -1;
}

/* In another thread at once: signals are not handled there. */
void rsys_call_soon(PyObject *callable)
{
	if (rsys_call0(__NR_gettid) == rsys_call0(__NR_getpid)) {
		Py_INCREF(callable);
		if (Py_AddPendingCall(run_soon, callable) == 0)
			return;
		Py_DECREF(callable);
	}
	Py_INCREF(callable);
	if (run_soon(callable) < 0)
		PyErr_WriteUnraisable(callable);
}

/* Whether a value with resources was never read, and has no other owner. */
static int is_lost(PyObject *op)
{
	PyObject *record_object;
	CallRecord *record;

	if (attribute(op, s__gone) != Py_False || attribute(op, s_been_read) != Py_False)
		return 0;
	record_object = attribute(op, s__record);
	if (!record_object || rsys_as_record(record_object, &record) < 0) {
		PyErr_Clear();
		return 1;
	}
	return !record || !rsys_record_owns(record);
}

static void pointer_finalize(PyObject *op)
{
	PyObject *type, *value, *traceback, *pinned_by, *allocation, *done;

	PyErr_Fetch(&type, &value, &traceback);
	allocation = attribute(op, s_allocation);
	if (allocation && is_true(op, s_valid)) {
		pinned_by = attribute(op, s__pinned_by);
		if (is_lost(op) || (pinned_by && PyObject_Size(pinned_by) > 0)) {
			done = PyObject_GetAttr(op, s_free);
			if (done)
				rsys_call_soon(done);
		} else {
			PyObject_SetAttr(op, s_valid, Py_False);
			done = NULL;
			if (rsys_free_allocation(allocation) < 0) {
				done = PyObject_CallMethodObjArgs(allocation, s_free, NULL);
				if (!done)
					PyErr_WriteUnraisable(op);
			}
		}
		Py_XDECREF(done);
	}
	PyErr_Restore(type, value, traceback);
}

static PyType_Slot pointer_slots[] = {
	{ Py_tp_finalize, pointer_finalize },
	{ 0, NULL },
};

static PyType_Spec pointer_spec = {
	"rsyscall.native._fast.DroppedPointer", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	pointer_slots,
};

static PyObject *do_nothing(PyObject *op, PyObject *unused)
{
	(void)op;
	(void)unused;
	Py_RETURN_NONE;
}

static PyMethodDef nothing_methods[] = {
	{ "free", do_nothing, METH_NOARGS, "Do nothing." },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot nothing_slots[] = {
	{ Py_tp_methods, nothing_methods },
	{ 0, NULL },
};

static PyType_Spec nothing_spec = {
	"rsyscall.native._fast.NothingToFree", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	nothing_slots,
};

int rsys_pointers_init(PyObject *module)
{
	PyObject *pointer, *nothing;

#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	pointer = PyType_FromSpec(&pointer_spec);
	nothing = PyType_FromSpec(&nothing_spec);
	if (!pointer || !nothing || PyModule_AddObjectRef(module, "DroppedPointer", pointer) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "NothingToFree", nothing);
}
