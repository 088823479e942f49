"""Serving a file system: the requests of the kernel, each answered by a method.

    class Hello(Filesystem): ...

    async with serve(thread, "/mnt/point", Hello()):
        ...

Requests are answered concurrently, each in a task of trio. The program must not use the files in its own
process, which would wait for itself. Children and commands can.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from rsyscall.fuse_device import FuseDevice
from rsyscall.linux.fuse import (
    FUSE_INIT,
    FUSE_OPCODE,
    FuseBatchForgetOp,
    FuseDestroyOp,
    FuseForgetOp,
    FuseIn,
    FuseInitOp,
    FuseInitOut,
    FuseInterruptOp,
    FuseLookupOp,
    FuseNotify,
    FuseNotifyReplyOp,
    FuseOut,
    FuseSetxattrOp,
    FuseTmpfileOp,
    FuseUnknownOp,
    negotiate,
)
from rsyscall.near.sysif import SyscallError, SyscallHangup

if TYPE_CHECKING:
    from rsyscall.command import StrOrBytesPath
    from rsyscall.fuse_filesystem import Filesystem
    from rsyscall.sys.mount import MS
    from rsyscall.thread import Thread

__all__ = ["FuseServer", "serve"]

logger: logging.Logger = logging.getLogger(__name__)

_GRACE = 5.0


class FuseServer:
    """Answers the requests about a file system. See `serve`.

    Args:
        device: where it is mounted.
        filesystem: what answers.

    Attributes:
        init: what was negotiated; None before that.
        ended: is set when it is mounted nowhere any more, or was aborted.
    """

    def __init__(self, device: FuseDevice, filesystem: Filesystem) -> None:
        self.device = device
        self.filesystem = filesystem
        self.init: FuseInitOut | None = None
        self.ended: trio.Event = trio.Event()
        # The requests that are being answered.
        self._scopes: dict[int, trio.CancelScope] = {}
        self._dead = False

    async def run(self) -> None:
        """Answer requests until the file system is mounted nowhere any more, or was aborted.

        Raises:
            OSError: EPROTO: the kernel is too old.
            SyscallError: the process that serves has ended.

        manpage: fuse(4)
        """
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                try:
                    while await self._next(nursery):
                        # Reads of what is there already are no checkpoints.
                        await trio.lowlevel.checkpoint()
                except Exception as error:
                    failure = error
                # The kernel does not wait for the answers any more.
                nursery.cancel_scope.cancel()
            if self._dead and failure is None:
                failure = SyscallHangup("the process that serves has ended")
            if failure is not None:
                raise failure
        finally:
            self.ended.set()
            with trio.move_on_after(_GRACE, shield=True):
                await self.filesystem.destroy()

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End all this if the process that serves ends: no event tells of a descriptor that went with it."""
        try:
            await self.device.server.process.wait_exited()
        except SyscallError:
            pass  # its parent has gone, and it has, too
        self._dead = True
        scope.cancel()

    async def notify(self, notice: FuseNotify) -> None:
        """Tell the kernel something; see `FuseDevice.notify`.

        It may wait for an answer about the same file, so no method that gives one may wait for it.
        """
        await self.device.notify(notice)

    async def _next(self, nursery: trio.Nursery) -> bool:
        """Read once, and begin to answer; returns whether to go on."""
        ops = await self.device.read()
        for op in ops:
            await self._begin(nursery, op)
        return bool(ops)

    async def _begin(self, nursery: trio.Nursery, op: FuseIn) -> None:
        """What has to be done in order is done here, the rest in a task."""
        if isinstance(op, FuseForgetOp):
            self._forget(op.hdr.nodeid, op.msg.nlookup)
        elif isinstance(op, FuseBatchForgetOp):
            for node in op.nodes:
                self._forget(node.nodeid, node.nlookup)
        elif isinstance(op, FuseInterruptOp):
            # That of a request that has been answered meanwhile needs nothing.
            scope = self._scopes.get(op.msg.unique)
            if scope is not None:
                scope.cancel()
        elif isinstance(op, FuseInitOp):
            await self._negotiate(op)
        elif isinstance(op, FuseDestroyOp):
            await self._write(op.respond(), op)
        elif isinstance(op, FuseNotifyReplyOp):
            nursery.start_soon(self._unanswered, op)
        else:
            # Here, so that an interrupt that is read next finds it.
            scope = self._scopes[op.hdr.unique] = trio.CancelScope()
            nursery.start_soon(self._answer, op, scope)

    def _forget(self, nodeid: int, nlookup: int) -> None:
        try:
            self.filesystem.forget(nodeid, nlookup)
        except Exception:
            logger.exception("forgetting node %d failed", nodeid)

    async def _negotiate(self, op: FuseInitOp) -> None:
        filesystem = self.filesystem
        try:
            init = negotiate(
                op.msg, filesystem.wanted, max_write=filesystem.max_write, time_gran=filesystem.time_gran
            )
        except OSError:
            await self.device.write(op.error(-errno.EPROTO).to_bytes())
            raise
        if init.major == op.msg.major:
            await filesystem.begin(init)
            self.init = init
        await self.device.write(op.respond(init).to_bytes())

    async def _unanswered(self, op: FuseNotifyReplyOp) -> None:
        try:
            await self.filesystem.notify_reply(op)
        except Exception:
            logger.exception("%s failed", type(op).__name__)

    async def _answer(self, op: FuseIn, scope: trio.CancelScope) -> None:
        answer: FuseOut | None = None
        try:
            with scope:
                answer = await self._call(op)
        finally:
            del self._scopes[op.hdr.unique]
        if answer is None:
            answer = op.error(-errno.EINTR)
        try:
            await self._write(answer, op)
        except SyscallError:
            pass  # the task that reads sees it, too

    async def _write(self, answer: FuseOut, op: FuseIn) -> None:
        try:
            # Not the answer itself: what a method returned may be anything.
            await self.device.write(answer.to_bytes())
        except SyscallError:
            raise
        except Exception:
            # Too large for a field, of another type, or more than the kernel asked for. If it got that far,
            # the kernel has the error already.
            # Answers can be as large as what is read.
            logger.exception("the answer to %s is refused: %.300r", type(op).__name__, answer)
            with suppress(OSError):
                await self.device.write(op.error(-errno.EIO).to_bytes())

    async def _call(self, op: FuseIn) -> FuseOut:
        """Have the file system make the answer, an error if it raises one."""
        try:
            if isinstance(op, FuseUnknownOp) or op.opcode == FUSE_OPCODE.CUSE_INIT:
                return op.error(-errno.ENOSYS)
            _check_names(op, exported=FUSE_INIT.EXPORT_SUPPORT in self.filesystem.wanted)
            method = getattr(self.filesystem, op.opcode.name.lower())
            result = await method(op)
            respond: Any = getattr(op, "respond")  # noqa: B009  # every class that has a method has it
            answer: FuseOut
            if result is None:
                answer = respond()
            elif isinstance(result, tuple):
                answer = respond(*result)
            else:
                answer = respond(result)
            return answer
        except OSError as error:
            if error.errno is not None and 0 < error.errno < 512:
                return op.error(-error.errno)
            logger.exception("%s failed", type(op).__name__)
        except Exception:
            logger.exception("%s failed", type(op).__name__)
        return op.error(-errno.EIO)


def _check_names(op: FuseIn, exported: bool) -> None:
    """Refuse names that lead elsewhere; the kernel does not send any.

    Args:
        op: the request.
        exported: whether the kernel looks up "." and ".." of nodes that it has handles of.
    """
    if exported and isinstance(op, FuseLookupOp) and op.name in (".", ".."):
        return
    if isinstance(op, (FuseSetxattrOp, FuseTmpfileOp)) or op.opcode == FUSE_OPCODE.REMOVEXATTR:
        return
    for field in ("name", "newname"):
        name = getattr(op, field, "x")
        if "/" in name or name in ("", ".", ".."):
            raise OSError(errno.EINVAL, "not a name of a file", name)


def _has_cancelled(error: BaseException) -> bool:
    """Whether a cancel scope has to see it; a nursery may raise several in a group."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return isinstance(error, trio.Cancelled) or any(map(_has_cancelled, inner))


@asynccontextmanager
async def serve(
    thread: Thread,
    path: StrOrBytesPath,
    filesystem: Filesystem,
    *,
    source: str = "rsyscall",
    subtype: str = "",
    options: str = "default_permissions",
    flags: MS | None = None,
    device: str = "/dev/fuse",
) -> AsyncIterator[FuseServer]:
    """Mount a file system, and answer requests about it until the block is left; then unmount it.

    If it is in use then, it disappears from the namespace at once (MNT_DETACH), and later requests of the
    processes that still use it fail with ENOTCONN. If the block is cancelled, written data that the kernel
    still caches is lost.

    Args:
        thread: in whose mount namespace to mount. It needs CAP_SYS_ADMIN in the user namespace to which that
            belongs; root of a new one has it.
        path: where.
        filesystem: what answers.
        source, subtype, options, flags, device: see `FuseDevice.mount`.

    Raises:
        OSError: as `FuseDevice.mount`; EPROTO: the kernel is too old.

    manpage: fuse(4)
    """
    from rsyscall.sys.mount import MS

    mounted = await FuseDevice.mount(
        thread,
        path,
        source=source,
        subtype=subtype,
        options=options,
        flags=MS.NOSUID | MS.NODEV if flags is None else flags,
        buffer_size=filesystem.max_write + 4096,
        device=device,
    )
    server = FuseServer(mounted, filesystem)
    failure: BaseException | None = None
    async with mounted:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                nonlocal failure
                try:
                    await server.run()
                except Exception as error:
                    failure = error
                    nursery.cancel_scope.cancel()
                finally:
                    # Here: the block may wait for a call that waits for an answer.
                    await mounted.close()

            nursery.start_soon(run)
            try:
                yield server
            except GeneratorExit:
                raise
            except BaseException as error:
                if _has_cancelled(error):
                    raise
                # Not in a group, as a nursery would raise it.
                failure = error
            if not server.ended.is_set():
                try:
                    await mounted.unmount()
                except (OSError, SyscallError) as error:
                    if not (isinstance(error, OSError) and error.errno == errno.EBUSY):
                        failure = failure or error
            # Also if it is mounted elsewhere, too.
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
