"""`<linux/keyctl.h>`: keys and keyrings, which the kernel keeps for processes and users."""

from __future__ import annotations

import enum
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, SupportsInt, TypeVar

import rsyscall.far
from rsyscall.handle.arguments import (
    INT,
    OUT,
    SIZE,
    STRING,
    Kind,
    by,
    call,
    choice,
    counted,
    each,
)
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Serializable

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["KEYCTL", "KEY_SPEC", "KeySerials", "KeyTask"]

T = TypeVar("T")


class KEY_SPEC(enum.IntEnum):
    """`KEY_SPEC_*`: keyrings of the process that makes the call.

    manpage: keyctl(2)
    """

    THREAD_KEYRING = -1
    PROCESS_KEYRING = -2
    SESSION_KEYRING = -3
    USER_KEYRING = -4
    USER_SESSION_KEYRING = -5
    GROUP_KEYRING = -6
    REQKEY_AUTH_KEY = -7
    REQUESTOR_KEYRING = -8


class KEYCTL(enum.IntEnum):
    """`KEYCTL_*`: operations of `keyctl`.

    manpage: keyctl(2)
    """

    GET_KEYRING_ID = 0
    JOIN_SESSION_KEYRING = 1
    UPDATE = 2
    REVOKE = 3
    CHOWN = 4
    SETPERM = 5
    DESCRIBE = 6
    CLEAR = 7
    LINK = 8
    UNLINK = 9
    SEARCH = 10
    READ = 11
    INSTANTIATE = 12
    NEGATE = 13
    SET_REQKEY_KEYRING = 14
    SET_TIMEOUT = 15
    ASSUME_AUTHORITY = 16
    GET_SECURITY = 17
    SESSION_TO_PARENT = 18
    REJECT = 19
    INSTANTIATE_IOV = 20
    INVALIDATE = 21
    GET_PERSISTENT = 22
    DH_COMPUTE = 23
    PKEY_QUERY = 24
    PKEY_ENCRYPT = 25
    PKEY_DECRYPT = 26
    PKEY_SIGN = 27
    PKEY_VERIFY = 28
    RESTRICT_KEYRING = 29
    MOVE = 30
    CAPABILITIES = 31
    WATCH_KEY = 32


class KeySerials(list[int], Serializable):
    """What `keyctl_read` gives of a keyring: the numbers of its keys.

    manpage: KEYCTL_READ(2const)
    """

    def to_bytes(self) -> bytes:
        """The numbers, 4 bytes each."""
        return b"".join([_SERIAL.pack(number) for number in self])

    @classmethod
    def from_bytes(cls, data: bytes) -> KeySerials:
        """As many numbers as there are."""
        whole = len(data) // _SERIAL.size * _SERIAL.size
        return cls(number for (number,) in _SERIAL.iter_unpack(data[:whole]))


_SERIAL = struct.Struct("=i")


class KeyTask(rsyscall.far.Task):
    """Keys and keyrings."""

    async def add_key(
        self,
        type: WrittenPointer[str],
        description: WrittenPointer[str],
        payload: WrittenPointer[Any] | None,
        keyring: KEY_SPEC | int,
    ) -> int:
        """`add_key(type, description, payload, plen, keyring)`: make a key, or update one.

        Args:
            type: "user", "logon", "keyring", "big_key"...
            payload: all of the memory; not consumed.
            keyring: where to link it.

        Returns:
            Its number.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EDQUOT, EINVAL, ENODEV; `filename` is (type,
                description).

        manpage: add_key(2)
        """
        check_pointers(type, description)
        with ExitStack() as stack:
            type_addr = stack.enter_context(type.borrow(self))
            description_addr = stack.enter_context(description.borrow(self))
            payload_addr = self._borrow_optional(stack, payload)
            with naming((type.value, description.value)):
                return await _add_key(
                    self.sysif,
                    type_addr,
                    description_addr,
                    payload_addr,
                    0 if payload is None else payload.size(),
                    keyring,
                )

    async def request_key(
        self,
        type: WrittenPointer[str],
        description: WrittenPointer[str],
        callout_info: WrittenPointer[str] | None = None,
        dest_keyring: KEY_SPEC | int = 0,
    ) -> int:
        """`request_key(type, description, callout_info, dest_keyring)`: find a key, or have one made.

        Waits in the process, which can make no other calls meanwhile, while another program makes the key.
        Only that program ends this: as for any call that was sent, a caller that is cancelled goes on
        waiting for the answer.

        Args:
            callout_info: for the program that makes it; None only finds one.
            dest_keyring: where to link it; 0 for nowhere.

        Returns:
            Its number.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, ENOMEM, EDQUOT; `filename` is (type,
                description).

        manpage: request_key(2)
        """
        check_pointers(type, description)
        with ExitStack() as stack:
            type_addr = stack.enter_context(type.borrow(self))
            description_addr = stack.enter_context(description.borrow(self))
            callout_info_addr = self._borrow_optional(stack, callout_info)
            with naming((type.value, description.value)):
                return await _request_key(
                    self.sysif, type_addr, description_addr, callout_info_addr, dest_keyring
                )

    async def keyctl_get_keyring_ID(self, key: KEY_SPEC | int, create: bool = False) -> int:
        """`keyctl(KEYCTL_GET_KEYRING_ID, key, create)`: the number of a special keyring.

        Args:
            create: make it if there is none.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_GET_KEYRING_ID(2const), keyctl(2)
        """
        with naming(key):
            return await _keyctl(self.sysif, KEYCTL.GET_KEYRING_ID, key, int(create))

    async def keyctl_join_session_keyring(self, name: WrittenPointer[str] | None = None) -> int:
        """`keyctl(KEYCTL_JOIN_SESSION_KEYRING, name)`: replace the session keyring of this process.

        Args:
            name: of a keyring to join or make; None for a new one without a name.

        Returns:
            Its number.

        Raises:
            OSError: EACCES, EDQUOT, ENOMEM; `filename` is the name, if there is one.

        manpage: KEYCTL_JOIN_SESSION_KEYRING(2const), keyctl(2)
        """
        with ExitStack() as stack:
            name_addr = self._borrow_optional(stack, name)
            with naming("keyctl_join_session_keyring" if name is None else name.value):
                return await _keyctl(self.sysif, KEYCTL.JOIN_SESSION_KEYRING, name_addr or 0)

    async def keyctl_update(self, key: int, payload: WrittenPointer[Any]) -> None:
        """`keyctl(KEYCTL_UPDATE, key, payload, plen)`: replace what a key has.

        Args:
            payload: all of the memory; not consumed.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EOPNOTSUPP, EINVAL; `filename` is the number.

        manpage: KEYCTL_UPDATE(2const), keyctl(2)
        """
        check_pointers(payload)
        with payload.borrow(self) as payload_addr, naming(key):
            await _keyctl(self.sysif, KEYCTL.UPDATE, key, payload_addr, payload.size())

    async def keyctl_revoke(self, key: int) -> None:
        """`keyctl(KEYCTL_REVOKE, key)`: make a key unusable.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_REVOKE(2const), keyctl(2)
        """
        with naming(key):
            await _keyctl(self.sysif, KEYCTL.REVOKE, key)

    async def keyctl_invalidate(self, key: int) -> None:
        """`keyctl(KEYCTL_INVALIDATE, key)`: remove a key from all keyrings.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_INVALIDATE(2const), keyctl(2)
        """
        with naming(key):
            await _keyctl(self.sysif, KEYCTL.INVALIDATE, key)

    async def keyctl_chown(self, key: int, uid: int, gid: int) -> None:
        """`keyctl(KEYCTL_CHOWN, key, uid, gid)`: change whose a key is; -1 leaves the user or the group.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EDQUOT; `filename` is the number.

        manpage: KEYCTL_CHOWN(2const), keyctl(2)
        """
        with naming(key):
            await _keyctl(self.sysif, KEYCTL.CHOWN, key, uid, gid)

    async def keyctl_setperm(self, key: int, perm: int) -> None:
        """`keyctl(KEYCTL_SETPERM, key, perm)`: set who may do what with a key.

        Args:
            perm: 8 bits each for the possessor, the user, the group and others, from the highest down.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EINVAL; `filename` is the number.

        manpage: KEYCTL_SETPERM(2const), keyctl(2)
        """
        with naming(key):
            await _keyctl(self.sysif, KEYCTL.SETPERM, key, perm)

    async def keyctl_set_timeout(self, key: int, timeout: int) -> None:
        """`keyctl(KEYCTL_SET_TIMEOUT, key, timeout)`: let a key expire in so many seconds; 0 for never.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_SET_TIMEOUT(2const), keyctl(2)
        """
        with naming(key):
            await _keyctl(self.sysif, KEYCTL.SET_TIMEOUT, key, timeout)

    async def keyctl_clear(self, keyring: KEY_SPEC | int) -> None:
        """`keyctl(KEYCTL_CLEAR, keyring)`: unlink all keys of a keyring.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, ENOTDIR; `filename` is the number.

        manpage: KEYCTL_CLEAR(2const), keyctl(2)
        """
        with naming(keyring):
            await _keyctl(self.sysif, KEYCTL.CLEAR, keyring)

    async def keyctl_link(self, key: int, keyring: KEY_SPEC | int) -> None:
        """`keyctl(KEYCTL_LINK, key, keyring)`: link a key to a keyring.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EDQUOT, ENFILE, ELOOP; `filename` is (key,
                keyring).

        manpage: KEYCTL_LINK(2const), keyctl(2)
        """
        with naming((key, keyring)):
            await _keyctl(self.sysif, KEYCTL.LINK, key, keyring)

    async def keyctl_unlink(self, key: int, keyring: KEY_SPEC | int) -> None:
        """`keyctl(KEYCTL_UNLINK, key, keyring)`: unlink a key from a keyring.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, ENOENT; `filename` is (key, keyring).

        manpage: KEYCTL_UNLINK(2const), keyctl(2)
        """
        with naming((key, keyring)):
            await _keyctl(self.sysif, KEYCTL.UNLINK, key, keyring)

    async def keyctl_move(
        self, key: int, from_keyring: KEY_SPEC | int, to_keyring: KEY_SPEC | int, flags: int = 0
    ) -> None:
        """`keyctl(KEYCTL_MOVE, key, from_keyring, to_keyring, flags)`: move a key.

        Args:
            flags: 1 (`KEYCTL_MOVE_EXCL`) to fail with EEXIST in place of replacing another key.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, ENOENT, EEXIST; `filename` is the three
                numbers.

        manpage: KEYCTL_MOVE(2const), keyctl(2)
        """
        with naming((key, from_keyring, to_keyring)):
            await _keyctl(self.sysif, KEYCTL.MOVE, key, from_keyring, to_keyring, flags)

    async def keyctl_search(
        self,
        keyring: KEY_SPEC | int,
        type: WrittenPointer[str],
        description: WrittenPointer[str],
        dest_keyring: KEY_SPEC | int = 0,
    ) -> int:
        """`keyctl(KEYCTL_SEARCH, keyring, type, description, dest_keyring)`: find a key in a keyring, and
        those linked to it.

        Args:
            dest_keyring: where to link it; 0 for nowhere.

        Returns:
            Its number.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is (type, description).

        manpage: KEYCTL_SEARCH(2const), keyctl(2)
        """
        check_pointers(type, description)
        with (
            type.borrow(self) as type_addr,
            description.borrow(self) as description_addr,
            naming((type.value, description.value)),
        ):
            return await _keyctl(
                self.sysif, KEYCTL.SEARCH, keyring, type_addr, description_addr, dest_keyring
            )

    async def keyctl_describe(self, key: KEY_SPEC | int, buffer: Pointer[T]) -> int:
        """`keyctl(KEYCTL_DESCRIBE, key, buffer, buflen)`: "type;uid;gid;permissions;description" of a key.

        Args:
            buffer: where to put it with a NUL behind it; not consumed.

        Returns:
            How many bytes it has. If there is no room for all, nothing is written.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_DESCRIBE(2const), keyctl(2)
        """
        check_pointers(buffer)
        with buffer.borrow(self) as buffer_addr, naming(key):
            return await _keyctl(self.sysif, KEYCTL.DESCRIBE, key, buffer_addr, buffer.size())

    async def keyctl_read(self, key: KEY_SPEC | int, buffer: Pointer[T]) -> int:
        """`keyctl(KEYCTL_READ, key, buffer, buflen)`: what a key has; of a keyring, the numbers of its keys.

        Args:
            buffer: where to put it; not consumed.

        Returns:
            How many bytes it has, which may be more than there is room for.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EOPNOTSUPP; `filename` is the number.

        manpage: KEYCTL_READ(2const), keyctl(2)
        """
        check_pointers(buffer)
        with buffer.borrow(self) as buffer_addr, naming(key):
            return await _keyctl(self.sysif, KEYCTL.READ, key, buffer_addr, buffer.size())

    async def keyctl_get_security(self, key: KEY_SPEC | int, buffer: Pointer[T]) -> int:
        """`keyctl(KEYCTL_GET_SECURITY, key, buffer, buflen)`: the label that a security module gave to a key.

        Args:
            buffer: where to put it with a NUL behind it; not consumed.

        Returns:
            How many bytes it has, which may be more than there is room for.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES; `filename` is the number.

        manpage: KEYCTL_GET_SECURITY(2const), keyctl(2)
        """
        check_pointers(buffer)
        with buffer.borrow(self) as buffer_addr, naming(key):
            return await _keyctl(self.sysif, KEYCTL.GET_SECURITY, key, buffer_addr, buffer.size())

    async def keyctl_get_persistent(self, uid: int, keyring: KEY_SPEC | int) -> int:
        """`keyctl(KEYCTL_GET_PERSISTENT, uid, keyring)`: link the keyring that a user keeps between logins.

        Args:
            uid: the user; -1 for that of this process.
            keyring: where to link it.

        Returns:
            Its number.

        Raises:
            OSError: ENOKEY, EKEYEXPIRED, EKEYREVOKED, EACCES, EPERM, EOPNOTSUPP; `filename` is the user.

        manpage: KEYCTL_GET_PERSISTENT(2const), keyctl(2)
        """
        with naming(uid):
            return await _keyctl(self.sysif, KEYCTL.GET_PERSISTENT, uid, keyring)

    async def keyctl(
        self, operation: KEYCTL, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0
    ) -> int:
        """`keyctl(operation, arg2, arg3, arg4, arg5)`: an operation that has no method, with numbers.

        Args:
            arg2, arg3, arg4, arg5: keep the memory of addresses until the call has returned.

        Raises:
            OSError: what the operation says; `filename` is the operation.

        manpage: keyctl(2)
        """
        with naming(operation):
            return await _keyctl(self.sysif, operation, arg2, arg3, arg4, arg5)


_RING = choice(KEY_SPEC, "KEY_SPEC_")


@call("add_key", STRING, STRING, counted(3), SIZE, _RING)
async def _add_key(
    sysif: SyscallInterface,
    type: near.Address,
    description: near.Address,
    payload: near.Address | None,
    plen: int,
    keyring: int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.add_key, type, description, payload or 0, plen, keyring)


@call("request_key", STRING, STRING, STRING, _RING)
async def _request_key(
    sysif: SyscallInterface,
    type: near.Address,
    description: near.Address,
    callout_info: near.Address | None,
    dest_keyring: KEY_SPEC | int,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.request_key, type, description, callout_info or 0, dest_keyring)


_FILLED = (KEYCTL.DESCRIBE, KEYCTL.READ, KEYCTL.GET_SECURITY)


@call(
    "keyctl",
    choice(KEYCTL, "KEYCTL_"),
    by(0, {KEYCTL.JOIN_SESSION_KEYRING: STRING, KEYCTL.GET_PERSISTENT: INT}, _RING),
    by(
        0,
        {
            **each(_FILLED, OUT),
            **each((KEYCTL.LINK, KEYCTL.UNLINK, KEYCTL.MOVE, KEYCTL.GET_PERSISTENT), _RING),
            KEYCTL.UPDATE: counted(3),
            KEYCTL.SETPERM: Kind("hex"),
            KEYCTL.SEARCH: STRING,
            KEYCTL.CHOWN: INT,
        },
    ),
    by(
        0,
        {
            **each((*_FILLED, KEYCTL.UPDATE), SIZE),
            KEYCTL.MOVE: _RING,
            KEYCTL.SEARCH: STRING,
            KEYCTL.CHOWN: INT,
        },
    ),
    by(0, {KEYCTL.SEARCH: _RING}),
)
async def _keyctl(
    sysif: SyscallInterface,
    operation: KEYCTL,
    arg2: SupportsInt = 0,
    arg3: SupportsInt = 0,
    arg4: SupportsInt = 0,
    arg5: SupportsInt = 0,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.keyctl, operation, arg2, arg3, arg4, arg5)
