/*
 * The channels of a relay: what is read from their sockets, and what waits for room in them.
 */
#include "relay.h"

RSYS_EXPORT struct channel *rsys_relay_find(struct relay *relay, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < relay->count; i++)
		if (relay->channels[i].fd && relay->channels[i].id == id)
			return &relay->channels[i];
	return 0;
}

RSYS_EXPORT void rsys_relay_forget(struct relay *relay, struct channel *channel)
{
	rsys_call1(__NR_close, channel->fd);
	if (channel->ring)
		rsys_call2(__NR_munmap, channel->ring, WINDOW);
	channel->ring = 0;
	channel->fd = 0;
	if (relay->in_channel == channel)
		relay->in_channel = 0;
}

RSYS_EXPORT int32_t rsys_relay_add(struct relay *relay, uint32_t id, int32_t number, int32_t fd)
{
	struct channel *channel;
	uint32_t i;

	for (i = 0; i < relay->count && relay->channels[i].fd; i++)
		;
	if (i == MOST_CHANNELS || fd < 0)
		return -EMFILE;
	if (rsys_relay_find(relay, id))
		return -EEXIST;
	channel = &relay->channels[i];
	if (i == relay->count)
		relay->count++;
	if (!relay->opened)
		relay->wait = number;
	relay->opened = 1;
	channel->fd = fd;
	channel->id = id;
	channel->start = channel->length = channel->owed = 0;
	channel->credit = channel->window = WINDOW;
	channel->at_end = channel->sent_end = channel->got_end = 0;
	channel->shut = channel->deaf = channel->sent_stop = 0;
	return 0;
}

RSYS_EXPORT void rsys_relay_say(struct relay *relay, struct channel *channel)
{
	if (channel->deaf && !channel->sent_stop)
		channel->sent_stop = rsys_relay_put(relay, channel->id, STOP, 0);
	if (channel->owed >= WINDOW / 2 && !channel->got_end &&
	    rsys_relay_put(relay, channel->id, CREDIT, channel->owed)) {
		channel->window += channel->owed;
		channel->owed = 0;
	}
	if (channel->at_end && !channel->sent_end)
		channel->sent_end = rsys_relay_put(relay, channel->id, END, 0);
	if (channel->got_end && !channel->length) {
		if (!channel->shut)
			rsys_call2(__NR_shutdown, channel->fd, SHUT_WR);
		channel->shut = 1;
		if (channel->sent_end)
			rsys_relay_forget(relay, channel);
	}
}

RSYS_EXPORT uint32_t rsys_relay_readable(const struct relay *relay, const struct channel *channel)
{
	uint32_t most = room(relay);

	if (channel->at_end || most <= sizeof(struct header) + 64)
		return 0;
	most -= sizeof(struct header);
	if (most > FRAME)
		most = FRAME;
	return most < channel->credit ? most : channel->credit;
}

RSYS_EXPORT void rsys_relay_read_socket(struct relay *relay, struct channel *channel)
{
	uint32_t most = rsys_relay_readable(relay, channel);
	char *to = relay->out + relay->out_end + sizeof(struct header);
	long n;

	if (!most)
		return;
	n = rsys_call6(__NR_recvfrom, channel->fd, to, most, MSG_DONTWAIT, 0, 0);
	if (would_block(n))
		return;
	if (n <= 0) {
		channel->at_end = 1;
		if (channel != relay->channels)
			return;
		/* It was given up before the start: no frame is expected. */
		if (relay->wait)
			leave(0);
		relay->leaving = 1;
		return;
	}
	rsys_relay_put(relay, channel->id, DATA, n);
	relay->out_end += n;
	channel->credit -= n;
	if (channel == relay->channels)
		relay->wait = relay->wait > n ? relay->wait - n : 0;
}

/* Write as much as the socket takes; returns how much is done with. */
static uint32_t write_socket(struct channel *channel, const char *from, uint32_t length)
{
	long n;

	if (channel->deaf)
		return length;
	n = rsys_call6(__NR_sendto, channel->fd, from, length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (would_block(n))
		return 0;
	if (n < 0) {
		channel->deaf = 1;
		return length;
	}
	return n;
}

RSYS_EXPORT void rsys_relay_write_ring(struct channel *channel)
{
	while (channel->length) {
		uint32_t piece = WINDOW - channel->start;
		uint32_t n;

		if (piece > channel->length)
			piece = channel->length;
		n = write_socket(channel, channel->ring + channel->start, piece);
		channel->start = (channel->start + n) % WINDOW;
		channel->length -= n;
		channel->owed += n;
		if (n < piece)
			return;
	}
	channel->start = 0;
}

RSYS_EXPORT void rsys_relay_deliver(struct channel *channel, const char *from, uint32_t length)
{
	if (!channel->length) {
		uint32_t n = write_socket(channel, from, length);

		channel->owed += n;
		from += n;
		length -= n;
	}
	if (!length)
		return;
	if (!channel->ring) {
		long address = rsys_call6(__NR_mmap, 0, WINDOW, 3 /* PROT_READ | PROT_WRITE */,
					  0x22 /* MAP_PRIVATE | MAP_ANONYMOUS */, -1, 0);

		if (rsys_is_error(address))
			leave(UNAVAILABLE);
		channel->ring = (char *)address;
	}
	while (length) {
		uint32_t end = (channel->start + channel->length) % WINDOW;
		uint32_t piece = WINDOW - end;

		if (piece > length)
			piece = length;
		copy(channel->ring + end, from, piece);
		channel->length += piece;
		from += piece;
		length -= piece;
	}
}
