"""`rsyscall run`: a process is made, changed by one call after another, and executes a command.

The process that is made becomes the command, as process 1 with `--pid`. So none that shares our memory stays
beside the command, and it needs no memory of its own meanwhile.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.cli_options import ENDING, FAILED, TIMED_OUT, RunOptions, innermost, readable, reason_of, say
from rsyscall.command import Command
from rsyscall.environ import ExecutableNotFound
from rsyscall.fcntl import O
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.settings import spin_budgets, transport_name
from rsyscall.signal import SIG, Sigaction, Sighandler, Sigset
from rsyscall.sys.signalfd import SFD, SignalfdSiginfo
from rsyscall.sys.wait import ChildState, W
from rsyscall.tasks.local import local_thread
from rsyscall.thread import ChildThread, Thread, write_user_mappings
from rsyscall.unistd import OK

if TYPE_CHECKING:
    from rsyscall.cli_far import Elsewhere

__all__ = ["run"]

NOT_EXECUTABLE, NOT_FOUND = 126, 127

NAMESPACES = {
    "user": CLONE.NEWUSER,
    "mount": CLONE.NEWNS,
    "pid": CLONE.NEWPID,
    "net": CLONE.NEWNET,
    "uts": CLONE.NEWUTS,
    "ipc": CLONE.NEWIPC,
    "cgroup": CLONE.NEWCGROUP,
}
# What we are set up with. An empty one is as good as none.
VARIABLES = ("RSYSCALL_SPIN_US", "RSYSCALL_TRANSPORT")
_MASKS = ("SigCgt", "SigIgn", "SigBlk")
PASSED_ON = (*map(SIG, ENDING), SIG.USR1, SIG.USR2)
# si_code of a signal that no process sent: the terminal did, and to the command as well.
SI_KERNEL = 0x80


class StepError(Exception):
    """A step failed; says so in one line.

    Args:
        step: what was to be done.
        reason: why it could not be.
        what: what it was to be done to.
        status: what to exit with.
    """

    def __init__(self, step: str, reason: str, what: object, status: int = FAILED) -> None:
        super().__init__(f"{step}: {reason} ({readable(str(what))})")
        self.status = status


def killed_by(sig: int) -> int:
    """What to exit with if a signal has killed the command; see `run`."""
    return -sig if sig in (SIG.INT, SIG.QUIT) else 128 + sig


class Run:
    """One command on its way.

    Args:
        options: what was asked for.
        setenv: more variables for the command.
        ignore_sigchld: whether the command is to ignore SIGCHLD, as we did when we were started.
    """

    def __init__(self, options: RunOptions, setenv: dict[str, str], ignore_sigchld: bool) -> None:
        self.options = options
        self.setenv: dict[str, str] = {**setenv, **dict(options.setenv)}
        self.ignore_sigchld = ignore_sigchld
        # Makes the process.
        self.parent: Thread = local_thread
        self.elsewhere: Elsewhere | None = None
        self.child: ChildThread | None = None
        self.executing: bool = False
        self.executed: trio.Event = trio.Event()
        self.setup: trio.CancelScope = trio.CancelScope()
        # What ended the command in the name of which signal.
        self.ended_by: int | None = None
        # The signals that have come.
        self.seen: set[int] = set()

    async def run(self) -> int:
        """Do everything; returns what `run` does."""
        status = FAILED
        # They stay blocked: one that comes too late for the command must not change the exit status.
        passed_on = Sigset(sig for sig in PASSED_ON if signal.getsignal(sig) is not signal.SIG_IGN)
        await local_thread.task.sigmask_block(await local_thread.ptr(passed_on))
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pass_on_signals, passed_on)
            try:
                status = await self._run()
            except StepError as error:
                status = error.status
                if self.ended_by is None:
                    say(str(error))
            nursery.cancel_scope.cancel()
        return status if self.ended_by is None else killed_by(self.ended_by)

    async def _run(self) -> int:
        options = self.options
        try:
            with self.setup:
                if options.via is not None or options.ssh is not None:
                    await self._go()
                child = self.child = await self._clone()
                await self._prepare(child)
                await self._execute(child)
            if self.child is None or not self.executed.is_set():
                return FAILED
            state, too_slow = await self._wait(self.child)
            if state.sig != SIG.KILL:
                # It had ended by itself when it was to be killed.
                self.ended_by = None
        finally:
            if self.child is not None:
                # Lost with the way there: said before.
                with suppress(SyscallError):
                    async with self.child.process:
                        pass
            if self.elsewhere is not None:
                await self.elsewhere.close()
        if too_slow:
            self.ended_by = None
            return TIMED_OUT
        if state.exit_status is not None:
            sig = state.exit_status - 128
            # Its end may be known before our own signal has been read.
            if options.pid and (sig in self.seen or sig in signal.sigpending()):
                # It meant to die of the signal, as dash does; but no process 1 can.
                return killed_by(sig)
            return state.exit_status if self.elsewhere is None else self.elsewhere.settle(state.exit_status)
        assert state.sig is not None
        return killed_by(state.sig)

    async def _wait(self, child: ChildThread) -> tuple[ChildState, bool]:
        """Wait for the end of the command; returns whether it took too long, too."""
        if self.elsewhere is None:
            return await self._wait_for(child)
        ended: tuple[ChildState, bool] | None = None
        async with trio.open_nursery() as nursery:
            self.elsewhere.start_moving(nursery)
            try:
                ended = await self._wait_for(child)
            except SyscallError:
                pass
            self.elsewhere.stop_moving()
        if ended is None:
            raise StepError("wait for the command", await self.elsewhere.why_lost(), self.elsewhere.name)
        return ended

    async def _wait_for(self, child: ChildThread) -> tuple[ChildState, bool]:
        timeout = self.options.timeout
        if timeout is None:
            return await child.process.waitpid(W.EXITED), False
        with trio.move_on_after(timeout):
            return await child.process.waitpid(W.EXITED), False
        say(f"the command took longer than {timeout:g} s")
        if self.elsewhere is not None:
            self.elsewhere.hurry()
        # Not with the module: it takes time.
        from rsyscall.ending import GRACE

        await self._pass_on(SIG.TERM, from_terminal=False)
        with trio.move_on_after(GRACE):
            return await child.process.waitpid(W.EXITED), True
        await child.process.kill()
        return await child.process.waitpid(W.EXITED), True

    # ---- steps ----

    @contextmanager
    def _step(self, name: str, what: object, hint: str = "") -> Iterator[None]:
        if self.options.verbose:
            say(f"{name} ({readable(str(what))})")
        try:
            yield
        except OSError as error:
            reason = reason_of(error) + (hint if error.errno == errno.EPERM else "")
            raise StepError(name, reason, what) from error
        except SyscallError as error:
            raise StepError(name, "the process was killed", what) from error

    async def _go(self) -> None:
        """Make the process elsewhere."""
        from rsyscall.cli_far import BootstrapError, Elsewhere, carrier

        with self._step("find the way", " ".join(self.options.via or ["ssh"])):
            try:
                command = await carrier(self.options)
            except ExecutableNotFound as error:
                name = self.options.via[0] if self.options.via else "ssh"
                raise StepError("find the way", "there is none in PATH", name) from error
        with self._step("go elsewhere", command):
            try:
                self.elsewhere = await Elsewhere.make(command, self.options)
            except BootstrapError as error:
                raise StepError("go elsewhere", error.reason, command) from error
        self.parent = self.elsewhere.thread

    async def _clone(self) -> ChildThread:
        names = [name for name in NAMESPACES if getattr(self.options, name)]
        flags = CLONE.NONE
        for name in names:
            flags |= NAMESPACES[name]
        what = f"new namespaces: {', '.join(names)}" if names else "no new namespaces"
        with self._step("make a process", what):
            try:
                child = await self.parent.clone(flags, automatically_write_user_mappings=False)
            except OSError as error:
                reason = await _why_no_clone(self.parent, error, flags)
                raise StepError("make a process", reason, what) from error
        if self.options.verbose:
            say(f"process {child.process.process.near.id}")
        return child

    async def _prepare(self, child: ChildThread) -> None:
        options = self.options
        if options.user:
            uid, gid = int(await self.parent.task.geteuid()), int(await self.parent.task.getegid())
            inside = (0, 0) if options.map_root else (uid, gid)
            what = f"user {uid} is {inside[0]}, group {gid} is {inside[1]}"
            with self._step("map users", what):
                await write_user_mappings(child, uid, gid, *inside)
        if options.mount:
            # Mounts made here must not reach other namespaces.
            with self._step("make mounts private", "/"):
                await child.make_rprivate()
        for kind, source, target in options.mounts:
            what = target if kind == "tmpfs" else f"{source} at {target}"
            with self._step(f"mount by --{kind}", what):
                if await _is_root(child, target) and not (
                    kind == "ro-bind" and await _is_root(child, source)
                ):
                    reason = "what is mounted over the root directory is not seen; try --chroot"
                    raise StepError(f"mount by --{kind}", reason, what)
                if kind == "tmpfs":
                    await child.mount_tmpfs(target)
                else:
                    await child.bind_mount(source, target, readonly=kind == "ro-bind")
        if options.mounts:
            # What is mounted over the working directory, or above it, is entered by a path only.
            with self._step("enter the working directory again", "."):
                await child.chdir(await child.getcwd())
        if options.net:
            with self._step("bring up the network interface", "lo"):
                await child.bring_up("lo")
        if options.hostname is not None:
            with self._step("set the host name", options.hostname):
                await child.sethostname(options.hostname)
        if options.chroot is not None:
            hint = "" if options.user or await self.parent.task.geteuid() == 0 else "; try --user"
            with self._step("chroot", options.chroot, hint):
                await child.chroot(options.chroot)
                await child.chdir("/")
        if options.mount and options.pid:
            await self._mount_proc(child)
        if options.chdir is not None:
            with self._step("chdir", options.chdir):
                await child.chdir(options.chdir)
        await self._limit(child)
        if self.ignore_sigchld:
            with self._step("ignore a signal", "SIGCHLD"):
                ignored = await child.ptr(Sigaction(Sighandler.IGN))
                await child.task.sigaction(SIG.CHLD, ignored, None)

    async def _limit(self, child: ChildThread) -> None:
        options = self.options
        wanted: dict[str, Any] = {
            "rlimits": options.rlimit or None,
            "nice": options.nice,
            "umask": options.umask,
            "no_new_privs": options.no_new_privs or None,
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if wanted:
            # Not with the module: most commands are not limited.
            from rsyscall.run_limits import Limits

            for name, value in wanted.items():
                with self._step(f"set {name}", value):
                    await Limits(**{name: value}).apply(child)
        if options.run_as is not None:
            await self._become(child, *options.run_as)

    async def _become(self, child: ChildThread, user: int | str, group: int | str | None) -> None:
        from rsyscall.run_limits import Limits

        what = f"user {user}" if group is None else f"user {user}, group {group}"
        try:
            with self._step("change the user", what):
                if self.elsewhere is not None or self.options.chroot is not None:
                    from rsyscall.cli_users import look_up

                    user, group = await look_up(child, user, group)
                await Limits(user=user, group=group).apply(child)
        except ValueError as error:
            raise StepError("change the user", str(error), what) from error

    async def _mount_proc(self, child: ChildThread) -> None:
        with self._step("mount proc", "/proc"):
            try:
                await child.mount_proc()
            except FileNotFoundError:
                if self.options.chroot is None:
                    raise
                if self.options.verbose:
                    say(f"no /proc in {self.options.chroot}: not mounted")

    async def _execute(self, child: ChildThread) -> None:
        name, *arguments = self.options.command
        if self.options.clearenv:
            child.environ.clear()
        for variable in self.options.unsetenv:
            child.environ.pop(variable, None)
        child.environ.update(self.setenv)
        with self._step("find the command", name):
            command = await self._find(child, name)
        command = command.args(*arguments)
        if self.elsewhere is not None:
            with self._step("connect its streams", "pipes"):
                await self.elsewhere.place(child)
        with self._step("execute", command):
            self.executing = True
            try:
                await child.exec(command)
                self.executed.set()
            except OSError as error:
                status, reason = await _why_no_exec(child, command, error)
                raise StepError("execute", reason, command.executable_path, status) from error

    async def _find(self, child: ChildThread, name: str) -> Command:
        if "/" in name:
            # The kernel says better than we could what is wrong with it.
            return Command(name, [name], {})
        try:
            return await child.environ.which(name)
        except ExecutableNotFound as error:
            for directory in child.environ.path.paths:
                if await _is_file(child, directory / name):
                    reason = os.strerror(errno.EACCES)
                    raise StepError("execute", reason, directory / name, NOT_EXECUTABLE) from error
            where = "in PATH" if self.options.chroot is None else f"in PATH below {self.options.chroot}"
            raise StepError("find the command", f"there is none {where}", name, NOT_FOUND) from error

    # ---- signals ----

    async def _pass_on_signals(self, signals: Sigset, task_status: trio.TaskStatus[None]) -> None:
        fd = await local_thread.task.signalfd(await local_thread.ptr(signals), SFD.NONBLOCK)
        async with fd:
            buf = await local_thread.malloc(SignalfdSiginfo)
            task_status.started()
            while True:
                await trio.lowlevel.wait_readable(int(fd.near))
                try:
                    valid, rest = await fd.read(buf)
                except BlockingIOError:
                    continue
                info = await valid.read()
                buf = valid + rest
                await self._pass_on(info.signo, from_terminal=info.code == SI_KERNEL)

    async def _pass_on(self, sig: SIG, from_terminal: bool) -> None:
        self.seen.add(sig)
        if self.options.verbose:
            say(f"signal {signal.strsignal(sig)}")
        if self.executing:
            # It may be done, and we are not told yet.
            await self.executed.wait()
        if not self.executed.is_set():
            self.ended_by = sig
            self.setup.cancel()
            if self.child is not None:
                # It may be in a call that takes long.
                await self.child.process.kill()
            return
        assert self.child is not None
        process = self.child.process
        if self.elsewhere is not None and sig in ENDING:
            self.elsewhere.hurry()
        try:
            if self.options.pid and await _is_ignored_by_init(self.parent, process.process.near.id, sig):
                self.ended_by = sig
                await process.kill()
            elif self.elsewhere is not None or not from_terminal:
                # Elsewhere it has no terminal.
                await process.kill(sig)
        except SyscallError:
            pass  # there is no way to it any more, and so it ends


async def _exists(thread: ChildThread, path: Path | str) -> bool:
    try:
        await thread.task.access(await thread.ptr(path), OK.F)
    except OSError:
        return False
    return True


async def _is_file(thread: ChildThread, path: Path) -> bool:
    """Whether there is something at the path, and it is no directory."""
    if not await _exists(thread, path):
        return False
    try:
        await thread.task.access(await thread.ptr(f"{path}/"), OK.F)
    except NotADirectoryError:
        return True
    except OSError:
        pass
    return False


async def _is_root(thread: ChildThread, path: str) -> bool:
    """Whether the path is that of the root directory, as far as its text tells."""
    whole = path if path.startswith("/") else f"{await thread.getcwd()}/{path}"
    return os.path.normpath(whole).strip("/") == ""


async def _is_directory(thread: ChildThread, path: Path) -> bool:
    return await _exists(thread, f"{path}/")


async def _status(parent: Thread, pid: int) -> str:
    path = f"/proc/{pid}/status"
    if parent is local_thread:
        with open(path) as file:
            return file.read()
    return (await parent.read_file(path)).decode(errors="replace")


async def _is_ignored_by_init(parent: Thread, pid: int, sig: SIG) -> bool:
    """Whether the kernel drops the signal only because the process is the first of its pid namespace.

    A process that has the signal blocked may be waiting for it; but many block all signals for a moment, such
    as shells when they fork.
    """
    for _ in range(20):
        try:
            lines = (await _status(parent, pid)).splitlines()
        except OSError:
            return False
        masks = dict(line.split(":\t", 1) for line in lines if line.startswith("Sig"))
        caught, ignored, blocked = (int(masks[name], 16) >> (sig - 1) & 1 for name in _MASKS)
        if caught or ignored:
            return False
        if not blocked:
            return True
        await trio.sleep(0.005)
    return False


async def _why_no_clone(parent: Thread, error: OSError, flags: CLONE) -> str:
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        if not flags:
            return f"{reason}; a seccomp filter or a security module denies it, as containers do"
        if flags & CLONE.NEWUSER or not await _is_possible(parent, CLONE.NEWUSER):
            return f"{reason}; new namespaces are restricted here, as in containers"
        return f"{reason}; try --user"
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return "no more namespaces are allowed; see /proc/sys/user"
    if error.errno == errno.EAGAIN:
        return "no more processes are allowed; see ulimit -u"
    return reason_of(error)


async def _is_possible(parent: Thread, flags: CLONE) -> bool:
    """Whether a process can be made with these flags."""
    try:
        child = await parent.clone(flags, automatically_write_user_mappings=False)
    except OSError:
        return False
    async with child.process:
        return True


async def _why_no_exec(thread: ChildThread, command: Command, error: OSError) -> tuple[int, str]:
    """The exit status and the reason for people."""
    reason = reason_of(error)
    if isinstance(error, FileNotFoundError):
        if await _exists(thread, Path(command.executable_path)):
            return NOT_EXECUTABLE, "the interpreter or dynamic loader that it names does not exist"
        return NOT_FOUND, reason
    if isinstance(error, NotADirectoryError):
        return NOT_FOUND, reason
    if isinstance(error, PermissionError) and await _is_directory(thread, Path(command.executable_path)):
        return NOT_EXECUTABLE, os.strerror(errno.EISDIR)
    if error.errno == errno.ENOEXEC:
        return NOT_EXECUTABLE, f"{reason}; {await _why_no_format(thread, Path(command.executable_path))}"
    return NOT_EXECUTABLE, reason


async def _why_no_format(thread: ChildThread, path: Path) -> str:
    try:
        async with await thread.task.open(await thread.ptr(path), O.RDONLY) as file:
            valid, _ = await file.read(await thread.malloc(bytes, 4))
            start = await valid.read()
    except OSError:
        start = b""
    if start == b"\x7fELF":
        return "it is a program for another machine"
    return "its #! line names no interpreter" if start[:2] == b"#!" else "it has no #! line"


def run(options: RunOptions) -> int:
    """Run a command as the options say.

    Returns:
        The exit status, or the number of a signal, negative, of which this program is to die.
    """
    # The command gets them as they are.
    empty = {name: os.environ.pop(name) for name in VARIABLES if os.environ.get(name) == ""}
    try:
        spin_budgets()
        transport_name()
    except ValueError as error:
        say(str(error))
        return FAILED
    # A process that ignores SIGCHLD has no children to wait for.
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_DFL) is signal.SIG_IGN
    try:
        return _run(Run(options, empty, ignored))
    except BaseException as error:
        inner = innermost(error)
        if not isinstance(inner, Exception) or (isinstance(inner, OSError) and inner.errno == errno.EMFILE):
            raise inner from None
        if options.verbose:
            raise
        say(f"internal error: {type(inner).__name__}: {inner}; --verbose tells where")
        return FAILED


def _run(run: Run) -> int:
    options = run.options
    if not (options.trace or options.summary):
        return trio.run(run.run)
    # Not with the module: most commands are not traced.
    from rsyscall.cli_trace import traced

    return traced(options, lambda: trio.run(run.run))
