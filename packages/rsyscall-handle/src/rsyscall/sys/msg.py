"""`<sys/msg.h>`: queues of messages of System V."""

from __future__ import annotations

import enum
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i32, i64, nested, u64
from rsyscall.handle.arguments import (
    ADDRESS,
    INT,
    LONG,
    SIZE,
    Memory,
    by,
    call,
    choice,
    each,
    given,
    out,
)
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable
from rsyscall.sys.ipc import CONTROLS, IPC, KEY, IpcPerm, made_with

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MSG", "MSGCTL", "MsgTask", "Msgbuf", "MsqidDs"]


class MSG(enum.IntFlag):
    """`MSG_*`: flags of `msgrcv`, besides `IPC.NOWAIT`.

    manpage: msgop(2)
    """

    NONE = 0
    NOERROR = 0o10000
    EXCEPT = 0o20000
    COPY = 0o40000


class MSGCTL(enum.IntEnum):
    """`IPC_*`, `MSG_*`: operations of `msgctl`.

    manpage: msgctl(2)
    """

    RMID = 0
    SET = 1
    STAT = 2
    INFO = 3
    MSG_STAT = 11
    MSG_INFO = 12
    MSG_STAT_ANY = 13


_TYPE = struct.Struct("=q")


class Msgbuf(Serializable):
    """`struct msgbuf`: a message.

    Args:
        mtype: its type, above 0.
        mtext: its bytes.

    manpage: msgop(2)
    """

    __slots__ = ("mtext", "mtype")

    def __init__(self, mtype: int, mtext: bytes) -> None:
        self.mtype: int = mtype
        self.mtext: bytes = mtext

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Msgbuf):
            return NotImplemented
        return (self.mtype, self.mtext) == (other.mtype, other.mtext)

    def __hash__(self) -> int:
        return hash((self.mtype, self.mtext))

    def __repr__(self) -> str:
        return f"Msgbuf({self.mtype}, {self.mtext!r})"

    def to_bytes(self) -> bytes:
        """The type and the text."""
        return _TYPE.pack(self.mtype) + self.mtext

    @classmethod
    def from_bytes(cls, data: bytes) -> Msgbuf:
        """Parse a message that fills the memory; ValueError if there is no room for its type."""
        if len(data) < _TYPE.size:
            raise ValueError(f"a message takes {_TYPE.size} bytes and its text, there are {len(data)}")
        return cls(_TYPE.unpack_from(data)[0], data[_TYPE.size :])


class MsqidDs(CStruct, c="struct msqid64_ds", headers=("#include <linux/types.h>", "asm/msgbuf.h"), size=120):
    """`struct msqid_ds`: a queue.

    Args:
        perm: whose it is.
        stime, rtime, ctime: when something was last sent, received, changed.
        cbytes, qnum: how many bytes and messages are in it.
        qbytes: how many bytes it has room for.
        lspid, lrpid: who last sent and received something.

    manpage: msgctl(2)
    """

    perm: IpcPerm = nested("msg_perm", IpcPerm, default_factory=IpcPerm)
    stime: int = i64("msg_stime", default=0)
    rtime: int = i64("msg_rtime", default=0)
    ctime: int = i64("msg_ctime", default=0)
    cbytes: int = u64("msg_cbytes", default=0)
    qnum: int = u64("msg_qnum", default=0)
    qbytes: int = u64("msg_qbytes", default=0)
    lspid: int = i32("msg_lspid", default=0)
    lrpid: int = i32("msg_lrpid", default=0)


class MsgTask(rsyscall.far.Task):
    """Queues of messages of System V."""

    async def msgget(self, key: int, msgflg: IPC) -> int:
        """`msgget(key, msgflg)`: find or make a queue.

        Args:
            key: its key, or `IPC_PRIVATE`.
            msgflg: `IPC.CREAT` or-ed with permissions, to make one if there is none.

        Returns:
            Its number.

        Raises:
            OSError: ENOENT, EEXIST, EACCES, ENOSPC; `filename` is the key.

        manpage: msgget(2)
        """
        with naming(key):
            return await _msgget(self.sysif, key, msgflg)

    async def msgsnd(self, msqid: int, msgp: WrittenPointer[Msgbuf], msgflg: IPC = IPC.NONE) -> None:
        """`msgsnd(msqid, msgp, msgsz, msgflg)`: put a message into a queue.

        Waits in the process while there is no room, unless there is `IPC.NOWAIT`.

        Args:
            msgp: all of the memory is the message; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (`IPC.NOWAIT`), EINVAL (no such queue, a wrong type, too long), EACCES, EIDRM,
                EINTR; `filename` is the number.

        manpage: msgop(2)
        """
        check_pointers(msgp)
        require_size(msgp, _TYPE.size)
        with msgp.borrow(self) as msgp_addr, naming(msqid):
            await _msgsnd(self.sysif, msqid, msgp_addr, msgp.size() - _TYPE.size, msgflg)

    async def msgrcv(
        self, msqid: int, msgp: Pointer[Msgbuf], msgtyp: int = 0, msgflg: IPC | MSG | int = 0
    ) -> tuple[ReadablePointer[Msgbuf], Pointer[Msgbuf]]:
        """`msgrcv(msqid, msgp, msgsz, msgtyp, msgflg)`: take a message out of a queue.

        Waits in the process while there is none, unless there is `IPC.NOWAIT`.

        Args:
            msgp: where to put it; consumed.
            msgtyp: 0 for the first message; the first of a type; or the lowest type up to a negative number.

        Returns:
            The message, and the rest of the memory.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOMSG (`IPC.NOWAIT`), E2BIG (it is longer, see `MSG.NOERROR`), EACCES, EIDRM, EINTR,
                EINVAL; `filename` is the number.

        manpage: msgop(2)
        """
        check_pointers(msgp)
        require_size(msgp, _TYPE.size)
        with msgp.borrow(self) as msgp_addr, naming(msqid):
            count = await _msgrcv(self.sysif, msqid, msgp_addr, msgp.size() - _TYPE.size, msgtyp, msgflg)
        return msgp.readable_split(_TYPE.size + count)

    async def msgctl(self, msqid: int, cmd: MSGCTL, buf: Pointer[MsqidDs] | None = None) -> int:
        """`msgctl(msqid, cmd, buf)`: ask about a queue, change it, or remove it.

        Args:
            buf: read by `MSGCTL.SET`, filled by `MSGCTL.STAT` and the like; not consumed.

        Returns:
            What the operation says: 0, or the number of a queue, or the highest place in use.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EACCES, EPERM, EINVAL (no such object), EIDRM (it was removed); `filename` is the number.

        manpage: msgctl(2)
        """
        require_size_if_given(buf, MsqidDs.sizeof())
        with ExitStack() as stack:
            buf_addr = self._borrow_optional(stack, buf)
            with naming(msqid):
                return await _msgctl(self.sysif, msqid, cmd, buf_addr)


@call("msgget", KEY, made_with(IPC))
async def _msgget(sysif: SyscallInterface, key: int, msgflg: IPC) -> int:
    """The raw call."""
    return await sysif.syscall(nr.msgget, key, msgflg)


@call("msgsnd", INT, Memory("ipc_message", length_in=2), SIZE, made_with(IPC))
async def _msgsnd(sysif: SyscallInterface, msqid: int, msgp: near.Address, msgsz: int, msgflg: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.msgsnd, msqid, msgp, msgsz, msgflg)


@call("msgrcv", INT, Memory("ipc_message", after=True, size=8), SIZE, LONG, made_with(MSG))
async def _msgrcv(
    sysif: SyscallInterface, msqid: int, msgp: near.Address, msgsz: int, msgtyp: int, msgflg: int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.msgrcv, msqid, msgp, msgsz, msgtyp, msgflg)


_MEMORY = {
    **each((MSGCTL.STAT, MSGCTL.MSG_STAT, MSGCTL.MSG_STAT_ANY), out(MsqidDs)),
    MSGCTL.SET: given(MsqidDs),
}


@call("msgctl", INT, choice(MSGCTL, "", CONTROLS), by(1, _MEMORY, ADDRESS))
async def _msgctl(sysif: SyscallInterface, msqid: int, cmd: MSGCTL, buf: near.Address | None) -> int:
    """The raw call."""
    return await sysif.syscall(nr.msgctl, msqid, cmd, buf or 0)
