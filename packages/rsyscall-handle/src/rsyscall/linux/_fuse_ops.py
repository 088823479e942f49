"""Requests about files, by `<linux/fuse.h>`. `rsyscall.linux.fuse` has the names."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rsyscall.linux._fuse_answers import (
    FuseAttrOut,
    FuseEntryOut,
    FuseInitOut,
    FuseOpenOut,
    FuseStatxOut,
)
from rsyscall.linux._fuse_constants import (
    FUSE_OPCODE,
)
from rsyscall.linux._fuse_in import (
    NAME,
    FuseIn,
)
from rsyscall.linux._fuse_out import (
    FuseCreateResponse,
    FuseEmptyResponse,
    FuseGetattrResponse,
    FuseInitResponse,
    FuseLookupResponse,
    FuseOpenResponse,
    FuseReadlinkResponse,
    FuseStatxResponse,
)
from rsyscall.linux._fuse_structs import (
    FuseAccessIn,
    FuseBatchForgetIn,
    FuseCreateIn,
    FuseForgetIn,
    FuseForgetOne,
    FuseGetattrIn,
    FuseInHeader,
    FuseInitIn,
    FuseLinkIn,
    FuseMkdirIn,
    FuseMknodIn,
    FuseOpenIn,
    FuseRename2In,
    FuseRenameIn,
    FuseSetattrIn,
    FuseStatxIn,
)
from rsyscall.struct import Struct


@dataclass
class FuseInitOp(FuseIn, Struct, opcode=FUSE_OPCODE.INIT, msg=FuseInitIn):
    """The kernel begins."""

    msg: FuseInitIn

    def respond(self, msg: FuseInitOut, error: int = 0) -> FuseInitResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseInitResponse(self._answer(error), msg)


@dataclass
class FuseDestroyOp(FuseIn, Struct, opcode=FUSE_OPCODE.DESTROY):
    """The kernel ends: nothing follows."""

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseLookupOp(FuseIn, opcode=FUSE_OPCODE.LOOKUP, rest=(NAME,)):
    """Find `name` in a directory; the kernel then knows the node once more."""

    name: str

    def respond(self, msg: FuseEntryOut, error: int = 0) -> FuseLookupResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLookupResponse(self._answer(error), msg)


@dataclass
class FuseForgetOp(FuseIn, Struct, opcode=FUSE_OPCODE.FORGET, msg=FuseForgetIn):
    """The kernel forgets so many lookups of a node. No answer."""

    msg: FuseForgetIn


@dataclass
class FuseBatchForgetOp(FuseIn, opcode=FUSE_OPCODE.BATCH_FORGET):
    """The kernel forgets lookups of several nodes. No answer."""

    nodes: list[FuseForgetOne]

    @classmethod
    def from_header(cls, hdr: FuseInHeader, data: bytes, extensions: bytes = b"") -> FuseBatchForgetOp:
        """Parse what follows the header; ValueError if there are fewer nodes than it says."""
        start, size = FuseBatchForgetIn.sizeof(), FuseForgetOne.sizeof()
        count = FuseBatchForgetIn.from_bytes(data).count
        if start + count * size > len(data):
            raise ValueError(f"{count} nodes to forget in {len(data)} bytes")
        starts = range(start, start + count * size, size)
        nodes = [FuseForgetOne.from_bytes(data[begin : begin + size]) for begin in starts]
        return cls(hdr, nodes, extensions=extensions)

    def msg_to_bytes(self) -> bytes:
        """What follows the header."""
        return FuseBatchForgetIn(len(self.nodes)).to_bytes() + b"".join(n.to_bytes() for n in self.nodes)


@dataclass
class FuseGetattrOp(FuseIn, Struct, opcode=FUSE_OPCODE.GETATTR, msg=FuseGetattrIn):
    """The attributes of a file."""

    msg: FuseGetattrIn

    def respond(self, msg: FuseAttrOut, error: int = 0) -> FuseGetattrResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseGetattrResponse(self._answer(error), msg)


@dataclass
class FuseStatxOp(FuseIn, Struct, opcode=FUSE_OPCODE.STATX, msg=FuseStatxIn):
    """The attributes of a file, as `statx` has them."""

    msg: FuseStatxIn

    def respond(self, msg: FuseStatxOut, error: int = 0) -> FuseStatxResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseStatxResponse(self._answer(error), msg)


@dataclass
class FuseSetattrOp(FuseIn, Struct, opcode=FUSE_OPCODE.SETATTR, msg=FuseSetattrIn):
    """Change attributes of a file: chmod, chown, truncate, utimensat."""

    msg: FuseSetattrIn

    def respond(self, msg: FuseAttrOut, error: int = 0) -> FuseGetattrResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseGetattrResponse(self._answer(error), msg)


@dataclass
class FuseAccessOp(FuseIn, Struct, opcode=FUSE_OPCODE.ACCESS, msg=FuseAccessIn):
    """Whether a file may be used."""

    msg: FuseAccessIn

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseReadlinkOp(FuseIn, Struct, opcode=FUSE_OPCODE.READLINK):
    """Where a symbolic link leads to."""

    def respond(self, msg: str | os.PathLike[str], error: int = 0) -> FuseReadlinkResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseReadlinkResponse(self._answer(error), msg)


@dataclass
class FuseSymlinkOp(FuseIn, opcode=FUSE_OPCODE.SYMLINK, rest=(NAME, NAME)):
    """Make a symbolic link `name` to `target`."""

    name: str
    target: str

    def respond(self, msg: FuseEntryOut, error: int = 0) -> FuseLookupResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLookupResponse(self._answer(error), msg)


@dataclass
class FuseMknodOp(FuseIn, opcode=FUSE_OPCODE.MKNOD, msg=FuseMknodIn, rest=(NAME,)):
    """Make a file `name`."""

    msg: FuseMknodIn
    name: str

    def respond(self, msg: FuseEntryOut, error: int = 0) -> FuseLookupResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLookupResponse(self._answer(error), msg)


@dataclass
class FuseMkdirOp(FuseIn, opcode=FUSE_OPCODE.MKDIR, msg=FuseMkdirIn, rest=(NAME,)):
    """Make a directory `name`."""

    msg: FuseMkdirIn
    name: str

    def respond(self, msg: FuseEntryOut, error: int = 0) -> FuseLookupResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLookupResponse(self._answer(error), msg)


@dataclass
class FuseUnlinkOp(FuseIn, opcode=FUSE_OPCODE.UNLINK, rest=(NAME,)):
    """Remove the file `name`."""

    name: str

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseRmdirOp(FuseIn, opcode=FUSE_OPCODE.RMDIR, rest=(NAME,)):
    """Remove the directory `name`."""

    name: str

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseRenameOp(FuseIn, opcode=FUSE_OPCODE.RENAME, msg=FuseRenameIn, rest=(NAME, NAME)):
    """Move `name` to `newname` in another directory."""

    msg: FuseRenameIn
    name: str
    newname: str

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseRename2Op(FuseIn, opcode=FUSE_OPCODE.RENAME2, msg=FuseRename2In, rest=(NAME, NAME)):
    """Move `name` to `newname` in another directory, with flags."""

    msg: FuseRename2In
    name: str
    newname: str

    def respond(self, error: int = 0) -> FuseEmptyResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseEmptyResponse(self._answer(error))


@dataclass
class FuseLinkOp(FuseIn, opcode=FUSE_OPCODE.LINK, msg=FuseLinkIn, rest=(NAME,)):
    """Give a file the name `name` too."""

    msg: FuseLinkIn
    name: str

    def respond(self, msg: FuseEntryOut, error: int = 0) -> FuseLookupResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseLookupResponse(self._answer(error), msg)


@dataclass
class FuseOpenOp(FuseIn, Struct, opcode=FUSE_OPCODE.OPEN, msg=FuseOpenIn):
    """Open a file."""

    msg: FuseOpenIn

    def respond(self, msg: FuseOpenOut, error: int = 0) -> FuseOpenResponse:
        """Answer; `error` is 0 or as for `error`."""
        return FuseOpenResponse(self._answer(error), msg)


@dataclass
class FuseCreateOp(FuseIn, opcode=FUSE_OPCODE.CREATE, msg=FuseCreateIn, rest=(NAME,)):
    """Make a file `name` and open it."""

    msg: FuseCreateIn
    name: str

    def respond(self, entry: FuseEntryOut, msg: FuseOpenOut, error: int = 0) -> FuseCreateResponse:
        """Answer with the file and that it is open; `error` is 0 or as for `error`."""
        return FuseCreateResponse(self._answer(error), entry, msg)


@dataclass
class FuseTmpfileOp(FuseIn, opcode=FUSE_OPCODE.TMPFILE, msg=FuseCreateIn, rest=(NAME,)):
    """Make a file without a name and open it (O_TMPFILE). `name` has no meaning."""

    msg: FuseCreateIn
    name: str

    def respond(self, entry: FuseEntryOut, msg: FuseOpenOut, error: int = 0) -> FuseCreateResponse:
        """Answer with the file and that it is open; `error` is 0 or as for `error`."""
        return FuseCreateResponse(self._answer(error), entry, msg)
