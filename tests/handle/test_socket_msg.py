"""Tests of `rsyscall.sys.socket`: messages with addresses, control data and file descriptors."""

from __future__ import annotations

import array
import fcntl
import gc
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsInt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError, ManipulatingFDTableError, SharedHandleError
from rsyscall.handle.pointer import LinearReadError, Pointer
from rsyscall.handle.task import Task
from rsyscall.near import SYS, LocalSyscall
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.struct import Int32
from rsyscall.sys.socket import (
    AF,
    CMSG_ALIGN,
    CMSG_LEN,
    CMSG_SPACE,
    MSG,
    SCM,
    SO,
    SOCK,
    SOL,
    CmsgList,
    CmsgPidfd,
    CmsgRaw,
    CmsgSCMRights,
    CmsgSerializer,
    CmsgUcred,
    MsghdrFlags,
    RecvMmsghdrList,
    RecvmsgFlags,
    RecvMsghdr,
    RecvMsghdrOut,
    SendmsgFlags,
    SendMsghdr,
    SockaddrStorage,
    Sockbuf,
    Socketpair,
)
from rsyscall.sys.uio import IovecList
from rsyscall.sys.un import SockaddrUn

from .support import Local, make_task, null_fds, open_fds, retyped

ME = (os.getpid(), os.getuid(), os.getgid())


async def socketpair(local: Local, type: SOCK = SOCK.STREAM) -> Socketpair:
    pair = await local.task.socketpair(AF.UNIX, type, 0, await local.malloc(Socketpair))
    return await pair.read()


async def iovec(local: Local, *data: bytes) -> Any:
    return await local.ptr(IovecList([await local.ptr(piece) for piece in data]))


async def room(local: Local, *sizes: int) -> Any:
    return await local.ptr(IovecList([await local.malloc(bytes, size) for size in sizes]))


async def send(
    local: Local, sock: Any, control: CmsgList | None, data: bytes = b"x", name: Any = None
) -> None:
    name_ptr = None if name is None else await local.ptr(name)
    control_ptr = None if control is None else await local.ptr(control)
    msg = SendMsghdr(name_ptr, await iovec(local, data), control_ptr)
    await sock.sendmsg(await local.ptr(msg), SendmsgFlags.NOSIGNAL)


async def receive(
    local: Local,
    sock: Any,
    control: int | None = 1000,
    flags: RecvmsgFlags = RecvmsgFlags.NONE,
    data: int = 100,
) -> tuple[IovecList, RecvMsghdrOut]:
    control_ptr = None if control is None else await local.malloc(CmsgList, control)
    msg = RecvMsghdr(None, await room(local, data), control_ptr)
    valid, _, out = await sock.recvmsg(await local.ptr(msg), flags)
    return valid, await out.read()


def same_file(one: Any, two: Any) -> bool:
    return os.path.sameopenfile(int(one), int(two))


# file descriptors


async def test_pass_fd(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.second])]), b"foo")
    valid, hdr = await receive(local, pair.second)
    assert [await ptr.read() for ptr in valid] == [b"foo"]
    assert hdr.name is None
    assert hdr.name_rest is None
    assert hdr.flags == MsghdrFlags.CMSG_CLOEXEC
    assert hdr.control is not None
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    [received] = rights
    assert received.task is task
    assert int(received) != int(pair.second)
    assert same_file(received, pair.second)
    assert fcntl.fcntl(int(received), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


async def test_received_fds_belong_to_the_receiving_task(local: Local, task: Task) -> None:
    """Not to the task that the buffer was allocated for, whose table may be another one."""
    pair = await socketpair(local)
    other = make_task(task, copy_fd_table=True)
    theirs = other.inherit_fd(pair.second)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    _, hdr = await receive(local, theirs)
    assert hdr.control is not None
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    assert rights[0].task is other
    assert rights[0].task.fd_table is other.fd_table
    await rights[0].close()


async def test_control_data_is_read_once(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    await hdr.control.read()
    with pytest.raises(LinearReadError):
        await hdr.control.read()


async def test_the_header_is_read_once(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    msg = await local.ptr(RecvMsghdr(None, await room(local, 10), await local.malloc(CmsgList, 100)))
    _, _, out = await pair.second.recvmsg(msg)
    hdr = await out.read()
    assert hdr.control is not None
    with pytest.raises(LinearReadError):
        await out.read()
    await hdr.control.read()
    with pytest.raises(UseAfterFreeError):
        msg.near  # noqa: B018 (it is a property that raises)


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("surplus", [0, 3, 4, 100])
async def test_any_number_of_fds_in_a_buffer_of_any_size(
    local: Local, task: Task, count: int, surplus: int
) -> None:
    """The padding behind an odd number of fds is not an fd, nor the zeros behind it another message."""
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights(null_fds(task, count))]))
    _, hdr = await receive(local, pair.second, control=CMSG_LEN(4 * count) + surplus)
    assert hdr.control is not None
    assert hdr.flags == MsghdrFlags.CMSG_CLOEXEC
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    assert len(rights) == count


async def test_a_control_buffer_that_is_too_small(local: Local, task: Task) -> None:
    """The kernel installs only the fds that fit; none is made up, none is forgotten."""
    pair = await socketpair(local)
    sent = null_fds(task, 5)
    for size, expected in ((CMSG_LEN(4 * 3), 3), (CMSG_LEN(4) + 3, 1), (CMSG_LEN(4 * 2) + 1, 2)):
        await send(local, pair.first, CmsgList([CmsgSCMRights(sent)]))
        before = len(open_fds())
        _, hdr = await receive(local, pair.second, control=size)
        assert len(open_fds()) == before + expected
        assert hdr.flags == MsghdrFlags.CTRUNC | MsghdrFlags.CMSG_CLOEXEC
        assert hdr.control is not None
        [rights] = await hdr.control.read()
        assert isinstance(rights, CmsgSCMRights)
        assert len(rights) == expected
        for fd in rights:
            await fd.close()
        assert len(open_fds()) == before


@pytest.mark.parametrize("size", [0, 8, 15, 16, 19])
async def test_a_control_buffer_without_room_for_anything(
    local: Local, task: Task, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights(null_fds(task, 1))]))
    await task.run_fd_table_gc()
    before = open_fds()
    _, hdr = await receive(local, pair.second, control=size)
    assert hdr.flags & MsghdrFlags.CTRUNC
    assert open_fds() == before
    assert hdr.control is not None
    assert hdr.control.size() == 0
    with caplog.at_level(logging.ERROR):
        del hdr
    # no control message came, so nothing is lost when the header is dropped unread
    assert not caplog.records


async def test_no_control_data(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, None, b"plain")
    valid, hdr = await receive(local, pair.second)
    assert await valid[0].read() == b"plain"
    assert hdr.control is not None
    assert await hdr.control.read() == []
    with pytest.raises(LinearReadError):
        await hdr.control.read()
    assert hdr.control_rest is not None
    assert hdr.control_rest.size() == 1000
    await send(local, pair.first, None)
    _, hdr = await receive(local, pair.second, control=None)
    assert (hdr.control, hdr.control_rest) == (None, None)


async def test_descriptors_in_unread_control_data_are_closed(local: Local) -> None:
    pair = await socketpair(local)
    before = open_fds()
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first, pair.second])]))
    _, hdr = await receive(local, pair.second)
    assert len(open_fds()) == len(before) + 2
    del hdr
    await local.task.run_fd_table_gc()
    assert open_fds() == before


async def test_descriptors_behind_an_unread_header_are_closed(local: Local) -> None:
    pair = await socketpair(local)
    before = open_fds()
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first] * 100)]))
    control = await local.malloc(CmsgList, CMSG_SPACE(400))
    _, _, out = await pair.second.recvmsg(await local.ptr(RecvMsghdr(None, await room(local, 1), control)))
    assert len(open_fds()) == len(before) + 100
    del out, control
    await local.task.run_fd_table_gc()
    assert open_fds() == before


async def test_a_header_is_reported_when_the_data_has_lost_its_place(
    local: Local, caplog: pytest.LogCaptureFixture
) -> None:
    """Another task freed the memory for the data during the call."""
    pair = await socketpair(local)
    before = open_fds()
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    msg = RecvMsghdr(None, await room(local, 10), await local.malloc(CmsgList, CMSG_SPACE(4)))

    class Meanwhile(LocalSyscall):
        __slots__ = ()

        async def syscall(self, number: SYS, *args: SupportsInt) -> int:
            result = await super().syscall(number, *args)
            msg.iov.value[0].free()
            return result

    ptr = await local.ptr(msg)
    working, local.task.sysif = local.task.sysif, Meanwhile()
    with caplog.at_level(logging.ERROR):
        with pytest.raises(UseAfterFreeError):
            await pair.second.recvmsg(ptr)
        gc.collect()
    local.task.sysif = working
    assert "are leaked" in caplog.text
    [leaked] = set(open_fds()) - set(before)
    os.close(leaked)


async def test_a_header_without_fds_need_not_be_read(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    pair = await socketpair(local)
    for control in (None, CMSG_SPACE(4) - 8):
        await send(local, pair.first, None)
        room_for_control = None if control is None else await local.malloc(CmsgList, control)
        msg = RecvMsghdr(None, await room(local, 1), room_for_control)
        await pair.second.recvmsg(await local.ptr(msg))
    await pair.first.close()
    msg = RecvMsghdr(None, await room(local, 1), await local.malloc(CmsgList, CMSG_SPACE(4)))
    valid, _, _ = await pair.second.recvmsg(await local.ptr(msg))
    assert valid.size() == 0
    gc.collect()
    assert not caplog.records


async def test_control_data_can_be_had_when_the_table_has_been_changed(
    local: Local, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    task.manipulating_fd_table = True
    with pytest.raises(ManipulatingFDTableError):
        await hdr.control.read()
    task.manipulating_fd_table = False
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    await rights[0].close()
    assert not caplog.records


async def test_a_header_whose_buffers_are_gone_can_be_read_later(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    control = await local.malloc(CmsgList, CMSG_SPACE(4))
    msg = RecvMsghdr(await local.malloc(SockaddrUn), await room(local, 1), control)
    _, _, out = await pair.second.recvmsg(await local.ptr(msg))
    control.valid = False
    with pytest.raises(UseAfterFreeError):
        await out.read()
    assert msg.name is not None
    assert msg.name.valid
    control.valid = True
    hdr = await out.read()
    assert hdr.control is not None
    await hdr.control.read()


async def test_a_handle_that_cannot_be_made_does_not_lose_the_others(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights(null_fds(task, 3))]))
    await task.run_fd_table_gc()
    before = open_fds()
    _, hdr = await receive(local, pair.second)
    new = sorted(set(open_fds()) - set(before))
    # Other code has wrongly made a handle for one of the numbers already.
    from rsyscall.near import types as near

    thief = task.make_fd_handle(near.FileDescriptor(new[1]))
    assert hdr.control is not None
    with pytest.raises(SharedHandleError):
        await hdr.control.read()
    await task.run_fd_table_gc()
    assert set(open_fds()) - set(before) == {int(thief)}
    await thief.close()


async def test_a_number_that_has_been_closed_elsewhere(local: Local, task: Task) -> None:
    """A received number that still has an entry, without handles, from an earlier time is taken over."""
    pair = await socketpair(local)
    stale = null_fds(task, 1)[0]
    number = int(stale)
    os.close(number)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    del stale
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    assert int(rights[0]) == number
    await task.run_fd_table_gc()
    assert same_file(rights[0], pair.first)


# several control messages


async def test_credentials(local: Local) -> None:
    pair = await socketpair(local)
    await pair.second.setsockopt(SOL.SOCKET, SO.PASSCRED, await local.ptr(Int32(1)))
    await send(local, pair.first, CmsgList([CmsgUcred(*ME)]))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    assert await hdr.control.read() == [CmsgUcred(*ME)]


async def test_several_messages(local: Local, task: Task) -> None:
    """Each begins at a multiple of the word size: credentials (28 bytes) and an odd number of fds."""
    pair = await socketpair(local)
    await pair.second.setsockopt(SOL.SOCKET, SO.PASSCRED, await local.ptr(Int32(1)))
    fds = null_fds(task, 3)
    await send(local, pair.first, CmsgList([CmsgSCMRights(fds), CmsgUcred(*ME)]))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    found = await hdr.control.read()
    assert {type(cmsg) for cmsg in found} == {CmsgSCMRights, CmsgUcred}
    [rights] = [cmsg for cmsg in found if isinstance(cmsg, CmsgSCMRights)]
    assert all(same_file(ours, theirs) for ours, theirs in zip(fds, rights, strict=True))
    assert CmsgUcred(*ME) in found


async def test_the_second_message_is_cut_off(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    await pair.second.setsockopt(SOL.SOCKET, SO.PASSCRED, await local.ptr(Int32(1)))
    for size in range(CMSG_SPACE(12), CMSG_SPACE(12) + CMSG_LEN(4)):
        await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first]), CmsgUcred(*ME)]))
        before = len(open_fds())
        _, hdr = await receive(local, pair.second, control=size)
        assert hdr.flags & MsghdrFlags.CTRUNC
        assert hdr.control is not None
        assert (await hdr.control.read())[0] == CmsgUcred(*ME)
        assert len(open_fds()) == before


async def test_credentials_that_are_cut_off_stay_raw(local: Local) -> None:
    pair = await socketpair(local)
    await pair.second.setsockopt(SOL.SOCKET, SO.PASSCRED, await local.ptr(Int32(1)))
    await send(local, pair.first, None)
    _, hdr = await receive(local, pair.second, control=CMSG_LEN(8))
    assert hdr.control is not None
    [cmsg] = await hdr.control.read()
    assert isinstance(cmsg, CmsgRaw)
    assert (cmsg.cmsg_level, cmsg.cmsg_type) == (SOL.SOCKET, SCM.CREDENTIALS)
    assert cmsg.data == struct.pack("=ii", os.getpid(), os.getuid())


async def test_unknown_messages_are_kept_as_they_are(local: Local) -> None:
    pair = await socketpair(local, SOCK.DGRAM)
    await pair.second.setsockopt(SOL.SOCKET, SO.TIMESTAMPNS_NEW, await local.ptr(Int32(1)))
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    found = await hdr.control.read()
    [raw] = [cmsg for cmsg in found if isinstance(cmsg, CmsgRaw)]
    assert (raw.cmsg_level, raw.cmsg_type) == (SOL.SOCKET, SO.TIMESTAMPNS_NEW)
    assert len(raw.data) == 16
    [rights] = [cmsg for cmsg in found if isinstance(cmsg, CmsgSCMRights)]
    assert same_file(rights[0], pair.first)


async def test_pidfd(local: Local) -> None:
    pair = await socketpair(local)
    try:
        await pair.second.setsockopt(SOL.SOCKET, SO.PASSPIDFD, await local.ptr(Int32(1)))
    except OSError:
        pytest.skip("kernel: before 6.5, no SO_PASSPIDFD")
    await send(local, pair.first, None)
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    [cmsg] = await hdr.control.read()
    assert isinstance(cmsg, CmsgPidfd)
    assert cmsg.fd is not None
    with open(f"/proc/self/fdinfo/{int(cmsg.fd)}") as info:
        assert f"Pid:\t{os.getpid()}\n" in info.readlines()
    with pytest.raises(TypeError):
        cmsg.to_data()


async def test_python_understands_what_is_sent(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    fds = null_fds(task, 3)
    await send(local, pair.first, CmsgList([CmsgSCMRights(fds[:1]), CmsgSCMRights(fds[1:])]))
    ours = socket.socket(fileno=os.dup(int(pair.second)))
    with ours:
        data, control, flags, _ = ours.recvmsg(10, 200)
    assert data == b"x"
    assert flags == 0
    [(level, typ, body)] = control
    assert (level, typ) == (SOL.SOCKET, SCM.RIGHTS)
    received = array.array("i", body)
    assert len(received) == 3
    for fd in received:
        os.close(fd)


async def test_what_python_sends_is_understood(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    ours = socket.socket(fileno=os.dup(int(pair.first)))
    with ours:
        ours.sendmsg([b"abc"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    valid, hdr = await receive(local, pair.second)
    assert await valid[0].read() == b"abc"
    assert hdr.control is not None
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    assert [same_file(fd, number) for number, fd in enumerate(rights)] == [True, True, True]


# layout

raw_cmsgs = st.builds(CmsgRaw, st.integers(2, 300), st.integers(1, 2**31 - 1), st.binary(max_size=50))
ucreds = st.builds(CmsgUcred, st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(raw_cmsgs | ucreds, max_size=5), st.binary(max_size=15))
def test_list_round_trip(cmsgs: list[Any], rest: bytes) -> None:
    serializer = CmsgList.get_serializer(make_task())
    data = serializer.to_bytes(CmsgList(cmsgs))
    assert len(data) == sum(CMSG_SPACE(len(cmsg.to_data())) for cmsg in cmsgs)
    assert serializer.from_bytes(data) == cmsgs
    assert serializer.from_bytes(data + rest) == cmsgs
    if cmsgs:
        # the kernel may leave out the padding behind the last one
        last = len(cmsgs[-1].to_data())
        assert serializer.from_bytes(data[: len(data) - CMSG_ALIGN(last) + last]) == cmsgs


@given(st.binary(max_size=100))
def test_garbage_is_parsed_somehow(data: bytes) -> None:
    """Without an exception and without an endless loop. No fds are involved: there is no such message."""
    found = CmsgList.get_serializer(make_task()).from_bytes(b"\x20" + bytes(7) + b"\xff" * 8 + data)
    assert isinstance(found[0], CmsgRaw)


def test_zeros_are_no_messages() -> None:
    assert CmsgList.get_serializer(make_task()).from_bytes(bytes(64)) == []


def test_sizes_are_those_of_python() -> None:
    for length in range(40):
        assert CMSG_LEN(length) == socket.CMSG_LEN(length)
        assert CMSG_SPACE(length) == socket.CMSG_SPACE(length)


def test_one_message() -> None:
    task = make_task()
    serializer = CmsgUcred.get_serializer(task)
    assert isinstance(serializer, CmsgSerializer)
    data = serializer.to_bytes(CmsgUcred(1, 2, 3))
    assert data == struct.pack("=QiiiII4x", 28, SOL.SOCKET, SCM.CREDENTIALS, 1, 2, 3)
    assert serializer.from_bytes(data) == CmsgUcred(1, 2, 3)
    with pytest.raises(ValueError):
        CmsgSCMRights.get_serializer(task).from_bytes(data)
    with pytest.raises(ValueError):
        serializer.from_bytes(b"")


def test_a_raw_message_has_no_fixed_type() -> None:
    for method in CmsgRaw.level, CmsgRaw.type, lambda: CmsgRaw.from_data(make_task(), b""):
        with pytest.raises(TypeError):
            method()


def test_a_message_of_a_pidfd_that_could_not_be_made() -> None:
    cmsg = CmsgPidfd.from_data(make_task(), struct.pack("=i", -24))
    assert (cmsg.fd, cmsg.error) == (None, 24)


# data and addresses


async def test_data_in_pieces(local: Local) -> None:
    pair = await socketpair(local)
    msg = await local.ptr(SendMsghdr(None, await iovec(local, b"hello ", b"world"), None))
    sent, rest = await pair.first.sendmsg(msg)
    assert sent == msg.value.iov.value
    assert rest == []
    # sent completely, so it can be sent again
    await pair.first.sendmsg(msg)
    hdr = await local.ptr(RecvMsghdr(None, await room(local, 6, 5, 6, 50), None))
    valid, rest, out = await pair.second.recvmsg(hdr)
    assert [await ptr.read() for ptr in valid] == [b"hello ", b"world", b"hello ", b"world"]
    assert [ptr.size() for ptr in rest] == [45]
    assert (await out.read()).flags == MsghdrFlags.CMSG_CLOEXEC


@pytest.mark.slow
async def test_partial_send(local: Local) -> None:
    pair = await socketpair(local, SOCK.STREAM | SOCK.NONBLOCK)
    size = 1 << 20
    msg = await local.ptr(SendMsghdr(None, await iovec(local, b"abc", bytes(size), b"def"), None))
    sent, rest = await pair.first.sendmsg(msg)
    assert sent.size() + rest.size() == size + 6
    assert await sent[0].read() == b"abc"
    assert await rest[-1].read() == b"def"
    with pytest.raises(UseAfterFreeError):
        await pair.first.sendmsg(msg)
    again = await local.ptr(SendMsghdr(None, await local.ptr(rest), None))
    with pytest.raises(BlockingIOError) as info:
        await pair.first.sendmsg(again)
    assert info.value.filename is pair.first


async def test_a_message_that_is_cut_off(local: Local) -> None:
    pair = await socketpair(local, SOCK.DGRAM)
    await send(local, pair.first, None, b"a long message")
    valid, hdr = await receive(local, pair.second, flags=RecvmsgFlags.TRUNC, data=6)
    assert await valid[0].read() == b"a long"
    assert hdr.flags & MsghdrFlags.TRUNC


async def test_peeking_at_fds_makes_new_ones(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]))
    numbers = []
    held = []
    for flags in RecvmsgFlags.PEEK, RecvmsgFlags.NONE:
        _, hdr = await receive(local, pair.second, flags=flags)
        assert hdr.control is not None
        [rights] = await hdr.control.read()
        assert isinstance(rights, CmsgSCMRights)
        held.append(rights)
        numbers.append(int(rights[0]))
    assert len(set(numbers)) == 2


async def test_addresses(local: Local, task: Task) -> None:
    one, two = await task.socket(AF.INET, SOCK.DGRAM), await task.socket(AF.INET, SOCK.DGRAM)
    addrs = []
    for sock in one, two:
        await sock.bind(await local.ptr(SockaddrIn(0, "127.0.0.1")))
        name = await sock.getsockname(await local.ptr(Sockbuf(await local.malloc(SockaddrIn))))
        addrs.append(await (await name.read()).buf.read())
    await send(local, one, None, b"datagram", addrs[1])
    msg = RecvMsghdr(await local.malloc(SockaddrStorage), await room(local, 20), None)
    valid, _rest, out = await two.recvmsg(await local.ptr(msg))
    assert await valid[0].read() == b"datagram"
    hdr = await out.read()
    assert hdr.name is not None
    assert hdr.name_rest is not None
    assert (hdr.name.size(), hdr.name_rest.size()) == (16, 112)
    assert (await hdr.name.read()).parse() == addrs[0]


async def test_no_address(local: Local) -> None:
    pair = await socketpair(local)
    await send(local, pair.first, None)
    msg = RecvMsghdr(await local.malloc(SockaddrStorage), await room(local, 20), None)
    _, _, out = await pair.second.recvmsg(await local.ptr(msg))
    hdr = await out.read()
    assert hdr.name is not None
    assert hdr.name.size() == 0
    assert await hdr.name.read() == SockaddrStorage(AF.UNSPEC, b"")


async def test_an_address_that_does_not_fit_does_not_lose_the_fds(local: Local, task: Task) -> None:
    receiver, sender = await task.socket(AF.UNIX, SOCK.DGRAM), await task.socket(AF.UNIX, SOCK.DGRAM)
    await receiver.bind(await local.ptr(SockaddrUn(b"\0rsyscall-test-receiver")))
    await sender.bind(await local.ptr(SockaddrUn(b"\0rsyscall-test-sender")))
    await send(
        local, sender, CmsgList([CmsgSCMRights([sender])]), name=SockaddrUn(b"\0rsyscall-test-receiver")
    )
    small, _ = (await local.malloc(SockaddrUn)).split(6)
    msg = RecvMsghdr(small, await room(local, 20), await local.malloc(CmsgList, 100))
    _, _, out = await receiver.recvmsg(await local.ptr(msg))
    hdr = await out.read()
    assert hdr.name is not None
    assert (await hdr.name.read()).path == b"\0rsy"
    assert hdr.control is not None
    [rights] = await hdr.control.read()
    assert isinstance(rights, CmsgSCMRights)
    assert same_file(rights[0], sender)


async def test_control_data_in_a_larger_buffer(local: Local, task: Task) -> None:
    """What is behind the messages in the memory is not sent."""
    pair = await socketpair(local)
    buffer = await (await local.malloc(bytes, 200)).write(b"\xff" * 200)
    control = CmsgList([CmsgSCMRights(null_fds(task, 1))])
    ptr = await retyped(buffer, CmsgList.get_serializer(task), CmsgList).write(control)
    await pair.first.sendmsg(await local.ptr(SendMsghdr(None, await iovec(local, b"x"), ptr)))
    _, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    assert len(await hdr.control.read()) == 1


async def test_a_failed_recvmsg_consumes_nothing(local: Local) -> None:
    pair = await socketpair(local, SOCK.STREAM | SOCK.NONBLOCK)
    msg = await local.ptr(RecvMsghdr(None, await room(local, 10), await local.malloc(CmsgList, 100)))
    with pytest.raises(BlockingIOError) as info:
        await pair.second.recvmsg(msg)
    assert info.value.filename is pair.second
    await send(local, pair.first, None, b"now")
    valid, _, _ = await pair.second.recvmsg(msg)
    assert await valid[0].read() == b"now"


async def test_all_memory_comes_back(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    before = local.arena.live_bytes()
    await send(local, pair.first, CmsgList([CmsgSCMRights([pair.first])]), b"data")
    valid, hdr = await receive(local, pair.second)
    assert hdr.control is not None
    await hdr.control.read()
    del valid, hdr
    await task.run_fd_table_gc()
    assert local.arena.live_bytes() == before


# misuse


async def test_fds_of_another_table_are_not_sent(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    stranger = null_fds(make_task(task, share_fd_table=False), 1)
    with pytest.raises(FDTableMismatchError):
        await send(local, pair.first, CmsgList([CmsgSCMRights(stranger)]))
    await pair.first.send(await local.ptr(b"only this"), MSG.NONE)
    valid, _hdr = await receive(local, pair.second)
    assert await valid[0].read() == b"only this"
    await stranger[0].close()


async def test_a_closed_fd_is_not_sent(local: Local, task: Task) -> None:
    pair = await socketpair(local)
    [fd] = null_fds(task, 1)
    control = await local.ptr(CmsgList([CmsgSCMRights([fd])]))
    await fd.close()
    msg = await local.ptr(SendMsghdr(None, await iovec(local, b"x"), control))
    with pytest.raises(InvalidHandleError):
        await pair.first.sendmsg(msg)


async def test_foreign_memory_is_refused(local: Local) -> None:
    pair = await socketpair(local)
    other = Local.make()
    name, control = SockaddrUn(b"\0x"), CmsgList([])
    sends = [
        await other.ptr(SendMsghdr(None, await iovec(local, b"x"), None)),
        await local.ptr(SendMsghdr(None, await iovec(other, b"x"), None)),
        await local.ptr(SendMsghdr(None, await local.ptr(IovecList([await other.ptr(b"x")])), None)),
        await local.ptr(SendMsghdr(await other.ptr(name), await iovec(local, b"x"), None)),
        await local.ptr(SendMsghdr(None, await iovec(local, b"x"), await other.ptr(control))),
    ]
    for send_msg in sends:
        with pytest.raises(AddressSpaceMismatchError):
            await pair.first.sendmsg(send_msg)
    receives = [
        await other.ptr(RecvMsghdr(None, await room(local, 1), None)),
        await local.ptr(RecvMsghdr(None, await room(other, 1), None)),
        await local.ptr(RecvMsghdr(None, await local.ptr(IovecList([await other.malloc(bytes, 1)])), None)),
        await local.ptr(RecvMsghdr(await other.malloc(SockaddrUn), await room(local, 1), None)),
        await local.ptr(RecvMsghdr(None, await room(local, 1), await other.malloc(CmsgList, 100))),
    ]
    for recv_msg in receives:
        with pytest.raises(AddressSpaceMismatchError):
            await pair.first.recvmsg(recv_msg)


async def test_consumed_and_short_memory_is_refused(local: Local) -> None:
    pair = await socketpair(local)
    control: Pointer[CmsgList] = await local.malloc(CmsgList, 100)
    msg = await local.ptr(RecvMsghdr(None, await room(local, 1), control))
    control.free()
    with pytest.raises(UseAfterFreeError):
        await pair.first.recvmsg(msg)
    hdr = SendMsghdr(None, await iovec(local, b"x"), None)
    short, _ = (await local.ptr(hdr)).split(55)
    with pytest.raises(BufferTooSmallError):
        await pair.first.sendmsg(short.wrote(hdr))
    hdr = SendMsghdr(None, await iovec(local, b"x"), None)
    grown = await local.ptr(hdr)
    hdr.iov.value.append(await local.ptr(b"y"))
    with pytest.raises(BufferTooSmallError):
        await pair.first.sendmsg(grown)


async def test_a_closed_socket_is_refused(local: Local) -> None:
    pair = await socketpair(local)
    await pair.first.close()
    with pytest.raises(InvalidHandleError):
        await pair.first.sendmsg(await local.ptr(SendMsghdr(None, await iovec(local, b"x"), None)))
    with pytest.raises(InvalidHandleError):
        await pair.first.recvmsg(await local.ptr(RecvMsghdr(None, await room(local, 1), None)))


def test_headers_are_not_read_back_as_what_was_written() -> None:
    for cls in SendMsghdr, RecvMsghdr:
        with pytest.raises(NotImplementedError):
            cls.from_bytes(bytes(56))


class ConnectedMeanwhile(LocalSyscall):
    """The socket is connected, and sent descriptors, right after the first call that receives has failed."""

    __slots__ = ("connect",)

    def __init__(self, connect: Callable[[], None]) -> None:
        super().__init__()
        self.connect = connect

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        try:
            return await super().syscall(number, *args)
        except OSError:
            if number in (SYS.recvmsg, SYS.recvmmsg):
                self.connect()
            raise


@pytest.mark.parametrize("several", [False, True], ids=["recvmsg", "recvmmsg"])
async def test_no_descriptor_arrives_inheritable(local: Local, tmp_path: Path, several: bool) -> None:
    """EINVAL says here that the socket is not connected, not that it refuses MSG_CMSG_CLOEXEC."""
    sock = await local.task.socket(AF.UNIX, SOCK.STREAM)
    peers: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "listening"))
        listening.listen()

        def connect() -> None:
            with socket.socket(fileno=os.dup(sock.near.number)) as same:
                same.connect(listening.getsockname())
            peers.append(listening.accept()[0])
            socket.send_fds(peers[-1], [b"x"], [0])

        local.task.sysif = ConnectedMeanwhile(connect)
        iov = await local.ptr(IovecList([await local.malloc(bytes, 10)]))
        hdr = RecvMsghdr(None, iov, await local.malloc(CmsgList, CMSG_SPACE(4)))
        with pytest.raises(OSError, match="Invalid argument"):
            if several:
                await sock.recvmmsg(await local.ptr(RecvMmsghdrList([hdr])))
            else:
                await sock.recvmsg(await local.ptr(hdr))
        [peer] = peers
        _, _, out = await sock.recvmsg(await local.ptr(hdr))
        control = (await out.read()).control
        assert control is not None
        [rights] = await control.read()
        assert isinstance(rights, CmsgSCMRights)
        [received] = rights
        assert fcntl.fcntl(received.near.number, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        await received.close()
        peer.close()
        await sock.close()
