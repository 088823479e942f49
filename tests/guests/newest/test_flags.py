"""Flags and commands of older calls that came after Linux 6.18."""

from __future__ import annotations

import errno

import pytest

from rsyscall.fcntl import F_LCK, Delegation, F, O
from rsyscall.linux.openat2 import OPENAT2, OpenHow
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, Sigaction, Sighandler
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.mount import FSCONFIG, FSMOUNT, OPEN_TREE
from rsyscall.sys.prctl import PR
from rsyscall.thread import Thread

from .support import child_of, opened

pytestmark = pytest.mark.slow

EFTYPE, ENOTSUPP = 134, 524
"""Errors that Python has no names for; the second one is one that the kernel should keep to itself."""


async def test_regular_files_alone(thread: Thread) -> None:
    how = await thread.ptr(OpenHow(O(O.RDONLY | OPENAT2.REGULAR)))
    await (await thread.task.openat2(await thread.ptr("/init"), how)).close()
    for path in ("/dev/null", "/dev"):
        with pytest.raises(OSError) as caught:
            await thread.task.openat2(await thread.ptr(path), how)
        assert (caught.value.errno, caught.value.filename) == (EFTYPE, path)


async def test_an_empty_path(thread: Thread) -> None:
    """It opens again what a descriptor stands for."""
    async with await opened(thread, "/init", O.PATH) as file:
        with pytest.raises(FileNotFoundError):
            await file.openat(await thread.ptr(""), O.RDONLY)
        async with await file.openat(await thread.ptr(""), O.RDONLY | O.EMPTYPATH) as again:
            assert await thread.read(again, 4) == b"#!/b"


async def test_a_mount_that_becomes_a_namespace(thread: Thread) -> None:
    for way in ("fsmount", "open_tree"):
        async with child_of(thread) as child:
            if way == "fsmount":
                fs = await child.task.fsopen(await child.ptr("tmpfs"))
                await fs.fsconfig(FSCONFIG.CMD_CREATE)
                namespace = await fs.fsmount(FSMOUNT.NAMESPACE)
            else:
                namespace = await child.task.open_tree(await child.ptr("/sys"), OPEN_TREE.NAMESPACE)
            await child.task.setns(namespace, CLONE.NEWNS)
            with pytest.raises(FileNotFoundError):
                await opened(child, "/init")
            if way == "open_tree":
                await opened(child, "/kernel")
    await (await opened(thread, "/init")).close()


async def test_a_child_without_mounts(thread: Thread) -> None:
    for flags in (CLONE.NEWNS | CLONE.EMPTY_MNTNS, CLONE.EMPTY_MNTNS):
        async with child_of(thread, flags) as child:
            with pytest.raises(FileNotFoundError):
                await opened(child, "/init")
            assert child.task.mountns != thread.task.mountns


async def test_a_child_without_new_privileges(thread: Thread) -> None:
    async with child_of(thread, CLONE.NNP) as child:
        assert await child.task.prctl_get_no_new_privs()
    assert not await thread.task.prctl_get_no_new_privs()


async def test_delegations(thread: Thread) -> None:
    """The holder is told of a change of the directory, which waits until it has answered, or a second."""
    async with await opened(thread, "/proc/sys/fs/lease-break-time", O.WRONLY) as limit:
        await limit.write(await thread.ptr(b"1"))
    async with await mkdtemp(thread) as directory, child_of(thread) as child:
        fd, memory = await opened(child, str(directory)), await child.ptr(Delegation())

        async def held() -> int:
            await fd.fcntl(F.GETDELEG, memory)
            return (await memory.read()).type

        await child.task.sigaction(SIG.IO, await child.ptr(Sigaction(Sighandler.IGN)), None)
        assert await held() == F_LCK.UN
        await fd.fcntl(F.SETDELEG, await child.ptr(Delegation(type=F_LCK.RD)))
        assert await held() == F_LCK.RD
        assert await thread.listdir(directory) == []
        assert await held() == F_LCK.RD
        await thread.mkdir(directory / "made")
        assert await held() == F_LCK.UN
        with pytest.raises(OSError, match="Invalid argument"):
            await fd.fcntl(F.SETDELEG, await child.ptr(Delegation(flags=1, type=F_LCK.RD)))


async def test_options_for_what_it_was_built_without(thread: Thread) -> None:
    for option in (PR.GET_CFI, PR.RSEQ_SLICE_EXTENSION):
        with pytest.raises(OSError) as caught:
            await thread.task.prctl(option)
        assert caught.value.errno in (errno.EINVAL, errno.ENOTSUP, ENOTSUPP)


async def test_children_that_nobody_waits_for(thread: Thread) -> None:
    """No child of a thread can be one: it is waited for."""
    for flag in (CLONE.AUTOREAP, CLONE.PIDFD_AUTOKILL):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            await thread.clone(flag)
        assert caught.value.filename == flag
