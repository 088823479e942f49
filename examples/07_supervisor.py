"""Three daemons whose output we read; we restart one that dies, and end each with all that it has started."""

from __future__ import annotations

import itertools

import trio

from rsyscall import AsyncChildProcess, AsyncFileDescriptor, local_thread
from rsyscall.signal import SIG
from rsyscall.sys.wait import W

SCRIPTS = {
    "steady": "echo ready; sleep 1000 & wait",
    "shaky": "test $1 = 1 && { echo oops; exit 3; }; echo ready; sleep 1000 & wait",
    "stubborn": "trap '' TERM; echo ready; sleep 1000 & wait",
}


async def start(name: str, attempt: int) -> tuple[AsyncChildProcess, AsyncFileDescriptor]:
    """Start a daemon in a session, and so in a process group, of its own; returns what it prints, too."""
    pipe = await local_thread.pipe()
    # Only our end: the daemon may not expect a standard output that does not block.
    output = await local_thread.make_afd(pipe.read, set_nonblock=True)
    child = local_thread.prepare()
    await child.task.setsid()
    await child.inherit_fd(pipe.write).dup2(child.stdout)
    process = await child.exec(local_thread.environ.sh.args("-c", SCRIPTS[name], name, str(attempt)))
    await pipe.write.close()
    return process, output


async def read_to_end(output: AsyncFileDescriptor, log: list[str], ready: trio.Event) -> None:
    """Note the output. It ends when all processes that have the pipe are gone, not only the daemon."""
    while data := await output.read_some_bytes():
        log += data.decode().splitlines()
        if "ready" in log:
            ready.set()


async def end(process: AsyncChildProcess, output: AsyncFileDescriptor) -> str:
    """End a process group, by force if it takes long. Its number is ours until its leader is waited for."""
    await process.killpg(SIG.TERM)
    with trio.move_on_after(0.5):
        await read_to_end(output, [], trio.Event())
    await process.killpg(SIG.KILL)
    await output.close()
    return (await process.waitpid(W.EXITED)).describe()


async def supervise(name: str, log: list[str], ready: trio.Event) -> None:
    """Keep a daemon running until cancelled."""
    for attempt in itertools.count(1):
        process, output = await start(name, attempt)
        try:
            await read_to_end(output, log, ready)
        finally:
            with trio.CancelScope(shield=True):
                log.append(await end(process, output))


async def main() -> None:
    logs: dict[str, list[str]] = {name: [] for name in SCRIPTS}
    async with trio.open_nursery() as nursery:
        events = [trio.Event() for _ in SCRIPTS]
        for (name, log), ready in zip(logs.items(), events, strict=True):
            nursery.start_soon(supervise, name, log, ready)
        for ready in events:
            await ready.wait()
        nursery.cancel_scope.cancel()
    for name, log in logs.items():
        print(f"{name}:", ", ".join(log))


if __name__ == "__main__":
    trio.run(main)
