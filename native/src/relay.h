/*
 * What the parts of rsyscall-relay share: see relay.c.
 */
#ifndef RSYS_RELAY_H
#define RSYS_RELAY_H

#include "sleep.h"

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

struct header {
	uint32_t channel, word;
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

static inline __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		rsys_call1(__NR_exit_group, status);
}

static inline int would_block(long result)
{
	return result == -EAGAIN || result == -EINTR;
}

static inline void copy(char *to, const char *from, uint32_t n)
{
	while (n--)
		*to++ = *from++;
}

/* For what goes out. */
static inline uint32_t room(const struct relay *relay)
{
	return OUT_SIZE - relay->out_end;
}

/* Each uses only those above it. */

/* ---- relay_out.c */

/* Add a frame to what goes out; for DATA, the caller adds that. 0: there is no room. */
RSYS_EXPORT int rsys_relay_put(struct relay *relay, uint32_t id, uint32_t kind, uint32_t amount);
/* Write as much as the carrier takes now. */
RSYS_EXPORT void rsys_relay_flush(struct relay *relay);

/* ---- relay_channel.c */

RSYS_EXPORT struct channel *rsys_relay_find(struct relay *relay, uint32_t id);
/* `number`: how many bytes the first channel says before the start. Returns 0 or -errno; then `fd` stays open. */
RSYS_EXPORT int32_t rsys_relay_add(struct relay *relay, uint32_t id, int32_t number, int32_t fd);
RSYS_EXPORT void rsys_relay_forget(struct relay *relay, struct channel *channel);
/* What there is to say beside DATA, as far as there is room. Then the channel may be over. */
RSYS_EXPORT void rsys_relay_say(struct relay *relay, struct channel *channel);
/* How much may be read from a socket now. */
RSYS_EXPORT uint32_t rsys_relay_readable(const struct relay *relay, const struct channel *channel);
RSYS_EXPORT void rsys_relay_read_socket(struct relay *relay, struct channel *channel);
/* Write to the socket what has waited for room there. */
RSYS_EXPORT void rsys_relay_write_ring(struct channel *channel);
/* Write to the socket what has come, and keep what it does not take. */
RSYS_EXPORT void rsys_relay_deliver(struct channel *channel, const char *from, uint32_t length);

/* ---- relay_in.c */

RSYS_EXPORT void rsys_relay_read_carrier(struct relay *relay);

#endif
