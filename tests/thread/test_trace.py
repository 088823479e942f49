"""Showing calls: the text of a line, the calls of every process, and no effect on the callers."""

from __future__ import annotations

import errno
import importlib
import pkgutil
import re
import signal
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest
import trio
import trio.testing
from support import local_thread, sh
from waiting import wait_for_call

import rsyscall.trace
from rsyscall.command import Command
from rsyscall.cstruct import CStruct
from rsyscall.fcntl import F_LCK, FALLOC_FL, FD, F, Flock, O
from rsyscall.handle import import_headers
from rsyscall.handle.arguments import CALLS, By, Kind
from rsyscall.linux.dirent import DirentList
from rsyscall.native import write_memory
from rsyscall.near import SYS, Syscall, SyscallHangup, SyscallSendError
from rsyscall.near.abi import ABIS
from rsyscall.near.types import Address
from rsyscall.net.if_ import SIOC, Ifreq
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.own_ring import OwnRingConnection
from rsyscall.path import Path
from rsyscall.sched import CLONE, CloneArgs
from rsyscall.signal import SA, SIG, HowSIG, Sigaction, Siginfo, Sigset
from rsyscall.struct import Int64
from rsyscall.sys.capability import CapHeader
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.mount import MS
from rsyscall.sys.prctl import PR
from rsyscall.sys.socket import (
    AF,
    SOCK,
    Linger,
    RecvMmsghdrList,
    RecvmsgFlags,
    RecvMsghdr,
    SendMmsghdrList,
    SendMsghdr,
)
from rsyscall.sys.stat import Stat, TypeMode
from rsyscall.sys.statfs import Statfs
from rsyscall.sys.uio import IovecList
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.utsname import Utsname
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread
from rsyscall.time import Itimerspec, Timespec
from rsyscall.trace import Tracer, TracingSyscallInterface
from rsyscall.trace_calls import format_result
from rsyscall.trace_decode import SHOWN, STRING_LIMIT, Frame, OwnMemory, quote
from rsyscall.trace_values import value_text


class Lines(list[str]):
    """The lines shown, without their beginnings."""

    def __init__(self) -> None:
        super().__init__()
        self.tracer = Tracer(self.append)

    def texts(self) -> list[str]:
        return [line.partition("] ")[2] for line in self]

    def last(self) -> str:
        return self.texts()[-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The local thread is traced."""
    found = Lines()
    with found.tracer.tracing(local_thread.task, "test"):
        yield found
    found.tracer.enabled = False
    assert found.tracer.failure is None


# ---------------------------------------------------------------------------------------- lines


async def test_paths_flags_and_errors(lines: Lines, tmp_path: LocalPath) -> None:
    fd = await local_thread.task.open(await local_thread.ptr("/etc/passwd"), O.RDONLY)
    assert lines.last() == f'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = {int(fd.near)}'
    number = int(fd.near)
    await fd.close()
    assert lines.last() == f"close({number}) = 0"

    with pytest.raises(FileNotFoundError):
        await local_thread.task.open(await local_thread.ptr("/nowhere"), O.RDWR)
    assert lines.last().endswith('"/nowhere", O_RDWR|O_CLOEXEC) = -1 ENOENT (No such file or directory)')

    path = Path(tmp_path / "new")
    fd = await local_thread.task.open(await local_thread.ptr(path), O.WRONLY | O.CREAT | O.TRUNC, 0o640)
    assert f'"{path}", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0640) = ' in lines.last()
    await fd.close()
    assert lines[0].startswith(f"[pid {int(local_thread.task.near_process)} test] ")


async def test_buffers(lines: Lines) -> None:
    pipe = await local_thread.pipe()
    read, write = int(pipe.read.near), int(pipe.write.near)
    assert lines.last() == f"pipe2([{read}, {write}], O_CLOEXEC) = 0"
    await pipe.write.write(await local_thread.ptr(b'a "b"\n\x00\xff\\'))
    assert lines.last() == f'write({write}, "a \\"b\\"\\n\\000\\377\\\\", 9) = 9'
    await pipe.read.read(await local_thread.malloc(bytes, 100))
    assert lines.last() == f'read({read}, "a \\"b\\"\\n\\000\\377\\\\", 100) = 9'
    await pipe.write.write(await local_thread.ptr(b"x" * 1000))
    assert lines.last() == f'write({write}, "{"x" * STRING_LIMIT}"..., 1000) = 1000'
    await pipe.read.close()
    with pytest.raises(BrokenPipeError):
        await pipe.write.write(await local_thread.ptr(b"y"))
    assert lines.last() == f'write({write}, "y", 1) = -1 EPIPE (Broken pipe)'
    await pipe.write.close()


async def test_calls_of_modules_that_are_imported_when_they_are_used(lines: Lines) -> None:
    task, ptr, malloc = local_thread.task, local_thread.ptr, local_thread.malloc
    fd = await task.memfd_create(await ptr("file"))
    number = int(fd.near)
    await fd.fallocate(FALLOC_FL.KEEP_SIZE, 0, 10)
    assert lines.last() == f"fallocate({number}, FALLOC_FL_KEEP_SIZE, 0, 10) = 0"
    assert await fd.sendfile(fd, await ptr(Int64(7)), 5) == 0
    assert lines.last() == f"sendfile({number}, {number}, [7], 5) = 0"
    assert await fd.copy_file_range(None, fd, None, 5) == 0
    assert lines.last() == f"copy_file_range({number}, NULL, {number}, NULL, 5, 0) = 0"
    await fd.fstatfs(await malloc(Statfs))
    assert re.fullmatch(rf"fstatfs\({number}, {{f_type=16914836, f_bsize=.*}}\) = 0", lines.last())
    with pytest.raises(OSError, match=r"No data available|not supported"):
        await fd.fgetxattr(await ptr("user.a"), await malloc(bytes, 10))
    assert re.fullmatch(rf'fgetxattr\({number}, "user.a", .*, 10\) = -1 E(NODATA|OPNOTSUPP) .*', lines.last())
    await fd.close()


async def test_structures(lines: Lines) -> None:
    task, ptr, malloc = local_thread.task, local_thread.ptr, local_thread.malloc
    fd = await task.open(await ptr("/"), O.RDONLY | O.DIRECTORY)
    number = int(fd.near)
    await fd.fstat(await malloc(Stat))
    assert re.fullmatch(
        rf"fstat\({number}, {{st_mode=S_IFDIR\|0\d+, st_size=\d+, \.\.\.}}\) = 0", lines.last()
    )
    await fd.getdents(await malloc(DirentList, 4096))
    assert re.fullmatch(rf"getdents64\({number}, 0x\w+ /\* \d+ entries \*/, 4096\) = \d+", lines.last())
    await fd.fcntl(F.SETFD, FD.CLOEXEC)
    assert lines.last() == f"fcntl({number}, F_SETFD, FD_CLOEXEC) = 0"
    await fd.fcntl(F.GETFL)
    assert re.fullmatch(
        rf"fcntl\({number}, F_GETFL\) = 0x\w+ \(flags O_RDONLY\|.*O_DIRECTORY.*\)", lines.last()
    )
    await fd.close()

    fd = await local_thread.task.memfd_create(await ptr(Path("locked")))
    number = int(fd.near)
    await fd.fcntl(F.OFD_SETLK, await ptr(Flock(F_LCK.WR, len=5)))
    lock = "l_type=F_WRLCK, l_whence=0, l_start=0, l_len=5, l_pid=0"
    assert lines.last() == f"fcntl({number}, F_OFD_SETLK, {{{lock}}}) = 0"
    await fd.fcntl(F.OFD_GETLK, await ptr(Flock(F_LCK.WR, len=5)))
    assert lines.last() == f"fcntl({number}, F_OFD_GETLK, {{{lock.replace('WRLCK', 'UNLCK')}}}) = 0"
    await fd.close()

    name = await (await task.uname(await malloc(Utsname))).read()
    assert lines.last() == f'uname({{sysname="Linux", nodename={quote(name.nodename.encode())}, ...}}) = 0'

    sock = await local_thread.socket(AF.INET, SOCK.DGRAM)
    assert lines.last() == f"socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0) = {int(sock.near)}"
    await sock.ioctl(SIOC.GIFFLAGS, await ptr(Ifreq("lo")))
    assert f'ioctl({int(sock.near)}, SIOCGIFFLAGS, {{ifr_name="lo", ifr_flags=' in lines.last()
    assert "IFF_LOOPBACK" in lines.last()
    await sock.close()

    sock = await local_thread.socket(AF.UNIX, SOCK.STREAM)
    with pytest.raises(FileNotFoundError):
        await sock.connect(await ptr(SockaddrUn(b"/nowhere")))
    assert lines.last().startswith(
        f'connect({int(sock.near)}, {{sa_family=AF_UNIX, sun_path="/nowhere"}}, '
    ), lines.last()
    await sock.close()


async def test_several_messages(lines: Lines) -> None:
    pair = await local_thread.socketpair(AF.UNIX, SOCK.DGRAM)
    sent = SendMmsghdrList()
    for data in b"one", b"three":
        iov = await local_thread.ptr(IovecList([await local_thread.ptr(data)]))
        sent.append(SendMsghdr(None, iov, None))
    await pair.first.sendmmsg(await local_thread.ptr(sent))
    assert re.fullmatch(
        r'sendmmsg\(\d+, \[\{msg_hdr=\{msg_iov=\[.*"one".*\], msg_flags=0\}, msg_len=3\}, '
        r'\{msg_hdr=\{msg_iov=\[.*"three".*\], msg_flags=0\}, msg_len=5\}\], 2, 0\) = 2',
        lines.last(),
    ), lines.last()
    room = RecvMmsghdrList()
    for _ in range(3):
        iov = await local_thread.ptr(IovecList([await local_thread.malloc(bytes, 4)]))
        room.append(RecvMsghdr(None, iov, None))
    limit = await local_thread.ptr(Timespec(1, 0))
    await pair.second.recvmmsg(await local_thread.ptr(room), RecvmsgFlags.WAITFORONE, limit)
    assert re.fullmatch(
        r'recvmmsg\(\d+, \[\{msg_hdr=\{msg_iov=\[.*"one".*\], msg_flags=MSG_CMSG_CLOEXEC\}, msg_len=3\}, '
        r'\{msg_hdr=\{msg_iov=\[.*"thre".*\], msg_flags=MSG_TRUNC\|MSG_CMSG_CLOEXEC\}, msg_len=4\}\], 3, '
        r"MSG_WAITFORONE\|MSG_CMSG_CLOEXEC, .*\) = 2",
        lines.last(),
    ), lines.last()


async def test_signals_and_processes(lines: Lines) -> None:
    task, ptr = local_thread.task, local_thread.ptr
    number = int(task.near_process)
    sets = [await ptr(Sigset({SIG.USR1, SIG.HUP})), await local_thread.malloc(Sigset)]
    await task.sysif.syscall(SYS.rt_sigprocmask, HowSIG.BLOCK, sets[0].near, sets[1].near, 8)
    assert lines.last() == "rt_sigprocmask(SIG_BLOCK, [HUP USR1], [], 8) = 0"
    await task.sysif.syscall(SYS.rt_sigprocmask, HowSIG.UNBLOCK, sets[0].near, sets[1].near, 8)
    assert lines.last() == "rt_sigprocmask(SIG_UNBLOCK, [HUP USR1], [HUP USR1], 8) = 0"
    await task.sysif.syscall(SYS.kill, number, 0)
    assert lines.last() == f"kill({number}, 0) = 0"
    await task.sysif.syscall(SYS.prctl, PR.GET_DUMPABLE)
    assert lines.last().startswith("prctl(PR_GET_DUMPABLE) = ")
    assert await task.sysif.syscall(SYS.umask, 0o27) != 0o27
    assert re.fullmatch(r"umask\(027\) = 0\d+", lines.last())
    await task.sysif.syscall(SYS.umask, int(lines.last().rpartition("= ")[2], 8))
    with pytest.raises(OSError):
        await task.sysif.syscall(SYS.unshare, CLONE.NEWNET | CLONE.THREAD | 1 << 3)
    assert lines.last().startswith("unshare(CLONE_THREAD|CLONE_NEWNET|0x8) = -1 EINVAL")
    with pytest.raises(OSError):
        await local_thread.mount("none", "/nowhere/x", "tmpfs", MS.NOSUID | MS.RDONLY, "size=1")
    assert lines.last().startswith(
        'mount("none", "/nowhere/x", "tmpfs", MS_RDONLY|MS_NOSUID, "size=1") = -1 E'
    )


async def test_epoll(lines: Lines) -> None:
    pipe = await local_thread.pipe()
    epfd = await local_thread.task.epoll_create()
    assert lines.last() == f"epoll_create1(EPOLL_CLOEXEC) = {int(epfd.near)}"
    event = await local_thread.ptr(EpollEvent(42, EPOLL.IN | EPOLL.ET))
    await epfd.epoll_ctl(EPOLL_CTL.ADD, pipe.read, event)
    epoll, number = int(epfd.near), int(pipe.read.near)
    expected = f"epoll_ctl({epoll}, EPOLL_CTL_ADD, {number}, {{events=EPOLLIN|EPOLLET, data=42}}) = 0"
    assert lines.last() == expected
    await pipe.write.write(await local_thread.ptr(b"x"))
    await epfd.epoll_wait(await local_thread.malloc(EpollEventList, 32 * EpollEvent.sizeof()), 0)
    assert lines.last() == f"epoll_pwait({epoll}, [{{events=EPOLLIN, data=42}}], 32, 0, NULL, 8) = 1"
    for fd in (epfd, pipe.read, pipe.write):
        await fd.close()


async def test_several_calls_in_one_go(lines: Lines) -> None:
    results = await local_thread.task.sysif.syscalls(
        [Syscall(SYS.getpid), Syscall(SYS.close, -1), Syscall(SYS.getppid)], linked=True
    )
    assert results[1:] == [-errno.EBADF, -errno.ECANCELED]
    assert lines.texts() == [
        f"getpid() = {results[0]}",
        "close(-1) = -1 EBADF (Bad file descriptor)",
        "getppid() = -1 ECANCELED (Operation canceled)",
    ]


# ---------------------------------------------------------------------------------------- processes


@pytest.mark.usefixtures("transport")
async def test_children_and_theirs_are_traced(lines: Lines) -> None:
    child = await local_thread.clone()
    number = int(child.process.process.near)
    [clone] = [line for line in lines.texts() if line.startswith("clone3(") and f"= {number}" in line]
    assert clone.startswith("clone3({flags=CLONE_VM|")
    assert ", exit_signal=SIGCHLD, ...}" in clone
    await child.task.getpid()
    # Over a stream other calls may be shown while it waits.
    assert re.fullmatch(rf"\[pid {number}\] (getpid\(|<... getpid resumed>)\) = {number}", lines[-1])
    lines.tracer.name(child.task, "child")
    grandchild = await child.clone()
    assert any(line.startswith(f"[pid {number} child] clone3(") for line in lines)
    await grandchild.task.getppid()
    inner = int(grandchild.process.process.near)
    assert re.match(rf"\[pid {inner}\] (getppid\(|<... getppid resumed>)\) = ", lines[-1])

    process = await grandchild.exec(Command("/bin/sh", ["sh", "-c", "exit 3"], {}))
    [execve] = [line for line in lines if "] execve(" in line or "execve resumed" in line][-1:]
    assert execve.startswith(f"[pid {inner}] ")
    assert execve.endswith(" = ? (executed)")
    assert any('execve("/bin/sh", ["sh", "-c", "exit 3"], 0x' in line for line in lines)
    await process.waitpid(W.EXITED)
    found = f"{{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid={inner}, si_uid="
    assert any(line.startswith("waitid(P_PIDFD, ") and found in line for line in lines.texts())

    await child.exit(0)
    assert any(re.search(r"exit(\(0\)| resumed>\)) = \?$", line) for line in lines)
    await child.process.waitpid(W.EXITED)


async def test_memory_of_a_process_with_its_own(lines: Lines) -> None:
    """It is shown as far as it is in the memory file that the two sides share, where there is a ring."""
    child = await local_thread.clone(own_memory=True)
    assert any(line.startswith("execveat(") for line in lines.texts())
    # But nothing of what goes before it.
    assert not any("F_SETFD" in line or "CAP_AMBIENT" in line for line in lines.texts())
    async with child.process:
        directory = await child.ptr(Path("/usr"))
        await child.task.chdir(directory)
        shown = 'chdir("/usr") = 0' if isinstance(child.task.sysif.inner, OwnRingConnection) else "chdir(0x"
        assert lines.last().startswith(shown)
        beyond = await child.task.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE)
        with pytest.raises(FileNotFoundError):
            await child.task.sysif.syscall(SYS.chdir, beyond.near.address)
        assert lines.last().startswith("chdir(0x")


async def test_failed_exec(lines: Lines) -> None:
    child = await local_thread.clone()
    async with child.process:
        with pytest.raises(FileNotFoundError):
            await child.execv("/nowhere", ["x"])
        [line] = [line for line in lines.texts() if "execve" in line]
        assert re.fullmatch(r'execve\("/nowhere", \["x"\], 0x\w+ /\* \d+ vars \*/\) = -1 ENOENT .*', line), (
            line
        )


async def block(child: ChildThread, nursery: trio.Nursery) -> None:
    """Have the child read from a pipe that stays empty."""
    pipe = await child.pipe()

    async def read() -> None:
        with pytest.raises(SyscallHangup):
            await pipe.read.read(await child.malloc(bytes, 10))

    nursery.start_soon(read)
    await wait_for_call(child.process.process.near.id, SYS.read, int(pipe.read))


async def test_a_call_that_waits_is_shown_as_unfinished(lines: Lines) -> None:
    child = await local_thread.clone()
    async with trio.open_nursery() as nursery:
        pipe = await child.pipe()
        number = int(pipe.read.near)

        async def read() -> None:
            valid, _ = await pipe.read.read(await child.malloc(bytes, 10))
            assert await valid.read() == b"late"

        writer = await child.clone()
        end = writer.inherit_fd(pipe.write)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        # Something else that returns while it waits. (The write may return after the read that it ends.)
        await writer.task.getpid()
        await end.write(await writer.ptr(b"late"))
    texts = lines.texts()
    assert f"read({number},  <unfinished ...>" in texts
    assert texts.index(f"read({number},  <unfinished ...>") < texts.index('<... read resumed>"late", 10) = 4')
    for thread in (writer, child):
        async with thread.process:
            pass


async def test_a_process_that_is_killed(lines: Lines) -> None:
    child = await local_thread.clone()
    async with trio.open_nursery() as nursery:
        await block(child, nursery)
        await child.process.kill()
    await child.process.waitpid(W.EXITED)
    assert any(text.endswith("= ? <the process is gone>") for text in lines.texts()), lines
    with pytest.raises(SyscallSendError):
        await child.task.getpid()
    assert lines.last() == "getpid() = ? <not made: the process is gone>"


async def test_what_is_cancelled_before_it_is_sent_is_not_shown(lines: Lines) -> None:
    child = await local_thread.clone()
    async with child.process:
        before = len(lines)
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.task.sysif.syscall(SYS.nanosleep, 0, 0)
        assert scope.cancelled_caught
        assert lines[before:] == []
        assert await child.task.getpid() == child.process.process.near


# ---------------------------------------------------------------------------------------- the tracer


async def test_nothing_changes_without_a_tracer(lines: Lines) -> None:
    assert isinstance(local_thread.task.sysif, TracingSyscallInterface)
    inner = local_thread.task.sysif.inner
    tracer = Tracer(lambda line: None)
    with tracer.tracing(local_thread.task) as outer:
        assert isinstance(outer.inner, TracingSyscallInterface)
        assert outer.inner.inner is inner
        assert outer.abi is inner.abi
        assert outer.get_activity_fd() is None
        assert "LocalSyscall" in repr(outer)
        assert outer.log_calls is False, "what particular interfaces have"
        with pytest.raises(AttributeError):
            assert outer.no_such_thing
    assert isinstance(local_thread.task.sysif, TracingSyscallInterface)
    assert local_thread.task.sysif.inner is inner
    assert await local_thread.task.sysif.read_memory((await local_thread.ptr(b"abc")).near, 3) == b"abc"


async def test_counts() -> None:
    tracer = Tracer(lambda line: None)
    with tracer.tracing(local_thread.task):
        for _ in range(3):
            await local_thread.task.getpid()
        with pytest.raises(OSError):
            await local_thread.task.sysif.syscall(SYS.close, -1)
        tracer.enabled = False
        await local_thread.task.getpid()
        await local_thread.task.sysif.syscalls([Syscall(SYS.getpid)])
    assert tracer.counts["getpid"].calls == 3
    assert (tracer.counts["close"].calls, tracer.counts["close"].errors) == (1, 1)
    table = tracer.summary().splitlines()
    assert table[1].split()[0] == "3"
    assert table[1].split()[-1] == "getpid"
    assert table[-1].split()[:2] == ["4", "1"]


async def test_a_sink_that_fails_disturbs_nobody() -> None:
    shown: list[str] = []

    def sink(line: str) -> None:
        shown.append(line)
        raise BrokenPipeError("the reader is gone")

    tracer = Tracer(sink)
    with tracer.tracing(local_thread.task):
        assert await local_thread.task.getpid() == local_thread.task.near_process
        await local_thread.task.getpid()
    assert len(shown) == 1
    assert isinstance(tracer.failure, BrokenPipeError)


async def test_timestamps_and_names() -> None:
    shown: list[str] = []
    tracer = Tracer(shown.append, timestamps=True)
    sysif = tracer.wrap(local_thread.task.sysif, "worker", shares_memory=False)
    await sysif.syscall(SYS.getpid)
    with pytest.raises(OSError):
        await sysif.syscall(SYS.chdir, (await local_thread.ptr("/nowhere")).near)
    assert re.fullmatch(r" +\d+\.\d{6} \[worker\] getpid\(\) = \d+", shown[0])
    assert re.search(r"chdir\(0x\w+\) = -1 ENOENT", shown[1]), "memory that is not ours is not looked at"
    sysif.name = ""
    await sysif.syscall(SYS.getpid)
    assert re.fullmatch(r" +\d+\.\d{6} getpid\(\) = \d+", shown[2])


async def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    await Tracer().wrap(local_thread.task.sysif, "worker").syscall(SYS.getpid)
    assert re.fullmatch(r".*getpid\(\) = \d+\n", capsys.readouterr().err)


async def test_calls_that_a_process_was_prepared_with_are_shown(lines: Lines) -> None:
    state = await local_thread.run(sh("exit 0"))
    assert f"[pid {state.pid}] rt_sigaction(SIGPIPE, {{sa_handler=SIG_DFL, " in "\n".join(lines)
    [execve] = [line for line in lines if "execve" in line]
    assert execve.startswith(f'[pid {state.pid}] execve("/bin/sh", ["sh", "-c", "exit 0"], 0x')
    assert execve.endswith(" = ? (executed)")
    with pytest.raises(FileNotFoundError):
        await local_thread.run(Command("/nowhere", ["x"], {}))
    [execve] = [line for line in lines if 'execve("/nowhere' in line]
    assert execve.endswith(" = -1 ENOENT (No such file or directory)")


# ---------------------------------------------------------------------------------------- the decoder


def decode(name: str, *args: int, result: int = 0) -> str:
    frame = Frame(name, [*args, *[0] * (6 - len(args))], None, OwnMemory())
    shown = frame.text(frame.after(frame.before(), result))
    return f"{name}({shown}) = {format_result(frame, result)}"


@pytest.mark.parametrize(
    ("name", "args", "result", "expected"),
    [
        ("mmap", (0, 4096, 3, 0x22, -1), 0x7F0000000000, "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000"),  # noqa: E501 (readable as it is)
        ("clone", (0x11 | 0x100,), 5, "clone(CLONE_VM|SIGCHLD, NULL) = 5"),
        ("openat", (-100, 0, 0o200000), 3, "openat(AT_FDCWD, NULL, O_RDONLY|O_DIRECTORY) = 3"),
        ("openat", (3, 0, 0o10000000), 3, "openat(3, NULL, O_PATH) = 3"),
        ("dup3", (3, 1, 0), 1, "dup3(3, 1, 0) = 1"),
        ("faccessat", (-100, 0, 0), 0, "faccessat(AT_FDCWD, NULL, F_OK) = 0"),
        ("faccessat", (-100, 0, 5), 0, "faccessat(AT_FDCWD, NULL, X_OK|R_OK) = 0"),
        ("umount2", (0, 2 | 8), 0, "umount2(NULL, MNT_DETACH|UMOUNT_NOFOLLOW) = 0"),
        ("waitid", (3, 9, 0, 0x40000005), -errno.ECHILD, "waitid(P_PIDFD, 9, NULL, WNOHANG|WEXITED|__WALL, NULL) = -1 ECHILD (No child processes)"),  # noqa: E501
        ("kill", (-1, 9), 0, "kill(-1, SIGKILL) = 0"),
        ("kill", (1, 40), 0, "kill(1, 40) = 0"),
        ("prctl", (1, 15), 0, "prctl(PR_SET_PDEATHSIG, SIGTERM) = 0"),
        ("prctl", (38, 1), 0, "prctl(PR_SET_NO_NEW_PRIVS, 1) = 0"),
        ("fchmod", (3, 0o644), 0, "fchmod(3, 0644) = 0"),
        ("ioctl", (3, 0x5401, 0x1000), 0, "ioctl(3, TCGETS, 0x1000) = 0"),
        ("ioctl", (3, 0x12345678), 0, "ioctl(3, 0x12345678) = 0"),
        ("socket", (2, 3 | 0x80000, 1), 4, "socket(AF_INET, SOCK_RAW|SOCK_CLOEXEC, IPPROTO_ICMP) = 4"),
        ("setsockopt", (3, 1, 9, 0, 4), 0, "setsockopt(3, SOL_SOCKET, SO_KEEPALIVE, NULL, 4) = 0"),
        ("shutdown", (3, 1), 0, "shutdown(3, SHUT_WR) = 0"),
        ("quotactl", (0x80000701, 0, 7, 1), 0, "quotactl(QCMD(Q_GETQUOTA, GRPQUOTA), NULL, 7, 0x1) = 0"),
        ("quotactl_fd", (3, 0x80000105), 0, "quotactl_fd(3, QCMD(Q_SYNC, 5), 0) = 0"),
        ("exit", (256,), 0, "exit(256) = 0"),
        ("read", (3, 0x1000, 5), -errno.EFAULT, "read(3, 0x1000, 5) = -1 EFAULT (Bad address)"),
        ("never_heard_of", (1, -1, 2**63, 0), -5000, "never_heard_of(1, -1, 0x8000000000000000) = 0x-1388"),
    ],
)  # fmt: skip
def test_decoding(name: str, args: tuple[int, ...], result: int, expected: str) -> None:
    if name == "never_heard_of":
        result, expected = 7, expected.replace("0x-1388", "7")
    if name == "openat" and args[2] == 0o200000:
        args = (*args[:2], O.DIRECTORY)
    assert decode(name, *args, result=result) == expected


async def test_structures_are_shown_as_they_are_declared() -> None:
    ptr = local_thread.ptr
    timer = await ptr(Itimerspec(1.5, Timespec(0, 3)))
    expected = "{it_interval={tv_sec=1, tv_nsec=500000000}, it_value={tv_sec=0, tv_nsec=3}}"
    text = decode("timerfd_settime", 3, 1, int(timer.near))
    assert text == f"timerfd_settime(3, TFD_TIMER_ABSTIME, {expected}, NULL) = 0"
    action = await ptr(Sigaction(Address(0x1000), SA.RESTORER, Sigset([SIG.INT]), Address(0x2000)))
    expected = "{sa_handler=0x1000, sa_mask=[INT], sa_flags=SA_RESTORER, sa_restorer=0x2000}"
    text = decode("rt_sigaction", 2, int(action.near), 0, 8)
    assert text == f"rt_sigaction(SIGINT, {expected}, NULL, 8) = 0"
    address = await ptr(SockaddrIn(80, "127.0.0.1"))
    expected = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}'
    assert decode("bind", 3, int(address.near), 16) == f"bind(3, {expected}, 16) = 0"
    assert decode("bind", 3, int(address.near), 3) == 'bind(3, {sa_family=AF_INET, "\\000"}, 3) = 0'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (TypeMode.from_int(0o010644), "S_IFIFO|0644"),
        (TypeMode.from_int(0o040755), "S_IFDIR|0755"),
        (TypeMode.from_int(0o4000), "00|04000"),
        (Sigset(range(1, 64)), "~[64]"),
        (CloneArgs(CLONE.VM, exit_signal=SIG.CHLD), "{flags=CLONE_VM, exit_signal=SIGCHLD, ...}"),
        (Flock(F_LCK.WR, len=5), "{l_type=F_WRLCK, l_whence=0, l_start=0, l_len=5, l_pid=0}"),
        (Linger(True, 3), "{l_onoff=1, l_linger=3}"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert value_text(value) == text


def test_every_structure_that_a_call_takes_has_a_text() -> None:
    import_headers()
    classes = {getattr(kind, "cls", None) for kinds in CALLS.values() for kind in kinds}
    declared = {cls for cls in classes if isinstance(cls, type) and issubclass(cls, CStruct)}
    assert {Stat, Sigaction, Itimerspec} <= declared
    # The first shows nothing if there is no child, and zeros are not the second.
    for cls in declared - {Siginfo, CapHeader}:
        text = value_text(cls.from_bytes(bytes(cls.sizeof())))
        for field in cls.c_fields():
            assert (f"{field.member}=" in text) == (not cls.c_brief or field.name in cls.c_brief), text


def test_quote() -> None:
    assert quote(b"x" * STRING_LIMIT) == f'"{"x" * STRING_LIMIT}"'
    assert quote(b"x" * (STRING_LIMIT + 1)) == f'"{"x" * STRING_LIMIT}"...'
    assert quote(b"\x01\x7f", whole=False) == '"\\001\\177"...'


async def test_memory_is_read_up_to_where_it_ends() -> None:
    page = local_thread.task.sysif.abi.page_size
    mapping = await local_thread.task.mmap(2 * page, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    start = int(mapping.near.address)
    write_memory(start, b"a" * page)
    await local_thread.task.sysif.syscall(SYS.mprotect, start + page, page, 0)
    memory = OwnMemory()
    assert memory.read(start + page - 10, 100) == b"a" * 10
    assert memory.read(start + page, 1) == b""
    assert memory.read(0, 1) == memory.read(2**64 - 1, 2) == memory.read(2**63, 8) == b""
    assert decode("chdir", start + page - 3) == 'chdir("aaa"...) = 0', "no NUL before the end"
    assert decode("chdir", start + page) == f"chdir({start + page:#x}) = 0"
    assert decode("write", 1, start + page - 3, 4, result=4) == f"write(1, {start + page - 3:#x}, 4) = 4"
    await mapping.munmap()


@pytest.mark.slow
async def test_no_registers_make_it_fail() -> None:
    """Whatever the numbers are, and whatever they point to, there is a text."""
    junk = await local_thread.ptr(bytes(range(1, 256)) * 32)
    zeros = await local_thread.ptr(bytes(8192))
    values = [0, 1, -1, 0xDEADBEEF000, 2**63, int(junk.near), int(zeros.near)]
    for name, kinds in CALLS.items():
        for first in values:
            for second in values:
                for result in (0, 3, 2**31, -errno.EPERM):
                    text = decode(name, first, second, second, first, second, first, result=result)
                    assert text.startswith(f"{name}(")
        assert len(kinds) <= 6


def kinds_in(kind: Kind) -> set[str]:
    if isinstance(kind, By):
        return {kind.otherwise.name, *(case.name for case in kind.cases.values())}
    return {kind.name}


def test_every_kind_of_argument_can_be_shown() -> None:
    used = {name for kinds in CALLS.values() for kind in kinds for name in kinds_in(kind)}
    assert used == set(SHOWN)


def test_descriptions_are_of_calls() -> None:
    known = {call.name for abi in ABIS.values() for call in abi.syscalls}
    assert set(CALLS) <= known


def test_every_call_that_we_make_has_an_entry() -> None:
    root = LocalPath(rsyscall.trace.__file__).parent
    used = set()
    # The modules of less common headers are imported when they are used, and describe their calls then.
    for module in pkgutil.walk_packages(rsyscall.__path__, "rsyscall."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for directory in {root, LocalPath(rsyscall.near.__file__).parent.parent}:
        for path in directory.rglob("*.py"):
            text = path.read_text()
            used |= {
                *re.findall(r"(?<![.\w])nr\.([a-z]\w*)", text),
                *re.findall(r"\babi\.call\(\"(\w+)\"", text),
            }
    assert used
    missing = used - set(CALLS)
    assert not missing, f"describe them with rsyscall.handle.arguments: {sorted(missing)}"


def test_signals_are_named_as_python_names_them() -> None:
    # Python 3.10 has no name for 16, SIGSTKFLT.
    named = [sig for sig in signal.Signals if sig < 32]
    assert len(named) >= 30
    for sig in named:
        assert decode("kill", 1, int(sig)) == f"kill(1, {sig.name}) = 0"
