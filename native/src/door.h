/*
 * The door of a persistent process: where programs connect to drive it, one after the other.
 */
#ifndef RSYS_DOOR_H
#define RSYS_DOOR_H

#include "freestanding.h"

#define RSYS_DOOR_MAGIC "RSYSDOOR"

enum {
	RSYS_DOOR_TAKE_OVER = 1,	/* also from a program that is connected */
	RSYS_DOOR_WAITING = 4,		/* connections that have not said what they want */
	RSYS_DOOR_KITS = 8,
};

/* What a program has made here for itself, which is closed when it has died. It writes the numbers. */
struct rsys_kit {
	int32_t pid;
	int32_t fds[3];		/* all of them, or -1 is the first */
};

/* What a program says when it has connected; all of it at once. */
struct rsys_knock {
	char magic[8];
	uint32_t flags;
	uint32_t reserved;	/* 0 */
};

/* The answer, before the hello. */
struct rsys_welcome {
	char magic[8];
	int32_t status;		/* 0, or a negated error number, after which nothing comes */
	/* Descriptors that belong to us: */
	int32_t listening, door, activity, store;
	int32_t kit;		/* which one of the kits is for this program; -1: none is */
	uint64_t kits;		/* their address */
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
	int32_t connected;
	int32_t waiting[RSYS_DOOR_WAITING];
	uint32_t last;
	int32_t kit;
	struct rsys_kit kits[RSYS_DOOR_KITS];
};

/* Serve one program after the other, the first over `stream`. Does not return unless it could not begin. */
RSYS_EXPORT int rsys_persist(int stream, int listening, char **envp, uint32_t page_size);

#endif
