"""Mounts behind descriptors, which are attached to the file system later: see `Thread.make_mount`.

manpage: mount_setattr(2), fsopen(2), open_tree(2), move_mount(2)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rsyscall.fcntl import AT
from rsyscall.handle import FileDescriptor, Task
from rsyscall.sys.mount import FSCONFIG, FSMOUNT, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, MountAttr

if TYPE_CHECKING:
    from rsyscall.handle import WrittenPointer
    from rsyscall.memory.ram import RAM

__all__ = ["MountOption", "MountOptions", "attach_mount", "copy_mount", "make_mount"]

MountOption = str | bytes | int | PurePath | FileDescriptor
"""A value of an option of a file system: text or a number, True for one without a value, or a descriptor."""

MountOptions = Mapping[str, MountOption | Sequence[MountOption]]
"""Options by their names. One with several values is given once for each of them, in their order."""

# The kernel writes no longer messages.
_MESSAGE_SIZE = 4096
# It keeps the last eight.
_MOST_MESSAGES = 8


def _settings(options: MountOptions) -> Iterator[tuple[str, MountOption]]:
    for name, given in options.items():
        values = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
        for value in values:
            if value is False or not isinstance(value, str | bytes | int | PurePath | FileDescriptor):
                raise TypeError(
                    f"options: {name}: expected text, a number, True, a path or a descriptor, not {value!r}"
                )
            yield name, value


async def make_mount(
    task: Task, ram: RAM, filesystemtype: str, options: MountOptions, attributes: int
) -> FileDescriptor:
    """See `Thread.make_mount`."""
    settings = list(_settings(options))
    async with await task.fsopen(await ram.ptr(filesystemtype)) as context:
        try:
            for name, value in settings:
                key = await ram.ptr(name)
                if value is True:
                    await context.fsconfig(FSCONFIG.SET_FLAG, key)
                elif isinstance(value, FileDescriptor):
                    await context.fsconfig(FSCONFIG.SET_FD, key, aux=value)
                else:
                    text = str(value) if isinstance(value, int) else os.fsdecode(value)
                    await context.fsconfig(FSCONFIG.SET_STRING, key, await ram.ptr(text))
            await context.fsconfig(FSCONFIG.CMD_CREATE)
            return await context.fsmount(FSMOUNT.NONE, MOUNT_ATTR(attributes))
        except OSError as error:
            if messages := await _messages(context, ram):
                error.strerror = f"{error.strerror} ({'; '.join(messages)})"
            raise


async def _messages(context: FileDescriptor, ram: RAM) -> list[str]:
    """What the file system has to say about an error."""
    messages = []
    for _ in range(_MOST_MESSAGES):
        try:
            filled, _ = await context.read(await ram.malloc(bytes, _MESSAGE_SIZE))
        except OSError:
            break  # ENODATA: there are no more
        # Each begins with a letter for its kind and a space.
        messages.append((await filled.read())[2:].decode(errors="replace").strip())
    return messages


async def copy_mount(
    task: Task,
    ram: RAM,
    path: WrittenPointer[Any],
    recursive: bool,
    attributes: int,
    userns: FileDescriptor | None,
) -> FileDescriptor:
    """See `Thread.copy_mount`."""
    flags = OPEN_TREE.CLONE | AT.RECURSIVE if recursive else OPEN_TREE.CLONE
    copy = await task.open_tree(path, flags)
    try:
        if attributes or userns is not None:
            where, below = await ram.ptr(""), AT.EMPTY_PATH | AT.RECURSIVE
            if userns is None:
                attr = MountAttr(attr_set=MOUNT_ATTR(attributes))
                await copy.mount_setattr(where, below, await ram.ptr(attr))
            else:
                with userns.borrow(task) as number:
                    wanted = MOUNT_ATTR.IDMAP | attributes
                    attr = MountAttr(attr_set=wanted, userns_fd=int(number))
                    await copy.mount_setattr(where, below, await ram.ptr(attr))
    except BaseException:
        await copy.invalidate()
        raise
    return copy


async def attach_mount(task: Task, ram: RAM, mount: FileDescriptor, target: WrittenPointer[Any]) -> None:
    """See `Thread.attach_mount`."""
    mount = mount.for_task(task)
    try:
        await mount.move_mount(await ram.ptr(""), None, target, MOVE_MOUNT.F_EMPTY_PATH)
    finally:
        # The other handle keeps it open.
        await mount.invalidate()
