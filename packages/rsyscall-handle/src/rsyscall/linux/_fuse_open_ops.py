"""Requests about open files and attributes, by `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rsyscall.cstruct import CStruct
from rsyscall.linux._fuse_answers import (
    FuseBmapOut,
    FuseCopyFileRangeOut,
    FuseIoctlOut,
    FuseLkOut,
    FuseLseekOut,
    FuseOpenOut,
    FusePollOut,
    FuseStatfsOut,
    FuseWriteOut,
)
from rsyscall.linux._fuse_constants import (
    FUSE_OPCODE,
)
from rsyscall.linux._fuse_in import (
    DATA,
    NAME,
    FuseIn,
)
from rsyscall.linux._fuse_out import (
    FuseBmapResponse,
    FuseCopyFileRangeResponse,
    FuseDirent,
    FuseDirentplus,
    FuseEmptyResponse,
    FuseFlushResponse,
    FuseGetxattrOut,
    FuseGetxattrResponse,
    FuseIoctlResponse,
    FuseLkResponse,
    FuseLseekResponse,
    FuseOpendirResponse,
    FusePollResponse,
    FuseReaddirplusResponse,
    FuseReaddirResponse,
    FuseReadResponse,
    FuseReleasedirResponse,
    FuseReleaseResponse,
    FuseStatfsResponse,
    FuseWriteResponse,
)
from rsyscall.linux._fuse_structs import (
    CuseInitIn,
    FuseBmapIn,
    FuseCopyFileRangeIn,
    FuseFallocateIn,
    FuseFlushIn,
    FuseFsyncIn,
    FuseGetxattrHeader,
    FuseInHeader,
    FuseInterruptIn,
    FuseIoctlIn,
    FuseLkIn,
    FuseLseekIn,
    FuseNotifyRetrieveIn,
    FuseOpenIn,
    FusePollIn,
    FuseReadIn,
    FuseReleaseIn,
    FuseRemovemappingIn,
    FuseSetupmappingIn,
    FuseSetxattrIn,
    FuseSyncfsIn,
    FuseWriteIn,
)
from rsyscall.struct import Serializable, Struct, strpath_to_null_terminated_bytes

T_entry = TypeVar("T_entry", FuseDirent, FuseDirentplus)


def _fitting(size: int, entries: Iterable[T_entry]) -> list[T_entry]:
    """The first entries, as many as an answer of `size` bytes has room for."""
    taken = []
    for entry in entries:
        size -= len(entry.to_bytes())
        if size < 0:
            break
        taken.append(entry)
    return taken


def _bounded(what: str, length: int, size: int) -> None:
    if length > size:
        raise ValueError(f"{what} has {length} bytes, {size} were asked for")


@dataclass
class FuseReadOp(FuseIn, Struct, opcode=FUSE_OPCODE.READ, msg=FuseReadIn):
    """Read from an open file."""

    msg: FuseReadIn

    def respond(self, msg: bytes, error: int = 0) -> FuseReadResponse:
        """Answer; `error` is 0 or as for `error`. ValueError for more bytes than were asked for."""
        _bounded("the answer", len(msg), self.msg.size)
        return FuseReadResponse(self._answer(error), msg)


@dataclass
class FuseWriteOp(FuseIn, opcode=FUSE_OPCODE.WRITE, msg=FuseWriteIn, rest=(DATA,)):
    """Write `data` to an open file."""

    msg: FuseWriteIn
    data: bytes

    @classmethod
    def from_header(cls, hdr: FuseInHeader, data: bytes, extensions: bytes = b"") -> FuseWriteOp:
        """Parse what follows the header; ValueError if there is less data than it says."""
        return _with_data(cls(hdr, *_split(FuseWriteIn, data), extensions=extensions))

    def respond(self, msg: FuseWriteOut, error: int = 0) -> FuseWriteResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseWriteResponse(self._answer(error), msg)


@dataclass
class FuseFlushOp(FuseIn, Struct, opcode=FUSE_OPCODE.FLUSH, msg=FuseFlushIn):
    """A descriptor of an open file is closed."""

    msg: FuseFlushIn

    def respond(self, error: int = 0) -> FuseFlushResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseFlushResponse(self._answer(error))


@dataclass
class FuseReleaseOp(FuseIn, Struct, opcode=FUSE_OPCODE.RELEASE, msg=FuseReleaseIn):
    """An open file is closed."""

    msg: FuseReleaseIn

    def respond(self, error: int = 0) -> FuseReleaseResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseReleaseResponse(self._answer(error))


@dataclass
class FuseFsyncOp(FuseIn, Struct, opcode=FUSE_OPCODE.FSYNC, msg=FuseFsyncIn):
    """Write an open file to the disk."""

    msg: FuseFsyncIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseOpendirOp(FuseIn, Struct, opcode=FUSE_OPCODE.OPENDIR, msg=FuseOpenIn):
    """Open a directory."""

    msg: FuseOpenIn

    def respond(self, msg: FuseOpenOut, error: int = 0) -> FuseOpendirResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseOpendirResponse(self._answer(error), msg)


@dataclass
class FuseReaddirOp(FuseIn, Struct, opcode=FUSE_OPCODE.READDIR, msg=FuseReadIn):
    """The entries of a directory, from `msg.offset` on."""

    msg: FuseReadIn

    def fitting(self, entries: Iterable[FuseDirent]) -> list[FuseDirent]:
        """The first of these entries, as many as there is room for."""
        return _fitting(self.msg.size, entries)

    def respond(self, msg: Sequence[FuseDirent], error: int = 0) -> FuseReaddirResponse:
        """Answer; `error` is 0 or as for `error`. ValueError if there is less room; see `fitting`."""
        _bounded("the answer", sum(len(entry.to_bytes()) for entry in msg), self.msg.size)
        return FuseReaddirResponse(self._answer(error), msg)


@dataclass
class FuseReaddirplusOp(FuseIn, Struct, opcode=FUSE_OPCODE.READDIRPLUS, msg=FuseReadIn):
    """The entries of a directory with their attributes, from `msg.offset` on."""

    msg: FuseReadIn

    def fitting(self, entries: Iterable[FuseDirentplus]) -> list[FuseDirentplus]:
        """The first of these entries, as many as there is room for."""
        return _fitting(self.msg.size, entries)

    def respond(self, msg: Sequence[FuseDirentplus], error: int = 0) -> FuseReaddirplusResponse:
        """Answer; `error` is 0 or as for `error`. ValueError if there is less room; see `fitting`."""
        _bounded("the answer", sum(len(entry.to_bytes()) for entry in msg), self.msg.size)
        return FuseReaddirplusResponse(self._answer(error), msg)


@dataclass
class FuseReleasedirOp(FuseIn, Struct, opcode=FUSE_OPCODE.RELEASEDIR, msg=FuseReleaseIn):
    """An open directory is closed."""

    msg: FuseReleaseIn

    def respond(self, error: int = 0) -> FuseReleasedirResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseReleasedirResponse(self._answer(error))


@dataclass
class FuseFsyncdirOp(FuseIn, Struct, opcode=FUSE_OPCODE.FSYNCDIR, msg=FuseFsyncIn):
    """Write an open directory to the disk."""

    msg: FuseFsyncIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseStatfsOp(FuseIn, Struct, opcode=FUSE_OPCODE.STATFS):
    """How large and how full the file system is."""

    def respond(self, msg: FuseStatfsOut, error: int = 0) -> FuseStatfsResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseStatfsResponse(self._answer(error), msg)


@dataclass
class FuseSyncfsOp(FuseIn, Struct, opcode=FUSE_OPCODE.SYNCFS, msg=FuseSyncfsIn):
    """Write the file system to the disk."""

    msg: FuseSyncfsIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseSetxattrOp(FuseIn, opcode=FUSE_OPCODE.SETXATTR, msg=FuseSetxattrIn, rest=(NAME, DATA)):
    """Set the extended attribute `name` to `data`."""

    msg: FuseSetxattrIn
    name: str
    data: bytes

    @classmethod
    def from_header(cls, hdr: FuseInHeader, data: bytes, extensions: bytes = b"") -> FuseSetxattrOp:
        """Parse what follows the header; ValueError if there is less data than it says.

        Without `FUSE_INIT.SETXATTR_EXT` the structure ends before the new flags, where the name begins, and
        nothing else says so. Names of attributes have more letters than fit before the first NUL of flags.
        """
        if len(data) >= 12 and 0 not in data[8:12]:
            data = data[:8] + bytes(8) + data[8:]
        msg, rest = _split(FuseSetxattrIn, data)
        name, _, value = rest.partition(b"\0")
        return _with_data(cls(hdr, msg, os.fsdecode(name), value, extensions=extensions))

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseGetxattrIn(Serializable):
    """`struct fuse_getxattr_in` with the name.

    Args:
        data: the name of the attribute.
        size: how many bytes of the value there is room for; 0 to ask for its size.
    """

    data: str
    size: int = 0

    def to_bytes(self) -> bytes:
        """The structure and the name."""
        return FuseGetxattrHeader(self.size).to_bytes() + strpath_to_null_terminated_bytes(self.data)

    @classmethod
    def from_bytes(cls, data: bytes) -> FuseGetxattrIn:
        """Parse it; ValueError if it is too short or the name has no end."""
        header, rest = _split(FuseGetxattrHeader, data)
        name, end, _ = rest.partition(b"\0")
        if not end:
            raise ValueError("the name of an attribute without an end", name)
        return cls(os.fsdecode(name), header.size)


@dataclass
class FuseGetxattrOp(FuseIn, opcode=FUSE_OPCODE.GETXATTR):
    """The value of an extended attribute."""

    msg: FuseGetxattrIn

    @classmethod
    def from_header(cls, hdr: FuseInHeader, data: bytes, extensions: bytes = b"") -> FuseGetxattrOp:
        """Parse what follows the header; ValueError if it is too short or the name has no end."""
        return cls(hdr, FuseGetxattrIn.from_bytes(data), extensions=extensions)

    def respond(self, data: str | bytes, error: int = 0) -> FuseGetxattrResponse:
        """Answer with the value, or with its size if that was asked for, or with ERANGE if it is too long.

        Args:
            data: the value.
            error: 0 or as for `error`.
        """
        return _xattr_response(self, data, self.msg.size, error)


@dataclass
class FuseListxattrOp(FuseIn, Struct, opcode=FUSE_OPCODE.LISTXATTR, msg=FuseGetxattrHeader):
    """The names of all extended attributes."""

    msg: FuseGetxattrHeader

    def respond(self, data: str | bytes, error: int = 0) -> FuseGetxattrResponse:
        """Answer with the names, a NUL behind each; otherwise as `FuseGetxattrOp.respond`."""
        return _xattr_response(self, data, self.msg.size, error)


@dataclass
class FuseRemovexattrOp(FuseIn, opcode=FUSE_OPCODE.REMOVEXATTR, rest=(NAME,)):
    """Remove the extended attribute `name`."""

    name: str

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseGetlkOp(FuseIn, Struct, opcode=FUSE_OPCODE.GETLK, msg=FuseLkIn):
    """Which lock is in the way."""

    msg: FuseLkIn

    def respond(self, msg: FuseLkOut, error: int = 0) -> FuseLkResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLkResponse(self._answer(error), msg)


@dataclass
class FuseSetlkOp(FuseIn, Struct, opcode=FUSE_OPCODE.SETLK, msg=FuseLkIn):
    """Lock or unlock a part of a file, or fail with EAGAIN."""

    msg: FuseLkIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseSetlkwOp(FuseIn, Struct, opcode=FUSE_OPCODE.SETLKW, msg=FuseLkIn):
    """Lock or unlock a part of a file, and wait for that."""

    msg: FuseLkIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseInterruptOp(FuseIn, Struct, opcode=FUSE_OPCODE.INTERRUPT, msg=FuseInterruptIn):
    """The answer to a request is wanted no more. EAGAIN is the only answer to this."""

    msg: FuseInterruptIn


@dataclass
class FuseBmapOp(FuseIn, Struct, opcode=FUSE_OPCODE.BMAP, msg=FuseBmapIn):
    """Where a block is on a device."""

    msg: FuseBmapIn

    def respond(self, msg: FuseBmapOut, error: int = 0) -> FuseBmapResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseBmapResponse(self._answer(error), msg)


@dataclass
class FuseIoctlOp(FuseIn, opcode=FUSE_OPCODE.IOCTL, msg=FuseIoctlIn, rest=(DATA,)):
    """An ioctl on an open file, with `data` for it."""

    msg: FuseIoctlIn
    data: bytes

    def respond(self, msg: FuseIoctlOut, data: bytes = b"", error: int = 0) -> FuseIoctlResponse:
        """Answer with a result and data; `error` is 0 or as for `error`. ValueError for too much data."""
        _bounded("the answer", len(data), self.msg.out_size)
        return FuseIoctlResponse(self._answer(error), msg, data)


@dataclass
class FusePollOp(FuseIn, Struct, opcode=FUSE_OPCODE.POLL, msg=FusePollIn):
    """Which events there are."""

    msg: FusePollIn

    def respond(self, msg: FusePollOut, error: int = 0) -> FusePollResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FusePollResponse(self._answer(error), msg)


@dataclass
class FuseNotifyReplyOp(FuseIn, opcode=FUSE_OPCODE.NOTIFY_REPLY, msg=FuseNotifyRetrieveIn, rest=(DATA,)):
    """The data that `FuseNotify.retrieve` has asked for. `hdr.unique` is its number. No answer."""

    msg: FuseNotifyRetrieveIn
    data: bytes


@dataclass
class FuseFallocateOp(FuseIn, Struct, opcode=FUSE_OPCODE.FALLOCATE, msg=FuseFallocateIn):
    """Reserve or free a part of an open file."""

    msg: FuseFallocateIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseLseekOp(FuseIn, Struct, opcode=FUSE_OPCODE.LSEEK, msg=FuseLseekIn):
    """Where data or a hole begins."""

    msg: FuseLseekIn

    def respond(self, msg: FuseLseekOut, error: int = 0) -> FuseLseekResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLseekResponse(self._answer(error), msg)


@dataclass
class FuseCopyFileRangeOp(FuseIn, Struct, opcode=FUSE_OPCODE.COPY_FILE_RANGE, msg=FuseCopyFileRangeIn):
    """Copy from one open file to another."""

    msg: FuseCopyFileRangeIn

    def respond(self, msg: FuseWriteOut, error: int = 0) -> FuseWriteResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseWriteResponse(self._answer(error), msg)


@dataclass
class FuseCopyFileRange64Op(FuseIn, Struct, opcode=FUSE_OPCODE.COPY_FILE_RANGE_64, msg=FuseCopyFileRangeIn):
    """The same, with an answer that has room for more."""

    msg: FuseCopyFileRangeIn

    def respond(self, msg: FuseCopyFileRangeOut, error: int = 0) -> FuseCopyFileRangeResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseCopyFileRangeResponse(self._answer(error), msg)


@dataclass
class FuseSetupmappingOp(FuseIn, Struct, opcode=FUSE_OPCODE.SETUPMAPPING, msg=FuseSetupmappingIn):
    """Map a part of a file."""

    msg: FuseSetupmappingIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseRemovemappingOp(FuseIn, opcode=FUSE_OPCODE.REMOVEMAPPING, msg=FuseRemovemappingIn, rest=(DATA,)):
    """End mappings; `data` are as many `FuseRemovemappingOne`."""

    msg: FuseRemovemappingIn
    data: bytes

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class CuseInitOp(FuseIn, Struct, opcode=FUSE_OPCODE.CUSE_INIT, msg=CuseInitIn):
    """The kernel begins, for a character device."""

    msg: CuseInitIn


T_struct = TypeVar("T_struct", bound=CStruct)
T_with_data = TypeVar("T_with_data", FuseWriteOp, FuseSetxattrOp)


def _split(cls: type[T_struct], data: bytes) -> tuple[T_struct, bytes]:
    return cls.from_bytes(data), data[cls.sizeof() :]


def _with_data(op: T_with_data) -> T_with_data:
    """Check that there is as much data as a request says, and drop what a newer kernel may have behind it."""
    if op.msg.size > len(op.data):
        raise ValueError(f"{type(op).__name__} claims {op.msg.size} bytes of data, there are {len(op.data)}")
    op.data = op.data[: op.msg.size]
    return op


def _xattr_response(op: FuseIn, data: str | bytes, size: int, error: int) -> FuseGetxattrResponse:
    out = FuseGetxattrOut(os.fsencode(data), only_size=size == 0)
    if size and not error and len(out.data) > size:
        error = -errno.ERANGE
    return FuseGetxattrResponse(op._answer(error), out)
