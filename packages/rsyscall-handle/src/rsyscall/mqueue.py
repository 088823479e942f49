"""`<mqueue.h>`: queues of messages of POSIX."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from rsyscall._signal_info import Sigevent
from rsyscall.cstruct import CStruct, i64
from rsyscall.fcntl import O, encode_open_flags
from rsyscall.handle.arguments import (
    FDNUM,
    MODE,
    OPEN_FLAGS,
    OUT,
    OUT_INT,
    PATH,
    SIZE,
    UNSIGNED,
    call,
    counted,
    given,
    out,
)
from rsyscall.handle.buffers import require_size_if_given
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import Int32
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MqAttr", "MqueueFileDescriptor", "MqueueTask"]

T = TypeVar("T")


class MqAttr(CStruct, c="struct mq_attr", headers=("#include <linux/types.h>", "linux/mqueue.h"), size=64):
    """`struct mq_attr`: a queue.

    Args:
        flags: `O.NONBLOCK` or 0.
        maxmsg: how many messages it has room for.
        msgsize: how long one may be, in bytes.
        curmsgs: how many are in it.

    manpage: mq_getattr(3)
    """

    flags: int = i64("mq_flags", default=0)
    maxmsg: int = i64("mq_maxmsg", default=0)
    msgsize: int = i64("mq_msgsize", default=0)
    curmsgs: int = i64("mq_curmsgs", default=0)


class MqueueFileDescriptor(BaseFileDescriptor):
    """A queue."""

    __slots__ = ()

    async def mq_timedsend(
        self,
        msg: WrittenPointer[bytes],
        msg_prio: int = 0,
        abs_timeout: WrittenPointer[Timespec] | None = None,
    ) -> None:
        """`mq_timedsend(mqdes, msg, msg_len, msg_prio, abs_timeout)`: put a message into this queue.

        Waits in the process while there is no room, unless it is non-blocking.

        Args:
            msg: all of the memory; not consumed.
            msg_prio: higher ones come first.
            abs_timeout: until when to wait, on `CLOCK.REALTIME`; None waits for ever.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN, ETIMEDOUT, EMSGSIZE, EINTR, EBADF (no queue, or not for writing); `filename` is
                this descriptor.

        manpage: mq_send(3)
        """
        self._validate()
        check_pointers(msg)
        require_size_if_given(abs_timeout, Timespec.sizeof())
        with ExitStack() as stack:
            msg_addr = stack.enter_context(msg.borrow(self.task))
            abs_timeout_addr = self.task._borrow_optional(stack, abs_timeout)
            with naming(self):
                await _mq_timedsend(
                    self.task.sysif, self.near, msg_addr, msg.size(), msg_prio, abs_timeout_addr
                )

    async def mq_timedreceive(
        self,
        msg: Pointer[T],
        msg_prio: Pointer[Int32] | None = None,
        abs_timeout: WrittenPointer[Timespec] | None = None,
    ) -> tuple[ReadablePointer[T], Pointer[T]]:
        """`mq_timedreceive(mqdes, msg, msg_len, msg_prio, abs_timeout)`: take a message out of this queue.

        Waits in the process while there is none, unless it is non-blocking.

        Args:
            msg: where to put it, at least as many bytes as `MqAttr.msgsize`; consumed.
            msg_prio: where to put its priority.
            abs_timeout: until when to wait, on `CLOCK.REALTIME`; None waits for ever.

        Returns:
            The message, and the rest of the memory.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN, ETIMEDOUT, EMSGSIZE, EINTR, EBADF; `filename` is this descriptor.

        manpage: mq_receive(3)
        """
        self._validate()
        check_pointers(msg)
        require_size_if_given(msg_prio, Int32.sizeof())
        require_size_if_given(abs_timeout, Timespec.sizeof())
        with ExitStack() as stack:
            msg_addr = stack.enter_context(msg.borrow(self.task))
            msg_prio_addr = self.task._borrow_optional(stack, msg_prio)
            abs_timeout_addr = self.task._borrow_optional(stack, abs_timeout)
            with naming(self):
                count = await _mq_timedreceive(
                    self.task.sysif, self.near, msg_addr, msg.size(), msg_prio_addr, abs_timeout_addr
                )
        return msg.readable_split(count)

    async def mq_notify(self, sevp: WrittenPointer[Sigevent] | None) -> None:
        """`mq_notify(mqdes, sevp)`: be told once when a message comes into the empty queue.

        Args:
            sevp: how; None to be told no more.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EBUSY (another process is told), EINVAL; `filename` is this descriptor.

        manpage: mq_notify(3)
        """
        self._validate()
        require_size_if_given(sevp, Sigevent.sizeof())
        with ExitStack() as stack:
            sevp_addr = self.task._borrow_optional(stack, sevp)
            with naming(self):
                await _mq_notify(self.task.sysif, self.near, sevp_addr)

    async def mq_getsetattr(
        self, newattr: WrittenPointer[MqAttr] | None, oldattr: Pointer[MqAttr] | None = None
    ) -> None:
        """`mq_getsetattr(mqdes, newattr, oldattr)`: ask for attributes, and set the flags.

        Args:
            newattr: of which only the flags count; None to leave them.
            oldattr: where to put the attributes before.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EBADF (no queue); `filename` is this descriptor.

        manpage: mq_getsetattr(2)
        """
        self._validate()
        require_size_if_given(newattr, MqAttr.sizeof())
        require_size_if_given(oldattr, MqAttr.sizeof())
        with ExitStack() as stack:
            newattr_addr = self.task._borrow_optional(stack, newattr)
            oldattr_addr = self.task._borrow_optional(stack, oldattr)
            with naming(self):
                await _mq_getsetattr(self.task.sysif, self.near, newattr_addr, oldattr_addr)


class MqueueTask(FileDescriptorTask[T_fd]):
    """Making, opening and removing queues."""

    async def mq_open(
        self,
        name: WrittenPointer[str | os.PathLike[str]],
        oflag: O,
        mode: int = 0o600,
        attr: WrittenPointer[MqAttr] | None = None,
    ) -> T_fd:
        """`mq_open(name, oflag | O_CLOEXEC, mode, attr)`: open or make a queue.

        Args:
            name: without the slash in front of it that the C library demands; not consumed.
            oflag: `O.RDONLY`, `O.WRONLY` or `O.RDWR`; `O.CREAT`, `O.EXCL`, `O.NONBLOCK`.
            mode: permissions of a queue that is made, less the umask.
            attr: how large to make it.

        Returns:
            A new descriptor.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT, EEXIST, EACCES (also: a slash in the name), EINVAL, EMFILE, ENOSPC; `filename` is
                the name.

        manpage: mq_open(3)
        """
        check_pointers(name)
        require_size_if_given(attr, MqAttr.sizeof())
        record = CallRecord(self.fd_table)
        with ExitStack() as stack:
            name_addr = stack.enter_context(name.borrow(self))
            attr_addr = self._borrow_optional(stack, attr)
            with naming(name.value):
                fd = await _mq_open(self.sysif, record, name_addr, oflag | O.CLOEXEC, mode, attr_addr)
        return self._adopt(fd, record)

    async def mq_unlink(self, name: WrittenPointer[str | os.PathLike[str]]) -> None:
        """`mq_unlink(name)`: remove a queue. It stays while a process has it open.

        Args:
            name: without a slash in front of it.

        Raises:
            OSError: ENOENT, EACCES; `filename` is the name.

        manpage: mq_unlink(3)
        """
        check_pointers(name)
        with name.borrow(self) as name_addr, naming(name.value):
            await _mq_unlink(self.sysif, name_addr)


@call("mq_timedsend", FDNUM, counted(2), SIZE, UNSIGNED, given(Timespec))
async def _mq_timedsend(
    sysif: SyscallInterface,
    mqdes: near.FileDescriptor,
    msg: near.Address,
    msg_len: int,
    msg_prio: int,
    abs_timeout: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.mq_timedsend, mqdes, msg, msg_len, msg_prio, abs_timeout or 0)


@call("mq_timedreceive", FDNUM, OUT, SIZE, OUT_INT, given(Timespec))
async def _mq_timedreceive(
    sysif: SyscallInterface,
    mqdes: near.FileDescriptor,
    msg: near.Address,
    msg_len: int,
    msg_prio: near.Address | None,
    abs_timeout: near.Address | None,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.mq_timedreceive, mqdes, msg, msg_len, msg_prio or 0, abs_timeout or 0)


@call("mq_notify", FDNUM, given(Sigevent))
async def _mq_notify(sysif: SyscallInterface, fd: near.FileDescriptor, sevp: near.Address | None) -> None:
    """The raw call."""
    await sysif.syscall(nr.mq_notify, fd, sevp or 0)


@call("mq_getsetattr", FDNUM, given(MqAttr), out(MqAttr))
async def _mq_getsetattr(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    newattr: near.Address | None,
    oldattr: near.Address | None,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.mq_getsetattr, fd, newattr or 0, oldattr or 0)


@call("mq_open", PATH, OPEN_FLAGS, MODE, given(MqAttr))
async def _mq_open(
    sysif: SyscallInterface,
    record: CallRecord,
    name: near.Address,
    oflag: O,
    mode: int,
    attr: near.Address | None,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    flags = encode_open_flags(sysif.abi, oflag)
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.mq_open, name, flags, mode, attr or 0))


@call("mq_unlink", PATH)
async def _mq_unlink(sysif: SyscallInterface, name: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.mq_unlink, name)
