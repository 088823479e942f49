"""The arguments of execve: checked, written into memory, and given to the kernel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import trio

from rsyscall.async_signalfd import mask_settled
from rsyscall.command import Command
from rsyscall.environ import checked_variable
from rsyscall.handle import Pointer, Task, WrittenPointer
from rsyscall.native.fast import exec_image, exec_strings, write_memory
from rsyscall.near import Syscall, SyscallHangup, nr
from rsyscall.signal import SIG, HowSIG, Sigaction, Sighandler, Sigset

if TYPE_CHECKING:
    from rsyscall.command import StrOrBytesPath, StrPath
    from rsyscall.environ import Environment
    from rsyscall.memory.ram import RAM

__all__ = [
    "ExecImage",
    "call_error",
    "check_command",
    "check_strings",
    "exec_after",
    "exec_with_signals",
    "ignore_until_exec",
    "make_image",
]

# A program that inherits these as ignored is not ended by a write to a closed pipe.
_IGNORED_BY_PYTHON = (SIG.PIPE, SIG.XFSZ)
_SIGSET_SIZE = Sigset.sizeof()
_SIGACTION_SIZE = Sigaction.sizeof()


class _Parent(Protocol):
    """The parts of a thread from which the programs of its children get their arguments."""

    @property
    def ram(self) -> RAM: ...
    @property
    def environ(self) -> Environment: ...


def check_command(command: object) -> None:
    """Refuse what is no `Command`.

    Raises:
        TypeError: says how to make one.
    """
    if not isinstance(command, Command):
        raise TypeError(
            f"expected a Command, not {command!r}: await thread.environ.which(name) finds a program and "
            "makes one, Command(path, [name, argument...], {}) takes a path"
        )


def check_strings(command: Command) -> None:
    """Refuse strings that execve cannot pass to a program.

    Raises:
        ValueError: a string contains a NUL character, or a variable has a name that it cannot have.
    """
    for name, value in command.env_updates.items():
        checked_variable(name, value)
    for string in (command.executable_path, *command.arguments):
        if "\0" in string if type(string) is str else b"\0" in os.fsencode(string):
            raise ValueError(f"a string for a program cannot contain a NUL character: {os.fspath(string)!r}")


class ExecImage:
    """The arguments of execve, in memory: path, arguments and environment, in one allocation.

    Use `make`.

    Attributes:
        front: the address of what is in front of them.
    """

    __slots__ = ("argv", "envp", "front", "keep", "path", "path_text")

    def __init__(
        self, path_text: str, front: int, path: int, argv: int, envp: int, keep: tuple[object, ...]
    ) -> None:
        self.path_text: str = path_text
        self.front: int = front
        self.path: int = path
        self.argv: int = argv
        self.envp: int = envp
        self.keep: tuple[object, ...] = keep

    @staticmethod
    async def make(
        ram: RAM,
        path: StrPath,
        argv: Sequence[StrOrBytesPath],
        envp: WrittenPointer[Any] | Sequence[str],
        front: bytes = b"",
    ) -> ExecImage:
        """Write it.

        Args:
            ram: memory of the process that will exec.
            path: of the program.
            argv: its arguments, beginning with its name.
            envp: its environment: strings of the form NAME=VALUE, or a pointer that was written before.
            front: memory for the calls before the exec; a multiple of 8 bytes.

        Raises:
            ValueError: a string contains a NUL character.
        """
        path_text = path if type(path) is str else os.fsdecode(path)
        if isinstance(argv, str | bytes):
            raise TypeError(
                f"argv: expected a list of arguments, the name of the program first, not {argv!r}"
            )
        argc = len(argv)
        words = argc + 1
        if isinstance(envp, Pointer):
            envc = -1
            strings = [path_text, *argv]
        else:
            envc = len(envp)
            words += envc + 1
            strings = [path_text, *argv, *envp]
        try:
            encoded = exec_strings(strings)
        except ValueError:
            wrong = next((string for string in strings if b"\0" in os.fsencode(string)), None)
            if wrong is None:
                raise
            raise ValueError(
                f"a string for a program cannot contain a NUL character: {os.fsencode(wrong)!r}"
            ) from None
        size = len(front) + 8 * words + len(encoded)
        here = ram.allocate_here(size)
        if here is None:
            pointer = await ram.malloc(bytes, size)
            keep: object = pointer
            start = pointer.near.address
            # No other code has the pointer, so we need not consume it.
            await ram.transport.write(pointer, exec_image(start, front, encoded, argc, envc))
        else:
            start, keep = here
            write_memory(start, exec_image(start, front, encoded, argc, envc))
        base = start + len(front)
        environ = envp.near.address if isinstance(envp, Pointer) else base + 8 * (argc + 1)
        return ExecImage(path_text, start, base + 8 * words, base, environ, (keep, envp))


async def exec_after(task: Task, calls: Sequence[Syscall], image: ExecImage, command: Command | None) -> None:
    """Make `calls` in a process and then execute `image` there, in one submission.

    Raises:
        OSError: a call failed, and those after it were not made; for the exec itself, filename is the path.
        SyscallError: the process has gone.

    manpage: execve(2)
    """
    every = [*calls, Syscall(nr.execve, image.path, image.argv, image.envp)]
    task.check_not_manipulating()
    task.manipulating_fd_table = True
    try:
        results = await task.sysif.syscalls(every, linked=True)
    except SyscallHangup as hangup:
        if 0 < len(hangup.results) < len(calls):
            raise  # it died before it came to exec
    else:
        raise call_error(every, results, image.path_text)
    finally:
        task.manipulating_fd_table = False
    task.did_exec(command)
    await task.sysif.close_interface()


async def exec_with_signals(
    task: Task,
    ram: RAM,
    path: StrPath,
    argv: Sequence[StrOrBytesPath],
    envp: WrittenPointer[Any] | Sequence[str],
    command: Command | None,
    mask: Sigset,
    restore: bool,
) -> None:
    """Execute a program with another signal mask. If that fails, the process has the old one again.

    Args:
        path, argv, envp: see `ExecImage.make`.
        mask: the signals that are blocked in the program.
        restore: give SIGPIPE and SIGXFSZ, which Python ignores, their default action.

    Raises:
        ValueError, OSError, SyscallError: as `ExecImage.make` and `exec_after`.

    manpage: execve(2)
    """
    changed = (*(_IGNORED_BY_PYTHON if restore else ()), *task.ignored_until_exec)
    # The mask, the default action (zeros), and room where the kernel stores the old mask and the old actions.
    room = _SIGSET_SIZE + (1 + len(changed)) * _SIGACTION_SIZE
    image = await ExecImage.make(ram, path, argv, envp, mask.to_bytes() + bytes(room))
    old_mask = image.front + _SIGSET_SIZE
    default = old_action = old_mask + _SIGSET_SIZE
    calls = []
    for sig in changed:
        old_action += _SIGACTION_SIZE
        calls.append(Syscall(nr.rt_sigaction, sig, default, old_action, _SIGSET_SIZE))
    calls.append(Syscall(nr.rt_sigprocmask, HowSIG.SETMASK, image.front, old_mask, _SIGSET_SIZE))
    await mask_settled(task)
    # A change that another coroutine makes meanwhile would be undone, too.
    task.sigprocmask_running = True
    try:
        await exec_after(task, calls, image, command)
    except OSError:
        # The same calls, with what the kernel has stored.
        undo = [call._replace(arg2=call.arg3, arg3=0) for call in calls]
        with trio.CancelScope(shield=True):
            await task.sysif.syscalls(undo)
        raise
    finally:
        task.sigprocmask_running = False


async def ignore_until_exec(task: Task, ram: RAM, signals: frozenset[SIG]) -> None:
    """Have a process ignore signals, and the program that it executes not.

    Args:
        ram: memory of the process.

    manpage: sigaction(2)
    """
    action = await ram.ptr(Sigaction(Sighandler.IGN))
    for sig in signals:
        await task.sigaction(sig, action, None)
    task.ignored_until_exec = signals


def call_error(calls: Sequence[Syscall], results: Sequence[int], path: str) -> OSError:
    """Return the error of linked calls, the last of which is an exec: that of the first call that failed.

    Args:
        calls: all of them; their memory is still there.
        results: of all of them.
        path: of the exec.
    """
    index = next(index for index, result in enumerate(results) if result < 0)
    number = -results[index]
    if index == len(calls) - 1:
        return OSError(number, os.strerror(number), path)
    # Only now: importing the large table takes time.
    from rsyscall.trace_calls import describe_call

    return OSError(number, f"{os.strerror(number)}: {describe_call(calls[index])} before exec of {path}")


async def make_image(parent: _Parent, command: Command) -> ExecImage:
    """Write the arguments of execve for `command`, with the environment of `parent` and its own updates."""
    if type(command) is not Command:
        check_command(command)
    envp = await parent.environ.for_exec(
        parent.ram, command.env_updates, command.env_unset, command.env_cleared
    )
    return await ExecImage.make(parent.ram, command.executable_path, command.arguments, envp)
