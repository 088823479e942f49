"""Every option of `run`, `clone` and `Limits` misused: the error names the option, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from support import children, local_thread, sh

from rsyscall.command import Command
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.linux.ioprio import IOPRIO_CLASS
from rsyscall.run_limits import Limits
from rsyscall.running import DEVNULL, PIPE, STDOUT
from rsyscall.sched import CLONE
from rsyscall.sys.resource import RLIMIT
from rsyscall.sys.wait import W
from rsyscall.unistd import ArgList

TRUE = sh("true")
NAN = float("nan")


# ---- run ----

OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"stdin": PIPE}, ValueError, "stdin=PIPE"),
    ({"stdin": STDOUT}, TypeError, "stdin"),
    ({"stdin": 3}, TypeError, "stdin"),
    ({"stdin": 1.5}, TypeError, "stdin"),
    ({"stdin": True}, TypeError, "stdin"),
    ({"stdin": object()}, TypeError, "stdin"),
    ({"stdin": "/nonexistent"}, FileNotFoundError, "nonexistent"),
    ({"stdin": "/\0"}, ValueError, "null byte"),
    ({"stdout": b"x"}, TypeError, "stdout"),
    ({"stdout": 1}, TypeError, "stdout"),
    ({"stdout": True}, TypeError, "stdout"),
    ({"stdout": STDOUT}, ValueError, "stdout"),
    ({"stdout": "/nonexistent/x"}, FileNotFoundError, "nonexistent"),
    ({"stderr": [b"x"]}, TypeError, "stderr"),
    ({"stderr": 2}, TypeError, "stderr"),
    ({"stderr": "/"}, IsADirectoryError, "/"),
    ({"capture": 1}, TypeError, "capture"),
    ({"capture": "yes"}, TypeError, "capture"),
    ({"capture": True, "stdout": DEVNULL, "stderr": DEVNULL, "limit": 5}, ValueError, "limit"),
    ({"limit": 5}, ValueError, "limit"),
    ({"limit": -1, "capture": True}, ValueError, "limit"),
    ({"limit": 1.5, "capture": True}, TypeError, "limit"),
    ({"limit": NAN, "capture": True}, TypeError, "limit"),
    ({"limit": True, "capture": True}, TypeError, "limit"),
    ({"on_limit": "explode", "limit": 1, "capture": True}, ValueError, "on_limit"),
    ({"on_limit": None, "limit": 1, "capture": True}, ValueError, "on_limit"),
    ({"on_limit": "kill", "capture": True}, ValueError, "on_limit"),
    ({"timeout": -1}, ValueError, "timeout"),
    ({"timeout": NAN}, ValueError, "timeout"),
    ({"timeout": "1"}, TypeError, "timeout"),
    ({"timeout": True}, TypeError, "timeout"),
    ({"grace": -0.1}, ValueError, "grace"),
    ({"grace": NAN}, ValueError, "grace"),
    ({"grace": None}, TypeError, "grace"),
    ({"cwd": 3}, TypeError, "cwd"),
    ({"cwd": b"/"}, TypeError, "cwd"),
    ({"cwd": "/nonexistent"}, FileNotFoundError, r"chdir\(.*nonexistent"),
    ({"cwd": "/dev/null"}, NotADirectoryError, r"chdir\(.*null"),
    ({"cwd": "/\0"}, ValueError, "null byte"),
    ({"env": ["A=B"]}, TypeError, "env"),
    ({"env": {"A=B": "c"}}, ValueError, "A=B"),
    ({"env": {"": "c"}}, ValueError, "name of an env"),
    ({"env": {"A": "\0"}}, ValueError, "null char"),
    ({"env": {"A": 1}}, TypeError, "env"),
    ({"env": {1: "A"}}, TypeError, "env"),
    ({"clear_env": "yes"}, TypeError, "clear_env"),
    ({"pass_fds": 3}, TypeError, "pass_fds"),
    ({"pass_fds": [3]}, TypeError, "pass_fds"),
    ({"pass_fds": {-1: local_thread.stdin}}, ValueError, "pass_fds"),
    ({"pass_fds": {"3": local_thread.stdin}}, TypeError, "pass_fds"),
    ({"pass_fds": {True: local_thread.stdin}}, TypeError, "pass_fds"),
    ({"pass_fds": {3: None}}, TypeError, "pass_fds"),
    ({"pass_fds": {1: local_thread.stdin}, "capture": True}, ValueError, "pass_fds"),
    ({"pass_fds": {1 << 30: local_thread.stdin}}, OSError, "dup3"),
    ({"close_fds": None}, TypeError, "close_fds"),
    ({"tree": "forest"}, ValueError, "tree"),
    ({"tree": None}, ValueError, "tree"),
    ({"tree": 1}, ValueError, "tree"),
    ({"limits": {"nofile": 3}}, TypeError, "limits"),
    ({"limits": Limits(affinity=[1000])}, OSError, "sched_setaffinity"),
    ({"terminal": 3}, TypeError, "terminal"),
    ({"setup": 3}, TypeError, "setup"),
    ({"shell": True}, TypeError, "shell"),
    ({"input": b""}, TypeError, "input"),
]


# In a few tests: what is counted around a test takes longer than all of them.
@pytest.mark.parametrize("part", range(4))
async def test_options(part: int) -> None:
    before = children()
    for options, error, words in OPTIONS[part::4]:
        with pytest.raises(error, match=words):
            await local_thread.run(TRUE, **options)
    assert children() == before


def test_every_option_is_misused() -> None:
    from rsyscall.running import RunOptions

    assert set(RunOptions.__annotations__) <= {name for options, *_ in OPTIONS for name in options}
    assert set(Limits.__dataclass_fields__) <= {name for options, *_ in LIMITS for name in options}


async def test_check_is_no_number() -> None:
    check: Any
    for check in (None, 1, "yes", CLONE.NONE):
        with pytest.raises(TypeError, match="check"):
            await local_thread.run(TRUE, check)


HANDLES: list[Callable[[Any], dict[str, Any]]] = [
    lambda fd: {"stdin": fd},
    lambda fd: {"stdout": fd},
    lambda fd: {"stderr": fd},
    lambda fd: {"cwd": fd},
    lambda fd: {"pass_fds": [fd]},
    lambda fd: {"pass_fds": {7: fd}},
    lambda fd: {"limits": Limits(cgroup=fd)},
    lambda fd: {"limits": Limits(cgroup=fd), "tree": "cgroup"},
]


@pytest.mark.parametrize("options", HANDLES)
async def test_closed_and_foreign_handles(options: Callable[[Any], dict[str, Any]]) -> None:
    before = children()
    closed = await local_thread.task.open(await local_thread.ptr("/"), O.RDONLY)
    await closed.close()
    with pytest.raises(InvalidHandleError):
        await local_thread.run(TRUE, **options(closed))
    child = await local_thread.clone()
    async with child.process:
        foreign = await child.task.open(await child.ptr("/"), O.RDONLY)
        with pytest.raises(FDTableMismatchError):
            await local_thread.run(TRUE, **options(foreign))
    assert children() == before


@pytest.mark.needs("/dev/ptmx")
async def test_closed_terminal() -> None:
    pty = await local_thread.pty()
    await pty.close()
    with pytest.raises(InvalidHandleError):
        await local_thread.run(TRUE, terminal=pty)


async def test_setup_that_fails() -> None:
    before = children()

    async def no_coroutine(child: Any) -> None:
        raise LookupError("in setup")

    with pytest.raises(LookupError, match="in setup"):
        await local_thread.run(TRUE, stdin=b"x", capture=True, setup=no_coroutine)
    with pytest.raises(TypeError, match="setup"):
        await local_thread.run(TRUE, setup=lambda child: None)  # type: ignore[arg-type, return-value] # the mistake
    with pytest.raises(ValueError, match="cannot be prepared"):
        await local_thread.run(TRUE, setup=lambda child: child.task.getpid())
    assert children() == before


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("ls", TypeError, "expected a Command, not 'ls'"),
        (["ls"], TypeError, "expected a Command"),
        (Command("ls", ["ls"], {}), FileNotFoundError, "'ls'"),
        (Command("/nonexistent", ["x"], {}), FileNotFoundError, "/nonexistent"),
        (Command("/", ["x"], {}), PermissionError, "'/'"),
        (Command("/bin/sh", ["s\0h"], {}), ValueError, "NUL"),
    ],
)
async def test_command(command: Any, error: type[Exception], words: str) -> None:
    before = children()
    for options in ({}, {"capture": True}, {"tree": "group"}):
        with pytest.raises(error, match=words):
            await local_thread.run(command, **options)
    assert children() == before


async def test_program_as_text_in_a_child() -> None:
    child = await local_thread.clone()
    wrong: Any
    async with child.process:
        for wrong in ("ls", b"ls"):
            with pytest.raises(TypeError, match="argv"):
                await child.execv("/bin/ls", wrong)
        with pytest.raises(TypeError, match="expected str, bytes"):
            await child.execv(3, ["ls"])  # type: ignore[arg-type] # the mistake
        for wrong in (3, None, b"ls"):
            with pytest.raises(TypeError, match="name of a program"):
                await child.environ.which(wrong)
        with pytest.raises(FileNotFoundError, match="'ls'"):
            await child.execv("ls", ["ls"])
        path, argv = await child.ptr("/bin/ls"), await child.ptr(ArgList([await child.ptr("ls")]))
        missing = await child.ptr("/nonexistent")
        with pytest.raises(TypeError, match=r"await thread\.ptr\('/bin/ls'\)"):
            await child.task.execve("/bin/ls", argv, argv)  # type: ignore[arg-type] # the mistake
        with pytest.raises(TypeError, match=r"await thread\.ptr\('/bin/ls'\)"):
            await child.task.execveat(None, "/bin/ls", argv, argv)  # type: ignore[arg-type] # the mistake
        for wrong in (["ls"], "ls", None):
            with pytest.raises(TypeError, match=r"argv.*ArgList"):
                await child.task.execve(path, wrong, argv)
            with pytest.raises(TypeError, match=r"envp.*ArgList"):
                await child.task.execve(path, argv, wrong)
        with pytest.raises(FileNotFoundError, match="/nonexistent"):
            await child.task.execve(missing, argv, await child.ptr(ArgList([])))
        # It is as it was.
        assert await child.task.getpid() == child.process.process.near


# ---- limits ----

LIMITS: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"rlimits": {"files": 3}}, ValueError),
    ({"rlimits": {"none": 3}}, ValueError),
    ({"rlimits": {7: 3}}, TypeError),
    ({"rlimits": {"nofile": (3, 2)}}, ValueError),
    ({"rlimits": {"nofile": -1}}, ValueError),
    ({"rlimits": {"nofile": 1 << 64}}, ValueError),
    ({"rlimits": {"nofile": "3"}}, TypeError),
    ({"rlimits": {"nofile": (1, 2, 3)}}, TypeError),
    ({"rlimits": {RLIMIT.CORE: 1.5}}, TypeError),
    ({"rlimits": [("nofile", 3)]}, TypeError),
    ({"nice": 20}, ValueError),
    ({"nice": -21}, ValueError),
    ({"nice": "5"}, TypeError),
    ({"ioprio": 5}, TypeError),
    ({"ioprio": (2, 4)}, TypeError),
    ({"ioprio": (IOPRIO_CLASS.BE, 8)}, ValueError),
    ({"affinity": []}, ValueError),
    ({"affinity": [-1]}, ValueError),
    ({"affinity": ["0"]}, ValueError),
    ({"affinity": 0}, TypeError),
    ({"oom_score_adj": 1001}, ValueError),
    ({"oom_score_adj": "0"}, TypeError),
    ({"umask": 0o1000}, ValueError),
    ({"umask": "022"}, TypeError),
    ({"session": 1}, TypeError),
    ({"process_group": 0}, TypeError),
    ({"session": True, "process_group": True}, ValueError),
    ({"pdeathsig": 65}, ValueError),
    ({"pdeathsig": "TERM"}, TypeError),
    ({"no_new_privs": "yes"}, TypeError),
    ({"capabilities": ["net_raw"]}, TypeError),
    ({"capabilities": "net_raw"}, TypeError),
    ({"capabilities": 0}, TypeError),
    ({"cgroup": 3}, TypeError),
    ({"id_maps": {0: 0}}, TypeError),
    ({"user": "no such user"}, ValueError),
    ({"user": -1}, ValueError),
    ({"user": 2**32 - 1, "group": 0}, ValueError),
    ({"user": 1 << 30}, ValueError),
    ({"user": True}, TypeError),
    ({"user": b"root"}, TypeError),
    ({"group": "no such group"}, ValueError),
    ({"group": 1.0}, TypeError),
    ({"extra_groups": ["no such group"]}, ValueError),
    ({"extra_groups": "root"}, TypeError),
    ({"extra_groups": 0}, TypeError),
]


def test_limits() -> None:
    for options, error in LIMITS:
        with pytest.raises(error, match=next(iter(options))):
            Limits(**options)


# ---- clone ----

CLONES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"flags": "NEWNS"}, TypeError, "flags"),
    ({"flags": None}, TypeError, "flags"),
    ({"flags": CLONE.VFORK}, ValueError, "VFORK"),
    ({"flags": CLONE.INTO_CGROUP}, ValueError, "INTO_CGROUP"),
    ({"flags": CLONE.NEWUSER, "automatically_write_user_mappings": 1}, TypeError, "user_mappings"),
    ({"own_memory": 1}, TypeError, "own_memory"),
    ({"own_memory": True, "flags": CLONE.FILES}, ValueError, "FILES"),
    ({"inherit": [local_thread.stdin]}, ValueError, "inherit"),
    ({"inherit": [3], "own_memory": True}, TypeError, "inherit"),
    ({"inherit": 3, "own_memory": True}, TypeError, "inherit"),
    ({"id_maps": {}, "flags": CLONE.NEWUSER}, TypeError, "id_maps"),
]


async def test_clone() -> None:
    before = children()
    for options, error, words in CLONES:
        with pytest.raises(error, match=words):
            await local_thread.clone(**options)
    assert children() == before


async def test_clone_inherits_no_closed_or_foreign_handle() -> None:
    before = children()
    closed = await local_thread.task.open(await local_thread.ptr("/"), O.RDONLY)
    await closed.close()
    child = await local_thread.clone()
    async with child.process:
        foreign = await child.task.open(await child.ptr("/"), O.RDONLY)
        for fd, error in ((closed, InvalidHandleError), (foreign, (FDTableMismatchError, ValueError))):
            with pytest.raises(error):
                await local_thread.clone(own_memory=True, inherit=[fd])
            with pytest.raises(error):
                child.prepare().enter_cgroup(fd) if fd is closed else local_thread.prepare().enter_cgroup(fd)
    assert children() == before


async def test_prepare() -> None:
    for flags in ("NEWNS", None, 1.5):
        wrong: Any = flags
        with pytest.raises(TypeError, match="flags"):
            local_thread.prepare(wrong)
    with pytest.raises(ValueError, match="NEWUSER"):
        local_thread.prepare(CLONE.NEWUSER)
    for call in (partial(local_thread.prepare().exec, "ls"), partial(local_thread.prepare().enter_cgroup, 3)):
        with pytest.raises(TypeError):
            result: Any = call()  # type: ignore[operator] # the mistake
            await result


async def test_waiting_without_waiting() -> None:
    child = await local_thread.clone()
    async with child.process:
        with pytest.raises(ValueError, match=r"NOHANG.*death_state"):
            await child.process.waitpid(W.EXITED | W.NOHANG)
        assert child.process.process.death_state is None
