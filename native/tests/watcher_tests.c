/* The watcher: words that become 0 are told through a pipe. */
#define _GNU_SOURCE
#include "driven.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct watched {
	struct rsys_hub *hub;
	struct child helper;
	uint32_t helper_ctid;
	int news;
};

static void start_watcher_for(struct watched *watched, uint32_t *owner)
{
	struct rsys_watcher *watcher;

	watched->hub = pages(sizeof(struct rsys_hub));
	watched->news = make_pipe(watched->hub);
	watcher = &watched->hub->watcher;
	watcher->origin.watcher_fd = -1;
	watcher->origin.parent_pid = getpid();
	watched->hub->owner = watcher->origin.owner = as_arg(owner);
	watched->helper = start_child_by(rsyscall_lasting_trampoline, 0, &watched->helper_ctid,
					 (void *)(uintptr_t)rsyscall_futex_helper,
					 (int64_t[6]){ as_arg(watched->hub) });
}

static void start_watcher(struct watched *watched)
{
	start_watcher_for(watched, NULL);
}

static void changed(struct watched *watched)
{
	uint32_t *control = &watched->hub->watcher.control;

	__atomic_fetch_add(control, 1, __ATOMIC_SEQ_CST);
	CHECK_CALL(syscall(SYS_futex, control, FUTEX_WAKE, 1, NULL, NULL, 0));
}

/* Of an entry; only the client uses what is above its address. */
#define GENERATION (0xabcdull << 48)

static void watch(struct watched *watched, uint32_t index, uint32_t *word)
{
	struct rsys_watcher *watcher = &watched->hub->watcher;

	__atomic_store_n(&watcher->words[index], (uint64_t)as_arg(word) | GENERATION, __ATOMIC_SEQ_CST);
	if (index >= watcher->count)
		__atomic_store_n(&watcher->count, index + 1, __ATOMIC_RELEASE);
	changed(watched);
}

static void set_zero(uint32_t *word)
{
	__atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
	CHECK_CALL(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0));
}

static uint64_t entry(struct watched *watched, uint32_t index)
{
	return __atomic_load_n(&watched->hub->watcher.words[index], __ATOMIC_SEQ_CST);
}

/* Waits for news and takes them. */
static void expect_event(struct watched *watched)
{
	struct pollfd pollfd = { .fd = watched->news, .events = POLLIN };
	char bytes[16];

	CHECK_EQUAL(CHECK_CALL(poll(&pollfd, 1, 20000)), 1);
	CHECK_CALL(read(watched->news, bytes, sizeof(bytes)));
}

static void expect_silence(struct watched *watched)
{
	struct pollfd pollfd = { .fd = watched->news, .events = POLLIN };

	CHECK_EQUAL(CHECK_CALL(poll(&pollfd, 1, 30)), 0);
}

static void words_are_announced(void)
{
	struct watched watched;
	uint32_t *words = pages(4096);
	int i;

	start_watcher(&watched);
	for (i = 0; i < 3; i++) {
		words[i] = 1000 + i;
		watch(&watched, i, &words[i]);
	}
	expect_silence(&watched);
	set_zero(&words[1]);
	expect_event(&watched);
	CHECK_EQUAL(entry(&watched, 0), as_arg(&words[0]) | GENERATION);
	CHECK_EQUAL(entry(&watched, 1), 0);
	CHECK_EQUAL(entry(&watched, 2), as_arg(&words[2]) | GENERATION);
	/* A free entry is used again; a word that is 0 already is told at once. */
	watch(&watched, 1, &words[1]);
	expect_event(&watched);
	CHECK_EQUAL(entry(&watched, 1), 0);
	/* One that is not watched any more is not told. */
	__atomic_store_n(&watched.hub->watcher.words[0], 0, __ATOMIC_SEQ_CST);
	changed(&watched);
	set_zero(&words[0]);
	expect_silence(&watched);
	set_zero(&words[2]);
	expect_event(&watched);
	CHECK_CALL(kill(watched.helper.pid, SIGKILL));
	CHECK_EQUAL(wait_for_exit(watched.helper.pid), 128 + SIGKILL);
}

static int do_nothing(void)
{
	return 0;
}

static void sleep_for_ever(void)
{
	for (;;)
		rsyscall_raw_syscall(0, 0, 0, 0, 0, 0, SYS_pause);
}

/* The word that the kernel clears when a process leaves our memory. */
static void processes_are_announced(void)
{
	struct watched watched;
	uint32_t *ctid = pages(4096);
	struct child child;
	int i;

	start_watcher(&watched);
	for (i = 0; i < 100; i++) {
		child = start_child(0, ctid, (void *)(uintptr_t)do_nothing, (int64_t[6]){ 0 });
		watch(&watched, 0, ctid);
		expect_event(&watched);
		CHECK_EQUAL(*ctid, 0);
		CHECK_EQUAL(wait_for_exit(child.pid), 0);
	}
	child = start_child(0, ctid, (void *)(uintptr_t)sleep_for_ever, (int64_t[6]){ 0 });
	watch(&watched, 0, ctid);
	expect_silence(&watched);
	CHECK_CALL(kill(child.pid, SIGKILL));
	expect_event(&watched);
	CHECK_EQUAL(wait_for_exit(child.pid), 128 + SIGKILL);
}

/* More than one futex_waitv takes, and as many as there are entries. */
static void more_words_than_one_wait_takes(void)
{
	struct watched watched;
	uint32_t *words = pages(RSYS_WATCHER_WORDS * 4);
	uint32_t i;

	start_watcher(&watched);
	for (i = 0; i < RSYS_WATCHER_WORDS; i++) {
		words[i] = 1;
		__atomic_store_n(&watched.hub->watcher.words[i], (uint64_t)as_arg(&words[i]), __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&watched.hub->watcher.count, RSYS_WATCHER_WORDS, __ATOMIC_RELEASE);
	changed(&watched);
	expect_silence(&watched);
	for (i = 0; i < RSYS_WATCHER_WORDS; i += 93) {
		set_zero(&words[i]);
		expect_event(&watched);
		CHECK_EQUAL(entry(&watched, i), 0);
	}
	for (i = 0; i < RSYS_WATCHER_WORDS; i++)
		set_zero(&words[i]);
	for (i = 0; i < RSYS_WATCHER_WORDS; i++)
		CHECK_COMES_TRUE(entry(&watched, i) == 0);
}

/* It speaks for servers that have lost their descriptor, whatever the order of events. */
static void ready_rings_are_announced(void)
{
	struct watched watched;

	start_watcher(&watched);
	expect_silence(&watched);
	__atomic_store_n(&watched.hub->ready, 4096, __ATOMIC_SEQ_CST);
	changed(&watched);
	expect_event(&watched);
}

static int count_descriptors(pid_t pid)
{
	char path[64];
	DIR *directory;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	directory = opendir(path);
	CHECK(directory != NULL);
	for (struct dirent *found; (found = readdir(directory));)
		count += found->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void it_holds_no_other_descriptor(void)
{
	int pipe_fds[2];
	struct watched watched;
	struct pollfd end;

	CHECK_CALL(pipe2(pipe_fds, O_CLOEXEC));
	start_watcher(&watched);
	close(pipe_fds[1]);
	end = (struct pollfd){ .fd = pipe_fds[0] };
	CHECK_EQUAL(CHECK_CALL(poll(&end, 1, 20000)), 1);
	CHECK_COMES_TRUE(count_descriptors(watched.helper.pid) == 1);
}

static void it_ignores_signals(void)
{
	struct watched watched;
	uint32_t *word = pages(4096);

	start_watcher(&watched);
	/* It blocks them when it has given up its descriptors. */
	CHECK_COMES_TRUE(count_descriptors(watched.helper.pid) == 1);
	usleep(10000);
	CHECK_CALL(kill(watched.helper.pid, SIGTERM));
	CHECK_CALL(kill(watched.helper.pid, SIGINT));
	*word = 1;
	watch(&watched, 0, word);
	set_zero(word);
	expect_event(&watched);
}

static void owner_that_is_gone(void)
{
	static uint32_t ended = FUTEX_OWNER_DIED;
	struct rsys_hub *hub = pages(sizeof(*hub));
	uint32_t ctid;
	struct child helper;

	make_pipe(hub);
	hub->owner = hub->watcher.origin.owner = as_arg(&ended);
	helper = start_child_by(rsyscall_lasting_trampoline, 0, &ctid, (void *)(uintptr_t)rsyscall_futex_helper,
				(int64_t[6]){ as_arg(hub) });
	CHECK_EQUAL(wait_for_exit(helper.pid), 0);
}

/* It ends processes that sleep or are in a call: none that has left, none whose id is from elsewhere. */
static void owner_that_ends(void)
{
	enum { IDLE, BLOCKED, FOREIGN, LEFT, COUNT };
	struct watched watched;
	struct rsys_ring *rings[COUNT];
	struct child children[COUNT];
	uint32_t *owner = pages(4096);
	pid_t other = CHECK_CALL(fork());
	int i;

	if (other == 0) {
		pause();
		_exit(0);
	}
	*owner = getpid() | FUTEX_WAITERS;
	start_watcher_for(&watched, owner);
	for (i = 0; i < COUNT; i++) {
		rings[i] = pages(sizeof(struct rsys_ring));
		rings[i]->hub = watched.hub;
		rings[i]->completion = -1;
		rings[i]->origin.parent_pid = getpid();
		rings[i]->origin.owner = as_arg(owner);
		if (i == BLOCKED || i == FOREIGN)
			rings[i]->slots[1].word = 1ull << 32 | SYS_pause;
		children[i] = start_child(0, &rings[i]->ctid, (void *)(uintptr_t)rsyscall_ring_server,
					  (int64_t[6]){ as_arg(rings[i]) });
		rings[i]->pid = i == FOREIGN || i == LEFT ? other : children[i].pid;
		rings[i]->next_ring = watched.hub->rings;
		watched.hub->rings = as_arg(rings[i]);
	}
	rings[FOREIGN]->origin.flags = RSYS_ORIGIN_FOREIGN_PID;
	CHECK_CALL(kill(children[LEFT].pid, SIGKILL));
	CHECK_EQUAL(wait_for_exit(children[LEFT].pid), 128 + SIGKILL);
	CHECK_COMES_TRUE(rings[IDLE]->state == RSYS_PARKED);
	usleep(10000);

	/* As the kernel does it. */
	__atomic_store_n(owner, FUTEX_WAITERS | FUTEX_OWNER_DIED, __ATOMIC_SEQ_CST);
	CHECK_EQUAL(CHECK_CALL(syscall(SYS_futex, owner, FUTEX_WAKE, 1, NULL, NULL, 0)), 1);
	CHECK_EQUAL(wait_for_exit(watched.helper.pid), 0);
	wait_for_exit(children[IDLE].pid);
	CHECK_EQUAL(wait_for_exit(children[BLOCKED].pid), 128 + SIGKILL);
	CHECK_CALL(kill(other, 0));
	CHECK_CALL(kill(children[FOREIGN].pid, SIGKILL));
	CHECK_CALL(kill(other, SIGKILL));
	CHECK_EQUAL(wait_for_exit(children[FOREIGN].pid), 128 + SIGKILL);
	CHECK_EQUAL(wait_for_exit(other), 128 + SIGKILL);
}

const struct test watcher_tests[] = {
	{ "words_are_announced", words_are_announced },
	{ "processes_are_announced", processes_are_announced },
	{ "more_words_than_one_wait_takes", more_words_than_one_wait_takes },
	{ "ready_rings_are_announced", ready_rings_are_announced },
	{ "it_holds_no_other_descriptor", it_holds_no_other_descriptor },
	{ "it_ignores_signals", it_ignores_signals },
	{ "owner_that_is_gone", owner_that_is_gone },
	{ "owner_that_ends", owner_that_ends },
	{ NULL, NULL },
};
