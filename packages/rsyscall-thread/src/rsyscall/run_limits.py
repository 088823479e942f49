"""`Limits`: what services, and runners of untrusted programs, set in a process before it executes one."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.linux.ioprio import IOPRIO_CLASS, IOPRIO_WHO, ioprio_value
from rsyscall.near import nr
from rsyscall.sched import CpuSet
from rsyscall.signal import SIG
from rsyscall.spawn import PreparedThread
from rsyscall.sys.capability import CAP, CapData, CapHeader
from rsyscall.sys.prctl import PR, PR_CAP_AMBIENT
from rsyscall.sys.resource import PRIO, RLIM_INFINITY, RLIMIT, Rlimit

__all__ = ["Limits", "set_oom_score_adj"]


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
        oom_score_adj: -1000 to 1000, by which the kernel finds what to kill when memory is short. It belongs
            to memory, so it is set as soon as the command has its own.
        umask: the permissions that new files do not get.
        session: whether it leads a new session, and so has no controlling terminal.
        process_group: whether it leads a new process group.
        pdeathsig: what it is sent when the thread that made it exits. Without this it is SIGKILL for
            children of ours. None keeps that; 0 sends none.
        no_new_privs: whether no program that it executes gets privileges by set-user-ID bits and the like.
        capabilities: the only capabilities that are left; they survive the exec. An empty collection leaves
            none, also to root.
        cgroup: the cgroup that it is in: the path of its directory, or a handle of that.
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

    def __post_init__(self) -> None:
        """Refuse what the kernel would take for something else."""
        for name, limit in self.rlimits.items():
            _rlimit(name, limit)
        if self.nice is not None and not -20 <= self.nice <= 19:
            raise ValueError(f"nice: expected -20 to 19, not {self.nice!r}")
        if self.umask is not None and not 0 <= self.umask <= 0o777:
            raise ValueError(f"umask: expected 0 to 0o777, not {self.umask!r}")
        if self.oom_score_adj is not None and not -1000 <= self.oom_score_adj <= 1000:
            raise ValueError(f"oom_score_adj: expected -1000 to 1000, not {self.oom_score_adj!r}")
        if self.affinity is not None and not self.affinity:
            raise ValueError("affinity: expected at least one CPU")
        if self.session and self.process_group:
            raise ValueError("session, process_group: the leader of a session leads a process group anyway")

    async def apply(self, child: PreparedThread) -> None:
        """Have a process set them: one that is being prepared, or a `ChildThread`.

        Raises:
            OSError: with a prepared process, `exec` raises it.
        """
        task = child.task
        if self.oom_score_adj is not None:
            raise ValueError(
                "oom_score_adj: it belongs to memory, and this process shares ours until it executes a "
                "program; Thread.run sets it after that"
            )
        if self.cgroup is not None:
            await _join(child, self.cgroup)
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
        if self.capabilities is not None:
            await _keep_only(child, set(self.capabilities))
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
    else:
        resource = RLIMIT(name)
    pair = limit if isinstance(limit, tuple) else (limit, limit)
    soft, hard = (RLIM_INFINITY if value is None else value for value in pair)
    if not 0 <= soft <= hard <= RLIM_INFINITY:
        raise ValueError(
            f"rlimits: expected a number, or a soft limit that is not above the hard one, not {limit!r}"
        )
    return resource, Rlimit(soft, hard)


def _last_cap() -> int:
    """The last one that this kernel has; it refuses others with EINVAL."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


async def _join(child: PreparedThread, cgroup: str | os.PathLike[str] | FileDescriptor) -> None:
    # A process to come cannot open files, since it could not tell us their numbers. Its parent can.
    opener = child._parent if isinstance(child, PreparedThread) else child
    if isinstance(cgroup, FileDescriptor):
        procs = await cgroup.openat(await opener.ram.ptr("cgroup.procs"), O.WRONLY)
    else:
        path = f"{os.fspath(cgroup)}/cgroup.procs"
        procs = await opener.task.open(await opener.ram.ptr(path), O.WRONLY)
    if isinstance(child, PreparedThread):
        # It stays open until the process has been made, with a copy of it.
        child._originals.append(procs)
    # The process that writes 0 moves itself.
    zero = await child.ptr(b"0")
    with zero.borrow(child.task) as address:
        await child.task.sysif.syscall(nr.write, procs.near, address, 1)


def set_oom_score_adj(pid: int, value: int) -> None:
    """Set it for a process with memory of its own; `pid` is that of our /proc.

    manpage: proc_pid_oom_score_adj(5)
    """
    with open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"%d" % value)


async def _keep_only(child: PreparedThread, kept: set[CAP]) -> None:
    """Give up all capabilities but these, for good.

    Out of the bounding set, so that no program gives them back; into the ambient set, so that they survive
    the exec of a program that knows nothing of capabilities.
    """
    task = child.task
    for number in range(_last_cap() + 1):
        if number not in kept:
            await task.sysif.syscall(nr.prctl, PR.CAPBSET_DROP, number)
    sets = CapData(set(kept), set(kept), set(kept))
    await task.capset(await child.ptr(CapHeader()), await child.ptr(sets))
    await task.sysif.syscall(nr.prctl, PR.CAP_AMBIENT, PR_CAP_AMBIENT.CLEAR_ALL)
    for cap in kept:
        await task.sysif.syscall(nr.prctl, PR.CAP_AMBIENT, PR_CAP_AMBIENT.RAISE, cap)
