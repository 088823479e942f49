"""The other ends of the alternatives to rsyscall, in processes of their own.

Imported by processes that `multiprocessing` starts, so it imports nothing else.
"""

from __future__ import annotations

from multiprocessing.connection import Connection


def echo(connection: Connection) -> None:
    """Send back all data, until the other end is closed."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return
