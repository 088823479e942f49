"""`<sys/personality.h>`: behaving like another system, or like an older Linux."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import rsyscall.far
from rsyscall.handle.arguments import call, flags
from rsyscall.near import nr
from rsyscall.near.naming import naming

if TYPE_CHECKING:
    from rsyscall.near.sysif import SyscallInterface

__all__ = ["Persona", "PersonalityTask"]


class Persona(enum.IntFlag):
    """How a process differs from the usual.

    manpage: personality(2)
    """

    NONE = 0
    LINUX32 = 0x8
    UNAME26 = 0x20000
    ADDR_NO_RANDOMIZE = 0x40000
    MMAP_PAGE_ZERO = 0x100000
    ADDR_COMPAT_LAYOUT = 0x200000
    READ_IMPLIES_EXEC = 0x400000
    ADDR_LIMIT_32BIT = 0x800000
    SHORT_INODE = 0x1000000
    WHOLE_SECONDS = 0x2000000
    STICKY_TIMEOUTS = 0x4000000
    ADDR_LIMIT_3GB = 0x8000000


_ASK = 0xFFFFFFFF


class PersonalityTask(rsyscall.far.Task):
    """Behaving like another system."""

    async def personality(self, persona: Persona | None = None) -> Persona:
        """`personality(persona)`: set how this process behaves, and what it executes.

        Args:
            persona: None only asks.

        Returns:
            What was set before.

        Raises:
            OSError: EINVAL; `filename` is the argument, or "personality".

        manpage: personality(2)
        """
        with naming("personality" if persona is None else persona):
            return Persona(await _personality(self.sysif, _ASK if persona is None else persona))


@call("personality", flags(Persona, ""))
async def _personality(sysif: SyscallInterface, persona: int) -> int:
    """The raw call."""
    return await sysif.syscall(nr.personality, persona)
