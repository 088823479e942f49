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
 * or takes no more, it passes on what there is, and exits. What no relay sends, such as more than the window or a number out of range,
 * ends it at once.
 *
 * The program needs no libc, takes no arguments, and has no data that is written: it may be executed, or copied to a
 * page of the memory of any process, of which a copy enters it at its entry point. Then the descriptors in `original`
 * have been filled in.
 */
#include "sleep.h"

RSYS_ARCH_START;

enum {
	CARRIER_IN, CARRIER_OUT, CONTROL, FREE,	/* descriptors, from the beginning on */
	DATA = 1, CREDIT, END, STOP, RESET,
	WINDOW = 1 << 20, MOST_CHANNELS = 512,
	FRAME = 32768,			/* of DATA, at most */
	IN_SIZE = 65536,
	OUT_SIZE = 4 * (FRAME + 8),
	MOST_RESETS = 64,
	PIPE_BUF = 4096,		/* a pipe that can be written to takes that much */
	PROTOCOL = 76, UNAVAILABLE = 69,	/* EX_... in sysexits.h */
	SOL_SOCKET = 1, SCM_RIGHTS = 1, SHUT_RD = 0, SHUT_WR = 1,
	MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000,
	MSG_CMSG_CLOEXEC = 0x40000000,
	F_DUPFD = 0, SIG_SETMASK = 2, PR_SET_NAME = 15,
	POLLERR = 8, POLLHUP = 0x10,
};

/* Filled in where the program is copied, and not executed: so no compiler may believe what stands here. */
static const struct stamp {
	char magic[16];
	int32_t in, out, control, copied;
} original = { "RSYSCALL RELAYS", 0, 1, 2, 0 };

struct header {
	uint32_t channel, word;
};

/* On the control socket, in both directions: a channel, with its socket; and what became of it. */
struct message {
	uint32_t channel;
	int32_t number;		/* how many bytes the first one says before the start; 0 or an error */
};

struct channel {
	char *ring;		/* what the socket has not taken yet; made when it is needed first */
	int32_t fd;		/* 0: there is no channel */
	uint32_t id;
	uint32_t start, length;	/* in the ring */
	uint32_t credit;	/* how much we may send */
	uint32_t window;	/* how much the peer may send */
	uint32_t owed;		/* what we have passed on since we last gave credit */
	uint8_t at_end;		/* of the socket */
	uint8_t sent_end, got_end, shut, deaf, sent_stop;
};

struct relay {
	struct channel channels[MOST_CHANNELS];
	struct rsys_pollfd polled[FREE + MOST_CHANNELS];
	uint32_t resets[MOST_RESETS];
	uint32_t reset_count;
	uint32_t count;			/* channels[0..count) may be in use */
	uint32_t first;			/* which of them has its turn first */
	uint32_t in_length;
	uint32_t in_left;		/* of a frame of DATA */
	struct channel *in_channel;	/* its channel, or NULL */
	uint32_t out_start, out_end;
	int32_t wait;			/* the carrier is not read before the first channel has said this much */
	uint8_t opened, leaving, no_socket, carrier_ended, no_control;
	uint8_t broken;			/* the carrier cannot be written to */
	char in[IN_SIZE];
	char out[OUT_SIZE];
};

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		rsys_call1(__NR_exit_group, status);
}

static int would_block(long result)
{
	return result == -EAGAIN || result == -EINTR;
}

static void copy(char *to, const char *from, uint32_t n)
{
	while (n--)
		*to++ = *from++;
}

static struct channel *find(struct relay *relay, uint32_t id)
{
	uint32_t i;

	for (i = 0; i < relay->count; i++)
		if (relay->channels[i].fd && relay->channels[i].id == id)
			return &relay->channels[i];
	return 0;
}

static void forget(struct relay *relay, struct channel *channel)
{
	rsys_call1(__NR_close, channel->fd);
	if (channel->ring)
		rsys_call2(__NR_munmap, channel->ring, WINDOW);
	channel->ring = 0;
	channel->fd = 0;
	if (relay->in_channel == channel)
		relay->in_channel = 0;
}

/* ---- To the carrier */

static uint32_t room(const struct relay *relay)
{
	return OUT_SIZE - relay->out_end;
}

static int put(struct relay *relay, uint32_t id, uint32_t kind, uint32_t amount)
{
	struct header header = { id, kind << 24 | amount };

	if (room(relay) < sizeof(header))
		return 0;
	copy(relay->out + relay->out_end, (const char *)&header, sizeof(header));
	relay->out_end += sizeof(header);
	return 1;
}

/* As much as it takes now. */
static void flush(struct relay *relay)
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

/* What there is to say beside DATA, as far as there is room. Then the channel may be over. */
static void say(struct relay *relay, struct channel *channel)
{
	if (channel->deaf && !channel->sent_stop)
		channel->sent_stop = put(relay, channel->id, STOP, 0);
	if (channel->owed >= WINDOW / 2 && !channel->got_end && put(relay, channel->id, CREDIT, channel->owed)) {
		channel->window += channel->owed;
		channel->owed = 0;
	}
	if (channel->at_end && !channel->sent_end)
		channel->sent_end = put(relay, channel->id, END, 0);
	if (channel->got_end && !channel->length) {
		if (!channel->shut)
			rsys_call2(__NR_shutdown, channel->fd, SHUT_WR);
		channel->shut = 1;
		if (channel->sent_end)
			forget(relay, channel);
	}
}

/* How much may be read from a socket now. */
static uint32_t readable(const struct relay *relay, const struct channel *channel)
{
	uint32_t most = room(relay);

	if (channel->at_end || most <= sizeof(struct header) + 64)
		return 0;
	most -= sizeof(struct header);
	if (most > FRAME)
		most = FRAME;
	return most < channel->credit ? most : channel->credit;
}

static void read_socket(struct relay *relay, struct channel *channel)
{
	uint32_t most = readable(relay, channel);
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
	put(relay, channel->id, DATA, n);
	relay->out_end += n;
	channel->credit -= n;
	if (channel == relay->channels)
		relay->wait = relay->wait > n ? relay->wait - n : 0;
}

/* ---- From the carrier */

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

static void write_ring(struct channel *channel)
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

static void deliver(struct channel *channel, const char *from, uint32_t length)
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
	struct channel *channel = find(relay, id);
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
		say(relay, channel);	/* it may be over */
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
		forget(relay, channel);
	}
}

static void read_carrier(struct relay *relay)
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
				deliver(relay->in_channel, relay->in + at, here);
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

/* ---- Channels */

static int32_t add(struct relay *relay, const struct message *message, int32_t fd)
{
	struct channel *channel;
	uint32_t i;

	for (i = 0; i < relay->count && relay->channels[i].fd; i++)
		;
	if (i == MOST_CHANNELS || fd < 0)
		return -EMFILE;
	if (find(relay, message->channel))
		return -EEXIST;
	channel = &relay->channels[i];
	if (i == relay->count)
		relay->count++;
	if (!relay->opened)
		relay->wait = message->number;
	relay->opened = 1;
	channel->fd = fd;
	channel->id = message->channel;
	channel->start = channel->length = channel->owed = 0;
	channel->credit = channel->window = WINDOW;
	channel->at_end = channel->sent_end = channel->got_end = 0;
	channel->shut = channel->deaf = channel->sent_stop = 0;
	return 0;
}

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
	message.number = add(relay, &message, fd);
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
				write_ring(channel);
			poll_for(relay, i, channel->fd, channel->fd && channel->length ? RSYS_POLLOUT : 0);
			busy |= relay->polled[i].events;
			if (channel->fd && !channel->length)
				forget(relay, channel);
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
		read_carrier(relay);
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
			events = (readable(relay, channel) ? RSYS_POLLIN : 0) | (channel->length ? RSYS_POLLOUT : 0);
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
		read_carrier(relay);
	if (relay->carrier_ended)
		finish(relay);
	for (i = 0, turn = relay->first; i < relay->count; i++, turn++) {
		struct channel *channel = &relay->channels[turn % relay->count];
		int events = relay->polled[FREE + turn % relay->count].revents;

		if (!channel->fd)
			continue;
		if (events & (RSYS_POLLOUT | POLLERR | POLLHUP))
			write_ring(channel);
		if (events & (RSYS_POLLIN | POLLERR | POLLHUP))
			read_socket(relay, channel);
		say(relay, channel);
	}
	relay->first++;
	while (relay->reset_count && put(relay, relay->resets[relay->reset_count - 1], RESET, 0))
		relay->reset_count--;
	/* Last: so that what was polled is of the channels that were there. */
	if (relay->polled[CONTROL].revents)
		read_control(relay);
	flush(relay);
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
