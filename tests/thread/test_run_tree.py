"""Timeouts of commands that resist, and what is left of them: nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio
from place import Place
from support import children, local_thread, sh

from rsyscall.completed import CommandTimeoutError

NEEDS = {"cgroup": "cgroups", "pidns": "pid namespaces"}

# It ignores SIGTERM, and so do two descendants in sessions of their own, one of which is an orphan.
RESISTING = "trap '' TERM; setsid sleep {0} & (setsid sleep {0} &); sleep {0} & echo ready; wait"


def with_argument(argument: str) -> list[str]:
    """The processes that have this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def own_cgroups() -> list[Path]:
    """Those that this program has made."""
    return [
        Path(directory) / name
        for directory, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith(f"rsyscall-{os.getpid()}-")
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", NEEDS)
async def test_thousand_timeouts(kind: Any, place: Place) -> None:
    place.need(NEEDS[kind])
    before = children()
    # A number that no other process has.
    argument = f"86400.{os.getpid()}"
    command = sh(RESISTING.format(argument))
    total = reached = 0

    async def time_out_in_turn() -> None:
        nonlocal total, reached
        while total < 1000:
            total += 1
            with pytest.raises(CommandTimeoutError) as caught:
                await local_thread.run(command, capture=True, timeout=0.4, grace=0.05, tree=kind)
            reached += caught.value.stdout == b"ready\n"

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(time_out_in_turn)
    assert with_argument(argument) == []
    assert children() <= before
    assert own_cgroups() == []
    # A machine may be so busy that some have not come to that.
    assert reached > 100
