"""`<sys/utsname.h>`: names of the system, and, from `<unistd.h>`, the calls that set two of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, string
from rsyscall.handle._later import late
from rsyscall.handle.arguments import SIZE, call, counted, out
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = ["Utsname", "UtsnameTask"]


class Utsname(CStruct, c="struct new_utsname", headers=("linux/utsname.h",), brief=("sysname", "nodename")):
    """`struct utsname`: what `uname` says.

    `nodename` and `domainname` belong to the UTS namespace, the others to the kernel (a process's personality
    may change two of them).
    """

    sysname: str = string("sysname", 65)
    nodename: str = string("nodename", 65)
    release: str = string("release", 65)
    version: str = string("version", 65)
    machine: str = string("machine", 65)
    domainname: str = string("domainname", 65)


@late
class UtsnameTask(far.Task):
    """Names of the system as this task sees them."""

    async def uname(self, buf: Pointer[Utsname]) -> Pointer[Utsname]:
        """`uname(buf)`: the names of the system, the host and the kernel.

        Args:
            buf: not consumed; the same memory is returned.

        Raises:
            ValueError: the memory is too small.

        manpage: uname(2)
        """
        with buf.borrow(self) as buf_addr, naming(buf):
            size = Utsname.sizeof()
            if buf.size() < size:
                raise ValueError(f"struct utsname takes {size} bytes, there are {buf.size()}")
            await _uname(self.sysif, buf_addr)
        return buf

    async def sethostname(self, name: WrittenPointer[str]) -> None:
        """`sethostname(name, length)`: set the host name of the UTS namespace, at most 64 bytes.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN in the owner of the namespace), EINVAL (too long); `filename`
                is the name.

        manpage: sethostname(2)
        """
        check_pointers(name)
        with name.borrow(self) as name_addr, naming(name.value):
            await _sethostname(self.sysif, name_addr, _length(name))

    async def setdomainname(self, name: WrittenPointer[str]) -> None:
        """`setdomainname(name, length)`: set the NIS domain name of the UTS namespace, at most 64 bytes.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN in the owner of the namespace), EINVAL (too long); `filename`
                is the name.

        manpage: setdomainname(2)
        """
        check_pointers(name)
        with name.borrow(self) as name_addr, naming(name.value):
            await _setdomainname(self.sysif, name_addr, _length(name))


def _length(name: WrittenPointer[str]) -> int:
    """Bytes of a name without the NUL that strings have in memory, which the kernel would make part of it."""
    return len(os.fsencode(name.value))


@call("uname", out(Utsname))
async def _uname(sysif: SyscallInterface, buf: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.uname, buf)


@call("sethostname", counted(1), SIZE)
async def _sethostname(sysif: SyscallInterface, name: near.Address, length: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.sethostname, name, length)


@call("setdomainname", counted(1), SIZE)
async def _setdomainname(sysif: SyscallInterface, name: near.Address, length: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.setdomainname, name, length)
