"""`<linux/bpf.h>`: maps and programs in the kernel."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, SupportsInt

from rsyscall.cstruct import CStruct, known, string, u32, u64
from rsyscall.handle.arguments import ADDRESS, SIZE, by, call, choice, each, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import WrittenPointer, check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["BPF", "BPF_MAP_TYPE", "BpfMapCreate", "BpfMapElem", "BpfProgLoad", "BpfTask"]


class BPF(enum.IntEnum):
    """`BPF_*`: commands of `bpf`.

    manpage: bpf(2)
    """

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    ITER_CREATE = 33
    LINK_DETACH = 34
    PROG_BIND_MAP = 35
    TOKEN_CREATE = 36  # since Linux 6.9


class BPF_MAP_TYPE(enum.IntEnum):
    """`BPF_MAP_TYPE_*`: kinds of maps; there are more, which are numbers.

    manpage: bpf(2)
    """

    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    RINGBUF = 27


_MAKES_DESCRIPTOR = frozenset({
    BPF.MAP_CREATE, BPF.PROG_LOAD, BPF.OBJ_GET, BPF.PROG_GET_FD_BY_ID, BPF.MAP_GET_FD_BY_ID, BPF.BTF_LOAD,
    BPF.BTF_GET_FD_BY_ID, BPF.RAW_TRACEPOINT_OPEN, BPF.LINK_CREATE, BPF.LINK_GET_FD_BY_ID, BPF.ITER_CREATE,
    BPF.ENABLE_STATS, BPF.TOKEN_CREATE,
})  # fmt: skip
_HEADERS = ("linux/types.h", "linux/bpf.h")


def _number(memory: Pointer[Any] | int) -> int:
    return memory if isinstance(memory, int) else int(memory.near)


def _borrow_memory(
    stack: ExitStack, task: FileDescriptorTask[Any], memory: Pointer[Any] | int, size: int
) -> None:
    if not isinstance(memory, int):
        require_size(memory, size)
        stack.enter_context(memory.borrow(task))


class BpfMapCreate(CStruct, c="union bpf_attr", headers=_HEADERS):
    """The members of `union bpf_attr` for `BPF.MAP_CREATE`.

    Args:
        map_type: the kind of map.
        key_size, value_size: bytes.
        max_entries: how many it has room for.
        map_name: at most 15 bytes.

    manpage: bpf(2)
    """

    map_type: BPF_MAP_TYPE | int = u32("map_type", known(BPF_MAP_TYPE))
    key_size: int = u32("key_size")
    value_size: int = u32("value_size")
    max_entries: int = u32("max_entries")
    map_flags: int = u32("map_flags", default=0)
    inner_map_fd: int = u32("inner_map_fd", default=0)
    numa_node: int = u32("numa_node", default=0)
    map_name: str = string("map_name", 16, default="")


class BpfMapElem(CStruct, c="union bpf_attr", headers=_HEADERS):
    """The members of `union bpf_attr` for commands about an element of a map.

    Args:
        map_fd: the map, or its number.
        key, value: memory, or its address: as many bytes as the map was made with, which the kernel reads or
            writes whatever room there is. For a map per CPU, `value` is an array for all possible CPUs.
        flags: 1 to make an element only, 2 to replace one only.

    manpage: bpf(2)
    """

    map_fd: SupportsInt = u32("map_fd", encode=int)
    key: Pointer[Any] | int = u64("key", encode=_number)
    value: Pointer[Any] | int = u64("value", encode=_number, default=0)
    flags: int = u64("flags", default=0)

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow the map and the memory for `task`, until `stack` is left."""
        if isinstance(self.map_fd, BaseFileDescriptor):
            stack.enter_context(self.map_fd.borrow(task))
        _borrow_memory(stack, task, self.key, 0)
        _borrow_memory(stack, task, self.value, 0)


class BpfProgLoad(CStruct, c="union bpf_attr", headers=_HEADERS):
    """The first members of `union bpf_attr` for `BPF.PROG_LOAD`.

    Args:
        prog_type: what the program is for.
        insn_cnt: how many instructions of 8 bytes.
        insns, license, log_buf: memory, or its address: the instructions, a string, room for messages.

    manpage: bpf(2)
    """

    prog_type: int = u32("prog_type")
    insn_cnt: int = u32("insn_cnt")
    insns: Pointer[Any] | int = u64("insns", encode=_number)
    license: Pointer[Any] | int = u64("license", encode=_number)
    log_level: int = u32("log_level", default=0)
    log_size: int = u32("log_size", default=0)
    log_buf: Pointer[Any] | int = u64("log_buf", encode=_number, default=0)
    kern_version: int = u32("kern_version", default=0)
    prog_flags: int = u32("prog_flags", default=0)
    prog_name: str = string("prog_name", 16, default="")

    def borrow_with(self, stack: ExitStack, task: FileDescriptorTask[Any]) -> None:
        """Borrow the memory for `task`, until `stack` is left; `BufferTooSmallError` if it is too small."""
        _borrow_memory(stack, task, self.insns, 8 * self.insn_cnt)
        _borrow_memory(stack, task, self.license, 0)
        _borrow_memory(stack, task, self.log_buf, self.log_size)


def _borrow_attr(stack: ExitStack, task: FileDescriptorTask[Any], attr: Pointer[Any]) -> near.Address:
    if isinstance(attr, WrittenPointer) and isinstance(attr.value, BpfMapElem | BpfProgLoad):
        attr.value.borrow_with(stack, task)
    return stack.enter_context(attr.borrow(task))


class BpfTask(FileDescriptorTask[T_fd]):
    """Maps and programs in the kernel."""

    async def bpf(self, cmd: BPF | int, attr: Pointer[Any]) -> int:
        """`bpf(cmd, attr, size)`: do something that makes no descriptor.

        Args:
            attr: what the command says; not consumed. The memory of a `BpfMapElem` or `BpfProgLoad` is kept
                for the call; other memory that it refers to must stay until the call has returned.

        Returns:
            What the command says; 0 for most.

        Raises:
            BufferTooSmallError: the instructions or the messages do not fit into their memory.
            ValueError: the command makes a descriptor: `bpf_fd`.
            OSError: EPERM, EINVAL, ENOENT, E2BIG,
                EEXIST, ENOMEM; `filename` is the command.

        manpage: bpf(2)
        """
        check_pointers(attr)
        if cmd in _MAKES_DESCRIPTOR:
            raise ValueError("this command makes a descriptor: use bpf_fd", cmd)
        with ExitStack() as stack, naming(cmd):
            attr_addr = _borrow_attr(stack, self, attr)
            return await _bpf(self.sysif, cmd, attr_addr, attr.size())

    async def bpf_fd(self, cmd: BPF, attr: Pointer[Any]) -> T_fd:
        """`bpf(cmd, attr, size)`: make or open a map, a program, a link.

        Args:
            attr: what the command says; not consumed. The memory of a `BpfMapElem` or `BpfProgLoad` is kept
                for the call; other memory that it refers to must stay until the call has returned.

        Returns:
            A new descriptor.

        Raises:
            BufferTooSmallError: the instructions or the messages do not fit into their memory.
            ValueError: the command makes none: `bpf`.
            OSError: EPERM, EINVAL, ENOENT, E2BIG, EMFILE, EACCES
                (the program is refused); `filename` is the command.

        manpage: bpf(2)
        """
        check_pointers(attr)
        if cmd not in _MAKES_DESCRIPTOR:
            raise ValueError("this command makes no descriptor: use bpf", cmd)
        record = CallRecord(self.fd_table)
        with ExitStack() as stack, naming(cmd):
            attr_addr = _borrow_attr(stack, self, attr)
            fd = await _bpf_fd(self.sysif, record, cmd, attr_addr, attr.size())
        return self._adopt(fd, record)


_ATTR = by(
    0,
    {
        BPF.MAP_CREATE: given(BpfMapCreate, 2),
        BPF.PROG_LOAD: given(BpfProgLoad, 2),
        **each(
            (BPF.MAP_LOOKUP_ELEM, BPF.MAP_UPDATE_ELEM, BPF.MAP_DELETE_ELEM, BPF.MAP_GET_NEXT_KEY),
            given(BpfMapElem, 2),
        ),
    },
    ADDRESS,
)


@call("bpf", choice(BPF, "BPF_"), _ATTR, SIZE)
async def _bpf_fd(
    sysif: SyscallInterface, record: CallRecord, cmd: BPF, attr: near.Address, size: int
) -> near.FileDescriptor:
    """The raw call."""
    return near.FileDescriptor(await sysif.recorded_syscall(record, nr.bpf, cmd, attr, size))


@call("bpf", choice(BPF, "BPF_"), _ATTR, SIZE)
async def _bpf(sysif: SyscallInterface, cmd: int, attr: near.Address, size: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.bpf, cmd, attr, size)
