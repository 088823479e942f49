"""The other ends of the alternatives to rsyscall, in processes of their own.

Imported by processes that `multiprocessing` starts, so it imports nothing else.
"""

from __future__ import annotations

import math
import socket
import time
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


def delay(listener: socket.socket, port: int, seconds: float) -> None:
    """Pass on what comes by each connection to another port of the loopback device, this much later."""
    import trio

    async def carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        sender, receiver = trio.open_memory_channel[tuple[float, bytes | bytearray]](math.inf)

        async def take() -> None:
            async with sender:
                try:
                    async for data in source:
                        await sender.send((time.perf_counter() + seconds, data))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # that is an end, too

        async def give() -> None:
            try:
                async for due, data in receiver:
                    await trio.sleep(max(due - time.perf_counter(), 0))
                    await sink.send_all(data)
                await sink.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            nursery.start_soon(give)

    async def connect(stream: trio.SocketStream) -> None:
        other = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream, other, trio.open_nursery() as nursery:
            nursery.start_soon(carry, stream, other)
            nursery.start_soon(carry, other, stream)

    async def serve() -> None:
        listener.setblocking(False)
        await trio.serve_listeners(connect, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])

    trio.run(serve)
