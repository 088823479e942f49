"""What `subprocess.Popen(preexec_fn=...)` is used for, done safely while many threads are at work."""

from __future__ import annotations

import threading

import trio

from rsyscall import local_thread
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread
from rsyscall.sys.prctl import PR


async def confine(child: PreparedThread) -> None:
    """Calls of any kind, which the new process makes one after another as soon as there is one."""
    await child.task.setsid()
    await child.task.umask(0o077)
    await child.task.prctl_set_no_new_privs()
    await child.task.prctl(PR.SET_PDEATHSIG, SIG.TERM)


async def run(script: str, directory: str) -> None:
    """Run a script confined and detached; an error of a step is raised here, and names the step."""
    await local_thread.run(local_thread.environ.sh.args("-c", script), cwd=directory, setup=confine)


def work(lock: threading.Lock, stop: threading.Event) -> None:
    """Hold locks, of our own and of the allocator, nearly all the time."""
    while not stop.is_set():
        with lock:
            bytearray(1_000_000)


async def main() -> None:
    # A fork would copy locks that are held by threads which it does not copy. Here nothing of ours runs in
    # the child, so it does not matter who holds what.
    lock, stop = threading.Lock(), threading.Event()
    for _ in range(4):
        threading.Thread(target=work, args=(lock, stop)).start()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(run, 'test "$(umask)" = 0077', "/")
        print("20 programs have run")
        await run('echo "in $(pwd)"; grep NoNewPrivs /proc/self/status', "/usr")
        try:
            await run("exit", "/does/not/exist")
        except FileNotFoundError as error:
            print("which step failed:", error.strerror)
    finally:
        stop.set()


if __name__ == "__main__":
    trio.run(main)
