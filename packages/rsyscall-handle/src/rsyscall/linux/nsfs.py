"""`<linux/nsfs.h>`: which namespaces there are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, u32, u64
from rsyscall.handle.arguments import NUMBER, SIZE, call, given, words
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import WrittenPointer, check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.sched import CLONE
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["LISTNS_CURRENT_USER", "NamespaceIdList", "NsIdReq", "NsfsFileHandle", "NsfsTask"]

_HEADERS = ("linux/types.h", "linux/nsfs.h")

LISTNS_CURRENT_USER = 0xFFFFFFFFFFFFFFFF
"""As `NsIdReq.user_ns_id`: the user namespace of the process that makes the call."""


class NsIdReq(CStruct, c="struct ns_id_req", headers=_HEADERS):
    """`struct ns_id_req`: what `listns` lists.

    Args:
        size: bytes of this structure.
        ns_id: after which id to begin; 0 for the first.
        ns_type: the kinds, as flags of `clone`; 0 for all.
        user_ns_id: only the namespaces of this user namespace; 0 for all.

    manpage: listns(2)
    """

    size: int = u32("size", default=32)  # since Linux 6.19
    spare: int = u32("spare", default=0)  # since Linux 6.19
    ns_id: int = u64("ns_id", default=0)  # since Linux 6.19
    ns_type: CLONE = u32("ns_type", CLONE, default=CLONE.NONE)  # since Linux 6.19
    spare2: int = u32("spare2", default=0)  # since Linux 6.19
    user_ns_id: int = u64("user_ns_id", default=0)  # since Linux 6.19


class NsfsFileHandle(CStruct, c="struct nsfs_file_handle", headers=_HEADERS):
    """`struct nsfs_file_handle`: the bytes of a `FileHandle` that names a namespace.

    Args:
        ns_id: its id.
        ns_type: its kind; 0 for any.
        ns_inum: its inode number; 0 for any.

    manpage: open_by_handle_at(2)
    """

    ns_id: int = u64("ns_id")  # since Linux 6.18
    ns_type: CLONE = u32("ns_type", CLONE, default=CLONE.NONE)  # since Linux 6.18
    ns_inum: int = u32("ns_inum", default=0)  # since Linux 6.18


class NamespaceIdList(list[int], Serializable):
    """What `listns` returns: ids of namespaces."""

    def to_bytes(self) -> bytes:
        """The ids, 8 bytes each."""
        return struct.pack(f"={len(self)}Q", *self)

    @classmethod
    def from_bytes(cls, data: bytes) -> NamespaceIdList:
        """Parse ids; raises ValueError for a part of one."""
        if len(data) % 8:
            raise ValueError(f"{len(data)} bytes are no whole number of ids of namespaces, of 8 bytes each")
        return cls(struct.unpack(f"={len(data) // 8}Q", data))


class NsfsTask(far.Task):
    """Which namespaces there are."""

    async def listns(
        self, req: Pointer[NsIdReq], ns_ids: Pointer[NamespaceIdList]
    ) -> tuple[ReadablePointer[NamespaceIdList], Pointer[NamespaceIdList]]:
        """`listns(req, ns_ids, nr_ns_ids, 0)`: list the namespaces that the process may see, by their ids.

        Args:
            req: which of them, and after which id to begin; not consumed.
            ns_ids: memory for the ids, 8 bytes each; consumed.

        Returns:
            The memory with the ids, and the rest. There may be more namespaces if the rest is shorter than an
            id.

        Raises:
            BufferTooSmallError: `req` is too small, or `ns_ids` for one id.
            OSError: EINVAL, ENOENT (no such user namespace), EPERM; ENOSYS before Linux 6.19; `filename` is
                "listns".

        manpage: listns(2)
        """
        check_pointers(req, ns_ids)
        require_size(req, NsIdReq.sizeof())
        if isinstance(req, WrittenPointer):
            # The kernel believes what the structure says.
            require_size(req, req.value.size)
        require_size(ns_ids, 8)
        with req.borrow(self) as req_addr, ns_ids.borrow(self) as ids_addr, naming("listns"):
            count = await _listns(self.sysif, req_addr, ids_addr, ns_ids.size() // 8, 0)
        return ns_ids.readable_split(count * 8)


@call("listns", given(NsIdReq), words(None, after=True), SIZE, NUMBER)
async def _listns(
    sysif: SyscallInterface, req: near.Address, ns_ids: near.Address, nr_ns_ids: int, flags: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.listns, req, ns_ids, nr_ns_ids, flags)
