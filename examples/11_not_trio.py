"""A script that is not a trio program: one call, calls from several OS threads, and a call from asyncio."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from rsyscall import PIPE, CalledProcessError, Command, CommandTimeoutError, Portal, run_sync


def sh(script: str) -> Command:
    return Command("/bin/sh", ["sh", "-c", script], {})


async def main(portal: Portal) -> None:
    run, thread = portal.call_from_asyncio, portal.thread
    results = await asyncio.gather(*(run(thread.run, sh(f"echo {n}"), stdout=PIPE) for n in range(3)))
    print("from asyncio:", [result.stdout for result in results])


if __name__ == "__main__":
    print("one call:", run_sync(sh("cat; pwd"), stdin=b"input\n", cwd="/usr", capture=True).stdout)
    try:
        run_sync(sh("echo oops >&2; exit 3"), capture=True)
    except CalledProcessError as error:
        print("failed:", error.state.returncode, error.stderr)
    try:
        run_sync(sh("echo begun; sleep 1000"), capture=True, timeout=0.2, tree=True)
    except CommandTimeoutError as error:
        print("too slow:", error.stdout)
    with Portal() as portal, ThreadPoolExecutor(3) as pool:
        results = pool.map(lambda n: portal.run(sh(f"echo {n}"), stdout=PIPE), range(3))
        print("from OS threads:", [result.stdout for result in results])
        asyncio.run(main(portal))
