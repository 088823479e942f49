"""The constants and structures of `<sys/ptrace.h>`; import them from `rsyscall.sys.ptrace`."""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Sequence
from typing import NamedTuple

from rsyscall.cstruct import CStruct, array, i32, known, u8, u16, u32, u64
from rsyscall.linux.seccomp import AUDIT_ARCH, SECCOMP_FILTER_FLAG
from rsyscall.near.abi import ABI
from rsyscall.signal import SIG, signal_number
from rsyscall.sys.prctl import PR_SYS_DISPATCH
from rsyscall.sys.wait import CLD, ChildState

__all__ = [
    "NT",
    "PTRACE",
    "PTRACE_EVENT",
    "PTRACE_EVENTMSG_SYSCALL",
    "PTRACE_O",
    "PTRACE_PEEKSIGINFO",
    "PTRACE_SYSCALL_INFO",
    "PtracePeeksiginfoArgs",
    "PtraceRseqConfiguration",
    "PtraceStop",
    "PtraceSudConfig",
    "PtraceSyscallInfo",
    "SeccompMetadata",
    "UserPtRegs",
    "UserRegsRiscv",
    "UserRegsX86",
    "user_regs",
]


class PTRACE(enum.IntEnum):
    """`PTRACE_*`: requests of `ptrace` that all architectures have, and `SYSEMU`, which riscv64 lacks.

    manpage: ptrace(2)
    """

    TRACEME = 0
    PEEKTEXT = 1
    PEEKDATA = 2
    PEEKUSR = 3
    POKETEXT = 4
    POKEDATA = 5
    POKEUSR = 6
    CONT = 7
    KILL = 8
    SINGLESTEP = 9
    ATTACH = 16
    DETACH = 17
    SYSCALL = 24
    SYSEMU = 31
    SYSEMU_SINGLESTEP = 32
    SETOPTIONS = 0x4200
    GETEVENTMSG = 0x4201
    GETSIGINFO = 0x4202
    SETSIGINFO = 0x4203
    GETREGSET = 0x4204
    SETREGSET = 0x4205
    SEIZE = 0x4206
    INTERRUPT = 0x4207
    LISTEN = 0x4208
    PEEKSIGINFO = 0x4209
    GETSIGMASK = 0x420A
    SETSIGMASK = 0x420B
    SECCOMP_GET_FILTER = 0x420C
    SECCOMP_GET_METADATA = 0x420D
    GET_SYSCALL_INFO = 0x420E
    GET_RSEQ_CONFIGURATION = 0x420F
    SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210  # since Linux 6.4
    GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211  # since Linux 6.4
    SET_SYSCALL_INFO = 0x4212  # since Linux 6.16


class PTRACE_O(enum.IntFlag):
    """`PTRACE_O_*`: at which events a traced process stops, and what happens when its tracer ends.

    manpage: ptrace(2)
    """

    NONE = 0
    TRACESYSGOOD = 0x1
    TRACEFORK = 0x2
    TRACEVFORK = 0x4
    TRACECLONE = 0x8
    TRACEEXEC = 0x10
    TRACEVFORKDONE = 0x20
    TRACEEXIT = 0x40
    TRACESECCOMP = 0x80
    EXITKILL = 0x100000
    SUSPEND_SECCOMP = 0x200000


class PTRACE_EVENT(enum.IntEnum):
    """`PTRACE_EVENT_*`: the event at which a traced process has stopped.

    manpage: ptrace(2)
    """

    FORK = 1
    VFORK = 2
    CLONE = 3
    EXEC = 4
    VFORK_DONE = 5
    EXIT = 6
    SECCOMP = 7
    STOP = 128


class PTRACE_EVENTMSG_SYSCALL(enum.IntEnum):
    """`PTRACE_EVENTMSG_SYSCALL_*`: what `ptrace_geteventmsg` tells when a process has stopped at a call.

    manpage: ptrace(2)
    """

    ENTRY = 1
    EXIT = 2


class PTRACE_PEEKSIGINFO(enum.IntFlag):
    """`PTRACE_PEEKSIGINFO_*`: which queue of signals to look at: that of the thread, or of its whole process.

    manpage: ptrace(2)
    """

    NONE = 0
    SHARED = 1


class PTRACE_SYSCALL_INFO(enum.IntEnum):
    """`PTRACE_SYSCALL_INFO_*`: the kind of stop that a `PtraceSyscallInfo` is about.

    manpage: ptrace(2)
    """

    NONE = 0
    ENTRY = 1
    EXIT = 2
    SECCOMP = 3


class NT(enum.IntEnum):
    """`NT_*` of `<linux/elf.h>`: sets of registers, for `ptrace_getregset` and `ptrace_setregset`.

    All architectures have `PRSTATUS`, the general registers (see `user_regs`), and `PRFPREG`, those for
    floating point.

    manpage: ptrace(2)
    """

    PRSTATUS = 1
    PRFPREG = 2
    X86_XSTATE = 0x202
    X86_SHSTK = 0x204  # since Linux 6.6
    ARM_TLS = 0x401
    ARM_HW_BREAK = 0x402
    ARM_HW_WATCH = 0x403
    ARM_SYSTEM_CALL = 0x404
    ARM_SVE = 0x405
    ARM_PAC_MASK = 0x406
    ARM_PACA_KEYS = 0x407
    ARM_PACG_KEYS = 0x408
    ARM_TAGGED_ADDR_CTRL = 0x409
    ARM_PAC_ENABLED_KEYS = 0x40A
    ARM_SSVE = 0x40B  # since Linux 6.1
    ARM_ZA = 0x40C  # since Linux 6.1
    ARM_ZT = 0x40D  # since Linux 6.3
    ARM_FPMR = 0x40E  # since Linux 6.9
    ARM_POE = 0x40F  # since Linux 6.12
    ARM_GCS = 0x410  # since Linux 6.13
    RISCV_CSR = 0x900  # since Linux 6.3
    RISCV_VECTOR = 0x901  # since Linux 6.5
    RISCV_TAGGED_ADDR_CTRL = 0x902  # since Linux 6.13


_TRAP = int(SIG.TRAP)
_SYSCALL = 0x80


def _event(number: int) -> PTRACE_EVENT | int | None:
    try:
        return PTRACE_EVENT(number) if number else None
    except ValueError:
        return number


class PtraceStop(NamedTuple):
    """Why a traced process has stopped, as the tracer learns it from `waitid`.

    Attributes:
        signal: the signal that it is about to get; `SIG.TRAP` for calls and events, but for a process that
            was seized and that a signal stops with its whole group (`PTRACE_EVENT.STOP`): that signal.
        event: the event; None for a call or a signal. A number if it has no name.
        syscall: whether it is at the entry or the exit of a call: that is known only with
            `PTRACE_O.TRACESYSGOOD`.

    manpage: ptrace(2)
    """

    signal: SIG | int
    event: PTRACE_EVENT | int | None
    syscall: bool

    @property
    def delivery(self) -> SIG | int:
        """What to resume the process with, so that it gets its signals: `signal` if it has stopped for that
        alone, otherwise 0.
        """
        return 0 if self.syscall or self.event is not None else self.signal

    @classmethod
    def of(cls, state: ChildState) -> PtraceStop:
        """Take the state apart.

        Raises:
            ValueError: the process has not stopped, or does not tell its tracer.
        """
        if state.code != CLD.TRAPPED or state.sig is None:
            raise ValueError(f"process {state.pid} has not stopped for its tracer: it {state.describe()}")
        status = int(state.sig)
        if status == _TRAP | _SYSCALL:
            return cls(SIG.TRAP, None, True)
        return cls(signal_number(status & 0xFF), _event(status >> 8), False)


_LINUX_PTRACE = ("linux/ptrace.h",)
_ARGS = struct.Struct("<6Q")
_RVAL = struct.Struct("<q")


class PtraceSyscallInfo(
    CStruct,
    c="struct ptrace_syscall_info",
    headers=_LINUX_PTRACE,
    brief=("op", "arch", "instruction_pointer", "nr"),
):
    """`struct ptrace_syscall_info`: the call at whose entry or exit a process has stopped.

    The kernel fills only what belongs to `op`; the rest of the memory stays as it was.

    Args:
        op: the kind of stop.
        reserved, flags: 0.
        arch: what the number of the call means.
        instruction_pointer: of the process.
        stack_pointer: of the process.
        nr: the number of the call, for `ENTRY` and `SECCOMP`; the result is here for `EXIT`.
        raw_args: the arguments, six numbers of 64 bits.
        ret_data: the data of the filter, for `SECCOMP`.
        reserved2: 0.

    manpage: ptrace(2)
    """

    op: PTRACE_SYSCALL_INFO | int = u8(
        "op", known(PTRACE_SYSCALL_INFO), prefix="PTRACE_SYSCALL_INFO_", default=0
    )
    reserved: int = u8("reserved", default=0)  # since Linux 6.16
    flags: int = u16("flags", default=0)  # since Linux 6.16
    arch: AUDIT_ARCH | int = u32("arch", known(AUDIT_ARCH), default=0)
    instruction_pointer: int = u64("instruction_pointer", default=0)
    stack_pointer: int = u64("stack_pointer", default=0)
    nr: int = u64("seccomp.nr", default=0)
    raw_args: bytes = array("seccomp.args", 48, default=bytes(48))
    ret_data: int = u32("seccomp.ret_data", default=0)
    reserved2: int = u32("seccomp.reserved2", default=0)  # since Linux 6.16

    def _require(self, *ops: PTRACE_SYSCALL_INFO) -> None:
        if self.op not in ops:
            raise ValueError(f"{self.op!r} has no such member")

    @property
    def args(self) -> tuple[int, ...]:
        """The six arguments; ValueError unless `op` is `ENTRY` or `SECCOMP`."""
        self._require(PTRACE_SYSCALL_INFO.ENTRY, PTRACE_SYSCALL_INFO.SECCOMP)
        return _ARGS.unpack(self.raw_args)

    @property
    def rval(self) -> int:
        """The result, which is -errno for an error; ValueError unless `op` is `EXIT`."""
        self._require(PTRACE_SYSCALL_INFO.EXIT)
        rval: int = _RVAL.unpack(self.nr.to_bytes(8, "little"))[0]
        return rval

    @property
    def is_error(self) -> bool:
        """Whether the result is an error; ValueError unless `op` is `EXIT`."""
        self._require(PTRACE_SYSCALL_INFO.EXIT)
        return self.raw_args[0] != 0

    def with_call(self, nr: int, args: Sequence[int]) -> PtraceSyscallInfo:
        """The same with another call, for `ptrace_set_syscall_info`.

        Args:
            nr: the number of the call; -1 to make none.
            args: six numbers; a negative one stands for the number of 64 bits that is the same in C.

        Raises:
            ValueError: `op` is not `ENTRY` or `SECCOMP`, or there are not six arguments.
        """
        self._require(PTRACE_SYSCALL_INFO.ENTRY, PTRACE_SYSCALL_INFO.SECCOMP)
        if len(args) != 6:
            raise ValueError(f"a call has six arguments here, not {len(args)}")
        packed = _ARGS.pack(*(_unsigned(arg) for arg in args))
        return dataclasses.replace(self, nr=_unsigned(nr), raw_args=packed)

    def with_result(self, rval: int) -> PtraceSyscallInfo:
        """The same with another result, for `ptrace_set_syscall_info`.

        Args:
            rval: -errno for an error, which is -4095 to -1.

        Raises:
            ValueError: `op` is not `EXIT`.
        """
        self._require(PTRACE_SYSCALL_INFO.EXIT)
        is_error = bytes([-4095 <= rval < 0])
        return dataclasses.replace(self, nr=_unsigned(rval), raw_args=is_error.ljust(48, b"\0"))


def _unsigned(number: int) -> int:
    return number + (1 << 64) if number < 0 else number


class PtracePeeksiginfoArgs(CStruct, c="struct ptrace_peeksiginfo_args", headers=_LINUX_PTRACE):
    """`struct ptrace_peeksiginfo_args`: which signals of a queue `ptrace_peeksiginfo` copies.

    Args:
        nr: how many.
        off: the first one, from 0.
        flags: which queue.

    manpage: ptrace(2)
    """

    off: int = u64("off", default=0)
    flags: PTRACE_PEEKSIGINFO = u32("flags", PTRACE_PEEKSIGINFO, default=PTRACE_PEEKSIGINFO.NONE)
    nr: int = i32("nr", default=1)


class PtraceRseqConfiguration(CStruct, c="struct ptrace_rseq_configuration", headers=_LINUX_PTRACE):
    """`struct ptrace_rseq_configuration`: the area for restartable sequences of a thread.

    Args:
        rseq_abi_pointer: its address; 0 if there is none.
        rseq_abi_size: bytes.
        signature: what stands before its handlers.
        flags, pad: 0.

    manpage: ptrace(2)
    """

    rseq_abi_pointer: int = u64("rseq_abi_pointer", default=0)
    rseq_abi_size: int = u32("rseq_abi_size", default=0)
    signature: int = u32("signature", default=0)
    flags: int = u32("flags", default=0)
    pad: int = u32("pad", default=0)


_mode = known(PR_SYS_DISPATCH)


class PtraceSudConfig(CStruct, c="struct ptrace_sud_config", headers=_LINUX_PTRACE):
    """`struct ptrace_sud_config`: what `PR.SET_SYSCALL_USER_DISPATCH` sets.

    Args:
        mode: whether calls are turned into signals.
        selector: the address of the byte in the process that decides; 0 for none.
        offset: the start of the code whose calls are let through.
        len: bytes of it.

    manpage: ptrace(2)
    """

    mode: PR_SYS_DISPATCH | int = u64("mode", _mode, default=PR_SYS_DISPATCH.OFF)  # since Linux 6.4
    selector: int = u64("selector", default=0)  # since Linux 6.4
    offset: int = u64("offset", default=0)  # since Linux 6.4
    len: int = u64("len", default=0)  # since Linux 6.4


class SeccompMetadata(CStruct, c="struct seccomp_metadata", headers=_LINUX_PTRACE):
    """`struct seccomp_metadata`: how a filter was set.

    Args:
        filter_off: which filter, the first that was set is 0; the kernel reads this.
        flags: of the filter; the kernel fills this.

    manpage: ptrace(2)
    """

    filter_off: int = u64("filter_off", default=0)
    flags: SECCOMP_FILTER_FLAG = u64("flags", SECCOMP_FILTER_FLAG, default=SECCOMP_FILTER_FLAG.NONE)


class UserRegsX86(
    CStruct, c="struct user_regs_struct", headers=("sys/user.h",), brief=("rip", "rsp", "orig_rax", "rax")
):
    """`struct user_regs_struct` of x86_64: the general registers.

    At the entry of a call `orig_rax` is its number, and `rdi`, `rsi`, `rdx`, `r10`, `r8` and `r9` are its
    arguments; at the exit `rax` is its result.

    manpage: ptrace(2)
    """

    r15: int = u64("r15", default=0)
    r14: int = u64("r14", default=0)
    r13: int = u64("r13", default=0)
    r12: int = u64("r12", default=0)
    rbp: int = u64("rbp", default=0)
    rbx: int = u64("rbx", default=0)
    r11: int = u64("r11", default=0)
    r10: int = u64("r10", default=0)
    r9: int = u64("r9", default=0)
    r8: int = u64("r8", default=0)
    rax: int = u64("rax", default=0)
    rcx: int = u64("rcx", default=0)
    rdx: int = u64("rdx", default=0)
    rsi: int = u64("rsi", default=0)
    rdi: int = u64("rdi", default=0)
    orig_rax: int = u64("orig_rax", default=0)
    rip: int = u64("rip", default=0)
    cs: int = u64("cs", default=0)
    eflags: int = u64("eflags", default=0)
    rsp: int = u64("rsp", default=0)
    ss: int = u64("ss", default=0)
    fs_base: int = u64("fs_base", default=0)
    gs_base: int = u64("gs_base", default=0)
    ds: int = u64("ds", default=0)
    es: int = u64("es", default=0)
    fs: int = u64("fs", default=0)
    gs: int = u64("gs", default=0)


_REGS = struct.Struct("<31Q")


class UserPtRegs(CStruct, c="struct user_pt_regs", headers=("asm/ptrace.h",), brief=("pc", "sp")):
    """`struct user_pt_regs` of aarch64: the general registers.

    At the entry of a call register 8 is its number, and 0 to 5 are its arguments; at the exit register 0 is
    its result. To replace the number, set `NT.ARM_SYSTEM_CALL`.

    Args:
        regs: registers 0 to 30.
        sp: the stack pointer.
        pc: the program counter.
        pstate: flags and mode.

    manpage: ptrace(2)
    """

    regs: tuple[int, ...] = array(
        "regs", _REGS.size, _REGS.unpack, encode=lambda regs: _REGS.pack(*regs), default=(0,) * 31
    )
    sp: int = u64("sp", default=0)
    pc: int = u64("pc", default=0)
    pstate: int = u64("pstate", default=0)


class UserRegsRiscv(
    CStruct, c="struct user_regs_struct", headers=("asm/ptrace.h",), brief=("pc", "sp", "a7")
):
    """`struct user_regs_struct` of riscv64: the general registers.

    At the entry of a call `a7` is its number, and `a0` to `a5` are its arguments; at the exit `a0` is its
    result.

    manpage: ptrace(2)
    """

    pc: int = u64("pc", default=0)
    ra: int = u64("ra", default=0)
    sp: int = u64("sp", default=0)
    gp: int = u64("gp", default=0)
    tp: int = u64("tp", default=0)
    t0: int = u64("t0", default=0)
    t1: int = u64("t1", default=0)
    t2: int = u64("t2", default=0)
    s0: int = u64("s0", default=0)
    s1: int = u64("s1", default=0)
    a0: int = u64("a0", default=0)
    a1: int = u64("a1", default=0)
    a2: int = u64("a2", default=0)
    a3: int = u64("a3", default=0)
    a4: int = u64("a4", default=0)
    a5: int = u64("a5", default=0)
    a6: int = u64("a6", default=0)
    a7: int = u64("a7", default=0)
    s2: int = u64("s2", default=0)
    s3: int = u64("s3", default=0)
    s4: int = u64("s4", default=0)
    s5: int = u64("s5", default=0)
    s6: int = u64("s6", default=0)
    s7: int = u64("s7", default=0)
    s8: int = u64("s8", default=0)
    s9: int = u64("s9", default=0)
    s10: int = u64("s10", default=0)
    s11: int = u64("s11", default=0)
    t3: int = u64("t3", default=0)
    t4: int = u64("t4", default=0)
    t5: int = u64("t5", default=0)
    t6: int = u64("t6", default=0)


_USER_REGS = {"x86_64": UserRegsX86, "aarch64": UserPtRegs, "riscv64": UserRegsRiscv}


def user_regs(abi: ABI) -> type[UserRegsX86 | UserPtRegs | UserRegsRiscv]:
    """Return the structure of the general registers (`NT.PRSTATUS`) on an architecture.

    Args:
        abi: of the task that calls are made in, `task.sysif.abi`.
    """
    return _USER_REGS[abi.name]
