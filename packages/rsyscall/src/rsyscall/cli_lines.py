"""Where the lines of `rsyscall repl` come from: a process that has the terminal, and what it can complete."""

from __future__ import annotations

import builtins
import json
import keyword
import math
import os
import sys
from typing import Any

import trio

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor
from rsyscall.monitor import AsyncChildProcess
from rsyscall.near import SyscallError
from rsyscall.path import Path
from rsyscall.signal import SIG
from rsyscall.sys.socket import AF, SOCK
from rsyscall.tasks.local import local_thread

__all__ = ["TerminalLines", "complete", "history_path"]

_PROGRAM = os.path.join(os.path.dirname(__file__), "cli_prompt.py")
_MOST_MATCHES = 1000
# How long an interrupted prompt may take to say so, in seconds.
_PATIENCE = 0.05


def history_path() -> str:
    """The file that keeps what was typed: RSYSCALL_HISTORY, or one in the home directory; "" for none."""
    path = os.environ.get("RSYSCALL_HISTORY")
    if path is None:
        home = os.path.expanduser("~")
        path = os.path.join(home, ".rsyscall_history") if os.path.isabs(home) else ""
    return path


def complete(text: str, names: dict[str, Any]) -> list[str]:
    """What a text of names and dots can become.

    Args:
        text: such as `thread.cl`.
        names: the global variables.
    """
    before, dot, start = text.rpartition(".")
    if not dot:
        found = {*names, *vars(builtins), *keyword.kwlist}
    else:
        first, *rest = before.split(".")
        try:
            value = names[first] if first in names else getattr(builtins, first)
            for name in rest:
                value = getattr(value, name)
            found = {name for name in dir(value) if isinstance(name, str)}
        except Exception:  # of what it has for attributes
            return []
    shown = (name for name in found if name.startswith(start) and (start or not name.startswith("_")))
    return [f"{before}{dot}{name}" for name in sorted(shown)][:_MOST_MATCHES]


class TerminalLines:
    """Lines that are typed at the terminal which is standard input and output. Used by the main task.

    Args:
        names: the global variables that can be completed.
    """

    def __init__(self, names: dict[str, Any], process: AsyncChildProcess, link: AsyncFileDescriptor) -> None:
        self._names = names
        self._process = process
        self._link = link
        self._send_answer, self._answers = trio.open_memory_channel[dict[str, Any]](math.inf)

    @classmethod
    async def start(cls, names: dict[str, Any]) -> TerminalLines:
        """Start the process.

        Raises:
            OSError: it could not be executed.
        """
        pair = await local_thread.socketpair(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC)
        link = await local_thread.make_afd(pair.first, set_nonblock=True)
        child = await local_thread.clone()
        try:
            theirs = child.inherit_fd(pair.second)
            await theirs.disable_cloexec()
            arguments = [_PROGRAM, str(int(theirs.near)), history_path()]
            utf8 = ["-X", "utf8"] if sys.flags.utf8_mode else []
            # Isolated: the directory of the script has modules with the names of the standard library.
            words = [sys.executable, "-I", "-S", *utf8, *arguments]
            command = Command(Path(sys.executable), words, {})
            process = await child.exec(command)
        except BaseException:
            with trio.CancelScope(shield=True):
                await child.process.kill()
                await link.close()
            raise
        finally:
            await pair.second.invalidate()
        return cls(names, process, link)

    async def close(self) -> None:
        """End the process."""
        with trio.CancelScope(shield=True):
            await self._link.close()
            try:
                await self._process.kill()
                await self._process.wait_exited()
            except SyscallError:
                pass

    @trio.lowlevel.enable_ki_protection
    async def serve(self) -> None:
        """Take what the process says, and answer what it asks; returns when it has ended."""
        rest = b""
        with self._send_answer:
            try:
                while data := await self._link.read_some_bytes(1 << 16):
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        message = json.loads(line)
                        if "complete" in message:
                            await self._say({"matches": complete(message["complete"], self._names)})
                        else:
                            self._send_answer.send_nowait(message)
            except (OSError, SyscallError):
                pass

    async def _say(self, message: dict[str, Any]) -> None:
        await self._link.write_all_bytes(f"{json.dumps(message)}\n".encode())

    async def read(self, prompt: str) -> str | None:
        """Have a line typed.

        Returns:
            The line without its end; None at the end of the input.

        Raises:
            KeyboardInterrupt: SIGINT came instead. No other one of the same keystroke is left.
        """
        interrupted = False
        try:
            await self._say({"prompt": prompt})
            while True:
                try:
                    with trio.move_on_after(_PATIENCE if interrupted else math.inf):
                        answer = await self._answers.receive()
                        break
                except KeyboardInterrupt:
                    interrupted = True
                # Sent to us alone, perhaps. If it is for both, this one is too many there, and ignored. Again
                # and again, because readline does not see one that comes just before it begins to wait.
                await self._process.kill(SIG.INT)
        except (trio.EndOfChannel, OSError, SyscallError):
            return None
        if interrupted or "interrupted" in answer:
            try:
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                pass
            raise KeyboardInterrupt
        if "wrong" in answer:
            print(answer["wrong"], file=sys.stderr)
        line: str | None = answer.get("line")
        return line
