"""Tests of `sendmmsg` and `recvmmsg` of `rsyscall.sys.socket`."""

from __future__ import annotations

import gc
import logging
import os
from typing import Any, SupportsInt

import pytest

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.pointer import LinearReadError, Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.near import SYS, LocalSyscall
from rsyscall.near.record import CallRecord
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.sys.socket import (
    AF,
    CMSG_SPACE,
    SOCK,
    CmsgList,
    CmsgSCMRights,
    Mmsghdr,
    MmsgLengths,
    MsghdrFlags,
    RecvMmsghdrList,
    RecvMmsghdrOut,
    RecvmsgFlags,
    RecvMsghdr,
    SendMmsghdrList,
    SendmsgFlags,
    SendMsghdr,
    SockaddrStorage,
    Sockbuf,
    Socketpair,
)
from rsyscall.sys.uio import IovecList
from rsyscall.time import Timespec

from .support import Local, make_task, null_fds, open_fds, retyped


async def socketpair(local: Local, type: SOCK = SOCK.DGRAM) -> Socketpair:
    pair = await local.task.socketpair(AF.UNIX, type, 0, await local.malloc(Socketpair))
    return await pair.read()


async def message(local: Local, *data: bytes, control: CmsgList | None = None) -> SendMsghdr:
    iov = await local.ptr(IovecList([await local.ptr(piece) for piece in data]))
    return SendMsghdr(None, iov, None if control is None else await local.ptr(control))


async def messages(local: Local, *data: bytes) -> WrittenPointer[SendMmsghdrList]:
    return await local.ptr(SendMmsghdrList([await message(local, piece) for piece in data]))


async def rights(local: Local, sock: Any, *counts: int) -> None:
    """Send a message with so many descriptors each."""
    for count in counts:
        control = CmsgList([CmsgSCMRights([sock] * count)]) if count else CmsgList([])
        await sock.sendmsg(await local.ptr(await message(local, b"x", control=control)), SendmsgFlags.NONE)


async def place(local: Local, size: int = 10, control: int | None = None) -> RecvMsghdr:
    iov = await local.ptr(IovecList([await local.malloc(bytes, size)]))
    return RecvMsghdr(None, iov, None if control is None else await local.malloc(CmsgList, control))


async def places(
    local: Local, count: int, size: int = 10, control: int | None = None
) -> WrittenPointer[RecvMmsghdrList]:
    return await local.ptr(RecvMmsghdrList([await place(local, size, control) for _ in range(count)]))


async def text(message: RecvMmsghdrOut) -> bytes:
    return b"".join([await piece.read() for piece in message.valid])


async def given_up(local: Local) -> dict[int, str]:
    """What is open once everything without a handle is closed."""
    gc.collect()
    await local.task.run_fd_table_gc()
    return open_fds()


class Answering(LocalSyscall):
    """Makes the calls, and gives other answers to these."""

    __slots__ = ("answers",)

    def __init__(self, answers: dict[SYS, int]) -> None:
        super().__init__()
        self.answers = answers

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        result = await super().syscall(number, *args)
        return self.answers.get(number, result)


# data and addresses


async def test_several_at_once(local: Local) -> None:
    pair = await socketpair(local)
    lengths, rest = await pair.first.sendmmsg(
        await local.ptr(
            SendMmsghdrList(
                [await message(local, b"one"), await message(local, b"t", b"wo"), await message(local)]
            )
        )
    )
    assert await lengths.read() == MmsgLengths([3, 3, 0])
    assert rest.value == []
    out, free = await pair.second.recvmmsg(await places(local, 5), RecvmsgFlags.DONTWAIT)
    found = await out.read()
    assert [await text(message) for message in found] == [b"one", b"two", b""]
    assert [message.rest.size() for message in found] == [7, 7, 10]
    assert [message.hdr.flags for message in found] == [MsghdrFlags.CMSG_CLOEXEC] * 3
    assert all(message.hdr.control is None and message.hdr.name is None for message in found)
    # The places that were not used can be.
    assert len(free.value) == 2
    await pair.first.sendmmsg(await messages(local, b"three"))
    out, free = await pair.second.recvmmsg(free, RecvmsgFlags.WAITFORONE)
    assert [await text(message) for message in await out.read()] == [b"three"]
    assert len(free.value) == 1


async def test_what_does_not_fit_is_sent_later(local: Local) -> None:
    pair = await socketpair(local, SOCK.DGRAM | SOCK.NONBLOCK)
    sent, rest = await pair.first.sendmmsg(await messages(local, *[b"%04d" % n for n in range(1000)]))
    first = len(await sent.read())
    assert 0 < first < 1000
    assert len(rest.value) == 1000 - first
    with pytest.raises(BlockingIOError) as info:
        await pair.first.sendmmsg(rest)
    assert info.value.filename is pair.first
    out, _ = await pair.second.recvmmsg(await places(local, first))
    assert [await text(message) for message in await out.read()] == [b"%04d" % n for n in range(first)]
    # What failed has consumed nothing.
    more, left = await pair.first.sendmmsg(rest)
    assert await more.read() == [4] * first
    out, _ = await pair.second.recvmmsg(await places(local, 1))
    assert [await text(message) for message in await out.read()] == [b"%04d" % first]
    assert len(left.value) == 1000 - 2 * first


async def test_addresses(local: Local, task: Task) -> None:
    one, two = await task.socket(AF.INET, SOCK.DGRAM), await task.socket(AF.INET, SOCK.DGRAM)
    names = []
    for sock in one, two:
        await sock.bind(await local.ptr(SockaddrIn(0, "127.0.0.1")))
        name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrIn))))
        names.append(await (await name.read()).buf.read())
    hdrs = SendMmsghdrList()
    for data in b"a", b"bc":
        iov = await local.ptr(IovecList([await local.ptr(data)]))
        hdrs.append(SendMsghdr(await local.ptr(names[1]), iov, None))
    await one.sendmmsg(await local.ptr(hdrs))
    room = RecvMmsghdrList()
    for _ in hdrs:
        hdr = await place(local)
        room.append(RecvMsghdr(await local.malloc(SockaddrStorage), hdr.iov, None))
    out, _ = await two.recvmmsg(await local.ptr(room))
    found = await out.read()
    assert [await text(message) for message in found] == [b"a", b"bc"]
    for message_ in found:
        assert message_.hdr.name is not None
        assert (await message_.hdr.name.read()).parse() == names[0]


async def test_messages_that_are_cut_off(local: Local) -> None:
    pair = await socketpair(local)
    await pair.first.sendmmsg(await messages(local, b"long", b"s"))
    out, _ = await pair.second.recvmmsg(await places(local, 2, 2), RecvmsgFlags.TRUNC)
    found = await out.read()
    # With this flag the kernel says how long the first was: longer than its place.
    assert [await text(message) for message in found] == [b"lo", b"s"]
    assert [bool(message.hdr.flags & MsghdrFlags.TRUNC) for message in found] == [True, False]


async def test_a_time_limit(local: Local) -> None:
    pair = await socketpair(local)
    await pair.first.sendmmsg(await messages(local, b"only"))
    limit = await local.ptr(Timespec(0, 1))
    out, free, left = await pair.second.recvmmsg(await places(local, 2), RecvmsgFlags.NONE, limit)
    assert [await text(message) for message in await out.read()] == [b"only"]
    assert len(free.value) == 1
    assert await left.read() == Timespec(0, 0)
    with pytest.raises(UseAfterFreeError):
        limit.near  # noqa: B018 (it is a property that raises)


async def test_a_failed_call_consumes_nothing(local: Local) -> None:
    pair = await socketpair(local)
    msgvec, limit = await places(local, 2, control=100), await local.ptr(Timespec(1, 0))
    with pytest.raises(BlockingIOError) as info:
        await pair.second.recvmmsg(msgvec, RecvmsgFlags.DONTWAIT, limit)
    assert info.value.filename is pair.second
    await pair.first.sendmmsg(await messages(local, b"now"))
    out, _, _ = await pair.second.recvmmsg(msgvec, RecvmsgFlags.DONTWAIT, limit)
    assert [await text(message) for message in await out.read()] == [b"now"]


async def test_none_at_all(local: Local) -> None:
    pair = await socketpair(local)
    lengths, _ = await pair.first.sendmmsg(await messages(local))
    assert await lengths.read() == []
    out, _ = await pair.second.recvmmsg(await places(local, 0))
    assert await out.read() == []


async def test_all_memory_comes_back(local: Local) -> None:
    pair = await socketpair(local)
    before = local.arena.live_bytes()
    await pair.first.sendmmsg(await messages(local, b"one", b"two"))
    await rights(local, pair.first, 1)
    out, free = await pair.second.recvmmsg(await places(local, 4, control=100), RecvmsgFlags.DONTWAIT)
    found = await out.read()
    for message_ in found:
        assert message_.hdr.control is not None
        await message_.hdr.control.read()
    del out, free, found, message_
    await given_up(local)
    assert local.arena.live_bytes() == before


# file descriptors


async def test_passing_descriptors_in_several_messages(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    sent = null_fds(task, 3)
    hdrs = [
        await message(local, b"a", control=CmsgList([CmsgSCMRights(sent[:1])])),
        await message(local, b"b"),
        await message(local, b"c", control=CmsgList([CmsgSCMRights(sent[1:])])),
    ]
    await pair.first.sendmmsg(await local.ptr(SendMmsghdrList(hdrs)))
    out, _ = await pair.second.recvmmsg(await places(local, 3, control=CMSG_SPACE(8)))
    found = await out.read()
    with pytest.raises(LinearReadError):
        await out.read()
    passed: list[list[Any]] = []
    for message_ in found:
        assert message_.hdr.control is not None
        parts = await message_.hdr.control.read()
        passed.append([fd for part in parts if isinstance(part, CmsgSCMRights) for fd in part])
    assert [len(fds) for fds in passed] == [1, 0, 2]
    for fd in passed[0] + passed[2]:
        assert fd.task is task
        assert os.path.sameopenfile(int(fd), int(sent[0])) or os.path.sameopenfile(int(fd), int(sent[1]))
        assert not os.get_inheritable(int(fd))
        await fd.close()


async def test_descriptors_behind_an_unread_list_are_closed(local: Local) -> None:
    pair = await socketpair(local)
    before = open_fds()
    await rights(local, pair.first, 2, 0, 100)
    out, free = await pair.second.recvmmsg(await places(local, 3, control=CMSG_SPACE(400)))
    assert len(open_fds()) == len(before) + 102
    del out, free
    assert await given_up(local) == before


async def test_each_message_owns_its_descriptors(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    """Those of one that is dropped unread are closed, whatever becomes of the others."""
    caplog.set_level(logging.ERROR)
    pair = await socketpair(local)
    before = open_fds()
    await rights(local, pair.first, 3, 5, 7)
    out, _ = await pair.second.recvmmsg(await places(local, 3, control=CMSG_SPACE(100)))
    first, second, third = await out.read()
    assert len(await given_up(local)) == len(before) + 15
    second.hdr.control = None
    assert len(await given_up(local)) == len(before) + 10
    assert third.hdr.control is not None
    [kept] = await third.hdr.control.read()
    assert isinstance(kept, CmsgSCMRights)
    del first
    assert set(await given_up(local)) == {*before, *map(int, kept)}
    assert len(kept) == 7
    for fd in kept:
        await fd.close()
    assert not caplog.records


async def test_no_room_for_descriptors(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    pair = await socketpair(local)
    before = open_fds()
    await rights(local, pair.first, 1, 1)
    room = RecvMmsghdrList([await place(local), await place(local, control=CMSG_SPACE(4) - 8)])
    out, _ = await pair.second.recvmmsg(await local.ptr(room))
    del out, room, _
    assert await given_up(local) == before
    assert not caplog.records


async def test_what_is_received_belongs_to_the_receiving_task(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    other = make_task(task, copy_fd_table=True)
    await rights(local, pair.first, 1)
    out, _ = await other.inherit_fd(pair.second).recvmmsg(await places(local, 1, control=100))
    [found] = await out.read()
    assert found.hdr.control is not None
    [passed] = await found.hdr.control.read()
    assert isinstance(passed, CmsgSCMRights)
    assert passed[0].task is other
    await passed[0].close()


# who does not tell the truth


@pytest.mark.parametrize("answer", [3, 1000, 2**62])
async def test_more_messages_than_there_are_places(local: Local, answer: int) -> None:
    pair = await socketpair(local)
    local.task.sysif = Answering({SYS.sendmmsg: answer, SYS.recvmmsg: answer})
    lengths, rest = await pair.first.sendmmsg(await messages(local, b"one", b"two"))
    assert await lengths.read() == [3, 3]
    assert rest.value == []
    out, free = await pair.second.recvmmsg(await places(local, 2))
    assert [await text(message) for message in await out.read()] == [b"one", b"two"]
    assert free.value == []


async def overwrite(pointer: Pointer[Any], data: bytes) -> None:
    """As one does who can write to the memory."""
    await pointer.transport.write(pointer, data)


async def test_longer_messages_than_there_are(local: Local) -> None:
    pair = await socketpair(local)
    lies = Mmsghdr.sizeof() * b"\xff"
    lengths, _ = await pair.first.sendmmsg(await messages(local, b"one"))
    await overwrite(lengths, lies)
    assert await lengths.read() == [3]
    out, _ = await pair.second.recvmmsg(await places(local, 1, control=100))
    await overwrite(out, lies)
    [found] = await out.read()
    assert (found.valid.size(), found.rest.size()) == (10, 0)
    assert found.hdr.control is not None
    assert found.hdr.control.size() == 100
    assert found.hdr.control_rest is not None
    assert found.hdr.control_rest.size() == 0


async def test_numbers_that_came_with_no_message(local: Local, task: Task) -> None:
    """Only what the call has left in the memory is closed."""
    pair = await socketpair(local)
    before = open_fds()
    await rights(local, pair.first, 1)
    msgvec = await places(local, 1, control=CMSG_SPACE(4))
    control = msgvec.value[0].control
    assert control is not None
    out, _ = await pair.second.recvmmsg(msgvec)
    other = CmsgList([CmsgSCMRights([pair.second])])
    await overwrite(control, CmsgList.get_serializer(task).to_bytes(other))
    [found] = await out.read()
    del found, out, control, _, msgvec
    assert await given_up(local) == before
    assert int(pair.second) in open_fds()


@pytest.mark.parametrize("kind", ["unsent", "answered"])
async def test_only_lost_calls_are_looked_into(local: Local, kind: str) -> None:
    """Others have nothing to give."""
    record = CallRecord(local.task.fd_table, True)
    if kind == "answered":
        record.begin(SYS.recvmmsg, 0, 0, 1)
        record.answer(-11)
    record.lost()
    assert record.owned == ()
    assert record.part(0).owned == ()
    with pytest.raises(OverflowError):
        record.part(-1)


# misuse


async def test_one_buffer_for_two_messages(local: Local) -> None:
    pair = await socketpair(local)
    hdr = await place(local)
    with pytest.raises(ValueError, match="two messages would be received into the same buffer"):
        await pair.second.recvmmsg(await local.ptr(RecvMmsghdrList([hdr, hdr])))


async def test_memory_that_is_too_small(local: Local) -> None:
    pair = await socketpair(local)
    for call, written, empty in (
        (pair.first.sendmmsg, await messages(local, b"one", b"two"), SendMmsghdrList()),
        (pair.second.recvmmsg, await places(local, 2), RecvMmsghdrList()),
    ):
        assert isinstance(written, WrittenPointer)
        value: Any = written.value
        small, _ = written.split(Mmsghdr.sizeof())
        typ: Any = type(empty)
        pointer = retyped(small, typ.get_serializer(local.task), typ).wrote(value)
        with pytest.raises(BufferTooSmallError):
            await call(pointer)  # type: ignore[operator]  # of either type
    out, _ = (await local.ptr(Timespec(0, 0))).split(8)
    limit = retyped(out, Timespec.get_serializer(local.task), Timespec).wrote(Timespec(0, 0))
    with pytest.raises(BufferTooSmallError):
        await pair.second.recvmmsg(await places(local, 1), RecvmsgFlags.DONTWAIT, limit)


async def test_descriptors_of_another_table_are_not_sent(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    stranger = null_fds(make_task(task, share_fd_table=False), 1)
    hdrs = [await message(local, b"x"), await message(local, control=CmsgList([CmsgSCMRights(stranger)]))]
    with pytest.raises(FDTableMismatchError):
        await pair.first.sendmmsg(await local.ptr(SendMmsghdrList(hdrs)))
    with pytest.raises(BlockingIOError):
        await pair.second.recvmmsg(await places(local, 1), RecvmsgFlags.DONTWAIT)
    await stranger[0].close()


async def test_foreign_memory_is_refused(local: Local) -> None:
    pair = await socketpair(local)
    other = Local.make()
    for hdr in (
        await message(other, b"x"),
        SendMsghdr(None, await local.ptr(IovecList([await other.ptr(b"x")])), None),
    ):
        with pytest.raises(AddressSpaceMismatchError):
            await pair.first.sendmmsg(await local.ptr(SendMmsghdrList([hdr])))
    with pytest.raises(AddressSpaceMismatchError):
        await pair.second.recvmmsg(await local.ptr(RecvMmsghdrList([await place(other)])))
    other.arena.memory.close()


def test_only_the_kernel_writes_and_reads_these() -> None:
    with pytest.raises(NotImplementedError, match="MmsgLengths"):
        SendMmsghdrList.from_bytes(b"")
    with pytest.raises(NotImplementedError, match="RecvMmsghdrOut"):
        RecvMmsghdrList.from_bytes(b"")
    with pytest.raises(NotImplementedError, match="only the kernel"):
        MmsgLengths([1]).to_bytes()
