"""What all calls with a method have in common, tried with each of them.

The methods are found by looking at `FileDescriptor`, `Task` and `Process`, and their arguments are made from
the types in their signatures. So a call that is added is tried without a line here, unless it takes a
structure that no other call takes.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import mmap
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, SupportsInt

import pytest

import rsyscall.handle.task
from rsyscall.asm.hwprobe import RiscvHwprobe
from rsyscall.asm.ldt import UserDesc
from rsyscall.far import AddressSpaceMismatchError, FDTableMismatchError
from rsyscall.fcntl import FileHandle
from rsyscall.handle.arguments import CALLS, By, Kind, Memory
from rsyscall.handle.fd import InvalidHandleError
from rsyscall.handle.pointer import MemoryGateway, Pointer, UseAfterFreeError, WrittenPointer
from rsyscall.handle.process import Process
from rsyscall.handle.task import FileDescriptor, Task
from rsyscall.linux.aio_abi import Iocb, IocbList
from rsyscall.linux.filter import SockFprog
from rsyscall.linux.futex import FutexWaitv, RobustListHead
from rsyscall.linux.io_uring import IoUringParams
from rsyscall.linux.kexec import KexecSegment
from rsyscall.linux.landlock import LANDLOCK_ACCESS_NET, NetPortAttr
from rsyscall.linux.mempolicy import NodeMask
from rsyscall.linux.perf_event import PerfEventAttr
from rsyscall.mqueue import MqAttr
from rsyscall.near import SYS, LocalSyscall
from rsyscall.near import types as near
from rsyscall.near._tables import ARCHITECTURES
from rsyscall.near.abi import ABIS, UnsupportedSyscallError, native_abi
from rsyscall.near.calls import BOOK, LATER
from rsyscall.near.record import CallRecord
from rsyscall.poll import POLL, Pollfd, PollfdList
from rsyscall.sched import CpuSet, SchedAttr, SchedParam
from rsyscall.signal import HowSIG, Sigevent, Sigset, StackT
from rsyscall.struct import BytesSerializer, HasSerializer, Int32, Int64, StructList
from rsyscall.sys.epoll import EPOLL, EpollEvent
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.msg import Msgbuf
from rsyscall.sys.prctl import PR
from rsyscall.sys.ptrace import (
    PtracePeeksiginfoArgs,
    PtraceSudConfig,
    PtraceSyscallInfo,
    SeccompMetadata,
)
from rsyscall.sys.select import FdSet, SigmaskArg
from rsyscall.sys.socket import RecvMmsghdrList, RecvMsghdr, SendMmsghdrList, SendMsghdr, Sockbuf
from rsyscall.sys.uio import Iovec, IovecList
from rsyscall.sys.un import SockaddrUn
from rsyscall.sys.xattr import XattrArgs
from rsyscall.time import Itimerspec, Timespec
from rsyscall.unistd.credentials import GroupList
from rsyscall.unistd.exec import ArgList

from .support import Arena, Local, make_task, run

PAGE = mmap.PAGESIZE
Method = Callable[..., Coroutine[Any, Any, Any]]


class Forbidding(Arena):
    """Memory that may be neither read nor written."""

    def __init__(self, mapping: Any) -> None:
        self.mapping = mapping
        self.size = mapping.near.length
        self.used = 0
        self.live = set()


class Nowhere(MemoryGateway):
    """Moves nothing."""

    async def read(self, src: Pointer[Any]) -> bytes:
        return bytes(src.size())

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        pass


class Counting(LocalSyscall):
    """Makes the calls, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def syscall(self, number: SYS, *args: SupportsInt) -> int:
        self.count += 1
        return await super().syscall(number, *args)

    async def recorded_syscall(self, record: CallRecord, number: SYS, *args: SupportsInt) -> int:
        self.count += 1
        return await super().recorded_syscall(record, number, *args)


def value_for(annotation: str, memory: Local) -> object:
    """What a `WrittenPointer` of that type says is in the memory."""
    inner = Pointer(
        memory.arena.mapping, memory.gateway, BytesSerializer(), memory.arena.allocate(64, 16), bytes
    )
    values: dict[str, Callable[[], object]] = {
        "ArgList": lambda: ArgList([]),
        "CpuSet": lambda: CpuSet({0}),
        "EpollEvent": lambda: EpollEvent(0, EPOLL.IN),
        "FdSet": lambda: FdSet([0]),
        "FileHandle": FileHandle.room,
        "GroupList": lambda: GroupList([0]),
        "Int32": lambda: Int32(0),
        "Int64": lambda: Int64(0),
        "IoUringParams": IoUringParams,
        "Iocb": Iocb,
        "IocbList": lambda: IocbList([inner.wrote(Iocb())]),
        "IovecList": lambda: IovecList([inner]),
        "Itimerspec": lambda: Itimerspec(Timespec(0, 0), Timespec(1, 0)),
        "MqAttr": MqAttr,
        "Msgbuf": lambda: Msgbuf(1, b""),
        "NetPortAttr": lambda: NetPortAttr(LANDLOCK_ACCESS_NET.BIND_TCP, 1),
        "NodeMask": lambda: NodeMask([0]),
        "PerfEventAttr": PerfEventAttr,
        "PollfdList": lambda: PollfdList([Pollfd(0, POLL.IN)]),
        "PtracePeeksiginfoArgs": PtracePeeksiginfoArgs,
        "PtraceSudConfig": PtraceSudConfig,
        "PtraceSyscallInfo": PtraceSyscallInfo,
        "RecvMmsghdrList": lambda: RecvMmsghdrList([RecvMsghdr(None, vectors(), None)]),
        "RecvMsghdr": lambda: RecvMsghdr(None, vectors(), None),
        "RobustListHead": lambda: RobustListHead(None),
        "SchedAttr": SchedAttr,
        "SchedParam": SchedParam,
        "SeccompMetadata": SeccompMetadata,
        "SendMmsghdrList": lambda: SendMmsghdrList([SendMsghdr(None, vectors(), None)]),
        "SendMsghdr": lambda: SendMsghdr(None, vectors(), None),
        "Sigevent": Sigevent,
        "SigmaskArg": lambda: SigmaskArg(inner.wrote(Sigset())),
        "Sigset": lambda: Sigset({}),
        "SockFprog": lambda: SockFprog(inner.wrote(SockFprog.program([]))),
        "Sockaddr": lambda: SockaddrUn(b"\0no such name"),
        "Sockbuf": lambda: Sockbuf(inner),
        "StackT": StackT,
        "StructList": lambda: StructList(Iovec, [Iovec(0, PAGE)]),
        "Timespec": lambda: Timespec(0, 0),
        "UserDesc": lambda: UserDesc(0),
        "XattrArgs": lambda: XattrArgs(inner),
    }

    def vectors() -> WrittenPointer[IovecList]:
        return make("WrittenPointer[IovecList]", memory)

    if "StructList[Int" in annotation:
        return StructList(Int64, [Int64(0)])
    if "RiscvHwprobe" in annotation:
        return StructList(RiscvHwprobe, [RiscvHwprobe(0)])
    if "KexecSegment" in annotation:
        return StructList(KexecSegment, [KexecSegment(inner, 64, 0, PAGE)])
    if "FutexWaitv" in annotation:
        return StructList(FutexWaitv, [FutexWaitv(0, inner)] * 2)
    found = re.search(r"WrittenPointer\[(\w+)", annotation)
    return values.get(found[1] if found else "", lambda: "/no/such/file")()


def make(annotation: str, memory: Local) -> Any:
    """A pointer as an argument of that type, into that memory."""
    pointer: Pointer[Any] = Pointer(
        memory.arena.mapping, memory.gateway, BytesSerializer(), memory.arena.allocate(PAGE, 16), bytes
    )
    if "Written" in annotation or "Path" in annotation:
        value = value_for(annotation, memory)
        if isinstance(value, HasSerializer):
            pointer.serializer = value.get_self_serializer(memory.task)
        return pointer.wrote(value)
    return pointer


def is_pointer(annotation: str) -> bool:
    return bool(re.search(r"Pointer|_Path\b", annotation))


def is_descriptor(annotation: str) -> bool:
    return bool(re.search(r"T_fd\b|FileDescriptor\b", annotation))


def is_tried(name: str, method: Method) -> bool:
    """Whether it is the method of a call."""
    # A clone would return twice, on a stack that does not exist. A handle may be invalidated twice.
    return (
        not name.startswith("_")
        and "manpage:" in (method.__doc__ or "")
        # Arguments that do not fit together are refused; test_confinement.py tries these two.
        and name not in {"clone", "invalidate", "seccomp", "seccomp_notif_addfd"}
        # The memory does not matter, and what is done is done to the machine.
        and name != "reboot"
    )


METHODS = {
    f"{cls.__name__}.{name}": (cls, method)
    for cls in (FileDescriptor, Task, Process)
    for name, method in inspect.getmembers(cls, inspect.iscoroutinefunction)
    if is_tried(name, method)
}


def parameters(method: Method) -> dict[str, str]:
    return {p.name: str(p.annotation) for p in list(inspect.signature(method).parameters.values())[1:]}


def places(wanted: Callable[[str], bool]) -> list[tuple[str, str]]:
    """The methods with a parameter of that type, and the parameter."""
    return [
        (name, parameter)
        for name, (_, method) in METHODS.items()
        for parameter, annotation in parameters(method).items()
        if wanted(annotation)
        # Numbers for most options.
        and not (name == "Task.prctl" and parameter > "arg2")
    ]


def is_lacking(name: str) -> bool:
    """Whether the call of that method is one that the running architecture lacks."""
    call = name.partition(".")[2]
    return not native_abi().supports(call) and any(abi.supports(call) for abi in ABIS.values())


HERE = {name for name in METHODS if not is_lacking(name)}
"""The methods that can do something on this machine."""


class Caller:
    """Calls a method with arguments that are right as to their types.

    Attributes:
        local: what the method is called in.
        other: where the descriptors are from that are arguments.
    """

    def __init__(self, local: Local) -> None:
        self.local = local
        self.sysif = local.task.sysif = Counting()
        self.descriptor = self.open()
        self.arguments: dict[str, Any] = {}

    def open(self, task: Task | None = None) -> FileDescriptor:
        number = os.memfd_create("a file", os.MFD_CLOEXEC)
        os.write(number, b"something")
        os.lseek(number, 0, os.SEEK_SET)
        return (task or self.local.task).make_fd_handle(near.FileDescriptor(number))

    def prepare(self, name: str, memory: Local) -> None:
        _, method = METHODS[name]
        for parameter, annotation in parameters(method).items():
            self.arguments[parameter] = self.argument(parameter, annotation, memory)

    def argument(self, parameter: str, annotation: str, memory: Local) -> Any:
        if annotation.startswith("Literal[PR."):
            return PR[annotation.removeprefix("Literal[PR.").rstrip("]")]
        if annotation == "PR":
            return PR.GET_TID_ADDRESS
        if annotation == "LDT | int":
            return 2  # the table may be empty, and the default is not
        if annotation == "BPF | int":
            return 1  # the first command makes a descriptor, which is another method
        if annotation == "MemoryMapping":
            return memory.arena.mapping
        if annotation == "Command | None":
            return None
        if annotation.startswith("tuple[HowSIG"):
            return HowSIG.BLOCK, make(annotation, memory)
        if is_pointer(annotation) and parameter not in {"arg3", "arg4", "arg5"}:
            return make(annotation, memory)
        if is_descriptor(annotation):
            return self.open()
        return PAGE if parameter in {"length", "len", "count", "page_size"} else 0

    def pointer(self, parameter: str) -> Pointer[Any]:
        argument = self.arguments[parameter]
        pointer: Pointer[Any] = argument[1] if isinstance(argument, tuple) else argument
        return pointer

    def replace(self, parameter: str, pointer: Pointer[Any]) -> None:
        argument = self.arguments[parameter]
        self.arguments[parameter] = (argument[0], pointer) if isinstance(argument, tuple) else pointer

    async def call(self, name: str) -> None:
        cls, method = METHODS[name]
        task = self.local.task
        await method({Task: task, Process: task.process}.get(cls, self.descriptor), **self.arguments)


@pytest.fixture
def caller(local: Local) -> Iterator[Caller]:
    caller = Caller(local)
    yield caller
    caller.arguments.clear()
    del caller.descriptor


@pytest.mark.parametrize(("name", "parameter"), places(is_pointer))
async def test_memory_that_was_freed_is_refused(caller: Caller, name: str, parameter: str) -> None:
    caller.prepare(name, caller.local)
    caller.pointer(parameter).free()
    with pytest.raises(UseAfterFreeError):
        await caller.call(name)
    assert caller.sysif.count == 0


@pytest.mark.parametrize(("name", "parameter"), places(is_pointer))
async def test_memory_of_another_address_space_is_refused(caller: Caller, name: str, parameter: str) -> None:
    caller.prepare(name, caller.local)
    elsewhere = Local.make()
    caller.replace(parameter, make(parameters(METHODS[name][1])[parameter], elsewhere))
    with pytest.raises(AddressSpaceMismatchError):
        await caller.call(name)
    assert caller.sysif.count == 0


@pytest.mark.parametrize(("name", "parameter"), places(is_descriptor))
async def test_a_descriptor_of_another_table_is_refused(caller: Caller, name: str, parameter: str) -> None:
    caller.prepare(name, caller.local)
    task = make_task(caller.local.task, share_fd_table=False)
    caller.arguments[parameter] = descriptor = caller.open(task)
    with pytest.raises(FDTableMismatchError):
        await caller.call(name)
    await descriptor.close()
    assert caller.sysif.count <= (name == "Task.setns_user")


@pytest.mark.parametrize("name", [name for name, (cls, _) in METHODS.items() if cls is FileDescriptor])
async def test_a_closed_descriptor_is_refused(caller: Caller, name: str) -> None:
    caller.prepare(name, caller.local)
    await caller.descriptor.close()
    caller.sysif.count = 0
    with pytest.raises(InvalidHandleError):
        await caller.call(name)
    assert caller.sysif.count == 0


NOT_LOOKED_AT = {
    "Task.klogctl",  # not by the first operation
    "Task.set_robust_list",  # only when the process exits
    "FileDescriptor.flistxattr",  # the file may have no attributes
}


@pytest.fixture
def forbidden(local: Local) -> Iterator[Local]:
    """Memory in which every access is EFAULT."""
    mapping = run(local.task.mmap(64 * PAGE, PROT.NONE, MAP.PRIVATE))
    yield Local(local.task, Forbidding(mapping), Nowhere())
    run(mapping.munmap())


@pytest.mark.parametrize("name", sorted({name for name, _ in places(is_pointer)} & HERE - NOT_LOOKED_AT))
async def test_an_error_for_memory_says_what_it_is_about(caller: Caller, forbidden: Local, name: str) -> None:
    caller.prepare(name, forbidden)
    if name == "Task.getgroups" and not os.getgroups():
        # There is nothing to write to the memory.
        await caller.call(name)
        return
    with pytest.raises(OSError) as caught:
        await caller.call(name)
    assert caught.value.filename is not None


@pytest.mark.parametrize("name", sorted(METHODS.keys() - HERE))
async def test_a_call_that_the_architecture_lacks_is_refused(caller: Caller, name: str) -> None:
    caller.prepare(name, caller.local)
    with pytest.raises(UnsupportedSyscallError, match=name.partition(".")[2]):
        await caller.call(name)
    assert caller.sysif.count == 0


NOTHING_TO_DO = {
    "FileDescriptor.mount_setattr",  # the memory asks for no change
}


@pytest.mark.parametrize(
    "name",
    sorted({name for name, (cls, _) in METHODS.items() if cls is FileDescriptor} - NOTHING_TO_DO),
)
async def test_an_error_for_a_descriptor_says_what_it_is_about(caller: Caller, name: str) -> None:
    caller.prepare(name, caller.local)
    # Far above those that are open, so that nothing else gets this number.
    number = os.dup2(int(caller.descriptor.near), 700)
    caller.descriptor = caller.local.task.make_fd_handle(near.FileDescriptor(number))
    os.close(number)
    try:
        with pytest.raises(OSError) as caught:
            await caller.call(name)
        assert caught.value.filename is not None
    finally:
        with contextlib.suppress(OSError):
            await caller.descriptor.invalidate()


# ------------------------------------------------------------------------------------ descriptions

SOURCES = Path(rsyscall.handle.task.__file__).parent.parent
LAYER = [
    "_fcntl_copy",
    "_fcntl_handle_calls",
    "mqueue",
    "_sched_policy",
    "poll",
    "_signal_process",
    "_sched_calls",
    "_signal_calls",
    "_signal_info",
    "_time_calls",
    "asm",
    "fcntl",
    "handle",
    "linux",
    "net",
    "sched",
    "signal",
    "sys",
    "time",
    "unistd",
]


def number_named(argument: ast.expr) -> str | None:
    """The call whose number that is: `nr.openat`, or `abi.call("iopl")` for one of some architectures."""
    match argument:
        case ast.Attribute(value=ast.Name(id="nr"), attr=name):
            return name
        case ast.Call(
            func=ast.Attribute(value=ast.Attribute(attr="abi"), attr="call"),
            args=[ast.Constant(value=str(name))],
        ):
            return name
    return None


class Described(ast.NodeVisitor):
    """Which calls a module makes, with how many arguments, and which its descriptions are beside.

    Attributes:
        made: calls, and the most arguments that they are made with.
        loose: calls that a function with descriptions makes and has no description of.
    """

    def __init__(self) -> None:
        self.made: dict[str, int] = {}
        self.loose: set[str] = set()

    def visit_Call(self, node: ast.Call) -> None:
        for index, argument in enumerate(node.args):
            name = number_named(argument)
            if name is not None:
                count = len(node.args) - index - 1
                self.made[name] = max(self.made.get(name, 0), count)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        described = {
            decorator.args[0].value
            for decorator in node.decorator_list
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "call"
            if isinstance(decorator.args[0], ast.Constant)
        }
        if described:
            found = Described()
            for statement in node.body:
                found.visit(statement)
            self.loose |= found.made.keys() - described
        self.generic_visit(node)


@pytest.fixture(scope="module")
def described() -> Described:
    found = Described()
    for name in LAYER:
        path = SOURCES / name
        for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            found.visit(ast.parse(file.read_text()))
    assert len(found.made) > 100
    return found


def test_descriptions_are_beside_their_calls(described: Described) -> None:
    assert described.loose == set()


def test_every_call_that_is_made_is_described(described: Described) -> None:
    assert described.made.keys() - CALLS.keys() == set()


def test_descriptions_have_as_many_arguments_as_the_calls(described: Described) -> None:
    for name, count in described.made.items():
        assert len(CALLS[name]) >= count, name


def test_every_number_of_every_architecture_has_a_method_or_a_reason(described: Described) -> None:
    numbers: set[str] = set()
    for name in ARCHITECTURES:
        numbers |= importlib.import_module(f"rsyscall.near._tables.{name}").SYS.__members__.keys()
    skipped = {name for name, row in BOOK.items() if row.skipped}
    assert numbers - described.made.keys() - skipped - LATER == set()
    assert not (LATER | skipped) & described.made.keys()
    assert not LATER & skipped


def test_every_call_that_is_made_is_in_the_book(described: Described) -> None:
    for name in described.made:
        assert name in BOOK, name
        assert not BOOK[name].skipped, name


def test_descriptions_are_of_calls() -> None:
    for name, kinds in CALLS.items():
        assert any(abi.supports(name) for abi in ABIS.values()), name
        assert len(kinds) <= 6, name


def kinds_in(kind: Kind) -> list[Kind]:
    return [kind.otherwise, *kind.cases.values()] if isinstance(kind, By) else [kind]


def test_descriptions_refer_to_other_arguments_of_their_call() -> None:
    for name, kinds in CALLS.items():
        for kind in kinds:
            for case in kinds_in(kind):
                if isinstance(case, Memory) and case.length_in is not None:
                    assert case.length_in < len(kinds), name
            if isinstance(kind, By):
                assert kind.index < kinds.index(kind), name
