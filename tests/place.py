"""What the place where the tests run permits: a plain machine, a container, a sandbox, an ordinary user.

Each thing is tried for real, once, in a child of a process that is started for it (so that nothing which it
changes outlives the trial). A test says what it needs with the marker `needs`, or in its body with the
fixture `place`; see CONVENTIONS.md. Nothing is guessed from a name, a version or a user id: a container may
deny to root what a plain machine permits to every user.

`python tests/place.py` prints the table. The trials import nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

# <sched.h>, <sys/mount.h>, <sys/prctl.h>, <sys/ptrace.h>
_NEWTIME = 0x00000080
_NEWNS = 0x00020000
_NEWCGROUP = 0x02000000
_NEWUTS = 0x04000000
_NEWIPC = 0x08000000
_NEWUSER = 0x10000000
_NEWPID = 0x20000000
_NEWNET = 0x40000000
_MS_REC_PRIVATE = 0x4000 | (1 << 18)
_PTRACE_ATTACH = 16
# Those of <linux/capability.h> that tests ask for by name, and how many there are.
_CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_KILL": 5,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SETPCAP": 8,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_NICE": 23,
}
_CAPABILITY_COUNT = 41
NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


class Denied(Exception):
    """The place does not permit it; says what failed how."""


def _call(name: str, *arguments: int | bytes | None) -> int:
    """Call a function of the C library; where it fails, the place denies what is being tried."""
    converted = [
        ctypes.c_long(argument) if isinstance(argument, int) else ctypes.c_char_p(argument)
        for argument in arguments
    ]
    result: int = getattr(_libc, name)(*converted)
    if result == -1:
        raise Denied(f"{name}: {errno.errorcode[ctypes.get_errno()]}")
    return result


@contextlib.contextmanager
def _denying(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Denied(f"{what}: {errno.errorcode.get(error.errno or 0, str(error))}") from None


def _write(path: str, text: str) -> None:
    with _denying(f"write to {path}"):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _enter(namespaces: int) -> None:
    """Enter new namespaces: as root of a new user namespace, like the tests, or with our own privileges."""
    uid, gid = os.geteuid(), os.getegid()
    _call("unshare", _NEWUSER | namespaces)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def _in_child(function: Callable[[], None]) -> None:
    """Run a trial in a child of this process; raises Denied with the reason if the trial was denied."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        report = b""
        try:
            os.close(receiver)
            function()
        except Denied as denied:
            report = str(denied).encode()
        except BaseException:
            report = traceback.format_exc().strip().splitlines()[-1].encode()
        os.write(sender, report)
        os._exit(0)
    os.close(sender)
    with open(receiver, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(child, 0)
    if text:
        raise Denied(text)


# ------------------------------------------------------------------------------------------ the trials


def _user() -> None:
    _enter(0)


def _pid() -> None:
    _enter(_NEWPID)
    _in_child(lambda: None)


def _mount() -> None:
    _enter(_NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)


def _any_mount() -> None:
    """In a mount namespace that was made with our privileges or, without them, in a user namespace."""
    try:
        _call("unshare", _NEWNS)
    except Denied:
        _call("unshare", _NEWUSER | _NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)
    with tempfile.TemporaryDirectory() as directory:
        _call("mount", b"none", directory.encode(), b"tmpfs", 0, None)
        _call("umount2", directory.encode(), 0)


def _network() -> None:
    _enter(_NEWNET)


def _uts() -> None:
    _enter(_NEWUTS)
    _call("sethostname", b"place", 5)


def _ipc() -> None:
    _enter(_NEWIPC)


def _cgroup_namespace() -> None:
    _enter(_NEWCGROUP)


def _time() -> None:
    _enter(_NEWTIME)


def _proc() -> None:
    """Mounting a new /proc: refused where parts of every visible /proc are covered by other mounts."""
    _enter(_NEWPID | _NEWNS)
    _call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)
    _in_child(lambda: _ignore(_call("mount", b"proc", b"/proc", b"proc", 0, None)))


def _ignore(result: int) -> None:
    pass


def _privileged(namespace: int) -> Callable[[], None]:
    """Namespaces without a user namespace: for a test that needs the privileges of the user who runs it."""
    return lambda: _ignore(_call("unshare", namespace))


def _other_users() -> None:
    """Becoming another user, with no groups, and giving files to that user."""
    with tempfile.TemporaryDirectory() as directory:
        with _denying("chown"):
            os.chown(directory, NOBODY, NOBODY)
        with _denying("setgroups"):
            os.setgroups([])
        with _denying("setresgid"):
            os.setresgid(NOBODY, NOBODY, NOBODY)
        # The effective user last, and back again: only root can remove the directory.
        with _denying("setresuid"):
            os.setresuid(-1, NOBODY, -1)
            os.setresuid(-1, os.getuid(), -1)


def _any_user() -> None:
    with _denying("setgroups"):
        os.setgroups([4_000_000_000])


def _effective() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


def _capability(name: str) -> Callable[[], None]:
    def trial() -> None:
        if not _effective() >> _CAPABILITIES[name] & 1:
            raise Denied("not in the effective set")

    return trial


def _capabilities() -> None:
    """Nearly all of them, and not only over a user namespace of our own."""
    count = bin(_effective()).count("1")
    # Virtual machines are started without CAP_SYS_RESOURCE and the like.
    if count < _CAPABILITY_COUNT - 2:
        raise Denied(f"{count} of {_CAPABILITY_COUNT}")
    if Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]:
        raise Denied("of a user namespace only")


def _ptrace() -> None:
    """To attach to another process of the same user, one that does not ask for it with PTRACE_TRACEME."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(sender)
        os.read(receiver, 1)  # ends with the tracer, whatever happens to it
        os._exit(0)
    try:
        _call("ptrace", _PTRACE_ATTACH, child, 0, 0)
        os.waitpid(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _landlock() -> None:
    """A kernel that has landlock, and has it switched on."""
    _call("syscall", 444, None, 0, 1)


def _pidfd_getfd() -> None:
    """To take a descriptor out of another process; filters of older container runtimes do not know it."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(sender)
        os.read(receiver, 1)
        os._exit(0)
    try:
        pidfd = _call("syscall", 434, child, 0)
        _call("syscall", 438, pidfd, receiver, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _device(path: str) -> Callable[[], None]:
    def trial() -> None:
        with _denying(f"open {path}"):
            os.open(path, os.O_RDWR)

    return trial


def _cgroups() -> None:
    """A new cgroup (of version 2) below our own one, where something may be moved."""
    own = next((line[3:] for line in _lines("/proc/self/cgroup") if line.startswith("0::")), None)
    points = [line.split()[4] for line in _lines("/proc/self/mountinfo") if " - cgroup2 " in line]
    if own is None or not points:
        raise Denied("no cgroup2 is mounted")
    directory = f"{points[0]}{own.rstrip('/')}/rsyscall-tests-{os.getpid()}"
    with _denying(f"mkdir in {points[0]}{own}"):
        os.mkdir(directory)
    try:
        _in_child(lambda: _write(f"{directory}/cgroup.procs", "0"))
    finally:
        os.rmdir(directory)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _last_pid() -> None:
    """To choose the pid of the next process of a pid namespace."""
    _enter(_NEWPID)
    _in_child(lambda: _write("/proc/sys/kernel/ns_last_pid", "1000"))


def _namespace_settings() -> None:
    """To change settings of namespaces of our own; in many containers /proc/sys is read-only."""
    _enter(_NEWNET)
    _write("/proc/sys/user/max_user_namespaces", "0")
    _write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001")


def _suid_dumpable() -> None:
    """To write `suid_dumpable`, which the trial leaves as it was."""
    path = "/proc/sys/fs/suid_dumpable"
    _write(path, Path(path).read_text())


TRIALS: dict[str, Callable[[], None]] = {
    "user namespaces": _user,
    "pid namespaces": _pid,
    "mount namespaces": _mount,
    "mounts": _any_mount,
    "network namespaces": _network,
    "uts namespaces": _uts,
    "ipc namespaces": _ipc,
    "cgroup namespaces": _cgroup_namespace,
    "time namespaces": _time,
    "mounts of proc": _proc,
    "privileged mount namespaces": _privileged(_NEWNS),
    "privileged pid namespaces": _privileged(_NEWPID),
    "privileged network namespaces": _privileged(_NEWNET),
    "privileged uts namespaces": _privileged(_NEWUTS),
    "other users": _other_users,
    "any user id": _any_user,
    "all capabilities": _capabilities,
    **{name: _capability(name) for name in _CAPABILITIES},
    "ptrace": _ptrace,
    "pidfd_getfd": _pidfd_getfd,
    "/dev/fuse": _device("/dev/fuse"),
    "/dev/net/tun": _device("/dev/net/tun"),
    "/dev/ptmx": _device("/dev/ptmx"),
    "cgroups": _cgroups,
    "ns_last_pid": _last_pid,
    "settings of namespaces": _namespace_settings,
    "suid_dumpable": _suid_dumpable,
    "landlock": _landlock,
}


def _try_all() -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for name, trial in TRIALS.items():
        try:
            _in_child(trial)
            results[name] = None
        except Denied as denied:
            results[name] = str(denied)
    return results


# ------------------------------------------------------------------------------------------ the outcome


class Place:
    """What the place permits.

    Attributes:
        denied: what has been tried -> how it was denied, or None if it is permitted.
    """

    def __init__(self, denied: dict[str, str | None]) -> None:
        self.denied = denied

    @classmethod
    def explore(cls) -> Place:
        """Try everything, in another process."""
        command = [sys.executable, "-I", __file__, "--json"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return cls(json.loads(result.stdout))

    def permits(self, *things: str) -> bool:
        """Whether all of these are permitted."""
        return self.reason(*things) is None

    def reason(self, *things: str) -> str | None:
        """Why a test that needs these things is skipped, or None if they are permitted."""
        for thing in things:
            if thing not in self.denied:
                raise ValueError(f"{thing!r} is not among what is tried: {', '.join(self.denied)}")
            if (how := self.denied[thing]) is not None:
                return f"place: {thing} not permitted ({how})"
        return None

    def need(self, *things: str) -> None:
        """Skip the test that asks, unless all of these are permitted."""
        if (reason := self.reason(*things)) is not None:
            import pytest

            pytest.skip(reason)

    def table(self) -> list[str]:
        """One line for each thing."""
        width = max(map(len, self.denied))
        return [f"{thing:{width}}  {how or 'yes'}" for thing, how in self.denied.items()]


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(_try_all()))
    else:
        print(*Place(_try_all()).table(), sep="\n")
