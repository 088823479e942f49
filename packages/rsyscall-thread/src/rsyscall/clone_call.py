"""The call that makes a process: clone3, or clone where that is missing.

clone takes no notice of the flags that are only for clone3.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from typing import TYPE_CHECKING

import trio

from rsyscall.denied import is_denied
from rsyscall.native import lasting_trampoline, read_memory, symbols, write_memory
from rsyscall.near import LocalSyscall, SyscallError, SyscallSendError, nr
from rsyscall.sched import CLONE, CloneArgs

if TYPE_CHECKING:
    from rsyscall.handle import Task
    from rsyscall.memory.ram import RAM
    from rsyscall.native import Ring
    from rsyscall.near.record import CallRecord

__all__ = ["Clone3Missing", "clone_block", "clone_on_stack"]

_SHARE_MEMORY = int(CLONE.VM | CLONE.CHILD_CLEARTID | CLONE.PIDFD)
_PARENT_SETTID = int(CLONE.PARENT_SETTID)
_SIGHAND = int(CLONE.SIGHAND)
_CLEAR_SIGHAND = int(CLONE.CLEAR_SIGHAND)
_CLONE_ARGS = CloneArgs.layout().codec
_CLONE_ARGS_SIZE = _CLONE_ARGS.size
_RESET_SIGNALS, _FOREIGN_PID = 1, 4  # RSYS_ORIGIN_RESET_SIGNALS, RSYS_ORIGIN_FOREIGN_PID
_INTO_CGROUP = int(CLONE.INTO_CGROUP)
_CGROUP_OFFSET = 80  # of `cgroup` in struct clone_args
_PARENT = int(CLONE.PARENT)
_ONLY_CLONE3 = (1 << 64) - (1 << 32)
_clone3_missing = False


class Clone3Missing(OSError):
    """Only clone3 makes a process in a cgroup, and there is no clone3 here, or a filter denies it."""


async def clone_block(
    task: Task,
    ring: Ring,
    flags: int,
    exit_signal: int,
    function: int,
    args: tuple[int, ...],
    *,
    watcher_fd: int,
    parent_pid: int,
    completion: int,
    foreign: bool = False,
    cloner: Ring | None = None,
    cgroup: int = -1,
    lasting: bool = False,
) -> int:
    """Clone, from `task`, a process that calls a native function on the stack of `ring`.

    Its pidfd is `ring.pidfd` afterwards: a number of the table of `task`.

    When the cloning process is lost meanwhile, `ring.pid` is the new process, if there is one (0 otherwise,
    or if it is unknown: then `ring` stays taken).

    Args:
        flags: in addition to VM, CHILD_CLEARTID, PIDFD and CLEAR_SIGHAND.
        exit_signal: 0 or a signal number.
        function: the address of a native function.
        args: up to six register arguments.
        watcher_fd: pidfd of the watcher in the new process' table, or -1.
        parent_pid: what getppid(2) will return there; -1 if unknown.
        completion: the end of the hub's pipe in the new process' table, or -1.
        foreign: `task` is not in our pid namespace; set the id in ours later, with `Ring.set_pid`.
        cloner: the ring of `task`; None if it is our own.
        cgroup: in which it begins: the number of a descriptor of `task`. -1: in that of `task`.
        lasting: it is not killed when its parent dies; otherwise it is.

    Raises:
        Clone3Missing: with `cgroup`.

    Returns:
        The process id in the pid namespace of `task`.

    manpage: clone3(2)
    """
    global _clone3_missing
    # In plain numbers: combining members of a flag class takes longer than all the rest.
    flags = int(flags) | _SHARE_MEMORY
    start = lasting_trampoline if lasting else symbols.rsyscall_trampoline
    origin_flags = _FOREIGN_PID if foreign else 0
    ring.configure(watcher_fd, parent_pid, completion, origin_flags, 0, cloner)
    if not _clone3_missing:
        # Handlers that Python installed must not run in the child, not even for an instant.
        clear = 0 if flags & _SIGHAND else _CLEAR_SIGHAND
        words = (flags | clear | _PARENT_SETTID, exit_signal, start, function, *args)
        sysif = task.sysif
        in_one_step = type(sysif) is LocalSyscall and not sysif.log_calls and cgroup < 0
        try:
            if in_one_step:
                # Nearly always: with what is around the call.
                pid = ring.clone(*words)
                if pid < 0:
                    raise OSError(-pid, os.strerror(-pid))
                return pid
            address = ring.prepare(*words)
            if cgroup >= 0:
                write_memory(address, struct.pack("=Q", words[0] | _INTO_CGROUP))
                write_memory(address + _CGROUP_OFFSET, struct.pack("=Q", cgroup))
            pid = await sysif.syscall(nr.clone3, address, _CLONE_ARGS_SIZE)
        except OSError as error:
            if not in_one_step:
                ring.not_started()
            if not is_denied(error):
                raise
            # Before Linux 5.3, or a filter that cannot look into the structure: none of the processes has it.
            # Anything else may be due to what is asked for, or to this process.
            _clone3_missing = error.errno == errno.ENOSYS and task.sysif.immediate
        except SyscallSendError:
            ring.not_started()
            raise
        except SyscallError:
            # The kernel writes the id of the new process before that runs, and nothing after the one that
            # clones has gone.
            if await _has_gone(cloner) and not ring.pid:
                ring.not_started()
            else:
                ring.started(ring.pid)
            raise
        else:
            ring.started(pid)
            return pid
    if cgroup >= 0:
        raise Clone3Missing(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if flags & _ONLY_CLONE3 & ~_CLEAR_SIGHAND:
        reason = f"{os.strerror(errno.EINVAL)}: only clone3 takes these flags, and it is missing or denied"
        raise OSError(errno.EINVAL, reason)
    return await _clone_without_clone3(
        task, ring, flags, exit_signal, start, function, args, watcher_fd, parent_pid, completion, cloner
    )


async def clone_on_stack(task: Task, ram: RAM, record: CallRecord, flags: int, top: int) -> int:
    """Clone, from a process with memory of its own, one that begins on a stack there.

    Args:
        ram: the memory of `task`.
        record: of the call.
        top: the address of what is on the stack.

    Returns:
        The process id in the pid namespace of `task`.

    Raises:
        OSError: ENOSYS, for flags that are only for clone3: the kernel has no clone3, or a filter denies it.

    manpage: clone3(2)
    """
    if not flags & _ONLY_CLONE3:
        return await task.sysif.recorded_syscall(record, nr.clone, flags | signal.SIGCHLD, top, 0, 0, 0)
    # With PARENT it is that of the caller; clone3 insists that we do not name it.
    exit_signal = 0 if flags & _PARENT else signal.SIGCHLD
    # The kernel adds the two, and does not look at what is below.
    args = await ram.ptr(CloneArgs(CLONE(flags), exit_signal=exit_signal, stack=top - 16, stack_size=16))
    return await task.sysif.recorded_syscall(record, nr.clone3, args.near, args.size())


async def _has_gone(cloner: Ring | None) -> bool:
    """Whether the process of a ring in which a call was lost has left our memory; waits up to a second."""
    with trio.CancelScope(shield=True):
        for _ in range(1000):
            if cloner is None or cloner.left:
                break
            await trio.sleep(0.001)
    return cloner is not None and cloner.left


async def _clone_without_clone3(
    task: Task,
    ring: Ring,
    flags: int,
    exit_signal: int,
    start: int,
    function: int,
    args: tuple[int, ...],
    watcher_fd: int,
    parent_pid: int,
    completion: int,
    cloner: Ring | None,
) -> int:
    """Clone by the older call. From our own process, block all signals until the child has reset the handlers
    itself; other processes have none.
    """
    # Handlers that the child shares with us must stay as they are; it may have to run them.
    ours = task.sysif.immediate and not flags & _SIGHAND
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals()) if ours else set()
    try:
        if ours:
            mask = sum(1 << (number - 1) for number in before)
            ring.configure(watcher_fd, parent_pid, completion, _RESET_SIGNALS, mask)
        address = ring.prepare(flags, exit_signal, start, function, *args)
        fields = _CLONE_ARGS.unpack(read_memory(address, _CLONE_ARGS_SIZE))
        _, pidfd, child_tid, _, _, stack, stack_size, *_ = fields
        # PIDFD goes where clone(2) has PARENT_SETTID
        pid = await task.sysif.syscall(nr.clone, flags | exit_signal, stack + stack_size, pidfd, child_tid, 0)
        # Before signals are let through, whose handlers may raise anything.
        ring.started(pid)
    except (OSError, SyscallSendError):
        ring.not_started()
        raise
    except SyscallError:
        if await _has_gone(cloner) and ring.pidfd < 0:
            ring.not_started()
        else:
            ring.started(0)
        raise
    finally:
        if ours:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid
