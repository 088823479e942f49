"""Much at once, at the worst moment, with too little of everything."""

from __future__ import annotations

import errno

import pytest
from drivers import Programs

from rsyscall.near import SYS

pytestmark = pytest.mark.usefixtures("transport")

# A user without other processes, so that the test can count its own.
USER = 61234


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        "mixed",
        "watcher_kills",
        "interrupts",
        "busy_thread",
        "idle",
        "without_descriptors",
        "old_clone",
        "old_clone_interrupted",
        "old_clone_shared_handlers",
        "stopped",
    ],
)
def test_storm(programs: Programs, program: str) -> None:
    programs.run(f"storm_drivers:{program}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_at_random_moments(programs: Programs, seed: int) -> None:
    programs.run("storm_drivers:kills", seed=seed, count=50)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["one", "one later", "no spinning", "long spinning"])
def test_processors(programs: Programs, how: str) -> None:
    environ = {"no spinning": {"RSYSCALL_SPIN_US": "0"}, "long spinning": {"RSYSCALL_SPIN_US": "1000,5000"}}
    programs.run("storm_drivers:processors", how=how, environ=environ.get(how))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "limit"), [(500, 1024), (1000, 4096)])
def test_many_children(programs: Programs, count: int, limit: int) -> None:
    programs.run("storm_drivers:many", count=count, limit=limit)


@pytest.mark.needs("other users")
def test_no_more_processes(programs: Programs) -> None:
    programs.run("storm_drivers:without_processes", user=USER)


def test_full_ring(programs: Programs) -> None:
    programs.run("storm_drivers:full_ring", count=500)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["with watcher", "without watcher"])
def test_many_execs_at_once(programs: Programs, way: str) -> None:
    programs.run("storm_drivers:many_execs", count=200, way=way)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_filters_that_do_not_know_futex_waitv(programs: Programs, error: int) -> None:
    programs.run("storm_drivers:filtered", number=int(SYS.futex_waitv), error=error)
