"""Signal sets, actions, and what is known about the mask."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import SupportsInt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.handle.task import Task
from rsyscall.near import SYS, LocalSyscall, SyscallSendError, UnusableSyscallInterface, abi
from rsyscall.near import types as near
from rsyscall.signal import (
    SA,
    SIG,
    HowSIG,
    Sigaction,
    Sighandler,
    Siginfo,
    SigmaskError,
    SignalBlock,
    Sigset,
    _kill,
    signal_number,
)

from .processes import forked_task
from .support import Local, run

signals = st.integers(1, 64)


def test_numbers_are_those_of_python() -> None:
    for sig in SIG:
        if sig not in (SIG.NONE, SIG.STKFLT):
            assert int(signal.Signals[f"SIG{sig.name}"]) == sig
    assert SIG["IOT"] is SIG.ABRT
    assert signal_number(9) is SIG.KILL
    assert signal_number(34) == 34
    assert int(signal.SIG_BLOCK) == HowSIG.BLOCK
    assert int(signal.SIG_UNBLOCK) == HowSIG.UNBLOCK
    assert int(signal.SIG_SETMASK) == HowSIG.SETMASK


@given(st.sets(signals))
def test_sigset_round_trip(numbers: set[int]) -> None:
    """Realtime signals have no names, and are kept as numbers."""
    sigset = Sigset(numbers)
    assert len(sigset.to_bytes()) == Sigset.sizeof() == 8
    back = Sigset.from_bytes(sigset.to_bytes())
    assert back == sigset == numbers
    assert all(isinstance(number, SIG) == (number < 32) for number in back)
    assert Sigset.from_int(sigset.to_int()) == sigset
    assert repr(back).startswith("Sigset({")


def test_sigset_bits() -> None:
    assert Sigset({SIG.HUP}).to_int() == 1
    assert Sigset({64}).to_int() == 1 << 63
    assert Sigset().to_bytes() == bytes(8)
    assert repr(Sigset({SIG.INT, 40})) == "Sigset({INT, 40})"
    for number in (0, 65, -1):
        with pytest.raises(ValueError, match="numbered 1 to 64"):
            Sigset({number}).to_bytes()
    with pytest.raises(ValueError, match="8 bytes"):
        Sigset.from_bytes(b"1234567")


int32 = st.integers(-(2**31), 2**31 - 1)


@given(int32, int32, st.integers(0, 2**32 - 1), int32)
def test_siginfo_round_trip(code: int, pid: int, uid: int, status: int) -> None:
    siginfo = Siginfo(code, pid, uid, status)
    assert len(siginfo.to_bytes()) == Siginfo.sizeof() == 128
    assert Siginfo.from_bytes(siginfo.to_bytes()) == siginfo
    with pytest.raises(ValueError, match="128 bytes"):
        Siginfo.from_bytes(bytes(127))


handlers = st.one_of(st.sampled_from(Sighandler), st.builds(near.Address, st.integers(2, 2**64 - 1)))
restorers = st.one_of(st.none(), st.builds(near.Address, st.integers(1, 2**64 - 1)))
flags = st.builds(lambda members: SA(sum(set(members))), st.lists(st.sampled_from(SA)))


@given(handlers, flags, st.builds(Sigset, st.sets(signals)), restorers)
def test_sigaction_round_trip(
    handler: Sighandler | near.Address, flags: SA, mask: Sigset, restorer: near.Address | None
) -> None:
    action = Sigaction(handler, flags, mask, restorer)
    assert len(action.to_bytes()) == Sigaction.sizeof() == 32
    assert Sigaction.from_bytes(action.to_bytes()) == action


def test_sigaction_defaults() -> None:
    action = Sigaction(Sighandler.IGN)
    assert (action.flags, action.mask, action.restorer) == (SA(0), Sigset(), None)
    assert action.mask is not Sigaction(Sighandler.IGN).mask
    with pytest.raises(ValueError, match="32 bytes"):
        Sigaction.from_bytes(bytes(31))


@pytest.mark.parametrize("name", list(abi.ABIS))
def test_sigaction_of_every_architecture(local: Local, name: str) -> None:
    layout = abi.ABIS[name].sigaction

    class Foreign(LocalSyscall):
        abi = abi.ABIS[name]

    local.task.sysif = Foreign()
    action = Sigaction(near.Address(0x1234), SA.RESTART, Sigset({SIG.INT}))
    serializer = Sigaction.get_serializer(local.task)
    data = serializer.to_bytes(action)
    for field, value in (("sa_handler", 0x1234), ("sa_flags", SA.RESTART), ("sa_mask", 2)):
        where = layout.field(field)
        assert int.from_bytes(data[where.offset : where.offset + where.size], "little") == value
    assert serializer.from_bytes(data) == action
    assert action.get_self_serializer(local.task).to_bytes(action) == data


async def test_sigaction(local: Local) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    assert before is signal.SIG_DFL
    action = await local.ptr(Sigaction(Sighandler.IGN, SA.RESTART, Sigset({SIG.INT, 40})))
    old = await local.malloc(Sigaction)
    try:
        await local.task.sigaction(SIG.USR1, action, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        await local.task.sigaction(SIG.USR1, None, old)
        back = await old.read()
        assert (back.handler, back.mask) == (Sighandler.IGN, {SIG.INT, 40})
        assert back.flags & SA.RESTART
    finally:
        await local.task.sigaction(SIG.USR1, await local.ptr(Sigaction(Sighandler.DFL)), None)
    with pytest.raises(OSError, match="Invalid") as caught:
        await local.task.sigaction(SIG.KILL, action, None)
    assert caught.value.filename is SIG.KILL


# The mask, in a process of its own


async def block(local: Local, task: Task, *blocked: SIG | int) -> SignalBlock:
    return await task.sigmask_block(await local.ptr(Sigset(blocked)))


def kernel_mask(task: Task) -> Sigset:
    with open(f"/proc/{task.near_process.id}/status") as status:
        [line] = [line for line in status if line.startswith("SigBlk:")]
    return Sigset.from_int(int(line.split()[1], 16))


def test_mask_follows_changes(local: Local) -> None:
    with forked_task(local) as task:
        assert task.sigmask == set()

        def change(how: HowSIG, *changed: SIG | int) -> None:
            run(task.sigprocmask((how, run(local.ptr(Sigset(changed))))))
            assert task.sigmask == kernel_mask(task)

        change(HowSIG.BLOCK, SIG.INT, SIG.TERM)
        assert task.sigmask == {SIG.INT, SIG.TERM}
        change(HowSIG.UNBLOCK, SIG.INT, SIG.HUP)
        assert task.sigmask == {SIG.TERM}
        change(HowSIG.SETMASK, SIG.CHLD, 40)
        assert task.sigmask == {SIG.CHLD, 40}
        change(HowSIG.SETMASK)
        assert task.sigmask == set()
        assert isinstance(task.sigmask, Sigset)


def test_old_mask_is_checked(local: Local) -> None:
    with forked_task(local) as task:
        with pytest.raises(SigmaskError, match="no old signal mask"):
            run(task.read_oldset_and_check())
        oldset = run(local.malloc(Sigset))
        run(block(local, task, SIG.INT))
        assert run(task.sigprocmask(None, oldset)) is oldset
        assert run(oldset.read()) == {SIG.INT}
        run(task.read_oldset_and_check())
        # the kernel's mask blocks more than we know of: fine
        task.sigmask = Sigset()
        run(task.sigprocmask(None, oldset))
        run(task.read_oldset_and_check())
        # it blocks less
        task.sigmask = Sigset({SIG.HUP})
        run(task.sigprocmask(None, oldset))
        with pytest.raises(SigmaskError, match=r"out of sync.*HUP.*INT"):
            run(task.read_oldset_and_check())


def test_blocked_signals_have_one_owner(local: Local) -> None:
    with forked_task(local) as task:
        first = run(block(local, task, SIG.INT, SIG.TERM))
        assert first.mask == {SIG.INT, SIG.TERM}
        with pytest.raises(SigmaskError, match=r"Sigset\(\{TERM\}\) already"):
            run(block(local, task, SIG.TERM, SIG.HUP))
        assert kernel_mask(task) == {SIG.INT, SIG.TERM}
        second = run(block(local, task, SIG.HUP))
        assert first != second
        oldset = run(local.malloc(Sigset))
        run(first.unblock(oldset))
        assert run(oldset.read()) == {SIG.INT, SIG.TERM, SIG.HUP}
        run(task.read_oldset_and_check())
        assert kernel_mask(task) == task.sigmask == {SIG.HUP}
        run(second.unblock())
        assert kernel_mask(task) == set()


def test_signals_that_cannot_be_blocked_are_not_recorded(local: Local) -> None:
    """The kernel ignores them silently."""
    with forked_task(local) as task:
        unblockable = run(block(local, task, SIG.KILL, SIG.STOP, SIG.INT))
        assert task.sigmask == kernel_mask(task) == {SIG.INT}
        oldset = run(local.malloc(Sigset))
        run(block(local, task, SIG.KILL, SIG.HUP))
        for how, mask in ((HowSIG.SETMASK, {SIG.INT, SIG.STOP}), (HowSIG.UNBLOCK, {SIG.KILL})):
            run(task.sigprocmask((how, run(local.ptr(Sigset(mask)))), oldset))
            run(task.read_oldset_and_check())
            assert task.sigmask == kernel_mask(task) == {SIG.INT}
        run(unblockable.unblock())
        assert task.sigmask == kernel_mask(task) == set()


def test_unblocking_twice_leaves_what_others_have_blocked(local: Local) -> None:
    with forked_task(local) as task:
        first = run(block(local, task, SIG.INT))
        working, task.sysif = task.sysif, UnusableSyscallInterface()
        with pytest.raises(SyscallSendError):
            run(first.unblock())
        task.sysif = working
        run(first.unblock())
        second = run(block(local, task, SIG.INT))
        with pytest.raises(SigmaskError, match=r"INT.*already"):
            run(first.unblock())
        assert task.sigmask == kernel_mask(task) == {SIG.INT}
        run(second.unblock())


class Interfering(LocalSyscall):
    __slots__ = ("failure", "local", "task")

    local: Local
    task: Task
    failure: Exception

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        newset = await self.local.ptr(Sigset({SIG.HUP}))
        with pytest.raises(SigmaskError, match="changing"):
            await self.task.sigprocmask((HowSIG.BLOCK, newset))
        raise self.failure


def test_one_change_at_a_time_also_after_failures(local: Local) -> None:
    """The flag is reset when the call raises."""
    with forked_task(local) as task:
        before = task.sysif
        interfering = Interfering()
        interfering.local, interfering.task, interfering.failure = local, task, OSError(22, "no")
        task.sysif = interfering
        with pytest.raises(OSError, match="no"):
            run(block(local, task, SIG.INT))
        assert task.sigmask == set()
        assert not task.sigprocmask_running
        task.sysif = before
        freed = run(local.ptr(Sigset({SIG.INT})))
        freed.free()
        with pytest.raises(Exception, match="no longer valid"):
            run(task.sigprocmask((HowSIG.BLOCK, freed)))
        run(block(local, task, SIG.INT))
        assert kernel_mask(task) == {SIG.INT}


# kill


async def test_kill_refuses_what_is_not_one_process_or_group(local: Local) -> None:
    for target in (near.Process(0), near.Process(-1), near.ProcessGroup(1), near.ProcessGroup(0)):
        with pytest.raises(ValueError, match="refusing"):
            await _kill(local.task.sysif, target, SIG.NONE)
    with pytest.raises(ProcessLookupError) as caught:
        await _kill(local.task.sysif, near.Process(2**22 + 1), SIG.NONE)
    assert caught.value.filename == near.Process(2**22 + 1)
    await _kill(local.task.sysif, near.Process(os.getpid()), SIG.NONE)
    await _kill(local.task.sysif, near.ProcessGroup(os.getpgrp()), SIG.NONE)


def test_sigactions_are_values() -> None:
    action = Sigaction(Sighandler.DFL)
    assert replace(action, flags=SA.NODEFER) != action
