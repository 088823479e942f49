"""Seeing every call that is made in every process, decoded like strace does.

```python
tracer = Tracer()
with tracer.tracing(local_thread.task, "program"):
    ...
```

A `TracingSyscallInterface` goes between a task and its interface, and between every child that is made from
then on and its interface. Tasks without one are not affected.

A call that waits is shown when it returns; if another line is shown in the meantime, it is shown as
`<unfinished ...>` first, and then as `resumed`. Calls that the library makes without an interface are not
shown: it wakes processes that sleep, and watches descriptors for the event loop.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsInt

from rsyscall.near import (
    SYS,
    Syscall,
    SyscallHangup,
    SyscallInterface,
    SyscallSendError,
    UnusableSyscallInterface,
    as_syscalls,
)
from rsyscall.near.calls import BOOK, Fact
from rsyscall.trace_calls import format_result
from rsyscall.trace_decode import Frame, OwnMemory, ProcessMemory

if TYPE_CHECKING:
    from rsyscall.far import Task
    from rsyscall.near.abi import ABI

__all__ = ["CallCount", "Tracer", "TracingSyscallInterface"]

# Calls that are not answered, since the process has become another program, or has ended.
_LEAVING = {
    name: "? (executed)" if name.startswith("exec") else "?"
    for name, row in BOOK.items()
    if row.facts & Fact.LEAVES
}
_PID_IN_NAME = re.compile(r"process (\d+)")


def write_to_stderr(line: str) -> None:
    """The default sink: one line to the standard error output of this program, if that is open."""
    # None if it was closed when the program started: `print` would take standard output then.
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


@dataclass
class CallCount:
    """How often a call was made, how many times it failed, and the seconds from asking to answer."""

    calls: int = 0
    errors: int = 0
    seconds: float = 0.0


class _Entry:
    """A call that has not returned."""

    __slots__ = ("frame", "interrupted", "parts", "prefix", "start")

    def __init__(self, prefix: str, frame: Frame) -> None:
        self.prefix = prefix
        self.frame = frame
        self.parts = frame.before()
        self.interrupted = False
        self.start = time.perf_counter()

    def head(self) -> str:
        """What is known before the call returns: everything up to what it fills in."""
        known: list[str] = []
        for part in self.parts:
            if part is None:
                return f"{self.frame.name}({''.join(text + ', ' for text in known)}"
            known.append(part)
        return f"{self.frame.name}({self.frame.text(known)}"

    def line(self, result: int | None, outcome: str) -> str:
        """The call and its outcome."""
        parts = self.frame.after(self.parts, result)
        if not self.interrupted:
            return f"{self.prefix}{self.frame.name}({self.frame.text(parts)}) = {outcome}"
        unknown = next((index for index, part in enumerate(self.parts) if part is None), len(parts))
        rest = self.frame.text(parts, unknown)
        return f"{self.prefix}<... {self.frame.name} resumed>{rest}) = {outcome}"


class Tracer:
    """Shows and counts the calls of any number of processes.

    Args:
        sink: called with each line, without a newline. If it raises, nothing more is shown; the calls
            themselves are never disturbed.
        timestamps: begin each line with the seconds since the tracer was made.

    Attributes:
        enabled: whether calls are shown and counted at the moment; may be changed at any time.
        counts: by name of the call.
        failure: the exception that the sink raised.
    """

    def __init__(self, sink: Callable[[str], None] = write_to_stderr, *, timestamps: bool = False) -> None:
        self.enabled = True
        self.counts: dict[str, CallCount] = {}
        self.failure: Exception | None = None
        self._sink = sink
        self._start = time.perf_counter() if timestamps else None
        self._open: list[_Entry] = []
        self._own_memory = OwnMemory()

    def wrap(
        self, sysif: SyscallInterface, name: str = "", pid: int | None = None, *, shares_memory: bool = True
    ) -> TracingSyscallInterface:
        """Return an interface that shows the calls that go through it, and those of children made through it.

        Args:
            sysif: the way to a process.
            name: how to call the process in the trace.
            pid: its number in the trace.
            shares_memory: whether it has our memory, so that strings can be shown; otherwise their addresses
                are.
        """
        return TracingSyscallInterface(sysif, self, name, pid, self._own_memory if shares_memory else None)

    @contextmanager
    def tracing(self, task: Task, name: str = "") -> Iterator[TracingSyscallInterface]:
        """Trace a task for as long as the context lasts; children that it makes meanwhile, until they end.

        Args:
            task: one that shares our memory.
            name: how to call it in the trace.
        """
        inner = task.sysif
        traced = self.wrap(inner, name, int(task.near_process))
        task.sysif = traced
        try:
            yield traced
        finally:
            if task.sysif is traced:
                task.sysif = inner

    def name(self, task: Task, name: str) -> None:
        """Set the name of a traced task in the trace; nothing happens if the task is not traced."""
        if isinstance(task.sysif, TracingSyscallInterface):
            task.sysif.name = name

    def summary(self) -> str:
        """A table of the calls that were made, the most frequent ones first."""
        rows = sorted(self.counts.items(), key=lambda row: (-row[1].calls, row[0]))
        lines = [f"{'calls':>8} {'errors':>8} {'ms':>10}  call"]
        for name, count in rows:
            errors = count.errors or ""
            lines.append(f"{count.calls:>8} {errors:>8} {count.seconds * 1e3:>10.3f}  {name}")
        total = CallCount(
            sum(count.calls for _, count in rows),
            sum(count.errors for _, count in rows),
            sum(count.seconds for _, count in rows),
        )
        lines.append(f"{total.calls:>8} {total.errors or '':>8} {total.seconds * 1e3:>10.3f}  total")
        return "\n".join(lines)

    # ---- for TracingSyscallInterface ----

    def _begin(self, traced: TracingSyscallInterface, calls: Sequence[Syscall]) -> list[_Entry]:
        entries = [self._make_entry(traced, call) for call in calls]
        # Of several calls one is made at a time, and we are not told which: the first stands for all.
        self._open += entries[:1]
        return entries

    def _make_entry(self, traced: TracingSyscallInterface, call: Syscall) -> _Entry:
        name = getattr(call.number, "name", f"syscall_{int(call.number):d}")
        frame = Frame(name, call.args(), traced.abi, traced.memory)
        return _Entry(traced.prefix, frame)

    def _returned(self, entries: Sequence[_Entry]) -> None:
        """These calls wait no more; all others that do are shown as unfinished."""
        self._open = [entry for entry in self._open if entry not in entries[:1]]
        for other in self._open:
            if not other.interrupted:
                other.interrupted = True
                self._show(f"{other.prefix}{other.head()} <unfinished ...>")

    def _answered(self, entry: _Entry, result: int) -> None:
        self._end(entry, result, format_result(entry.frame, result))

    def _unanswered(self, entry: _Entry) -> None:
        self._end(entry, None, _LEAVING.get(entry.frame.name, "? <the process is gone>"))

    def _unsent(self, entry: _Entry, error: BaseException) -> None:
        if isinstance(error, SyscallSendError):
            self._end(entry, None, "? <not made: the process is gone>", made=False)
        elif isinstance(error, Exception):
            self._end(entry, None, f"? <not made: {type(error).__name__}>", made=False)
        elif entry.interrupted:
            # Cancelled; otherwise there is nothing to tell.
            self._end(entry, None, "? <not made: cancelled>", made=False)

    def _end(self, entry: _Entry, result: int | None, outcome: str, made: bool = True) -> None:
        self._show(entry.line(result, outcome))
        if made:
            count = self.counts.setdefault(entry.frame.name, CallCount())
            count.calls += 1
            count.errors += result is not None and -4096 < result < 0
            count.seconds += time.perf_counter() - entry.start

    def _show(self, line: str) -> None:
        if self.failure is not None:
            return
        if self._start is not None:
            line = f"{time.perf_counter() - self._start:10.6f} {line}"
        try:
            self._sink(line)
        except Exception as failure:
            # The call has been made; its result belongs to the caller.
            self.failure = failure


class TracingSyscallInterface(SyscallInterface):
    """Passes everything on to another interface, and shows the calls. Made by `Tracer.wrap`.

    Attributes:
        inner: the other interface.
        tracer: shows the calls.
        name: of the process, in the trace; may be changed.
        pid: of the process.
        memory: of the process, for showing what is in it.
    """

    def __init__(
        self,
        inner: SyscallInterface,
        tracer: Tracer,
        name: str,
        pid: int | None,
        memory: ProcessMemory | None,
    ) -> None:
        self.inner = inner
        self.tracer = tracer
        self.name = name
        self.pid = pid
        self.memory = memory
        self.abi: ABI = inner.abi
        self.immediate: bool = inner.immediate
        self.borrows_memory: bool = inner.borrows_memory

    def __repr__(self) -> str:
        return f"TracingSyscallInterface({self.inner!r})"

    # Hidden from type checkers, for which every name would be an attribute.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # What particular interfaces have in addition.
            if name == "inner":
                raise AttributeError(name)
            return getattr(self.inner, name)

    @property
    def prefix(self) -> str:
        """The beginning of each line about this process."""
        if self.pid is None:
            return f"[{self.name}] " if self.name else ""
        return f"[pid {self.pid} {self.name}] " if self.name else f"[pid {self.pid}] "

    async def syscall(
        self,
        number: SYS,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
    ) -> int:
        """Make the call and show it; see `SyscallInterface.syscall`."""
        tracer = self.tracer
        if not tracer.enabled:
            return await self.inner.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)
        entries = tracer._begin(self, [Syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)])
        [entry] = entries
        try:
            try:
                result = await self.inner.syscall(number, arg1, arg2, arg3, arg4, arg5, arg6)
            finally:
                tracer._returned(entries)
        except OSError as error:
            if error.errno is None:
                tracer._unsent(entry, error)
            else:
                tracer._answered(entry, -error.errno)
            raise
        except SyscallHangup:
            tracer._unanswered(entry)
            raise
        except BaseException as error:
            # The process is gone, the caller was cancelled before it was sent, or it is not possible at all.
            tracer._unsent(entry, error)
            raise
        tracer._answered(entry, result)
        return result

    async def syscalls(self, calls: Sequence[Syscall], linked: bool = False) -> list[int]:
        """Make the calls and show them; see `SyscallInterface.syscalls`."""
        tracer = self.tracer
        if not tracer.enabled:
            return await self.inner.syscalls(calls, linked)
        calls = as_syscalls(calls)
        entries = tracer._begin(self, calls)
        try:
            try:
                results = await self.inner.syscalls(calls, linked)
            finally:
                tracer._returned(entries)
        except SyscallHangup as error:
            answered = len(error.results)
            for entry, result in zip(entries, error.results, strict=False):
                tracer._answered(entry, result)
            for index, entry in enumerate(entries[answered:]):
                if index:
                    tracer._unsent(entry, SyscallSendError())
                else:
                    tracer._unanswered(entry)
            raise
        except BaseException as error:
            for entry in entries:
                tracer._unsent(entry, error)
            raise
        for entry, result in zip(entries, results, strict=True):
            tracer._answered(entry, result)
        return results

    def check_owner(self) -> None:
        """As the other interface."""
        self.inner.check_owner()

    async def close_interface(self) -> None:
        """Close the other interface."""
        await self.inner.close_interface()

    def get_activity_fd(self) -> object | None:
        """That of the other interface."""
        return self.inner.get_activity_fd()

    async def read_memory(self, address: SupportsInt, length: int) -> bytes:
        """Read through the other interface; not shown."""
        return await self.inner.read_memory(address, length)

    async def write_memory(self, address: SupportsInt, data: bytes) -> None:
        """Write through the other interface; not shown."""
        await self.inner.write_memory(address, data)

    def wrap_child(self, child: SyscallInterface, name: str) -> SyscallInterface:
        """Trace the child, too."""
        child = self.inner.wrap_child(child, name)
        # One with memory of its own has other things at the same addresses; its ring's file we can see.
        memory = self.memory if child.borrows_memory else getattr(child, "arena", None)
        return self._traced(child, name, memory)

    def _traced(
        self, child: SyscallInterface, name: str, memory: ProcessMemory | None
    ) -> TracingSyscallInterface:
        found = _PID_IN_NAME.fullmatch(name)
        pid = int(found[1]) if found else None
        return TracingSyscallInterface(child, self.tracer, "" if found else name, pid, memory)

    def watch_prepared(self, calls: Sequence[Syscall], name: str) -> Callable[[Sequence[int]], None]:
        """Show calls that a new child makes without being told to, the last of which is exec.

        Args:
            calls: those that were prepared.
            name: of the child, as for `wrap_child`.

        Returns:
            To be called once the child has made them, while they are in memory: with their results if one has
            failed, and with an empty list if it runs the program.
        """
        tracer = self.tracer
        # It makes them before it has memory of its own.
        child = self._traced(UnusableSyscallInterface(), name, self.memory)
        entries = tracer._begin(child, calls) if tracer.enabled else []

        def report(results: Sequence[int]) -> None:
            tracer._returned(entries)
            for index, entry in enumerate(entries):
                if index < len(results):
                    tracer._answered(entry, results[index])
                elif index == len(entries) - 1:
                    tracer._unanswered(entry)
                else:
                    # Success is not reported.
                    tracer._end(entry, 0, "ok")

        return report
