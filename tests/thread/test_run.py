"""`Thread.run` with options: what a command reads and writes, how long it runs, and how it is ended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from place import Place
from support import children, is_running, local_thread, sh
from waiting import wait_until

from rsyscall.command import Command
from rsyscall.completed import CommandTimeoutError, CompletedCommand, OutputLimitError
from rsyscall.fcntl import O
from rsyscall.handle.fd import FDTableMismatchError, InvalidHandleError
from rsyscall.monitor import AsyncChildProcess
from rsyscall.running import DEVNULL, PIPE, STDOUT
from rsyscall.sched import CLONE
from rsyscall.spawn import PreparedThread
from rsyscall.sys.wait import CalledProcessError

CAT = Command("/bin/cat", ["cat"], {})
IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


async def test_input_is_fed_and_output_captured(transport: str) -> None:
    script = sh("cat; echo error >&2; exit 3")
    result = await local_thread.run(script, check=False, stdin=b"input\n", capture=True)
    assert (result.stdout, result.stderr) == (b"input\n", b"error\n")
    assert (result.exit_status, result.returncode, result.describe()) == (3, 3, "exited with status 3")
    assert result.usage is not None
    assert result.usage.maxrss > 100
    with pytest.raises(CalledProcessError) as caught:
        await local_thread.run(script, stdin=DEVNULL, capture=True)
    assert (caught.value.stdout, caught.value.stderr) == (b"", b"error\n")


async def test_streams_of_a_child(transport: str) -> None:
    child = await local_thread.clone()
    async with child.process:
        data = os.urandom(300_000)
        assert (await child.run(CAT, stdin=data, stdout=PIPE)).stdout == data


async def test_streams_of_a_child_with_memory_of_its_own() -> None:
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        data = os.urandom(300_000)
        result = await child.run(CAT, stdin=data, capture=True, cwd="/usr", env={"A": "1"})
        assert result.stdout == data
        assert result.usage is not None
        with pytest.raises(CommandTimeoutError):
            await child.run(sh(IGNORES_TERM), timeout=0.05, grace=0.05, capture=True)


@pytest.mark.needs("pid namespaces")
async def test_streams_in_a_pid_namespace() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    async with init.process:
        result = await init.run(sh("cat; kill -TERM $$"), check=False, stdin=b"x" * 100_000, capture=True)
        assert result.stdout == b"x" * 100_000
        assert result.returncode == -signal.SIGTERM
        assert result.usage is not None
        with pytest.raises(CommandTimeoutError):
            await init.run(sh(IGNORES_TERM), timeout=0.05, grace=0.05, capture=True)


async def test_both_directions_at_once_do_not_block_each_other() -> None:
    data = os.urandom(3_000_000)
    result = await local_thread.run(CAT, stdin=data, capture=True)
    assert result.stdout == data


async def test_command_that_reads_nothing_is_no_error() -> None:
    await local_thread.run(sh("exec <&-; exit 0"), stdin=b"x" * 1_000_000)


async def test_iterables_and_functions() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            await trio.lowlevel.checkpoint()
            yield b"%d\n" % number

    send, receive = trio.open_memory_channel[bytes](0)
    got: list[bytes] = []

    async def collect() -> None:
        async for piece in receive:
            got.append(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        async with send:
            await local_thread.run(CAT, stdin=pieces(), stdout=send.send)
    assert b"".join(got) == b"0\n1\n2\n"
    assert (await local_thread.run(CAT, stdin=[b"a", b"b"], capture=True)).stdout == b"ab"


async def test_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before, and longer")
    await local_thread.run(sh("echo out; echo err >&2"), stdout=path, stderr=STDOUT)
    assert path.read_bytes() == b"out\nerr\n"
    assert (await local_thread.run(CAT, stdin=str(path), capture=True)).stdout == b"out\nerr\n"
    with path.open("wb") as file:
        await local_thread.run(sh("echo python; echo err >&2"), stdout=file, stderr=DEVNULL)
    async with await local_thread.task.open(await local_thread.ptr(str(path)), O.RDONLY) as handle:
        assert (await local_thread.run(CAT, stdin=handle, stdout=PIPE)).stdout == b"python\n"


async def test_output_and_error_output_in_one() -> None:
    result = await local_thread.run(sh("echo out; echo err >&2"), capture=True, stderr=STDOUT)
    assert (result.stdout, result.stderr) == (b"out\nerr\n", None)


async def test_descriptors_that_change_places() -> None:
    first = await local_thread.pipe()
    second = await local_thread.pipe()
    one, two = first.write, second.write
    script = sh(f"echo a >/proc/self/fd/{int(one)}; echo b >/proc/self/fd/{int(two)}")
    await local_thread.run(script, pass_fds={int(one): two, int(two): one})
    assert (await (await first.read.read(await local_thread.malloc(bytes, 9)))[0].read()) == b"b\n"
    assert (await (await second.read.read(await local_thread.malloc(bytes, 9)))[0].read()) == b"a\n"


async def test_nothing_else_is_passed_on(transport: str) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        script = sh("ls /proc/self/fd | wc -l")
        # The three, and the directory that ls opens.
        assert (await local_thread.run(script, stdout=PIPE)).stdout == b"4\n"
        open_there = f"test -e /proc/self/fd/{writer}"
        assert (await local_thread.run(sh(open_there), check=False)).exit_status == 1
        assert (await local_thread.run(sh(open_there), close_fds=False)).clean()
        pipe = await local_thread.pipe()
        await local_thread.run(sh("echo here >&7"), pass_fds={7: pipe.write})
        await local_thread.run(sh(f"echo there >/proc/self/fd/{int(pipe.write)}"), pass_fds=[pipe.write])
        valid, _ = await pipe.read.read(await local_thread.malloc(bytes, 100))
        assert await valid.read() == b"here\nthere\n"
    finally:
        os.close(reader)
        os.close(writer)


async def test_environment_and_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INHERITED", "1")
    script = sh('echo "$PWD ${INHERITED-unset} ${NEW-unset}"').env(NEW="command")

    async def shown(**options: Any) -> list[str]:
        result = await local_thread.run(script, capture=True, cwd=tmp_path, **options)
        assert result.stdout is not None
        return result.stdout.decode().split()

    assert await shown() == [str(tmp_path), "1", "command"]
    assert await shown(env={"NEW": "option", "INHERITED": None}) == [str(tmp_path), "unset", "option"]
    assert await shown(clear_env=True) == [str(tmp_path), "unset", "command"]
    unset = sh('echo "${INHERITED-unset}"').unset("INHERITED")
    assert (await local_thread.run(unset, capture=True)).stdout == b"unset\n"
    cleared = Command("/usr/bin/env", ["env"], {}).env(A="1").clear_env().env(B="2")
    assert (await local_thread.run(cleared, capture=True)).stdout == b"B=2\n"
    child = await local_thread.clone()
    async with child.process:
        await child.exec(cleared)
        await child.process.check()
    assert str(cleared) == "env -i B=2 /usr/bin/env"
    assert str(unset).startswith("env -u INHERITED /bin/sh")
    async with await local_thread.task.open(await local_thread.ptr("/usr"), O.PATH) as directory:
        assert (await local_thread.run(sh("pwd"), cwd=directory, capture=True)).stdout == b"/usr\n"


async def test_setup_is_given_the_prepared_thread(transport: str) -> None:
    async def setup(child: PreparedThread) -> None:
        await child.task.umask(0o27)

    assert (await local_thread.run(sh("umask"), setup=setup, capture=True)).stdout == b"0027\n"

    async def fails(child: PreparedThread) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await local_thread.run(sh("true"), setup=fails, capture=True)


async def test_limit() -> None:
    script = sh("echo 0123456789; sleep 0.01; echo abc; exec sleep 100")
    with pytest.raises(
        OutputLimitError, match="more than 4 bytes to stdout; it was killed by SIGTERM"
    ) as caught:
        await local_thread.run(script, capture=True, limit=4)
    assert caught.value.result.stdout == b"0123"
    result = await local_thread.run(script, check=False, capture=True, limit=4, on_limit="kill")
    assert (result.stdout, result.truncated, result.returncode) == (b"0123", True, -signal.SIGKILL)
    result = await local_thread.run(sh("seq 100000"), capture=True, limit=4, on_limit="truncate")
    assert (result.stdout, result.truncated, result.returncode) == (b"1\n2\n", True, 0)
    result = await local_thread.run(sh("printf 0123"), capture=True, limit=4)
    assert (result.stdout, result.truncated) == (b"0123", False)


@pytest.mark.parametrize("check", [True, False])
async def test_timeout_ends_and_reaps(check: bool, transport: str) -> None:
    before = children()
    script = sh("trap 'echo last words; exit 7' TERM; echo before; while :; do sleep 0.01; done")
    error = await time_out(lambda timeout: local_thread.run(script, check, capture=True, timeout=timeout))
    assert (error.stdout, error.result.exit_status) == (b"before\nlast words\n", 7)
    error = await time_out(
        lambda timeout: local_thread.run(sh(IGNORES_TERM), check, timeout=timeout, grace=0.05, stdout=PIPE)
    )
    assert re.search(r"took longer than [0-9.]+ seconds; it was killed by SIGKILL", str(error))
    assert children() == before


async def time_out(
    run: Callable[[float], Awaitable[object]], ready: Callable[[bytes], bool] = bool
) -> CommandTimeoutError:
    """Run a command that does not end by itself until a timeout that is long enough for it to get ready.

    Args:
        run: runs it with this timeout; takes its output.
        ready: tells by the output whether the command was ready.
    """
    for timeout in (0.1, 1, 5, 20):
        with pytest.raises(TimeoutError) as caught:
            await run(timeout)
        assert isinstance(caught.value, CommandTimeoutError)
        if ready(caught.value.stdout or b""):
            break
    return caught.value


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("options", [{}, {"capture": True}])
async def test_cancelling_ends_and_reaps(check: bool, options: dict[str, Any], transport: str) -> None:
    before = children()
    pids: list[int] = []

    async def run(task_status: trio.TaskStatus[AsyncChildProcess]) -> None:
        await local_thread.run(sh("exec sleep 100"), check, task_status=task_status, **options)

    async with trio.open_nursery() as nursery:
        child = await nursery.start(run)
        pids.append(child.pid)
        assert is_running(child.pid)
        nursery.cancel_scope.cancel()
    assert not is_running(pids[0])
    assert children() == before


async def test_output_held_open_by_a_descendant_is_not_waited_for_after_a_timeout() -> None:
    script = sh("sleep 30 & echo $!")
    error = await time_out(lambda timeout: local_thread.run(script, capture=True, timeout=timeout))
    assert error.result.clean()
    assert error.stdout
    os.kill(int(error.stdout), signal.SIGKILL)


async def test_command_is_reaped_while_a_descendant_holds_its_output() -> None:
    async with trio.open_nursery() as nursery:
        results = []

        async def run(task_status: trio.TaskStatus[AsyncChildProcess]) -> None:
            command = sh("(read line; echo $line) <&3 & echo early")
            results.append(
                await local_thread.run(
                    command, task_status=task_status, capture=True, pass_fds={3: pipe.read}
                )
            )

        pipe = await local_thread.pipe()
        child = await nursery.start(run)
        await wait_until(lambda: not Path(f"/proc/{child.pid}").exists())
        await pipe.write.write(await local_thread.ptr(b"late\n"))
    assert results[0].stdout == b"early\nlate\n"
    await pipe.read.close()
    await pipe.write.close()


async def test_failing_function_for_output_ends_the_command() -> None:
    before = children()

    async def fail(piece: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await local_thread.run(sh("echo; exec sleep 100"), stdout=fail)
    assert children() == before


async def test_pipes_for_the_caller() -> None:
    async with trio.open_nursery() as nursery:
        child = await nursery.start(lambda **status: local_thread.run(CAT, stdin=PIPE, stdout=PIPE, **status))
        await child.stdin.write_all_bytes(b"there and back")
        assert await child.stdout.read_some_bytes() == b"there and back"
        await child.stdin.close()
        assert await child.stdout.read_some_bytes() == b""
        await child.stdout.close()


async def test_missing_program_leaves_nothing(transport: str) -> None:
    before = children()
    with pytest.raises(FileNotFoundError) as caught:
        await local_thread.run(Command("/nonexistent", ["x"], {}), stdin=b"x", capture=True)
    assert caught.value.filename == "/nonexistent"
    assert children() == before


DAEMONS = "(setsid sh -c 'trap : TERM; echo $$; exec >&- 2>&-; while :; do sleep 0.01; done' &); "


@pytest.mark.parametrize("kind", [True, "cgroup", "pidns"])
async def test_descendants_end_with_the_command(kind: Any, place: Place) -> None:
    if kind == "pidns":
        place.need("pid namespaces")
    if kind is True or kind == "cgroup":
        place.need("cgroups")
    before = children()
    script = f"trap '' TERM; {DAEMONS} {DAEMONS} "

    def run(end: str, timeout: float) -> Awaitable[CompletedCommand]:
        return local_thread.run(
            sh(script + end), check=False, capture=True, tree=kind, timeout=timeout, grace=0.02
        )

    for seconds in (0.1, 1, 5, 20):
        ended = await run(f"sleep {seconds}; exit 3", 60)
        assert ended.exit_status == 3
        if ended.stdout and ended.stdout.count(b"\n") == 2:
            break
    error = await time_out(
        lambda timeout: run("while :; do sleep 0.01; done", timeout), lambda output: output.count(b"\n") == 2
    )
    assert error.result.returncode == -signal.SIGKILL
    for output in (ended.stdout, error.stdout):
        assert output is not None
        if kind != "pidns":
            pids = [int(pid) for pid in output.split()]
            assert len(pids) == 2
            assert not any(map(is_running, pids))
    assert children() == before


async def test_process_group_ends_with_the_command(transport: str) -> None:
    script = "sleep 100 & echo $!; exit 3"
    result = await local_thread.run(sh(script), check=False, capture=True, tree="group")
    assert result.exit_status == 3
    assert result.stdout is not None
    pid = int(result.stdout)
    with trio.fail_after(60):
        while is_running(pid):  # noqa: ASYNC110 # it is no child of ours
            await trio.sleep(0.001)
    with pytest.raises(CommandTimeoutError) as caught:
        await local_thread.run(sh("sleep 100 & echo $!; wait; wait"), capture=True, tree="group", timeout=0.1)
    assert caught.value.result.killed_with() == signal.SIGTERM
    with pytest.raises(FileNotFoundError):
        await local_thread.run(Command("/nonexistent", ["x"], {}), tree="group")


@pytest.mark.needs("pid namespaces")
async def test_input_ends_in_a_pid_namespace() -> None:
    """Although its init has copies of both ends of all pipes."""
    assert (await local_thread.run(CAT, stdin=b"text", capture=True, tree="pidns")).stdout == b"text"
    with pytest.raises(FileNotFoundError):
        await local_thread.run(Command("/nonexistent", ["x"], {}), stdin=b"x", tree="pidns")


async def test_descriptors_that_are_not_of_the_thread() -> None:
    child = await local_thread.clone()
    async with child.process:
        theirs = await child.task.open(await child.ptr("/dev/null"), O.RDONLY)
        with pytest.raises(FDTableMismatchError, match="stdin"):
            await local_thread.run(sh("true"), stdin=theirs)
        await theirs.close()
    with pytest.raises(InvalidHandleError):
        await child.run(sh("true"), stdin=theirs)
