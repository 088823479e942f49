"""The mapping of users and groups in a new user namespace.

The mapping is written to files in /proc, which belong to root when the memory of their process is undumpable.
Ours is while programs run in some other user namespace (`rsyscall.dumpable`), so an ordinary user cannot
write these files then. An executed program has memory of its own, which is dumpable. So a child of the
process executes a program in the same namespace, and this program writes the mapping. For this it needs
CAP_SYS_ADMIN there, which the first process of the namespace has and keeps over exec as an ambient capability
(capabilities(7)): without a mapping it is not root. The program is `rsyscall-stub`, executed from a memory
file, since the process may have a root directory without it.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING, Protocol

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.path import Path
from rsyscall.sys.wait import W

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsyscall.handle import Task
    from rsyscall.loader import NativeLoader
    from rsyscall.memory.ram import RAM
    from rsyscall.monitor import AsyncChildProcess

    class _Prepared(Protocol):
        """A `PreparedThread`."""

        task: Task
        ram: RAM

        async def exec(self, command: Command) -> AsyncChildProcess: ...

    class _Thread(Protocol):
        """A `Thread`."""

        task: Task
        ram: RAM
        loader: NativeLoader

        def prepare(self) -> _Prepared: ...


__all__ = ["write_user_mappings"]

_CAPABILITY_VERSION_3 = 0x20080522
_CAP_SYS_ADMIN = 21


async def write_user_mappings(
    thr: _Thread,
    uid: int,
    gid: int,
    in_namespace_uid: int | None = None,
    in_namespace_gid: int | None = None,
) -> None:
    """Map one user and one group of the parent user namespace into the namespace of `thr`.

    From then on our memory, if `thr` shares it, cannot be traced by others: see `rsyscall.dumpable`.

    Args:
        thr: a process that has just got a user namespace of its own.
        uid: the user outside; read before the namespace was made, since inside it reads as the overflow id.
        gid: the group outside.
        in_namespace_uid: the user inside; the same number by default.
        in_namespace_gid: the group inside.

    Raises:
        OSError: EPERM (a mapping exists, or the ids are not those of `thr`), and others; filename is the
            file in /proc.

    manpage: user_namespaces(7)
    """
    if in_namespace_uid is None:
        in_namespace_uid = uid
    if in_namespace_gid is None:
        in_namespace_gid = gid
    # An unprivileged process may map groups only once it has given up setgroups.
    files = [
        (Path("/proc/self/uid_map"), f"{in_namespace_uid} {uid} 1\n"),
        (Path("/proc/self/setgroups"), "deny"),
        (Path("/proc/self/gid_map"), f"{in_namespace_gid} {gid} 1\n"),
    ]
    # Made here, if it is our own process and has none yet.
    hub = thr.loader.hub
    mapped = False
    try:
        for index, (path, text) in enumerate(files):
            # Perhaps, if something interrupts us.
            mapped = True
            try:
                await _write(thr, path, text)
            except OSError as error:
                mapped = index > 0
                if error.errno != errno.EACCES or hub is None or hub.dumpable.is_dumpable():
                    raise
                await _write_by_program(thr, files[index:])
                mapped = True
                break
    finally:
        if hub is not None and mapped:
            hub.dumpable.protect(hub.rings.get(thr.task))


async def _write(thr: _Thread, path: Path, text: str) -> None:
    fd = await thr.task.open(await thr.ram.ptr(path), O.WRONLY)
    async with fd:
        with naming(path):
            # In one write: the kernel takes nothing less.
            await fd.write(await thr.ram.ptr(text.encode()))


async def _write_by_program(thr: _Thread, files: Sequence[tuple[Path, str]]) -> None:
    """Write the files of the namespace of `thr` in a child of it that is not us any more."""
    from rsyscall.stub_program import stub_bytes

    program = await thr.task.memfd_create(await thr.ram.ptr("rsyscall-stub"))
    async with program:
        await program.write(await thr.ram.ptr(stub_bytes()))
        child = thr.prepare()
        await _keep_over_exec(child, _CAP_SYS_ADMIN)
        arguments = [argument for path, text in files for argument in (os.fspath(path), text)]
        command = Command(f"/proc/self/fd/{int(program.near)}", ["rsyscall-stub", "write", *arguments], {})
        process = await child.exec(command)
        async with process:
            state = await process.waitpid(W.EXITED)
    if state.exit_status is None:
        raise OSError(errno.EINTR, f"the program that was to write it {state}", files[0][0])
    if state.exit_status:
        # As the program says it: where and why.
        index, number = divmod(state.exit_status, 64)
        raise OSError(number, os.strerror(number), files[index][0])


async def _keep_over_exec(child: _Prepared, capability: int) -> None:
    """Keep one of its capabilities, although it is not root: it has all of them, and needs no others.

    manpage: capset(2), capabilities(7)
    """
    from rsyscall.sys.prctl import PR, PR_CAP_AMBIENT

    bit = 1 << capability
    header = await child.ram.ptr(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    # effective, permitted, inheritable; and the same for capabilities from 32 on
    sets = await child.ram.ptr(struct.pack("6I", bit, bit, bit, 0, 0, 0))
    # What is borrowed is kept until the noted call has been made.
    with header.borrow(child.task) as where, sets.borrow(child.task) as what:
        await child.task.sysif.syscall(nr.capset, where, what)
    await child.task.prctl(PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, capability)
