"""The rows of the table, with their limits and aims."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["REMOTE_ROWS", "REMOTE_TIMES", "ROWS", "TIMES", "Row", "Time"]


@dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        name: for `--row`.
        measure: what is compared with what.
        gate: what it must not exceed.
        aim: what it should not exceed.
        at_least: larger is better: the value must not fall below the gate.
        unit: of value, gate and aim; ratios have none.
        why: what stands between the value and the aim, for the page; a number in it was measured.
    """

    name: str
    measure: str
    gate: float
    aim: float | None
    at_least: bool = False
    unit: str = ""
    why: str = ""

    def meets(self, value: float, limit: float) -> bool:
        """Whether a value, as precise as it is printed, is on the right side."""
        value = round(value, 2)
        return value >= limit if self.at_least else value <= limit

    def verdict(self, value: float) -> str:
        """In words."""
        if not self.meets(value, self.gate):
            return "MISSED"
        return "aim" if self.aim is not None and self.meets(value, self.aim) else "gate"

    def show(self, value: float | None) -> str:
        """A value, a gate or an aim as text."""
        if value is None:
            return ""
        if self.unit:
            return f"{value:.2f} {self.unit}"
        return f"{'≥ ' if self.at_least and value in (self.gate, self.aim) else ''}{value:.3g}"


ROWS = [
    Row(
        "call",
        "`await` of getuid in a child ÷ raw call through cffi",
        4,
        2,
        why=(
            "a local call takes 0.63 of its 0.74 µs, too: an `await`, and the way through the C "
            "interface of Python"
        ),
    ),
    Row("call-local", "the same ÷ `await` of getuid on the local thread", 2.5, 1.3),
    Row(
        "busy",
        "the same with one busy Python thread ÷ without",
        5,
        2,
        why=(
            "`os.getuid()` took 2.6 times as long beside such a thread: the interpreter hands its lock over"
        ),
    ),
    Row("pipe", "`multiprocessing.Pipe` round trip ÷ call in a child", 10, 20, at_least=True),
    Row(
        "batch",
        "per call, batch of 512 ÷ `os.getuid()`",
        2,
        1.1,
        why="besides the call itself, a slot of 64 bytes is written and its answer read: 0.03 µs",
    ),
    Row(
        "sleepers",
        "100 children in `nanosleep(1 ms)` ÷ 100 `trio.sleep(0.001)`",
        1.3,
        0.8,
        why=("33 µs for each, on two processors: one process wakes, and another one, ours, is told of it"),
    ),
    Row(
        "spawn",
        "clone, 8 set-up calls, exec, wait ÷ `os.posix_spawn`, `waitpid`",
        1.5,
        1.0,
        why=("it makes eight calls that `posix_spawn` does not, prepared in Python, and takes 5 % longer"),
    ),
    Row(
        "at-once",
        "30 spawns at once, each ÷ `os.posix_spawn`, `waitpid`",
        0.7,
        0.4,
        why="of 206 µs for each, 192 are processor time of the one thread that Python lets run",
    ),
    Row(
        "run-process",
        "`Thread.run` ÷ `trio.run_process`",
        0.5,
        0.25,
        why=(
            "a quarter of the 700 µs of `trio.run_process` is 175; `os.posix_spawn` with `waitpid` "
            "alone took 376"
        ),
    ),
    Row(
        "spawn-each",
        "`clone`, `exec`, `waitpid` awaited one by one ÷ `os.posix_spawn`, `waitpid`",
        1.7,
        1.2,
        why=(
            "`Thread.run`, which puts all calls into the ring of the process before it exists, takes "
            "92 of 322 µs less; between 1.21 and 1.28 in runs on the same machine"
        ),
    ),
    Row(
        "run-subprocess",
        "`Thread.run` ÷ `subprocess.run`",
        1.1,
        0.9,
        why=(
            "291 of 300 µs are processor time of one thread, in the kernel and in 145 function "
            "calls of Python"
        ),
    ),
    Row(
        "capture",
        "`Thread.run` capturing 100 bytes ÷ `subprocess.run` likewise",
        1.2,
        1.0,
        why=("the pipe, reading it and closing it add 98 µs to `Thread.run`, and 60 to `subprocess.run`"),
    ),
    Row(
        "both-ways",
        "64 MiB through a command's stdin and stdout at once ÷ `subprocess.Popen.communicate`",
        1.2,
        0.8,
    ),
    Row(
        "both-ways-memory",
        "the same: peak of resident memory beyond input and output",
        1,
        None,
        unit="MiB",
    ),
    Row(
        "spawn-calls",
        "function calls of Python in one `clone`, `exec`, `waitpid`",
        400,
        250,
        why=(
            "three methods awaited one by one, where `Thread.run` makes such a process with 145 "
            "function calls"
        ),
    ),
    Row("run-calls", "function calls of Python in one `Thread.run`", 220, 150),
    Row(
        "command-line",
        "`python -m rsyscall run -- true` ÷ `python -c 'import trio'`",
        1.4,
        1.2,
        why="107 modules of the layers take 71 of the 244 ms that `-X importtime` counts for all imports",
    ),
    Row(
        "big-parent",
        "spawn from a parent of 4 GB ÷ from one of 30 MB",
        1.3,
        1.05,
        why="no page table is copied; between 1.02 and 1.16 in runs on the same machine",
    ),
    Row(
        "late",
        "5000th spawn ÷ 50th spawn",
        1.1,
        1.0,
        why=("nothing grows from one spawn to the next; between 0.98 and 1.06 in runs on the same machine"),
    ),
    Row("resident", "resident memory after 5000 spawns ÷ after 500", 1.1, 1.0),
    Row(
        "write",
        "write of 4 KiB in a child ÷ `bytearray` slice copy of 4 KiB",
        5,
        3,
        why=(
            "of 0.94 µs the copy takes 0.15, the checks 0.25, making bytes of the value 0.13, the "
            "new pointer 0.28, the `await` 0.14"
        ),
    ),
    Row(
        "read",
        "read of 4 KiB in a child ÷ `bytearray` slice copy of 4 KiB",
        5,
        3,
        why="as for writing, without a new pointer",
    ),
    Row("idle", "processor time of 100 idle children over 5 s", 0.0, 0.0, unit="s"),
    Row(
        "own-call",
        "a call in a child with memory of its own ÷ in one that shares ours",
        1.2,
        1.0,
        why="the two are as far apart as two runs are: between 0.97 and 1.06 on the same machine",
    ),
    Row(
        "own-write",
        "write of 4 KiB there ÷ in a child that shares ours",
        1.3,
        1.0,
        why="the bounds of the shared file are checked besides those of the pointer",
    ),
    Row(
        "own-read",
        "read of 4 KiB there ÷ in a child that shares ours",
        1.3,
        1.0,
        why="as for a call there: between 0.92 and 1.01",
    ),
    Row(
        "own-make",
        "making one, until its first answer ÷ `os.posix_spawn`, `waitpid`",
        2.5,
        1.6,
        why=(
            "beyond `posix_spawn` there are a memory file, mapped on both sides, a second program, "
            "and its greeting"
        ),
    ),
    Row(
        "stream",
        "a call in a child over a byte stream ÷ a round trip between two processes under trio",
        1.5,
        1.15,
        why="the state of the stream is kept so that an exception at any moment loses no answer",
    ),
    Row("own-idle", "processor time of 100 of them, idle, over 5 s", 0.0, 0.0, unit="s"),
    Row("reaping", "registering and reaping, per child: growth between 10, 100 and 1000", 1.5, None),
    Row(
        "timeouts-cgroup",
        "1000 timeouts, 50 at once, tree in a cgroup: median overrun",
        2000,
        None,
        unit="ms",
    ),
    Row("timeouts-pidns", "the same, tree in a pid namespace", 2000, None, unit="ms"),
]


@dataclass(frozen=True)
class Time:
    """One absolute time, for comparison with those beside it.

    Attributes:
        side: the name of the measurement.
        label: what it is.
        section: the heading that it is below.
        ours: whether it is rsyscall.
    """

    side: str
    label: str
    section: str
    ours: bool = True


_CALL = "one system call (getuid)"
_SPAWN = "one process, from creation to wait, of a static program"
_MEMORY = "4 KiB of memory"

TIMES = [
    Time("os.getuid", "os.getuid()", _CALL, False),
    Time("cffi", "raw call through cffi", _CALL, False),
    Time("local", "local thread", _CALL),
    Time("child", "child", _CALL),
    Time("child with memory of its own", "child with memory of its own", _CALL),
    Time("batch", "child, batch of 512, each", _CALL),
    Time("child, busy thread", "child, beside a busy Python thread", _CALL),
    Time("stream", "child, over a byte stream", _CALL),
    Time("to_thread", "trio.to_thread.run_sync", _CALL, False),
    Time("pipe", "multiprocessing.Pipe round trip", _CALL, False),
    Time("at once", "Thread.run, 30 at once, each", _SPAWN),
    Time("prepared", "prepare, 8 set-up calls, exec, wait", _SPAWN),
    Time("run", "Thread.run", _SPAWN),
    Time("each", "clone, exec, waitpid, awaited one by one", _SPAWN),
    Time("stepwise", "clone, 8 calls awaited in turn, exec, wait", _SPAWN),
    Time("making one", "clone(own_memory=True), until its first answer", _SPAWN),
    Time("posix_spawn", "os.posix_spawn, os.waitpid", _SPAWN, False),
    Time("subprocess", "subprocess.run", _SPAWN, False),
    Time("capture", "Thread.run, capturing 100 bytes", _SPAWN),
    Time("subprocess capture", "subprocess.run, capturing 100 bytes", _SPAWN, False),
    Time("trio.run_process", "trio.run_process", _SPAWN, False),
    Time("copy 4 KiB", "slice of a bytearray", _MEMORY, False),
    Time("write 4 KiB", "write in a child", _MEMORY),
    Time("read 4 KiB", "read in a child", _MEMORY),
]

REMOTE_ROWS = [
    Row("ssh-connect", "connecting by ssh, until the first answer ÷ `ssh HOST true`", 1.15, 1.03),
    Row("ssh-call", "a call there ÷ a round trip through `ssh HOST cat`, both waiting in trio", 1.5, 1.15),
    Row("ssh-batch", "per call, batch of 64 ÷ that round trip", 0.05, 0.03),
    Row(
        "ssh-child",
        "a call in a child there ÷ a round trip through a socket that ssh forwards to `cat`",
        2.5,
        1.5,
    ),
    Row("ssh-channel", "a round trip through a channel to `cat` ÷ that", 2.5, 1.5),
    Row("ssh-channel-large", "64 MiB there and back through a channel ÷ through such a socket", 2, 1),
    Row("ssh-up", "256 MiB to memory there ÷ to `ssh HOST cat`", 1.3, 1.05),
    Row("ssh-down", "256 MiB from memory there ÷ from `ssh HOST cat`", 1.3, 1.05),
    Row("far-reads", "20 independent reads of files at 50 ms ÷ a round trip", 3, 2),
    Row(
        "reconnect",
        "connecting to a persistent process with 1,000 descriptors ÷ making a process with memory of its own",
        2,
        1,
        why=(
            "of 1,000 µs the socket and its place in the epoll instance take 160, connecting and saying what "
            "is wanted 160, the greeting, before which the process makes 30 calls, 140, the objects of the "
            "thread 250, the first answer over the new stream 210, where one through a ring takes 20 to 70; "
            "between 0.8 and 1.5 in runs on the same machine"
        ),
    ),
    Row("many-hosts", "until 100 connections have answered, each ÷ one alone", 1.0, 0.7),
]

_CONNECT = "one connection by ssh, until its first answer"
_SSH_CALL = "one round trip over ssh"
_SSH_RUN = "one command that does nothing, over ssh"
_SSH_WRITE = "one small file, written over ssh"
_SSH_STATS = "one thousand times the status of a file, over ssh"

REMOTE_TIMES = [
    Time("ssh connect", "make a thread", _CONNECT),
    Time("ssh true", "ssh HOST true", _CONNECT, False),
    *(Time(f"{name} connect", name, _CONNECT, False) for name in ("asyncssh", "paramiko", "mitogen")),
    Time("ssh call", "getuid", _SSH_CALL),
    Time("ssh call in a child", "getuid in a child", _SSH_CALL),
    Time("channel", "Thread.open_channels and cat", _SSH_CALL),
    Time("forwarded", "ssh -L and cat", _SSH_CALL, False),
    Time("ssh batch", "getuid, batch of 64, each", _SSH_CALL),
    Time("ssh cat", "ssh HOST cat", _SSH_CALL, False),
    Time("ssh run", "Thread.run", _SSH_RUN),
    *(Time(f"{name} run", name, _SSH_RUN, False) for name in ("asyncssh", "paramiko", "mitogen")),
    Time("ssh write", "Thread.write_file", _SSH_WRITE),
    *(Time(f"{name} write", name, _SSH_WRITE, False) for name in ("asyncssh", "paramiko", "mitogen")),
    Time("ssh stats", "Thread.stat, all at once", _SSH_STATS),
    *(Time(f"{name} stats", name, _SSH_STATS, False) for name in ("asyncssh", "paramiko", "mitogen")),
]
