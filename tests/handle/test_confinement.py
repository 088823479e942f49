"""`rsyscall.linux.landlock` and `rsyscall.linux.seccomp`: each test in a process that confines itself."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import socket
import struct
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.linux.filter import BPF, SockFilter, SockFprog
from rsyscall.linux.landlock import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    LANDLOCK_SCOPE,
    NetPortAttr,
    PathBeneathAttr,
    RulesetAttr,
)
from rsyscall.linux.seccomp import (
    AUDIT_ARCH,
    SECCOMP,
    SECCOMP_ADDFD_FLAG,
    SECCOMP_FILTER_FLAG,
    SECCOMP_RET,
    SECCOMP_USER_NOTIF_FLAG,
    SeccompNotif,
    SeccompNotifAddfd,
    SeccompNotifResp,
    SeccompNotifSizes,
    syscall_filter,
)
from rsyscall.near import SYS
from rsyscall.near import types as near
from rsyscall.near.abi import ABIS
from rsyscall.struct import Int32
from rsyscall.sys.prctl import PR

from .helpers import forked, no_calls, sharer
from .support import Local, run

FS, NET, RET = LANDLOCK_ACCESS_FS, LANDLOCK_ACCESS_NET, SECCOMP_RET


async def landlock_abi(local: Local) -> int:
    try:
        return await local.task.landlock_abi()
    except OSError as error:
        if error.errno in {errno.ENOSYS, errno.EOPNOTSUPP}:
            pytest.skip("kernel: no landlock")
        raise


async def drop_privileges(local: Local) -> None:
    await local.task.prctl(PR.SET_NO_NEW_PRIVS, 1)


@forked
async def test_a_ruleset_denies_what_no_rule_allows(local: Local, tmp_path: Path) -> None:
    abi = await landlock_abi(local)
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    handled = FS.of_abi(abi)
    fd = await local.task.landlock_create_ruleset(await local.ptr(RulesetAttr(handled)))
    assert not os.get_inheritable(int(fd))
    parent = await local.task.open(await local.ptr(tmp_path / "open"), O.PATH)
    rule = await local.ptr(PathBeneathAttr(FS.READ_FILE | FS.READ_DIR, parent))
    await fd.landlock_add_rule(rule)
    await drop_privileges(local)
    other = await local.task.open(await local.ptr("/"), O.RDONLY)
    with pytest.raises(OSError, match="bad state") as caught:
        await other.landlock_restrict_self()
    assert caught.value.filename is other
    with pytest.raises(OSError, match="Invalid argument"):
        await fd.landlock_restrict_self(LANDLOCK_RESTRICT_SELF(1 << 20))
    await fd.landlock_restrict_self()
    assert (tmp_path / "open/file").read_text() == "open"
    for path, mode in (("closed/file", "r"), ("open/file", "w"), ("open/new", "w")):
        with pytest.raises(PermissionError):
            (tmp_path / path).open(mode)
    with pytest.raises(PermissionError):
        os.listdir(tmp_path)
    with pytest.raises(PermissionError):
        (tmp_path / "open/file").unlink()


@forked
async def test_a_ruleset_denies_ports_and_signals(local: Local, tmp_path: Path) -> None:
    abi = await landlock_abi(local)
    if abi < 4:
        pytest.skip("kernel: landlock knows no ports")
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    attr = RulesetAttr(FS.NONE, NET.BIND_TCP | NET.CONNECT_TCP, LANDLOCK_SCOPE.of_abi(abi))
    fd = await local.task.landlock_create_ruleset(await local.ptr(attr))
    await fd.landlock_add_rule(await local.ptr(NetPortAttr(NET.CONNECT_TCP, port)))
    await drop_privileges(local)
    await fd.landlock_restrict_self()
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(PermissionError):
        socket.create_server(("127.0.0.1", 0))
    with pytest.raises(PermissionError):
        socket.create_connection(("127.0.0.1", port ^ 1))
    if abi >= 6:
        with pytest.raises(PermissionError):
            os.kill(os.getppid(), 0)


async def test_errors_of_landlock(local: Local) -> None:
    abi = await landlock_abi(local)
    assert abi >= 1
    task = local.task
    with pytest.raises(OSError, match="No message") as caught:
        await task.landlock_create_ruleset(await local.ptr(RulesetAttr()))
    assert caught.value.filename == "landlock_create_ruleset"
    fd = await task.landlock_create_ruleset(await local.ptr(RulesetAttr(FS.READ_FILE)))
    parent = await task.open(await local.ptr("/"), O.PATH)
    wrong = PathBeneathAttr(FS.EXECUTE, parent)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await fd.landlock_add_rule(await local.ptr(wrong))
    assert caught.value.filename == (fd, wrong)
    if abi >= 7:
        assert await task.landlock_abi(LANDLOCK_CREATE_RULESET.ERRATA) >= 0
    stranger = sharer(local, fds=False)
    elsewhere = await stranger.open(await local.ptr("/"), O.PATH)
    foreign = await local.ptr(PathBeneathAttr(FS.READ_FILE, elsewhere))
    rule = await local.ptr(PathBeneathAttr(FS.READ_FILE, parent))
    small = rule.split(11)[0].wrote(rule.value)
    with no_calls(task):
        with pytest.raises(FDTableMismatchError):
            await fd.landlock_add_rule(foreign)
        with pytest.raises(BufferTooSmallError):
            await fd.landlock_add_rule(small)
        with pytest.raises(BufferTooSmallError):
            await task.landlock_create_ruleset((await local.malloc(RulesetAttr)).split(7)[0])
        with pytest.raises(ValueError, match="landlock_create_ruleset"):
            await task.landlock_abi(LANDLOCK_CREATE_RULESET.NONE)
    await elsewhere.close()


def test_rights_by_version_of_the_interface() -> None:
    assert FS.of_abi(0) == FS.NONE
    assert FS.of_abi(1) == FS(0x1FFF)
    assert FS.of_abi(2) == FS(0x3FFF)
    assert FS.of_abi(4) == FS.of_abi(3) == FS(0x7FFF)
    assert FS.of_abi(5) == FS(0xFFFF)
    assert FS.of_abi(99) == FS(0x1FFFF)
    assert NET.of_abi(3) == NET.NONE
    assert NET.of_abi(9) == NET(3)
    assert NET.of_abi(10) == NET(15)
    assert LANDLOCK_SCOPE.of_abi(5) == LANDLOCK_SCOPE.NONE


# ------------------------------------------------------------------------------------------ seccomp


async def program(local: Local, actions: dict[SYS, int]) -> Any:
    """A filter that returns an action for each of these calls, and allows all others."""
    arch = AUDIT_ARCH[platform.machine().upper()]
    filter = [
        SockFilter(BPF.LD | BPF.W | BPF.ABS, k=4),
        SockFilter(BPF.JMP | BPF.JEQ | BPF.K, 1, 0, arch),
        SockFilter(BPF.RET | BPF.K, k=RET.KILL_PROCESS),
        SockFilter(BPF.LD | BPF.W | BPF.ABS, k=0),
    ]
    for number, action in actions.items():
        filter += [
            SockFilter(BPF.JMP | BPF.JEQ | BPF.K, 0, 1, int(number)),
            SockFilter(BPF.RET | BPF.K, k=action),
        ]
    filter.append(SockFilter(BPF.RET | BPF.K, k=RET.ALLOW))
    return await local.ptr(SockFprog(await local.ptr(SockFprog.program(filter))))


@forked
async def test_a_filter_answers_calls(local: Local, tmp_path: Path) -> None:
    await drop_privileges(local)
    prog = await program(local, {SYS.getpriority: RET.ERRNO | errno.EXDEV, SYS.umask: RET.KILL_PROCESS})
    assert await local.task.seccomp(SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG.NONE, prog) == 0
    with pytest.raises(OSError, match="cross-device"):
        os.getpriority(os.PRIO_PROCESS, 0)
    child = os.fork()
    if not child:
        os.umask(0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGSYS


class Supervisor(threading.Thread):
    """Answers calls that the main thread makes, until it is told to end; it is made before the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = threading.Event()
        self.seen: list[tuple[int, int, tuple[int, ...]]] = []
        self.number = -1

    def run(self) -> None:
        try:
            self.ready.wait()
            # Calls of a task are made in the thread that it was made in.
            self.local = Local.make()
            self.listener = self.local.task.make_fd_handle(near.FileDescriptor(self.number))
            run(self.supervise())
        except BaseException:
            # The main thread waits for an answer.
            traceback.print_exc()
            os._exit(1)

    async def receive(self) -> SeccompNotif:
        notif = await (await self.listener.seccomp_notif_recv(await self.local.ptr(SeccompNotif()))).read()
        await self.listener.seccomp_notif_id_valid(await self.local.ptr(notif.id.to_bytes(8, "little")))
        self.seen.append((notif.data.nr, notif.data.arch, notif.data.args))
        return notif

    async def supervise(self) -> None:
        local = self.local
        notif = await self.receive()
        await self.listener.seccomp_notif_send(await local.ptr(SeccompNotifResp(notif.id, val=20 - 7)))
        notif = await self.receive()
        await self.listener.seccomp_notif_send(
            await local.ptr(SeccompNotifResp(notif.id, error=-errno.EXDEV))
        )
        notif = await self.receive()
        go_on = SeccompNotifResp(notif.id, flags=SECCOMP_USER_NOTIF_FLAG.CONTINUE)
        await self.listener.seccomp_notif_send(await local.ptr(go_on))
        notif = await self.receive()
        fd = await local.task.open(await local.ptr("/proc/self/comm"), O.RDONLY)
        addfd = SeccompNotifAddfd(notif.id, SECCOMP_ADDFD_FLAG.SEND, int(fd.near), 0, O.CLOEXEC)
        try:
            await self.listener.seccomp_notif_addfd(await local.ptr(SeccompNotifAddfd(notif.id)), fd)
        except ValueError:
            pass
        else:
            raise AssertionError("the structure has another descriptor")
        await self.listener.seccomp_notif_addfd(await local.ptr(addfd), fd)


@forked
async def test_a_listener_answers_calls(local: Local, tmp_path: Path) -> None:
    signal.alarm(60)  # in case that no answer comes
    supervisor = Supervisor()
    supervisor.start()
    await drop_privileges(local)
    prog = await program(local, {SYS.getpriority: RET.USER_NOTIF, SYS.memfd_create: RET.USER_NOTIF})
    listener = await local.task.seccomp_listener(prog)
    supervisor.number = int(listener)
    assert not os.get_inheritable(int(listener))
    supervisor.ready.set()
    # Unlike os.getpriority, this lets other threads of Python run meanwhile.
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.getpriority(os.PRIO_PROCESS, 5) == 7
    assert libc.getpriority(os.PRIO_PROCESS, 0) == -1
    assert ctypes.get_errno() == errno.EXDEV
    libc.getpriority(os.PRIO_PROCESS, 0)
    number = os.memfd_create("a name")
    assert os.readlink(f"/proc/self/fd/{number}").endswith("/comm")
    supervisor.join()
    assert [nr for nr, _, _ in supervisor.seen] == [SYS.getpriority] * 3 + [SYS.memfd_create]
    assert supervisor.seen[0][2][:2] == (os.PRIO_PROCESS, 5)
    with pytest.raises(OSError, match="busy") as caught:
        await local.task.seccomp_listener(prog)
    assert caught.value.filename == SECCOMP.SET_MODE_FILTER
    gone = await local.ptr(SeccompNotifResp(1))
    with pytest.raises(FileNotFoundError) as caught:
        await listener.seccomp_notif_send(gone)
    assert caught.value.filename is listener


async def test_what_the_kernel_knows_of_seccomp(local: Local) -> None:
    none = SECCOMP_FILTER_FLAG.NONE
    sizes = await local.malloc(SeccompNotifSizes)
    await local.task.seccomp(SECCOMP.GET_NOTIF_SIZES, none, sizes)
    found = await sizes.read()
    assert found.seccomp_notif >= SeccompNotif.sizeof()
    assert found.seccomp_data >= 64
    action = await local.ptr(Int32(RET.ERRNO))
    assert await local.task.seccomp(SECCOMP.GET_ACTION_AVAIL, none, action) == 0
    unknown = await local.ptr(Int32(0x00010000))
    with pytest.raises(OSError, match="not supported") as caught:
        await local.task.seccomp(SECCOMP.GET_ACTION_AVAIL, none, unknown)
    assert caught.value.filename == SECCOMP.GET_ACTION_AVAIL
    empty = await local.ptr(SockFprog(await local.ptr(SockFprog.program([]))))
    with pytest.raises(OSError, match=r"Invalid argument|Permission") as caught:
        await local.task.seccomp(SECCOMP.SET_MODE_FILTER, none, empty)
    with no_calls(local.task):
        with pytest.raises(ValueError, match="seccomp_listener"):
            await local.task.seccomp(SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG.NEW_LISTENER, empty)
        with pytest.raises(ValueError, match="strict"):
            await local.task.seccomp(SECCOMP.SET_MODE_STRICT)
        with pytest.raises(BufferTooSmallError):
            await local.task.seccomp(SECCOMP.GET_NOTIF_SIZES, none, sizes.split(5)[0])
        with pytest.raises(TypeError, match="expected a pointer"):
            await local.task.seccomp(SECCOMP.GET_NOTIF_SIZES, none, "text")  # type: ignore[arg-type]  # tested


async def test_arguments_of_seccomp_are_checked(local: Local) -> None:
    fd = await local.task.open(await local.ptr("/"), O.PATH)
    addfd = await local.ptr(SeccompNotifAddfd(1, srcfd=int(fd)))
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        await fd.seccomp_notif_addfd(addfd, fd)
    assert caught.value.filename is fd
    elsewhere = await Local.make().ptr(SeccompNotifAddfd(1, srcfd=int(fd)))
    foreign = await Local.make().ptr(Int32(RET.ERRNO))
    freed = await local.ptr(Int32(RET.ERRNO))
    freed.free()
    none = SECCOMP_FILTER_FLAG.NONE
    with no_calls(local.task):
        for call, error in (
            (fd.seccomp_notif_addfd(elsewhere, fd), AddressSpaceMismatchError),
            (fd.seccomp_notif_addfd(addfd.split(23)[0].wrote(addfd.value), fd), BufferTooSmallError),
            (local.task.seccomp(SECCOMP.GET_ACTION_AVAIL, none, foreign), AddressSpaceMismatchError),
            (local.task.seccomp(SECCOMP.GET_ACTION_AVAIL, none, freed), UseAfterFreeError),
        ):
            with pytest.raises(error):
                await call
    await fd.close()
    with pytest.raises(InvalidHandleError):
        await fd.seccomp_notif_addfd(addfd, fd)


def test_a_program_in_memory_looks_as_in_c() -> None:
    filter = SockFilter(BPF.RET | BPF.K, k=RET.ALLOW)
    assert filter.to_bytes() == struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)


@forked
async def test_a_filter_by_the_names_of_calls(local: Local, tmp_path: Path) -> None:
    await drop_privileges(local)
    actions = {SYS.getpriority: RET.ERRNO | errno.EXDEV, SYS.openat2: RET.ERRNO | errno.ENOSYS}
    filter = syscall_filter(local.task.sysif.abi, actions)
    prog = await local.ptr(SockFprog(await local.ptr(filter)))
    assert await local.task.seccomp(SECCOMP.SET_MODE_FILTER, SECCOMP_FILTER_FLAG.NONE, prog) == 0
    with pytest.raises(OSError, match="cross-device"):
        os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getppid()
    if platform.machine() == "x86_64":
        libc = ctypes.CDLL(None, use_errno=True)
        # getpid of x32
        assert libc.syscall(0x40000000 | SYS.getpid) == -1
        assert ctypes.get_errno() == errno.ENOSYS


def test_filters_for_all_architectures() -> None:
    for name, abi in ABIS.items():
        filter = syscall_filter(abi, {SYS.openat: RET.ERRNO | 1}, RET.KILL_PROCESS).elems
        assert filter[1].k == AUDIT_ARCH[name.upper()]
        assert abi.number("openat") in {one.k for one in filter}
        assert filter[-1].k == RET.KILL_PROCESS
