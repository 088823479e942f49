"""`<linux/filter.h>`: programs of classic BPF, which filter packets and system calls."""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsyscall.cstruct import CStruct, u8, u16, u32
from rsyscall.handle.buffers import require_size
from rsyscall.struct import HasSerializer, Serializer, StructList

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rsyscall import far
    from rsyscall.handle.pointer import WrittenPointer

__all__ = ["BPF", "SockFilter", "SockFprog"]

_FPROG = struct.Struct("=H6xQ")


class BPF(enum.IntFlag):
    """`BPF_*`: what an instruction does: a class, or-ed with one each of what goes with it.

    `LD`, `W`, `IMM`, `ADD`, `JA` and `K` are all 0.

    manpage: bpf(2)
    """

    LD = 0x00
    LDX = 0x01
    ST = 0x02
    STX = 0x03
    ALU = 0x04
    JMP = 0x05
    RET = 0x06
    MISC = 0x07
    W = 0x00
    H = 0x08
    B = 0x10
    IMM = 0x00
    ABS = 0x20
    IND = 0x40
    MEM = 0x60
    LEN = 0x80
    MSH = 0xA0
    ADD = 0x00
    SUB = 0x10
    MUL = 0x20
    DIV = 0x30
    OR = 0x40
    AND = 0x50
    LSH = 0x60
    RSH = 0x70
    NEG = 0x80
    MOD = 0x90
    XOR = 0xA0
    JA = 0x00
    JEQ = 0x10
    JGT = 0x20
    JGE = 0x30
    JSET = 0x40
    K = 0x00
    X = 0x08
    A = 0x10
    TAX = 0x00
    TXA = 0x80


class SockFilter(CStruct, c="struct sock_filter", headers=("linux/filter.h",), frozen=True):
    """`struct sock_filter`: an instruction.

    Args:
        code: what it does.
        k: its operand.
        jt: of a jump with a condition: how many instructions to skip if it is true.
        jf: the same if it is false.
    """

    code: BPF = u16("code", BPF)
    jt: int = u8("jt", default=0)
    jf: int = u8("jf", default=0)
    k: int = u32("k", default=0)


@dataclass(frozen=True)
class SockFprog(HasSerializer):
    """`struct sock_fprog`: a program in memory.

    Args:
        filter: its instructions, 4096 at most.
    """

    filter: WrittenPointer[StructList[SockFilter]]

    @staticmethod
    def program(instructions: Sequence[SockFilter]) -> StructList[SockFilter]:
        """The instructions as they are put into memory."""
        return StructList(SockFilter, list(instructions))

    def get_self_serializer(self, task: far.Task) -> _SockFprogSerializer:
        """The serializer, which writes the length and the address of the program."""
        return _SockFprogSerializer()

    def borrow_with(self, stack: ExitStack, task: far.Task) -> None:
        """Borrow the instructions for `task`, until `stack` is left."""
        require_size(self.filter, len(self.filter.value.elems) * SockFilter.sizeof())
        stack.enter_context(self.filter.borrow(task))

    @staticmethod
    def sizeof() -> int:
        """The size of the structure in bytes."""
        return _FPROG.size


class _SockFprogSerializer(Serializer[SockFprog]):
    def to_bytes(self, val: SockFprog) -> bytes:
        return _FPROG.pack(len(val.filter.value.elems), int(val.filter.near))

    def from_bytes(self, data: bytes) -> SockFprog:
        raise NotImplementedError("an address cannot be made into a pointer again")
