/* The type Hub: who may use its rings, their budgets, the words that the watcher watches. */
#include "client.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "announced.h"
#include "clock.h"
#include "freestanding.h"

/*
 * Have this OS thread hold a robust mutex to its end. Returns the word of it that the kernel then marks,
 * as futex(2) says under "Robust futexes"; NULL where there is no such thing. It is one of a process-shared
 * mutex, so that waiters in other processes are woken, and says from the start that there are some.
 */
static uint32_t *hold_for_life(pthread_mutex_t *mutex)
{
	const uint32_t tid = gettid();
	uint32_t before[sizeof(*mutex) / 4], *words = (uint32_t *)mutex;
	pthread_mutexattr_t attributes;
	size_t size, i;
	void *head = NULL;

	/* What libc asked for when the thread was made may have been denied. */
	if (rsys_is_error(rsys_call3(__NR_get_robust_list, 0, &head, &size)) || !head)
		return NULL;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) != 0)
		return NULL;
	pthread_mutex_init(mutex, &attributes);
	memcpy(before, mutex, sizeof(before));
	if (pthread_mutex_lock(mutex) != 0)
		return NULL;
	/* Where it is in the mutex is libc's affair. */
	for (i = 0; i < sizeof(before) / sizeof(*before); i++)
		if (words[i] != before[i] && (words[i] & FUTEX_TID_MASK) == tid) {
			__atomic_fetch_or(&words[i], FUTEX_WAITERS, __ATOMIC_SEQ_CST);
			return &words[i];
		}
	return NULL;
}

static PyObject *hub_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "completion", "client_spin_us", "server_spin_us", NULL };
	int fd;
	double client_us, server_us;
	uint64_t rate;
	size_t size = sizeof(struct rsys_hub) + sizeof(pthread_mutex_t);
	struct stat pipe;
	void *memory;
	Hub *self;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "idd", names, &fd, &client_us, &server_us))
		return NULL;
	if (client_us < 0 || server_us < 0) {
		PyErr_SetString(PyExc_ValueError, "a spin budget is a number of microseconds, 0 or more");
		return NULL;
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return PyErr_SetFromErrno(PyExc_OSError);
	self = (Hub *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (!self) {
		munmap(memory, size);
		return NULL;
	}
	rate = rsys_cycles_per_us();
	self->hub = memory;
	self->hub->owner = (uint64_t)hold_for_life((pthread_mutex_t *)(self->hub + 1));
	self->hub->watcher.origin.owner = self->hub->owner;
	self->hub->watcher.origin.watcher_fd = -1;
	self->hub->watcher.completion = fd;
	if (fstat(fd, &pipe) == 0) {
		self->hub->completion_dev = pipe.st_dev;
		self->hub->completion_ino = pipe.st_ino;
	}
	self->hub->server_spin = server_us * rate;
	self->client_spin = client_us * rate;
	self->hold_gil = HOLD_GIL_US * rate;
	rsys_owner_bind(&self->owner);
	return (PyObject *)self;
}

/*
 * The memory of blocks is never unmapped: a process that we cannot see any more may still
 * run on it. A hub lives as long as the program.
 */
static void hub_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	free(((Hub *)self)->collected);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

static PyObject *hub_ring(PyObject *op, PyObject *unused)
{
	Hub *self = (Hub *)op;

	(void)unused;
	if (rsys_hub_check(self) < 0)
		return NULL;
	return rsys_ring_new(self);
}

/* check_owner(): raises unless the running thread may use the rings */
static PyObject *hub_check_owner(PyObject *op, PyObject *unused)
{
	(void)unused;
	if (rsys_hub_check((Hub *)op) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *hub_get_address(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong((uint64_t)((Hub *)op)->hub);
}

static PyObject *hub_get_blocks(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromSize_t(((Hub *)op)->n_blocks);
}

/* set_spin(client_us, server_us): budgets of all rings from now on */
static PyObject *hub_set_spin(PyObject *op, PyObject *args)
{
	Hub *self = (Hub *)op;
	double client_us, server_us, rate = (double)self->hold_gil / HOLD_GIL_US;

	if (rsys_hub_check(self) < 0 || !PyArg_ParseTuple(args, "dd", &client_us, &server_us))
		return NULL;
	if (client_us < 0 || server_us < 0) {
		PyErr_SetString(PyExc_ValueError, "a spin budget is a number of microseconds, 0 or more");
		return NULL;
	}
	self->client_spin = client_us * rate;
	self->hub->server_spin = server_us * rate;
	Py_RETURN_NONE;
}

/* ---- The watcher, from the client's side ------------------------------------------------ */

static void watcher_wake(struct rsys_watcher *w)
{
	__atomic_fetch_add(&w->control, 1, __ATOMIC_SEQ_CST);
	rsys_call3(__NR_futex, &w->control, FUTEX_WAKE, 1);
}

/* watch_word(address) -> index, or -1 when all entries are taken */
static PyObject *hub_watch_word(PyObject *op, PyObject *arg)
{
	Hub *hub = (Hub *)op;
	struct rsys_watcher *w = &hub->hub->watcher;
	uint64_t address = PyLong_AsUnsignedLongLong(arg);
	long i;

	if (rsys_hub_check(hub) < 0 || (address == (uint64_t)-1 && PyErr_Occurred()))
		return NULL;
	if (!address || address % 4 || address & ~RSYS_WORD_ADDRESS) {
		PyErr_Format(PyExc_ValueError, "no futex word can be at address %llu", (unsigned long long)address);
		return NULL;
	}
	for (i = 0; i < RSYS_WATCHER_WORDS; i++) {
		if (__atomic_load_n(&w->words[i], __ATOMIC_ACQUIRE))
			continue;
		/* No entry is like an earlier one for the same word: the watcher may be about to remove that. */
		__atomic_store_n(&w->words[i], address | (uint64_t)++hub->word_generation << 48, __ATOMIC_SEQ_CST);
		if ((uint32_t)i >= w->count)
			__atomic_store_n(&w->count, i + 1, __ATOMIC_RELEASE);
		watcher_wake(w);
		return PyLong_FromLong(i);
	}
	return PyLong_FromLong(-1);
}

/* unwatch_word(index, address): it may have fired already; then there is nothing to do */
static PyObject *hub_unwatch_word(PyObject *op, PyObject *args)
{
	struct rsys_watcher *w = &((Hub *)op)->hub->watcher;
	long i;
	unsigned long long address;
	uint64_t entry;

	if (rsys_hub_check((Hub *)op) < 0 || !PyArg_ParseTuple(args, "lK", &i, &address))
		return NULL;
	if (i < 0 || i >= RSYS_WATCHER_WORDS)
		Py_RETURN_NONE;
	entry = __atomic_load_n(&w->words[i], __ATOMIC_ACQUIRE);
	if ((entry & RSYS_WORD_ADDRESS) == address &&
	    __atomic_compare_exchange_n(&w->words[i], &entry, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		watcher_wake(w);
	Py_RETURN_NONE;
}

/* configure_watcher(parent_pid) */
static PyObject *hub_configure_watcher(PyObject *op, PyObject *args)
{
	struct rsys_watcher *w = &((Hub *)op)->hub->watcher;

	if (rsys_hub_check((Hub *)op) < 0)
		return NULL;
	if (!PyArg_ParseTuple(args, "i", &w->origin.parent_pid))
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef hub_methods[] = {
	{ "ring", hub_ring, METH_NOARGS, NULL },
	{ "check_owner", hub_check_owner, METH_NOARGS, NULL },
	{ "set_spin", hub_set_spin, METH_VARARGS, NULL },
	{ "announced", rsys_hub_announced, METH_NOARGS, NULL },
	{ "delivered", rsys_hub_delivered, METH_O, NULL },
	{ "watch_word", hub_watch_word, METH_O, NULL },
	{ "unwatch_word", hub_unwatch_word, METH_VARARGS, NULL },
	{ "configure_watcher", hub_configure_watcher, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef hub_getset[] = {
	{ "address", hub_get_address, NULL, NULL, NULL },
	{ "blocks", hub_get_blocks, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot hub_slots[] = {
	{ Py_tp_new, hub_new },
	{ Py_tp_methods, hub_methods },
	{ Py_tp_getset, hub_getset },
	{ Py_tp_dealloc, hub_dealloc },
	{ 0, NULL },
};

static PyType_Spec hub_spec = {
	.name = "rsyscall.native.fast.Hub",
	.basicsize = sizeof(Hub),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = hub_slots,
};

PyTypeObject *rsys_hub_init(void)
{
	return (PyTypeObject *)PyType_FromSpec(&hub_spec);
}
