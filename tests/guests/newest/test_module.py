"""Modules of the kernel, and what two of them bring: sockets that hash."""

from __future__ import annotations

import errno
import hashlib
import hmac
import lzma
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rsyscall.fcntl import O
from rsyscall.linux.if_alg import ALG_SET, SockaddrAlg
from rsyscall.linux.module import MODULE_INIT
from rsyscall.sys.socket import AF, MSG, SOCK, SOL
from rsyscall.thread import Thread

from .machine import MODULES
from .support import contents, opened

pytestmark = pytest.mark.slow


async def loaded(thread: Thread) -> set[str]:
    return {line.split()[0] for line in (await contents(thread, "/proc/modules")).splitlines()}


@asynccontextmanager
async def modules_of_algorithms(thread: Thread) -> AsyncIterator[None]:
    """One is loaded from memory, the other one from its compressed file."""
    image = lzma.decompress((MODULES / "af_alg.ko.xz").read_bytes())
    nothing = await thread.ptr("")
    await thread.task.init_module(await thread.ptr(image), nothing)
    async with await opened(thread, "/modules/algif_hash.ko.xz") as file:
        await file.finit_module(nothing, MODULE_INIT.COMPRESSED_FILE)
    try:
        yield
    finally:
        await thread.task.delete_module(await thread.ptr("algif_hash"))
        await thread.task.delete_module(await thread.ptr("af_alg"))


async def test_init_module_and_delete_module(thread: Thread) -> None:
    task, nothing = thread.task, await thread.ptr("")
    wrong = await thread.ptr(b"no module")
    with pytest.raises(OSError, match="Exec format error") as caught:
        await task.init_module(wrong, nothing)
    assert caught.value.filename is wrong
    with pytest.raises(FileNotFoundError) as missing:
        await task.delete_module(await thread.ptr("no_such_module"))
    assert missing.value.filename == "no_such_module"
    assert not {"af_alg", "algif_hash"} & await loaded(thread)
    async with modules_of_algorithms(thread):
        assert {"af_alg", "algif_hash"} <= await loaded(thread)
        async with await opened(thread, "/modules/af_alg.ko.xz") as file:
            with pytest.raises(FileExistsError) as present:
                await file.finit_module(nothing, MODULE_INIT.COMPRESSED_FILE)
            assert present.value.filename is file
            with pytest.raises(OSError, match="Exec format error"):
                await file.finit_module(nothing)
        with pytest.raises(BlockingIOError) as used:
            await task.delete_module(await thread.ptr("af_alg"), O.NONBLOCK)
        assert used.value.filename == "af_alg"
    assert not {"af_alg", "algif_hash"} & await loaded(thread)


async def test_a_module_that_takes_parameters(thread: Thread, disks: list[str]) -> None:
    assert "brd" in await loaded(thread)
    assert await contents(thread, "/sys/module/brd/parameters/rd_nr") == f"{len(disks)}\n"


async def test_sockets_that_hash(thread: Thread) -> None:
    with pytest.raises(OSError, match="Address family") as caught:
        await thread.socket(AF.ALG, SOCK.SEQPACKET)
    assert caught.value.errno == errno.EAFNOSUPPORT
    async with modules_of_algorithms(thread):
        async with await thread.socket(AF.ALG, SOCK.SEQPACKET) as algorithm:
            with pytest.raises(FileNotFoundError):
                await algorithm.bind(await thread.ptr(SockaddrAlg("hash", "no-such-hash")))
            await algorithm.bind(await thread.ptr(SockaddrAlg("hash", "sha256")))
            async with await algorithm.accept() as work:
                for data in (b"", b"abc", bytes(range(256)) * 64):
                    await work.send(await thread.ptr(data[:100]), MSG.MORE)
                    await work.send(await thread.ptr(data[100:]), MSG.NONE)
                    digest = await thread.read(work, 64)
                    assert digest == hashlib.sha256(data).digest()
        async with await thread.socket(AF.ALG, SOCK.SEQPACKET) as keyed:
            await keyed.bind(await thread.ptr(SockaddrAlg("hash", "hmac(sha256)")))
            await keyed.setsockopt(SOL.ALG, ALG_SET.KEY, await thread.ptr(b"secret"))
            async with await keyed.accept() as work:
                await work.send(await thread.ptr(b"abc"), MSG.NONE)
                assert await thread.read(work, 64) == hmac.digest(b"secret", b"abc", "sha256")
