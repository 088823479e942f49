"""The same with subprocess, selectors and unshare(1)."""

from __future__ import annotations

import ctypes
import os
import resource
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = 64 << 20
OUTPUT = 1000
SECONDS = 2
PR_SET_NO_NEW_PRIVS = 38
UNSHARE = ["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child"]
PROGRAMS = {
    "quick": "echo hello",
    "slow": "echo started; (setsid sleep 1000 &); sleep 1000",
    "greedy": "x=xx; while :; do x=$x$x; done",
    "noisy": "yes",
}
libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def memory_cgroup() -> Iterator[Path | None]:
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


def run(script: str, cgroup: Path | None) -> tuple[bytes, str]:
    def confine() -> None:
        if cgroup is not None:
            (cgroup / "cgroup.procs").write_text("0")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    process = subprocess.Popen(
        [*UNSHARE, "/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=confine,
    )
    assert process.stdout is not None
    output, end = b"", time.monotonic() + SECONDS
    with process, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        try:
            while len(output) <= OUTPUT:
                if not selector.select(end - time.monotonic()):
                    return output, "took too long"
                data = os.read(process.stdout.fileno(), 4096)
                if not data:
                    process.wait(end - time.monotonic())
                    return output, "failed" if process.returncode else "succeeded"
                output += data
            return b"", "wrote too much"
        except subprocess.TimeoutExpired:
            return output, "took too long"
        finally:
            process.kill()


def main() -> None:
    with memory_cgroup() as cgroup:
        for name, script in PROGRAMS.items():
            output, end = run(script, cgroup)
            print(f"{name}: {end}", output if end != "failed" else "")


if __name__ == "__main__":
    main()
