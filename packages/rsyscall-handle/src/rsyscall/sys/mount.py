"""`<sys/mount.h>`: attaching and detaching file systems. `rsyscall.linux.mount` says which there are."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.handle._later import late, later_names
from rsyscall.handle.arguments import PATH, STRING, call, flags
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.sys._mount_constants import MS

if TYPE_CHECKING:
    import rsyscall.near.types as near
    from rsyscall.handle.pointer import PathPointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys._mount_files import FSCONFIG as FSCONFIG
    from rsyscall.sys._mount_files import FSMOUNT as FSMOUNT
    from rsyscall.sys._mount_files import FSOPEN as FSOPEN
    from rsyscall.sys._mount_files import FSPICK as FSPICK
    from rsyscall.sys._mount_files import MOUNT_ATTR as MOUNT_ATTR
    from rsyscall.sys._mount_files import MOVE_MOUNT as MOVE_MOUNT
    from rsyscall.sys._mount_files import OPEN_TREE as OPEN_TREE
    from rsyscall.sys._mount_files import MountAttr as MountAttr
else:
    __getattr__ = later_names(__name__, "rsyscall.sys._mount_files")

__all__ = ["MS", "UMOUNT", "MountTask"]


class UMOUNT(enum.IntFlag):
    """`MNT_*` and `UMOUNT_*`: flags of `umount2`.

    manpage: umount(2)
    """

    NONE = 0
    FORCE = 1
    DETACH = 2
    EXPIRE = 4
    NOFOLLOW = 8


@late
class MountTask(far.Task):
    """Changing the mount namespace that this task is in."""

    async def mount(
        self,
        source: PathPointer,
        target: PathPointer,
        filesystemtype: WrittenPointer[str | os.PathLike[str]],
        mountflags: MS,
        data: WrittenPointer[str | os.PathLike[str]],
    ) -> None:
        """`mount(source, target, filesystemtype, mountflags, data)`: attach a file system, or change how one
        is attached.

        Strings that a kind of mount does not use (all but `target` for `MS.PRIVATE`, say) are given as empty
        strings.

        Args:
            source: device, or file or directory for `MS.BIND`; with some kernels it must not be empty even if
                it means nothing.
            target: where to attach; must exist.
            data: options of the file system, separated by commas.

        Raises:
            OSError: EPERM, EINVAL, ENOENT, ENODEV (no such file system type), EBUSY...; `filename` is the
                source, `filename2` is (target, filesystemtype, data).

        manpage: mount(2)
        """
        check_pointers(source, target, filesystemtype, data)
        with (
            source.borrow(self) as source_addr,
            target.borrow(self) as target_addr,
            filesystemtype.borrow(self) as type_addr,
            data.borrow(self) as data_addr,
            naming(source.value, (target.value, filesystemtype.value, data.value)),
        ):
            await _mount(self.sysif, source_addr, target_addr, type_addr, mountflags, data_addr)

    async def umount(self, target: PathPointer, flags: UMOUNT = UMOUNT.NONE) -> None:
        """`umount2(target, flags)`: detach the topmost file system at `target`.

        Raises:
            OSError: EBUSY (in use; see `UMOUNT.DETACH`), EINVAL (not a mount point), EPERM, ENOENT, EAGAIN
                (`UMOUNT.EXPIRE` marked it); `filename` is the target.

        manpage: umount(2)
        """
        check_pointers(target)
        with target.borrow(self) as target_addr, naming(target.value):
            await _umount2(self.sysif, target_addr, flags)

    async def pivot_root(
        self,
        new_root: PathPointer,
        put_old: PathPointer,
    ) -> None:
        """`pivot_root(new_root, put_old)`: make a mount the root of the mount namespace.

        The root and working directories of all tasks in the namespace that were the old root become the new
        one.

        Args:
            new_root: a mount point other than the current root, not shared.
            put_old: where the old root is attached: at or below `new_root`. To have no place for it,
                `chdir` to `new_root` first and give "." for both: the old root is stacked on top, and
                `umount(".", UMOUNT.DETACH)` detaches it.

        Raises:
            OSError: EINVAL (not a mount point, `MS.SHARED`, not below), EBUSY (the current root), ENOTDIR,
                EPERM; `filename` is `new_root`, `filename2` is `put_old`.

        manpage: pivot_root(2)
        """
        check_pointers(new_root, put_old)
        with (
            new_root.borrow(self) as new_addr,
            put_old.borrow(self) as old_addr,
            naming(new_root.value, put_old.value),
        ):
            await _pivot_root(self.sysif, new_addr, old_addr)


@call("mount", STRING, PATH, STRING, flags(MS, "MS_"), STRING)
async def _mount(
    sysif: SyscallInterface,
    source: near.Address,
    target: near.Address,
    filesystemtype: near.Address,
    mountflags: MS,
    data: near.Address,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.mount, source, target, filesystemtype, mountflags, data)


@call("umount2", PATH, flags(UMOUNT, "MNT_", renamed={"NOFOLLOW": "UMOUNT_NOFOLLOW"}))
async def _umount2(sysif: SyscallInterface, target: near.Address, flags: UMOUNT) -> None:
    """The raw call."""
    await sysif.syscall(nr.umount2, target, flags)


@call("pivot_root", PATH, PATH)
async def _pivot_root(sysif: SyscallInterface, new_root: near.Address, put_old: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.pivot_root, new_root, put_old)
