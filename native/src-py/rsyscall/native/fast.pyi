"""Types of the extension module that src/fastmodule.c defines."""

import weakref
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, SupportsInt, TypeVar

from typing_extensions import Buffer, Self

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_pointer = TypeVar("T_pointer", bound=DroppedPointer)
T_allocation = TypeVar("T_allocation", bound=Allocation)

PENDING: int
"""Result code: sent, the answer comes through the event loop."""
UNSENT: int
"""Result code: not sent, the process has left our memory (by exec or exit)."""
HANGUP: int
"""Result code: sent, and the process left without an answer."""
FULL: int
"""Result code: not sent, there is no free slot."""
RING_SLOTS: int
SHARED_SIZE: int
NESTED_SIZE: int
BOUNCE_OFFSET: int
BOUNCE_SIZE: int
ARENA_OFFSET: int
ARENA_SIZE: int
LINKED: int
"""Bit of a number: if the call fails, the next one is not made."""

class WrongThreadError(RuntimeError): ...
class ForkedProcessError(RuntimeError): ...

def destructor(function: Callable[[T], None], /) -> Callable[[T], None]:
    """A `__del__` that no exception cuts short, and that swallows none; see src/destructor.c.

    Args:
        function: called again if an exception of a signal handler ends it, after any of its instructions. So
            doing again what is done already must do nothing.
    """

class _Near(Protocol[T_co]):
    @property
    def near(self) -> T_co: ...

class Borrow(Generic[T]):
    def __enter__(self) -> T: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def borrow_pointer(pointer: _Near[T], task: object, /) -> Borrow[T]:
    """Context manager that pins the memory of a `Pointer` for a call in `task`, and gives its address."""

class Naming:
    def __enter__(self) -> None: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def naming(filename: object, filename2: object = None, /) -> Naming:
    """Context manager: an OSError that leaves it has this `filename`, and `filename2` if that is given."""

def syscall(
    number: SupportsInt,
    arg1: SupportsInt = 0,
    arg2: SupportsInt = 0,
    arg3: SupportsInt = 0,
    arg4: SupportsInt = 0,
    arg5: SupportsInt = 0,
    arg6: SupportsInt = 0,
    /,
) -> int: ...
def recorded_syscall(
    record: CallRecord | None,
    number: SupportsInt,
    arg1: SupportsInt = 0,
    arg2: SupportsInt = 0,
    arg3: SupportsInt = 0,
    arg4: SupportsInt = 0,
    arg5: SupportsInt = 0,
    arg6: SupportsInt = 0,
    /,
) -> int: ...
def read_memory(address: SupportsInt, length: int, /) -> bytes: ...
def write_memory(address: SupportsInt, data: Buffer, /) -> None: ...
def exec_strings(strings: list[Any], /) -> bytes: ...
def exec_image(address: int, front: bytes, strings: bytes, argc: int, envc: int, /) -> bytes: ...
def spin_for_exit(pidfd: int, budget_us: float, /) -> bool: ...
def block_for_exit(pidfd: int, budget_us: float, /) -> bool: ...
def forget_watched(epfd: int, number: int, watched: dict[int, Any], /) -> None:
    """Take a descriptor out of an epoll instance and out of a dictionary, in one step.

    manpage: epoll_ctl(2)
    """

def set_memory_errors(use_after_free_error: type[Exception], /) -> None: ...
def set_word_types(types: dict[type[Any], str], /) -> None: ...
def note(
    calls: list[Any],
    type: type[Any],
    number: SupportsInt,
    arg1: SupportsInt = 0,
    arg2: SupportsInt = 0,
    arg3: SupportsInt = 0,
    arg4: SupportsInt = 0,
    arg5: SupportsInt = 0,
    arg6: SupportsInt = 0,
    /,
) -> None: ...
def set_raw_syscall(address: int, /) -> None: ...

class CallRecord:
    """What is known about one call, and who owns what it has made; see src/record.c.

    Args:
        table: the result of the call is a descriptor in this table (of rsyscall.handle.fd).
        in_memory: not the result is, but those are that the call leaves in memory.
        length: the result is the address of this many bytes in our own memory.
    """

    def __init__(self, table: Any = None, in_memory: bool = False, length: int = 0, /) -> None: ...
    def begin(
        self,
        number: SupportsInt,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
        /,
    ) -> None:
        """This call is about to be made."""

    def unsent(self) -> None:
        """It was not made after all."""

    def answer(self, result: int, /) -> None:
        """The kernel has answered this; -4095 to -1 are errors."""

    def own(self, number: int, /) -> None:
        """Own a descriptor of the table that has no other owner."""

    def give_up(self, quietly: bool = False, /) -> None:
        """What is owned becomes garbage; quietly: without calling the garbage hook of the table."""

    def lost(self) -> None:
        """The process has left our memory before it answered: own what the call had made by then."""

    def part(self, index: int, /) -> CallRecord:
        """Make a record that owns, in place of this one, what has just come with a message of `recvmmsg`."""

    def release(self) -> None:
        """What was made has another owner now."""

    @property
    def sent(self) -> bool:
        """Whether the call was made, or is being made."""

    @property
    def refused(self) -> bool:
        """Whether the kernel has answered with an error."""

    @property
    def result(self) -> int | None:
        """The answer, once there is one."""

    @property
    def owned(self) -> tuple[int, ...]:
        """The descriptors that have no other owner."""

    @property
    def sees_memory(self) -> bool:
        """Whether the call leaves descriptors in our own memory: then each has had an owner."""

class DroppedPointer:
    """Base of pointers: their fields. A dropped one gives its memory back; see src/pointers.c."""

def successor(pointer: DroppedPointer, cls: type[T_pointer], value: object, /) -> T_pointer | None:
    """A written pointer of class `cls` in the place of `pointer`; None if `pointer` is invalid or pinned."""

class NothingToFree:
    """Base of allocations that stand for no memory."""

    def free(self) -> None:
        """Do nothing."""

class Allocation:
    """A range of bytes of an arena, owned by the holder of this object; see src/space.c."""

    arena: Any
    start: int
    end: int
    valid: bool
    limit: int
    def __init__(self, arena: Any, start: int, end: int, valid: bool = True) -> None: ...
    def offset(self) -> int: ...
    def size(self) -> int: ...
    def slack(self) -> int: ...
    def split(self, size: int) -> tuple[Self, Self]: ...
    def merge(self, other: Any) -> Self: ...
    def divide(self, parts: list[tuple[int, int]], /) -> list[Self]: ...
    def free(self) -> None: ...

class FreeSpace(Generic[T_allocation]):
    """The free bytes of any number of arenas; see src/space.c.

    Args:
        allocation_type: what is made.
        largest_kept: the size of the largest arena that is kept although it is empty.
    """

    def __init__(self, allocation_type: type[T_allocation], largest_kept: int, /) -> None: ...
    def add(self, arena: Any, size: int, record: CallRecord | None = None, /) -> None:
        """Take charge of an arena all of whose bytes are free, and which `record` owned so far."""

    def remove(self, arena: Any, /) -> None:
        """Forget an arena, which must be empty."""

    def retire(self, retired: list[Any], everything: bool = False, /) -> None:
        """Forget the surplus of empty arenas and append it to a list; the largest that may be kept stays."""

    def allocate(
        self, size: int, alignment: int, arena: Any = None, whatever: bool = True, /
    ) -> T_allocation | None:
        """Find room and own it; None if there is none, or a surplus of arenas and not `whatever`."""

    def has_surplus(self) -> bool:
        """Whether there are empty arenas besides the one that is kept for the next request."""

    def holes(self, arena: Any, /) -> list[tuple[int, int]]: ...
    @property
    def arenas(self) -> tuple[Any, ...]: ...
    @property
    def empty(self) -> tuple[Any, ...]: ...
    @property
    def live(self) -> int: ...
    @property
    def looked_at(self) -> int: ...

class Closer:
    """The garbage hook of a table; see src/closer.c.

    Args:
        task: closes garbage at once, if it is in the table and makes calls in the running OS thread; or None.
        local_type: of the interface of a task that does (`LocalSyscall`).
        later: called otherwise, soon and outside of any destructor.
    """

    def __init__(self, task: Any, local_type: type[Any], later: Callable[[], None], /) -> None: ...
    def __call__(self) -> None: ...

def track(table: Any, handle: Any, record: CallRecord | None, /) -> None: ...
def track_all(table: Any, handles: list[Any], /) -> None: ...
def inherit(task: Any, fd: Any, /) -> Any: ...
def leave(table: Any, references: list[Any], quietly: bool, /) -> None: ...
def untrack(handle: Any, record: CallRecord | None, /) -> bool: ...
def new_entry(table: Any, number: int, origins: tuple[Any, ...], /) -> Any: ...
def forget(entry: Any, /) -> None: ...
def became_garbage(table: Any, entry: Any, /) -> None: ...
def abandon(table: Any, number: int, /) -> None: ...
def take_garbage(table: Any, record: CallRecord | None, closer: Any, /) -> int | None: ...
def set_handle_types(
    entry_type: type[Any], ref_type: type[weakref.ref[Any]], next_serial: Callable[[], int], /
) -> None: ...

class Hub:
    def __init__(self, completion: int, client_spin_us: float, server_spin_us: float) -> None: ...
    def ring(self) -> Ring: ...
    def check_owner(self) -> None: ...
    def set_spin(self, client_spin_us: float, server_spin_us: float, /) -> None: ...
    def announced(self) -> list[Ring]: ...
    def delivered(self, ring: Ring, /) -> None: ...
    def watch_word(self, address: int, /) -> int: ...
    def unwatch_word(self, index: int, address: int, /) -> None: ...
    def configure_watcher(self, parent_pid: int, /) -> None: ...
    @property
    def address(self) -> int: ...
    @property
    def blocks(self) -> int: ...

class OwnedPidfd:
    """A pidfd in our own table, which is closed with this object; see src/pidfd.c.

    Attributes:
        number: the descriptor; -1 when it is closed, or has not been opened yet.
        reaps: whether it is of a child of ours that no code can wait for any more when this object is gone.
    """

    reaps: bool

    def __new__(cls, number: int = -1, /) -> Self: ...
    @property
    def number(self) -> int: ...
    @property
    def exited(self) -> bool:
        """Whether the process has exited; False when the descriptor is closed. manpage: ppoll(2)."""

    def take(self, record: CallRecord | None, number: int, /) -> None:
        """Own a descriptor that this record owns."""

    def close(self) -> None:
        """Close it; harmless when done twice. manpage: close(2)."""

class OwnedPipe:
    """A pipe to or from a command, closed with this object; see src/pipe.c.

    Args:
        we_read: which end is ours. Ours is non-blocking; both are closed by exec.

    Raises:
        OSError: EMFILE, ENFILE.

    Attributes:
        ours: the number of our end; -1 when it is closed.
        theirs: that of the end for the command.

    manpage: pipe(2)
    """

    def __new__(cls, we_read: bool, /) -> Self: ...
    @property
    def ours(self) -> int: ...
    @property
    def theirs(self) -> int: ...
    def read(self) -> bytes:
        """Read what is there, without waiting, up to a size; when there is no more to come, close our end.

        manpage: read(2)
        """

    def close_ours(self) -> None:
        """Close our end; harmless when done twice. manpage: close(2)."""

    def close_theirs(self) -> None:
        """Close the end for the command; harmless when done twice. manpage: close(2)."""

class Sleeper(Protocol):
    """Who waits for the answers to calls."""

    def answer(self, index: int, result: int, /) -> None:
        """Told of an answer; perhaps more than once."""

    def fail(self, error: BaseException, /) -> None: ...

class Ring:
    def call(
        self,
        number: SupportsInt,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
        /,
    ) -> int: ...
    def recorded_call(
        self,
        record: CallRecord,
        number: SupportsInt,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
        /,
    ) -> int: ...
    def put(
        self,
        number: SupportsInt,
        arg1: SupportsInt = 0,
        arg2: SupportsInt = 0,
        arg3: SupportsInt = 0,
        arg4: SupportsInt = 0,
        arg5: SupportsInt = 0,
        arg6: SupportsInt = 0,
        /,
    ) -> int: ...
    def call_many(
        self, calls: list[tuple[SupportsInt, ...]], linked: bool, /
    ) -> list[int] | tuple[list[int], int]: ...
    def next_result(self) -> int: ...
    def sleep(self, sleeper: Sleeper, count: int, index: int, /) -> None: ...
    def put_backlog(
        self, backlog: deque[tuple[Sleeper, int, tuple[int, ...], CallRecord | None]], /
    ) -> int: ...
    def deliver(self) -> int: ...
    def sleepers(self) -> list[Sleeper]: ...
    def last_sleeper(self) -> Sleeper | None: ...
    def forget(self) -> None: ...
    def results(self) -> list[int]: ...
    def wait(self, budget_us: float, /) -> bool: ...
    def block(self, budget_us: float, /) -> bool: ...
    def prepare_calls(self, calls: list[Any], /) -> None: ...
    def prepare_exit(self) -> None: ...
    def announce(self) -> None: ...
    def kick(self) -> None: ...
    def shutdown(self) -> None: ...
    def prepare(self, flags: int, exit_signal: int, trampoline: int, function: int, /, *args: int) -> int: ...
    def clone(self, flags: int, exit_signal: int, trampoline: int, function: int, /, *args: int) -> int: ...
    def started(self, pid: int, /) -> None: ...
    def set_pid(self, pid: int, /) -> None: ...
    def not_started(self) -> None: ...
    @property
    def taken(self) -> bool: ...
    def hold(self, is_child: bool, table: Any, /) -> None: ...
    def give_pidfd(self, owner: OwnedPidfd | CallRecord, /) -> None: ...
    def release(self) -> None: ...
    def end_process(self) -> None: ...
    def exited(self) -> None: ...
    def configure(
        self,
        watcher_fd: int,
        parent_pid: int,
        completion: int,
        flags: int,
        sigmask: int,
        cloner: Ring | None = None,
        /,
    ) -> None: ...
    def close_doorbell(self) -> None: ...
    def watch_activity(self, doorbell: int, /) -> None: ...
    def share(self, file: int, socket: int, /) -> None:
        """Use a ring in a memory file, for a process with memory of its own; see src/shared_file.c.

        Args:
            file: the memory file, of SHARED_SIZE bytes; may be closed afterwards.
            socket: our end; likewise.
        """

    def open(self, record: CallRecord, /) -> tuple[int, int, int, int, int, int]:
        """As `share` of a new file and a new socket, for a process that is cloned from our own table.

        Returns:
            Descriptors that `record` owns: the file, the other end of the socket, both ends of another, to
            which packets are sent, and an epoll instance twice.
        """

    def nest(self, relative: Ring, address: int, socket: int, /) -> bool:
        """Use memory in the file of another ring, for a process that shares the memory of the process there.

        Args:
            relative: the other ring.
            address: of NESTED_SIZE bytes, there; a multiple of 64.
            socket: our end; may be closed afterwards.

        Returns:
            False: that memory is not in the arena.
        """

    def nested(self, tid: int, pid: int, /) -> None:
        """The process has been made.

        Args:
            tid: its id in its own pid namespace.
            pid: in ours; 0: unknown.
        """

    def greeted(self, budget_us: float, pid: int, /) -> tuple[bytes, int] | None:
        """Spin for the greeting of the process: the hello, and the address of the file there."""

    def heard(self) -> bool:
        """Take what the process has sent; False if it has closed the socket, or sends what it should not."""

    def unshare(self) -> None:
        """Give back the file and the socket of a process that has left."""

    def read(self, address: int, length: int, /) -> bytes | None:
        """Copy out of the arena, by the address in the process; None: not all of it is there."""

    def write(self, address: int, data: bytes, /) -> bool:
        """Copy into the arena; False: not all of it is there, and nothing has been written."""

    @property
    def left(self) -> bool: ...
    @property
    def address(self) -> int: ...
    @property
    def origin_address(self) -> int: ...
    @property
    def ctid_address(self) -> int: ...
    @property
    def pidfd(self) -> int: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def submitted(self) -> int: ...
    @property
    def parks(self) -> int: ...
    @property
    def dumpable_before(self) -> int | None: ...
    in_user_namespace: bool
    @property
    def may_change_credentials(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    @property
    def socket(self) -> int: ...
    @property
    def deaf(self) -> bool: ...
    @property
    def mute(self) -> bool: ...
