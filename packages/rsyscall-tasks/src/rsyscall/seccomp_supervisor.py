"""Answering system calls of other processes, by seccomp's user notification.

    supervisor = await SeccompSupervisor.make(local_thread, child, {SYS.openat: SECCOMP_RET.USER_NOTIF})
    async with supervisor:
        process = await child.exec(command)
        async for call in supervisor:
            await call.fail(errno.EACCES)

Such a call blocks until it is answered. If the answer is a result, an error or a new descriptor, the kernel
does not make the call. `go_on` has the kernel make it: read there why that is no way to permit a call.

manpage: seccomp_unotify(2)
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsyscall.closing import ClosedAtEnd
from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.linux.filter import SockFprog
from rsyscall.linux.seccomp import (
    SECCOMP_ADDFD_FLAG,
    SECCOMP_RET,
    SECCOMP_USER_NOTIF_FLAG,
    SeccompNotif,
    SeccompNotifAddfd,
    SeccompNotifResp,
    syscall_filter,
)
from rsyscall.near import SYS
from rsyscall.poll import POLL, Pollfd, PollfdList
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.async_fd import AsyncFileDescriptor
    from rsyscall.handle import FileDescriptor
    from rsyscall.thread import Thread

__all__ = ["SeccompSupervisor", "SupervisedCall"]

_PATH_MAX = 4096
# No piece crosses the end of a page, however small pages are: the next one may not be there.
_PIECE = 256


@dataclass(frozen=True, repr=False)
class SupervisedCall:
    """A call that waits for an answer.

    The methods raise FileNotFoundError (ENOENT) if it does not wait any longer, because a signal has
    interrupted it or killed the process: there is nothing to answer then.

    Attributes:
        notif: what the kernel says of it.
        supervisor: received it.
    """

    notif: SeccompNotif
    supervisor: SeccompSupervisor

    def __repr__(self) -> str:
        try:
            name = SYS(self.nr).name
        except ValueError:
            name = f"call {self.nr}"
        return f"<{name}({', '.join(map(hex, self.args))}) in {self.pid}>"

    @property
    def nr(self) -> int:
        """The number of the call, to be compared with members of `SYS`."""
        return self.notif.data.nr

    @property
    def args(self) -> tuple[int, ...]:
        """Its six arguments, each a number of 64 bits. In an `int` of C the upper 32 have no meaning."""
        return self.notif.data.args

    @property
    def pid(self) -> int:
        """The OS thread that makes it; 0 if it is in none of the pid namespaces that we see."""
        return self.notif.pid

    async def read_memory(self, address: int, count: int) -> bytes:
        """Read memory of the process.

        Args:
            address: where it begins, one of the arguments.
            count: how many bytes. One that the process has chosen needs a limit: so much memory is used here.

        Raises:
            FileNotFoundError: the call does not wait any longer.
            OSError: EIO (no such memory), EACCES (we may not trace the process); `filename` is its file
                below /proc.
        """
        async with await self._memory() as memory:
            return await self._read(memory, address, count)

    async def read_string(self, address: int, limit: int = _PATH_MAX) -> bytes:
        """Read a string of the process, a path for example.

        Another thread of the process may change it at any time: what is decided by this text must be done
        with this text, and not by letting the process go on.

        Args:
            address: where it begins, one of the arguments.
            limit: how many bytes it may have, with the NUL behind it.

        Returns:
            The string without the NUL.

        Raises:
            OSError: ENAMETOOLONG; and those of `read_memory`.
        """
        text = b""
        async with await self._memory() as memory:
            while len(text) < limit:
                at = address + len(text)
                piece = await self._read(memory, at, min(_PIECE - at % _PIECE, limit - len(text)))
                text += piece
                if b"\0" in piece:
                    return text.split(b"\0", 1)[0]
        raise OSError(errno.ENAMETOOLONG, f"The string has more than {limit} bytes", hex(address))

    async def _memory(self) -> FileDescriptor:
        memory = await self.supervisor.thread.open(f"/proc/{self.pid}/mem", O.RDONLY)
        try:
            # Only now: if it waits still, the number was its own when the file was opened.
            await self.check_waits()
        except BaseException:
            await memory.invalidate()
            raise
        return memory

    async def _read(self, memory: FileDescriptor, address: int, count: int) -> bytes:
        # The process chooses both, and pread takes no larger offset.
        if address + count >= 1 << 63:
            raise OSError(errno.EIO, "The process has no memory there", hex(address))
        data = b""
        while len(data) < count:
            room = await self.supervisor.thread.malloc(bytes, count - len(data))
            filled, _ = await memory.pread(room, address + len(data))
            if not filled.size():
                raise OSError(errno.EIO, "The memory of the process is gone", hex(address))
            data += await filled.read()
        return data

    async def check_waits(self) -> None:
        """Raise FileNotFoundError if the call does not wait any longer."""
        listener = self.supervisor.listener.handle
        await listener.seccomp_notif_id_valid(
            await self.supervisor.thread.ptr(self.notif.id.to_bytes(8, "little"))
        )

    async def succeed(self, value: int = 0) -> None:
        """Let the call return a value. The kernel does not make it."""
        await self._send(SeccompNotifResp(self.notif.id, val=value))

    async def fail(self, error: int) -> None:
        """Let the call fail, with an errno such as `errno.EACCES`. The kernel does not make it."""
        if not 0 < error < 4096:
            raise ValueError(f"error: expected a number from errno, not {error!r}")
        await self._send(SeccompNotifResp(self.notif.id, error=-error))

    async def go_on(self) -> None:
        """Let the kernel make the call.

        The kernel reads the memory that the arguments point to again, and the process may have changed it
        since. So do not use this to permit a call by what you have read there.
        """
        await self._send(SeccompNotifResp(self.notif.id, flags=SECCOMP_USER_NOTIF_FLAG.CONTINUE))

    async def give(self, fd: FileDescriptor, flags: O | int = O.CLOEXEC) -> int:
        """Give the process a copy of a descriptor, whose number is what the call returns.

        Args:
            fd: of the process that supervises.
            flags: `O.CLOEXEC`, or 0. For `openat`, `call.args[2] & O.CLOEXEC` is what the process wants.

        Returns:
            Its number in the process.
        """
        thread = self.supervisor.thread
        with fd.borrow(thread.task) as number:
            newfd_flags = int(flags) & O.CLOEXEC
            given = SeccompNotifAddfd(
                self.notif.id, SECCOMP_ADDFD_FLAG.SEND, int(number), newfd_flags=newfd_flags
            )
            return await self.supervisor.listener.handle.seccomp_notif_addfd(await thread.ptr(given), fd)

    async def _send(self, response: SeccompNotifResp) -> None:
        listener = self.supervisor.listener.handle
        await listener.seccomp_notif_send(await self.supervisor.thread.ptr(response))


class SeccompSupervisor(ClosedAtEnd):
    """The calls that wait for an answer, one after the other. See `make`.

    Iteration ends when no process that has the filter is left.

    Args:
        thread: receives and answers the calls.
        listener: of its table; owned.
    """

    def __init__(self, thread: Thread, listener: AsyncFileDescriptor) -> None:
        self.thread = thread
        self.listener = listener

    @staticmethod
    async def make(
        thread: Thread, child: Thread, actions: Mapping[SYS, int], default: int = SECCOMP_RET.ALLOW
    ) -> SeccompSupervisor:
        """Filter the calls of a process, and of all that it executes and all its children from now on.

        The process cannot get privileges by executing a program any more (PR_SET_NO_NEW_PRIVS).

        Args:
            thread: the process that answers.
            child: the process whose calls are filtered. It shares the table of descriptors of `thread`
                (CLONE.FILES) until it executes a program. Its own calls, those that we tell it to make, are
                filtered, too.
            actions: what happens with these calls: `SECCOMP_RET.USER_NOTIF` for those to be answered.
            default: what happens with others.

        Raises:
            FDTableMismatchError: they do not share a table.
            UnsupportedSyscallError: the architecture has no such call.
            OSError: EBUSY (the process has a listener already), EINVAL; ENOSYS.

        manpage: seccomp(2), seccomp_unotify(2)
        """
        if child.task.fd_table is not thread.task.fd_table:
            raise FDTableMismatchError(
                "the process that answers must have the listener: clone the other one with CLONE.FILES",
                child.task.fd_table,
                thread.task.fd_table,
            )
        instructions = await child.ptr(syscall_filter(child.task.sysif.abi, actions, default))
        program = await child.ptr(SockFprog(instructions))
        await child.task.prctl_set_no_new_privs()
        theirs = await child.task.seccomp_listener(program)
        ours = theirs.for_task(thread.task)
        await theirs.invalidate()
        try:
            listener = await thread.make_afd(ours, set_nonblock=True)
        except BaseException:
            await ours.invalidate()
            raise
        return SeccompSupervisor(thread, listener)

    async def receive(self) -> SupervisedCall | None:
        """Wait for a call.

        Returns:
            The call; None if no process that has the filter is left.

        Cancellation: no call is lost.
        """
        while True:
            try:
                return await self.listener.when_readable(self._receive)
            except FileNotFoundError:
                continue  # it was interrupted before we received it

    async def _receive(self) -> SupervisedCall | None:
        fd = self.listener.handle
        # Whatever its flags are, a listener blocks the process that receives when there is nothing.
        entry = await self.thread.ptr(PollfdList([Pollfd(fd, POLL.IN)]))
        await self.thread.task.ppoll(entry, await self.thread.ptr(Timespec(0, 0)))
        [found] = await entry.read()
        if found.revents & POLL.IN:
            notif = await fd.seccomp_notif_recv(await self.thread.ptr(SeccompNotif()))
            return SupervisedCall(await notif.read(), self)
        if found.revents & POLL.HUP:
            return None
        raise BlockingIOError(errno.EAGAIN, "No call waits")

    async def __aiter__(self) -> AsyncIterator[SupervisedCall]:
        while (call := await self.receive()) is not None:
            yield call

    async def close(self) -> None:
        """Close the listener. Calls that wait fail with ENOSYS, and so do later ones."""
        await self.listener.close()
