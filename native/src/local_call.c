/* Functions of the module: calls, memory and children of our own process. */
#include "local_call.h"

#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>

#include "arguments.h"
#include "call_facts.h"
#include "clock.h"
#include "freestanding.h"
#include "record.h"

/* In another object, so that a clone through it finds the trampoline there; set at import. */
static long (*out_of_line_syscall)(long, long, long, long, long, long, long);

/* set_raw_syscall(address): the out-of-line call in the module with the code of driven processes */
PyObject *rsys_set_raw_syscall(PyObject *module, PyObject *arg)
{
	void *address = PyLong_AsVoidPtr(arg);

	(void)module;
	if (!address && PyErr_Occurred())
		return NULL;
	out_of_line_syscall = address;
	Py_RETURN_NONE;
}

long rsys_make_local_call(const int64_t v[7])
{
	PyThreadState *state;
	long result;

	if (v[0] == __NR_clone || v[0] == __NR_clone3)
		return out_of_line_syscall(v[1], v[2], v[3], v[4], v[5], v[6], v[0]);
	if (rsys_is_quick(v[0]))
		return rsys_syscall6(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
	state = PyEval_SaveThread();
	result = rsys_syscall6(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
	PyEval_RestoreThread(state);
	return result;
}

/* syscall(number, args...) -> result */
PyObject *rsys_local_syscall(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t v[7];

	(void)module;
	if (rsys_parse_call(args, n, v) < 0)
		return NULL;
	return PyLong_FromLong(rsys_make_local_call(v));
}

/* recorded_syscall(record, number, args...) -> result: see record.c */
PyObject *rsys_recorded_local_syscall(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	CallRecord *record;
	int64_t v[7];
	long result;

	(void)module;
	if (n < 1) {
		PyErr_SetString(PyExc_TypeError, "recorded_syscall(record, number, ...)");
		return NULL;
	}
	if (rsys_as_record(args[0], &record) < 0 || rsys_parse_call(args + 1, n - 1, v) < 0)
		return NULL;
	if (!record)
		return PyLong_FromLong(rsys_make_local_call(v));
	rsys_record_sent(record, v, 1);
	result = rsys_make_local_call(v);
	rsys_record_answered(record, result);
	return PyLong_FromLong(result);
}

PyObject *rsys_read_memory(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t address, length;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "read_memory(address, length)");
		return NULL;
	}
	if (rsys_as_word(args[0], &address) < 0 || rsys_as_word(args[1], &length) < 0)
		return NULL;
	if (length < 0) {
		PyErr_Format(PyExc_ValueError, "cannot read %lld bytes", (long long)length);
		return NULL;
	}
	return PyBytes_FromStringAndSize((const char *)address, length);
}

PyObject *rsys_write_memory(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t address;
	char *data;
	Py_ssize_t length;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "write_memory(address, data)");
		return NULL;
	}
	if (rsys_as_word(args[0], &address) < 0)
		return NULL;
	if (PyBytes_Check(args[1])) {
		if (PyBytes_AsStringAndSize(args[1], &data, &length) < 0)
			return NULL;
		memcpy((void *)address, data, length);
	} else {
		PyObject *copy = PyBytes_FromObject(args[1]);

		if (!copy)
			return NULL;
		PyBytes_AsStringAndSize(copy, &data, &length);
		memcpy((void *)address, data, length);
		Py_DECREF(copy);
	}
	Py_RETURN_NONE;
}

/* spin_for_exit(pidfd, budget_us) -> whether the process exited within that time */
PyObject *rsys_spin_for_exit(PyObject *module, PyObject *args)
{
	struct rsys_pollfd exit_of = { .fd = -1, .events = RSYS_POLLIN };
	struct rsys_timespec now = { 0, 0 };
	double us;
	uint64_t deadline;
	long ready = 0;
	int i;
	PyThreadState *state;

	(void)module;
	if (!PyArg_ParseTuple(args, "id", &exit_of.fd, &us))
		return NULL;
	state = PyEval_SaveThread();
	deadline = rsys_now_ns() + (uint64_t)(us * 1000);
	while (!(ready = rsys_call5(__NR_ppoll, &exit_of, 1, &now, 0, 8)) && rsys_now_ns() < deadline) {
		/* On the only processor that is free it would never come to exit. */
		rsys_call0(__NR_sched_yield);
		for (i = 0; i < 16; i++)
			rsys_pause();
	}
	PyEval_RestoreThread(state);
	return PyBool_FromLong(ready == 1);
}

/*
 * block_for_exit(pidfd, budget_us) -> whether the process exited within that time; False at once when a handler of a
 * signal is to run
 */
PyObject *rsys_block_for_exit(PyObject *module, PyObject *args)
{
	struct rsys_pollfd exit_of = { .fd = -1, .events = RSYS_POLLIN };
	struct rsys_timespec most = { 0, 0 };
	double us;
	long ready;
	PyThreadState *state;

	(void)module;
	if (!PyArg_ParseTuple(args, "id", &exit_of.fd, &us))
		return NULL;
	most.nsec = us < 999999 ? us * 1000 : 999999999;
	state = PyEval_SaveThread();
	ready = rsys_call5(__NR_ppoll, &exit_of, 1, &most, 0, 8);
	PyEval_RestoreThread(state);
	return PyBool_FromLong(ready == 1);
}

/*
 * forget_watched(epfd, number, watched): take a descriptor out of an epoll instance, and out of the dictionary of
 * what is watched there. In one step: what is in the dictionary alone would stay there, as no event comes for it.
 */
PyObject *rsys_forget_watched(PyObject *module, PyObject *args)
{
	int epfd;
	PyObject *number, *watched;
	long fd;

	(void)module;
	if (!PyArg_ParseTuple(args, "iOO", &epfd, &number, &watched))
		return NULL;
	fd = PyLong_AsLong(number);
	if (fd == -1 && PyErr_Occurred())
		return NULL;
	rsys_call5(__NR_epoll_ctl, (long)epfd, EPOLL_CTL_DEL, fd, 0, 0);
	if (PyDict_DelItem(watched, number) < 0) {
		if (!PyErr_ExceptionMatches(PyExc_KeyError))
			return NULL;
		PyErr_Clear();
	}
	Py_RETURN_NONE;
}
