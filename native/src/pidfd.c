/*
 * The type OwnedPidfd: a pidfd in our own table, and the child behind it.
 *
 * Its destructor closes the descriptor, and reaps a child that no other code can wait for any more. It is C code,
 * so that no exception of a signal handler comes in between. (In a destructor in Python, the exception would
 * also be lost.)
 */
#include "pidfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

typedef struct {
	PyObject_HEAD
	int number;	/* -1: none */
	char reaps;
} OwnedPidfd;

static PyTypeObject *pidfd_type;

/* A filter that denies a call says one of these; for EPERM see rsyscall.denied. */
static int denied(void)
{
	return errno == EPERM || errno == ENOSYS || errno == EACCES;
}

/* The process in the namespace of our /proc; 0: there is no telling. */
static int pid_behind(int pidfd)
{
	char path[64], text[512], *line;
	int fd, pid = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	line = strstr(text, "Pid:");
	if (line)
		pid = atoi(line + 4);
	return pid > 0 ? pid : 0;
}

static int reap(int pidfd, int pid, int options)
{
	siginfo_t info;
	long err;

	do
		err = syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | __WALL | options, NULL);
	while (err < 0 && errno == EINTR);
	if (err == 0 || !denied())
		return err;
	if (!pid)
		pid = pid_behind(pidfd);
	if (!pid)
		return -1;
	do
		err = waitpid(pid, NULL, __WALL | options);
	while (err < 0 && errno == EINTR);
	return err < 0 ? -1 : 0;
}

int rsys_end_child(int pidfd, int pid)
{
	long err = -1;

	if (pidfd >= 0)
		err = syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	if (err < 0 && pid > 0)
		err = kill(pid, SIGKILL);
	if (err < 0)
		return -1;
	if (pidfd >= 0)
		return reap(pidfd, pid, 0);
	do
		err = waitpid(pid, NULL, __WALL);
	while (err < 0 && errno == EINTR);
	return err < 0 ? -1 : 0;
}

int rsys_pidfd_set(PyObject *op, int number)
{
	OwnedPidfd *self = (OwnedPidfd *)op;

	if (!PyObject_TypeCheck(op, pidfd_type)) {
		PyErr_SetString(PyExc_TypeError, "expected an OwnedPidfd");
		return -1;
	}
	if (self->number >= 0) {
		PyErr_SetString(PyExc_ValueError, "it has a descriptor already");
		return -1;
	}
	self->number = number;
	return 0;
}

int rsys_is_pidfd(PyObject *op)
{
	return PyObject_TypeCheck(op, pidfd_type);
}

static PyObject *pidfd_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	OwnedPidfd *self;
	int number = -1;

	(void)kwargs;
	if (!PyArg_ParseTuple(args, "|i", &number))
		return NULL;
	self = (OwnedPidfd *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (self)
		self->number = number;
	return (PyObject *)self;
}

static void let_go(OwnedPidfd *self)
{
	int number = self->number;

	self->number = -1;
	if (number >= 0)
		close(number);
}

static void pidfd_dealloc(PyObject *op)
{
	OwnedPidfd *self = (OwnedPidfd *)op;
	PyTypeObject *type = Py_TYPE(op);
	int saved = errno;

	/* In a cycle of garbage we may come first, and then who wanted to reap the child has no means to. */
	if (self->reaps && self->number >= 0)
		reap(self->number, 0, WNOHANG);
	let_go(self);
	errno = saved;
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

/* close(): harmless when done twice */
static PyObject *pidfd_close(PyObject *op, PyObject *unused)
{
	(void)unused;
	let_go((OwnedPidfd *)op);
	Py_RETURN_NONE;
}

/* take(record, number): own a descriptor that the record of a call owns */
static PyObject *pidfd_take(PyObject *op, PyObject *args)
{
	PyObject *owner;
	CallRecord *record;
	int number;

	if (!PyArg_ParseTuple(args, "Oi", &owner, &number) || rsys_as_record(owner, &record) < 0)
		return NULL;
	if (rsys_pidfd_set(op, number) < 0)
		return NULL;
	if (record)
		rsys_record_disown(record, number);
	Py_RETURN_NONE;
}

static PyObject *pidfd_get_number(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((OwnedPidfd *)op)->number);
}

static PyObject *pidfd_get_reaps(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(((OwnedPidfd *)op)->reaps);
}

/* whether the process has exited; False when the pidfd is closed */
static PyObject *pidfd_get_exited(PyObject *op, void *closure)
{
	struct pollfd exit_of = { .fd = ((OwnedPidfd *)op)->number, .events = POLLIN };
	const struct timespec now = { 0, 0 };

	(void)closure;
	return PyBool_FromLong(ppoll(&exit_of, 1, &now, NULL) == 1);
}

static int pidfd_set_reaps(PyObject *op, PyObject *value, void *closure)
{
	int reaps = value ? PyObject_IsTrue(value) : 0;

	(void)closure;
	if (reaps < 0)
		return -1;
	((OwnedPidfd *)op)->reaps = reaps;
	return 0;
}

static PyMethodDef pidfd_methods[] = {
	{ "close", pidfd_close, METH_NOARGS, NULL },
	{ "take", pidfd_take, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef pidfd_getset[] = {
	{ "number", pidfd_get_number, NULL, NULL, NULL },
	{ "exited", pidfd_get_exited, NULL, NULL, NULL },
	{ "reaps", pidfd_get_reaps, pidfd_set_reaps, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot pidfd_slots[] = {
	{ Py_tp_new, pidfd_new },
	{ Py_tp_methods, pidfd_methods },
	{ Py_tp_getset, pidfd_getset },
	{ Py_tp_dealloc, pidfd_dealloc },
	{ 0, NULL },
};

static PyType_Spec pidfd_spec = {
	.name = "rsyscall.native.fast.OwnedPidfd",
	.basicsize = sizeof(OwnedPidfd),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = pidfd_slots,
};

PyTypeObject *rsys_pidfd_init(void)
{
	pidfd_type = (PyTypeObject *)PyType_FromSpec(&pidfd_spec);
	return pidfd_type;
}
