"""Calls that act on the address space, in children that share ours.

Each program is one that a mistake would change for good.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import sys

import pytest
from address_space_drivers import CALLS
from drivers import Programs
from streams import program

from rsyscall.near import SYS, nr
from rsyscall.sys.prctl import PR

LIBC = ctypes.CDLL(None, use_errno=True)


def need_option(option: PR) -> None:
    """Skip unless the kernel has an option that asks for something."""
    if LIBC.prctl(int(option), 0, 0, 0, 0) < 0 and ctypes.get_errno() == errno.EINVAL:
        pytest.skip(f"kernel: no PR_{option.name}")


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("how", ["typed", "bare"])
def test_what_nothing_can_undo_is_refused(programs: Programs, how: str) -> None:
    programs.run(f"address_space_drivers:{how}")


def test_what_nothing_can_undo_is_refused_in_a_prepared_process(programs: Programs) -> None:
    programs.run("address_space_drivers:prepared")


@pytest.mark.usefixtures("transport")
def test_it_is_allowed_on_the_local_thread(programs: Programs) -> None:
    need_option(PR.GET_MDWE)
    programs.run("address_space_drivers:on_the_local_thread")


async def test_it_is_allowed_in_a_process_that_has_memory_of_its_own() -> None:
    need_option(PR.GET_MDWE)
    async with program() as target:
        assert await target.call(nr.prctl, PR.SET_MDWE, 1) == 0
        assert await target.call(nr.prctl, PR.GET_MDWE) == 1
        with pytest.raises(PermissionError, match=r"^\[Errno 1\] Operation not permitted$"):
            await target.call(nr.prctl, PR.SET_MDWE, 0)


@pytest.mark.usefixtures("transport")
def test_it_can_be_set_in_what_is_executed(programs: Programs) -> None:
    need_option(PR.GET_MDWE)
    programs.run("address_space_drivers:by_the_executed_program", python=sys.executable)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    ("name", "setter", "getter", "value"),
    [
        ("PR_SET_DUMPABLE", PR.SET_DUMPABLE, PR.GET_DUMPABLE, 0),
        ("PR_SET_THP_DISABLE", PR.SET_THP_DISABLE, PR.GET_THP_DISABLE, 1),
        ("PR_SET_MEMORY_MERGE", PR.SET_MEMORY_MERGE, PR.GET_MEMORY_MERGE, 1),
    ],
)
def test_what_can_be_undone_is_the_program_s(
    programs: Programs, name: str, setter: PR, getter: PR, value: int
) -> None:
    need_option(getter)
    programs.run("address_space_drivers:reversible", name=name, setter=setter, getter=getter, value=value)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("oom_score_adj", "700", "700"), ("coredump_filter", "0x7f", "0000007f")],
)
def test_files_that_belong_to_the_address_space(
    programs: Programs, name: str, value: str, shown: str
) -> None:
    """A limit, documented: docs/address-space.md says what to do."""
    programs.run("address_space_drivers:files_are_ours", name=name, value=value, shown=shown)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("how", ["choom", "sh", "outside"])
def test_they_can_be_set_for_a_program(programs: Programs, how: str) -> None:
    programs.run("address_space_drivers:set_for_a_program", how=how)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="architecture: arch_prctl is of x86")
def test_architecture_s_own_are_among_them() -> None:
    assert {call.number for call in CALLS} == {nr.prctl, SYS.arch_prctl, SYS.mseal}
