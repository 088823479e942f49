"""What `subprocess.Popen(preexec_fn=...)` is used for, done safely in a program with threads."""

from __future__ import annotations

import threading

import trio

from rsyscall import AsyncChildProcess, Command, local_thread
from rsyscall.signal import SIG
from rsyscall.sys.prctl import PR


async def spawn(command: Command, directory: str) -> AsyncChildProcess:
    """Run a command confined and detached; an error of a step is raised here, at the call that failed."""
    child = await local_thread.clone()
    try:
        await child.task.setsid()
        await child.task.umask(0o077)
        await child.task.prctl_set_no_new_privs()
        await child.task.prctl(PR.SET_PDEATHSIG, SIG.TERM)
        await child.task.chdir(await child.ptr(directory))
        return await child.exec(command)
    except OSError:
        async with child.process:  # ends it
            raise


async def main() -> None:
    # Other threads may hold any lock at any time: nothing of ours runs in the child, so it does not matter.
    stop = threading.Event()
    busy = [threading.Thread(target=stop.wait) for _ in range(4)]
    for thread in busy:
        thread.start()
    try:
        script = 'echo "umask $(umask), in $(pwd)"; grep NoNewPrivs /proc/self/status'
        shell = local_thread.environ.sh.args("-c", script)
        process = await spawn(shell, "/usr")
        await process.check()
        try:
            await spawn(shell, "/does/not/exist")
        except FileNotFoundError as error:
            print("which step failed:", error)
    finally:
        stop.set()


if __name__ == "__main__":
    trio.run(main)
