/* The type Ring: one driven process, from the preparation of its memory to its end. */
#include "client.h"

#include <linux/sched.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "execute.h"
#include "freestanding.h"
#include "garbage.h"
#include "local_call.h"
#include "pidfd.h"
#include "record.h"
#include "ring_call.h"
#include "shared_file.h"
#include "sleep.h"

struct trampoline_stack {
	uint64_t trampoline, rdi, rsi, rdx, rcx, r8, r9, function;
};

static PyTypeObject *ring_type;

PyObject *rsys_ring_new(Hub *hub)
{
	struct block *block = rsys_take_block(hub);
	Ring *self;

	if (!block)
		return NULL;
	self = (Ring *)((allocfunc)PyType_GetSlot(ring_type, Py_tp_alloc))(ring_type, 0);
	if (!self) {
		rsys_give_back_block(hub, block);
		return NULL;
	}
	Py_INCREF(hub);
	self->hub = hub;
	self->block = block;
	self->doorbell = self->socket = -1;
	self->shared = &block->ring;
	self->life = &block->ring.ctid;
	self->alive = 1;
	block->owner = (PyObject *)self;
	block->pidfd = -1;
	block->ring.hub = hub->hub;
	block->ring.completion = -1;
	block->ring.client_spin = 16;
	block->ring.nudge_after = 16;
	block->ring.origin.owner = hub->hub->owner;
	block->ring.origin.watcher_fd = -1;
	block->ring.origin.parent_pid = -1;
	block->ring.origin.dumpable = RSYS_DUMPABLE_UNCHANGED;
	return (PyObject *)self;
}

static int ring_traverse(PyObject *op, visitproc visit, void *arg)
{
	Ring *self = (Ring *)op;
	size_t i;

	Py_VISIT(Py_TYPE(op));
	Py_VISIT((PyObject *)self->hub);
	Py_VISIT(self->cloning_table);
	for (i = 0; i < RSYS_RING_SLOTS; i++) {
		Py_VISIT(self->waits[i].sleeper);
		Py_VISIT((PyObject *)self->waits[i].record);
	}
	return 0;
}

static int ring_clear(PyObject *op)
{
	Ring *self = (Ring *)op;
	size_t i;

	Py_CLEAR(self->cloning_table);
	for (i = 0; i < RSYS_RING_SLOTS; i++) {
		PyObject *record = (PyObject *)self->waits[i].record;

		Py_CLEAR(self->waits[i].sleeper);
		self->waits[i].record = NULL;
		Py_XDECREF(record);
	}
	return 0;
}

/* End a process that no caller has been given. */
static void end_process(Ring *self)
{
	struct block *block = self->block;
	int pidfd = self->holds_pidfd ? block->pidfd : -1;
	int pid = __atomic_load_n(&block->ring.pid, __ATOMIC_ACQUIRE), saved = errno;

	/* The number may be one of another pid namespace. */
	if (__atomic_load_n(&block->ring.origin.flags, __ATOMIC_ACQUIRE) & RSYS_ORIGIN_FOREIGN_PID)
		pid = 0;
	if (self->holds == OUR_CHILD_BY_ANOTHER && pid <= 0)
		self->holds = NOT_OURS;
	if (self->holds != NOT_OURS && (pidfd >= 0 || pid > 0)) {
		block->started = 1;
		if (rsys_end_child(self->holds == OUR_CHILD ? pidfd : -1, pid) == 0)
			__atomic_store_n(&block->ring.ctid, 0, __ATOMIC_RELEASE);
	}
	self->holds = NOT_OURS;
	self->holds_pidfd = 0;
	if (pidfd >= 0) {
		if (self->cloning_table)
			rsys_abandon(self->cloning_table, pidfd, 0);
		else
			close(pidfd);
	}
	errno = saved;
}

/*
 * The kernel writes pidfd and (clone3) pid before the call returns: an interrupt in between loses nothing.
 */
static int may_run(struct block *block)
{
	return block->started || block->pidfd >= 0 || __atomic_load_n(&block->ring.pid, __ATOMIC_ACQUIRE);
}

static void ring_dealloc(PyObject *op)
{
	Ring *self = (Ring *)op;
	PyTypeObject *type = Py_TYPE(op);
	struct block *block = self->block;

	PyObject_GC_UnTrack(op);
	if (block && self->hub->owner.generation == rsys_fork_generation)
		end_process(self);
	ring_clear(op);
	if (block) {
		block->owner = NULL;
		if (self->hub->owner.generation == rsys_fork_generation) {
			block->started = may_run(block);
			rsys_ring_send_shutdown(self);
			rsys_give_back_block(self->hub, block);
		}
		if (self->doorbell >= 0)
			close(self->doorbell);
		rsys_shared_close(self);
	}
	Py_XDECREF((PyObject *)self->hub);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

/* shutdown() */
static PyObject *ring_shutdown(PyObject *op, PyObject *unused)
{
	(void)unused;
	rsys_ring_send_shutdown((Ring *)op);
	Py_RETURN_NONE;
}

/*
 * prepare(flags, exit_signal, trampoline, function, args) -> address of struct
 * clone_args for clone3: writes the stack, so that a clone with it starts function(*args).
 */
static PyObject *ring_prepare(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	struct block *block = self->block;
	struct trampoline_stack *stack;
	unsigned long long flags, trampoline, function;
	long long a[6] = { 0 };
	int exit_signal;
	uint32_t cpu;

	if (!PyArg_ParseTuple(args, "KiKK|LLLLLL", &flags, &exit_signal, &trampoline, &function, &a[0], &a[1],
			      &a[2], &a[3], &a[4], &a[5]))
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (block->started) {
		PyErr_SetString(PyExc_RuntimeError, "a process has been started on this block already");
		return NULL;
	}
	stack = (struct trampoline_stack *)block - 1;
	stack->trampoline = trampoline;
	stack->rdi = a[0];
	stack->rsi = a[1];
	stack->rdx = a[2];
	stack->rcx = a[3];
	stack->r8 = a[4];
	stack->r9 = a[5];
	stack->function = function;
	memset(&block->clone_args, 0, sizeof(block->clone_args));
	block->clone_args.flags = flags;
	block->clone_args.exit_signal = exit_signal;
	block->clone_args.pidfd = (uint64_t)&block->pidfd;
	block->clone_args.child_tid = (uint64_t)&block->ring.ctid;
	block->clone_args.parent_tid = (uint64_t)&block->ring.pid;
	block->clone_args.stack = (uint64_t)block - STACK_SIZE;
	block->clone_args.stack_size = (uint64_t)stack - block->clone_args.stack;
	block->ring.table_shared = !!(flags & CLONE_FILES);
	block->ring.ctid = 1;
	/* A new process starts on its creator's processor: until it says otherwise, yield to it. */
	rsys_cycles(&cpu);
	block->ring.client_cpu = block->ring.server_cpu = cpu;
	return PyLong_FromUnsignedLongLong((uint64_t)&block->clone_args);
}

/*
 * clone(flags, exit_signal, trampoline, function, args) -> process id or -errno: prepare(), clone3 from our own
 * process, and started() or not_started(), without a moment in between.
 */
static PyObject *ring_clone(PyObject *op, PyObject *args)
{
	struct block *block = ((Ring *)op)->block;
	int64_t call[7] = { __NR_clone3, 0, sizeof(block->clone_args), 0, 0, 0, 0 };
	PyObject *address = ring_prepare(op, args);
	long pid;

	if (!address)
		return NULL;
	Py_DECREF(address);
	call[1] = (int64_t)&block->clone_args;
	pid = rsys_make_local_call(call);
	if (pid < 0) {
		block->pidfd = -1;
		__atomic_store_n(&block->ring.pid, 0, __ATOMIC_RELEASE);
	} else {
		block->started = 1;
		block->ring.pid = pid;
	}
	return PyLong_FromLong(pid);
}

/* started(pid): the clone has been made. From now on ctid is looked at. */
static PyObject *ring_started(PyObject *op, PyObject *arg)
{
	Ring *self = (Ring *)op;
	long pid = PyLong_AsLong(arg);

	if (pid == -1 && PyErr_Occurred())
		return NULL;
	self->block->started = 1;
	self->block->ring.pid = pid;
	Py_RETURN_NONE;
}

/* set_pid(pid): in our own pid namespace, where it was made from another one; 0: unknown */
static PyObject *ring_set_pid(PyObject *op, PyObject *arg)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;
	long pid = PyLong_AsLong(arg);

	if (pid == -1 && PyErr_Occurred())
		return NULL;
	__atomic_store_n(&ring->pid, pid, __ATOMIC_RELEASE);
	__atomic_and_fetch(&ring->origin.flags, ~RSYS_ORIGIN_FOREIGN_PID, __ATOMIC_RELEASE);
	Py_RETURN_NONE;
}

/* not_started(): the clone has failed, whatever the kernel had written by then */
static PyObject *ring_not_started(PyObject *op, PyObject *unused)
{
	struct block *block = ((Ring *)op)->block;

	(void)unused;
	block->started = 0;
	block->pidfd = -1;
	__atomic_store_n(&block->ring.pid, 0, __ATOMIC_RELEASE);
	Py_RETURN_NONE;
}

/*
 * hold(is_child, table): the process is about to be cloned. Until release() it is ended when this object
 * goes. is_child: it will be a child of ours. table: where its pidfd is going to be; None: in our own.
 */
static PyObject *ring_hold(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	PyObject *table, *before = self->cloning_table;
	int is_child;

	if (!PyArg_ParseTuple(args, "pO", &is_child, &table))
		return NULL;
	if (self->block->started) {
		PyErr_SetString(PyExc_RuntimeError, "a process has been started on this block already");
		return NULL;
	}
	self->holds = !is_child ? NOT_OURS : table == Py_None ? OUR_CHILD : OUR_CHILD_BY_ANOTHER;
	self->holds_pidfd = 1;
	self->cloning_table = NULL;
	if (table != Py_None) {
		Py_INCREF(table);
		self->cloning_table = table;
	}
	Py_XDECREF(before);
	Py_RETURN_NONE;
}

/* give_pidfd(owner): an OwnedPidfd, or the record of a call that closes it, owns it from now on */
static PyObject *ring_give_pidfd(PyObject *op, PyObject *owner)
{
	Ring *self = (Ring *)op;
	CallRecord *record;

	if (!self->holds_pidfd || self->block->pidfd < 0) {
		PyErr_SetString(PyExc_ValueError, "there is no pidfd, or it has been given away");
		return NULL;
	}
	if (rsys_is_pidfd(owner)) {
		if (rsys_pidfd_set(owner, self->block->pidfd) < 0)
			return NULL;
	} else {
		if (rsys_as_record(owner, &record) < 0)
			return NULL;
		if (record)
			rsys_record_own(record, self->block->pidfd);
	}
	self->holds_pidfd = 0;
	Py_RETURN_NONE;
}

/* release(): another object is responsible for the process now */
static PyObject *ring_release(PyObject *op, PyObject *unused)
{
	(void)unused;
	((Ring *)op)->holds = NOT_OURS;
	Py_RETURN_NONE;
}

/* end_process(): as if this object went now */
static PyObject *ring_end_process(PyObject *op, PyObject *unused)
{
	(void)unused;
	if (rsys_hub_check(((Ring *)op)->hub) < 0)
		return NULL;
	end_process((Ring *)op);
	Py_RETURN_NONE;
}

/*
 * exited(): the process has exited, as its pidfd says. The kernel clears the word for that, but not when
 * it has dumped core.
 */
static PyObject *ring_exited(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (self->block->started) {
		__atomic_store_n(&self->block->ring.ctid, 0, __ATOMIC_RELEASE);
		self->life = &self->dead;
	}
	Py_RETURN_NONE;
}

static PyObject *ring_get_left(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(has_left((Ring *)op));
}

/* whether a process runs on it, or may have been made to */
static PyObject *ring_get_taken(PyObject *op, void *closure)
{
	struct block *block = ((Ring *)op)->block;

	(void)closure;
	return PyBool_FromLong(may_run(block) && !has_left((Ring *)op));
}

static PyObject *ring_get_address(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong((uint64_t)&((Ring *)op)->block->ring);
}

static PyObject *ring_get_origin(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong((uint64_t)&((Ring *)op)->block->ring.origin);
}

static PyObject *ring_get_ctid_address(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong((uint64_t)&((Ring *)op)->block->ring.ctid);
}

static PyObject *ring_get_pidfd(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((Ring *)op)->block->pidfd);
}

/* in our pid namespace; 0: unknown */
static PyObject *ring_get_pid(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((Ring *)op)->block->ring.pid);
}

static PyObject *ring_get_outstanding(PyObject *op, void *closure)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;

	(void)closure;
	return PyLong_FromLong(ring->submitted - ring->consumed);
}

static PyObject *ring_get_submitted(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLong(((Ring *)op)->block->ring.submitted);
}

static PyObject *ring_get_parks(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong(((Ring *)op)->shared->parks);
}

/* None, or the PR_GET_DUMPABLE of our memory before this process changed it (negative: unknown) */
static PyObject *ring_get_dumpable_before(PyObject *op, void *closure)
{
	struct rsys_origin *origin = &((Ring *)op)->block->ring.origin;

	(void)closure;
	if (!__atomic_load_n(&origin->creds_changed, __ATOMIC_ACQUIRE) ||
	    origin->dumpable == RSYS_DUMPABLE_UNCHANGED)
		Py_RETURN_NONE;
	return PyLong_FromLong(origin->dumpable);
}

/* whether this process is in another user namespace than the one that our memory belongs to */
static PyObject *ring_get_in_user_namespace(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(
		__atomic_load_n(&((Ring *)op)->block->ring.origin.user_namespace, __ATOMIC_ACQUIRE));
}

static int ring_set_in_user_namespace(PyObject *op, PyObject *value, void *closure)
{
	int truth = value ? PyObject_IsTrue(value) : 0;

	(void)closure;
	if (truth < 0)
		return -1;
	__atomic_store_n(&((Ring *)op)->block->ring.origin.user_namespace, truth, __ATOMIC_RELEASE);
	return 0;
}

/* whether this process has made or been sent a call that may change its credentials */
static PyObject *ring_get_may_change_credentials(PyObject *op, void *closure)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;
	uint32_t seq;

	(void)closure;
	for (seq = ring->consumed + 1; seq != ring->submitted + 1; seq++) {
		uint64_t word =
			__atomic_load_n(&((Ring *)op)->shared->slots[seq % RSYS_RING_SLOTS].word, __ATOMIC_ACQUIRE);

		if (!(word & RSYS_SLOT_DONE) && rsys_may_change_credentials((uint32_t)word & ~RSYS_NR_LINKED))
			Py_RETURN_TRUE;
	}
	/* Last, for what is done by now is recorded by now. */
	return PyBool_FromLong(__atomic_load_n(&ring->origin.creds_changed, __ATOMIC_ACQUIRE));
}

/* our end of the socket of a process with memory of its own; -1: none */
static PyObject *ring_get_socket(PyObject *op, void *closure)
{
	(void)closure;
	return PyLong_FromLong(((Ring *)op)->socket);
}

static PyObject *ring_get_deaf(PyObject *op, void *closure)
{
	Ring *self = (Ring *)op;

	(void)closure;
	return PyBool_FromLong(!self->file && (self->shared->table_shared || self->shared->completion < 0));
}

/* whether a filter denies the process to wake us, or may do so by a call that it has been sent */
static int is_mute(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;
	uint32_t seq;

	for (seq = ring->consumed + 1; seq != ring->submitted + 1; seq++) {
		struct rsys_slot *slot = &self->shared->slots[seq % RSYS_RING_SLOTS];
		uint64_t word = __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE);

		if (!(word & RSYS_SLOT_DONE) && rsys_may_filter((uint32_t)word & ~RSYS_NR_LINKED, slot->args))
			return 1;
	}
	return __atomic_load_n(&self->shared->mute, __ATOMIC_ACQUIRE) != 0;
}

static PyObject *ring_get_mute(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(is_mute((Ring *)op));
}

/*
 * configure(watcher_fd, parent_pid, completion, flags, sigmask, cloner): before the process starts. Filters
 * are inherited, so it is as mute as the process that clones it: that of another ring, or ours.
 * The new process checks that when it starts, but a caller may go to sleep before that.
 */
static PyObject *ring_configure(PyObject *op, PyObject *args)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;
	PyObject *cloner = Py_None;
	int watcher_fd, parent_pid, completion, mute;
	unsigned int flags;
	unsigned long long sigmask;

	if (!PyArg_ParseTuple(args, "iiiIK|O", &watcher_fd, &parent_pid, &completion, &flags, &sigmask, &cloner))
		return NULL;
	if (cloner == Py_None) {
		mute = rsys_may_not_wake(&ring->state);
	} else if (Py_TYPE(cloner) == Py_TYPE(op)) {
		mute = is_mute((Ring *)cloner);
	} else {
		PyErr_SetString(PyExc_TypeError, "the cloner is a Ring or None");
		return NULL;
	}
	ring->origin.watcher_fd = watcher_fd;
	ring->origin.parent_pid = parent_pid;
	ring->origin.flags = flags;
	ring->origin.sigmask = sigmask;
	ring->completion = completion;
	ring->mute = mute;
	Py_RETURN_NONE;
}

/* close_doorbell(): the process has left */
static PyObject *ring_close_doorbell(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (self->doorbell >= 0)
		close(self->doorbell);
	self->doorbell = -1;
	Py_RETURN_NONE;
}

/*
 * watch_activity(doorbell): a non-blocking eventfd of ours that the process has, too. It belongs to this
 * object from now on, which closes it. It is readable while another request is behind a call that waits
 * for descriptors: who waits for other things in that call can watch it for us.
 */
static PyObject *ring_watch_activity(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;

	if (!PyArg_ParseTuple(args, "i", &self->doorbell))
		return NULL;
	Py_RETURN_NONE;
}

static PyMethodDef ring_methods[] = {
	{ "call", (PyCFunction)(void (*)(void))rsys_ring_call, METH_FASTCALL, NULL },
	{ "recorded_call", (PyCFunction)(void (*)(void))rsys_ring_recorded_call, METH_FASTCALL, NULL },
	{ "put", (PyCFunction)(void (*)(void))rsys_ring_put_method, METH_FASTCALL, NULL },
	{ "call_many", (PyCFunction)(void (*)(void))rsys_ring_call_many, METH_FASTCALL, NULL },
	{ "next_result", rsys_ring_next_result, METH_NOARGS, NULL },
	{ "sleep", rsys_ring_sleep, METH_VARARGS, NULL },
	{ "put_backlog", rsys_ring_put_backlog, METH_O, NULL },
	{ "deliver", rsys_ring_deliver, METH_NOARGS, NULL },
	{ "sleepers", rsys_ring_sleepers, METH_NOARGS, NULL },
	{ "last_sleeper", rsys_ring_last_sleeper, METH_NOARGS, NULL },
	{ "forget", rsys_ring_forget, METH_NOARGS, NULL },
	{ "results", rsys_ring_results, METH_NOARGS, NULL },
	{ "wait", rsys_ring_wait_method, METH_O, NULL },
	{ "block", rsys_ring_block_method, METH_O, NULL },
	{ "prepare_calls", rsys_ring_prepare_calls, METH_O, NULL },
	{ "prepare_exit", rsys_ring_prepare_exit, METH_NOARGS, NULL },
	{ "announce", rsys_ring_announce, METH_NOARGS, NULL },
	{ "kick", rsys_ring_kick_method, METH_NOARGS, NULL },
	{ "shutdown", ring_shutdown, METH_NOARGS, NULL },
	{ "prepare", ring_prepare, METH_VARARGS, NULL },
	{ "clone", ring_clone, METH_VARARGS, NULL },
	{ "started", ring_started, METH_O, NULL },
	{ "set_pid", ring_set_pid, METH_O, NULL },
	{ "not_started", ring_not_started, METH_NOARGS, NULL },
	{ "hold", ring_hold, METH_VARARGS, NULL },
	{ "give_pidfd", ring_give_pidfd, METH_O, NULL },
	{ "release", ring_release, METH_NOARGS, NULL },
	{ "end_process", ring_end_process, METH_NOARGS, NULL },
	{ "exited", ring_exited, METH_NOARGS, NULL },
	{ "configure", ring_configure, METH_VARARGS, NULL },
	{ "close_doorbell", ring_close_doorbell, METH_NOARGS, NULL },
	{ "watch_activity", ring_watch_activity, METH_VARARGS, NULL },
	{ "share", rsys_shared_share, METH_VARARGS, NULL },
	{ "open", rsys_shared_open, METH_O, NULL },
	{ "nest", rsys_shared_nest, METH_VARARGS, NULL },
	{ "nested", rsys_shared_nested, METH_VARARGS, NULL },
	{ "greeted", rsys_shared_greeted, METH_VARARGS, NULL },
	{ "heard", rsys_shared_heard, METH_NOARGS, NULL },
	{ "read", (PyCFunction)(void (*)(void))rsys_shared_read, METH_FASTCALL, NULL },
	{ "write", (PyCFunction)(void (*)(void))rsys_shared_write, METH_FASTCALL, NULL },
	{ "unshare", rsys_shared_unshare, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef ring_getset[] = {
	{ "left", ring_get_left, NULL, NULL, NULL },
	{ "taken", ring_get_taken, NULL, NULL, NULL },
	{ "address", ring_get_address, NULL, NULL, NULL },
	{ "origin_address", ring_get_origin, NULL, NULL, NULL },
	{ "ctid_address", ring_get_ctid_address, NULL, NULL, NULL },
	{ "pidfd", ring_get_pidfd, NULL, NULL, NULL },
	{ "outstanding", ring_get_outstanding, NULL, NULL, NULL },
	{ "submitted", ring_get_submitted, NULL, NULL, NULL },
	{ "parks", ring_get_parks, NULL, NULL, NULL },
	{ "dumpable_before", ring_get_dumpable_before, NULL, NULL, NULL },
	{ "in_user_namespace", ring_get_in_user_namespace, ring_set_in_user_namespace, NULL, NULL },
	{ "may_change_credentials", ring_get_may_change_credentials, NULL, NULL, NULL },
	{ "pid", ring_get_pid, NULL, NULL, NULL },
	{ "socket", ring_get_socket, NULL, NULL, NULL },
	{ "deaf", ring_get_deaf, NULL, NULL, NULL },
	{ "mute", ring_get_mute, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot ring_slots[] = {
	{ Py_tp_methods, ring_methods },
	{ Py_tp_getset, ring_getset },
	{ Py_tp_dealloc, ring_dealloc },
	{ Py_tp_traverse, ring_traverse },
	{ Py_tp_clear, ring_clear },
	{ 0, NULL },
};

static PyType_Spec ring_spec = {
	.name = "rsyscall.native.fast.Ring",
	.basicsize = sizeof(Ring),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_GC,
	.slots = ring_slots,
};

PyTypeObject *rsys_ring_init(void)
{
	ring_type = (PyTypeObject *)PyType_FromSpec(&ring_spec);
	return ring_type;
}
