"""Programs that also use threads, asyncio, subprocess, signals and fork; see `test_coexistence.py`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from support import assert_thread_works, children, is_running, sh
from waiting import eventually, is_in_call, wait_for_call, wait_until

from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import F, O
from rsyscall.handle import FileDescriptor
from rsyscall.local import LocalThread
from rsyscall.monitor import AsyncChildProcess
from rsyscall.near import SYS, Syscall
from rsyscall.near.local import ForkedProcessError, WrongThreadError
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread


def facts() -> dict[str, Any]:
    """The state of the whole program, which the library must not change."""
    status = Path("/proc/self/status").read_text().splitlines()
    return {
        "signals": [line for line in status if line.startswith("Sig") and not line.startswith("SigQ")],
        "dispositions": [signal.getsignal(number) for number in signal.valid_signals()],
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "umask": [line for line in status if line.startswith("Umask")],
        "group": (os.getpgrp(), os.getsid(0)),
        "threads": threading.active_count(),
        "subreaper": [line for line in status if line.startswith("NoNewPrivs")],
    }


async def work(thread: Thread, seconds: float) -> int:
    """Make children in many ways and drive them, for a while; returns how many there were."""
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        child = await thread.clone()
        assert int(await child.task.getpid()) == child.process.process.near.id
        pipe = await thread.pipe()
        other = await child.clone(CLONE.FILES)
        assert await other.task.getuid() == os.getuid()
        await other.exit(3)
        with trio.fail_after(60):
            assert (await other.process.waitpid(W.EXITED)).exit_status == 3
            await (await child.exec(sh("exit 0"))).check()
            assert (await thread.run(sh("exit 4"), check=False)).exit_status == 4
        await pipe.read.close()
        await pipe.write.close()
        count += 4
    return count


def unchanged() -> None:
    """Use nearly everything, and check that the program is as it was."""

    async def main() -> None:
        before = facts()
        thread = LocalThread()
        await assert_thread_works(thread)
        await work(thread, 0.1)
        child = await thread.clone()
        await assert_thread_works(child)
        process = await child.exec(sh("exec sleep 1000"))
        assert facts() == before
        await process.kill(SIG.STOP)
        await process.waitpid(W.STOPPED)
        async with process:
            pass
        assert facts() == before
        try:
            init = await thread.clone(CLONE.NEWUSER | CLONE.NEWPID | CLONE.NEWNS)
        except OSError:  # the place does not permit it, which must not change anything either
            pass
        else:
            async with init.process:
                pass
        assert facts() == before

    before = facts()
    trio.run(main)
    assert facts() == before


def others(what: str) -> None:
    """Make children while other parts of the program make theirs in their own ways."""
    stop = threading.Event()
    failures: list[BaseException] = []
    turns = 0

    def in_thread(body: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            nonlocal turns
            try:
                while not stop.is_set():
                    body()
                    turns += 1
            except BaseException as error:
                failures.append(error)

        return run

    def use_subprocess() -> None:
        result = subprocess.run(["sh", "-c", "echo out; exit 5"], stdout=subprocess.PIPE, check=False)
        assert (result.returncode, result.stdout) == (5, b"out\n")

    def use_asyncio() -> None:
        async def main() -> None:
            for _ in range(3):
                process = await asyncio.create_subprocess_exec("sh", "-c", "exit 6")
                assert await process.wait() == 6

        asyncio.run(main())

    def compute() -> None:
        sum(range(10000))

    bodies = {"subprocess": [use_subprocess], "asyncio": [use_asyncio], "busy": [compute, compute]}

    async def main() -> None:
        thread = LocalThread()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work, thread, 0.5)
            if what == "subprocess":
                # In this very thread too, and by trio.
                for _ in range(3):
                    use_subprocess()
                    assert (await trio.run_process(["sh", "-c", "exit 7"], check=False)).returncode == 7

    threads = [threading.Thread(target=in_thread(body)) for body in bodies[what]]
    for thread in threads:
        thread.start()
    try:
        trio.run(main)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    assert turns


def _multiprocessing_worker(number: int) -> int:
    return number * 2


def use_multiprocessing() -> None:
    """Pools of both kinds, before and after children were made."""
    thread = LocalThread()

    async def main() -> None:
        child = await thread.clone()
        for method in ("spawn", "fork"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                assert pool.map(_multiprocessing_worker, range(4)) == [0, 2, 4, 6]
            assert int(await child.task.getpid()) == child.process.process.near.id
        await work(thread, 0.05)
        await child.exit(0)
        assert (await child.process.waitpid(W.EXITED)).clean()

    trio.run(main)


def signal_storm() -> None:
    """Signals to the program and to its whole group, while children are made and driven."""
    os.setpgid(0, 0)
    seen = {signal.SIGCHLD: 0, signal.SIGWINCH: 0, signal.SIGURG: 0, signal.SIGCONT: 0}

    def handler(number: int, frame: object) -> None:
        seen[signal.Signals(number)] += 1

    for number in seen:
        signal.signal(number, handler)
    parent = os.getpid()
    sender = os.fork()
    if sender == 0:
        for number in seen:
            signal.signal(number, signal.SIG_DFL)
        while os.getppid() == parent:
            for number in seen:
                os.kill(parent, number)
                os.killpg(parent, number)
            time.sleep(0.0002)
        os._exit(0)
    thread = LocalThread()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work, thread, 1.0)
            nursery.start_soon(poll_in_child)
            nursery.start_soon(stop_and_continue)
        # Before trio closes what it has told Python to write to when a signal comes.
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)

    async def poll_in_child() -> None:
        # A call that a stop and a continue interrupts; and a root epoller, which hides that.
        child = await thread.clone()
        epoller = await Epoller.make_root(child.ram, child.task)
        pipe = await child.pipe(O.NONBLOCK)
        afd = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
        pid = child.process.process.near.id

        def polls() -> bool:
            return is_in_call(pid, SYS.epoll_pwait) or is_in_call(pid, SYS.epoll_wait)

        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(afd.read_some_bytes)
                await wait_until(polls)
                os.kill(pid, signal.SIGSTOP)
                os.kill(pid, signal.SIGCONT)
                await wait_until(polls)
                await pipe.write.write(await child.ptr(b"x"))
        async with child.process:
            pass

    async def stop_and_continue() -> None:
        child = await thread.clone()
        # Out of the group: it must not be continued by others.
        await child.process.process.setpgid(None)
        process = await child.exec(sh("exec sleep 1000"))
        for _ in range(10):
            await process.kill(SIG.STOP)
            await process.waitpid(W.STOPPED)
            await process.kill(SIG.CONT)
            await process.waitpid(W.CONTINUED)
        async with process:
            pass

    trio.run(main)
    assert min(seen.values()) > 20, seen
    assert {signal.getsignal(number) for number in seen} == {handler}


def sigchld_handler() -> None:
    """A handler of the program's own sees our children come and go as it sees others."""
    seen = 0

    def handler(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1

    signal.signal(signal.SIGCHLD, handler)

    async def main() -> None:
        thread = LocalThread()
        for _ in range(5):
            before = seen
            child = await thread.clone()
            await child.exit(0)
            await child.process.waitpid(W.EXITED)
            assert seen > before
            before = seen
            await thread.run(sh("true"))
            assert seen > before

    trio.run(main)


def stolen(how: str) -> None:
    """The program itself reaps our children, or asks the kernel to do so."""
    if how == "ignore":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    def steal() -> None:
        if how == "waitpid":
            while os.waitpid(-1, 0)[0] != victim:
                pass

    victim = 0

    async def main() -> None:
        nonlocal victim
        thread = LocalThread()
        bystander = await thread.clone()
        for make in ("exit", "exec", "killed"):
            child = await thread.clone()
            victim = child.process.process.near.id
            if make == "exit":
                await child.exit(3)
            elif make == "exec":
                await child.exec(sh("exit 3"))
            else:
                os.kill(victim, signal.SIGKILL)
            steal()
            with trio.fail_after(60):
                for _ in range(2):
                    with pytest.raises(ChildProcessError, match=f"{victim}.*status is lost.*reaped"):
                        await child.process.waitpid(W.EXITED)
                with pytest.raises(ChildProcessError):
                    await child.process.check()
                await child.process.kill()
                async with child.process:
                    pass
        # A command that could not be executed: that is the news, not who reaped the process.
        with pytest.raises(FileNotFoundError):
            from rsyscall.command import Command

            await thread.run(Command("/nonexistent", ["nonexistent"], {}))
        assert int(await bystander.task.getpid()) == bystander.process.process.near.id
        await bystander.process.kill()

    trio.run(main)


def watcher_is_not_stolen() -> None:
    """A wait for any child does not find our helper."""

    async def main() -> None:
        thread = LocalThread()
        hub = thread.monitor.hub
        hub.ensure_watcher()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        assert hub.watcher is not None
        watcher = hub.watcher
        os.kill(watcher.pid, signal.SIGKILL)
        await wait_until(lambda: watcher.left)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        await thread.run(sh("true"))

    trio.run(main)


def several_runs() -> None:
    """Everything goes on in the next run, also children in the middle of something."""
    thread = LocalThread()
    made: list[Any] = []

    async def first() -> None:
        child = await thread.clone()
        epoller = await Epoller.make_root(child.ram, child.task)
        pipe = await child.pipe(O.NONBLOCK)
        afd = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
        with trio.move_on_after(0.005):
            await afd.read_some_bytes()
        dying = await thread.clone()
        process = await (await thread.clone()).exec(sh("exec sleep 1000"))
        made.extend((child, afd, pipe, dying, process))

    async def second() -> None:
        child, afd, pipe, dying, process = made
        with trio.fail_after(60):
            assert int(await child.task.getpid()) == child.process.process.near.id
            await pipe.write.write(await child.ptr(b"x"))
            assert await afd.read_some_bytes() == b"x"
            # It died while no task waited for it.
            assert (await dying.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
            async with process:
                pass
            await work(thread, 0.05)
            async with child.process:
                pass

    trio.run(first)
    pid = made[3].process.process.near.id
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))
    trio.run(second)
    for _ in range(3):
        trio.run(work, thread, 0.02)


def misuses(
    thread: LocalThread, child: ChildThread, process: AsyncChildProcess, fd: FileDescriptor
) -> list[Callable[[], Awaitable[object]]]:
    """Every kind of entry point, to be used where all of them must refuse; `fd` is the child's."""
    return [
        thread.task.getpid,
        thread.clone,
        thread.pipe,
        lambda: thread.ptr(b"x"),
        lambda: thread.malloc(bytes, 8),
        lambda: thread.malloc(bytes, 1 << 22),
        lambda: thread.ram.perform_batch(lambda ram: ram.ptr(b"x")),
        lambda: thread.open_channels(1),
        lambda: thread.prepare().exec(sh("true")),
        lambda: thread.run(sh("true")),
        lambda: process.waitpid(W.EXITED),
        lambda: process.waitpid(W.STOPPED),
        process.kill,
        child.task.getpid,
        child.task.sysif.close_interface,
        lambda: child.task.sysif.syscalls([Syscall(SYS.getpid)]),
        child.pipe,
        lambda: child.ptr(b"x"),
        lambda: child.malloc(bytes, 8),
        child.clone,
        lambda: child.exit(0),
        lambda: child.exec(sh("true")),
        lambda: child.run(sh("true")),
        child.unshare_files,
        child.process.kill,
        fd.close,
        fd.invalidate,
    ]


async def refused(
    calls: Sequence[Callable[[], Awaitable[object]]], error: type[Exception], match: str
) -> None:
    """Make every call, and see that it fails like this."""
    wrong = {}
    for index, call in enumerate(calls):
        try:
            with trio.fail_after(60):
                wrong[index, call] = await call()
        except error as refusal:
            if match not in str(refusal):
                wrong[index, call] = refusal
        except Exception as other:
            wrong[index, call] = other
    assert not wrong, wrong


def other_thread() -> None:
    """Every entry point refuses use from another OS thread, and is not disturbed by it."""
    thread = LocalThread()

    async def main() -> None:
        child = await thread.clone()
        pipe = await child.pipe()
        process = await (await thread.clone()).exec(sh("exec sleep 1000"))

        async def misuse() -> None:
            await refused(misuses(thread, child, process, pipe.write), WrongThreadError, "thread")

        await trio.to_thread.run_sync(lambda: trio.run(misuse))
        assert int(await child.task.getpid()) == child.process.process.near.id
        assert pipe.write.valid
        await pipe.write.write(await child.ptr(b"x"))
        async with process:
            pass
        await work(thread, 0.05)
        async with child.process:
            pass

    trio.run(main)


def worker_thread() -> None:
    """A program whose trio runs in another thread than the main one."""
    failures = []

    def run() -> None:
        thread = LocalThread()
        try:
            for _ in range(2):
                trio.run(work, thread, 0.2)
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    while worker.is_alive():
        sum(range(1000))
        worker.join(0.001)
    assert not failures, failures


def fork(where: str) -> None:
    """A forked copy gets clear errors, and cannot disturb the original."""
    thread = LocalThread()
    made: list[Any] = []

    def run_copy(body: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                body()
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    async def misuse() -> None:
        child, process, afd, fd = made
        await refused((*misuses(thread, child, process, fd), afd.read_some_bytes), ForkedProcessError, "fork")

    def misuse_in_copy() -> None:
        trio.run(misuse)

    def drop_in_copy() -> None:
        made.clear()
        thread.__dict__.clear()

    def leave_in_copy() -> None:
        # As a program ends, with all its destructors.
        subprocess.run([sys.executable, "-c", ""], check=True)
        raise_out.append(1)

    def begin_anew_in_copy() -> None:
        trio.run(work, LocalThread(), 0.05)

    raise_out: list[int] = []

    async def main() -> None:
        child = await thread.clone()
        process = await (await thread.clone()).exec(sh("exec sleep 1000"))
        pipe = await thread.pipe(O.NONBLOCK)
        afd = await AsyncFileDescriptor.make(thread.epoller, thread.ram, pipe.read)
        made.extend((child, process, afd, (await child.pipe()).write))
        blocking = await child.pipe()
        results = []

        async def read() -> None:
            valid, _ = await blocking.read.read(await child.malloc(bytes, 10))
            results.append(await valid.read())

        if where == "inside":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await wait_for_call(child.process.process.near.id, SYS.read, int(blocking.read))
                run_copy(drop_in_copy)
                os.write(
                    int(
                        os.open(
                            f"/proc/{child.process.process.near.id}/fd/{int(blocking.write)}", os.O_WRONLY
                        )
                    ),
                    b"x",
                )
            assert results == [b"x"]

    async def after() -> None:
        child, process, afd, fd = made
        with trio.fail_after(60):
            assert fd.valid
            assert int(await child.task.getpid()) == child.process.process.near.id
            assert child.process.process.near.id in children()
            async with process:
                pass
            await work(thread, 0.05)
            async with child.process:
                pass
        await afd.close()

    trio.run(main)
    for body in (misuse_in_copy, drop_in_copy, leave_in_copy, begin_anew_in_copy):
        run_copy(body)
    trio.run(after)


def fork_before_use() -> None:
    """One that was not used before the fork belongs to the copy there, and to the original here."""
    thread = LocalThread()
    task, process, stdin = thread.task, thread.task.process, thread.stdin

    async def use() -> None:
        pid = os.getpid()
        assert (process.near.id, task.near_process.id) == (pid, pid)
        assert task.process is process
        assert await task.getpid() == process.near
        received: list[int] = []
        before = signal.signal(signal.SIGUSR1, lambda number, _frame: received.append(number))
        await process.kill(SIG.USR1)
        signal.signal(signal.SIGUSR1, before)
        assert received == [signal.SIGUSR1]
        await stdin.fcntl(F.GETFD)
        await work(thread, 0.05)

    pid = os.fork()
    if pid == 0:
        trio.run(use)
        return
    assert os.waitpid(pid, 0)[1] == 0
    trio.run(use)
    # Now it has been used.
    pid = os.fork()
    if pid == 0:
        with pytest.raises(ForkedProcessError):
            trio.run(process.kill, SIG.USR1)
        return
    assert os.waitpid(pid, 0)[1] == 0


def fork_and_exit() -> None:
    """A copy that ends like any program: its destructors must not touch what belongs to the original."""
    thread = LocalThread()
    made: list[Any] = []

    async def main() -> None:
        child = await thread.clone()
        process = await (await thread.clone()).exec(sh("exec sleep 1000"))
        made.extend((child, process, await child.pipe()))

    async def after() -> None:
        child, process, _ = made
        with trio.fail_after(60):
            assert int(await child.task.getpid()) == child.process.process.near.id
            assert process.process.near.id in children()
            async with process:
                pass
            async with child.process:
                pass

    trio.run(main)
    pid = os.fork()
    if pid == 0:
        return  # out of the program
    assert os.waitpid(pid, 0)[1] == 0
    trio.run(after)
