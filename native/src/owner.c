/* Owners of what drives processes, and the two exceptions of those who are not. */
#include "owner.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

unsigned int rsys_fork_generation;
__thread uint64_t rsys_thread_serial;

/* Identifiers and addresses of threads are used again; these numbers are not. */
static uint64_t last_serial;

static PyObject *wrong_thread_error, *forked_process_error;

static void after_fork_in_child(void)
{
	rsys_fork_generation++;
}

static PyObject *add_error(PyObject *module, const char *name, const char *doc)
{
	char full_name[64];
	PyObject *error;

	PyOS_snprintf(full_name, sizeof(full_name), "rsyscall.native.%s", name);
	error = PyErr_NewExceptionWithDoc(full_name, doc, PyExc_RuntimeError, NULL);
	if (error && PyModule_AddObjectRef(module, name, error) < 0)
		Py_CLEAR(error);
	return error;
}

int rsys_owner_init(PyObject *module)
{
	pthread_atfork(NULL, NULL, after_fork_in_child);
	wrong_thread_error = add_error(module, "WrongThreadError",
				       "Something was used on another OS thread than the one that it belongs to. "
				       "No call was made.");
	forked_process_error = add_error(module, "ForkedProcessError",
					 "Something was used in a copy of its process made by fork(2). "
					 "No call was made.");
	return wrong_thread_error && forked_process_error ? 0 : -1;
}

void rsys_owner_bind(struct owner *owner)
{
	if (!rsys_thread_serial)
		rsys_thread_serial = __atomic_add_fetch(&last_serial, 1, __ATOMIC_RELAXED);
	owner->thread = rsys_thread_serial;
	owner->tid = gettid();
	owner->generation = rsys_fork_generation;
}

int rsys_owner_refuse(const struct owner *owner)
{
	if (owner->generation != rsys_fork_generation)
		PyErr_Format(forked_process_error, "the processes that this program drives belong to thread %d of "
			     "the process that forked this one (%d); a copy cannot use them",
			     owner->tid, (int)getpid());
	else
		PyErr_Format(wrong_thread_error, "the processes that this program drives belong to thread %d%s; "
			     "they were used on thread %d", owner->tid,
			     tgkill(getpid(), owner->tid, 0) < 0 && errno == ESRCH ? ", which has ended" : "",
			     (int)gettid());
	return -1;
}
