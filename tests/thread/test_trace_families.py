"""The text of arguments of the families that few programs use; `test_strace` compares more of them."""

from __future__ import annotations

import errno

import pytest
from support import local_thread

from rsyscall.fcntl import O
from rsyscall.linux.mempolicy import NodeMask
from rsyscall.linux.openat2 import RESOLVE, OpenHow
from rsyscall.poll import POLL, Pollfd, PollfdList
from rsyscall.struct import Int32, StructList
from rsyscall.sys.msg import Msgbuf
from rsyscall.sys.socket import SO, SOL, Linger
from rsyscall.sys.timex import Timex
from rsyscall.trace_calls import format_result
from rsyscall.trace_decode import Frame, OwnMemory


def decode(name: str, *args: int, result: int = 0) -> str:
    frame = Frame(name, [*args, *[0] * (6 - len(args))], None, OwnMemory())
    shown = frame.text(frame.after(frame.before(), result))
    return f"{name}({shown}) = {format_result(frame, result)}"


@pytest.mark.parametrize(
    ("name", "args", "result", "expected"),
    [
        ("fsconfig", (3, 0, 0, 0, 0), 0, "fsconfig(3, FSCONFIG_SET_FLAG, NULL, NULL, 0) = 0"),
        ("prctl", (1, 0, 0, 0, 7), 0, "prctl(PR_SET_PDEATHSIG, 0, 0, 0, 7) = 0"),
        ("preadv2", (3, 0, 0, -1, 0, 9), 0, "preadv2(3, [], 0, -1, RWF_HIPRI|RWF_NOWAIT) = 0"),
        ("mlockall", (1,), -errno.EOPNOTSUPP, "mlockall(MCL_CURRENT) = -1 EOPNOTSUPP (Operation not supported)"),  # noqa: E501
        ("mlockall", (1,), -errno.EDEADLK, "mlockall(MCL_CURRENT) = -1 EDEADLK (Resource deadlock avoided)"),
        ("keyctl", (9, 12, -2), 0, "keyctl(KEYCTL_UNLINK, 12, KEY_SPEC_PROCESS_KEYRING) = 0"),
        ("keyctl", (10, -3, 0, 0), 7, "keyctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, NULL, NULL, 0) = 7"),
        ("keyctl", (5, 12, 0x3F3F0000), 0, "keyctl(KEYCTL_SETPERM, 12, 0x3f3f0000) = 0"),
        ("msgget", (0, 0o3600), 5, "msgget(IPC_PRIVATE, IPC_CREAT|IPC_EXCL|0600) = 5"),
        ("shmget", (0x1234, 9, 0o14000), 5, "shmget(0x1234, 9, SHM_HUGETLB|SHM_NORESERVE) = 5"),
        ("msgrcv", (5, 0, 0, 0, 0o14000), 0, "msgrcv(5, NULL, 0, 0, MSG_NOERROR|IPC_NOWAIT) = 0"),
        ("semctl", (5, 0, 0), 0, "semctl(5, 0, IPC_RMID, NULL) = 0"),
        ("semctl", (5, 1, 12), 9, "semctl(5, 1, GETVAL, NULL) = 9"),
        ("io_uring_register", (3, 3, 0, 0), 0, "io_uring_register(3, IORING_UNREGISTER_FILES, NULL, 0) = 0"),
        ("set_mempolicy", (0x8001, 0, 0), 0, "set_mempolicy(MPOL_PREFERRED|MPOL_F_STATIC_NODES, NULL, 0) = 0"),  # noqa: E501
        ("setsockopt", (3, 6, 1, 0, 4), 0, "setsockopt(3, SOL_TCP, TCP_NODELAY, NULL, 4) = 0"),
    ],
)  # fmt: skip
def test_decoding(name: str, args: tuple[int, ...], result: int, expected: str) -> None:
    assert decode(name, *args, result=result) == expected


async def test_arrays() -> None:
    ptr = local_thread.ptr
    fds = await ptr(PollfdList([Pollfd(3, POLL.IN), Pollfd(4, POLL.OUT, POLL.HUP)]))
    expected = "[{fd=3, events=POLLIN, revents=0}, {fd=4, events=POLLOUT, revents=POLLHUP}]"
    assert decode("ppoll", int(fds.near), 2) == f"ppoll({expected}, 2, NULL, NULL, 0) = 0"
    numbers = int((await ptr(StructList(Int32, [Int32(value) for value in range(20)]))).near)
    assert decode("setgroups", 2, numbers) == "setgroups(2, [0, 1]) = 0"
    assert decode("getgroups", 20, numbers, result=3) == "getgroups(20, [0, 1, 2]) = 3"
    assert decode("setgroups", 20, numbers).endswith(", 14, 15, ...]) = 0")
    assert decode("setgroups", 2, 0x1000) == "setgroups(2, 0x1000) = 0"
    assert decode("listmount", 0, numbers, 9, result=1) == "listmount(NULL, [0x100000000], 9, 0) = 1"
    mask = int((await ptr(NodeMask([0, 63, 64]))).near)
    assert decode("set_mempolicy", 2, mask, 1025) == "set_mempolicy(MPOL_BIND, [0, 63, 64], 1025) = 0"
    expected = "sched_getaffinity(0, 128, [0 63 64]) = 16"
    assert decode("sched_getaffinity", 0, 128, mask, result=16) == expected


async def test_structures_that_are_shorter_or_longer_than_ours() -> None:
    how = int((await local_thread.ptr(OpenHow(O.RDWR, 0o640, RESOLVE.BENEATH))).near)
    assert ", mode=0640, resolve=RESOLVE_BENEATH}, 24)" in decode("openat2", -100, 0, how, 24, result=3)
    assert ", mode=0640, resolve=0}, 16)" in decode("openat2", -100, 0, how, 16, result=3)
    assert ", mode=0640, resolve=RESOLVE_BENEATH}, 99)" in decode("openat2", -100, 0, how, 99, result=3)


async def test_what_a_call_reads_and_fills_is_shown_if_it_fails_too() -> None:
    timex = int((await local_thread.ptr(Timex())).near)
    for result in 0, -errno.EPERM:
        assert decode("adjtimex", timex, result=result).startswith("adjtimex({modes=0, offset=0, freq=0")


async def test_messages_and_options() -> None:
    ptr = local_thread.ptr
    message = int((await ptr(Msgbuf(7, b"a\0text"))).near)
    expected = 'msgsnd(5, {mtype=7, mtext="a\\000text"}, 6, 0) = 0'
    assert decode("msgsnd", 5, message, 6) == expected
    assert decode("msgrcv", 5, message, 9, result=1) == 'msgrcv(5, {mtype=7, mtext="a"}, 9, 0, 0) = 1'
    linger = int((await ptr(Linger(1, 5))).near)
    expected = "setsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, 8) = 0"
    assert decode("setsockopt", 3, SOL.SOCKET, SO.LINGER, linger, 8) == expected
