"""`rsyscall.sys.capability` and `rsyscall.linux.ioprio`."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsyscall.linux.ioprio import IOPRIO_CLASS, IOPRIO_WHO, ioprio_value
from rsyscall.sys.capability import CAP, CapData, CapHeader, from_uint32s, to_uint32s

from .helpers import forked
from .support import Local


def test_words() -> None:
    caps: set[CAP | int] = {CAP.CHOWN, CAP.SETFCAP, CAP.MAC_OVERRIDE, 63}
    assert to_uint32s(caps) == (1 | 1 << 31, 1 | 1 << 31)
    assert from_uint32s(*to_uint32s(caps)) == caps
    with pytest.raises(ValueError, match="0 to 63"):
        to_uint32s([64])


@forked
async def test_giving_up_capabilities(local: Local, tmp_path: Path) -> None:
    header = await local.ptr(CapHeader())
    buf = await local.malloc(CapData)
    assert await local.task.capget(header, buf) is buf
    now = await buf.read()
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    assert {cap for cap in range(64) if effective >> cap & 1} == now.effective
    await local.task.capset(header, await local.ptr(CapData()))
    assert await (await local.task.capget(header, buf)).read() == CapData()
    with pytest.raises(PermissionError):
        await local.task.capset(header, await local.ptr(CapData({CAP.KILL}, {CAP.KILL})))


@forked
async def test_priority_of_input_and_output(local: Local, tmp_path: Path) -> None:
    await local.task.ioprio_set(IOPRIO_WHO.PROCESS, 0, ioprio_value(IOPRIO_CLASS.BE, 6))
    assert await local.task.ioprio_get(IOPRIO_WHO.PROCESS, 0) == ioprio_value(IOPRIO_CLASS.BE, 6)
    with pytest.raises(OSError, match="Invalid argument"):
        await local.task.ioprio_set(IOPRIO_WHO.PROCESS, 0, 7 << 13)
