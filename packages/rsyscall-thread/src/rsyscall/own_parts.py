"""The parts of a process with memory of its own, whichever way it was made: see own_memory.py."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.handle import FileDescriptor, Task
from rsyscall.loader import NativeLoader
from rsyscall.memory.ram import RAM
from rsyscall.monitor import ChildProcessMonitor
from rsyscall.sched import CLONE

if TYPE_CHECKING:
    from rsyscall.monitor import AsyncChildProcess
    from rsyscall.network.connection import Connection

__all__ = ["ParentThread", "OwnMemory", "close_all", "monitor_for"]

logger: logging.Logger = logging.getLogger(__name__)

# In plain numbers: members of a flag class are combined by Python code.
_NEWPID = int(CLONE.NEWPID)


class ParentThread(Protocol):
    """The parts of a `Thread` that are needed to clone a child with memory of its own."""

    task: Task
    ram: RAM
    connection: Connection
    loader: NativeLoader
    epoller: Epoller
    monitor: ChildProcessMonitor


@dataclass
class OwnMemory:
    """The parts of a new process that are not its parent's."""

    process: AsyncChildProcess
    task: Task
    ram: RAM
    connection: Connection
    loader: NativeLoader
    epoller: Epoller
    monitor: ChildProcessMonitor


def monitor_for(
    thr: ParentThread, child: Task, ram: RAM, flags: CLONE, process: AsyncChildProcess
) -> ChildProcessMonitor:
    """What makes and watches the children of the child."""
    if int(flags) & _NEWPID:
        # The kernel does not let an init give its children away: it reaps them itself.
        monitor = ChildProcessMonitor.make_own(ram, child, thr.monitor.hub)
        monitor.adopt_orphans(process)
        return monitor
    return thr.monitor.inherit_to_child(child, ram)


async def close_all(things: Sequence[FileDescriptor | AsyncFileDescriptor | None]) -> None:
    """Close what was made for a process that could not be made."""
    with trio.CancelScope(shield=True):
        for thing in things:
            if thing is None:
                continue
            try:
                if isinstance(thing, AsyncFileDescriptor):
                    await thing.close()
                else:
                    await thing.invalidate()
            except Exception:
                logger.debug("closing %s", thing, exc_info=True)
