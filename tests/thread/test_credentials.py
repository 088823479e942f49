"""Children that change their user, and share our memory.

The program is as it was afterwards; meanwhile no other process gets at its memory by way of them; they still
die with it.
"""

from __future__ import annotations

import signal

import pytest
from credential_drivers import NOBODY, OTHER
from drivers import Programs

pytestmark = [
    pytest.mark.usefixtures("transport"),
    pytest.mark.needs("other users"),
]


@pytest.mark.parametrize("how", ["exit", "exec", "kill", "failed exec", "dropped"])
def test_flag_comes_back_when_the_child_has_left(programs: Programs, how: str) -> None:
    programs.run("credential_drivers:until_it_has_left", how=how)


@pytest.mark.parametrize(
    "program",
    [
        "several",
        "grandchildren",
        "on_its_way",
        "batches",
        "in_pid_namespace",
        "death_signal_stays",
    ],
)
def test_flag(programs: Programs, program: str) -> None:
    programs.run(f"credential_drivers:{program}")


@pytest.mark.parametrize("value", [0, 1])
def test_what_does_not_change_anything(programs: Programs, value: int) -> None:
    programs.run("credential_drivers:without_effect", value=value)


@pytest.mark.needs("suid_dumpable")
@pytest.mark.changes_machine
@pytest.mark.timeout(600)  # until no other session is in the middle of a test
@pytest.mark.parametrize("setting", ["1", "2"])
def test_other_setting_of_the_kernel(programs: Programs, setting: str) -> None:
    """`suid_dumpable` says what the flag becomes. With 1 the machine's owner wants no process protected."""
    path = "/proc/sys/fs/suid_dumpable"
    with open(path) as file:
        before = file.read()
    try:
        with open(path, "w") as file:
            file.write(setting)
        programs.run("credential_drivers:restored", environ={"EXPECTED": setting})
    finally:
        with open(path, "w") as file:
            file.write(before)


def attack(programs: Programs, pid: int, address: int, uid: int) -> list[str]:
    """The ways by which a user can get at the memory of a process."""
    program = programs.start("credential_drivers:attacker", pid=pid, address=address, uid=uid)
    succeeded: list[str] = program.read_json()
    assert program.wait() == 0
    return succeeded


def test_nobody_gets_at_our_memory(programs: Programs) -> None:
    victim = programs.start("credential_drivers:victim", change=True)
    owner, child, address = victim.read_json()
    for pid in (owner, child):
        for uid in (NOBODY, OTHER):
            assert attack(programs, pid, address, uid) == []
    # As soon as it is a program of its own, that one can be watched by its user, and we cannot.
    victim.tell("exec")
    victim.read_json()
    assert "ptrace" in attack(programs, child, 0, NOBODY)
    assert attack(programs, owner, address, NOBODY) == []
    victim.tell("end")
    victim.finish()


def test_attacks_are_real(programs: Programs) -> None:
    """They succeed where they are allowed, so that the other test can be believed."""
    victim = programs.start("credential_drivers:victim", change=False)
    _, child, address = victim.read_json()
    succeeded = attack(programs, child, address, 0)
    for way in ("mem", "maps", "process_vm_readv", "process_vm_writev", "ptrace", "pidfd_getfd", "fd"):
        assert way in succeeded
    victim.kill()
    victim.wait()


@pytest.mark.slow
@pytest.mark.parametrize("states", [["credentials"], ["credentials", "idle", "executed"]])
def test_they_die_with_their_owner(programs: Programs, states: list[str]) -> None:
    for _ in range(3):
        program = programs.start("lifetime_drivers:main", states=states, end="killed")
        assert program.read_json() == "ready"
        program.kill()
        assert program.wait() == -signal.SIGKILL
        programs.assert_nothing_left()
