"""`<sys/ptrace.h>`: stopping processes, and looking at and changing what they do."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.pointer import Pointer
from rsyscall.handle.process import ChildProcess, DeadProcessError, Process
from rsyscall.linux.filter import BPF, SockFilter, SockFprog
from rsyscall.linux.seccomp import AUDIT_ARCH, SECCOMP, SECCOMP_FILTER_FLAG, SECCOMP_RET
from rsyscall.near import SYS
from rsyscall.near import types as near
from rsyscall.near.abi import ABIS
from rsyscall.signal import SI, SIG, QueuedSiginfo, Siginfo, Sigset
from rsyscall.struct import Int64
from rsyscall.sys.ptrace import (
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
from rsyscall.sys.wait import CLD, ChildState, W

from .helpers import forked
from .support import Local, run

pytestmark = pytest.mark.needs("ptrace")

GROUP_STOP = PtraceStop(SIG.STOP, PTRACE_EVENT.STOP, False)
INTERRUPTED = PtraceStop(SIG.TRAP, PTRACE_EVENT.STOP, False)
AT_A_CALL = PtraceStop(SIG.TRAP, None, True)
EXECUTED = PtraceStop(SIG.TRAP, PTRACE_EVENT.EXEC, False)


class Tracee:
    """A process that this thread traces.

    Attributes:
        process: its handle.
    """

    def __init__(self, local: Local, pid: int) -> None:
        self.local = local
        self.process = ChildProcess(local.task, near.Process(pid))

    async def wait(self, options: W = W.STOPPED | W.EXITED) -> ChildState | None:
        """What happens to it next."""
        await self.process.waitid(options | W.ALL, await self.local.malloc(Siginfo))
        return await self.process.read_siginfo()

    async def stop(self) -> PtraceStop:
        """Where it stops next."""
        state = await self.wait()
        assert state is not None
        return PtraceStop.of(state)

    async def info(self) -> PtraceSyscallInfo:
        """The call at which it has stopped."""
        room = await self.local.ptr(PtraceSyscallInfo())
        return await (await self.process.ptrace_get_syscall_info(room)).read()

    async def message(self) -> int:
        return await (await self.process.ptrace_geteventmsg(await self.local.malloc(Int64))).read()

    async def end(self) -> None:
        """Kill it, and reap it."""
        await self.process.kill(SIG.KILL)
        while self.process.alive:
            state = await self.wait()
            if state is not None and state.code == CLD.TRAPPED:
                # at the event of its exit
                with contextlib.suppress(ProcessLookupError):
                    await self.process.ptrace_cont()


@contextlib.contextmanager
def newer(request: PTRACE) -> Iterator[None]:
    """Skip where the kernel does not have the request."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        pytest.skip(f"kernel: no PTRACE_{request.name}")


@contextlib.contextmanager
def tracee(local: Local) -> Iterator[Tracee]:
    """A process made by fork, which waits for signals. Not traced yet."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                signal.pause()
        finally:
            os._exit(1)
    traced = Tracee(local, pid)
    try:
        yield traced
    finally:
        if traced.process.alive:
            run(traced.end())


@contextlib.contextmanager
def command(local: Local, *args: str, options: PTRACE_O = PTRACE_O.NONE) -> Iterator[Tracee]:
    """A process that is traced, and executes a program when it is resumed for the first time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.read(reader, 1)
            os.close(1)
            os.execv(args[0], args)
        finally:
            os._exit(1)
    os.close(reader)
    traced = Tracee(local, pid)
    try:
        run(
            traced.process.ptrace_seize(
                PTRACE_O.TRACESYSGOOD | PTRACE_O.TRACEEXEC | PTRACE_O.EXITKILL | options
            )
        )
        os.write(writer, b"x")
        assert run(traced.stop()) == EXECUTED
        yield traced
    finally:
        os.close(writer)
        if traced.process.alive:
            run(traced.end())


async def test_the_calls_of_a_command_are_seen(local: Local) -> None:
    calls, results = [], []
    with command(local, "/bin/true") as traced:
        assert await traced.message() == traced.process.near.id
        while True:
            await traced.process.ptrace_syscall()
            state = await traced.wait()
            assert state is not None
            if state.died():
                break
            assert PtraceStop.of(state) == AT_A_CALL
            info = await traced.info()
            assert isinstance(info.arch, AUDIT_ARCH)
            message = await traced.message()
            if info.op == PTRACE_SYSCALL_INFO.ENTRY:
                calls.append(SYS(info.nr).name)
                assert message == PTRACE_EVENTMSG_SYSCALL.ENTRY
                with pytest.raises(ValueError, match="member"):
                    print(info.rval)
            else:
                results.append((info.rval, info.is_error))
                assert message == PTRACE_EVENTMSG_SYSCALL.EXIT
                with pytest.raises(ValueError, match="member"):
                    print(info.args)
    assert state.exit_status == 0
    # execve is where it was; exit_group has no exit
    assert calls[-1] == "exit_group"
    assert {"mmap", "openat", "close"} <= set(calls)
    assert len(results) == len(calls)
    assert (0, False) in results
    assert any(rval == -errno.ENOENT and is_error for rval, is_error in results)
    with pytest.raises(DeadProcessError):
        await traced.process.ptrace_cont()


async def test_an_event_ends_only_what_it_should(local: Local) -> None:
    with tracee(local) as traced:
        with pytest.raises(ProcessLookupError) as caught:
            await traced.process.ptrace_cont()
        assert caught.value.filename == (PTRACE.CONT, traced.process.near)
        await traced.process.ptrace_seize()
        with pytest.raises(PermissionError) as denied:
            await traced.process.ptrace_seize()
        assert denied.value.filename == (PTRACE.SEIZE, traced.process.near)
        # it runs
        with pytest.raises(ProcessLookupError):
            await traced.process.ptrace_getsigmask(await local.malloc(Sigset))
        await traced.process.ptrace_interrupt()
        assert await traced.stop() == INTERRUPTED
        await traced.process.ptrace_detach()
        with pytest.raises(ProcessLookupError):
            await traced.process.ptrace_cont()
    assert traced.process.death_state is not None
    assert traced.process.death_state.sig == SIG.KILL


async def test_our_own_process_is_refused(local: Local) -> None:
    with pytest.raises(PermissionError) as caught:
        await Process(local.task, near.Process(os.getpid())).ptrace_seize()
    assert caught.value.filename == (PTRACE.SEIZE, near.Process(os.getpid()))


async def test_a_group_stop_is_listened_to(local: Local) -> None:
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize()
        await process.kill(SIG.STOP)
        assert await traced.stop() == PtraceStop(SIG.STOP, None, False)
        with pytest.raises(OSError, match="Input/output") as caught:
            await process.ptrace_listen()
        assert caught.value.errno == errno.EIO
        await process.ptrace_cont(SIG.STOP)
        assert await traced.stop() == GROUP_STOP
        await process.ptrace_listen()
        await process.kill(SIG.CONT)
        # The stop ends, and after that SIGCONT is delivered.
        assert await traced.stop() == INTERRUPTED
        await process.ptrace_cont()
        assert await traced.stop() == PtraceStop(SIG.CONT, None, False)


async def test_attach_stops_and_detach_lets_go(local: Local) -> None:
    with tracee(local) as traced:
        await traced.process.ptrace_attach()
        assert await traced.stop() == PtraceStop(SIG.STOP, None, False)
        with pytest.raises(OSError, match="Input/output"):
            await traced.process.ptrace_interrupt()
        with pytest.raises(OSError, match="Input/output"):
            await traced.process.ptrace_cont(1000)
        await traced.process.ptrace_detach(SIG.USR1)
        state = await traced.wait(W.EXITED)
        assert state is not None
        assert state.killed_with() == SIG.USR1


@forked
async def test_a_process_has_its_parent_trace_it(local: Local, tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        try:
            run(Local.make().task.ptrace_traceme())
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            os._exit(7)
    traced = Tracee(local, pid)
    assert await traced.stop() == PtraceStop(SIG.USR1, None, False)
    # the signal is not delivered
    await traced.process.ptrace_cont()
    state = await traced.wait()
    assert state is not None
    assert state.exit_status == 7


async def test_memory_is_read_and_written(local: Local) -> None:
    theirs = ctypes.create_string_buffer(b"before..after...")
    addr = near.Address(ctypes.addressof(theirs))
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize()
        await process.ptrace_interrupt()
        await traced.stop()
        word = await local.malloc(bytes, 8)
        assert await process.ptrace_peekdata(addr, word) is word
        assert await word.read() == b"before.."
        await process.ptrace_pokedata(int(addr) + 8, int.from_bytes(b"changed!", "little"))
        assert await (await process.ptrace_peektext(int(addr) + 8, word)).read() == b"changed!"
        await process.ptrace_poketext(addr, 0xFFFFFFFFFFFFFFFF)
        assert await (await process.ptrace_peekdata(addr, await local.malloc(Int64))).read() == -1
        await process.ptrace_pokedata(addr, -2)
        assert await (await process.ptrace_peekdata(addr, await local.malloc(Int64))).read() == -2
        assert theirs.value == b"before..after..."
        with pytest.raises(OSError, match="error") as caught:
            await process.ptrace_peekdata(0, word)
        assert caught.value.filename == (PTRACE.PEEKDATA, process.near)
        with pytest.raises(BufferTooSmallError):
            await process.ptrace_peekdata(addr, await local.malloc(bytes, 7))


async def test_registers_are_read_and_written(local: Local) -> None:
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize(PTRACE_O.TRACESYSGOOD)
        await process.ptrace_interrupt()
        await traced.stop()
        cls = user_regs(local.task.sysif.abi)
        iov = await local.malloc(Iovec)
        regs, rest = await process.ptrace_getregset(NT.PRSTATUS, await local.malloc(bytes, 1024), iov)
        assert (regs.size(), rest.size()) == (cls.sizeof(), 1024 - cls.sizeof())
        values = cls.from_bytes(await regs.read())
        info = await traced.info()
        assert info.op == PTRACE_SYSCALL_INFO.NONE
        if isinstance(values, UserRegsX86):
            assert (values.rip, values.rsp) == (info.instruction_pointer, info.stack_pointer)
            # r15 keeps its value in a system call
            changed = UserRegsX86.from_bytes(values.to_bytes())
            changed.r15 ^= 0x55
            await process.ptrace_setregset(NT.PRSTATUS, await local.ptr(changed), iov)
            again, _ = await process.ptrace_getregset(NT.PRSTATUS, await local.malloc(UserRegsX86), iov)
            assert await again.read() == changed
            offset = 0  # of r15
            word = await local.malloc(Int64)
            assert await (await process.ptrace_peekuser(offset, word)).read() & 0xFF == changed.r15 & 0xFF
            await process.ptrace_pokeuser(offset, values.r15)
            restored, _ = await process.ptrace_getregset(NT.PRSTATUS, await local.malloc(UserRegsX86), iov)
            assert await restored.read() == values
            with pytest.raises(OSError, match="Input/output"):
                await process.ptrace_peekuser(1 << 20, word)
        with pytest.raises(OSError, match="Invalid") as caught:
            await process.ptrace_getregset(12345, await local.malloc(bytes, 64), iov)
        assert caught.value.filename == (PTRACE.GETREGSET, process.near)
        with pytest.raises(BufferTooSmallError):
            await process.ptrace_getregset(NT.PRSTATUS, await local.malloc(bytes, 64), await small(local))


async def small(local: Local) -> Pointer[Iovec]:
    """Memory for an iovec that is too small for one."""
    first, _ = (await local.malloc(Iovec)).split(8)
    return first


def test_the_registers_of_each_architecture() -> None:
    assert user_regs(ABIS["x86_64"]) is UserRegsX86
    assert user_regs(ABIS["aarch64"]) is UserPtRegs
    assert user_regs(ABIS["riscv64"]) is UserRegsRiscv
    assert [cls.sizeof() for cls in (UserRegsX86, UserPtRegs, UserRegsRiscv)] == [216, 272, 256]
    regs = UserPtRegs(tuple(range(31)), sp=31)
    assert UserPtRegs.from_bytes(regs.to_bytes()) == regs
    with pytest.raises(ValueError, match=r"UserPtRegs\.regs"):
        UserPtRegs((0,)).to_bytes()


async def test_a_result_is_replaced(local: Local) -> None:
    """A command learns that a file does not exist that does."""
    with command(local, sys.executable, "-SEc", "import os; os._exit(os.getppid() == 4711)") as traced:
        seen = False
        while True:
            await traced.process.ptrace_syscall()
            state = await traced.wait()
            assert state is not None
            if state.died():
                break
            info = await traced.info()
            if info.op == PTRACE_SYSCALL_INFO.ENTRY:
                seen = info.nr == SYS.getppid
            elif seen:
                assert info.rval == os.getpid()
                with newer(PTRACE.SET_SYSCALL_INFO):
                    await traced.process.ptrace_set_syscall_info(await local.ptr(info.with_result(4711)))
                assert (await traced.info()).rval == 4711
                seen = False
    assert state.exit_status == 1


async def test_a_call_is_replaced(local: Local) -> None:
    """The entry of a call is made another call, and that one none."""
    with command(local, sys.executable, "-SEc", "import os; os.getppid(); os._exit(3)") as traced:
        results = []
        while True:
            await traced.process.ptrace_syscall()
            state = await traced.wait()
            assert state is not None
            if state.died():
                break
            info = await traced.info()
            if info.op == PTRACE_SYSCALL_INFO.ENTRY and info.nr in (SYS.getppid, SYS.exit_group):
                if info.nr == SYS.getppid:
                    assert info.with_call(SYS.getpid, [0] * 6).nr == SYS.getpid
                    with pytest.raises(ValueError, match="six"):
                        info.with_call(SYS.getpid, [0])
                    with pytest.raises(ValueError, match="member"):
                        info.with_result(0)
                    changed = info.with_call(SYS.kill, [-1, 0, 0, 0, 0, 0])
                    changed = changed.with_call(SYS.getpid, [0] * 6)
                else:
                    changed = info.with_call(SYS.exit_group, [9, 0, 0, 0, 0, 0])
                with newer(PTRACE.SET_SYSCALL_INFO):
                    await traced.process.ptrace_set_syscall_info(await local.ptr(changed))
            elif info.op == PTRACE_SYSCALL_INFO.EXIT:
                results.append(info.rval)
    assert traced.process.near.id in results
    assert state.exit_status == 9


async def test_what_comes_with_a_signal(local: Local) -> None:
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize()
        await process.rt_sigqueueinfo(SIG.USR1, await local.ptr(QueuedSiginfo(SIG.USR1, value=77)))
        assert await traced.stop() == PtraceStop(SIG.USR1, None, False)
        room = await local.malloc(QueuedSiginfo)
        info = await (await process.ptrace_getsiginfo(room)).read()
        assert (info.signo, info.code, info.value) == (SIG.USR1, SI.QUEUE, 77)
        info.value = 78
        await process.ptrace_setsiginfo(await local.ptr(info))
        assert (await (await process.ptrace_getsiginfo(room)).read()).value == 78
        with pytest.raises(BufferTooSmallError):
            await process.ptrace_getsiginfo(await local.malloc(bytes, 127))


async def test_signals_are_blocked_and_queued(local: Local) -> None:
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize()
        await process.ptrace_interrupt()
        await traced.stop()
        await process.ptrace_setsigmask(await local.ptr(Sigset({SIG.USR1, SIG.USR2})))
        mask = await process.ptrace_getsigmask(await local.malloc(Sigset))
        assert await mask.read() == {SIG.USR1, SIG.USR2}
        await process.kill(SIG.USR1)
        await process.kill(SIG.USR2)
        room = await local.malloc(bytes, 3 * 128)
        ours = await local.ptr(PtracePeeksiginfoArgs(nr=3))
        assert await process.ptrace_peeksiginfo(ours, room) == 0
        all_of = await local.ptr(PtracePeeksiginfoArgs(nr=3, flags=PTRACE_PEEKSIGINFO.SHARED))
        assert await process.ptrace_peeksiginfo(all_of, room) == 2
        data = await room.read()
        infos = [QueuedSiginfo.from_bytes(data[i : i + 128]) for i in (0, 128)]
        assert [info.signo for info in infos] == [SIG.USR1, SIG.USR2]
        assert {info.pid for info in infos} == {os.getpid()}
        with pytest.raises(BufferTooSmallError):
            await process.ptrace_peeksiginfo(all_of, await local.malloc(bytes, 3 * 128 - 1))


async def test_one_instruction_at_a_time(local: Local) -> None:
    with command(local, "/bin/true") as traced:
        before = await traced.info()
        for _ in range(3):
            await traced.process.ptrace_singlestep()
            assert await traced.stop() == PtraceStop(SIG.TRAP, None, False)
        after = await traced.info()
        assert after.instruction_pointer != before.instruction_pointer


async def test_calls_are_emulated(local: Local) -> None:
    with command(local, "/bin/true") as traced:
        # The exit of execve, after the event.
        await traced.process.ptrace_syscall()
        assert await traced.stop() == AT_A_CALL
        await traced.process.ptrace_sysemu()
        assert await traced.stop() == AT_A_CALL
        first = await traced.info()
        await traced.process.ptrace_sysemu_singlestep()
        stop = await traced.stop()
        assert stop.signal == SIG.TRAP
        assert first.instruction_pointer


async def test_restartable_sequences_and_user_dispatch(local: Local) -> None:
    with tracee(local) as traced:
        process = traced.process
        await process.ptrace_seize()
        await process.ptrace_interrupt()
        await traced.stop()
        rseq = await process.ptrace_get_rseq_configuration(await local.malloc(PtraceRseqConfiguration))
        assert (await rseq.read()).flags == 0
        room = await local.malloc(PtraceSudConfig)
        with newer(PTRACE.GET_SYSCALL_USER_DISPATCH_CONFIG):
            config = await process.ptrace_get_syscall_user_dispatch_config(room)
        found = await config.read()
        assert (found.mode, found.selector) == (0, 0)
        await process.ptrace_set_syscall_user_dispatch_config(await local.ptr(found))


async def test_requests_by_number(local: Local) -> None:
    with tracee(local) as traced:
        await traced.process.ptrace_seize()
        await traced.process.ptrace(PTRACE.INTERRUPT)
        assert await traced.stop() == INTERRUPTED
        with pytest.raises(OSError, match="Input/output") as caught:
            await traced.process.ptrace(0x4FFF, 1, 2)
        assert caught.value.filename == (0x4FFF, traced.process.near)


async def test_kill_kills(local: Local) -> None:
    with tracee(local) as traced:
        await traced.process.ptrace_seize()
        await traced.process.ptrace_interrupt()
        await traced.stop()
        await traced.process.ptrace_kill()
        state = await traced.wait()
        assert state is not None
        assert state.killed_with() == SIG.KILL


async def test_the_events_of_new_processes_and_exit(local: Local) -> None:
    source = "import os\nif not os.fork(): os._exit(5)\nos._exit(os.waitstatus_to_exitcode(os.wait()[1]) + 1)"
    options = PTRACE_O.TRACEFORK | PTRACE_O.TRACECLONE | PTRACE_O.TRACEVFORK | PTRACE_O.TRACEEXIT
    with command(local, sys.executable, "-SEc", source, options=options) as traced:
        await traced.process.ptrace_cont()
        stop = await traced.stop()
        assert stop.event in (PTRACE_EVENT.FORK, PTRACE_EVENT.CLONE)
        child = Tracee(local, await traced.message())
        assert await child.stop() == INTERRUPTED
        await traced.process.ptrace_cont()
        await child.process.ptrace_cont()
        assert (await child.stop()).event == PTRACE_EVENT.EXIT
        assert os.waitstatus_to_exitcode(await child.message()) == 5
        await child.process.ptrace_cont()
        state = await child.wait()
        assert state is not None
        assert state.exit_status == 5
        while (stop := await traced.stop()).event != PTRACE_EVENT.EXIT:
            await traced.process.ptrace_cont(stop.signal)
        assert os.waitstatus_to_exitcode(await traced.message()) == 6
        # SIGKILL does not wake it here.
        await traced.process.ptrace_cont()
        state = await traced.wait()
        assert state is not None
        assert state.exit_status == 6


@pytest.mark.needs("other users")
@forked
async def test_undumpable_memory_is_not_traced(local: Local, tmp_path: Path) -> None:
    if not os.geteuid():
        os.setresuid(65534, 65534, 65534)
    await local.task.prctl_set_dumpable(False)
    pid = os.fork()
    if not pid:
        try:
            run(Local.make().task.ptrace_traceme())
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            os._exit(7)
    # It need not be dumpable to ask for it.
    traced = Tracee(local, pid)
    assert await traced.stop() == PtraceStop(SIG.USR1, None, False)
    await traced.process.ptrace_detach()
    assert (await traced.wait(W.EXITED)) is not None
    with tracee(local) as other, pytest.raises(PermissionError) as caught:
        await other.process.ptrace_seize()
    assert caught.value.filename == (PTRACE.SEIZE, other.process.near)
    await local.task.prctl_set_dumpable(True)
    with tracee(local) as dumpable:
        await dumpable.process.ptrace_seize()


@pytest.mark.needs("all capabilities")
async def test_filters_are_read(local: Local) -> None:
    allow = SockFilter(BPF.RET, k=SECCOMP_RET.ALLOW)
    program = SockFprog.program([allow])
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            theirs = Local.make()
            filter = run(theirs.ptr(SockFprog(run(theirs.ptr(program)))))
            run(theirs.task.prctl_set_no_new_privs())
            run(theirs.task.seccomp(SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG.LOG, filter))
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    traced = Tracee(local, pid)
    try:
        assert os.read(reader, 1) == b"x"
        await traced.process.ptrace_seize()
        await traced.process.ptrace_interrupt()
        await traced.stop()
        room = await local.malloc(bytes, 64)
        await check_filter(local, traced.process, room, allow)
    finally:
        os.close(reader)
        os.close(writer)
        await traced.end()


async def check_filter(local: Local, process: ChildProcess, room: Pointer[bytes], allow: SockFilter) -> None:
    try:
        assert await process.ptrace_seccomp_get_filter(0) == 1
    except OSError as error:
        # Not of a kernel without CHECKPOINT_RESTORE.
        if error.errno != errno.EIO:
            raise
        pytest.skip("kernel: no PTRACE_SECCOMP_GET_FILTER")
    assert await process.ptrace_seccomp_get_filter(0, room) == 1
    assert SockFilter.from_bytes(await room.read()) == allow
    first, _ = room.split(7)
    with pytest.raises(BufferTooSmallError):
        await process.ptrace_seccomp_get_filter(0, first)
    with pytest.raises(OSError, match="No such") as caught:
        await process.ptrace_seccomp_get_filter(1)
    assert caught.value.filename == (PTRACE.SECCOMP_GET_FILTER, process.near)
    metadata = await process.ptrace_seccomp_get_metadata(await local.ptr(SeccompMetadata(0)))
    assert (await metadata.read()).flags == SECCOMP_FILTER_FLAG.LOG


def test_what_a_stop_is() -> None:
    def of(status: int) -> PtraceStop:
        return PtraceStop.of(ChildState.make(CLD.TRAPPED, 5, 0, status))

    assert of(SIG.TRAP) == PtraceStop(SIG.TRAP, None, False)
    assert of(SIG.USR1).delivery == SIG.USR1
    assert EXECUTED.delivery == GROUP_STOP.delivery == AT_A_CALL.delivery == 0
    assert of(SIG.TRAP | 0x80) == AT_A_CALL
    assert of(SIG.TRAP | PTRACE_EVENT.EXEC << 8) == EXECUTED
    assert of(SIG.TRAP | 99 << 8) == PtraceStop(SIG.TRAP, 99, False)
    assert of(SIG.TSTP | PTRACE_EVENT.STOP << 8) == PtraceStop(SIG.TSTP, PTRACE_EVENT.STOP, False)
    assert of(40) == PtraceStop(40, None, False)
    with pytest.raises(ValueError, match="exited with status 0"):
        PtraceStop.of(ChildState.make(CLD.EXITED, 5, 0, 0))


def test_structures_that_a_newer_kernel_fills() -> None:
    info = PtraceSyscallInfo.from_bytes(bytes([99]) + bytes(87))
    assert (info.op, info.arch) == (99, 0)
    with pytest.raises(ValueError, match="99"):
        print(info.args)
