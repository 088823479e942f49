"""Standard descriptors that are closed or replaced while the program runs."""

from __future__ import annotations

import pytest
from drivers import Programs


@pytest.mark.parametrize("what", ["gone", "closed_by_us", "follows", "shared"])
def test_their_handles(programs: Programs, what: str) -> None:
    programs.run(f"standard_fds_drivers:{what}")


@pytest.mark.parametrize("closed", [[0], [1], [0, 1], [0, 1, 2]], ids=str)
def test_commands_without_them(programs: Programs, transport: str, closed: list[int]) -> None:
    programs.run("standard_fds_drivers:commands", closed=closed)
