"""The users and groups of new user namespaces: more than our own, by privilege or by newuidmap."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support import children, local_thread, sh

from rsyscall.id_maps import IdMaps, IdRange, subordinate_id_maps
from rsyscall.run_limits import Limits
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.thread import ChildThread

SHOWN = sh("cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g")
MAPS = IdMaps([IdRange(0, 0), IdRange(1, 100000, 1000)], [IdRange(0, 0), IdRange(7, 200000, 10)])
NOBODY = 65534
NAME = pwd.getpwuid(NOBODY).pw_name


def words(result: Any) -> list[list[int]]:
    """Lines of numbers."""
    return [[int(word) for word in line.split()] for line in result.stdout.splitlines()]


@pytest.mark.needs("user namespaces", "pid namespaces", "any user id")
@pytest.mark.parametrize("options", [{}, {"tree": "pidns"}, {"tree": "group", "cwd": "/"}])
async def test_command_with_other_ids(options: Any, transport: str) -> None:
    before = children()
    limits = Limits(id_maps=MAPS, oom_score_adj=5, umask=0o27)
    result = await local_thread.run(SHOWN, capture=True, limits=limits, **options)
    assert words(result) == [[0, 0, 1], [1, 100000, 1000], [0, 0, 1], [7, 200000, 10], [0], [0]]
    with pytest.raises(FileNotFoundError):
        await local_thread.run(SHOWN, limits=limits, cwd="/nonexistent")
    assert children() == before


@pytest.mark.needs("user namespaces", "any user id")
@pytest.mark.parametrize("own_memory", [False, True])
async def test_child_with_other_ids(own_memory: bool, transport: str) -> None:
    child = await local_thread.clone(CLONE.NEWUSER, own_memory=own_memory, id_maps=MAPS)
    async with child.process:
        # Users of the namespace, whose numbers are others outside.
        await child.task.setresgid(8, 8, 8)
        await child.task.setresuid(5, 5, 5)
        assert words(await child.run(SHOWN, capture=True))[-2:] == [[5], [8]]
        assert Path(f"/proc/{child.process.pid}/status").read_text().count("100004") == 4


@pytest.fixture
def uidmap() -> None:
    """What Debian's package of this name installs."""
    if (
        shutil.which("newuidmap") is None
        or not Path("/etc/subuid").exists()
        or not Path("/etc/subgid").exists()
    ):
        pytest.skip("package: newuidmap, or /etc/subuid, is not there")


@asynccontextmanager
async def user_with_subordinate_ids(directory: Path) -> AsyncIterator[ChildThread]:
    """An ordinary user, for whom there are subordinate ids in its own mount namespace alone."""
    child = await local_thread.clone(CLONE.NEWNS)
    async with child.process:
        await child.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
        for name, text in (
            ("subuid", f"{NAME}:300000:100\n{NOBODY}:400000:5\n"),
            ("subgid", f"{NAME}:500000:7\n"),
        ):
            (directory / name).write_text(text)
            await child.mount(os.fspath(directory / name), f"/etc/{name}", "", MS.BIND, "")
        await child.task.setresgid(NOBODY, NOBODY, NOBODY)
        await child.task.setresuid(NOBODY, NOBODY, NOBODY)
        yield child


@pytest.mark.needs("user namespaces", "privileged mount namespaces", "other users")
@pytest.mark.usefixtures("uidmap")
async def test_subordinate_ids_of_an_ordinary_user(tmp_path: Path, transport: str) -> None:
    tmp_path.chmod(0o755)
    before = children()
    async with user_with_subordinate_ids(tmp_path) as user:
        maps = await subordinate_id_maps(user)
        assert maps.uids == [IdRange(0, NOBODY), IdRange(1, 300000, 100), IdRange(101, 400000, 5)]
        assert maps.gids == [IdRange(0, NOBODY), IdRange(1, 500000, 7)]
        # It shares memory that its change of user has made undumpable, with which newuidmap does not work.
        result = await user.run(SHOWN, capture=True, limits=Limits(id_maps=maps))
        expected = [
            [0, NOBODY, 1],
            [1, 300000, 100],
            [101, 400000, 5],
            [0, NOBODY, 1],
            [1, 500000, 7],
            [0],
            [0],
        ]
        assert words(result) == expected
        child = await user.clone(CLONE.NEWUSER | CLONE.NEWPID, id_maps=maps)
        async with child.process:
            assert words(await child.run(SHOWN, capture=True)) == expected
        theirs = IdMaps([IdRange(0, 300101)], [IdRange(0, NOBODY)])
        with pytest.raises(PermissionError, match=r"newuidmap: uid range .* not allowed"):
            await user.clone(CLONE.NEWUSER, id_maps=theirs)
        # One's own ids take no program.
        own = IdMaps([IdRange(3, NOBODY)], [IdRange(4, NOBODY)])
        assert words(await user.run(SHOWN, capture=True, limits=Limits(id_maps=own)))[-2:] == [[3], [4]]
        user.environ["PATH"] = "/nonexistent"
        with pytest.raises(PermissionError, match=r"it takes newuidmap \(package uidmap\)"):
            await user.clone(CLONE.NEWUSER, id_maps=maps)
    assert children() == before


@pytest.mark.needs("user namespaces")
async def test_our_own_ids() -> None:
    own = IdMaps([IdRange(3, os.geteuid())], [IdRange(4, os.getegid())])
    assert words(await local_thread.run(SHOWN, capture=True, limits=Limits(id_maps=own)))[-2:] == [[3], [4]]


@pytest.mark.needs("user namespaces")
@pytest.mark.usefixtures("uidmap")
async def test_no_subordinate_ids() -> None:
    child = await local_thread.clone(CLONE.NEWUSER)
    async with child.process:
        with pytest.raises(ValueError, match=r"/etc/subuid has no ids for user \d+; usermod"):
            await subordinate_id_maps(child)


def test_misuse() -> None:
    own = [IdRange(0, 0)]
    for arguments in ((-1, 0), (0, -1), (0, 0, 0), (0, 0, 1 << 32)):
        with pytest.raises(ValueError, match="IdRange"):
            IdRange(*arguments)
    wrong: Any
    for wrong in ("0", None, True):
        with pytest.raises(TypeError, match="IdRange"):
            IdRange(wrong, 0)
    for wrong in (0, [0], [(0, 0, 1)], None, "abc"):
        with pytest.raises(TypeError, match="gids"):
            IdMaps(own, wrong)
    for wrong, said in (
        ([], "1 to 340"),
        ([IdRange(0, 0, 5), IdRange(4, 10)], "id 4 inside"),
        ([IdRange(0, 10, 5), IdRange(10, 14)], "id 14 outside"),
    ):
        with pytest.raises(ValueError, match=f"uids.*{said}"):
            IdMaps(wrong, own)


async def test_misuse_in_a_clone() -> None:
    maps = IdMaps([IdRange(0, 0)], [IdRange(0, 0)])
    wrong: Any = {0: 0}
    with pytest.raises(TypeError, match="id_maps"):
        await local_thread.clone(CLONE.NEWUSER, id_maps=wrong)
    with pytest.raises(ValueError, match=r"id_maps.*NEWUSER"):
        await local_thread.clone(id_maps=maps)
    with pytest.raises(TypeError, match="id_maps"):
        Limits(id_maps=wrong)
    with pytest.raises(ValueError, match=r"id_maps.*Thread\.clone"):
        await Limits(id_maps=maps).apply(local_thread.prepare())
