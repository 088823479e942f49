/*
 * naming(filename, filename2=None): a context manager that tells an OSError what it is about.
 *
 * Every typed call is made inside of one. In C, because it costs a tenth of a context manager written in
 * Python, and because a signal handler cannot raise in it and so replace the error that is on its way.
 */
#include "naming.h"

typedef struct {
	PyObject_HEAD
	PyObject *filename, *filename2;
} Naming;

static PyTypeObject *naming_type;
static PyObject *s_filename, *s_filename2;

PyObject *rsys_naming(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
	Naming *self;

	(void)module;
	if (count < 1 || count > 2) {
		PyErr_SetString(PyExc_TypeError, "naming(filename, filename2=None)");
		return NULL;
	}
	self = PyObject_GC_New(Naming, naming_type);
	if (!self)
		return NULL;
	self->filename = args[0];
	Py_INCREF(self->filename);
	self->filename2 = count == 2 && args[1] != Py_None ? args[1] : NULL;
	Py_XINCREF(self->filename2);
	PyObject_GC_Track(self);
	return (PyObject *)self;
}

/* A function of the type, and not a method, so that `with` need not bind it. */
static PyObject *naming_enter(PyObject *unused, PyObject *none)
{
	(void)unused;
	(void)none;
	Py_RETURN_NONE;
}

static PyObject *naming_exit(PyObject *op, PyObject *const *args, Py_ssize_t count)
{
	Naming *self = (Naming *)op;
	PyObject *error = count > 1 ? args[1] : Py_None;
	int is_ours = error == Py_None ? 0 : PyObject_IsInstance(error, PyExc_OSError);

	if (is_ours < 0 || (is_ours && (PyObject_SetAttr(error, s_filename, self->filename) < 0 ||
	    (self->filename2 && PyObject_SetAttr(error, s_filename2, self->filename2) < 0))))
		return NULL;
	Py_RETURN_NONE;
}

static int naming_traverse(PyObject *op, visitproc visit, void *arg)
{
	Py_VISIT(((Naming *)op)->filename);
	Py_VISIT(((Naming *)op)->filename2);
	Py_VISIT(Py_TYPE(op));
	return 0;
}

static int naming_clear(PyObject *op)
{
	Py_CLEAR(((Naming *)op)->filename);
	Py_CLEAR(((Naming *)op)->filename2);
	return 0;
}

static void naming_dealloc(PyObject *op)
{
	PyTypeObject *type = Py_TYPE(op);

	PyObject_GC_UnTrack(op);
	naming_clear(op);
	PyObject_GC_Del(op);
	Py_DECREF((PyObject *)type);
}

static PyMethodDef enter_function = { "__enter__", naming_enter, METH_NOARGS, NULL };

static PyMethodDef naming_methods[] = {
	{ "__exit__", (PyCFunction)(void (*)(void))naming_exit, METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot naming_slots[] = {
	{ Py_tp_dealloc, naming_dealloc },
	{ Py_tp_traverse, naming_traverse },
	{ Py_tp_clear, naming_clear },
	{ Py_tp_methods, naming_methods },
	{ 0, NULL },
};

static PyType_Spec naming_spec = {
	"rsyscall.native.fast.Naming", sizeof(Naming), 0,
	Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_GC, naming_slots,
};

int rsys_naming_init(PyObject *module)
{
	PyObject *enter = PyCFunction_NewEx(&enter_function, NULL, NULL);
	int err;

	s_filename = PyUnicode_InternFromString("filename");
	s_filename2 = PyUnicode_InternFromString("filename2");
	naming_type = (PyTypeObject *)PyType_FromSpec(&naming_spec);
	if (!enter || !s_filename || !s_filename2 || !naming_type)
		return -1;
	err = PyObject_SetAttrString((PyObject *)naming_type, "__enter__", enter);
	Py_DECREF(enter);
	return err < 0 ? -1 : PyModule_AddObjectRef(module, "Naming", (PyObject *)naming_type);
}
