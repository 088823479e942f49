"""The ids of a process, its groups and its session, from `<unistd.h>`, `<sys/types.h>` and `<grp.h>`.

Changing credentials has side effects in the kernel that matter for processes made by clone, which share our
memory:

* The kernel clears the signal that the process gets at the death of its parent. The native server that makes
  the calls of such a process sets it again at once, before anything else can happen.
* The address space becomes undumpable: processes of the same user can no longer trace it, and its files in
  `/proc` belong to root. This protects all processes that share the memory from the new user, who may be less
  trusted. So the address space stays undumpable until the process has left it; then the program gets its flag
  back.
* A call changes only the OS thread that makes it. A child has no other thread. The program itself may have
  more: after `local_thread.task.setresuid` those may still run as root, and they share memory with the thread
  that has dropped its privileges. `os.setresuid` changes all of them: the C library makes the call in each.

docs/dropping-privileges.md shows how to drop the privileges of a child.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, SupportsInt, overload

from rsyscall import far
from rsyscall.cstruct import CStruct, u32
from rsyscall.handle._later import late
from rsyscall.handle.arguments import ID, INT, OUT_INT, PID, SIZE, call, integers
from rsyscall.handle.buffers import require_size
from rsyscall.near import SYS, Syscall, nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.handle.process import ChildProcess
    from rsyscall.near import SyscallInterface

__all__ = ["CredentialsTask", "GroupList", "ResIds"]

_GID_SIZE = 4


class ResIds(
    CStruct,
    c="struct res_ids",
    headers=("sys/types.h", "struct res_ids { uid_t real, effective, saved; };"),
):
    """The three user or group ids that `getresuid` and `getresgid` report."""

    real: int = u32("real")
    effective: int = u32("effective")
    saved: int = u32("saved")


class GroupList(list[int], Serializable):
    """`gid_t[]`: supplementary groups, 4 bytes each."""

    def to_bytes(self) -> bytes:
        """The numbers one after the other."""
        return struct.pack(f"={len(self)}I", *self)

    @classmethod
    def from_bytes(cls, data: bytes) -> GroupList:
        """Parse as many numbers as there are."""
        count = len(data) // 4
        return cls(struct.unpack_from(f"={count}I", data))


@late
class CredentialsTask(far.Task):
    """Users, groups, and the ids of the process, its group and its session.

    **The calls that change users or groups change one OS thread.** In a child that is the whole process. As
    methods of `local_thread.task` they do not drop the privileges of the program: its other threads keep
    their ids and groups. Use `os.setgroups`, `os.setresgid` and `os.setresuid` for that, or make the calls in
    a child.
    """

    # Ids. Programs call these often, and they cannot fail, so the methods make the calls directly.

    @call("getuid")
    async def getuid(self) -> int:
        """`getuid()`: the real user id.

        manpage: getuid(2)
        """
        return await self.sysif.syscall(nr.getuid)

    @call("geteuid")
    async def geteuid(self) -> int:
        """`geteuid()`: the effective user id.

        manpage: getuid(2)
        """
        return await self.sysif.syscall(nr.geteuid)

    @call("getgid")
    async def getgid(self) -> int:
        """`getgid()`: the real group id.

        manpage: getgid(2)
        """
        return await self.sysif.syscall(nr.getgid)

    @call("getegid")
    async def getegid(self) -> int:
        """`getegid()`: the effective group id.

        manpage: getgid(2)
        """
        return await self.sysif.syscall(nr.getegid)

    @call("getpid")
    async def getpid(self) -> near.Process:
        """`getpid()`: the process id, in the process's own pid namespace.

        manpage: getpid(2)
        """
        return near.Process(await self.sysif.syscall(nr.getpid))

    @call("gettid")
    async def gettid(self) -> near.Process:
        """`gettid()`: the thread id.

        manpage: gettid(2)
        """
        return near.Process(await self.sysif.syscall(nr.gettid))

    @call("getppid")
    async def getppid(self) -> near.Process:
        """`getppid()`: the process id of the parent; 0 if that is outside of the pid namespace.

        manpage: getppid(2)
        """
        return near.Process(await self.sysif.syscall(nr.getppid))

    # Process groups and sessions

    async def getpgid(self) -> near.ProcessGroup:
        """`getpgid(0)`: the process group that this process is in.

        manpage: getpgid(2)
        """
        return await _getpgid(self.sysif, None)

    async def setpgid(self, pgid: ChildProcess | None = None) -> None:
        """`setpgid(0, pgid)`: move this process into a process group.

        Args:
            pgid: the leader of the group, a child that has not been reaped. None makes a new group, of which
                this process is the leader.

        Raises:
            NamespaceMismatchError: the child is in another pid namespace.
            Exception: the child is dead, or another operation on it is under way.
            OSError: EPERM (no such group in the session; this process leads a session); `filename` is the
                child.

        manpage: setpgid(2)
        """
        if pgid is None:
            await _setpgid(self.sysif, None, None)
            return
        if pgid.task.pidns is not self.pidns:
            raise far.NamespaceMismatchError(pgid.task.pidns, self.pidns)
        with pgid.borrow(), naming(pgid):
            await _setpgid(self.sysif, None, near.ProcessGroup(pgid.near.id))

    async def getsid(self, pid: SupportsInt = 0) -> int:
        """`getsid(pid)`: the session of a process, by default this one.

        Raises:
            OSError: ESRCH; `filename` is the process.

        manpage: getsid(2)
        """
        with naming(pid):
            return await _getsid(self.sysif, pid)

    async def setsid(self) -> int:
        """`setsid()`: start a session and a process group in it; this process is the leader of both.

        The session has no controlling terminal.

        Returns:
            The id of the session, which is the id of the process.

        Raises:
            OSError: EPERM (it leads a process group already).

        manpage: setsid(2)
        """
        return await _setsid(self.sysif)

    # Reading credentials into memory

    @call("getresuid", OUT_INT, OUT_INT, OUT_INT)
    async def getresuid(self, buf: Pointer[ResIds]) -> Pointer[ResIds]:
        """`getresuid(&buf.real, &buf.effective, &buf.saved)`: all three user ids.

        Args:
            buf: not consumed; the same memory is returned.

        manpage: getresuid(2)
        """
        return await self._getres(nr.getresuid, buf)

    @call("getresgid", OUT_INT, OUT_INT, OUT_INT)
    async def getresgid(self, buf: Pointer[ResIds]) -> Pointer[ResIds]:
        """`getresgid(&buf.real, &buf.effective, &buf.saved)`: all three group ids.

        Args:
            buf: not consumed; the same memory is returned.

        manpage: getresuid(2)
        """
        return await self._getres(nr.getresgid, buf)

    async def _getres(self, call: SYS, buf: Pointer[ResIds]) -> Pointer[ResIds]:
        with buf.borrow(self) as buf_addr:
            if buf.size() < ResIds.sizeof():
                raise ValueError(f"three ids take {ResIds.sizeof()} bytes, there are {buf.size()}")
            with naming(buf):
                await self.sysif.syscall(call, buf_addr, buf_addr + 4, buf_addr + 8)
        return buf

    @overload
    async def getgroups(self, buf: None = None) -> int: ...
    @overload
    async def getgroups(
        self, buf: Pointer[GroupList]
    ) -> tuple[ReadablePointer[GroupList], Pointer[GroupList]]: ...

    async def getgroups(
        self, buf: Pointer[GroupList] | None = None
    ) -> int | tuple[ReadablePointer[GroupList], Pointer[GroupList]]:
        """`getgroups(size, buf)`: the supplementary groups.

        Args:
            buf: where to put them, 4 bytes each. Consumed. None to count them only.

        Returns:
            The part that was filled and the rest; or the number of groups.

        Raises:
            OSError: EINVAL (there are more than fit). `buf` is still valid then.

        manpage: getgroups(2)
        """
        if buf is None:
            return await _getgroups(self.sysif, 0, None)
        with buf.borrow(self) as buf_addr, naming(buf):
            room = buf.size() // _GID_SIZE
            count = await _getgroups(self.sysif, room, buf_addr)
        if count > room:
            # The kernel refuses other sizes that are too small; for 0 it returns how many groups there are.
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return buf.readable_split(count * _GID_SIZE)

    # Changing credentials

    @call("setuid", ID)
    async def setuid(self, uid: int) -> None:
        """`setuid(uid)`: with CAP_SETUID set all three user ids, otherwise only the effective one.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL (not mapped in the user namespace); `filename` is the number.

        manpage: setuid(2)
        """
        await self._change_credentials(Syscall(nr.setuid, uid), uid)

    @call("setgid", ID)
    async def setgid(self, gid: int) -> None:
        """`setgid(gid)`: with CAP_SETGID set all three group ids, otherwise only the effective one.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL; `filename` is the number.

        manpage: setgid(2)
        """
        await self._change_credentials(Syscall(nr.setgid, gid), gid)

    @call("setreuid", ID, ID)
    async def setreuid(self, ruid: int, euid: int) -> None:
        """`setreuid(ruid, euid)`: set the real and effective user id; -1 leaves one as it is.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL, EAGAIN; `filename` is the numbers.

        manpage: setreuid(2)
        """
        await self._change_credentials(Syscall(nr.setreuid, ruid, euid), (ruid, euid))

    @call("setregid", ID, ID)
    async def setregid(self, rgid: int, egid: int) -> None:
        """`setregid(rgid, egid)`: set the real and effective group id; -1 leaves one as it is.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL; `filename` is the numbers.

        manpage: setreuid(2)
        """
        await self._change_credentials(Syscall(nr.setregid, rgid, egid), (rgid, egid))

    @call("setresuid", ID, ID, ID)
    async def setresuid(self, ruid: int, euid: int, suid: int) -> None:
        """`setresuid(ruid, euid, suid)`: set the three user ids; -1 leaves one as it is.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL, EAGAIN; `filename` is the numbers.

        manpage: setresuid(2)
        """
        await self._change_credentials(Syscall(nr.setresuid, ruid, euid, suid), (ruid, euid, suid))

    @call("setresgid", ID, ID, ID)
    async def setresgid(self, rgid: int, egid: int, sgid: int) -> None:
        """`setresgid(rgid, egid, sgid)`: set the three group ids; -1 leaves one as it is.

        In the program itself this changes only one OS thread: see the class.

        Raises:
            OSError: EPERM, EINVAL; `filename` is the numbers.

        manpage: setresuid(2)
        """
        await self._change_credentials(Syscall(nr.setresgid, rgid, egid, sgid), (rgid, egid, sgid))

    async def setgroups(self, groups: WrittenPointer[GroupList]) -> None:
        """`setgroups(size, groups)`: set the supplementary groups.

        In the program itself this changes only one OS thread: see the class.

        Args:
            groups: all groups in the list. Memory behind the list does not count.

        Raises:
            BufferTooSmallError: the memory is smaller than the list.
            OSError: EPERM (needs CAP_SETGID, or the user namespace forbids it), EINVAL; `filename` is the
                list.

        manpage: getgroups(2)
        """
        with groups.borrow(self) as groups_addr:
            count = len(groups.value)
            require_size(groups, count * _GID_SIZE)
            with naming(groups.value):
                await _setgroups(self.sysif, count, groups_addr)

    async def _change_credentials(self, call: Syscall, arguments: object) -> None:
        """Make a call that changes users or groups."""
        with naming(arguments):
            await self.sysif.syscall(*call)


async def _getpgid(sysif: SyscallInterface, pid: near.Process | None) -> near.ProcessGroup:
    """The raw call; None is the calling process."""
    return near.ProcessGroup(await sysif.syscall(nr.getpgid, 0 if pid is None else pid))


async def _setpgid(sysif: SyscallInterface, pid: near.Process | None, pgid: near.ProcessGroup | None) -> None:
    """The raw call; None is the calling process, and the group that has the id of the process."""
    await sysif.syscall(nr.setpgid, 0 if pid is None else pid, 0 if pgid is None else pgid)


@call("getsid", PID)
async def _getsid(sysif: SyscallInterface, pid: SupportsInt) -> int:
    """The raw call; 0 is the calling process."""
    return await sysif.syscall(nr.getsid, pid)


@call("setsid")
async def _setsid(sysif: SyscallInterface) -> int:
    """The raw call."""
    return await sysif.syscall(nr.setsid)


@call("getgroups", INT, integers(None, after=True))
async def _getgroups(sysif: SyscallInterface, size: int, groups: near.Address | None) -> int:
    """The raw call; `size` counts groups, not bytes."""
    return await sysif.syscall(nr.getgroups, size, 0 if groups is None else groups)


@call("setgroups", SIZE, integers(0))
async def _setgroups(sysif: SyscallInterface, size: int, groups: near.Address) -> None:
    """The raw call; `size` counts groups, not bytes."""
    await sysif.syscall(nr.setgroups, size, groups)
