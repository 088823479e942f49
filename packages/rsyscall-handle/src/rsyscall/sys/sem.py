"""`<sys/sem.h>`: sets of semaphores of System V."""

from __future__ import annotations

import enum
import errno
import struct
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i16, i64, nested, u16
from rsyscall.handle.arguments import ADDRESS, INT, SIZE, array, by, call, choice, each, given, out
from rsyscall.handle.buffers import BufferTooSmallError, require_size
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable, StructList
from rsyscall.sys.ipc import CONTROLS, IPC, KEY, IpcPerm, made_with
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SEM", "SEMCTL", "SemTask", "SemValues", "Sembuf", "SemidDs"]


class SEMCTL(enum.IntEnum):
    """`IPC_*`, `SEM_*`: operations of `semctl`.

    manpage: semctl(2)
    """

    RMID = 0
    SET = 1
    STAT = 2
    INFO = 3
    GETPID = 11
    GETVAL = 12
    GETALL = 13
    GETNCNT = 14
    GETZCNT = 15
    SETVAL = 16
    SETALL = 17
    SEM_STAT = 18
    SEM_INFO = 19
    SEM_STAT_ANY = 20


class SEM(enum.IntFlag):
    """`SEM_*`: flags of an operation, besides `IPC.NOWAIT`.

    manpage: semop(2)
    """

    NONE = 0
    UNDO = 0x1000


class Sembuf(CStruct, c="struct sembuf", headers=("linux/sem.h",)):
    """`struct sembuf`: an operation on a semaphore.

    Args:
        num: which of the set, from 0.
        op: what to add; a negative number waits until there is enough, 0 until the value is 0.
        flg: `IPC.NOWAIT`, and `SEM.UNDO` to undo it when the process exits.

    manpage: semop(2)
    """

    num: int = u16("sem_num")
    op: int = i16("sem_op")
    flg: int = i16("sem_flg", default=0)


class SemidDs(CStruct, c="struct semid64_ds", headers=("#include <linux/types.h>", "asm/sembuf.h")):
    """`struct semid_ds`: a set of semaphores. What is behind `otime` differs between architectures.

    Args:
        perm: whose it is.
        otime: when an operation was last made.

    manpage: semctl(2)
    """

    perm: IpcPerm = nested("sem_perm", IpcPerm, default_factory=IpcPerm)
    otime: int = i64("sem_otime", default=0)

    @classmethod
    def sizeof(cls) -> int:
        """Return 104: room for the whole on every architecture."""
        return 104


_VALUES = struct.Struct("=H")
# More semaphores than any set has.
_NO_INDEX = 1 << 31
_WITH_MEMORY = frozenset(
    {
        SEMCTL.SET,
        SEMCTL.STAT,
        SEMCTL.INFO,
        SEMCTL.GETALL,
        SEMCTL.SETALL,
        SEMCTL.SEM_STAT,
        SEMCTL.SEM_INFO,
        SEMCTL.SEM_STAT_ANY,
    }
)


class SemValues(list[int], Serializable):
    """The values of all semaphores of a set, for `SEMCTL.GETALL` and `SEMCTL.SETALL`: 2 bytes each.

    manpage: semctl(2)
    """

    def to_bytes(self) -> bytes:
        """The values, one after another; `struct.error` for one that is not 0 to 65535."""
        return b"".join([_VALUES.pack(value) for value in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> SemValues:
        """As many values as there are."""
        whole = len(data) // _VALUES.size * _VALUES.size
        return cls(value for (value,) in _VALUES.iter_unpack(data[:whole]))


class SemTask(rsyscall.far.Task):
    """Sets of semaphores of System V."""

    async def semget(self, key: int, nsems: int, semflg: IPC) -> int:
        """`semget(key, nsems, semflg)`: find or make a set of semaphores.

        Args:
            key: its key, or `IPC_PRIVATE`.
            nsems: how many.
            semflg: `IPC.CREAT` or-ed with permissions, to make one if there is none.

        Returns:
            Its number.

        Raises:
            OSError: ENOENT, EEXIST, EACCES, EINVAL, ENOSPC; `filename` is the key.

        manpage: semget(2)
        """
        with naming(key):
            return await _semget(self.sysif, key, nsems, semflg)

    async def semop(self, semid: int, sops: WrittenPointer[StructList[Sembuf]]) -> None:
        """`semop(semid, sops, nsops)`: make several operations, all or none.

        Waits in the process until they can be made, unless there is `IPC.NOWAIT`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (`IPC.NOWAIT`), EACCES, EIDRM, EINTR, EFBIG (no such semaphore in the set),
                ERANGE, EINVAL; `filename` is the number.

        manpage: semop(2)
        """
        check_pointers(sops)
        require_size(sops, len(sops.value.elems) * Sembuf.sizeof())
        with sops.borrow(self) as sops_addr, naming(semid):
            await _semop(self.sysif, semid, sops_addr, len(sops.value.elems))

    async def semtimedop(
        self, semid: int, sops: WrittenPointer[StructList[Sembuf]], timeout: WrittenPointer[Timespec]
    ) -> None:
        """`semtimedop(semid, sops, nsops, timeout)`: the same as `semop`, and wait no longer than that.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN (the time is over), and as for `semop`; `filename` is the number.

        manpage: semop(2)
        """
        check_pointers(sops, timeout)
        require_size(sops, len(sops.value.elems) * Sembuf.sizeof())
        require_size(timeout, Timespec.sizeof())
        with sops.borrow(self) as sops_addr, timeout.borrow(self) as timeout_addr, naming(semid):
            await _semtimedop(self.sysif, semid, sops_addr, len(sops.value.elems), timeout_addr)

    async def semctl(
        self, semid: int, semnum: int, cmd: SEMCTL, arg: Pointer[SemidDs] | Pointer[SemValues] | int = 0
    ) -> int:
        """`semctl(semid, semnum, cmd, arg)`: ask about semaphores, set them, or remove the set.

        Args:
            semnum: which of the set, from 0, for operations on one.
            arg: the value for `SEMCTL.SETVAL`; memory for `SEMCTL.GETALL`, `SETALL`, `STAT`, `SET` and the
                like, which is not consumed.

        Returns:
            What the operation says: a value, a process, a count; or 0.

        `SEMCTL.GETALL` and `SETALL` use 2 bytes for each semaphore of the set, whatever room there is. So
        another call first asks whether the set has more; for that `SETALL` needs the permission to read, too.

        Raises:
            BufferTooSmallError: the memory is too small.
            TypeError: a number for an operation that takes memory.
            OSError: EACCES, EPERM, EINVAL (no such object), EIDRM (it was removed); `filename` is the number.

        manpage: semctl(2)
        """
        if isinstance(arg, int):
            if cmd in _WITH_MEMORY:
                raise TypeError(f"{cmd!r} takes a pointer, not {arg!r}")
            with naming(semid):
                return await _semctl(self.sysif, semid, semnum, cmd, arg)
        check_pointers(arg)
        whole = cmd in (SEMCTL.GETALL, SEMCTL.SETALL)
        if not whole:
            require_size(arg, SemidDs.sizeof())
        with arg.borrow(self) as addr, naming(semid):
            if whole:
                await _require_no_more_semaphores(self.sysif, semid, arg.size())
            return await _semctl(self.sysif, semid, semnum, cmd, addr)


@call("semget", KEY, INT, made_with(IPC))
async def _semget(sysif: SyscallInterface, key: int, nsems: int, semflg: IPC) -> int:
    """The raw call."""
    return await sysif.syscall(nr.semget, key, nsems, semflg)


@call("semop", INT, array(Sembuf, 2), SIZE)
async def _semop(sysif: SyscallInterface, semid: int, sops: near.Address, nsops: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.semop, semid, sops, nsops)


@call("semtimedop", INT, array(Sembuf, 2), SIZE, given(Timespec))
async def _semtimedop(
    sysif: SyscallInterface, semid: int, sops: near.Address, nsops: int, timeout: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.semtimedop, semid, sops, nsops, timeout)


_MEMORY = {
    **each((SEMCTL.STAT, SEMCTL.SEM_STAT, SEMCTL.SEM_STAT_ANY), out(SemidDs)),
    SEMCTL.SET: given(SemidDs),
}


@call("semctl", INT, INT, choice(SEMCTL, "", CONTROLS), by(2, _MEMORY, ADDRESS))
async def _semctl(
    sysif: SyscallInterface, semid: int, semnum: int, cmd: SEMCTL, arg: near.Address | int
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.semctl, semid, semnum, cmd, arg)


async def _require_no_more_semaphores(sysif: SyscallInterface, semid: int, size: int) -> None:
    """Raise `BufferTooSmallError` if `size` bytes have no room for the values of all semaphores of the set.

    How many a set has never changes, and one that is made later has another number.
    """
    room = size // _VALUES.size
    if room >= _NO_INDEX:
        return
    try:
        # EINVAL: there is no semaphore with this index; or no such set, which the next call tells.
        await _semctl(sysif, semid, room, SEMCTL.GETVAL, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    else:
        raise BufferTooSmallError(size, (room + 1) * _VALUES.size)
