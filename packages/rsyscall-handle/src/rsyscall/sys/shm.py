"""`<sys/shm.h>`: shared memory of System V."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.cstruct import CStruct, i32, i64, nested, u64
from rsyscall.handle.arguments import ADDRESS, INT, SIZE, by, call, choice, each, flags, given, out
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.mapping import MemoryMapping
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys.ipc import CONTROLS, IPC, KEY, IpcPerm, made_with

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SHM", "SHMCTL", "ShmTask", "ShmidDs"]


class SHM(enum.IntFlag):
    """`SHM_*`: flags of `shmget` and `shmat`.

    manpage: shmget(2), shmop(2)
    """

    NONE = 0
    HUGETLB = 0o4000
    NORESERVE = 0o10000
    RDONLY = 0o10000
    RND = 0o20000
    REMAP = 0o40000
    EXEC = 0o100000


class SHMCTL(enum.IntEnum):
    """`IPC_*`, `SHM_*`: operations of `shmctl`.

    manpage: shmctl(2)
    """

    RMID = 0
    SET = 1
    STAT = 2
    INFO = 3
    LOCK = 11
    UNLOCK = 12
    SHM_STAT = 13
    SHM_INFO = 14
    SHM_STAT_ANY = 15


class ShmidDs(CStruct, c="struct shmid64_ds", headers=("#include <linux/types.h>", "asm/shmbuf.h"), size=112):
    """`struct shmid_ds`: a segment of shared memory.

    Args:
        perm: whose it is.
        segsz: its size in bytes.
        atime, dtime, ctime: when it was last attached, detached, changed.
        cpid, lpid: who made it, and who last attached or detached it.
        nattch: how often it is attached.

    manpage: shmctl(2)
    """

    perm: IpcPerm = nested("shm_perm", IpcPerm, default_factory=IpcPerm)
    segsz: int = u64("shm_segsz", default=0)
    atime: int = i64("shm_atime", default=0)
    dtime: int = i64("shm_dtime", default=0)
    ctime: int = i64("shm_ctime", default=0)
    cpid: int = i32("shm_cpid", default=0)
    lpid: int = i32("shm_lpid", default=0)
    nattch: int = u64("shm_nattch", default=0)


_PAGE = 4096


class ShmTask(rsyscall.far.Task):
    """Shared memory of System V."""

    async def shmget(self, key: int, size: int, shmflg: IPC | SHM | int) -> int:
        """`shmget(key, size, shmflg)`: find or make a segment.

        Args:
            key: its key, or `IPC_PRIVATE`.
            size: bytes.
            shmflg: `IPC.CREAT` or-ed with permissions, to make one if there is none; and `SHM.HUGETLB`,
                `SHM.NORESERVE`.

        Returns:
            Its number.

        Raises:
            OSError: ENOENT, EEXIST, EACCES, EINVAL, ENOMEM, ENOSPC; `filename` is the key.

        manpage: shmget(2)
        """
        with naming(key):
            return await _shmget(self.sysif, key, size, shmflg)

    async def shmat(
        self, shmid: int, buf: Pointer[ShmidDs], shmflg: SHM = SHM.NONE, page_size: int = 4096
    ) -> MemoryMapping:
        """`shmat(shmid, NULL, shmflg)`: attach a segment.

        Args:
            buf: memory for another call before, `SHMCTL.STAT`, which tells the size of the segment; not
                consumed.
            shmflg: `SHM.RDONLY`, `SHM.EXEC`.
            page_size: bytes; the huge page size for a segment that was made with `SHM.HUGETLB`.

        Returns:
            All of its pages. `shmdt` or `munmap` detaches it.

        Raises:
            BufferTooSmallError: the memory is too small.
            ValueError: `page_size` is no size of pages.
            OSError: EACCES, EINVAL (no such segment), EIDRM, ENOMEM; `filename` is the number.

        manpage: shmop(2)
        """
        check_pointers(buf)
        require_size(buf, ShmidDs.sizeof())
        if page_size < _PAGE or page_size & (page_size - 1):
            raise ValueError("page_size must be a power of two, at least 4096", page_size)
        with buf.borrow(self) as buf_addr, naming(shmid):
            await _shmctl(self.sysif, shmid, SHMCTL.STAT, buf_addr)
            # It never changes, and a segment that is made later has another number.
            size = (await buf.read()).segsz
            length = -(-size // page_size) * page_size
            record = CallRecord(None, False, length if self.sysif.shares_memory else 0)
            address = await _shmat(self.sysif, record, shmid, None, shmflg)
        mapping = MemoryMapping(
            self, near.MemoryMapping(int(address), length, page_size), rsyscall.far.File()
        )
        record.release()
        return mapping

    async def shmdt(self, mapping: MemoryMapping) -> None:
        """`shmdt(address)`: detach a segment. The mapping, and all others of these pages, are unusable then.

        Args:
            mapping: from `shmat`.

        Raises:
            UseAfterFreeError: some of the pages are unmapped already.
            AddressSpaceMismatchError: it is in another address space.
            OSError: EINVAL (no segment begins there); `filename` is the mapping.

        manpage: shmop(2)
        """
        self.check_address_space(mapping.task.address_space)
        with mapping.unmapping() as record, naming(mapping):
            await _shmdt(self.sysif, record, mapping.near.as_address())

    async def shmctl(self, shmid: int, cmd: SHMCTL, buf: Pointer[ShmidDs] | None = None) -> int:
        """`shmctl(shmid, cmd, buf)`: ask about a segment, change it, or remove it.

        A segment that is removed stays until it is attached nowhere.

        Args:
            buf: read by `SHMCTL.SET`, filled by `SHMCTL.STAT` and the like; not consumed.

        Returns:
            What the operation says: 0, or the number of a segment, or the highest place in use.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EACCES, EPERM, EINVAL (no such object), EIDRM (it was removed); `filename` is the number.

        manpage: shmctl(2)
        """
        require_size_if_given(buf, ShmidDs.sizeof())
        with ExitStack() as stack:
            buf_addr = self._borrow_optional(stack, buf)
            with naming(shmid):
                return await _shmctl(self.sysif, shmid, cmd, buf_addr)


@call("shmget", KEY, SIZE, made_with(SHM, "HUGETLB", "NORESERVE"))
async def _shmget(sysif: SyscallInterface, key: int, size: int, shmflg: IPC | SHM | int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.shmget, key, size, shmflg)


@call("shmat", INT, ADDRESS, flags(SHM, "SHM_", only=("RDONLY", "RND", "REMAP", "EXEC")))
async def _shmat(
    sysif: SyscallInterface, record: CallRecord, shmid: int, shmaddr: near.Address | None, shmflg: SHM
) -> near.Address:
    """The raw call."""
    return near.Address(await sysif.recorded_syscall(record, nr.shmat, shmid, shmaddr or 0, shmflg))


@call("shmdt", ADDRESS)
async def _shmdt(sysif: SyscallInterface, record: CallRecord, shmaddr: near.Address) -> None:
    """The raw call."""
    await sysif.recorded_syscall(record, nr.shmdt, shmaddr)


_MEMORY = {
    **each((SHMCTL.STAT, SHMCTL.SHM_STAT, SHMCTL.SHM_STAT_ANY), out(ShmidDs)),
    SHMCTL.SET: given(ShmidDs),
}


@call("shmctl", INT, choice(SHMCTL, "", CONTROLS), by(1, _MEMORY, ADDRESS))
async def _shmctl(sysif: SyscallInterface, shmid: int, cmd: SHMCTL, buf: near.Address | None) -> int:
    """The raw call."""
    return await sysif.syscall(nr.shmctl, shmid, cmd, buf or 0)
