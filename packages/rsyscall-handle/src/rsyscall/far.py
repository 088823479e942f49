"""Namespaces, which give meaning to the kernel's numbers.

File descriptor 3, address 0x1000 and process 42 mean something only in some file descriptor table, some
address space, some process id namespace. The objects here stand for those namespaces. They are compared by
identity and carry no kernel resource; when two `Task`s hold the same `FDTable` object, their processes really
share that table.

An operation that would use something of one namespace in another raises one of the `NamespaceMismatchError`s
here before any system call is made. A process that has exited or executed a program is a different matter:
its descriptors and pointers were right, and the caller may not know yet. So its calls raise
`SyscallSendError`, as for a process that was killed.
"""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, ExitStack
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from rsyscall.near import SyscallSendError
from rsyscall.near import types as near
from rsyscall.near.address_space import refusal, refused_effect
from rsyscall.near.light_dataclass import light_dataclass

if TYPE_CHECKING:
    from rsyscall.near import SYS, SyscallInterface

__all__ = [
    "AddressSpace",
    "AddressSpaceMismatchError",
    "Children",
    "FDTable",
    "FDTableMismatchError",
    "File",
    "MountNamespace",
    "NamespaceMismatchError",
    "PidNamespace",
    "SharedAddressSpaceError",
    "Task",
]


class SaidError(Exception):
    """Prints its message, without the objects that its arguments have beside that."""

    def __str__(self) -> str:
        if self.args and isinstance(self.args[0], str):
            return self.args[0]
        return ", not ".join(map(str, self.args))


class NamespaceMismatchError(SaidError):
    """Something was used in a namespace it does not belong to; the arguments are (actual, expected)."""


class FDTableMismatchError(NamespaceMismatchError):
    """A file descriptor was used through a task with another file descriptor table."""


class AddressSpaceMismatchError(NamespaceMismatchError):
    """A pointer was used through a task with another address space."""

    def __str__(self) -> str:
        if len(self.args) != 2:
            return super().__str__()
        return (
            f"the memory is in {self.args[1]}, but the call is made in {self.args[0]}: make it with ptr or "
            "malloc of the process that makes the call (of a descriptor: the process that it belongs to)"
        )


class SharedAddressSpaceError(Exception):
    """A call would have changed the memory that processes share, for good. It was not made.

    `docs/address-space.md` says which calls do that.
    """


class _Borrowable(Protocol):
    """The part of a pointer that a task uses."""

    def borrow(self, task: Task) -> AbstractContextManager[near.Address]: ...


@light_dataclass(eq=False)
class File:
    """Identity of an open file description; tells whether two memory mappings are of the same file."""


@light_dataclass(eq=False)
class FDTable:
    """Identity of a file descriptor table.

    Args:
        creator_pid: id of the process for which the table was made; only for people who read logs.
    """

    creator_pid: int


@light_dataclass(eq=False)
class AddressSpace:
    """Identity of an address space.

    Args:
        creator_pid: id of the process for which the address space was made; only for people who read logs.

    Attributes:
        dumpable: the last argument of `PR.SET_DUMPABLE` by way of `Task.prctl`; None if there was none.
    """

    creator_pid: int
    dumpable: bool | None = field(default=None, init=False, repr=False)

    def assert_is(self, other: AddressSpace) -> None:
        """Raise AddressSpaceMismatchError unless `other` is this very address space."""
        if self is not other:
            raise AddressSpaceMismatchError(self, other)


@light_dataclass(eq=False)
class PidNamespace:
    """Identity of a process id namespace.

    Args:
        creator_pid: id of the process that the namespace was made for; for people reading logs only.
    """

    creator_pid: int


@light_dataclass(eq=False)
class MountNamespace:
    """Identity of a mount namespace: whether the same path is the same file for two tasks.

    Args:
        creator_pid: id of the process that the namespace was made for; for people reading logs only.
    """

    creator_pid: int


class _Child(Protocol):
    """A `ChildProcess`."""

    @property
    def alive(self) -> bool: ...


class Children:
    """Those children of a process that have handles, for code that reaps all others.

    Attributes:
        handles: by process id; a handle that is dropped is not in it any more.
    """

    def __init__(self) -> None:
        self.handles: weakref.WeakValueDictionary[int, _Child] = weakref.WeakValueDictionary()
        self._beginnings: weakref.WeakSet[_Beginning] = weakref.WeakSet()

    def begin(self) -> object:
        """Record that a child is about to be made. Keep the result until it has a handle, or could not be
        made.
        """
        beginning = _Beginning()
        self._beginnings.add(beginning)
        return beginning

    @property
    def settled(self) -> bool:
        """Whether no call is under way that may have made a child."""
        return not self._beginnings

    def handle(self, pid: int) -> _Child | None:
        """The handle of the child that has this id now, if it has one."""
        handle = self.handles.get(pid)
        return handle if handle is not None and handle.alive else None


class _Beginning:
    __slots__ = ("__weakref__",)


class Task:
    """A process, the way to make system calls in it, and the namespaces it is in.

    This is the base of `rsyscall.handle.Task`. One process id namespace is tracked, although a process has
    two (its own and that of its future children); they differ only after `unshare(CLONE.NEWPID)`.

    Args:
        sysif: makes system calls in the process. May be replaced at any time, so nothing keeps a copy of it.
        near_process: id of the process, in `pidns`.
        fd_table: the file descriptor table of the process.
        address_space: the address space of the process.
        pidns: the process id namespace.
        mountns: the mount namespace; a fresh one if not given.

    Attributes:
        departed: whether the process has exited or executed a program, as far as we know.
        borrowed: for a task that only notes calls down, to be made later: the objects that the calls use,
            which this list keeps alive. None if calls are made at once.
        children: which children have handles, if the library reaps all others; None otherwise.
    """

    children: Children | None = None
    departed: bool = False
    borrowed: list[object] | None = None
    sysif: SyscallInterface
    near_process: near.Process
    fd_table: FDTable
    address_space: AddressSpace
    pidns: PidNamespace
    mountns: MountNamespace

    def __init__(
        self,
        sysif: SyscallInterface,
        near_process: near.Process,
        fd_table: FDTable,
        address_space: AddressSpace,
        pidns: PidNamespace,
        mountns: MountNamespace | None = None,
    ) -> None:
        self.sysif = sysif
        self.near_process = near_process
        self.fd_table = fd_table
        self.address_space = address_space
        self.pidns = pidns
        self.mountns = MountNamespace(near_process.id) if mountns is None else mountns
        self.__post_init__()

    def __post_init__(self) -> None:
        """Initialise what a subclass adds; every override calls super()."""

    @property
    def near_pid(self) -> near.Process:
        """Another name of `near_process`."""
        return self.near_process

    def check_not_departed(self) -> None:
        """Raise SyscallSendError if the process has exited or executed a program."""
        if self.departed:
            raise SyscallSendError(f"{self} cannot be reached: it has exited, or executed a program")

    def check_address_space(self, expected: AddressSpace) -> None:
        """Raise unless memory of this address space can be used in the process."""
        if self.address_space is not expected:
            self.check_not_departed()
            raise AddressSpaceMismatchError(self.address_space, expected)

    def check_lasting_effect(self, number: SYS, *args: int) -> None:
        """Refuse a call that would change the memory that the process shares with another, for good.

        Args:
            number: of the call.
            args: its arguments; the first two are enough.

        Raises:
            SharedAddressSpaceError: it would.
        """
        if not self.sysif.borrows_memory:
            return
        effect = refused_effect(number, *args)
        if effect is not None:
            pid = self.near_process.id
            raise SharedAddressSpaceError(
                refusal(effect, f"process {pid}" if pid else "a process that is being prepared")
            )

    def _borrow_optional(self, stack: ExitStack, ptr: _Borrowable | None) -> near.Address | None:
        """Borrow `ptr` for this task until `stack` is left and return its address; None stays None."""
        if ptr is None:
            return None
        return stack.enter_context(ptr.borrow(self))

    def __repr__(self) -> str:
        # Tracebacks show tasks that are half constructed.
        return f"{type(self).__name__}({getattr(self, 'near_process', None)})"
