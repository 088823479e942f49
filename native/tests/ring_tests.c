/* The trampoline, and the server behind a ring. Not under valgrind: two processes share this memory. */
#define _GNU_SOURCE
#include "driven.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

#define ARGS(...) ((int64_t[6]){ __VA_ARGS__ })
#define SPIN 200000	/* cycles: long against a call, short against a sleep */

/* ---- The client's side, as simple as it can be --------------------------------------------- */

struct driven {
	struct rsys_hub *hub;
	struct rsys_ring *ring;
	struct child child;
	int news;	/* where it announces answers */
};

static struct driven make(uint64_t spin)
{
	struct driven driven = { pages(sizeof(struct rsys_hub)), pages(sizeof(struct rsys_ring)), { 0, 0 }, -1 };

	driven.hub->server_spin = spin;
	driven.ring->hub = driven.hub;
	driven.ring->completion = -1;
	driven.ring->server_cpu = driven.ring->client_cpu = -1;
	driven.ring->origin.parent_pid = getpid();
	driven.ring->origin.dumpable = -1;
	return driven;
}

static void launch_with(struct driven *driven, uint64_t flags)
{
	driven->child = start_child(flags, &driven->ring->ctid, (void *)(uintptr_t)rsyscall_ring_server,
				    ARGS(as_arg(driven->ring)));
}

static void launch(struct driven *driven)
{
	launch_with(driven, 0);
}

static struct driven start(void)
{
	struct driven driven = make(SPIN);

	launch(&driven);
	return driven;
}

static struct rsys_slot *slot_of(struct driven *driven, uint32_t seq)
{
	return &driven->ring->slots[seq % RSYS_RING_SLOTS];
}

static uint32_t put(struct driven *driven, uint32_t nr, const int64_t args[6])
{
	uint32_t seq = ++driven->ring->submitted;
	struct rsys_slot *slot = slot_of(driven, seq);

	memcpy(slot->args, args, sizeof(slot->args));
	slot->result = 0x5555;
	__atomic_store_n(&slot->word, (uint64_t)seq << 32 | nr, __ATOMIC_RELEASE);
	return seq;
}

static void kick(struct driven *driven)
{
	struct rsys_ring *ring = driven->ring;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ring->state, __ATOMIC_SEQ_CST) == RSYS_PARKED) {
		__atomic_store_n(&ring->state, RSYS_RUNNING, __ATOMIC_SEQ_CST);
		CHECK_CALL(syscall(SYS_futex, &ring->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	}
}

static int is_done(struct driven *driven, uint32_t seq)
{
	return __atomic_load_n(&slot_of(driven, seq)->word, __ATOMIC_ACQUIRE) ==
	       ((uint64_t)seq << 32 | RSYS_SLOT_DONE);
}

static int64_t result_of(struct driven *driven, uint32_t seq)
{
	int i;

	for (i = 0; i < 10000 && !is_done(driven, seq); i++)
		sched_yield();
	CHECK_COMES_TRUE(is_done(driven, seq));
	driven->ring->consumed = seq;
	return slot_of(driven, seq)->result;
}

static int64_t do_call(struct driven *driven, uint32_t nr, const int64_t args[6])
{
	uint32_t seq = put(driven, nr, args);

	kick(driven);
	return result_of(driven, seq);
}

#define CALL(driven, nr, ...) do_call(driven, nr, ARGS(__VA_ARGS__))

static uint32_t state_of(struct driven *driven)
{
	return __atomic_load_n(&driven->ring->state, __ATOMIC_SEQ_CST);
}

static void finish(struct driven *driven)
{
	CHECK_EQUAL(CALL(driven, SYS_getpid), driven->child.pid);
	put(driven, RSYS_NR_SHUTDOWN, ARGS(0));
	kick(driven);
	CHECK_EQUAL(wait_for_exit(driven->child.pid), 0);
	CHECK_EQUAL(driven->ring->ctid, 0);
}

static int is_readable(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return CHECK_CALL(poll(&pollfd, 1, 0)) == 1 && pollfd.revents & POLLIN;
}

/* ---- The trampoline --------------------------------------------------------------------------- */

static int64_t seen[7];

static int remember(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
	int32_t signal = 0;

	seen[0] = a;
	seen[1] = b;
	seen[2] = c;
	seen[3] = d;
	seen[4] = e;
	seen[5] = f;
	rsyscall_raw_syscall(PR_GET_PDEATHSIG, as_arg(&signal), 0, 0, 0, 0, SYS_prctl);
	seen[6] = signal;
	return 42;
}

static void trampoline(void)
{
	static const int64_t args[6] = { 1, -2, INT64_MAX, INT64_MIN, 5, 6 };
	uint32_t ctid;
	struct child child = start_child(0, &ctid, (void *)(uintptr_t)remember, args);
	int i;

	CHECK_EQUAL(wait_for_exit(child.pid), 42);
	CHECK_EQUAL(ctid, 0);
	for (i = 0; i < 6; i++)
		CHECK_EQUAL(seen[i], args[i]);
	CHECK_EQUAL(seen[6], SIGKILL);
}

/* ---- Calls -------------------------------------------------------------------------------------- */

static void calls(void)
{
	struct driven driven = start();
	int memfd = CHECK_CALL(memfd_create("test", MFD_CLOEXEC)), theirs;
	int64_t address;

	CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
	CHECK_EQUAL(CALL(&driven, SYS_getppid), getpid());
	CHECK_EQUAL(CALL(&driven, SYS_close, -1), -EBADF);
	CHECK_EQUAL(CALL(&driven, 100000), -ENOSYS);
	/* The sixth argument shows in what is mapped, and it is our memory too. */
	CHECK_CALL(ftruncate(memfd, 8192));
	CHECK_CALL(pwrite(memfd, "x", 1, 4096));
	theirs = CALL(&driven, SYS_pidfd_open, getpid(), 0);
	CHECK(theirs >= 0);
	theirs = CALL(&driven, SYS_pidfd_getfd, theirs, memfd, 0);
	CHECK(theirs >= 0);
	address = CALL(&driven, SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, theirs, 4096);
	CHECK(address > 0);
	CHECK_EQUAL(*(char *)(uintptr_t)address, 'x');
	finish(&driven);
}

static void calls_prepared_before_the_start(void)
{
	struct driven driven = make(SPIN);
	uint32_t i;

	for (i = 0; i < RSYS_RING_SLOTS - 1; i++)
		put(&driven, SYS_umask, ARGS(i));
	launch(&driven);
	result_of(&driven, 1);
	for (i = 1; i < RSYS_RING_SLOTS - 1; i++)
		CHECK_EQUAL(result_of(&driven, i + 1), i - 1);
	CHECK_EQUAL(driven.ring->executed, RSYS_RING_SLOTS - 1);
	finish(&driven);
}

static void many_calls_go_around(void)
{
	struct driven driven = start();
	uint32_t round, i, first;

	CALL(&driven, SYS_umask, 0);
	for (round = 0; round < 200; round++) {
		first = driven.ring->submitted + 1;
		for (i = 0; i < 100; i++) {
			put(&driven, SYS_umask, ARGS(round + i));
			kick(&driven);
		}
		for (i = 0; i < 100; i++)
			CHECK_EQUAL(result_of(&driven, first + i), i ? round + i - 1 : round ? round + 98 : 0);
	}
	finish(&driven);
}

static void linked_calls(void)
{
	struct driven driven = make(SPIN);
	uint32_t linked = RSYS_NR_LINKED, first;

	launch(&driven);
	CALL(&driven, SYS_umask, 022);
	first = put(&driven, SYS_getpid | linked, ARGS(0));
	put(&driven, SYS_close | linked, ARGS(-1));
	put(&driven, SYS_umask | linked, ARGS(1));
	put(&driven, SYS_umask, ARGS(2));
	put(&driven, SYS_umask, ARGS(3));
	kick(&driven);
	CHECK_EQUAL(result_of(&driven, first), driven.child.pid);
	CHECK_EQUAL(result_of(&driven, first + 1), -EBADF);
	CHECK_EQUAL(result_of(&driven, first + 2), -ECANCELED);
	CHECK_EQUAL(result_of(&driven, first + 3), -ECANCELED);
	CHECK_EQUAL(result_of(&driven, first + 4), 022);
	finish(&driven);
}

static struct driven with_descriptors(uint64_t spin)
{
	struct driven driven = make(spin);

	driven.news = make_pipe(driven.hub);
	driven.ring->completion = driven.hub->watcher.completion;
	return driven;
}

/* ---- Sleeping and waking -------------------------------------------------------------------------- */

static void parks_and_wakes(void)
{
	struct driven driven = make(0);
	int i;

	launch(&driven);
	for (i = 0; i < 200; i++) {
		uint64_t parks;

		CHECK_COMES_TRUE(state_of(&driven) == RSYS_PARKED);
		parks = driven.ring->parks;
		CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
		CHECK_COMES_TRUE(driven.ring->parks > parks);
	}
	finish(&driven);
}

/* Requests that come just when the server goes to sleep, at every step of that. */
static void no_wake_up_is_lost(void)
{
	static const uint64_t budgets[] = { 0, 3000 };
	unsigned int i, round, seed = 1;

	for (round = 0; round < 2; round++) {
		struct driven driven = make(budgets[round]);

		launch(&driven);
		for (i = 0; i < 20000; i++) {
			volatile unsigned int pause;
			uint32_t seq;

			seed = seed * 1103515245 + 12345;
			for (pause = (seed >> 16) % (i % 2 ? 3000 : 60); pause; pause--)
				;
			seq = put(&driven, SYS_getpid, ARGS(0));
			kick(&driven);
			/* Not through the scheduler: the next one is to follow at once. */
			for (pause = 0; pause < 20000 && !is_done(&driven, seq); pause++)
				;
			CHECK_EQUAL(result_of(&driven, seq), driven.child.pid);
		}
		finish(&driven);
	}
}

/* Only the answer that a caller waits for is announced. */
static void announces_the_one_that_is_waited_for(void)
{
	struct driven driven = with_descriptors(SPIN);
	struct pollfd pollfd = { .fd = driven.news, .events = POLLIN };
	struct { int64_t sec, nsec; } pause = { 0, 1000000 };
	uint32_t last;

	put(&driven, SYS_getpid, ARGS(0));
	put(&driven, SYS_nanosleep, ARGS(as_arg(&pause), 0));
	last = put(&driven, SYS_nanosleep, ARGS(as_arg(&pause), 0));
	driven.ring->client_waits = last;
	launch(&driven);
	CHECK_EQUAL(CHECK_CALL(poll(&pollfd, 1, 20000)), 1);
	CHECK(is_done(&driven, last));
	finish(&driven);
}

/* ---- Descriptors that the client rearranges ------------------------------------------------------- */

static void closes_its_own_descriptors(void)
{
	struct driven driven = with_descriptors(0);
	int i;

	launch(&driven);
	CHECK_COMES_TRUE(state_of(&driven) == RSYS_PARKED);
	CHECK_EQUAL(CALL(&driven, SYS_close_range, 0, ~0u, 0), 0);
	CHECK_EQUAL(driven.ring->completion, -1);
	for (i = 0; i < 20; i++) {
		CHECK_COMES_TRUE(state_of(&driven) == RSYS_PARKED);
		CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
	}
	/* Ours are still open. */
	CHECK_CALL(fcntl(driven.hub->watcher.completion, F_GETFD));
	finish(&driven);
}

static void replaces_its_own_descriptors(void)
{
	struct driven driven = with_descriptors(SPIN);
	int completion = driven.ring->completion;

	launch(&driven);
	/* Harmless to them: */
	CHECK_EQUAL(CALL(&driven, SYS_close_range, 0, ~0u, CLOSE_RANGE_CLOEXEC), 0);
	CHECK_EQUAL(CALL(&driven, SYS_dup3, completion, 100, 0), 100);
	CHECK_EQUAL(CALL(&driven, SYS_close, 100), 0);
	CHECK_EQUAL(driven.ring->completion, completion);
	/* And not: */
	CHECK_EQUAL(CALL(&driven, SYS_dup3, driven.news, completion, 0), completion);
	CHECK_EQUAL(driven.ring->completion, -1);
	finish(&driven);
}

/* ---- Telling the event loop ------------------------------------------------------------------------- */

static void announces_to_who_waits(void)
{
	struct driven driven = with_descriptors(SPIN);
	struct { int64_t sec, nsec; } pause = { 0, 1000000 };
	char bytes[8];
	int i;

	launch(&driven);
	CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
	/* No caller waited. */
	CHECK(!is_readable(driven.news));
	for (i = 0; i < 50; i++) {
		uint32_t seq = put(&driven, SYS_nanosleep, ARGS(as_arg(&pause), 0));
		struct pollfd pollfd = { .fd = driven.news, .events = POLLIN };

		__atomic_store_n(&driven.ring->client_waits, 1, __ATOMIC_SEQ_CST);
		kick(&driven);
		CHECK_EQUAL(CHECK_CALL(poll(&pollfd, 1, 20000)), 1);
		CHECK_EQUAL(read(driven.news, bytes, sizeof(bytes)), 1);
		CHECK(is_done(&driven, seq));
		CHECK_EQUAL(driven.ring->client_waits, 0);
		CHECK_EQUAL(driven.ring->queued, 1);
		if (i % 2) {
			/* It is on the stack already, and not a second time. */
			__atomic_store_n(&driven.ring->client_waits, 1, __ATOMIC_SEQ_CST);
			CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
			CHECK_COMES_TRUE(__atomic_load_n(&driven.ring->client_waits, __ATOMIC_SEQ_CST) == 0);
			usleep(1000);
			CHECK(!is_readable(driven.news));
		}
		CHECK_EQUAL(__atomic_exchange_n(&driven.hub->ready, 0, __ATOMIC_SEQ_CST), as_arg(driven.ring));
		CHECK_EQUAL(driven.ring->ready_next, 0);
		__atomic_store_n(&driven.ring->queued, 0, __ATOMIC_SEQ_CST);
	}
	finish(&driven);
}

/* Without its descriptor it asks the watcher to speak for it. */
static void announces_through_the_watcher(void)
{
	struct driven driven = with_descriptors(SPIN);
	uint32_t control = driven.hub->watcher.control;

	launch(&driven);
	CHECK_EQUAL(CALL(&driven, SYS_close_range, 0, ~0u, 0), 0);
	put(&driven, SYS_getpid, ARGS(0));
	__atomic_store_n(&driven.ring->client_waits, 1, __ATOMIC_SEQ_CST);
	kick(&driven);
	CHECK_COMES_TRUE(__atomic_load_n(&driven.hub->watcher.control, __ATOMIC_SEQ_CST) != control);
	CHECK_EQUAL(driven.hub->ready, as_arg(driven.ring));
	CHECK(!is_readable(driven.news));
	finish(&driven);
}

/* Several servers push onto one stack at once. */
static void many_announce_at_once(void)
{
	enum { COUNT = 8, ROUNDS = 300 };
	struct driven driven[COUNT];
	struct rsys_hub *hub = NULL;
	int i, round, news = -1;

	for (i = 0; i < COUNT; i++) {
		driven[i] = make(0);
		if (!i) {
			hub = driven[0].hub;
			news = make_pipe(hub);
		}
		driven[i].hub = driven[i].ring->hub = hub;
		driven[i].ring->completion = hub->watcher.completion;
		launch(&driven[i]);
	}
	for (round = 0; round < ROUNDS; round++) {
		int answered = 0;

		for (i = 0; i < COUNT; i++) {
			put(&driven[i], SYS_getpid, ARGS(0));
			__atomic_store_n(&driven[i].ring->client_waits, 1, __ATOMIC_SEQ_CST);
			kick(&driven[i]);
		}
		while (answered < COUNT) {
			struct pollfd pollfd = { .fd = news, .events = POLLIN };
			struct rsys_ring *ring;
			char bytes[4096];

			CHECK_EQUAL(CHECK_CALL(poll(&pollfd, 1, 20000)), 1);
			CHECK_CALL(read(news, bytes, sizeof(bytes)));
			ring = (void *)(uintptr_t)__atomic_exchange_n(&hub->ready, 0, __ATOMIC_SEQ_CST);
			while (ring) {
				struct rsys_ring *next = (void *)(uintptr_t)ring->ready_next;

				__atomic_store_n(&ring->queued, 0, __ATOMIC_SEQ_CST);
				answered++;
				ring = next;
			}
		}
		for (i = 0; i < COUNT; i++)
			CHECK_EQUAL(result_of(&driven[i], driven[i].ring->submitted), driven[i].child.pid);
	}
	for (i = 0; i < COUNT; i++)
		finish(&driven[i]);
}

/* ---- The end ------------------------------------------------------------------------------------------ */

static void leaving_clears_the_word(void)
{
	static char *argv[] = { "test_server", "--do-nothing", NULL }, *envp[] = { NULL };
	struct driven driven = start();
	uint32_t seq;

	seq = put(&driven, SYS_exit, ARGS(3));
	kick(&driven);
	wait_for_zero(&driven.ring->ctid);
	CHECK(!is_done(&driven, seq));
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 3);

	driven = start();
	CHECK_CALL(kill(driven.child.pid, SIGKILL));
	wait_for_zero(&driven.ring->ctid);
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 128 + SIGKILL);

	driven = start();
	CHECK_EQUAL(CALL(&driven, SYS_execve, as_arg("/nonexistent"), as_arg(argv), as_arg(envp)), -ENOENT);
	CHECK_EQUAL(driven.ring->ctid, 1);
	seq = put(&driven, SYS_execve, ARGS(as_arg("/proc/self/exe"), as_arg(argv), as_arg(envp)));
	kick(&driven);
	wait_for_zero(&driven.ring->ctid);
	CHECK(!is_done(&driven, seq));
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 7);
}

static void owner_that_is_gone_at_the_start(void)
{
	static uint32_t ended = FUTEX_OWNER_DIED;
	struct driven driven = make(SPIN);

	driven.ring->origin.parent_pid = getpid() + 1;
	launch(&driven);
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 0);

	driven = make(SPIN);
	driven.ring->origin.owner = as_arg(&ended);
	put(&driven, SYS_exit, ARGS(7));
	launch(&driven);
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 0);
}

/* What has been sent is not made any more. */
static void owner_that_ends(void)
{
	struct driven driven = make(0);
	struct { int64_t sec, nsec; } pause = { 0, 20000000 };
	uint32_t *owner = pages(4096);

	driven.ring->origin.owner = as_arg(owner);
	launch(&driven);
	CHECK_EQUAL(CALL(&driven, SYS_getpid), driven.child.pid);
	put(&driven, SYS_nanosleep, ARGS(as_arg(&pause), 0));
	put(&driven, SYS_exit, ARGS(7));
	kick(&driven);
	__atomic_store_n(owner, FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
	CHECK_EQUAL(wait_for_exit(driven.child.pid), 0);
}

/* The parent is what PDEATHSIG watches: a process that dies between clone and prctl is noticed by its number. */
static void parent_that_dies(void)
{
	int report[2], i;
	pid_t pid, parent;
	struct pollfd end;

	for (i = 0; i < 20; i++) {
		CHECK_CALL(pipe2(report, O_CLOEXEC));
		parent = CHECK_CALL(fork());
		if (parent == 0) {
			struct driven driven = make(i % 2 ? 0 : SPIN);

			launch(&driven);
			if (i % 3)
				usleep(i * 100);
			pid = driven.child.pid;
			if (write(report[1], &pid, sizeof(pid)) != sizeof(pid))
				_exit(1);
			kill(getpid(), SIGKILL);
		}
		close(report[1]);
		CHECK_EQUAL(read(report[0], &pid, sizeof(pid)), sizeof(pid));
		/* The child has the other end of the pipe: the end of file says that it is gone. */
		end = (struct pollfd){ .fd = report[0] };
		CHECK_EQUAL(CHECK_CALL(poll(&end, 1, 20000)), 1);
		CHECK_EQUAL(wait_for_exit(parent), 128 + SIGKILL);
		close(report[0]);
	}
}

/* ---- What sharing memory demands ------------------------------------------------------------------------ */

static void changed_credentials(void)
{
	struct driven driven = start();
	int32_t *signal = pages(4096);
	int uid = getuid() ? (int)getuid() : 65534;

	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
	CHECK_EQUAL(driven.ring->origin.creds_changed, 0);
	/* May fail, and is recorded all the same: what follows may succeed. */
	CHECK_EQUAL(CALL(&driven, SYS_setresuid, -2, -2, -2), getuid() ? -EPERM : 0);
	CHECK_EQUAL(driven.ring->origin.creds_changed, 1);
	CHECK_EQUAL(driven.ring->origin.dumpable, prctl(PR_GET_DUMPABLE) == 1 ? -1 : 1);
	CHECK_EQUAL(CALL(&driven, SYS_prctl, PR_GET_PDEATHSIG, as_arg(signal)), 0);
	CHECK_EQUAL(*signal, SIGKILL);
	finish(&driven);
	prctl(PR_SET_DUMPABLE, 1);

	driven = start();
	CHECK_EQUAL(CALL(&driven, SYS_setresgid, getgid(), getgid(), getgid()), 0);
	CHECK_EQUAL(CALL(&driven, SYS_setresuid, uid, uid, uid), 0);
	CHECK_EQUAL(CALL(&driven, SYS_getuid), uid);
	CHECK_EQUAL(CALL(&driven, SYS_prctl, PR_GET_PDEATHSIG, as_arg(signal)), 0);
	CHECK_EQUAL(*signal, SIGKILL);
	if (getuid() == 0)
		/* The shared memory is protected while that child lives; what it was is kept. */
		CHECK(prctl(PR_GET_DUMPABLE) != 1);
	CHECK_EQUAL(driven.ring->origin.dumpable, prctl(PR_GET_DUMPABLE) == 1 ? -1 : 1);
	finish(&driven);
	prctl(PR_SET_DUMPABLE, 1);
}

/* Root of another user namespace could trace us and so write into our owner's memory. */
static void memory_is_protected_in_another_user_namespace(void)
{
	struct driven driven = start();

	CHECK_EQUAL(CALL(&driven, SYS_execve, as_arg("/nonexistent"), 0, 0), -ENOENT);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
	if (CALL(&driven, SYS_unshare, CLONE_NEWUSER) < 0) {
		finish(&driven);	/* not permitted in this place */
		return;
	}
	CHECK_EQUAL(driven.ring->origin.user_namespace, 1);
	CHECK_EQUAL(driven.ring->origin.dumpable, -1);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
	CHECK_EQUAL(CALL(&driven, SYS_execve, as_arg("/nonexistent"), 0, 0), -ENOENT);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 0);
	CHECK_EQUAL(driven.ring->origin.dumpable, 1);
	finish(&driven);
	prctl(PR_SET_DUMPABLE, 1);
}

/* There may be others already. */
static void memory_is_protected_before_a_user_namespace_is_entered(void)
{
	struct driven driven = start(), inside = start();
	char *path = pages(4096);
	int fd;

	if (CALL(&inside, SYS_unshare, CLONE_NEWUSER) < 0) {
		finish(&inside);	/* not permitted in this place */
		finish(&driven);
		return;
	}
	/* Other kinds do not matter. */
	fd = CALL(&driven, SYS_openat, AT_FDCWD, as_arg("/proc/self/ns/uts"), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CALL(&driven, SYS_setns, fd, CLONE_NEWUTS);
	CALL(&driven, SYS_setns, fd, 0);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 1);
	CHECK_EQUAL(driven.ring->origin.user_namespace, 0);
	snprintf(path, 4096, "/proc/%d/ns/user", inside.child.pid);
	fd = CALL(&driven, SYS_openat, AT_FDCWD, as_arg(path), O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQUAL(CALL(&driven, SYS_setns, fd, 0), 0);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE), 0);
	CHECK_EQUAL(driven.ring->origin.user_namespace, 1);
	CHECK_EQUAL(driven.ring->origin.dumpable, 1);
	finish(&inside);
	finish(&driven);
	prctl(PR_SET_DUMPABLE, 1);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* On kernels that cannot clear handlers while cloning. */
static void handlers_are_reset(void)
{
	struct { uint64_t handler, flags, restorer, mask; } *old = pages(4096);
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t all, before;
	uint64_t *mask = pages(4096);
	struct driven driven = make(SPIN);

	CHECK_CALL(sigaction(SIGUSR1, &action, NULL));
	signal(SIGUSR2, SIG_IGN);
	sigfillset(&all);
	CHECK_CALL(sigprocmask(SIG_SETMASK, &all, &before));
	driven.ring->origin.flags = RSYS_ORIGIN_RESET_SIGNALS;
	driven.ring->origin.sigmask = 1 << (SIGHUP - 1);
	launch_with(&driven, CLONE_CLEAR_SIGHAND);
	CHECK_CALL(sigprocmask(SIG_SETMASK, &before, NULL));

	CHECK_EQUAL(CALL(&driven, SYS_rt_sigprocmask, SIG_SETMASK, 0, as_arg(mask), 8), 0);
	CHECK_EQUAL(*mask, 1 << (SIGHUP - 1));
	CHECK_EQUAL(CALL(&driven, SYS_rt_sigaction, SIGUSR1, 0, as_arg(old), 8), 0);
	CHECK_EQUAL(old->handler, 0);
	CHECK_EQUAL(CALL(&driven, SYS_rt_sigaction, SIGUSR2, 0, as_arg(old), 8), 0);
	CHECK_EQUAL(old->handler, 1);
	/* Ours are as they were. */
	CHECK_CALL(sigaction(SIGUSR1, NULL, &action));
	CHECK(action.sa_handler == on_signal);
	finish(&driven);
}

const struct test ring_tests[] = {
	{ "trampoline", trampoline },
	{ "calls", calls },
	{ "calls_prepared_before_the_start", calls_prepared_before_the_start },
	{ "many_calls_go_around", many_calls_go_around },
	{ "linked_calls", linked_calls },
	{ "parks_and_wakes", parks_and_wakes },
	{ "no_wake_up_is_lost", no_wake_up_is_lost },
	{ "closes_its_own_descriptors", closes_its_own_descriptors },
	{ "replaces_its_own_descriptors", replaces_its_own_descriptors },
	{ "announces_to_who_waits", announces_to_who_waits },
	{ "announces_the_one_that_is_waited_for", announces_the_one_that_is_waited_for },
	{ "announces_through_the_watcher", announces_through_the_watcher },
	{ "many_announce_at_once", many_announce_at_once },
	{ "leaving_clears_the_word", leaving_clears_the_word },
	{ "owner_that_is_gone_at_the_start", owner_that_is_gone_at_the_start },
	{ "owner_that_ends", owner_that_ends },
	{ "parent_that_dies", parent_that_dies },
	{ "changed_credentials", changed_credentials },
	{ "memory_is_protected_in_another_user_namespace", memory_is_protected_in_another_user_namespace },
	{ "memory_is_protected_before_a_user_namespace_is_entered",
	  memory_is_protected_before_a_user_namespace_is_entered },
	{ "handlers_are_reset", handlers_are_reset },
	{ NULL, NULL },
};
