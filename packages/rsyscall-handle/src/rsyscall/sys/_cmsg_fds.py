"""Control messages that carry file descriptors; import them from `rsyscall.sys.socket`.

They are above the calls that send and receive them, because what they carry are handles with all calls.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsyscall.sys._msghdr import Cmsg, _CutOffError, _register_cmsg
from rsyscall.sys._received import take_over
from rsyscall.sys._socket_constants import SCM, SOL

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rsyscall.handle.fd import FileDescriptorTask
    from rsyscall.handle.task import FileDescriptor

__all__ = ["CmsgPidfd", "CmsgSCMRights"]

_INT = struct.Struct("=i")


class CmsgSCMRights(Cmsg, list["FileDescriptor"]):
    """`SCM_RIGHTS`: a list of file descriptors. What arrives are new fds for the same open files.

    manpage: unix(7)
    """

    def to_data(self) -> bytes:
        """The numbers of the fds."""
        return b"".join(_INT.pack(int(fd)) for fd in self)

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow every fd for the sending task. Raises FDTableMismatchError if it has another fd table."""
        for fd in self:
            stack.enter_context(fd.borrow(task))

    @classmethod
    def from_data(cls, task: FileDescriptorTask[Any], data: bytes) -> CmsgSCMRights:
        """Make handles for the fds that were received; a part of a number at the end is ignored."""
        whole = len(data) - len(data) % _INT.size
        return cls(take_over(task, [number for (number,) in _INT.iter_unpack(data[:whole])]))

    @classmethod
    def level(cls) -> SOL:
        """`SOL.SOCKET`."""
        return SOL.SOCKET

    @classmethod
    def type(cls) -> int:
        """`SCM.RIGHTS`."""
        return SCM.RIGHTS


@dataclass(eq=False)
class CmsgPidfd(Cmsg):
    """`SCM_PIDFD`: a pidfd of the sender; received when `SO.PASSPIDFD` is set, and never sent.

    Args:
        fd: the pidfd; None if the kernel could not make one.
        error: then, why: an errno.

    manpage: unix(7)
    """

    fd: FileDescriptor | None
    error: int = 0

    def to_data(self) -> bytes:
        """Raises TypeError: the kernel makes these messages."""
        raise TypeError("SCM_PIDFD is received only")

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow the pidfd."""
        if self.fd is not None:
            stack.enter_context(self.fd.borrow(task))

    @classmethod
    def from_data(cls, task: FileDescriptorTask[Any], data: bytes) -> CmsgPidfd:
        """Make a handle for the pidfd. Raises ValueError if there is none in it."""
        if len(data) < _INT.size:
            raise _CutOffError("pidfd was cut off", len(data))
        (number,) = _INT.unpack_from(data)
        if number < 0:
            return cls(None, -number)
        return cls(take_over(task, [number])[0])

    @classmethod
    def level(cls) -> SOL:
        """`SOL.SOCKET`."""
        return SOL.SOCKET

    @classmethod
    def type(cls) -> int:
        """`SCM.PIDFD`."""
        return SCM.PIDFD


_register_cmsg(CmsgSCMRights)
_register_cmsg(CmsgPidfd)
