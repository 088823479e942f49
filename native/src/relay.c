/*
 * rsyscall-relay: several byte streams, the channels, over one, the carrier. One relay runs at either end of the
 * carrier; both are this program.
 *
 * **Frames.** What goes over the carrier are frames. Each begins with two little-endian words: the number of a channel,
 * and kind << 24 | amount.
 *
 *   DATA    amount bytes follow
 *   CREDIT  the sender of this has passed on so many bytes, and can take as many again
 *   END     no DATA will follow: the socket at that end has been closed, or shut down for writing
 *   STOP    DATA is thrown away: the socket has been closed, or shut down for reading
 *   RESET   there is no such channel
 *
 * **Windows.** A relay has a buffer of one window for each channel, so that its peer may have sent that much which no
 * reader has taken. When a channel is made, either side may send one window. So a relay always reads the carrier, and a
 * reader that is slow, or does not read at all, stops its own channel and no other. It reads a socket only if there
 * is credit, and room for a frame: what there is to send is bounded, too.
 *
 * **Channels** come as sockets over the control socket, with a number that is never used again; the program hears
 * whether the relay has it. It has both relays told before it uses the channel, so that no frame can come too early.
 * A channel that was given up in between is known to one side only, and RESET ends it there.
 *
 * **The start.** The first channel carries what the process served over the carrier itself, before: a few answers that
 * it sends there say that it reads the carrier no more. Until then the relay does not read it, either.
 *
 * **The end.** When the first channel ends here, the relay sends what there is, and exits; when the carrier ends,
 * or takes no more, it passes on what there is, and exits. What no relay sends, such as more than the window or a
 * number out of range, ends it at once.
 *
 * The program needs no libc, takes no arguments, and has no data that is written: it may be executed, or copied to a
 * page of the memory of any process, of which a copy enters it at its entry point. Then the descriptors in `original`
 * have been filled in.
 */
#include "relay.h"

RSYS_ARCH_START;

/* Filled in where the program is copied, and not executed: so no compiler may believe what stands here. */
static const struct stamp {
	char magic[16];
	int32_t in, out, control, copied;
} original = { "RSYSCALL RELAYS", 0, 1, 2, 0 };

/* On the control socket, in both directions: a channel, with its socket; and what became of it. */
struct message {
	uint32_t channel;
	int32_t number;		/* how many bytes the first one says before the start; 0 or an error */
};

/* ---- Control */

/* There is a message. */
static void read_control(struct relay *relay)
{
	struct {
		size_t length;
		int32_t level, type, fd, padding;
	} control __attribute__((aligned(8)));
	struct message message;
	struct rsys_iovec vector = { &message, sizeof(message) };
	struct rsys_msghdr head = { 0, 0, &vector, 1, &control, sizeof(control), 0 };
	long n = rsys_call3(__NR_recvmsg, CONTROL, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int32_t fd = -1;

	if (would_block(n))
		return;
	if (n != sizeof(message)) {
		/* No more channels. Without the first one there is nothing to do. */
		if (!relay->opened)
			leave(0);
		relay->no_control = 1;
		return;
	}
	if (head.control_length >= sizeof(size_t) + 12 && control.level == SOL_SOCKET && control.type == SCM_RIGHTS &&
	    control.length == sizeof(size_t) + 12)
		fd = control.fd;
	message.number = rsys_relay_add(relay, message.channel, message.number, fd);
	if (message.number && fd >= 0)
		rsys_call1(__NR_close, fd);
	n = rsys_call6(__NR_sendto, CONTROL, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (rsys_is_denied(n) && n != -EPIPE)
		leave(UNAVAILABLE);
}

/* ---- The loop */

static void poll_for(struct relay *relay, uint32_t index, int fd, int events)
{
	relay->polled[index].fd = events ? fd : -1;	/* or a socket without a peer would be reported for ever */
	relay->polled[index].events = events;
	relay->polled[index].revents = 0;
}

/* The carrier has ended: pass on what there is. */
static void __attribute__((noreturn)) finish(struct relay *relay)
{
	for (;;) {
		uint32_t i, busy = 0;

		for (i = 0; i < relay->count; i++) {
			struct channel *channel = &relay->channels[i];

			if (channel->fd)
				rsys_relay_write_ring(channel);
			poll_for(relay, i, channel->fd, channel->fd && channel->length ? RSYS_POLLOUT : 0);
			busy |= relay->polled[i].events;
			if (channel->fd && !channel->length)
				rsys_relay_forget(relay, channel);
		}
		if (!busy)
			leave(0);
		if (rsys_is_denied(rsys_call5(__NR_ppoll, relay->polled, relay->count, 0, 0, 8)))
			leave(UNAVAILABLE);
	}
}

/* What we write is not read: the other relay has left, perhaps, and what it has sent is there. */
static void drain(struct relay *relay)
{
	const struct rsys_timespec now = { 0, 0 };

	if (relay->leaving || relay->wait)
		leave(0);
	while (!relay->carrier_ended) {
		poll_for(relay, CARRIER_IN, CARRIER_IN, RSYS_POLLIN);
		if (rsys_call5(__NR_ppoll, relay->polled, 1, &now, 0, 8) <= 0)
			return;
		rsys_relay_read_carrier(relay);
	}
}

static void run(struct relay *relay)
{
	const struct rsys_timespec now = { 0, 0 };
	uint32_t i, turn;
	long ready;

	poll_for(relay, CARRIER_IN, CARRIER_IN, relay->opened && !relay->wait && !relay->leaving ? RSYS_POLLIN : 0);
	poll_for(relay, CARRIER_OUT, CARRIER_OUT, relay->out_end ? RSYS_POLLOUT : 0);
	poll_for(relay, CONTROL, CONTROL, relay->no_control ? 0 : RSYS_POLLIN);
	for (i = 0; i < relay->count; i++) {
		const struct channel *channel = &relay->channels[i];
		int events = 0;

		if (channel->fd)
			events = (rsys_relay_readable(relay, channel) ? RSYS_POLLIN : 0) | (channel->length ? RSYS_POLLOUT : 0);
		poll_for(relay, FREE + i, channel->fd, events);
	}
	ready = rsys_call5(__NR_ppoll, relay->polled, FREE + relay->count,
			   relay->leaving && !relay->out_end ? &now : 0, 0, 8);
	if (ready == -EINTR)
		return;
	if (ready < 0)
		leave(UNAVAILABLE);
	if (ready == 0)
		leave(0);	/* and all has been sent */
	if (relay->polled[CARRIER_IN].revents)
		rsys_relay_read_carrier(relay);
	if (relay->carrier_ended)
		finish(relay);
	for (i = 0, turn = relay->first; i < relay->count; i++, turn++) {
		struct channel *channel = &relay->channels[turn % relay->count];
		int events = relay->polled[FREE + turn % relay->count].revents;

		if (!channel->fd)
			continue;
		if (events & (RSYS_POLLOUT | POLLERR | POLLHUP))
			rsys_relay_write_ring(channel);
		if (events & (RSYS_POLLIN | POLLERR | POLLHUP))
			rsys_relay_read_socket(relay, channel);
		rsys_relay_say(relay, channel);
	}
	relay->first++;
	while (relay->reset_count && rsys_relay_put(relay, relay->resets[relay->reset_count - 1], RESET, 0))
		relay->reset_count--;
	/* Last: so that what was polled is of the channels that were there. */
	if (relay->polled[CONTROL].revents)
		read_control(relay);
	rsys_relay_flush(relay);
	if (relay->broken) {
		drain(relay);
		finish(relay);
	}
}

/* Have these three descriptors and no others, and no signals. */
static void arrange(void)
{
	const volatile struct stamp *stamp = &original;
	const uint64_t all = ~0ull;
	long fds[FREE];
	long i;

	/* Those of a terminal, say, are not for us. */
	rsys_call4(__NR_rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
	if (stamp->copied) {
		/* A copy ends when its sockets do, and not before it has passed on what is in them. */
		rsys_call5(__NR_prctl, RSYS_PR_SET_PDEATHSIG, 0, 0, 0, 0);
		rsys_call5(__NR_prctl, PR_SET_NAME, "rsyscall-relay", 0, 0, 0);
	}
	fds[CARRIER_IN] = rsys_call3(__NR_fcntl, stamp->in, F_DUPFD, FREE);
	fds[CARRIER_OUT] = rsys_call3(__NR_fcntl, stamp->out, F_DUPFD, FREE);
	fds[CONTROL] = rsys_call3(__NR_fcntl, stamp->control, F_DUPFD, FREE);
	for (i = 0; i < FREE; i++)
		if (rsys_is_error(rsys_call3(__NR_dup3, fds[i], i, 0)))
			leave(UNAVAILABLE);
	if (rsys_is_error(rsys_call3(__NR_close_range, FREE, RSYS_CLOSE_RANGE_ALL, 0)))
		for (i = FREE; i < 65536; i++)	/* before Linux 5.9 */
			rsys_call1(__NR_close, i);
}

__attribute__((used, noreturn)) void rsys_start(long *stack)
{
	long address;

	(void)stack;
	arrange();
	address = rsys_call6(__NR_mmap, 0, sizeof(struct relay), 3, 0x22, -1, 0);
	if (rsys_is_error(address))
		leave(UNAVAILABLE);
	for (;;)
		run((struct relay *)address);
}
