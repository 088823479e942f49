"""`rsyscall.time`: exact conversions, and what the kernel makes of the structures."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsyscall.near import SYS
from rsyscall.time import CLOCK, Itimerspec, Timespec

from .support import Local

int64 = st.integers(-(2**63), 2**63 - 1)
timespecs = st.builds(Timespec, int64, st.integers(0, 999_999_999))


def test_decimal_is_converted_exactly() -> None:
    assert Timespec.from_float(Decimal("4.1")) == Timespec(4, 100_000_000)
    assert Timespec.from_float(Decimal("1234567890.123456789")) == Timespec(1234567890, 123456789)


def test_itimerspec_keeps_its_two_fields_apart() -> None:
    timer = Itimerspec(1, Decimal("2.5"))
    assert timer.interval == Timespec(1, 0)
    assert timer.value == Timespec(2, 500_000_000)
    assert Itimerspec(Timespec(3, 4), 0.25) == Itimerspec(Decimal("3.000000004"), Timespec(0, 250_000_000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, (0, 0)),
        (0.5, (0, 500_000_000)),
        (4.1, (4, 100_000_000)),
        (1e-9, (0, 1)),
        (0.9999999999, (1, 0)),
        (-0.25, (-1, 750_000_000)),
        (-1, (-1, 0)),
        (2.0**60, (2**60, 0)),
    ],
)
def test_float_is_rounded_to_the_nearest_nanosecond(value: float, expected: tuple[int, int]) -> None:
    assert Timespec.from_float(value) == Timespec(*expected)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), Decimal("Infinity")])
def test_not_a_finite_number_raises(value: float | Decimal) -> None:
    with pytest.raises((OverflowError, ValueError)):
        Timespec.from_float(value)


def test_copy_of_a_timespec_is_another_object() -> None:
    time = Timespec(1, 2)
    copy = Timespec.from_float(time)
    assert copy == time
    assert copy is not time


@given(timespecs)
def test_conversions_are_inverse(time: Timespec) -> None:
    assert Timespec.from_nanos(time.to_nanos()) == time
    assert Timespec.from_float(time.to_decimal()) == time
    assert Timespec.from_bytes(time.to_bytes()) == time
    assert len(time.to_bytes()) == Timespec.sizeof() == 16


@given(timespecs, timespecs)
def test_itimerspec_survives_serialisation(interval: Timespec, value: Timespec) -> None:
    timer = Itimerspec(interval, value)
    assert Itimerspec.from_bytes(timer.to_bytes()) == timer
    assert len(timer.to_bytes()) == Itimerspec.sizeof() == 32


def test_short_data_raises() -> None:
    with pytest.raises(struct.error):
        Timespec.from_bytes(bytes(15))


async def test_kernel_fills_an_allocated_timespec(local: Local) -> None:
    times = []
    for _ in range(2):
        ptr = await local.malloc(Timespec)
        with ptr.borrow(local.task) as address:
            await local.task.sysif.syscall(SYS.clock_gettime, CLOCK.MONOTONIC, address)
        times.append((await ptr.read()).to_nanos())
    assert 0 < times[0] <= times[1]


async def test_kernel_understands_a_written_timespec(local: Local) -> None:
    ptr = await local.ptr(Timespec(0, 1_000_000_000))
    with ptr.borrow(local.task) as address, pytest.raises(OSError, match="Invalid argument"):
        await local.task.sysif.syscall(SYS.nanosleep, address, 0)
    ptr = await local.ptr(Timespec.from_float(0.000001))
    with ptr.borrow(local.task) as address:
        await local.task.sysif.syscall(SYS.nanosleep, address, 0)
