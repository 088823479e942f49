"""`Thread`: a process with its usual equipment; `ChildThread`: one that we made, and in which we can exec.

A thread is a `Task`, which makes system calls, together with memory, an epoll loop, a monitor for children,
an environment, standard input and output, and a connection to the local thread. In Linux's words it may be a
process or a thread; the name says that it runs under the control of this one program.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import trio

from rsyscall.child_process import end_process
from rsyscall.clone import clone_child_task, clone_ring_task
from rsyscall.command import Command, StrOrBytesPath, StrPath
from rsyscall.completed import CompletedCommand
from rsyscall.ending import GRACE, end_command
from rsyscall.epoller import Epoller
from rsyscall.exec_image import check_command, exec_with_signals, ignore_until_exec, make_image
from rsyscall.handle import FileDescriptor, Task, WrittenPointer
from rsyscall.launch import start_spawn
from rsyscall.loader import NativeLoader, Trampoline
from rsyscall.memory.ram import RAM
from rsyscall.monitor import AsyncChildProcess, ChildProcessMonitor
from rsyscall.open_files import mark_calls
from rsyscall.reaper import Reaper
from rsyscall.sched import CLONE
from rsyscall.settings import transport_name
from rsyscall.signal import Sigset
from rsyscall.spawn import PreparedThread, inherit_standard_fd
from rsyscall.sys.wait import CalledProcessError, W
from rsyscall.unistd import ArgList
from rsyscall.user_mapping import write_user_mappings
from rsyscall.with_files import do_cloexec_except
from rsyscall.with_paths import WithPaths

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from rsyscall.environ import Environment
    from rsyscall.hub import Sender
    from rsyscall.id_maps import IdMaps
    from rsyscall.multiplexed import Multiplexer
    from rsyscall.network.connection import Connection
    from rsyscall.pty import Pty, Size
    from rsyscall.running import RunOptions
    from rsyscall.signal import SignalBlock
    from rsyscall.terminal import TerminalSession
    from rsyscall.termios import Termios

__all__ = ["ChildThread", "Thread", "do_cloexec_except", "write_user_mappings"]

# In plain numbers: members of a flag class are combined by Python code.
_NEWUSER = int(CLONE.NEWUSER)
_NEWPID = int(CLONE.NEWPID)
_NOT_FOR_CLONE = int(CLONE.VFORK | CLONE.INTO_CGROUP)


class Thread(WithPaths):
    """A process with its usual equipment.

    Attributes:
        task: makes system calls in it.
        ram: its memory.
        connection: makes channels between it and the local thread.
        loader: native functions in its memory.
        epoller: waits for its descriptors.
        monitor: makes and waits for its children.
        environ: its environment, and where its programs are found.
        stdin, stdout, stderr: its descriptors 0, 1 and 2.
    """

    def __init__(
        self,
        task: Task,
        ram: RAM,
        connection: Connection,
        loader: NativeLoader,
        epoller: Epoller,
        child_monitor: ChildProcessMonitor,
        environ: Environment,
        stdin: FileDescriptor,
        stdout: FileDescriptor,
        stderr: FileDescriptor,
    ) -> None:
        self.task = task
        self.ram = ram
        self.connection = connection
        self.loader = loader
        self.epoller = epoller
        self.monitor = child_monitor
        self.environ = environ
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def _init_from(self, thr: Thread) -> None:
        """Become another view of the same process."""
        Thread.__init__(
            self,
            thr.task,
            thr.ram,
            thr.connection,
            thr.loader,
            thr.epoller,
            thr.monitor,
            thr.environ,
            thr.stdin,
            thr.stdout,
            thr.stderr,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.task.process})"

    def _multiplexer(self) -> Multiplexer | None:
        if self.loader.hub is not None:
            return None
        from rsyscall.far_children import FarMonitor

        return self.monitor.side.multiplexer if isinstance(self.monitor, FarMonitor) else None

    async def pty(
        self, size: Size | None = None, attributes: Termios | None = None, path: str = "/dev/ptmx"
    ) -> Pty:
        """Make a pseudoterminal: a terminal for a command of this process, and our end of it.

        Args:
            size: of its window: (lines, columns), for example.
            attributes: what it does with what is typed and written, if not the usual things.
            path: of the device, or of `ptmx` in a devpts that is mounted elsewhere.

        Returns:
            Our end. `run(command, terminal=pty)` runs a command on the terminal.

        Raises:
            OSError: ENOENT, EACCES; ENOSPC (there are too many); ENOTTY (`path` is another kind of file).

        manpage: pty(7)
        """
        # Programs without terminals do not load this.
        from rsyscall.pty import open_pty

        return await open_pty(self, size, attributes, path)

    async def unshare(self, flags: CLONE) -> None:
        """Stop sharing things, or move to new namespaces.

        FILES stands for `unshare_files`, NEWUSER for `unshare_user`. NEWPID affects only later children, for
        which we cannot wait when their init dies: clone with NEWPID instead.

        manpage: unshare(2)
        """
        if flags & CLONE.FILES:
            await self.unshare_files()
            flags &= ~CLONE.FILES
        if flags & CLONE.NEWUSER:
            await self.unshare_user()
            flags &= ~(CLONE.NEWUSER | CLONE.FS)
        if flags:
            await self.task.unshare(flags)

    async def unshare_user(
        self, in_namespace_uid: int | None = None, in_namespace_gid: int | None = None
    ) -> None:
        """Move to a new user namespace, with one user and one group mapped.

        As long as this process shares the memory of the program, that is undumpable: see SECURITY.md.

        Args:
            in_namespace_uid: our user id inside; the same as outside by default.
            in_namespace_gid: our group id, likewise.

        manpage: user_namespaces(7)
        """
        uid = await self.task.getuid()
        gid = await self.task.getgid()
        await self.task.unshare(CLONE.FS | CLONE.NEWUSER)
        await write_user_mappings(self, uid, gid, in_namespace_uid, in_namespace_gid)

    async def clone(
        self,
        flags: CLONE = CLONE.NONE,
        automatically_write_user_mappings: bool = True,
        *,
        own_memory: bool = False,
        inherit: Sequence[FileDescriptor] = (),
        id_maps: IdMaps | None = None,
    ) -> ChildThread:
        """Make a child, inert and under our control.

        It shares our memory until it execs, and has copies of everything else that `flags` does not share. It
        is killed when we exit, or when the last reference to it is dropped. A process that may trace it may
        write to our memory: SECURITY.md says which ones may. With NEWUSER our memory is undumpable while the
        child shares it.

        With `own_memory` the child first executes `rsyscall-stub`. A process that may trace the child then
        cannot reach our memory, so it can stay beside commands that are not trusted; and attributes that the
        kernel keeps per address space (`prctl(PR_SET_MDWE)`, oom_score_adj) are its own. It has the
        descriptors 0, 1 and 2, those in `inherit`, and those that were not close-on-exec, and no others. We
        drive it through a ring in a memory file, or over a stream where that is denied. Its children share
        its memory and its file, so we drive them through rings, too. If it has a stream, or with
        `own_memory`, they are copies of it, and we drive them over streams.

        Args:
            flags: FILES and FS to share, NEW... for new namespaces.
            automatically_write_user_mappings: with NEWUSER, map our user and group to themselves.
            own_memory: give the child memory of its own. Not with FILES.
            inherit: with `own_memory`, descriptors of ours that the child gets; `inherit_fd` makes its
                handles.
            id_maps: with NEWUSER, the users and groups to map instead. newuidmap and newgidmap write the
                mapping where only they may.

        Raises:
            ValueError: `own_memory` with FILES; `inherit` without `own_memory`, or with a descriptor of
                another table; `id_maps` without NEWUSER; a flag that no child of ours can have.
            OSError: filename is the flags, filename2 the path or handle of a call that failed, if any; no
                process is left behind.
            SyscallError: our process has exited or executed a program.
            TypeError: the second argument is a flag, too.

        manpage: clone3(2)
        """
        if (
            flags.__class__ is not CLONE
            or int(flags) & _NOT_FOR_CLONE
            or automatically_write_user_mappings.__class__ is not bool
            or own_memory.__class__ is not bool
            or inherit != ()
            or id_maps is not None
        ):
            # Not with the module: most programs do not use it.
            from rsyscall.run_checks import check_clone

            check_clone(flags, automatically_write_user_mappings, own_memory, inherit, id_maps)
            automatically_write_user_mappings &= id_maps is None
        try:
            child = await self._clone(flags, automatically_write_user_mappings, own_memory, inherit)
            if id_maps is not None:
                await self._map_ids(child, id_maps)
            if ignored := self.monitor.hub.ignored_until_exec:
                await ignore_until_exec(child.task, child.ram, ignored)
            return child
        except OSError as error:
            if error.filename is not flags:
                error.filename, error.filename2 = flags, error.filename
            raise

    async def _map_ids(self, child: ChildThread, id_maps: IdMaps) -> None:
        # Most programs do not use it.
        from rsyscall.id_maps import write_id_maps

        try:
            await write_id_maps(child, id_maps, self)
        except BaseException:
            await end_process(child.process)
            raise

    async def _clone(
        self,
        flags: CLONE,
        automatically_write_user_mappings: bool,
        own_memory: bool,
        inherit: Sequence[FileDescriptor],
    ) -> ChildThread:
        mapping = None
        numeric = int(flags)
        if numeric & _NEWUSER and automatically_write_user_mappings:
            mapping = (await self.task.getuid(), await self.task.getgid())
        if own_memory or self.loader.hub is None:
            return await self._clone_own_memory(flags, mapping, own_memory, inherit)
        # Made on demand in the local thread: early enough for the child to inherit their descriptors.
        connection, parent_epoller = self.connection, self.epoller
        if transport_name() == "ring":
            process, task = await clone_ring_task(self.task, self.loader, self.monitor, flags)
        else:
            process, task = await clone_child_task(
                self.task,
                self.ram,
                connection,
                self.loader,
                self.monitor,
                flags,
                lambda sock: Trampoline(self.loader.server_func, [sock, sock]),
            )
        try:
            # Children use their parent's way to memory: it is the same memory.
            ram = RAM(task, self.ram.transport, self.ram.allocator.inherit(task))
            epoller = parent_epoller.inherit(ram)
            if numeric & _NEWPID:
                # The kernel does not let an init give its children away: it reaps them itself.
                monitor = ChildProcessMonitor.make_own(ram, task, self.monitor.hub)
                monitor.adopt_orphans(process)
            else:
                monitor = self.monitor.inherit_to_child(task)
            channels = connection.inherit(task, ram)
            child = self._child(process, task, ram, channels, self.loader, epoller, monitor)
            if self.loader.hub is not None:
                sender: weakref.ref[Sender] = weakref.ref(child.connection)
                self.loader.hub.senders[task] = sender
            if mapping is not None:
                await write_user_mappings(child, *mapping)
        except BaseException:
            await end_process(process)
            raise
        return child

    async def _clone_own_memory(
        self,
        flags: CLONE,
        mapping: tuple[int, int] | None,
        own_memory: bool,
        inherit: Sequence[FileDescriptor],
    ) -> ChildThread:
        # Not with the module: most programs do not use it.
        from rsyscall.far_children import FarMonitor, clone_far
        from rsyscall.own_memory import clone_own_memory

        if isinstance(self.monitor, FarMonitor):
            made = await clone_far(self, flags)
        else:
            made = await clone_own_memory(self, flags, own_memory, inherit)
        try:
            child = self._child(
                made.process, made.task, made.ram, made.connection, made.loader, made.epoller, made.monitor
            )
            if mapping is not None:
                await write_user_mappings(child, *mapping)
        except BaseException:
            await end_process(made.process)
            raise
        return child

    def _child(
        self,
        process: AsyncChildProcess,
        task: Task,
        ram: RAM,
        connection: Connection,
        loader: NativeLoader,
        epoller: Epoller,
        monitor: ChildProcessMonitor,
    ) -> ChildThread:
        """Make a thread of a child, with copies of our environment and standard descriptors."""
        return ChildThread(
            Thread(
                task,
                ram,
                connection,
                loader,
                epoller,
                monitor,
                self.environ.inherit(task, ram),
                inherit_standard_fd(task, self.stdin),
                inherit_standard_fd(task, self.stdout),
                inherit_standard_fd(task, self.stderr),
            ),
            process,
        )

    async def fork(self) -> ChildThread:
        """`clone()` with the default flags."""
        return await self.clone()

    async def run(
        self,
        command: Command,
        check: bool = True,
        *,
        task_status: trio.TaskStatus[AsyncChildProcess] = trio.TASK_STATUS_IGNORED,
        **options: Unpack[RunOptions],
    ) -> CompletedCommand:
        """Run a command and wait for it.

        The command gets the descriptors 0, 1 and 2 of this process and no others, unless the options say so.

        Args:
            command: the command.
            check: raise CalledProcessError if it does not exit with status 0.
            task_status: gets the child once it runs, for `nursery.start`.
            options: what it reads and writes, for how long it may run, and more: see `RunOptions`.

        Returns:
            How it ended, and its output, if that was captured.

        Raises:
            ValueError: one of its strings contains a NUL character, or a variable has an empty name or one
                that contains "="; options that contradict each other.
            OSError: it could not be executed; filename is its path.
            CalledProcessError: with `check`.
            CommandTimeoutError, a TimeoutError: with `timeout`.
            OutputLimitError: with `limit`.

        Cancellation: the command is ended and reaped. It is sent SIGTERM, and SIGKILL if it runs 5 seconds
        later still; `grace` sets another time.
        """
        if check is not True and check is not False:
            raise TypeError(f"check: expected True or False, not {check!r}")
        if options or transport_name() != "ring" or self.loader.hub is None:
            # Not with the module: most programs do not use it.
            from rsyscall.running import run

            return await run(self, command, check, task_status, **options)
        image = await make_image(self, command)
        calls = await mark_calls(self.task, self.ram)
        spawning = await start_spawn(self, CLONE.NONE, calls, image, command)
        child = spawning.process
        if task_status is not trio.TASK_STATUS_IGNORED:
            await spawning.wait_or_kill()
            task_status.started(child)
        try:
            state = await child.waitpid(W.EXITED)
        except BaseException:
            await end_command(child, GRACE)
            raise
        finally:
            # A process that could not exec exits; that is not news about the command.
            if spawning.error is not None:
                raise spawning.error
        completed = CompletedCommand.of(state, command)
        if check and state.exit_status != 0:
            raise CalledProcessError(completed, command)
        return completed

    def run_on_terminal(
        self,
        command: Command,
        *,
        size: Size | None = None,
        attributes: Termios | None = None,
        path: str = "/dev/ptmx",
        **options: Unpack[RunOptions],
    ) -> AbstractAsyncContextManager[TerminalSession]:
        """Run a command on a terminal of its own during the block, with this program at the other end of it.

            async with thread.run_on_terminal(shell, size=(24, 80)) as session:
                await session.expect("$ ")
                await session.write("exit\r")
                print(await session.wait())

        At the end of the block the terminal is hung up, so that the command gets SIGHUP; if it still runs it
        is ended as a cancelled `run` is.

        Args:
            command: the command.
            size, attributes, path: of the terminal, see `pty`.
            options: as for `run`. If the command reaches the `timeout`, the block is cancelled and raises
                CommandTimeoutError.

        Raises:
            OSError: there can be no terminal (see `pty`), or the command could not be executed.
        """
        from rsyscall.terminal import run_on_terminal

        return run_on_terminal(self, command, size, attributes, path, options)

    def prepare(self, flags: CLONE = CLONE.NONE) -> PreparedThread:
        """Prepare a child: note down its calls. `exec` makes the child, makes the calls in it, and executes.

        Args:
            flags: as for `clone`; NEWUSER is not possible.
        """
        if flags.__class__ is not CLONE:
            from rsyscall.run_checks import check_flags

            check_flags(flags)
        return PreparedThread(self, flags)

    async def exit(self, status: int = 0) -> None:
        """End the process.

        Args:
            status: 0 to 255, for the process that waits for this one.

        manpage: exit(2)
        """
        await self.task.exit(status)


class ChildThread(Thread):
    """A thread that is a child of ours: it can exec, and we can wait for it.

    Attributes:
        process: the child, to wait for and to signal.

    The init of a pid namespace adopts the orphans of that namespace, and reaps them in the background; so
    does a process after `adopt_orphans`. See `reaper`.
    """

    def __init__(self, thr: Thread, process: AsyncChildProcess) -> None:
        super()._init_from(thr)
        self.process = process

    @property
    def reaper(self) -> Reaper | None:
        """Reaps the orphans that this process adopts, and reports how they ended; None if it adopts none."""
        return self.monitor.reaper if self.monitor.task is self.task else None

    async def adopt_orphans(self) -> Reaper:
        """Become a subreaper: adopt the orphans among the descendants, and reap them in the background.

        From then on the processes that this one clones are its own children, not ours, and are killed when it
        exits. Reap all children that it made by `task.clone` before.

        Returns:
            The object that reaps them. An init has one from the beginning.

        manpage: PR_SET_CHILD_SUBREAPER(2const)
        """
        reaper = self.reaper
        if reaper is None:
            from rsyscall.sys.prctl import PR

            await self.task.prctl(PR.SET_CHILD_SUBREAPER, True)
            monitor = self.monitor.for_own_children(self.ram, self.task, self.epoller)
            reaper = monitor.adopt_orphans(self.process)
            self.monitor = monitor
        return reaper

    async def execv(
        self, path: StrPath, argv: Sequence[StrOrBytesPath], command: Command | None = None
    ) -> AsyncChildProcess:
        """Execute a program with the environment of this thread; see `execve`."""
        return await self.execve(path, argv, command=command)

    async def execve(
        self,
        path: StrPath,
        argv: Sequence[StrOrBytesPath],
        env_updates: Mapping[str, StrOrBytesPath] = {},
        inherited_signal_blocks: list[SignalBlock] = [],
        command: Command | None = None,
        *,
        restore_signals: bool = True,
    ) -> AsyncChildProcess:
        """Execute a program in this process.

        The signal mask of the program has only the signals of `inherited_signal_blocks`; signals that Python
        ignores have their default effect again. If the program cannot be executed, the process is as it was
        before, mask included.

        Args:
            path: the program.
            argv: its arguments, beginning with its name.
            env_updates: changes to the environment of this thread.
            inherited_signal_blocks: signals that stay blocked in the program.
            command: for messages about how it ends.
            restore_signals: give SIGPIPE and SIGXFSZ, which Python ignores, their default effect.

        Returns:
            The child, which runs the program now.

        Raises:
            ValueError: one of its strings contains a NUL character, or a variable has an empty name or one
                that contains "=".
            OSError: filename is the path.
            SyscallError: the process has gone.

        manpage: execve(2)
        """
        envp = await self.environ.for_exec(self.ram, env_updates)
        return await self._execve(path, argv, envp, inherited_signal_blocks, command, restore_signals)

    async def _execve(
        self,
        path: StrPath,
        argv: Sequence[StrOrBytesPath],
        envp: WrittenPointer[ArgList] | list[str],
        inherited_signal_blocks: list[SignalBlock],
        command: Command | None,
        restore_signals: bool,
    ) -> AsyncChildProcess:
        mask = Sigset().union(*(block.mask for block in inherited_signal_blocks))
        try:
            await exec_with_signals(
                self.task, self.ram, path, argv, envp, command, Sigset(mask), restore_signals
            )
        except OSError:
            self.monitor.signals_missed(self.task)
            raise
        if self.monitor.reaper is not None:
            self.monitor.reaper.stop()
        return self.process

    async def exec(
        self, command: Command, inherited_signal_blocks: list[SignalBlock] = []
    ) -> AsyncChildProcess:
        """Execute a command in this process; see `execve`."""
        check_command(command)
        envp = await self.environ.for_exec(
            self.ram, command.env_updates, command.env_unset, command.env_cleared
        )
        return await self._execve(
            command.executable_path, command.arguments, envp, inherited_signal_blocks, command, True
        )
