/* Methods of Ring that make calls and take their results. */
#include "ring_call.h"

#include <linux/futex.h>
#include <string.h>

#include "arguments.h"
#include "clock.h"
#include "call_facts.h"
#include "freestanding.h"
#include "record.h"
#include "ring_answers.h"
#include "ring_wait.h"
#include "shared_file.h"

/* ---- The doorbell ------------------------------------------------------------------------ */

/*
 * A call that waits for descriptors may be waiting for the doorbell among them (see watch_activity). The
 * doorbell is to end it when another request is behind it, and to be silent otherwise, since then the call
 * would return for nothing. Both are done here, by our own number: in the process' table another process may
 * have opened something under the number that it has there.
 *
 * So it is rung when a request is put behind such a call, and silenced before such a call is put where no
 * other is under way. One that is put behind another finds it rung and returns at once; what it waits for
 * is looked for again by its caller, and found silent then.
 */
/* Whether a call before number `end` waits for descriptors, or is going to. */
static int waiting_before(Ring *self, uint32_t end)
{
	uint32_t seq;

	/* When all are answered and taken, `end` may be the last of them. */
	for (seq = self->block->ring.consumed + 1; (int32_t)(end - seq) > 0; seq++) {
		uint64_t word = __atomic_load_n(&self->shared->slots[seq % RSYS_RING_SLOTS].word, __ATOMIC_ACQUIRE);

		if (!(word & RSYS_SLOT_DONE) && rsys_polls((uint32_t)word & ~RSYS_NR_LINKED))
			return 1;
	}
	return 0;
}

static void ring_for_what_is_behind(Ring *self)
{
	uint64_t one = 1;

	if (!waiting_before(self, self->block->ring.submitted))
		return;
	if (self->file) {
		rsys_shared_wake(self);
		return;
	}
	rsys_call3(__NR_write, self->doorbell, &one, 8);
	self->rung = 1;
}

static void silence_doorbell(Ring *self, uint32_t nr)
{
	uint64_t count;

	if (!self->rung || !rsys_polls(nr & ~RSYS_NR_LINKED) ||
	    waiting_before(self, self->block->ring.submitted + 1))
		return;
	rsys_call3(__NR_read, self->doorbell, &count, 8);
	self->rung = 0;
}

/* ---- Putting and taking ------------------------------------------------------------------ */

void rsys_ring_put(Ring *self, const int64_t v[7])
{
	struct rsys_ring *ring = &self->block->ring;
	uint32_t seq = ring->submitted + 1;
	struct rsys_slot *slot = &self->shared->slots[seq % RSYS_RING_SLOTS];

	if (self->rung)
		silence_doorbell(self, (uint32_t)v[0]);
	/* It may ask for a byte more: see before_polling() of the server. */
	if (self->file && rsys_polls((uint32_t)v[0] & ~RSYS_NR_LINKED))
		rsys_shared_expect(self);
	memcpy(slot->args, v + 1, sizeof(slot->args));
	__atomic_store_n(&slot->word, (uint64_t)seq << 32 | (uint32_t)v[0], __ATOMIC_RELEASE);
	ring->submitted = seq;
}

void rsys_ring_kick(Ring *self)
{
	struct rsys_ring *ring = self->shared;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ring->state, __ATOMIC_RELAXED) == RSYS_PARKED) {
		__atomic_store_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST);
		if (self->file)
			rsys_shared_wake(self);
		else
			rsys_call3(__NR_futex, &ring->state, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
	}
	if (self->doorbell >= 0 || self->file)
		ring_for_what_is_behind(self);
}

/* A number that the word of a slot cannot hold is not that of a call: let the kernel say so. */
int rsys_ring_parse(PyObject *const *args, Py_ssize_t n, int64_t v[7])
{
	if (rsys_parse_call(args, n, v) < 0)
		return -1;
	if (v[0] < 0 || (v[0] & ~(int64_t)RSYS_NR_LINKED) >= RSYS_NR_UNKNOWN)
		v[0] = RSYS_NR_UNKNOWN;
	return 0;
}

/* The whole life of most calls: put, wait, take. */
static PyObject *ring_call(Ring *self, CallRecord *record, PyObject *const *args, Py_ssize_t n)
{
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7], result;
	uint32_t outstanding, seq;

	if (rsys_hub_check(self->hub) < 0 || rsys_ring_parse(args, n, v) < 0)
		return NULL;
	if (ring->submitted != ring->consumed)
		rsys_ring_drop_answers(self);
	outstanding = ring->submitted - ring->consumed;
	if (has_left(self)) {
		result = RESULT_UNSENT;
	} else if (outstanding >= RSYS_RING_SLOTS - 1) {
		result = RESULT_FULL;
	} else {
		int done, was_parked = __atomic_load_n(&self->shared->state, __ATOMIC_RELAXED) != RSYS_RUNNING;

		if (record)
			rsys_record_sent(record, v, !self->file);
		rsys_ring_put(self, v);
		seq = ring->submitted;
		rsys_ring_kick(self);
		/* Behind a call that takes its time there is no point in spinning. */
		done = outstanding ? 0 : rsys_ring_wait(self, seq, v[0], was_parked);
		/* The wait may have given up the interpreter lock: our answer is that of `seq`, whatever came after. */
		if (done > 0) {
			result = slot_result(self, seq);
			ring->consumed = seq;
			if (record)
				rsys_record_answered(record, result);
		} else {
			result = done < 0 ? RESULT_HANGUP : RESULT_PENDING;
			Py_XINCREF((PyObject *)record);
			self->waits[seq % RSYS_RING_SLOTS].record = record;
			/* Those who wait for the calls before this one are announced to first. */
			if (outstanding && !self->shared->client_waits)
				rsys_ring_arm(self, ring->consumed + 1);
		}
	}
	return PyLong_FromLongLong(result);
}

PyObject *rsys_ring_call(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	return ring_call((Ring *)op, NULL, args, n);
}

/* recorded_call(record, number, ...) -> as call: see record.c */
PyObject *rsys_ring_recorded_call(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	CallRecord *record;

	if (n < 1) {
		PyErr_SetString(PyExc_TypeError, "recorded_call(record, number, ...)");
		return NULL;
	}
	if (rsys_as_record(args[0], &record) < 0)
		return NULL;
	return ring_call((Ring *)op, record, args + 1, n - 1);
}

/* put(number, ...) -> sequence number: queue a call without waking the process or waiting. */
PyObject *rsys_ring_put_method(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7];

	if (rsys_hub_check(self->hub) < 0 || rsys_ring_parse(args, n, v) < 0)
		return NULL;
	if (has_left(self))
		return PyLong_FromLongLong(RESULT_UNSENT);
	if (ring->submitted - ring->consumed >= RSYS_RING_SLOTS - 1)
		return PyLong_FromLongLong(RESULT_FULL);
	rsys_ring_put(self, v);
	return PyLong_FromLong(ring->submitted);
}

struct call {
	int64_t words[7];	/* number and arguments; then the result is in the first one */
};

/*
 * The calls of a list, all of which can be understood; NULL with an exception otherwise. In
 * *ret_telling the number of the one that says how to wait for them.
 */
static struct call *parse_calls(PyObject *list, int linked, Py_ssize_t *ret_count, int64_t *ret_telling)
{
	Py_ssize_t count = PyList_Size(list), i;
	struct call *calls;

	*ret_count = count;
	*ret_telling = 0;
	if (count < 0)
		return NULL;
	calls = PyMem_Malloc(count ? count * sizeof(*calls) : 1);
	if (!calls) {
		PyErr_NoMemory();
		return NULL;
	}
	for (i = 0; i < count; i++) {
		PyObject *call = PyList_GetItem(list, i), *items[7];
		Py_ssize_t size, j;
		int parsed;

		if (!call || !PyTuple_Check(call)) {
			if (call)
				PyErr_Format(PyExc_TypeError, "a system call is a Syscall, a tuple of a number "
					     "and up to 6 arguments, not %R", call);
			goto failed;
		}
		size = PyTuple_Size(call);
		for (j = 0; j < size && j < 7; j++)
			items[j] = PyTuple_GetItem(call, j);
		/* Converting may run code that takes it out of the list. */
		Py_INCREF(call);
		parsed = rsys_ring_parse(items, size, calls[i].words);
		Py_DECREF(call);
		if (parsed < 0)
			goto failed;
		if (rsys_waits(calls[i].words[0]) ||
		    (calls[i].words[0] == __NR_sched_setaffinity && !rsys_waits(*ret_telling)))
			*ret_telling = calls[i].words[0];
		if (linked && i < count - 1)
			calls[i].words[0] |= RSYS_NR_LINKED;
	}
	return calls;

failed:
	PyMem_Free(calls);
	return NULL;
}

/*
 * Make calls, where nothing is outstanding. More are sent, and answers taken, while others are being made.
 * Returns 0 when all are answered, or why not. When that is PENDING, and some are not even sent, the ring
 * is full.
 */
static int64_t exchange(Ring *self, struct call *calls, size_t count, int64_t telling, size_t *ret_answered)
{
	struct rsys_ring *ring = &self->block->ring;
	int was_parked = __atomic_load_n(&self->shared->state, __ATOMIC_RELAXED) != RSYS_RUNNING, done = 1;
	size_t sent = 0, answered = 0;

	for (;;) {
		size_t ahead, before = answered;

		for (; sent < count && sent - answered < RSYS_RING_SLOTS - 1; sent++) {
			rsys_ring_put(self, calls[sent].words);
			if (sent == 0)
				rsys_ring_kick(self);
		}
		if (sent)
			rsys_ring_kick(self);
		if (done <= 0 || answered == count)
			break;
		/* Not for all of them, as long as there is something to do meanwhile. */
		ahead = sent - answered;
		if (sent < count)
			ahead = (ahead + 1) / 2;
		done = rsys_ring_wait(self, ring->consumed + ahead, telling, was_parked);
		was_parked = 0;
		for (; answered < sent && slot_done(self, ring->consumed + 1); answered++) {
			ring->consumed++;
			calls[answered].words[0] = slot_result(self, ring->consumed);
		}
		if (done < 0)
			break;
		/* A later one is answered and the next is not: a process with memory of its own lies. Its caller waits. */
		if (done > 0 && answered == before)
			done = has_left(self) ? -1 : 0;
	}
	*ret_answered = answered;
	if (answered == count)
		return 0;
	return done < 0 ? RESULT_HANGUP : RESULT_PENDING;
}

/*
 * call_many(calls, linked) -> list of their results | (list of the results so far, code)
 *
 * They are sent only if all of them can be understood, and nothing is outstanding (code FULL otherwise).
 * PENDING: of those without a result, as many as are outstanding have been sent; if these are not all, the
 * ring is full. linked: after one that fails, the others are not made.
 */
PyObject *rsys_ring_call_many(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	struct call *calls;
	Py_ssize_t count, i;
	size_t answered = 0;
	int64_t code, telling;
	int linked;
	PyObject *list;

	if (n != 2) {
		PyErr_SetString(PyExc_TypeError, "call_many(calls, linked)");
		return NULL;
	}
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	linked = PyObject_IsTrue(args[1]);
	if (linked < 0)
		return NULL;
	calls = parse_calls(args[0], linked, &count, &telling);
	if (!calls)
		return NULL;
	if (!count)
		code = 0;
	else if (has_left(self))
		code = RESULT_UNSENT;
	else if (rsys_ring_drop_answers(self), ring->submitted != ring->consumed)
		code = RESULT_FULL;
	else
		code = exchange(self, calls, count, telling, &answered);
	list = PyList_New(answered);
	for (i = 0; list && i < (Py_ssize_t)answered; i++) {
		PyObject *result = PyLong_FromLongLong(calls[i].words[0]);

		if (result)
			PyList_SetItem(list, i, result);
		else
			Py_CLEAR(list);
	}
	PyMem_Free(calls);
	if (!list || !code)
		return list;
	return Py_BuildValue("(NL)", list, code);
}

/* next_result() -> result of the oldest outstanding call; PENDING, or HANGUP when it will never come. */
PyObject *rsys_ring_next_result(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	uint32_t seq = ring->consumed + 1;
	int left;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (ring->submitted == ring->consumed)
		return PyLong_FromLongLong(RESULT_PENDING);
	left = has_left(self);
	if (slot_done(self, seq) || (!left && rsys_ring_arm(self, seq))) {
		int64_t answer = slot_result(self, seq);
		PyObject *result = PyLong_FromLongLong(answer);

		if (result)
			rsys_ring_consume(self, &answer);
		return result;
	}
	return PyLong_FromLongLong(left ? RESULT_HANGUP : RESULT_PENDING);
}

/* wait(budget_us) -> bool: spin until the process has left or all that was put is answered. */
PyObject *rsys_ring_wait_method(PyObject *op, PyObject *arg)
{
	Ring *self = (Ring *)op;
	double us = PyFloat_AsDouble(arg);
	int done;

	if (us == -1 && PyErr_Occurred())
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	done = rsys_ring_spin(self, self->block->ring.submitted,
			 us * (self->hub->hold_gil / HOLD_GIL_US), 0);
	return PyBool_FromLong(done);
}

/* Wake-ups that do not come to us (the kernel wakes one, and the watcher may wait for the same word), in ns. */
#define LONGEST_BLOCK (300 * 1000)

/* As rsys_ring_spin for what was put last, but asleep. */
static int block(Ring *self, uint64_t ns)
{
	uint32_t seq = self->block->ring.submitted, *word = self->life, alive = self->alive;
	uint64_t end = rsys_now_ns() + ns, now;

	while (!slot_done(self, seq) && !has_left(self)) {
		struct rsys_timespec most = { 0, LONGEST_BLOCK };
		long err;

		now = rsys_now_ns();
		if (now >= end)
			return 0;
		if (end - now < LONGEST_BLOCK)
			most.nsec = end - now;
		/* Not private, as the wake-up of the kernel is not: set_tid_address(2) */
		err = rsys_call4(__NR_futex, word, RSYS_FUTEX_WAIT, alive, &most);
		if (err != 0 && err != -ETIMEDOUT && err != -EAGAIN)
			return 0;	/* a signal has a handler to run; or a filter denies the call */
	}
	/* In case the wake-up was the watcher's. */
	if (has_left(self))
		rsys_call3(__NR_futex, word, RSYS_FUTEX_WAKE, 1);
	return 1;
}

/*
 * block(budget_us) -> bool: as wait, but asleep, so that our processor may run the process. False, too, if a signal
 * has a handler to run, and at once for a process with memory of its own.
 */
PyObject *rsys_ring_block_method(PyObject *op, PyObject *arg)
{
	Ring *self = (Ring *)op;
	double us = PyFloat_AsDouble(arg);
	PyThreadState *state;
	int done;

	if (us == -1 && PyErr_Occurred())
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (self->file || us <= 0)
		return PyBool_FromLong(slot_done(self, self->block->ring.submitted) || has_left(self));
	state = PyEval_SaveThread();
	done = block(self, us * 1000);
	PyEval_RestoreThread(state);
	return PyBool_FromLong(done);
}

/*
 * prepare_calls(calls): the linked calls that a process is to make as soon as it exists; the
 * answer to the last is announced.
 */
PyObject *rsys_ring_prepare_calls(PyObject *op, PyObject *list)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	Py_ssize_t count, i;
	struct call *calls;
	int64_t telling;

	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	calls = parse_calls(list, 1, &count, &telling);
	if (!calls)
		return NULL;
	if (count >= (Py_ssize_t)RSYS_RING_SLOTS || self->block->started || ring->submitted) {
		PyMem_Free(calls);
		PyErr_SetString(PyExc_ValueError, "too many calls to prepare, or not before the process starts");
		return NULL;
	}
	for (i = 0; i < count; i++)
		rsys_ring_put(self, calls[i].words);
	PyMem_Free(calls);
	rsys_ring_arm(self, ring->submitted);
	Py_RETURN_NONE;
}

/*
 * prepare_exit(): the process exits if the prepared calls, the last of which executes a program, come to an end.
 * With CLONE_VFORK we are suspended until then, and could not tell it.
 */
PyObject *rsys_ring_prepare_exit(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	int64_t v[7] = { RSYS_NR_SHUTDOWN };

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (self->block->started || !self->block->ring.submitted) {
		PyErr_SetString(PyExc_ValueError, "after prepare_calls, and before the process starts");
		return NULL;
	}
	rsys_ring_put(self, v);
	Py_RETURN_NONE;
}

/* announce(): have the answer to the last call that was put announced, and those before it with it */
PyObject *rsys_ring_announce(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	rsys_ring_arm(self, self->block->ring.submitted);
	Py_RETURN_NONE;
}

PyObject *rsys_ring_kick_method(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (!has_left(self))
		rsys_ring_kick(self);
	Py_RETURN_NONE;
}

void rsys_ring_send_shutdown(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7] = { RSYS_NR_SHUTDOWN };

	if (self->hub->owner.generation == rsys_fork_generation && self->block->started && !has_left(self) &&
	    ring->submitted - ring->consumed < RSYS_RING_SLOTS) {
		rsys_ring_put(self, v);
		rsys_ring_kick(self);
	}
}
