"""`<linux/aio_abi.h>`: requests for input and output that are answered later."""

from __future__ import annotations

import enum
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, SupportsInt

import rsyscall.far
from rsyscall.cstruct import CStruct, i16, i32, i64, u16, u32, u64
from rsyscall.handle.arguments import ADDRESS, INT, buffer, call, given
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import WrittenPointer, check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Int64, Serializable
from rsyscall.sys.uio import Iovec, IovecList
from rsyscall.time import Timespec

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, ReadablePointer
    from rsyscall.near.sysif import SyscallInterface
    from rsyscall.sys.select import SigmaskArg

__all__ = ["AioTask", "IOCB_CMD", "IOCB_FLAG", "IoEvent", "IoEventList", "Iocb", "IocbList"]


class IOCB_CMD(enum.IntEnum):
    """`IOCB_CMD_*`: what to do.

    manpage: io_submit(2)
    """

    PREAD = 0
    PWRITE = 1
    FSYNC = 2
    FDSYNC = 3
    POLL = 5
    NOOP = 6
    PREADV = 7
    PWRITEV = 8


class IOCB_FLAG(enum.IntFlag):
    """`IOCB_FLAG_*`: flags of a request.

    manpage: io_submit(2)
    """

    NONE = 0
    RESFD = 1 << 0
    IOPRIO = 1 << 1


_HEADERS = ("linux/types.h", "linux/fs.h", "linux/aio_abi.h")


def _number(memory: Pointer[Any] | int) -> int:
    return memory if isinstance(memory, int) else int(memory.near)


class Iocb(CStruct, c="struct iocb", headers=_HEADERS, size=64):
    """`struct iocb`: a request.

    Args:
        lio_opcode: what to do.
        fildes: the number of the descriptor.
        buf: the memory, or its address; for `IOCB_CMD.PREADV` and `PWRITEV` an `IovecList` in memory.
            `io_submit` keeps all of it only for the call: hold it until `io_getevents` gives the answer.
        nbytes: how many bytes; how many pieces for `IOCB_CMD.PREADV` and `PWRITEV`.
        offset: from the start of the file.
        data: comes back with the answer.
        rw_flags: flags of `RWF`.
        resfd: the number of an eventfd that is told of the answer, with `IOCB_FLAG.RESFD`.

    manpage: io_submit(2)
    """

    data: int = u64("aio_data", default=0)
    key: int = u32("aio_key", default=0)
    rw_flags: int = i32("aio_rw_flags", default=0)
    lio_opcode: int = u16("aio_lio_opcode", default=0)
    reqprio: int = i16("aio_reqprio", default=0)
    fildes: SupportsInt = u32("aio_fildes", encode=int, default=0)
    buf: Pointer[Any] | int = u64("aio_buf", encode=_number, default=0)
    nbytes: int = u64("aio_nbytes", default=0)
    offset: int = i64("aio_offset", default=0)
    flags: IOCB_FLAG = u32("aio_flags", IOCB_FLAG, offset=56, default=IOCB_FLAG.NONE)
    resfd: SupportsInt = u32("aio_resfd", encode=int, default=0)

    def borrow_with(self, stack: ExitStack, task: rsyscall.far.Task) -> None:
        """Borrow the memory for `task`, until `stack` is left; `BufferTooSmallError` if it is too small."""
        buf = self.buf
        if isinstance(buf, int):
            return
        stack.enter_context(buf.borrow(task))
        if self.lio_opcode in (IOCB_CMD.PREAD, IOCB_CMD.PWRITE):
            require_size(buf, self.nbytes)
        elif self.lio_opcode in (IOCB_CMD.PREADV, IOCB_CMD.PWRITEV):
            pieces = buf.value if isinstance(buf, WrittenPointer) else None
            if not isinstance(pieces, IovecList):
                raise TypeError(f"expected a pointer to an IovecList in memory, not {buf!r}")
            if self.nbytes > len(pieces):
                raise ValueError("more pieces than there are", self.nbytes, len(pieces))
            require_size(buf, self.nbytes * Iovec.sizeof())
            for piece in pieces:
                stack.enter_context(piece.borrow(task))


class IoEvent(CStruct, c="struct io_event", headers=_HEADERS):
    """`struct io_event`: an answer.

    Args:
        data: that of the request.
        obj: the address of the request.
        res: the result, or a negative error.
        res2: another result; 0.

    manpage: io_getevents(2)
    """

    data: int = u64("data", default=0)
    obj: int = u64("obj", default=0)
    res: int = i64("res", default=0)
    res2: int = i64("res2", default=0)


class IoEventList(list[IoEvent], Serializable):
    """An array of `struct io_event`.

    manpage: io_getevents(2)
    """

    def to_bytes(self) -> bytes:
        """All of them, one after another."""
        return b"".join([event.to_bytes() for event in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> IoEventList:
        """As many as there are; a rest too short for another is ignored."""
        size = IoEvent.sizeof()
        starts = range(0, len(data) - size + 1, size)
        return cls(IoEvent.from_bytes(data[start : start + size]) for start in starts)


_ADDRESS = struct.Struct("=Q")


class IocbList(list["WrittenPointer[Iocb]"], Serializable):
    """An array of pointers to requests.

    manpage: io_submit(2)
    """

    def to_bytes(self) -> bytes:
        """The addresses."""
        return b"".join([_ADDRESS.pack(int(pointer.near)) for pointer in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> IocbList:
        """Raise: addresses cannot be made into pointers again."""
        raise NotImplementedError("an array of requests is never read back")


_SIGMASK = struct.Struct("=QQ")


class AioTask(rsyscall.far.Task):
    """Requests that are answered later. A context belongs to the memory of the process."""

    async def io_setup(self, nr_events: int, ctx_idp: WrittenPointer[Int64]) -> ReadablePointer[Int64]:
        """`io_setup(nr_events, ctx_idp)`: make a context for requests.

        Args:
            nr_events: how many requests at a time.
            ctx_idp: where to put the context, with 0 in it; consumed.

        Returns:
            `ctx_idp`, with the context.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EAGAIN, EINVAL, ENOMEM; `filename` is the number.

        manpage: io_setup(2)
        """
        check_pointers(ctx_idp)
        require_size(ctx_idp, Int64.sizeof())
        with ctx_idp.borrow(self) as ctx_idp_addr, naming(nr_events):
            await _io_setup(self.sysif, nr_events, ctx_idp_addr)
        return ctx_idp.unsafe()

    async def io_destroy(self, ctx_id: near.Address) -> None:
        """`io_destroy(ctx_id)`: end a context, and wait for its requests.

        Raises:
            OSError: EINVAL; `filename` is the context.

        manpage: io_destroy(2)
        """
        with naming(ctx_id):
            await _io_destroy(self.sysif, ctx_id)

    async def io_submit(self, ctx_id: near.Address, iocbpp: WrittenPointer[IocbList]) -> int:
        """`io_submit(ctx_id, nr, iocbpp)`: make requests.

        Args:
            iocbpp: the requests; keep the memory that they use until they are done: until `io_getevents`
                gives their answer, or `io_destroy` returns. The memory of the requests themselves, and
                `iocbpp`, may be reused before.

        Returns:
            How many were taken.

        Raises:
            BufferTooSmallError: the memory is too small, or that of a request has fewer bytes than it says.
            TypeError, ValueError: a request for several pieces has no array of them, or has fewer.
            OSError: EAGAIN, EBADF, EINVAL; `filename` is the context.

        manpage: io_submit(2)
        """
        check_pointers(iocbpp)
        require_size(iocbpp, len(iocbpp.value) * _ADDRESS.size)
        with ExitStack() as stack:
            addr = stack.enter_context(iocbpp.borrow(self))
            for iocb in iocbpp.value:
                stack.enter_context(iocb.borrow(self))
                require_size(iocb, Iocb.sizeof())
                iocb.value.borrow_with(stack, self)
            with naming(ctx_id):
                return await _io_submit(self.sysif, ctx_id, len(iocbpp.value), addr)

    async def io_getevents(
        self,
        ctx_id: near.Address,
        min_nr: int,
        events: Pointer[IoEventList],
        timeout: WrittenPointer[Timespec] | None = None,
    ) -> tuple[ReadablePointer[IoEventList], Pointer[IoEventList]]:
        """`io_getevents(ctx_id, min_nr, nr, events, timeout)`: wait for requests to be done.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            min_nr: how many to wait for.
            events: where to put them, as many as fit; consumed.
            timeout: how long to wait; None waits for ever.

        Returns:
            Those that are done, and the rest of the memory.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EINTR; `filename` is the context.

        manpage: io_getevents(2)
        """
        check_pointers(events)
        require_size(events, IoEvent.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        with ExitStack() as stack:
            events_addr = stack.enter_context(events.borrow(self))
            timeout_addr = self._borrow_optional(stack, timeout)
            with naming(ctx_id):
                count = await _io_getevents(
                    self.sysif, ctx_id, min_nr, events.size() // IoEvent.sizeof(), events_addr, timeout_addr
                )
        return events.readable_split(count * IoEvent.sizeof())

    async def io_pgetevents(
        self,
        ctx_id: near.Address,
        min_nr: int,
        events: Pointer[IoEventList],
        timeout: WrittenPointer[Timespec] | None = None,
        usig: WrittenPointer[SigmaskArg] | None = None,
    ) -> tuple[ReadablePointer[IoEventList], Pointer[IoEventList]]:
        """`io_pgetevents(ctx_id, min_nr, nr, events, timeout, usig)`: wait for requests to be done.

        Waits in the process, which can make no other calls meanwhile.

        Args:
            min_nr: how many to wait for.
            events: where to put them, as many as fit; consumed.
            timeout: how long to wait; None waits for ever.
            usig: the signals that are blocked meanwhile.

        Returns:
            Those that are done, and the rest of the memory.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EINTR; `filename` is the context.

        manpage: io_getevents(2)
        """
        check_pointers(events)
        require_size(events, IoEvent.sizeof())
        require_size_if_given(timeout, Timespec.sizeof())
        require_size_if_given(usig, _SIGMASK.size)
        with ExitStack() as stack:
            events_addr = stack.enter_context(events.borrow(self))
            timeout_addr = self._borrow_optional(stack, timeout)
            usig_addr = self._borrow_optional(stack, usig)
            if usig is not None:
                stack.enter_context(usig.value.sigset.borrow(self))
            with naming(ctx_id):
                count = await _io_pgetevents(
                    self.sysif,
                    ctx_id,
                    min_nr,
                    events.size() // IoEvent.sizeof(),
                    events_addr,
                    timeout_addr,
                    usig_addr,
                )
        return events.readable_split(count * IoEvent.sizeof())

    async def io_cancel(
        self, ctx_id: near.Address, iocb: WrittenPointer[Iocb], result: Pointer[IoEvent]
    ) -> None:
        """`io_cancel(ctx_id, iocb, result)`: cancel a request, if that is possible.

        Args:
            result: not used any more.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINPROGRESS (it will be cancelled), EAGAIN, EINVAL (it is done, or cannot be cancelled);
                `filename` is the context.

        manpage: io_cancel(2)
        """
        check_pointers(iocb, result)
        require_size(iocb, Iocb.sizeof())
        require_size(result, IoEvent.sizeof())
        with iocb.borrow(self) as iocb_addr, result.borrow(self) as result_addr, naming(ctx_id):
            await _io_cancel(self.sysif, ctx_id, iocb_addr, result_addr)


@call("io_setup", INT, buffer(8))
async def _io_setup(sysif: SyscallInterface, nr_events: int, ctx_idp: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.io_setup, nr_events, ctx_idp)


@call("io_destroy", ADDRESS)
async def _io_destroy(sysif: SyscallInterface, ctx_id: near.Address) -> None:
    """The raw call."""
    await sysif.syscall(nr.io_destroy, ctx_id)


@call("io_submit", ADDRESS, INT, ADDRESS)
async def _io_submit(sysif: SyscallInterface, ctx_id: near.Address, count: int, iocbpp: near.Address) -> int:
    """The raw call."""
    return await sysif.syscall(nr.io_submit, ctx_id, count, iocbpp)


@call("io_getevents", ADDRESS, INT, INT, ADDRESS, given(Timespec))
async def _io_getevents(
    sysif: SyscallInterface,
    ctx_id: near.Address,
    min_nr: int,
    nr_events: int,
    events: near.Address,
    timeout: near.Address | None,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.io_getevents, ctx_id, min_nr, nr_events, events, timeout or 0)


@call("io_pgetevents", ADDRESS, INT, INT, ADDRESS, given(Timespec), ADDRESS)
async def _io_pgetevents(
    sysif: SyscallInterface,
    ctx_id: near.Address,
    min_nr: int,
    nr_events: int,
    events: near.Address,
    timeout: near.Address | None,
    usig: near.Address | None,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.io_pgetevents, ctx_id, min_nr, nr_events, events, timeout or 0, usig or 0)


@call("io_cancel", ADDRESS, given(Iocb), ADDRESS)
async def _io_cancel(
    sysif: SyscallInterface, ctx_id: near.Address, iocb: near.Address, result: near.Address
) -> None:
    """The raw call."""
    await sysif.syscall(nr.io_cancel, ctx_id, iocb, result)
