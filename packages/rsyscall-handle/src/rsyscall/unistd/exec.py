"""Executing a program and exiting, from `<unistd.h>`.

This module has the argument list and the raw calls. The methods are in `rsyscall.handle.Task`, since they
change the task itself.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any, TypeVar

from rsyscall.fcntl import AT
from rsyscall.handle.arguments import DIRFD, ENVIRONMENT, INT, PATH, STRINGS, call, directory, flags
from rsyscall.handle.pointer import PathPointer
from rsyscall.near import SyscallHangup, nr
from rsyscall.struct import FixedSerializer, Serializer

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rsyscall import far
    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near

__all__ = ["ArgList", "ArgListSerializer"]

T_arglist = TypeVar("T_arglist", bound="ArgList")


class ArgList(list[PathPointer], FixedSerializer):
    """Strings in memory, as `execve` takes arguments and environment: their addresses, and NULL behind the
    last one.

    The list keeps the strings alive. It can be written to memory, but not read back.
    """

    @classmethod
    def get_serializer(cls: type[T_arglist], task: FileDescriptorTask[Any]) -> Serializer[T_arglist]:
        """Return a serializer for lists of strings in the memory of `task`."""
        return ArgListSerializer()

    def borrow_with(self, stack: ExitStack, task: far.Task) -> None:
        """Borrow every string for `task` until `stack` is closed."""
        for element in self:
            stack.enter_context(element.borrow(task))


class ArgListSerializer(Serializer[T_arglist]):
    """Writes an `ArgList` as addresses of 8 bytes, with a zero behind the last one."""

    def to_bytes(self, val: T_arglist) -> bytes:
        """The addresses and the zero; raises UseAfterFreeError when a string has been freed."""
        addresses = [element.near.address for element in val]
        return struct.pack(f"={len(addresses) + 1}Q", *addresses, 0)

    def from_bytes(self, data: bytes) -> T_arglist:
        """Raise NotImplementedError: an address tells neither the type nor the size of what is there."""
        raise NotImplementedError("an ArgList cannot be read back from memory")


@call("execve", PATH, STRINGS, ENVIRONMENT)
async def _execve(
    sysif: SyscallInterface, path: near.Address, argv: near.Address, envp: near.Address
) -> None:
    """The raw call. Returns when the process executes the program, which makes the connection hang up."""
    with contextlib.suppress(SyscallHangup):
        await sysif.syscall(nr.execve, path, argv, envp)


@call("execveat", DIRFD, PATH, STRINGS, ENVIRONMENT, flags(AT, "AT_", ["SYMLINK_NOFOLLOW", "EMPTY_PATH"]))
async def _execveat(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    argv: near.Address,
    envp: near.Address,
    flags: int,
) -> None:
    """The raw call; None for `dirfd` is the working directory. Returns like `_execve`."""
    with contextlib.suppress(SyscallHangup):
        await sysif.syscall(nr.execveat, directory(dirfd), path, argv, envp, flags)


@call("exit", INT)
async def _exit(sysif: SyscallInterface, status: int) -> None:
    """The raw call, which ends one thread. Returns when the connection hangs up."""
    with contextlib.suppress(SyscallHangup):
        await sysif.syscall(nr.exit, status)
