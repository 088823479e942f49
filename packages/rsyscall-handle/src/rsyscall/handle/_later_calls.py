# Made by: python3 tools/abigen/later_calls.py --write
"""The methods of `FileDescriptor` and `Task` of less common headers; see `rsyscall.handle._later`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsyscall.handle._later import Later
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd

__all__ = ["LaterFileDescriptor", "LaterTask"]

if TYPE_CHECKING:
    from rsyscall.sys.xattr import XattrFileDescriptor, XattrTask

    class LaterFileDescriptor(
        XattrFileDescriptor,
        BaseFileDescriptor,
    ):
        """Calls on a descriptor."""

        __slots__ = ()

    class LaterTask(
        XattrTask,
        FileDescriptorTask[T_fd],
    ):
        """All other calls."""

else:

    class LaterFileDescriptor(BaseFileDescriptor):
        """Calls on a descriptor."""

        __slots__ = ()

        fsetxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        fgetxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        flistxattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")
        fremovexattr = Later("rsyscall.sys.xattr", "XattrFileDescriptor")

    class LaterTask(FileDescriptorTask[T_fd]):
        """All other calls."""

        setxattr = Later("rsyscall.sys.xattr", "XattrTask")
        lsetxattr = Later("rsyscall.sys.xattr", "XattrTask")
        getxattr = Later("rsyscall.sys.xattr", "XattrTask")
        lgetxattr = Later("rsyscall.sys.xattr", "XattrTask")
        listxattr = Later("rsyscall.sys.xattr", "XattrTask")
        llistxattr = Later("rsyscall.sys.xattr", "XattrTask")
        removexattr = Later("rsyscall.sys.xattr", "XattrTask")
        lremovexattr = Later("rsyscall.sys.xattr", "XattrTask")
