"""`<linux/if_alg.h>`: sockets that encrypt and hash in the kernel."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import ClassVar

from rsyscall.cstruct import CStruct, constant, string, u16, u32
from rsyscall.sys._cmsg_known import CmsgNumber
from rsyscall.sys.socket import AF, SOL, Sockaddr, _register_sockaddr

__all__ = ["ALG_OP", "ALG_SET", "CmsgAlgAeadAssoclen", "CmsgAlgOp", "SockaddrAlg"]


class ALG_SET(enum.IntEnum):
    """`ALG_SET_*`: options at level `SOL.ALG`, and types of control messages of that level.

    A key is set as an option of the bound socket; the operation and the initialization vector are control
    messages to the accepted one.
    """

    KEY = 1
    IV = 2
    OP = 3
    AEAD_ASSOCLEN = 4
    AEAD_AUTHSIZE = 5
    DRBG_ENTROPY = 6


class ALG_OP(enum.IntEnum):
    """`ALG_OP_*`: what to do, the data of a control message `ALG_SET.OP`."""

    DECRYPT = 0
    ENCRYPT = 1


class SockaddrAlg(
    CStruct, Sockaddr, c="struct sockaddr_alg", headers=("linux/if_alg.h",), size=88, frozen=True
):
    """`struct sockaddr_alg`: names an algorithm of the kernel, for `bind`.

    Args:
        type: "hash", "skcipher", "aead" or "rng"; at most 13 characters.
        name: as in /proc/crypto, for example "sha256" or "cbc(aes)"; at most 63 characters.
        feat, mask: as `crypto_alloc_*` in the kernel takes them.

    Raises:
        ValueError: a name is too long; the kernel would see another one.
    """

    family: ClassVar[AF] = constant(u16("salg_family"), AF.ALG)  # type: ignore[misc]  # the same for all of them
    type: str = string("salg_type", 14)
    name: str = string("salg_name", 64, offset=24)
    feat: int = u32("salg_feat", offset=16, default=0)
    mask: int = u32("salg_mask", offset=20, default=0)

    def __post_init__(self) -> None:
        for what, text, most in (("type", self.type, 13), ("name", self.name, 63)):
            if len(os.fsencode(text)) > most or "\0" in text:
                raise ValueError(f"{what} of an algorithm: up to {most} bytes without NUL, not {text!r}")

    @classmethod
    def from_bytes(cls, data: bytes) -> SockaddrAlg:
        """Parse an address as the kernel does, which takes the last byte of a name for a NUL."""
        whole = bytearray(data)
        for last in (15, 87):
            if last < len(whole):
                whole[last] = 0
        return super().from_bytes(bytes(whole))


@dataclass(frozen=True)
class CmsgAlgOp(CmsgNumber, level=SOL.ALG, type=ALG_SET.OP, format="I"):
    """`ALG_SET_OP`: what to do with the data, an `ALG_OP`; never received."""


@dataclass(frozen=True)
class CmsgAlgAeadAssoclen(CmsgNumber, level=SOL.ALG, type=ALG_SET.AEAD_ASSOCLEN, format="I"):
    """`ALG_SET_AEAD_ASSOCLEN`: how many bytes at the beginning are authenticated alone; never received."""


_register_sockaddr(SockaddrAlg)
