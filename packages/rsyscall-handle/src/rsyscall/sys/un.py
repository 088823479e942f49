"""`<sys/un.h>`: addresses of AF_UNIX sockets."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rsyscall.fcntl import O
from rsyscall.sys.socket import AF, Sockaddr, _register_sockaddr

if TYPE_CHECKING:
    from rsyscall.handle import FileDescriptor
    from rsyscall.handle.pointer import WrittenPointer

__all__ = ["PathTooLongError", "SockaddrUn", "SockaddrUnProcFd"]

_FAMILY = struct.Struct("=H")
_PATH_MAX = 108


class PathTooLongError(ValueError):
    """A path has more bytes than the address of a socket has room for."""


class _OpeningTask(Protocol):
    async def open(self, path: WrittenPointer[Any], flags: O) -> FileDescriptor: ...


class _Thread(Protocol):
    """What `SockaddrUn.from_path` needs of a thread."""

    @property
    def task(self) -> _OpeningTask: ...

    async def ptr(self, data: str) -> WrittenPointer[str]: ...


@dataclass
class SockaddrUn(Sockaddr):
    """`struct sockaddr_un`: the address of an AF_UNIX socket.

    There are three kinds: a path in the file system; a name in the abstract namespace of the network
    namespace, which begins with a NUL byte and ends where the address ends, further NULs included; and no
    address (`b""`), which is what an unbound socket has, and which in `bind` means an abstract name that the
    kernel chooses.

    Args:
        path: 108 bytes at most; see `from_path` for longer ones.

    Raises:
        PathTooLongError: `path` is too long.
        ValueError: a path with a NUL byte in it, which the kernel would take for its end.

    manpage: unix(7)
    """

    path: bytes
    family = AF.UNIX

    # An AF_UNIX path of the full length has no room for the NUL behind it, but the kernel counts that all the
    # same.
    _UNWRITTEN = 1

    def __post_init__(self) -> None:
        if len(self.path) > _PATH_MAX:
            raise PathTooLongError(
                "path is longer than an AF_UNIX address can be", len(self.path), _PATH_MAX, self.path
            )
        if b"\0" in self.path and not self.is_abstract():
            raise ValueError("a path cannot contain a NUL byte", self.path)

    def is_abstract(self) -> bool:
        """Whether this is a name in the abstract namespace."""
        return self.path.startswith(b"\0")

    def to_bytes(self) -> bytes:
        """The family and the path, exactly as long as the address: an abstract name has no NUL behind it."""
        data = _FAMILY.pack(AF.UNIX) + self.path
        if self.path and not self.is_abstract() and len(self.path) < _PATH_MAX:
            data += b"\0"
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> SockaddrUn:
        """Parse what the kernel wrote, which has to be cut to its length.

        Raises ValueError for another family.
        """
        cls.check_family(_FAMILY.unpack_from(data)[0])
        path = bytes(data[_FAMILY.size : _FAMILY.size + _PATH_MAX])
        if not path.startswith(b"\0"):
            path = path.partition(b"\0")[0]
        return SockaddrUn(path)

    @classmethod
    def sizeof(cls) -> int:
        """110 bytes."""
        return _FAMILY.size + _PATH_MAX

    @staticmethod
    async def from_path(thr: _Thread, path: str | os.PathLike[str]) -> SockaddrUn:
        """An address for a path of any length.

        If the path is too long, its directory is opened, and the address goes through `/proc/self/fd`: it is
        good only in processes that have the file descriptor, which needs to stay open as long as the address
        is used.

        Args:
            thr: a thread of the process that will use the address; `/proc` has to be mounted there.
            path: of which the last component needs to fit, with a prefix of about 18 bytes.

        Returns:
            An address, to be closed with `close`.

        Raises:
            PathTooLongError: the last component is too long.
            OSError: the directory cannot be opened.
        """
        try:
            return SockaddrUn(os.fsencode(path))
        except PathTooLongError:
            directory, name = os.path.split(os.fspath(path))
        # Checked with the shortest of all numbers first, so that nothing is opened if it cannot fit.
        _proc_fd_path(0, name)
        fd = await thr.task.open(await thr.ptr(directory), O.PATH | O.DIRECTORY | O.CLOEXEC)
        try:
            return SockaddrUnProcFd(fd, name)
        except PathTooLongError:
            await fd.close()
            raise

    async def close(self) -> None:
        """Close the descriptors that were opened to make the address: none, for most."""


def _proc_fd_path(fd: int, name: str) -> bytes:
    path = os.fsencode(f"/proc/self/fd/{fd}/{name}")
    if len(path) > _PATH_MAX:
        raise PathTooLongError("the last component of the path is too long", len(os.fsencode(name)), name)
    return path


class SockaddrUnProcFd(SockaddrUn):
    """The address of a socket in a directory that is open as a file descriptor.

    Args:
        fd: the directory; owned by this address from now on.
        name: the name in the directory.

    Raises:
        PathTooLongError: `name` is too long.
    """

    fd: FileDescriptor
    name: str

    def __init__(self, fd: FileDescriptor, name: str) -> None:
        super().__init__(_proc_fd_path(int(fd), name))
        self.fd = fd
        self.name = name

    async def close(self) -> None:
        """Close the directory; the address is of no use afterwards."""
        await self.fd.close()


_register_sockaddr(SockaddrUn)
