"""The program `rsyscall-stub`: its ELF file, and its protocol, spoken by an independent client."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.native import stub_path

from .driven import NR

HELLO = struct.Struct("=8sIIIIiIIIQ8Q2i")
REQUEST = struct.Struct("=IIQ6Q")
RESPONSE = struct.Struct("=qQ")
CALL, WRITE, READ = 1, 2, 3
MAX_TRANSFER = 1 << 20
EM = {"x86_64": 62, "aarch64": 183, "riscv64": 243}


class Client:
    """A client that is written from the description of the protocol alone.

    Args:
        arguments: of the program.
        pipes: two pipes instead of one socket.
        environment: of the program.
    """

    def __init__(
        self, *arguments: str, pipes: bool = False, environment: dict[str, str] | None = None
    ) -> None:
        if pipes:
            theirs_in, self.to = os.pipe()
            self.source, theirs_out = os.pipe()
        else:
            ours, theirs = (end.detach() for end in socket.socketpair())
            self.to, self.source = ours, os.dup(ours)
            theirs_in, theirs_out = theirs, os.dup(theirs)
        self.pipes = pipes
        self.process = subprocess.Popen(
            [stub_path(), *arguments],
            stdin=theirs_in,
            stdout=theirs_out,
            stderr=subprocess.DEVNULL,
            env=environment or {},
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def read(self, length: int) -> bytes:
        """Exactly this many bytes, or fewer if the end of the stream comes first."""
        data = b""
        while len(data) < length:
            try:
                part = os.read(self.source, length - len(data))
            except ConnectionResetError:
                break
            if not part:
                break
            data += part
        return data

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.to, data) :]

    def hello(self) -> tuple[tuple[int, ...], list[bytes]]:
        """The numbers of the greeting, and the environment."""
        magic, version, length, *numbers = HELLO.unpack(self.read(HELLO.size))
        assert (magic, version) == (b"RSYSCALL", 1)
        strings = []
        for _ in range(numbers[5]):
            (size,) = struct.unpack("=I", self.read(4))
            strings.append(self.read(size))
        assert length == HELLO.size + sum(4 + len(string) for string in strings)
        return tuple(numbers), strings

    def answer(self) -> tuple[int, bytes]:
        result, length = RESPONSE.unpack(self.read(RESPONSE.size))
        return result, self.read(length)

    def ask(
        self, op: int, number: int, *args: int, payload: bytes = b"", flags: int = 0
    ) -> tuple[int, bytes]:
        self.write(request(op, number, *args, flags=flags) + payload)
        return self.answer()

    def end(self) -> None:
        """Say that there will be no more requests."""
        if self.to < 0:
            return
        if not self.pipes:
            with socket.socket(fileno=os.dup(self.to)) as shared:
                try:
                    shared.shutdown(socket.SHUT_WR)
                except OSError:  # the program has gone already
                    pass
        os.close(self.to)
        self.to = -1

    def close(self) -> None:
        self.end()
        os.close(self.source)
        self.process.wait(40)


def request(op: int, number: int, *args: int, flags: int = 0) -> bytes:
    """One request without its payload."""
    padded = [arg % 2**64 for arg in args] + [0] * (6 - len(args))
    return REQUEST.pack(op, flags, number, *padded)


@pytest.fixture(params=["socket", "pipes"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client that has been greeted."""
    client = Client("stdio", pipes=request.param == "pipes", environment={"LANG": "C", "X": "y=z"})
    client.hello()
    yield client
    client.close()


# ---- The program


def stub_of(machine: str) -> Path:
    try:
        return stub_path(machine)
    except FileNotFoundError as error:
        pytest.skip(f"package: there was no cross compiler: {error}")


@pytest.mark.parametrize("machine", EM)
def test_it_is_small_and_executable(machine: str) -> None:
    path = stub_of(machine)
    assert path.stat().st_size <= 16 * 1024
    assert os.access(path, os.X_OK)
    assert struct.unpack_from("=H", path.read_bytes(), 18) == (EM[machine],)


def test_an_architecture_that_there_is_not() -> None:
    with pytest.raises(FileNotFoundError, match="rsyscall-stub-pdp11"):
        stub_path("pdp11")


@pytest.mark.parametrize("machine", EM)
def test_it_needs_nothing_of_the_system_it_runs_on(machine: str) -> None:
    path = stub_of(machine)
    program = shutil.which("readelf")
    if program is None:
        pytest.skip("package: readelf is not installed (binutils)")

    def readelf(*options: str) -> str:
        return subprocess.run(
            [program, "-W", *options, path], check=True, capture_output=True, text=True
        ).stdout

    assert "INTERP" not in readelf("-l")
    assert "(NEEDED)" not in readelf("-d")
    # There is no dynamic linker to apply relocations.
    assert "R_" not in readelf("-r")
    # Nothing is left to be found elsewhere, and no page is both writable and executable.
    assert "RWE" not in readelf("-l")


def capabilities() -> list[str]:
    """The effective, permitted and inheritable ones of this program, as arguments."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return [str(int(fields[name], 16)) for name in ("CapEff", "CapPrm", "CapInh")]


def test_served_over_an_inherited_stream() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as other:
        kept = (theirs.fileno(), other.fileno())
        process = subprocess.Popen(
            [stub_path(), "serve", *capabilities(), *map(str, kept)], pass_fds=kept, env={}
        )
        theirs.close()
        assert ours.recv(HELLO.size, socket.MSG_WAITALL).startswith(b"RSYSCALL")
        for fd in kept:
            ours.sendall(request(CALL, NR["fcntl"], fd, fcntl.F_GETFD))
            assert RESPONSE.unpack(ours.recv(RESPONSE.size)) == (fcntl.FD_CLOEXEC, 0)
        ours.close()
        assert process.wait(40) == 0


def test_serving_takes_descriptors() -> None:
    for argument in ("", "x", "-1", "12345678901", str(2**64), "999"):
        for arguments in ([*capabilities(), argument], [argument]):
            command: list[str | Path] = [stub_path(), "serve", *arguments]
            assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 2


@pytest.mark.needs("CAP_SYS_CHROOT")
def test_it_runs_where_there_is_nothing_else(tmp_path: Path) -> None:
    shutil.copy(stub_path(), tmp_path / "stub")
    process = subprocess.run(
        ["./stub", "stdio"],
        preexec_fn=lambda: os.chroot(tmp_path),
        cwd=tmp_path,
        input=request(CALL, NR["getpid"]),
        capture_output=True,
        env={},
        check=True,
    )
    assert process.stdout.startswith(b"RSYSCALL")
    assert len(process.stdout) == HELLO.size + RESPONSE.size


def test_usage() -> None:
    for arguments, status in ((["--help"], 0), ([], 2), (["nonsense"], 2), (["stdio", "extra"], 2)):
        process = subprocess.run([stub_path(), *arguments], capture_output=True, text=True)
        assert process.returncode == status
        assert process.stdout == ""
        assert process.stderr.startswith("usage: rsyscall-stub")


def test_write(tmp_path: Path) -> None:
    def write(*arguments: str | Path) -> int:
        return subprocess.run([stub_path(), "write", *arguments], stderr=subprocess.DEVNULL).returncode

    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    second.touch()
    assert write() == 0
    assert write(first, "one\n", second, "") == 0
    assert first.read_text() == "one\n"
    assert write(tmp_path / "missing", "", first, "") == errno.ENOENT
    assert write(first, "1", second, "2", tmp_path, "3") == 64 * 2 + errno.EISDIR
    assert (first.read_text(), second.read_text()) == ("1ne\n", "2")
    assert write(first) == 2
    pair: list[str | Path] = [first, ""]
    assert write(*pair * 5) == 2


# ---- The protocol


@pytest.mark.parametrize("pipes", [False, True])
def test_greeting(pipes: bool) -> None:
    client = Client("stdio", pipes=pipes, environment={"LANG": "C", "EMPTY": "", "X": "y=z\n"})
    (machine, page_size, pid, uid, gid, count, sigmask, *symbols), environment = client.hello()
    assert machine == EM[os.uname().machine]
    assert page_size == os.sysconf("SC_PAGESIZE")
    assert (pid, uid, gid) == (client.process.pid, os.getuid(), os.getgid())
    assert count == 3
    assert sorted(environment) == [b"EMPTY=", b"LANG=C", b"X=y=z\n"]
    assert sigmask == sum(1 << (number - 1) for number in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    # Where the functions are: in what can be executed.
    executable = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.split()[1].startswith("r-x"):
            executable.append([int(end, 16) for end in line.split()[0].split("-")])
    for symbol in symbols[:6]:
        assert any(start <= symbol < end for start, end in executable)
    assert len(set(symbols[:6])) == 6
    assert symbols[6:] == [0, 0, 0, 1]  # two functions to come; the descriptors
    client.close()
    assert client.process.returncode == 0


def test_calls(client: Client) -> None:
    assert client.ask(CALL, NR["getpid"]) == (client.process.pid, b"")
    assert client.ask(CALL, NR["close"], -1) == (-errno.EBADF, b"")
    assert client.ask(CALL, 2**64 - 1) == (-errno.ENOSYS, b"")


def test_pipelining(client: Client) -> None:
    count = 300
    client.write(b"".join(request(CALL, NR["umask"], mask) for mask in range(count)))
    results = [client.answer()[0] for _ in range(count)]
    assert results[1:] == list(range(count - 1))


def test_memory(client: Client) -> None:
    address, _ = client.ask(CALL, NR["mmap"], 0, MAX_TRANSFER + 4096, 3, 0x22, -1, 0)
    assert address > 0
    for length in (0, 1, 2048, 2049, MAX_TRANSFER):
        data = os.urandom(length)
        assert client.ask(WRITE, address + 3, length, payload=data) == (length, b"")
        assert client.ask(READ, address + 3, length) == (length, data)
    assert client.ask(READ, 0, 100) == (-errno.EFAULT, b"")
    assert client.ask(WRITE, 0, 5000, payload=bytes(5000)) == (-errno.EFAULT, b"")
    assert client.ask(CALL, NR["getpid"]) == (client.process.pid, b"")


@pytest.mark.parametrize(
    "garbage",
    [
        request(0, 0),
        request(4, 0),
        request(CALL, NR["getpid"], flags=4),
        request(READ, 0, 0, flags=1),
        request(READ, 0, MAX_TRANSFER + 1),
        request(WRITE, 0, MAX_TRANSFER + 1),
        b"GET / HTTP/1.0\r\n\r\n".ljust(64, b" "),
    ],
)
def test_garbage_is_refused(client: Client, garbage: bytes) -> None:
    assert client.ask(CALL, NR["getpid"]) == (client.process.pid, b"")
    client.write(garbage)
    assert client.answer() == (-errno.EPROTO, b"")
    assert client.read(1) == b""
    client.process.wait(40)


def test_the_end_of_the_stream(client: Client) -> None:
    client.write(request(CALL, NR["getpid"])[:50])
    client.end()
    assert client.read(1) == b""
    assert client.process.wait(40) == 0


@pytest.mark.parametrize("pipes", [False, True])
def test_a_client_that_goes_away_without_reading(pipes: bool) -> None:
    client = Client("stdio", pipes=pipes)
    client.hello()
    client.write(100 * request(CALL, NR["getpid"]))
    client.close()
    # A pipe has no way to ask for an error instead of the signal.
    assert client.process.returncode in ((0, -signal.SIGPIPE) if pipes else (0,))
