"""A service that is started again when it dies, with the same listening socket, and is stopped gracefully."""

from __future__ import annotations

import itertools

import trio

from rsyscall import Command, FileDescriptor, local_thread
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.running import RunOptions
from rsyscall.sys.socket import AF, SOCK

# A service as systemd starts one: descriptor 3 is the socket. The first one dies after its first client.
SERVICE = r"""
$SIG{TERM} = sub { print "stopping\n"; exit 0 };
$| = 1; print "started\n";
open(my $listener, "+<&=", 3) or die;
while (accept(my $client, $listener)) {
    print $client "hello from number $ARGV[0]\n"; close $client;
    if ($ARGV[0] == 1) { print "oops\n"; exit 3 }
}
"""


async def supervise(listener: FileDescriptor, log: list[str]) -> None:
    """Keep the service running until cancelled; then it gets SIGTERM, and SIGKILL if it takes too long."""

    async def note(data: bytes) -> None:
        log.extend(data.decode().splitlines())

    for number in itertools.count(1):
        service = Command("/usr/bin/perl", ["service", "-e", SERVICE, str(number)], {"LISTEN_FDS": "1"})
        options = RunOptions(stdout=note, pass_fds={3: listener}, tree="group", grace=5)
        result = await local_thread.run(service, check=False, **options)
        log.append(result.describe())


async def ask(port: int) -> str:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return b"".join([data async for data in stream]).decode().strip()


async def main() -> None:
    log: list[str] = []
    async with await local_thread.socket(AF.INET, SOCK.STREAM) as listener:
        address = await local_thread.bind_getsockname(listener, SockaddrIn(0, "127.0.0.1"))
        await listener.listen(10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervise, listener, log)
            for _ in range(3):
                # A client that connects while there is no service waits in the queue of the socket.
                print(await ask(address.port))
            nursery.cancel_scope.cancel()
    print(*log, sep=", ")


if __name__ == "__main__":
    trio.run(main)
