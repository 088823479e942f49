"""Launching a process that knows its calls before it exists: clone, a list of calls, the last of them exec.

The calls are put into the ring of the process before the clone. The process makes them as soon as it runs,
one after another; if one fails, it does not make the rest. No task waits for answers in between, so that a
spawn costs what the kernel takes for clone, exec and exit.

Success has no answer: the process then runs the program, and has left our memory. A `Spawning` knows which
of the two came, the answer of a call that failed or the departure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from rsyscall.async_signalfd import SignalEvent
from rsyscall.child_process import end_process
from rsyscall.clone import abandon, clone_process
from rsyscall.command import Command
from rsyscall.exec_image import ExecImage, call_error
from rsyscall.handle import FileDescriptor, Task, WrittenPointer
from rsyscall.memory.ram import RAM
from rsyscall.native import Ring, symbols
from rsyscall.native.fast import RING_SLOTS
from rsyscall.near import Syscall, nr
from rsyscall.sched import CLONE
from rsyscall.signal import Sigset
from rsyscall.sys.wait import W

if TYPE_CHECKING:
    from rsyscall.environ import Environment
    from rsyscall.hub import ProgramHub
    from rsyscall.loader import NativeLoader
    from rsyscall.monitor import AsyncChildProcess, ChildProcessMonitor

__all__ = ["Spawning", "SpawningThread", "launch", "start_spawn"]

_VFORK = int(CLONE.VFORK)


class _Clone(Protocol):
    """A `ChildThread`."""

    @property
    def task(self) -> Task: ...
    @property
    def process(self) -> AsyncChildProcess: ...


class _Parent(Protocol):
    """The parts of the parent thread that are needed to clone a process."""

    @property
    def task(self) -> Task: ...
    @property
    def monitor(self) -> ChildProcessMonitor: ...


class SpawningThread(_Parent, Protocol):
    """The parts of the parent thread that are needed to make a process that executes a command."""

    @property
    def ram(self) -> RAM: ...
    @property
    def loader(self) -> NativeLoader: ...
    @property
    def environ(self) -> Environment: ...

    async def clone(self, flags: CLONE = ...) -> _Clone: ...


class Spawning:
    """Waits for the outcome of the calls of a prepared process."""

    __slots__ = (
        "_calls",
        "_image",
        "_known",
        "_on_exit",
        "_results",
        "_ring",
        "error",
        "finished",
        "hub",
        "process",
        "report",
    )

    def __init__(
        self,
        hub: ProgramHub,
        ring: Ring,
        calls: list[Syscall],
        image: ExecImage,
        on_exit: Callable[[], None] | None = None,
    ) -> None:
        self.hub: ProgramHub = hub
        self.process: AsyncChildProcess
        self.error: OSError | None = None
        self.finished: bool = False
        # The tracer of the calls: gets their results if one fails, and an empty list otherwise.
        self.report: Callable[[Sequence[int]], None] | None = None
        self._ring = ring
        self._calls = calls
        self._on_exit = on_exit
        # Of the calls that have been answered so far.
        self._results: list[int] = []
        # Its memory must stay as it is until exec has read it.
        self._image: ExecImage | None = image
        # Happens when the outcome is known; made when a task waits for it.
        self._known: SignalEvent | None = None

    def deliver(self) -> None:
        """Answers have come: success has none, so a call has failed."""
        if self.finished:
            return
        left = self._ring.left
        results = self._results = self._ring.results()
        if len(results) < len(self._calls):
            # We may have been called before all of them were there.
            if left:
                self.left()
            return
        self._fail(results)

    def left(self) -> None:
        """The process has left our memory: it runs the program, or has died in the attempt."""
        if not self.finished:
            self._settle()
        self.hub.dumpable.left(self._ring)

    def exited(self) -> None:
        """The process has exited."""
        if not self.finished:
            self._settle()
        self.hub.dumpable.exited(self._ring)
        if self._on_exit is not None:
            self._on_exit()

    def _settle(self) -> None:
        # With CLONE_VFORK it leaves after a failure, too, and that may be known before the answers are.
        results = self._ring.results()
        if len(results) < len(self._calls):
            self._finish()
        else:
            self._fail(results)

    def _fail(self, results: list[int]) -> None:
        self._results = results
        assert self._image is not None
        self.error = call_error(self._calls, results, self._image.path_text)
        self._ring.shutdown()
        self._finish(results)

    def _finish(self, results: Sequence[int] = ()) -> None:
        # In an order in which it can be done again, if it is interrupted.
        if self.report is not None:
            self.report(results)
            self.report = None
        self._image = None
        self.hub.unwatch_leave(self._ring)
        if self._known is not None:
            self._known.set()
        self.hub.not_waiting(self._ring)
        self.finished = True

    async def wait(self) -> None:
        """Wait until the program runs.

        Raises:
            OSError: a call failed; for exec, filename is the path. The process is gone.

        Cancellation: the process goes on; wait again, or kill it.
        """
        if not self.finished and self.hub.exits.leaves_soon(self._ring):
            self.deliver()
        if not self.finished:
            self._known = self._known or SignalEvent()
            self.hub.watch_leave(self._ring, self.left)
            await self._known.wait()
        if self.error is not None:
            with trio.CancelScope(shield=True):
                try:
                    await self.process.waitpid(W.EXITED)
                except ChildProcessError:
                    pass  # other code reaped it; what it could not do is the news
            raise self.error

    async def wait_or_kill(self) -> None:
        """As `wait`; when that is cancelled the process is killed."""
        try:
            await self.wait()
        except BaseException:
            await end_process(self.process)
            raise


@trio.lowlevel.enable_ki_protection
async def start_spawn(
    parent: SpawningThread,
    flags: CLONE,
    calls: Sequence[Syscall],
    image: ExecImage,
    command: Command | None,
    keep_blocked: WrittenPointer[Sigset] | None = None,
    cgroup: FileDescriptor | None = None,
) -> Spawning:
    """Make a process that makes `calls` and then executes `image`; see `PreparedThread`.

    The calls that give the program the signal mask and dispositions that it expects are added.
    """
    hub = parent.loader.hub
    if hub is None:
        raise ValueError(f"{parent} does not share the memory of this program")
    every = hub.default_signals[:]
    if keep_blocked is not None:
        every[-1] = every[-1]._replace(arg2=int(keep_blocked.near))
    for sig in parent.task.ignored_until_exec:
        # The parent is inert, too.
        every.insert(0, every[0]._replace(arg1=sig))
    every += calls
    every.append(Syscall(nr.execve, image.path, image.argv, image.envp))
    # One is for the end of a process that was made with CLONE_VFORK.
    if len(every) + 1 >= RING_SLOTS:
        raise ValueError(f"{len(calls)} calls are more than a process can be prepared with; clone it instead")
    spawning = await launch(parent, hub, flags, every, image, cgroup=cgroup)
    spawning.process.process.did_exec(command)
    spawning.process.executing = spawning._ring
    return spawning


async def launch(
    parent: _Parent,
    hub: ProgramHub,
    flags: CLONE,
    calls: list[Syscall],
    image: ExecImage,
    on_exit: Callable[[], None] | None = None,
    cgroup: FileDescriptor | None = None,
    unshown: int = 0,
) -> Spawning:
    """Clone a process that makes `calls`, the last of which executes `image`. Protect the caller from
    KeyboardInterrupt.

    Args:
        parent: makes the clone call; it shares our memory.
        hub: of the program.
        flags: namespaces, FILES, FS; VM and what goes with it is added.
        calls: fewer than a ring has slots.
        image: the program; its memory is kept until it runs.
        on_exit: called when the process has exited; must not keep the result alive.
        cgroup: in which the process begins; of the parent.
        unshown: how many of the first calls are the library's own, and not in traces.

    Raises:
        OSError: the process could not be made.
    """
    ring = hub.make_ring()
    process = None
    try:
        ring.prepare_calls(calls)
        if int(flags) & _VFORK:
            ring.prepare_exit()
        changing = ring.may_change_credentials
        if changing:
            hub.dumpable.look()
        spawning = Spawning(hub, ring, calls, image, on_exit)
        # Before the process can fail: what it announces must find us.
        hub.waiting(ring, spawning)
        server = (symbols.rsyscall_ring_server, (ring.address,))
        if cgroup is None:
            process, pidfd = await clone_process(parent.task, hub, parent.monitor, flags, ring, *server)
        else:
            with cgroup.borrow(parent.task) as number:
                process, pidfd = await clone_process(
                    parent.task, hub, parent.monitor, flags, ring, *server, number.number
                )
        if spawning.error is not None:
            # It failed before we heard that it exists, and could not be told to exit then.
            ring.shutdown()
        watch = getattr(parent.task.sysif, "watch_prepared", None)
        if watch is not None:
            report = watch(calls[unshown:], f"process {process.near.id}")

            def report_shown(results: Sequence[int]) -> None:
                report(results[unshown:])

            if spawning.finished:
                report_shown(spawning._results if spawning.error is not None else ())
            else:
                spawning.report = report_shown
        spawning.process = parent.monitor.add_child_process(process, pidfd, spawning.exited)
        if not spawning.finished and (changing or ring.in_user_namespace):
            # Our memory stays undumpable until the process has left it, even if no task waits for that.
            hub.watch_leave(ring, spawning.left)
        ring.release()
        return spawning
    except BaseException:
        await abandon(hub, ring, parent.monitor.task, process)
        hub.not_waiting(ring)
        raise
