"""What holds for the enumerations of flags in all header modules."""

from __future__ import annotations

import enum
import itertools

import pytest

from rsyscall.fcntl import AT

from .abi_probe import discover

# Not a flag, but what stands for the working directory; the name and the type are as in C and in earlier
# versions.
NOT_FLAGS = {AT.FDCWD}
FLAGS = [cls for cls in discover.enums() if issubclass(cls, enum.IntFlag)]


def members(cls: type[enum.IntFlag]) -> list[enum.IntFlag]:
    """All members, those with several names once."""
    found = {member.value: member for member in cls.__members__.values() if member not in NOT_FLAGS}
    return list(found.values())


@pytest.mark.parametrize("cls", FLAGS, ids=lambda cls: cls.__name__)
def test_flags_can_be_taken_out(cls: type[enum.IntFlag]) -> None:
    """Operations on flags are those on their numbers."""
    wrong = [
        (a, b)
        for a, b in itertools.product(members(cls), repeat=2)
        if (a | b) & ~b != a.value & ~b.value
        or (a | b) & ~a & ~b != 0
        or a & ~b != a.value & ~b.value
        or (a | b) ^ b != (a.value | b.value) ^ b.value
        or type((a | b) & ~b) is not cls
    ]
    assert wrong == []


@pytest.mark.parametrize("cls", FLAGS, ids=lambda cls: cls.__name__)
def test_flags_are_not_negative(cls: type[enum.IntFlag]) -> None:
    assert all(member.value >= 0 for member in members(cls))


def test_flags_of_a_newer_kernel_stay() -> None:
    flags = AT(0x40100000) | AT.SYMLINK_NOFOLLOW
    assert flags & ~AT.SYMLINK_NOFOLLOW == 0x40100000
    assert list(flags) == [AT.SYMLINK_NOFOLLOW]
    assert repr(flags)


def test_the_working_directory_is_not_a_flag() -> None:
    assert AT.FDCWD == -100
    assert AT(-100) is AT.FDCWD
    assert AT.FDCWD not in set(AT.EMPTY_PATH | AT.REMOVEDIR)
    assert set(AT.EMPTY_PATH | AT.REMOVEDIR) == {AT.EMPTY_PATH, AT.REMOVEDIR}
    assert list(AT.NONE) == []
