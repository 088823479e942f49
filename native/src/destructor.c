/*
 * destructor(function): a `__del__` written in Python that no exception cuts short, and that swallows none.
 *
 * The handler of a signal runs between two instructions of the main thread, and what it raises goes where
 * these instructions are. If they are those of a destructor, the interpreter prints the exception and goes on:
 * the destructor has done half of its work, and the program never hears of the KeyboardInterrupt.
 *
 * Here the function is called again, and so it has to be one that can be, after any of its instructions. When
 * it has come to its end, the exception is raised again a moment later, outside of the destructor. What fails
 * again and again is a fault of the function; that is printed, as for any other destructor.
 */
#include "destructor.h"

#include "freestanding.h"

#include <structmember.h>

typedef struct {
	PyObject_HEAD
	PyObject *function;
} Destructor;

/* As often as a program may be interrupted in one destructor. */
#define TRIES 4

static PyObject *method_type;	/* types.MethodType */

static int raise_again(void *arg)
{
	PyObject *error = arg;

	PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	Py_DECREF(error);
	return -1;
}

/* Consumes the exception. In other threads no handlers run; the exceptions there are those of the function. */
static void raise_soon(PyObject *error, PyObject *function)
{
	if (rsys_call0(__NR_gettid) == rsys_call0(__NR_getpid) && Py_AddPendingCall(raise_again, error) == 0)
		return;
	PyErr_SetObject((PyObject *)Py_TYPE(error), error);
	Py_DECREF(error);
	PyErr_WriteUnraisable(function);
}

/* What is raised, as an object; without its traceback, which would keep alive what is being destroyed. */
static PyObject *take_exception(void)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	PyException_SetTraceback(value, Py_None);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return value;
}

static PyObject *destructor_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
	PyObject *function = ((Destructor *)op)->function, *result, *error, *first = NULL;
	int i;

	for (i = 1; !(result = PyObject_Call(function, args, kwargs)) && i < TRIES; i++) {
		error = take_exception();
		if (!first)
			first = error;
		else
			Py_XDECREF(error);
	}
	if (result && first)
		raise_soon(first, function);
	else
		Py_XDECREF(first);
	return result;
}

static PyObject *destructor_get(PyObject *op, PyObject *instance, PyObject *type)
{
	(void)type;
	if (!instance || instance == Py_None) {
		Py_INCREF(op);
		return op;
	}
	return PyObject_CallFunctionObjArgs(method_type, op, instance, NULL);
}

static PyObject *destructor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	Destructor *self;
	PyObject *function;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "O", &function))
		return NULL;
	self = (Destructor *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (self) {
		Py_INCREF(function);
		self->function = function;
	}
	return (PyObject *)self;
}

static void destructor_dealloc(PyObject *op)
{
	PyTypeObject *type = Py_TYPE(op);

	Py_XDECREF(((Destructor *)op)->function);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF((PyObject *)type);
}

static PyMemberDef destructor_members[] = {
	{ "__wrapped__", T_OBJECT_EX, offsetof(Destructor, function), READONLY, "The function." },
	{ NULL, 0, 0, 0, NULL },
};

static PyType_Slot destructor_slots[] = {
	{ Py_tp_doc, "destructor(function)\n--\n\nA `__del__` that no exception cuts short, and that swallows none." },
	{ Py_tp_new, destructor_new },
	{ Py_tp_dealloc, destructor_dealloc },
	{ Py_tp_call, destructor_call },
	{ Py_tp_descr_get, destructor_get },
	{ Py_tp_members, destructor_members },
	{ 0, NULL },
};

static PyType_Spec destructor_spec = {
	"rsyscall.native.fast.destructor", sizeof(Destructor), 0, Py_TPFLAGS_DEFAULT, destructor_slots,
};

int rsys_destructor_init(PyObject *module)
{
	PyObject *types = PyImport_ImportModule("types"), *type;
	int err;

	method_type = types ? PyObject_GetAttrString(types, "MethodType") : NULL;
	Py_XDECREF(types);
	type = method_type ? PyType_FromSpec(&destructor_spec) : NULL;
	err = type ? PyModule_AddObjectRef(module, "destructor", type) : -1;
	Py_XDECREF(type);
	return err;
}
