"""`rsyscall.sys.xattr`."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.fcntl import O
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.sys.xattr import XATTR, XattrList

from .helpers import no_calls
from .support import Local


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    try:
        os.setxattr(path, "user.a", b"one")
    except OSError as exn:
        pytest.skip(f"kernel: the file system of temporary files has no attributes of users ({exn.strerror})")
    return path


async def test_attributes_of_a_file(local: Local, path: Path) -> None:
    task, where, name = local.task, await local.ptr(path), await local.ptr("user.b")
    await task.setxattr(where, name, await local.ptr(b"two\0"), XATTR.CREATE)
    assert os.getxattr(path, "user.b") == b"two\0"
    with pytest.raises(FileExistsError) as caught:
        await task.setxattr(where, name, await local.ptr(b"three"), XATTR.CREATE)
    assert (caught.value.filename, caught.value.filename2) == (path, "user.b")
    await task.setxattr(where, name, await local.ptr(b"three"), XATTR.REPLACE)
    value, rest = await task.getxattr(where, name, await local.malloc(bytes, 100))
    assert (await value.read(), rest.size()) == (b"three", 95)
    names, _ = await task.listxattr(where, await local.malloc(XattrList, 1000))
    assert set(await names.read()) >= {"user.a", "user.b"}
    await task.removexattr(where, name)
    assert "user.b" not in os.listxattr(path)
    with pytest.raises(OSError, match="No data available"):
        await task.getxattr(where, name, await local.malloc(bytes, 100))


async def test_attributes_of_an_open_file(local: Local, path: Path) -> None:
    fd, name = await local.task.open(await local.ptr(path), O.RDONLY), await local.ptr("user.b")
    with pytest.raises(OSError, match="No data available") as caught:
        await fd.fsetxattr(name, await local.ptr(b"two"), XATTR.REPLACE)
    assert caught.value.filename == (fd, "user.b")
    await fd.fsetxattr(name, await local.ptr(b"two"))
    assert os.getxattr(path, "user.b") == b"two"
    value, _ = await fd.fgetxattr(name, await local.malloc(bytes, 3))
    assert await value.read() == b"two"
    names, _ = await fd.flistxattr(await local.malloc(XattrList, 1000))
    assert set(await names.read()) == set(os.listxattr(path))
    await fd.fremovexattr(name)
    assert "user.b" not in os.listxattr(path)


async def test_attributes_of_a_link(local: Local, path: Path) -> None:
    """A link has none of a user, and the calls say so; those that follow it reach the file."""
    link = path.with_name("link")
    link.symlink_to("file")
    task, where, name = local.task, await local.ptr(link), await local.ptr("user.a")
    value, _ = await task.getxattr(where, name, await local.malloc(bytes, 100))
    assert await value.read() == b"one"
    names, _ = await task.llistxattr(where, await local.malloc(XattrList, 1000))
    assert "user.a" not in await names.read()
    for call in (
        task.lsetxattr(where, name, await local.ptr(b"x")),
        task.lgetxattr(where, name, await local.malloc(bytes, 100)),
        task.lremovexattr(where, name),
    ):
        with pytest.raises(OSError) as caught:
            await call
        assert caught.value.errno in (errno.EPERM, errno.ENODATA, errno.EOPNOTSUPP)
        assert (caught.value.filename, caught.value.filename2) == (link, "user.a")


async def test_too_little_room(local: Local, path: Path) -> None:
    where, name = await local.ptr(path), await local.ptr("user.a")
    buf = await local.malloc(bytes, 2)
    with pytest.raises(OSError, match="Numerical result out of range"):
        await local.task.getxattr(where, name, buf)
    _, nothing = buf.split(2)
    names = await local.malloc(XattrList, 0)
    fd = await local.task.open(where, O.RDONLY)
    with no_calls(local.task):
        for call in (
            local.task.getxattr(where, name, nothing),
            local.task.lgetxattr(where, name, nothing),
            fd.fgetxattr(name, nothing),
            local.task.listxattr(where, names),
            local.task.llistxattr(where, names),
            fd.flistxattr(names),
        ):
            with pytest.raises(BufferTooSmallError):
                await call


@given(st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=0xD7FF))))
def test_round_trip(names: list[str]) -> None:
    assert XattrList.from_bytes(XattrList(names).to_bytes()) == names


def test_a_name_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ValueError, match="no NUL"):
        XattrList.from_bytes(b"user.a\0user")


def test_the_module_is_imported_when_a_method_is_used() -> None:
    text = (
        "import sys, inspect; from rsyscall.handle import FileDescriptor, Task\n"
        "print('rsyscall.sys.xattr' in sys.modules, 'setxattr' in dir(Task))\n"
        "print(inspect.iscoroutinefunction(FileDescriptor.fgetxattr))\n"
        "print('rsyscall.sys.xattr' in sys.modules, FileDescriptor.fgetxattr.__qualname__)\n"
    )
    output = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "True", "True", "True", "XattrFileDescriptor.fgetxattr"]
