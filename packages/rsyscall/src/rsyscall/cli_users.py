"""`rsyscall run --run-as` where the users and groups are not ours: elsewhere, or in another root directory.

Names are looked up in /etc/passwd and /etc/group there. What these say is not trusted, and no program is
executed for it: a root directory may have none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from rsyscall.fcntl import O
from rsyscall.sys.stat import S_IF, Stat
from rsyscall.thread import ChildThread

__all__ = ["look_up"]

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
# Larger files are none of users.
_LARGEST = 1 << 26


async def look_up(child: ChildThread, user: int | str, group: int | str | None) -> tuple[int, int]:
    """The numbers of a user and a group where this process is.

    Args:
        child: reads the files.
        user: a number or a name.
        group: likewise; None is the group of the user.

    Raises:
        ValueError: there is no such user or group, or the files cannot be read; says what to give instead.
    """
    if isinstance(user, int) and isinstance(group, int):
        return user, group
    if isinstance(user, str) or group is None:
        uid, own_group = await _user(child, user, group is None)
    else:
        uid, own_group = user, -1
    if group is None:
        return uid, own_group
    return uid, group if isinstance(group, int) else await _group(child, group)


async def _user(child: ChildThread, user: int | str, with_group: bool) -> tuple[int, int]:
    wanted = os.fsencode(user) if isinstance(user, str) else None
    for name, number, fields in await _entries(child, _PASSWD):
        found = number == user if wanted is None else name == wanted
        group = _number(fields[3]) if len(fields) > 3 else None
        if found and (group is not None or not with_group):
            return number, -1 if group is None else group
    if wanted is None:
        raise ValueError(f"user: {user} has no entry in {_PASSWD} there, so give its group, too")
    raise ValueError(f"user: there is no {user!r} in {_PASSWD} there; a number is possible, too")


async def _group(child: ChildThread, group: str) -> int:
    wanted = os.fsencode(group)
    for name, number, _ in await _entries(child, _GROUP):
        if name == wanted:
            return number
    raise ValueError(f"group: there is no {group!r} in {_GROUP} there; a number is possible, too")


async def _entries(child: ChildThread, path: str) -> Iterator[tuple[bytes, int, list[bytes]]]:
    """Name, number and all fields of each line that has these."""
    lines = (await _contents(child, path)).split(b"\n")
    split = (line.split(b":") for line in lines)
    numbered = ((fields, _number(fields[2])) for fields in split if len(fields) > 2)
    return ((fields[0], number, fields) for fields, number in numbered if number is not None)


async def _contents(child: ChildThread, path: str) -> bytes:
    try:
        # Without waiting: there may be a FIFO.
        async with await child.open(path, O.RDONLY | O.NONBLOCK) as file:
            status = await (await file.fstat(await child.malloc(Stat))).read()
            if status.mode.type == S_IF.REG and status.size <= _LARGEST:
                return await child.read_to_eof(file)
    except OSError as error:
        reason = error.strerror
    else:
        reason = "it is no regular file, or too large"
    raise ValueError(f"{path} there: {reason}; give numbers, as 1000:1000")


def _number(text: bytes) -> int | None:
    # The last number means: leave it as it is.
    return int(text) if text.isdigit() and len(text) < 11 and int(text) < 2**32 - 1 else None
