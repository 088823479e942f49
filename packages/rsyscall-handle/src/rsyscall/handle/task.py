"""The assembled `FileDescriptor` and `Task`. (Provisional: takes the mixins of whatever header modules exist so far.)"""
# ruff: noqa
# mypy: ignore-errors

from __future__ import annotations

import importlib

import rsyscall.far
import rsyscall.near
from rsyscall.handle.fd import BaseFileDescriptor, FDTable, FileDescriptorTask

_PARTS = [
    ("rsyscall.sys.eventfd", "EventFileDescriptor", "EventfdTask"),
    ("rsyscall.sys.timerfd", "TimerFileDescriptor", "TimerfdTask"),
    ("rsyscall.sys.epoll", "EpollFileDescriptor", "EpollTask"),
    ("rsyscall.sys.signalfd", "SignalFileDescriptor", "SignalfdTask"),
    ("rsyscall.linux.memfd", None, "MemfdTask"),
    ("rsyscall.sys.ioctl", "IoctlFileDescriptor", None),
    ("rsyscall.linux.dirent", "GetdentsFileDescriptor", None),
    ("rsyscall.sys.uio", "UioFileDescriptor", None),
    ("rsyscall.unistd.io", "SeekableFileDescriptor", None),
    ("rsyscall.unistd", "SeekableFileDescriptor", None),
    ("rsyscall.unistd.io", "IOFileDescriptor", None),
    ("rsyscall.unistd", "FSFileDescriptor", "FSTask"),
    ("rsyscall.sys.socket", "SocketFileDescriptor", "SocketTask"),
    ("rsyscall.unistd.pipe", None, "PipeTask"),
    ("rsyscall.sys.mman", "MappableFileDescriptor", "MemoryMappingTask"),
    ("rsyscall.sys.stat", "StatFileDescriptor", None),
    ("rsyscall.fcntl", "FcntlFileDescriptor", None),
    ("rsyscall.unistd.cwd", None, "CWDTask"),
    ("rsyscall.handle.fd", "BaseFileDescriptor", "FileDescriptorTask"),
    ("rsyscall.sys.prctl", None, "PrctlTask"),
    ("rsyscall.sys.mount", None, "MountTask"),
    ("rsyscall.unistd.credentials", None, "CredentialsTask"),
    ("rsyscall.handle.process", None, "ProcessTask"),
    ("rsyscall.sched", None, "SchedTask"),
    ("rsyscall.linux.futex", None, "FutexTask"),
    ("rsyscall.signal", None, "SignalTask"),
]
_fd_bases = []
_task_bases = []
for _module, _fd, _task in _PARTS:
    try:
        _m = importlib.import_module(_module)
    except ModuleNotFoundError:
        continue
    for _name, _bases in ((_fd, _fd_bases), (_task, _task_bases)):
        if _name and hasattr(_m, _name) and getattr(_m, _name) not in _bases:
            _bases.append(getattr(_m, _name))


class FileDescriptor(*_fd_bases):
    __slots__ = ()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *args):
        await self.invalidate()


class Task(*_task_bases):
    def __init__(self, process, fd_table, address_space, pidns, mountns=None):
        self.process = process
        self.parent_task = None
        rsyscall.far.Task.__init__(
            self,
            rsyscall.near.UnusableSyscallInterface(),
            getattr(process, "near", process),
            fd_table,
            address_space,
            pidns,
            mountns,
        )

    def _file_descriptor_constructor(self, fd):
        return FileDescriptor(self, fd, True)
