"""The calls that came after Linux 6.18."""

from __future__ import annotations

import errno

import pytest

from rsyscall.fcntl import O
from rsyscall.linux.nsfs import LISTNS_CURRENT_USER, NamespaceIdList, NsIdReq
from rsyscall.near import SYS
from rsyscall.near.calls import BOOK
from rsyscall.sched import CLONE
from rsyscall.thread import Thread

from .support import child_of, drop_capabilities, opened

pytestmark = pytest.mark.slow

TESTED = {"listns", "rseq_slice_yield", "fchroot"}


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_all_of_them_are_tested() -> None:
    newer = {name for name, row in BOOK.items() if row.since and version(row.since) > (6, 18)}
    assert newer | {"rseq_slice_yield"} == TESTED


async def listed(thread: Thread, types: CLONE = CLONE.NONE, *, after: int = 0, user_ns: int = 0) -> list[int]:
    req = await thread.ptr(NsIdReq(ns_id=after, ns_type=types, user_ns_id=user_ns))
    ids, _ = await thread.task.listns(req, await thread.malloc(NamespaceIdList, 800))
    return await ids.read()


async def test_listns(thread: Thread) -> None:
    before = await listed(thread)
    assert before == sorted(set(before))
    hosts = await listed(thread, CLONE.NEWUTS)
    assert set(hosts) < set(before)
    async with child_of(thread, CLONE.NEWUTS):
        [made] = set(await listed(thread, CLONE.NEWUTS)) - set(hosts)
        assert await listed(thread) == sorted([*before, made])
        assert await listed(thread, CLONE.NEWUTS, after=hosts[-1]) == [made]
    assert await listed(thread) == before
    async with child_of(thread, CLONE.NEWUSER | CLONE.NEWUTS) as child:
        [user] = await listed(thread, CLONE.NEWUSER, after=before[-1])
        [owned] = await listed(thread, user_ns=user)
        assert owned in await listed(thread, CLONE.NEWUTS)
        assert owned in await listed(child, user_ns=LISTNS_CURRENT_USER)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await listed(thread, user_ns=before[-1] + 10_000)
    assert caught.value.filename == "listns"


async def test_fchroot(thread: Thread) -> None:
    async with child_of(thread) as child:
        root = await opened(child, "/proc", O.PATH | O.DIRECTORY)
        file = await opened(child, "/init")
        with pytest.raises(OSError, match="Not a directory") as caught:
            await child.task.fchroot(file)
        assert caught.value.filename is file
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await child.task.fchroot(root, 1)
        await child.task.fchroot(root)
        await opened(child, "/uptime")
        with pytest.raises(FileNotFoundError):
            await opened(child, "/init")
        await drop_capabilities(child)
        with pytest.raises(PermissionError):
            await child.task.fchroot(root)
    await (await opened(thread, "/init")).close()


async def test_rseq_slice_yield(thread: Thread) -> None:
    """Debian builds kernels without it."""
    try:
        assert await thread.task.sysif.syscall(SYS.rseq_slice_yield) == 0
    except OSError as error:
        assert error.errno == errno.ENOSYS  # noqa: PT017 (it may work)
