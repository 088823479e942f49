"""Finding every enumeration, constant and structure of the header modules, so that none is forgotten."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

from rsyscall.struct import FixedSize, Serializable, Serializer

# Modules that mirror C headers, with everything below them.
ROOTS = (
    "fcntl",
    "sched",
    "signal",
    "time",
    "limits",
    "unistd",
    "_fcntl_copy",
    "_fcntl_handle",
    "_fcntl_handle_calls",
    "mqueue",
    "_sched_policy",
    "poll",
    "_signal_process",
    "_sched_calls",
    "_signal_calls",
    "_signal_info",
    "_time_calls",
    "_termios",
    "termios",
    "asm",
    "sys",
    "linux",
    "net",
    "netinet",
)


def modules() -> Iterator[ModuleType]:
    """Every header module, including those that only hold a part of another one."""
    for root in ROOTS:
        module = importlib.import_module(f"rsyscall.{root}")
        yield module
        for info in pkgutil.walk_packages(getattr(module, "__path__", ()), module.__name__ + "."):
            yield importlib.import_module(info.name)


def _classes() -> Iterator[type]:
    for module in modules():
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                yield value


def enums() -> list[type[enum.Enum]]:
    """Every public enumeration."""
    return [cls for cls in _classes() if issubclass(cls, enum.Enum)]


def versions(cls: type) -> dict[str, tuple[int, int]]:
    """The versions of Linux that members of an enumeration, or fields of a structure, came with.

    They are said in the module, in a comment behind the member: `SUBVOL = 0x8000  # since Linux 6.10`.
    """
    found = re.finditer(
        r"^    (\w+)\b.*# .*(?<!until )Linux (\d+)\.(\d+)", inspect.getsource(cls), re.MULTILINE
    )
    return {match[1]: (int(match[2]), int(match[3])) for match in found}


def constants() -> list[str]:
    """Every number with a name in capitals that is not in an enumeration, as "rsyscall.module.NAME"."""
    return [
        f"{module.__name__}.{name}"
        for module in modules()
        for name in {*vars(module), *getattr(module, "__all__", ())}  # the latter are perhaps in another one
        if re.fullmatch(r"[A-Z][A-Z0-9_]*", name) and type(getattr(module, name)) is int
    ]


def structures() -> list[type]:
    """Every public class whose values have a layout in memory of their own."""
    return [
        cls
        for cls in _classes()
        if not issubclass(cls, (enum.Enum, Serializer))
        and (issubclass(cls, (FixedSize, Serializable)) or "to_bytes" in vars(cls))
    ]
