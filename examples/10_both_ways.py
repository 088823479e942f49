"""50 MB through a command, in and out at the same time, in constant memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import trio

from rsyscall import Command, local_thread

SIZE = 50_000_000


def pieces() -> Iterator[bytes]:
    piece = bytes(range(250)) * 400
    for _ in range(SIZE // len(piece)):
        yield piece


async def main() -> None:
    digest, count = hashlib.sha256(), 0

    async def take(piece: bytes) -> None:
        nonlocal count
        digest.update(piece)
        count += len(piece)

    await local_thread.run(Command("/bin/cat", ["cat"], {}), stdin=pieces(), stdout=take)
    print(count, "bytes,", digest.hexdigest()[:16])


if __name__ == "__main__":
    trio.run(main)
