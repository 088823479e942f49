"""Raising an exception at every place of the library that a scenario comes through, one after another.

A signal handler that raises, as Python's own does for SIGINT, raises wherever the interpreter is at that
moment: between any two instructions, as far as the library can tell. So the scenario is run again and again.
Each time an exception is raised once, at the first instruction that has not had its turn yet; this ends when
a run meets no such instruction. Then no place is left at which the exception was not tried. Nothing depends
on time: the same places come in the same order, as long as the scenario takes the same way.

A *place* is an instruction of a code object of this library. Those that the tests, the standard library and
trio consist of are not tried. Python 3.10 and 3.11 tell of instructions by opcode tracing; later ones by
`sys.monitoring`, because there tracing leaves out some. The garbage collector waits meanwhile, so that
destructors run where a reference goes away, and nowhere else.

`check` looks for leaks, so it must not see objects that only the scenario holds. `trying` therefore drops the
exception with its traceback, and collects garbage, before it calls `check`.
"""

from __future__ import annotations

import contextlib
import dis
import gc
import inspect
import os
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import rsyscall

__all__ = ["Interruption", "Tried", "Trier", "holdings", "try_every_place"]

_LIBRARY = tuple(f"{os.path.abspath(path)}/" for path in rsyscall.__path__)
# In /proc/PID/maps.
_SHARED_MAPPING = re.compile("^[^ ]+ [^ ]{3}s .*", re.MULTILINE)
_TOOL = 4
_YIELD_VALUE = dis.opmap["YIELD_VALUE"]
# 3.10 has neither.
_RESUME = dis.opmap.get("RESUME", -1)
_JUMP_WITHOUT_INTERRUPT = dis.opmap.get("JUMP_BACKWARD_NO_INTERRUPT", -1)
_RESUME_AFTER_AWAIT = 3


class Interruption(BaseException):
    """What a signal handler of a program might raise: nothing that the library knows."""


@dataclass
class Tried:
    """The outcome of all runs.

    Attributes:
        places: where an exception was raised, in order.
        lost: of these, where the scenario went on as if nothing had been raised.
        wrong: of these, what was wrong afterwards.
    """

    places: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"exceptions at {len(self.places)} places; {len(self.lost)} were lost:", *self.lost]
        return "\n  ".join([*lines, f"after {len(self.wrong)} something was wrong:", *self.wrong])


@dataclass
class _Code:
    """What a trier knows of a code object."""

    code: CodeType
    # Whether it is the library's.
    ours: bool
    # The offsets that have had their turn.
    done: set[int] = field(default_factory=set)
    # What the interpreter is to call at each instruction.
    trace: Callable[[FrameType, str, Any], Any] | None = None


class Trier:
    """Raises at the next place; see the module.

    Args:
        kind: the class of what is raised.
        step: raise at every `step`-th place only, and skip those in between.
        first: how many places to skip before the first one; below `step`.
    """

    def __init__(self, kind: type[BaseException] = Interruption, step: int = 1, first: int = 0) -> None:
        self.kind = kind
        self._step = step
        self._skip = step - 1 - first
        # By the identity of a code object, since to hash it takes long.
        self._codes: dict[int, _Code] = {}
        self._equal: dict[CodeType, _Code] = {}
        # Where it was raised in this run.
        self.place: str | None = None

    # ---- what is told of instructions

    def _look_up(self, code: CodeType) -> _Code:
        found = self._codes.get(id(code))
        if found is None:
            found = _Code(code, code.co_filename.startswith(_LIBRARY))
            # What is compiled anew for each run is the same code again.
            found.done = self._equal.setdefault(code, found).done
            self._codes[id(code)] = found
        return found

    def _reached(self, code: CodeType, offset: int, done: set[int]) -> None:
        """Raise, if it is the turn of this place, which is not among the `done` ones of its code."""
        if self.place is not None:
            return
        done.add(offset)
        if code.co_flags & inspect.CO_COROUTINE and _is_between_awaits(code, offset):
            return
        self._skip += 1
        if self._skip < self._step:
            return
        self._skip = 0
        self.place = describe(code, offset)
        self._stop()
        raise self.kind(self.place)

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        known = self._look_up(frame.f_code)
        if not known.ours:
            return None
        if known.trace is None:
            known.trace = self._tracer(known)
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return known.trace

    def _tracer(self, known: _Code) -> Callable[[FrameType, str, Any], Any]:
        code, done = known.code, known.done

        def trace_instruction(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "opcode" and frame.f_lasti not in done:
                self._reached(code, frame.f_lasti, done)
            return trace_instruction

        return trace_instruction

    def _monitor(self, code: CodeType, offset: int) -> Any:
        known = self._look_up(code)
        if not known.ours or offset in known.done:
            return sys.monitoring.DISABLE
        self._reached(code, offset, known.done)
        return None

    # ---- on and off

    def _start(self) -> None:
        if sys.version_info < (3, 12):
            sys.settrace(self._trace)
        else:
            sys.monitoring.restart_events()
            sys.monitoring.set_events(_TOOL, sys.monitoring.events.INSTRUCTION)

    def _stop(self) -> None:
        if sys.version_info < (3, 12):
            sys.settrace(None)
        else:
            sys.monitoring.set_events(_TOOL, 0)

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Raise in the course of this block, if it comes to a place that has not had its turn."""
        collecting = gc.isenabled()
        gc.disable()
        self._start()
        try:
            yield
        finally:
            self._stop()
            if collecting:
                gc.enable()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have the interpreter report each instruction while we are armed."""
        before = sys.gettrace()
        if sys.version_info >= (3, 12):
            sys.monitoring.use_tool_id(_TOOL, "every place")
            sys.monitoring.register_callback(_TOOL, sys.monitoring.events.INSTRUCTION, self._monitor)
        try:
            yield
        finally:
            self._stop()
            if sys.version_info >= (3, 12):
                sys.monitoring.free_tool_id(_TOOL)
            else:
                sys.settrace(before)


def _is_between_awaits(code: CodeType, offset: int) -> bool:
    """Whether a coroutine passes on that the one which it awaits goes to sleep, or has been woken.

    The interpreter looks for signals nowhere on the way from the innermost coroutine to trio, and back.
    """
    operation, argument = code.co_code[offset : offset + 2]
    if operation == _RESUME:
        # Other bits of it say where it is.
        return argument & _RESUME_AFTER_AWAIT == _RESUME_AFTER_AWAIT
    return operation in (_YIELD_VALUE, _JUMP_WITHOUT_INTERRUPT)


def describe(code: CodeType, offset: int) -> str:
    """Where a place is, for people: file, line, function, offset of the instruction."""
    line = next((line for start, end, line in code.co_lines() if start <= offset < end), None)
    name = getattr(code, "co_qualname", code.co_name)
    return f"{Path(code.co_filename).name}:{line} {name}+{offset}"


# How often in a row nothing must be raised. On a busy machine an answer may come before its caller sleeps, so
# that one run does not come through all places.
ENOUGH = 4


def try_every_place(
    scenario: Callable[[Trier], None],
    check: Callable[[], None],
    *,
    kind: type[BaseException] = Interruption,
    step: int = 1,
    first: int = 0,
    seconds: float = 100,
) -> Tried:
    """Run `scenario` until an exception has been raised at every place.

    Args:
        scenario: does something, in the part to be tried within `Trier.armed`.
        check: sees that the library works as before and that nothing is left behind.
        kind: the class of what is raised.
        step: see `Trier`.
        first: see `Trier`.
        seconds: how long all this may take.

    Raises:
        AssertionError: it took longer; or something is wrong even if nothing is raised.
    """
    trier, tried = Trier(kind, step, first), Tried()
    deadline = time.monotonic() + seconds
    unraisable: list[str] = []
    completed = 0
    gc.collect()
    gc.freeze()
    hook, sys.unraisablehook = sys.unraisablehook, lambda about: unraisable.append(repr(about.exc_value))
    try:
        with trier.installed(), _Watchdog() as watchdog, warnings.catch_warnings():
            # An exception may well come between the call of a coroutine function and its await.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            while True:
                trier.place = None
                watchdog.begin()
                failure = _run(scenario, trier)
                place = trier.place
                gc.collect()
                if place is None:
                    assert failure is None, f"nothing was raised, and yet: {failure}"
                    check()
                    completed += 1
                    if completed == ENOUGH:
                        return tried
                    continue
                completed = 0
                tried.places.append(place)
                if failure is None:
                    tried.lost.append(place)
                elif failure:
                    tried.wrong.append(f"{place}: became {failure}")
                try:
                    check()
                except Exception as error:
                    tried.wrong.append(f"{place}: {error!r}")
                assert time.monotonic() < deadline, f"not done in {seconds} seconds: {tried}"
    finally:
        sys.unraisablehook = hook
        gc.unfreeze()


class _Hang(BaseException):
    """A scenario that does not end."""


class _Watchdog:
    """Raises in the main thread when a scenario takes longer than it can. (Not by SIGALRM: pytest's own.)"""

    SECONDS = 20

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def begin(self) -> None:
        self._begun = time.monotonic()

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            if time.monotonic() > self._begun + self.SECONDS:
                self.begin()
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def __enter__(self) -> _Watchdog:
        def hang(*_: object) -> None:
            raise _Hang

        self._handler = signal.signal(signal.SIGUSR2, hang)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        self._thread.join()
        signal.signal(signal.SIGUSR2, self._handler)


def _run(scenario: Callable[[Trier], None], trier: Trier) -> str | None:
    """None if the run was not interrupted, "" if our exception interrupted it, else the exception instead."""
    try:
        scenario(trier)
    except BaseException as error:
        return "" if _contains(error, trier.kind) else "".join(traceback.format_exception(error))
    return None


def _contains(error: BaseException | None, kind: type[BaseException]) -> bool:
    if error is None:
        return False
    if isinstance(error, kind):
        return True
    parts: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return any(_contains(part, kind) for part in (*parts, error.__cause__, error.__context__))


def holdings() -> tuple[list[str], list[str], list[str]]:
    """The open descriptors of this process, its children (also zombies), and its mappings except its heaps.

    Compare it before and after. It names a descriptor by its number and its file.
    """
    descriptors = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            descriptors.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    children: list[str] = []
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):
            children += Path(f"/proc/self/task/{task}/children").read_text().split()
    mappings = _SHARED_MAPPING.findall(Path("/proc/self/maps").read_text())
    listing = next((fd for fd in descriptors if fd.endswith("/fd")), None)
    return sorted(fd for fd in descriptors if fd is not listing), sorted(children), sorted(mappings)
