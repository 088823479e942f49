"""`Limits`: what services, and runners of untrusted programs, set in a process before it executes one."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.id_maps import IdMaps
from rsyscall.linux.ioprio import IOPRIO_CLASS, IOPRIO_WHO, ioprio_value
from rsyscall.near import nr
from rsyscall.run_files import ClonedThread
from rsyscall.run_tree import join_cgroup
from rsyscall.sched import CpuSet
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread
from rsyscall.sys.capability import CAP, CapData, CapHeader
from rsyscall.sys.prctl import PR, PR_CAP_AMBIENT
from rsyscall.sys.resource import PRIO, RLIM_INFINITY, RLIMIT, Rlimit

if TYPE_CHECKING:
    from rsyscall.handle import WrittenPointer

__all__ = ["Limits"]


class AppliedThread(ClonedThread, Protocol):
    """The parts of a `ChildThread` that are needed to set limits in it."""

    async def ptr(self, data: Any) -> WrittenPointer[Any]:
        """Put something into its memory."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a process may do and use; for `limits=` of `Thread.run`, or `apply` in a process of one's own.

    Everything that is not given stays as it is. All of it is inherited by the descendants of the process,
    except `pdeathsig`.

    Args:
        rlimits: limits by their names: `{RLIMIT.AS: 1 << 30, "nofile": (64, 128), RLIMIT.CORE: 0}`. A number
            is both the soft and the hard limit; None is no limit.
        nice: the nice value, -20 to 19.
        ioprio: class of input and output, and level in it.
        affinity: the CPUs that it may run on.
        oom_score_adj: -1000 to 1000, by which the kernel finds what to kill when memory is short. Lowering it
            takes CAP_SYS_RESOURCE. The command has it from its first instruction, and the program is
            suspended from clone to exec, by CLONE_VFORK; except that without privileges, and while a child in
            another user namespace shares our memory, `Thread.run` sets it just after the exec.
        umask: the permissions that new files do not get.
        session: whether it leads a new session, and so has no controlling terminal.
        process_group: whether it leads a new process group.
        pdeathsig: what it is sent when the thread that made it exits. Without this it is SIGKILL for
            children of ours. None keeps that; 0 sends none.
        no_new_privs: whether no program that it executes gets privileges by set-user-ID bits and the like.
        capabilities: the only capabilities that are left; they survive the exec, and the change to another
            user. An empty collection leaves none, also to root.
        user: another user, for good: real, effective and saved id. A number, or a name that this program
            looks up here: for a process on another machine or with another root, give numbers. Its group is
            `group`, and it has no supplementary groups but `extra_groups`.
        group: another group, likewise. With `user` it is the group of that user by default.
        extra_groups: the supplementary groups. Without it and `user` they stay as they are.
        cgroup: the cgroup that it is in, of version 2: the path of its directory, or a handle of that, O_PATH
            or not.
        id_maps: a new user namespace, with these users and groups in it; for `Thread.run` alone.
    """

    rlimits: Mapping[RLIMIT | str, int | tuple[int | None, int | None] | None] = field(default_factory=dict)
    nice: int | None = None
    ioprio: tuple[IOPRIO_CLASS, int] | None = None
    affinity: Collection[int] | None = None
    oom_score_adj: int | None = None
    umask: int | None = None
    session: bool = False
    process_group: bool = False
    pdeathsig: SIG | int | None = None
    no_new_privs: bool = False
    capabilities: Collection[CAP] | None = None
    cgroup: str | os.PathLike[str] | FileDescriptor | None = None
    id_maps: IdMaps | None = None
    user: int | str | None = None
    group: int | str | None = None
    extra_groups: Collection[int | str] | None = None

    def __post_init__(self) -> None:
        """Refuse what the kernel would take for something else."""
        if not isinstance(self.rlimits, Mapping):
            raise TypeError(f"rlimits: expected a mapping from names to limits, not {self.rlimits!r}")
        for name, limit in self.rlimits.items():
            _rlimit(name, limit)
        _check_range("nice", self.nice, -20, 19)
        _check_range("umask", self.umask, 0, 0o777, "0o777")
        _check_range("oom_score_adj", self.oom_score_adj, -1000, 1000)
        _check_range("pdeathsig", self.pdeathsig, 0, 64)
        _check_ioprio(self.ioprio)
        _check_affinity(self.affinity)
        _check_capabilities(self.capabilities)
        for option in ("session", "process_group", "no_new_privs"):
            if not isinstance(getattr(self, option), bool):
                raise TypeError(f"{option}: expected True or False, not {getattr(self, option)!r}")
        if self.session and self.process_group:
            raise ValueError("session, process_group: the leader of a session leads a process group anyway")
        if self.cgroup is not None and not isinstance(self.cgroup, str | os.PathLike | FileDescriptor):
            raise TypeError(f"cgroup: expected the path or a handle of its directory, not {self.cgroup!r}")
        if self.id_maps is not None and not isinstance(self.id_maps, IdMaps):
            raise TypeError(f"id_maps: expected IdMaps, not {self.id_maps!r}")
        _ids(self.user, self.group, self.extra_groups)

    async def apply(self, child: PreparedThread | AppliedThread) -> None:
        """Have a process set them: one that is being prepared, or a `ChildThread`.

        With `user` or `group` the kernel makes the memory of the process undumpable, so that programs of the
        new user cannot look into it. Of a child that shares our memory that is all of the program, until the
        child executes a program or exits; then it is dumpable again. See PR_SET_DUMPABLE in prctl(2).

        Raises:
            OSError: with a prepared process, `exec` raises it.
            ValueError: `id_maps`; or `oom_score_adj`, in a process that shares our memory.
        """
        task = child.task
        if self.id_maps is not None:
            raise ValueError(
                "id_maps: a process enters its user namespace when it is made; use Thread.run, or give "
                "them to Thread.clone"
            )
        if self.oom_score_adj is not None:
            await _set_oom_score_adj(child, self.oom_score_adj)
        if self.cgroup is not None:
            await join_cgroup(child, self.cgroup)
        if self.affinity is not None:
            await task.sched_setaffinity(await child.ptr(CpuSet(self.affinity)))
        if self.ioprio is not None:
            await task.ioprio_set(IOPRIO_WHO.PROCESS, 0, ioprio_value(*self.ioprio))
        if self.nice is not None:
            await task.setpriority(PRIO.PROCESS, self.nice)
        for name, limit in self.rlimits.items():
            resource, value = _rlimit(name, limit)
            await task.setrlimit(resource, await child.ptr(value))
        if self.umask is not None:
            await task.umask(self.umask)
        if self.session:
            await task.setsid()
        if self.process_group:
            await task.sysif.syscall(nr.setpgid, 0, 0)
        kept = None if self.capabilities is None else set(self.capabilities)
        if kept is not None:
            await _drop_from_bounding_set(child, kept)
        if (self.user, self.group, self.extra_groups) != (None, None, None):
            await _become(child, _ids(self.user, self.group, self.extra_groups), kept is not None)
        if kept is not None:
            await _keep_only(child, kept)
        if self.no_new_privs:
            await task.prctl(PR.SET_NO_NEW_PRIVS, True)
        if self.pdeathsig is not None:
            await task.sysif.syscall(nr.prctl, PR.SET_PDEATHSIG, self.pdeathsig)


def _rlimit(name: RLIMIT | str, limit: int | tuple[int | None, int | None] | None) -> tuple[RLIMIT, Rlimit]:
    if isinstance(name, str):
        resource = RLIMIT.__members__.get(name.upper().removeprefix("RLIMIT_"))
        if resource is None or name.upper() == "NONE":
            known = ", ".join(sorted(set(RLIMIT.__members__) - {"NONE"})).lower()
            raise ValueError(f"rlimits: there is no limit {name!r}; there are {known}")
    elif isinstance(name, RLIMIT):
        resource = name
    else:
        raise TypeError(f"rlimits: expected the name of a limit, not {name!r}")
    pair = limit if isinstance(limit, tuple) and len(limit) == 2 else (limit, limit)
    if not all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in pair):
        raise TypeError(f"rlimits: expected a number, None, or a pair of them for {name}, not {limit!r}")
    soft, hard = (RLIM_INFINITY if value is None else int(value) for value in pair)
    if not 0 <= soft <= hard <= RLIM_INFINITY:
        raise ValueError(
            f"rlimits: expected a number, or a soft limit that is not above the hard one, not {limit!r}"
        )
    return resource, Rlimit(soft, hard)


def _check_range(name: str, value: object, lowest: int, highest: int, shown: str = "") -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected a number, not {value!r}")
    if not lowest <= value <= highest:
        raise ValueError(f"{name}: expected {lowest} to {shown or highest}, not {value!r}")


def _check_ioprio(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], IOPRIO_CLASS):
        raise TypeError(f"ioprio: expected a class and a level, as (IOPRIO_CLASS.BE, 4), not {value!r}")
    _check_range("ioprio", value[1], 0, 7)


def _check_affinity(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, Collection) or isinstance(value, str | bytes):
        raise TypeError(f"affinity: expected the numbers of CPUs, not {value!r}")
    if not value:
        raise ValueError("affinity: expected at least one CPU")
    for cpu in value:
        if isinstance(cpu, bool) or not isinstance(cpu, int) or cpu < 0:
            raise ValueError(f"affinity: expected the number of a CPU, not {cpu!r}")


def _check_capabilities(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, Collection) or isinstance(value, str | bytes):
        raise TypeError(f"capabilities: expected a collection of CAP, not {value!r}")
    for cap in value:
        if not isinstance(cap, CAP):
            raise TypeError(f"capabilities: expected a member of CAP, not {cap!r}")


def _last_cap() -> int:
    """The last one that this kernel has; it refuses others with EINVAL."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


async def _set_oom_score_adj(child: PreparedThread | AppliedThread, value: int) -> None:
    if isinstance(child, PreparedThread):
        await child.set_oom_score_adj(value)
    elif child.loader.hub is not None:
        raise ValueError(
            "oom_score_adj: it belongs to memory, and this process shares ours; use Thread.run, "
            "Thread.prepare, or clone(own_memory=True)"
        )
    else:
        path = await child.ram.ptr("/proc/self/oom_score_adj")
        async with await child.task.open(path, O.WRONLY | O.CLOEXEC) as file:
            await file.write(await child.ram.ptr(b"%d" % value))


class _Ids(NamedTuple):
    """Numbers of users and groups; None leaves things as they are."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def _ids(user: object, group: object, extra_groups: object) -> _Ids:
    """Look up names.

    Raises:
        ValueError: there is no such user or group.
    """
    if extra_groups is not None and (
        not isinstance(extra_groups, Collection) or isinstance(extra_groups, str | bytes)
    ):
        raise TypeError(f"extra_groups: expected numbers or names, in a list, not {extra_groups!r}")
    extra = None if extra_groups is None else [_id("extra_groups", each, _group_of) for each in extra_groups]
    own_group = None if group is None else _id("group", group, _group_of)
    if user is None:
        return _Ids(None, own_group, extra)
    number = _id("user", user, _user_of)
    if own_group is None:
        import pwd

        try:
            own_group = pwd.getpwuid(number).pw_gid
        except KeyError:
            raise ValueError(f"user: {number} has no entry in passwd, so give its group, too") from None
    return _Ids(number, own_group, extra or [])


def _id(option: str, value: object, look_up: Callable[[str], int]) -> int:
    if isinstance(value, str):
        try:
            return look_up(value)
        except KeyError:
            raise ValueError(f"{option}: there is no {value!r} on this machine") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option}: expected a number or a name, not {value!r}")
    # The last one means: leave it as it is.
    if not 0 <= value < 2**32 - 1:
        raise ValueError(f"{option}: expected 0 to {2**32 - 2}, not {value!r}")
    return value


def _user_of(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group_of(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid


async def _become(child: PreparedThread | AppliedThread, ids: _Ids, keep_capabilities: bool) -> None:
    """Change users and groups: groups first, while that is permitted."""
    task = child.task
    if ids.extra_groups is not None:
        from rsyscall.unistd import GroupList

        await task.setgroups(await child.ptr(GroupList(ids.extra_groups)))
    if ids.group is not None:
        await task.setresgid(ids.group, ids.group, ids.group)
    if ids.user is not None:
        if keep_capabilities:
            # Until the exec. Otherwise there would be none to choose from any more.
            await task.sysif.syscall(nr.prctl, PR.SET_KEEPCAPS, 1)
        await task.setresuid(ids.user, ids.user, ids.user)


async def _drop_from_bounding_set(child: PreparedThread | AppliedThread, kept: set[CAP]) -> None:
    """Give up all capabilities but these in the bounding set, so that no program gives them back."""
    for number in range(_last_cap() + 1):
        if number not in kept:
            await child.task.sysif.syscall(nr.prctl, PR.CAPBSET_DROP, number)


async def _keep_only(child: PreparedThread | AppliedThread, kept: set[CAP]) -> None:
    """Give up all capabilities but these, which go into the ambient set, too.

    So they survive the exec of a program that knows nothing of capabilities.
    """
    task = child.task
    sets = CapData(set(kept), set(kept), set(kept))
    await task.capset(await child.ptr(CapHeader()), await child.ptr(sets))
    await task.sysif.syscall(nr.prctl, PR.CAP_AMBIENT, PR_CAP_AMBIENT.CLEAR_ALL)
    for cap in kept:
        await task.sysif.syscall(nr.prctl, PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, cap)
