/* What servers have announced: the rings with something to be delivered, from the stack in shared memory to Python. */
#include "announced.h"

#include <stdlib.h>

#include "freestanding.h"

static int add_collected(Hub *self, struct block *block)
{
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
	return 0;
}

int rsys_hub_announce(Hub *self, struct block *block)
{
	if (add_collected(self, block) < 0)
		return -1;
	rsys_call3(__NR_write, self->hub->watcher.completion, "", 1);
	return 0;
}

int rsys_hub_collect(Hub *self)
{
	uint64_t head = __atomic_exchange_n(&self->hub->ready, 0, __ATOMIC_SEQ_CST);

	while (head) {
		struct block *block = (struct block *)head;

		head = block->ring.ready_next;
		if (add_collected(self, block) < 0)
			return -1;
		/* From here on the server may announce it again. */
		__atomic_store_n(&block->ring.queued, 0, __ATOMIC_SEQ_CST);
	}
	return 0;
}

/*
 * announced() -> the rings that have something to be delivered. They stay announced until delivered(ring) is
 * called: an exception in between does not lose them.
 */
PyObject *rsys_hub_announced(PyObject *op, PyObject *unused)
{
	Hub *self = (Hub *)op;
	PyObject *list;
	size_t i;

	(void)unused;
	if (rsys_hub_check(self) < 0 || rsys_hub_collect(self) < 0)
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
	self->n_handed = self->n_collected;
	return list;
}

/* delivered(ring): it is not announced any more, unless by something that came after announced() */
PyObject *rsys_hub_delivered(PyObject *op, PyObject *ring)
{
	Hub *self = (Hub *)op;
	size_t i, kept = 0, handed = self->n_handed;

	for (i = 0; i < self->n_collected; i++) {
		PyObject *owner = self->collected[i]->owner;

		if (owner && (owner != ring || i >= handed))
			self->collected[kept++] = self->collected[i];
		else if (i < handed)
			self->n_handed--;
	}
	self->n_collected = kept;
	Py_RETURN_NONE;
}
