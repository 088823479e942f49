"""Moving bytes to and from another address space of this host, without the help of the process there.

The kernel copies between two processes if one may trace the other (`process_vm_readv`, `process_vm_writev`).
That costs one system call of ours, where the stream costs a round trip; it works while the other process is
blocked in a call; and no task has to wait.

These calls name the process by its pid, and a pid may name another process. So `ProcessVMTransport.make` has
it proven: it writes a random number through the process itself, and reads it back by the pid. That rules out
a pid of another pid namespace, one that belongs to another process now, and a process whose addresses are not
those that the kernel sees (an emulated one). From then on a pidfd, opened before the proof, tells whether the
pid is still right: until the process has been reaped, no other process gets it.

* A read is checked afterwards. The caller gets the bytes only if the process still had the pid then, and so
  had it all the time.
* A write is checked immediately before. It could reach another process only if, between two system calls of
  ours, this one exits, is reaped, and the kernel goes through all pids of the namespace to this one again. If
  the process is our own child that is impossible: only we reap it.

A process that executes a program gets other memory and keeps its pid. It does so only when its task makes the
call; so while that call is under way, the bytes go through the process, which sees them after the exec.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from rsyscall.handle.allocation import WouldWaitError
from rsyscall.memory.transport import BatchMemoryTransport, MemoryTransport, locate, write_all
from rsyscall.native import ffi
from rsyscall.near import SYS, SyscallSendError, nr
from rsyscall.near import types as near

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.handle.task import FileDescriptor, Task
    from rsyscall.memory.ram import RAM

__all__ = ["ProcessVMTransport"]

# One range of ours and one of theirs: address, length, address, length.
_RANGES = struct.Struct("=4Q")
_pack_ranges = _RANGES.pack_into
_MOST_RANGES = 1024  # UIO_MAXIOV

# We may not trace the process, or a seccomp filter refuses the call.
_REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
# No process that we can see has this pid.
_UNKNOWN = frozenset({errno.ESRCH, errno.ENOENT, errno.EINVAL})


def _address_of(buffer: bytes | bytearray) -> int:
    """Where the bytes are. Valid while the caller keeps the object."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


class _Target:
    """One other process: what all transports to it have in common.

    Attributes:
        usable: whether the kernel copies for us. Once it is False it stays so.
    """

    __slots__ = ("_local", "_ranges", "_ranges_address", "pid", "pidfd", "task", "usable")

    def __init__(self, local: Task, task: Task, pid: int, pidfd: FileDescriptor) -> None:
        self.task: Task = task
        self.pid: int = pid
        self.pidfd: FileDescriptor = pidfd
        self.usable: bool = True
        self._local = local
        # Overwritten for every call.
        self._ranges = bytearray(_RANGES.size)
        self._ranges_address = _address_of(self._ranges)

    def _call(self, number: SYS, *args: int) -> int:
        """Make a call of our own, which never suspends."""
        coroutine = self._local.sysif.syscall(number, *args)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return cast(int, stop.value)
        coroutine.close()
        raise RuntimeError("a call of the local task was expected to finish at once, but it waits")

    def check(self) -> None:
        """Raise SyscallSendError unless the pid still belongs to the process.

        On another OS thread, or in a fork of the program, it raises the error of the interface of the local
        task. So call it first, before anything that is shared is changed.
        """
        try:
            self._call(nr.pidfd_send_signal, self.pidfd.near.number, 0, 0, 0)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise self.gone() from None
            if error.errno != errno.EPERM:  # alive, and of another user by now
                raise

    def gone(self) -> SyscallSendError:
        """The error for a process that has exited."""
        return SyscallSendError(f"process {self.pid} has exited, and its memory with it")

    def copy(self, number: SYS, ours: int, theirs: int, length: int, pointer: Pointer[Any]) -> None:
        """Copy all of it between an address of ours and one of theirs.

        Raises:
            WouldWaitError: the kernel does not let us.
            SyscallSendError: the process has exited.
            OSError: EFAULT, filename is the pointer.
        """
        done = 0
        while done < length:
            rest = length - done
            _pack_ranges(self._ranges, 0, ours + done, rest, theirs + done, rest)
            address = self._ranges_address
            # The kernel stops at a page that is not there; the next attempt begins with that one and fails.
            done += self._vm_call(number, address, address + 16, 1, pointer)

    def scatter(self, pieces: Sequence[tuple[Pointer[Any], int, bytes]]) -> int:
        """Write several pieces (pointer, address, data) with one call; return how many are written whole."""
        ours = [word for _, _, data in pieces for word in (_address_of(data), len(data))]
        theirs = [word for _, address, data in pieces for word in (address, len(data))]
        ranges = struct.pack(f"={4 * len(pieces)}Q", *ours, *theirs)
        address = _address_of(ranges)
        count = len(pieces)
        written = self._vm_call(nr.process_vm_writev, address, address + 16 * count, count, pieces[0][0])
        for index, (_, _, data) in enumerate(pieces):
            written -= len(data)
            if written < 0:
                return index
        return count

    def _vm_call(self, number: SYS, ours: int, theirs: int, count: int, pointer: Pointer[Any]) -> int:
        try:
            return self._call(number, self.pid, ours, count, theirs, count, 0)
        except OSError as error:
            if error.errno in _REFUSED:
                self.usable = False
                raise WouldWaitError(f"the kernel does not let us copy memory of {self.pid}") from error
            if error.errno == errno.ESRCH:
                # The pid has been proven right, so the process has no memory any more.
                raise self.gone() from None
            error.filename = pointer
            raise


class ProcessVMTransport(BatchMemoryTransport):
    """Copies to and from the memory of another process of this host, by system calls of our own.

    A transfer is made at once, without suspending. The kernel allows it if we may trace the process: we have
    the same user, the process has not changed its credentials since exec, and the security modules agree.
    Otherwise another transport is used: `make` decides that, or the first refusal later on.

    Use `make`.

    Attributes:
        fallback: the other transport.
    """

    __slots__ = ("_address_space", "_target", "fallback")

    fallback: MemoryTransport

    def __init__(self, target: _Target, fallback: MemoryTransport) -> None:
        self.fallback = fallback
        self._target = target
        self._address_space = target.task.address_space

    @classmethod
    async def make(cls, ram: RAM, local_task: Task, pid: int) -> MemoryTransport:
        """Make a transport to the memory of a process, if the kernel lets us. Assign it to `ram.transport`.

        Args:
            ram: memory of the process. Its transport goes through the process and becomes the fallback.
            local_task: of the running OS thread; makes the calls.
            pid: of the process. It may be a guess, such as the pid that the process has in its own
                namespace: this finds out whether it is the right one here.

        Returns:
            The new transport; or that of `ram`, if the memory cannot be reached by this pid.

        Raises:
            OSError: EMFILE, ENOMEM.
            SyscallError: the process has gone.

        manpage: process_vm_readv(2), pidfd_open(2)
        """
        fallback = ram.transport
        if pid <= 0 or local_task.address_space is ram.task.address_space:
            return fallback
        # Before the proof, so that what is proven holds for this pidfd.
        try:
            number = await local_task.sysif.syscall(nr.pidfd_open, pid, 0)
        except OSError as error:
            if error.errno in _REFUSED or error.errno in _UNKNOWN:
                return fallback
            raise
        pidfd = local_task.make_fd_handle(near.FileDescriptor(number))
        transport = cls(_Target(local_task, ram.task, pid, pidfd), fallback)
        proven = False
        try:
            proven = await transport._prove(ram)
        finally:
            if not proven:
                await pidfd.invalidate()
        return transport if proven else fallback

    async def _prove(self, ram: RAM) -> bool:
        """Whether what is written through the process can be read by its pid."""
        nonce = os.urandom(16)
        pointer = await ram.malloc(bytes, len(nonce))
        await self.fallback.write(pointer, nonce)
        try:
            return self._read(pointer) == nonce
        except (WouldWaitError, SyscallSendError):
            return False  # refused; or no process has the pid (if it was this one, the fallback fails too)
        except OSError as error:
            if error.errno != errno.EFAULT:
                raise
            return False  # another process' memory, with nothing at this address

    def inherit(self, task: Task) -> ProcessVMTransport:
        """A transport to the same memory whose fallback goes through `task`.

        Raises:
            AddressSpaceMismatchError: `task` is in another address space.
        """
        task.check_address_space(self._address_space)
        return ProcessVMTransport(self._target, self.fallback.inherit(task))

    async def close(self) -> None:
        """Use only the fallback from now on, and close the pidfd, which happens by itself when nothing refers
        to it any more.
        """
        self._target.usable = False
        await self._target.pidfd.invalidate()

    @property
    def _possible(self) -> bool:
        task = self._target.task
        return (
            self._target.usable
            # Otherwise it is on its way to another program, or there.
            and not task.manipulating_fd_table
            and task.address_space is self._address_space
        )

    @property
    def read_now(self) -> Callable[[Pointer[Any]], bytes] | None:  # type: ignore[override] # only read
        """As `read`, while the kernel copies for us.

        Raises:
            WouldWaitError: it has just refused.
        """
        return self._read if self._possible else None

    @property
    def write_now(self) -> Callable[[Pointer[Any], bytes], None] | None:  # type: ignore[override] # only read
        """As `write`, while the kernel copies for us.

        Raises:
            WouldWaitError: it has just refused.
        """
        return self._write if self._possible else None

    async def read(self, src: Pointer[Any]) -> bytes:
        """Return the bytes that `src` points to.

        Raises:
            UseAfterFreeError: `src` was freed or consumed.
            AddressSpaceMismatchError: `src` points into another address space.
            OSError: EFAULT, filename is `src`; the memory was unmapped behind our back.
            SyscallError: the process was lost.
        """
        if self._possible:
            try:
                return self._read(src)
            except WouldWaitError:
                pass
        return await self.fallback.read(src)

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Copy `data` to the start of what `dest` points to. When it fails, part of it may have been written.

        Raises:
            ValueError: `data` is longer than what `dest` points to; nothing was written.
            UseAfterFreeError: `dest` was freed or consumed.
            AddressSpaceMismatchError: `dest` points into another address space.
            OSError: EFAULT, filename is `dest`; the memory was unmapped behind our back.
            SyscallError: the process was lost.
        """
        if self._possible:
            try:
                self._write(dest, data)
                return
            except WouldWaitError:
                pass
        await self.fallback.write(dest, data)

    async def write_batch(self, writes: Sequence[tuple[Pointer[Any], bytes]]) -> None:
        """Write each of the data to its pointer, with one system call for many. Errors as for `write`."""
        if self._possible:
            try:
                self._write_batch(writes)
                return
            except WouldWaitError:
                pass
        await write_all(self.fallback, writes)

    def _read(self, src: Pointer[Any]) -> bytes:
        target = self._target
        length = src.allocation.size()
        address = locate(src, length, self._address_space)
        target.check()
        # The kernel fills it before any other code sees it, so it need not be copied once more.
        data = bytes(length)
        target.copy(nr.process_vm_readv, _address_of(data), address, length, src)
        target.check()
        return data

    def _write(self, dest: Pointer[Any], data: bytes) -> None:
        target = self._target
        address = locate(dest, len(data), self._address_space)
        target.check()
        target.copy(nr.process_vm_writev, _address_of(data), address, len(data), dest)

    def _write_batch(self, writes: Sequence[tuple[Pointer[Any], bytes]]) -> None:
        target = self._target
        pieces = [(dest, locate(dest, len(data), self._address_space), data) for dest, data in writes]
        pieces = [piece for piece in pieces if piece[2]]
        done = 0
        while done < len(pieces):
            some = pieces[done : done + _MOST_RANGES]
            target.check()
            whole = target.scatter(some)
            done += whole
            if whole < len(some):
                # The kernel stopped in the middle of this one: the next attempt raises the reason.
                dest, address, data = some[whole]
                target.copy(nr.process_vm_writev, _address_of(data), address, len(data), dest)
                done += 1
