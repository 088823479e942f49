"""`<linux/mempolicy.h>`: from which NUMA nodes memory comes."""

from __future__ import annotations

import enum
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import rsyscall.far
from rsyscall.handle.arguments import (
    ADDRESS,
    INT,
    NUMBER,
    PID,
    SIZE,
    Kind,
    Memory,
    call,
    flags,
    integers,
    words,
)
from rsyscall.handle.base_process import BaseProcess
from rsyscall.handle.buffers import require_size, require_size_if_given
from rsyscall.handle.pointer import check_pointers
from rsyscall.near import nr
from rsyscall.near import types as near
from rsyscall.near.naming import naming
from rsyscall.struct import Int32, Int64, Struct, StructList, bits

if TYPE_CHECKING:
    from rsyscall.handle.mapping import MemoryMapping
    from rsyscall.handle.pointer import Pointer, WrittenPointer
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["MPOL", "MPOL_F", "MPOL_MF", "MempolicyProcess", "MempolicyTask", "NodeMask"]

T = TypeVar("T")


class MPOL(enum.IntEnum):
    """`MPOL_*`: policies.

    manpage: set_mempolicy(2)
    """

    DEFAULT = 0
    PREFERRED = 1
    BIND = 2
    INTERLEAVE = 3
    LOCAL = 4
    PREFERRED_MANY = 5
    WEIGHTED_INTERLEAVE = 6  # since Linux 6.9


class MPOL_F(enum.IntFlag):
    """`MPOL_F_*`: flags of `get_mempolicy`; and, from `NUMA_BALANCING` on, of a policy.

    manpage: get_mempolicy(2)
    """

    NONE = 0
    NODE = 1 << 0
    ADDR = 1 << 1
    MEMS_ALLOWED = 1 << 2
    NUMA_BALANCING = 1 << 13
    RELATIVE_NODES = 1 << 14
    STATIC_NODES = 1 << 15


class MPOL_MF(enum.IntFlag):
    """`MPOL_MF_*`: what happens to pages that are there.

    manpage: mbind(2)
    """

    NONE = 0
    STRICT = 1 << 0
    MOVE = 1 << 1
    MOVE_ALL = 1 << 2


_NODES = 1024
# The kernel takes one bit less than it is told.
_MAXNODE = _NODES + 1


class NodeMask(Struct, set[int]):
    """A set of NUMA nodes, numbered from 0, with room for 1024.

    manpage: set_mempolicy(2)
    """

    __slots__ = ()

    def to_bytes(self) -> bytes:
        """Return 128 bytes; ValueError for a node that there is no bit for."""
        mask = 0
        for node in self:
            if not 0 <= node < _NODES:
                raise ValueError(f"node {node} cannot be in a NodeMask")
            mask |= 1 << node
        return mask.to_bytes(_NODES // 8, "little")

    @classmethod
    def from_bytes(cls, data: bytes) -> NodeMask:
        """Read a set of any length."""
        return cls(bits(int.from_bytes(data, "little"), one_indexed=False))

    @classmethod
    def sizeof(cls) -> int:
        """Return 128."""
        return _NODES // 8


class MempolicyTask(rsyscall.far.Task):
    """From which nodes memory of this process comes."""

    async def set_mempolicy(self, mode: MPOL | int, nodemask: WrittenPointer[NodeMask] | None) -> None:
        """`set_mempolicy(mode, nodemask, maxnode)`: set the policy of this process for memory to come.

        Args:
            mode: may be or-ed with flags of `MPOL_F`.
            nodemask: None for no nodes; not consumed.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EPERM; `filename` is the policy.

        manpage: set_mempolicy(2)
        """
        require_size_if_given(nodemask, NodeMask.sizeof())
        with ExitStack() as stack:
            nodemask_addr = self._borrow_optional(stack, nodemask)
            with naming(mode):
                await _set_mempolicy(self.sysif, mode, nodemask_addr, 0 if nodemask is None else _MAXNODE)

    async def get_mempolicy(
        self,
        mode: Pointer[Int32] | None,
        nodemask: Pointer[NodeMask] | None = None,
        addr: near.Address | None = None,
        flags: MPOL_F = MPOL_F.NONE,
    ) -> None:
        """`get_mempolicy(mode, nodemask, maxnode, addr, flags)`: the policy of this process, or of memory.

        Args:
            mode: where to put the policy, or with `MPOL_F.NODE` a node.
            nodemask: where to put the nodes.
            addr: of the memory, with `MPOL_F.ADDR`.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EPERM, EFAULT; `filename` is the flags.

        manpage: get_mempolicy(2)
        """
        require_size_if_given(mode, Int32.sizeof())
        require_size_if_given(nodemask, NodeMask.sizeof())
        with ExitStack() as stack:
            mode_addr = self._borrow_optional(stack, mode)
            nodemask_addr = self._borrow_optional(stack, nodemask)
            with naming(flags):
                await _get_mempolicy(
                    self.sysif, mode_addr, nodemask_addr, 0 if nodemask is None else _MAXNODE, addr, flags
                )

    async def mbind(
        self,
        mapping: MemoryMapping,
        mode: MPOL | int,
        nodemask: WrittenPointer[NodeMask] | None,
        flags: MPOL_MF = MPOL_MF.NONE,
    ) -> None:
        """`mbind(address, length, mode, nodemask, maxnode, flags)`: set the policy of mapped pages.

        Args:
            mapping: the pages, of this address space.
            mode: may be or-ed with flags of `MPOL_F`.
            flags: what happens to pages that are there.

        Raises:
            BufferTooSmallError: the memory is too small.
            UseAfterFreeError: some of the pages are unmapped.
            AddressSpaceMismatchError: they are in another
                address space.
            OSError: EINVAL, EPERM, EIO (`MPOL_MF.STRICT`); `filename` is the mapping.

        manpage: mbind(2)
        """
        require_size_if_given(nodemask, NodeMask.sizeof())
        self.check_address_space(mapping.task.address_space)
        mapping._validate()
        with ExitStack() as stack:
            nodemask_addr = self._borrow_optional(stack, nodemask)
            with naming(mapping):
                await _mbind(
                    self.sysif, mapping.near, mode, nodemask_addr, 0 if nodemask is None else _MAXNODE, flags
                )

    async def set_mempolicy_home_node(self, mapping: MemoryMapping, home_node: int) -> None:
        """`set_mempolicy_home_node(address, length, home_node, 0)`: the node of a policy that is tried first.

        Raises:
            UseAfterFreeError: some of the pages are unmapped.
            OSError: EINVAL, ENOENT (the pages have no
                policy for it), EOPNOTSUPP; ENOSYS before Linux 5.17; `filename` is the mapping.

        manpage: set_mempolicy(2)
        """
        self.check_address_space(mapping.task.address_space)
        mapping._validate()
        with naming(mapping):
            await _set_mempolicy_home_node(self.sysif, mapping.near, home_node)


class MempolicyProcess(BaseProcess):
    """On which nodes the process has its memory."""

    async def migrate_pages(
        self, old_nodes: WrittenPointer[NodeMask], new_nodes: WrittenPointer[NodeMask]
    ) -> int:
        """`migrate_pages(pid, maxnode, old_nodes, new_nodes)`: move its memory from some nodes to others.

        Returns:
            How many pages could not be moved.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EPERM, ESRCH; `filename` is the process.

        manpage: migrate_pages(2)
        """
        check_pointers(old_nodes, new_nodes)
        require_size(old_nodes, NodeMask.sizeof())
        require_size(new_nodes, NodeMask.sizeof())
        with (
            self._using(),
            old_nodes.borrow(self.task) as old_nodes_addr,
            new_nodes.borrow(self.task) as new_nodes_addr,
            naming(self.near),
        ):
            return await _migrate_pages(self.task.sysif, self.near, old_nodes_addr, new_nodes_addr)

    async def move_pages(
        self,
        pages: WrittenPointer[StructList[Int64]],
        nodes: WrittenPointer[StructList[Int32]] | None,
        status: Pointer[T],
        flags: MPOL_MF = MPOL_MF.NONE,
    ) -> int:
        """`move_pages(pid, count, pages, nodes, status, flags)`: move pages to nodes, or ask where they are.

        Args:
            pages: their addresses in the process; not consumed.
            nodes: a node for each; None only asks.
            status: where to put the node, or a negative error, of each: 4 bytes; not consumed.

        Returns:
            How many could not be moved.

        Raises:
            BufferTooSmallError: the memory is too small.
            OSError: EINVAL, EPERM, EACCES, ENODEV, ESRCH; `filename` is the process.

        manpage: move_pages(2)
        """
        check_pointers(pages, status)
        count = len(pages.value.elems)
        require_size(status, count * Int32.sizeof())
        require_size(pages, count * Int64.sizeof())
        require_size_if_given(nodes, count * Int32.sizeof())
        with self._using(), ExitStack() as stack:
            pages_addr = stack.enter_context(pages.borrow(self.task))
            nodes_addr = self.task._borrow_optional(stack, nodes)
            status_addr = stack.enter_context(status.borrow(self.task))
            with naming(self.near):
                return await _move_pages(
                    self.task.sysif, self.near, count, pages_addr, nodes_addr, status_addr, flags
                )


_MODE = Kind("memory_policy")
_NODES_OF_NEXT = {index: Memory("node_mask", length_in=index + 1) for index in (1, 3)}


@call("set_mempolicy", _MODE, _NODES_OF_NEXT[1], INT)
async def _set_mempolicy(
    sysif: SyscallInterface, mode: int, nodemask: near.Address | None, maxnode: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.set_mempolicy, mode, nodemask or 0, maxnode)


@call(
    "get_mempolicy",
    Memory("memory_policy_out", after=True, size=4),
    Memory("node_mask", after=True, length_in=2),
    INT,
    ADDRESS,
    flags(MPOL_F, "MPOL_F_"),
)
async def _get_mempolicy(
    sysif: SyscallInterface,
    mode: near.Address | None,
    nodemask: near.Address | None,
    maxnode: int,
    addr: near.Address | None,
    flags: MPOL_F,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.get_mempolicy, mode or 0, nodemask or 0, maxnode, addr or 0, flags)


@call("mbind", ADDRESS, SIZE, _MODE, _NODES_OF_NEXT[3], INT, flags(MPOL_MF, "MPOL_MF_"))
async def _mbind(
    sysif: SyscallInterface,
    pages: near.MemoryMapping,
    mode: int,
    nodemask: near.Address | None,
    maxnode: int,
    flags: MPOL_MF,
) -> None:
    """The raw call."""
    await sysif.syscall(nr.mbind, pages.address, pages.length, mode, nodemask or 0, maxnode, flags)


@call("set_mempolicy_home_node", ADDRESS, SIZE, INT, NUMBER)
async def _set_mempolicy_home_node(
    sysif: SyscallInterface, pages: near.MemoryMapping, home_node: int
) -> None:
    """The raw call."""
    await sysif.syscall(nr.set_mempolicy_home_node, pages.address, pages.length, home_node, 0)


@call("migrate_pages", PID, INT, *[Memory("node_mask", length_in=1)] * 2)
async def _migrate_pages(
    sysif: SyscallInterface, pid: near.Process, old_nodes: near.Address, new_nodes: near.Address
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.migrate_pages, pid, _MAXNODE, old_nodes, new_nodes)


@call("move_pages", PID, SIZE, words(1), integers(1), ADDRESS, flags(MPOL_MF, "MPOL_MF_"))
async def _move_pages(
    sysif: SyscallInterface,
    pid: near.Process,
    count: int,
    pages: near.Address,
    nodes: near.Address | None,
    status: near.Address,
    flags: MPOL_MF,
) -> int:
    """The raw call."""
    return await sysif.syscall(nr.move_pages, pid, count, pages, nodes or 0, status, flags)
