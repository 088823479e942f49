"""Measure what work on another host costs: `python -m benchmarks.remote`, or `nox -s bench-remote`.

The host is this machine, behind an sshd on the loopback device that is started for this. Each measure is a
ratio to what plain ssh takes for the same, on the same server, in the same run. Other libraries for ssh are
measured beside, if they are installed: asyncssh, paramiko, mitogen.
"""

from __future__ import annotations

import getpass
import importlib.util
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from benchmarks.bench import ROOT, Group, Suite, main
from benchmarks.calls import us
from benchmarks.measure import MINIMAL_REPETITIONS, Outcome, Side, Value, interleave, repeat
from benchmarks.peers import delay
from benchmarks.report import Page
from benchmarks.rows import REMOTE_ROWS, REMOTE_TIMES
from benchmarks.ssh_peers import CONTENTS, LIBRARIES, STATS
from rsyscall.command import Command
from rsyscall.handle import FileDescriptor
from rsyscall.monitor import AsyncChildProcess
from rsyscall.near import Syscall
from rsyscall.sys.socket import AF, SOCK
from rsyscall.sys.syscall import SYS
from rsyscall.sys.un import SockaddrUn
from rsyscall.tasks.local import local_thread
from rsyscall.tasks.persistent import clone_persistent, connect_persistent
from rsyscall.tasks.ssh import SSHHost, make_ssh_host
from rsyscall.tasks.stdio import StdioThread
from tests.sshd import Server, serving

__all__ = ["REMOTE"]

BATCH = 64
LARGE = 256 << 20
READS = 20
ONE_WAY = 0.025  # seconds
DESCRIPTORS = 1000
CONNECTIONS = 100
AT_ONCE = 16
REQUEST = bytes(64)


def ms(seconds: float) -> str:
    """Seconds as milliseconds, for the column of details."""
    return f"{1e3 * seconds:.0f} ms"


@asynccontextmanager
async def _server(*options: str) -> AsyncIterator[tuple[Server, Path]]:
    """A server, and its directory."""
    with tempfile.TemporaryDirectory() as directory:
        with serving(Path(directory), "Subsystem=sftp internal-sftp", *options) as server:
            yield server, Path(directory)


async def _host(server: Server, **options: str) -> SSHHost:
    return await make_ssh_host(local_thread, lambda ssh: ssh.args(*server.words(**options)))


@asynccontextmanager
async def _thread(server: Server, **options: str) -> AsyncIterator[StdioThread]:
    _, thread = await (await _host(server, **options)).ssh(local_thread)
    async with thread:
        yield thread


@asynccontextmanager
async def _ssh(server: Server, script: str) -> AsyncIterator[trio.Process]:
    """A command behind plain ssh, which has said that it is ready."""
    words = ["ssh", *server.words(), f"echo ready; {script}"]
    process = await trio.lowlevel.open_process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        await _receive(process.stdout, len(b"ready\n"))
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _receive(stream: trio.abc.ReceiveStream, size: int) -> None:
    while size:
        data = await stream.receive_some(min(size, 1 << 20))
        if not data:
            raise AssertionError("the stream ended too early")
        size -= len(data)


def _after(open_and_ask: Callable[[], Awaitable[Callable[[], Awaitable[object]]]]) -> Side:
    """A side of something that is undone later, which does not count."""

    async def side() -> float:
        start = time.perf_counter()
        close = await open_and_ask()
        seconds = time.perf_counter() - start
        await close()
        return seconds

    return side


class _Peer:
    """Another library, in a process of its own: see `ssh_peers`."""

    def __init__(self, name: str, settings: dict[str, object]) -> None:
        command = [sys.executable, "-m", "benchmarks.ssh_peers", name, json.dumps(settings)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("a process with another library has ended")
        return line

    def wait(self) -> None:
        """Wait until it is connected."""
        self._answer()

    async def ask(self, what: str) -> float:
        """Let it do this; nothing else happens meanwhile."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return float(json.loads(self._answer()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@asynccontextmanager
async def _peers(server: Server, directory: Path) -> AsyncIterator[dict[str, _Peer]]:
    """The other libraries that are installed, each with a connection."""
    settings: dict[str, object] = {
        "port": int(server.options["Port"]),
        "user": getpass.getuser(),
        "key": server.options["IdentityFile"],
        "known_hosts": server.options["UserKnownHostsFile"],
        "path": str(directory / "written"),
    }
    (directory / "written").write_bytes(CONTENTS)
    peers: dict[str, _Peer] = {}
    try:
        for name in LIBRARIES:
            if importlib.util.find_spec(name) is not None:
                peers[name] = _Peer(name, settings)
                peers[name].wait()
        yield peers
    finally:
        for peer in peers.values():
            peer.close()


async def connections(repetitions: int) -> Outcome:
    """Connecting, until the first answer."""
    async with _server() as (server, directory), _peers(server, directory) as peers:
        host = await _host(server)

        async def connect() -> Callable[[], Awaitable[object]]:
            _, thread = await host.ssh(local_thread)
            await thread.task.getuid()
            return thread.close

        async def ssh_true() -> None:
            await trio.run_process(["ssh", *server.words(), "true"])

        sides: dict[str, Side] = {"ssh connect": _after(connect), "ssh true": repeat(ssh_true, 1, 0)}
        for name, peer in peers.items():
            sides[f"{name} connect"] = partial(peer.ask, "connect")
        samples = await interleave(sides, repetitions)
    ours, plain = samples["ssh connect"].typical, samples["ssh true"].typical
    return Outcome({"ssh-connect": Value(ours / plain, f"{ms(ours)} ÷ {ms(plain)}")}, samples)


async def calls(repetitions: int) -> Outcome:
    """One call at a time, and many."""
    getuid = [Syscall(SYS.getuid)] * BATCH
    async with AsyncExitStack() as stack:
        server, _ = await stack.enter_async_context(_server())
        thread = await stack.enter_async_context(_thread(server))
        cat = await stack.enter_async_context(_ssh(server, "exec cat"))
        assert cat.stdin is not None
        assert cat.stdout is not None
        to, back = cat.stdin, cat.stdout

        async def round_trip() -> None:
            await to.send_all(REQUEST)
            await _receive(back, len(REQUEST))

        async def batch() -> None:
            await thread.task.sysif.syscalls(getuid)

        async def batch_per_call(side: Side = repeat(batch, 10)) -> float:
            return await side() / BATCH

        samples = await interleave(
            {
                "ssh call": repeat(thread.task.getuid, 100, 10),
                "ssh batch": batch_per_call,
                "ssh cat": repeat(round_trip, 100, 10),
            },
            repetitions,
        )
    best = {name: sample.best for name, sample in samples.items()}

    def ratio(side: str) -> Value:
        return Value(best[side] / best["ssh cat"], f"{us(best[side])} ÷ {us(best['ssh cat'])}")

    return Outcome({"ssh-call": ratio("ssh call"), "ssh-batch": ratio("ssh batch")}, samples)


async def _cat(thread: StdioThread, fd: FileDescriptor) -> AsyncChildProcess:
    """`cat` on the other side, between the two directions of a socket."""
    child = await thread.clone()
    inside = child.inherit_fd(fd)
    await fd.close()
    await inside.dup2(child.stdin)
    await inside.dup2(child.stdout)
    return await child.exec(Command("/bin/cat", ["cat"], {}))


async def channels(repetitions: int) -> Outcome:
    """A channel of ours, and a socket that ssh forwards, over one connection."""
    async with AsyncExitStack() as stack:
        server, directory = await stack.enter_async_context(_server())
        here, there = directory / "here", directory / "there"
        host = await make_ssh_host(
            local_thread, lambda ssh: ssh.local_forward(str(here), str(there)).args(*server.words())
        )
        _, thread = await host.ssh(local_thread)
        await stack.enter_async_context(thread)
        child = await thread.clone()
        stack.push_async_callback(child.exit, 0)
        [(ours, theirs)] = await thread.open_channels(1)
        relayed = trio.SocketStream(trio.socket.fromfd(int(ours.near), socket.AF_UNIX, socket.SOCK_STREAM))
        await ours.close()
        await stack.enter_async_context(await _cat(thread, theirs))
        listening = await thread.task.socket(AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC)
        await listening.bind(await thread.ptr(SockaddrUn(os.fsencode(there))))
        await listening.listen(1)
        forwarded = await trio.open_unix_socket(here)
        await stack.enter_async_context(await _cat(thread, await listening.accept(SOCK.CLOEXEC)))

        def round_trip(stream: trio.SocketStream) -> Callable[[], Awaitable[None]]:
            async def ask() -> None:
                await stream.send_all(REQUEST)
                await _receive(stream, len(REQUEST))

            return ask

        def bulk(stream: trio.SocketStream) -> Side:
            async def there_and_back() -> float:
                start = time.perf_counter()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.send_all, bytes(LARGE // 4))
                    await _receive(stream, LARGE // 4)
                return time.perf_counter() - start

            return there_and_back

        samples = await interleave(
            {
                "ssh call in a child": repeat(child.task.getuid, 100, 10),
                "channel": repeat(round_trip(relayed), 100, 10),
                "forwarded": repeat(round_trip(forwarded), 100, 10),
            },
            repetitions,
        )
        large = await interleave(
            {"channel": bulk(relayed), "forwarded": bulk(forwarded)}, MINIMAL_REPETITIONS
        )
        await relayed.aclose()
        await forwarded.aclose()
    best = {name: sample.best for name, sample in samples.items()}
    ours_large, plain_large = large["channel"].best, large["forwarded"].best
    return Outcome(
        {
            "ssh-child": Value(
                best["ssh call in a child"] / best["forwarded"],
                f"{us(best['ssh call in a child'])} ÷ {us(best['forwarded'])}",
            ),
            "ssh-channel": Value(
                best["channel"] / best["forwarded"], f"{us(best['channel'])} ÷ {us(best['forwarded'])}"
            ),
            "ssh-channel-large": Value(
                ours_large / plain_large,
                f"{LARGE / 4e6 / ours_large:.0f} MB/s ÷ {LARGE / 4e6 / plain_large:.0f} MB/s, inverse",
            ),
        },
        samples,
    )


async def memory(repetitions: int) -> Outcome:
    """A large piece of memory, in both directions."""
    data = bytes(LARGE)
    async with _server() as (server, _), _thread(server) as thread:
        pointer = await thread.ram.ptr(data)

        async def write() -> float:
            nonlocal pointer
            start = time.perf_counter()
            pointer = await pointer.write(data)
            return time.perf_counter() - start

        async def read() -> float:
            start = time.perf_counter()
            size = len(await pointer.read())
            seconds = time.perf_counter() - start
            if size != LARGE:
                raise AssertionError("not everything was read")
            return seconds

        async def cat_up() -> float:
            async with _ssh(server, f"head -c {LARGE} | cat > /dev/null; echo done") as process:
                assert process.stdin is not None
                assert process.stdout is not None
                start = time.perf_counter()
                await process.stdin.send_all(data)
                await _receive(process.stdout, len(b"done\n"))
                return time.perf_counter() - start

        async def cat_down() -> float:
            async with _ssh(server, f"read x; head -c {LARGE} /dev/zero | cat") as process:
                assert process.stdin is not None
                assert process.stdout is not None
                start = time.perf_counter()
                await process.stdin.send_all(b"\n")
                await _receive(process.stdout, LARGE)
                return time.perf_counter() - start

        sides: dict[str, Side] = {"up": write, "cat up": cat_up, "down": read, "cat down": cat_down}
        samples = await interleave(sides, repetitions)

    def ratio(way: str) -> Value:
        ours, plain = samples[way].best, samples[f"cat {way}"].best
        return Value(ours / plain, f"{LARGE / ours / 1e6:.0f} MB/s ÷ {LARGE / plain / 1e6:.0f} MB/s, inverse")

    return Outcome({"ssh-up": ratio("up"), "ssh-down": ratio("down")})


@asynccontextmanager
async def _delaying(port: int) -> AsyncIterator[int]:
    """The port of a process that passes on what comes, later."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("spawn").Process(
            target=delay, args=(listener, port, ONE_WAY), daemon=True
        )
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.terminate()
            process.join()


async def reads_from_afar(repetitions: int) -> Outcome:
    """Independent reads of files on a host that is far away."""
    async with AsyncExitStack() as stack:
        server, directory = await stack.enter_async_context(_server())
        port = await stack.enter_async_context(_delaying(int(server.options["Port"])))
        # The key is known by the name of the host and the port.
        key = (directory / "host.pub").read_text()
        (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}")
        server.options["Port"] = str(port)
        thread = await stack.enter_async_context(_thread(server))
        paths = [directory / f"file-{number}" for number in range(READS)]
        for path in paths:
            path.write_bytes(CONTENTS)

        async def read_all() -> None:
            async with trio.open_nursery() as nursery:
                for path in paths:
                    nursery.start_soon(thread.read_file, path)

        sides = {"reads": repeat(read_all, 1, 1), "round trip": repeat(thread.task.getuid, 2, 1)}
        samples = await interleave(sides, repetitions)
    reads, trip = samples["reads"].best, samples["round trip"].best
    return Outcome({"far-reads": Value(reads / trip, f"{ms(reads)}, {ms(trip)} a round trip")})


async def reconnecting(repetitions: int) -> Outcome:
    """A new program connects to a persistent process that holds many descriptors."""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        path = f"{directory}/socket"
        made = await clone_persistent(local_thread, path)
        assert made.process is not None
        await stack.enter_async_context(made.process)
        await made.make_persistent()
        null = await made.open("/dev/null")
        for _ in range(DESCRIPTORS - 1):
            await made.task.sysif.syscall(SYS.dup, null.near)
        current = made

        async def reconnect() -> float:
            nonlocal current
            former = current
            start = time.perf_counter()
            current = await connect_persistent(local_thread, path, take_over=True)
            await current.task.getuid()
            taken = time.perf_counter() - start
            # What the program gives up that drove it before, as the end of a child is not measured either.
            await former.disconnect()
            return taken

        async def own_memory() -> Callable[[], Awaitable[object]]:
            child = await local_thread.clone(own_memory=True)
            await child.task.getuid()
            return partial(child.process.__aexit__, None, None, None)

        sides: dict[str, Side] = {"reconnect": reconnect, "own memory": _after(own_memory)}
        samples = await interleave(sides, repetitions)
        start = time.perf_counter()
        numbers = await current.descriptors()
        listed = time.perf_counter() - start
        for number in numbers:
            await current.adopt_descriptor(number)
        adopted = time.perf_counter() - start - listed
        if len(numbers) < DESCRIPTORS - 1:
            raise AssertionError(f"{len(numbers)} descriptors were listed")
        await current.end()
    ours, plain = samples["reconnect"].typical, samples["own memory"].typical
    detail = f"{us(ours)} ÷ {us(plain)}; listing {len(numbers)}: {ms(listed)}, adopting: {ms(adopted)}"
    return Outcome({"reconnect": Value(ours / plain, detail)})


async def many_hosts(repetitions: int) -> Outcome:
    """Connections to many hosts in one program, some of them at once."""
    async with _server(f"MaxStartups={2 * CONNECTIONS}") as (server, _):
        host = await _host(server)

        async def one() -> Callable[[], Awaitable[object]]:
            _, thread = await host.ssh(local_thread)
            await thread.task.getuid()
            return thread.close

        async def all_of_them() -> float:
            limit = trio.CapacityLimiter(AT_ONCE)
            closing: list[Callable[[], Awaitable[object]]] = []

            async def limited() -> None:
                async with limit:
                    closing.append(await one())

            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(limited)
            seconds = time.perf_counter() - start
            async with trio.open_nursery() as nursery:
                for close in closing:
                    nursery.start_soon(close)
            return seconds / CONNECTIONS

        alone = _after(one)
        singles, together = [], []
        for _ in range(repetitions):
            singles += [await alone() for _ in range(5)]
            together.append(await all_of_them())
    each, single = min(together), min(singles)
    return Outcome({"many-hosts": Value(each / single, f"{ms(each)} each ÷ {ms(single)}")})


async def other_libraries(repetitions: int) -> Outcome:
    """Small jobs over a connection that is there, beside other libraries; absolute times alone."""
    async with AsyncExitStack() as stack:
        server, directory = await stack.enter_async_context(_server())
        thread = await stack.enter_async_context(_thread(server))
        peers = await stack.enter_async_context(_peers(server, directory))
        path = directory / "written"
        true = Command("/bin/true", ["true"], {})

        async def stats() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(STATS):
                    nursery.start_soon(thread.stat, path)

        sides: dict[str, Side] = {
            "ssh run": repeat(partial(thread.run, true), 1, 1),
            "ssh write": repeat(partial(thread.write_file, path, CONTENTS), 1, 1),
            "ssh stats": repeat(stats, 1, 0),
        }
        for name, peer in peers.items():
            for what in ("run", "write", "stats"):
                sides[f"{name} {what}"] = partial(peer.ask, what)
        return Outcome({}, await interleave(sides, repetitions))


def groups(program: Path, quick: bool) -> dict[str, Group]:
    """Groups of measurements that take turns: the rows that each gives, and its function."""

    def repetitions(count: int) -> int:
        return MINIMAL_REPETITIONS if quick else count

    return {
        "connections": ({"ssh-connect"}, lambda: connections(repetitions(25))),
        "calls": ({"ssh-call", "ssh-batch"}, lambda: calls(repetitions(61))),
        "channels": (
            {"ssh-child", "ssh-channel", "ssh-channel-large"},
            lambda: channels(repetitions(61)),
        ),
        "memory": ({"ssh-up", "ssh-down"}, lambda: memory(MINIMAL_REPETITIONS)),
        "reads from afar": ({"far-reads"}, lambda: reads_from_afar(MINIMAL_REPETITIONS)),
        "reconnecting": ({"reconnect"}, lambda: reconnecting(repetitions(31))),
        "many hosts": ({"many-hosts"}, lambda: many_hosts(1 if quick else 3)),
        "other libraries": (set(), lambda: other_libraries(repetitions(25))),
    }


REMOTE = Suite(
    REMOTE_ROWS,
    REMOTE_TIMES,
    groups,
    ROOT / "benchmarks" / "remote.json",
    Page(
        "benchmarks-remote",
        "Benchmarks: another host",
        "./run bench-remote    # or python -m benchmarks.remote",
        "Times of a connection, a call and small jobs over ssh, beside other libraries",
        "The host is this machine, behind sshd on the loopback device.",
    ),
    time_limit=400,
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], REMOTE))
