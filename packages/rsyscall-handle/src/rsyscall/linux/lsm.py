"""`<linux/lsm.h>`: what security modules know about a process."""

from __future__ import annotations

import enum
import errno
import struct
from typing import TYPE_CHECKING, TypeVar

import rsyscall.far
from rsyscall.cstruct import CStruct, u64
from rsyscall.handle.arguments import ADDRESS, NUMBER, SIZE, call, choice, counted, flags
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable
from rsyscall.sys._socket_calls import _Answer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys._sockaddr import Sockbuf

__all__ = ["LSM_ATTR", "LSM_FLAG", "LSM_ID", "LsmCtx", "LsmIds", "LsmTask"]

T = TypeVar("T")
# Errors with which the kernel writes the size.
_ANSWERS = (errno.E2BIG, errno.EOPNOTSUPP)


class LSM_ATTR(enum.IntEnum):
    """`LSM_ATTR_*`: what to ask for, or to set.

    manpage: lsm_get_self_attr(2)
    """

    UNDEF = 0  # since Linux 6.8
    CURRENT = 100  # since Linux 6.8
    EXEC = 101  # since Linux 6.8
    FSCREATE = 102  # since Linux 6.8
    KEYCREATE = 103  # since Linux 6.8
    PREV = 104  # since Linux 6.8
    SOCKCREATE = 105  # since Linux 6.8


class LSM_ID(enum.IntEnum):
    """`LSM_ID_*`: modules.

    manpage: lsm_list_modules(2)
    """

    UNDEF = 0  # since Linux 6.8
    CAPABILITY = 100  # since Linux 6.8
    SELINUX = 101  # since Linux 6.8
    SMACK = 102  # since Linux 6.8
    TOMOYO = 103  # since Linux 6.8
    APPARMOR = 104  # since Linux 6.8
    YAMA = 105  # since Linux 6.8
    LOADPIN = 106  # since Linux 6.8
    SAFESETID = 107  # since Linux 6.8
    LOCKDOWN = 108  # since Linux 6.8
    BPF = 109  # since Linux 6.8
    LANDLOCK = 110  # since Linux 6.8
    IMA = 111  # since Linux 6.9
    EVM = 112  # since Linux 6.9
    IPE = 113  # since Linux 6.12


class LSM_FLAG(enum.IntFlag):
    """`LSM_FLAG_*`: flags of `lsm_get_self_attr`.

    manpage: lsm_get_self_attr(2)
    """

    NONE = 0
    SINGLE = 1  # since Linux 6.8


_ID = struct.Struct("=Q")


class LsmIds(list[int], Serializable):
    """The modules, as numbers of `LSM_ID`.

    manpage: lsm_list_modules(2)
    """

    def to_bytes(self) -> bytes:
        """The numbers, 8 bytes each."""
        return b"".join([_ID.pack(number) for number in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> LsmIds:
        """As many numbers as there are."""
        whole = len(data) // _ID.size * _ID.size
        return cls(number for (number,) in _ID.iter_unpack(data[:whole]))


class LsmCtx(CStruct, c="struct lsm_ctx", headers=("linux/types.h", "linux/lsm.h")):
    """`struct lsm_ctx`: the beginning of what a module says; `ctx_len` bytes follow, the next is after `len`.

    manpage: lsm_get_self_attr(2)
    """

    id: int = u64("id")  # since Linux 6.8
    flags: int = u64("flags")  # since Linux 6.8
    len: int = u64("len")  # since Linux 6.8
    ctx_len: int = u64("ctx_len")  # since Linux 6.8


class LsmTask(rsyscall.far.Task):
    """What security modules know about this process."""

    async def lsm_list_modules(
        self, ids: WrittenPointer[Sockbuf[LsmIds]]
    ) -> tuple[int, Pointer[Sockbuf[LsmIds]]]:
        """`lsm_list_modules(ids, size, 0)`: which modules there are.

        Args:
            ids: a buffer for them, 8 bytes each, as for `getsockopt`.

        Returns:
            How many there are, and `ids`, to be read.

        Raises:
            BufferTooSmallError: the memory of the size is too small.
            ValueError: this `Sockbuf` has an answer already.
            OSError: E2BIG (no room; reading `ids` raises the ValueError that says how much is needed),
                EINVAL; ENOSYS before Linux 6.8; `filename` is the buffer.

        manpage: lsm_list_modules(2)
        """
        check_pointers(ids)
        with _Answer(ids, self, _ANSWERS) as (ids_addr, size_addr), naming(ids.value.buf):
            count = await _lsm_list_modules(self.sysif, ids_addr, size_addr)
        return count, ids

    async def lsm_get_self_attr(
        self, attr: LSM_ATTR, ctx: WrittenPointer[Sockbuf[T]], flags: LSM_FLAG = LSM_FLAG.NONE
    ) -> tuple[int, Pointer[Sockbuf[T]]]:
        """`lsm_get_self_attr(attr, ctx, size, flags)`: an attribute of this process, of each module that has
        it.

        Args:
            ctx: a buffer for them, as for `getsockopt`: each is an `LsmCtx` with its value.
            flags: `LSM_FLAG.SINGLE` for that of the module whose id the buffer begins with.

        Returns:
            How many there are, and `ctx`, to be read.

        Raises:
            BufferTooSmallError: the memory of the size is too small.
            ValueError: this `Sockbuf` has an answer already.
            OSError: E2BIG (no room; reading `ctx` raises the ValueError that says how much is needed),
                EINVAL, EOPNOTSUPP (no module has it); ENOSYS before Linux 6.8; `filename` is the attribute.

        manpage: lsm_get_self_attr(2)
        """
        check_pointers(ctx)
        with _Answer(ctx, self, _ANSWERS) as (ctx_addr, size_addr), naming(attr):
            count = await _lsm_get_self_attr(self.sysif, attr, ctx_addr, size_addr, flags)
        return count, ctx

    async def lsm_set_self_attr(self, attr: LSM_ATTR, ctx: WrittenPointer[bytes]) -> None:
        """`lsm_set_self_attr(attr, ctx, size, 0)`: set an attribute of this process.

        Args:
            ctx: an `LsmCtx` with its value: all of the memory; not consumed.

        Raises:
            OSError: EINVAL, EOPNOTSUPP, EPERM; ENOSYS before Linux 6.8; `filename` is the attribute.

        manpage: lsm_set_self_attr(2)
        """
        check_pointers(ctx)
        with ctx.borrow(self) as ctx_addr, naming(attr):
            await _lsm_set_self_attr(self.sysif, attr, ctx_addr, ctx.size())


@call("lsm_list_modules", ADDRESS, ADDRESS, NUMBER)
async def _lsm_list_modules(sysif: SyscallInterface, ids: near.Address, size: near.Address) -> int:
    """The raw call."""
    return await sysif.syscall(nr.lsm_list_modules, ids, size, 0)


@call("lsm_get_self_attr", choice(LSM_ATTR, "LSM_ATTR_"), ADDRESS, ADDRESS, flags(LSM_FLAG, "LSM_FLAG_"))
async def _lsm_get_self_attr(
    sysif: SyscallInterface, attr: LSM_ATTR, ctx: near.Address, size: near.Address, flags: LSM_FLAG
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.lsm_get_self_attr, attr, ctx, size, flags)


@call("lsm_set_self_attr", choice(LSM_ATTR, "LSM_ATTR_"), counted(2), SIZE, NUMBER)
async def _lsm_set_self_attr(sysif: SyscallInterface, attr: LSM_ATTR, ctx: near.Address, size: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.lsm_set_self_attr, attr, ctx, size, 0)
