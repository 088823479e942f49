"""The other ends of the alternatives to rsyscall, in processes of their own.

Imported by processes that `multiprocessing` starts, so it imports nothing else.
"""

from __future__ import annotations

import socket
from multiprocessing.connection import Connection


def echo(connection: Connection) -> None:
    """Send back all data, until the other end is closed."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def answer(connection: socket.socket, request: int, response: int) -> None:
    """Answer each request, which comes in one piece, until the other end is closed; waiting in trio."""
    import trio

    async def answer_each() -> None:
        data = bytes(response)
        with trio.socket.from_stdlib_socket(connection) as sock:
            while await sock.recv(request):
                await sock.send(data)

    trio.run(answer_each)
