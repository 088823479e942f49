"""A runner of untrusted programs: limits on time, memory and output, and nothing of them is left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import trio

from rsyscall import DEVNULL, PIPE, STDOUT, CommandTimeoutError, Limits, local_thread
from rsyscall.running import RunOptions
from rsyscall.sched import CLONE

MEMORY = 64 << 20
LIMITS = Limits(rlimits={"as": MEMORY, "core": 0}, no_new_privs=True)
OPTIONS = RunOptions(
    stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, limit=1000, on_limit="kill", timeout=2, grace=0
)
PROGRAMS = {
    "quick": "echo hello",
    "slow": "echo started; (setsid sleep 1000 &); sleep 1000",
    "greedy": "x=xx; while :; do x=$x$x; done",
    "noisy": "yes",
}


@contextmanager
def memory_cgroup() -> Iterator[Path | None]:
    """A cgroup whose processes share a limit on memory, where we may make one."""
    own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::")
    path = Path(f"/sys/fs/cgroup{own}/untrusted-{os.getpid()}")
    try:
        path.mkdir()
    except OSError:
        yield None
        return
    try:
        limit = path / "memory.max"
        if limit.exists():
            limit.write_text(str(MEMORY))
        yield path if limit.exists() else None
    finally:
        path.rmdir()


async def run(script: str, cgroup: Path | None) -> tuple[bytes, str]:
    """Run a script as nothing but a child of a new process 1; returns its output and how it ended.

    That process has memory of its own, so that nothing that shares ours is beside the script. At the end of
    the block it is killed, and the kernel kills all that is left in the namespace, daemons included.
    """
    init = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWPID, own_memory=True)
    async with init.process:
        options = OPTIONS.copy()
        options["limits"] = replace(LIMITS, cgroup=cgroup)
        try:
            result = await init.run(init.environ.sh.args("-c", script), check=False, **options)
        except CommandTimeoutError as error:
            return error.stdout or b"", "took too long"
        if result.truncated:
            return b"", "wrote too much"
        return result.stdout or b"", "succeeded" if result.clean() else "failed"


async def main() -> None:
    with memory_cgroup() as cgroup:
        for name, script in PROGRAMS.items():
            output, end = await run(script, cgroup)
            print(f"{name}: {end}", output if end != "failed" else "")


if __name__ == "__main__":
    trio.run(main)
