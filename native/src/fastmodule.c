/*
 * rsyscall.native._fast: the client side, as thin as the C API of Python allows.
 *
 * cffi releases the interpreter lock around every call, which costs milliseconds when
 * another Python thread is busy. Here the lock is kept for calls that cannot block and for
 * the first microseconds of a wait, and given up after that.
 */
#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "execute.h"
#include "freestanding.h"
#include "rsyscall.h"

/* Outside the range of any result of a call. */
#define RESULT_PENDING (INT64_MIN + 1)	/* sent; the answer comes through the event loop */
#define RESULT_UNSENT (INT64_MIN + 2)	/* not sent: the process has left */
#define RESULT_HANGUP (INT64_MIN + 3)	/* sent, and the process left without an answer */
#define RESULT_FULL (INT64_MIN + 4)	/* not sent: no free slot */

#define HOLD_GIL_US 5
#define LOOKS_BEFORE_PAUSE 64
#define YIELD_EVERY 64

/* The forked copy of a program has the memory of our rings but not the processes behind. */
static unsigned int fork_generation;

static void after_fork_in_child(void)
{
	fork_generation++;
}

/* ---- Arguments ------------------------------------------------------------------------ */

/* The one object that 0 is: most arguments are. */
static PyObject *zero;

static int as_word(PyObject *obj, int64_t *ret)
{
	int overflow;
	long long value;
	PyObject *number = NULL;

	if (obj == zero) {
		*ret = 0;
		return 0;
	}
	if (!PyLong_Check(obj)) {
		if (PyFloat_Check(obj) || PyUnicode_Check(obj) || PyBytes_Check(obj) || PyByteArray_Check(obj)) {
			PyErr_Format(PyExc_TypeError, "an argument of a system call is an integer or "
				     "convertible by int(), not %R", obj);
			return -1;
		}
		number = PyNumber_Long(obj);
		if (!number)
			return -1;
		obj = number;
	}
	value = PyLong_AsLongLongAndOverflow(obj, &overflow);
	if (overflow > 0)
		value = (long long)PyLong_AsUnsignedLongLong(obj);
	else if (overflow < 0)
		PyErr_Format(PyExc_OverflowError, "%R does not fit into 64 bits", obj);
	Py_XDECREF(number);
	if (value == -1 && PyErr_Occurred())
		return -1;
	*ret = value;
	return 0;
}

/* number, up to six arguments */
static int parse_call(PyObject *const *args, Py_ssize_t n, int64_t v[7])
{
	Py_ssize_t i;

	if (n < 1 || n > 7) {
		PyErr_Format(PyExc_TypeError, "a system call takes a number and up to 6 arguments, got %zd in all", n);
		return -1;
	}
	for (i = 0; i < n; i++)
		if (as_word(args[i], &v[i]) < 0)
			return -1;
	for (; i < 7; i++)
		v[i] = 0;
	return 0;
}

/* ---- Calls of our own process --------------------------------------------------------- */

/* Calls that return at once, whatever their arguments: not worth giving up the lock. */
static int never_blocks(int64_t nr)
{
	switch (nr) {
	case __NR_getpid: case __NR_getppid: case __NR_gettid: case __NR_getuid: case __NR_geteuid:
	case __NR_getgid: case __NR_getegid: case __NR_getpgid: case __NR_getsid: case __NR_getresuid:
	case __NR_getresgid: case __NR_umask: case __NR_uname: case __NR_prctl: case __NR_kill:
	case __NR_rt_sigprocmask: case __NR_rt_sigaction: case __NR_sched_getaffinity:
	case __NR_sched_yield: case __NR_epoll_create1: case __NR_epoll_ctl: case __NR_eventfd2:
	case __NR_signalfd4: case __NR_timerfd_create: case __NR_timerfd_settime:
	case __NR_timerfd_gettime: case __NR_pipe2: case __NR_socket: case __NR_socketpair:
	case __NR_getsockname: case __NR_getpeername: case __NR_getsockopt: case __NR_setsockopt:
	case __NR_memfd_create: case __NR_clone: case __NR_clone3: case __NR_pidfd_open: case __NR_dup3:
	case __NR_pidfd_send_signal: case __NR_madvise: case __NR_capget: case __NR_prlimit64:
		return 1;
	}
	return 0;
}

/* In another object, so that a clone through it finds the trampoline there; set at import. */
static long (*out_of_line_syscall)(long, long, long, long, long, long, long);

static PyObject *fast_syscall(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t v[7];
	long result;

	(void)module;
	if (parse_call(args, n, v) < 0)
		return NULL;
	if (v[0] == __NR_clone || v[0] == __NR_clone3) {
		result = out_of_line_syscall(v[1], v[2], v[3], v[4], v[5], v[6], v[0]);
	} else if (never_blocks(v[0])) {
		result = rsys_syscall6(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
	} else {
		PyThreadState *state = PyEval_SaveThread();

		result = rsys_syscall6(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
		PyEval_RestoreThread(state);
	}
	return PyLong_FromLong(result);
}

/* ---- Memory of our own address space --------------------------------------------------- */

static PyObject *fast_read_memory(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t address, length;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "read_memory(address, length)");
		return NULL;
	}
	if (as_word(args[0], &address) < 0 || as_word(args[1], &length) < 0)
		return NULL;
	if (length < 0) {
		PyErr_Format(PyExc_ValueError, "cannot read %lld bytes", (long long)length);
		return NULL;
	}
	return PyBytes_FromStringAndSize((const char *)address, length);
}

static PyObject *fast_write_memory(PyObject *module, PyObject *const *args, Py_ssize_t n)
{
	int64_t address;
	char *data;
	Py_ssize_t length;

	(void)module;
	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "write_memory(address, data)");
		return NULL;
	}
	if (as_word(args[0], &address) < 0)
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

/* ---- The clock of the spin loops ------------------------------------------------------- */

static uint64_t calibration_cycles, calibration_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

/* Both clocks at one moment: the best of some tries, for we may lose the processor in between. */
static void read_clocks(uint64_t *ret_cycles, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		uint32_t cpu;
		uint64_t before = rsys_cycles(&cpu), ns = now_ns(), took = rsys_cycles(&cpu) - before;

		if (took < best) {
			best = took;
			*ret_cycles = before;
			*ret_ns = ns;
		}
	}
}

/* From the time since the import, or a fraction of a millisecond when that was just now. */
static uint64_t cycles_per_us(void)
{
	uint64_t cycles, ns;

	while (now_ns() - calibration_ns < 200000)
		;
	read_clocks(&cycles, &ns);
	return (cycles - calibration_cycles) * 1000 / (ns - calibration_ns);
}

/* ---- Hub: what the rings of one program share ------------------------------------------- */

/* One driven process: its ring, the arguments it is cloned with, its stack. */
#define BLOCK_SIZE 16384
#define BLOCKS_PER_ARENA 64

struct clone_args_ {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

struct block {
	struct rsys_ring ring;
	struct clone_args_ clone_args;
	int32_t pidfd;
	uint32_t started;
	struct block *next;	/* in the list of free or of abandoned blocks */
	PyObject *owner;	/* the Ring object, while there is one (not a reference) */
	uint64_t stack_start[];
};

struct trampoline_stack {
	uint64_t trampoline, rdi, rsi, rdx, rcx, r8, r9, function;
};

typedef struct {
	PyObject_HEAD
	struct rsys_hub *hub;
	struct block *free, *abandoned;
	struct block **collected;	/* popped from the ready stack, not handed to Python yet */
	size_t n_collected, room_collected;
	size_t n_blocks;
	uint64_t client_spin, hold_gil;	/* cycles */
	unsigned long thread;
	unsigned int generation;
} Hub;

static PyTypeObject *hub_type, *ring_type;

static int hub_check(Hub *hub)
{
	if (hub->generation != fork_generation) {
		PyErr_SetString(PyExc_RuntimeError, "this is a forked copy of the program that drives these "
				"processes; only the original can use them");
		return -1;
	}
	if (hub->thread != PyThread_get_thread_ident()) {
		PyErr_Format(PyExc_RuntimeError, "these processes are driven by the OS thread with identifier %lu; "
			     "they cannot be used from thread %lu", hub->thread, PyThread_get_thread_ident());
		return -1;
	}
	return 0;
}

static PyObject *hub_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "eventfd", "client_spin_us", "server_spin_us", NULL };
	int fd;
	double client_us, server_us;
	uint64_t rate;
	size_t size = sizeof(struct rsys_hub);
	struct stat event;
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
	rate = cycles_per_us();
	self->hub = memory;
	self->hub->monitor.eventfd = fd;
	if (fstat(fd, &event) == 0) {
		self->hub->event_dev = event.st_dev;
		self->hub->event_ino = event.st_ino;
	}
	self->hub->server_spin = server_us * rate;
	self->client_spin = client_us * rate;
	self->hold_gil = HOLD_GIL_US * rate;
	self->thread = PyThread_get_thread_ident();
	self->generation = fork_generation;
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

/* Move what the servers announced to our own list. */
static int hub_collect(Hub *self)
{
	uint64_t head = __atomic_exchange_n(&self->hub->ready, 0, __ATOMIC_SEQ_CST);

	while (head) {
		struct block *block = (struct block *)head;

		head = block->ring.ready_next;
		if (self->n_collected == self->room_collected) {
			size_t room = self->room_collected ? 2 * self->room_collected : 64;
			void *bigger = realloc(self->collected, room * sizeof(struct block *));

			if (!bigger) {
				PyErr_NoMemory();
				return -1;
			}
			self->collected = bigger;
			self->room_collected = room;
		}
		self->collected[self->n_collected++] = block;
		/* From here on the server may announce it again. */
		__atomic_store_n(&block->ring.queued, 0, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static PyObject *hub_drain(PyObject *op, PyObject *unused)
{
	Hub *self = (Hub *)op;
	PyObject *list;
	size_t i;

	(void)unused;
	if (hub_check(self) < 0 || hub_collect(self) < 0)
		return NULL;
	list = PyList_New(0);
	if (!list)
		return NULL;
	for (i = 0; i < self->n_collected; i++) {
		struct block *block = self->collected[i];

		if (block->owner && PyList_Append(list, block->owner) < 0) {
			Py_DECREF(list);
			return NULL;
		}
	}
	self->n_collected = 0;
	return list;
}

/* Blocks whose Ring is gone are free again when their process has left our memory. */
static int hub_reclaim(Hub *self)
{
	struct block **link = &self->abandoned, *block;
	int collected = 0;

	while ((block = *link)) {
		size_t i;

		if (__atomic_load_n(&block->ring.ctid, __ATOMIC_ACQUIRE)) {
			link = &block->next;
			continue;
		}
		/* It may have been killed in the middle of announcing itself; now nobody pushes it. */
		if (!collected && hub_collect(self) < 0)
			return -1;
		collected = 1;
		for (i = 0; i < self->n_collected; i++)
			if (self->collected[i] == block)
				self->collected[i--] = self->collected[--self->n_collected];
		*link = block->next;
		block->next = self->free;
		self->free = block;
	}
	return 0;
}

static struct block *hub_take_block(Hub *self)
{
	struct block *block;

	if (!self->free && hub_reclaim(self) < 0)
		return NULL;
	if (!self->free) {
		size_t size = (size_t)BLOCK_SIZE * BLOCKS_PER_ARENA, i;
		char *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (arena == MAP_FAILED) {
			PyErr_SetFromErrno(PyExc_OSError);
			return NULL;
		}
		for (i = BLOCKS_PER_ARENA; i-- > 0;) {
			block = (struct block *)(arena + i * BLOCK_SIZE);
			block->next = self->free;
			self->free = block;
		}
		self->n_blocks += BLOCKS_PER_ARENA;
	}
	block = self->free;
	self->free = block->next;
	memset(&block->ring, 0, offsetof(struct rsys_ring, slots));
	/* Only the sequence numbers of the slots must not look like requests. */
	for (size_t i = 0; i < RSYS_RING_SLOTS; i++)
		block->ring.slots[i].word = 0;
	memset((char *)block + sizeof(struct rsys_ring), 0, sizeof(struct block) - sizeof(struct rsys_ring));
	return block;
}

/* ---- Ring ------------------------------------------------------------------------------ */

typedef struct {
	PyObject_HEAD
	Hub *hub;
	struct block *block;
	int doorbell;	/* in our own table; -1: none */
} Ring;

static PyObject *hub_ring(PyObject *op, PyObject *unused)
{
	Hub *hub = (Hub *)op;
	struct block *block;
	Ring *self;

	(void)unused;
	if (hub_check(hub) < 0)
		return NULL;
	block = hub_take_block(hub);
	if (!block)
		return NULL;
	self = (Ring *)((allocfunc)PyType_GetSlot(ring_type, Py_tp_alloc))(ring_type, 0);
	if (!self) {
		block->next = hub->free;
		hub->free = block;
		return NULL;
	}
	Py_INCREF(hub);
	self->hub = hub;
	self->block = block;
	self->doorbell = -1;
	block->owner = (PyObject *)self;
	block->pidfd = -1;
	block->ring.hub = hub->hub;
	block->ring.doorbell = -1;
	block->ring.completion = -1;
	block->ring.client_spin = 16;
	block->ring.nudge_after = 16;
	block->ring.origin.owner_fd = -1;
	block->ring.origin.parent_pid = -1;
	return (PyObject *)self;
}

static void ring_put(struct rsys_ring *ring, const int64_t v[7]);
static void ring_kick(Ring *self);
static int has_left(struct block *block);

/* The server returns, and with it the process, after what it has been sent. */
static void ring_send_shutdown(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7] = { RSYS_NR_SHUTDOWN };

	if (self->hub->generation == fork_generation && self->block->started && !has_left(self->block) &&
	    ring->submitted - ring->consumed < RSYS_RING_SLOTS) {
		ring_put(ring, v);
		ring_kick(self);
	}
}

static void ring_dealloc(PyObject *op)
{
	Ring *self = (Ring *)op;
	PyTypeObject *type = Py_TYPE(op);
	struct block *block = self->block;

	if (block) {
		block->owner = NULL;
		if (self->hub->generation == fork_generation) {
			/* The kernel writes the pid before clone returns: an interrupt in between loses nothing. */
			int running = block->started || __atomic_load_n(&block->ring.pid, __ATOMIC_ACQUIRE);
			struct block **list = running ? &self->hub->abandoned : &self->hub->free;

			block->started = running;
			ring_send_shutdown(self);
			block->next = *list;
			*list = block;
		}
		if (self->doorbell >= 0)
			close(self->doorbell);
	}
	Py_XDECREF((PyObject *)self->hub);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(op);
	Py_DECREF(type);
}

static void ring_put(struct rsys_ring *ring, const int64_t v[7])
{
	uint32_t seq = ring->submitted + 1;
	struct rsys_slot *slot = &ring->slots[seq % RSYS_RING_SLOTS];

	memcpy(slot->args, v + 1, sizeof(slot->args));
	__atomic_store_n(&slot->word, (uint64_t)seq << 32 | (uint32_t)v[0], __ATOMIC_RELEASE);
	ring->submitted = seq;
}

static void ring_kick(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;
	uint64_t one = 1;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	switch (__atomic_load_n(&ring->state, __ATOMIC_RELAXED)) {
	case RSYS_PARKED_FUTEX:
		__atomic_store_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST);
		rsys_call3(__NR_futex, &ring->state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
		return;
	case RSYS_PARKED_DOORBELL:
		break;
	default:
		/* It may be in a call that waits for nothing but us. */
		if (!ring->activity_watched)
			return;
	}
	/*
	 * In this order: a ring that the server has not heard, because it saw the request first, is
	 * one that it will be told of. Told too late, it finds the (non-blocking) doorbell silent.
	 */
	rsys_call3(__NR_write, self->doorbell, &one, 8);
	__atomic_store_n(&ring->doorbell_rung, 1, __ATOMIC_SEQ_CST);
}

static int slot_done(struct rsys_ring *ring, uint32_t seq)
{
	return __atomic_load_n(&ring->slots[seq % RSYS_RING_SLOTS].word, __ATOMIC_ACQUIRE) ==
	       ((uint64_t)seq << 32 | RSYS_SLOT_DONE);
}

static int has_left(struct block *block)
{
	return block->started && !__atomic_load_n(&block->ring.ctid, __ATOMIC_ACQUIRE);
}

/*
 * Client and server on one processor cannot talk by spinning. When that lasts, push the
 * server away by its affinity mask and give the mask back at once (exec inherits it).
 */
static void nudge(struct rsys_ring *ring, uint32_t cpu)
{
	unsigned long mask[16], moved[16];
	long n;
	size_t i, bits = 0;

	ring->same_cpu = 0;
	if (ring->nudge_after < 1u << 16)
		ring->nudge_after *= 2;
	if (ring->pid <= 0 || cpu >= 8 * sizeof(mask))
		return;
	n = rsys_call3(__NR_sched_getaffinity, ring->pid, sizeof(mask), mask);
	if (n <= 0)
		return;
	memset(moved, 0, sizeof(moved));
	memcpy(moved, mask, n);
	moved[cpu / 64] &= ~(1ul << cpu % 64);
	for (i = 0; i < (size_t)n / 8; i++)
		bits |= moved[i];
	if (bits && rsys_call3(__NR_sched_setaffinity, ring->pid, n, moved) == 0)
		rsys_call3(__NR_sched_setaffinity, ring->pid, n, mask);
}

/* Spin for the answer to `seq`: 1 when it is there, -1 when the process left, 0 when time is up. */
static int ring_spin(struct block *block, uint32_t seq, uint64_t budget, int may_nudge)
{
	struct rsys_ring *ring = &block->ring;
	uint32_t cpu, looks = 0, executed = ring->executed;
	uint64_t start, now;

	if (!budget)
		return slot_done(ring, seq);
	/* Most answers come before a look at the clock would have been worth its time. */
	for (; looks < LOOKS_BEFORE_PAUSE; looks++)
		if (slot_done(ring, seq))
			return 1;
	start = rsys_cycles(&cpu);
	if (ring->client_cpu != cpu)
		ring->client_cpu = cpu;
	if (ring->server_cpu == cpu) {
		if (may_nudge && ++ring->same_cpu >= ring->nudge_after)
			nudge(ring, cpu);
		rsys_call0(__NR_sched_yield);
	} else {
		ring->same_cpu = 0;
		if (++ring->other_cpu >= 64) {
			ring->other_cpu = 0;
			ring->nudge_after = 16;
		}
	}
	while (!slot_done(ring, seq)) {
		rsys_pause();
		if (++looks % 16)
			continue;
		if (has_left(block))
			return slot_done(ring, seq) ? 1 : -1;
		if (ring->server_cpu == cpu || looks % YIELD_EVERY == 0)
			rsys_call0(__NR_sched_yield);
		now = rsys_cycles(&cpu);
		if (__atomic_load_n(&ring->executed, __ATOMIC_RELAXED) != executed) {
			/* The budget is for one call, and there is a whole batch before ours. */
			executed = ring->executed;
			start = now;
		}
		if (now - start > budget)
			return 0;
	}
	return 1;
}

/* Calls that wait for something by their nature: spinning for them is wasted. */
static int likely_blocks(int64_t nr)
{
	switch (nr) {
	case __NR_nanosleep: case __NR_clock_nanosleep: case __NR_epoll_pwait: case __NR_ppoll:
	case __NR_pselect6: case __NR_futex: case __NR_waitid: case __NR_wait4: case __NR_rt_sigtimedwait:
	case __NR_accept4: case __NR_accept: case __NR_rt_sigsuspend: case __NR_flock:
#ifdef __NR_epoll_wait
	case __NR_epoll_wait: case __NR_poll: case __NR_select: case __NR_pause:
#endif
		return 1;
	}
	return 0;
}

/* Ask to be woken when something is done; 1 when `seq` is done already. */
static int ring_arm(struct rsys_ring *ring, uint32_t seq)
{
	/* 0 stands for nobody; the number before it is announced when this one is done. */
	__atomic_store_n(&ring->client_waits, seq ? seq : UINT32_MAX, __ATOMIC_SEQ_CST);
	if (!slot_done(ring, seq))
		return 0;
	__atomic_store_n(&ring->client_waits, 0, __ATOMIC_SEQ_CST);
	return 1;
}

static int ring_wait(Ring *self, uint32_t seq, int64_t nr, int was_parked)
{
	struct block *block = self->block;
	struct rsys_ring *ring = &block->ring;
	/* Now and then the whole budget is tried: else two sides that both gave up early would stay like that. */
	uint32_t share = ring->client_spin < 16 && ++ring->client_misses % 8 == 0 ? 16 : ring->client_spin;
	uint64_t budget = self->hub->client_spin * share / 16;
	uint64_t hold = budget < self->hub->hold_gil ? budget : self->hub->hold_gil;
	int may_nudge = nr != __NR_sched_setaffinity, done;

	/*
	 * To be woken takes the server longer than we keep the lock for an answer. Given up at every such call,
	 * beside a busy Python thread we would get it back only when the server sleeps once more.
	 */
	if (was_parked)
		hold = budget;
	if (likely_blocks(nr))
		budget = hold = 0;
	done = ring_spin(block, seq, hold, may_nudge);
	if (!done && budget > hold) {
		PyThreadState *state = PyEval_SaveThread();

		done = ring_spin(block, seq, budget - hold, may_nudge);
		PyEval_RestoreThread(state);
	}
	if (done) {
		if (ring->client_spin < 16)
			ring->client_spin *= 2;
		return done;
	}
	if (budget && ring->client_spin > 4)
		ring->client_spin /= 2;
	if (ring_arm(ring, seq))
		return 1;
	return has_left(block) ? (slot_done(ring, seq) ? 1 : -1) : 0;
}

static int ring_check(Ring *self)
{
	return hub_check(self->hub);
}

/* A number that the word of a slot cannot hold is not that of a call: let the kernel say so. */
static int parse_ring_call(PyObject *const *args, Py_ssize_t n, int64_t v[7])
{
	if (parse_call(args, n, v) < 0)
		return -1;
	if (v[0] < 0 || (v[0] & ~(int64_t)RSYS_NR_LINKED) >= RSYS_NR_UNKNOWN)
		v[0] = RSYS_NR_UNKNOWN;
	return 0;
}

/* The whole life of most calls: put, wait, take. */
static PyObject *ring_call(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7], result;
	uint32_t outstanding;

	if (ring_check(self) < 0 || parse_ring_call(args, n, v) < 0)
		return NULL;
	outstanding = ring->submitted - ring->consumed;
	if (has_left(self->block)) {
		result = RESULT_UNSENT;
	} else if (outstanding >= RSYS_RING_SLOTS - 1) {
		result = RESULT_FULL;
	} else {
		int done, was_parked = __atomic_load_n(&ring->state, __ATOMIC_RELAXED) != RSYS_RUNNING;

		ring_put(ring, v);
		ring_kick(self);
		/* Behind a call that takes its time there is no point in spinning. */
		done = outstanding ? 0 : ring_wait(self, ring->submitted, v[0], was_parked);
		if (done > 0) {
			result = ring->slots[ring->submitted % RSYS_RING_SLOTS].result;
			ring->consumed = ring->submitted;
		} else {
			result = done < 0 ? RESULT_HANGUP : RESULT_PENDING;
			/* Those who wait for the calls before this one are announced to first. */
			if (outstanding && !ring->client_waits)
				ring_arm(ring, ring->consumed + 1);
		}
	}
	return PyLong_FromLongLong(result);
}

/* put(number, ...) -> sequence number: queue a call without waking anybody or waiting. */
static PyObject *ring_put_method(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7];

	if (ring_check(self) < 0 || parse_ring_call(args, n, v) < 0)
		return NULL;
	if (has_left(self->block))
		return PyLong_FromLongLong(RESULT_UNSENT);
	if (ring->submitted - ring->consumed >= RSYS_RING_SLOTS - 1)
		return PyLong_FromLongLong(RESULT_FULL);
	ring_put(ring, v);
	return PyLong_FromLong(ring->submitted);
}

/*
 * call_many(calls, start, linked) -> list of results of calls[start:start+k] | one of the
 * RESULT_ codes. As many calls as there are free slots, in one go. Only when nothing is
 * outstanding. PENDING: the calls start .. start + outstanding are under way. linked: after
 * a failure the rest is not made (not across two pieces; the caller sees to that).
 */
static PyObject *ring_call_many(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	Py_ssize_t start, count, i, sent = 0;
	PyObject *list;
	int64_t v[7];
	uint32_t first;
	int done, linked, blocks = 0;

	if (n != 3) {
		PyErr_SetString(PyExc_TypeError, "call_many(calls, start, linked)");
		return NULL;
	}
	if (ring_check(self) < 0)
		return NULL;
	start = PyLong_AsSsize_t(args[1]);
	count = PyList_Size(args[0]);
	linked = PyObject_IsTrue(args[2]);
	if ((start == -1 || count == -1 || linked == -1) && PyErr_Occurred())
		return NULL;
	if (start < 0) {
		PyErr_Format(PyExc_ValueError, "the first call to make is number %zd", start);
		return NULL;
	}
	if (has_left(self->block))
		return PyLong_FromLongLong(RESULT_UNSENT);
	if (ring->submitted != ring->consumed)
		return PyLong_FromLongLong(RESULT_FULL);
	first = ring->submitted + 1;
	if (count - start > (Py_ssize_t)RSYS_RING_SLOTS - 1)
		count = start + RSYS_RING_SLOTS - 1;
	/* A batch is sent whole or not at all: see first that all of it can be understood. */
	for (i = start; i < count; i++) {
		PyObject *call = PyList_GetItem(args[0], i), *items[7];
		Py_ssize_t size = call ? PyTuple_Size(call) : -1, j;
		struct rsys_slot *slot = &ring->slots[(first + i - start) % RSYS_RING_SLOTS];

		if (size < 0)
			return NULL;
		for (j = 0; j < size && j < 7; j++)
			items[j] = PyTuple_GetItem(call, j);
		if (parse_ring_call(items, size, v) < 0)
			return NULL;
		memcpy(slot->args, v + 1, sizeof(slot->args));
		slot->result = v[0] | (linked && i < count - 1 ? RSYS_NR_LINKED : 0);
		blocks |= likely_blocks(v[0]);
	}
	if (ring->submitted + 1 != first) {
		PyErr_SetString(PyExc_RuntimeError, "converting the arguments of these calls made another call");
		return NULL;
	}
	for (i = start; i < count; i++, sent++) {
		uint32_t seq = first + sent;
		struct rsys_slot *slot = &ring->slots[seq % RSYS_RING_SLOTS];

		__atomic_store_n(&slot->word, (uint64_t)seq << 32 | (uint32_t)slot->result, __ATOMIC_RELEASE);
		ring->submitted = seq;
		if (sent == 0)
			ring_kick(self);
	}
	if (!sent)
		return PyList_New(0);
	ring_kick(self);
	done = ring_wait(self, ring->submitted, blocks ? __NR_nanosleep : v[0], 0);
	if (done <= 0)
		return PyLong_FromLongLong(done < 0 ? RESULT_HANGUP : RESULT_PENDING);
	list = PyList_New(sent);
	if (!list)
		return NULL;
	for (i = 0; i < sent; i++) {
		PyObject *result = PyLong_FromLongLong(ring->slots[(first + i) % RSYS_RING_SLOTS].result);

		if (!result) {
			Py_DECREF(list);
			return NULL;
		}
		PyList_SetItem(list, i, result);
	}
	ring->consumed = ring->submitted;
	return list;
}

/* next_result() -> result of the oldest outstanding call; PENDING, or HANGUP when it will never come. */
static PyObject *ring_next_result(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	uint32_t seq = ring->consumed + 1;
	int left;

	(void)unused;
	if (ring_check(self) < 0)
		return NULL;
	if (ring->submitted == ring->consumed)
		return PyLong_FromLongLong(RESULT_PENDING);
	left = has_left(self->block);
	if (slot_done(ring, seq) || (!left && ring_arm(ring, seq))) {
		ring->consumed = seq;
		return PyLong_FromLongLong(ring->slots[seq % RSYS_RING_SLOTS].result);
	}
	return PyLong_FromLongLong(left ? RESULT_HANGUP : RESULT_PENDING);
}

/* wait(budget_us) -> bool: spin until the process has left or all that was put is answered. */
static PyObject *ring_wait_method(PyObject *op, PyObject *arg)
{
	Ring *self = (Ring *)op;
	double us = PyFloat_AsDouble(arg);
	int done;

	if (us == -1 && PyErr_Occurred())
		return NULL;
	if (ring_check(self) < 0)
		return NULL;
	done = ring_spin(self->block, self->block->ring.submitted,
			 us * (self->hub->hold_gil / HOLD_GIL_US), 0);
	return PyBool_FromLong(done);
}

/*
 * prepare_calls(calls): the linked calls that a process is to make as soon as it exists; the
 * answer to the last is announced.
 */
static PyObject *ring_prepare_calls(PyObject *op, PyObject *calls)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	Py_ssize_t count = PyList_Size(calls), i;

	if (count < 0 || ring_check(self) < 0)
		return NULL;
	if (count >= (Py_ssize_t)RSYS_RING_SLOTS || self->block->started || ring->submitted) {
		PyErr_SetString(PyExc_ValueError, "too many calls to prepare, or not before the process starts");
		return NULL;
	}
	for (i = 0; i < count; i++) {
		PyObject *call = PyList_GetItem(calls, i), *items[7];
		Py_ssize_t size = PyTuple_Size(call), j;
		int64_t v[7];

		if (size < 0)
			return NULL;
		for (j = 0; j < size && j < 7; j++)
			items[j] = PyTuple_GetItem(call, j);
		if (parse_ring_call(items, size, v) < 0)
			return NULL;
		if (i < count - 1)
			v[0] |= RSYS_NR_LINKED;
		ring_put(ring, v);
	}
	ring_arm(ring, ring->submitted);
	Py_RETURN_NONE;
}

/* announce(): have the answer to the last call that was put announced, and those before it with it */
static PyObject *ring_announce_method(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (ring_check(self) < 0)
		return NULL;
	ring_arm(&self->block->ring, self->block->ring.submitted);
	Py_RETURN_NONE;
}

static PyObject *ring_kick_method(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (ring_check(self) < 0)
		return NULL;
	if (!has_left(self->block))
		ring_kick(self);
	Py_RETURN_NONE;
}

/* shutdown() */
static PyObject *ring_shutdown(PyObject *op, PyObject *unused)
{
	(void)unused;
	ring_send_shutdown((Ring *)op);
	Py_RETURN_NONE;
}

/*
 * prepare(flags, exit_signal, trampoline, function, args, stack_offset?) -> address of struct
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
	if (ring_check(self) < 0)
		return NULL;
	if (block->started) {
		PyErr_SetString(PyExc_RuntimeError, "a process has been started on this block already");
		return NULL;
	}
	stack = (struct trampoline_stack *)((char *)block + BLOCK_SIZE) - 1;
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
	block->clone_args.stack = (uint64_t)block->stack_start & ~15ull;
	block->clone_args.stack_size = (uint64_t)stack - block->clone_args.stack;
	block->ring.ctid = 1;
	/* A new process starts on its creator's processor: until it says otherwise, yield to it. */
	rsys_cycles(&cpu);
	block->ring.client_cpu = block->ring.server_cpu = cpu;
	return PyLong_FromUnsignedLongLong((uint64_t)&block->clone_args);
}

/* started(pid): the clone has been made. Until now nobody has looked at ctid. */
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

/*
 * exited(): the process has exited, as its pidfd says. The kernel clears the word for that, but not when
 * it has dumped core.
 */
static PyObject *ring_exited(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (self->block->started)
		__atomic_store_n(&self->block->ring.ctid, 0, __ATOMIC_RELEASE);
	Py_RETURN_NONE;
}

static PyObject *ring_get_left(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(has_left(((Ring *)op)->block));
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
	return PyLong_FromUnsignedLongLong(((Ring *)op)->block->ring.parks);
}

/* None, or the PR_GET_DUMPABLE of our memory before this process changed its credentials */
static PyObject *ring_get_dumpable_before(PyObject *op, void *closure)
{
	struct rsys_origin *origin = &((Ring *)op)->block->ring.origin;

	(void)closure;
	if (!__atomic_load_n(&origin->creds_changed, __ATOMIC_ACQUIRE))
		Py_RETURN_NONE;
	return PyLong_FromLong(origin->dumpable);
}

/* whether this process has made or been sent a call that may change its credentials */
static PyObject *ring_get_may_change_credentials(PyObject *op, void *closure)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;
	uint32_t seq;

	(void)closure;
	for (seq = ring->consumed + 1; seq != ring->submitted + 1; seq++) {
		uint64_t word = __atomic_load_n(&ring->slots[seq % RSYS_RING_SLOTS].word, __ATOMIC_ACQUIRE);

		if (!(word & RSYS_SLOT_DONE) && rsys_may_change_credentials((uint32_t)word & ~RSYS_NR_LINKED))
			Py_RETURN_TRUE;
	}
	/* Last, for what is done by now is recorded by now. */
	return PyBool_FromLong(__atomic_load_n(&ring->origin.creds_changed, __ATOMIC_ACQUIRE));
}

static PyObject *ring_get_deaf(PyObject *op, void *closure)
{
	(void)closure;
	return PyBool_FromLong(((Ring *)op)->block->ring.completion < 0);
}

/* configure(owner_fd, parent_pid, completion, flags, sigmask): before the process starts */
static PyObject *ring_configure(PyObject *op, PyObject *args)
{
	struct rsys_ring *ring = &((Ring *)op)->block->ring;
	int owner_fd, parent_pid, completion;
	unsigned int flags;
	unsigned long long sigmask;

	if (!PyArg_ParseTuple(args, "iiiIK", &owner_fd, &parent_pid, &completion, &flags, &sigmask))
		return NULL;
	ring->origin.owner_fd = owner_fd;
	ring->origin.parent_pid = parent_pid;
	ring->origin.flags = flags;
	ring->origin.sigmask = sigmask;
	ring->completion = completion;
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
 * watch_activity(ours, theirs): an eventfd by its number in our table and in the process' own.
 * Ours belongs to this object from now on, which closes it. It wakes the server, and it rings also while the process is in a call: somebody
 * who waits there for other things can watch it for us.
 */
static PyObject *ring_watch_activity(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	int ours, theirs;

	if (!PyArg_ParseTuple(args, "ii", &ours, &theirs))
		return NULL;
	self->doorbell = ours;
	self->block->ring.activity_watched = 1;
	__atomic_store_n(&self->block->ring.doorbell, theirs, __ATOMIC_RELEASE);
	Py_RETURN_NONE;
}

static PyMethodDef ring_methods[] = {
	{ "call", (PyCFunction)(void (*)(void))ring_call, METH_FASTCALL, NULL },
	{ "put", (PyCFunction)(void (*)(void))ring_put_method, METH_FASTCALL, NULL },
	{ "call_many", (PyCFunction)(void (*)(void))ring_call_many, METH_FASTCALL, NULL },
	{ "next_result", ring_next_result, METH_NOARGS, NULL },
	{ "wait", ring_wait_method, METH_O, NULL },
	{ "prepare_calls", ring_prepare_calls, METH_O, NULL },
	{ "announce", ring_announce_method, METH_NOARGS, NULL },
	{ "kick", ring_kick_method, METH_NOARGS, NULL },
	{ "shutdown", ring_shutdown, METH_NOARGS, NULL },
	{ "prepare", ring_prepare, METH_VARARGS, NULL },
	{ "started", ring_started, METH_O, NULL },
	{ "exited", ring_exited, METH_NOARGS, NULL },
	{ "configure", ring_configure, METH_VARARGS, NULL },
	{ "close_doorbell", ring_close_doorbell, METH_NOARGS, NULL },
	{ "watch_activity", ring_watch_activity, METH_VARARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef ring_getset[] = {
	{ "left", ring_get_left, NULL, NULL, NULL },
	{ "address", ring_get_address, NULL, NULL, NULL },
	{ "origin_address", ring_get_origin, NULL, NULL, NULL },
	{ "ctid_address", ring_get_ctid_address, NULL, NULL, NULL },
	{ "pidfd", ring_get_pidfd, NULL, NULL, NULL },
	{ "outstanding", ring_get_outstanding, NULL, NULL, NULL },
	{ "submitted", ring_get_submitted, NULL, NULL, NULL },
	{ "parks", ring_get_parks, NULL, NULL, NULL },
	{ "dumpable_before", ring_get_dumpable_before, NULL, NULL, NULL },
	{ "may_change_credentials", ring_get_may_change_credentials, NULL, NULL, NULL },
	{ "pid", ring_get_pid, NULL, NULL, NULL },
	{ "deaf", ring_get_deaf, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot ring_slots[] = {
	{ Py_tp_methods, ring_methods },
	{ Py_tp_getset, ring_getset },
	{ Py_tp_dealloc, ring_dealloc },
	{ 0, NULL },
};

static PyType_Spec ring_spec = {
	.name = "rsyscall.native._fast.Ring",
	.basicsize = sizeof(Ring),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = ring_slots,
};

/* ---- The monitor, from the client's side ------------------------------------------------ */

static void monitor_wake(struct rsys_monitor *m)
{
	__atomic_fetch_add(&m->control, 1, __ATOMIC_SEQ_CST);
	rsys_call3(__NR_futex, &m->control, FUTEX_WAKE, 1);
}

/* watch_word(address) -> index, or -1 when all entries are taken */
static PyObject *hub_watch_word(PyObject *op, PyObject *arg)
{
	struct rsys_monitor *m = &((Hub *)op)->hub->monitor;
	uint64_t address = PyLong_AsUnsignedLongLong(arg);
	long i;

	if (address == (uint64_t)-1 && PyErr_Occurred())
		return NULL;
	if (!address || address % 4) {
		PyErr_Format(PyExc_ValueError, "no futex word can be at address %llu", (unsigned long long)address);
		return NULL;
	}
	for (i = 0; i < RSYS_MONITOR_WORDS; i++) {
		if (__atomic_load_n(&m->words[i], __ATOMIC_ACQUIRE))
			continue;
		__atomic_store_n(&m->words[i], address, __ATOMIC_SEQ_CST);
		if ((uint32_t)i >= m->count)
			__atomic_store_n(&m->count, i + 1, __ATOMIC_RELEASE);
		monitor_wake(m);
		return PyLong_FromLong(i);
	}
	return PyLong_FromLong(-1);
}

/* unwatch_word(index, address): it may have fired already; then there is nothing to do */
static PyObject *hub_unwatch_word(PyObject *op, PyObject *args)
{
	struct rsys_monitor *m = &((Hub *)op)->hub->monitor;
	long i;
	unsigned long long address;
	uint64_t expected;

	if (!PyArg_ParseTuple(args, "lK", &i, &address))
		return NULL;
	expected = address;
	if (i >= 0 && i < RSYS_MONITOR_WORDS &&
	    __atomic_compare_exchange_n(&m->words[i], &expected, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		monitor_wake(m);
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

/* configure_monitor(owner_fd, parent_pid) */
static PyObject *hub_configure_monitor(PyObject *op, PyObject *args)
{
	struct rsys_monitor *m = &((Hub *)op)->hub->monitor;

	if (!PyArg_ParseTuple(args, "ii", &m->origin.owner_fd, &m->origin.parent_pid))
		return NULL;
	Py_RETURN_NONE;
}

/* set_spin(client_us, server_us): budgets of all rings from now on */
static PyObject *hub_set_spin(PyObject *op, PyObject *args)
{
	Hub *self = (Hub *)op;
	double client_us, server_us, rate = (double)self->hold_gil / HOLD_GIL_US;

	if (!PyArg_ParseTuple(args, "dd", &client_us, &server_us))
		return NULL;
	if (client_us < 0 || server_us < 0) {
		PyErr_SetString(PyExc_ValueError, "a spin budget is a number of microseconds, 0 or more");
		return NULL;
	}
	self->client_spin = client_us * rate;
	self->hub->server_spin = server_us * rate;
	Py_RETURN_NONE;
}

static PyMethodDef hub_methods[] = {
	{ "ring", hub_ring, METH_NOARGS, NULL },
	{ "set_spin", hub_set_spin, METH_VARARGS, NULL },
	{ "drain", hub_drain, METH_NOARGS, NULL },
	{ "watch_word", hub_watch_word, METH_O, NULL },
	{ "unwatch_word", hub_unwatch_word, METH_VARARGS, NULL },
	{ "configure_monitor", hub_configure_monitor, METH_VARARGS, NULL },
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
	.name = "rsyscall.native._fast.Hub",
	.basicsize = sizeof(Hub),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = hub_slots,
};

/* spin_for_exit(pidfd, budget_us) -> whether the process exited within that time */
static PyObject *fast_spin_for_exit(PyObject *module, PyObject *args)
{
	struct { int32_t fd; int16_t events, revents; } exit_of = { -1, 1 /* POLLIN */, 0 };
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
	deadline = now_ns() + (uint64_t)(us * 1000);
	while (!(ready = rsys_call5(__NR_ppoll, &exit_of, 1, &now, 0, 8)) && now_ns() < deadline) {
		/* On the only processor that is free it would never come to exit. */
		rsys_call0(__NR_sched_yield);
		for (i = 0; i < 16; i++)
			rsys_pause();
	}
	PyEval_RestoreThread(state);
	return PyBool_FromLong(ready == 1);
}

/* ---- Module ------------------------------------------------------------------------------ */

/* set_raw_syscall(address): the out-of-line call in the module with the code of driven processes */
static PyObject *fast_set_raw_syscall(PyObject *module, PyObject *arg)
{
	void *address = PyLong_AsVoidPtr(arg);

	(void)module;
	if (!address && PyErr_Occurred())
		return NULL;
	out_of_line_syscall = address;
	Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
	{ "syscall", (PyCFunction)(void (*)(void))fast_syscall, METH_FASTCALL, NULL },
	{ "read_memory", (PyCFunction)(void (*)(void))fast_read_memory, METH_FASTCALL, NULL },
	{ "write_memory", (PyCFunction)(void (*)(void))fast_write_memory, METH_FASTCALL, NULL },
	{ "spin_for_exit", fast_spin_for_exit, METH_VARARGS, NULL },
	{ "set_raw_syscall", fast_set_raw_syscall, METH_O, NULL },
	{ NULL, NULL, 0, NULL },
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT, "_fast", NULL, -1, module_methods, NULL, NULL, NULL, NULL,
};

static int add_code(PyObject *module, const char *name, int64_t value)
{
	PyObject *number = PyLong_FromLongLong(value);
	int err = number ? PyModule_AddObjectRef(module, name, number) : -1;

	Py_XDECREF(number);
	return err;
}

PyMODINIT_FUNC PyInit__fast(void)
{
	PyObject *module;

	read_clocks(&calibration_cycles, &calibration_ns);
	pthread_atfork(NULL, NULL, after_fork_in_child);
	module = PyModule_Create(&module_def);
	zero = PyLong_FromLong(0);
	if (!module || !zero)
		return NULL;
	hub_type = (PyTypeObject *)PyType_FromSpec(&hub_spec);
	ring_type = (PyTypeObject *)PyType_FromSpec(&ring_spec);
	if (!hub_type || !ring_type || PyModule_AddObjectRef(module, "Hub", (PyObject *)hub_type) < 0 ||
	    PyModule_AddObjectRef(module, "Ring", (PyObject *)ring_type) < 0 ||
	    add_code(module, "PENDING", RESULT_PENDING) < 0 || add_code(module, "UNSENT", RESULT_UNSENT) < 0 ||
	    add_code(module, "HANGUP", RESULT_HANGUP) < 0 || add_code(module, "FULL", RESULT_FULL) < 0 ||
	    add_code(module, "RING_SLOTS", RSYS_RING_SLOTS) < 0 ||
	    add_code(module, "LINKED", RSYS_NR_LINKED) < 0)
		return NULL;
	return module;
}
