/* Waiting for the answer of a driven process. Of Python there is nothing here but its lock. */
#include "ring_wait.h"

#include <string.h>

#include "call_facts.h"
#include "shared_file.h"
#include "freestanding.h"

#define LOOKS_BEFORE_PAUSE 64
#define YIELD_EVERY 64

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

int rsys_ring_spin(Ring *self, uint32_t seq, uint64_t budget, int may_nudge)
{
	struct rsys_ring *ring = &self->block->ring, *shared = self->shared;
	/* A budget for each call before ours and no more, whatever is written there. */
	uint32_t cpu, looks = 0, executed = shared->executed, budgets = seq - ring->consumed;
	uint64_t start, now;

	if (!budget)
		return slot_done(self, seq);
	/* Most answers come before a look at the clock would have been worth its time. */
	for (; looks < LOOKS_BEFORE_PAUSE; looks++)
		if (slot_done(self, seq))
			return 1;
	start = rsys_cycles(&cpu);
	if (shared->client_cpu != cpu)
		shared->client_cpu = cpu;
	if (shared->server_cpu == cpu) {
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
	while (!slot_done(self, seq)) {
		rsys_pause();
		if (++looks % 16)
			continue;
		if (has_left(self))
			return slot_done(self, seq) ? 1 : -1;
		if (__atomic_load_n(&shared->server_cpu, __ATOMIC_RELAXED) == cpu || looks % YIELD_EVERY == 0)
			rsys_call0(__NR_sched_yield);
		now = rsys_cycles(&cpu);
		if (budgets > 1 && __atomic_load_n(&shared->executed, __ATOMIC_RELAXED) != executed) {
			/* The budget is for one call, and there is a whole batch before ours. */
			executed = shared->executed;
			start = now;
			budgets--;
		}
		if (now - start > budget)
			return 0;
	}
	return 1;
}

int rsys_ring_arm(Ring *self, uint32_t seq)
{
	struct rsys_ring *ring = self->shared;

	if (self->file)
		rsys_shared_expect(self);
	/* 0 stands for no waiter; the number before it is announced when this one is done. */
	__atomic_store_n(&ring->client_waits, seq ? seq : UINT32_MAX, __ATOMIC_SEQ_CST);
	if (!slot_done(self, seq))
		return 0;
	__atomic_store_n(&ring->client_waits, 0, __ATOMIC_SEQ_CST);
	return 1;
}

int rsys_ring_wait(Ring *self, uint32_t seq, int64_t nr, int was_parked)
{
	struct rsys_ring *ring = &self->block->ring;
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
	/* To spin for a call that is there to wait is wasted. */
	if (rsys_waits(nr))
		budget = hold = 0;
	done = rsys_ring_spin(self, seq, hold, may_nudge);
	if (!done && budget > hold) {
		PyThreadState *state = PyEval_SaveThread();

		done = rsys_ring_spin(self, seq, budget - hold, may_nudge);
		PyEval_RestoreThread(state);
	}
	if (done) {
		if (ring->client_spin < 16)
			ring->client_spin *= 2;
		return done;
	}
	if (budget && ring->client_spin > 4)
		ring->client_spin /= 2;
	if (rsys_ring_arm(self, seq))
		return 1;
	return has_left(self) ? (slot_done(self, seq) ? 1 : -1) : 0;
}
