/*
 * The relay with sanitizers, and with a look at its books after every round. What is wrong ends it by a signal, or
 * with a report where ASAN_OPTIONS says.
 */
#include "sleep.h"
#undef RSYS_ARCH_START
#define RSYS_ARCH_START struct relay	/* libc enters main */
#include "../../src/relay.c"
#include "../../src/relay_channel.c"
#include "../../src/relay_in.c"
#include "../../src/relay_out.c"

static void check(int right)
{
	if (!right)
		__builtin_trap();
}

static void check_books(const struct relay *relay)
{
	uint32_t i;

	check(relay->count <= MOST_CHANNELS && relay->reset_count <= MOST_RESETS);
	check(relay->out_start <= relay->out_end && relay->out_end <= OUT_SIZE);
	check(relay->in_length < sizeof(struct header) && relay->in_left <= WINDOW);
	check(!relay->in_channel || !relay->in_left || relay->in_channel->fd);
	for (i = 0; i < relay->count; i++) {
		const struct channel *channel = &relay->channels[i];
		uint32_t coming = channel == relay->in_channel ? relay->in_left : 0;

		if (!channel->fd) {
			check(!channel->ring);
			continue;
		}
		check(channel->fd >= FREE && channel->credit <= WINDOW);
		check(channel->start < WINDOW && channel->length <= WINDOW && (!channel->length || channel->ring));
		check((uint64_t)channel->window + channel->length + channel->owed + coming == WINDOW);
	}
}

int main(void)
{
	struct relay *relay = __builtin_calloc(1, sizeof(*relay));

	check(relay != 0);
	arrange();
	for (;;) {
		run(relay);
		check_books(relay);
	}
}
