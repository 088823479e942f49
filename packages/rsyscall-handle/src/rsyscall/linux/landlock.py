"""`<linux/landlock.h>`: giving up rights to files, ports and other processes, without any privilege.

A ruleset names the kinds of access that it handles: those are denied from `landlock_restrict_self` on, except
where a rule allows them. What is handled must be known to the kernel, which `Task.landlock_abi` tells:

    abi = await task.landlock_abi()
    attr = RulesetAttr(LANDLOCK_ACCESS_FS.of_abi(abi), LANDLOCK_ACCESS_NET.of_abi(abi))
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsyscall import far
from rsyscall.cstruct import CStruct, i32, u64
from rsyscall.handle.arguments import ADDRESS, FDNUM, SIZE, by, call, choice, flags, given
from rsyscall.handle.buffers import require_size
from rsyscall.handle.fd import BaseFileDescriptor, FileDescriptorTask, T_fd
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.near.record import CallRecord
from rsyscall.struct import HasSerializer, Serializer

if TYPE_CHECKING:
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = [
    "LANDLOCK_ACCESS_FS",
    "LANDLOCK_ACCESS_NET",
    "LANDLOCK_ADD_RULE",
    "LANDLOCK_CREATE_RULESET",
    "LANDLOCK_RESTRICT_SELF",
    "LANDLOCK_RULE",
    "LANDLOCK_SCOPE",
    "LandlockFileDescriptor",
    "LandlockTask",
    "NetPortAttr",
    "PathBeneathAttr",
    "RulesetAttr",
]


class LANDLOCK_ACCESS_FS(enum.IntFlag):
    """`LANDLOCK_ACCESS_FS_*`: kinds of access to files.

    manpage: landlock(7)
    """

    NONE = 0
    EXECUTE = 0x1
    WRITE_FILE = 0x2
    READ_FILE = 0x4
    READ_DIR = 0x8
    REMOVE_DIR = 0x10
    REMOVE_FILE = 0x20
    MAKE_CHAR = 0x40
    MAKE_DIR = 0x80
    MAKE_REG = 0x100
    MAKE_SOCK = 0x200
    MAKE_FIFO = 0x400
    MAKE_BLOCK = 0x800
    MAKE_SYM = 0x1000
    REFER = 0x2000  # since Linux 5.19
    TRUNCATE = 0x4000  # since Linux 6.2
    IOCTL_DEV = 0x8000  # since Linux 6.10
    RESOLVE_UNIX = 0x10000  # since Linux 7.1

    @classmethod
    def of_abi(cls, abi: int) -> LANDLOCK_ACCESS_FS:
        """All that a kernel with that version of the interface knows, and that are known here."""
        last = max((bit for since, bit in _LAST_FS.items() if since <= abi), default=cls.NONE)
        return cls(max(0, 2 * last - 1))


_LAST_FS = {
    1: LANDLOCK_ACCESS_FS.MAKE_SYM,
    2: LANDLOCK_ACCESS_FS.REFER,
    3: LANDLOCK_ACCESS_FS.TRUNCATE,
    5: LANDLOCK_ACCESS_FS.IOCTL_DEV,
    9: LANDLOCK_ACCESS_FS.RESOLVE_UNIX,
}
"""The version of the interface, and the highest bit that came with it."""


class LANDLOCK_ACCESS_NET(enum.IntFlag):
    """`LANDLOCK_ACCESS_NET_*`: kinds of access to ports.

    manpage: landlock(7)
    """

    NONE = 0
    BIND_TCP = 0x1  # since Linux 6.7
    CONNECT_TCP = 0x2  # since Linux 6.7
    BIND_UDP = 0x4  # since Linux 7.2
    CONNECT_SEND_UDP = 0x8  # since Linux 7.2

    @classmethod
    def of_abi(cls, abi: int) -> LANDLOCK_ACCESS_NET:
        """All that a kernel with that version of the interface knows, and that are known here."""
        tcp, udp = cls.BIND_TCP | cls.CONNECT_TCP, cls.BIND_UDP | cls.CONNECT_SEND_UDP
        return (tcp if abi >= 4 else cls.NONE) | (udp if abi >= 10 else cls.NONE)


class LANDLOCK_SCOPE(enum.IntFlag):
    """`LANDLOCK_SCOPE_*`: what may only be done to processes that are confined as much, or more.

    manpage: landlock(7)
    """

    NONE = 0
    ABSTRACT_UNIX_SOCKET = 0x1  # since Linux 6.12
    SIGNAL = 0x2  # since Linux 6.12

    @classmethod
    def of_abi(cls, abi: int) -> LANDLOCK_SCOPE:
        """All that a kernel with that version of the interface knows, and that are known here."""
        return cls.ABSTRACT_UNIX_SOCKET | cls.SIGNAL if abi >= 6 else cls.NONE


class LANDLOCK_RULE(enum.IntEnum):
    """`LANDLOCK_RULE_*`: kinds of rules.

    manpage: landlock_add_rule(2)
    """

    PATH_BENEATH = 1
    NET_PORT = 2  # since Linux 6.7


class LANDLOCK_CREATE_RULESET(enum.IntFlag):
    """`LANDLOCK_CREATE_RULESET_*`: what `landlock_create_ruleset` returns in place of a ruleset.

    manpage: landlock_create_ruleset(2)
    """

    NONE = 0
    VERSION = 0x1
    ERRATA = 0x2  # since Linux 6.15


class LANDLOCK_ADD_RULE(enum.IntFlag):
    """`LANDLOCK_ADD_RULE_*`: flags of `landlock_add_rule`.

    manpage: landlock_add_rule(2)
    """

    NONE = 0
    QUIET = 0x1  # since Linux 7.2


class LANDLOCK_RESTRICT_SELF(enum.IntFlag):
    """`LANDLOCK_RESTRICT_SELF_*`: flags of `landlock_restrict_self`.

    manpage: landlock_restrict_self(2)
    """

    NONE = 0
    LOG_SAME_EXEC_OFF = 0x1  # since Linux 6.15
    LOG_NEW_EXEC_ON = 0x2  # since Linux 6.15
    LOG_SUBDOMAINS_OFF = 0x4  # since Linux 6.15
    TSYNC = 0x8  # since Linux 7.0
    NO_NEW_PRIVS = 0x10  # since Linux 7.3


class RulesetAttr(CStruct, c="struct landlock_ruleset_attr", headers=("linux/landlock.h",)):
    """`struct landlock_ruleset_attr`: what is denied unless a rule allows it.

    The `quiet_` fields name those denials that are not logged: with `LANDLOCK_ADD_RULE.QUIET`, or of a scope.

    manpage: landlock_create_ruleset(2)
    """

    handled_access_fs: LANDLOCK_ACCESS_FS = u64(
        "handled_access_fs", LANDLOCK_ACCESS_FS, default=LANDLOCK_ACCESS_FS.NONE
    )
    handled_access_net: LANDLOCK_ACCESS_NET = u64(  # since Linux 6.7
        "handled_access_net", LANDLOCK_ACCESS_NET, default=LANDLOCK_ACCESS_NET.NONE
    )
    scoped: LANDLOCK_SCOPE = u64("scoped", LANDLOCK_SCOPE, default=LANDLOCK_SCOPE.NONE)  # since Linux 6.12
    quiet_access_fs: LANDLOCK_ACCESS_FS = u64(  # since Linux 7.2
        "quiet_access_fs", LANDLOCK_ACCESS_FS, default=LANDLOCK_ACCESS_FS.NONE
    )
    quiet_access_net: LANDLOCK_ACCESS_NET = u64(  # since Linux 7.2
        "quiet_access_net", LANDLOCK_ACCESS_NET, default=LANDLOCK_ACCESS_NET.NONE
    )
    quiet_scoped: LANDLOCK_SCOPE = u64(  # since Linux 7.2
        "quiet_scoped", LANDLOCK_SCOPE, default=LANDLOCK_SCOPE.NONE
    )


_FIRST_SIZE = 8
"""Of `struct landlock_ruleset_attr` in Linux 5.13."""


class NetPortAttr(CStruct, c="struct landlock_net_port_attr", headers=("linux/landlock.h",)):
    """`struct landlock_net_port_attr`: what is allowed with a port. With port 0, `bind` may choose any.

    manpage: landlock_add_rule(2)
    """

    allowed_access: LANDLOCK_ACCESS_NET = u64("allowed_access", LANDLOCK_ACCESS_NET)  # since Linux 6.7
    port: int = u64("port")  # since Linux 6.7


class _PathBeneath(CStruct, c="struct landlock_path_beneath_attr", headers=("linux/landlock.h",), size=12):
    allowed_access: LANDLOCK_ACCESS_FS = u64("allowed_access", LANDLOCK_ACCESS_FS)
    parent_fd: int = i32("parent_fd")


@dataclass(frozen=True)
class PathBeneathAttr(HasSerializer):
    """`struct landlock_path_beneath_attr`: what is allowed with a file, or below a directory.

    Args:
        allowed_access: some of what the ruleset handles; for a file only what makes sense for one.
        parent_fd: the file or directory; `O.PATH` will do.

    manpage: landlock_add_rule(2)
    """

    allowed_access: LANDLOCK_ACCESS_FS
    parent_fd: BaseFileDescriptor

    def get_self_serializer(self, task: far.Task) -> _PathBeneathSerializer:
        """The serializer, which writes the number of the descriptor."""
        return _PathBeneathSerializer()


class _PathBeneathSerializer(Serializer[PathBeneathAttr]):
    def to_bytes(self, val: PathBeneathAttr) -> bytes:
        return _PathBeneath(val.allowed_access, int(val.parent_fd.near)).to_bytes()

    def from_bytes(self, data: bytes) -> PathBeneathAttr:
        raise NotImplementedError("a number cannot be made into a descriptor again")


class LandlockFileDescriptor(BaseFileDescriptor):
    """A ruleset."""

    __slots__ = ()

    async def landlock_add_rule(
        self,
        rule_attr: WrittenPointer[NetPortAttr] | WrittenPointer[PathBeneathAttr],
        flags: LANDLOCK_ADD_RULE = LANDLOCK_ADD_RULE.NONE,
    ) -> None:
        """`landlock_add_rule(fd, rule_type, rule_attr, flags)`: allow something in this ruleset.

        Args:
            rule_attr: the rule, which is of the type that its class says; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            FDTableMismatchError: `parent_fd` is of another table.
            OSError: EINVAL (the ruleset does not handle that, or it makes no sense for a file), ENOMSG (no
                access at all), EBADFD (the descriptor is no file that can be restricted), EBADF; `filename`
                is (fd, rule).

        manpage: landlock_add_rule(2)
        """
        self._validate()
        check_pointers(rule_attr)
        rule = rule_attr.value
        with rule_attr.borrow(self.task) as addr, naming((self, rule)):
            if isinstance(rule, PathBeneathAttr):
                require_size(rule_attr, _PathBeneath.sizeof())
                with rule.parent_fd.borrow(self.task):
                    await _landlock_add_rule(
                        self.task.sysif, self.near, LANDLOCK_RULE.PATH_BENEATH, addr, flags
                    )
            else:
                require_size(rule_attr, NetPortAttr.sizeof())
                await _landlock_add_rule(self.task.sysif, self.near, LANDLOCK_RULE.NET_PORT, addr, flags)

    async def landlock_restrict_self(
        self, flags: LANDLOCK_RESTRICT_SELF = LANDLOCK_RESTRICT_SELF.NONE
    ) -> None:
        """`landlock_restrict_self(fd, flags)`: confine the task by this ruleset.

        It confines the one thread that makes the calls of the task, what the task executes and the children
        that it makes from now on. That can be made stricter by another ruleset, and never be undone.

        Raises:
            OSError: EPERM (set `PR.SET_NO_NEW_PRIVS` first, or have CAP_SYS_ADMIN), E2BIG (16 rulesets),
                EBADFD (no ruleset); `filename` is this descriptor.

        manpage: landlock_restrict_self(2)
        """
        self._validate()
        with naming(self):
            await _landlock_restrict_self(self.task.sysif, self.near, flags)


class LandlockTask(FileDescriptorTask[T_fd]):
    """Making rulesets."""

    async def landlock_create_ruleset(self, attr: Pointer[RulesetAttr]) -> T_fd:
        """`landlock_create_ruleset(attr, size, 0)`: make a ruleset.

        Args:
            attr: what it denies; not consumed. Its first members are enough, 8 bytes or more: all that is
                behind them is empty. One with more members is taken, too, if the kernel knows those that are
                not empty.

        Returns:
            A new descriptor.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL (something that this kernel does not know, see `landlock_abi`), E2BIG (the same),
                ENOMSG (it denies nothing), EOPNOTSUPP (switched off); ENOSYS before Linux 5.13; `filename` is
                "landlock_create_ruleset".

        manpage: landlock_create_ruleset(2)
        """
        check_pointers(attr)
        require_size(attr, _FIRST_SIZE)
        record = CallRecord(self.fd_table)
        with attr.borrow(self) as addr, naming("landlock_create_ruleset"):
            fd = await _landlock_create_ruleset(self.sysif, record, addr, attr.size())
        return self._adopt(fd, record)

    async def landlock_abi(self, flags: LANDLOCK_CREATE_RULESET = LANDLOCK_CREATE_RULESET.VERSION) -> int:
        """`landlock_create_ruleset(NULL, 0, flags)`: ask for the version of the interface.

        Args:
            flags: `LANDLOCK_CREATE_RULESET.ERRATA` to ask which errors of this version are corrected.

        Returns:
            The version; or bits, bit 0 for the first error.

        Raises:
            OSError: EOPNOTSUPP (switched off), EINVAL; ENOSYS before Linux 5.13; `filename` is the flags.

        manpage: landlock_create_ruleset(2)
        """
        if flags == LANDLOCK_CREATE_RULESET.NONE:
            raise ValueError("without flags it makes a ruleset: landlock_create_ruleset")
        with naming(flags):
            return await self.sysif.syscall(nr.landlock_create_ruleset, 0, 0, flags)


@call(
    "landlock_create_ruleset",
    given(RulesetAttr, 1),
    SIZE,
    flags(LANDLOCK_CREATE_RULESET, "LANDLOCK_CREATE_RULESET_"),
)
async def _landlock_create_ruleset(
    sysif: SyscallInterface, record: CallRecord, attr: near.Address, size: int
) -> near.FileDescriptor:
    """The raw call; `record` owns the number that comes back."""
    return near.FileDescriptor(
        await sysif.recorded_syscall(record, nr.landlock_create_ruleset, attr, size, 0)
    )


@call(
    "landlock_add_rule",
    FDNUM,
    choice(LANDLOCK_RULE, "LANDLOCK_RULE_"),
    by(
        1,
        {LANDLOCK_RULE.PATH_BENEATH: given(_PathBeneath), LANDLOCK_RULE.NET_PORT: given(NetPortAttr)},
        ADDRESS,
    ),
    flags(LANDLOCK_ADD_RULE, "LANDLOCK_ADD_RULE_"),
)
async def _landlock_add_rule(
    sysif: SyscallInterface,
    ruleset_fd: near.FileDescriptor,
    rule_type: LANDLOCK_RULE,
    rule_attr: near.Address,
    flags: LANDLOCK_ADD_RULE,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.landlock_add_rule, ruleset_fd, rule_type, rule_attr, flags)


@call("landlock_restrict_self", FDNUM, flags(LANDLOCK_RESTRICT_SELF, "LANDLOCK_RESTRICT_SELF_"))
async def _landlock_restrict_self(
    sysif: SyscallInterface, ruleset_fd: near.FileDescriptor, flags: LANDLOCK_RESTRICT_SELF
) -> None:
    """The raw call."""
    await sysif.syscall(nr.landlock_restrict_self, ruleset_fd, flags)
