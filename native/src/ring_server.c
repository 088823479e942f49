/*
 * The server behind a ring in shared memory.
 *
 * Waking a sleeping process costs a hundred times what a call costs, so both sides spin for
 * a bounded time before they sleep. Going to sleep is the classic two-flag handshake: write
 * "I sleep", full barrier, look once more; the other side writes its news, full barrier,
 * looks whether we sleep. One of the two always sees the other.
 *
 * A call may be about to close the descriptor that we are heard by, because it is an ordinary
 * entry of this process' table. We notice and fall back to the watcher.
 */
#include "execute.h"
#include "ring_socket.h"
#include "sleep.h"

/* Of a spin: a pause takes as long as a short call, so the first looks go without. */
#define LOOKS_BEFORE_PAUSE 64
#define LOOKS_BEFORE_YIELD 128

static int has_request(struct rsys_slot *slot, uint32_t seq)
{
	return __atomic_load_n(&slot->word, __ATOMIC_ACQUIRE) >> 32 == seq;
}

/* Until a request or a reason to look; 0 when the owner is gone, or nothing that waits is permitted. */
static int park(struct rsys_ring *ring, struct rsys_slot *slot, uint32_t seq)
{
	int permitted = 1;

	__atomic_store_n(&ring->state, RSYS_PARKED, __ATOMIC_SEQ_CST);
	if (rsys_has_own_memory(ring)) {
		if (!has_request(slot, seq)) {
			ring->parks++;
			permitted = rsys_wait_for_client(ring);
		}
		__atomic_store_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST);
		return permitted;
	}
	/* The watcher looks at the state after the owner is gone: what it does not see, we see. */
	if (!has_request(slot, seq) && !rsys_owner_gone(&ring->origin)) {
		ring->parks++;
		permitted = rsys_sleep_on(&ring->state, RSYS_PARKED, RSYS_FUTEX_PRIVATE, 0);
	}
	__atomic_store_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST);
	return permitted;
}

static int wait_for_request(struct rsys_ring *ring, struct rsys_slot *slot, uint32_t seq, uint64_t *spin)
{
	uint64_t budget = ring->hub->server_spin;
	int look;

	/* The budget may be another one than last time. */
	if (*spin > budget)
		*spin = budget;
	else if (*spin < budget / 8)
		*spin = budget / 8;
	/* Where calls follow each other closely, not even a look at the clock is worth it. */
	for (look = 0; budget && look < LOOKS_BEFORE_PAUSE; look++)
		if (has_request(slot, seq))
			return 1;
	for (;;) {
		uint32_t cpu, looks = 0;
		uint64_t start = rsys_cycles(&cpu), now = start;

		if (ring->server_cpu != cpu)
			ring->server_cpu = cpu;
		while (now - start < *spin) {
			/* On the client's processor it cannot run while we spin. */
			if (ring->client_cpu == cpu || (looks >= LOOKS_BEFORE_YIELD && looks % 8 == 0))
				rsys_call0(__NR_sched_yield);
			rsys_pause();
			looks++;
			if (has_request(slot, seq)) {
				if (*spin < budget)
					*spin *= 2;
				return 1;
			}
			if (looks % 16 == 0 || ring->client_cpu == cpu) {
				now = rsys_cycles(&cpu);
				if (ring->server_cpu != cpu)
					ring->server_cpu = cpu;
			}
		}
		/* Calls that come this seldom are not worth a whole budget each. */
		if (*spin > budget / 4)
			*spin /= 2;
		if (!park(ring, slot, seq) || rsys_owner_gone(&ring->origin))
			return 0;
		if (has_request(slot, seq))
			return 1;
	}
}

/* ---- Being heard ------------------------------------------------------------------------- */

/*
 * The event loop watches a pipe, of which every process has a copy in its table. The calls that we are
 * told to make may close that number and open something else under it, and nothing may ever be written
 * there: it would be lost, and the file is not ours. So before each write we ask what is there. A pipe has
 * an inode of its own; an eventfd would look like every other eventfd, timerfd or epoll instance.
 *
 * That is enough where no other process can change the table. One that is shared may change between the look
 * and the write: there we use no descriptor, and the watcher, whose table is its own, writes for us.
 */
static int has_pipe(const struct rsys_ring *ring)
{
	const struct rsys_hub *hub = ring->hub;
	uint64_t stat[32];	/* struct stat of all architectures begins with st_dev and st_ino, 8 bytes each */

	return !ring->table_shared && ring->completion >= 0 &&
	       rsys_call2(__NR_fstat, ring->completion, stat) == 0 && stat[0] == hub->completion_dev &&
	       stat[1] == hub->completion_ino;
}

/* A caller waits in the event loop: put this ring on the hub's stack and wake the loop. */
static void announce(struct rsys_ring *ring)
{
	struct rsys_hub *hub = ring->hub;
	uint64_t head;
	long ret;

	if (rsys_has_own_memory(ring)) {
		rsys_tell_client(ring);
		return;
	}
	if (__atomic_exchange_n(&ring->queued, 1, __ATOMIC_SEQ_CST))
		return;
	head = __atomic_load_n(&hub->ready, __ATOMIC_RELAXED);
	do {
		ring->ready_next = head;
	} while (!__atomic_compare_exchange_n(&hub->ready, &head, (uint64_t)ring, 0, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	if (has_pipe(ring)) {
		ret = rsys_call3(__NR_write, ring->completion, "", 1);
		if (ret == 1 || ret == -EAGAIN)	/* the latter: it is as readable as can be */
			return;
	}
	if (!ring->table_shared)
		ring->completion = -1;
	__atomic_fetch_add(&hub->watcher.control, 1, __ATOMIC_SEQ_CST);
	rsys_call3(__NR_futex, &hub->watcher.control, RSYS_FUTEX_WAKE, 1);
}

/* It is an entry of a table that the client may rearrange as it likes. */
static void forget_replaced(struct rsys_ring *ring, uint32_t first, uint32_t last)
{
	if (ring->completion >= 0 && (uint32_t)ring->completion >= first && (uint32_t)ring->completion <= last)
		ring->completion = -1;
}

/* Of struct clone_args, whose address may be bad: then the kernel says so. */
static uint64_t clone3_flags(uint64_t address)
{
	/* A mask is copied in before the kernel looks at what to do with it, and that is nothing it knows. */
	switch (rsys_call4(__NR_rt_sigprocmask, -1, address, 0, 8)) {
	case -EINVAL:
		return *(const volatile uint64_t *)address;
	case -EFAULT:
		return 0;
	default:	/* denied by a filter */
		return RSYS_CLONE_FILES;
	}
}

/* A process that may not wake others says so: then the client polls while it waits for an answer. */
static void look_for_filter(struct rsys_ring *ring)
{
	int mute = rsys_has_own_memory(ring) ? rsys_may_not_tell_client(ring) : rsys_may_not_wake(&ring->state);

	__atomic_store_n(&ring->mute, mute, __ATOMIC_RELEASE);
}

static long execute(struct rsys_ring *ring, uint32_t nr, const int64_t *args)
{
	long result;

	switch (nr) {
	case __NR_clone:
		if (args[0] & RSYS_CLONE_FILES)
			ring->table_shared = 1;
		break;
	case __NR_clone3:
		if (clone3_flags(args[0]) & RSYS_CLONE_FILES)
			ring->table_shared = 1;
		break;
	case __NR_close:
		forget_replaced(ring, args[0], args[0]);
		break;
#ifdef __NR_dup2
	case __NR_dup2:
#endif
	case __NR_dup3:
		forget_replaced(ring, args[1], args[1]);
		break;
	case __NR_close_range:
		if (!(args[2] & RSYS_CLOSE_RANGE_CLOEXEC))
			forget_replaced(ring, args[0], args[1]);
		break;
	}
	result = rsys_execute(&ring->origin, nr, args);
	if (nr == __NR_unshare && args[0] & RSYS_CLONE_FILES && result == 0)
		ring->table_shared = 0;
	if (rsys_may_filter(nr, args))
		look_for_filter(ring);
	return result;
}

/*
 * A call that waits for descriptors may wait for our socket among them, and hear of the call behind it by a byte
 * there. Bytes that have come for other reasons are taken before, or it would return for nothing. But a byte for
 * the call behind it may be among them, or have been taken when we woke: then we ask for another.
 */
static void before_polling(struct rsys_ring *ring, uint32_t next)
{
	struct rsys_slot *slot = &ring->slots[next % RSYS_RING_SLOTS];

	if (!has_request(slot, next))
		rsys_drain(ring);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (has_request(slot, next)) {
		__atomic_store_n(&ring->ring_again, 1, __ATOMIC_SEQ_CST);
		rsys_tell_client(ring);
	}
}

int rsyscall_ring_server(struct rsys_ring *ring)
{
	uint64_t spin = ring->hub->server_spin;
	uint32_t seq = 1;
	int failed = 0;	/* in a chain of linked calls */

	if (!rsys_begin(&ring->origin))
		return 0;
	look_for_filter(ring);
	for (;; seq++) {
		struct rsys_slot *slot = &ring->slots[seq % RSYS_RING_SLOTS];
		uint32_t nr, waits;

		if (!has_request(slot, seq) && !wait_for_request(ring, slot, seq, &spin))
			return 0;
		if (rsys_owner_gone(&ring->origin))
			return 0;
		nr = (uint32_t)slot->word;
		if (rsys_has_own_memory(ring) && rsys_polls(nr & ~RSYS_NR_LINKED))
			before_polling(ring, seq + 1);
		if (nr == RSYS_NR_SHUTDOWN)
			return 0;
		if (failed)
			slot->result = -ECANCELED;
		else
			slot->result = execute(ring, nr & ~RSYS_NR_LINKED, slot->args);
		failed = nr & RSYS_NR_LINKED && rsys_is_error(slot->result);
		ring->executed = seq;
		__atomic_store_n(&slot->word, (uint64_t)seq << 32 | RSYS_SLOT_DONE, __ATOMIC_SEQ_CST);
		waits = __atomic_load_n(&ring->client_waits, __ATOMIC_SEQ_CST);
		if (waits && (int32_t)(seq - waits) >= 0) {
			__atomic_store_n(&ring->client_waits, 0, __ATOMIC_SEQ_CST);
			announce(ring);
		}
	}
}
