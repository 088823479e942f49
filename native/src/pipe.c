/*
 * The type OwnedPipe: a pipe between us and a command that our own process starts.
 *
 * It owns both descriptors from the moment when the kernel has made them, so that no exception of a signal handler
 * comes in between, and at a tenth of the price of two handles.
 */
#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALL 4096
#define PIECE (1 << 16)

typedef struct {
	PyObject_HEAD
	int ours, theirs;	/* -1: closed */
} OwnedPipe;

static void let_go(int *number)
{
	int fd = *number;

	*number = -1;
	if (fd >= 0)
		close(fd);
}

static PyObject *pipe_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	OwnedPipe *self;
	int we_read, ends[2];

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "p", &we_read))
		return NULL;
	self = (OwnedPipe *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self)
		return NULL;
	self->ours = self->theirs = -1;
	if (pipe2(ends, O_CLOEXEC) < 0)
		goto failed;
	self->ours = ends[!we_read];
	self->theirs = ends[we_read];
	/* The open file is that of our end alone. */
	if (fcntl(self->ours, F_SETFL, O_NONBLOCK) < 0)
		goto failed;
	return (PyObject *)self;
failed:
	PyErr_SetFromErrno(PyExc_OSError);
	Py_DECREF(self);
	return NULL;
}

static void pipe_dealloc(PyObject *op)
{
	OwnedPipe *self = (OwnedPipe *)op;
	PyTypeObject *type = Py_TYPE(op);
	int saved = errno;

	let_go(&self->ours);
	let_go(&self->theirs);
	errno = saved;
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

/* close_ours(): harmless when done twice */
static PyObject *pipe_close_ours(PyObject *op, PyObject *unused)
{
	(void)unused;
	let_go(&((OwnedPipe *)op)->ours);
	Py_RETURN_NONE;
}

/* close_theirs(): harmless when done twice */
static PyObject *pipe_close_theirs(PyObject *op, PyObject *unused)
{
	(void)unused;
	let_go(&((OwnedPipe *)op)->theirs);
	Py_RETURN_NONE;
}

/* Read what is there, up to size; at the end, close our end. -1 with an exception if there was nothing but an error. */
static ssize_t read_now(OwnedPipe *self, char *buffer, size_t size)
{
	size_t done = 0;
	ssize_t n;

	while (done < size && self->ours >= 0) {
		n = read(self->ours, buffer + done, size - done);
		if (n == 0) {
			let_go(&self->ours);
		} else if (n > 0) {
			done += n;
		} else if (errno != EINTR) {
			if (errno == EAGAIN || done)
				break;
			PyErr_SetFromErrno(PyExc_OSError);
			return -1;
		}
	}
	return done;
}

/* read() -> what is there, at most PIECE; at the end our end is closed */
static PyObject *pipe_read(PyObject *op, PyObject *unused)
{
	OwnedPipe *self = (OwnedPipe *)op;
	char small[SMALL], *large;
	PyObject *data;
	ssize_t n = read_now(self, small, SMALL), more;

	(void)unused;
	if (n < 0)
		return NULL;
	if (n < SMALL || self->ours < 0)
		return PyBytes_FromStringAndSize(small, n);
	large = malloc(PIECE);
	if (!large)
		return PyBytes_FromStringAndSize(small, n);
	memcpy(large, small, n);
	more = read_now(self, large + n, PIECE - n);
	if (more < 0) {
		/* It will come again. */
		PyErr_Clear();
		more = 0;
	}
	data = PyBytes_FromStringAndSize(large, n + more);
	free(large);
	return data;
}

static PyObject *pipe_get_ours(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((OwnedPipe *)op)->ours);
}

static PyObject *pipe_get_theirs(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((OwnedPipe *)op)->theirs);
}

static PyMethodDef pipe_methods[] = {
	{ "read", pipe_read, METH_NOARGS, NULL },
	{ "close_ours", pipe_close_ours, METH_NOARGS, NULL },
	{ "close_theirs", pipe_close_theirs, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef pipe_getset[] = {
	{ "ours", pipe_get_ours, NULL, NULL, NULL },
	{ "theirs", pipe_get_theirs, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot pipe_slots[] = {
	{ Py_tp_new, pipe_new },
	{ Py_tp_methods, pipe_methods },
	{ Py_tp_getset, pipe_getset },
	{ Py_tp_dealloc, pipe_dealloc },
	{ 0, NULL },
};

static PyType_Spec pipe_spec = {
	.name = "rsyscall.native.fast.OwnedPipe",
	.basicsize = sizeof(OwnedPipe),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = pipe_slots,
};

PyTypeObject *rsys_pipe_init(void)
{
	return (PyTypeObject *)PyType_FromSpec(&pipe_spec);
}
