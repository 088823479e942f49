"""`Limits`: what a command may do and use."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from place import Place
from support import children, local_thread, sh

from rsyscall.fcntl import O
from rsyscall.linux.ioprio import IOPRIO_CLASS
from rsyscall.run_limits import Limits
from rsyscall.signal import SIG
from rsyscall.sys.capability import CAP
from rsyscall.sys.resource import RLIMIT


async def shown(script: str, limits: Limits, **options: Any) -> list[str]:
    """The words that a script prints under these limits."""
    result = await local_thread.run(sh(script), capture=True, limits=limits, **options)
    assert result.stdout is not None
    return result.stdout.decode().split()


async def test_limits_of_a_command(transport: str) -> None:
    cpu = min(os.sched_getaffinity(0))
    limits = Limits(
        rlimits={"nofile": (20, 30), RLIMIT.CORE: 0, "RLIMIT_FSIZE": 1024},
        nice=5,
        ioprio=(IOPRIO_CLASS.IDLE, 0),
        affinity=[cpu],
        umask=0o27,
        session=True,
        no_new_privs=True,
        pdeathsig=SIG.TERM,
    )
    script = """
        ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f; nice; umask
        awk '/^NoNewPrivs|^Cpus_allowed_list/ {print $2}' /proc/self/status
        ionice -p $$; ps -o sid= -p $$; echo $$
    """
    words = await shown(script, limits)
    # A block of ulimit -f is 512 bytes.
    assert words[:8] == ["20", "30", "0", "2", "5", "0027", "1", str(cpu)]
    assert words[8:-2] == ["idle"]
    assert words[-1] == words[-2]


async def test_too_much_memory(transport: str) -> None:
    limits = Limits(rlimits={"as": 64 << 20, "cpu": 1})
    result = await local_thread.run(
        sh("exec head -c 200000000 /dev/zero | tail"), check=False, limits=limits, capture=True
    )
    assert result.stderr is not None
    assert b"emory" in result.stderr or b"exhausted" in result.stderr


@pytest.mark.slow
async def test_processor_time_is_limited() -> None:
    result = await local_thread.run(sh("while :; do :; done"), check=False, limits=Limits(rlimits={"cpu": 1}))
    assert result.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    assert result.usage is not None
    assert float(result.usage.utime) + float(result.usage.stime) > 0.5


async def test_oom_score_adj_is_that_of_the_command_alone() -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    script = "until grep 777 /proc/$$/oom_score_adj; do sleep 0.001; done"
    assert await shown(script, Limits(oom_score_adj=777), timeout=5) == ["777"]
    assert Path("/proc/self/oom_score_adj").read_text() == before
    with pytest.raises(ValueError, match="memory"):
        await Limits(oom_score_adj=5).apply(local_thread.prepare())


@pytest.mark.needs("CAP_SETPCAP")
async def test_capabilities_that_are_kept() -> None:
    script = "awk '/^Cap(Eff|Bnd|Amb)/ {print $2}' /proc/self/status"
    kept = f"{1 << CAP.NET_BIND_SERVICE:016x}"
    none = "0" * 16
    assert await shown(script, Limits(capabilities=[])) == [none, none, none]
    assert await shown(script, Limits(capabilities=[CAP.NET_BIND_SERVICE])) == [kept] * 3


async def test_cgroup(place: Place) -> None:
    place.need("cgroups")
    own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().split("\n") if line[:3] == "0::")
    mount = next(
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().split("\n")
        if " - cgroup2 " in line
    )
    directory = Path(f"{mount}/{own}/rsyscall-test-{os.getpid()}")
    directory.mkdir()
    try:
        assert directory.name in (await shown("cat /proc/self/cgroup", Limits(cgroup=directory)))[-1]
        async with await local_thread.task.open(await local_thread.ptr(str(directory)), O.PATH) as handle:
            assert directory.name in (await shown("cat /proc/self/cgroup", Limits(cgroup=handle)))[-1]
    finally:
        directory.rmdir()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rlimits": {"files": 3}}, "nofile"),
        ({"rlimits": {"nofile": (3, 2)}}, "soft limit"),
        ({"nice": 20}, "-20 to 19"),
        ({"umask": 0o1000}, "umask"),
        ({"affinity": []}, "CPU"),
        ({"oom_score_adj": 1001}, "1000"),
        ({"session": True, "process_group": True}, "anyway"),
    ],
)
def test_misuse(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**arguments)


async def test_what_the_kernel_refuses_is_named() -> None:
    before = children()
    with pytest.raises(OSError, match="sched_setaffinity"):
        await local_thread.run(sh("true"), limits=Limits(affinity=[1000]))
    with pytest.raises(FileNotFoundError, match="nonexistent"):
        await local_thread.run(sh("true"), limits=Limits(cgroup="/nonexistent"))
    assert children() == before


async def test_session_and_tree() -> None:
    assert await shown("ps -o pgid= -p $$", Limits(session=True), tree="group")
