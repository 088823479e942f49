"""`<sys/ptrace.h>`: tracing, which is to stop another process and to look at and change its state.

The tracer is an *OS thread*: the kernel refuses a request of any other with ESRCH, even of the same process.
All calls of the task of a child come from one OS thread, and it may block in `waitid`: so let a child trace.
The calls of the local task come from the OS thread in which they are made. When the tracer ends, the
processes that it traces go on, or are killed (`PTRACE_O.EXITKILL`).

The process is named by a handle of the *tracer's* task, for example `ChildProcess(task, near.Process(pid))`.
Children that a child makes are children of the program, and so have handles of the local task. The handle of
the program remains: the tracer is told first how the process ends, then its parent.

A process is traced from `ptrace_seize`, `ptrace_attach` or `ptrace_traceme` on. It runs until it stops: at a
call, an event, or a signal, as it was resumed and as `PTRACE_O` says. The tracer waits for that with
`waitid`, as for a child, and `PtraceStop.of` says what it was. The kernel reports stops also to a tracer that
waits for `W.EXITED` alone. Most requests need a process that has stopped.

With `PTRACE_O.TRACEEXIT` a process stops also when it is killed, until the tracer resumes it. An `async with`
of its `AsyncChildProcess`, which kills it at the end, waits for that; it resumes the process itself if it
runs in the OS thread that traces, and raises RuntimeError if another tracer does not for five seconds.

A process that the library drives answers no calls while it is stopped: they wait until the tracer lets it
go on. So neither wait in the tracer for such a call, nor hold up a process that others wait for. After
`ptrace_traceme` a process stops with every signal, and its tracer is the thread that is its parent.

A tracer without CAP_SYS_PTRACE may not seize or attach to a process whose memory is not dumpable, not even to
a child: see SECURITY.md for when memory that is shared with the program is not. And the security module Yama
lets it seize only its descendants, which the children of the program are not of one another, unless a
process names it by `PR.SET_PTRACER`. `ptrace_traceme` is subject to neither.

What `ptrace_poketext` writes into shared memory, a breakpoint for example, is there for all
processes that share it.

manpage: ptrace(2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import rsyscall.far
from rsyscall._signal_info import QueuedSiginfo
from rsyscall.handle.arguments import (
    ADDRESS,
    PID,
    SIGNAL,
    UNSIGNED,
    by,
    call,
    choice,
    each,
    flags,
    given,
    out,
)
from rsyscall.handle.arguments import buffer as room
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.linux.filter import SockFilter
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.signal import Sigset
from rsyscall.sys._ptrace_structs import (
    NT,
    PTRACE,
    PTRACE_EVENT,
    PTRACE_EVENTMSG_SYSCALL,
    PTRACE_O,
    PTRACE_PEEKSIGINFO,
    PTRACE_SYSCALL_INFO,
    PtracePeeksiginfoArgs,
    PtraceRseqConfiguration,
    PtraceStop,
    PtraceSudConfig,
    PtraceSyscallInfo,
    SeccompMetadata,
    UserPtRegs,
    UserRegsRiscv,
    UserRegsX86,
    user_regs,
)
from rsyscall.sys.uio import Iovec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.signal import SIG

__all__ = [
    "NT",
    "PTRACE",
    "PTRACE_EVENT",
    "PTRACE_EVENTMSG_SYSCALL",
    "PTRACE_O",
    "PTRACE_PEEKSIGINFO",
    "PTRACE_SYSCALL_INFO",
    "PtracePeeksiginfoArgs",
    "PtraceProcess",
    "PtraceRseqConfiguration",
    "PtraceStop",
    "PtraceSudConfig",
    "PtraceSyscallInfo",
    "PtraceTask",
    "SeccompMetadata",
    "UserPtRegs",
    "UserRegsRiscv",
    "UserRegsX86",
    "user_regs",
]

T = TypeVar("T")

_SIGINFO = QueuedSiginfo.sizeof()
_WORD = 8


class PtraceTask(rsyscall.far.Task):
    """Being traced."""

    async def ptrace_traceme(self) -> None:
        """`ptrace(PTRACE_TRACEME)`: have this process traced by its parent, an OS thread.

        For a child of the library that is the OS thread of the program that made it, or for which another
        child made it.

        From now on it stops with every signal but SIGKILL, and with SIGTRAP when it executes a program. It
        answers no calls while it is stopped. `Process.ptrace_seize` of the parent has neither effect.

        Raises:
            OSError: EPERM (it is traced already, or a security module refuses); `filename` is the request.

        manpage: ptrace(2)
        """
        with naming(PTRACE.TRACEME):
            await _ptrace(self.sysif, PTRACE.TRACEME, None)


class PtraceProcess(BaseProcess):
    """Tracing the process, or one thread of it, from the thread that makes the calls of the task.

    Every request raises OSError with ESRCH if the process is gone, is not traced by this very thread, or has
    not stopped although it must have; `filename` is the request and the process. The process is a
    `ChildProcess` of the tracer for what its `waitid` tells, even if another process is its parent; see the
    docstring of the module.
    """

    async def ptrace_seize(self, options: PTRACE_O = PTRACE_O.NONE) -> None:
        """`ptrace(PTRACE_SEIZE, pid, 0, options)`: trace the process; it goes on.

        Raises:
            OSError: EPERM (it is traced already, is a thread of the tracer's own process, or may not be
                traced), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        with self._using():
            await self._ptrace(PTRACE.SEIZE, 0, options)

    async def ptrace_attach(self) -> None:
        """`ptrace(PTRACE_ATTACH, pid)`: trace the process, and stop it with SIGSTOP. Wait for that.

        Raises:
            OSError: as for `ptrace_seize`.

        manpage: ptrace(2)
        """
        with self._using():
            await self._ptrace(PTRACE.ATTACH)

    async def ptrace_setoptions(self, options: PTRACE_O) -> None:
        """`ptrace(PTRACE_SETOPTIONS, pid, 0, options)`: at which events it stops from now on.

        Raises:
            OSError: ESRCH, EINVAL, EPERM (`PTRACE_O.SUSPEND_SECCOMP` needs CAP_SYS_ADMIN); `filename` is
                (request, process).

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.SETOPTIONS, 0, options)

    async def ptrace_cont(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_CONT, pid, 0, sig)`: let it go on.

        Args:
            sig: the signal that it gets: the one with which it has stopped, or another; 0 for none. Has a
                meaning only if it has stopped for a signal.

        Raises:
            OSError: ESRCH, EIO (no such signal); `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.CONT, 0, sig)

    async def ptrace_syscall(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_SYSCALL, pid, 0, sig)`: let it go on to the next entry or exit of a call.

        Args and errors as for `ptrace_cont`.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.SYSCALL, 0, sig)

    async def ptrace_singlestep(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_SINGLESTEP, pid, 0, sig)`: let it execute one instruction.

        Args and errors as for `ptrace_cont`; EIO also where the architecture cannot, as riscv64.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.SINGLESTEP, 0, sig)

    async def ptrace_sysemu(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_SYSEMU, pid, 0, sig)`: let it go on to the next call, which the kernel does not
        make.

        Args and errors as for `ptrace_cont`; EIO also where the architecture has no such request: riscv64.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.SYSEMU, 0, sig)

    async def ptrace_sysemu_singlestep(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_SYSEMU_SINGLESTEP, pid, 0, sig)`: like `ptrace_sysemu`, but for one instruction at
        most.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.SYSEMU_SINGLESTEP, 0, sig)

    async def ptrace_interrupt(self) -> None:
        """`ptrace(PTRACE_INTERRUPT, pid)`: stop a process that was seized, with `PTRACE_EVENT.STOP`.

        Raises:
            OSError: ESRCH, EIO (it was not seized); `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.INTERRUPT)

    async def ptrace_listen(self) -> None:
        """`ptrace(PTRACE_LISTEN, pid)`: leave a process stopped that a signal has stopped with its group.

        The tracer then learns from `waitid` when SIGCONT lets it go on. Only for a process that was seized.

        Raises:
            OSError: ESRCH, EIO (it has not stopped with its group, or was not seized); `filename` is
                (request, process).

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.LISTEN)

    async def ptrace_kill(self) -> None:
        """`ptrace(PTRACE_KILL, pid)`: as good as `kill` with SIGKILL, which works in every state: use that.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.KILL)

    async def ptrace_detach(self, sig: SIG | int = 0) -> None:
        """`ptrace(PTRACE_DETACH, pid, 0, sig)`: let it go on, and trace it no more.

        Args and errors as for `ptrace_cont`.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.DETACH, 0, sig)

    # -------------------------------------------------------------------------------------------- memory

    async def ptrace_peekdata(self, addr: near.Address | int, data: Pointer[T]) -> Pointer[T]:
        """`ptrace(PTRACE_PEEKDATA, pid, addr, data)`: copy a word of its memory. `process_vm_readv` copies
        more at once.

        Args:
            addr: where, in its memory.
            data: 8 bytes of ours, an `Int64` for example, which the kernel fills.

        Returns:
            `data`.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: EIO or EFAULT (no such memory), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.PEEKDATA, addr, data, _WORD)

    async def ptrace_peektext(self, addr: near.Address | int, data: Pointer[T]) -> Pointer[T]:
        """`ptrace(PTRACE_PEEKTEXT, pid, addr, data)`: the same as `ptrace_peekdata` on Linux.

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.PEEKTEXT, addr, data, _WORD)

    async def ptrace_peekuser(self, offset: int, data: Pointer[T]) -> Pointer[T]:
        """`ptrace(PTRACE_PEEKUSER, pid, offset, data)`: copy a word of its `struct user`, of x86_64 alone.

        `ptrace_getregset` does it on every architecture.

        Args:
            offset: bytes from the start of the structure, a multiple of 8.
            data: 8 bytes, which the kernel fills.

        Returns:
            `data`.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: EIO (no such offset), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.PEEKUSR, offset, data, _WORD)

    async def ptrace_pokedata(self, addr: near.Address | int, data: int) -> None:
        """`ptrace(PTRACE_POKEDATA, pid, addr, data)`: write a word into its memory, even if that is
        read-only.

        Args:
            addr: where, in its memory.
            data: the word, 64 bits.

        Raises:
            OSError: EIO or EFAULT (no such memory), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.POKEDATA, addr, data)

    async def ptrace_poketext(self, addr: near.Address | int, data: int) -> None:
        """`ptrace(PTRACE_POKETEXT, pid, addr, data)`: the same as `ptrace_pokedata` on Linux.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.POKETEXT, addr, data)

    async def ptrace_pokeuser(self, offset: int, data: int) -> None:
        """`ptrace(PTRACE_POKEUSER, pid, offset, data)`: write a word of its `struct user`, of x86_64 alone.

        Args and errors as for `ptrace_peekuser`; EIO also for a value that the kernel does not allow.

        manpage: ptrace(2)
        """
        await self._ptrace(PTRACE.POKEUSR, offset, data)

    # ----------------------------------------------------------------------------------------- registers

    async def ptrace_getregset(
        self, type: NT | int, data: Pointer[T], iov: Pointer[Iovec]
    ) -> tuple[Pointer[T], Pointer[T]]:
        """`ptrace(PTRACE_GETREGSET, pid, type, iov)`: copy registers of it into our memory.

        Args:
            type: which set of registers.
            data: room for the registers, for `NT.PRSTATUS` the structure `user_regs(task.sysif.abi)`;
                consumed. The kernel fills no more than there are.
            iov: room for the `struct iovec`, which this method fills; not consumed.

        Returns:
            The memory that the kernel has filled, and the rest.

        Raises:
            BufferTooSmallError: `iov` is too small.
            OSError: EINVAL (no such set, or the size of `data` is no multiple of that of a register), ENODEV
                (not on this processor), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._regset(PTRACE.GETREGSET, type, data, iov)
        filled = (await iov.read()).len
        return data.split(min(filled, data.size()))

    async def ptrace_setregset(self, type: NT | int, data: WrittenPointer[Any], iov: Pointer[Iovec]) -> None:
        """`ptrace(PTRACE_SETREGSET, pid, type, iov)`: set registers of it.

        Args:
            type: which set of registers.
            data: their values. If it is shorter than the set, the other registers stay as they are.
            iov: room for the `struct iovec`, which this method fills; not consumed.

        Raises:
            BufferTooSmallError: `iov` is too small.
            OSError: EINVAL (no such set, or the size of `data` is no multiple of that of a register), EIO
                (no such values), ENODEV, ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._regset(PTRACE.SETREGSET, type, data, iov)

    async def _regset(self, request: PTRACE, type: int, data: Pointer[Any], iov: Pointer[Iovec]) -> None:
        check_pointers(data, iov)
        require_size(iov, Iovec.sizeof())
        with data.borrow(self.task) as data_addr, iov.borrow(self.task) as iov_addr:
            await iov.transport.write(iov, Iovec(int(data_addr), data.size()).to_bytes())
            await self._ptrace(request, type, iov_addr)

    # ------------------------------------------------------------------------------------- why it stopped

    async def ptrace_geteventmsg(self, data: Pointer[T]) -> Pointer[T]:
        """`ptrace(PTRACE_GETEVENTMSG, pid, 0, data)`: copy what there is to tell about the last event.

        Args:
            data: 8 bytes, an `Int64` for example, which the kernel fills: with the id of the new process for
                `FORK`, `VFORK`, `VFORK_DONE` and `CLONE`, the former id of the thread for `EXEC`, the status
                for `EXIT`, the data of the filter for `SECCOMP`; at a call, `PTRACE_EVENTMSG_SYSCALL`.

        Returns:
            `data`.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.GETEVENTMSG, 0, data, _WORD)

    async def ptrace_getsiginfo(self, data: Pointer[T]) -> Pointer[T]:
        """`ptrace(PTRACE_GETSIGINFO, pid, 0, data)`: copy what comes with the signal for which it has
        stopped.

        Args:
            data: 128 bytes, a `QueuedSiginfo` for example, which the kernel fills.

        Returns:
            `data`.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: EINVAL (it has not stopped for a signal), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.GETSIGINFO, 0, data, _SIGINFO)

    async def ptrace_setsiginfo(self, data: Pointer[Any]) -> None:
        """`ptrace(PTRACE_SETSIGINFO, pid, 0, data)`: replace what comes with the signal.

        Args:
            data: 128 bytes, a `QueuedSiginfo` for example; not consumed.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: EINVAL (it has not stopped for a signal), ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._fill(PTRACE.SETSIGINFO, 0, data, _SIGINFO)

    async def ptrace_peeksiginfo(
        self, args: WrittenPointer[PtracePeeksiginfoArgs], data: Pointer[Any]
    ) -> int:
        """`ptrace(PTRACE_PEEKSIGINFO, pid, args, data)`: copy signals from a queue, and leave them there.

        Args:
            args: which signals; not consumed.
            data: room for as many as `args` say, 128 bytes each; not consumed.

        Returns:
            How many there were.

        Raises:
            BufferTooSmallError: the memory of one of the two is too small.
            OSError: EINVAL, ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        check_pointers(args, data)
        require_size(args, PtracePeeksiginfoArgs.sizeof())
        require_size(data, max(args.value.nr, 0) * _SIGINFO)
        with args.borrow(self.task) as args_addr, data.borrow(self.task) as data_addr:
            return await self._ptrace(PTRACE.PEEKSIGINFO, args_addr, data_addr)

    async def ptrace_getsigmask(self, data: Pointer[Sigset]) -> Pointer[Sigset]:
        """`ptrace(PTRACE_GETSIGMASK, pid, 8, data)`: copy the signals that it blocks.

        Returns:
            `data`, which the kernel has filled.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._fill(PTRACE.GETSIGMASK, Sigset.sizeof(), data, Sigset.sizeof())

    async def ptrace_setsigmask(self, data: WrittenPointer[Sigset]) -> None:
        """`ptrace(PTRACE_SETSIGMASK, pid, 8, data)`: set the signals that it blocks; `data` is not consumed.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH; `filename` is (request, process).

        manpage: ptrace(2)
        """
        await self._fill(PTRACE.SETSIGMASK, Sigset.sizeof(), data, Sigset.sizeof())

    # --------------------------------------------------------------------------------------------- calls

    async def ptrace_get_syscall_info(self, data: Pointer[PtraceSyscallInfo]) -> Pointer[PtraceSyscallInfo]:
        """`ptrace(PTRACE_GET_SYSCALL_INFO, pid, size, data)`: copy the call at which it has stopped.

        It is the same on every architecture. At the entry of a call, or at its exit, if it was resumed by
        `ptrace_syscall`; the kernel says only with `PTRACE_O.TRACESYSGOOD` which of them.

        Returns:
            `data`, in which the kernel has filled what belongs to the kind of stop.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH, EIO (before Linux 5.3); `filename` is (request, process).

        manpage: ptrace(2)
        """
        size = PtraceSyscallInfo.sizeof()
        return await self._fill(PTRACE.GET_SYSCALL_INFO, size, data, size)

    async def ptrace_set_syscall_info(self, data: WrittenPointer[PtraceSyscallInfo]) -> None:
        """`ptrace(PTRACE_SET_SYSCALL_INFO, pid, size, data)`: replace the call, or its result. Since Linux
        6.16.

        Args:
            data: what `ptrace_get_syscall_info` gave, `with_call` or `with_result`; not consumed.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: EINVAL (`op` is not that of this stop, or what has to be 0 is not), ESRCH, EIO (an older
                kernel); `filename` is (request, process).

        manpage: ptrace(2)
        """
        size = PtraceSyscallInfo.sizeof()
        await self._fill(PTRACE.SET_SYSCALL_INFO, size, data, size)

    async def ptrace_seccomp_get_filter(self, index: int, data: Pointer[Any] | None = None) -> int:
        """`ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, data)`: copy a seccomp filter of it.

        Args:
            index: which one; the filter that was set first is 0.
            data: room for all of its instructions, `SockFilter`, 8 bytes each; None to only count them. Not
                consumed.

        Returns:
            How many instructions there are.

        Raises:
            BufferTooSmallError: `data` is too small. (The kernel does not know how large it is, so this asks
                it first how many there are.)
            OSError: EACCES (needs CAP_SYS_ADMIN in the first user namespace, and no filter of its own),
                ENOENT (no such filter), EINVAL (it has none), EMEDIUMTYPE (not a classic program), ESRCH;
                `filename` is (request, process).

        manpage: ptrace(2)
        """
        if data is None:
            return await self._ptrace(PTRACE.SECCOMP_GET_FILTER, index)
        check_pointers(data)
        with data.borrow(self.task) as data_addr:
            count = await self._ptrace(PTRACE.SECCOMP_GET_FILTER, index)
            require_size(data, count * SockFilter.sizeof())
            return await self._ptrace(PTRACE.SECCOMP_GET_FILTER, index, data_addr)

    async def ptrace_seccomp_get_metadata(
        self, data: WrittenPointer[SeccompMetadata]
    ) -> Pointer[SeccompMetadata]:
        """`ptrace(PTRACE_SECCOMP_GET_METADATA, pid, size, data)`: how a seccomp filter of it was set.

        Args:
            data: which filter.

        Returns:
            `data`, in which the kernel has filled the flags.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: as for `ptrace_seccomp_get_filter`.

        manpage: ptrace(2)
        """
        size = SeccompMetadata.sizeof()
        return await self._fill(PTRACE.SECCOMP_GET_METADATA, size, data, size)

    async def ptrace_get_rseq_configuration(
        self, data: Pointer[PtraceRseqConfiguration]
    ) -> Pointer[PtraceRseqConfiguration]:
        """`ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, size, data)`: where its area for restartable sequences
        is.

        Returns:
            `data`, which the kernel has filled.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH, EIO (the kernel has none); `filename` is (request, process).

        manpage: ptrace(2)
        """
        size = PtraceRseqConfiguration.sizeof()
        return await self._fill(PTRACE.GET_RSEQ_CONFIGURATION, size, data, size)

    async def ptrace_get_syscall_user_dispatch_config(
        self, data: Pointer[PtraceSudConfig]
    ) -> Pointer[PtraceSudConfig]:
        """`ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, pid, size, data)`: how it turns calls into
        signals. Since Linux 6.4.

        Returns:
            `data`, which the kernel has filled.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH, EINVAL, EIO (an older kernel); `filename` is (request, process).

        manpage: ptrace(2)
        """
        size = PtraceSudConfig.sizeof()
        return await self._fill(PTRACE.GET_SYSCALL_USER_DISPATCH_CONFIG, size, data, size)

    async def ptrace_set_syscall_user_dispatch_config(self, data: WrittenPointer[PtraceSudConfig]) -> None:
        """`ptrace(PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG, pid, size, data)`: turn its calls into signals.
        Since Linux 6.4; `data` is not consumed.

        Raises:
            BufferTooSmallError: `data` is too small.
            OSError: ESRCH, EINVAL, EIO (an older kernel); `filename` is (request, process).

        manpage: ptrace(2)
        """
        size = PtraceSudConfig.sizeof()
        await self._fill(PTRACE.SET_SYSCALL_USER_DISPATCH_CONFIG, size, data, size)

    # ----------------------------------------------------------------------------------------------- all

    async def ptrace(self, request: PTRACE | int, addr: int = 0, data: int = 0) -> int:
        """`ptrace(request, pid, addr, data)`: a request that has no method, with numbers.

        Args:
            request: one of an architecture, for example `PTRACE_ARCH_PRCTL`, which is 30 on x86_64.
            addr, data: keep the memory of addresses until the call has returned.

        Raises:
            OSError: what the request says; `filename` is (request, process).

        manpage: ptrace(2)
        """
        return await self._ptrace(request, addr, data)

    async def _fill(
        self, request: PTRACE, addr: near.Address | int, data: Pointer[T], size: int
    ) -> Pointer[T]:
        check_pointers(data)
        require_size(data, size)
        with data.borrow(self.task) as data_addr:
            await self._ptrace(request, addr, data_addr)
        return data

    async def _ptrace(
        self, request: PTRACE | int, addr: near.Address | int = 0, data: near.Address | int = 0
    ) -> int:
        # Not `_using`: another task may be waiting for the process, and to interrupt it must be possible.
        # The kernel takes these requests only for a process that this thread traces, so that a number which
        # was reused meanwhile is refused.
        self._check_not_reaped()
        with naming((request, self.near)):
            return await _ptrace(self.task.sysif, request, self.near, addr, data)


_RESUMING = (
    *(PTRACE.CONT, PTRACE.SYSCALL, PTRACE.SINGLESTEP),
    *(PTRACE.SYSEMU, PTRACE.SYSEMU_SINGLESTEP, PTRACE.DETACH),
)
_ADDR = by(
    0,
    {
        **each((PTRACE.PEEKTEXT, PTRACE.PEEKDATA, PTRACE.POKETEXT, PTRACE.POKEDATA), ADDRESS),
        **each((PTRACE.GETREGSET, PTRACE.SETREGSET), choice(NT, "NT_")),
        PTRACE.PEEKSIGINFO: given(PtracePeeksiginfoArgs),
        # These take none.
        **each((*_RESUMING, PTRACE.SEIZE, PTRACE.SETOPTIONS), ADDRESS),
        **each((PTRACE.GETEVENTMSG, PTRACE.GETSIGINFO, PTRACE.SETSIGINFO), ADDRESS),
        **each((PTRACE.PEEKUSR, PTRACE.POKEUSR, PTRACE.SECCOMP_GET_FILTER), UNSIGNED),
    },
)
_DATA = by(
    0,
    {
        **each(_RESUMING, SIGNAL),
        **each((PTRACE.SEIZE, PTRACE.SETOPTIONS), flags(PTRACE_O, "PTRACE_O_")),
        **each((PTRACE.POKETEXT, PTRACE.POKEDATA, PTRACE.POKEUSR), ADDRESS),
        **each((PTRACE.PEEKTEXT, PTRACE.PEEKDATA, PTRACE.PEEKUSR, PTRACE.GETEVENTMSG), room(_WORD)),
        **each((PTRACE.GETREGSET, PTRACE.SETREGSET), given(Iovec)),
        PTRACE.GETSIGINFO: out(QueuedSiginfo),
        PTRACE.SETSIGINFO: given(QueuedSiginfo),
        PTRACE.GETSIGMASK: out(Sigset),
        PTRACE.SETSIGMASK: given(Sigset),
        PTRACE.GET_SYSCALL_INFO: out(PtraceSyscallInfo),
        PTRACE.SET_SYSCALL_INFO: given(PtraceSyscallInfo),
        PTRACE.SECCOMP_GET_METADATA: out(SeccompMetadata),
        PTRACE.GET_RSEQ_CONFIGURATION: out(PtraceRseqConfiguration),
        PTRACE.GET_SYSCALL_USER_DISPATCH_CONFIG: out(PtraceSudConfig),
        PTRACE.SET_SYSCALL_USER_DISPATCH_CONFIG: given(PtraceSudConfig),
        **each((PTRACE.PEEKSIGINFO, PTRACE.SECCOMP_GET_FILTER), ADDRESS),
    },
)


@call("ptrace", choice(PTRACE, "PTRACE_"), PID, _ADDR, _DATA)
async def _ptrace(
    sysif: SyscallInterface,
    request: PTRACE | int,
    pid: near.Process | None,
    addr: near.Address | int = 0,
    data: near.Address | int = 0,
) -> int:
    """The raw call: requests to peek store the word at the address `data`."""
    return await sysif.syscall(nr.ptrace, request, 0 if pid is None else pid, addr, data)
