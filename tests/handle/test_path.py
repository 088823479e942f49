"""Path, on all the versions of pathlib."""

from __future__ import annotations

import contextlib
import copy
import os
import pathlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.path import Path

segments = st.lists(st.sampled_from(["", ".", "..", "/", "a", "b.c", "/x/y", "//d", "e/"]), max_size=4)


class Odd(Path):
    """Has a constructor which does not take segments."""

    def __init__(self, parent: Path, name: str, *, owner: object = None) -> None:
        super().__init__(parent, name)
        self.owner = owner


class Even(Path):
    """Adds only methods."""

    def shout(self) -> str:
        return str(self).upper()


@given(segments)
def test_parses_like_pathlib(parts: list[str]) -> None:
    ours, theirs = Path(*parts), pathlib.PurePosixPath(*parts)
    assert str(ours) == str(theirs)
    assert ours.parts == theirs.parts
    assert ours == theirs
    assert theirs == ours
    assert hash(ours) == hash(theirs)
    assert ours.name == theirs.name
    assert ours.parent == theirs.parent
    assert list(ours.parents) == list(theirs.parents)
    assert os.fspath(ours) == os.fspath(theirs)
    assert Even(*parts) == theirs


def test_accepts_paths() -> None:
    assert Path(Path("/a"), pathlib.PurePosixPath("b"), "c") == Path("/a/b/c")
    assert Path() == Path(".")
    assert pathlib.PurePosixPath(Path("/a")) == Path("/a")
    assert str(pathlib.Path(Path("/a"))) == "/a"


def derived(path: Path) -> list[Path]:
    return [
        path / "x",
        "/y" / path,
        path.parent,
        *path.parents,
        path.joinpath("x", "y"),
        path.with_name("n"),
        path.with_stem("s"),
        path.with_suffix(".txt"),
        path.relative_to("/a"),
    ]


@pytest.mark.parametrize("path", [Path("/a/b.c"), Odd(Path("/a"), "b.c"), Even("/a/b.c")])
def test_derived_paths_are_plain(path: Path) -> None:
    for ours, theirs in zip(derived(path), derived_by_pathlib(), strict=True):
        assert type(ours) is Path
        assert ours == theirs
        # and usable in turn
        assert type(ours / "more") is Path
        assert str(ours / "more") == str(theirs / "more")


def derived_by_pathlib() -> list[pathlib.PurePosixPath]:
    path = pathlib.PurePosixPath("/a/b.c")
    return [
        path / "x",
        "/y" / path,
        path.parent,
        *path.parents,
        path.joinpath("x", "y"),
        path.with_name("n"),
        path.with_stem("s"),
        path.with_suffix(".txt"),
        path.relative_to("/a"),
    ]


def test_subclass_with_its_own_constructor() -> None:
    owner = object()
    path = Odd(Path("/tmp"), "dir", owner=owner)
    assert path.owner is owner
    assert str(path) == "/tmp/dir"
    assert path.name == "dir"
    assert path == Path("/tmp/dir")
    assert hash(path) == hash(Path("/tmp/dir"))
    assert path < Path("/tmp/e")
    assert repr(path) == "Odd('/tmp/dir')"
    assert Path("/tmp/dir") in {path}


def test_looking_at_a_path_before_it_is_made() -> None:
    class Eager(Path):
        def __init__(self, name: str) -> None:
            # since Python 3.12 there is nothing to look at yet
            with contextlib.suppress(AttributeError):
                str(self), hash(self)
            super().__init__("/run", name)

    assert str(Eager("x")) == "/run/x"
    assert hash(Eager("x")) == hash(Path("/run/x"))


@pytest.mark.parametrize("path", [Path("/a/b"), Odd(Path("/a"), "b"), Even("/a/b")])
def test_copies_are_plain_paths(path: Path) -> None:
    for again in (pickle.loads(pickle.dumps(path)), copy.copy(path), copy.deepcopy(path)):
        assert type(again) is Path
        assert again == path
