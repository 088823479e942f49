/*
 * The structures that our Python and C code, on both sides, agree on.
 */
#ifndef RSYSCALL_H
#define RSYSCALL_H

#include <stddef.h>
#include <stdint.h>

/* ---- How a driven process is started ------------------------------------------------ */

/* Facts that every driven process checks or keeps; the creator fills them in. */
struct rsys_origin {
	uint64_t owner;		/* address of the word that the kernel marks when our owner ends; 0: there is none */
	int32_t watcher_fd;	/* pidfd of the watcher, or -1: for who waits for descriptors */
	int32_t parent_pid;	/* getppid() must answer this (0: parent outside our pid namespace); -1: unknown */
	uint32_t creds_changed;	/* set by us, before the first call that may change credentials */
	int32_t dumpable;	/* PR_GET_DUMPABLE of the shared memory before we changed it, or one of the below */
	uint64_t sigmask;	/* valid with RESET_SIGNALS: the mask to go back to */
	uint32_t flags;
	uint32_t user_namespace; /* set by the creator or by us: our user namespace is not that of the memory */
};

#define RSYS_DUMPABLE_UNCHANGED (-1)	/* not by us */
#define RSYS_DUMPABLE_UNKNOWN (-2)	/* a filter denies the question */

/* clone3 could not clear the handlers: reset them by hand, then set `sigmask` (all is blocked until then) */
#define RSYS_ORIGIN_RESET_SIGNALS 1u
/* the memory is not that of our owner: no process outside has to be protected */
#define RSYS_ORIGIN_OWN_MEMORY 2u
/* the cloning process is in another pid namespace than the client, and so is the id of the new process */
#define RSYS_ORIGIN_FOREIGN_PID 4u

/* ---- The stream protocol -------------------------------------------------------------- */

#define RSYS_MAGIC "RSYSCALL"
#define RSYS_VERSION 1
#define RSYS_MAX_TRANSFER (1u << 20)
#define RSYS_SYMBOLS 8

enum { RSYS_OP_CALL = 1, RSYS_OP_WRITE = 2, RSYS_OP_READ = 3 };

struct rsys_hello {
	char magic[8];
	uint32_t version;
	uint32_t length;	/* of the whole greeting, environment included */
	uint32_t machine;	/* e_machine of ELF */
	uint32_t page_size;
	int32_t pid;
	uint32_t uid;
	uint32_t gid;
	uint32_t env_count;
	uint64_t sigmask;
	uint64_t symbols[RSYS_SYMBOLS];
	int32_t infd, outfd;	/* the server's end of the stream */
};

#define RSYS_REQUEST_LINKED 1u	/* a call or a write: as RSYS_NR_LINKED */
#define RSYS_REQUEST_MORE 2u	/* a call: behind it is one that takes no time, and the client waits for that */

struct rsys_request {
	uint32_t op;
	uint32_t flags;
	uint64_t number;	/* of the call, or the address */
	uint64_t args[6];
};

struct rsys_response {
	int64_t result;
	uint64_t length;	/* of the payload that follows */
};

/* ---- The ring ------------------------------------------------------------------------- */

/*
 * One call is one cache line. `word` is sequence << 32 | DONE | number: the client writes
 * the arguments and then the word, the server writes the result and then the word with DONE.
 */
struct rsys_slot {
	uint64_t word;
	int64_t args[6];
	int64_t result;
};

#define RSYS_SLOT_DONE 0x80000000u
#define RSYS_RING_SLOTS 128u
#define RSYS_NR_SHUTDOWN 0x3fffffffu	/* not a call: the server returns */
#define RSYS_NR_UNKNOWN 0x3ffffffeu	/* the kernel has no such call, and never will */
#define RSYS_NR_LINKED 0x40000000u	/* if this call fails, the next one is not made but gets -ECANCELED */

enum { RSYS_RUNNING = 0, RSYS_PARKED = 1 };

#define RSYS_WATCHER_WORDS 1024
#define RSYS_WORD_ADDRESS ((1ull << 48) - 1)	/* of an entry: mmap gives no more unless asked for it */

/*
 * One process per address space that turns futex words into bytes in a pipe: the
 * kernel announces that a process left our memory (exec or exit) by zeroing a word and
 * waking its waiters, and by nothing else. It also speaks for servers that have lost the
 * descriptor, and ends them all when the owner ends: see watcher.c.
 */
struct rsys_watcher {
	uint32_t control;	/* changed and woken after every change that the watcher must see */
	int32_t completion;	/* the hub's pipe */
	uint32_t count;		/* words[0..count) may be in use */
	uint32_t reserved;
	uint64_t words[RSYS_WATCHER_WORDS];	/* address of a uint32_t, and above it a generation; 0: free */
	struct rsys_origin origin;
};

/* What all rings of one program share. */
struct rsys_hub {
	_Alignas(64) uint64_t ready;	/* stack of rings with results that a caller waits for */
	_Alignas(64) uint64_t server_spin;	/* budget in cycles */
	uint64_t completion_dev, completion_ino;	/* what fstat says of the pipe */
	uint64_t rings;		/* all that have ever been made, linked by next_ring */
	uint64_t owner;		/* address of the word of a robust mutex that the owner holds; 0: none */
	struct rsys_watcher watcher;
};

/*
 * Who writes what decides on which cache line it is: a line that one side writes at every
 * call must not be one that the other side looks at while it spins.
 */
struct rsys_ring {
	/* how the two sides sleep and wake: written seldom */
	_Alignas(64) uint32_t state;	/* RSYS_PARKED while the server sleeps on this word */
	uint32_t client_waits;		/* the server announces the answer of this call; 0: of none */
	uint32_t queued;		/* 1 while this ring is in the hub's ready stack */
	uint32_t mute;			/* a filter denies the server to wake the client: the client must poll */
	uint32_t server_cpu;
	uint32_t client_cpu;
	uint32_t ring_again;		/* the server asks for a byte; see before_polling() in ring_server.c */
	/* written by the server at every call */
	_Alignas(64) uint32_t executed;	/* sequence number of the last finished call */
	uint64_t parks;
	/* written by the client at every call */
	_Alignas(64) uint32_t submitted;	/* sequence number of the last request */
	uint32_t consumed;		/* sequence number of the last result taken */
	uint32_t same_cpu, other_cpu, nudge_after;
	uint32_t client_spin;		/* adaptive budget in 1/16 of the whole */
	uint32_t client_misses;
	/* set before the process starts */
	_Alignas(64) struct rsys_hub *hub;
	uint64_t ready_next;
	int32_t completion;		/* the end of the hub's pipe in the server's table; -1: lost */
	uint32_t table_shared;		/* others may replace what the server has in its table, at any moment */
	uint32_t ctid;			/* CLONE_CHILD_CLEARTID: 0 once the process left our memory */
	int32_t pid;			/* in the client's pid namespace; 0: unknown */
	struct rsys_origin origin;
	_Alignas(64) struct rsys_slot slots[RSYS_RING_SLOTS];
	uint64_t next_ring;		/* written once, before the hub knows of it */
};

/* ---- Entry points --------------------------------------------------------------------- */

/* Hidden also where they are used: the static program has no loader to fill in a table of addresses. */
#pragma GCC visibility push(hidden)
long rsyscall_raw_syscall(long a1, long a2, long a3, long a4, long a5, long a6, long nr);
void rsyscall_trampoline(void);
void rsyscall_lasting_trampoline(void);
int rsyscall_server(int infd, int outfd, struct rsys_origin *origin);
int rsyscall_greeting_server(int infd, int outfd, char **envp, uint32_t page_size);
/* What is said before the hello. */
struct rsys_preface {
	const void *data;
	size_t length;
	char **strings;		/* each with its length before it, and without its NUL */
};
struct rsys_door;
int rsyscall_prefaced_server(int infd, int outfd, char **envp, uint32_t page_size, struct rsys_door *door,
			     const struct rsys_preface *preface);
size_t rsys_string_length(const char *s);
int rsyscall_persistent_server(int infd, int outfd, int listenfd);
struct rsys_shared;
int rsyscall_ring_server(struct rsys_ring *ring);
int rsyscall_shared_ring_server(struct rsys_shared *shared, int socket, uint32_t greets);
/* All of it but the environment. */
void rsyscall_fill_hello(struct rsys_hello *hello, uint32_t page_size);
int rsyscall_futex_helper(struct rsys_hub *hub, const struct rsys_ring *self);
#pragma GCC visibility pop

#endif
