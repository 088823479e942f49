"""Nodes of memory, counters, maps of BPF, security modules, and calls that only root may make."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsyscall.far import AddressSpaceMismatchError
from rsyscall.fcntl import O
from rsyscall.handle.allocation import UseAfterFreeError
from rsyscall.handle.buffers import BufferTooSmallError
from rsyscall.linux.bpf import BPF, BPF_MAP_TYPE, BpfMapCreate, BpfMapElem, BpfProgLoad
from rsyscall.linux.lsm import LSM_ATTR, LSM_ID, LsmIds
from rsyscall.linux.mempolicy import MPOL, MPOL_F, NodeMask
from rsyscall.linux.perf_event import PERF_ATTR, PERF_COUNT_SW, PERF_EVENT_IOC, PerfEventAttr
from rsyscall.struct import Int32, Int64, StructList
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.reboot import LINUX_REBOOT_CMD
from rsyscall.sys.socket import Sockbuf

from .helpers import forked, no_calls, stranger
from .support import Local


@contextlib.contextmanager
def what_the_kernel_has(name: str, *denied: int) -> Iterator[None]:
    """Skip where the kernel does not have the call, or denies it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSYS, *denied):
            pytest.skip(f"kernel: {name} is missing or denied")
        raise


@forked
async def test_nodes_of_memory(local: Local, tmp_path: Path) -> None:
    task = local.task
    mode, nodes = await local.malloc(Int32), await local.malloc(NodeMask)
    with what_the_kernel_has("policies of memory"):
        await task.get_mempolicy(None, nodes, flags=MPOL_F.MEMS_ALLOWED)
    allowed = await nodes.read()
    assert 0 in allowed
    await task.set_mempolicy(MPOL.BIND | MPOL_F.STATIC_NODES, await local.ptr(NodeMask([0])))
    await task.get_mempolicy(mode, nodes)
    assert int(await mode.read()) == MPOL.BIND | MPOL_F.STATIC_NODES
    assert await nodes.read() == NodeMask([0])
    with pytest.raises(OSError, match="Invalid") as caught:
        await task.set_mempolicy(MPOL.BIND, None)
    assert caught.value.filename == MPOL.BIND
    await task.set_mempolicy(MPOL.DEFAULT, None)
    pages = await task.mmap(8192, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    await task.mbind(pages, MPOL.PREFERRED, await local.ptr(NodeMask([0])))
    await task.get_mempolicy(mode, nodes, pages.near.as_address(), MPOL_F.ADDR)
    assert int(await mode.read()) == MPOL.PREFERRED
    with pytest.raises(OSError, match=r"not supported|No such|implemented"):
        await task.set_mempolicy_home_node(pages, 0)
    addresses = await local.ptr(StructList(Int64, [Int64(int(local.arena.mapping.near.address))]))
    status = await local.malloc(Int32)
    assert await task.process.move_pages(addresses, None, status) == 0
    assert int(await status.read()) in allowed
    everything = await local.ptr(NodeMask([0]))
    assert await task.process.migrate_pages(everything, everything) == 0
    with no_calls(task), pytest.raises(AddressSpaceMismatchError):
        await task.mbind(stranger().arena.mapping, MPOL.DEFAULT, None)
    with pytest.raises(ValueError, match="1024"):
        NodeMask([1024]).to_bytes()
    await pages.munmap()


async def test_a_counter_counts(local: Local) -> None:
    attr = PerfEventAttr(config=PERF_COUNT_SW.TASK_CLOCK, flags=PERF_ATTR.DISABLED | PERF_ATTR.EXCLUDE_KERNEL)
    with what_the_kernel_has("perf_event_open", errno.EACCES, errno.EPERM, errno.ENOENT):
        counter = await local.task.perf_event_open(await local.ptr(attr), 0, -1)
    assert not os.get_inheritable(int(counter))
    assert struct.unpack("=Q", os.read(int(counter), 8)) == (0,)
    await counter.ioctl(PERF_EVENT_IOC.ENABLE)
    sum(range(10000))
    await counter.ioctl(PERF_EVENT_IOC.DISABLE)
    assert struct.unpack("=Q", os.read(int(counter), 8)) > (0,)
    other = await local.task.perf_event_open(await local.ptr(attr), 0, -1, counter)
    await other.close()
    await counter.close()
    bad = PerfEventAttr(size=1)
    written = await local.ptr(bad)
    with pytest.raises(OSError, match=r"too long|large") as caught:
        await local.task.perf_event_open(written, 0, -1)
    assert caught.value.filename == bad
    # The memory says now that the structure is as large as the kernel's.
    assert not written.valid
    with no_calls(local.task), pytest.raises(BufferTooSmallError):
        await local.task.perf_event_open(await local.ptr(PerfEventAttr(size=4096)), 0, -1)


async def test_a_map_of_bpf(local: Local) -> None:
    attr = await local.ptr(BpfMapCreate(BPF_MAP_TYPE.ARRAY, 4, 8, 2, map_name="test"))
    with what_the_kernel_has("bpf", errno.EPERM):
        fd = await local.task.bpf_fd(BPF.MAP_CREATE, attr)
    assert not os.get_inheritable(int(fd))
    key, value = await local.ptr(Int32(1)), await local.ptr(Int64(77))
    await local.task.bpf(BPF.MAP_UPDATE_ELEM, await local.ptr(BpfMapElem(fd, key, value)))
    found = await local.malloc(Int64)
    await local.task.bpf(BPF.MAP_LOOKUP_ELEM, await local.ptr(BpfMapElem(fd, key, found)))
    assert await found.read() == 77
    missing = await local.ptr(BpfMapElem(fd, await local.ptr(Int32(2)), found))
    with pytest.raises(FileNotFoundError) as caught:
        await local.task.bpf(BPF.MAP_LOOKUP_ELEM, missing)
    assert caught.value.filename == BPF.MAP_LOOKUP_ELEM
    with no_calls(local.task):
        short = BpfProgLoad(1, 2, await local.ptr(bytes(15)), await local.ptr("GPL"))
        with pytest.raises(BufferTooSmallError):
            await local.task.bpf_fd(BPF.PROG_LOAD, await local.ptr(short))
        found.free()
        with pytest.raises(UseAfterFreeError):
            await local.task.bpf(BPF.MAP_LOOKUP_ELEM, missing)
        with pytest.raises(ValueError, match="descriptor"):
            await local.task.bpf(BPF.MAP_CREATE, attr)
        with pytest.raises(ValueError, match="descriptor"):
            await local.task.bpf_fd(BPF.MAP_LOOKUP_ELEM, missing)
    await fd.close()


async def test_security_modules(local: Local) -> None:
    room = await local.ptr(Sockbuf(await local.malloc(LsmIds, 32 * 8)))
    with what_the_kernel_has("lsm_list_modules"):
        count, answer = await local.task.lsm_list_modules(room)
    ids = await (await answer.read()).buf.read()
    assert LSM_ID.CAPABILITY in ids
    assert len(ids) == count
    small = Sockbuf(await local.malloc(LsmIds, 4))
    size = await local.ptr(small)
    with pytest.raises(OSError, match=r"long|large") as caught:
        await local.task.lsm_list_modules(size)
    assert caught.value.filename is small.buf
    # The memory says now that there is room for all of them.
    with no_calls(local.task), pytest.raises(ValueError, match="another call"):
        await local.task.lsm_list_modules(size)
    with pytest.raises(ValueError, match="too small") as needed:
        await size.read()
    assert needed.value.args[1:] == (4, 8 * count)
    with contextlib.suppress(OSError):  # no module may have it
        memory = await local.ptr(Sockbuf(await local.malloc(bytes, 4096)))
        count, answered = await local.task.lsm_get_self_attr(LSM_ATTR.CURRENT, memory)
        assert count > 0
        assert (await answered.read()).buf.size() > 0
    memory = await local.ptr(Sockbuf(await local.malloc(bytes, 4096)))
    for call in (
        local.task.lsm_get_self_attr(LSM_ATTR(0), memory),
        local.task.lsm_set_self_attr(LSM_ATTR(0), await local.ptr(bytes(32))),
    ):
        with pytest.raises(OSError, match=r"Invalid|not supported") as bad:
            await call
        assert bad.value.filename == 0


@forked
async def test_an_ordinary_user_may_not(local: Local, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    task = local.task
    path, text = await local.ptr("/no/such/file"), await local.ptr("")
    null = await task.open(await local.ptr("/dev/null"), O.RDONLY)
    for call, filename in (
        (task.swapon(path), "/no/such/file"),
        (task.swapoff(path), "/no/such/file"),
        (task.acct(path), "/no/such/file"),
        (task.acct(None), "acct"),
        (task.vhangup(), "vhangup"),
        (task.reboot(LINUX_REBOOT_CMD.CAD_ON), LINUX_REBOOT_CMD.CAD_ON),
        (task.init_module(await local.ptr(b"x"), text), None),
        (task.delete_module(path), "/no/such/file"),
        (null.finit_module(text), null),
    ):
        with pytest.raises(OSError, match=r"not permitted|not implemented") as caught:
            await call
        assert caught.value.errno in (errno.EPERM, errno.ENOSYS)
        assert filename is None or caught.value.filename == filename
