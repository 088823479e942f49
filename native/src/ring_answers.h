/* Answers that are taken off a ring. */
#ifndef RSYS_RING_ANSWERS_H
#define RSYS_RING_ANSWERS_H

#include "client.h"

#pragma GCC visibility push(hidden)

/* The answer to the oldest call has been taken; NULL: there is none, and never will be. */
void rsys_ring_consume(Ring *self, const int64_t *answer);

/* Take answers that no caller waits for, as long as the oldest is one. */
void rsys_ring_drop_answers(Ring *self);

#pragma GCC visibility pop

#endif
