"""`Limits`: what a command may do and use."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from place import Place
from support import children, local_thread, sh

from rsyscall.command import Command
from rsyscall.fcntl import O
from rsyscall.linux.ioprio import IOPRIO_CLASS
from rsyscall.near import SYS
from rsyscall.run_limits import Limits
from rsyscall.running import DEVNULL
from rsyscall.sched import CLONE
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread
from rsyscall.sys.capability import CAP, CapData, CapHeader
from rsyscall.sys.resource import RLIMIT
from rsyscall.sys.wait import W
from rsyscall.thread import Thread


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


OOM = "cat /proc/self/oom_score_adj; readlink /proc/self/fd/0; ls -l /proc/self/fd | grep -c oom"


@pytest.mark.parametrize("tree", [False, pytest.param("pidns", marks=pytest.mark.needs("pid namespaces"))])
async def test_oom_score_adj_is_that_of_the_command_alone(tree: Any, transport: str) -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    # Where it can be, it is set before the exec. The descriptors are what they would be without it.
    script = f"until grep -q 777 /proc/self/oom_score_adj; do sleep 0.01; done; {OOM}"
    words = await shown(
        script if tree else OOM, Limits(oom_score_adj=777), tree=tree, stdin=DEVNULL, check=False
    )
    assert words == ["777", "/dev/null", "0"]
    assert await shown("cat; cat /proc/self/oom_score_adj", Limits(oom_score_adj=778), stdin=b"in ") == [
        "in",
        "778",
    ]
    assert Path("/proc/self/oom_score_adj").read_text() == before
    prepared = local_thread.prepare()
    await Limits(oom_score_adj=779).apply(prepared)
    process = await prepared.exec(sh("grep -q 779 /proc/self/oom_score_adj"))
    await process.check()
    child = await local_thread.clone()
    async with child.process:
        with pytest.raises(ValueError, match=r"shares ours.*own_memory"):
            await Limits(oom_score_adj=5).apply(child)
    with pytest.raises(ValueError, match=r"CLONE\.FILES"):
        await Limits(oom_score_adj=5).apply(local_thread.prepare(CLONE.FILES))


async def test_oom_score_adj_of_a_process_with_memory_of_its_own() -> None:
    before = Path("/proc/self/oom_score_adj").read_text()
    child = await local_thread.clone(own_memory=True)
    async with child.process:
        result = await child.run(sh(OOM), check=False, capture=True, limits=Limits(oom_score_adj=780))
        assert result.stdout is not None
        assert result.stdout.split()[0] == b"780"
        await Limits(oom_score_adj=781).apply(child)
        assert Path(f"/proc/{child.process.pid}/oom_score_adj").read_text() == "781\n"
    assert Path("/proc/self/oom_score_adj").read_text() == before


@pytest.mark.slow
def test_oom_score_adj_without_standard_input() -> None:
    program = """
import os, trio
from rsyscall.command import Command
from rsyscall.local import LocalThread
from rsyscall.run_limits import Limits
async def main():
    thread = LocalThread()
    script = "cat /proc/self/oom_score_adj; readlink /proc/self/fd/0"
    command = Command("/bin/sh", ["sh", "-c", script], {})
    for limits in (Limits(oom_score_adj=776), Limits(umask=0)):
        result = await thread.run(command, check=False, capture=True, limits=limits)
        print(result.stdout.split()[1:], result.stdout.startswith(b"776"))
os.close(0)
trio.run(main)
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second = result.stdout.splitlines()
    assert (first, second) == (second.replace("False", "True"), first.replace("True", "False"))


async def test_step_that_fails_while_the_program_is_suspended(transport: str) -> None:
    """The child exits by itself, since the program cannot tell it to."""
    before = children()
    for _ in range(3):
        with trio.fail_after(60):
            with pytest.raises(FileNotFoundError, match="chdir"):
                await local_thread.run(
                    sh("true"), limits=Limits(oom_score_adj=5), setup=lambda child: _go(child, "/nonexistent")
                )
            with pytest.raises(FileNotFoundError) as caught:
                await local_thread.run(Command("/nonexistent", ["x"], {}), limits=Limits(oom_score_adj=5))
        assert caught.value.filename == "/nonexistent"
    assert children() == before
    with pytest.raises(ValueError, match=r"VFORK.*prepare"):
        await local_thread.clone(CLONE.VFORK)
    process = await local_thread.prepare(CLONE.VFORK).exec(sh("exit 3"))
    assert (await process.waitpid(W.EXITED)).exit_status == 3


async def _go(child: PreparedThread, path: str) -> None:
    await child.task.chdir(await child.ptr(path))


async def test_oom_score_adj_that_is_not_permitted() -> None:
    before = children()
    prepared = local_thread.prepare()
    none = CapData(set(), set(), set())
    await prepared.task.capset(await prepared.ptr(CapHeader()), await prepared.ptr(none))
    await Limits(oom_score_adj=-1000).apply(prepared)
    with pytest.raises(PermissionError, match=r"write\(0"):
        await prepared.exec(sh("true"))
    assert children() == before


@pytest.mark.needs("other users")
async def test_oom_score_adj_of_undumpable_memory() -> None:
    child = await local_thread.clone()
    async with child.process:
        await child.task.setresuid(65534, 65534, 65534)
        with pytest.raises(PermissionError, match="own_memory"):
            await Limits(oom_score_adj=5).apply(child.prepare())
        # It still shares memory with us here.
        for thread in (child, local_thread):
            script = sh("until grep 777 /proc/self/oom_score_adj; do sleep 0.01; done")
            result = await thread.run(script, capture=True, limits=Limits(oom_score_adj=777))
            assert result.stdout == b"777\n"


@pytest.mark.needs("CAP_SETPCAP")
async def test_capabilities_that_are_kept() -> None:
    script = "awk '/^Cap(Eff|Bnd|Amb)/ {print $2}' /proc/self/status"
    kept = f"{1 << CAP.NET_BIND_SERVICE:016x}"
    none = "0" * 16
    assert await shown(script, Limits(capabilities=[])) == [none, none, none]
    assert await shown(script, Limits(capabilities=[CAP.NET_BIND_SERVICE])) == [kept] * 3


WHO = "awk '/^(Uid|Gid)/ {print $2, $3, $4, $5} /^Groups/ {$1 = \"groups\"; print}' /proc/self/status"


@pytest.mark.needs("other users", "any user id")
async def test_another_user(transport: str) -> None:
    """By its number or name, and with no group that it was not given."""
    number, name = 65534, pwd.getpwuid(65534).pw_name
    group = pwd.getpwuid(number).pw_gid
    expected = [str(number)] * 4 + [str(group)] * 4 + ["groups"]
    for user in (number, name):
        assert await shown(WHO, Limits(user=user)) == expected
    limits = Limits(user=1 << 20, group=7, extra_groups=["daemon", 9], no_new_privs=True)
    daemon = str(grp.getgrnam("daemon").gr_gid)
    assert await shown(WHO, limits) == [str(1 << 20)] * 4 + ["7"] * 4 + ["groups", daemon, "9"]
    assert await shown(WHO, Limits(group="daemon")) == [str(os.getuid())] * 4 + [daemon] * 4 + [
        *("groups", *map(str, os.getgroups()))
    ]
    assert (await shown(WHO, Limits(extra_groups=[5])))[-2:] == ["groups", "5"]


@pytest.mark.needs("other users", "CAP_SYS_NICE")
async def test_what_privileges_are_needed_for_comes_before_the_other_user(transport: str) -> None:
    limits = Limits(
        rlimits={"nofile": 20},
        nice=-1,
        user=65534,
        session=True,
        umask=0o22,
        pdeathsig=SIG.TERM,
        affinity=[0],
    )
    assert (await shown("ulimit -n; nice; id -u; " + WHO, limits))[:3] == ["20", "-1", "65534"]
    # Not by Python, which another user need not be able to execute where the tests run.
    script = f'$sig = pack("i", 0); syscall({int(SYS.prctl)}, 2, $sig); print unpack("i", $sig)'
    perl = Command("/usr/bin/perl", ["perl", "-e", script], {})
    for given, expected in ((limits, b"15"), (Limits(user=65534), b"9")):
        assert (await local_thread.run(perl, capture=True, limits=given)).stdout == expected


@pytest.mark.needs("other users")
async def test_another_user_in_a_child_that_exists(transport: str) -> None:
    child = await local_thread.clone()
    async with child.process:
        await Limits(user=65534, group=1, extra_groups=[2]).apply(child)
        assert (await child.task.getuid(), await child.task.getegid()) == (65534, 1)
        assert await child.getgroups() == [2]
        with pytest.raises(PermissionError):
            await child.task.setresuid(0, 0, 0)


@pytest.mark.needs("other users", "CAP_SETPCAP")
async def test_another_user_with_capabilities(transport: str) -> None:
    """They are those that were asked for, in all sets, and root's others do not come back."""
    script = "id -u; awk '/^Cap(Inh|Prm|Eff|Bnd|Amb)/ {print $2}' /proc/self/status"
    kept = f"{1 << CAP.NET_BIND_SERVICE:016x}"
    limits = Limits(user=65534, capabilities=[CAP.NET_BIND_SERVICE])
    assert await shown(script, limits) == ["65534", *([kept] * 5)]
    none = "0" * 16
    assert await shown(script, replace(limits, capabilities=[])) == ["65534", *([none] * 5)]
    words = await shown(script, Limits(user=65534))
    assert (words[0], words[2], words[3]) == ("65534", none, none)


@pytest.mark.needs("user namespaces")
async def test_another_user_that_is_not_permitted() -> None:
    """The command does not run with more than it was to have."""
    child = await local_thread.clone(CLONE.NEWUSER)
    async with child.process:
        before = children()
        with pytest.raises(OSError, match=r"setgroups|setresgid"):
            await child.run(sh("echo ran"), limits=Limits(user=1 << 20, group=1 << 20))
        assert children() == before


@pytest.fixture
def cgroup_of_ours(place: Place) -> Iterator[Path]:
    """The directory of a new cgroup."""
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
        yield directory
    finally:
        directory.rmdir()


async def entered(cgroup: Any, thread: Thread = local_thread, **options: Any) -> str:
    """The cgroup in which a command runs."""
    limits = Limits(cgroup=cgroup)
    result = await thread.run(sh("grep ^0:: /proc/self/cgroup"), capture=True, limits=limits, **options)
    assert result.stdout is not None
    return result.stdout.decode().strip()


@pytest.mark.needs("pid namespaces")
async def test_cgroup(cgroup_of_ours: Path, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = cgroup_of_ours
    async with await local_thread.task.open(await local_thread.ptr(str(directory)), O.PATH) as handle:
        for cgroup in (directory, handle):
            assert (await entered(cgroup)).endswith(f"/{directory.name}")
            # The cgroup of the tree is in it.
            assert f"/{directory.name}/rsyscall-" in await entered(cgroup, tree="cgroup")
            # The processes that make the command have copies of the descriptor.
            assert (await entered(cgroup, tree="pidns")).endswith(f"/{directory.name}")
            # Without clone3 it goes there by itself.
            with monkeypatch.context() as patch:
                patch.setattr("rsyscall.clone_call._clone3_missing", True)
                assert (await entered(cgroup)).endswith(f"/{directory.name}")
            child = await local_thread.clone()
            async with child.process:
                await Limits(cgroup=cgroup).apply(child)
                text = Path(f"/proc/{child.process.pid}/cgroup").read_text()
                assert f"/{directory.name}\n" in text
        child = await local_thread.clone(own_memory=True)
        async with child.process:
            assert (await entered(str(directory), child)).endswith(f"/{directory.name}")
    # Other processes notice the death a moment before it leaves its cgroup.
    with trio.fail_after(60):
        while (directory / "cgroup.procs").read_text():  # noqa: ASYNC110 # there is no event for it
            await trio.sleep(0.001)


async def test_no_cgroup(tmp_path: Path) -> None:
    before = children()
    with pytest.raises(FileNotFoundError, match="nonexistent"):
        await local_thread.run(sh("true"), limits=Limits(cgroup="/nonexistent"))
    # A directory that is no cgroup.
    with pytest.raises(OSError) as caught:
        await local_thread.run(sh("true"), limits=Limits(cgroup=tmp_path))
    assert caught.value.errno == errno.EBADF
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ValueError, match="enter_cgroup"):
        await local_thread.clone(CLONE.INTO_CGROUP)
    assert children() == before


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
    assert children() == before


async def test_process_group(transport: str) -> None:
    script = "ps -o pgid= -p $$; echo $$"
    group, pid = await shown(script, Limits(process_group=True))
    assert group == pid
    group, pid = await shown(script, Limits())
    assert (int(group), group != pid) == (os.getpgrp(), True)


PARENT = """
import trio
from rsyscall.command import Command
from rsyscall.local import LocalThread
from rsyscall.run_limits import Limits
from rsyscall.signal import SIG

async def main():
    script = '$SIG{USR1} = sub { print "told\\n"; exit }; $| = 1; print "$$\\n"; sleep 1000 while 1'
    command = Command("/usr/bin/perl", ["perl", "-e", script], {})
    await LocalThread().run(command, limits=Limits(pdeathsig=SIG.USR1))

trio.run(main)
"""


async def test_a_command_is_told_when_the_program_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert int(program.stdout.readline()) != program.pid
        program.kill()
        program.wait()
        assert program.stdout.read() == "told\n"


async def test_session_and_tree() -> None:
    assert await shown("ps -o pgid= -p $$", Limits(session=True), tree="group")


DUMPABLE = """
import trio
from rsyscall.local import LocalThread
from rsyscall.run_limits import Limits
from rsyscall.sys.prctl import PR

async def main():
    local_thread = LocalThread()
    get = lambda: local_thread.task.prctl(PR.GET_DUMPABLE)
    print(await get())
    child = await local_thread.clone()
    async with child.process:
        await Limits(user=65534, group=1).apply(child)
        print(await get())
    with trio.fail_after(30):
        while not await get():
            await trio.sleep(0.01)
    print(await get())
    await Limits(user=65534, group=1).apply(local_thread)
    await trio.sleep(0.5)
    print(await get())

trio.run(main)
"""


@pytest.mark.needs("other users")
def test_another_user_cannot_look_into_the_memory() -> None:
    command = [sys.executable, "-c", DUMPABLE]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    before, with_child, after, changed = map(int, result.stdout.split())
    assert (before, after) == (1, 1)
    assert with_child != 1
    assert changed != 1
