/*
 * What a pointer is, how another one takes its place, and its end: its memory is given back.
 *
 * The fields of `Pointer` of the handle layer are here, because nearly every call borrows a pointer, and each
 * write makes one. Its methods are in Python.
 *
 * An exception that comes while a destructor runs Python code goes nowhere, see handles.c. So none runs here,
 * unless there is something to be said, or something to wait for: then `free` of the pointer is called a
 * moment later, outside of the destructor. Allocations of other people are freed by their own code.
 */
#include "pointers.h"

#include "attribute.h"
#include "freestanding.h"
#include "space.h"

#include <structmember.h>

#define NAMES(X) X(_gone) X(_record) X(been_read) X(free) X(value)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

static PyTypeObject *pointer_type;

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

int rsys_is_pointer(PyObject *op)
{
	return PyObject_TypeCheck(op, pointer_type);
}

static void set(PyObject **field, PyObject *value)
{
	PyObject *before = *field;

	Py_INCREF(value);
	*field = value;
	Py_XDECREF(before);
}

static PyObject *pointer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	Pointer *self = (Pointer *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);

	(void)args;
	(void)kwargs;
	if (!self)
		return NULL;
	self->pinned_by = PyTuple_New(0);
	set(&self->address, Py_None);
	set(&self->waiting, Py_None);
	set(&self->valid, Py_True);
	if (!self->pinned_by)
		Py_CLEAR(self);
	return (PyObject *)self;
}

/*
 * successor(pointer, cls, value): a WrittenPointer, of class `cls`, in the place of the pointer, which becomes
 * invalid; None, and nothing is done, if the pointer is invalid or pinned.
 */
PyObject *rsys_successor(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	PyTypeObject *type;
	Pointer *old, *self;

	(void)module;
	if (count != 3 || !rsys_is_pointer(args[0]) || !PyType_Check(args[1]) ||
	    !PyType_IsSubtype((PyTypeObject *)args[1], pointer_type)) {
		PyErr_SetString(PyExc_TypeError, "successor(pointer, cls, value)");
		return NULL;
	}
	old = (Pointer *)args[0];
	type = (PyTypeObject *)args[1];
	self = (Pointer *)pointer_new(type, NULL, NULL);
	if (!self)
		return NULL;
	set(&self->valid, Py_False);
	if (PyObject_SetAttr((PyObject *)self, s_value, args[2]) < 0) {
		Py_DECREF((PyObject *)self);
		return NULL;
	}
	/* Only now: to make an object may run destructors, which may use the pointer. */
	if (old->valid != Py_True || old->pins || !old->pinned_by || PyObject_Size(old->pinned_by)) {
		Py_DECREF((PyObject *)self);
		Py_RETURN_NONE;
	}
#define COPY(name) if (old->name) set(&self->name, old->name);
	COPY(mapping)
	COPY(transport)
	COPY(serializer)
	COPY(allocation)
	COPY(typ)
	COPY(address)
	set(&old->valid, Py_False);
	set(&self->valid, Py_True);
	return (PyObject *)self;
}

static void pointer_finalize(PyObject *op)
{
	Pointer *self = (Pointer *)op;
	PyObject *type, *value, *traceback, *done = NULL;

	if (!self->allocation || self->valid != Py_True)
		return;
	PyErr_Fetch(&type, &value, &traceback);
	if (is_lost(op) || (self->pinned_by && PyObject_Size(self->pinned_by) > 0)) {
		done = PyObject_GetAttr(op, s_free);
		if (done)
			rsys_call_soon(done);
	} else {
		set(&self->valid, Py_False);
		if (rsys_free_allocation(self->allocation) < 0) {
			done = PyObject_CallMethodObjArgs(self->allocation, s_free, NULL);
			if (!done)
				PyErr_WriteUnraisable(op);
		}
	}
	Py_XDECREF(done);
	PyErr_Restore(type, value, traceback);
}

#define FIELDS(X) \
	X(mapping) X(transport) X(serializer) X(allocation) X(typ) X(address) X(pinned_by) X(waiting) X(valid)

static int pointer_traverse(PyObject *op, visitproc visit, void *arg)
{
	Pointer *self = (Pointer *)op;

	Py_VISIT(Py_TYPE(op));
#define VISIT(name) Py_VISIT(self->name);
	FIELDS(VISIT)
	return 0;
}

static int pointer_clear(PyObject *op)
{
	Pointer *self = (Pointer *)op;

#define CLEAR(name) Py_CLEAR(self->name);
	FIELDS(CLEAR)
	return 0;
}

static void pointer_dealloc(PyObject *op)
{
	PyTypeObject *type = Py_TYPE(op);

	PyObject_GC_UnTrack(op);
	pointer_clear(op);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

static PyMemberDef pointer_members[] = {
	{ "mapping", T_OBJECT_EX, offsetof(Pointer, mapping), 0, NULL },
	{ "transport", T_OBJECT_EX, offsetof(Pointer, transport), 0, NULL },
	{ "serializer", T_OBJECT_EX, offsetof(Pointer, serializer), 0, NULL },
	{ "allocation", T_OBJECT_EX, offsetof(Pointer, allocation), 0, NULL },
	{ "typ", T_OBJECT_EX, offsetof(Pointer, typ), 0, NULL },
	{ "_address", T_OBJECT_EX, offsetof(Pointer, address), 0, NULL },
	{ "_pinned_by", T_OBJECT_EX, offsetof(Pointer, pinned_by), 0, NULL },
	{ "_waiting", T_OBJECT_EX, offsetof(Pointer, waiting), 0, NULL },
	{ "valid", T_OBJECT_EX, offsetof(Pointer, valid), 0, NULL },
	{ "_pins", T_PYSSIZET, offsetof(Pointer, pins), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static PyType_Slot pointer_slots[] = {
	{ Py_tp_new, pointer_new },
	{ Py_tp_finalize, pointer_finalize },
	{ Py_tp_traverse, pointer_traverse },
	{ Py_tp_clear, pointer_clear },
	{ Py_tp_dealloc, pointer_dealloc },
	{ Py_tp_members, pointer_members },
	{ 0, NULL },
};

static PyType_Spec pointer_spec = {
	"rsyscall.native.fast.DroppedPointer", sizeof(Pointer), 0,
	Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, pointer_slots,
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
	"rsyscall.native.fast.NothingToFree", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	nothing_slots,
};

int rsys_pointers_init(PyObject *module)
{
	PyObject *nothing;

#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	pointer_type = (PyTypeObject *)PyType_FromSpec(&pointer_spec);
	nothing = PyType_FromSpec(&nothing_spec);
	if (!pointer_type || !nothing || PyModule_AddObjectRef(module, "DroppedPointer", (PyObject *)pointer_type) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "NothingToFree", nothing);
}
