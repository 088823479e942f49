"""Messages of the FUSE protocol, as bytes."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.cstruct import StructError
from rsyscall.fcntl import O
from rsyscall.linux import fuse
from rsyscall.linux.dirent import DT
from rsyscall.linux.fuse import (
    FUSE_GETATTR,
    FUSE_INIT,
    FUSE_NOTIFY,
    FUSE_OPCODE,
    FUSE_READ,
    FUSE_SETXATTR,
    FuseAttr,
    FuseAttrOut,
    FuseDirent,
    FuseDirentplus,
    FuseEntryOut,
    FuseIn,
    FuseInHeader,
    FuseInitIn,
    FuseInitOp,
    FuseInList,
    FuseNotify,
    FuseOut,
    FuseOutHeader,
)
from rsyscall.struct import strpath_to_null_terminated_bytes
from rsyscall.sys.stat import TypeMode
from rsyscall.time import Timespec

HDR = FuseInHeader(7, 1, 1000, 1001, 42)
ATTR = FuseAttr(
    5, 6, 7, Timespec(-1, 8), Timespec(2, 9), Timespec(3, 10), TypeMode.from_int(0o100644), 1, 2, 3, 4, 512
)
ENTRY = FuseEntryOut(2, 1, Timespec(1, 5), Timespec(2, 6), ATTR)
READ = fuse.FuseReadIn(3, 4, 300, FUSE_READ.LOCKOWNER, O.RDWR, lock_owner=9)


def filled(cls: type[Any]) -> Any:
    """A structure with a different number in each of its bytes, as far as they are members."""
    value = cls.from_bytes(bytes(i % 120 + 1 for i in range(cls.sizeof())))
    if cls in (fuse.FuseWriteIn, fuse.FuseSetxattrIn):
        value.size = 4
    if cls is fuse.FuseSetxattrIn:
        value.setxattr_flags = FUSE_SETXATTR.ACL_KILL_SGID
    return value


def requests() -> list[FuseIn]:
    """One of every kind."""
    found: list[FuseIn] = []
    for cls in fuse.opcode_classes.values():
        if cls is fuse.FuseBatchForgetOp:
            nodes = [fuse.FuseForgetOne(5, 6), fuse.FuseForgetOne(7, 8)]
            found.append(fuse.FuseBatchForgetOp(HDR, nodes))
        elif cls is fuse.FuseGetxattrOp:
            found.append(fuse.FuseGetxattrOp(HDR, fuse.FuseGetxattrIn("user.name", 65536)))
        else:
            values: list[Any] = [] if cls._msg is None else [filled(cls._msg)]
            values += ["name" if kind == "name" else b"\0\1\2\3" for kind in cls._rest]
            found.append(cls(HDR, *values))
    return found


REQUESTS = requests()


def test_there_is_a_class_for_every_opcode() -> None:
    assert {*fuse.opcode_classes} == {*FUSE_OPCODE}
    assert {*map(type, REQUESTS)} == {*fuse.opcode_classes.values()}


@pytest.mark.parametrize("op", REQUESTS, ids=lambda op: type(op).__name__)
def test_request_round_trip(op: FuseIn) -> None:
    data = op.to_bytes()
    length, opcode = struct.unpack_from("=II", data)
    assert (length, opcode) == (len(data), type(op).opcode)
    [read] = FuseInList.from_bytes(data)
    assert type(read) is type(op)
    assert read.msg_to_bytes() == op.msg_to_bytes()
    assert read.hdr.unique == 7
    assert read.to_bytes() == data
    assert FuseInList(FuseInList.from_bytes(data * 3)).to_bytes() == data * 3


@pytest.mark.parametrize("op", REQUESTS, ids=lambda op: type(op).__name__)
def test_request_that_is_cut_off(op: FuseIn) -> None:
    """A request that is cut off anywhere is a ValueError, also if its header gives the shorter length."""
    data = op.to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError):
            FuseInList.from_bytes(data[:length] or b"\0")
        short = struct.pack("=I", length) + data[4:length]
        if length < 40:
            with pytest.raises(ValueError):
                FuseInList.from_bytes(short)
            continue
        try:
            FuseInList.from_bytes(short)
        except ValueError:
            continue
        # What has no length of its own may be shorter.
        assert isinstance(op, (fuse.FuseIoctlOp, fuse.FuseNotifyReplyOp, fuse.FuseRemovemappingOp)) or (
            isinstance(op, FuseInitOp) and length >= 40 + 16
        )


@given(st.binary(max_size=200))
def test_any_bytes_are_requests_or_a_value_error(data: bytes) -> None:
    try:
        FuseInList.from_bytes(struct.pack("=I", len(data) + 4) + data)
    except ValueError:
        pass


@given(st.sampled_from(sorted(FUSE_OPCODE)), st.binary(max_size=200))
def test_any_message_is_a_request_or_a_value_error(opcode: FUSE_OPCODE, data: bytes) -> None:
    header = FuseInHeader(1, 1, 0, 0, 0, len=40 + len(data), opcode=opcode)
    try:
        [op] = FuseInList.from_bytes(header.to_bytes() + data)
    except ValueError:
        return
    assert op.opcode == opcode


def test_request_of_another_class() -> None:
    data = fuse.FuseLookupOp(HDR, "x").to_bytes()
    assert fuse.FuseLookupOp.from_bytes(data).name == "x"
    assert isinstance(FuseIn.from_bytes(data), fuse.FuseLookupOp)
    with pytest.raises(ValueError, match="FuseUnlinkOp"):
        fuse.FuseUnlinkOp.from_bytes(data)


def test_request_that_is_newer() -> None:
    data = fuse.FuseUnknownOp(HDR, 3000, b"abc").to_bytes()
    [op] = FuseInList.from_bytes(data)
    assert isinstance(op, fuse.FuseUnknownOp)
    assert (op.number, op.data) == (3000, b"abc")
    assert op.to_bytes() == data
    assert op.error(-errno.ENOSYS).hdr == FuseOutHeader(-errno.ENOSYS, 7)


def test_extensions_are_no_part_of_the_message() -> None:
    op = fuse.FuseUnlinkOp(HDR, "x", extensions=b"extended" * 2)
    [read] = FuseInList.from_bytes(op.to_bytes())
    assert isinstance(read, fuse.FuseUnlinkOp)
    assert (read.name, read.extensions) == ("x", b"extended" * 2)
    header = FuseInHeader(1, 1, 0, 0, 0, total_extlen=1, len=44, opcode=FUSE_OPCODE.DESTROY)
    with pytest.raises(ValueError, match="8 of extensions"):
        FuseInList.from_bytes(header.to_bytes() + b"four")


def test_message_of_a_newer_kernel_may_be_longer() -> None:
    message = fuse.FuseGetattrIn(FUSE_GETATTR.FH, 3).to_bytes() + b"more"
    op = fuse.FuseGetattrOp.from_header(HDR, message)
    assert op.msg == fuse.FuseGetattrIn(FUSE_GETATTR.FH, 3)


def test_init_of_an_older_kernel_is_shorter() -> None:
    op = FuseInitOp.from_header(HDR, struct.pack("=4I", 7, 31, 4096, 3))
    assert op.msg == FuseInitIn(7, 31, 4096, FUSE_INIT.ASYNC_READ | FUSE_INIT.POSIX_LOCKS)
    assert FuseInitIn.opcode == FUSE_OPCODE.INIT
    with pytest.raises(StructError):
        FuseInitOp.from_header(HDR, b"\7" * 15)


def test_high_flags_travel_apart() -> None:
    message = FuseInitIn(7, 45, 0, FUSE_INIT.ASYNC_READ | FUSE_INIT.HAS_RESEND)
    assert message.flags == FUSE_INIT.ASYNC_READ
    assert message.flags2 == FUSE_INIT.HAS_RESEND
    data = message.to_bytes()
    assert struct.unpack_from("=5I", data) == (7, 45, 0, 1, 1 << 7)
    assert FuseInitIn.from_bytes(data).features == FUSE_INIT.ASYNC_READ | FUSE_INIT.HAS_RESEND


def test_negotiation() -> None:
    offered = FUSE_INIT.INIT_EXT | FUSE_INIT.MAX_PAGES | FUSE_INIT.ASYNC_READ | FUSE_INIT.HAS_RESEND
    wanted = FUSE_INIT.ASYNC_READ | FUSE_INIT.HAS_RESEND | FUSE_INIT.EXPORT_SUPPORT
    out = fuse.negotiate(FuseInitIn(7, 40, 1 << 17, offered), wanted, max_write=1 << 20)
    assert (out.major, out.minor, out.max_readahead, out.max_write) == (7, 40, 1 << 17, 1 << 20)
    assert out.features == offered
    assert out.max_pages == 256
    assert len(out.to_bytes()) == 64
    # A newer kernel speaks our version, an older one does not get what it does not know.
    assert fuse.negotiate(FuseInitIn(7, 99, 0, offered)).minor == fuse.FUSE_VERSION[1]
    old = fuse.negotiate(FuseInitIn(7, 31, 0, offered & ~FUSE_INIT.INIT_EXT & ~FUSE_INIT.MAX_PAGES), wanted)
    assert (old.features, old.max_pages, old.max_write) == (FUSE_INIT.ASYNC_READ, 0, 1 << 17)
    # It will ask again.
    again = fuse.negotiate(FuseInitIn(8, 2, 0, offered), wanted)
    assert (again.major, again.minor, again.features) == (*fuse.FUSE_VERSION, FUSE_INIT.NONE)


@pytest.mark.parametrize("version", [(6, 40), (7, 22)])
def test_negotiation_with_a_kernel_that_is_too_old(version: tuple[int, int]) -> None:
    with pytest.raises(OSError, match="version") as caught:
        fuse.negotiate(FuseInitIn(*version, 0, FUSE_INIT.NONE))
    assert caught.value.errno == errno.EPROTO


@pytest.mark.parametrize("max_write", [4095, (1 << 28) + 1])
def test_negotiation_of_a_wrong_size(max_write: int) -> None:
    with pytest.raises(ValueError, match="max_write"):
        fuse.negotiate(FuseInitIn(7, 40, 0, FUSE_INIT.NONE), max_write=max_write)


def responses() -> list[FuseOut]:
    """One of every kind."""
    dirents = [FuseDirent(1, 2, DT.REG, "eight888"), FuseDirent(3, 4, DT.DIR, "nine99999")]
    special: dict[type[FuseOut], list[Any]] = {
        fuse.FuseReadResponse: [b"data"],
        fuse.FuseReadlinkResponse: ["target"],
        fuse.FuseGetxattrResponse: [fuse.FuseGetxattrOut(b"value")],
        fuse.FuseReaddirResponse: [dirents],
        fuse.FuseReaddirplusResponse: [[FuseDirentplus(ENTRY, dirent) for dirent in dirents]],
        fuse.FuseIoctlResponse: [fuse.FuseIoctlOut(5), b"data"],
        fuse.FuseCreateResponse: [ENTRY, fuse.FuseOpenOut(3)],
    }
    found = []
    for name in fuse.__all__:
        cls = getattr(fuse, name)
        if (
            isinstance(cls, type)
            and issubclass(cls, FuseOut)
            and cls not in (FuseOut, fuse.FuseErrorResponse)
        ):
            values = special.get(cls, [] if cls._msg is None else [filled(cls._msg)])
            found.append(cls(FuseOutHeader(0, 7), *values))
    return found


@pytest.mark.parametrize("out", responses(), ids=lambda out: type(out).__name__)
def test_response_round_trip(out: FuseOut) -> None:
    data = out.to_bytes()
    assert struct.unpack_from("=IiQ", data) == (len(data), 0, 7)
    read = type(out).from_bytes(data)
    assert read.to_bytes() == data
    assert read.msg_to_bytes() == out.msg_to_bytes() == data[16:]
    with pytest.raises(ValueError, match="claims"):
        type(out).from_bytes(data + b"x")
    # The kernel refuses an error with anything behind it.
    out.hdr.error = -errno.EIO
    assert out.to_bytes() == struct.pack("=IiQ", 16, -errno.EIO, 7)
    with pytest.raises(ValueError, match="error"):
        type(out).from_bytes(out.to_bytes())
    assert fuse.FuseErrorResponse.from_bytes(out.to_bytes()).hdr.error == -errno.EIO


def test_respond() -> None:
    op = fuse.FuseGetattrOp(HDR, fuse.FuseGetattrIn(FUSE_GETATTR.NONE, 0))
    answer = op.respond(FuseAttrOut(Timespec(1, 2), ATTR))
    assert answer.hdr == FuseOutHeader(0, 7)
    read = fuse.FuseGetattrResponse.from_bytes(answer.to_bytes())
    assert read.msg == FuseAttrOut(Timespec(1, 2), ATTR)
    assert op.respond(FuseAttrOut(Timespec(1, 2), ATTR), -errno.EIO).to_bytes() == op.error(-5).to_bytes()


@pytest.mark.parametrize("error", [1, -512, errno.ENOENT])
def test_error_that_the_kernel_does_not_take(error: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        fuse.FuseLookupOp(HDR, "x").error(error)


def test_respond_with_what_is_no_answer() -> None:
    answer = fuse.FuseLookupOp(HDR, "x").respond(5)  # type: ignore[arg-type]  # this is what is tested
    with pytest.raises(TypeError, match=r"FuseLookupResponse\.msg: expected FuseEntryOut, not 5"):
        answer.to_bytes()


def test_times_before_1970_and_their_nanoseconds() -> None:
    data = ATTR.to_bytes()
    assert struct.unpack_from("=3q3I", data, 24) == (-1, 2, 3, 8, 9, 10)
    assert FuseAttr.from_bytes(data) == ATTR


def test_attributes_are_parsed_to_their_types() -> None:
    assert isinstance(FuseAttr.from_bytes(ATTR.to_bytes()).mode, TypeMode)


def test_entries_are_padded_as_the_kernel_counts_them() -> None:
    # 24 bytes are before the name, and there is no NUL behind it.
    assert len(FuseDirent(1, 2, DT.REG, "eight888").to_bytes()) == 32
    assert len(FuseDirent(1, 2, DT.REG, "nine99999").to_bytes()) == 40


@pytest.mark.parametrize("name", ["", "a/b", "a\0b"])
def test_entry_with_a_name_that_no_file_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        FuseDirent(1, 2, DT.REG, name).to_bytes()


def test_entries_that_fit() -> None:
    entries = [FuseDirent(i, i, DT.REG, "x") for i in range(1, 20)]
    op = fuse.FuseReaddirOp(HDR, READ)
    fitting = op.fitting(entries)
    assert fitting == entries[: 300 // 32]
    assert len(op.respond(fitting).to_bytes()) == 16 + 9 * 32
    with pytest.raises(ValueError, match="300"):
        op.respond(entries)
    plus = fuse.FuseReaddirplusOp(HDR, READ)
    assert len(plus.fitting([FuseDirentplus(ENTRY, entry) for entry in entries])) == 300 // 160


def test_more_than_was_asked_for() -> None:
    op = fuse.FuseReadOp(HDR, READ)
    assert op.respond(b"x" * 300).msg == b"x" * 300
    with pytest.raises(ValueError, match="301"):
        op.respond(b"x" * 301)
    ioctl = fuse.FuseIoctlOp(HDR, fuse.FuseIoctlIn(1, fuse.FUSE_IOCTL.NONE, 2, 3, 0, 4), b"")
    with pytest.raises(ValueError, match="5 bytes"):
        ioctl.respond(fuse.FuseIoctlOut(0), b"xxxxx")


def test_extended_attribute() -> None:
    """The name is kept, and the size is how much the answer may have."""
    message = struct.pack("=II", 5, 0) + b"user.name\0"
    op = fuse.FuseGetxattrOp.from_header(HDR, message)
    assert (op.msg.data, op.msg.size) == ("user.name", 5)
    assert op.msg_to_bytes() == message
    assert op.respond("value").to_bytes()[16:] == b"value"
    assert op.respond("longer").hdr.error == -errno.ERANGE
    asks = fuse.FuseGetxattrOp(HDR, fuse.FuseGetxattrIn("user.name"))
    assert asks.respond("longer").to_bytes()[16:] == struct.pack("=II", 6, 0)
    names = fuse.FuseListxattrOp(HDR, fuse.FuseGetxattrHeader(100))
    assert names.respond(b"user.a\0user.b\0").to_bytes()[16:] == b"user.a\0user.b\0"


@pytest.mark.parametrize("extended", [False, True])
def test_setting_an_extended_attribute(extended: bool) -> None:
    """Without FUSE_SETXATTR_EXT the structure is half as long."""
    flags = struct.pack("=II", 1, 0) if extended else b""
    op = fuse.FuseSetxattrOp.from_header(HDR, struct.pack("=II", 3, 2) + flags + b"user.a\0v\0l")
    assert (op.name, op.data, op.msg.flags) == ("user.a", b"v\0l", 2)
    assert bool(op.msg.setxattr_flags) is extended


def test_data_that_is_not_there() -> None:
    op = fuse.FuseWriteOp(HDR, fuse.FuseWriteIn(1, 2, 3), b"abc")
    data = op.msg_to_bytes()
    assert fuse.FuseWriteOp.from_header(HDR, data + b"more").data == b"abc"
    with pytest.raises(ValueError, match="3 bytes"):
        fuse.FuseWriteOp.from_header(HDR, data[:-1])


def test_nodes_to_forget_that_are_not_there() -> None:
    data = struct.pack("=II", 2, 0) + struct.pack("=QQ", 1, 1)
    with pytest.raises(ValueError, match="2 nodes"):
        fuse.FuseBatchForgetOp.from_header(HDR, data)
    with pytest.raises(ValueError, match="4294967295 nodes"):
        fuse.FuseBatchForgetOp.from_header(HDR, b"\xff" * 8)


def test_notices() -> None:
    name = strpath_to_null_terminated_bytes("gone")
    made = {
        FUSE_NOTIFY.POLL: (FuseNotify.poll(1), struct.pack("=Q", 1)),
        FUSE_NOTIFY.INVAL_INODE: (FuseNotify.inval_inode(1, 2, 3), struct.pack("=Qqq", 1, 2, 3)),
        FUSE_NOTIFY.INVAL_ENTRY: (FuseNotify.inval_entry(1, "gone"), struct.pack("=QII", 1, 4, 0) + name),
        FUSE_NOTIFY.DELETE: (FuseNotify.delete(1, 2, "gone"), struct.pack("=QQII", 1, 2, 4, 0) + name),
        FUSE_NOTIFY.STORE: (FuseNotify.store(1, 2, b"abc"), struct.pack("=QQII", 1, 2, 3, 0) + b"abc"),
        FUSE_NOTIFY.RETRIEVE: (FuseNotify.retrieve(9, 1, 2, 3), struct.pack("=QQQII", 9, 1, 2, 3, 0)),
        FUSE_NOTIFY.RESEND: (FuseNotify.resend(), b""),
        FUSE_NOTIFY.INC_EPOCH: (FuseNotify.inc_epoch(), b""),
        FUSE_NOTIFY.PRUNE: (FuseNotify.prune([5, 6]), struct.pack("=IIQQQ", 2, 0, 0, 5, 6)),
    }
    assert {*made} == {*FUSE_NOTIFY}
    for code, (notice, expected) in made.items():
        data = notice.to_bytes()
        assert data == struct.pack("=IiQ", len(data), code, 0) + expected, code


def test_sizes_are_those_of_the_structures() -> None:
    for cls in fuse.opcode_classes.values():
        assert cls.sizeof() == 40 + (0 if cls._msg is None else cls._msg.sizeof())
    assert fuse.FuseCreateResponse.sizeof() == 16 + 128 + 16
    assert fuse.FuseErrorResponse.sizeof() == 16
