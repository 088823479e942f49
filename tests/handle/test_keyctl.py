"""Keys and keyrings, in a session keyring of a child's own."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from rsyscall.linux.keyctl import KEY_SPEC, KEYCTL, KeySerials

from .helpers import forked
from .support import Local


@forked
async def test_keys_are_made_found_and_removed(local: Local, tmp_path: Path) -> None:
    task = local.task
    try:
        session = await task.keyctl_join_session_keyring()
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            pytest.skip("kernel: no keys, or they are denied")
        raise
    ring = KEY_SPEC.SESSION_KEYRING
    assert await task.keyctl_get_keyring_ID(ring) == session
    user, name = await local.ptr("user"), await local.ptr("rsyscall test")
    key = await task.add_key(user, name, await local.ptr(b"secret"), ring)
    assert await task.request_key(user, name) == key
    assert await task.keyctl_search(ring, user, name) == key
    data = await local.malloc(bytes, 6)
    assert await task.keyctl_read(key, data) == 6
    assert await data.read() == b"secret"
    await task.keyctl_update(key, await local.ptr(b"another one"))
    assert await task.keyctl_read(key, data) == 11
    await task.keyctl_setperm(key, 0x3F3F0000)
    text = await local.malloc(str, 100)
    size = await task.keyctl_describe(key, text)
    assert await text.read() == f"user;{os.getuid()};{os.getgid()};3f3f0000;rsyscall test"
    assert size == len(await text.read()) + 1
    keyring = await task.add_key(await local.ptr("keyring"), await local.ptr("ring"), None, ring)
    await task.keyctl_link(key, keyring)
    numbers = await local.malloc(KeySerials, 4)
    assert await task.keyctl_read(keyring, numbers) == 4
    assert await numbers.read() == KeySerials([key])
    await task.keyctl_unlink(key, ring)
    await task.keyctl_move(key, keyring, ring)
    await task.keyctl_clear(keyring)
    assert await task.keyctl_read(keyring, numbers) == 0
    await task.keyctl_set_timeout(key, 1000)
    await task.keyctl_chown(key, -1, os.getgid())
    assert await task.keyctl_get_security(key, data) >= 0
    assert await task.keyctl(KEYCTL.SET_REQKEY_KEYRING, 0) >= 0
    await task.keyctl_revoke(key)
    with pytest.raises(OSError, match="revoked") as caught:
        await task.keyctl_read(key, data)
    assert (caught.value.errno, caught.value.filename) == (errno.EKEYREVOKED, key)
    await task.keyctl_invalidate(keyring)
    with pytest.raises(OSError, match=r"not available|invalid|revoked"):
        await task.keyctl_search(keyring, user, name)
    with pytest.raises(OSError, match="not available") as caught:
        await task.request_key(user, await local.ptr("no such key"))
    assert caught.value.filename == ("user", "no such key")
    with pytest.raises(OSError, match="not permitted") as caught:
        await task.keyctl_join_session_keyring(await local.ptr(".of the kernel"))
    assert caught.value.filename == ".of the kernel"
    with contextlib.suppress(OSError):  # a kernel may have none, and other users' are denied
        assert await task.keyctl_get_persistent(-1, ring) > 0
