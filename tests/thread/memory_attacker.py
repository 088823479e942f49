"""A program that tries to write into the memory of every process that it can see; executed in a box.

Arguments: an address, and what is there in the memory that it looks for (hexadecimal). What it once could
open it keeps, and tries again in every round. After each round it prints a line: how many files it has opened
so far, and how many times it has found what it looks for; it then writes over it.
"""

import os
import sys

address, secret = int(sys.argv[1]), bytes.fromhex(sys.argv[2])
kept: list[int] = []
opened = found = 0

while True:
    for name in os.listdir("/proc"):
        if not name.isdigit() or name == str(os.getpid()):
            continue
        try:
            # Again in each round, for the number may have come to stand for another process or memory.
            fd = os.open(f"/proc/{name}/mem", os.O_RDWR)
        except OSError:
            continue
        opened += 1
        kept.append(fd)
    for fd in kept:
        try:
            if os.pread(fd, len(secret), address) == secret:
                found += 1
                os.pwrite(fd, b"overwritten", address)
        except OSError:
            pass  # it has other memory, or none any more
    for fd in kept[:-500]:
        os.close(fd)
    del kept[:-500]
    try:
        os.write(1, b"%d %d\n" % (opened, found))
    except BrokenPipeError:
        sys.exit()
