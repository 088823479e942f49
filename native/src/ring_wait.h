/* Waiting for the answer of a driven process. */
#ifndef RSYS_RING_WAIT_H
#define RSYS_RING_WAIT_H

#include "client.h"

#pragma GCC visibility push(hidden)

/* Spin for the answer to `seq`: 1 when it is there, -1 when the process left, 0 when time is up. */
int rsys_ring_spin(Ring *self, uint32_t seq, uint64_t budget, int may_nudge);

/* Ask to be woken when something is done; 1 when `seq` is done already. */
int rsys_ring_arm(Ring *self, uint32_t seq);

/*
 * Spin for the answer to `seq` as long as that pays for the call `nr`, then ask to be woken: 1
 * when it is there, -1 when the process left, 0 when it will be announced. was_parked: the
 * server slept when the call was put.
 */
int rsys_ring_wait(Ring *self, uint32_t seq, int64_t nr, int was_parked);

#pragma GCC visibility pop

#endif
