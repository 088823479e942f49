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
#define _GNU_SOURCE
#include "shared_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arguments.h"
#include "clock.h"
#include "freestanding.h"
#include "record.h"
#include "ring_wait.h"
#include "shared_ring.h"

#define FILE_NAME "rsyscall-ring"
/* libc's headers may be older than these. */
#define MFD_NOEXEC_SEAL_ 8u
#define F_ADD_SEALS_ 1033
#define SEALS (1 | 2 | 4)	/* F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW */

static int check_unused(Ring *self)
{
	if (!self->file && !self->block->started)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, "this ring is in use");
	return -1;
}

/* A file that we have mapped, for all the rings in it. */
struct mapped_file {
	char *memory;
	size_t users;
};

static struct mapped_file *map_file(int file)
{
	struct mapped_file *mapped = malloc(sizeof(*mapped));
	void *memory;

	if (!mapped) {
		errno = ENOMEM;
		return NULL;
	}
	memory = mmap(NULL, RSYS_SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED) {
		free(mapped);
		return NULL;
	}
	mapped->memory = memory;
	mapped->users = 0;
	return mapped;
}

/* The ring is in this file, at this offset. */
static void use_file(Ring *self, struct mapped_file *mapped, uint64_t offset)
{
	mapped->users++;
	self->mapped = mapped;
	self->file = (struct rsys_shared *)(mapped->memory + offset);
	self->shared = &self->file->ring;
	self->file->hub.server_spin = self->hub->hub->server_spin;
	rsys_cycles(&self->file->ring.client_cpu);
	self->file->ring.server_cpu = self->file->ring.client_cpu;
}

static int use_new_file(Ring *self, int file)
{
	struct mapped_file *mapped = map_file(file);

	if (!mapped)
		return -1;
	use_file(self, mapped, 0);
	self->expected = 1;	/* the greeting */
	return 0;
}

/* share(file, socket): before the process starts; this object has copies of both */
PyObject *rsys_shared_share(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	int file, socket;

	if (!PyArg_ParseTuple(args, "ii", &file, &socket))
		return NULL;
	if (rsys_hub_check(self->hub) < 0 || check_unused(self) < 0)
		return NULL;
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 0);
	if (socket < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	if (use_new_file(self, file) < 0) {
		PyErr_SetFromErrno(PyExc_OSError);
		close(socket);
		return NULL;
	}
	self->socket = socket;
	Py_RETURN_NONE;
}

/* What open() makes, besides our end of the socket. */
enum { FILE_FD, SOCKET_THEIRS, PASSAGE_OURS, PASSAGE_THEIRS, EPOLL_OURS, EPOLL_THEIRS, OPENED };

static int open_all(int *fds, int *ret_socket)
{
	int pair[2];

	/* Before Linux 6.3 there is no such flag. */
	fds[FILE_FD] = memfd_create(FILE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL_);
	if (fds[FILE_FD] < 0 && errno == EINVAL)
		fds[FILE_FD] = memfd_create(FILE_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fds[FILE_FD] < 0 || ftruncate(fds[FILE_FD], RSYS_SHARED_SIZE) < 0 ||
	    fcntl(fds[FILE_FD], F_ADD_SEALS_, SEALS) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	*ret_socket = pair[0];
	fds[SOCKET_THEIRS] = pair[1];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	fds[PASSAGE_OURS] = pair[0];
	fds[PASSAGE_THEIRS] = pair[1];
	fds[EPOLL_OURS] = epoll_create1(EPOLL_CLOEXEC);
	fds[EPOLL_THEIRS] = fds[EPOLL_OURS] < 0 ? -1 : fcntl(fds[EPOLL_OURS], F_DUPFD_CLOEXEC, 0);
	return fds[EPOLL_THEIRS] < 0 ? -1 : 0;
}

/*
 * open(record) -> numbers of the file and of other descriptors, which the record owns: what a process needs that is
 * cloned from our own table. As share() with a new file and socket.
 */
PyObject *rsys_shared_open(PyObject *op, PyObject *arg)
{
	int fds[OPENED] = { -1, -1, -1, -1, -1, -1 }, socket = -1, i, error = 0;
	Ring *self = (Ring *)op;
	CallRecord *record;

	if (rsys_hub_check(self->hub) < 0 || check_unused(self) < 0 || rsys_as_record(arg, &record) < 0)
		return NULL;
	if (!record) {
		PyErr_SetString(PyExc_TypeError, "open(record)");
		return NULL;
	}
	if (open_all(fds, &socket) < 0 || use_new_file(self, fds[FILE_FD]) < 0) {
		error = errno;
		for (i = 0; i < OPENED; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		if (socket >= 0)
			close(socket);
		errno = error;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	self->socket = socket;
	for (i = 0; i < OPENED; i++)
		rsys_record_own(record, fds[i]);
	return Py_BuildValue("(iiiiii)", fds[0], fds[1], fds[2], fds[3], fds[4], fds[5]);
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

/* Where an address of the process is in the arena; NULL if not all of it is there. */
static char *in_arena(Ring *self, uint64_t address, uint64_t length)
{
	uint64_t offset = address - self->base;

	if (!self->mapped || offset < RSYS_BOUNCE_OFFSET || offset > RSYS_SHARED_SIZE ||
	    length > RSYS_SHARED_SIZE - offset)
		return NULL;
	return self->mapped->memory + offset;
}

/*
 * nest(relative, address, socket) -> bool: use the memory at this address of the process of another ring in a file,
 * for one that shares its memory; before that starts. False: that memory is not in the arena. This object has a copy
 * of the socket.
 */
PyObject *rsys_shared_nest(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op, *relative;
	unsigned long long address;
	PyObject *other;
	char *memory;
	int socket;

	if (!PyArg_ParseTuple(args, "O!Ki", Py_TYPE(op), &other, &address, &socket))
		return NULL;
	relative = (Ring *)other;
	if (rsys_hub_check(self->hub) < 0 || check_unused(self) < 0)
		return NULL;
	memory = in_arena(relative, address, sizeof(struct rsys_shared));
	if (!memory)
		Py_RETURN_FALSE;
	if ((uintptr_t)memory % _Alignof(struct rsys_shared)) {
		PyErr_SetString(PyExc_ValueError, "the memory for a ring is not aligned");
		return NULL;
	}
	socket = fcntl(socket, F_DUPFD_CLOEXEC, 0);
	if (socket < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	memset(memory, 0, sizeof(struct rsys_shared));
	use_file(self, relative->mapped, memory - relative->mapped->memory);
	self->base = relative->base;
	self->socket = socket;
	Py_RETURN_TRUE;
}

/*
 * nested(tid, pid): the process has been made, and is driven by this ring.
 * tid: in its own pid namespace.
 * pid: in ours; 0: unknown.
 */
PyObject *rsys_shared_nested(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	uint32_t tid, nobody = 0;
	int pid;

	if (!PyArg_ParseTuple(args, "Ii", &tid, &pid))
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (!self->file || self->block->started) {
		PyErr_SetString(PyExc_RuntimeError, "this ring is not in a file, or in use");
		return NULL;
	}
	/* What it writes itself, unless it has left already. */
	__atomic_compare_exchange_n(&self->file->life, &nobody, tid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	self->life = &self->file->life;
	self->alive = tid;
	self->dead = ~tid;
	self->block->ring.pid = pid;
	self->block->started = 1;
	Py_RETURN_NONE;
}

void rsys_shared_wake(Ring *self)
{
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
	if (__atomic_exchange_n(&self->shared->ring_again, 0, __ATOMIC_SEQ_CST))
		rsys_shared_wake(self);
	Py_RETURN_TRUE;
}

/* read(address, length) -> bytes, or None: not in the arena. The address is one in the process. */
PyObject *rsys_shared_read(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	int64_t address, length;
	char *start;

	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "read(address, length)");
		return NULL;
	}
	if (rsys_hub_check(((Ring *)op)->hub) < 0 || rsys_as_word(args[0], &address) < 0 ||
	    rsys_as_word(args[1], &length) < 0)
		return NULL;
	start = length < 0 ? NULL : in_arena((Ring *)op, address, length);
	if (!start)
		Py_RETURN_NONE;
	return PyBytes_FromStringAndSize(start, length);
}

/* write(address, data) -> bool: False: not in the arena, and nothing has been written */
PyObject *rsys_shared_write(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	int64_t address;
	Py_ssize_t length;
	char *data, *start;

	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "write(address, data)");
		return NULL;
	}
	if (rsys_hub_check(((Ring *)op)->hub) < 0 || rsys_as_word(args[0], &address) < 0 ||
	    PyBytes_AsStringAndSize(args[1], &data, &length) < 0)
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
	if (self->mapped && --self->mapped->users == 0) {
		munmap(self->mapped->memory, RSYS_SHARED_SIZE);
		free(self->mapped);
	}
	self->mapped = NULL;
	self->file = NULL;
}
