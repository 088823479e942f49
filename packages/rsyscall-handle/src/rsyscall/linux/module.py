"""`<linux/module.h>`: modules of the kernel."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.fcntl import O
from rsyscall.handle.arguments import ADDRESS, FDNUM, INT, SIZE, STRING, call, flags
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.handle.pointer import WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MODULE_INIT", "ModuleFileDescriptor", "ModuleTask"]


class MODULE_INIT(enum.IntFlag):
    """`MODULE_INIT_*`: flags of `finit_module`.

    manpage: init_module(2)
    """

    NONE = 0
    IGNORE_MODVERSIONS = 1
    IGNORE_VERMAGIC = 2
    COMPRESSED_FILE = 4


class ModuleFileDescriptor(BaseFileDescriptor):
    """A file with a module."""

    __slots__ = ()

    async def finit_module(
        self, param_values: WrittenPointer[str], flags: MODULE_INIT = MODULE_INIT.NONE
    ) -> None:
        """`finit_module(fd, param_values, flags)`: load the module in this file.

        Args:
            param_values: "name=value name=value"; not consumed.

        Raises:
            OSError: EPERM (needs CAP_SYS_MODULE), ENOEXEC, EEXIST, EINVAL, ENOSYS; `filename` is this
                descriptor.

        manpage: init_module(2)
        """
        self._validate()
        check_pointers(param_values)
        with param_values.borrow(self.task) as param_values_addr, naming(self):
            await _finit_module(self.task.sysif, self.near, param_values_addr, flags)


class ModuleTask(rsyscall.far.Task):
    """Loading and unloading modules."""

    async def init_module(
        self, module_image: WrittenPointer[bytes], param_values: WrittenPointer[str]
    ) -> None:
        """`init_module(module_image, size, param_values)`: load a module.

        Args:
            module_image: all of the memory; not consumed.
            param_values: "name=value name=value"; not consumed.

        Raises:
            OSError: EPERM (needs CAP_SYS_MODULE), ENOEXEC, EEXIST, EINVAL, ENOSYS; `filename` is the memory.

        manpage: init_module(2)
        """
        check_pointers(module_image, param_values)
        with (
            module_image.borrow(self) as module_image_addr,
            param_values.borrow(self) as param_values_addr,
            naming(module_image),
        ):
            await _init_module(self.sysif, module_image_addr, module_image.size(), param_values_addr)

    async def delete_module(self, name: WrittenPointer[str], flags: O = O.NONBLOCK) -> None:
        """`delete_module(name, flags)`: unload a module.

        Args:
            flags: `O.NONBLOCK`, and `O.TRUNC` to unload it even if it is in use.

        Raises:
            OSError: EPERM (needs CAP_SYS_MODULE), ENOENT, EBUSY, EWOULDBLOCK, ENOSYS; `filename` is the name.

        manpage: delete_module(2)
        """
        check_pointers(name)
        with name.borrow(self) as name_addr, naming(name.value):
            await _delete_module(self.sysif, name_addr, flags)


@call("finit_module", FDNUM, STRING, flags(MODULE_INIT, "MODULE_INIT_"))
async def _finit_module(
    sysif: SyscallInterface, fd: near.FileDescriptor, param_values: near.Address, flags: MODULE_INIT
) -> None:
    """The raw call."""
    await sysif.syscall(nr.finit_module, fd, param_values, flags)


@call("init_module", ADDRESS, SIZE, STRING)
async def _init_module(
    sysif: SyscallInterface, module_image: near.Address, size: int, param_values: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.init_module, module_image, size, param_values)


@call("delete_module", STRING, INT)
async def _delete_module(sysif: SyscallInterface, name: near.Address, flags: O) -> None:
    """The raw call."""
    await sysif.syscall(nr.delete_module, name, flags)
