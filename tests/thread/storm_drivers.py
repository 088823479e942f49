"""Programs under stress; see `test_storms.py`."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import random
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path as LocalPath
from typing import Any

import trio
import trio.testing
from coexistence_drivers import work
from support import children, is_running, sh
from waiting import wait_for_call

import rsyscall.clone_call
import rsyscall.settings
from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.far import NamespaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.fd import InvalidHandleError, ManipulatingFDTableError
from rsyscall.local import LocalThread
from rsyscall.near import SYS, LocalSyscall, Syscall, SyscallError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.settings import transport_name
from rsyscall.signal import SIG
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread
from rsyscall.time import Timespec
from rsyscall.unistd import ArgList

TRUE = Command("/bin/true", ["true"], {})
CAT = Command("/bin/cat", ["cat"], {})


def fds() -> int:
    """How many descriptors this program has open."""
    return len(os.listdir("/proc/self/fd"))


def open_files() -> list[str]:
    """What these are."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except FileNotFoundError:
            continue
    return found


async def settled(what: Callable[[], int], value: int, seconds: float = 40.0) -> None:
    """Wait until something is not more than it was."""
    deadline = trio.current_time() + seconds
    while what() > value:
        gc.collect()
        await trio.sleep(0.005)
        assert trio.current_time() < deadline, f"{what.__name__} is {what()}, was {value}: {open_files()}"


async def warm(thread: Thread) -> None:
    """Have the library make its things that it makes once."""
    thread.monitor.hub.ensure_watcher()
    await thread.open_channels(1)
    await work(thread, 0.01)
    gc.collect()
    await trio.testing.wait_all_tasks_blocked()


def run_checked(main: Callable[[LocalThread], Awaitable[object]]) -> None:
    """Run a program, and check that it has given everything back."""

    async def checked() -> None:
        thread = LocalThread()
        await warm(thread)
        before = fds(), len(children())
        await main(thread)
        await settled(fds, before[0])
        await settled(lambda: len(children()), before[1])

    trio.run(checked)


# ---- making, driving, ending ----


def mixed() -> None:
    """Everything at once: calls, batches, pipes, nested children, exec, exit, kill, drop."""

    async def worker(thread: LocalThread, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(25):
            child = await thread.clone(dice.choice((CLONE.NONE, CLONE.FILES, CLONE.FS)))
            pid = child.process.process.near.id
            for _ in range(dice.randrange(4)):
                kind = dice.randrange(5)
                if kind == 0:
                    assert int(await child.task.getpid()) == pid
                elif kind == 1:
                    assert await child.task.sysif.syscalls([Syscall(SYS.getpid)] * dice.randrange(1, 200))
                elif kind == 2:
                    pipe = await child.pipe()
                    await pipe.write.write(await child.ptr(b"x"))
                    if dice.random() < 0.5:
                        await pipe.read.close()
                elif kind == 3:
                    fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
                    if dice.random() < 0.5:
                        await fd.close()
                else:
                    grandchild = await child.clone()
                    if dice.random() < 0.5:
                        await grandchild.exit(0)
                        await grandchild.process.waitpid(W.EXITED)
                    elif dice.random() < 0.5:
                        await (await grandchild.exec(TRUE)).check()
            end = dice.randrange(4)
            with trio.fail_after(60):
                if end == 0:
                    await child.exit(3)
                    assert (await child.process.waitpid(W.EXITED)).exit_status == 3
                elif end == 1:
                    await (await child.exec(TRUE)).check()
                elif end == 2:
                    await child.process.kill()
                    assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
                await thread.run(TRUE)

    async def main(thread: LocalThread) -> None:
        hub = thread.monitor.hub
        async with trio.open_nursery() as nursery:
            for seed in range(5):
                nursery.start_soon(worker, thread, seed)
        assert hub.native.blocks <= 128, hub.native.blocks

    run_checked(main)


class Killer:
    """A process of its own that kills others, so that it hits us in the middle of anything."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            while data := theirs.recv(16):
                pid, delay = struct.unpack("id", data.ljust(16, b"\0"))
                deadline = time.monotonic() + delay
                while time.monotonic() < deadline:
                    pass
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            os._exit(0)
        theirs.close()
        self._socket = ours

    def kill(self, pid: int, delay: float) -> None:
        """Kill a process in so many seconds."""
        self._socket.send(struct.pack("id", pid, delay))

    def close(self) -> None:
        """End it."""
        self._socket.close()
        os.waitpid(self.pid, 0)


def kills(seed: int, count: int) -> None:
    """SIGKILL at any moment of calls, batches, clones and execs: every caller is told, nothing stays."""
    killer = Killer()
    dice = random.Random(seed)

    async def calls(child: ChildThread) -> None:
        pid = child.process.process.near.id
        while True:
            assert int(await child.task.getpid()) == pid
            if dice.random() < 0.2:
                await trio.lowlevel.checkpoint()

    async def batches(child: ChildThread) -> None:
        pid = child.process.process.near.id
        while True:
            size = dice.choice((1, 3, 100, 300))
            results = await child.task.sysif.syscalls([Syscall(SYS.getpid), Syscall(SYS.getuid)] * size)
            assert results == [pid, os.getuid()] * size
            await trio.lowlevel.checkpoint()

    async def files(child: ChildThread) -> None:
        while True:
            fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
            if dice.random() < 0.5:
                await fd.close()
            await trio.lowlevel.checkpoint()

    async def clones(child: ChildThread) -> None:
        while True:
            flags = CLONE.FILES if dice.random() < 0.3 else CLONE.NONE
            grandchild = await child.clone(flags)
            async with grandchild.process:
                assert int(await grandchild.task.getpid()) == grandchild.process.process.near.id

    async def polls(child: ChildThread) -> None:
        epoller = await Epoller.make_root(child.ram, child.task)
        pipe = await child.pipe(O.NONBLOCK)
        afd = await AsyncFileDescriptor.make(epoller, child.ram, pipe.read)
        await afd.read_some_bytes()

    async def blocks(child: ChildThread) -> None:
        request = await child.ptr(Timespec(1000, 0))
        await child.task.sysif.syscall(SYS.nanosleep, request.near, 0)

    async def executes(child: ChildThread) -> None:
        for _ in range(dice.randrange(3)):
            try:
                await child.execv("/nonexistent", ["nonexistent"])
            except FileNotFoundError:
                pass
        await child.exec(sh("exec sleep 1000"))

    async def spawns(thread: LocalThread) -> None:
        prepared = thread.prepare()
        await prepared.task.chdir(await prepared.ptr(Path("/")))
        spawning = await prepared.start(Command("/bin/sleep", ["sleep", "1000"], {}))
        killer.kill(spawning.process.process.near.id, dice.random() * 0.002)
        await spawning.wait()
        assert (await spawning.process.waitpid(W.EXITED)).killed_with() == SIG.KILL

    async def one(thread: LocalThread) -> None:
        if dice.random() < 0.15:
            if transport_name() == "ring":
                await spawns(thread)
            return
        kinds = dice.sample([calls, batches, files, clones, polls, blocks, executes], dice.randrange(1, 4))
        flags = dice.choice((CLONE.NONE, CLONE.FILES))
        if {files, clones, polls} & set(kinds):
            # What it opens in a table that we share stays open if it dies before its answer is read.
            flags = CLONE.NONE
        child = await thread.clone(flags)
        told = 0

        async def until_told(kind: Callable[[ChildThread], Awaitable[None]]) -> None:
            nonlocal told
            try:
                await kind(child)
            except SyscallError:
                pass
            except (NamespaceMismatchError, ManipulatingFDTableError, InvalidHandleError):
                # Has executed a program, or is about to.
                if executes not in kinds:
                    raise
            told += 1

        killer.kill(child.process.process.near.id, dice.random() ** 2 * 0.004)
        async with trio.open_nursery() as nursery:
            for kind in kinds:
                nursery.start_soon(until_told, kind)
        assert told == len(kinds)
        assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL

    async def main(thread: LocalThread) -> None:
        for index in range(count):
            with trio.move_on_after(40) as scope:
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(one, thread)
            assert not scope.cancelled_caught, f"hangs in round {index}"

    try:
        run_checked(main)
    finally:
        killer.close()


def watcher_kills() -> None:
    """The helper is killed again and again while processes execute programs and lose descriptors."""
    killer = Killer()
    dice = random.Random(1)

    async def main(thread: LocalThread) -> None:
        hub = thread.monitor.hub
        done = False

        async def execute() -> None:
            nonlocal done
            for _ in range(20):
                child = await thread.clone()
                with trio.fail_after(60):
                    await (await child.exec(TRUE)).check()
            done = True

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(execute)
            while not done:
                if hub.watcher is not None:
                    killer.kill(hub.watcher.pid, dice.random() * 0.002)
                await trio.sleep(0.003)
        hub.ensure_watcher()

    try:
        run_checked(main)
    finally:
        killer.close()


def interrupts() -> None:
    """A timer that interrupts our own process at any moment."""
    seen = 0

    def handler(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1

    signal.signal(signal.SIGALRM, handler)

    async def main(thread: LocalThread) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work, thread, 0.6)
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert seen > 50, seen

    run_checked(main)


# ---- processors ----


def processors(how: str) -> None:
    """With one processor, from the start or later, and without any spinning."""
    one = {min(os.sched_getaffinity(0))}
    if how == "one":
        os.sched_setaffinity(0, one)

    async def main(thread: LocalThread) -> None:
        if how == "one later":
            os.sched_setaffinity(0, one)
        child = await thread.clone()
        pid = child.process.process.near.id
        for _ in range(100):
            assert int(await child.task.getpid()) == pid
        calls = [Syscall(SYS.getpid)] * 500
        assert await child.task.sysif.syscalls(calls) == [pid] * 500
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(work, thread, 0.2)
        async with child.process:
            pass

    run_checked(main)


def busy_thread() -> None:
    """Calls are answered beside OS threads that compute in Python. The benchmark has how fast."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=compute) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def main(thread: LocalThread) -> None:
        child = await thread.clone()
        pid = child.process.process.near.id
        for _ in range(50):
            assert int(await child.task.getpid()) == pid
        await child.exit(0)
        await child.process.waitpid(W.EXITED)

    try:
        run_checked(main)
    finally:
        stop.set()


def idle() -> None:
    """Children that have nothing to do take no processor time at all."""

    def ticks(pids: list[int]) -> int:
        total = 0
        for pid in pids:
            fields = LocalPath(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total

    async def main(thread: LocalThread) -> None:
        threads = [await thread.clone() for _ in range(20)]
        threads.append(await threads[0].clone(CLONE.FILES))
        for child in threads:
            await child.task.getpid()
        polling = threads[-1]
        epoller = await Epoller.make_root(polling.ram, polling.task)
        pipe = await polling.pipe(O.NONBLOCK)
        afd = await AsyncFileDescriptor.make(epoller, polling.ram, pipe.read)
        pids = [child.process.process.near.id for child in threads]
        pids.append(thread.monitor.hub.watcher.pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(afd.read_some_bytes)
            # On a machine with much else to do it takes them a while to come to rest.
            for _ in range(50):
                before, ours = ticks(pids), time.process_time()
                await trio.sleep(0.2)
                if ticks(pids) == before:
                    break
            await trio.sleep(1)
            assert ticks(pids) == before
            assert time.process_time() - ours < 0.06
            await pipe.write.write(await polling.ptr(b"x"))
        for child in threads:
            async with child.process:
                pass

    run_checked(main)


# ---- limits ----


def many(count: int, limit: int) -> None:
    """That many children alive at once."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, 8192)))

    async def main(thread: LocalThread) -> None:
        threads = [await thread.clone() for _ in range(count)]
        pids = {child.process.process.near.id for child in threads}
        assert len(pids & children()) == count
        for child in threads:
            assert int(await child.task.getpid()) == child.process.process.near.id
        # All at once, in both ways to be told.
        request = await thread.ptr(Timespec(0, 1_000_000))
        async with trio.open_nursery() as nursery:
            for child in threads:
                nursery.start_soon(child.task.sysif.syscall, SYS.nanosleep, request.near, 0)
        async with trio.open_nursery() as nursery:
            for child in threads:
                nursery.start_soon(child.process.waitpid, W.EXITED)
            for child in threads[::2]:
                await child.process.kill()
            for child in threads[1::2]:
                await child.exit(0)
        assert not pids & children()

    run_checked(main)


def without_descriptors() -> None:
    """No descriptors left, wherever one is needed: a clean error, nothing lost; with more it works."""

    async def main(thread: LocalThread) -> None:
        parent = await thread.clone()
        sharing = await thread.clone(CLONE.FILES)

        async def clone_and_exit(by: Thread, flags: CLONE = CLONE.NONE) -> None:
            child = await by.clone(flags)
            await child.exit(0)
            await child.process.waitpid(W.EXITED)

        async def execute() -> None:
            child = await thread.clone()
            async with child.process:
                await child.exec(TRUE)

        async def prepare() -> None:
            await (await thread.prepare().exec(TRUE)).check()

        async def channels() -> None:
            for ours, theirs in await parent.open_channels(2):
                await ours.close()
                await theirs.close()

        async def pipes() -> None:
            pipe = await sharing.pipe()
            await pipe.read.close()
            await pipe.write.close()

        async def stops() -> None:
            process = await (await thread.clone()).exec(sh("exec sleep 1000"))
            async with process:
                await process.kill(SIG.STOP)
                await process.waitpid(W.STOPPED)

        attempts: dict[str, Callable[[], Awaitable[object]]] = {
            "clone": lambda: clone_and_exit(thread),
            "clone from a child": lambda: clone_and_exit(parent),
            "clone from a child that shares": lambda: clone_and_exit(sharing, CLONE.FILES),
            "run": lambda: thread.run(TRUE),
            "capture": lambda: thread.run(CAT, stdin=bytes(300_000), capture=True),
            "exec": execute,
            "channels": channels,
            "pipes": pipes,
            "stops": stops,
        }
        if transport_name() == "ring":
            attempts["prepare"] = prepare
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        for name, attempt in attempts.items():
            failures = 0
            await attempt()
            gc.collect()
            await trio.testing.wait_all_tasks_blocked()
            before, processes = fds(), len(children())
            highest = max(map(int, os.listdir("/proc/self/fd")))
            for room in range(12):
                # The limit is about numbers, not about how many.
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
                held = []
                try:
                    while True:
                        held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    pass
                for pid in (0, sharing.process.process.near.id):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1 + room, hard))
                try:
                    with trio.fail_after(60):
                        await attempt()
                except OSError as error:
                    if error.errno != errno.EMFILE:
                        raise
                    failures += 1
                finally:
                    for pid in (0, sharing.process.process.near.id):
                        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
                    for fd in held:
                        os.close(fd)
                await settled(fds, before)
                await settled(lambda: len(children()), processes)
            assert 0 < failures < 12, (name, failures)
            await attempt()
        for child in (parent, sharing):
            assert int(await child.task.getpid()) == child.process.process.near.id
            async with child.process:
                pass

    run_checked(main)


def without_processes(user: int) -> None:
    """No more processes for this user."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)

    async def main(thread: LocalThread) -> None:
        child = await thread.clone()
        count = sum(1 for entry in os.listdir("/proc") if entry.isdigit() and owner(entry) == user)
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        before, processes = fds(), len(children())
        for flags in (CLONE.NONE, CLONE.FILES):
            for by in (thread, child):
                resource.prlimit(0, resource.RLIMIT_NPROC, (count, hard))
                resource.prlimit(child.process.process.near.id, resource.RLIMIT_NPROC, (count, hard))
                about = None
                try:
                    await by.clone(flags)
                except BlockingIOError as error:
                    about = error.filename
                assert about == flags
                try:
                    await thread.run(TRUE)
                except BlockingIOError:
                    pass
                else:
                    raise AssertionError("there was room for another one")
                await settled(fds, before)
                await settled(lambda: len(children()), processes)
                resource.prlimit(0, resource.RLIMIT_NPROC, (hard, hard))
                resource.prlimit(child.process.process.near.id, resource.RLIMIT_NPROC, (hard, hard))
                grandchild = await by.clone(flags)
                async with grandchild.process:
                    pass
                # Over a stream a descriptor of the table that it shared with us goes with it.
                del grandchild
                await thread.run(TRUE)
        # Exec is noticed even when the helper that notices it cannot be made.
        hub = thread.monitor.hub
        watcher = hub.watcher
        assert watcher is not None
        for _ in range(3):
            resource.prlimit(0, resource.RLIMIT_NPROC, (hard, hard))
            executing = [await thread.clone() for _ in range(3)]
            resource.prlimit(0, resource.RLIMIT_NPROC, (1, hard))
            if hub.watcher is not None:
                os.kill(hub.watcher.pid, signal.SIGKILL)
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    for each in executing:
                        nursery.start_soon(check_exec, each)
        resource.prlimit(0, resource.RLIMIT_NPROC, (hard, hard))
        hub.ensure_watcher()
        async with child.process:
            pass

    async def check_exec(child: ChildThread) -> None:
        await (await child.exec(TRUE)).check()

    def owner(pid: str) -> int:
        try:
            return os.stat(f"/proc/{pid}").st_uid if is_running(int(pid)) else -1
        except OSError:
            return -1

    rsyscall.settings.SPIN_US = 0.0
    run_checked(main)


# ---- much at once in one place ----


def full_ring(count: int) -> None:
    """More calls in one child than there is room for, behind one that blocks: all answered, in order."""

    async def main(thread: LocalThread) -> None:
        child = await thread.clone()
        blocking = await child.pipe()
        out = await child.pipe(O.NONBLOCK)
        data = [await child.ptr(struct.pack("H", index)) for index in range(count)]
        submitted: list[int] = []
        answered: set[int] = set()

        async def block() -> None:
            await blocking.read.read(await child.malloc(bytes, 1))

        async def write(index: int) -> None:
            submitted.append(index)
            assert await child.task.sysif.syscall(SYS.write, out.write.near, data[index].near, 2) == 2
            answered.add(index)

        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(block)
                await wait_for_call(child.process.process.near.id, SYS.read, int(blocking.read))
                for index in range(count):
                    nursery.start_soon(write, index)
                await trio.testing.wait_all_tasks_blocked()
                assert len(submitted) == count
                assert not answered
                name = f"/proc/{child.process.process.near.id}/fd/{int(blocking.write)}"
                with open(name, "wb", buffering=0) as end:
                    end.write(b"x")
            assert len(answered) == count
            valid, _ = await out.read.read(await child.malloc(bytes, 2 * count))
            order = [index for (index,) in struct.iter_unpack("H", await valid.read())]
            assert order == submitted
            submitted.clear()
            answered.clear()
        async with child.process:
            pass

    run_checked(main)


def many_execs(count: int, way: str) -> None:
    """More processes execute a program at once than the watcher can wait for."""

    async def main(thread: LocalThread) -> None:
        hub = thread.monitor.hub
        if way == "without watcher":

            def fail() -> None:
                raise OSError(errno.EAGAIN, "no process for a watcher")

            hub._start_watcher = fail
            assert hub.watcher is not None
            os.kill(hub.watcher.pid, signal.SIGKILL)
        threads = [await thread.clone() for _ in range(count)]
        request = await thread.ptr(Timespec(0, 30_000_000))
        path = await thread.ptr(Path("/bin/true"))
        args = await thread.ptr(ArgList([await thread.ptr("true")]))
        done = 0

        async def execute(child: ChildThread) -> None:
            nonlocal done
            try:
                # All of them are on their way before the first one gets there.
                await child.task.sysif.syscalls(
                    [Syscall(SYS.nanosleep, request.near, 0), Syscall(SYS.execve, path.near, args.near, 0)]
                )
            except SyscallError:
                done += 1

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for child in threads:
                    nursery.start_soon(execute, child)
            assert done == count
            for child in threads:
                assert (await child.process.waitpid(W.EXITED)).clean()

    run_checked(main)


def old_clone() -> None:
    """Without clone3: handlers of Python's are reset by the child itself."""
    rsyscall.clone_call._clone3_missing = True
    called = []
    signal.signal(signal.SIGUSR1, lambda number, frame: called.append(os.getpid()))
    signal.signal(signal.SIGWINCH, lambda number, frame: called.append(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    async def main(thread: LocalThread) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        await work(thread, 0.2)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        for by in (thread, await thread.clone()):
            child = await by.clone()
            await child.task.getpid()
            status = LocalPath(f"/proc/{child.process.process.near.id}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines())
            assert int(fields["SigCgt"], 16) == 0
            assert int(fields["SigBlk"], 16) == 1 << (signal.SIGUSR2 - 1)
            os.kill(child.process.process.near.id, signal.SIGWINCH)
            assert int(await child.task.getpid()) == child.process.process.near.id
            os.kill(child.process.process.near.id, signal.SIGUSR1)
            assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.USR1
            if by is not thread:
                async with by.process:
                    pass
        assert called == []

    run_checked(main)


def old_clone_interrupted() -> None:
    """Without clone3: a handler that raises as soon as signals are let through after the clone."""
    rsyscall.clone_call._clone3_missing = True

    class Interrupt(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Interrupt

    signal.signal(signal.SIGUSR1, handler)

    class Interrupting(LocalSyscall):
        __slots__ = ()

        async def syscall(self, number: SYS, *args: Any) -> int:
            result = await super().syscall(number, *args)
            if number == SYS.clone:
                signal.raise_signal(signal.SIGUSR1)  # blocked at this moment
            return result

    async def main(thread: LocalThread) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        sysif = thread.task.sysif
        for _ in range(5):
            before = children()
            thread.task.sysif = Interrupting()
            try:
                await thread.clone()
            except Interrupt:
                pass
            else:
                raise AssertionError("the handler did not run")
            finally:
                thread.task.sysif = sysif
            assert children() == before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        await work(thread, 0.1)

    run_checked(main)


def old_clone_shared_handlers() -> None:
    """Without clone3: handlers that a child shares with the program stay as they are."""
    rsyscall.clone_call._clone3_missing = True
    called = []
    signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))

    async def main(thread: LocalThread) -> None:
        child = await thread.clone(CLONE.SIGHAND)
        assert int(await child.task.getpid()) == child.process.process.near.id
        os.kill(os.getpid(), signal.SIGUSR1)
        assert called == [signal.SIGUSR1]
        async with child.process:
            pass

    run_checked(main)


def filtered(number: int, error: int) -> None:
    """The watcher is not allowed to wait for several words at once; it looks at them now and then."""
    libc = ctypes.CDLL(None, use_errno=True)
    # if (nr == number) return error; else allow
    fields = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50000 | error), (0x06, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *field) for field in fields))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(fields), ctypes.addressof(program)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, header, 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP

    async def main(thread: LocalThread) -> None:
        hub = thread.monitor.hub
        hub.ensure_watcher()
        assert hub.watcher is not None
        stat = LocalPath(f"/proc/{hub.watcher.pid}/schedstat")
        await trio.sleep(0.1)
        before = int(stat.read_text().split()[0])
        await trio.sleep(0.5)
        used = int(stat.read_text().split()[0]) - before
        assert used < 250_000_000, f"{used} ns of 500 ms"
        for _ in range(5):
            await (await (await thread.clone()).exec(TRUE)).check()

    run_checked(main)


def stopped() -> None:
    """A stopped process answers when it goes on, and nothing waits for it meanwhile."""

    async def main(thread: LocalThread) -> None:
        child, other = await thread.clone(), await thread.clone()
        pid = child.process.process.near.id
        results: list[Any] = []

        async def call() -> None:
            results.append(int(await child.task.getpid()))

        for _ in range(5):
            os.kill(pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
                assert not results
                for _ in range(20):
                    assert await other.task.getuid() == os.getuid()
                os.kill(pid, signal.SIGCONT)
            assert results == [pid] * 5
            results.clear()
        for each in (child, other):
            async with each.process:
                pass

    run_checked(main)
