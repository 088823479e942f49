/* The clock of the spin loops. */
#ifndef RSYS_CLOCK_H
#define RSYS_CLOCK_H

#include <stdint.h>

#pragma GCC visibility push(hidden)

/* At the import: the rate of the cycle counter is measured from here. */
void rsys_clock_init(void);

uint64_t rsys_now_ns(void);

/* From the time since the import, or a fraction of a millisecond when that was just now. */
uint64_t rsys_cycles_per_us(void);

#pragma GCC visibility pop

#endif
