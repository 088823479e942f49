"""Other libraries for ssh, in a process of their own: `python -m benchmarks.ssh_peers LIBRARY SETTINGS`.

SETTINGS is JSON: `port`, `user`, `key`, `known_hosts` and `path`, a file to write. The lines of stdin say
what to do: `connect`, `run`, `write` or `stats`. Each is answered on stdout with the seconds that it took.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["CONTENTS", "LIBRARIES", "STATS"]

HOST = "127.0.0.1"
CONTENTS = b"a line of text\n" * 8
STATS = 1000


class Asyncssh:
    """asyncssh: all requests of a kind are under way at once, where that is possible."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._library: Any = importlib.import_module("asyncssh")
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(self._connect())
        self._sftp = self._loop.run_until_complete(self._connection.start_sftp_client())

    async def _connect(self) -> Any:
        return await self._library.connect(
            HOST,
            self._settings["port"],
            username=self._settings["user"],
            client_keys=[self._settings["key"]],
            known_hosts=self._settings["known_hosts"],
            config=None,
            agent_path=None,
        )

    def connect(self) -> Callable[[], None]:
        """Connect, and run a command; returns what disconnects."""

        async def work() -> Any:
            connection = await self._connect()
            await connection.run("true", check=True)
            return connection

        connection = self._loop.run_until_complete(work())

        def close() -> None:
            connection.close()
            self._loop.run_until_complete(connection.wait_closed())

        return close

    def run(self) -> None:
        """Run a command that does nothing."""
        self._loop.run_until_complete(self._connection.run("true", check=True))

    def write(self) -> None:
        """Write a small file."""

        async def work() -> None:
            async with self._sftp.open(self._settings["path"], "wb") as file:
                await file.write(CONTENTS)

        self._loop.run_until_complete(work())

    def stats(self) -> None:
        """Ask for the status of a file, many times."""

        async def work() -> None:
            await asyncio.gather(*(self._sftp.stat(self._settings["path"]) for _ in range(STATS)))

        self._loop.run_until_complete(work())

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()
        self._loop.run_until_complete(self._connection.wait_closed())


class Paramiko:
    """paramiko: one request after the other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._library: Any = importlib.import_module("paramiko")
        self._settings = settings
        self._client = self._connect()
        self._sftp = self._client.open_sftp()

    def _connect(self) -> Any:
        client = self._library.SSHClient()
        client.load_host_keys(self._settings["known_hosts"])
        client.connect(
            HOST,
            self._settings["port"],
            username=self._settings["user"],
            key_filename=self._settings["key"],
            look_for_keys=False,
            allow_agent=False,
        )
        return client

    def _run(self, client: Any) -> None:
        _, output, _ = client.exec_command("true")
        if output.channel.recv_exit_status():
            raise AssertionError("true failed")

    def connect(self) -> Callable[[], None]:
        """Connect, and run a command; returns what disconnects."""
        client = self._connect()
        self._run(client)
        close: Callable[[], None] = client.close
        return close

    def run(self) -> None:
        """Run a command that does nothing."""
        self._run(self._client)

    def write(self) -> None:
        """Write a small file."""
        with self._sftp.open(self._settings["path"], "wb") as file:
            file.write(CONTENTS)

    def stats(self) -> None:
        """Ask for the status of a file, many times."""
        for _ in range(STATS):
            self._sftp.stat(self._settings["path"])

    def close(self) -> None:
        """Disconnect."""
        self._client.close()


class Mitogen:
    """mitogen: functions of Python are executed on the other host, one for all requests of a kind."""

    def __init__(self, settings: dict[str, Any]) -> None:
        master: Any = importlib.import_module("mitogen.master")
        self._calls: Any = importlib.import_module("benchmarks.ssh_calls")
        self._settings = settings
        self._broker = master.Broker()
        self._router = master.Router(self._broker)
        self._context = self._connect()

    def _connect(self) -> Any:
        return self._router.ssh(
            hostname=HOST,
            port=self._settings["port"],
            username=self._settings["user"],
            identity_file=self._settings["key"],
            check_host_keys="ignore",
            python_path=sys.executable,
            ssh_args=["-F", "/dev/null", "-o", "IdentitiesOnly=yes"],
        )

    def connect(self) -> Callable[[], None]:
        """Connect, and run a command; returns what disconnects."""
        context = self._connect()
        context.call(self._calls.run_true)
        return lambda: context.shutdown(wait=True)

    def run(self) -> None:
        """Run a command that does nothing."""
        self._context.call(self._calls.run_true)

    def write(self) -> None:
        """Write a small file."""
        self._context.call(self._calls.write_file, self._settings["path"], CONTENTS)

    def stats(self) -> None:
        """Ask for the status of a file, many times."""
        self._context.call(self._calls.stat_many, self._settings["path"], STATS)

    def close(self) -> None:
        """Disconnect."""
        self._broker.shutdown()
        self._broker.join()


LIBRARIES: dict[str, type[Asyncssh | Paramiko | Mitogen]] = {
    "asyncssh": Asyncssh,
    "paramiko": Paramiko,
    "mitogen": Mitogen,
}


def main(name: str, settings: dict[str, Any]) -> None:
    """Answer until the end of the input."""
    library = LIBRARIES[name](settings)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        close = None
        start = time.perf_counter()
        if line.strip() == "connect":
            close = library.connect()
        else:
            getattr(library, line.strip())()
        seconds = time.perf_counter() - start
        if close is not None:
            close()
        print(json.dumps(seconds), flush=True)
    library.close()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
