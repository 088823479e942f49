/*
 * What a process that does not share its client's memory says first: who and where it is. Then it serves the stream.
 *
 * The greeting has the addresses of all servers, so this file is above them.
 */
#include "freestanding.h"
#include "stream_server.h"

#define GREETING 4096	/* of what is said first, in one piece; an environment is seldom longer */

size_t rsys_string_length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

void rsyscall_fill_hello(struct rsys_hello *hello, uint32_t page_size)
{
	static const char magic[] = RSYS_MAGIC;
	unsigned char *p = (unsigned char *)hello;
	uint32_t i;

	for (i = 0; i < sizeof(*hello); i++)
		((volatile unsigned char *)p)[i] = 0;
	for (i = 0; i < 8; i++)
		hello->magic[i] = magic[i];
	hello->version = RSYS_VERSION;
	hello->length = sizeof(*hello);
	hello->machine = RSYS_ELF_MACHINE;
	hello->page_size = page_size;
	hello->pid = rsys_call0(__NR_getpid);
	hello->uid = rsys_call0(__NR_getuid);
	hello->gid = rsys_call0(__NR_getgid);
	rsys_call4(__NR_rt_sigprocmask, 0, 0, &hello->sigmask, 8);
	hello->symbols[0] = (uint64_t)rsyscall_server;
	hello->symbols[1] = (uint64_t)rsyscall_persistent_server;
	hello->symbols[2] = (uint64_t)rsyscall_futex_helper;
	hello->symbols[3] = (uint64_t)rsyscall_trampoline;
	hello->symbols[4] = (uint64_t)rsyscall_ring_server;
	hello->symbols[5] = (uint64_t)rsyscall_shared_ring_server;
}

/*
 * What is said first, gathered: each piece that is written alone wakes the client, which reads it alone, and is a
 * packet of its own for a process that carries it on.
 */
struct greeting {
	const struct stream *stream;
	size_t count;
	char bytes[GREETING];
};

static int flush(struct greeting *greeting)
{
	size_t count = greeting->count;

	greeting->count = 0;
	return rsys_write_all(greeting->stream, greeting->bytes, count);
}

static int say(struct greeting *greeting, const void *data, size_t len)
{
	const volatile char *p = data;

	for (; len; len--) {
		if (greeting->count == GREETING && flush(greeting) < 0)
			return -1;
		greeting->bytes[greeting->count++] = *p++;
	}
	return 0;
}

static int say_strings(struct greeting *greeting, char **strings)
{
	for (; *strings; strings++) {
		uint32_t n = rsys_string_length(*strings);

		if (say(greeting, &n, sizeof(n)) < 0 || say(greeting, *strings, n) < 0)
			return -1;
	}
	return 0;
}

/* For a process that does not share the client's memory: say who and where we are first. */
int rsyscall_prefaced_server(int infd, int outfd, char **envp, uint32_t page_size, struct rsys_door *door,
			     const struct rsys_preface *preface)
{
	struct rsys_origin no_owner = { .watcher_fd = -1, .parent_pid = -1, .flags = RSYS_ORIGIN_OWN_MEMORY };
	struct stream stream = { infd, outfd, &no_owner, door };
	struct greeting greeting;
	struct rsys_hello hello;
	uint32_t count = 0;

	rsyscall_fill_hello(&hello, page_size);
	for (; envp[count]; count++)
		hello.length += 4 + rsys_string_length(envp[count]);
	hello.env_count = count;
	hello.infd = infd;
	hello.outfd = outfd;
	/* One by one, or compilers call memset. */
	greeting.stream = &stream;
	greeting.count = 0;
	if (preface && (say(&greeting, preface->data, preface->length) < 0 ||
			say_strings(&greeting, preface->strings) < 0))
		return 1;
	if (say(&greeting, &hello, sizeof(hello)) < 0 || say_strings(&greeting, envp) < 0 || flush(&greeting) < 0)
		return 1;
	return rsys_serve(&stream);
}

int rsyscall_greeting_server(int infd, int outfd, char **envp, uint32_t page_size)
{
	return rsyscall_prefaced_server(infd, outfd, envp, page_size, 0, 0);
}
