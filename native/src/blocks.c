/* The memory that driven processes run on: blocks, and the arenas that they are cut from. */
#include "client.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "announced.h"
#include "freestanding.h"

#define BLOCKS_PER_ARENA 64

/*
 * From Linux 6.13 on this guards a page without making it, and what is between it and the next one,
 * mappings of their own, of which a program may have only so many (vm.max_map_count). An arena with 64 guards
 * takes 55 us to guard, 150 by mprotect, and is made only when 64 more processes run at once than ever before.
 */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static void guard(char *page)
{
	if (madvise(page, GUARD_SIZE, MADV_GUARD_INSTALL) < 0)
		mprotect(page, GUARD_SIZE, PROT_NONE);
}

/* Blocks whose Ring is gone are free again when their process has left our memory. */
static int reclaim_blocks(Hub *self)
{
	struct block **link = &self->abandoned, *block, *dead = NULL;
	size_t i, kept, handed;

	while ((block = *link)) {
		if (__atomic_load_n(&block->ring.ctid, __ATOMIC_ACQUIRE)) {
			link = &block->next;
			continue;
		}
		*link = block->next;
		block->next = dead;
		dead = block;
	}
	if (!dead)
		return 0;
	/* They may have been killed in the middle of announcing themselves; now no process pushes them any more. */
	if (rsys_hub_collect(self) < 0) {
		while ((block = dead)) {
			dead = block->next;
			block->next = self->abandoned;
			self->abandoned = block;
		}
		return -1;
	}
	while ((block = dead)) {
		dead = block->next;
		for (i = kept = 0, handed = self->n_handed; i < self->n_collected; i++) {
			if (self->collected[i] != block)
				self->collected[kept++] = self->collected[i];
			else if (i < handed)
				self->n_handed--;
		}
		self->n_collected = kept;
		block->next = self->free;
		self->free = block;
	}
	/* We have taken these off the shared stack: wake the event loop for them. */
	if (self->n_collected) {
		rsys_call3(__NR_write, self->hub->watcher.completion, "", 1);
	}
	return 0;
}

struct block *rsys_take_block(Hub *self)
{
	struct block *block;

	if (!self->free && reclaim_blocks(self) < 0)
		return NULL;
	if (!self->free) {
		size_t size = (size_t)SPACE_PER_PROCESS * BLOCKS_PER_ARENA, i;
		char *arena = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (arena == MAP_FAILED) {
			PyErr_SetFromErrno(PyExc_OSError);
			return NULL;
		}
		for (i = BLOCKS_PER_ARENA; i-- > 0;) {
			char *space = arena + i * SPACE_PER_PROCESS;

			guard(space);
			block = (struct block *)(space + SPACE_PER_PROCESS) - 1;
			block->next = self->free;
			self->free = block;
			block->ring.next_ring = self->hub->rings;
			__atomic_store_n(&self->hub->rings, (uint64_t)&block->ring, __ATOMIC_RELEASE);
		}
		self->n_blocks += BLOCKS_PER_ARENA;
	}
	block = self->free;
	self->free = block->next;
	memset(&block->ring, 0, offsetof(struct rsys_ring, slots));
	/* Only the sequence numbers of the slots must not look like requests. */
	for (size_t i = 0; i < RSYS_RING_SLOTS; i++)
		block->ring.slots[i].word = 0;
	memset((char *)block + sizeof(struct rsys_ring), 0, sizeof(struct block) - sizeof(struct rsys_ring));
	return block;
}

void rsys_give_back_block(Hub *self, struct block *block)
{
	struct block **list = block->started ? &self->abandoned : &self->free;

	block->next = *list;
	*list = block;
}
