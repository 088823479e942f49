"""Some calls of each family, shown by our own tracer in the file that the first argument names."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import strace_families
import trio

from rsyscall.fcntl import AT, F_LCK, FALLOC_FL, F, Flock, O
from rsyscall.linux.landlock import LANDLOCK_ACCESS_FS, RulesetAttr
from rsyscall.linux.memfd import MFD
from rsyscall.linux.openat2 import OpenHow
from rsyscall.linux.seccomp import SECCOMP, SECCOMP_FILTER_FLAG, SECCOMP_RET
from rsyscall.local import LocalThread
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.poll import POLL, Pollfd, PollfdList
from rsyscall.sched import CLONE
from rsyscall.signal import SIG, HowSIG, Sigset
from rsyscall.struct import Int32
from rsyscall.sys.epoll import EPOLL, EPOLL_CTL, EpollEvent, EpollEventList
from rsyscall.sys.eventfd import EFD
from rsyscall.sys.inotify import IN
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.mount import MOUNT_ATTR, MS, MountAttr
from rsyscall.sys.prctl import PR
from rsyscall.sys.resource import RLIMIT, RUSAGE, Rlimit, Rusage
from rsyscall.sys.signalfd import SFD
from rsyscall.sys.socket import AF, SHUT, SO, SOCK, SOL, Sockbuf
from rsyscall.sys.stat import STATX, Stat, Statx
from rsyscall.sys.statfs import Statfs
from rsyscall.sys.sysinfo import Sysinfo
from rsyscall.sys.timerfd import TFD_TIMER
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.utsname import Utsname
from rsyscall.thread import Thread
from rsyscall.time import CLOCK, Itimerspec, Timespec
from rsyscall.trace import Tracer
from rsyscall.unistd import OK, SEEK

FAILS = contextlib.suppress(OSError)


async def files(thr: Thread) -> None:
    task = thr.task
    directory, path, other = await thr.ptr("d"), await thr.ptr("d/f"), await thr.ptr("d/g")
    await task.mkdir(directory, 0o750)
    fd = await task.open(path, O.RDWR | O.CREAT | O.EXCL, 0o640)
    await fd.write(await thr.ptr(b"some\0text\n\x011\xff"))
    await fd.ftruncate(100)
    await fd.lseek(10, SEEK.SET)
    await fd.fstat(await thr.malloc(Stat))
    await fd.fcntl(F.SETLK, await thr.ptr(Flock(F_LCK.WR, 0, 5, 10)))
    await fd.fcntl(F.GETFL)
    with FAILS:
        await fd.fallocate(FALLOC_FL.KEEP_SIZE, 0, 4096)
    await fd.pread(await thr.malloc(bytes, 6), 2)
    await task.statx(path, AT.SYMLINK_NOFOLLOW, STATX.SIZE | STATX.MODE, await thr.malloc(Statx))
    await task.access(path, OK.R | OK.W)
    await task.rename(path, other)
    with FAILS:
        await task.open(path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW)
    with FAILS:
        await task.openat2(path, await thr.ptr(OpenHow(O.RDONLY)))
    await task.statfs(other, await thr.malloc(Statfs))
    await task.unlink(other)
    await task.rmdir(directory)
    await fd.close()


async def mounts(thr: Thread) -> None:
    with FAILS:
        await thr.task.mount(
            *(await thr.ptr("source"), await thr.ptr("/does/not/exist"), await thr.ptr("tmpfs")),
            *(MS.RDONLY | MS.NOSUID, await thr.ptr("size=1")),
        )
    with FAILS:
        attr = MountAttr(attr_set=MOUNT_ATTR.RDONLY, attr_clr=MOUNT_ATTR.NOSUID, propagation=MS.PRIVATE)
        await thr.task.mount_setattr(await thr.ptr("/does/not/exist"), AT.RECURSIVE, await thr.ptr(attr))
    with FAILS:
        await thr.task.fsopen(await thr.ptr("no such type"))


async def confinement(thr: Thread) -> None:
    task = thr.task
    await task.seccomp(
        SECCOMP.GET_ACTION_AVAIL, SECCOMP_FILTER_FLAG.NONE, await thr.ptr(Int32(SECCOMP_RET.ERRNO))
    )
    attr = RulesetAttr(LANDLOCK_ACCESS_FS.EXECUTE | LANDLOCK_ACCESS_FS.READ_FILE)
    with FAILS:
        await (await task.landlock_create_ruleset(await thr.ptr(attr))).close()
    await task.prctl(PR.GET_DUMPABLE)
    await task.prctl(PR.GET_NO_NEW_PRIVS)


async def processes(thr: Thread) -> None:
    task = thr.task
    await task.prlimit(RLIMIT.NOFILE, None, await thr.malloc(Rlimit))
    await task.prlimit(RLIMIT.CORE, await thr.ptr(Rlimit(0, 0)), None)
    await task.getrusage(RUSAGE.SELF, await thr.malloc(Rusage))
    with FAILS:
        await task.unshare(CLONE.THREAD | CLONE.NEWNS)
    await task.getpid()
    await task.umask(0o27)
    await task.uname(await thr.malloc(Utsname))


async def memory(thr: Thread) -> None:
    mapping = await thr.task.mmap(8192, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    await mapping.mprotect(PROT.READ)
    await mapping.munmap()
    async with await thr.task.memfd_create(await thr.ptr("a name"), MFD.ALLOW_SEALING):
        pass


async def sockets(thr: Thread) -> None:
    task = thr.task
    sock = await task.socket(AF.INET, SOCK.STREAM)
    await sock.setsockopt(SOL.SOCKET, SO.REUSEADDR, await thr.ptr(Int32(1)))
    await sock.bind(await thr.ptr(SockaddrIn(0, "127.0.0.1")))
    await sock.listen(5)
    await sock.getsockname(await thr.ptr(Sockbuf(await thr.malloc(SockaddrIn))))
    with FAILS:
        await sock.shutdown(SHUT.RDWR)
    unix = await task.socket(AF.UNIX, SOCK.DGRAM | SOCK.NONBLOCK)
    with FAILS:
        await unix.connect(await thr.ptr(SockaddrUn(b"/does/not/exist")))
    await unix.close()
    await sock.close()


async def waiting(thr: Thread) -> None:
    task = thr.task
    timer, epoll = await task.timerfd_create(CLOCK.MONOTONIC), await task.epoll_create()
    await epoll.epoll_ctl(EPOLL_CTL.ADD, timer, await thr.ptr(EpollEvent(7, EPOLL.IN | EPOLL.ET)))
    setting = Itimerspec(Timespec(0, 0), Timespec(5, 7))
    await timer.timerfd_settime(TFD_TIMER.NONE, await thr.ptr(setting))
    await epoll.epoll_wait(await thr.malloc(EpollEventList, 64), 0)
    entries = PollfdList([Pollfd(timer, POLL.IN)])
    await task.ppoll(await thr.ptr(entries), await thr.ptr(Timespec(0, 0)))
    await task.clock_gettime(CLOCK.REALTIME, await thr.malloc(Timespec))
    await epoll.close()
    await timer.close()


async def signals(thr: Thread) -> None:
    task = thr.task
    old = await thr.malloc(Sigset)
    await task.sigprocmask((HowSIG.BLOCK, await thr.ptr(Sigset([SIG.USR1, SIG.USR2]))), old)
    await task.sigprocmask((HowSIG.UNBLOCK, await thr.ptr(Sigset([SIG.USR1, SIG.USR2]))), old)
    await (await task.signalfd(await thr.ptr(Sigset([SIG.INT])), SFD.NONBLOCK)).close()


async def kernel(thr: Thread) -> None:
    task = thr.task
    await task.sysinfo(await thr.malloc(Sysinfo))
    await (await task.eventfd(3, EFD.SEMAPHORE)).close()
    inotify = await task.inotify_init()
    with FAILS:
        await inotify.inotify_add_watch(await thr.ptr("/does/not/exist"), IN.CREATE | IN.ONLYDIR)
    await inotify.close()


FAMILIES = (
    *(files, mounts, confinement, processes, memory, sockets, waiting, signals, kernel),
    *strace_families.FAMILIES,
)


async def main(output: Path) -> None:
    thread = LocalThread()
    lines: list[str] = []
    tracer = Tracer(lines.append)
    with tracer.tracing(thread.task, "driver"):
        for family in FAMILIES:
            await family(thread)
    assert tracer.failure is None
    output.write_text("".join(line.partition("] ")[2] + "\n" for line in lines))


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
