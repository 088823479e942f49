"""The user and the group for access to files."""

from __future__ import annotations

import os
from pathlib import Path

from .helpers import forked
from .support import Local


@forked
async def test_only_what_is_permitted_is_set(local: Local, tmp_path: Path) -> None:
    user, group = os.geteuid(), os.getegid()
    assert await local.task.setfsuid(user) == user
    assert await local.task.setfsgid(group) == group
    if user == 0:
        await local.task.setfsgid(65534)
        await local.task.setfsuid(65534)
        assert (await local.task.setfsuid(-1), await local.task.setfsgid(-1)) == (65534, 65534)
    else:
        await local.task.setfsuid(0)
        assert await local.task.setfsuid(-1) == user
