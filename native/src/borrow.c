/*
 * borrow_pointer(pointer, task): what `Pointer.borrow` of the handle layer returns.
 *
 * It pins the memory of the pointer for the time of a system call. In C, because nearly every call makes one,
 * and because a signal handler that raises must not leave the memory pinned for ever. None runs in here, but
 * one may run after `__enter__` and before the `with` statement knows of it: since Python 3.14, or where
 * `__enter__` is called by name. Then `__exit__` is never called, but the object is dropped, and gives back its
 * pins.
 */
#include "borrow.h"

#include "pointers.h"
#include "space.h"

typedef struct {
	PyObject_HEAD
	PyObject *pointer, *task;	/* without a task, None: the address is not needed */
	long entered;
} Borrow;

#define NAMES(X) \
	X(_free_waiting) X(address_space) X(borrowed) X(check_address_space) X(mapping) X(near) X(task)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

static PyTypeObject *borrow_type;

PyObject *rsys_borrow_pointer(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	Borrow *self;

	(void)module;
	if (count != 2 || !rsys_is_pointer(args[0])) {
		PyErr_SetString(PyExc_TypeError, "borrow_pointer(pointer, task)");
		return NULL;
	}
	self = PyObject_GC_New(Borrow, borrow_type);
	if (!self)
		return NULL;
	self->entered = 0;
	self->pointer = args[0];
	self->task = args[1];
	Py_INCREF(self->pointer);
	Py_INCREF(self->task);
	PyObject_GC_Track(self);
	return (PyObject *)self;
}

/* Adds to the number of borrows of a pointer; returns what it is then, or -1. */
static Py_ssize_t add_pins(PyObject *pointer, long more)
{
	Pointer *self = (Pointer *)pointer;

	if (self->pins + more < 0) {
		PyErr_SetString(PyExc_RuntimeError, "the number of borrows is wrong");
		return -1;
	}
	return self->pins += more;
}

/* What `near` of the pointer is. Each time, since it raises if the pointer or its memory is gone. */
static PyObject *address_of(PyObject *op)
{
	Pointer *self = (Pointer *)op;

	if (self->valid != Py_True || !self->address || self->address == Py_None ||
	    !rsys_is_live_allocation(self->allocation))
		return PyObject_GetAttr(op, s_near);
	Py_INCREF(self->address);
	return self->address;
}

/* Whether the pointer is into the address space of the task; if not, what says why raises. */
static int check_address_space(PyObject *pointer, PyObject *task)
{
	PyObject *mapping = ((Pointer *)pointer)->mapping;
	PyObject *owner = mapping ? PyObject_GetAttr(mapping, s_task) : PyObject_GetAttr(pointer, s_mapping);
	PyObject *theirs = owner ? PyObject_GetAttr(owner, s_address_space) : NULL;
	PyObject *ours = theirs ? PyObject_GetAttr(task, s_address_space) : NULL, *none = NULL;
	int err = ours ? 0 : -1;

	if (ours && ours != theirs) {
		none = PyObject_CallMethodObjArgs(pointer, s_check_address_space, task, NULL);
		err = none ? 0 : -1;
	}
	Py_XDECREF(none);
	Py_XDECREF(ours);
	Py_XDECREF(theirs);
	Py_XDECREF(owner);
	return err;
}

/*
 * A task that only notes its calls makes them later. It has a list of what they borrow, and each borrow is
 * entered once more, until that list goes; for other tasks it is None. Returns how often to enter, or -1.
 */
static int times_to_enter(PyObject *op, PyObject *task)
{
	PyObject *borrowed = PyObject_GetAttr(task, s_borrowed);
	int times = !borrowed ? -1 : borrowed == Py_None ? 1 : PyList_Append(borrowed, op) < 0 ? -1 : 2;

	Py_XDECREF(borrowed);
	return times;
}

static PyObject *borrow_enter(PyObject *op, PyObject *unused)
{
	Borrow *self = (Borrow *)op;
	PyObject *address;
	int times = 1;

	(void)unused;
	if (self->task == Py_None) {
		address = Py_None;
		Py_INCREF(address);
	} else {
		address = address_of(self->pointer);
		if (address && check_address_space(self->pointer, self->task) < 0)
			Py_CLEAR(address);
		if (address && (times = times_to_enter(op, self->task)) < 0)
			Py_CLEAR(address);
	}
	if (address && add_pins(self->pointer, times) < 0)
		Py_CLEAR(address);
	if (address)
		self->entered += times;
	if (address && times > 1) {
		/* The task has this object now: no circle. */
		PyObject *task = self->task;

		Py_INCREF(Py_None);
		self->task = Py_None;
		Py_DECREF(task);
	}
	return address;
}

/* Takes back pins; returns whether there is memory that has waited for the last of them to be freed, or -1. */
static int give_back(Borrow *self, long count)
{
	PyObject *waiting = ((Pointer *)self->pointer)->waiting;
	Py_ssize_t pins = add_pins(self->pointer, -count);

	if (pins < 0)
		return -1;
	self->entered -= count;
	return waiting && waiting != Py_None && !pins;
}

static PyObject *borrow_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
	Borrow *self = (Borrow *)op;
	PyObject *none;
	int due;

	(void)args;
	(void)count;
	if (!self->entered) {
		PyErr_SetString(PyExc_RuntimeError, "this borrow was not entered, or has been left");
		return NULL;
	}
	due = give_back(self, 1);
	if (due < 0)
		return NULL;
	if (!due)
		Py_RETURN_NONE;
	none = PyObject_CallMethodObjArgs(self->pointer, s__free_waiting, NULL);
	if (!none)
		return NULL;
	Py_DECREF(none);
	Py_RETURN_NONE;
}

static int borrow_traverse(PyObject *op, visitproc visit, void *arg)
{
	Py_VISIT(((Borrow *)op)->pointer);
	Py_VISIT(((Borrow *)op)->task);
	Py_VISIT(Py_TYPE(op));
	return 0;
}

/* __exit__ has not been called, and cannot be any more. */
static void give_up(Borrow *self)
{
	PyObject *kind, *error, *traceback, *free_waiting = NULL;
	int due;

	PyErr_Fetch(&kind, &error, &traceback);
	due = give_back(self, self->entered);
	if (due > 0)
		free_waiting = PyObject_GetAttr(self->pointer, s__free_waiting);
	if (free_waiting)
		rsys_call_soon(free_waiting);
	Py_XDECREF(free_waiting);
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(NULL);
	PyErr_Restore(kind, error, traceback);
}

/* No tp_clear: both are always there, and a cycle through them can be broken elsewhere. */
static void borrow_dealloc(PyObject *op)
{
	PyTypeObject *type = Py_TYPE(op);

	PyObject_GC_UnTrack(op);
	if (((Borrow *)op)->entered)
		give_up((Borrow *)op);
	Py_DECREF(((Borrow *)op)->pointer);
	Py_DECREF(((Borrow *)op)->task);
	PyObject_GC_Del(op);
	Py_DECREF((PyObject *)type);
}

static PyMethodDef borrow_methods[] = {
	{ "__enter__", borrow_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))borrow_exit, METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot borrow_slots[] = {
	{ Py_tp_dealloc, borrow_dealloc },
	{ Py_tp_traverse, borrow_traverse },
	{ Py_tp_methods, borrow_methods },
	{ 0, NULL },
};

static PyType_Spec borrow_spec = {
	"rsyscall.native.fast.Borrow", sizeof(Borrow), 0,
	Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_GC, borrow_slots,
};

int rsys_borrow_init(PyObject *module)
{
#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	borrow_type = (PyTypeObject *)PyType_FromSpec(&borrow_spec);
	return borrow_type ? PyModule_AddObjectRef(module, "Borrow", (PyObject *)borrow_type) : -1;
}
