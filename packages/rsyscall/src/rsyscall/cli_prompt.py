"""The program that has the terminal while a line is typed at the prompt of `rsyscall repl`.

It is a process of its own because `readline` blocks its OS thread, and a signal interrupts it only in the
main thread; but the main thread of `rsyscall repl` runs trio.

It is executed with its file as the script, and imports no other module of rsyscall. Standard input and output
are the terminal. The first argument is the number of a socket, the second one the file that keeps the
history, or empty. Messages go over the socket as lines of JSON:

* to us: `{"prompt": text}`: read a line; `{"matches": [...]}`: the answer to the last `complete`.
* from us: `{"complete": text}`: how can this text go on? `{"line": text}`: what was typed,
  `{"interrupted": true}` by SIGINT, `{"end": true}`: end of the input.

manpage: readline(3)
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import signal
import socket
import stat
import sys
import time
from typing import Any

try:
    import readline
except ImportError:  # this Python was built without
    readline = None  # type: ignore[assignment]

__all__ = ["History", "main"]

# How many lines of history are read, and how many more the file may have.
_MOST_LINES = 2000
# A larger file is not ours.
_LARGEST = 1 << 24
# How long after a SIGINT another one is taken for the same, in seconds.
_ON_ITS_WAY = 0.02


class History:
    """Lines that were typed, in a private file. Without a file, or if it cannot be written, it is forgotten.

    Args:
        path: of the file, which is made; "" for none. One of another user, or that a symbolic link leads to,
            is left alone: whose home directory this is may have put another file of ours into its place.
    """

    def __init__(self, path: str) -> None:
        self._fd: int | None = None
        self.lines: list[str] = []
        if path:
            try:
                self._open(path)
            except OSError:
                self._close()

    def _open(self, path: str) -> None:
        # Without waiting: it may be a FIFO.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        self._fd = os.open(path, flags | os.O_NOFOLLOW, 0o600)
        status = os.fstat(self._fd)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
        if not ours or status.st_size > _LARGEST:
            self._close()
            return
        if status.st_mode & 0o077:
            os.fchmod(self._fd, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            text = os.pread(self._fd, status.st_size, 0)
            lines = text.splitlines(keepends=True)
            if len(lines) > 2 * _MOST_LINES:
                os.ftruncate(self._fd, 0)
                os.write(self._fd, b"".join(lines[-_MOST_LINES:]))
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        # Not by `splitlines`: other characters that it takes for ends can be typed.
        self.lines = text.decode(errors="replace").removesuffix("\n").split("\n")[-_MOST_LINES:]

    def add(self, line: str) -> bool:
        """Keep a line, unless it is empty or the same as the last one; returns whether it is kept."""
        if not line.strip() or self.lines[-1:] == [line]:
            return False
        self.lines.append(line)
        if self._fd is not None:
            try:
                os.write(self._fd, f"{line}\n".encode(errors="replace"))
            except OSError:
                self._close()
        return True

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _recall(line: str) -> None:
    """Have readline offer a line, unless it cannot: NUL, or characters that the locale does not have."""
    if readline is None:
        return
    try:
        readline.add_history(line)
    except ValueError:
        pass


class _Prompt:
    def __init__(self, number: int, history: History) -> None:
        link = socket.socket(fileno=number)
        self._requests = link.makefile("r", encoding="ascii")
        self._answers = link.makefile("w", encoding="ascii")
        self._history = history
        self._matches: list[str] = []
        # When SIGINT may raise: what we read belongs together with what we answer.
        self._can_interrupt = False
        self._interrupted_at = -math.inf

    def run(self) -> None:
        signal.signal(signal.SIGINT, self._interrupted)
        if readline is not None:
            readline.set_auto_history(False)
            for line in self._history.lines:
                _recall(line)
            readline.set_completer(self._complete)
            libedit = "libedit" in (readline.__doc__ or "")
            readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        for request in self._requests:
            self._answer(self._read_line(json.loads(request)["prompt"]))

    def _interrupted(self, *_: object) -> None:
        # Not again while the exception is on its way; but `input` may have lost it, as what goes wrong when
        # it flushes standard error. The other side goes on sending.
        now = time.monotonic()
        if self._can_interrupt and now - self._interrupted_at > _ON_ITS_WAY:
            self._interrupted_at = now
            raise KeyboardInterrupt

    def _read_line(self, prompt: str) -> dict[str, Any]:
        try:
            try:
                self._can_interrupt = True
                line = input(prompt)
            finally:
                self._can_interrupt = False
        except KeyboardInterrupt:
            self._can_interrupt = False
            return {"interrupted": True}
        except (EOFError, OSError):
            return {"end": True}
        except UnicodeError as error:
            return {"line": "", "wrong": str(error)}
        if self._history.add(line):
            _recall(line)
        return {"line": line}

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(f"{json.dumps(answer)}\n")
        self._answers.flush()

    def _complete(self, text: str, state: int) -> str | None:
        """For readline: one possible replacement of a text after another, then None."""
        if state == 0:
            self._matches = self._find(text)
        return self._matches[state] if state < len(self._matches) else None

    def _find(self, text: str) -> list[str]:
        if readline is None:
            return []
        if not readline.get_line_buffer()[: readline.get_begidx()].strip() and not text:
            # The indentation of a block.
            return ["    "]
        # readline forgets an exception of this function.
        before, self._can_interrupt = self._can_interrupt, False
        try:
            self._answer({"complete": text})
            matches: list[str] = json.loads(self._requests.readline())["matches"]
            return matches
        finally:
            self._can_interrupt = before


def main(arguments: list[str]) -> None:
    """Read lines until the other end of the socket is closed.

    Args:
        arguments: the number of the socket, and the path of the history.
    """
    number, path = arguments
    try:
        _Prompt(int(number), History(path)).run()
    except (BrokenPipeError, ConnectionError, KeyboardInterrupt):
        pass  # the REPL has ended


if __name__ == "__main__":
    main(sys.argv[1:])
