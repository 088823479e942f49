"""Answers and notices for the kernel, by `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from rsyscall.cstruct import CStruct
from rsyscall.linux._fuse_answers import (
    FuseAttrOut,
    FuseBmapOut,
    FuseCopyFileRangeOut,
    FuseDirentHeader,
    FuseEntryOut,
    FuseGetxattrSize,
    FuseInitOut,
    FuseIoctlOut,
    FuseLkOut,
    FuseLseekOut,
    FuseNotifyDeleteOut,
    FuseNotifyInvalEntryOut,
    FuseNotifyInvalInodeOut,
    FuseNotifyPollWakeupOut,
    FuseNotifyPruneOut,
    FuseNotifyRetrieveOut,
    FuseNotifyStoreOut,
    FuseOpenOut,
    FuseOutHeader,
    FusePollOut,
    FuseStatfsOut,
    FuseStatxOut,
    FuseWriteOut,
)
from rsyscall.linux._fuse_constants import FUSE_EXPIRE, FUSE_NOTIFY
from rsyscall.linux.dirent import DT
from rsyscall.struct import Serializable, Struct, strpath_to_null_terminated_bytes

T_out = TypeVar("T_out", bound="FuseOut")

_ALIGNMENT = 8


@dataclass
class FuseOut(Serializable):
    """An answer to a request. With an error in the header it has nothing else.

    Args:
        hdr: the header; its `len` is as it was read and is not used to write.
    """

    hdr: FuseOutHeader

    _msg: ClassVar[type[CStruct] | None] = None

    def __init_subclass__(cls, msg: type[CStruct] | None = None) -> None:
        super().__init_subclass__()
        if msg is not None:
            cls._msg = msg

    @classmethod
    def from_header(cls: type[T_out], hdr: FuseOutHeader, data: bytes) -> T_out:
        """Parse what follows the header; ValueError if it is too short."""
        values = [] if cls._msg is None else [cls._msg.from_bytes(data)]
        return cls(hdr, *values)

    @classmethod
    def from_bytes(cls: type[T_out], data: bytes) -> T_out:
        """Parse a whole answer; ValueError if it is too short or an error of another class."""
        hdr = FuseOutHeader.from_bytes(data)
        if hdr.len != len(data):
            raise ValueError(f"an answer claims {hdr.len} bytes, there are {len(data)}")
        if hdr.error and not issubclass(cls, FuseErrorResponse):
            raise ValueError("the answer is an error", hdr.error)
        return cls.from_header(hdr, data[FuseOutHeader.sizeof() :])

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        if self._msg is None:
            return b""
        msg = vars(self)["msg"]
        # A number has a method of this name, too.
        if not isinstance(msg, self._msg):
            raise TypeError(f"{type(self).__name__}.msg: expected {self._msg.__name__}, not {msg!r}")
        return msg.to_bytes()

    def to_bytes(self) -> bytes:
        """The whole answer, for one `write`.

        manpage: fuse(4)
        """
        data = b"" if self.hdr.error else self.msg_to_bytes()
        return replace(self.hdr, len=FuseOutHeader.sizeof() + len(data)).to_bytes() + data

    @classmethod
    def sizeof(cls) -> int:
        """Return the size in bytes, without names and data behind the structures."""
        return FuseOutHeader.sizeof() + (0 if cls._msg is None else cls._msg.sizeof())


@dataclass
class FuseErrorResponse(FuseOut, Struct):
    """An answer that is only an error."""


@dataclass
class FuseEmptyResponse(FuseOut, Struct):
    """The answer to a request that gives nothing back."""


@dataclass
class FuseFlushResponse(FuseEmptyResponse):
    """The answer to a `FuseFlushOp`."""


@dataclass
class FuseReleaseResponse(FuseEmptyResponse):
    """The answer to a `FuseReleaseOp`."""


@dataclass
class FuseReleasedirResponse(FuseEmptyResponse):
    """The answer to a `FuseReleasedirOp`."""


@dataclass
class FuseInitResponse(FuseOut, Struct, msg=FuseInitOut):
    """The answer to a `FuseInitOp`."""

    msg: FuseInitOut


@dataclass
class FuseLookupResponse(FuseOut, Struct, msg=FuseEntryOut):
    """The answer to a `FuseLookupOp`, and to requests that make a file."""

    msg: FuseEntryOut


@dataclass
class FuseOpenResponse(FuseOut, Struct, msg=FuseOpenOut):
    """The answer to a `FuseOpenOp`."""

    msg: FuseOpenOut


@dataclass
class FuseOpendirResponse(FuseOut, Struct, msg=FuseOpenOut):
    """The answer to a `FuseOpendirOp`."""

    msg: FuseOpenOut


@dataclass
class FuseCreateResponse(FuseOut, Struct):
    """The answer to a `FuseCreateOp` or a `FuseTmpfileOp`: the new file, and that it is open."""

    entry: FuseEntryOut
    msg: FuseOpenOut

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseCreateResponse:
        """Parse what follows the header; ValueError if it is too short."""
        size = FuseEntryOut.sizeof()
        return cls(hdr, FuseEntryOut.from_bytes(data), FuseOpenOut.from_bytes(data[size:]))

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return self.entry.to_bytes() + self.msg.to_bytes()

    @classmethod
    def sizeof(cls) -> int:
        """Return the size in bytes."""
        return FuseOutHeader.sizeof() + FuseEntryOut.sizeof() + FuseOpenOut.sizeof()


@dataclass
class FuseReadResponse(FuseOut):
    """The answer to a `FuseReadOp`: fewer bytes than asked for mean the end of the file."""

    msg: bytes

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseReadResponse:
        """Take what follows the header."""
        return cls(hdr, data)

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return self.msg


@dataclass
class FuseReadlinkResponse(FuseOut):
    """The answer to a `FuseReadlinkOp`: where the symbolic link leads to."""

    msg: str | os.PathLike[str]

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseReadlinkResponse:
        """Take what follows the header."""
        return cls(hdr, os.fsdecode(data))

    def msg_to_bytes(self) -> bytes:
        """What follows the header; ValueError if there is a NUL in it."""
        return strpath_to_null_terminated_bytes(self.msg)[:-1]


@dataclass
class FuseGetattrResponse(FuseOut, Struct, msg=FuseAttrOut):
    """The answer to a `FuseGetattrOp` or a `FuseSetattrOp`."""

    msg: FuseAttrOut


@dataclass
class FuseStatxResponse(FuseOut, Struct, msg=FuseStatxOut):
    """The answer to a `FuseStatxOp`."""

    msg: FuseStatxOut


@dataclass
class FuseWriteResponse(FuseOut, Struct, msg=FuseWriteOut):
    """The answer to a `FuseWriteOp` and to `FuseCopyFileRangeOp`: how much was written."""

    msg: FuseWriteOut


@dataclass
class FuseCopyFileRangeResponse(FuseOut, Struct, msg=FuseCopyFileRangeOut):
    """The answer to a `FuseCopyFileRange64Op`."""

    msg: FuseCopyFileRangeOut


@dataclass
class FuseStatfsResponse(FuseOut, Struct, msg=FuseStatfsOut):
    """The answer to a `FuseStatfsOp`."""

    msg: FuseStatfsOut


@dataclass
class FuseLkResponse(FuseOut, Struct, msg=FuseLkOut):
    """The answer to a `FuseGetlkOp`."""

    msg: FuseLkOut


@dataclass
class FuseBmapResponse(FuseOut, Struct, msg=FuseBmapOut):
    """The answer to a `FuseBmapOp`."""

    msg: FuseBmapOut


@dataclass
class FusePollResponse(FuseOut, Struct, msg=FusePollOut):
    """The answer to a `FusePollOp`."""

    msg: FusePollOut


@dataclass
class FuseLseekResponse(FuseOut, Struct, msg=FuseLseekOut):
    """The answer to a `FuseLseekOp`."""

    msg: FuseLseekOut


@dataclass
class FuseIoctlResponse(FuseOut, msg=FuseIoctlOut):
    """The answer to a `FuseIoctlOp`, with the data that it gives back."""

    msg: FuseIoctlOut
    data: bytes = b""

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseIoctlResponse:
        """Parse what follows the header; ValueError if it is too short."""
        return cls(hdr, FuseIoctlOut.from_bytes(data), data[FuseIoctlOut.sizeof() :])

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return self.msg.to_bytes() + self.data


@dataclass
class FuseGetxattrOut(Serializable):
    """What a `FuseGetxattrOp` or a `FuseListxattrOp` gives back.

    Args:
        data: the value of the attribute, or all names with a NUL behind each.
        only_size: whether only its size was asked for.
    """

    data: str | bytes
    only_size: bool = False

    def to_bytes(self) -> bytes:
        """The value, or its size."""
        data = os.fsencode(self.data)
        return FuseGetxattrSize(len(data)).to_bytes() if self.only_size else data

    @classmethod
    def from_bytes(cls, data: bytes) -> FuseGetxattrOut:
        """Take a value. An answer with a size looks the same: only the request tells."""
        return cls(data)


@dataclass
class FuseGetxattrResponse(FuseOut):
    """The answer to a `FuseGetxattrOp` or a `FuseListxattrOp`."""

    msg: FuseGetxattrOut

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseGetxattrResponse:
        """Take what follows the header."""
        return cls(hdr, FuseGetxattrOut.from_bytes(data))

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return self.msg.to_bytes()


@dataclass
class FuseDirent:
    """`struct fuse_dirent`: one entry of a directory.

    Args:
        ino: the inode; not the node by which the kernel knows the file.
        off: what the kernel asks with for the entries behind this one.
        type: what kind of a file.
        name: its name.
    """

    ino: int
    off: int
    type: DT
    name: str

    def to_bytes(self) -> bytes:
        """The entry, padded to a multiple of 8 bytes; ValueError for a name that no file can have."""
        name = os.fsencode(self.name)
        if not name or b"\0" in name or b"/" in name:
            raise ValueError("not a name of a file", self.name)
        data = FuseDirentHeader(self.ino, self.off, len(name), self.type).to_bytes() + name
        return data.ljust(-(-len(data) // _ALIGNMENT) * _ALIGNMENT, b"\0")

    @classmethod
    def split(cls, data: bytes) -> tuple[FuseDirent, bytes]:
        """Parse the first entry; returns it and the bytes behind it. ValueError if they are too few."""
        size = FuseDirentHeader.sizeof()
        header = FuseDirentHeader.from_bytes(data)
        end = size + header.namelen
        if end > len(data):
            raise ValueError(f"an entry claims {end} of {len(data)} bytes")
        entry = cls(header.ino, header.off, DT(header.type), os.fsdecode(data[size:end]))
        return entry, data[-(-end // _ALIGNMENT) * _ALIGNMENT :]


@dataclass
class FuseDirentplus:
    """`struct fuse_direntplus`: an entry of a directory with its attributes.

    It counts as a lookup of the file, unless `entry_out.nodeid` is 0.
    """

    entry_out: FuseEntryOut
    dirent: FuseDirent

    def to_bytes(self) -> bytes:
        """The entry, padded to a multiple of 8 bytes."""
        return self.entry_out.to_bytes() + self.dirent.to_bytes()

    @classmethod
    def split(cls, data: bytes) -> tuple[FuseDirentplus, bytes]:
        """Parse the first entry; returns it and the bytes behind it. ValueError if they are too few."""
        entry_out = FuseEntryOut.from_bytes(data)
        dirent, rest = FuseDirent.split(data[FuseEntryOut.sizeof() :])
        return cls(entry_out, dirent), rest


@dataclass
class FuseReaddirResponse(FuseOut):
    """The answer to a `FuseReaddirOp`; no entries at the end of the directory."""

    msg: Sequence[FuseDirent]

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseReaddirResponse:
        """Parse the entries; ValueError if one does not fit."""
        entries = []
        while data:
            entry, data = FuseDirent.split(data)
            entries.append(entry)
        return cls(hdr, entries)

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return b"".join(entry.to_bytes() for entry in self.msg)


@dataclass
class FuseReaddirplusResponse(FuseOut):
    """The answer to a `FuseReaddirplusOp`; no entries at the end of the directory."""

    msg: Sequence[FuseDirentplus]

    @classmethod
    def from_header(cls, hdr: FuseOutHeader, data: bytes) -> FuseReaddirplusResponse:
        """Parse the entries; ValueError if one does not fit."""
        entries = []
        while data:
            entry, data = FuseDirentplus.split(data)
            entries.append(entry)
        return cls(hdr, entries)

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return b"".join(entry.to_bytes() for entry in self.msg)


@dataclass
class FuseNotify(Serializable):
    """A notice: what the file system tells the kernel without being asked, in one `write`.

    Writing it may wait for requests that are being handled, and fails with ENOENT if the kernel does not know
    the node.

    Args:
        code: what it is.
        msg: its structure, if it has one.
        data: what follows.

    manpage: fuse(4)
    """

    code: FUSE_NOTIFY
    msg: CStruct | None = None
    data: bytes = b""

    @classmethod
    def inval_inode(cls, nodeid: int, off: int = 0, length: int = 0) -> FuseNotify:
        """The kernel shall forget data; see `FuseNotifyInvalInodeOut`."""
        return cls(FUSE_NOTIFY.INVAL_INODE, FuseNotifyInvalInodeOut(nodeid, off, length))

    @classmethod
    def inval_entry(
        cls, parent: int, name: str | os.PathLike[str], flags: FUSE_EXPIRE = FUSE_EXPIRE.NONE
    ) -> FuseNotify:
        """The kernel shall forget a name in a directory."""
        data = strpath_to_null_terminated_bytes(name)
        return cls(FUSE_NOTIFY.INVAL_ENTRY, FuseNotifyInvalEntryOut(parent, len(data) - 1, flags), data)

    @classmethod
    def delete(cls, parent: int, child: int, name: str | os.PathLike[str]) -> FuseNotify:
        """A name in a directory was deleted, and with it this node."""
        data = strpath_to_null_terminated_bytes(name)
        return cls(FUSE_NOTIFY.DELETE, FuseNotifyDeleteOut(parent, child, len(data) - 1), data)

    @classmethod
    def store(cls, nodeid: int, offset: int, data: bytes) -> FuseNotify:
        """The kernel shall keep data of a file."""
        return cls(FUSE_NOTIFY.STORE, FuseNotifyStoreOut(nodeid, offset, len(data)), data)

    @classmethod
    def retrieve(cls, notify_unique: int, nodeid: int, offset: int, size: int) -> FuseNotify:
        """The kernel shall send data that it keeps, in a `FuseNotifyReplyOp`."""
        return cls(FUSE_NOTIFY.RETRIEVE, FuseNotifyRetrieveOut(notify_unique, nodeid, offset, size))

    @classmethod
    def poll(cls, kh: int) -> FuseNotify:
        """What a `FusePollOp` has asked for has become ready."""
        return cls(FUSE_NOTIFY.POLL, FuseNotifyPollWakeupOut(kh))

    @classmethod
    def resend(cls) -> FuseNotify:
        """The kernel shall send again what has not been answered. Since Linux 6.9."""
        return cls(FUSE_NOTIFY.RESEND)

    @classmethod
    def inc_epoch(cls) -> FuseNotify:
        """The kernel shall forget all names. Since Linux 6.16."""
        return cls(FUSE_NOTIFY.INC_EPOCH)

    @classmethod
    def prune(cls, nodeids: Sequence[int]) -> FuseNotify:
        """The kernel shall forget nodes that are not in use. Since Linux 6.18."""
        data = b"".join(nodeid.to_bytes(8, "little") for nodeid in nodeids)
        return cls(FUSE_NOTIFY.PRUNE, FuseNotifyPruneOut(len(nodeids)), data)

    def to_bytes(self) -> bytes:
        """The whole notice, for one `write`."""
        data = (b"" if self.msg is None else self.msg.to_bytes()) + self.data
        return FuseOutHeader(self.code, 0, FuseOutHeader.sizeof() + len(data)).to_bytes() + data
