"""`Thread.glob`, beside the `glob` of Python."""

from __future__ import annotations

import glob
import os
from pathlib import Path as LocalPath

import pytest
from support import local_thread

from rsyscall.path import Path
from rsyscall.thread import Thread

PATTERNS = [
    *("*", "*/", "**", "**/", "**/*", "**/f*", "*/*", "*/f", "a/**", "a/**/f1", "a/**/", "**/c/**", "**/**"),
    *("a", "a/", "a/f", "a/f/", "a/../a/*", ".", "./*", "f[0-9]", "f[!0-9]", "a/f?", "?", "[ab]/*", "no/*"),
    *(
        ".*",
        ".h/*",
        "**/.h",
        "*/.h",
        "a/[[]x]",
        "a/b/c/*",
        "f0/*",
        "missing",
        "missing/",
        "**/missing",
    ),
]


@pytest.fixture
def tree(tmp_path: LocalPath) -> LocalPath:
    for name in ("a/b/c", "b", ".h/x", "a/.h"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("f0", "fx", "a/f", "a/f1", "a/b/f1", "a/b/c/f1", "b/g", ".hidden", ".h/x/f1", "a/[x]"):
        (tmp_path / name).touch()
    return tmp_path


def normal(paths: list[str] | list[Path]) -> list[str]:
    return sorted({os.path.normpath(path) for path in paths} - {"."})


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_matches(pattern: str, tree: LocalPath) -> None:
    expected = glob.glob(os.path.join(glob.escape(str(tree)), pattern), recursive=True)
    found = await local_thread.glob(f"{tree}/{pattern}")
    assert found == sorted(found)
    # A pattern of Python's with nothing but directories may give the one that it begins with.
    assert normal(found) == normal(expected)


async def test_a_name_that_is_too_long_matches_nothing(tree: LocalPath) -> None:
    (tree / "a/link").symlink_to("y" * 4095)
    (tree / "a/other").symlink_to("y" * 256)
    assert await local_thread.glob(f"{tree}/a/*/") == [Path(tree / "a/b")]
    assert await local_thread.glob(f"{tree}/{'x' * 256}") == []
    assert await local_thread.glob(f"{tree}/{'x' * 256}/") == []
    assert await local_thread.glob(f"{tree}/{'x' * 256}/*") == []
    assert await local_thread.glob(f"{tree}/*/{'x/' * 3000}") == []


async def test_the_working_directory() -> None:
    for pattern in ".", "./", Path("."):
        assert await local_thread.glob(pattern) == [Path(".")]
    assert await local_thread.glob("") == []
    assert await local_thread.glob("..") == [Path("..")]


async def test_in_a_child_and_relative(transport: str, tree: LocalPath) -> None:
    child = await local_thread.clone()
    async with child.process:
        await child.chdir(tree)
        assert await child.glob("a/**/f1") == [Path("a/b/c/f1"), Path("a/b/f1"), Path("a/f1")]
        assert await child.glob(b"f?") == [Path("f0"), Path("fx")]
        assert await child.glob(Path("*")) == [Path("a"), Path("b"), Path("f0"), Path("fx")]
        # For these the glob of older Pythons gives what it was asked for.
        assert await child.glob("missing/**") == await child.glob("f0/**") == []
        assert await child.glob("") == []
        assert await child.glob("/") == [Path("/")]


async def test_links(tree: LocalPath) -> None:
    (tree / "b" / "up").symlink_to("..")
    (tree / "b" / "nowhere").symlink_to("missing")
    (tree / "b" / "loop").symlink_to("loop")

    async def found(pattern: str) -> list[str]:
        return [os.path.relpath(path, tree) for path in await local_thread.glob(f"{tree}/{pattern}")]

    assert await found("b/*") == ["b/g", "b/loop", "b/nowhere", "b/up"]
    assert await found("b/*/") == ["b/up"]
    assert await found("b/nowhere") == ["b/nowhere"]
    assert await found("b/nowhere/") == []
    assert await found("b/*/f0") == ["b/up/f0"]
    # It would not end.
    assert await found("**/f0") == ["f0"]


@pytest.mark.needs("other users")
async def test_a_directory_that_is_not_for_us(tree: LocalPath) -> None:
    (tree / "b").chmod(0)
    child: Thread = await local_thread.clone()
    for directory in (tree, *tree.parents):
        if directory.stat().st_uid == os.getuid() and directory.name.startswith(("pytest", "test")):
            directory.chmod(0o755)
    await child.setgroups([])
    await child.task.setresgid(65534, 65534, 65534)
    await child.task.setresuid(65534, 65534, 65534)
    assert await child.glob(f"{tree}/*/f") == [Path(f"{tree}/a/f")]
    await child.exit()
