"""The system calls that act on an address space that several processes share.

A process that `clone` makes shares our memory until it executes a program. The kernel keeps some attributes
for the address space as a whole, not for the process or the thread. A call of the child that sets one sets it
for our program, too. Most can be set back. A call that cannot be undone is refused in such a process: by the
server that runs in it, whose list is generated from this one (`tools/abigen/call_facts.py`), and by typed
calls before they are sent.

`docs/address-space.md` has the same list with explanations, and a test compares the two. Whether something
belongs to the address space or to the thread is the kernel's choice, call by call, and not always documented;
`tests/thread/test_address_space.py` tries what this machine has.
"""

from __future__ import annotations

import errno
from typing import NamedTuple, SupportsInt

from rsyscall.near.abi import SYS
from rsyscall.near.sysif import error_of_call

__all__ = ["EFFECTS", "FILES", "REFUSABLE", "Effect", "call_error", "refusal", "refused_effect"]


class Effect(NamedTuple):
    """Something that a call does to the address space.

    Attributes:
        call: the name of the call.
        first: what its first arguments are when it has this effect; empty if any do. The very first one is an
            `int` in the kernel, which ignores its upper half.
        name: how the man pages call it.
        lasting: what it would do to the memory for good; a process that shares the memory of another is
            refused the call for this reason. An empty string if the effect can be undone or is harmless.
    """

    call: str
    first: tuple[int, ...] = ()
    name: str = ""
    lasting: str = ""

    @property
    def title(self) -> str:
        """The name for messages and tables."""
        return self.name or self.call


def _prctl(name: str, number: int, *more: int, lasting: str = "") -> Effect:
    return Effect("prctl", (number, *more), name, lasting)


def _arch_prctl(name: str, number: int, lasting: str = "") -> Effect:
    return Effect("arch_prctl", (number,), name, lasting)


EFFECTS: tuple[Effect, ...] = (
    _prctl("PR_SET_MDWE", 65, lasting="no memory could be made executable"),
    _prctl(
        "PR_FUTEX_HASH_SET_SLOTS",
        78,
        1,
        lasting="the kernel would no longer choose the size of the futex hash",
    ),
    _arch_prctl("ARCH_ENABLE_TAGGED_ADDR", 0x4002, "addresses would have tag bits"),
    _arch_prctl("ARCH_FORCE_TAGGED_SVA", 0x4004, "devices could be given addresses with tag bits"),
    Effect("mseal", lasting="the mapping could be neither changed nor unmapped"),
    _prctl("PR_SET_DUMPABLE", 4),
    _prctl("PR_SET_MM", 35),
    _prctl("PR_SET_THP_DISABLE", 41),
    _prctl("PR_SET_MEMORY_MERGE", 67),
    _prctl("PR_RISCV_SET_ICACHE_FLUSH_CTX", 71),
    _prctl("PR_SET_VMA", 0x53564D41),
    _arch_prctl("ARCH_MAP_VDSO_X32", 0x2001),
    _arch_prctl("ARCH_MAP_VDSO_32", 0x2002),
    _arch_prctl("ARCH_MAP_VDSO_64", 0x2003),
    *(
        Effect(call)
        for call in (
            "brk",
            "io_destroy",
            "io_setup",
            "madvise",
            "map_shadow_stack",
            "mbind",
            "membarrier",
            "mlock",
            "mlock2",
            "mlockall",
            "mmap",
            "modify_ldt",
            "mprotect",
            "mremap",
            "munlock",
            "munlockall",
            "munmap",
            "pkey_alloc",
            "pkey_free",
            "pkey_mprotect",
            "process_madvise",
            "remap_file_pages",
            "set_mempolicy_home_node",
            "shmat",
            "shmdt",
            "userfaultfd",
        )
    ),
)
"""The calls that act on the address space; those that are refused come first."""

FILES = ("oom_score_adj", "oom_adj", "coredump_filter", "clear_refs", "mem")
"""Files of `/proc/self` that act on the address space when they are written. They are not refused."""


def _by_number() -> dict[int, dict[int | None, list[Effect]]]:
    """What is refused: by number of the call, and its first argument, or None if that does not matter."""
    effects: dict[int, dict[int | None, list[Effect]]] = {}
    for effect in EFFECTS:
        if effect.lasting and effect.call in SYS.__members__:
            of_call = effects.setdefault(SYS[effect.call], {})
            of_call.setdefault(effect.first[0] if effect.first else None, []).append(effect)
    return effects


_REFUSED = _by_number()

REFUSABLE = frozenset(_REFUSED)
"""The calls that are refused with some arguments: see `refused_effect`."""


def refused_effect(number: SupportsInt, *args: SupportsInt) -> Effect | None:
    """The effect of a call on the address space that cannot be undone; None if there is none.

    Args:
        number: of the call.
        args: its arguments; the first two are enough.
    """
    of_call = _REFUSED.get(int(number))
    if of_call is None:
        return None
    option = int(args[0]) % 2**32 if args else None
    for effect in of_call.get(option) or of_call.get(None) or ():
        more = effect.first[1:]
        if tuple(int(arg) % 2**64 for arg in args[1 : 1 + len(more)]) == more:
            return effect
    return None


def refusal(effect: Effect, process: str) -> str:
    """The message that says that a call is refused, why, and what to do instead.

    Args:
        effect: of the refused call.
        process: the process that would have made it, such as `process 1234`.
    """
    return (
        f"{effect.title} is refused in {process}: it shares the memory of the program that drives it, where "
        f"{effect.lasting}, for good. Set it in the program that the process executes; or, if the driving "
        "program is to have it, on its local thread"
    )


def call_error(result: int, process: str, number: SupportsInt, *args: SupportsInt) -> OSError:
    """The error of a call in a process that shares our memory, which says so if the call was refused.

    Args:
        result: the error number, negated.
        process: the process that made the call, for the message.
        number: of the call.
        args: its arguments; the first two are enough.
    """
    if result == -errno.EPERM:
        effect = refused_effect(number, *args)
        if effect is not None:
            return OSError(errno.EPERM, refusal(effect, process))
    return error_of_call(result, number)
