"""Native functions of one address space, and starting a new process on one of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import field
from typing import TYPE_CHECKING, Any, Union

from rsyscall.far import File
from rsyscall.handle.allocation import AllocationInterface
from rsyscall.handle.fd import BaseFileDescriptor
from rsyscall.handle.pointer import MemoryGateway, Pointer, WrittenPointer
from rsyscall.hub import ProgramHub
from rsyscall.native import Symbols
from rsyscall.near import types as near
from rsyscall.near.light_dataclass import light_dataclass
from rsyscall.sched import Borrowable, Stack
from rsyscall.struct import Serializer
from rsyscall.sys.mman import MemoryMapping

if TYPE_CHECKING:
    from rsyscall.handle import Task

__all__ = [
    "LazyLoader",
    "NativeFunction",
    "NativeFunctionSerializer",
    "NativeLoader",
    "NullGateway",
    "StaticAllocation",
    "Trampoline",
    "TrampolineSerializer",
    "function_at",
]

TrampolineArgument = Union[BaseFileDescriptor, "WrittenPointer[Any]", "Pointer[Any]", int]


class NativeFunction:
    """The type of a native function behind a pointer; it is never read or written."""


@light_dataclass
class Trampoline(Borrowable):
    """A function to call in a new process, and up to six arguments for its registers."""

    function: Pointer[NativeFunction]
    args: list[TrampolineArgument]

    def __post_init__(self) -> None:
        if len(self.args) > 6:
            raise ValueError(
                f"a native function takes at most 6 arguments in registers, got {len(self.args)}"
            )

    def borrow_with(self, stack: ExitStack, task: Task) -> None:  # type: ignore[override] # narrower task
        """Borrow the function and all arguments for `task`."""
        stack.enter_context(self.function.borrow(task))
        for arg in self.args:
            if isinstance(arg, (Pointer, BaseFileDescriptor)):
                stack.enter_context(arg.borrow(task))

    def words(self) -> list[int]:
        """The arguments as the registers will hold them."""
        return [int(arg.near) if isinstance(arg, Pointer) else int(arg) for arg in self.args]


class TrampolineSerializer(Serializer[Trampoline]):
    """The layout that `rsyscall_trampoline` expects on its stack: six registers, then the function."""

    _layout = struct.Struct("7Q")

    def to_bytes(self, val: Trampoline) -> bytes:
        """The 56 bytes for the stack."""
        words = [word & (2**64 - 1) for word in val.words()]
        words += [0] * (6 - len(words))
        return self._layout.pack(*words, int(val.function.near))


class StaticAllocation(AllocationInterface):
    """Memory that was not allocated and cannot be freed: that of a loaded function."""

    def offset(self) -> int:
        """Return 0."""
        return 0

    def size(self) -> int:
        """Raise: the length of a function is not known."""
        raise TypeError("the size of a native function is not known")

    def split(self, size: int) -> tuple[AllocationInterface, AllocationInterface]:
        """Raise: a function is not divided."""
        raise TypeError("a native function cannot be split")

    def merge(self, other: AllocationInterface) -> AllocationInterface:
        """Raise: a function is not joined with anything."""
        raise TypeError("a native function cannot be merged")

    def free(self) -> None:
        """Do nothing."""


class NullGateway(MemoryGateway):
    """For pointers whose memory is not ours to read or write."""

    async def read(self, src: Pointer[Any]) -> bytes:
        """Raise."""
        raise TypeError(f"the code of a native function is not data to read: {src}")

    async def write(self, dest: Pointer[Any], data: bytes) -> None:
        """Raise."""
        raise TypeError(f"the code of a native function is not data to write: {dest}")


class NativeFunctionSerializer(Serializer[NativeFunction]):
    """Functions are neither written nor read."""


# None of these knows which function it is of.
_FILE = File()
_GATEWAY = NullGateway()
_SERIALIZER = NativeFunctionSerializer()
_ALLOCATION = StaticAllocation()


def function_at(task: Task, address: object) -> Pointer[NativeFunction]:
    """A native function at an address in the memory of `task`."""
    # Code has no length that we know and no alignment: an invented mapping of no bytes.
    mapping = MemoryMapping(task, near.MemoryMapping(int(address), 0, 1), _FILE)  # type: ignore[call-overload] # int()-able
    return Pointer(mapping, _GATEWAY, _SERIALIZER, _ALLOCATION, NativeFunction)


@light_dataclass
class NativeLoader:
    """The addresses of native functions in one address space; shared by all its processes.

    `hub` is there for our own address space: its processes can be driven through shared memory.
    `shared_ring_server` is the address of the function that serves a ring in a memory file.
    """

    server_func: Pointer[NativeFunction]
    persistent_server_func: Pointer[NativeFunction]
    trampoline_func: Pointer[NativeFunction]
    futex_helper_func: Pointer[NativeFunction]
    shared_ring_server: int | None = None
    hub: ProgramHub | None = field(default=None, repr=False)

    @staticmethod
    def make_from_symbols(task: Task, symbols: Any) -> NativeLoader:
        """Wrap the addresses of native functions.

        Args:
            task: any task of the address space.
            symbols: an object with the attributes of `rsyscall.native.Symbols`.
        """
        return NativeLoader(
            server_func=function_at(task, symbols.rsyscall_server),
            persistent_server_func=function_at(task, symbols.rsyscall_persistent_server),
            trampoline_func=function_at(task, symbols.rsyscall_trampoline),
            futex_helper_func=function_at(task, symbols.rsyscall_futex_helper),
            shared_ring_server=symbols.rsyscall_shared_ring_server,
        )

    @staticmethod
    def make_from_addresses(task: Task, addresses: Sequence[int]) -> NativeLoader:
        """As `make_from_symbols`, with addresses as a hello has them. Pointers are made when first used."""
        return LazyLoader(task, Symbols._make(addresses[: len(Symbols._fields)]))

    def for_copy(self, task: Task) -> NativeLoader:
        """The same functions at the same addresses, in the memory of `task`, which is a copy of ours."""
        return NativeLoader(
            server_func=function_at(task, self.server_func.near.address),
            persistent_server_func=function_at(task, self.persistent_server_func.near.address),
            trampoline_func=function_at(task, self.trampoline_func.near.address),
            futex_helper_func=function_at(task, self.futex_helper_func.near.address),
        )

    def make_trampoline_stack(self, trampoline: Trampoline) -> Stack[Trampoline]:
        """The start of the stack of a process that is to call the trampoline's function."""
        return Stack(self.trampoline_func, trampoline, TrampolineSerializer())


class LazyLoader(NativeLoader):
    """The same; each pointer is made when it is first asked for.

    Args:
        task: any task of the address space.
        symbols: the addresses.
    """

    def __init__(self, task: Task, symbols: Symbols) -> None:
        self._task = task
        self._symbols = symbols
        self.shared_ring_server: int = symbols.rsyscall_shared_ring_server
        self.hub: ProgramHub | None = None

    def __getattr__(self, name: str) -> Pointer[NativeFunction]:
        if name not in _SYMBOLS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        pointer = function_at(self._task, getattr(self._symbols, _SYMBOLS[name]))
        setattr(self, name, pointer)
        return pointer


_SYMBOLS = {
    "server_func": "rsyscall_server",
    "persistent_server_func": "rsyscall_persistent_server",
    "trampoline_func": "rsyscall_trampoline",
    "futex_helper_func": "rsyscall_futex_helper",
}
