"""The book of calls."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from rsyscall.near import SYS, nr
from rsyscall.near._tables import ARCHITECTURES
from rsyscall.near.calls import BOOK, Fact, having

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "tools/abigen/call_facts.py"


def test_every_row_is_a_call() -> None:
    known: set[str] = set()
    for name in ARCHITECTURES:
        known |= importlib.import_module(f"rsyscall.near._tables.{name}").SYS.__members__.keys()
    assert BOOK.keys() <= known


def test_rows_are_in_the_order_of_their_numbers() -> None:
    table = importlib.import_module("rsyscall.near._tables.x86_64").SYS
    numbers = [table[name] for name in BOOK if name in table.__members__]
    assert numbers == sorted(numbers)


def test_what_cannot_be_together() -> None:
    for name, row in BOOK.items():
        assert not (row.facts & Fact.QUICK and row.facts & (Fact.WAITS | Fact.LEAVES)), name
        assert not (row.facts & Fact.POLLS and not row.facts & Fact.WAITS), name
        # They take more work of the server than it does for calls without a waiter.
        assert not (row.facts & Fact.PREPARABLE and row.facts & (Fact.WAITS | Fact.LEAVES)), name
        assert not (row.skipped and row.facts & Fact.PREPARABLE), name


def test_sets_are_of_the_running_architecture() -> None:
    assert nr.getpid in having(Fact.QUICK)
    assert nr.close in having(Fact.CLOSES) & having(Fact.RELEASES)
    assert nr.execve in having(Fact.LEAVES)
    assert having(Fact.POLLS) <= having(Fact.WAITS) <= set(SYS)
    assert nr.close not in having(Fact.QUICK)  # a socket may linger, a file system may be far away


def test_what_is_said_to_do_the_same_exists() -> None:
    others = [row.skipped.removesuffix(" does the same") for row in BOOK.values()]
    named = {other for other, row in zip(others, BOOK.values(), strict=True) if other != row.skipped}
    assert len(named) > 20
    assert named <= SYS.__members__.keys()


def test_the_header_is_what_the_book_says() -> None:
    if not GENERATE.exists() or not (ROOT / "native/src").is_dir():
        pytest.skip("the sources of the C code are not here")
    process = subprocess.run(
        [sys.executable, GENERATE, "--check"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
