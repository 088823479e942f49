/*
 * The client's side of a ring in a memory file: methods of Ring for a process with memory of its own.
 *
 * The process is not trusted: it, and what may trace it, can write anything into the file, at any moment. So
 *
 * - the file is sealed, for an ftruncate there would be our SIGBUS;
 * - what is read from it is read once, and nothing that comes from there is used as an address of ours, or as an
 *   index, but for the address that the file has in the process: that is only ever subtracted, and what results
 *   is bounded by the size of the arena;
 * - no call of ours waits for the process: the socket is used with MSG_DONTWAIT, whatever flags its file has;
 * - a process that announces more answers than it was asked to announce is not listened to any more.
 */
#include "shared_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "freestanding.h"
#include "ring_wait.h"
#include "shared_ring.h"

/* share(file, socket): before the process starts; this object has copies of both */
PyObject *rsys_shared_share(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	int file, socket;
	void *memory;

	if (!PyArg_ParseTuple(args, "ii", &file, &socket))
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (self->file || self->block->started) {
		PyErr_SetString(PyExc_RuntimeError, "this ring is in use");
		return NULL;
	}
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 0);
	if (socket < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	memory = mmap(NULL, RSYS_SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED) {
		PyErr_SetFromErrno(PyExc_OSError);
		close(socket);
		return NULL;
	}
	self->file = memory;
	self->socket = socket;
	self->shared = &self->file->ring;
	self->expected = 1;	/* the greeting */
	self->file->hub.server_spin = self->hub->hub->server_spin;
	rsys_cycles(&self->file->ring.client_cpu);
	self->file->ring.server_cpu = self->file->ring.client_cpu;
	Py_RETURN_NONE;
}

/*
 * greeted(budget_us, pid) -> what the process greets with, or None if it has not within this time. From then on it
 * is driven by this ring. pid: in our own pid namespace; 0: unknown.
 */
PyObject *rsys_shared_greeted(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	struct rsys_shared *file = self->file;
	struct rsys_hello hello;
	uint64_t start, budget;
	uint32_t cpu;
	double us;
	int pid;

	if (!PyArg_ParseTuple(args, "di", &us, &pid))
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (!file) {
		PyErr_SetString(PyExc_RuntimeError, "this ring is not in a file");
		return NULL;
	}
	budget = us * (self->hub->hold_gil / HOLD_GIL_US);
	start = rsys_cycles(&cpu);
	while (!__atomic_load_n(&file->ready, __ATOMIC_ACQUIRE)) {
		if (rsys_cycles(&cpu) - start > budget)
			Py_RETURN_NONE;
		rsys_call0(__NR_sched_yield);
	}
	memcpy(&hello, &file->hello, sizeof(hello));
	self->base = __atomic_load_n(&file->base, __ATOMIC_RELAXED);
	self->life = &file->life;
	self->alive = __atomic_load_n(&file->life, __ATOMIC_ACQUIRE);
	self->dead = ~self->alive;	/* whatever it says to be alive */
	self->block->ring.pid = pid;
	self->block->started = 1;
	return Py_BuildValue("(y#K)", (char *)&hello, (Py_ssize_t)sizeof(hello), (unsigned long long)self->base);
}

void rsys_shared_wake(Ring *self)
{
	/* The next call that waits for descriptors is to find nothing there: see ring_call.c. */
	self->rung = 1;
	self->file->hub.server_spin = self->hub->hub->server_spin;	/* it may be another one by now */
	if (self->socket >= 0)
		rsys_call6(__NR_sendto, self->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
}

/* heard() -> bool: take what the process has sent; False if it has closed the socket, or sends what it should not */
PyObject *rsys_shared_heard(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	char bytes[256];
	long n;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (self->socket < 0)
		Py_RETURN_FALSE;
	n = rsys_call6(__NR_recvfrom, self->socket, bytes, sizeof(bytes), MSG_DONTWAIT, 0, 0);
	if (n == -EAGAIN || n == -EINTR)
		Py_RETURN_TRUE;
	if (n <= 0 || (uint32_t)n > self->expected)
		Py_RETURN_FALSE;
	self->expected -= n;
	Py_RETURN_TRUE;
}

/* Where an address of the process is in the arena; NULL if not all of it is there. */
static char *in_arena(Ring *self, uint64_t address, uint64_t length)
{
	uint64_t offset = address - self->base;

	if (!self->file || offset < RSYS_BOUNCE_OFFSET || offset > RSYS_SHARED_SIZE ||
	    length > RSYS_SHARED_SIZE - offset)
		return NULL;
	return (char *)self->file + offset;
}

/* read(address, length) -> bytes, or None: not in the arena. The address is one in the process. */
PyObject *rsys_shared_read(PyObject *op, PyObject *args)
{
	unsigned long long address;
	Py_ssize_t length;
	char *start;

	if (!PyArg_ParseTuple(args, "Kn", &address, &length))
		return NULL;
	if (rsys_hub_check(((Ring *)op)->hub) < 0)
		return NULL;
	start = length < 0 ? NULL : in_arena((Ring *)op, address, length);
	if (!start)
		Py_RETURN_NONE;
	return PyBytes_FromStringAndSize(start, length);
}

/* write(address, data) -> bool: False: not in the arena, and nothing has been written */
PyObject *rsys_shared_write(PyObject *op, PyObject *args)
{
	unsigned long long address;
	Py_ssize_t length;
	const char *data;
	char *start;

	if (!PyArg_ParseTuple(args, "Ky#", &address, &data, &length))
		return NULL;
	if (rsys_hub_check(((Ring *)op)->hub) < 0)
		return NULL;
	start = in_arena((Ring *)op, address, length);
	if (!start)
		Py_RETURN_FALSE;
	memcpy(start, data, length);
	Py_RETURN_TRUE;
}

/* unshare(): the process has left, and no caller waits for it; its memory cannot be reached any more */
PyObject *rsys_shared_unshare(PyObject *op, PyObject *unused)
{
	(void)unused;
	if (rsys_hub_check(((Ring *)op)->hub) < 0)
		return NULL;
	rsys_shared_close((Ring *)op);
	Py_RETURN_NONE;
}

void rsys_shared_close(Ring *self)
{
	if (self->socket >= 0)
		close(self->socket);
	self->socket = -1;
	self->life = &self->dead;
	self->shared = &self->block->ring;
	if (self->file)
		munmap(self->file, RSYS_SHARED_SIZE);
	self->file = NULL;
}
