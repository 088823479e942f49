"""`rsyscall.sys.utsname`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.near import SYS
from rsyscall.sys.utsname import Utsname

from .helpers import forked, no_calls, stranger
from .support import Local

CLONE_NEWUTS = 0x4000000


async def test_agrees_with_python(local: Local) -> None:
    buf = await local.malloc(Utsname)
    assert await local.task.uname(buf) is buf
    names = await buf.read()
    theirs = os.uname()
    assert (names.sysname, names.nodename, names.release, names.version, names.machine) == tuple(theirs)
    assert Path("/proc/sys/kernel/domainname").read_text().strip() == names.domainname


@pytest.mark.needs("privileged uts namespaces")
@forked
async def test_names_of_a_new_namespace(local: Local, tmp_path: Path) -> None:
    await local.task.sysif.syscall(SYS.unshare, CLONE_NEWUTS)
    await local.task.sethostname(await local.ptr("a-host"))
    await local.task.setdomainname(await local.ptr("a-domain"))
    names = await (await local.task.uname(await local.malloc(Utsname))).read()
    assert names.nodename == "a-host" == os.uname().nodename
    assert names.domainname == "a-domain"
    for call in (local.task.sethostname, local.task.setdomainname):
        with pytest.raises(OSError, match="Invalid argument") as info:
            await call(await local.ptr("h" * 65))
        assert info.value.filename == "h" * 65
        await call(await local.ptr("h" * 64))
    assert os.uname().nodename == "h" * 64


def test_survives_serialisation() -> None:
    names = Utsname("Linux", "höst", "1.2", "#1", "x86_64", "(none)")
    assert Utsname.from_bytes(names.to_bytes()) == names
    assert len(names.to_bytes()) == Utsname.sizeof() == 390
    assert Utsname.from_bytes(Utsname("x" * 100, "", "", "", "", "").to_bytes()).sysname == "x" * 64


async def test_misuse_raises_before_any_call(local: Local) -> None:
    foreign: Any = await stranger().malloc(Utsname)
    freed: Any = await local.malloc(Utsname)
    freed.free()
    small, _ = (await local.malloc(Utsname)).split(389)
    with no_calls(local.task):
        for bad, error in ((foreign, AddressSpaceMismatchError), (freed, UseAfterFreeError)):
            for call in (local.task.uname, local.task.sethostname, local.task.setdomainname):
                with pytest.raises(error):
                    await call(bad)
        with pytest.raises(ValueError, match="390 bytes"):
            await local.task.uname(small)
