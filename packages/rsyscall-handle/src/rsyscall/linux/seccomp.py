"""`<linux/seccomp.h>`: filters of system calls.

A filter is a program of classic BPF, see `rsyscall.linux.filter`, which looks at a `SeccompData` and returns
what happens with the call, a `SECCOMP_RET`. With a listener, another process decides: it receives a
`SeccompNotif` for each call for which the filter returns `SECCOMP_RET.USER_NOTIF`, and sends the response.

A task makes its calls in a thread of its own, which needs calls of its own to receive the next one: a filter
must allow those (`read`, `recvmsg`, `write`, `sendto`, `futex`, `ppoll`...), or the task is lost.
"""

from __future__ import annotations

import enum
import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rsyscall import far
from rsyscall.cstruct import CStruct, array, i32, i64, nested, u16, u32, u64
from rsyscall.handle.arguments import ADDRESS, Memory, by, call, choice, flags, out
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.linux.filter import BPF, SockFilter, SockFprog
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.sys.ioctl import _ioctl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near import SYS
    from rsyscall.near.abi import ABI
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.struct import StructList

__all__ = [
    "AUDIT_ARCH",
    "SECCOMP",
    "SECCOMP_ADDFD_FLAG",
    "SECCOMP_FILTER_FLAG",
    "SECCOMP_IOCTL",
    "SECCOMP_RET",
    "SECCOMP_USER_NOTIF_FLAG",
    "SeccompData",
    "SeccompFileDescriptor",
    "SeccompListenerTask",
    "SeccompNotif",
    "SeccompNotifAddfd",
    "SeccompNotifResp",
    "SeccompNotifSizes",
    "SeccompTask",
    "syscall_filter",
]


class SECCOMP(enum.IntEnum):
    """`SECCOMP_*`: operations of `seccomp`.

    manpage: seccomp(2)
    """

    SET_MODE_STRICT = 0
    SET_MODE_FILTER = 1
    GET_ACTION_AVAIL = 2
    GET_NOTIF_SIZES = 3


class SECCOMP_FILTER_FLAG(enum.IntFlag):
    """`SECCOMP_FILTER_FLAG_*`: flags of a filter.

    manpage: seccomp(2)
    """

    NONE = 0
    TSYNC = 0x1
    LOG = 0x2
    SPEC_ALLOW = 0x4
    NEW_LISTENER = 0x8
    TSYNC_ESRCH = 0x10
    WAIT_KILLABLE_RECV = 0x20


class SECCOMP_RET(enum.IntFlag):
    """`SECCOMP_RET_*`: what a filter returns; an action, or-ed with 16 bits of data.

    manpage: seccomp(2)
    """

    KILL_PROCESS = 0x80000000
    KILL_THREAD = 0x00000000
    KILL = 0x00000000
    TRAP = 0x00030000
    ERRNO = 0x00050000
    USER_NOTIF = 0x7FC00000
    TRACE = 0x7FF00000
    LOG = 0x7FFC0000
    ALLOW = 0x7FFF0000
    ACTION_FULL = 0xFFFF0000
    ACTION = 0x7FFF0000
    DATA = 0x0000FFFF


class SECCOMP_USER_NOTIF_FLAG(enum.IntFlag):
    """`SECCOMP_USER_NOTIF_FLAG_*`: flags of a response.

    manpage: seccomp_unotify(2)
    """

    NONE = 0
    CONTINUE = 0x1


class SECCOMP_ADDFD_FLAG(enum.IntFlag):
    """`SECCOMP_ADDFD_FLAG_*`: flags of a descriptor that is put into another process.

    manpage: seccomp_unotify(2)
    """

    NONE = 0
    SETFD = 0x1
    SEND = 0x2


class SECCOMP_IOCTL(enum.IntEnum):
    """`SECCOMP_IOCTL_*`: requests of a listener.

    manpage: seccomp_unotify(2)
    """

    NOTIF_RECV = 0xC0502100
    NOTIF_SEND = 0xC0182101
    NOTIF_ID_VALID = 0x40082102
    NOTIF_ADDFD = 0x40182103
    NOTIF_SET_FLAGS = 0x40082104  # since Linux 6.6


class AUDIT_ARCH(enum.IntEnum):
    """`AUDIT_ARCH_*`: the architecture that a call was made for, and so what its number means.

    manpage: seccomp(2)
    """

    AARCH64 = 0xC00000B7
    ARM = 0x40000028
    I386 = 0x40000003
    RISCV64 = 0xC00000F3
    X86_64 = 0xC000003E


class SeccompData(CStruct, c="struct seccomp_data", headers=("linux/seccomp.h",), brief=("nr", "arch")):
    """`struct seccomp_data`: a call; what a filter sees. `args` are six numbers of 64 bits.

    manpage: seccomp(2)
    """

    nr: int = i32("nr", default=0)
    arch: int = u32("arch", default=0)
    instruction_pointer: int = u64("instruction_pointer", default=0)
    raw_args: bytes = array("args", 48, default=bytes(48))

    @property
    def args(self) -> tuple[int, ...]:
        """The arguments."""
        return tuple(int.from_bytes(self.raw_args[i : i + 8], "little") for i in range(0, 48, 8))


class SeccompNotifSizes(CStruct, c="struct seccomp_notif_sizes", headers=("linux/seccomp.h",)):
    """`struct seccomp_notif_sizes`: how large the structures of this kernel are.

    manpage: seccomp(2)
    """

    seccomp_notif: int = u16("seccomp_notif")
    seccomp_notif_resp: int = u16("seccomp_notif_resp")
    seccomp_data: int = u16("seccomp_data")


class SeccompNotif(CStruct, c="struct seccomp_notif", headers=("linux/seccomp.h",)):
    """`struct seccomp_notif`: a call that waits for a response. In memory all zeros before it is received.

    manpage: seccomp_unotify(2)
    """

    id: int = u64("id", default=0)
    pid: int = u32("pid", default=0)
    flags: int = u32("flags", default=0)
    data: SeccompData = nested("data", SeccompData, default_factory=SeccompData)


class SeccompNotifResp(CStruct, c="struct seccomp_notif_resp", headers=("linux/seccomp.h",)):
    """`struct seccomp_notif_resp`: the response: a result, or a negative errno as `error`.

    manpage: seccomp_unotify(2)
    """

    id: int = u64("id")
    val: int = i64("val", default=0)
    error: int = i32("error", default=0)
    flags: SECCOMP_USER_NOTIF_FLAG = u32(
        "flags", SECCOMP_USER_NOTIF_FLAG, default=SECCOMP_USER_NOTIF_FLAG.NONE
    )


class SeccompNotifAddfd(CStruct, c="struct seccomp_notif_addfd", headers=("linux/seccomp.h",)):
    """`struct seccomp_notif_addfd`: a descriptor for the process that waits; see `seccomp_notif_addfd`.

    manpage: seccomp_unotify(2)
    """

    id: int = u64("id")
    flags: SECCOMP_ADDFD_FLAG = u32("flags", SECCOMP_ADDFD_FLAG, default=SECCOMP_ADDFD_FLAG.NONE)
    srcfd: int = u32("srcfd", default=0)
    newfd: int = u32("newfd", default=0)
    newfd_flags: int = u32("newfd_flags", default=0)


# Where these are in the structure that a filter looks at.
_NR, _ARCH = 0, 4
# Calls of x86_64 from this number on are those of the ABI with pointers of 32 bits.
_X32 = 0x40000000


def syscall_filter(
    abi: ABI, actions: Mapping[SYS, int], default: int = SECCOMP_RET.ALLOW
) -> StructList[SockFilter]:
    """A filter that decides by the call alone.

        instructions = syscall_filter(task.sysif.abi, {SYS.openat: SECCOMP_RET.USER_NOTIF})
        program = await thread.ptr(SockFprog(await thread.ptr(instructions)))

    A call that is made in the way of another architecture kills the process, since there its number means
    another call; one of x32 fails with ENOSYS.

    Args:
        abi: the architecture of the process.
        actions: what happens with these calls: `SECCOMP_RET.ERRNO | errno.EPERM`, for example.
        default: what happens with the others.

    Returns:
        The instructions; all of them have to be in memory for `SockFprog`.

    Raises:
        UnsupportedSyscallError: the architecture has no such call.

    manpage: seccomp(2)
    """
    load, equal, leave = BPF.LD | BPF.W | BPF.ABS, BPF.JMP | BPF.JEQ | BPF.K, BPF.RET | BPF.K
    program = [
        SockFilter(load, k=_ARCH),
        SockFilter(equal, 1, 0, AUDIT_ARCH[abi.name.upper()]),
        SockFilter(leave, k=SECCOMP_RET.KILL_PROCESS),
        SockFilter(load, k=_NR),
    ]
    if abi.name == "x86_64":
        program += [
            SockFilter(BPF.JMP | BPF.JGE | BPF.K, 0, 1, _X32),
            SockFilter(leave, k=SECCOMP_RET.ERRNO | errno.ENOSYS),
        ]
    for number, action in actions.items():
        program += [SockFilter(equal, 0, 1, abi.number(number)), SockFilter(leave, k=action)]
    program.append(SockFilter(leave, k=default))
    return SockFprog.program(program)


class SeccompFileDescriptor(BaseFileDescriptor):
    """A listener. It is readable, for `poll`, while a call waits that has not been received."""

    __slots__ = ()

    async def seccomp_notif_recv(self, notif: Pointer[SeccompNotif]) -> Pointer[SeccompNotif]:
        """`ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, notif)`: wait for a call, and receive it.

        Args:
            notif: zeros, `SeccompNotif()` for example.

        Returns:
            `notif`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT (the call was interrupted meanwhile), EINVAL (not zeros); `filename` is this
                descriptor.

        manpage: seccomp_unotify(2)
        """
        await self._listener_ioctl(SECCOMP_IOCTL.NOTIF_RECV, notif, SeccompNotif.sizeof())
        return notif

    async def seccomp_notif_send(self, resp: Pointer[SeccompNotifResp]) -> None:
        """`ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, resp)`: let the process go on, with this result.

        Args:
            resp: not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT (nothing waits with this id any longer), EINPROGRESS (it has a response),
                EINVAL; `filename` is this descriptor.

        manpage: seccomp_unotify(2)
        """
        await self._listener_ioctl(SECCOMP_IOCTL.NOTIF_SEND, resp, SeccompNotifResp.sizeof())

    async def seccomp_notif_id_valid(self, id: Pointer[Any]) -> None:
        """`ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, id)`: make sure that the call still waits.

        Ask after something of the process, such as a file below /proc, has been opened by its pid: the pid
        was not reused before, then.

        Args:
            id: the id of the call in memory, 8 bytes; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: ENOENT (it does not wait any longer); `filename` is this descriptor.

        manpage: seccomp_unotify(2)
        """
        await self._listener_ioctl(SECCOMP_IOCTL.NOTIF_ID_VALID, id, 8)

    async def seccomp_notif_addfd(
        self, addfd: WrittenPointer[SeccompNotifAddfd], srcfd: BaseFileDescriptor
    ) -> int:
        """`ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, addfd)`: put a copy of a descriptor into the process that
        waits.

        Args:
            addfd: where to, with the number of `srcfd`; not consumed. With `SECCOMP_ADDFD_FLAG.SEND` the
                number that the process gets is the response, too.
            srcfd: the descriptor.

        Returns:
            The number in the other process.

        Raises:
            BufferTooSmallError: the memory is too small.
            ValueError: `addfd` has the number of another descriptor.
            OSError: ENOENT (it does not wait any longer), EINPROGRESS, EBUSY, EMFILE, EINVAL; `filename` is
                this descriptor.

        manpage: seccomp_unotify(2)
        """
        self._validate()
        check_pointers(addfd)
        with srcfd.borrow(self.task) as source:
            if addfd.value.srcfd != int(source):
                raise ValueError(f"the structure has descriptor {addfd.value.srcfd}, which is not {srcfd}")
            return await self._listener_ioctl(SECCOMP_IOCTL.NOTIF_ADDFD, addfd, SeccompNotifAddfd.sizeof())

    async def _listener_ioctl(self, request: SECCOMP_IOCTL, argument: Pointer[Any], size: int) -> int:
        self._validate()
        check_pointers(argument)
        require_size(argument, size)
        with argument.borrow(self.task) as addr, naming(self):
            return await _ioctl(self.task.sysif, self.near, request, addr)


class SeccompTask(far.Task):
    """Filters of the task itself."""

    async def seccomp(
        self,
        operation: SECCOMP,
        flags: SECCOMP_FILTER_FLAG = SECCOMP_FILTER_FLAG.NONE,
        args: WrittenPointer[SockFprog] | Pointer[Any] | None = None,
    ) -> int:
        """`seccomp(operation, flags, args)`: set a filter, or ask what the kernel knows.

        A filter is for the one thread that makes the calls of the task, for what it executes and for the
        children that it makes from now on. It cannot be taken away again.

        Args:
            args: the program (`SockFprog`) for `SECCOMP.SET_MODE_FILTER`; an action in 32 bits, `Int32`, for
                `GET_ACTION_AVAIL`; a `SeccompNotifSizes` for `GET_NOTIF_SIZES`. Not consumed.

        Returns:
            0; with `SECCOMP_FILTER_FLAG.TSYNC` the id of a thread that could not get the filter.

        Raises:
            ValueError: `SECCOMP_FILTER_FLAG.NEW_LISTENER`, see `seccomp_listener`; `SECCOMP.SET_MODE_STRICT`,
                in which a task cannot receive calls.
            BufferTooSmallError: the memory is too small.
            OSError: EACCES (set `PR.SET_NO_NEW_PRIVS` first, or have CAP_SYS_ADMIN), EINVAL (no good program,
                or unknown flags), EOPNOTSUPP (`GET_ACTION_AVAIL`: not known), ENOMEM; `filename` is the
                operation.

        manpage: seccomp(2)
        """
        if flags & SECCOMP_FILTER_FLAG.NEW_LISTENER:
            raise ValueError("a listener is a new descriptor: seccomp_listener")
        if operation == SECCOMP.SET_MODE_STRICT:
            raise ValueError("in strict mode a task could not receive its next call: set a filter")
        with ExitStack() as stack:
            addr = None
            if args is not None:
                check_pointers(args)
                require_size(args, _ARGUMENT_SIZES.get(operation, 0))
                addr = stack.enter_context(args.borrow(self))
                program = getattr(args, "value", None)
                if isinstance(program, SockFprog):
                    program.borrow_with(stack, self)
            with naming(operation):
                return await _seccomp(self.sysif, operation, flags, addr)


class SeccompListenerTask(FileDescriptorTask[T_fd]):
    """Filters with a listener."""

    async def seccomp_listener(
        self,
        prog: WrittenPointer[SockFprog],
        flags: SECCOMP_FILTER_FLAG = SECCOMP_FILTER_FLAG.NONE,
    ) -> T_fd:
        """`seccomp(SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, prog)`: set a filter,
        and make a listener for the calls that it does not decide.

        Args:
            prog: not consumed.

        Returns:
            A new descriptor, close-on-exec: for another process, as this one waits for the responses.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EBUSY (there is a listener already), and those of `seccomp`; `filename` is
                `SECCOMP.SET_MODE_FILTER`.

        manpage: seccomp(2), seccomp_unotify(2)
        """
        check_pointers(prog)
        require_size(prog, SockFprog.sizeof())
        record = CallRecord(self.fd_table)
        with ExitStack() as stack:
            addr = stack.enter_context(prog.borrow(self))
            prog.value.borrow_with(stack, self)
            with naming(SECCOMP.SET_MODE_FILTER):
                fd = await _seccomp_listener(self.sysif, record, flags, addr)
        return self._adopt(fd, record)


_ARGUMENT_SIZES = {
    SECCOMP.SET_MODE_FILTER: SockFprog.sizeof(),
    SECCOMP.GET_ACTION_AVAIL: 4,
    SECCOMP.GET_NOTIF_SIZES: SeccompNotifSizes.sizeof(),
}


_OPERATION = choice(SECCOMP, "SECCOMP_")
_FLAGS = flags(SECCOMP_FILTER_FLAG, "SECCOMP_FILTER_FLAG_")
_ARGUMENT = by(
    0,
    {
        SECCOMP.GET_ACTION_AVAIL: Memory("seccomp_action", size=4),
        SECCOMP.GET_NOTIF_SIZES: out(SeccompNotifSizes),
    },
    ADDRESS,
)


@call("seccomp", _OPERATION, _FLAGS, _ARGUMENT)
async def _seccomp(
    sysif: SyscallInterface, operation: SECCOMP, flags: SECCOMP_FILTER_FLAG, args: near.Address | None
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.seccomp, operation, flags, args or 0)


@call("seccomp", _OPERATION, _FLAGS, _ARGUMENT)
async def _seccomp_listener(
    sysif: SyscallInterface, record: CallRecord, flags: SECCOMP_FILTER_FLAG, prog: near.Address
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(
            record,
            nr.seccomp,
            SECCOMP.SET_MODE_FILTER,
            flags | SECCOMP_FILTER_FLAG.NEW_LISTENER,
            prog,
        )
    )
