"""Creating sockets, which needs little of `<sys/socket.h>`; import it from `rsyscall.sys.socket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rsyscall.handle._later import late
from rsyscall.handle.arguments import OUT_PAIR, Kind, call, choice
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._socket_flags import AF, SOCK
from rsyscall.sys._socket_structs import Socketpair, SocketpairSerializer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import LinearPointer, Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["SocketTask"]

T_task_fd = TypeVar("T_task_fd", bound=BaseFileDescriptor)

_FAMILY = choice(AF, "AF_")
_TYPE = Kind("socket_type")
_PROTOCOL = Kind("socket_protocol")


@call("socket", _FAMILY, _TYPE, _PROTOCOL)
async def _socket(
    sysif: SyscallInterface, record: CallRecord, domain: AF, type: SOCK, protocol: int
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.socket, domain, type, protocol))


@call("socketpair", _FAMILY, _TYPE, _PROTOCOL, OUT_PAIR)
async def _socketpair(
    sysif: SyscallInterface, record: CallRecord, domain: AF, type: SOCK, protocol: int, sv: near.Address
) -> None:
    """The raw call; `record` owns the numbers that are written to `sv`, if that is our own memory."""
    await sysif.recorded_syscall(record, nr.socketpair, domain, type, protocol, sv)


@late
class SocketTask(FileDescriptorTask[T_task_fd]):
    """Creating sockets."""

    async def socket(self, domain: AF, type: SOCK, protocol: int = 0) -> T_task_fd:
        """`socket(domain, type | SOCK_CLOEXEC, protocol)`: make a socket.

        Args:
            domain: the family of its addresses.
            type: the kind of socket, or-ed with `SOCK.NONBLOCK`; `SOCK.CLOEXEC` is always added.
            protocol: such as an `IPPROTO`; 0 is the usual one of the kind.

        Returns:
            A new file descriptor.

        Raises:
            OSError: EAFNOSUPPORT; EPROTONOSUPPORT; EACCES and EPERM (raw sockets); EMFILE; ENFILE; `filename`
                is (domain, type, protocol).

        manpage: socket(2)
        """
        record = CallRecord(self.fd_table)
        with naming((domain, type, protocol)):
            fd = await _socket(self.sysif, record, domain, type | SOCK.CLOEXEC, protocol)
        return self._adopt(fd, record)

    async def socketpair(
        self, domain: AF, type: SOCK, protocol: int, sv: Pointer[Socketpair[Any]]
    ) -> LinearPointer[Socketpair[T_task_fd]]:
        """`socketpair(domain, type | SOCK_CLOEXEC, protocol, sv)`: make two sockets, connected to each other.

        Args:
            domain: `AF.UNIX`; a few others can do it too.
            type: the kind of socket, or-ed with `SOCK.NONBLOCK`; `SOCK.CLOEXEC` is always added.
            protocol: mostly 0.
            sv: room for the two numbers; consumed.

        Returns:
            The two new file descriptors, which belong to this task once this is read.

        Raises:
            OSError: EOPNOTSUPP; EMFILE; ENFILE; `filename` is (domain, type, protocol).

        manpage: socketpair(2)
        """
        require_size(sv, Socketpair.sizeof())
        record = CallRecord(self.fd_table, True)
        with sv.borrow(self) as sv_near, naming((domain, type, protocol)):
            await _socketpair(self.sysif, record, domain, type | SOCK.CLOEXEC, protocol, sv_near)
        # The handles belong to the task that made the call, whichever task the memory was allocated for.
        serializer = sv.serializer
        cls = serializer.cls if isinstance(serializer, SocketpairSerializer) else Socketpair
        return sv._reinterpret(SocketpairSerializer(cls, self), cls)._linearize(record)
