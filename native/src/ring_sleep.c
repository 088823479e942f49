/*
 * Methods of Ring about those who wait for answers
 *
 * A call is sent by one C function, and its caller goes to sleep by Python code that comes after. A signal
 * handler that raises an exception in between takes the caller away. So answers are not given to callers in
 * the order in which those went to sleep: every call that is sent has a place here, and the caller's object,
 * the sleeper, is put into it. What has no sleeper when it is answered is dropped.
 *
 * Likewise, a sleeper is taken out of its place only after it has been told. When that is interrupted, the
 * ring is announced once more, and the sleeper told again: it has to take that well.
 */
#include "ring_call.h"

#include "announced.h"
#include "record.h"
#include "ring_answers.h"
#include "ring_wait.h"

/* sleep(sleeper, count, index): it waits for the last `count` calls; index is what it calls the first of them */
PyObject *rsys_ring_sleep(PyObject *op, PyObject *args)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	PyObject *sleeper;
	unsigned int count, i;
	Py_ssize_t index;

	if (!PyArg_ParseTuple(args, "OIn", &sleeper, &count, &index))
		return NULL;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	if (count > ring->submitted - ring->consumed) {
		PyErr_SetString(PyExc_ValueError, "so many calls are not outstanding");
		return NULL;
	}
	for (i = 0; i < count; i++) {
		struct wait *wait = &self->waits[(ring->submitted - count + 1 + i) % RSYS_RING_SLOTS];
		PyObject *before = wait->sleeper;

		Py_INCREF(sleeper);
		wait->sleeper = sleeper;
		wait->index = index + i;
		Py_XDECREF(before);
	}
	Py_RETURN_NONE;
}

/*
 * put_backlog(deque) -> how many: send calls from the left of a deque of (sleeper, index, (number, ...), record),
 * as many as there is room for.
 */
PyObject *rsys_ring_put_backlog(PyObject *op, PyObject *backlog)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	long sent = 0;

	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	while (!has_left(self) && ring->submitted - ring->consumed < RSYS_RING_SLOTS - 1) {
		PyObject *entry, *sleeper, *call, *op_record, *items[7];
		CallRecord *record;
		Py_ssize_t index, n, i, size = PySequence_Size(backlog);
		int64_t v[7];

		if (size <= 0) {
			if (size < 0)
				return NULL;
			break;
		}
		entry = PySequence_GetItem(backlog, 0);
		if (!entry || !PyArg_ParseTuple(entry, "OnO!O", &sleeper, &index, &PyTuple_Type, &call, &op_record) ||
		    rsys_as_record(op_record, &record) < 0) {
			Py_XDECREF(entry);
			return NULL;
		}
		n = PyTuple_Size(call);
		for (i = 0; i < n && i < 7; i++)
			items[i] = PyTuple_GetItem(call, i);
		if (rsys_ring_parse(items, n, v) < 0 || PySequence_DelItem(backlog, 0) < 0) {
			Py_DECREF(entry);
			return NULL;
		}
		if (record)
			rsys_record_sent(record, v, !self->file);
		rsys_ring_put(self, v);
		Py_INCREF(sleeper);
		Py_XINCREF((PyObject *)record);
		self->waits[ring->submitted % RSYS_RING_SLOTS] = (struct wait){ sleeper, index, record };
		Py_DECREF(entry);
		sent++;
	}
	if (sent)
		rsys_ring_kick(self);
	return PyLong_FromLong(sent);
}

/*
 * deliver() -> 0 | PENDING | HANGUP: give the answers that are there to who waits for them. 0: nothing is
 * outstanding any more; PENDING: the next answer will be announced; HANGUP: there will be none.
 */
PyObject *rsys_ring_deliver(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	while (ring->submitted != ring->consumed) {
		uint32_t seq = ring->consumed + 1;
		struct wait *wait = &self->waits[seq % RSYS_RING_SLOTS];
		int left = has_left(self);
		int64_t answer;

		if (!slot_done(self, seq) && (left || !rsys_ring_arm(self, seq)))
			return PyLong_FromLongLong(left ? RESULT_HANGUP : RESULT_PENDING);
		answer = slot_result(self, seq);
		if (wait->sleeper) {
			PyObject *sleeper = wait->sleeper, *told;

			Py_INCREF(sleeper);
			told = PyObject_CallMethod(sleeper, "answer", "nL", wait->index, (long long)answer);
			Py_DECREF(sleeper);
			if (!told) {
				PyObject *type, *value, *traceback;

				PyErr_Fetch(&type, &value, &traceback);
				if (rsys_hub_announce(self->hub, self->block) < 0)
					PyErr_WriteUnraisable(op);
				PyErr_Restore(type, value, traceback);
				return NULL;
			}
			Py_DECREF(told);
		}
		if (ring->consumed + 1 == seq)
			rsys_ring_consume(self, &answer);
	}
	return PyLong_FromLong(0);
}

/* sleepers() -> who waits for calls that are outstanding, in order; one that waits for several only once */
PyObject *rsys_ring_sleepers(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	PyObject *list = PyList_New(0), *last = NULL;
	uint32_t seq;

	(void)unused;
	for (seq = ring->consumed + 1; list && seq != ring->submitted + 1; seq++) {
		PyObject *sleeper = self->waits[seq % RSYS_RING_SLOTS].sleeper;

		if (sleeper && sleeper != last && PyList_Append(list, sleeper) < 0)
			Py_CLEAR(list);
		last = sleeper;
	}
	return list;
}

/* last_sleeper() -> who waits for the call that was sent last; None if that is no object, or nothing outstanding */
PyObject *rsys_ring_last_sleeper(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	PyObject *sleeper = self->waits[ring->submitted % RSYS_RING_SLOTS].sleeper;

	(void)unused;
	if (ring->submitted == ring->consumed || !sleeper)
		sleeper = Py_None;
	Py_INCREF(sleeper);
	return sleeper;
}

/* forget(): nothing that is outstanding will be answered, and all who waited for it have been told */
PyObject *rsys_ring_forget(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;

	(void)unused;
	if (rsys_hub_check(self->hub) < 0)
		return NULL;
	while (ring->consumed != ring->submitted) {
		int done = slot_done(self, ring->consumed + 1);
		int64_t answer = slot_result(self, ring->consumed + 1);

		rsys_ring_consume(self, done ? &answer : NULL);
	}
	Py_RETURN_NONE;
}

/* results() -> of the calls that the process was prepared with, as far as they are answered; taken each time anew */
PyObject *rsys_ring_results(PyObject *op, PyObject *unused)
{
	Ring *self = (Ring *)op;
	struct rsys_ring *ring = &self->block->ring;
	PyObject *list = PyList_New(0);
	uint32_t seq;

	(void)unused;
	if (ring->submitted >= RSYS_RING_SLOTS) {
		PyErr_SetString(PyExc_ValueError, "other calls have taken the place of the first ones");
		Py_CLEAR(list);
	}
	for (seq = 1; list && seq <= ring->submitted; seq++) {
		PyObject *result;

		if (!slot_done(self, seq) && (has_left(self) || !rsys_ring_arm(self, seq)))
			break;
		result = PyLong_FromLongLong(slot_result(self, seq));
		if (!result || PyList_Append(list, result) < 0)
			Py_CLEAR(list);
		Py_XDECREF(result);
	}
	return list;
}
