"""The same with subprocess and a thread."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from typing import IO

SIZE = 50_000_000


def pieces() -> Iterator[bytes]:
    piece = bytes(range(250)) * 400
    for _ in range(SIZE // len(piece)):
        yield piece


def feed(stdin: IO[bytes]) -> None:
    with stdin:
        for piece in pieces():
            stdin.write(piece)


def main() -> None:
    digest, count = hashlib.sha256(), 0
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(target=feed, args=(process.stdin,))
        feeder.start()
        while piece := process.stdout.read(1 << 16):
            digest.update(piece)
            count += len(piece)
        feeder.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "cat")
    print(count, "bytes,", digest.hexdigest()[:16])


if __name__ == "__main__":
    main()
