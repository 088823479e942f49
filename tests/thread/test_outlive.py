"""A program that may not signal its children any more, or executes another program: do the children end?"""

from __future__ import annotations

import os
import random
import re
import signal
from pathlib import Path

import pytest
from drivers import Programs
from lifetime_drivers import PROGRAMS, STATES
from waiting import eventually

pytestmark = pytest.mark.usefixtures("transport")

ENDS = ["killed", "os._exit", "executed", "executed by a thread", "copied"]
DROPPING = pytest.param(True, marks=pytest.mark.needs("other users"), id="dropped")
# Those in which new processes are made meanwhile.
UNSETTLED = {"spawning", "cloning", "run"}
SERVERS = sorted(set(STATES) - set(PROGRAMS) - UNSETTLED)
# If the program has dropped its privileges, only the end of the stream tells these; see docs/processes.md.
OWN_MEMORY = {state for state in STATES if state.startswith("own_memory")}
OWN_MEMORY_ENDS = {("own_memory_init", "killed"), ("own_memory_init", "os._exit")}


def end_of(
    programs: Programs, states: list[str], drop: bool, end: str, left: int = 0, late: bool = False
) -> None:
    """Have a program make processes and end; check that only so many programs are left."""
    program = programs.start("lifetime_drivers:outlive", states=states, drop=drop, end=end, late=late)
    assert program.read_json() == "ready", states
    if end in ("killed", "copied"):
        program.kill()
    if end.startswith("executed"):
        assert program.read_json() == "executed"
    else:
        assert program.wait() in (0, -signal.SIGKILL)

    def left_processes() -> dict[int, str]:
        found = programs.left()
        if end == "copied":
            # The copy is not to blame: it is no process of ours.
            found = {pid: what for pid, what in found.items() if not is_copy(pid)}
        return found

    assert eventually(lambda: len(left_processes()) == left), (states, drop, end, left_processes())
    for pid in left_processes():
        # The shell before it, if it was stopped there.
        assert re.search(rb"sleep[\0 ]1000|rsyscall-stub", Path(f"/proc/{pid}/cmdline").read_bytes())
    if end.startswith("executed"):
        # What it has executed is now a child of another program, and ends with that one if it may.
        program.tell("")
        program.wait()
        if not drop:
            programs.assert_nothing_left()
    for pid in programs.left():
        os.kill(pid, signal.SIGKILL)
    programs.assert_nothing_left()
    program.close()
    programs.forget(program)


def is_copy(pid: int) -> bool:
    """Whether this is the copy that waits for a signal: the only process without standard descriptors."""
    try:
        return not {"0", "1", "2"} & set(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("drop", [pytest.param(False, id="same user"), DROPPING])
def test_no_server_is_left(programs: Programs, drop: bool, end: str) -> None:
    states = ["idle", "read", "nested", "stopped", "without_descriptors"]
    end_of(programs, states, drop, end)


@pytest.mark.slow
@pytest.mark.parametrize("state", SERVERS)
@pytest.mark.parametrize("drop", [pytest.param(False, id="same user"), DROPPING])
def test_no_server_is_left_in_any_state(programs: Programs, drop: bool, state: str) -> None:
    for end in ENDS:
        if not drop or state not in OWN_MEMORY or (state, end) in OWN_MEMORY_ENDS:
            end_of(programs, [state], drop, end)


@pytest.mark.needs("other users", "all capabilities")
def test_a_watcher_that_comes_too_late(programs: Programs) -> None:
    """Neither it nor the process, which is stopped, comes to run before their owner has ended."""
    end_of(programs, ["stopped"], True, "os._exit", late=True)


@pytest.mark.slow
@pytest.mark.needs("other users")
def test_what_has_memory_of_its_own_and_is_in_a_call_is_left(programs: Programs) -> None:
    """The limit in docs/processes.md."""
    end_of(programs, ["own_memory_blocked"], True, "killed", left=1)


@pytest.mark.slow
@pytest.mark.needs("other users")
@pytest.mark.parametrize("end", ["killed", "executed"])
def test_programs_of_another_user_are_left(programs: Programs, end: str) -> None:
    """As the documentation says."""
    end_of(programs, ["executed"], True, end, left=1)


@pytest.mark.slow
def test_programs_are_left_to_the_program_that_is_executed(programs: Programs) -> None:
    end_of(programs, ["executed", "idle"], False, "executed", left=1)


@pytest.mark.slow
@pytest.mark.parametrize("round", range(15))
def test_programs_whose_processes_have_memory_of_their_own(programs: Programs, round: int) -> None:
    """Ten kills each; 300 with both transports."""
    dice = random.Random(f"own memory {round} {os.environ['RSYSCALL_TRANSPORT']}")
    for _ in range(10):
        end_of(programs, dice.sample(sorted(OWN_MEMORY), min(2, len(OWN_MEMORY))), False, "killed")


@pytest.mark.slow
@pytest.mark.needs("other users")
@pytest.mark.parametrize("round", range(15))
def test_programs_that_drop_their_privileges(programs: Programs, round: int) -> None:
    """Ten each; 300 with both transports."""
    dice = random.Random(f"outlive {round} {os.environ['RSYSCALL_TRANSPORT']}")
    for _ in range(10):
        states = dice.sample(sorted(set(STATES) - UNSETTLED - OWN_MEMORY), 4)
        left = sum(PROGRAMS.get(state, 0) for state in states)
        end_of(programs, states, True, dice.choice(ENDS), left)


@pytest.mark.slow
@pytest.mark.needs("all capabilities")
def test_a_child_out_of_reach_ends_after_its_call(programs: Programs) -> None:
    """As the documentation says; those that are in no call end at once."""
    program = programs.start("lifetime_drivers:out_of_reach")
    reader = program.read_json()
    program.kill()
    program.wait()
    assert eventually(lambda: set(programs.left()) <= {reader})
    assert reader in programs.left()
    program.tell("")  # Now it has what it reads.
    programs.assert_nothing_left()
    program.close()
    programs.forget(program)


@pytest.mark.slow
def test_end_of_a_copy_ends_nothing(programs: Programs) -> None:
    programs.run("lifetime_drivers:copied")
