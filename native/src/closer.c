/*
 * The garbage hook of a table. If the task is in the table, and this is the OS thread that it makes calls in,
 * garbage is closed at once. Otherwise `later` is called, soon and outside of any destructor.
 */
#include "closer.h"

#include "attribute.h"
#include "entries.h"
#include "freestanding.h"

static PyTypeObject *closer_type;

/* Names of attributes. */
#define NAMES(X) X(_entries) X(_failed_closes) X(_garbage) X(_ident) X(append) X(fd_table) X(log_calls) \
	X(manipulating_fd_table) X(number) X(popleft) X(sysif)
#define DECLARE(name) static PyObject *s_##name;
NAMES(DECLARE)

typedef struct {
	PyObject_HEAD
	PyObject *task;		/* a weak reference, or None */
	PyObject *local_type;
	PyObject *later;
	int scheduled, failures;
} Closer;

/* Whether garbage of this table can be closed by a plain system call. */
static int may_close(Closer *self, PyObject *table)
{
	PyObject *task = self->task == Py_None ? Py_None : PyWeakref_GetObject(self->task), *sysif, *ident;

	if (!task || task == Py_None || attribute(task, s_fd_table) != table ||
	    is_true(task, s_manipulating_fd_table))
		return 0;
	/* Of LocalSyscall: who it belongs to, in whichever process this is. */
	sysif = attribute(task, s_sysif);
	ident = sysif ? attribute(sysif, s__ident) : NULL;
	if (!ident || (PyObject *)Py_TYPE(sysif) != self->local_type || !PyLong_Check(ident) || is_true(sysif, s_log_calls))
		return 0;
	return PyLong_AsUnsignedLongMask(ident) == PyThread_get_thread_ident();
}

static int close_number(PyObject *table, PyObject *number)
{
	PyThreadState *state;
	PyObject *failed, *result;
	long err, fd = PyLong_AsLong(number);

	state = PyEval_SaveThread();
	err = rsys_call1(__NR_close, fd);
	PyEval_RestoreThread(state);
	if (!err)
		return 0;
	failed = Py_BuildValue("(Ol)", number, -err);
	result = failed ? PyObject_CallMethodObjArgs(attribute(table, s__failed_closes), s_append, failed, NULL) : NULL;
	Py_XDECREF(failed);
	Py_XDECREF(result);
	return 1;
}

/* Close what is garbage; returns how many closes failed. */
static int drain(PyObject *table)
{
	PyObject *garbage = attribute(table, s__garbage), *entry, *number;
	int failed = 0;

	while (PyObject_Size(garbage) > 0 && (entry = PyObject_CallMethodObjArgs(garbage, s_popleft, NULL))) {
		number = PyObject_GetAttr(entry, s_number);
		/* It may be listed twice, or have got a handle again. */
		if (number && !PySet_Size(entry) &&
		    PyDict_GetItemWithError(attribute(table, s__entries), number) == entry &&
		    rsys_forget_entry(table, entry) == 0)
			failed += close_number(table, number);
		Py_XDECREF(number);
		Py_DECREF(entry);
	}
	PyErr_Clear();
	return failed;
}

static int schedule(Closer *self);

static int run_later(void *arg)
{
	Closer *self = arg;
	PyObject *result;

	self->scheduled = 0;
	result = PyObject_CallNoArgs(self->later);
	if (result) {
		self->failures = 0;
		Py_DECREF(result);
	} else if (++self->failures < 8) {
		/* A signal handler has raised, most likely; what it interrupted must be done all the same. */
		PyObject *type, *value, *traceback;

		PyErr_Fetch(&type, &value, &traceback);
		schedule(self);
		PyErr_Restore(type, value, traceback);
	}
	Py_DECREF((PyObject *)self);
	return result ? 0 : -1;
}

/* Call `later` between two instructions of the main thread, or, in another one, at once: signals are not handled there. */
static int schedule(Closer *self)
{
	PyObject *result;

	if (rsys_call0(__NR_gettid) != rsys_call0(__NR_getpid)) {
		result = PyObject_CallNoArgs(self->later);
		Py_XDECREF(result);
		return result ? 0 : -1;
	}
	if (self->scheduled)
		return 0;
	Py_INCREF((PyObject *)self);
	self->scheduled = 1;
	if (Py_AddPendingCall(run_later, self) < 0) {
		/* Too many; the next one takes this along. */
		self->scheduled = 0;
		Py_DECREF((PyObject *)self);
	}
	return 0;
}

int rsys_closer_run(PyObject *op, PyObject *table)
{
	Closer *self = (Closer *)op;
	int err = 0;

	Py_INCREF(op);
	if (!may_close(self, table) || drain(table))
		err = schedule(self);
	Py_DECREF(op);
	return err;
}

/* Closer(task or None, local_type, later) */
static PyObject *closer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *task, *local_type, *later;
	Closer *self;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "OOO:Closer", &task, &local_type, &later))
		return NULL;
	self = (Closer *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self)
		return NULL;
	Py_INCREF(local_type);
	self->local_type = local_type;
	Py_INCREF(later);
	self->later = later;
	if (task == Py_None)
		Py_INCREF(task);
	else
		task = PyWeakref_NewRef(task, NULL);
	self->task = task;
	if (!task) {
		Py_DECREF((PyObject *)self);
		return NULL;
	}
	return (PyObject *)self;
}

static void closer_dealloc(PyObject *op)
{
	Closer *self = (Closer *)op;
	PyTypeObject *type = Py_TYPE(op);

	Py_XDECREF(self->task);
	Py_XDECREF(self->local_type);
	Py_XDECREF(self->later);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

/* closer(): there is garbage in the table of the task */
static PyObject *closer_call(PyObject *op, PyObject *args, PyObject *kwargs)
{
	Closer *self = (Closer *)op;
	PyObject *task = self->task == Py_None ? Py_None : PyWeakref_GetObject(self->task), *table;
	int err;

	(void)args;
	(void)kwargs;
	table = task && task != Py_None ? attribute(task, s_fd_table) : NULL;
	err = table ? rsys_closer_run(op, table) : schedule(self);
	if (err < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyType_Slot closer_slots[] = {
	{ Py_tp_new, closer_new },
	{ Py_tp_dealloc, closer_dealloc },
	{ Py_tp_call, closer_call },
	{ 0, NULL },
};

static PyType_Spec closer_spec = {
	"rsyscall.native.fast.Closer", sizeof(Closer), 0, Py_TPFLAGS_DEFAULT, closer_slots,
};

int rsys_is_closer(PyObject *hook)
{
	return Py_TYPE(hook) == closer_type;
}

int rsys_closer_init(PyObject *module)
{
#define INTERN(name) if (!(s_##name = PyUnicode_InternFromString(#name))) return -1;
	NAMES(INTERN)
	closer_type = (PyTypeObject *)PyType_FromSpec(&closer_spec);
	return closer_type ? PyModule_AddObjectRef(module, "Closer", (PyObject *)closer_type) : -1;
}
