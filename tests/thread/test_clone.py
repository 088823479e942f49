"""Children: made, driven, executed, and gone."""

from __future__ import annotations

import errno
import gc
import os
import pathlib
import signal
from typing import Any

import pytest
import trio
import trio.testing
from support import assert_thread_works, children, do_async_things, local_thread, pid_of, sh
from waiting import wait_for_call, wait_until

from rsyscall.command import Command
from rsyscall.epoller import Epoller
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import FD, F, O
from rsyscall.monitor import AsyncSignalfd
from rsyscall.near import SYS, Syscall, SyscallError, SyscallHangup, SyscallSendError
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigset
from rsyscall.sys.mount import MS, UMOUNT
from rsyscall.sys.wait import CLD, CalledProcessError, W
from rsyscall.thread import ChildThread, do_cloexec_except
from rsyscall.time import Timespec
from rsyscall.unistd import OK

pytestmark = pytest.mark.usefixtures("transport")


async def finish(child: ChildThread) -> None:
    """Exit and reap."""
    await child.exit(0)
    state = await child.process.waitpid(W.EXITED)
    assert state.clean()


async def test_hello() -> None:
    """The smallest whole thing: clone, write from the child, exec, wait."""
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    stdout = child.inherit_fd(pipe.write)
    await stdout.write(await child.ptr(b"from the child\n"))
    await stdout.dup2(child.stdout)
    process = await child.exec(Command("/bin/echo", ["echo", "from the program"], {}))
    await pipe.write.close()
    await process.check()
    assert await local_thread.read_to_eof(pipe.read) == b"from the child\nfrom the program\n"


async def test_identity() -> None:
    child = await local_thread.clone()
    assert int(await child.task.getpid()) == int(child.process.process.near) != os.getpid()
    assert await child.task.getppid() == local_thread.task.near_process
    await finish(child)


async def test_exit_status() -> None:
    child = await local_thread.clone()
    await child.exit(7)
    state = await child.process.waitpid(W.EXITED)
    assert (state.code, state.exit_status) == (CLD.EXITED, 7)
    assert await child.process.waitpid(W.EXITED) == state, "a death is remembered"


async def test_three_levels() -> None:
    threads = [await local_thread.clone()]
    for _ in range(2):
        threads.append(await threads[-1].clone())
    pids = {int(await thread.task.getpid()) for thread in threads}
    assert len(pids) == 3
    for thread in threads:
        # CLONE_PARENT makes all of them our children, so that none depends on the one that made it.
        assert int(await thread.task.getppid()) == os.getpid()
    await finish(threads[0])
    assert await threads[2].task.getuid() == os.getuid()
    for thread in threads[1:]:
        await finish(thread)


async def test_exec_after_the_middle_is_gone() -> None:
    middle = await local_thread.clone()
    leaf = await middle.clone()
    outer = await middle.exec(sh("exit 3"))
    inner = await leaf.exec(sh("exit 4"))
    assert (await inner.waitpid(W.EXITED)).exit_status == 4
    assert (await outer.waitpid(W.EXITED)).exit_status == 3


async def test_many_alive_at_once() -> None:
    threads = [await local_thread.clone() for _ in range(60)]
    assert len({int(await thread.task.getpid()) for thread in threads}) == 60
    for thread in threads:
        await finish(thread)


async def test_shared_table_and_async_io() -> None:
    child = await local_thread.clone(CLONE.FILES)
    assert child.task.fd_table is local_thread.task.fd_table
    await assert_thread_works(child)
    grandchild = await child.clone(CLONE.FILES)
    await assert_thread_works(grandchild)
    await finish(grandchild)
    await finish(child)


async def test_async_io_with_private_table() -> None:
    child = await local_thread.clone()
    await assert_thread_works(child)
    await finish(child)


async def test_root_epoller() -> None:
    """A child that blocks in epoll_wait still serves other calls."""
    child = await local_thread.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    await do_async_things(epoller, child)
    for _ in range(20):
        assert int(await child.task.getpid()) == int(child.process.process.near)
    await do_async_things(epoller, child, 10000)
    await child.process.kill()
    await child.process.waitpid(W.EXITED)


async def test_unshare_files_then_async() -> None:
    child = await local_thread.clone(CLONE.FILES)
    await child.unshare_files()
    assert child.task.fd_table is not local_thread.task.fd_table
    grandchild = await child.clone(CLONE.FILES)
    await grandchild.unshare_files(going_to_exec=False)
    await assert_thread_works(grandchild)
    await finish(grandchild)
    await finish(child)


async def test_signal_queue() -> None:
    child = await local_thread.clone()
    epoller = await Epoller.make_root(child.ram, child.task)
    sigfd = await AsyncSignalfd.make(child.ram, child.task, epoller, Sigset({SIG.INT}))
    event = sigfd.next_signal
    await child.process.kill(SIG.INT)
    with trio.fail_after(60):
        await event.wait()
    await child.process.kill()
    await child.process.waitpid(W.EXITED)


async def test_two_children_exec() -> None:
    one = await local_thread.clone()
    two = await local_thread.clone()
    first = await one.exec(sh("true"))
    second = await two.exec(sh("true"))
    await first.check()
    await second.check()


async def test_unclean_exit() -> None:
    with pytest.raises(CalledProcessError) as caught:
        await local_thread.run(sh("exit 9"))
    assert caught.value.state.exit_status == 9
    assert "sh" in str(caught.value)
    assert (await local_thread.run(sh("exit 9"), check=False)).exit_status == 9


async def test_check_is_cancelled_by_terminating() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    with trio.move_on_after(0.05) as scope:
        await process.check()
    assert scope.cancelled_caught
    with trio.fail_after(60):
        state = await process.waitpid(W.EXITED)
    assert state.killed_with() == SIG.TERM


async def test_context_manager_kills() -> None:
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    async with process:
        pass
    assert process.process.death_state is not None
    assert process.process.death_state.killed_with() == SIG.KILL


async def test_several_wait_at_once() -> None:
    process = await (await local_thread.clone()).exec(sh("sleep 0.05; exit 5"))
    states = []

    async def wait() -> None:
        states.append(await process.waitpid(W.EXITED))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
    assert [state.exit_status for state in states] == [5] * 5


async def test_stop_and_continue() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    process = await (await local_thread.clone()).exec(sh("exec sleep 1000"))
    with trio.fail_after(60):
        await process.kill(SIG.STOP)
        assert (await process.waitpid(W.STOPPED)).code == CLD.STOPPED
        async with trio.open_nursery() as nursery:
            states = []

            async def wait() -> None:
                states.append(await process.wait(W.CONTINUED))

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await process.kill(SIG.CONT)
        assert states[0].code == CLD.CONTINUED
        await process.kill(SIG.TERM)
        assert (await process.wait()).killed_with() == SIG.TERM
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


# ---- exec that fails ----


async def test_exec_of_a_missing_file() -> None:
    child = await local_thread.clone()
    await child.task.sigprocmask(
        (1 and __import__("rsyscall.signal").signal.HowSIG.BLOCK, await child.ptr(Sigset({SIG.USR1})))
    )
    fds = len(os.listdir(f"/proc/{int(child.process.process.near)}/fd"))
    for _ in range(3):
        with pytest.raises(FileNotFoundError) as caught:
            await child.execve("/nonexistent/program", ["program"])
        assert "/nonexistent/program" in str(caught.value.filename)
    with open(f"/proc/{int(child.process.process.near)}/status") as status:
        fields = dict(line.split(":\t", 1) for line in status.read().splitlines())
    assert int(fields["SigBlk"], 16) == 1 << (SIG.USR1 - 1), "the signal mask is as it was"
    assert int(fields["SigIgn"], 16) == 1 << (SIG.PIPE - 1) | 1 << (SIG.XFSZ - 1)
    # The table is not poisoned: new handles can be made, and nothing has leaked.
    fd = await child.task.open(await child.ptr(Path("/dev/null")), O.RDONLY)
    await fd.close()
    assert len(os.listdir(f"/proc/{int(child.process.process.near)}/fd")) == fds
    process = await child.exec(sh("true"))
    await process.check()


async def test_exec_resets_signals() -> None:
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    await child.inherit_fd(pipe.write).dup2(child.stdout)
    process = await child.exec(Command("/bin/cat", ["cat", "/proc/self/status"], {}))
    await pipe.write.close()
    text = (await local_thread.read_to_eof(pipe.read)).decode()
    await process.check()
    for line in ("SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "SigCgt:\t0000000000000000"):
        assert line in text


async def test_pipeline_of_three() -> None:
    """EOF arrives although other children were cloned in between."""
    first, second = await local_thread.pipe(), await local_thread.pipe()
    out = await local_thread.pipe()
    processes = []
    bystanders = []
    for script, stdin, stdout in (
        ("echo b; echo a; echo c", None, first.write),
        ("sort", first.read, second.write),
        ("tr a-z A-Z", second.read, out.write),
    ):
        child = await local_thread.clone()
        if stdin is not None:
            await child.inherit_fd(stdin).dup2(child.stdin)
        await child.inherit_fd(stdout).dup2(child.stdout)
        processes.append(await child.exec(sh(script)))
        bystander = await local_thread.clone()
        await do_cloexec_except(bystander, {fd.near for fd in bystander.task.fd_handles})
        bystanders.append(bystander)
    for fd in (first.read, first.write, second.read, second.write, out.write):
        await fd.close()
    with trio.fail_after(60):
        assert await local_thread.read_to_eof(out.read) == b"A\nB\nC\n"
        for process in processes:
            await process.check()
    for bystander in bystanders:
        await finish(bystander)


async def test_environment_updates() -> None:
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    await child.inherit_fd(pipe.write).dup2(child.stdout)
    process = await child.exec(sh("echo $ONE $TWO").env(ONE="1", TWO="zwei"))
    await pipe.write.close()
    assert await local_thread.read_to_eof(pipe.read) == b"1 zwei\n"
    await process.check()


# ---- calls that block, and death ----


async def test_blocking_call_does_not_block_others() -> None:
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    other = await local_thread.clone()
    theirs = child.inherit_fd(pipe.read)
    results = []

    async def read() -> None:
        valid, _ = await theirs.read(await child.malloc(bytes, 10))
        results.append(await valid.read())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_for_call(pid_of(child), SYS.read, int(theirs))
        assert not results
        for _ in range(10):
            assert await other.task.getuid() == os.getuid()
        await pipe.write.write(await local_thread.ptr(b"hello"))
    assert results == [b"hello"]
    await finish(other)
    await finish(child)


async def test_cancelled_caller_gets_the_result() -> None:
    """A call that was sent is waited for; cancellation is delivered before sending."""
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    theirs = child.inherit_fd(pipe.read)
    results = []
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                valid, _ = await theirs.read(await child.malloc(bytes, 10))
                results.append(valid.size())

            nursery.start_soon(read)
            await wait_for_call(pid_of(child), SYS.read, int(theirs))
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            assert not results
            os.write(int(pipe.write), b"abc")
    assert results == [3], "nothing is lost"
    buf = await child.malloc(bytes, 10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await theirs.read(buf)
        raise AssertionError("not reached")
    assert scope.cancelled_caught
    # It was never sent: the child is free.
    assert await child.task.getuid() == os.getuid()
    await finish(child)


async def test_kill_during_a_call() -> None:
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    theirs = child.inherit_fd(pipe.read)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(SyscallHangup):
                await theirs.read(await child.malloc(bytes, 10))

        async def behind() -> None:
            with pytest.raises(SyscallError):
                await child.task.getpid()

        nursery.start_soon(read)
        await wait_for_call(pid_of(child), SYS.read, int(theirs))
        nursery.start_soon(behind)
        await trio.testing.wait_all_tasks_blocked()
        os.kill(int(child.process.process.near), signal.SIGKILL)
        with trio.fail_after(60):
            assert (await child.process.waitpid(W.EXITED)).killed_with() == SIG.KILL
    with pytest.raises(SyscallSendError):
        await child.task.getpid()


async def test_submission_of_many() -> None:
    child = await local_thread.clone()
    calls = [Syscall(SYS.getuid), Syscall(SYS.close, 9999), Syscall(SYS.getpid)] * 100
    results = await child.task.sysif.syscalls(calls)
    pid = int(child.process.process.near)
    assert results == [os.getuid(), -errno.EBADF, pid] * 100
    linked = await child.task.sysif.syscalls(calls[:3], linked=True)
    assert linked == [os.getuid(), -errno.EBADF, -errno.ECANCELED]
    assert await child.task.sysif.syscalls([]) == []
    await finish(child)


async def test_dropped_child_goes() -> None:
    before = children()
    child = await local_thread.clone()
    pid = int(child.process.process.near)
    assert pid in children()
    del child
    gc.collect()
    with trio.fail_after(60):
        await wait_until(lambda: pid not in children())
    assert children() == before


@pytest.mark.needs("pid namespaces")
async def test_new_pid_namespace() -> None:
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
    assert int(await init.task.getpid()) == 1
    inner = await init.clone()
    assert int(await inner.task.getpid()) == 2
    leaf = await inner.clone()
    assert int(await leaf.task.getppid()) == 1
    process = await leaf.exec(sh("exit 6"))
    with trio.fail_after(60):
        assert (await process.waitpid(W.EXITED)).exit_status == 6
    # The end of the init is the end of all.
    await init.exit(0)
    with trio.fail_after(60):
        assert (await init.process.waitpid(W.EXITED)).clean()
    with pytest.raises(SyscallError):
        await inner.task.getpid()


@pytest.mark.needs("user namespaces")
async def test_user_namespace_mappings() -> None:
    child = await local_thread.clone(CLONE.NEWUSER)
    assert await child.task.getuid() == os.getuid()
    root = await local_thread.clone()
    await root.unshare_user(0, 0)
    assert await root.task.getuid() == 0
    await finish(child)
    await finish(root)


async def test_descriptors_for_exec() -> None:
    pipe = await local_thread.pipe()
    child = await local_thread.clone()
    theirs = child.inherit_fd(pipe.write)
    assert await theirs.fcntl(F.GETFD) == FD.CLOEXEC
    number = await theirs.as_argument()
    process = await child.exec(sh(f"echo x >/proc/self/fd/{number}"))
    await pipe.write.close()
    assert await local_thread.read_to_eof(pipe.read) == b"x\n"
    await process.check()


async def test_what_is_opened_while_a_child_is_made_is_not_inherited() -> None:
    """Both calls wait in a busy process, in either order of being made and answered."""
    for _ in range(5):
        parent = await local_thread.clone()
        request = await parent.ptr(Timespec(0, 5_000_000))
        path = await parent.ptr(Path("/dev/null"))
        made: dict[str, Any] = {}

        async def clone(parent: ChildThread = parent, made: dict[str, Any] = made) -> None:
            made["child"] = await parent.clone()

        async def open_file(
            parent: ChildThread = parent, path: Any = path, made: dict[str, Any] = made
        ) -> None:
            made["fd"] = await parent.task.open(path, O.RDONLY)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(parent.task.sysif.syscall, SYS.nanosleep, request.near, 0)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(clone)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(open_file)
        try:
            inherited = made["child"].inherit_fd(made["fd"])
        except FDTableMismatchError:
            pass
        else:
            # Opened just before the copy was made, then.
            assert os.path.exists(inherited.as_proc_path())
        for thread in (made.pop("child"), parent):
            async with thread.process:
                pass


@pytest.mark.needs("mount namespaces")
async def test_pivot_root_without_a_place_for_the_old_root(tmp_path: pathlib.Path, transport: str) -> None:
    """As the docstring says."""
    (tmp_path / "here").touch()
    child = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNS)
    async with child.process:
        await child.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
        await child.mount(tmp_path, tmp_path, "", MS.BIND, "")
        await child.task.chdir(await child.ptr(os.fspath(tmp_path)))
        dot = await child.ptr(".")
        await child.task.pivot_root(dot, dot)
        await child.task.umount(dot, UMOUNT.DETACH)
        await child.task.access(await child.ptr("/here"), OK.F)


def test_native_functions_can_be_shown() -> None:
    assert "in repr" not in repr(local_thread.loader)


async def test_flags_that_are_not_joined_are_refused() -> None:
    """The second one would be taken for a truth value, and its namespace not be made."""
    with pytest.raises(TypeError, match=r"CLONE.NEWNS.*join several flags by \|"):
        await local_thread.clone(CLONE.NEWPID, CLONE.NEWNS)  # type: ignore[arg-type]  # that is what it tests
