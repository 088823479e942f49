/*
 * What the code of a driven process may use instead of libc. Such a process shares our
 * address space but has no thread-local storage of its own: no libc, no errno, no stack
 * protector, no symbol that is bound lazily. Results are raw: negative means -errno.
 */
#ifndef RSYS_FREESTANDING_H
#define RSYS_FREESTANDING_H

#include <stddef.h>
#include <stdint.h>
#include <asm/unistd.h>
#include <linux/errno.h>

#if defined(__x86_64__)
#include "arch/x86_64.h"
#elif defined(__aarch64__)
#include "arch/aarch64.h"
#elif defined(__riscv) && __riscv_xlen == 64
#include "arch/riscv64.h"
#else
#error "this architecture needs a file in arch/"
#endif

#define RSYS_EXPORT __attribute__((visibility("hidden")))

#define rsys_call0(nr) rsys_syscall6((nr), 0, 0, 0, 0, 0, 0)
#define rsys_call1(nr, a) rsys_syscall6((nr), (long)(a), 0, 0, 0, 0, 0)
#define rsys_call2(nr, a, b) rsys_syscall6((nr), (long)(a), (long)(b), 0, 0, 0, 0)
#define rsys_call3(nr, a, b, c) rsys_syscall6((nr), (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define rsys_call4(nr, a, b, c, d) rsys_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define rsys_call5(nr, a, b, c, d, e) \
	rsys_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define rsys_call6(nr, a, b, c, d, e, f) \
	rsys_syscall6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int rsys_is_error(long result)
{
	return (unsigned long)result >= (unsigned long)-4095;
}

struct rsys_iovec {
	void *base;
	size_t len;
};

/* struct msghdr */
struct rsys_msghdr {
	void *name;
	uint32_t name_length;
	struct rsys_iovec *vectors;
	size_t vector_count;
	void *control;
	size_t control_length;
	int32_t flags;
};

struct rsys_timespec {
	int64_t sec, nsec;
};

struct rsys_pollfd {
	int32_t fd;
	int16_t events, revents;
};

/* The kernel's numbers that we need; its headers that define them drag in libc's. */
enum {
	RSYS_SIGKILL = 9,
	RSYS_PR_SET_PDEATHSIG = 1,
	RSYS_PR_GET_PDEATHSIG = 2,
	RSYS_PR_GET_DUMPABLE = 3,
	RSYS_PR_SET_DUMPABLE = 4,
	RSYS_PR_SET_SECCOMP = 22,
	RSYS_PR_CAP_AMBIENT = 47,
	RSYS_PR_CAP_AMBIENT_CLEAR_ALL = 4,
	RSYS_F_SETFD = 2,
	RSYS_F_DUPFD_CLOEXEC = 1030,
	RSYS_FD_CLOEXEC = 1,
	RSYS_DUMPABLE_BY_USER = 1,
	RSYS_CLONE_NEWUSER = 0x10000000,
	RSYS_NS_GET_NSTYPE = 0xb703,
	RSYS_AT_FDCWD = -100,
	RSYS_O_WRONLY = 1,
	RSYS_AT_REMOVEDIR = 0x200,
	RSYS_POLLIN = 1,
	RSYS_POLLOUT = 4,
	RSYS_POLLNVAL = 0x20,
	RSYS_CLONE_FILES = 0x400,
	RSYS_FUTEX_WAIT = 0,
	RSYS_FUTEX_WAKE = 1,
	RSYS_FUTEX_PRIVATE = 128,
	RSYS_FUTEX_OWNER_DIED = 0x40000000,
	RSYS_CLOSE_RANGE_UNSHARE = 2,
	RSYS_CLOSE_RANGE_CLOEXEC = 4,
	RSYS_CLOSE_RANGE_ALL = ~0u,
};

#endif
