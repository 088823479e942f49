"""The list of calls that act on the address space."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from rsyscall.near import SYS, nr
from rsyscall.near._tables import ARCHITECTURES
from rsyscall.near.address_space import EFFECTS, FILES, call_error, refused_effect

PAGE = Path(__file__).resolve().parents[2] / "docs/address-space.md"


def test_every_effect_is_of_a_call() -> None:
    known: set[str] = set()
    for name in ARCHITECTURES:
        known |= importlib.import_module(f"rsyscall.near._tables.{name}").SYS.__members__.keys()
    assert {effect.call for effect in EFFECTS} <= known
    titles = [effect.title for effect in EFFECTS]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize(
    ("args", "title"),
    [
        ((65, 1), "PR_SET_MDWE"),
        ((65 | 1 << 32, 1), "PR_SET_MDWE"),
        ((65 - (1 << 40), 0), "PR_SET_MDWE"),
        ((66, 0), None),
        ((78, 1), "PR_FUTEX_HASH_SET_SLOTS"),
        ((78, 1, 16), "PR_FUTEX_HASH_SET_SLOTS"),
        ((78, 2), None),
        ((78, 1 | 1 << 32), None),
        ((78,), None),
        ((4, 0), None),
    ],
)
def test_what_is_refused(args: tuple[int, ...], title: str | None) -> None:
    effect = refused_effect(nr.prctl, *args)
    assert (None if effect is None else effect.title) == title


def test_other_calls_and_numbers_that_are_no_call() -> None:
    assert refused_effect(nr.getpid) is None
    assert refused_effect(100000, 65, 1) is None
    assert refused_effect(SYS.mseal, 4096, 4096) is not None


def test_error_of_a_call_that_was_refused() -> None:
    assert "PR_SET_MDWE is refused in process 7: " in str(call_error(-1, "process 7", nr.prctl, 65, 1))
    assert str(call_error(-1, "process 7", nr.prctl, 4, 0)) == "[Errno 1] Operation not permitted"
    assert isinstance(call_error(-2, "process 7", nr.prctl, 65, 1), FileNotFoundError)


def test_the_page_for_readers_has_the_same_list() -> None:
    if not PAGE.exists():
        pytest.skip("the documentation is not here")
    _, refused, allowed, files = PAGE.read_text().split("\n## ")

    def named(section: str) -> set[str]:
        rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
        return {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named(refused) == {effect.title for effect in EFFECTS if effect.lasting}
    assert named(allowed) == {effect.title for effect in EFFECTS if not effect.lasting}
    first, _, _ = files.partition("The library cannot")
    assert set(re.findall(r"`(\w+)`", first)) == set(FILES)
