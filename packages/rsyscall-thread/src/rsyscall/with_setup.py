"""Short forms of the calls that set up a process, for one that exists and for one that is being prepared.

They have no result that a caller needs, so a process that does not exist yet can make them, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rsyscall.command import StrOrBytesPath
from rsyscall.handle import FileDescriptor, Task, WrittenPointer
from rsyscall.with_memory import WithMemory

if TYPE_CHECKING:
    from rsyscall.sys.mount import MS, UMOUNT

__all__ = ["WithSetup"]

# No flags. Most programs do not mount, and so do not load the module with the classes.
_NONE = 0
# The kernel makes no longer paths.
_PATH_MAX = 4096


def _option(path: StrOrBytesPath, joined_by: str) -> str:
    """A path as a part of the options of overlayfs, which takes a backslash for the next character as it is.

    Args:
        path: the path.
        joined_by: the characters that would end it.
    """
    text = os.fsdecode(path).replace("\\", "\\\\")
    for character in joined_by:
        text = text.replace(character, "\\" + character)
    return text


def _number(name: str, value: int) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{name}: expected a number, not {value!r}")
    if value < 0:
        raise ValueError(f"{name}: expected a number that is not negative, not {value}")
    return value


class WithSetup(WithMemory):
    """Where a process is, what it sees of the file system, and who it is.

    A path is text, bytes, or an object that stands for one, such as a `Path`; it is looked up from the root
    and the working directory of the process.

    Attributes:
        task: makes system calls in it.
    """

    task: Task

    async def _path(self, path: StrOrBytesPath) -> WrittenPointer[Any]:
        if not isinstance(path, str | PurePath):
            # Bytes would have no NUL at their end.
            path = os.fsdecode(path)
        return await self.ram.ptr(path)

    async def chdir(self, path: StrOrBytesPath | FileDescriptor) -> None:
        """Change the working directory.

        Args:
            path: of the directory; or a handle of it.

        Raises:
            OSError: ENOENT, ENOTDIR, EACCES; `filename` is the path or the handle.

        manpage: chdir(2)
        """
        if isinstance(path, FileDescriptor):
            await self.task.fchdir(path)
        else:
            await self.task.chdir(await self._path(path))

    async def chroot(self, path: StrOrBytesPath) -> None:
        """Change the root directory. The working directory stays where it is: `chdir("/")` goes inside.

        Raises:
            OSError: EPERM (needs CAP_SYS_CHROOT), ENOENT, ENOTDIR; `filename` is the path.

        manpage: chroot(2)
        """
        await self.task.chroot(await self._path(path))

    async def mount(
        self,
        source: StrOrBytesPath,
        target: StrOrBytesPath,
        filesystemtype: str = "",
        mountflags: MS | int = _NONE,
        data: str = "",
    ) -> None:
        """Mount a file system, or change how one is mounted.

        Args:
            source: what to mount: a device, say; for file systems without one, a name for people.
            target: where; it must exist.
            filesystemtype: "tmpfs", for example.
            mountflags: members of MS.
            data: options of the file system, separated by commas.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN), ENOENT, ENODEV (no such type), EINVAL, EBUSY; `filename` is
                the source, `filename2` the rest.

        manpage: mount(2)
        """
        from rsyscall.sys.mount import MS

        await self.task.mount(
            await self._path(source),
            await self._path(target),
            await self.ram.ptr(filesystemtype),
            MS(mountflags),
            await self.ram.ptr(data),
        )

    async def make_rprivate(self, target: StrOrBytesPath = "/") -> None:
        """Have mounts made here not appear in other mount namespaces, nor theirs here.

        In a new mount namespace this comes first.

        Args:
            target: a mount; those below it are changed, too.

        manpage: mount_namespaces(7)
        """
        from rsyscall.sys.mount import MS

        await self.mount("none", target, "", MS.REC | MS.PRIVATE)

    async def _getcwd(self) -> str:
        filled, _ = await self.task.getcwd(await self.ram.malloc(bytes, _PATH_MAX))
        return os.fsdecode((await filled.read()).rstrip(b"\0"))

    async def bind_mount(
        self,
        source: StrOrBytesPath,
        target: StrOrBytesPath,
        *,
        recursive: bool = True,
        readonly: bool = False,
    ) -> None:
        """Make a directory or file appear at a second place.

        Args:
            source: the directory or file.
            target: where it appears; it must exist, and be a directory if `source` is one. Over "/" it is
                not seen by processes that have this root: use `chroot`.
            recursive: with the mounts below it. In a user namespace the kernel refuses to leave out those
                that come from outside.
            readonly: for reading only at that place, mounts below included.

        Raises:
            OSError: EPERM, ENOENT, ENOTDIR, EINVAL (not all mounts may be copied).

        manpage: mount(2), mount_setattr(2)
        """
        from rsyscall.sys.mount import MS

        if os.path.normpath(os.fsdecode(target)) == ".":
            # This stays the directory under the mount, which would be made read-only in its place.
            target = await self._getcwd()
        await self.mount(source, target, "", MS.BIND | MS.REC if recursive else MS.BIND)
        if readonly:
            from rsyscall.fcntl import AT
            from rsyscall.sys.mount import MOUNT_ATTR, MountAttr

            # Unlike MS.REMOUNT it leaves the other attributes alone, and reaches the mounts below.
            attributes = await self.ram.ptr(MountAttr(attr_set=MOUNT_ATTR.RDONLY))
            await self.task.mount_setattr(await self._path(target), AT.RECURSIVE, attributes)

    async def mount_tmpfs(
        self, target: StrOrBytesPath, *, size: int | None = None, mode: int = 0o755
    ) -> None:
        """Mount an empty file system in memory, without set-user-ID programs and device files.

        Args:
            target: where; a directory.
            size: how many bytes it may have; half of the memory of the machine by default.
            mode: permissions of its root.

        Raises:
            OSError: as for `mount`.

        manpage: tmpfs(5)
        """
        from rsyscall.sys.mount import MS

        options = f"mode={_number('mode', mode):o}"
        if size is not None:
            options += f",size={_number('size', size)}"
        await self.mount("tmpfs", target, "tmpfs", MS.NOSUID | MS.NODEV, options)

    async def mount_proc(self, target: StrOrBytesPath = "/proc") -> None:
        """Mount /proc of the pid namespace that this process is in.

        Raises:
            OSError: as for `mount`; EPERM also where a part of the present /proc is hidden, as in containers.

        manpage: proc(5)
        """
        from rsyscall.sys.mount import MS

        await self.mount("proc", target, "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC)

    async def mount_overlay(
        self,
        lower: Sequence[StrOrBytesPath],
        target: StrOrBytesPath,
        *,
        upper: StrOrBytesPath | None = None,
        work: StrOrBytesPath | None = None,
        options: str = "",
    ) -> None:
        """Mount several directories on top of each other.

        Args:
            lower: the directories that are only read, the topmost first.
            target: where.
            upper: a directory that gets what is written; without it nothing can be.
            work: with `upper`, an empty directory of the same file system, which the kernel uses.
            options: more options, separated by commas: "userxattr", say, which `upper` needs in a user
                namespace for directories that replace others.

        Raises:
            ValueError: no `lower`, or one of `upper` and `work` without the other.
            OSError: as for `mount`; EINVAL (a directory is not suitable: see the kernel's log).

        manpage: the kernel's Documentation/filesystems/overlayfs.rst
        """
        if isinstance(lower, str | bytes) or not lower:
            raise ValueError(f"lower: expected at least one directory, in a list, not {lower!r}")
        if (upper is None) != (work is None):
            raise ValueError("upper, work: one does not go without the other")
        given = ["lowerdir=" + ":".join(_option(path, ",:") for path in lower)]
        if upper is not None and work is not None:
            given += [f"upperdir={_option(upper, ',')}", f"workdir={_option(work, ',')}"]
        if options:
            given.append(options)
        await self.mount("overlay", target, "overlay", _NONE, ",".join(given))

    async def umount(self, target: StrOrBytesPath, flags: UMOUNT | int = _NONE) -> None:
        """Take away what is mounted at `target` last.

        Args:
            target: the mount.
            flags: `UMOUNT.DETACH` for one that is in use, for example.

        Raises:
            OSError: EBUSY (in use), EINVAL (no mount), EPERM, ENOENT; `filename` is the path.

        manpage: umount(2)
        """
        from rsyscall.sys.mount import UMOUNT

        await self.task.umount(await self._path(target), UMOUNT(flags))

    async def pivot_root(self, new_root: StrOrBytesPath, put_old: StrOrBytesPath) -> None:
        """Make a mount the root of the mount namespace. `switch_root` is simpler.

        Args:
            new_root: a mount.
            put_old: where the old root is mounted then: a directory in `new_root`.

        Raises:
            OSError: EINVAL (no mount, or a shared one), EBUSY (the present root), ENOTDIR, EPERM.

        manpage: pivot_root(2)
        """
        await self.task.pivot_root(await self._path(new_root), await self._path(put_old))

    async def switch_root(self, new_root: StrOrBytesPath) -> None:
        """Make a directory the root of the mount namespace, and detach the old root. It is where we are then.

        Unlike after `chroot` there is no way back, and the old root is no mount of this namespace any more.

        Args:
            new_root: a directory; it is mounted at its own place, with the mounts below it.

        Raises:
            OSError: EINVAL (its mount, or that of the present root, is shared: see `make_rprivate`), ENOENT,
                ENOTDIR, EPERM.

        manpage: pivot_root(2)
        """
        from rsyscall.sys.mount import UMOUNT

        await self.bind_mount(new_root, new_root)
        await self.chdir(new_root)
        # The new root on top of the old one, and the old one detached.
        await self.pivot_root(".", ".")
        await self.umount(".", UMOUNT.DETACH)

    async def sethostname(self, name: str) -> None:
        """Set the host name, of the uts namespace that this process is in.

        Args:
            name: at most 64 bytes.

        Raises:
            OSError: EPERM (needs CAP_SYS_ADMIN), EINVAL (too long); `filename` is the name.

        manpage: sethostname(2)
        """
        await self.task.sethostname(await self.ram.ptr(name))

    async def setgroups(self, groups: Iterable[int]) -> None:
        """Set the supplementary groups.

        In the program itself it changes one OS thread only, not the program.

        Args:
            groups: their numbers; none for no groups.

        Raises:
            OSError: EPERM (needs CAP_SETGID, or the user namespace forbids it), EINVAL; `filename` is the
                list.

        manpage: getgroups(2)
        """
        from rsyscall.unistd import GroupList

        await self.task.setgroups(await self.ram.ptr(GroupList(groups)))
