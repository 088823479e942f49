"""Tracing children, by the local thread and by other children."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import Counter

import pytest
import trio
import trio.testing
from support import local_thread, sh

from rsyscall.handle.process import ChildProcess
from rsyscall.near import SYS
from rsyscall.signal import SIG, QueuedSiginfo, Siginfo
from rsyscall.sys.prctl import PR
from rsyscall.sys.ptrace import (
    NT,
    PTRACE,
    PTRACE_EVENT,
    PTRACE_O,
    PTRACE_SYSCALL_INFO,
    PtraceStop,
    PtraceSyscallInfo,
)
from rsyscall.sys.uio import Iovec
from rsyscall.sys.wait import ChildState, W
from rsyscall.thread import ChildThread, Thread
from rsyscall.trace import Tracer

pytestmark = [pytest.mark.usefixtures("transport"), pytest.mark.needs("ptrace")]

OPTIONS = PTRACE_O.TRACESYSGOOD | PTRACE_O.TRACEEXEC | PTRACE_O.EXITKILL
INTERRUPTED = PtraceStop(SIG.TRAP, PTRACE_EVENT.STOP, False)


async def next_state(tracer: Thread, process: ChildProcess) -> ChildState:
    """Block the tracer until something happens to the process."""
    # The kernel tells of stops, too.
    await process.waitid(W.EXITED | W.ALL, await tracer.malloc(Siginfo))
    return await process.read_state_change()


async def call_at(tracer: Thread, process: ChildProcess) -> PtraceSyscallInfo:
    """The call at which the process has stopped."""
    return await (await process.ptrace_get_syscall_info(await tracer.malloc(PtraceSyscallInfo))).read()


async def traced_by(tracer: ChildThread, child: ChildThread, options: PTRACE_O) -> ChildProcess:
    """Have one child trace another; return the tracer's handle of that."""
    # Yama, if the kernel has it, wants to be told.
    with contextlib.suppress(OSError):
        await child.task.prctl(PR.SET_PTRACER, tracer.process.pid)
    process = ChildProcess(tracer.task, child.process.process.near)
    await process.ptrace_seize(options)
    return process


async def end(*children: ChildThread) -> None:
    """Have them exit."""
    for child in children:
        await child.exit(0)
        assert (await child.process.waitpid(W.EXITED)).clean()


@pytest.mark.parametrize("own_memory", [False, True])
async def test_a_child_traces_another(own_memory: bool) -> None:
    tracer = await local_thread.clone(own_memory=own_memory)
    child = await tracer.clone()
    process = await traced_by(tracer, child, OPTIONS)
    # The kernel takes the requests of this thread alone.
    with pytest.raises(ProcessLookupError) as caught:
        await child.process.process.ptrace_interrupt()
    assert caught.value.filename == (PTRACE.INTERRUPT, process.near)
    command = await child.exec(sh("echo $PPID"))
    calls: Counter[str] = Counter()
    events = []
    while not (state := await next_state(tracer, process)).died():
        stop = PtraceStop.of(state)
        events.append(stop.event)
        if stop.syscall:
            info = await call_at(tracer, process)
            if info.op == PTRACE_SYSCALL_INFO.ENTRY:
                calls[SYS(info.nr).name] += 1
        await process.ptrace_syscall(stop.delivery)
    assert state.clean()
    assert events[0] == PTRACE_EVENT.EXEC
    assert set(events[1:]) == {None}
    assert calls["write"] == calls["exit_group"] == 1
    # Its parent hears of it second.
    assert (await command.waitpid(W.EXITED)).clean()
    await end(tracer)


async def test_the_local_thread_traces_a_child() -> None:
    child = await local_thread.clone()
    process = child.process.process
    await process.ptrace_seize(OPTIONS)
    command = await child.exec(sh("kill -USR1 $$; exit 5"))
    signals = []
    while not (state := await command.waitpid(W.STOPPED | W.EXITED)).died():
        stop = PtraceStop.of(state)
        if stop.event is None:
            signals.append(stop.signal)
        # It does not get the signals.
        await process.ptrace_cont()
    assert signals == [SIG.USR1]
    assert state.exit_status == 5


async def test_calls_in_a_stopped_child_wait() -> None:
    tracer, child, other = [await local_thread.clone() for _ in range(3)]
    process = await traced_by(tracer, child, PTRACE_O.NONE)
    await process.ptrace_interrupt()
    assert PtraceStop.of(await next_state(tracer, process)) == INTERRUPTED
    answers = []

    async def call() -> None:
        answers.append(await child.task.getpid())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked(0.05)
        # Others go on.
        assert int(await other.task.getpid()) == other.process.pid
        assert int(await tracer.task.getpid()) == tracer.process.pid
        assert answers == []
        await process.ptrace_detach()
    assert list(map(int, answers)) == [child.process.pid]
    await end(child, other, tracer)


async def test_calls_of_the_library_in_a_traced_child_are_seen() -> None:
    tracer, child = [await local_thread.clone() for _ in range(2)]
    process = await traced_by(tracer, child, OPTIONS)
    await process.ptrace_interrupt()
    await next_state(tracer, process)
    answers = []

    async def call() -> None:
        answers.append(await child.task.getppid())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        found = False
        while not found:
            await process.ptrace_syscall()
            assert PtraceStop.of(await next_state(tracer, process)).syscall
            info = await call_at(tracer, process)
            found = info.op == PTRACE_SYSCALL_INFO.ENTRY and info.nr == SYS.getppid
        await process.ptrace_detach()
    assert list(map(int, answers)) == [os.getpid()]
    await end(child, tracer)


async def test_a_child_asks_the_local_thread_to_trace_it() -> None:
    child = await local_thread.clone()
    await child.task.ptrace_traceme()
    with pytest.raises(PermissionError) as caught:
        await child.task.ptrace_traceme()
    assert caught.value.errno == errno.EPERM
    assert caught.value.filename == PTRACE.TRACEME
    command = await child.exec(sh("exit 6"))
    # Without options the stop after exec is a signal.
    state = await command.waitpid(W.STOPPED | W.EXITED)
    assert PtraceStop.of(state) == PtraceStop(SIG.TRAP, None, False)
    await command.process.ptrace_cont()
    assert (await command.waitpid(W.EXITED)).exit_status == 6


async def test_a_command_ends_with_its_tracer() -> None:
    tracer, child = [await local_thread.clone() for _ in range(2)]
    await traced_by(tracer, child, PTRACE_O.EXITKILL)
    command = await child.exec(sh("exec sleep inf"))
    await end(tracer)
    assert (await command.waitpid(W.EXITED)).killed_with() == SIG.KILL


async def test_requests_are_shown() -> None:
    child = await local_thread.clone()
    process = child.process.process
    lines: list[str] = []
    with Tracer(lines.append).tracing(local_thread.task, "program"):
        await process.ptrace_seize(PTRACE_O.TRACEEXEC)
        await process.ptrace_interrupt()
        assert PtraceStop.of(await child.process.waitpid(W.STOPPED)) == INTERRUPTED
        iov = await local_thread.malloc(Iovec)
        await process.ptrace_getregset(NT.PRSTATUS, await local_thread.malloc(bytes, 8), iov)
        await process.ptrace_getsiginfo(await local_thread.malloc(QueuedSiginfo))
        await process.ptrace_get_syscall_info(await local_thread.malloc(PtraceSyscallInfo))
        await process.ptrace_detach(SIG.CONT)
    shown = [line.partition(f", {process.near.id}, ") for line in lines if "ptrace(PTRACE_" in line]
    assert shown[0][0].endswith("ptrace(PTRACE_SEIZE")
    assert shown[0][2] == "NULL, PTRACE_O_TRACEEXEC) = 0"
    texts = "\n".join(rest for _, _, rest in shown)
    assert "NT_PRSTATUS, {iov_base=0x" in texts
    assert "NULL, {si_signo=5, " in texts
    assert "{op=PTRACE_SYSCALL_INFO_NONE, arch=AUDIT_ARCH_" in texts
    assert "NULL, SIGCONT) = 0" in texts
    await end(child)


@pytest.mark.parametrize("executed", [False, True])
async def test_a_block_resumes_what_stops_at_its_end(executed: bool) -> None:
    """Its tracer is this OS thread, which waits for the end of the block."""
    child = await local_thread.clone()
    with trio.fail_after(10):
        async with child.process:
            await child.process.process.ptrace_seize(PTRACE_O.TRACEEXIT)
            if executed:
                await child.exec(sh("sleep 1000"))
    state = child.process.process.death_state
    assert state is not None
    assert state.killed_with() == SIG.KILL


@pytest.mark.parametrize("options", [PTRACE_O.TRACEEXIT, PTRACE_O.NONE])
async def test_a_block_does_not_wait_forever_for_another_tracer(
    options: PTRACE_O, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops at its end, or has ended and its tracer does not hear of it."""
    monkeypatch.setattr("rsyscall.traced._PAUSE", 0.02)
    child, tracer = await local_thread.clone(), await local_thread.clone()
    await traced_by(tracer, child, options)
    with trio.fail_after(10):
        with pytest.raises(
            RuntimeError, match=f"process {child.process.pid} .* {tracer.process.pid} traces it"
        ):
            async with child.process:
                pass
        with pytest.raises(KeyError, match="its own"):
            async with child.process:
                raise KeyError("its own")
    await end(tracer)
    state = await child.process.waitpid(W.EXITED)
    assert state.killed_with() == SIG.KILL


async def test_a_block_waits_for_a_tracer_that_does_its_work() -> None:
    child, tracer = await local_thread.clone(), await local_thread.clone()
    process = await traced_by(tracer, child, PTRACE_O.TRACEEXIT)
    states = []

    async def trace() -> None:
        while not (state := await next_state(tracer, process)).died():
            states.append(PtraceStop.of(state).event)
            await process.ptrace_cont()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trace)
        async with child.process:
            pass
    assert states == [PTRACE_EVENT.EXIT]
    await end(tracer)
