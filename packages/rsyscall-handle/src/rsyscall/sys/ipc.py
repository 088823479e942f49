"""`<sys/ipc.h>`: what the queues, semaphores and shared memory of System V have in common."""

from __future__ import annotations

import enum

from rsyscall.cstruct import CStruct, i32, u16, u32
from rsyscall.handle.arguments import Enumeration, Kind

__all__ = ["IPC", "IPC_PRIVATE", "IpcPerm"]

KEY = Kind("ipc_key")
CONTROLS = {"RMID": "IPC_RMID", "SET": "IPC_SET", "STAT": "IPC_STAT", "INFO": "IPC_INFO"}
"""The names in C of operations that all objects have."""

IPC_PRIVATE = 0
"""The key of an object that is always new."""


class IPC(enum.IntFlag):
    """`IPC_*`: flags of the calls that make or use an object; or-ed with permissions where one is made.

    manpage: sysvipc(7)
    """

    NONE = 0
    CREAT = 0o1000
    EXCL = 0o2000
    NOWAIT = 0o4000


def made_with(cls: type[enum.IntFlag], *only: str) -> Enumeration:
    """The kind of flags and permissions: those of this class, and those of `IPC`."""
    return Enumeration("ipc_flags", cls, f"{cls.__name__}_", only)


class IpcPerm(CStruct, c="struct ipc64_perm", headers=("#include <linux/types.h>", "asm/ipcbuf.h"), size=48):
    """`struct ipc_perm`: whose an object is, and who may use it.

    Args:
        key: by which it was made.
        uid, gid: the owner.
        cuid, cgid: who made it.
        mode: the permissions.
        seq: how often its place has been used.

    manpage: sysvipc(7)
    """

    key: int = i32("key", default=0)
    uid: int = u32("uid", default=0)
    gid: int = u32("gid", default=0)
    cuid: int = u32("cuid", default=0)
    cgid: int = u32("cgid", default=0)
    mode: int = u32("mode", default=0)
    seq: int = u16("seq", default=0)
