"""The names and signatures that the library promises exist, and what is missing is listed in missing.py."""

from __future__ import annotations

from tests.contract import missing, signatures


def test_promises_are_kept_or_listed_as_missing() -> None:
    found = signatures.differences(signatures.read_listing())
    unlisted = {name: how or "missing" for name, how in found.items() if name not in missing.MISSING}
    fixed = sorted(set(missing.MISSING) - set(found))
    lines = [f"{name}: {how}" for name, how in sorted(unlisted.items())]
    assert not lines, "not as signatures.txt promises, and not in missing.py:\n" + "\n".join(lines)
    assert not fixed, "listed in missing.py, but there:\n" + "\n".join(fixed)


def test_every_missing_entry_has_a_category_and_a_note() -> None:
    categories = {missing.LATER, missing.REPLACED, missing.INTERNAL, missing.DIFFERENT}
    for name, (category, note) in missing.MISSING.items():
        assert category in categories, name
        assert note, name


def test_listing_is_complete() -> None:
    modules = signatures.read_listing()
    assert len(modules) == len({module.name for module in modules})
    assert sum(len(module.classes) for module in modules) > 250
    assert sum(len(module.functions) for module in modules) > 50
