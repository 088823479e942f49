"""Tests of `rsyscall.sys.epoll`."""

from __future__ import annotations

import fcntl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.task import Task
from rsyscall.near import LocalSyscall
from rsyscall.near.abi import ABIS, native_abi
from rsyscall.struct import Int64
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList, EpollFlag

from .support import Local, make_task

SIZE = EpollEvent.sizeof()
events = st.builds(EpollEvent, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1).map(EPOLL))


async def wait(local: Local, epfd: Any, room: int = 16) -> EpollEventList:
    valid, rest = await epfd.epoll_wait(await local.malloc(EpollEventList, room * SIZE), 0)
    assert valid.size() + rest.size() == room * SIZE
    found: EpollEventList = await valid.read()
    return found


async def test_events_are_reported_with_their_number(local: Local, task: Task) -> None:
    epfd = await task.epoll_create()
    one, two = await task.eventfd(0), await task.eventfd(0)
    await epfd.epoll_ctl(EPOLL_CTL.ADD, one, await local.ptr(EpollEvent(2**64 - 1, EPOLL.IN | EPOLL.OUT)))
    await epfd.epoll_ctl(EPOLL_CTL.ADD, two, await local.ptr(EpollEvent(42, EPOLL.IN)))
    assert await wait(local, epfd) == [EpollEvent(2**64 - 1, EPOLL.OUT)]
    await two.write(await local.ptr(Int64(1)))
    found = await wait(local, epfd)
    assert sorted(found, key=lambda event: event.data) == [
        EpollEvent(42, EPOLL.IN),
        EpollEvent(2**64 - 1, EPOLL.OUT),
    ]


async def test_only_as_many_as_fit(local: Local, task: Task) -> None:
    epfd = await task.epoll_create(EpollFlag.NONE)
    ready = [await task.eventfd(1) for _ in range(5)]
    for number, fd in enumerate(ready):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await local.ptr(EpollEvent(number, EPOLL.IN)))
    assert len(await wait(local, epfd, room=3)) == 3


async def test_oneshot_mod_and_del(local: Local, task: Task) -> None:
    epfd = await task.epoll_create()
    fd = await task.eventfd(1)
    await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await local.ptr(EpollEvent(1, EPOLL.IN | EPOLL.ONESHOT)))
    assert await wait(local, epfd) == [EpollEvent(1, EPOLL.IN)]
    assert await wait(local, epfd) == []
    await epfd.epoll_ctl(EPOLL_CTL.MOD, fd, await local.ptr(EpollEvent(2, EPOLL.IN)))
    assert await wait(local, epfd) == [EpollEvent(2, EPOLL.IN)]
    await epfd.epoll_ctl(EPOLL_CTL.DEL, fd)
    assert await wait(local, epfd) == []


async def test_edge_triggered(local: Local, task: Task) -> None:
    epfd = await task.epoll_create()
    fd = await task.eventfd(1)
    await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await local.ptr(EpollEvent(1, EPOLL.IN | EPOLL.ET)))
    assert len(await wait(local, epfd)) == 1
    assert await wait(local, epfd) == []


async def test_a_timeout_ends_the_wait(local: Local, task: Task) -> None:
    epfd = await task.epoll_create()
    valid, rest = await epfd.epoll_wait(await local.malloc(EpollEventList, SIZE), 1)
    assert valid.size() == 0
    assert rest.size() == SIZE
    assert await valid.read() == []


async def test_is_always_cloexec(task: Task) -> None:
    epfd = await task.epoll_create()
    assert fcntl.fcntl(int(epfd), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


async def test_a_handle_of_another_task_of_the_same_table(local: Local, task: Task) -> None:
    other = make_task(task)
    epfd, fd = await task.epoll_create(), await other.eventfd(1)
    await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await local.ptr(EpollEvent(1, EPOLL.IN)))
    assert fd.is_only_handle()
    assert len(await wait(local, epfd)) == 1


async def test_errors_say_what_they_are_about(local: Local, task: Task) -> None:
    epfd, fd = await task.epoll_create(), await task.eventfd(0)
    with pytest.raises(FileNotFoundError) as absent:
        await epfd.epoll_ctl(EPOLL_CTL.DEL, fd)
    assert absent.value.filename is fd
    with pytest.raises(OSError) as wrong:
        await fd.epoll_wait(await local.malloc(EpollEventList, SIZE), 0)
    assert wrong.value.filename is fd


async def test_misuse_is_caught_before_the_call(local: Local, task: Task) -> None:
    epfd, fd = await task.epoll_create(), await task.eventfd(1)
    event = await local.ptr(EpollEvent(1, EPOLL.IN))
    elsewhere = Local.make()
    with pytest.raises(AddressSpaceMismatchError):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, await elsewhere.ptr(EpollEvent(1, EPOLL.IN)))
    with pytest.raises(AddressSpaceMismatchError):
        await epfd.epoll_wait(await elsewhere.malloc(EpollEventList, SIZE), 0)
    stranger = await make_task(task, share_fd_table=False).eventfd(1)
    with pytest.raises(FDTableMismatchError):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, stranger, event)
    with pytest.raises(ValueError):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, fd)
    with pytest.raises(BufferTooSmallError):
        await epfd.epoll_wait(await local.malloc(EpollEventList, SIZE - 1), 0)
    consumed = await local.malloc(EpollEventList, SIZE)
    consumed.split(1)
    with pytest.raises(UseAfterFreeError):
        await epfd.epoll_wait(consumed, 0)
    closed = await task.eventfd(1)
    await closed.close()
    with pytest.raises(InvalidHandleError):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, closed, event)
    assert await wait(local, epfd) == []
    await epfd.close()
    with pytest.raises(InvalidHandleError):
        await epfd.epoll_ctl(EPOLL_CTL.ADD, fd, event)
    with pytest.raises(InvalidHandleError):
        await epfd.epoll_wait(await local.malloc(EpollEventList, SIZE), 0)
    await stranger.close()


def test_iterating_yields_the_flags_that_are_set() -> None:
    assert list(EPOLL.IN | EPOLL.ET | EPOLL.HUP) == [EPOLL.IN, EPOLL.HUP, EPOLL.ET]
    assert list(EPOLL.NONE) == []
    assert list(EPOLL(0x4000000 | 4)) == [EPOLL.OUT]


@given(st.lists(events))
def test_list_round_trip(values: list[EpollEvent]) -> None:
    data = EpollEventList(values).to_bytes()
    assert len(data) == SIZE * len(values)
    assert EpollEventList.from_bytes(data) == values
    assert EpollEventList.from_bytes(data + bytes(SIZE - 1)) == values


@given(events)
def test_round_trip(event: EpollEvent) -> None:
    assert EpollEvent.from_bytes(event.to_bytes()) == event


class ForeignSyscall(LocalSyscall):
    """Says that its process is of another architecture."""

    abi = next(abi for abi in ABIS.values() if abi.epoll_event != native_abi().epoll_event)


@pytest.mark.parametrize("event", [EpollEvent(2**63 + 5, EPOLL.IN | EPOLL.ET)])
def test_layout_is_that_of_the_target(event: EpollEvent) -> None:
    task = make_task()
    task.sysif = ForeignSyscall()
    serializer = EpollEvent.get_serializer(task)
    data = serializer.to_bytes(event)
    assert len(data) == {12: 16, 16: 12}[SIZE]
    assert serializer.from_bytes(data) == event
    list_serializer = EpollEventList.get_serializer(task)
    assert list_serializer.to_bytes(EpollEventList([event, event])) == data + data
    assert list_serializer.from_bytes(data + data) == [event, event]
    own: object = EpollEvent.get_serializer(make_task())
    assert own is EpollEvent
