"""Memory of another process, through its stream."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.pointer import Pointer, WrittenPointer
from rsyscall.handle.task import Task
from rsyscall.memory.allocator import AllocatorClient, Arena, UnlimitedAllocator
from rsyscall.memory.local import LocalMemoryTransport
from rsyscall.memory.ram import RAM
from rsyscall.memory.socket_transport import SocketMemoryTransport, StreamMemoryTransport
from rsyscall.memory.transport import MemoryTransport, write_all
from rsyscall.near import SYS, SyscallError
from rsyscall.near.protocol import MAX_TRANSFER
from rsyscall.struct import Int32
from rsyscall.sys.mman import MAP, PROT

from .stub import StubSyscall
from .support import Cancelled, check, make_task, run, suspend


@pytest.fixture
def stub() -> Iterator[StubSyscall]:
    stub = StubSyscall()
    yield stub
    stub.stop()


@pytest.fixture
def remote(stub: StubSyscall) -> Task:
    return stub.make_task()


@pytest.fixture
def far_ram(remote: Task) -> RAM:
    return RAM(remote, StreamMemoryTransport(remote), AllocatorClient.make_allocator(remote))


def test_documented_name() -> None:
    assert SocketMemoryTransport is StreamMemoryTransport
    assert issubclass(SocketMemoryTransport, MemoryTransport)


@pytest.mark.parametrize(
    "size", [0, 1, 4096, MAX_TRANSFER - 1, MAX_TRANSFER, MAX_TRANSFER + 1, 3 * MAX_TRANSFER + 5]
)
async def test_transfers_of_any_size(stub: StubSyscall, far_ram: RAM, size: int) -> None:
    data = os.urandom(size)
    pointer = await far_ram.ptr(data)
    assert await pointer.read() == data
    requests = -(-size // MAX_TRANSFER)
    assert len(stub.reads) == len(stub.writes) == requests
    assert sum(length for _, length in stub.writes) == size
    assert max((length for _, length in stub.writes + stub.reads), default=0) <= MAX_TRANSFER


async def test_the_memory_is_that_of_the_other_process(stub: StubSyscall, far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"far away")
    memory = Path(f"/proc/{stub.process.pid}/mem")
    with memory.open("rb", buffering=0) as found:
        found.seek(int(pointer.near))
        assert found.read(8) == b"far away"
    assert stub.calls == [SYS.mmap]


async def test_typed_values(far_ram: RAM) -> None:
    assert await (await far_ram.ptr("text")).read() == "text"
    assert await (await far_ram.ptr(Path("/x"))).read() == Path("/x")
    assert await (await (await far_ram.malloc(Int32)).write(Int32(-5))).read() == -5


async def test_shorter_and_longer_data(far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    await far_ram.transport.write(pointer, b"XY")
    assert await pointer.read() == b"XYcdef"
    with pytest.raises(ValueError):
        await far_ram.transport.write(pointer, b"1234567")
    assert await pointer.read() == b"XYcdef"


async def test_address_spaces_are_kept_apart(stub: StubSyscall, far_ram: RAM, ram: RAM) -> None:
    ours, theirs = await ram.ptr(b"ours"), await far_ram.ptr(b"theirs")
    before = len(stub.reads), len(stub.writes)
    for transport, pointer in ((ram.transport, theirs), (far_ram.transport, ours)):
        with pytest.raises(AddressSpaceMismatchError):
            await transport.read(pointer)
        with pytest.raises(AddressSpaceMismatchError):
            await transport.write(pointer, b"x")
        with pytest.raises(AddressSpaceMismatchError):
            await write_all(transport, [(pointer, b"x")])
    assert (len(stub.reads), len(stub.writes)) == before
    assert (await ours.read(), await theirs.read()) == (b"ours", b"theirs")


async def test_freed_pointers_are_refused(stub: StubSyscall, far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    del stub.writes[:]
    pointer.free()
    with pytest.raises(UseAfterFreeError):
        await far_ram.transport.read(pointer)
    with pytest.raises(UseAfterFreeError):
        await far_ram.transport.write(pointer, b"")
    assert not stub.reads
    assert not stub.writes


async def test_a_bad_address_is_an_error_and_not_the_end(remote: Task, far_ram: RAM) -> None:
    mapping = await remote.mmap(4096, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    arena = Arena(mapping)
    _, allocation = await arena.malloc(100, 8)
    pointer = await far_ram.malloc(bytes, 100)
    bad = Pointer(mapping, far_ram.transport, pointer.serializer, allocation, bytes)
    await mapping.munmap()
    for attempt in (bad.read(), far_ram.transport.write(bad, b"x")):
        with pytest.raises(OSError) as caught:
            await attempt
        assert caught.value.errno == errno.EFAULT
    assert (await (await pointer.write(b"y" * 100)).read()) == b"y" * 100


async def test_the_process_is_killed(stub: StubSyscall, far_ram: RAM) -> None:
    pointer = await far_ram.ptr(b"abcdef")
    stub.process.kill()
    stub.process.wait()
    with pytest.raises((SyscallError, OSError)):
        await pointer.read()
    pointer.free()


async def test_inherit(remote: Task, far_ram: RAM) -> None:
    transport = far_ram.transport
    assert isinstance(transport, StreamMemoryTransport)
    child = make_task(remote, remote.sysif)
    inherited = transport.inherit(child)
    assert inherited.task is child
    pointer = await RAM(child, inherited, far_ram.allocator.inherit(child)).ptr(b"of the child")
    assert await transport.read(pointer) == b"of the child"
    with pytest.raises(AddressSpaceMismatchError):
        transport.inherit(make_task())


# ---- Batches


async def test_a_batch_is_one_write(stub: StubSyscall, far_ram: RAM) -> None:
    strings = [f"argument number {n}" * (n % 5) for n in range(50)]

    async def op(sem: RAM) -> list[WrittenPointer[str]]:
        return [await sem.ptr(string) for string in strings]

    pointers = await far_ram.perform_batch(op)
    assert stub.calls == [SYS.mmap]
    assert len(stub.writes) == 1
    assert [await pointer.read() for pointer in pointers] == strings


async def test_a_batch_of_more_than_a_transfer(stub: StubSyscall, far_ram: RAM) -> None:
    data = [os.urandom(MAX_TRANSFER // 2 - n) for n in range(5)]

    async def op(sem: RAM) -> list[WrittenPointer[bytes]]:
        return [await sem.ptr(one) for one in data]

    pointers = await far_ram.perform_batch(op)
    assert len(stub.writes) == 3
    assert [await pointer.read() for pointer in pointers] == data


async def test_writes_together_touch_nothing_else(stub: StubSyscall, far_ram: RAM) -> None:
    """Gaps between neighbours are bridged only if they are not allocated."""
    names = "abcdefgh"
    pointers = {name: await far_ram.ptr(name.encode() * 24) for name in names}
    halves = pointers.pop("c").split(12)
    del pointers["f"]
    reused = await far_ram.ptr(b"R" * 30)
    del stub.writes[:]
    writes: list[tuple[Pointer[bytes], bytes]] = [
        (pointers["e"], b"E" * 24),
        (pointers["a"], b"A" * 24),  # eight bytes of slack behind it
        (pointers["b"], b"B" * 20),  # four bytes of its own behind it, that must stay
        (halves[1], b"2" * 12),
        (pointers["g"], b""),
        (pointers["h"], b"H"),
    ]
    await write_all(far_ram.transport, writes)
    assert await pointers["a"].read() == b"A" * 24
    assert await pointers["b"].read() == b"B" * 20 + b"b" * 4
    assert await halves[0].read() == b"c" * 12
    assert await halves[1].read() == b"2" * 12
    assert await pointers["d"].read() == b"d" * 24
    assert await pointers["e"].read() == b"E" * 24
    assert await pointers["g"].read() == b"g" * 24
    assert await pointers["h"].read() == b"H" + b"h" * 23
    assert await reused.read() == b"R" * 30
    assert len(stub.writes) == 4


async def test_a_batch_is_refused_as_a_whole_before_anything_is_sent(stub: StubSyscall, far_ram: RAM) -> None:
    good, bad = await far_ram.ptr(b"good"), await far_ram.ptr(b"bad")
    del stub.writes[:]
    with pytest.raises(ValueError):
        await write_all(far_ram.transport, [(good, b"GOOD"), (bad, b"too long")])
    bad.free()
    with pytest.raises(UseAfterFreeError):
        await write_all(far_ram.transport, [(good, b"GOOD"), (bad, b"BAD")])
    assert not stub.writes
    assert await good.read() == b"good"


# ---- While a transfer is under way


class SlowStub(StubSyscall):
    """Suspends before every transfer."""

    async def read_memory(self, address: object, length: int) -> bytes:
        await suspend()
        return await super().read_memory(int(address), length)  # type: ignore[call-overload]  # is an int

    async def write_memory(self, address: object, data: bytes) -> None:
        await suspend()
        await super().write_memory(int(address), data)  # type: ignore[call-overload]  # is an int


@pytest.fixture
def slow() -> Iterator[SlowStub]:
    slow = SlowStub()
    yield slow
    slow.stop()


def test_memory_freed_during_a_transfer_is_not_used_again_before_its_end(slow: SlowStub) -> None:
    task = slow.make_task()
    allocator = UnlimitedAllocator(task)
    ram = RAM(task, StreamMemoryTransport(task), allocator.inherit(task))
    pointer = run(ram.malloc(bytes, 1000))
    address = int(pointer.near)
    transfer = ram.transport.write(pointer, b"x" * 1000)
    transfer.send(None)
    pointer.free()
    with pytest.raises(UseAfterFreeError):
        pointer.near  # noqa: B018
    other = run(ram.malloc(bytes, 1000))
    assert int(other.near) != address
    with pytest.raises(StopIteration):
        transfer.send(None)
    again = run(ram.malloc(bytes, 1000))
    assert int(again.near) == address


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_cancelled_ptr_gives_the_memory_back(slow: SlowStub, after: int) -> None:
    task = slow.make_task()
    allocator = UnlimitedAllocator(task)
    ram = RAM(task, StreamMemoryTransport(task), allocator.inherit(task))
    making = ram.ptr(b"x" * 3 * MAX_TRANSFER)
    for _ in range(after + 1):
        making.send(None)
    with pytest.raises(Cancelled):
        making.throw(Cancelled())
    assert len(slow.writes) == after
    check(allocator.space, allocator.arenas, [])
    run(allocator.close())


def test_local_and_far_memory_side_by_side(slow: SlowStub) -> None:
    """A transfer that waits does not hold up other transfers."""
    task, local = slow.make_task(), make_task()
    ram = RAM(task, StreamMemoryTransport(task), AllocatorClient.make_allocator(task))
    ours = RAM(local, LocalMemoryTransport(local), AllocatorClient.make_allocator(local))
    making = ram.ptr(b"x")
    making.send(None)
    assert run(run(ours.ptr(b"y")).read()) == b"y"
    with pytest.raises(StopIteration):
        making.send(None)
