"""`<sys/prctl.h>`: attributes of a process that have no call of their own.

What the options act on differs: most on the calling thread, some on the process, some on the address space,
which a task may share with the program that drives it. `rsyscall.near.address_space` lists the last kind, and
`docs/address-space.md` explains it.
"""

from __future__ import annotations

import contextlib
import enum
from typing import TYPE_CHECKING, Any, Literal, overload

from rsyscall import far
from rsyscall.handle._facade import facade
from rsyscall.handle._later import late
from rsyscall.handle.arguments import NUMBER, SIGNAL, STRING, Kind, buffer, by, call, choice, each
from rsyscall.handle.buffers import require_size
from rsyscall.handle.pointer import Pointer, ReadablePointer, WrittenPointer
from rsyscall.near import nr
from rsyscall.near.naming import naming
from rsyscall.struct import Int32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rsyscall.near import SyscallInterface
    from rsyscall.near import types as near
    from rsyscall.signal import SIG
    from rsyscall.sys._prctl_arguments import (
        PR_CFI,
        PR_ENDIAN,
        PR_FP_EXC,
        PR_FP_MODE,
        PR_FPEMU,
        PR_FUTEX_HASH,
        PR_MCE_KILL,
        PR_MCE_KILL_POLICY,
        PR_MDWE,
        PR_PAC,
        PR_RISCV_V_VSTATE_CTRL,
        PR_RSEQ_SLICE_EXT,
        PR_RSEQ_SLICE_EXTENSION,
        PR_SCHED_CORE,
        PR_SCHED_CORE_SCOPE,
        PR_SET_MM,
        PR_SET_VMA,
        PR_SHADOW_STACK,
        PR_SME,
        PR_SPEC,
        PR_SPEC_VARIANT,
        PR_SVE,
        PR_SYS_DISPATCH,
        PR_TAGGED_ADDR_CTRL,
        PR_TIMER_CREATE_RESTORE_IDS,
        PR_TIMING,
        PR_TSC,
        PR_UNALIGN,
    )
else:
    # Most programs use none of these.
    __getattr__ = facade(
        __name__,
        {
            "rsyscall.sys._prctl_arguments": [
                "PR_CFI",
                "PR_ENDIAN",
                "PR_FP_EXC",
                "PR_FP_MODE",
                "PR_FPEMU",
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
        },
    )

__all__ = [
    "PR",
    "PR_CAP_AMBIENT",
    "PR_CFI",
    "PR_CFI_BRANCH_LANDING_PADS",
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
    "PR_MTE_TAG_SHIFT",
    "PR_SET_PTRACER_ANY",
    "PrctlTask",
]


class PR(enum.IntEnum):
    """`PR_*`: options of `prctl`.

    manpage: prctl(2)
    """

    SET_PDEATHSIG = 1
    GET_PDEATHSIG = 2
    GET_DUMPABLE = 3
    SET_DUMPABLE = 4
    GET_UNALIGN = 5
    SET_UNALIGN = 6
    GET_KEEPCAPS = 7
    SET_KEEPCAPS = 8
    GET_FPEMU = 9
    SET_FPEMU = 10
    GET_FPEXC = 11
    SET_FPEXC = 12
    GET_TIMING = 13
    SET_TIMING = 14
    SET_NAME = 15
    GET_NAME = 16
    GET_ENDIAN = 19
    SET_ENDIAN = 20
    GET_SECCOMP = 21
    SET_SECCOMP = 22
    CAPBSET_READ = 23
    CAPBSET_DROP = 24
    GET_TSC = 25
    SET_TSC = 26
    GET_SECUREBITS = 27
    SET_SECUREBITS = 28
    SET_TIMERSLACK = 29
    GET_TIMERSLACK = 30
    TASK_PERF_EVENTS_DISABLE = 31
    TASK_PERF_EVENTS_ENABLE = 32
    MCE_KILL = 33
    MCE_KILL_GET = 34
    SET_MM = 35
    SET_CHILD_SUBREAPER = 36
    GET_CHILD_SUBREAPER = 37
    SET_NO_NEW_PRIVS = 38
    GET_NO_NEW_PRIVS = 39
    GET_TID_ADDRESS = 40
    SET_THP_DISABLE = 41
    GET_THP_DISABLE = 42
    MPX_ENABLE_MANAGEMENT = 43
    MPX_DISABLE_MANAGEMENT = 44
    SET_FP_MODE = 45
    GET_FP_MODE = 46
    CAP_AMBIENT = 47
    SVE_SET_VL = 50
    SVE_GET_VL = 51
    GET_SPECULATION_CTRL = 52
    SET_SPECULATION_CTRL = 53
    PAC_RESET_KEYS = 54
    SET_TAGGED_ADDR_CTRL = 55
    GET_TAGGED_ADDR_CTRL = 56
    SET_IO_FLUSHER = 57
    GET_IO_FLUSHER = 58
    SET_SYSCALL_USER_DISPATCH = 59
    PAC_SET_ENABLED_KEYS = 60
    PAC_GET_ENABLED_KEYS = 61
    SCHED_CORE = 62
    SME_SET_VL = 63
    SME_GET_VL = 64
    SET_MDWE = 65  # since Linux 6.3
    GET_MDWE = 66  # since Linux 6.3
    SET_MEMORY_MERGE = 67  # since Linux 6.4
    GET_MEMORY_MERGE = 68  # since Linux 6.4
    RISCV_V_SET_CONTROL = 69  # since Linux 6.5
    RISCV_V_GET_CONTROL = 70  # since Linux 6.5
    RISCV_SET_ICACHE_FLUSH_CTX = 71  # since Linux 6.10
    PPC_GET_DEXCR = 72  # since Linux 6.10
    PPC_SET_DEXCR = 73  # since Linux 6.10
    GET_SHADOW_STACK_STATUS = 74  # since Linux 6.13
    SET_SHADOW_STACK_STATUS = 75  # since Linux 6.13
    LOCK_SHADOW_STACK_STATUS = 76  # since Linux 6.13
    TIMER_CREATE_RESTORE_IDS = 77  # since Linux 6.15
    FUTEX_HASH = 78  # since Linux 6.16
    RSEQ_SLICE_EXTENSION = 79  # since Linux 7.0
    GET_CFI = 80  # since Linux 7.0
    SET_CFI = 81  # since Linux 7.0
    GET_AUXV = 0x41555856  # since Linux 6.4
    SET_VMA = 0x53564D41
    SET_PTRACER = 0x59616D61


class PR_CAP_AMBIENT(enum.IntEnum):
    """`PR_CAP_AMBIENT_*`: what to do with the ambient capability set.

    manpage: PR_CAP_AMBIENT(2const)
    """

    IS_SET = 1
    RAISE = 2
    LOWER = 3
    CLEAR_ALL = 4


PR_SET_PTRACER_ANY = -1
"""For `PR.SET_PTRACER`: any process."""
PR_CFI_BRANCH_LANDING_PADS = 0
"""For `PR.GET_CFI` and `PR.SET_CFI`: indirect branches may lead to landing pads alone, on RISC-V."""
PR_MTE_TAG_SHIFT = 3
"""Where the tags are in `PR_TAGGED_ADDR_CTRL.MTE_TAG_MASK`."""


# What options store at the address in their second argument, without asking how much room there is.
_ARGUMENT = by(
    0,
    {
        PR.SET_NAME: STRING,
        PR.SET_PDEATHSIG: SIGNAL,
        **each((PR.GET_UNALIGN, PR.GET_FPEMU, PR.GET_FPEXC, PR.GET_ENDIAN, PR.GET_TSC), buffer(4)),
        PR.GET_TID_ADDRESS: buffer(8),
    },
    Kind("prctl_argument"),
)


@late
class PrctlTask(far.Task):
    """Attributes of the process of this task."""

    async def prctl_set_pdeathsig(self, option: Literal[PR.SET_PDEATHSIG], arg2: SIG | Literal[0]) -> None:
        """Choose the signal that this process gets when the thread that made it ends; 0 for none.

        If that thread has ended already, nothing comes: compare `getppid` afterwards.

        manpage: PR_SET_PDEATHSIG(2const)
        """
        await _prctl(self.sysif, option, arg2)

    async def prctl_get_pdeathsig(
        self, option: Literal[PR.GET_PDEATHSIG], arg2: Pointer[Int32]
    ) -> Pointer[Int32]:
        """Have the kernel write the number of that signal; returns the same memory.

        Raises:
            BufferTooSmallError: there is no room for it.

        manpage: PR_GET_PDEATHSIG(2const)
        """
        require_size(arg2, Int32.sizeof())
        with arg2.borrow(self) as buf_addr:
            await _prctl(self.sysif, option, buf_addr)
        return arg2

    async def prctl_cap_ambient(
        self, option: Literal[PR.CAP_AMBIENT], arg2: PR_CAP_AMBIENT, arg3: int = 0
    ) -> int:
        """Look at or change the ambient capability set.

        Args:
            arg3: number of a capability, as in `<linux/capability.h>`; 0 for `PR_CAP_AMBIENT.CLEAR_ALL`.

        Returns:
            For `PR_CAP_AMBIENT.IS_SET`, 1 if the capability is in the set; otherwise 0.

        Raises:
            OSError: EPERM (to raise one it must be in the permitted and the inheritable set), EINVAL;
                `filename` is (option, arg2, arg3).

        manpage: PR_CAP_AMBIENT(2const)
        """
        with naming((option, arg2, arg3)):
            return await _prctl(self.sysif, option, arg2, arg3)

    async def prctl_get_name(self, option: Literal[PR.GET_NAME], arg2: Pointer[str]) -> ReadablePointer[str]:
        """Read the name of this thread, as `ps` shows it.

        Args:
            arg2: at least 16 bytes. Consumed.

        Returns:
            The first 16 bytes, with a NUL-terminated name in them.

        Raises:
            ValueError: the memory is smaller than 16 bytes.

        manpage: PR_SET_NAME(2const)
        """
        if arg2.size() < 16:
            raise ValueError(f"the name takes 16 bytes, there is room for {arg2.size()}")
        with arg2.borrow(self) as buf_addr:
            await _prctl(self.sysif, option, buf_addr)
        name, _ = arg2.readable_split(16)
        return name

    async def prctl_set_name(self, option: Literal[PR.SET_NAME], arg2: WrittenPointer[str]) -> None:
        """Set the name of this thread; the kernel takes the first 15 bytes.

        manpage: PR_SET_NAME(2const)
        """
        with arg2.borrow(self) as name_addr:
            await _prctl(self.sysif, option, name_addr)

    async def prctl_set_no_new_privs(self) -> None:
        """Let no later `execve` in this process, or in those it makes, grant any privilege. It cannot be
        undone.

        manpage: PR_SET_NO_NEW_PRIVS(2const)
        """
        await _prctl(self.sysif, PR.SET_NO_NEW_PRIVS, 1)

    async def prctl_get_no_new_privs(self) -> bool:
        """Has `prctl_set_no_new_privs` been called here or above?

        manpage: PR_GET_NO_NEW_PRIVS(2const)
        """
        return await _prctl(self.sysif, PR.GET_NO_NEW_PRIVS, 0) == 1

    async def prctl_set_dumpable(self, dumpable: bool) -> None:
        """Say whether processes of the same user may trace this one, and whether it may dump core.

        The flag belongs to the address space: set in a process that shares the memory of this program, it is
        that of the program. See `CredentialsTask` for why it must stay off while such a process runs with
        other credentials. What is set here, or by `prctl`, the library never undoes.

        manpage: PR_SET_DUMPABLE(2const)
        """
        with self._setting_dumpable(dumpable):
            await _prctl(self.sysif, PR.SET_DUMPABLE, dumpable)

    @contextlib.contextmanager
    def _setting_dumpable(self, dumpable: bool) -> Iterator[None]:
        """Record the value that was asked for, since the actual one may have other reasons.

        Off from before the call, which may be made long before we hear of it; on only when it succeeded.
        """
        space = self.address_space
        before = space.dumpable
        if not dumpable:
            space.dumpable = False
        try:
            yield
        except OSError:
            space.dumpable = before
            raise
        space.dumpable = dumpable

    async def prctl_get_dumpable(self) -> int:
        """1 if dumpable, 0 if not, 2 if only root may read the dump.

        manpage: PR_GET_DUMPABLE(2const)
        """
        return await _prctl(self.sysif, PR.GET_DUMPABLE, 0)

    async def prctl_set_keepcaps(self, keep: bool) -> None:
        """Say whether the permitted capabilities survive the change from uid 0 to others; off again after
        `execve`.

        manpage: PR_SET_KEEPCAPS(2const)
        """
        await _prctl(self.sysif, PR.SET_KEEPCAPS, keep)

    async def prctl_get_keepcaps(self) -> bool:
        """Do the permitted capabilities survive the change from uid 0 to others?

        manpage: PR_GET_KEEPCAPS(2const)
        """
        return await _prctl(self.sysif, PR.GET_KEEPCAPS, 0) == 1

    async def prctl_set_child_subreaper(self, subreaper: bool) -> None:
        """Say whether orphaned descendants become children of this process rather than of init.

        manpage: PR_SET_CHILD_SUBREAPER(2const)
        """
        await _prctl(self.sysif, PR.SET_CHILD_SUBREAPER, subreaper)

    async def prctl_get_child_subreaper(
        self, option: Literal[PR.GET_CHILD_SUBREAPER], arg2: Pointer[Int32]
    ) -> Pointer[Int32]:
        """Have the kernel write 1 if orphaned descendants become children of this process; returns the same
        memory.

        Raises:
            BufferTooSmallError: there is no room for it.

        manpage: PR_GET_CHILD_SUBREAPER(2const)
        """
        require_size(arg2, Int32.sizeof())
        with arg2.borrow(self) as buf_addr:
            await _prctl(self.sysif, option, buf_addr)
        return arg2

    async def prctl_capbset_read(self, cap: int) -> bool:
        """Is this capability, a number of `<linux/capability.h>`, in the bounding set?

        Raises:
            OSError: EINVAL (the kernel knows no such capability); `filename` is (option, cap).

        manpage: PR_CAPBSET_READ(2const)
        """
        return await self._prctl_with_cap(PR.CAPBSET_READ, cap) == 1

    async def prctl_capbset_drop(self, cap: int) -> None:
        """Take this capability, a number of `<linux/capability.h>`, out of the bounding set, for good.

        Raises:
            OSError: EPERM (needs CAP_SETPCAP), EINVAL; `filename` is (option, cap).

        manpage: PR_CAPBSET_DROP(2const)
        """
        await self._prctl_with_cap(PR.CAPBSET_DROP, cap)

    async def _prctl_with_cap(self, option: PR, cap: int) -> int:
        with naming((option, cap)):
            return await _prctl(self.sysif, option, cap)

    @overload
    async def prctl(  # type: ignore[overload-overlap]  # the last form is for options without one of their own
        self, option: Literal[PR.SET_PDEATHSIG], arg2: SIG | Literal[0]
    ) -> None: ...
    @overload
    async def prctl(self, option: Literal[PR.GET_PDEATHSIG], arg2: Pointer[Int32]) -> Pointer[Int32]: ...
    @overload
    async def prctl(self, option: Literal[PR.CAP_AMBIENT], arg2: PR_CAP_AMBIENT, arg3: int = 0) -> int: ...
    @overload
    async def prctl(self, option: Literal[PR.GET_NAME], arg2: Pointer[str]) -> ReadablePointer[str]: ...
    @overload
    async def prctl(self, option: Literal[PR.SET_NAME], arg2: WrittenPointer[str]) -> None: ...
    @overload
    async def prctl(
        self, option: Literal[PR.GET_CHILD_SUBREAPER], arg2: Pointer[Int32]
    ) -> Pointer[Int32]: ...
    @overload
    async def prctl(
        self,
        option: PR,
        arg2: int | Pointer[Any] = 0,
        arg3: int | Pointer[Any] = 0,
        arg4: int | Pointer[Any] = 0,
        arg5: int | Pointer[Any] = 0,
    ) -> int: ...

    async def prctl(
        self,
        option: PR,
        arg2: int | Pointer[Any] = 0,
        arg3: int | Pointer[Any] = 0,
        arg4: int | Pointer[Any] = 0,
        arg5: int | Pointer[Any] = 0,
    ) -> Any:
        """`prctl(option, arg2, arg3, arg4, arg5)`: look at or change an attribute of this process.

        For an option that has a method of its own with the same arguments (`prctl_set_name`...) this is that
        method. For all others pointers are passed by address, not consumed, and the number that the kernel
        returns is returned.

        Raises:
            SharedAddressSpaceError: nothing could undo the option (`PR.SET_MDWE`, `PR_FUTEX_HASH.SET_SLOTS`),
                and the process shares the memory of the program that drives it: it would be set there.
            BufferTooSmallError: there is no room for the value of the option.
            OSError: depends on the option; `filename` is (option, arg2, arg3, arg4, arg5).

        manpage: prctl(2)
        """
        method = self._PRCTL_METHODS.get(option)
        if method is not None:
            # The man page wants trailing zeroes, which our methods do not take.
            args = (arg2, arg3) if option == PR.CAP_AMBIENT else (arg2,)
            return await getattr(self, method)(option, *args)
        arguments = (arg2, arg3, arg4, arg5)
        self.check_lasting_effect(nr.prctl, option, 0 if isinstance(arg2, Pointer) else arg2)
        with contextlib.ExitStack() as stack:
            numbers = [
                stack.enter_context(arg.borrow(self)) if isinstance(arg, Pointer) else arg
                for arg in arguments
            ]
            if isinstance(arg2, Pointer):
                require_size(arg2, _ARGUMENT.size(option))
            elif option == PR.SET_DUMPABLE:
                stack.enter_context(self._setting_dumpable(bool(arg2)))
            with naming((option, *arguments)):
                return await _prctl(self.sysif, option, *numbers)

    _PRCTL_METHODS = {
        PR.SET_PDEATHSIG: "prctl_set_pdeathsig",
        PR.GET_PDEATHSIG: "prctl_get_pdeathsig",
        PR.CAP_AMBIENT: "prctl_cap_ambient",
        PR.GET_NAME: "prctl_get_name",
        PR.SET_NAME: "prctl_set_name",
        PR.GET_CHILD_SUBREAPER: "prctl_get_child_subreaper",
    }


@call("prctl", choice(PR, "PR_"), _ARGUMENT, NUMBER, NUMBER, NUMBER)
async def _prctl(
    sysif: SyscallInterface,
    option: PR,
    arg2: int | near.Address,
    arg3: int | near.Address | None = None,
    arg4: int | near.Address | None = None,
    arg5: int | near.Address | None = None,
) -> int:
    """The raw call; many options insist on zeroes for the arguments they do not use."""
    with naming((option, arg2)):
        return await sysif.syscall(nr.prctl, option, arg2, arg3 or 0, arg4 or 0, arg5 or 0)
