"""Programs whose children are in user namespaces of their own; see `test_protection.py`."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import sys
from pathlib import Path as LocalPath

import pytest
import trio
from credential_drivers import NOBODY, OTHER, dumpable, settled, stays
from support import do_async_things, sh

from rsyscall.command import Command
from rsyscall.epoller import AsyncFileDescriptor, Epoller
from rsyscall.fcntl import O
from rsyscall.local import LocalThread
from rsyscall.near import SYS
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stub_program import stub_bytes
from rsyscall.sys.mount import MS
from rsyscall.sys.prctl import PR
from rsyscall.sys.wait import W
from rsyscall.thread import ChildThread, Thread, write_user_mappings
from rsyscall.unistd import Pipe

ATTACKER = LocalPath(__file__).with_name("memory_attacker.py").read_text()


def become(user: int) -> None:
    """Become an ordinary user, as if this program had been executed by one."""
    # Its file may be where only root can read it.
    stub_bytes()
    if user != os.getuid():
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        ctypes.CDLL(None).prctl(int(PR.SET_DUMPABLE), 1, 0, 0, 0)


def python() -> str:
    """An interpreter that we may execute."""
    for path in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(path, os.X_OK):
            return path
    print(json.dumps("no Python that an ordinary user may execute"), flush=True)
    sys.exit()


class Attacker:
    """A running `memory_attacker.py`.

    Attributes:
        reached: how many times it has found what is only in our memory.
    """

    def __init__(self, output: AsyncFileDescriptor) -> None:
        self.reached = 0
        self._output = output
        self._text = b""

    async def rounds(self, count: int = 2) -> None:
        """Wait until it has tried everything this many times, all in the future."""
        # What is in the pipe now is of the past.
        with trio.move_on_after(0):
            while True:
                self._text += await self._output.read_some_bytes()
        self._text = self._text[self._text.rfind(b"\n") + 1 :]
        # The round under way does not count.
        with trio.fail_after(60):
            while self._text.count(b"\n") < count + 1:
                self._text += await self._output.read_some_bytes()
        self.reached = int(self._text[: self._text.rfind(b"\n")].split()[-1])

    async def close(self) -> None:
        """Stop looking at it; it ends when it notices."""
        await self._output.close()


class Victim:
    """A program with a secret, and the box that it has made.

    Args:
        flags: namespaces of the box.
        inside: the ids of our user there.
        own_memory: whether the first process of the box has memory of its own.
    """

    def __init__(self, flags: CLONE, inside: int, own_memory: bool = False) -> None:
        self.thread = LocalThread()
        self.flags = flags
        self.inside = inside
        self.own_memory = own_memory
        self.secret = ctypes.create_string_buffer(os.urandom(16), 16)
        self.attackers: list[Attacker] = []

    async def attack(self, parent: Thread, output: Pipe) -> None:
        """Execute an attacker as a child of this process, which has the pipe from us."""
        inherited = parent.inherit_fd(output.write)
        child = await parent.clone()
        await child.inherit_fd(inherited).dup2(child.stdout)
        address, secret = str(ctypes.addressof(self.secret)), self.secret.raw.hex()
        await child.exec(Command(python(), ["python3", "-I", "-S", "-c", ATTACKER, address, secret], {}))
        attacker = Attacker(await self.thread.make_afd(output.read, set_nonblock=True))
        self.attackers.append(attacker)
        await attacker.rounds()

    async def rounds(self) -> None:
        """Let all attackers try everything."""
        for attacker in self.attackers:
            await attacker.rounds()

    async def cover_proc(self, init: Thread) -> None:
        """Have /proc show the processes of the box only, if it has the namespaces for that."""
        if self.flags & CLONE.NEWNS:
            await init.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
            if self.flags & CLONE.NEWPID:
                await init.mount("proc", "/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC, "")

    async def live(self) -> None:
        """Make the box, and the usual processes in it."""
        ids = os.getuid(), os.getgid()
        early, late = await self.thread.pipe(), await self.thread.pipe()
        init = await self.thread.clone(
            self.flags,
            automatically_write_user_mappings=False,
            own_memory=self.own_memory,
            inherit=[early.write, late.write] if self.own_memory else (),
        )
        async with init.process:
            if self.own_memory and not self.flags & CLONE.NEWUSER:
                # Real root reaches what its /proc shows.
                await self.cover_proc(init)
            # Before there is a mapping.
            await self.attack(init, early)
            if self.flags & CLONE.NEWUSER:
                await write_user_mappings(init, *ids, self.inside, self.inside)
                assert dumpable() == self.own_memory
            await self.rounds()
            await self.cover_proc(init)
            await self.attack(init, late)
            for _ in range(3):
                # Inert, on their way into a program, and in further namespaces.
                child = await init.clone()
                await self.rounds()
                process = await child.exec(sh("exec sleep inf"))
                await init.run(sh("true"))
                if self.flags & CLONE.NEWUSER:
                    inner = await init.clone(CLONE.NEWUSER)
                    await inner.run(sh("true"))
                    await inner.exit(0)
                async with process:
                    pass
            await self.rounds()
            # The last one to leave.
            await init.exec(sh("exec sleep inf"))
            await self.rounds()
        if self.flags & CLONE.NEWUSER:
            await settled(1)

    async def main(self) -> None:
        """Be attacked, and say how often that succeeded; None if the box could not be made."""
        try:
            await self.live()
        except PermissionError:
            if self.attackers:
                raise
            print(json.dumps(None), flush=True)
            return
        print(json.dumps(sum(attacker.reached for attacker in self.attackers)), flush=True)
        for attacker in self.attackers:
            await attacker.close()


def attacked(user: int, flags: int, inside: int, own_memory: bool = False) -> None:
    """Make a box and be attacked from within it.

    Args:
        user: who we are.
        flags: namespaces of the box.
        inside: what our user is there.
        own_memory: whether the first process of the box has memory of its own.
    """
    become(user)
    victim = Victim(CLONE(flags), inside, own_memory)
    trio.run(victim.main)


def _set_dumpable(value: int) -> None:
    """Behind the back of the library."""
    ctypes.CDLL(None).prctl(int(PR.SET_DUMPABLE), value, 0, 0, 0)


async def _turn_off(thread: Thread, how: str) -> ChildThread:
    """Make a child because of which the flag is off."""
    child = await thread.clone()
    if how == "credentials":
        await child.task.setresuid(NOBODY, NOBODY, NOBODY)
    elif how == "mapping":
        await child.unshare_user(0, 0)
    else:
        assert how == "exec"
        # Mapped by hand, if at all: the flag is off when something is executed there.
        await child.task.unshare(CLONE.NEWUSER)
        assert dumpable() == 1
        try:
            await child.execv("/nonexistent", ["program"])
        except FileNotFoundError:
            pass
    assert dumpable() == 0
    return child


async def _drop_capabilities(thread: Thread) -> None:
    header = await thread.ptr(struct.pack("Ii", 0x20080522, 0))
    await thread.task.sysif.syscall(SYS.capset, header.near, (await thread.ptr(bytes(24))).near)


def stays_off(how: str, reason: str) -> None:
    """The flag does not come back while there is another reason for it to be off."""

    async def main(thread: Thread) -> None:
        child = await _turn_off(thread, how)
        if reason == "setresuid":
            os.setresuid(OTHER, OTHER, OTHER)
        elif reason == "setresgid":
            os.setresgid(OTHER, OTHER, OTHER)
        elif reason == "seteuid and back":
            os.seteuid(OTHER)
            os.seteuid(0)
        elif reason == "setfsuid":
            await thread.task.sysif.syscall(SYS.setfsuid, OTHER)
        elif reason == "capabilities":
            await _drop_capabilities(thread)
        elif reason == "task.prctl":
            await thread.task.prctl(PR.SET_DUMPABLE, 0)
        elif reason == "prctl_set_dumpable":
            await thread.task.prctl_set_dumpable(False)
        elif reason == "prctl in a child":
            other = await thread.clone()
            await other.task.prctl(PR.SET_DUMPABLE, 0)
            await other.exit(0)
        else:
            assert reason == "nothing"
        await child.exit(0)
        await child.process.waitpid(W.EXITED)
        if reason in ("nothing", "seteuid and back"):
            await settled(1)
            return
        await stays(0)
        if reason in ("task.prctl", "prctl_set_dumpable"):
            # Until it says otherwise.
            await thread.task.prctl(PR.SET_DUMPABLE, 1)
            child = await _turn_off(thread, how)
            await child.exit(0)
            await settled(1)

    trio.run(main, LocalThread())


def turned_off_earlier(how: str) -> None:
    """A bare call while the flag is on is seen: what it was before is 0."""

    async def main(thread: Thread) -> None:
        child = await thread.clone()
        await child.task.unshare(CLONE.NEWUSER)
        _set_dumpable(0)
        if how == "mapping":
            await write_user_mappings(child, 0, 0)
        async with child.process:
            try:
                await child.execv("/nonexistent", ["program"])
            except FileNotFoundError:
                pass
        await stays(0)

    trio.run(main, LocalThread())


def _deny(number: int) -> None:
    """Have a filter deny a system call from now on."""
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),  # load the number
            (0x15, 0, 1, number),  # if it is this one
            (0x06, 0, 0, 0x00050000 | errno.EPERM),
            (0x06, 0, 0, 0x7FFF0000),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None)
    assert libc.prctl(int(PR.SET_NO_NEW_PRIVS), 1, 0, 0, 0) == 0
    assert libc.prctl(int(PR.SET_SECCOMP), 2, filter, 0, 0) == 0


def works_meanwhile(user: int, kcmp: bool) -> None:
    """An ordinary user can use all of this while the flag is off; then the flag comes back."""
    become(user)
    if not kcmp:
        _deny(SYS.kcmp)

    async def main(thread: Thread) -> None:
        uid = os.getuid()
        init = await thread.clone(CLONE.NEWUSER | CLONE.NEWPID)
        assert dumpable() == 0
        for parent in (thread, init):
            # An inert child and what it does, a command, one that is prepared, and one that is executed.
            child = await parent.clone()
            assert await child.task.getuid() == uid
            await parent.run(sh("true"))
            prepared = parent.prepare()
            await prepared.task.setsid()
            await (await prepared.exec(sh("exit 0"))).check()
            await (await child.exec(sh("exit 0"))).check()
            # A loop of its own, and channels.
            worker = await parent.clone()
            await do_async_things(worker.epoller, worker)
            [(ours, theirs)] = await worker.open_channels(1)
            await theirs.close()
            await ours.close()
            await worker.unshare_files()
            await worker.exit(0)
            # Further user namespaces, in every way.
            for flags in (CLONE.NEWUSER, CLONE.NEWUSER | CLONE.NEWPID | CLONE.NEWNS):
                inner = await parent.clone(flags)
                assert await inner.task.getuid() == uid
                await inner.run(sh("true"))
                async with inner.process:
                    pass
            unmapped = await parent.clone(CLONE.NEWUSER, automatically_write_user_mappings=False)
            await write_user_mappings(unmapped, uid, os.getgid(), 0, 0)
            assert await unmapped.task.getuid() == 0
            await unmapped.unshare_user()
            assert await unmapped.task.getuid() == 0
            with pytest.raises(OSError) as caught:
                await write_user_mappings(unmapped, 0, 0)
            assert caught.value.errno == errno.EPERM
            assert os.fspath(caught.value.filename) == "/proc/self/uid_map"
            process = await unmapped.exec(sh("exec sleep inf"))
            async with process:
                pass
        own = await Epoller.make_root(init.ram, init.task)
        await do_async_things(own, init)
        assert dumpable() == 0
        async with await init.exec(sh("exec sleep inf")):
            # None of the processes there shares our memory any more, although the namespaces remain.
            await settled(1)

    trio.run(main, LocalThread())


def shared_attributes(user: int) -> None:
    """The limit: files that the kernel lets their owner write without asking who may trace the process."""
    become(user)

    async def main(thread: Thread) -> None:
        names = ["coredump_filter", "oom_score_adj"]
        pipe = await thread.pipe()
        init = await thread.clone(CLONE.NEWUSER | CLONE.NEWPID | CLONE.NEWNS)
        async with init.process:
            await init.mount("none", "/", "", MS.REC | MS.PRIVATE, "")
            await init.mount("proc", "/proc", "proc", MS.NOSUID | MS.NODEV | MS.NOEXEC, "")
            write = init.inherit_fd(pipe.write)
            command = await init.clone()
            await command.inherit_fd(write).dup2(command.stdout)
            before = [LocalPath("/proc/self", name).read_text() for name in names]
            script = "cd /proc/1; for name in $0 $1; do echo 99 >$name; done 2>&-; echo done"
            await command.exec(Command("/bin/sh", ["sh", "-c", script, *names], {}))
            filled, _ = await pipe.read.read(await thread.malloc(bytes, 10))
            assert await filled.read() == b"done\n"
            after = [LocalPath("/proc/self", name).read_text() for name in names]
        print(json.dumps([old != new for old, new in zip(before, after, strict=True)]))

    trio.run(main, LocalThread())


def out_of_reach(user: int) -> None:
    """The things that an ordinary user cannot do while the flag is off, and the ways around."""
    become(user)

    async def main(thread: Thread) -> None:
        outside = await thread.clone()
        init = await thread.clone(CLONE.NEWUSER | CLONE.NEWNET)
        pid = init.process.process.near.id
        for name in ("ns/net", "mem", "root", "exe", "environ"):
            with pytest.raises(PermissionError):
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
        with pytest.raises(PermissionError):
            os.listdir(f"/proc/{pid}/fd")
        for name in ("oom_score_adj", "coredump_filter", "uid_map"):
            with pytest.raises(PermissionError):
                os.close(os.open(f"/proc/self/{name}", os.O_WRONLY))
            with pytest.raises(PermissionError):
                os.close(os.open(f"/proc/{pid}/{name}", os.O_WRONLY))
        number = await outside.task.sysif.syscall(SYS.pidfd_open, pid, 0)
        with pytest.raises(PermissionError):
            await outside.task.sysif.syscall(SYS.setns, number, CLONE.NEWUSER | CLONE.NEWNET)
        # Opened by the process itself, and passed on by inheritance.
        network = await init.task.open(await init.ptr(Path("/proc/self/ns/net")), O.RDONLY)
        child = await init.clone()
        inherited = child.inherit_fd(network)
        await child.unshare(CLONE.NEWNET)
        await child.task.setns(inherited, CLONE.NEWNET)
        for process in (child.process, init.process, outside.process):
            async with process:
                pass
        await settled(1)

    trio.run(main, LocalThread())


def moved(inside: int) -> None:
    """The program itself in another user namespace: nothing gets at it any more, and there is no way back."""

    async def main(thread: Thread) -> None:
        await thread.unshare_user(inside, inside)
        assert dumpable() == 0
        await thread.run(sh("true"))
        child = await thread.clone(CLONE.NEWUSER)
        await child.exit(0)
        await child.process.waitpid(W.EXITED)
        await stays(0)

    trio.run(main, LocalThread())
