/* The clock of the spin loops. */
#include "clock.h"

#include <time.h>

#include "freestanding.h"

static uint64_t calibration_cycles, calibration_ns;

uint64_t rsys_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

/* Both clocks at one moment: the best of some tries, for we may lose the processor in between. */
static void read_clocks(uint64_t *ret_cycles, uint64_t *ret_ns)
{
	uint64_t best = UINT64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		uint32_t cpu;
		uint64_t before = rsys_cycles(&cpu), ns = rsys_now_ns(), took = rsys_cycles(&cpu) - before;

		if (took < best) {
			best = took;
			*ret_cycles = before;
			*ret_ns = ns;
		}
	}
}

void rsys_clock_init(void)
{
	read_clocks(&calibration_cycles, &calibration_ns);
}

uint64_t rsys_cycles_per_us(void)
{
	uint64_t cycles, ns;

	while (rsys_now_ns() - calibration_ns < 200000)
		;
	read_clocks(&cycles, &ns);
	return (cycles - calibration_cycles) * 1000 / (ns - calibration_ns);
}
