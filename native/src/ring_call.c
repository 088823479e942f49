/* Methods of Ring that make calls and take their results. */
#include "ring_call.h"

#include <linux/futex.h>
#include <string.h>

#include "arguments.h"
#include "freestanding.h"
#include "ring_wait.h"

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

/* A number that the word of a slot cannot hold is not that of a call: let the kernel say so. */
static int parse_ring_call(PyObject *const *args, Py_ssize_t n, int64_t v[7])
{
	if (rsys_parse_call(args, n, v) < 0)
		return -1;
	if (v[0] < 0 || (v[0] & ~(int64_t)RSYS_NR_LINKED) >= RSYS_NR_UNKNOWN)
		v[0] = RSYS_NR_UNKNOWN;
	return 0;
}

/* The whole life of most calls: put, wait, take. */
PyObject *rsys_ring_call(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7], result;
	uint32_t outstanding;

	if (rsys_hub_check(self->hub) < 0 || parse_ring_call(args, n, v) < 0)
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
		done = outstanding ? 0 : rsys_ring_wait(self, ring->submitted, v[0], was_parked);
		if (done > 0) {
			result = ring->slots[ring->submitted % RSYS_RING_SLOTS].result;
			ring->consumed = ring->submitted;
		} else {
			result = done < 0 ? RESULT_HANGUP : RESULT_PENDING;
			/* Those who wait for the calls before this one are announced to first. */
			if (outstanding && !ring->client_waits)
				rsys_ring_arm(ring, ring->consumed + 1);
		}
	}
	return PyLong_FromLongLong(result);
}

/* put(number, ...) -> sequence number: queue a call without waking anybody or waiting. */
PyObject *rsys_ring_put_method(PyObject *op, PyObject *const *args, Py_ssize_t n)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7];

	if (rsys_hub_check(self->hub) < 0 || parse_ring_call(args, n, v) < 0)
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
PyObject *rsys_ring_call_many(PyObject *op, PyObject *const *args, Py_ssize_t n)
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
	if (rsys_hub_check(self->hub) < 0)
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
		blocks |= rsys_likely_blocks(v[0]);
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
	done = rsys_ring_wait(self, ring->submitted, blocks ? __NR_nanosleep : v[0], 0);
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
	left = has_left(self->block);
	if (slot_done(ring, seq) || (!left && rsys_ring_arm(ring, seq))) {
		ring->consumed = seq;
		return PyLong_FromLongLong(ring->slots[seq % RSYS_RING_SLOTS].result);
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
	done = rsys_ring_spin(self->block, self->block->ring.submitted,
			 us * (self->hub->hold_gil / HOLD_GIL_US), 0);
	return PyBool_FromLong(done);
}

/*
 * prepare_calls(calls): the linked calls that a process is to make as soon as it exists; the
 * answer to the last is announced.
 */
PyObject *rsys_ring_prepare_calls(PyObject *op, PyObject *calls)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	Py_ssize_t count = PyList_Size(calls), i;

	if (count < 0 || rsys_hub_check(self->hub) < 0)
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
	rsys_ring_arm(ring, ring->submitted);
	Py_RETURN_NONE;
}

/* announce(): have the answer to the last call that was put announced, and those before it with it */
PyObject *rsys_ring_announce(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	rsys_ring_arm(&self->block->ring, self->block->ring.submitted);
	Py_RETURN_NONE;
}

PyObject *rsys_ring_kick_method(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (!has_left(self->block))
		ring_kick(self);
	Py_RETURN_NONE;
}

void rsys_ring_send_shutdown(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;
	int64_t v[7] = { RSYS_NR_SHUTDOWN };

	if (self->hub->generation == rsys_fork_generation && self->block->started && !has_left(self->block) &&
	    ring->submitted - ring->consumed < RSYS_RING_SLOTS) {
		ring_put(ring, v);
		ring_kick(self);
	}
}
