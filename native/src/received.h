/* Processes that others have started, and that get the descriptors by which they are driven over a socket. */
#ifndef RSYS_RECEIVED_H
#define RSYS_RECEIVED_H

#include "execute.h"

/* What a copy of this program does, whatever its arguments: Python writes it into the file. */
struct rsys_stamp {
	char mark[16];
	uint64_t address;	/* where in the file the path of a socket is, with a zero byte; 0: see the arguments */
};

RSYS_EXPORT extern const volatile struct rsys_stamp rsys_stamp;

/* Before the arguments of the process, each with its length, and the hello. */
struct rsys_received {
	char magic[8];
	uint32_t length;	/* of this with the arguments */
	uint32_t count;
	int32_t passage, life;
};

int rsys_serve_stdin(char **argv, char **envp, uint32_t page_size);
int rsys_serve_caller(char **argv, char **envp, const char *executed, uint32_t page_size);

#endif
