/*
 * Everything that depends on aarch64; see x86_64.h.
 *
 *   system call: number in x8; arguments in x0 to x5; result in x0; all other registers are kept.
 */
#ifndef RSYS_ARCH_AARCH64_H
#define RSYS_ARCH_AARCH64_H

#define RSYS_ELF_MACHINE 183	/* EM_AARCH64 */

static inline __attribute__((always_inline)) long
rsys_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

static inline void rsys_pause(void)
{
	__asm__ volatile("yield" ::: "memory");
}

/* No register tells the processor: the kernel does. */
static inline uint64_t rsys_cycles(uint32_t *ret_cpu)
{
	uint64_t ticks;

	rsys_syscall6(__NR_getcpu, (long)ret_cpu, 0, 0, 0, 0, 0);
	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks) :: "memory");
	return ticks;
}

/*
 * As on x86_64, where the return address is the first word of the new stack of a clone. Here it is in a
 * register, which the child has, too: it is the child if the stack is another one after the call.
 */
#define RSYS_ARCH_ASM \
	__asm__(".text\n" \
		".balign 4\n" \
		".globl rsyscall_raw_syscall\n" \
		".hidden rsyscall_raw_syscall\n" \
		".type rsyscall_raw_syscall, %function\n" \
		"rsyscall_raw_syscall:\n" \
		"	mov x8, x6\n" \
		"	mov x9, sp\n" \
		"	svc #0\n" \
		"	mov x10, sp\n" \
		"	cmp x9, x10\n" \
		"	b.ne 1f\n" \
		"	ret\n" \
		"1:	ldr x30, [sp]\n" \
		"	ret\n" \
		".size rsyscall_raw_syscall, .-rsyscall_raw_syscall\n" \
		".globl rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".hidden rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".type rsyscall_trampoline, %function\n" \
		".type rsyscall_lasting_trampoline, %function\n" \
		"rsyscall_trampoline:\n" \
		"	mov x8, #167\n"		/* prctl(PR_SET_PDEATHSIG, SIGKILL) */ \
		"	mov x0, #1\n" \
		"	mov x1, #9\n" \
		"	svc #0\n" \
		"rsyscall_lasting_trampoline:\n" \
		"	mov x29, #0\n" \
		"	mov x30, #0\n" \
		"	ldp x0, x1, [sp, #8]\n" \
		"	ldp x2, x3, [sp, #24]\n" \
		"	ldp x4, x5, [sp, #40]\n" \
		"	ldr x9, [sp, #56]\n" \
		"	add sp, sp, #64\n" \
		"	blr x9\n" \
		"	mov x8, #93\n"		/* exit */ \
		"	svc #0\n" \
		"	brk #0\n" \
		".size rsyscall_trampoline, .-rsyscall_trampoline\n")

/* Program entry of a static program without libc: hand the initial stack to C. */
#define RSYS_ARCH_START \
	__asm__(".text\n" \
		".balign 4\n" \
		".globl _start\n" \
		".type _start, %function\n" \
		"_start:\n" \
		"	mov x29, #0\n" \
		"	mov x30, #0\n" \
		"	mov x0, sp\n" \
		"	bl rsys_start\n" \
		"	brk #0\n" \
		".size _start, .-_start\n")

#endif
