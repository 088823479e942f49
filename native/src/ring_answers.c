/* Answers that are taken off a ring, in the order of the calls. */
#include "ring_answers.h"

#include "record.h"

void rsys_ring_consume(Ring *self, const int64_t *answer)
{
	struct rsys_ring *ring = &self->block->ring;
	uint32_t seq = ring->consumed + 1;
	struct wait *wait = &self->waits[seq % RSYS_RING_SLOTS];
	PyObject *sleeper = wait->sleeper;
	CallRecord *record = wait->record;

	if (record && answer)
		rsys_record_answered(record, *answer);
	wait->sleeper = NULL;
	wait->record = NULL;
	ring->consumed = seq;
	/* Last, since these may run destructors, which make calls. */
	Py_XDECREF(sleeper);
	Py_XDECREF((PyObject *)record);
}

void rsys_ring_drop_answers(Ring *self)
{
	struct rsys_ring *ring = &self->block->ring;

	while (ring->consumed != ring->submitted && slot_done(self, ring->consumed + 1) &&
	       !self->waits[(ring->consumed + 1) % RSYS_RING_SLOTS].sleeper) {
		int64_t answer = slot_result(self, ring->consumed + 1);

		rsys_ring_consume(self, &answer);
	}
}
