"""The calls of `<sys/mount.h>` that have mounts and file systems as descriptors. `rsyscall.sys.mount` has the
names.

A mount is made in steps: `fsopen`, `fsconfig` for each option and with `FSCONFIG.CMD_CREATE`, `fsmount`, and
`move_mount` to where it is attached. `open_tree` with `OPEN_TREE.CLONE` copies a mount that is attached.
"""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from rsyscall.cstruct import CStruct, u64
from rsyscall.fcntl import AT
from rsyscall.handle.arguments import (
    ADDRESS,
    DIRFD,
    FDNUM,
    INT,
    PATH,
    SIZE,
    STRING,
    by,
    call,
    choice,
    counted,
    directory,
    each,
    flags,
    given,
)
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys._mount_constants import MS

if TYPE_CHECKING:
    from rsyscall.handle.pointer import PathPointer, Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "FSCONFIG",
    "FSMOUNT",
    "FSOPEN",
    "FSPICK",
    "MOUNT_ATTR",
    "MOVE_MOUNT",
    "OPEN_TREE",
    "MountAttr",
    "MountFileDescriptor",
    "MountFileTask",
]


class OPEN_TREE(enum.IntFlag):
    """`OPEN_TREE_*`: flags of `open_tree`, to be or-ed with `AT.RECURSIVE`, `AT.EMPTY_PATH`,
    `AT.SYMLINK_NOFOLLOW` and `AT.NO_AUTOMOUNT`.

    manpage: open_tree(2)
    """

    NONE = 0
    CLONE = 0x1
    NAMESPACE = 0x2  # since Linux 7.0
    CLOEXEC = 0x80000


class MOVE_MOUNT(enum.IntFlag):
    """`MOVE_MOUNT_*`: flags of `move_mount`; `F` is about where from, `T` about where to.

    manpage: move_mount(2)
    """

    NONE = 0
    F_SYMLINKS = 0x1
    F_AUTOMOUNTS = 0x2
    F_EMPTY_PATH = 0x4
    T_SYMLINKS = 0x10
    T_AUTOMOUNTS = 0x20
    T_EMPTY_PATH = 0x40
    SET_GROUP = 0x100  # since Linux 5.15
    BENEATH = 0x200  # since Linux 6.5


class FSOPEN(enum.IntFlag):
    """`FSOPEN_*`: flags of `fsopen`.

    manpage: fsopen(2)
    """

    NONE = 0
    CLOEXEC = 0x1


class FSPICK(enum.IntFlag):
    """`FSPICK_*`: flags of `fspick`.

    manpage: fspick(2)
    """

    NONE = 0
    CLOEXEC = 0x1
    SYMLINK_NOFOLLOW = 0x2
    NO_AUTOMOUNT = 0x4
    EMPTY_PATH = 0x8


class FSMOUNT(enum.IntFlag):
    """`FSMOUNT_*`: flags of `fsmount`.

    manpage: fsmount(2)
    """

    NONE = 0
    CLOEXEC = 0x1
    NAMESPACE = 0x2  # since Linux 7.0


class FSCONFIG(enum.IntEnum):
    """`FSCONFIG_*`: what `fsconfig` does.

    manpage: fsconfig(2)
    """

    SET_FLAG = 0
    SET_STRING = 1
    SET_BINARY = 2
    SET_PATH = 3
    SET_PATH_EMPTY = 4
    SET_FD = 5
    CMD_CREATE = 6
    CMD_RECONFIGURE = 7
    CMD_CREATE_EXCL = 8  # since Linux 6.6


_WITH_PATH = (FSCONFIG.SET_PATH, FSCONFIG.SET_PATH_EMPTY)
_WITH_VALUE = (FSCONFIG.SET_STRING, FSCONFIG.SET_BINARY, *_WITH_PATH)
_WITH_KEY = (FSCONFIG.SET_FLAG, FSCONFIG.SET_FD, *_WITH_VALUE)


class MOUNT_ATTR(enum.IntFlag):
    """`MOUNT_ATTR_*`: attributes of a mount. To set one of the three of `_ATIME`, clear `_ATIME` as well.

    manpage: mount_setattr(2)
    """

    RELATIME = 0x0
    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    NOATIME = 0x10
    STRICTATIME = 0x20
    _ATIME = 0x70
    NODIRATIME = 0x80
    IDMAP = 0x100000
    NOSYMFOLLOW = 0x200000


class MountAttr(CStruct, c="struct mount_attr", headers=("linux/mount.h",)):
    """`struct mount_attr`: how to change a mount. What is in `attr_clr` is cleared before `attr_set` is set.

    `propagation` is `MS.SHARED`, `MS.SLAVE`, `MS.PRIVATE`, `MS.UNBINDABLE`, or `MS.NONE` for no change;
    `userns_fd` the number of a descriptor of a user namespace, for `MOUNT_ATTR.IDMAP`.

    manpage: mount_setattr(2)
    """

    attr_set: MOUNT_ATTR = u64("attr_set", MOUNT_ATTR, default=MOUNT_ATTR(0))
    attr_clr: MOUNT_ATTR = u64("attr_clr", MOUNT_ATTR, default=MOUNT_ATTR(0))
    propagation: MS = u64("propagation", MS, default=MS.NONE)
    userns_fd: int = u64("userns_fd", default=0)


async def _open_tree_at(
    task: FileDescriptorTask[T_fd], dirfd: near.FileDescriptor | None, path: PathPointer, flags: int
) -> T_fd:
    check_pointers(path)
    record = CallRecord(task.fd_table)
    with path.borrow(task) as path_addr, naming(path.value):
        fd = await _open_tree(task.sysif, record, dirfd, path_addr, flags | OPEN_TREE.CLOEXEC)
    return task._adopt(fd, record)


async def _open_tree_attr_at(
    task: FileDescriptorTask[T_fd],
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    flags: int,
    attr: Pointer[MountAttr],
) -> T_fd:
    check_pointers(path, attr)
    require_size(attr, MountAttr.sizeof())
    record = CallRecord(task.fd_table)
    with path.borrow(task) as path_addr, attr.borrow(task) as attr_addr, naming(path.value):
        fd = await _open_tree_attr(
            task.sysif, record, dirfd, path_addr, flags | OPEN_TREE.CLOEXEC, attr_addr, attr.size()
        )
    return task._adopt(fd, record)


async def _fspick_at(
    task: FileDescriptorTask[T_fd], dirfd: near.FileDescriptor | None, path: PathPointer, flags: FSPICK
) -> T_fd:
    check_pointers(path)
    record = CallRecord(task.fd_table)
    with path.borrow(task) as path_addr, naming(path.value):
        fd = await _fspick(task.sysif, record, dirfd, path_addr, flags | FSPICK.CLOEXEC)
    return task._adopt(fd, record)


async def _setattr_at(
    task: FileDescriptorTask[Any],
    dirfd: near.FileDescriptor | None,
    path: PathPointer,
    flags: AT,
    attr: Pointer[MountAttr],
) -> None:
    check_pointers(path, attr)
    require_size(attr, MountAttr.sizeof())
    with path.borrow(task) as path_addr, attr.borrow(task) as attr_addr, naming(path.value):
        await _mount_setattr(task.sysif, dirfd, path_addr, flags, attr_addr, attr.size())


async def _move(
    task: FileDescriptorTask[Any],
    from_fd: near.FileDescriptor | None,
    from_path: PathPointer,
    to_fd: BaseFileDescriptor | None,
    to_path: PathPointer,
    flags: MOVE_MOUNT,
) -> None:
    check_pointers(from_path, to_path)
    with (
        from_path.borrow(task) as from_addr,
        nullcontext() if to_fd is None else to_fd.borrow(task) as to_near,
        to_path.borrow(task) as to_addr,
        naming(from_path.value, to_path.value),
    ):
        await _move_mount(task.sysif, from_fd, from_addr, to_near, to_addr, flags)


def _borrow(
    pointer: Pointer[Any] | None, task: FileDescriptorTask[Any]
) -> AbstractContextManager[near.Address | None]:
    return nullcontext() if pointer is None else pointer.borrow(task)


class MountFileDescriptor(BaseFileDescriptor):
    """Mounts and file systems behind descriptors. No method consumes a pointer."""

    __slots__ = ()

    async def open_tree(self: T_fd, path: PathPointer, flags: OPEN_TREE = OPEN_TREE.NONE) -> T_fd:
        """`open_tree(fd, path, flags | OPEN_TREE_CLOEXEC)`: open a mount below this directory, or copy it.

        Args:
            path: empty for this descriptor itself, with `AT.EMPTY_PATH`.
            flags: `OPEN_TREE.CLONE` for a copy, which is attached nowhere, and goes with its descriptor
                unless `move_mount` attaches it; with `AT.RECURSIVE` it includes what is mounted below.

        Raises:
            OSError: ENOENT, EACCES, EPERM (a copy needs CAP_SYS_ADMIN), EINVAL; `filename` is the path.

        manpage: open_tree(2)
        """
        self._validate()
        return await _open_tree_at(self.task, self.near, path, flags)

    async def open_tree_attr(
        self: T_fd, path: PathPointer, flags: OPEN_TREE, attr: Pointer[MountAttr]
    ) -> T_fd:
        """`open_tree_attr(fd, path, flags | OPEN_TREE_CLOEXEC, attr, size)`: `open_tree` and `mount_setattr`
        in one.

        Args:
            path, flags: as for `open_tree`.
            attr: how to change the copy.

        Raises:
            BufferTooSmallError: the memory of `attr` is too small.
            OSError: those of `open_tree` and `mount_setattr`; ENOSYS before Linux 6.15.

        manpage: open_tree(2)
        """
        self._validate()
        return await _open_tree_attr_at(self.task, self.near, path, flags, attr)

    async def move_mount(
        self,
        from_path: PathPointer,
        to_fd: BaseFileDescriptor | None,
        to_path: PathPointer,
        flags: MOVE_MOUNT = MOVE_MOUNT.NONE,
    ) -> None:
        """`move_mount(fd, from_path, to_fd, to_path, flags)`: attach a mount, or move one that is attached.

        Args:
            from_path: empty for the mount that this descriptor is, with `MOVE_MOUNT.F_EMPTY_PATH`.
            to_fd: the directory that `to_path` is below; None for the working directory.
            to_path: where to attach it; empty for `to_fd` itself, with `MOVE_MOUNT.T_EMPTY_PATH`.

        Raises:
            OSError: ENOENT, EINVAL, EPERM, EBUSY, ELOOP...; `filename` is `from_path`, `filename2` is
                `to_path`.

        manpage: move_mount(2)
        """
        self._validate()
        await _move(self.task, self.near, from_path, to_fd, to_path, flags)

    async def fsconfig(
        self,
        cmd: FSCONFIG,
        key: WrittenPointer[str] | None = None,
        value: Pointer[Any] | None = None,
        aux: BaseFileDescriptor | None = None,
    ) -> None:
        """`fsconfig(fd, cmd, key, value, aux)`: set an option of a file system, or create or change it.

        The file system explains an error in messages, which `read` of this descriptor returns one by one.

        Args:
            key: the option, for the `SET_` commands.
            value: of the option: a string for `SET_STRING`, bytes for `SET_BINARY`, a path for `SET_PATH`.
            aux: the descriptor for `SET_FD`; for `SET_PATH` the directory that the path is below, None for
                the working directory.

        Raises:
            TypeError: the command needs a key, a value or a descriptor, and there is none.
            OSError: EINVAL, EBUSY, EOPNOTSUPP, EPERM...; `filename` is (fd, cmd, key).

        manpage: fsconfig(2)
        """
        self._validate()
        task = self.task
        for name, argument, commands in (
            ("a key", key, _WITH_KEY),
            ("a value", value, _WITH_VALUE),
            ("a descriptor as aux", aux, (FSCONFIG.SET_FD,)),
        ):
            if argument is None and cmd in commands:
                raise TypeError(f"fsconfig of {self}: {FSCONFIG(cmd)!r} needs {name}")
        with (
            _borrow(key, task) as key_addr,
            _borrow(value, task) as value_addr,
            nullcontext() if aux is None else aux.borrow(task) as aux_near,
            naming((self, cmd, None if key is None else key.value)),
        ):
            number = 0
            if cmd == FSCONFIG.SET_BINARY and value is not None:
                number = value.size()
            elif aux_near is not None:
                number = int(aux_near)
            elif cmd in _WITH_PATH:
                number = int(AT.FDCWD)
            await _fsconfig(task.sysif, self.near, cmd, key_addr, value_addr, number)

    async def fsmount(
        self: T_fd, flags: FSMOUNT = FSMOUNT.NONE, attr_flags: MOUNT_ATTR = MOUNT_ATTR.RELATIME
    ) -> T_fd:
        """`fsmount(fd, flags | FSMOUNT_CLOEXEC, attr_flags)`: mount the file system that `fsopen` and
        `fsconfig` have made, but attach it nowhere.

        Raises:
            OSError: EINVAL (not created yet), EBUSY, EPERM; `filename` is this descriptor.

        manpage: fsmount(2)
        """
        self._validate()
        task = self.task
        record = CallRecord(task.fd_table)
        with naming(self):
            fd = await _fsmount(task.sysif, record, self.near, flags | FSMOUNT.CLOEXEC, attr_flags)
        adopted: T_fd = task._adopt(fd, record)
        return adopted

    async def fspick(self: T_fd, path: PathPointer, flags: FSPICK = FSPICK.NONE) -> T_fd:
        """`fspick(fd, path, flags | FSPICK_CLOEXEC)`: open the file system of a mount, for `fsconfig`.

        Args:
            path: the mount, below this directory; empty for itself, with `FSPICK.EMPTY_PATH`.

        Raises:
            OSError: ENOENT, EINVAL (not a mount), EPERM; `filename` is the path.

        manpage: fspick(2)
        """
        self._validate()
        return await _fspick_at(self.task, self.near, path, flags)

    async def mount_setattr(self, path: PathPointer, flags: AT, attr: Pointer[MountAttr]) -> None:
        """`mount_setattr(fd, path, flags, attr, size)`: change a mount.

        Args:
            path: the mount, below this directory; empty for itself, with `AT.EMPTY_PATH`.
            flags: `AT.RECURSIVE` to change those below it, too.
            attr: what to change.

        Raises:
            BufferTooSmallError: the memory of `attr` is too small.
            OSError: EINVAL (not a mount, or unknown attributes), EPERM, EBUSY (`MOUNT_ATTR.RDONLY`: a file is
                open for writing); `filename` is the path.

        manpage: mount_setattr(2)
        """
        self._validate()
        await _setattr_at(self.task, self.near, path, flags, attr)


class MountFileTask(FileDescriptorTask[T_fd]):
    """Mounts and file systems by their paths; see the methods of `FileDescriptor`."""

    async def fsopen(self, fsname: WrittenPointer[str], flags: FSOPEN = FSOPEN.NONE) -> T_fd:
        """`fsopen(fsname, flags | FSOPEN_CLOEXEC)`: begin to make a file system of that type.

        Raises:
            OSError: ENODEV (no such type), EPERM; `filename` is the type.

        manpage: fsopen(2)
        """
        check_pointers(fsname)
        record = CallRecord(self.fd_table)
        with fsname.borrow(self) as fsname_addr, naming(fsname.value):
            fd = await _fsopen(self.sysif, record, fsname_addr, flags | FSOPEN.CLOEXEC)
        return self._adopt(fd, record)

    async def move_mount(
        self,
        from_path: PathPointer,
        to_fd: BaseFileDescriptor | None,
        to_path: PathPointer,
        flags: MOVE_MOUNT = MOVE_MOUNT.NONE,
    ) -> None:
        """`move_mount(AT_FDCWD, from_path, to_fd, to_path, flags)`: see `FileDescriptor.move_mount`.

        manpage: move_mount(2)
        """
        await _move(self, None, from_path, to_fd, to_path, flags)

    async def open_tree(self, path: PathPointer, flags: OPEN_TREE = OPEN_TREE.NONE) -> T_fd:
        """`open_tree(AT_FDCWD, path, flags | OPEN_TREE_CLOEXEC)`: see `FileDescriptor.open_tree`.

        manpage: open_tree(2)
        """
        return await _open_tree_at(self, None, path, flags)

    async def open_tree_attr(self, path: PathPointer, flags: OPEN_TREE, attr: Pointer[MountAttr]) -> T_fd:
        """`open_tree_attr(AT_FDCWD, path, flags | OPEN_TREE_CLOEXEC, attr, size)`: see
        `FileDescriptor.open_tree_attr`.

        manpage: open_tree(2)
        """
        return await _open_tree_attr_at(self, None, path, flags, attr)

    async def fspick(self, path: PathPointer, flags: FSPICK = FSPICK.NONE) -> T_fd:
        """`fspick(AT_FDCWD, path, flags | FSPICK_CLOEXEC)`: see `FileDescriptor.fspick`.

        manpage: fspick(2)
        """
        return await _fspick_at(self, None, path, flags)

    async def mount_setattr(self, path: PathPointer, flags: AT, attr: Pointer[MountAttr]) -> None:
        """`mount_setattr(AT_FDCWD, path, flags, attr, size)`: see `FileDescriptor.mount_setattr`.

        manpage: mount_setattr(2)
        """
        await _setattr_at(self, None, path, flags, attr)


_TREE_FLAGS = flags(OPEN_TREE, "OPEN_TREE_")


@call("open_tree", DIRFD, PATH, _TREE_FLAGS)
async def _open_tree(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: int,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back. None is the working directory."""
    number = await sysif.recorded_syscall(record, nr.open_tree, directory(dirfd), path, flags)
    return near.FileDescriptor(number)


@call("open_tree_attr", DIRFD, PATH, _TREE_FLAGS, given(MountAttr, 4), SIZE)
async def _open_tree_attr(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: int,
    attr: near.Address,
    size: int,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back. None is the working directory."""
    number = await sysif.recorded_syscall(
        record, nr.open_tree_attr, directory(dirfd), path, flags, attr, size
    )
    return near.FileDescriptor(number)


@call("move_mount", DIRFD, PATH, DIRFD, PATH, flags(MOVE_MOUNT, "MOVE_MOUNT_"))
async def _move_mount(
    sysif: SyscallInterface,
    from_fd: near.FileDescriptor | None,
    from_path: near.Address,
    to_fd: near.FileDescriptor | None,
    to_path: near.Address,
    flags: MOVE_MOUNT,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.move_mount, directory(from_fd), from_path, directory(to_fd), to_path, flags)


@call("fsopen", STRING, flags(FSOPEN, "FSOPEN_"))
async def _fsopen(
    sysif: SyscallInterface, record: CallRecord, fsname: near.Address, flags: FSOPEN
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.fsopen, fsname, flags))


@call(
    "fsconfig",
    FDNUM,
    choice(FSCONFIG, "FSCONFIG_"),
    STRING,
    by(1, {**each((FSCONFIG.SET_STRING, *_WITH_PATH), STRING), FSCONFIG.SET_BINARY: counted(4)}, ADDRESS),
    by(1, {**each(_WITH_PATH, DIRFD), FSCONFIG.SET_FD: FDNUM}, INT),
)
async def _fsconfig(
    sysif: SyscallInterface,
    fd: near.FileDescriptor,
    cmd: FSCONFIG,
    key: near.Address | None,
    value: near.Address | None,
    aux: int,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.fsconfig, fd, cmd, key or 0, value or 0, aux)


@call("fsmount", FDNUM, flags(FSMOUNT, "FSMOUNT_"), flags(MOUNT_ATTR, "MOUNT_ATTR_"))
async def _fsmount(
    sysif: SyscallInterface,
    record: CallRecord,
    fd: near.FileDescriptor,
    flags: FSMOUNT,
    attr_flags: MOUNT_ATTR,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.fsmount, fd, flags, attr_flags))


@call("fspick", DIRFD, PATH, flags(FSPICK, "FSPICK_"))
async def _fspick(
    sysif: SyscallInterface,
    record: CallRecord,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: FSPICK,
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back. None is the working directory."""
    number = await sysif.recorded_syscall(record, nr.fspick, directory(dirfd), path, flags)
    return near.FileDescriptor(number)


@call(
    "mount_setattr",
    DIRFD,
    PATH,
    flags(AT, "AT_", ["EMPTY_PATH", "RECURSIVE", "SYMLINK_NOFOLLOW", "NO_AUTOMOUNT"]),
    given(MountAttr, 4),
    SIZE,
)
async def _mount_setattr(
    sysif: SyscallInterface,
    dirfd: near.FileDescriptor | None,
    path: near.Address,
    flags: AT,
    attr: near.Address,
    size: int,
) -> None:
    """The raw call; None is the working directory."""
    await sysif.syscall(nr.mount_setattr, directory(dirfd), path, flags, attr, size)
