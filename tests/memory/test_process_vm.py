"""Memory of another process of this host, copied by the kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from place import Place

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.pointer import Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.memory.allocator import AllocatorClient, Arena
from rsyscall.memory.process_vm import ProcessVMTransport
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import StreamMemoryTransport
from rsyscall.memory.transport import write_all
from rsyscall.near import SYS, SyscallError, SyscallSendError
from rsyscall.near.local import ForkedProcessError, WrongThreadError
from rsyscall.struct import BytesSerializer, Int32
from rsyscall.sys.mman import MAP, PROT, MemoryMapping
from rsyscall.unistd import ArgList

from .stub import StubSyscall
from .support import make_task, run

PAGE = 4096


@pytest.fixture
def stub() -> Iterator[StubSyscall]:
    stub = StubSyscall()
    yield stub
    stub.stop()


@pytest.fixture
def remote(stub: StubSyscall) -> Task:
    return stub.make_task()


def make_stream_ram(remote: Task) -> RAM:
    return RAM(remote, StreamMemoryTransport(remote), AllocatorClient.make_allocator(remote))


@pytest.fixture
def far_ram(task: Task, stub: StubSyscall, remote: Task) -> Iterator[RAM]:
    """Memory of the stub, reached by its pid."""
    ram = make_stream_ram(remote)
    ram.transport = run(ProcessVMTransport.make(ram, task, stub.process.pid))
    del stub.reads[:], stub.writes[:]
    yield ram
    run(vm(ram).close())


def vm(ram: RAM) -> ProcessVMTransport:
    assert isinstance(ram.transport, ProcessVMTransport)
    return ram.transport


@pytest.mark.parametrize("size", [0, 1, 2, 7, PAGE - 1, PAGE, PAGE + 1, 1 << 20, 5 * (1 << 20) + 3])
async def test_transfers_of_any_size(stub: StubSyscall, far_ram: RAM, size: int) -> None:
    data = os.urandom(size)
    pointer = await far_ram.ptr(data)
    assert await pointer.read() == data
    assert await far_ram.transport.read(pointer) == data
    assert not stub.reads
    assert not stub.writes


async def test_only_a_new_object_is_filled_in(far_ram: RAM) -> None:
    """Python shares short objects, and the empty one."""
    for data in (b"x", b"\xff", b"xy"):
        assert await (await far_ram.ptr(data)).read() == data
        assert bytes(len(data)) == bytearray(len(data))
        assert bytes([0]) == bytearray(1)
    assert await (await far_ram.ptr(b"")).read() == b""


async def test_the_memory_is_that_of_the_other_process(stub: StubSyscall, far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"far away")
    with open(f"/proc/{stub.process.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(int(pointer.near))
        assert memory.read(8) == b"far away"
        memory.seek(int(pointer.near))
        memory.write(b"so close")
    assert await pointer.read() == b"so close"


async def test_typed_values(far_ram: RAM) -> None:
    assert await (await far_ram.ptr("text")).read() == "text"
    assert await (await far_ram.ptr(Path("/x"))).read() == Path("/x")
    assert await (await (await far_ram.malloc(Int32)).write(Int32(-5))).read() == -5


async def test_memory_of_a_process_that_is_blocked(stub: StubSyscall, far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"before")
    stub.process.send_signal(signal.SIGSTOP)
    try:
        pointer = await pointer.write(b"during")
        assert await pointer.read() == b"during"
    finally:
        stub.process.send_signal(signal.SIGCONT)


AREA = 3 * PAGE


@pytest.fixture
def long_lived(task: Task) -> Iterator[RAM]:
    """The same for all examples of a property."""
    stub = StubSyscall()
    ram = make_stream_ram(stub.make_task())
    ram.transport = run(ProcessVMTransport.make(ram, task, stub.process.pid))
    yield ram
    run(vm(ram).close())
    stub.stop()


def test_round_trips(long_lived: RAM) -> None:
    ram = long_lived
    transfer = st.tuples(
        st.integers(0, AREA), st.binary(max_size=2 * PAGE), st.sampled_from(["now", "later", "batch"])
    )

    @settings(deadline=None, max_examples=60, database=None)
    @given(transfers=st.lists(transfer, max_size=12))
    def check(transfers: list[tuple[int, bytes, str]]) -> None:
        whole: Pointer[bytes] = run(ram.ptr(bytes(AREA)))
        model = bytearray(AREA)
        for start, drawn, how in transfers:
            data = drawn[: AREA - start]
            left, rest = whole.split(start)
            part, right = rest.split(len(data))
            if how == "now":
                part = run(part.write(data))
            elif how == "later":
                run(ram.transport.write(part, data))
            else:
                middle = len(data) // 2
                one, two = part.split(middle)
                run(write_all(ram.transport, [(two, data[middle:]), (one, data[:middle])]))
                part = one.merge(two)
            model[start : start + len(data)] = data
            assert run(part.read()) == data
            whole = left.merge(part).merge(right)
        assert run(whole.read()) == model

    check()


# ---- What must not be touched


async def test_shorter_and_longer_data(far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    await far_ram.transport.write(pointer, b"XY")
    assert await pointer.read() == b"XYcdef"
    with pytest.raises(ValueError, match="7 bytes"):
        await far_ram.transport.write(pointer, b"1234567")
    with pytest.raises(ValueError, match="7 bytes"):
        await pointer.write(b"1234567")
    assert await pointer.read() == b"XYcdef"


async def test_freed_and_consumed_pointers_are_refused(far_ram: RAM) -> None:
    freed, consumed = await far_ram.ptr(b"abcdef"), await far_ram.ptr(b"abcdef")
    freed.free()
    rest = consumed.split(2)
    for pointer in (freed, consumed):
        with pytest.raises(UseAfterFreeError):
            await pointer.read()
        with pytest.raises(UseAfterFreeError):
            await far_ram.transport.read(pointer)
        with pytest.raises(UseAfterFreeError):
            await far_ram.transport.write(pointer, b"")
        with pytest.raises(UseAfterFreeError):
            await write_all(far_ram.transport, [(pointer, b"x")])
    assert [await part.read() for part in rest] == [b"ab", b"cdef"]


async def test_address_spaces_are_kept_apart(far_ram: RAM, ram: RAM) -> None:
    ours, theirs = await ram.ptr(b"ours"), await far_ram.ptr(b"theirs")
    for transport, pointer in ((ram.transport, theirs), (far_ram.transport, ours)):
        with pytest.raises(AddressSpaceMismatchError):
            await transport.read(pointer)
        with pytest.raises(AddressSpaceMismatchError):
            await transport.write(pointer, b"x")
        with pytest.raises(AddressSpaceMismatchError):
            await write_all(transport, [(pointer, b"x")])
    assert (await ours.read(), await theirs.read()) == (b"ours", b"theirs")


async def map_pages(ram: RAM, remote: Task, pages: int) -> tuple[MemoryMapping, list[Pointer[bytes]]]:
    """Map pages, with one pointer to 64 bytes around each boundary between two of them."""
    mapping = await remote.mmap(pages * PAGE, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    _, allocation = await Arena(mapping).malloc(pages * PAGE, 1)
    rest = Pointer(mapping, ram.transport, BytesSerializer(), allocation, bytes)
    pointers: list[Pointer[bytes]] = []
    for _ in range(pages - 1):
        _, rest = rest.split(PAGE - 32 - (32 if pointers else 0))
        boundary, rest = rest.split(64)
        pointers.append(boundary)
    return mapping, pointers


async def test_nothing_beyond_the_mapping(remote: Task, far_ram: RAM) -> None:
    mapping, [pointer] = await map_pages(far_ram, remote, 2)
    beyond = Pointer(mapping[0:1], far_ram.transport, pointer.serializer, pointer.allocation, bytes)
    with pytest.raises(ValueError, match="do not fit"):
        await beyond.read()
    with pytest.raises(ValueError, match="do not fit"):
        await far_ram.transport.write(beyond, b"")


async def test_a_page_that_is_missing(remote: Task, far_ram: RAM) -> None:
    """The transfer stops there; the error names the pointer."""
    mapping, [first, second] = await map_pages(far_ram, remote, 3)
    await mapping[2:3].munmap()
    first = await first.write(b"a" * 64)
    assert await first.read() == b"a" * 64
    for attempt in (second.read(), far_ram.transport.read(second), second.write(b"b" * 64)):
        with pytest.raises(OSError) as caught:
            await attempt
        assert caught.value.errno == errno.EFAULT
        assert caught.value.filename is second
    here, _ = second.split(32)
    assert await here.read() == b"b" * 32, "the part before it has been written"
    other = await far_ram.ptr(b"unimpressed")
    assert await other.read() == b"unimpressed"


# ---- Batches


@pytest.mark.parametrize("count", [0, 1, 50, 1023, 1025, 2100])
async def test_batches(stub: StubSyscall, far_ram: RAM, count: int) -> None:
    data = [os.urandom(n * 7 % 301) for n in range(count)]
    pointers = [await far_ram.malloc(bytes, len(one)) for one in data]
    await write_all(far_ram.transport, list(zip(pointers, data, strict=True)))
    assert [await pointer.read() for pointer in pointers] == data

    async def op(sem: RAM) -> list[WrittenPointer[bytes]]:
        return [await sem.ptr(one) for one in data]

    assert [await pointer.read() for pointer in await far_ram.perform_batch(op)] == data
    assert not stub.writes


async def test_a_batch_is_refused_as_a_whole(far_ram: RAM) -> None:
    good, bad = await far_ram.ptr(b"good"), await far_ram.ptr(b"bad")
    with pytest.raises(ValueError):
        await write_all(far_ram.transport, [(good, b"GOOD"), (bad, b"too long")])
    assert await good.read() == b"good"


@pytest.mark.parametrize("position", [0, 1, 1030])
async def test_a_batch_that_meets_a_missing_page(remote: Task, far_ram: RAM, position: int) -> None:
    mapping, [hole] = await map_pages(far_ram, remote, 2)
    await mapping[1:2].munmap()
    before = [await far_ram.ptr(b"before") for _ in range(position)]
    after = await far_ram.ptr(b"before")
    writes: list[tuple[Pointer[bytes], bytes]] = [(pointer, b"behind") for pointer in before]
    with pytest.raises(OSError) as caught:
        await write_all(far_ram.transport, [*writes, (hole, b"x" * 64), (after, b"behind")])
    assert caught.value.errno == errno.EFAULT
    assert caught.value.filename is hole
    assert {await pointer.read() for pointer in before} <= {b"behind"}
    assert await after.read() == b"before"


# ---- Whose memory it is


async def test_a_pid_that_is_not_that_of_the_process(task: Task, stub: StubSyscall, remote: Task) -> None:
    """The pid of another process, of one that is gone, of a kernel thread, our own, or no pid at all."""
    other = StubSyscall()
    gone = subprocess.Popen(["true"])
    gone.wait()
    ram = make_stream_ram(remote)
    pointer = await ram.ptr(b"data")
    for pid in (other.process.pid, gone.pid, 2, os.getpid(), 1, 0, -1):
        transport = await ProcessVMTransport.make(ram, task, pid)
        assert transport is ram.transport
    assert await pointer.read() == b"data"
    other.stop()


async def test_our_own_memory_has_a_better_way(task: Task, ram: RAM) -> None:
    assert await ProcessVMTransport.make(ram, task, os.getpid()) is ram.transport


@pytest.mark.parametrize("reaped", [True, False])
async def test_a_dead_process(stub: StubSyscall, far_ram: RAM, reaped: bool) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    other = await far_ram.ptr(b"abcdef")
    stub.process.kill()
    os.waitid(os.P_PID, stub.process.pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        stub.process.wait()
    for _ in range(2):
        for attempt in (
            pointer.read(),
            far_ram.transport.read(pointer),
            pointer.write(b"x"),
            write_all(far_ram.transport, [(pointer, b"x"), (other, b"y")]),
        ):
            with pytest.raises(SyscallSendError, match=f"process {stub.process.pid} has exited"):
                await attempt


# Takes the pid of a dead process, in a pid namespace of our own where that is not left to chance.
_TAKE_THE_PID = """
import os, sys, signal, ctypes
from tests.memory.stub import StubSyscall
from tests.memory.support import make_task, run
from tests.memory.test_process_vm import make_stream_ram
from rsyscall.memory.process_vm import ProcessVMTransport
from rsyscall.near import SyscallSendError

stub = StubSyscall()
ram = make_stream_ram(stub.make_task())
ram.transport = transport = run(ProcessVMTransport.make(ram, make_task(), stub.process.pid))
assert isinstance(transport, ProcessVMTransport)
pointer = run(ram.ptr(b"abcdef"))
stub.process.kill()
stub.process.wait()
# A process that has something at the very same address.
libc = ctypes.CDLL(None)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_long, [ctypes.c_long] * 6
page = pointer.near.address & -4096
assert libc.mmap(page, 4096, 3, 0x100031, -1, 0) == page  # shared, anonymous, there and nowhere else
ctypes.memset(page, ord("s"), 4096)
open("/proc/sys/kernel/ns_last_pid", "w").write(str(stub.process.pid - 1))
child = os.fork()
if child == 0:
    signal.pause()
assert child == stub.process.pid, (child, stub.process.pid)
for attempt in (pointer.read, lambda: transport.read(pointer), lambda: pointer.write(b"abcdef")):
    try:
        run(attempt())
    except SyscallSendError as error:
        assert "has exited" in str(error)
    else:
        raise AssertionError("it was taken for the dead process")
assert ctypes.string_at(page, 4096) == b"s" * 4096
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
print("done")
"""

_ROOT = Path(__file__).resolve().parents[2]


def run_python(program: str, *prefix: str) -> str:
    """Run a program that uses these tests' modules; its output."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)])}
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "error", "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs("user namespaces", "mounts of proc", "ns_last_pid")
def test_the_pid_belongs_to_somebody_else_by_now() -> None:
    prefix = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    assert run_python(_TAKE_THE_PID, *prefix) == "done\n"


async def execute(task: Task, ram: RAM, path: str) -> None:
    await task.execve(await ram.ptr(path), await ram.ptr(ArgList()), await ram.ptr(ArgList()))


async def test_exec_makes_it_other_memory(
    stub: StubSyscall, remote: Task, far_ram: RAM, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    transport = vm(far_ram)
    meanwhile = []

    async def syscall(number: SYS, *args: int) -> int:
        # The call has been sent; whether it has been made is unknown.
        meanwhile.append((transport.read_now, transport.write_now))
        assert await pointer.read() == b"abcdef"
        await write_all(transport, [(pointer, b"behind")])
        return await StubSyscall.syscall(stub, number, *args)

    monkeypatch.setattr(stub, "syscall", syscall)
    with pytest.raises(FileNotFoundError):
        await execute(remote, far_ram, "/nonexistent")
    assert meanwhile == [(None, None)]
    assert len(stub.reads) == len(stub.writes) == 1, "through the process, where they are in order"
    assert transport.read_now is not None, "the exec failed"
    assert await pointer.read() == b"behind"
    monkeypatch.undo()
    await execute(remote, far_ram, "/bin/true")
    assert transport.read_now is None
    assert transport.write_now is None
    # Through the interface, which has been closed.
    for attempt in (pointer.read(), pointer.write(b"x"), write_all(transport, [(pointer, b"x")])):
        with pytest.raises((SyscallError, OSError)):
            await attempt


# ---- When the kernel refuses

_REFUSED = """
import os, sys
from tests.memory.stub import StubSyscall
from tests.memory.support import make_task, run
from tests.memory.test_process_vm import make_stream_ram
from rsyscall.handle.pointer import WrittenPointer
from rsyscall.memory.process_vm import ProcessVMTransport
from rsyscall.memory.transport import write_all
from rsyscall.native import stub_path
from rsyscall.near import SYS

def become_nobody():
    stub_path()  # imports what may be out of reach afterwards
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

def use(ram):
    assert run(run(ram.ptr(b"pointer")).read()) == b"pointer"
    pointer = run(run(ram.malloc(bytes, 3 << 20)).write(b"x" * (3 << 20)))
    assert run(ram.transport.read(pointer)) == b"x" * (3 << 20)
    async def op(sem):
        return [await sem.ptr(b"batch") for _ in range(10)]
    assert {run(one.read()) for one in run(ram.perform_batch(op))} == {b"batch"}
"""

_REFUSED_FROM_THE_START = (
    _REFUSED
    + """
stub = StubSyscall()
if os.getuid() != 0:
    run(stub.syscall(SYS.prctl, 4, 0))  # PR_SET_DUMPABLE
become_nobody()
ram = make_stream_ram(stub.make_task())
fds = os.listdir("/proc/self/fd")
assert run(ProcessVMTransport.make(ram, make_task(), stub.process.pid)) is ram.transport
assert os.listdir("/proc/self/fd") == fds
use(ram)
print("done")
"""
)

_REFUSED_LATER = (
    _REFUSED
    + """
become_nobody()
ways = [
    lambda ram: run(run(ram.ptr(b"text")).read()),
    lambda ram: run(ram.ptr(b"text")),
    lambda ram: run(run(ram.malloc(bytes, 4)).write(b"text")),
    lambda ram: run(write_all(ram.transport, [(run(ram.malloc(bytes, 4)), b"text")])),
]
for first in ways:
    stub = StubSyscall()
    ram = make_stream_ram(stub.make_task())
    ram.transport = transport = run(ProcessVMTransport.make(ram, make_task(), stub.process.pid))
    assert isinstance(transport, ProcessVMTransport)
    use(ram)
    child = transport.inherit(make_task(ram.task, stub))
    before = run(ram.ptr(b"before"))
    del stub.reads[:], stub.writes[:]
    run(stub.syscall(SYS.prctl, 4, 0))
    assert transport.read_now is not None
    first(ram)
    assert stub.reads or stub.writes
    for now in (transport.read_now, transport.write_now, child.read_now):
        assert now is None, "decided once"
    assert run(before.read()) == b"before"
    use(ram)
    run(stub.syscall(SYS.prctl, 4, 1))
    assert transport.read_now is None, "and for good"
    run(transport.close())
    stub.stop()
print("done")
"""
)


@pytest.mark.parametrize("program", [_REFUSED_FROM_THE_START, _REFUSED_LATER], ids=["at once", "later"])
def test_the_kernel_refuses(program: str, place: Place) -> None:
    """Another user's process, or one that has become undumpable; we have no privilege."""
    if os.getuid() == 0:
        place.need("other users")
    assert run_python(program) == "done\n"


# ---- The rest


async def test_inherit(task: Task, remote: Task, far_ram: RAM) -> None:
    child = make_task(remote, remote.sysif)
    inherited = vm(far_ram).inherit(child)
    assert isinstance(inherited.fallback, StreamMemoryTransport)
    assert inherited.fallback.task is child
    pointer = await RAM(child, inherited, far_ram.allocator.inherit(child)).ptr(b"of the child")
    assert await far_ram.transport.read(pointer) == b"of the child"
    with pytest.raises(AddressSpaceMismatchError):
        vm(far_ram).inherit(task)


async def test_close(task: Task, stub: StubSyscall, remote: Task) -> None:
    fds = os.listdir("/proc/self/fd")
    ram = make_stream_ram(remote)
    ram.transport = await ProcessVMTransport.make(ram, task, stub.process.pid)
    pointer = await ram.ptr(b"text")
    await vm(ram).close()
    assert os.listdir("/proc/self/fd") == fds
    del stub.reads[:]
    assert await pointer.read() == b"text"
    assert stub.reads
    await vm(ram).close()


def test_another_os_thread(far_ram: RAM) -> None:
    pointer = run(far_ram.ptr(b"text"))
    caught: list[BaseException] = []

    def elsewhere() -> None:
        for attempt in (pointer.read(), pointer.write(b"else")):
            try:
                run(attempt)
            except WrongThreadError as error:
                caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 2
    assert run(pointer.read()) == b"text"


def test_a_fork_of_the_program(far_ram: RAM) -> None:
    pointer = run(far_ram.ptr(b"text"))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run(pointer.write(b"fork"))
        except ForkedProcessError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert run(pointer.read()) == b"text"
