/*
 * The types Hub and Ring, which drive processes that share our memory, and what the files
 * about them use of each other.
 */
#ifndef RSYS_CLIENT_H
#define RSYS_CLIENT_H

#include "limited_api.h"

#include <stddef.h>
#include <stdint.h>

#include "owner.h"
#include "rsyscall.h"

/* Outside the range of any result of a call. */
#define RESULT_PENDING (INT64_MIN + 1)	/* sent; the answer comes through the event loop */
#define RESULT_UNSENT (INT64_MIN + 2)	/* not sent: the process has left */
#define RESULT_HANGUP (INT64_MIN + 3)	/* sent, and the process left without an answer */
#define RESULT_FULL (INT64_MIN + 4)	/* not sent: no free slot */

/* How long the interpreter lock is kept while waiting for an answer. */
#define HOLD_GIL_US 5

struct clone_args_ {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
		set_tid_size, cgroup;
};

/*
 * One driven process: its ring, and the arguments it is cloned with. Its stack ends where the block
 * begins, and grows away from it, towards a page that nothing may touch.
 *
 *	guard page | stack | block | guard page | stack | ...
 */
#define GUARD_SIZE 4096
#define SPACE_PER_PROCESS 20480

struct block {
	struct rsys_ring ring;
	struct clone_args_ clone_args;
	int32_t pidfd;
	uint32_t started;
	struct block *next;	/* in the list of free or of abandoned blocks */
	PyObject *owner;	/* the Ring object, while there is one (not a reference) */
};

#define STACK_SIZE (SPACE_PER_PROCESS - GUARD_SIZE - sizeof(struct block))

/* What the rings of one program share. */
typedef struct {
	PyObject_HEAD
	struct rsys_hub *hub;
	struct block *free, *abandoned;
	struct block **collected;	/* popped from the ready stack, not handed to Python yet */
	size_t n_collected, room_collected;
	size_t n_handed;	/* of these: what Python knows of, and will say when it has delivered */
	size_t n_blocks;
	uint64_t client_spin, hold_gil;	/* cycles */
	struct owner owner;
	uint16_t word_generation;
} Hub;

/*
 * Who waits for the answer to one call: a method answer(index, result) is told. NULL: no waiter, since an
 * exception came between sending and sleeping; then the answer is taken and dropped. And the record of the
 * call, which learns of the answer in either case; NULL: none.
 */
struct wait {
	PyObject *sleeper;
	Py_ssize_t index;
	struct CallRecord *record;
};

typedef struct {
	PyObject_HEAD
	Hub *hub;
	struct block *block;
	int doorbell;	/* an eventfd in our own table; -1: none */
	int rung;	/* the doorbell is readable */
	/*
	 * What the process writes into, too: the ring in our block, or one in a memory file (see shared.h). In that case
	 * everything that we write for ourselves alone (submitted, consumed, pid, budgets) is in the block, and the
	 * process, which is not trusted, does not see it.
	 */
	struct rsys_ring *shared;
	uint32_t *life, alive, dead;	/* the process has left when *life is not `alive` any more */
	struct rsys_shared *file;	/* its part of a memory file; NULL: it shares our memory */
	struct mapped_file *mapped;	/* all of that file */
	uint64_t base;	/* where the process has mapped it */
	int socket;	/* the other end of the one that it waits for; -1: none */
	uint32_t expected;	/* how often it may announce answers */
	/*
	 * The process, from before it is cloned until release(): if this object goes meanwhile, no caller has been
	 * given the process, and it is ended.
	 */
	enum { NOT_OURS, OUR_CHILD, OUR_CHILD_BY_ANOTHER } holds;
	int holds_pidfd;	/* block->pidfd has no other owner */
	PyObject *cloning_table;	/* where that is a descriptor, if not in our own table */
	struct wait waits[RSYS_RING_SLOTS];	/* by sequence number, as the slots */
} Ring;

static inline int slot_done(Ring *self, uint32_t seq)
{
	return __atomic_load_n(&self->shared->slots[seq % RSYS_RING_SLOTS].word, __ATOMIC_ACQUIRE) ==
	       ((uint64_t)seq << 32 | RSYS_SLOT_DONE);
}

/* Of a call that is done. Read once: a process that is not trusted may change it. */
static inline int64_t slot_result(Ring *self, uint32_t seq)
{
	return __atomic_load_n(&self->shared->slots[seq % RSYS_RING_SLOTS].result, __ATOMIC_RELAXED);
}

/* Once it has, it has for good, whatever it writes. */
static inline int has_left(Ring *self)
{
	if (!self->block->started || __atomic_load_n(self->life, __ATOMIC_ACQUIRE) == self->alive)
		return 0;
	self->life = &self->dead;
	return 1;
}

/* -1 with an exception when this is not the program or not the thread that may use it. */
static inline int rsys_hub_check(Hub *hub)
{
	return rsys_owner_check(&hub->owner);
}

#pragma GCC visibility push(hidden)

/* ---- hub.c ---------------------------------------------------------------------------- */

/* Makes the type; once. */
PyTypeObject *rsys_hub_init(void);

/* ---- blocks.c ------------------------------------------------------------------------- */

struct block *rsys_take_block(Hub *self);

/* Its Ring is gone: it is free now, or when the process that was started on it has left our memory. */
void rsys_give_back_block(Hub *self, struct block *block);

/* ---- ring.c --------------------------------------------------------------------------- */

/* Makes the type; once. */
PyTypeObject *rsys_ring_init(void);

/* On a block of its own, without a process yet. */
PyObject *rsys_ring_new(Hub *hub);

#pragma GCC visibility pop

#endif
