"""Calls on the descriptor table itself, from `<unistd.h>`: copying descriptors, and closing many."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from rsyscall.far import FDTableMismatchError
from rsyscall.fcntl import FD, F, O, encode_open_flags
from rsyscall.handle.arguments import FDNUM, call, flags
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, SharedHandleError, T_fd
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.near import SyscallInterface

__all__ = ["CLOSE_RANGE", "CloseRangeTask", "DupFileDescriptor"]


class CLOSE_RANGE(enum.IntFlag):
    """`CLOSE_RANGE_*`: flags of `close_range`.

    manpage: close_range(2)
    """

    NONE = 0
    UNSHARE = 2
    CLOEXEC = 4


class DupFileDescriptor(BaseFileDescriptor):
    """Other numbers for the same open file."""

    __slots__ = ()

    async def dup(self: T_fd, lowest: int = 0) -> T_fd:
        """`fcntl(fd, F_DUPFD_CLOEXEC, lowest)`: another descriptor of the same open file.

        The two share the position and the file flags, but not the close-on-exec flag, which is set on the new
        one.

        Args:
            lowest: the new number is the lowest free one that is not below this.

        Returns:
            A handle for the new descriptor, which is independent of this one.

        Raises:
            OSError: EMFILE, EINVAL (`lowest` is above the limit); `filename` is this descriptor.

        manpage: dup(2)
        """
        self._validate()
        record = CallRecord(self.task.fd_table)
        with naming(self):
            number = await self.task.sysif.recorded_syscall(
                record, nr.fcntl, self.near, F.DUPFD_CLOEXEC, lowest
            )
        new: T_fd = self.task._adopt(near.FileDescriptor(number), record)
        return new

    async def dup3(self, newfd: T_fd, flags: int) -> T_fd:
        """`dup3(fd, newfd, flags)`: make the number of `newfd` refer to this open file; what it referred to
        is closed.

        Args:
            newfd: an open descriptor of the same table. It must have no other handle, which would refer to
                another file afterwards. (As its number is in use, no other call can get it meanwhile.)
            flags: `O.CLOEXEC`, or 0 for a descriptor that stays open over `execve`. All other calls make
                descriptors with the close-on-exec flag.

        Returns:
            `newfd`. If it has the number of this descriptor, the call only sets or clears the close-on-exec
            flag.

        Raises:
            SharedHandleError: `newfd` has other handles.
            InvalidHandleError: one of the two has been closed.
            FDTableMismatchError: `newfd` is in another table.
            OSError: EBUSY, EINTR, EIO...; `filename` is this descriptor, `filename2` is `newfd`.

        manpage: dup(2)
        """
        # Most commands take three of these calls, so the checks are inline; functions only raise.
        if not self.valid:
            self._validate()
        if not isinstance(newfd, BaseFileDescriptor):
            raise TypeError(
                f"expected the handle of a descriptor, not {newfd!r}: thread.stdin, stdout and stderr are 0, "
                "1 and 2; Thread.run(pass_fds={number: handle}) gives a command any other number"
            )
        if not newfd.valid:
            newfd._validate()
        if newfd.task.fd_table is not self.task.fd_table:
            self.task.check_not_departed()
            raise FDTableMismatchError(
                f"{newfd} is of another file descriptor table than {self}; if one is a copy of the other, "
                "inherit_fd() of its task makes a handle for what it has copied",
                newfd.task.fd_table,
                self.task.fd_table,
            )
        if newfd.near.number == self.near.number:
            # The kernel's dup3 would fail with EINVAL, and its dup2 not touch the flag. It does happen: if a
            # program has closed its standard descriptors, a pipe for the output of a command can be number 1.
            cloexec = FD.CLOEXEC if flags & O.CLOEXEC else 0
            with naming(self, newfd):
                await self.task.sysif.syscall(nr.fcntl, self.near, F.SETFD, cloexec)
            return newfd
        if len(newfd._entry()) != 1:
            raise SharedHandleError(
                f"can't replace what {newfd} refers to: there are other handles for it", newfd
            )
        record = CallRecord()
        try:
            with naming(self, newfd):
                if newfd.task is self.task:
                    await _dup3(self.task.sysif, record, self.near, newfd.near, flags)
                else:
                    # The borrow keeps newfd from being closed meanwhile.
                    with newfd.borrow(self.task) as newfd_near:
                        await _dup3(self.task.sysif, record, self.near, newfd_near, flags)
        finally:
            # In copies of the table that were made before, the number still refers to the old file.
            if record.result == newfd.near.number and newfd.valid and newfd.is_only_handle():
                newfd._entry().table._replaced(newfd)
        return newfd

    async def dup2(self, newfd: T_fd) -> T_fd:
        """`dup3(fd, newfd, 0)`: as `dup3`, and `newfd` stays open over `execve`. Use it to give a program its
        stdin.

        manpage: dup(2)
        """
        return await self.dup3(newfd, 0)


_CLOEXEC = int(CLOSE_RANGE.CLOEXEC)
_UNSHARE = int(CLOSE_RANGE.UNSHARE)


class CloseRangeTask(FileDescriptorTask[T_fd]):
    """Closing descriptors that have no handles."""

    async def close_range(self, first: int, last: int, flags: CLOSE_RANGE = CLOSE_RANGE.NONE) -> None:
        """`close_range(first, last, flags)`: close all descriptors from `first` to `last`, both included, or
        set their close-on-exec flags.

        It is meant for descriptors without a handle: copies that a clone made, or descriptors of other
        libraries. It closes no descriptor with a living handle: if there is one in the range, it raises and
        closes nothing. It also closes the numbers whose handles have been dropped. After it has closed, you
        can inherit nothing more from the table that this one is a copy of, not even from outside of the
        range; so inherit first.

        If other code opens descriptors in this table at the same time, the kernel may close them, too.

        Args:
            last: may be larger than any descriptor; 0xffffffff closes all from `first` on.
            flags: `CLOSE_RANGE.CLOEXEC` sets the close-on-exec flag instead of closing; then the range may
                contain descriptors with handles. `CLOSE_RANGE.UNSHARE` first gives this task a table of its
                own, like `unshare_files`.

        Raises:
            SharedHandleError: a number in the range has a handle.
            ManipulatingFDTableError: the table is being changed.
            OSError: EINVAL (`first` is larger than `last`; unknown flags), EMFILE, ENOMEM; `filename` is
                (first, last, flags).

        manpage: close_range(2)
        """
        # In plain numbers: members of a flag class are combined by Python code.
        closing = not int(flags) & _CLOEXEC
        if int(flags) & _UNSHARE:
            if closing:
                self._check_without_handles(first, last, own=True)
            # Not by the kernel's flag, which would not copy what it closes: our handles have to move, too.
            await self.unshare_files()
            flags &= ~CLOSE_RANGE.UNSHARE
        self.check_not_manipulating()
        table = self.fd_table
        garbage: list[int] = []
        inheritable = table._parent, dict(table._first_closed)
        if closing and first <= last:
            self._check_without_handles(first, last)
            table.remove_inherited()
            # As with every close, the table forgets the numbers before the kernel can reuse them.
            for number, entry in list(table._entries.items()):
                if first <= number <= last:
                    table._forget(entry)
                    garbage.append(number)
        try:
            with naming((first, last, flags)):
                await _close_range(self.sysif, first, last, flags)
        except BaseException:
            # The kernel did not make the call, or the process has gone.
            table._parent, table._first_closed = inheritable
            for number in garbage:
                table._abandon(number)
            raise

    def _check_without_handles(self, first: int, last: int, own: bool = False) -> None:
        """Raise if a number in the range has a living handle (of this task, if `own`)."""
        for fd, handles in self.fd_table.near_to_handles.items():
            if first <= fd.number <= last:
                for handle in handles:
                    if handle.task is self or not own:
                        raise SharedHandleError(
                            f"can't close {first} to {last}: {handle} is among them", handle
                        )


@call("dup3", FDNUM, FDNUM, flags(O, "O_", ["CLOEXEC"]))
async def _dup3(
    sysif: SyscallInterface,
    record: CallRecord,
    oldfd: near.FileDescriptor,
    newfd: near.FileDescriptor,
    flags: int,
) -> None:
    """The raw call; the owner of the new number stays the same."""
    encoded = encode_open_flags(sysif.abi, flags) if flags else 0
    await sysif.recorded_syscall(record, nr.dup3, oldfd, newfd, encoded)


@call("close_range", FDNUM, FDNUM, flags(CLOSE_RANGE, "CLOSE_RANGE_"))
async def _close_range(sysif: SyscallInterface, first: int, last: int, flags: int) -> None:
    """The raw call."""
    await sysif.syscall(nr.close_range, first, last, flags)
