/*
 * The door of a persistent process: where programs connect to drive it, one after the other.
 */
#ifndef RSYS_DOOR_H
#define RSYS_DOOR_H

#include "freestanding.h"

#define RSYS_DOOR_MAGIC "RSYSDOOR"

enum {
	RSYS_DOOR_TAKE_OVER = 1,	/* also from a program that is connected */
	RSYS_DOOR_EQUIP = 2,		/* make what a program needs here */
	RSYS_DOOR_WAITING = 4,		/* connections that have not said what they want */
	RSYS_DOOR_KITS = 256,
};

/* What was made here for a program, for one thread of it: closed when it has no use for it any more. */
enum {
	RSYS_KIT_EPOLL,		/* an epoll instance, with `activity` in it while this program is connected */
	RSYS_KIT_ACCESS,	/* a pair of sockets, for packets */
	RSYS_KIT_PASSING,
	RSYS_KIT_SIZE,
};

struct rsys_kit {
	int32_t pid;
	int32_t fds[RSYS_KIT_SIZE];	/* all of them, or -1 is the first; programs write that, too */
	int32_t life;	/* a socket whose peer the program closes with its thread; -1: the kit lasts as long as `pid` */
};

/*
 * What a program says when it has connected; all of it at once. With RSYS_DOOR_EQUIP it may send a socket along, which
 * becomes the life of its kit.
 */
struct rsys_knock {
	char magic[8];
	uint32_t flags;
	uint32_t kit;	/* one more than the number of the one that it had; 0: none */
};

/* The answer, before the hello. */
struct rsys_welcome {
	char magic[8];
	int32_t status;		/* 0, or a negated error number, after which nothing comes */
	/* Descriptors that belong to us: */
	int32_t listening, door, activity, store;
	int32_t made[RSYS_KIT_SIZE];	/* for this program; -1: it did not ask for that */
	int32_t kit;		/* where they are written down; -1: it did not ask for that */
	int32_t life;		/* of that kit */
	uint64_t kits;		/* where all kits are */
};

struct rsys_door {
	/* The door is ready to be looked at. 0: another program has taken over, and the stream has ended. */
	int (*opened)(struct rsys_door *door);
	int32_t epfd;		/* readable whenever there is something to do for the door */
	int32_t activity;	/* the same, or for the stream */
	int32_t listening;
	int32_t stream;		/* always the same number, so that those who know it need not be told */
	int32_t store;		/* a memory file for the programs; nothing here looks into it */
	int32_t next;		/* a connection that has been let in; -1: none */
	int32_t kit;		/* of the program that is connected; -1: it has none */
	int32_t next_kit;	/* of the one that has been let in */
	int32_t connected;
	int32_t waiting[RSYS_DOOR_WAITING];
	uint32_t last;
	struct rsys_welcome welcome;	/* for the program that is let in */
	struct rsys_kit kits[RSYS_DOOR_KITS];
};

/* Serve one program after the other, the first over `stream`. Does not return unless it could not begin. */
RSYS_EXPORT int rsys_persist(int stream, int listening, char **envp, uint32_t page_size);

#endif
