/*
 * Everything that depends on x86_64: the calling convention of the kernel, the
 * entry of a new process, the entry of a program, and the clock a spin loop reads.
 *
 *   system call: number in rax; arguments in rdi rsi rdx r10 r8 r9; result in rax;
 *                rcx and r11 are overwritten.         (syscall(2), "Architecture calling conventions")
 */
#ifndef RSYS_ARCH_X86_64_H
#define RSYS_ARCH_X86_64_H

#define RSYS_ELF_MACHINE 62	/* EM_X86_64 */

static inline __attribute__((always_inline)) long
rsys_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline void rsys_pause(void)
{
	__builtin_ia32_pause();
}

/* A counter of constant rate, and the processor we run on (Linux keeps it in TSC_AUX). */
static inline uint64_t rsys_cycles(uint32_t *ret_cpu)
{
	uint32_t aux, low, high;

	__asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
	*ret_cpu = aux & 0xfff;
	return (uint64_t)high << 32 | low;
}

/*
 * long rsyscall_raw_syscall(a1, a2, a3, a4, a5, a6, nr): the system call, out of line.
 * A clone with a new stack returns twice; the child then pops its first stack word in
 * our `ret`, so the code that prepares that stack puts rsyscall_trampoline there.
 *
 * rsyscall_trampoline: the stack holds rdi rsi rdx rcx r8 r9 and a function. Ask to be
 * killed with our creator, call the function, exit with what it returned.
 * rsyscall_lasting_trampoline: the same for a process that must not be killed with it, not for an instant.
 */
#define RSYS_ARCH_ASM \
	__asm__(".text\n" \
		".globl rsyscall_raw_syscall\n" \
		".hidden rsyscall_raw_syscall\n" \
		".type rsyscall_raw_syscall, @function\n" \
		"rsyscall_raw_syscall:\n" \
		"	mov 8(%rsp), %rax\n" \
		"	mov %rcx, %r10\n" \
		"	syscall\n" \
		"	ret\n" \
		".size rsyscall_raw_syscall, .-rsyscall_raw_syscall\n" \
		".globl rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".hidden rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".type rsyscall_trampoline, @function\n" \
		".type rsyscall_lasting_trampoline, @function\n" \
		"rsyscall_trampoline:\n" \
		"	mov $157, %eax\n"	/* prctl(PR_SET_PDEATHSIG, SIGKILL) */ \
		"	mov $1, %edi\n" \
		"	mov $9, %esi\n" \
		"	syscall\n" \
		"rsyscall_lasting_trampoline:\n" \
		"	xor %ebp, %ebp\n" \
		"	pop %rdi\n" \
		"	pop %rsi\n" \
		"	pop %rdx\n" \
		"	pop %rcx\n" \
		"	pop %r8\n" \
		"	pop %r9\n" \
		"	pop %rax\n" \
		"	call *%rax\n" \
		"	mov %eax, %edi\n" \
		"	mov $60, %eax\n"	/* exit */ \
		"	syscall\n" \
		"	hlt\n" \
		".size rsyscall_trampoline, .-rsyscall_trampoline\n")

/* Program entry of a static program without libc: hand the initial stack to C. */
#define RSYS_ARCH_START \
	__asm__(".text\n" \
		".globl _start\n" \
		".type _start, @function\n" \
		"_start:\n" \
		"	xor %ebp, %ebp\n" \
		"	mov %rsp, %rdi\n" \
		"	and $-16, %rsp\n" \
		"	call rsys_start\n" \
		"	hlt\n" \
		".size _start, .-_start\n")

#endif
