/*
 * The server behind a byte stream: reads requests, makes the calls, writes the answers,
 * strictly in order. Returns when the stream ends, whatever the reason.
 */
#include "stream_server.h"

#include "door.h"
#include "execute.h"
#include "sleep.h"

#define CHUNK 2048	/* on a stack of a few kilobytes */
#define ANSWERS 64	/* that are written together */
#define PIECE 65536	/* of a transfer that needs no room of ours */
#define PAGE 4096	/* the smallest there is, of all architectures */
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000

/* Whether anything beside the stream has to be waited for. */
static int must_watch(const struct stream *stream)
{
	return stream->origin->watcher_fd >= 0 || stream->door;
}

/*
 * Until the descriptor is ready; 0 when our owner is gone, another program has taken over, or nothing that waits is
 * permitted. *pause belongs to the one wait.
 */
static int wait_until(const struct stream *stream, int fd, int events, int64_t *pause)
{
	struct rsys_pollfd fds[3];

	do {
		/* One by one, or compilers call memset. */
		fds[0].fd = fd;
		fds[0].events = events;
		fds[1].fd = stream->origin->watcher_fd;
		fds[2].fd = stream->door ? stream->door->epfd : -1;
		fds[1].events = fds[2].events = RSYS_POLLIN;
		fds[0].revents = fds[1].revents = fds[2].revents = 0;
		if (rsys_is_denied(rsys_call5(__NR_ppoll, fds, 3, 0, 0, 8)))
			return rsys_pause_longer(pause) && !rsys_owner_gone(stream->origin);
		if (fds[2].revents && !stream->door->opened(stream->door))
			return 0;
	} while (fds[2].revents && !fds[0].revents && !fds[1].revents);
	if (!fds[1].revents)
		return 1;
	/* Otherwise a process has killed the watcher, or opened something else under the number of its descriptor. */
	stream->origin->watcher_fd = -1;
	return !rsys_owner_gone(stream->origin);
}

/*
 * As read(2). Other processes may have copies of the other end, so that the death of our owner does not end
 * the stream: wait for both. EAGAIN means that a process that gave us the descriptor, or shares it, has made it
 * non-blocking.
 */
static long receive(const struct stream *stream, void *buf, size_t len)
{
	int64_t pause = RSYS_FIRST_PAUSE_NS;
	long n;

	do {
		if (must_watch(stream) && !wait_until(stream, stream->infd, RSYS_POLLIN, &pause))
			return 0;
		n = rsys_call3(__NR_read, stream->infd, buf, len);
		if (n == -EAGAIN && !wait_until(stream, stream->infd, RSYS_POLLIN, &pause))
			return 0;
	} while (n == -EAGAIN || n == -EINTR);	/* the latter: a signal that was not meant for the connection */
	return n;
}

static int read_all(const struct stream *stream, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		long n = receive(stream, p, len);

		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

int rsys_write_all(const struct stream *stream, const void *buf, size_t len)
{
	const char *p = buf;
	int fd = stream->outfd;
	int64_t pause = RSYS_FIRST_PAUSE_NS;
	/* MSG_NOSIGNAL: a client that went away must not kill us by SIGPIPE before we clean up. */
	int flags = MSG_NOSIGNAL | (must_watch(stream) ? MSG_DONTWAIT : 0);

	while (len) {
		size_t piece = len < PIECE ? len : PIECE;
		long n = rsys_call6(__NR_sendto, fd, p, piece, flags, 0, 0);

		/* Where a filter denies it, a client that went away does kill us: nothing is lost. */
		if (n == -ENOTSOCK || n == -EPERM || n == -ENOSYS || n == -EACCES)
			n = rsys_call3(__NR_write, fd, p, piece);
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN && wait_until(stream, fd, RSYS_POLLOUT, &pause))
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= n;
	}
	return 0;
}

static int respond(const struct stream *stream, int64_t result, uint64_t length)
{
	struct rsys_response response = { result, length };

	return rsys_write_all(stream, &response, sizeof(response));
}

/*
 * Memory is filled and sent by the kernel alone, so that a bad address is an error and not the death
 * of this process. What a read could not put there stays in the stream and is thrown away, to stay
 * in step.
 */
static int serve_write(const struct stream *stream, uint64_t address, uint64_t length, int *ret_failed)
{
	char rest[CHUNK];
	long result = 0;
	uint64_t done = 0;

	while (done < length) {
		size_t left = length - done;
		long n;

		if (result < 0)
			n = receive(stream, rest, left < CHUNK ? left : CHUNK);
		else
			n = receive(stream, (void *)(address + done), left < PIECE ? left : PIECE);
		if (n == -EFAULT && result == 0)
			result = -EFAULT;
		else if (n > 0)
			done += n;
		else
			return -1;
	}
	*ret_failed = result < 0;
	return respond(stream, result < 0 ? result : (int64_t)length, 0);
}

/*
 * Where a filter denies process_vm_readv. The kernel copies a mask in before it looks at what to do with it, and
 * that is nothing which it knows: so it says EINVAL of a word that can be read, and EFAULT of one that cannot.
 */
static long look_at_pages(uint64_t address, uint64_t length)
{
	uint64_t page = address & ~(uint64_t)(PAGE - 1);

	if (address + length < address)
		return -EFAULT;
	for (; page < address + length; page += PAGE) {
		/* Not the first word of a page: 0 would be no mask at all. */
		long result = rsys_call4(__NR_rt_sigprocmask, -1, page + 8, 0, 8);

		if (result != -EINVAL)
			return result;
	}
	return 0;
}

/* See that all of it can be read; what is not longer than CHUNK is in `place` then. 0 or an error. */
static long look_at(uint64_t address, uint64_t length, char *place)
{
	struct rsys_iovec local[16];
	int pid = rsys_call0(__NR_getpid);
	size_t i;

	for (i = 0; i < 16; i++) {
		local[i].base = place;
		local[i].len = CHUNK;
	}
	while (length) {
		size_t piece = length < 16 * CHUNK ? length : 16 * CHUNK;
		struct rsys_iovec remote = { (void *)address, piece };
		long n = rsys_call6(__NR_process_vm_readv, pid, local, 16, &remote, 1, 0);

		if (n == -EPERM || n == -ENOSYS || n == -EACCES) {
			n = look_at_pages(address, length);
			for (i = 0; n == 0 && length <= CHUNK && i < length; i++)
				place[i] = ((const volatile char *)address)[i];
			return n;
		}
		if (n < 0)
			return n;
		if (n != (long)piece)
			return -EFAULT;
		address += piece;
		length -= piece;
	}
	return 0;
}

static int serve_read(const struct stream *stream, uint64_t address, uint64_t length)
{
	struct {
		struct rsys_response response;
		char bytes[CHUNK];
	} answer;
	/* The result precedes the bytes: first see that all of it can be read. */
	long result = look_at(address, length, answer.bytes);

	if (result < 0)
		return respond(stream, result, 0);
	if (length <= CHUNK) {
		answer.response.result = length;
		answer.response.length = length;
		return rsys_write_all(stream, &answer, sizeof(answer.response) + length);
	}
	/* If it is gone by now (another process unmapped it), the answer cannot be taken back. */
	if (respond(stream, length, length) < 0)
		return -1;
	return rsys_write_all(stream, (void *)address, length);
}

/*
 * Answers for which the client does not wait yet. One that is written alone costs more than the call: the process that carries it on
 * is woken for each.
 */
struct answers {
	unsigned int count;
	struct rsys_response kept[ANSWERS];
};

static int write_answers(const struct stream *stream, struct answers *answers)
{
	unsigned int count = answers->count;

	answers->count = 0;
	return count ? rsys_write_all(stream, answers->kept, count * sizeof(answers->kept[0])) : 0;
}

int rsys_serve(const struct stream *stream)
{
	struct answers answers;
	struct rsys_origin *origin = stream->origin;
	struct rsys_request request;
	int failed = 0;	/* in a chain of linked requests */
	int now_failed;
	long result;

	answers.count = 0;
	if (!rsys_begin(origin))
		return 0;
	while (read_all(stream, &request, sizeof(request)) == 0) {
		uint64_t length = request.args[0];
		int err;

		uint32_t known = request.op == RSYS_OP_CALL ? RSYS_REQUEST_LINKED | RSYS_REQUEST_MORE :
			request.op == RSYS_OP_WRITE ? RSYS_REQUEST_LINKED : 0;

		if (request.flags & ~known ||
		    (request.op != RSYS_OP_CALL && length > RSYS_MAX_TRANSFER))
			request.op = 0;
		if (request.op != RSYS_OP_CALL && write_answers(stream, &answers) < 0)
			return 0;
		switch (request.op) {
		case RSYS_OP_CALL:
			if (failed)
				result = -ECANCELED;
			else
				result = rsys_execute(origin, request.number, (int64_t *)request.args);
			failed = request.flags & RSYS_REQUEST_LINKED && rsys_is_error(result);
			answers.kept[answers.count].result = result;
			answers.kept[answers.count++].length = 0;
			err = 0;
			if (!(request.flags & RSYS_REQUEST_MORE) || answers.count == ANSWERS)
				err = write_answers(stream, &answers);
			break;
		case RSYS_OP_WRITE:
			now_failed = 0;
			err = serve_write(stream, request.number, length, &now_failed);
			failed = request.flags & RSYS_REQUEST_LINKED && (failed || now_failed);
			break;
		case RSYS_OP_READ:
			err = serve_read(stream, request.number, length);
			break;
		default:
			/* Out of step or not our client: nothing that follows can be trusted. */
			respond(stream, -EPROTO, 0);
			return 0;
		}
		if (err < 0)
			return 0;
	}
	return 0;
}

int rsyscall_server(int infd, int outfd, struct rsys_origin *origin)
{
	struct rsys_origin no_owner = { .watcher_fd = -1, .parent_pid = -1, .flags = RSYS_ORIGIN_OWN_MEMORY };
	struct stream stream = { infd, outfd, origin ? origin : &no_owner, 0 };

	return rsys_serve(&stream);
}

/*
 * For a process that shares its owner's memory, which it cannot outlive: so it ends with its stream. What outlives
 * its owner has memory of its own; see door.c.
 */
int rsyscall_persistent_server(int infd, int outfd, int listenfd)
{
	(void)listenfd;
	return rsyscall_server(infd, outfd, 0);
}
