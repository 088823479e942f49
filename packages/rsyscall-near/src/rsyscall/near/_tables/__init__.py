"""Generated tables, one module per architecture, and the choice of the one for the running machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

ARCHITECTURES = ("x86_64", "aarch64", "riscv64")
"""Names of the architectures that have a table."""


def choose_architecture(system: str, machine: str, bits: int) -> str:
    """The name of the table for a machine.

    Args:
        system: the operating system as `sys.platform` has it.
        machine: the machine as uname(2) has it.
        bits: the word size of the interpreter.

    Raises:
        ImportError: there is no table for it.
    """
    if system == "linux" and machine in ARCHITECTURES and bits == 64:
        return machine
    raise ImportError(
        f"rsyscall.near has no system call table for this Python: {system}, machine {machine!r}, {bits} bit; "
        f"it knows 64-bit Linux on {', '.join(ARCHITECTURES)}"
    )


def running_architecture() -> str:
    """The name of the table for the running interpreter."""
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    return choose_architecture(sys.platform, machine, 64 if sys.maxsize > 2**32 else 32)


# A type checker has to see one set of members, whatever machine it runs on.
if TYPE_CHECKING:
    from rsyscall.near._tables.x86_64 import SYS

    nr = SYS
else:
    import importlib
    import types

    SYS = importlib.import_module(f"{__name__}.{running_architecture()}").SYS
    # Before Python 3.12 a member is looked up through a descriptor written in Python, which takes longer than
    # a system call. As plain attributes of the class they are found sooner.
    for _member in list(SYS):
        type.__setattr__(SYS, _member.name, _member)
    # And soonest as attributes of an object that has no hooks: this is for the calls that we make ourselves.
    nr = types.SimpleNamespace(**SYS.__members__)

__all__ = ["ARCHITECTURES", "SYS", "choose_architecture", "nr", "running_architecture"]
