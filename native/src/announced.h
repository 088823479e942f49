/* What servers have announced: see announced.c. */
#ifndef RSYS_ANNOUNCED_H
#define RSYS_ANNOUNCED_H

#include "client.h"

#pragma GCC visibility push(hidden)

/* Methods of Hub. */
PyObject *rsys_hub_announced(PyObject *op, PyObject *unused);
PyObject *rsys_hub_delivered(PyObject *op, PyObject *ring);

/* Move what the servers announced to our own list. */
int rsys_hub_collect(Hub *self);

/* As if the server of this block had announced itself. */
int rsys_hub_announce(Hub *self, struct block *block);

#pragma GCC visibility pop

#endif
