"""Packages of the Nix store, in threads anywhere.

A package that was built with Nix runs on any Linux of its architecture, if everything that it refers to is
there too: its closure. `deploy` copies what is missing from one store to another one, over whatever leads to
the other thread. `nixdeps` has a program know the closures that it was built with; `local_package` asks the
store of this machine.

    package = await local_package("rsync")
    rsync = (await deploy(there, package)).bin("rsync")

Where there is no Nix, `deploy_nix_bin` puts Nix itself into the store, and `enter_nix_container` gives a
process a store of its own.

Two commands do each copy, one in each place; this program moves the bytes between them. What they have to
say goes to the standard error of their threads.

**Trust.** The place that gets packages trusts the one that they come from: no signatures are checked, and a
source that lies can put anything into the other store. It can reach nothing else.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from nixdeps import PackageClosure
from rsyscall.command import Command
from rsyscall.path import Path
from rsyscall.running import DEVNULL
from rsyscall.sched import CLONE
from rsyscall.sys.mount import MS
from rsyscall.tasks.local import local_thread
from rsyscall.unistd import OK

if TYPE_CHECKING:
    from rsyscall.thread import Thread

__all__ = [
    "PackageClosure",
    "PackagePath",
    "add_to_store",
    "bootstrap_nix_database",
    "copy_tree",
    "deploy",
    "deploy_nix_bin",
    "enter_nix_container",
    "local_package",
]

StrPath = str | os.PathLike[str]

# A directory in a store: 32 digits, a hyphen and a name.
_STORE_PATH = re.compile(r"/(?:[^/]+/)+[0-9a-z]{32}-[^/]+(?=/|$)")


class PackagePath(Path):
    """The path of a package that is in the store of a thread."""

    def bin(self, name: str) -> Command:
        """Return the command for a program of the package, without arguments.

        Args:
            name: of the program, which is in the directory `bin`.
        """
        return Command(self / "bin" / name, [name], {})


async def local_package(program: str) -> PackageClosure:
    """Return the package of the Nix store of this machine that a program is from, with its closure.

    Args:
        program: its name, looked for in PATH, or its path. Symbolic links are followed.

    Raises:
        ExecutableNotFound: there is no such program, or no `nix-store`.
        OSError: EINVAL, it is not from a store.
        CalledProcessError: `nix-store` failed: it does not know the package, say.
    """
    found = await local_thread.environ.which(program)
    real = os.path.realpath(found.executable_path)
    path = _STORE_PATH.match(real)
    if path is None:
        raise OSError(errno.EINVAL, "it is not from a Nix store", real)
    return await _closure_of(path[0])


async def _closure_of(path: str) -> PackageClosure:
    query = (await local_thread.environ.which("nix-store")).args("--query", "--requisites", path)
    done = await local_thread.run(query, capture=True)
    assert done.stdout is not None
    return PackageClosure(pathlib.Path(path), os.fsdecode(done.stdout).split())


async def add_to_store(file: StrPath) -> PackageClosure:
    """Copy a file or a directory of this machine, which refers to no package, into its store.

    Raises:
        ExecutableNotFound: there is no `nix-store`.
        CalledProcessError: `nix-store` failed: there is no such file, or no permission.

    manpage: nix-store(1)
    """
    add = (await local_thread.environ.which("nix-store")).args("--add", file)
    done = await local_thread.run(add, capture=True)
    assert done.stdout is not None
    path = os.fsdecode(done.stdout).strip()
    return PackageClosure(pathlib.Path(path), [path])


async def deploy(thread: Thread, package: PackageClosure, *, source: Thread | None = None) -> PackagePath:
    """Make sure that a package is in the store of a thread.

    If the thread may not read the path of the package, `nix-store --export` and `nix-store --import` copy the
    closure from the store of `source`. The thread has to have `nix-store` in PATH, and the right to write to
    its store: no daemon of Nix is asked there.

    Args:
        thread: gets the package. For `source` itself nothing is checked.
        package: the package.
        source: has the package; by default the local thread.

    Returns:
        Where the package is: the same path as everywhere.

    Raises:
        ExecutableNotFound: there is no `nix-store`.
        OSError: see access(2).
        CalledProcessError: one of the two commands failed. Paths that were copied whole are in the store.
        SyscallError: a process was lost.

    Cancellation: the commands are ended.

    manpage: nix-store(1), access(2)
    """
    source = local_thread if source is None else source
    path = PackagePath(package.path)
    if thread is source:
        return path
    try:
        await thread.task.access(await thread.ptr(Path(path)), OK.R)
    except (FileNotFoundError, PermissionError):
        export = (await source.environ.which("nix-store")).args("--export", *package.closure)
        take = (await thread.environ.which("nix-store")).args("--import")
        await _pipe(source, export, thread, take.env(NIX_REMOTE=""))
    return path


async def copy_tree(src: Thread, src_paths: Sequence[StrPath], dest: Thread, dest_path: StrPath) -> None:
    """Copy files and directories, with the whole of their paths, below a directory.

    `/nix/store/x` becomes `DEST_PATH/nix/store/x`. This is for packages: all files become readable, and
    belong to root if `dest` is root; several names of a file become several files.
    `rsyscall.stdlib.copy_tree` copies permissions, and needs no programs.

    Args:
        src: has the files, and GNU tar.
        src_paths: absolute paths.
        dest: makes the copies, by the `tar` that it has.
        dest_path: a directory. Files that are there already are replaced.

    Raises:
        ValueError: a path is not absolute.
        ExecutableNotFound: there is no `tar`.
        CalledProcessError: a `tar` failed; some of the files may have been copied.
        OSError: ENOENT, there is no directory `dest_path`.
        SyscallError: a process was lost.

    manpage: tar(1)
    """
    relative = []
    for src_path in src_paths:
        path = Path(src_path)
        if not path.is_absolute():
            raise ValueError(f"{path}: expected an absolute path")
        relative.append(path.relative_to("/"))
    if not relative:
        return
    options = ("--owner=0", "--group=0", "--mode=u+rw,uga+r", "--hard-dereference", "--directory=/")
    create = (await src.environ.which("tar")).args("--create", "--file=-", *options, "--", *relative)
    extract = (await dest.environ.which("tar")).args("-x", "-f", "-")
    await _pipe(src, create, dest, extract, dest_path)


async def bootstrap_nix_database(
    src: Thread, src_nix_store: Command, closure: Sequence[StrPath], dest: Thread, dest_nix_store: Command
) -> None:
    """Tell the Nix at `dest` of packages that were copied into its store: their references and hashes.

    Args:
        src: knows the packages.
        src_nix_store: the command `nix-store` there.
        closure: the paths of the packages.
        dest: has the packages.
        dest_nix_store: the command `nix-store` there.

    Raises:
        CalledProcessError: one of the two commands failed.

    manpage: nix-store(1)
    """
    load = dest_nix_store.args("--load-db").env(NIX_REMOTE="")
    await _pipe(src, src_nix_store.args("--dump-db", *closure), dest, load)


async def deploy_nix_bin(src: Thread, nix: PackageClosure, dest: Thread) -> None:
    """Put Nix into the store of a thread that has none, and its programs into the PATH of the thread.

    Args:
        src: has the package `nix`, and GNU tar.
        nix: the package of Nix itself.
        dest: may write to `/nix/store`, and has `tar`.

    Raises:
        CalledProcessError: a command failed; part of the package may be there.

    manpage: nix-store(1), tar(1)
    """
    await copy_tree(src, nix.closure, dest, "/")
    await _set_up_nix(src, nix, dest)


async def enter_nix_container(src: Thread, nix: PackageClosure, dest: Thread, dest_dir: Path) -> None:
    """Give a process a Nix store of its own, with Nix in it.

    The process moves to a new user namespace and a new mount namespace, in which `DEST_DIR/nix` is `/nix`.
    Its later children have the same.

    Args:
        src: has the package `nix`, and GNU tar.
        nix: the package of Nix itself.
        dest: the process, a child. It has `tar`, and a directory `/nix`, which may be empty.
        dest_dir: a directory for the store.

    Raises:
        OSError: EPERM, namespaces are not permitted; ENOENT, there is no `/nix`; see also `Thread.unshare`.
        CalledProcessError: a command failed.

    What was copied stays in `dest_dir`, also if this fails.

    manpage: user_namespaces(7), mount(2), nix-store(1)
    """
    # The daemon that it leads to has another store.
    dest.environ.pop("NIX_REMOTE", None)
    await copy_tree(src, nix.closure, dest, dest_dir)
    await dest.unshare(CLONE.NEWNS | CLONE.NEWUSER)
    nothing = await dest.ptr("")
    own = await dest.ptr(Path(dest_dir, "nix"))
    await dest.task.mount(own, await dest.ptr(Path("/nix")), nothing, MS.BIND, nothing)
    await _set_up_nix(src, nix, dest)


async def _set_up_nix(src: Thread, nix: PackageClosure, dest: Thread) -> None:
    """Make the Nix that is in the store of `dest` usable there."""
    nix_store = PackagePath(nix.path).bin("nix-store")
    await bootstrap_nix_database(src, nix_store, nix.closure, dest, nix_store)
    there = [dest.environ["PATH"]] if dest.environ.get("PATH") else []
    dest.environ["PATH"] = ":".join([*there, f"{nix.path}/bin"])


async def _pipe(src: Thread, write: Command, dest: Thread, read: Command, cwd: StrPath | None = None) -> None:
    """Run two commands, of which the second one reads the output of the first.

    Args:
        cwd: the working directory of the second.

    Raises:
        CalledProcessError: one failed: the first one, if both did.
    """
    sender, receiver = trio.open_memory_channel[bytes](1)
    # Raised in the nursery, they would be wrapped in a group.
    failures: list[Exception | None] = [None, None]

    async def run_write() -> None:
        async with sender:
            try:
                await src.run(write, stdin=DEVNULL, stdout=sender.send)
            except trio.BrokenResourceError:
                pass  # the other one has failed
            except Exception as error:
                failures[0] = error

    async def run_read() -> None:
        async with receiver:
            try:
                await dest.run(read, stdin=receiver, stdout=DEVNULL, cwd=cwd)
                # It knows where the data ends; what comes behind that is padding.
                async for _ in receiver:
                    pass
            except Exception as error:
                failures[1] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_write)
        nursery.start_soon(run_read)
    for failure in failures:
        if failure is not None:
            raise failure
