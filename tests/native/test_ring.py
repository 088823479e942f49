"""The ring, from the client's side: a process made by hand and driven through shared memory."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
import time
from collections import deque
from typing import Any

import pytest

from rsyscall.native import ForkedProcessError, Hub, Ring, WrongThreadError, fast

from .driven import CLONE_FILES, NR, Buffer, Driven, drain, driven, timespec, wait_readable

SLOTS = fast.RING_SLOTS


def test_calls() -> None:
    with driven() as child:
        assert child.call("getpid") == child.pid != os.getpid()
        assert child.call("getppid") == os.getpid()
        assert child.call("close", -1) == -errno.EBADF
        for mask in range(1000):
            child.call("umask", mask % 0o777)
        assert child.call("umask", 0) == 999 % 0o777
        assert child.ring.outstanding == 0
        assert child.ring.submitted == 1004
        assert not child.ring.left


def test_memory_is_shared() -> None:
    ours = Buffer(3)
    reading, writing = os.pipe()
    with driven() as child:
        os.write(writing, b"abc")
        assert child.call("read", reading, ours.address, 3) == 3
        assert bytes(ours) == b"abc"
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "number", [-1, -(2**63), 2**31, 2**31 - 1, 2**30 - 1, 2**30 - 2, 2**32 + NR["getpid"], 2**63]
)
def test_numbers_that_no_call_has(number: int) -> None:
    with driven() as child:
        assert child.call("getpid") == child.pid
        result = child.ring.call(number)
        assert (child.result() if result == fast.PENDING else result) == -errno.ENOSYS
        assert finish_batch(child, [(number,), (NR["getpid"],)]) == [-errno.ENOSYS, child.pid]
        assert child.call("getpid") == child.pid


def test_arguments_are_converted_as_for_a_call_of_our_own() -> None:
    wrong: Any
    with driven() as child:
        for wrong in (1.0, "1", None):
            with pytest.raises(TypeError):
                child.ring.call(NR["close"], wrong)
            with pytest.raises(TypeError):
                child.ring.put(NR["close"], wrong)
        with pytest.raises(OverflowError):
            child.ring.call(NR["close"], 2**64)
        with pytest.raises(TypeError):
            child.ring.call()  # type: ignore[call-arg]  # on purpose
        with pytest.raises(TypeError):
            child.ring.call(*range(8))
        assert child.ring.submitted == 0
        assert child.call("close", 2**64 - 1) == -errno.EBADF


# ---- Calls that take their time


def test_a_call_that_blocks_is_pending_and_the_hub_tells() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 100.0, 100.0)
    pause = timespec(0.1)
    with driven(hub, completion) as child:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        assert child.ring.outstanding == 1
        assert child.ring.next_result() == fast.PENDING
        wait_readable(news)
        assert len(os.read(news, 4096)) == 1
        assert drain(hub) == [child.ring]
        assert drain(hub) == []
        assert child.ring.next_result() == 0
        assert child.ring.next_result() == fast.PENDING
        assert child.ring.outstanding == 0
    os.close(news)
    os.close(completion)


def test_calls_behind_one_that_blocks_are_answered_in_order() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 100.0, 100.0)
    pause = timespec(0.1)
    with driven(hub, completion) as child:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        for _ in range(10):
            assert child.ring.call(NR["getpid"]) == fast.PENDING
        results: list[int] = []
        while len(results) < 11:
            wait_readable(news)
            os.read(news, 4096)
            for ring in drain(hub):
                assert ring is child.ring
                while (result := ring.next_result()) != fast.PENDING:
                    results.append(result)
        assert results == [0] + 10 * [child.pid]
    os.close(news)
    os.close(completion)


def test_full() -> None:
    pause = timespec(0.1)
    with driven() as child:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        for _ in range(SLOTS - 2):
            assert child.ring.call(NR["getpid"]) == fast.PENDING
        assert child.ring.call(NR["getpid"]) == fast.FULL
        assert child.ring.put(NR["getpid"]) == fast.FULL
        assert child.ring.call_many([(NR["getpid"],)], False) == ([], fast.FULL)
        assert child.ring.outstanding == SLOTS - 1
        # All are waited for: an answer that is not would be dropped by the next call.
        child.ring.sleep(Sleeper(), SLOTS - 1, 0)
        assert child.result() == 0
        assert child.ring.call(NR["getppid"]) == fast.PENDING
        assert [child.result() for _ in range(SLOTS - 1)] == (SLOTS - 2) * [child.pid] + [os.getpid()]
        assert child.call("getpid") == child.pid


def test_prepared_calls_are_made_by_the_new_process() -> None:
    def prepare(ring: Ring) -> None:
        for mask in range(10):
            assert ring.put(NR["umask"], mask) == mask + 1

    with driven(prepare=prepare) as child:
        assert [child.result() for _ in range(10)][1:] == list(range(9))
        assert child.ring.put(NR["getpid"]) == 11
        child.ring.kick()
        assert child.result() == child.pid


def test_prepared_linked_calls_are_announced_at_the_end() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 100.0, 100.0)
    pause = timespec(0.1)
    calls = [(NR["umask"], 0o21), (NR["nanosleep"], pause.address), (NR["close"], -1), (NR["umask"], 0)]
    with driven(hub, completion, lambda ring: ring.prepare_calls(calls)) as child:
        wait_readable(news)
        # One announcement, and all the answers are there.
        assert len(os.read(news, 4096)) == 1
        assert drain(hub) == [child.ring]
        results = [child.ring.next_result() for _ in calls]
        assert results[1:] == [0, -errno.EBADF, -errno.ECANCELED]
        with pytest.raises(ValueError, match="before the process starts"):
            child.ring.prepare_calls([(NR["getpid"],)])
    with driven(hub, prepare=lambda ring: ring.prepare_calls([(2**31 - 1,), (NR["getpid"],)])) as child:
        assert [child.result(), child.result()] == [-errno.ENOSYS, -errno.ECANCELED]
    ring = hub.ring()
    with pytest.raises(ValueError, match="too many"):
        ring.prepare_calls(SLOTS * [(NR["getpid"],)])
    with pytest.raises(TypeError):
        ring.prepare_calls([("x",)])
    os.close(news)
    os.close(completion)


def test_wait() -> None:
    pause = timespec(0.1)
    with driven() as child:
        child.ring.put(NR["nanosleep"], pause.address)
        child.ring.kick()
        assert child.ring.wait(100.0) is False
        assert child.ring.wait(5e6) is True
        assert child.ring.next_result() == 0
        with pytest.raises(TypeError):
            child.ring.wait("long")  # type: ignore[arg-type]  # on purpose


def test_block() -> None:
    pause = timespec(0.1)
    with driven() as child:
        child.ring.put(NR["nanosleep"], pause.address)
        child.ring.kick()
        assert child.ring.block(0) is False
        assert child.ring.block(100.0) is False
        assert child.ring.block(20e6) is True
        assert child.ring.next_result() == 0
        with pytest.raises(TypeError):
            child.ring.block("long")  # type: ignore[arg-type]  # on purpose
        child.ring.put(NR["exit"], 0)
        child.ring.kick()
        assert child.ring.block(20e6) is True
        assert child.ring.left
        assert child.wait() == 0


# ---- Batches


def finish_batch(child: Any, calls: list[Any], linked: bool = False) -> list[int]:
    answer = child.ring.call_many(calls, linked)
    if isinstance(answer, list):
        return answer
    results, code = answer
    assert code == fast.PENDING
    rest = calls[len(results) + child.ring.outstanding :]
    assert not rest or child.ring.outstanding == SLOTS - 1
    for number, call in enumerate(rest):
        results.append(child.result())
        link = fast.LINKED if linked and number < len(rest) - 1 else 0
        assert child.ring.put(call[0] | link, *call[1:]) > 0
        child.ring.kick()
    results += [child.result() for _ in range(child.ring.outstanding)]
    return results


def test_batches() -> None:
    with driven() as child:
        assert child.ring.call_many([], False) == []
        for count in (1, 2, SLOTS - 2, SLOTS - 1, SLOTS, SLOTS + 1, 5 * SLOTS + 3):
            calls = [(NR["umask"], mask % 0o777) for mask in range(count)]
            results = finish_batch(child, calls)
            assert results[1:] == [mask for _, mask in calls[:-1]]
            assert child.ring.outstanding == 0
        assert finish_batch(child, [(NR["close"], -1), (NR["getpid"],)]) == [-errno.EBADF, child.pid]


def test_a_batch_with_a_call_that_blocks() -> None:
    pause = timespec(0.1)
    with driven() as child:
        calls: list[tuple[Any, ...]] = [(NR["getpid"],), (NR["nanosleep"], pause.address), (NR["getppid"],)]
        results, code = child.ring.call_many(calls, False)
        assert code == fast.PENDING
        assert child.ring.outstanding + len(results) == 3
        results += [child.result() for _ in range(child.ring.outstanding)]
        assert results == [child.pid, 0, os.getpid()]


def test_linked_batches_stop_at_a_failure() -> None:
    with driven() as child:
        before = child.call("umask", 0o22)
        calls = [(NR["umask"], 1), (NR["close"], -1), (NR["umask"], 2), (NR["umask"], 3)]
        expected = [0o22, -errno.EBADF, -errno.ECANCELED, -errno.ECANCELED]
        assert finish_batch(child, calls, linked=True) == expected
        # The chain ends with its batch.
        assert child.call("umask", before) == 1
        assert finish_batch(child, calls[:2], linked=True) == [before, -errno.EBADF]
        assert child.call("umask", before) == 1


def test_a_batch_is_sent_whole_or_not_at_all() -> None:
    good = (NR["umask"], 0o123)
    wrong: Any
    with driven() as child:
        before = child.call("umask", 0o22)
        for wrong in ((), ("x",), (1.0,), (0,) * 8, [NR["getpid"]], None, (2**64,)):
            for count in (1, 3 * SLOTS):
                with pytest.raises((TypeError, OverflowError, SystemError)):
                    child.ring.call_many([good] * count + [wrong], False)
        with pytest.raises((TypeError, SystemError)):
            child.ring.call_many((good,), False)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError):
            child.ring.call_many([good])  # type: ignore[call-arg]  # on purpose
        assert child.ring.outstanding == 0
        assert child.call("umask", before) == 0o22


def test_arguments_that_make_calls_while_they_are_converted() -> None:
    with driven() as child:

        class Reentrant:
            def __int__(self) -> int:
                return child.call("getpid")

        class Shrinking:
            def __int__(self) -> int:
                calls.clear()
                return 0

        assert child.call("close", Reentrant()) == -errno.EBADF  # type: ignore[arg-type]  # helper takes ints
        # All are converted before any is sent.
        assert finish_batch(child, [(NR["getppid"],), (NR["close"], Reentrant())]) == [
            os.getpid(),
            -errno.EBADF,
        ]
        calls: list[Any] = [(NR["close"], Shrinking()), (NR["getpid"],)]
        with pytest.raises(IndexError):
            child.ring.call_many(calls, False)
        assert child.call("getpid") == child.pid
        assert child.ring.outstanding == 0


# ---- The end of the process


def test_exit_hangs_up_and_then_nothing_is_sent() -> None:
    with driven() as child:
        result = child.ring.call(NR["exit"], 3)
        assert (child.result() if result == fast.PENDING else result) == fast.HANGUP
        assert child.wait() == 3
        assert child.ring.left
        submitted = child.ring.submitted
        assert child.ring.call(NR["getpid"]) == fast.UNSENT
        assert child.ring.put(NR["getpid"]) == fast.UNSENT
        assert child.ring.call_many([(NR["getpid"],)], False) == ([], fast.UNSENT)
        assert child.ring.submitted == submitted
        child.ring.kick()
        child.ring.shutdown()


def test_exec_hangs_up_and_a_failed_one_does_not() -> None:
    def word(*values: int) -> Buffer:
        buffer = Buffer(8 * len(values))
        fast.write_memory(buffer.address, b"".join(value.to_bytes(8, "little") for value in values))
        return buffer

    path, missing, empty = Buffer(20), Buffer(20), word(0)
    fast.write_memory(path.address, b"/bin/true")
    fast.write_memory(missing.address, b"/nonexistent")
    argv = word(path.address, 0)
    with driven() as child:
        assert child.call("execve", missing.address, argv.address, empty.address) == -errno.ENOENT
        assert not child.ring.left
        assert child.call("getpid") == child.pid
        assert child.call("execve", path.address, argv.address, empty.address) == fast.HANGUP
        assert child.ring.left
        assert child.wait() == 0


def test_killed_in_the_middle() -> None:
    pause = timespec(100)
    with driven() as child:
        child.ring.put(NR["getppid"])
        child.ring.sleep(object(), 1, 0)  # an answer without a waiter is dropped
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        assert child.ring.call(NR["getpid"]) == fast.PENDING
        child.wait_until_in("nanosleep")
        child.kill()
        # What was answered is still delivered.
        assert child.ring.next_result() == os.getpid()
        assert child.ring.next_result() == fast.HANGUP
        assert child.ring.next_result() == fast.HANGUP
        assert child.ring.outstanding == 2
        assert child.ring.call(NR["getpid"]) == fast.UNSENT


def test_killed_at_any_moment_nothing_hangs() -> None:
    hub = Hub(-1, 100.0, 100.0)
    for delay in range(30):
        with driven(hub) as child:
            timer = threading.Timer(delay / 10_000, os.kill, (child.pid, signal.SIGKILL))
            timer.start()
            while True:
                result = child.ring.call(NR["getpid"])
                if result == fast.PENDING:
                    result = child.result()
                if result in (fast.HANGUP, fast.UNSENT):
                    break
                assert result == child.pid
            timer.join()
            assert child.wait() == -signal.SIGKILL


def test_shutdown_comes_after_what_was_sent() -> None:
    pause = timespec(0.1)
    with driven() as child:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        assert child.ring.call(NR["getpid"]) == fast.PENDING
        child.ring.shutdown()
        assert child.wait() == 0
        assert child.ring.next_result() == 0
        assert child.ring.next_result() == child.pid
        assert child.ring.next_result() == fast.HANGUP


def test_an_idle_process_sleeps() -> None:
    with driven() as child:
        assert child.call("getpid") == child.pid
        deadline = time.monotonic() + 60
        while child.ring.parks == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        parks = child.ring.parks
        assert parks > 0
        ticks = [open_ticks(child.pid)]
        time.sleep(0.2)
        ticks.append(open_ticks(child.pid))
        assert ticks[1] - ticks[0] <= 1
        assert child.ring.parks <= parks + 1  # it may have slept before it got its first call
        assert child.call("getpid") == child.pid


def open_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# ---- The doorbell


def activity_watched(child: Driven) -> tuple[int, Buffer]:
    """Have a process watched; the number of the doorbell in its table, and a pollfd for it."""
    doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    child.ring.watch_activity(os.dup(doorbell))
    pollfd = Buffer(8)
    fast.write_memory(pollfd.address, doorbell.to_bytes(4, "little") + b"\1\0\0\0")
    return doorbell, pollfd


def test_doorbell_ends_a_call_with_another_behind_it() -> None:
    with driven(flags=CLONE_FILES) as child:
        doorbell, pollfd = activity_watched(child)
        for _ in range(50):
            assert child.ring.call(NR["poll"], pollfd.address, 1, 20_000) == fast.PENDING
            started = time.monotonic()
            assert child.ring.call(NR["getpid"]) == fast.PENDING
            assert child.result() == 1
            assert child.result() == child.pid
            assert time.monotonic() - started < 20
        os.close(doorbell)


@pytest.mark.parametrize("parked", [False, True])
def test_doorbell_rings_for_what_is_sent_along(parked: bool) -> None:
    with driven(Hub(-1, 0.0, 0.0 if parked else 1e6), flags=CLONE_FILES) as child:
        doorbell, pollfd = activity_watched(child)
        for _ in range(50):
            if parked:
                child.wait_until_parked()
            child.ring.put(NR["poll"], pollfd.address, 1, 20_000)
            child.ring.put(NR["getpid"])
            child.ring.kick()
            assert child.result() == 1
            assert child.result() == child.pid
        os.close(doorbell)


def test_doorbell_is_silent_in_a_call_with_nothing_behind_it() -> None:
    with driven(flags=CLONE_FILES) as child:
        doorbell, pollfd = activity_watched(child)
        for _ in range(50):
            assert child.call("getpid") == child.pid
            assert child.call("poll", pollfd.address, 1, 1) == 0
            # This poll may or may not hear the doorbell; the poll of the next round must not.
            child.ring.put(NR["poll"], pollfd.address, 1, 1)
            child.ring.put(NR["getpid"])
            child.ring.kick()
            assert child.result() in (0, 1)
            assert child.result() == child.pid
            assert child.call("poll", pollfd.address, 1, 1) == 0
        os.close(doorbell)


def test_number_of_the_doorbell_is_left_alone() -> None:
    """A process that shares the table may open another file under that number."""
    with driven(flags=CLONE_FILES) as child:
        doorbell, pollfd = activity_watched(child)
        theirs = os.eventfd(7, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        os.dup2(theirs, doorbell)
        for _ in range(20):
            results = []
            for call in (NR["poll"], pollfd.address, 1, 1), (NR["getpid"],):
                results.append(child.ring.call(*call))
                if results[-1] == fast.PENDING:
                    child.ring.sleep(Sleeper(), 1, 0)
            results = [result for result in results if result != fast.PENDING]
            results += [child.result() for _ in range(child.ring.outstanding)]
            assert results == [1, child.pid]
            child.wait_until_parked()
        assert os.eventfd_read(theirs) == 7
        os.close(theirs)
        os.close(doorbell)


def test_a_process_that_closed_everything_is_deaf_but_answers() -> None:
    news, completion = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    hub = Hub(completion, 100.0, 100.0)
    with driven(hub, completion) as child:
        assert not child.ring.deaf
        assert child.call("close_range", 0, 2**32 - 1, 0) == 0
        assert child.ring.deaf
        for _ in range(5):
            child.wait_until_parked()
            assert child.call("getpid") == child.pid
    os.close(news)
    os.close(completion)


def test_changed_credentials_are_recorded() -> None:
    uid = os.getuid()
    with driven() as child:
        assert child.ring.dumpable_before is None
        assert not child.ring.may_change_credentials
        assert child.call("setresuid", uid, uid, uid) == 0
        assert child.ring.dumpable_before is None, "nothing has changed, so there is nothing to undo"
        assert child.ring.may_change_credentials
    # What has been sent and not been made yet counts, too.
    pause = timespec(0.1)
    with driven() as child:
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        assert not child.ring.may_change_credentials
        assert child.ring.call(NR["setresuid"], uid, uid, uid) == fast.PENDING
        assert child.ring.may_change_credentials
        assert [child.result(), child.result()] == [0, 0]
        assert child.ring.may_change_credentials


def test_an_exit_that_the_kernel_does_not_tell() -> None:
    with driven() as child:
        assert child.ring.pid == child.pid
        assert not child.ring.left
        child.ring.exited()
        assert child.ring.left
        assert child.ring.call(NR["getpid"]) == fast.UNSENT


def test_spin_for_exit() -> None:
    with driven() as child:
        assert fast.spin_for_exit(child.ring.pidfd, 1000.0) is False
        os.kill(child.pid, signal.SIGKILL)
        assert fast.spin_for_exit(child.ring.pidfd, 20e6) is True


def test_block_for_exit() -> None:
    with driven() as child:
        assert fast.block_for_exit(child.ring.pidfd, 1000.0) is False
        os.kill(child.pid, signal.SIGKILL)
        assert fast.block_for_exit(child.ring.pidfd, 20e6) is True


@pytest.mark.parametrize("what", ["exit", "answer"])
def test_a_handler_of_a_signal_runs_in_spite_of_a_block(what: str) -> None:
    ran = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: ran.append(number))
    pause = timespec(60.0)
    try:
        with driven() as child:
            child.ring.put(NR["nanosleep"], pause.address)
            child.ring.kick()
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            # A signal that comes before the block has begun does not end it: the next one does.
            if what == "exit":
                assert fast.block_for_exit(child.ring.pidfd, 900e3) is False
            else:
                assert child.ring.block(60e6) is False
            assert ran
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- Misuse


def test_cannot_be_made_directly() -> None:
    with pytest.raises(TypeError):
        Ring()


def test_a_second_process_on_one_ring_is_refused() -> None:
    with driven() as child, pytest.raises(RuntimeError, match="started"):
        child.ring.prepare(0, 0, 0, 0)


def test_another_thread_is_refused() -> None:
    errors: list[Exception] = []
    hub = Hub(-1, 100.0, 100.0)

    def use(child: Any) -> None:
        for use in (
            lambda: child.ring.call(NR["getpid"]),
            lambda: child.ring.put(NR["getpid"]),
            lambda: child.ring.call_many([(NR["getpid"],)], False),
            child.ring.next_result,
            child.ring.kick,
            lambda: child.ring.wait(1.0),
            hub.ring,
            hub.announced,
            hub.check_owner,
            lambda: hub.set_spin(1.0, 1.0),
            lambda: hub.watch_word(child.ring.ctid_address),
            lambda: hub.unwatch_word(0, child.ring.ctid_address),
            lambda: hub.configure_watcher(-1, 0),
        ):
            try:
                use()
            except WrongThreadError as error:
                errors.append(error)

    with driven(hub) as child:
        thread = threading.Thread(target=use, args=(child,))
        thread.start()
        thread.join()
        assert len(errors) == 13
        assert all(f"belong to thread {threading.get_native_id()};" in str(error) for error in errors)
        assert child.ring.submitted == 0
        assert child.call("getpid") == child.pid


def test_a_later_thread_with_the_same_identifier_is_refused() -> None:
    hubs: list[tuple[int, Hub]] = []

    def make() -> None:
        hubs.append((threading.get_ident(), Hub(-1, 100.0, 100.0)))

    refused: list[bool] = []

    def use() -> None:
        for ident, hub in hubs:
            if ident == threading.get_ident():
                with pytest.raises(WrongThreadError):
                    hub.check_owner()
                refused.append(True)

    # The C library gives the stack of a thread that has ended, and with it its identifier, to a later one.
    for _ in range(200):
        for body in (make, use):
            thread = threading.Thread(target=body)
            thread.start()
            thread.join()
        if refused:
            return
    raise AssertionError("no identifier was used a second time")


def test_what_another_thread_sends_meanwhile_does_not_change_the_result() -> None:
    # The wait gives up the interpreter lock: only what another thread cannot change is looked at after it.
    # Not if the server had to be woken, so this one spins as long as the client.
    buffer = Buffer(8)
    reading, writing = os.pipe()
    with driven(Hub(-1, 9e6, 9e6), flags=CLONE_FILES) as child:

        def send() -> None:
            child.wait_until_in("read")
            child.ring.shutdown()
            os.write(writing, b"12345")

        thread = threading.Thread(target=send)
        thread.start()
        assert child.call("read", reading, buffer.address, 8) == 5
        thread.join()
        assert child.wait() == 0
    os.close(reading)
    os.close(writing)


def test_the_forked_copy_is_refused_and_harmless() -> None:
    hub = Hub(-1, 100.0, 100.0)
    with driven(hub) as child:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for use in (lambda: child.ring.call(NR["getpid"]), hub.ring, hub.announced):
                    try:
                        use()
                    except ForkedProcessError as error:
                        if f"forked this one ({os.getpid()})" not in str(error):
                            code = 2
                    else:
                        code = 3
                # Neither does it end the process of the original.
                child.ring.shutdown()
                del child
                gc.collect()
                if code == 1:
                    code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert child.call("getpid") == child.pid


class Sleeper:
    """Waits for answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, int]] = []
        self.interrupt = False

    def answer(self, index: int, result: int) -> None:
        self.answers.append((index, result))
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt

    def fail(self, error: Exception) -> None:
        raise NotImplementedError


def test_an_answer_is_given_to_the_one_who_sleeps_for_it() -> None:
    with driven() as child:
        pause = timespec(0.1)
        first, last = Sleeper(), Sleeper()
        references = sys.getrefcount(first)
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        child.ring.sleep(first, 1, 7)
        # An exception came before the caller of this one went to sleep.
        assert child.ring.call(NR["getppid"]) == fast.PENDING
        assert child.ring.call(NR["getpid"]) == fast.PENDING
        child.ring.sleep(last, 1, 3)
        assert child.ring.sleepers() == [first, last]
        while child.ring.deliver() == fast.PENDING:
            os.sched_yield()
        assert (first.answers, last.answers) == ([(7, 0)], [(3, child.pid)])
        assert child.ring.sleepers() == []
        assert sys.getrefcount(first) == references
        with pytest.raises(ValueError):
            child.ring.sleep(first, 1, 0)


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    with driven() as child:
        pause = timespec(0.1)
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        # On a busy machine its answers may be late, too, and are dropped then.
        while (result := child.ring.call(NR["getpid"])) == fast.PENDING:
            time.sleep(0.001)
        assert result == child.pid
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        while isinstance(answer := child.ring.call_many([(NR["getpid"],)], False), tuple):
            assert answer in (([], fast.FULL), ([], fast.PENDING))
            time.sleep(0.001)
        assert answer == [child.pid]


def test_who_was_interrupted_in_being_told_is_told_again() -> None:
    with driven(hub := Hub(-1, 50, 50)) as child:
        pause = timespec(0.1)
        sleeper = Sleeper()
        sleeper.interrupt = True
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        child.ring.sleep(sleeper, 1, 0)
        drain(hub)
        with pytest.raises(KeyboardInterrupt):
            while child.ring.deliver() == fast.PENDING:
                os.sched_yield()
        assert drain(hub)[-1] is child.ring
        assert child.ring.deliver() == 0
        assert sleeper.answers == [(0, 0)] * 2


def test_a_backlog_is_sent_as_far_as_there_is_room() -> None:
    with driven() as child:
        pause = timespec(0.1)
        sleeper = Sleeper()
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        backlog: deque[Any] = deque((sleeper, index, (NR["getpid"],), None) for index in range(300))
        assert child.ring.put_backlog(backlog) == fast.RING_SLOTS - 2
        assert child.ring.put_backlog(backlog) == 0
        while (code := child.ring.deliver()) == fast.PENDING or backlog:
            child.ring.put_backlog(backlog)
        assert code == 0
        assert sleeper.answers == [(index, child.pid) for index in range(300)]
        backlog.append((sleeper, 0, (2**70,), None))
        with pytest.raises(OverflowError):
            child.ring.put_backlog(backlog)
        assert len(backlog) == 1


def test_sleepers_of_a_process_that_is_gone_are_forgotten() -> None:
    with driven() as child:
        sleeper = Sleeper()
        references = sys.getrefcount(sleeper)
        pause = timespec(100)
        assert child.ring.call(NR["nanosleep"], pause.address) == fast.PENDING
        child.ring.sleep(sleeper, 1, 0)
        os.kill(child.pid, signal.SIGKILL)
        while child.ring.deliver() == fast.PENDING:
            os.sched_yield()
        assert child.ring.deliver() == fast.HANGUP
        assert child.ring.sleepers() == [sleeper]
        child.ring.forget()
        assert (child.ring.deliver(), child.ring.outstanding, child.ring.sleepers()) == (0, 0, [])
        assert sys.getrefcount(sleeper) == references
