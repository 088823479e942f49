/* The server behind a byte stream. */
#ifndef RSYS_STREAM_SERVER_H
#define RSYS_STREAM_SERVER_H

#include "rsyscall.h"

struct stream {
	int infd, outfd;
	struct rsys_origin *origin;
	struct rsys_door *door;	/* of a persistent process, which looks after it while it waits; or NULL */
};

#pragma GCC visibility push(hidden)

/* All of it; -1 when the other side reads no more. */
int rsys_write_all(const struct stream *stream, const void *buf, size_t len);

/* Serve until the stream ends, whatever the reason; 0. */
int rsys_serve(const struct stream *stream);

#pragma GCC visibility pop

#endif
