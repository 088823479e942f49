"""Children that share our memory in namespaces of their own, and programs beside them that want to write to
it.

The tests state what every combination permits, and try it for the whole life of a box: before the user
mapping is written, while processes come and go, and when the last of ours executes a program.
"""

from __future__ import annotations

import json
import os

import pytest
from drivers import Programs

from rsyscall.sched import CLONE

ROOT, ORDINARY = 0, 1000
NAMESPACES = {"user": CLONE.NEWUSER, "pid": CLONE.NEWPID, "mount": CLONE.NEWNS}
BOXES = [
    pytest.param(
        [name for index, name in enumerate(NAMESPACES) if bits >> index & 1],
        id="+".join(name for index, name in enumerate(NAMESPACES) if bits >> index & 1) or "none",
    )
    for bits in range(8)
]

pytestmark = pytest.mark.needs("user namespaces", "pid namespaces", "mount namespaces", "mounts of proc")


def as_user(user: int) -> int:
    if user == os.getuid():
        return user
    if os.getuid() != 0:
        if user == ROOT:
            pytest.skip("place: we are not root")
        return os.getuid()
    return user


def attacked(
    programs: Programs, user: int, box: list[str], inside: int, own_memory: bool = False
) -> int | None:
    """How many times programs in such a box have reached the memory of the program that made it."""
    flags = CLONE.NONE
    for name in box:
        flags |= NAMESPACES[name]
    output = programs.run(
        "protection_drivers:attacked",
        user=as_user(user),
        flags=flags,
        inside=inside,
        own_memory=own_memory,
    )
    result = json.loads(output)
    if isinstance(result, str):
        pytest.skip(f"place: {result}")
    assert result is None or isinstance(result, int)
    return result


@pytest.mark.slow
def test_root_of_a_box_does_not_get_at_our_memory(programs: Programs) -> None:
    assert attacked(programs, os.getuid(), ["user", "pid", "mount"], 0) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("inside", [0, 1000])
@pytest.mark.parametrize("user", [ROOT, ORDINARY])
@pytest.mark.parametrize("box", BOXES)
def test_every_box(programs: Programs, box: list[str], user: int, inside: int) -> None:
    reached = attacked(programs, user, box, inside)
    if "user" in box:
        # Any user inside has no privileges outside, and our memory belongs to the outside.
        assert reached == 0
    elif as_user(user) != ROOT and box:
        assert reached is None, "an ordinary user makes no such box without a user namespace"
    else:
        # The limit: a process with our user, in our user namespace, may trace us, as ever in Linux. Other
        # namespaces do not change that, not even if its /proc does not show us: it shows our child.
        assert reached


@pytest.mark.slow
@pytest.mark.parametrize("inside", [0, 1000])
@pytest.mark.parametrize("user", [ROOT, ORDINARY])
@pytest.mark.parametrize("box", BOXES)
def test_every_box_whose_first_process_has_memory_of_its_own(
    programs: Programs, box: list[str], user: int, inside: int
) -> None:
    reached = attacked(programs, user, box, inside, own_memory=True)
    if "user" in box:
        assert reached == 0
    elif as_user(user) != ROOT and box:
        assert reached is None, "an ordinary user makes no such box without a user namespace"
    elif {"pid", "mount"} <= set(box):
        assert reached == 0, "real root, which sees only processes of the box"
    else:
        # Its /proc shows the program itself.
        assert reached


@pytest.mark.slow
@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("user", [ROOT, ORDINARY])
@pytest.mark.parametrize("kcmp", [True, False], ids=["kcmp", "without_kcmp"])
def test_everything_works_meanwhile(programs: Programs, user: int, kcmp: bool) -> None:
    programs.run("protection_drivers:works_meanwhile", user=as_user(user), kcmp=kcmp)


@pytest.mark.slow
@pytest.mark.needs("other users", "all capabilities")
@pytest.mark.parametrize("how", ["credentials", "mapping", "exec"])
@pytest.mark.parametrize(
    "reason",
    [
        "nothing",
        "setresuid",
        "setresgid",
        "seteuid and back",
        "setfsuid",
        "capabilities",
        "task.prctl",
        "prctl_set_dumpable",
        "prctl in a child",
    ],
)
def test_other_reasons_to_be_undumpable(programs: Programs, how: str, reason: str) -> None:
    programs.run("protection_drivers:stays_off", how=how, reason=reason)


@pytest.mark.needs("all capabilities")
@pytest.mark.parametrize("how", ["mapping", "exec"])
def test_turned_off_before_there_was_a_reason(programs: Programs, how: str) -> None:
    programs.run("protection_drivers:turned_off_earlier", how=how)


def test_what_an_ordinary_user_cannot_do_meanwhile(programs: Programs) -> None:
    """The price, named in SECURITY.md."""
    programs.run("protection_drivers:out_of_reach", user=as_user(ORDINARY))


@pytest.mark.parametrize("user", [ROOT, ORDINARY])
def test_attributes_of_the_memory_are_not_protected_from_the_same_user_id(
    programs: Programs, user: int
) -> None:
    """A limit, named in SECURITY.md: the files belong to root, and root of such a box has the uid of root."""
    changed = json.loads(programs.run("protection_drivers:shared_attributes", user=as_user(user)))
    assert changed == [as_user(user) == ROOT] * 2


def test_the_program_itself_in_another_user_namespace(programs: Programs) -> None:
    programs.run("protection_drivers:moved", inside=0)
