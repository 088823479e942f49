"""The modules, names and files to which the texts refer exist."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `rsyscall.x.y` in a text. Not part of a longer word or path, such as `native/src-py/rsyscall.pth`.
NAME = re.compile(r"(?<![\w./-])rsyscall(?:\.[A-Za-z_]\w*)+(?![\w/-])")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# Names of files or domains that look like names of modules.
NOT_NAMES = {"rsyscall.h", "rsyscall.c", "rsyscall.foo.bar"}


def _tracked(*patterns: str) -> list[Path]:
    git = ["git", "ls-files", *patterns]
    listing = subprocess.run(git, cwd=ROOT, capture_output=True, text=True) if shutil.which("git") else None
    if listing is None or listing.returncode:
        # A copy without its history, or a place without git.
        found = [path for pattern in patterns for path in ROOT.rglob(pattern)]
        return [
            path for path in found if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return [ROOT / name for name in listing.stdout.splitlines()]


TEXTS = [path for path in _tracked("*.md") if path.name != "CHANGELOG.md"]
SOURCES = [path for path in _tracked("*.py") if "src" in path.parts or "examples" in path.parts]


def resolves(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            if not hasattr(found, attribute) and attribute not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, attribute, None)
        return True
    return False


def heading_anchors(text: str) -> set[str]:
    """The anchors of the headings of a page, as they are made of their words."""
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> Iterator[str]:
    """The links of a page to files or headings of the project that do not exist."""
    for target in LINK.findall(path.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in heading_anchors(there.read_text())):
            yield target


def test_the_texts_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in TEXTS}
    assert {"README.md", "SECURITY.md", "docs/README.md", "native/README.md"} <= names
    assert len(SOURCES) > 50


def test_a_name_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    assert resolves("rsyscall.thread.Thread.clone")
    assert not resolves("rsyscall.thread.Thread.no_such_method")
    assert not resolves("rsyscall.no_such_module")
    page = tmp_path / "page.md"
    page.write_text("# A page\n[here](#a-page) [there](#not-there) [file](no-such-file) [web](https://x.y)\n")
    assert list(dead_links(page)) == ["#not-there", "no-such-file"]


@pytest.mark.parametrize("path", [*TEXTS, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_in_a_text_is_there(path: Path) -> None:
    names = set(NAME.findall(path.read_text())) - NOT_NAMES
    assert [name for name in sorted(names) if not resolves(name)] == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    assert list(dead_links(path)) == []
