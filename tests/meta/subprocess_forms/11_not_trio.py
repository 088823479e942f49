"""The same with subprocess and asyncio."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor


def sh(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


async def output(command: list[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    stdout, _ = await process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return stdout


async def main() -> None:
    print("from asyncio:", await asyncio.gather(*(output(sh(f"echo {n}")) for n in range(3))))


if __name__ == "__main__":
    result = subprocess.run(sh("cat; pwd"), input=b"input\n", cwd="/usr", capture_output=True, check=True)
    print("one call:", result.stdout)
    try:
        subprocess.run(sh("echo oops >&2; exit 3"), capture_output=True, check=True)
    except subprocess.CalledProcessError as error:
        print("failed:", error.returncode, error.stderr)
    try:
        subprocess.run(sh("echo begun; exec sleep 1000"), capture_output=True, check=True, timeout=0.2)
    except subprocess.TimeoutExpired as error:
        print("too slow:", error.stdout)
    with ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda n: subprocess.run(sh(f"echo {n}"), stdout=-1, check=True), range(3))
        print("from OS threads:", [result.stdout for result in results])
    asyncio.run(main())
