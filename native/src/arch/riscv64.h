/*
 * Everything that depends on riscv64; see x86_64.h.
 *
 *   system call: number in a7; arguments in a0 to a5; result in a0; all other registers are kept.
 *
 * Build with -mno-relax: the linker would address data through gp, which only libc's start code sets.
 */
#ifndef RSYS_ARCH_RISCV64_H
#define RSYS_ARCH_RISCV64_H

#define RSYS_ELF_MACHINE 243	/* EM_RISCV */

static inline __attribute__((always_inline)) long
rsys_syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long a7 __asm__("a7") = nr;
	register long a0 __asm__("a0") = a;
	register long a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = d;
	register long a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall"
			 : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
			 : "memory");
	return a0;
}

/* The instruction of the Zihintpause extension, which others take for a fence that orders nothing. */
static inline void rsys_pause(void)
{
	__asm__ volatile(".insn i 0x0f, 0, x0, x0, 0x010" ::: "memory");
}

/* No register tells the processor: the kernel does. */
static inline uint64_t rsys_cycles(uint32_t *ret_cpu)
{
	uint64_t ticks;

	rsys_syscall6(__NR_getcpu, (long)ret_cpu, 0, 0, 0, 0, 0);
	__asm__ volatile("rdtime %0" : "=r"(ticks) :: "memory");
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
		".type rsyscall_raw_syscall, @function\n" \
		"rsyscall_raw_syscall:\n" \
		"	mv a7, a6\n" \
		"	mv t0, sp\n" \
		"	ecall\n" \
		"	bne t0, sp, 1f\n" \
		"	ret\n" \
		"1:	ld ra, 0(sp)\n" \
		"	ret\n" \
		".size rsyscall_raw_syscall, .-rsyscall_raw_syscall\n" \
		".globl rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".hidden rsyscall_trampoline, rsyscall_lasting_trampoline\n" \
		".type rsyscall_trampoline, @function\n" \
		".type rsyscall_lasting_trampoline, @function\n" \
		"rsyscall_trampoline:\n" \
		"	li a7, 167\n"		/* prctl(PR_SET_PDEATHSIG, SIGKILL) */ \
		"	li a0, 1\n" \
		"	li a1, 9\n" \
		"	ecall\n" \
		"rsyscall_lasting_trampoline:\n" \
		"	li s0, 0\n" \
		"	ld a0, 8(sp)\n" \
		"	ld a1, 16(sp)\n" \
		"	ld a2, 24(sp)\n" \
		"	ld a3, 32(sp)\n" \
		"	ld a4, 40(sp)\n" \
		"	ld a5, 48(sp)\n" \
		"	ld t0, 56(sp)\n" \
		"	addi sp, sp, 64\n" \
		"	jalr t0\n" \
		"	li a7, 93\n"		/* exit */ \
		"	ecall\n" \
		"	ebreak\n" \
		".size rsyscall_trampoline, .-rsyscall_trampoline\n")

/* Program entry of a static program without libc: hand the initial stack to C. */
#define RSYS_ARCH_START \
	__asm__(".text\n" \
		".balign 4\n" \
		".globl _start\n" \
		".type _start, @function\n" \
		"_start:\n" \
		"	li s0, 0\n" \
		"	li ra, 0\n" \
		"	mv a0, sp\n" \
		"	andi sp, sp, -16\n" \
		"	call rsys_start\n" \
		"	ebreak\n" \
		".size _start, .-_start\n")

#endif
