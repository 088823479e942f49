/*
 * The cheapest program there is: no libc, no dynamic loader, exits at once. With an
 * argument it sleeps until it is killed; with two it writes 100 bytes to its output.
 */
#include <asm/unistd.h>

#if defined(__x86_64__)
/* A call with three arguments, and zeros behind them. */
static long call(long nr, long a, const char *b, long c)
{
	register long r10 __asm__("r10") = 0;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static long call(long nr, long a, const char *b, long c)
{
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = (long)b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = 0;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#elif defined(__riscv) && __riscv_xlen == 64
static long call(long nr, long a, const char *b, long c)
{
	register long a7 __asm__("a7") = nr, a0 __asm__("a0") = a, a1 __asm__("a1") = (long)b, a2 __asm__("a2") = c;
	register long a3 __asm__("a3") = 0;

	__asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3) : "memory");
	return a0;
}
#else
#error "say how a system call is made on this architecture"
#endif

/* Called with the stack as the kernel leaves it: the number of arguments is on top. */
__attribute__((used)) void begin(long *stack)
{
	static const char text[100] = "a line";

	while (stack[0] == 2)
		call(__NR_ppoll, 0, 0, 0);
	if (stack[0] > 2)
		call(__NR_write, 1, text, sizeof(text));
	call(__NR_exit_group, 0, 0, 0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");
#else
__asm__(".globl _start\n_start: mv a0, sp\n call begin\n");
#endif
