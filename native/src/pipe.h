/* The type OwnedPipe. */
#ifndef RSYS_PIPE_H
#define RSYS_PIPE_H

#include "limited_api.h"

#pragma GCC visibility push(hidden)

/* Makes the type; once. */
PyTypeObject *rsys_pipe_init(void);

#pragma GCC visibility pop

#endif
