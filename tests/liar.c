/*
 * A process at the other end of a ring in a memory file that writes there whatever comes to its mind.
 *
 * liar FILE SOCKET SEED LIES MILLISECONDS: descriptors, and a string of the lies to choose from (see below).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shared_ring.h"

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* More likely than others to be where something breaks. */
static uint64_t value(void)
{
	static const uint64_t some[] = { 0, 1, -1ull, -2ull, INT64_MIN, INT64_MIN + 1, INT64_MIN + 2, INT64_MIN + 3,
					 INT64_MIN + 4, INT64_MAX, -4095ull, -4096ull, 1ull << 31, 1ull << 32 };

	return any() % 2 ? any() : some[any() % (sizeof(some) / sizeof(*some))];
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void lie(struct rsys_shared *shared, int file, int socket, char kind)
{
	struct rsys_ring *ring = &shared->ring;
	struct rsys_slot *slot = &ring->slots[any() % RSYS_RING_SLOTS];
	char bytes[512] = { 0 };
	int i;

	switch (kind) {
	case 'a':	/* all requests are answered */
		for (i = 0; i < (int)RSYS_RING_SLOTS; i++) {
			uint64_t word = ring->slots[i].word;

			if (!word || word & RSYS_SLOT_DONE)
				continue;
			ring->slots[i].result = value();
			__atomic_store_n(&ring->slots[i].word, (word >> 32 << 32) | RSYS_SLOT_DONE, __ATOMIC_RELEASE);
		}
		if (any() % 16 == 0)
			send(socket, bytes, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 'w':	/* an answer to another call, or none */
		slot->result = value();
		slot->word = any() % 2 ? value() : slot->word + (value() << 32);
		break;
	case 'g':	/* garbage in the ring and behind it, but for the life of the process */
		*(volatile uint32_t *)((char *)shared + any() % offsetof(struct rsys_shared, life) / 4 * 4) = value();
		break;
	case 'o':	/* the last request is answered, and none before it */
		for (i = 0; i < (int)RSYS_RING_SLOTS; i++)
			if (ring->slots[i].word >> 32 > slot->word >> 32)
				slot = &ring->slots[i];
		if (slot->word && !(slot->word & RSYS_SLOT_DONE))
			__atomic_store_n(&slot->word, (slot->word >> 32 << 32) | RSYS_SLOT_DONE, __ATOMIC_RELEASE);
		break;
	case 'l':
		shared->life = value();
		break;
	case 'p':	/* much is being done, and nothing is ready */
		for (i = 0; i < 1000; i++)
			__atomic_fetch_add(&ring->executed, 1, __ATOMIC_SEQ_CST);
		break;
	case 's':
		ring->state = any() % 2 ? RSYS_PARKED : value();
		break;
	case 'm':
		ring->mute = value();
		ring->client_waits = value();
		ring->server_cpu = any() % 4;
		break;
	case 't':	/* tell of answers, all the time */
		send(socket, bytes, any() % sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 'r':
		recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);
		break;
	case 'h':	/* holes, and no file at all, if that were possible */
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, any() % RSYS_SHARED_SIZE / 4096 * 4096, 65536);
		if (ftruncate(file, 0) == 0)
			abort();
		break;
	case 'd':	/* in the arena */
		((volatile char *)shared)[RSYS_ARENA_OFFSET + any() % RSYS_ARENA_SIZE] = value();
		break;
	}
}

int main(int argc, char **argv)
{
	int file, socket;
	struct rsys_shared *shared;
	double end;
	char start;

	if (argc != 6)
		return 2;
	file = atoi(argv[1]);
	socket = atoi(argv[2]);
	state = 0x9e3779b97f4a7c15ull * (atoi(argv[3]) + 1);
	shared = mmap(NULL, RSYS_SHARED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (shared == MAP_FAILED)
		return 2;
	/* Otherwise in place of a process that has greeted. */
	if (!shared->ready) {
		shared->life = 7;
		shared->base = (uint64_t)shared;
		__atomic_store_n(&shared->ready, 1, __ATOMIC_RELEASE);
		/* Not before the greeting has been read: a hole may take it away. */
		if (recv(socket, &start, 1, 0) != 1)
			return 2;
	}
	for (end = now() + atoi(argv[5]) / 1e3; now() < end;)
		lie(shared, file, socket, argv[4][any() % strlen(argv[4])]);
	return 0;
}
