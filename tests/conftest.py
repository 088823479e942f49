"""For every test: a leak check, a private directory for temporary files, skips by what the place permits, and
no quiet skips in CI.

This file imports nothing but pytest and the standard library: the tests of the lowest layers run without the
rest.

Leak check: file descriptors, child processes, mappings and temporary files are counted before and after every
test. Counts that are higher after a garbage collection and a short wait fail the test. What a library makes
once per program (the local thread's epoll instance, the watcher, pools) is made before the first count, see
`warm_up`.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .liar import liar
from .place import Place

# For `every_place`, which the tests of all layers use.
sys.path.append(str(Path(__file__).parent))

__all__ = ["liar"]

# How long the traces of a test may take to go away: processes that were told to exit, sockets closed by a
# reaper. A busy machine takes its time; but what a test may leave is not waited for that long.
SETTLE_SECONDS = 20.0
SETTLE_SECONDS_IF_LEAKING = 1.0
# Private anonymous mappings also come and go with Python's and malloc's own arenas. A leak of one per child
# or per call shows in a test that makes many; a test that leaks fewer than this is caught by the memory tests
# of the benchmarks.
ANONYMOUS_SLACK = 24

# Skips that are right everywhere, CI included: no package provides what is missing there. What the kernel or
# the container denies is found by trying it (place.py), and a test says that it needs it.
DENIED_SKIPS = re.compile(r"(Skipped: )?place:")
ALLOWED_SKIPS = re.compile(
    r"(Skipped: )?(place|architecture|kernel|python|python version)\b.*:", re.IGNORECASE
)

# The directories of tests that use the local thread.
WARM = {"thread", "tasks", "meta", "integration", "guests"}

# The modules that have a local thread: the tasks layer, and the tests of the layer below it, whose local
# thread is another one, with children of its own.
LOCAL_THREADS = ["rsyscall.tasks.local", "support"]

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; make the surroundings of the tests the same wherever they run."""
    config.addinivalue_line(
        "markers",
        "allow_leaks(reason): do not check this test for leaks; the reason says why it cannot be helped",
    )
    config.addinivalue_line(
        "markers", "slow: takes more than a second with all its parameters; deselect with -m 'not slow'"
    )
    config.addinivalue_line(
        "markers",
        "needs(*things): skip this test unless the place permits all of these; tests/place.py has the names",
    )
    config.addinivalue_line(
        "markers", "changes_machine: changes a setting of the whole machine; no other test runs meanwhile"
    )
    config.stash[_PLACE] = Place.explore()
    directory = tempfile.mkdtemp(prefix="rsyscall-tests-")
    # Like /tmp itself: tests also make temporary files as another user.
    os.chmod(directory, 0o1777)
    config.stash[_TEMPORARY] = (directory, os.environ.get("TMPDIR"))
    os.environ["TMPDIR"] = directory
    tempfile.tempdir = None
    # Short, because the name of a socket has at most 107 bytes, and where /tmp cannot be written this is
    # in the checkout.
    if not config.option.basetemp:
        config.option.basetemp = f"{directory}/pytest"
    os.kill = _careful_kill
    # As if started from a terminal: a program that runs us in the background may ignore SIGINT and SIGQUIT.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in set(signal.Signals) - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


_kill = os.kill


def _careful_kill(pid: int, sig: int) -> None:
    """Refuse to signal all processes, or our own group: as root, a kill of -1 is the end of the machine.

    A test gets that number easily: /proc/self/fdinfo has it for the pidfd of a process that was reaped.
    """
    if pid in (0, -1):
        raise RuntimeError(f"a test wanted to send signal {sig} to the processes that {pid} stands for")
    _kill(pid, sig)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Undo it."""
    os.kill = _kill
    found = config.stash.get(_TEMPORARY, None)
    if found is None:
        return
    directory, before = found
    if before is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = before
    tempfile.tempdir = None
    shutil.rmtree(directory, ignore_errors=True)


_TEMPORARY = pytest.StashKey["tuple[str, str | None]"]()
_FAILED = pytest.StashKey[bool]()
_PLACE = pytest.StashKey[Place]()


# ------------------------------------------------------------------------------------------ skips


@pytest.fixture(scope="session")
def place(pytestconfig: pytest.Config) -> Place:
    """What the place where we run permits."""
    return pytestconfig.stash[_PLACE]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need what the place does not permit."""
    for marker in item.iter_markers("needs"):
        item.config.stash[_PLACE].need(*marker.args)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def _first_skip(error: BaseException | None) -> pytest.skip.Exception | None:
    """The skip that has a reason, of those that led to this one: pytest-trio raises another one, without."""
    while error is not None:
        if isinstance(error, pytest.skip.Exception) and error.msg:
            return error
        inner = getattr(error, "exceptions", ())
        error = inner[0] if len(inner) == 1 else error.__context__
    return None


def _forbid(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail") or ALLOWED_SKIPS.match(_reason(report)):
        return
    if IN_CI:
        report.outcome = "failed"
        report.longrepr = f"{_MISSING}{_reason(report)}"


_MISSING = "nothing may be skipped in CI for want of what a package provides, but: "


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Print last how many tests were skipped for which kind of reason."""
    yield
    skipped = [_reason(report) for report in terminalreporter.getreports("skipped")]
    denied = sum(bool(DENIED_SKIPS.match(reason)) for reason in skipped)
    missing = sum(not ALLOWED_SKIPS.match(reason) for reason in skipped)
    failed = sum(
        str(report.longrepr).startswith(_MISSING) for report in terminalreporter.getreports("failed")
    )
    line = f"{denied} skipped: the place does not permit it; {missing} skipped: a package is missing"
    if failed:
        line += f", and {failed} failed for that, since this is CI"
    if others := len(skipped) - denied - missing:
        line += f"; {others} skipped: not with this kernel, architecture or Python"
    terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips into failures where everything that the tests need can be installed."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and call.excinfo is not None:
        path, line, _ = report.longrepr
        if (said := _first_skip(call.excinfo.value)) is not None:
            report.longrepr = path, line, f"Skipped: {said.msg}"
    _forbid(report)
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Do the same for modules that skip themselves."""
    report = yield
    _forbid(report)
    return report


# ------------------------------------------------------------------------------------------ tests beside us

# Several sessions may run on one machine. Each of their tests holds a lock on the first of these files,
# shared or alone. That is the setting that a test changes; both files can be locked without being written.
# Locks are not fair: as long as other sessions hold shared ones by turns, a test that has to be alone would
# wait. So each test passes the gate, and the one that waits to be alone keeps it closed.
_SETTING = "/proc/sys/fs/suid_dumpable"
_GATE = "/proc/sys/fs/file-max"


@pytest.fixture(scope="session")
def machine_lock() -> Iterator[tuple[int, int] | None]:
    """Descriptors of lock and gate; None where /proc is hidden, so that no test can change settings."""
    with contextlib.ExitStack() as stack:
        try:
            lock, gate = (stack.enter_context(open(name, "rb", buffering=0)) for name in (_SETTING, _GATE))
        except OSError:
            yield None
            return
        yield lock.fileno(), gate.fileno()


@contextlib.contextmanager
def _beside_others(request: pytest.FixtureRequest) -> Iterator[None]:
    locks = request.getfixturevalue("machine_lock")
    if locks is None:
        yield
        return
    lock, gate = locks
    alone = request.node.get_closest_marker("changes_machine") is not None
    fcntl.flock(gate, fcntl.LOCK_EX)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
    finally:
        fcntl.flock(gate, fcntl.LOCK_UN)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


# ------------------------------------------------------------------------------------------ the leak check


@dataclass
class Census:
    """What this process holds at one moment."""

    fds: dict[int, str]
    children: dict[int, str]
    mappings: list[str]
    anonymous: int
    files: set[str]


def _fds() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that the listing was read through
            continue
    return found


def _children() -> dict[int, str]:
    """Return pid -> name of all children of all our OS threads: zombies and __WCLONE ones too."""
    pids: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            pids += map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())
        except FileNotFoundError:
            continue
    found = {}
    for pid in pids:
        try:
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found[pid] = f"{name} ({rest.split()[0]})"
    return found


def _mappings() -> tuple[list[str], int]:
    """Return the mappings that stand for something, and the number of private anonymous ones.

    Files of programs and libraries are left out: importing a module maps them, and they stay. Anonymous ones
    that touch count as one: guard pages are mappings of their own before Linux 6.13.
    """
    standing, anonymous, last_end = [], 0, ""
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(None, 5)
            start, end = fields[0].split("-")
            name = fields[5] if len(fields) > 5 else ""
            if fields[1].endswith("s") or name.startswith(("/memfd:", "/dev/zero", "anon_inode:")):
                standing.append(f"{fields[1]} {name or 'shared'} {fields[0]}")
            elif not name or name.startswith("[anon"):
                anonymous += start != last_end
                last_end = end
    return standing, anonymous


def _files() -> set[str]:
    return {name for name in os.listdir(tempfile.gettempdir()) if name != "pytest"}


def _census() -> Census:
    standing, anonymous = _mappings()
    return Census(_fds(), _children(), standing, anonymous, _files())


def _leaks(before: Census, after: Census) -> list[str]:
    found = []
    if len(after.fds) > len(before.fds):
        new = [f"{fd} -> {what}" for fd, what in after.fds.items() if before.fds.get(fd) != what]
        found.append(f"{len(after.fds) - len(before.fds)} file descriptors: {', '.join(new)}")
    if len(after.children) > len(before.children):
        new = [f"{pid} {what}" for pid, what in after.children.items() if pid not in before.children]
        found.append(f"{len(after.children) - len(before.children)} children: {', '.join(new)}")
    if len(after.mappings) > len(before.mappings):
        new = sorted(set(after.mappings) - set(before.mappings))
        found.append(f"{len(after.mappings) - len(before.mappings)} mappings: {', '.join(new)}")
    if after.anonymous > before.anonymous + ANONYMOUS_SLACK:
        found.append(f"{after.anonymous - before.anonymous} anonymous mappings")
    if after.files - before.files:
        found.append(f"temporary files: {', '.join(sorted(after.files - before.files))}")
    return found


def _settle(before: Census, seconds: float) -> list[str]:
    """Collect garbage and wait until nothing is left over, or for so long."""
    deadline = time.monotonic() + seconds
    delay = 0.001
    while True:
        gc.collect()
        leaks = _leaks(before, _census())
        if not leaks or time.monotonic() > deadline:
            return leaks
        time.sleep(delay)
        delay = min(delay * 2, 0.1)
        if delay > 0.05 and len(_children()) > len(before.children):
            _next_run()


def _next_run() -> None:
    """Have the library reap the children that have exited since the last run of trio, as every run does.

    At its end a run waits a moment for those that are about to exit; on a busy machine that is too short.
    """
    modules = [sys.modules[name] for name in LOCAL_THREADS if hasattr(sys.modules.get(name), "local_thread")]
    if not modules:
        return
    import trio

    async def turn() -> None:
        for module in modules:
            module.local_thread.monitor.hub.ensure_running()
        await trio.sleep(0.01)

    trio.run(turn)


def _clean_up(before: Census) -> None:
    """End what a test left running, and remove its files, for the sake of the next test.

    Nothing is reaped: the object that made a process holds its pid, and relies on it.
    """
    for pid in set(_children()) - set(before.children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for name in _files() - before.files:
        path = Path(tempfile.gettempdir()) / name
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def warm_up() -> None:
    """Make what is made once per program, so that it does not count as a leak of the test that comes first.

    That is: the local thread with its epoll instance and connection, the watcher of this address space, and
    the first entries of the pools of rings and stacks. A directory of tests may have its own fixture of this
    name.
    """
    try:
        import trio

        from rsyscall.tasks.local import local_thread
    except ModuleNotFoundError:
        return

    async def clone_and_exit() -> None:
        # Otherwise made by the first exec that takes longer than we spin for it.
        local_thread.monitor.hub.ensure_watcher()
        child = await local_thread.clone()
        await child.exit(0)
        await child.process.waitpid(_exited())

    trio.run(clone_and_exit)


def _exited() -> int:
    from rsyscall.sys.wait import W

    return W.EXITED


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Leave the objects that exist before a module of tests out of the garbage collections around its tests.

    These are the imported modules, and the reports on earlier tests: each test collects several times.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leak_check(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if it leaves file descriptors, children, mappings or temporary files behind."""
    if WARM.intersection(request.node.path.parts):
        request.getfixturevalue("warm_up")
    marker = request.node.get_closest_marker("allow_leaks")
    if marker is not None and not (marker.args or marker.kwargs.get("reason")):
        pytest.fail("allow_leaks wants a reason")
    # The check after the test before has collected garbage.
    with _beside_others(request):
        before = _census()
        yield
        # A failed test keeps its frames, and with them what it held, until the end.
        may_leak = marker is not None or request.node.stash.get(_FAILED, False)
        leaks = _settle(before, SETTLE_SECONDS_IF_LEAKING if may_leak else SETTLE_SECONDS)
    if leaks:
        _clean_up(before)
        if not may_leak:
            pytest.fail("left behind: " + "; ".join(leaks))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Print the Python and the kernel that run the tests, and what the place permits."""
    layer = os.environ.get("RSYSCALL_LAYER", "all")
    kernel = os.uname()
    machine = f"Linux {kernel.release} {kernel.machine}; uid {os.getuid()}"
    permitted = [f"  {line}" for line in config.stash[_PLACE].table()]
    return [f"rsyscall layer: {layer}; {machine}; {sys.executable}", "permitted here:", *permitted]
