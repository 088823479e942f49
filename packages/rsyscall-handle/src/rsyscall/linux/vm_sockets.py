"""`<linux/vm_sockets.h>`: sockets between a virtual machine and its host."""

from __future__ import annotations

import enum
from typing import ClassVar

from rsyscall.cstruct import CStruct, constant, u8, u16, u32
from rsyscall.sys.socket import AF, Sockaddr, _register_sockaddr

__all__ = ["SO_VM_SOCKETS", "VMADDR_CID", "VMADDR_FLAG", "VMADDR_PORT_ANY", "SockaddrVm"]

VMADDR_PORT_ANY = 0xFFFFFFFF
"""In `bind`: the kernel chooses a port."""


class VMADDR_CID(enum.IntEnum):
    """`VMADDR_CID_*`: machines with a number of their own; others are plain numbers.

    manpage: vsock(7)
    """

    HYPERVISOR = 0
    LOCAL = 1
    HOST = 2
    ANY = 0xFFFFFFFF


class VMADDR_FLAG(enum.IntFlag):
    """`VMADDR_FLAG_*`: of an address to connect to. `TO_HOST` sends all to the host, whatever the number.

    manpage: vsock(7)
    """

    NONE = 0
    TO_HOST = 0x01


class SO_VM_SOCKETS(enum.IntEnum):
    """`SO_VM_SOCKETS_*`: options at the level `AF.VSOCK`. The sizes of buffers are of 64 bits.

    manpage: vsock(7)
    """

    BUFFER_SIZE = 0
    BUFFER_MIN_SIZE = 1
    BUFFER_MAX_SIZE = 2
    PEER_HOST_VM_ID = 3
    TRUSTED = 5
    CONNECT_TIMEOUT_OLD = 6
    CONNECT_TIMEOUT = 6
    NONBLOCK_TXRX = 7
    CONNECT_TIMEOUT_NEW = 8


class SockaddrVm(
    CStruct,
    Sockaddr,
    c="struct sockaddr_vm",
    headers=("sys/socket.h", "linux/vm_sockets.h"),
    size=16,
    frozen=True,
):
    """`struct sockaddr_vm`: the address of a socket of a virtual machine or of its host.

    Args:
        port: up to 1023 only with CAP_NET_BIND_SERVICE.
        cid: number of the machine, or a `VMADDR_CID`.
        flags: only in `connect`.

    manpage: vsock(7)
    """

    family: ClassVar[AF] = constant(u16("svm_family"), AF.VSOCK)  # type: ignore[misc]  # the same for all of them
    port: int = u32("svm_port", offset=4, default=VMADDR_PORT_ANY)
    cid: int = u32("svm_cid", default=VMADDR_CID.ANY)
    flags: VMADDR_FLAG = u8("svm_flags", VMADDR_FLAG, prefix="VMADDR_FLAG_", default=VMADDR_FLAG.NONE)


_register_sockaddr(SockaddrVm)
