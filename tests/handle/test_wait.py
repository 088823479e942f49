"""What children report when they end, stop and go on."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.command import Command
from rsyscall.near import types as near
from rsyscall.signal import SIG, Siginfo
from rsyscall.sys.wait import CLD, CalledProcessError, ChildState, IdType, UncleanExit, W, _waitid

from .support import Local


def test_values_are_those_of_python() -> None:
    assert [IdType.ALL, IdType.PID, IdType.PGID, IdType.PIDFD] == [os.P_ALL, os.P_PID, os.P_PGID, os.P_PIDFD]
    assert [W.EXITED, W.STOPPED, W.CONTINUED] == [os.WEXITED, os.WSTOPPED, os.WCONTINUED]
    assert [W.NOHANG, W.NOWAIT] == [os.WNOHANG, os.WNOWAIT]
    assert [CLD.EXITED, CLD.KILLED, CLD.DUMPED] == [os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED]
    assert [CLD.TRAPPED, CLD.STOPPED, CLD.CONTINUED] == [os.CLD_TRAPPED, os.CLD_STOPPED, os.CLD_CONTINUED]


def test_exited() -> None:
    state = ChildState.make(CLD.EXITED, 12, 34, 5)
    assert state == ChildState(CLD.EXITED, 12, 34, 5, None)
    assert state.state(W.EXITED)
    assert not state.state(W.STOPPED | W.CONTINUED)
    assert state.died()
    assert not state.clean()
    with pytest.raises(CalledProcessError, match="process 12 exited with status 5"):
        state.check()
    with pytest.raises(ValueError, match="not killed"):
        state.killed_with()
    clean = ChildState.make(CLD.EXITED, 12, 34, 0)
    assert clean.clean()
    clean.check()


@pytest.mark.parametrize("code", [CLD.KILLED, CLD.DUMPED])
def test_killed(code: CLD) -> None:
    state = ChildState.make(code, 12, 34, 15)
    assert state.sig is SIG.TERM
    assert state.exit_status is None
    assert state.died()
    assert not state.clean()
    assert state.killed_with() is SIG.TERM
    with pytest.raises(CalledProcessError, match="by SIGTERM"):
        state.check()


def test_stopped_and_continued() -> None:
    for code in (CLD.STOPPED, CLD.TRAPPED):
        state = ChildState.make(code, 12, 34, 19)
        assert state.state(W.STOPPED)
        assert not state.state(W.EXITED | W.CONTINUED)
        assert not state.died()
        with pytest.raises(ValueError, match="SIGSTOP"):
            state.killed_with()
    state = ChildState.make(CLD.CONTINUED, 12, 34, 18)
    assert state.state(W.CONTINUED)
    assert not state.state(W.EXITED | W.STOPPED)


@given(st.sampled_from(CLD), st.integers(0, 2**31 - 1))
def test_any_status_is_understood(code: CLD, status: int) -> None:
    """Realtime signals, and what ptrace puts into the status of a trap, have no names."""
    state = ChildState.make_from_siginfo(Siginfo(code, 12, 34, status))
    assert state.describe()
    assert (state.exit_status if code == CLD.EXITED else state.sig) == status
    assert str(CalledProcessError(state))


def test_realtime_signal() -> None:
    state = ChildState.make(CLD.KILLED, 12, 34, 40)
    assert state.killed_with() == 40
    assert state.describe() == "was killed by signal 40"


def test_error_names_command_and_state() -> None:
    assert UncleanExit is CalledProcessError
    state = ChildState.make(CLD.KILLED, 12, 34, 9)
    error = CalledProcessError(state, Command("/bin/sleep", ["sleep", "1 2"], {"A": "b"}))
    assert str(error) == "command `A=b /bin/sleep '1 2'` was killed by SIGKILL"
    assert error.state is state
    assert error.args == (state, error.command)


@pytest.mark.parametrize("which", ["process", "group", "pidfd", "any"])
async def test_waiting_for_each_kind_of_id(local: Local, which: str) -> None:
    pid = os.fork()
    if not pid:
        os._exit(3)
    os.setpgid(pid, pid)
    pidfd = os.pidfd_open(pid)
    ids = {
        "process": near.Process(pid),
        "group": near.ProcessGroup(pid),
        "pidfd": near.FileDescriptor(pidfd),
        "any": None,
    }
    infop = await local.malloc(Siginfo)
    try:
        with infop.borrow(local.task) as address:
            await _waitid(local.task.sysif, ids[which], address, W.EXITED, None)  # type: ignore[arg-type]  # one of the types
        state = ChildState.make_from_siginfo(await infop.read())
        assert state == ChildState(CLD.EXITED, pid, os.getuid(), 3, None)
    finally:
        os.close(pidfd)


async def test_siginfo_of_the_kernel(local: Local) -> None:
    pid = os.fork()
    if not pid:
        signal.pause()
    os.kill(pid, signal.SIGUSR1)
    infop = await local.malloc(Siginfo)
    with infop.borrow(local.task) as address:
        await _waitid(local.task.sysif, near.Process(pid), address, W.EXITED, None)
    siginfo = await infop.read()
    assert siginfo == Siginfo(CLD.KILLED, pid, os.getuid(), SIG.USR1)
