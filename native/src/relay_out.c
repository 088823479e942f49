/*
 * What a relay sends over the carrier.
 */
#include "relay.h"

RSYS_EXPORT int rsys_relay_put(struct relay *relay, uint32_t id, uint32_t kind, uint32_t amount)
{
	struct header header = { id, kind << 24 | amount };

	if (room(relay) < sizeof(header))
		return 0;
	copy(relay->out + relay->out_end, (const char *)&header, sizeof(header));
	relay->out_end += sizeof(header);
	return 1;
}

RSYS_EXPORT void rsys_relay_flush(struct relay *relay)
{
	while (relay->out_start < relay->out_end) {
		const char *from = relay->out + relay->out_start;
		uint32_t length = relay->out_end - relay->out_start;
		long n = -ENOTSOCK;

		if (!relay->no_socket)
			n = rsys_call6(__NR_sendto, CARRIER_OUT, from, length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
		if (n == -ENOTSOCK) {
			/* Others have it open, too, so that it stays blocking: one write for each time that it has room. */
			relay->no_socket = 1;
			if (!(relay->polled[CARRIER_OUT].revents & (RSYS_POLLOUT | POLLERR | POLLHUP)))
				return;
			relay->polled[CARRIER_OUT].revents = 0;
			n = rsys_call3(__NR_write, CARRIER_OUT, from, length < PIPE_BUF ? length : PIPE_BUF);
		}
		if (would_block(n))
			return;
		if (n <= 0) {
			relay->broken = 1;
			break;
		}
		relay->out_start += n;
	}
	relay->out_start = relay->out_end = 0;
}
