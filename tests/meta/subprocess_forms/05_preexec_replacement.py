"""The same with subprocess. It may hang: Python code runs in a copy of a process that has threads."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
libc = ctypes.CDLL(None, use_errno=True)


def confine() -> None:
    """Runs in the child."""
    os.setsid()
    os.umask(0o077)
    for option, value in ((PR_SET_NO_NEW_PRIVS, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def run(script: str, directory: str) -> None:
    subprocess.run(["/bin/sh", "-c", script], cwd=directory, preexec_fn=confine, check=True)


def work(lock: threading.Lock, stop: threading.Event) -> None:
    while not stop.is_set():
        with lock:
            bytearray(1_000_000)


def main() -> None:
    lock, stop = threading.Lock(), threading.Event()
    for _ in range(4):
        threading.Thread(target=work, args=(lock, stop)).start()
    try:
        with ThreadPoolExecutor(20) as pool:
            for future in [pool.submit(run, 'test "$(umask)" = 0077', "/") for _ in range(20)]:
                future.result()
        print("20 programs have run")
        run('echo "in $(pwd)"; grep NoNewPrivs /proc/self/status', "/usr")
        try:
            run("exit", "/does/not/exist")
        except FileNotFoundError as error:
            print("which step failed:", error.strerror)
    finally:
        stop.set()


if __name__ == "__main__":
    main()
