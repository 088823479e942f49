"""What `Thread.run`, `clone` and `prepare` refuse: values of the wrong kind, by the name of their option."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Iterable, Mapping

from rsyscall.environ import checked_variable
from rsyscall.handle import FileDescriptor
from rsyscall.sched import CLONE

__all__ = [
    "check_awaitable",
    "check_clone",
    "check_env",
    "check_flags",
    "check_handles",
    "check_number",
    "check_setup",
    "check_switches",
    "check_whole",
]


def check_switches(**values: object) -> None:
    """Refuse what is neither True nor False."""
    for name, value in values.items():
        if value is not True and value is not False:
            raise TypeError(f"{name}: expected True or False, not {value!r}")


def check_number(name: str, value: object, lowest: float) -> None:
    """Refuse what is no number, or one that is too low."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number of seconds, not {value!r}")
    if not value >= lowest:
        raise ValueError(f"{name}: expected a number of at least {lowest}, not {value!r}")


def check_whole(name: str, value: object) -> None:
    """Refuse what is no number of bytes."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a number of bytes, not {value!r}")
    if value < 0:
        raise ValueError(f"{name}: expected a number of at least 0, not {value!r}")


def check_env(env: object) -> None:
    """Refuse what is no mapping from names to values, or None."""
    if not isinstance(env, Mapping):
        raise TypeError(f"env: expected a mapping from names to values, not {env!r}")
    for name, value in env.items():
        if not isinstance(name, str | bytes):
            raise TypeError(f"env: expected the name of a variable, not {name!r}")
        if value is not None and not isinstance(value, str | bytes | os.PathLike):
            raise TypeError(f"env: expected text, bytes, a path or None for {name!r}, not {value!r}")
        checked_variable(name, b"" if value is None else value)


def check_setup(setup: object) -> None:
    """Refuse what is no function."""
    if not callable(setup):
        raise TypeError(f"setup: expected an async function of the prepared thread, not {setup!r}")


def check_awaitable(setup: object, result: object) -> Awaitable[object]:
    """What a function returned that has to be an async one."""
    if not isinstance(result, Awaitable):
        raise TypeError(f"setup: expected an async function, but {setup!r} returned {result!r}")
    return result


def check_flags(flags: object) -> int:
    """Refuse what are no flags; return their number."""
    if not isinstance(flags, int) or isinstance(flags, bool):
        raise TypeError(f"flags: expected members of CLONE, joined by |, not {flags!r}")
    if flags < 0:
        raise ValueError(f"flags: expected members of CLONE, joined by |, not {flags}")
    return int(flags)


def check_clone(
    flags: object, write_mappings: object, own_memory: object, inherit: object, id_maps: object
) -> None:
    """Refuse arguments of `Thread.clone` that are of the wrong kind, or contradict each other."""
    if not isinstance(write_mappings, bool):
        raise TypeError(
            f"automatically_write_user_mappings: expected True or False, not {write_mappings!r}; "
            "join several flags by |"
        )
    if inherit and not own_memory:
        raise ValueError(
            "inherit: it goes with own_memory=True; a child that shares our memory has all descriptors"
        )
    numeric = check_flags(flags)
    if numeric & CLONE.VFORK:
        raise ValueError(
            "CLONE.VFORK: this process would be suspended until the child executes a program, and could not "
            "tell it to; Thread.prepare takes this flag"
        )
    if numeric & CLONE.INTO_CGROUP:
        raise ValueError("CLONE.INTO_CGROUP: PreparedThread.enter_cgroup and Limits(cgroup=) take the cgroup")
    check_switches(own_memory=own_memory)
    check_handles("inherit", inherit)
    if id_maps is None:
        return
    # Most programs do not use it.
    from rsyscall.id_maps import IdMaps

    if not isinstance(id_maps, IdMaps):
        raise TypeError(f"id_maps: expected IdMaps, not {id_maps!r}")
    if not numeric & CLONE.NEWUSER:
        raise ValueError("id_maps: they are for a new user namespace, with CLONE.NEWUSER")


def check_handles(name: str, handles: object) -> None:
    """Refuse what are no handles of descriptors."""
    if not isinstance(handles, Iterable):
        raise TypeError(f"{name}: expected handles of descriptors, not {handles!r}")
    for handle in handles:
        if not isinstance(handle, FileDescriptor):
            raise TypeError(f"{name}: expected handles of descriptors, not {handle!r}")
