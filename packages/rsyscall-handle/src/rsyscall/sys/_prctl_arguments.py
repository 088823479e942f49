"""Values that options of `prctl` take and return; import them from `rsyscall.sys.prctl`."""

from __future__ import annotations

import enum

__all__ = [
    "PR_CFI",
    "PR_ENDIAN",
    "PR_FPEMU",
    "PR_FP_EXC",
    "PR_FP_MODE",
    "PR_FUTEX_HASH",
    "PR_MCE_KILL",
    "PR_MCE_KILL_POLICY",
    "PR_MDWE",
    "PR_PAC",
    "PR_RISCV_V_VSTATE_CTRL",
    "PR_RSEQ_SLICE_EXT",
    "PR_RSEQ_SLICE_EXTENSION",
    "PR_SCHED_CORE",
    "PR_SCHED_CORE_SCOPE",
    "PR_SET_MM",
    "PR_SET_VMA",
    "PR_SHADOW_STACK",
    "PR_SME",
    "PR_SPEC",
    "PR_SPEC_VARIANT",
    "PR_SVE",
    "PR_SYS_DISPATCH",
    "PR_TAGGED_ADDR_CTRL",
    "PR_TIMER_CREATE_RESTORE_IDS",
    "PR_TIMING",
    "PR_TSC",
    "PR_UNALIGN",
]


class PR_UNALIGN(enum.IntFlag):
    """`PR_UNALIGN_*`: what `PR.SET_UNALIGN` makes of accesses that are not aligned, on a few architectures.

    manpage: PR_SET_UNALIGN(2const)
    """

    NOPRINT = 1
    SIGBUS = 2


class PR_FPEMU(enum.IntEnum):
    """`PR_FPEMU_*`: for `PR.SET_FPEMU`, of ia64.

    manpage: PR_SET_FPEMU(2const)
    """

    NOPRINT = 1
    SIGFPE = 2


class PR_FP_EXC(enum.IntFlag):
    """`PR_FP_EXC_*`: for `PR.SET_FPEXC`, of PowerPC: one of the first four, or `SW_ENABLE` with others.

    manpage: PR_SET_FPEXC(2const)
    """

    DISABLED = 0
    NONRECOV = 1
    ASYNC = 2
    PRECISE = 3
    SW_ENABLE = 0x80
    DIV = 0x010000
    OVF = 0x020000
    UND = 0x040000
    RES = 0x080000
    INV = 0x100000


class PR_TIMING(enum.IntEnum):
    """`PR_TIMING_*`: for `PR.SET_TIMING`.

    manpage: PR_SET_TIMING(2const)
    """

    STATISTICAL = 0
    TIMESTAMP = 1


class PR_ENDIAN(enum.IntEnum):
    """`PR_ENDIAN_*`: for `PR.SET_ENDIAN`, of PowerPC.

    manpage: PR_SET_ENDIAN(2const)
    """

    BIG = 0
    LITTLE = 1
    PPC_LITTLE = 2


class PR_TSC(enum.IntEnum):
    """`PR_TSC_*`: for `PR.SET_TSC`, what happens when the process reads the timestamp counter, on x86.

    manpage: PR_SET_TSC(2const)
    """

    ENABLE = 1
    SIGSEGV = 2


class PR_MCE_KILL(enum.IntEnum):
    """`PR_MCE_KILL_CLEAR`, `PR_MCE_KILL_SET`: second argument of `PR.MCE_KILL`.

    manpage: PR_MCE_KILL(2const)
    """

    CLEAR = 0
    SET = 1


class PR_MCE_KILL_POLICY(enum.IntEnum):
    """`PR_MCE_KILL_*`: third argument of `PR.MCE_KILL`, when to kill a process whose memory has failed.

    manpage: PR_MCE_KILL(2const)
    """

    LATE = 0
    EARLY = 1
    DEFAULT = 2


class PR_SET_MM(enum.IntEnum):
    """`PR_SET_MM_*`: the field of the kernel's description of the address space that `PR.SET_MM` sets.

    manpage: PR_SET_MM(2const)
    """

    START_CODE = 1
    END_CODE = 2
    START_DATA = 3
    END_DATA = 4
    START_STACK = 5
    START_BRK = 6
    BRK = 7
    ARG_START = 8
    ARG_END = 9
    ENV_START = 10
    ENV_END = 11
    AUXV = 12
    EXE_FILE = 13
    MAP = 14
    MAP_SIZE = 15


class PR_FP_MODE(enum.IntFlag):
    """`PR_FP_MODE_*`: for `PR.SET_FP_MODE`, of MIPS.

    manpage: PR_SET_FP_MODE(2const)
    """

    FR = 1
    FRE = 2


class PR_SVE(enum.IntFlag):
    """`PR_SVE_*`: for `PR.SVE_SET_VL`, of aarch64: a length in bytes, or-ed with flags.

    manpage: PR_SVE_SET_VL(2const)
    """

    VL_LEN_MASK = 0xFFFF
    VL_INHERIT = 1 << 17
    SET_VL_ONEXEC = 1 << 18


class PR_SME(enum.IntFlag):
    """`PR_SME_*`: the same for `PR.SME_SET_VL`.

    manpage: prctl(2)
    """

    VL_LEN_MASK = 0xFFFF
    VL_INHERIT = 1 << 17
    SET_VL_ONEXEC = 1 << 18


class PR_SPEC_VARIANT(enum.IntEnum):
    """`PR_SPEC_*`: which misfeature `PR.GET_SPECULATION_CTRL` and `PR.SET_SPECULATION_CTRL` are about.

    manpage: PR_SET_SPECULATION_CTRL(2const)
    """

    STORE_BYPASS = 0
    INDIRECT_BRANCH = 1
    L1D_FLUSH = 2


class PR_SPEC(enum.IntFlag):
    """`PR_SPEC_*`: the state of a misfeature.

    manpage: PR_SET_SPECULATION_CTRL(2const)
    """

    NOT_AFFECTED = 0
    PRCTL = 1
    ENABLE = 2
    DISABLE = 4
    FORCE_DISABLE = 8
    DISABLE_NOEXEC = 16


class PR_PAC(enum.IntFlag):
    """`PR_PAC_*`: keys for `PR.PAC_RESET_KEYS` and `PR.PAC_SET_ENABLED_KEYS`, of aarch64.

    manpage: PR_PAC_RESET_KEYS(2const)
    """

    APIAKEY = 1
    APIBKEY = 2
    APDAKEY = 4
    APDBKEY = 8
    APGAKEY = 16


class PR_TAGGED_ADDR_CTRL(enum.IntFlag):
    """`PR_TAGGED_ADDR_*` and `PR_MTE_*`: for `PR.SET_TAGGED_ADDR_CTRL`, of aarch64.

    manpage: PR_SET_TAGGED_ADDR_CTRL(2const)
    """

    TAGGED_ADDR_ENABLE = 1
    MTE_TCF_NONE = 0
    MTE_TCF_SYNC = 2
    MTE_TCF_ASYNC = 4
    MTE_TCF_MASK = 6
    MTE_TAG_MASK = 0xFFFF << 3


class PR_SYS_DISPATCH(enum.IntEnum):
    """`PR_SYS_DISPATCH_*`: for `PR.SET_SYSCALL_USER_DISPATCH`.

    manpage: PR_SET_SYSCALL_USER_DISPATCH(2const)
    """

    OFF = 0
    ON = 1


class PR_SCHED_CORE(enum.IntEnum):
    """`PR_SCHED_CORE_*`: second argument of `PR.SCHED_CORE`, what to do with the cookie that those have in
    common who may share a core.

    manpage: prctl(2)
    """

    GET = 0
    CREATE = 1
    SHARE_TO = 2
    SHARE_FROM = 3


class PR_SCHED_CORE_SCOPE(enum.IntEnum):
    """`PR_SCHED_CORE_SCOPE_*`: fourth argument of `PR.SCHED_CORE`.

    manpage: prctl(2)
    """

    THREAD = 0
    THREAD_GROUP = 1
    PROCESS_GROUP = 2


class PR_SET_VMA(enum.IntEnum):
    """`PR_SET_VMA_*`: what `PR.SET_VMA` sets of a range of memory.

    manpage: PR_SET_VMA(2const)
    """

    ANON_NAME = 0


class PR_MDWE(enum.IntFlag):
    """`PR_MDWE_*`: for `PR.SET_MDWE`, since Linux 6.3.

    manpage: PR_SET_MDWE(2const)
    """

    REFUSE_EXEC_GAIN = 1
    NO_INHERIT = 2  # since Linux 6.6


class PR_RISCV_V_VSTATE_CTRL(enum.IntFlag):
    """`PR_RISCV_V_VSTATE_CTRL_*`: for `PR.RISCV_V_SET_CONTROL`, since Linux 6.5.

    manpage: prctl(2)
    """

    DEFAULT = 0
    OFF = 1
    ON = 2
    CUR_MASK = 0x3
    NEXT_MASK = 0xC
    INHERIT = 0x10
    MASK = 0x1F


class PR_SHADOW_STACK(enum.IntFlag):
    """`PR_SHADOW_STACK_*`: for `PR.SET_SHADOW_STACK_STATUS`, since Linux 6.13.

    manpage: prctl(2)
    """

    ENABLE = 1
    WRITE = 2
    PUSH = 4


class PR_TIMER_CREATE_RESTORE_IDS(enum.IntEnum):
    """`PR_TIMER_CREATE_RESTORE_IDS_*`: for `PR.TIMER_CREATE_RESTORE_IDS`, since Linux 6.15.

    manpage: prctl(2)
    """

    OFF = 0
    ON = 1
    GET = 2


class PR_FUTEX_HASH(enum.IntEnum):
    """`PR_FUTEX_HASH_*`: second argument of `PR.FUTEX_HASH`, since Linux 6.16.

    manpage: prctl(2)
    """

    SET_SLOTS = 1
    GET_SLOTS = 2


class PR_RSEQ_SLICE_EXTENSION(enum.IntEnum):
    """`PR_RSEQ_SLICE_EXTENSION_*`: second argument of `PR.RSEQ_SLICE_EXTENSION`, since Linux 7.0.

    manpage: prctl(2)
    """

    GET = 1
    SET = 2


class PR_RSEQ_SLICE_EXT(enum.IntFlag):
    """`PR_RSEQ_SLICE_EXT_*`: third argument of `PR_RSEQ_SLICE_EXTENSION.SET`, since Linux 7.0.

    manpage: prctl(2)
    """

    ENABLE = 1


class PR_CFI(enum.IntFlag):
    """`PR_CFI_*`: third argument of `PR.SET_CFI`, and what `PR.GET_CFI` stores, since Linux 7.0.

    The second argument of both is `PR_CFI_BRANCH_LANDING_PADS`.

    manpage: prctl(2)
    """

    ENABLE = 1
    DISABLE = 2
    LOCK = 4
