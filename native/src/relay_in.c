/*
 * What comes over the carrier of a relay.
 */
#include "relay.h"

static void reset(struct relay *relay, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < relay->reset_count; i++)
		if (relay->resets[i] == id)
			return;
	if (relay->reset_count == MOST_RESETS)
		leave(PROTOCOL);
	relay->resets[relay->reset_count++] = id;
}

static void take(struct relay *relay, uint32_t id, uint32_t word)
{
	struct channel *channel = rsys_relay_find(relay, id);
	uint32_t kind = word >> 24, amount = word & 0xffffff;

	/* DATA and CREDIT say how much. */
	if (!kind || kind > RESET || (kind <= CREDIT) != !!amount || amount > WINDOW)
		leave(PROTOCOL);
	if (kind == DATA) {
		relay->in_left = amount;
		relay->in_channel = channel;
	}
	if (!channel) {
		if (kind == DATA || kind == END)
			reset(relay, id);
		return;
	}
	switch (kind) {
	case DATA:
		if (channel->got_end || amount > channel->window)
			leave(PROTOCOL);
		channel->window -= amount;
		break;
	case CREDIT:
		if (amount > WINDOW - channel->credit)
			leave(PROTOCOL);
		channel->credit += amount;
		break;
	case END:
		if (channel->got_end)
			leave(PROTOCOL);
		channel->got_end = 1;
		rsys_relay_say(relay, channel);	/* it may be over */
		break;
	case STOP:
		if (!channel->at_end)
			rsys_call2(__NR_shutdown, channel->fd, SHUT_RD);
		channel->at_end = 1;
		if (channel == relay->channels)
			relay->leaving = 1;
		break;
	case RESET:
		if (channel == relay->channels)
			leave(0);
		rsys_relay_forget(relay, channel);
	}
}

RSYS_EXPORT void rsys_relay_read_carrier(struct relay *relay)
{
	uint32_t at = 0, length;
	long n = rsys_call3(__NR_read, CARRIER_IN, relay->in + relay->in_length, IN_SIZE - relay->in_length);

	if (would_block(n))
		return;
	if (n <= 0) {
		relay->carrier_ended = 1;
		return;
	}
	length = relay->in_length + n;
	for (;;) {
		uint32_t here = length - at;

		if (relay->in_left) {
			if (here > relay->in_left)
				here = relay->in_left;
			if (relay->in_channel && here)
				rsys_relay_deliver(relay->in_channel, relay->in + at, here);
			at += here;
			relay->in_left -= here;
			if (relay->in_left)
				break;
		} else {
			struct header header;

			if (here < sizeof(header))
				break;
			copy((char *)&header, relay->in + at, sizeof(header));
			at += sizeof(header);
			take(relay, header.channel, header.word);
		}
	}
	/* A part of a header. */
	relay->in_length = length - at;
	copy(relay->in, relay->in + at, relay->in_length);
}
