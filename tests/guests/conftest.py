"""One guest of each architecture for all tests; the tests of one come one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from rsyscall.tasks.local import local_thread

from .guest import GuestThread, connect
from .machine import MACHINES, Machine, running


@pytest.fixture(scope="session")
def warm_up(guest: GuestThread) -> None:
    """What is made once must be there before the first count of descriptors."""

    async def clone() -> None:
        await (await local_thread.clone()).exit(0)

    trio.run(clone)


@pytest.fixture(scope="session", params=MACHINES, ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> Machine:
    """An architecture that can be emulated here."""
    machine = request.param
    assert isinstance(machine, Machine)
    missing = machine.missing()
    if missing is not None:
        pytest.skip(missing)
    return machine


@pytest.fixture(scope="session")
def guest(machine: Machine) -> Iterator[GuestThread]:
    """The process in the guest."""
    with running(machine) as stream:
        guest = trio.run(connect, stream)
        yield guest
        trio.run(guest.task.sysif.close_interface)


@pytest.fixture
def thread(guest: GuestThread) -> GuestThread:
    """The same, by the name that the conformance suite has for it."""
    return guest
