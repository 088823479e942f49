"""A file system that passes every request on to a directory, and a command that runs in it.

A node of the kernel is a descriptor opened with `O_PATH`, and its number comes from that of the inode. Calls
are made in a process of its own, so that the one that serves never waits for a disk.

    17_passthrough.py DIRECTORY MOUNTPOINT COMMAND ARGUMENT...
"""

from __future__ import annotations

import errno
import itertools
import sys
import tempfile
from collections import Counter

import trio

from rsyscall import ChildThread, FileDescriptor, local_thread
from rsyscall.fcntl import AT, O
from rsyscall.fuse_filesystem import Filesystem
from rsyscall.fuse_server import serve
from rsyscall.linux import fuse
from rsyscall.linux.dirent import DirentList
from rsyscall.linux.fuse import FATTR, FUSE_ROOT_ID
from rsyscall.sched import CLONE
from rsyscall.sys.stat import UTIME, FileTimes, Stat
from rsyscall.sys.statfs import Statfs
from rsyscall.time import Timespec
from rsyscall.unistd import SEEK

BELIEVED = Timespec(1, 0)  # no other program changes the files
DONE = O.CREAT | O.EXCL | O.NOFOLLOW | O.DIRECT
NOW, OMIT = Timespec(0, UTIME.NOW), Timespec(0, UTIME.OMIT)


class Passthrough(Filesystem):
    def __init__(self, worker: ChildThread, root: FileDescriptor) -> None:
        self.worker, self.ptr = worker, worker.ptr
        self.nodes = {FUSE_ROOT_ID: root}
        self.lookups = Counter({FUSE_ROOT_ID: 1})
        self.files: dict[int, FileDescriptor] = {}
        self.numbers = itertools.count()

    def path(self, nodeid: int) -> str:
        return f"/proc/self/fd/{int(self.nodes[nodeid])}"

    def opened(self, fd: FileDescriptor) -> fuse.FuseOpenOut:
        out = fuse.FuseOpenOut(next(self.numbers))
        self.files[out.fh] = fd
        return out

    async def attr(self, fd: FileDescriptor) -> tuple[int, fuse.FuseAttr]:
        stat = await (await fd.fstat(await self.worker.malloc(Stat))).read()
        return stat.dev, fuse.FuseAttr.from_stat(stat)

    async def entry(self, op: fuse.FuseIn, name: str) -> fuse.FuseEntryOut:
        fd = await self.nodes[op.hdr.nodeid].openat(await self.ptr(name), O.PATH | O.NOFOLLOW)
        device, attr = await self.attr(fd)
        if device != (await self.attr(self.nodes[FUSE_ROOT_ID]))[0]:
            raise OSError(errno.EXDEV, "something else is mounted there", name)
        nodeid = attr.ino + FUSE_ROOT_ID
        self.nodes.setdefault(nodeid, fd)
        self.lookups[nodeid] += 1
        return fuse.FuseEntryOut(nodeid, 0, BELIEVED, BELIEVED, attr)

    async def lookup(self, op: fuse.FuseLookupOp) -> fuse.FuseEntryOut:
        return await self.entry(op, op.name)

    def forget(self, nodeid: int, nlookup: int) -> None:
        self.lookups[nodeid] -= nlookup
        if self.lookups[nodeid] <= 0:
            del self.lookups[nodeid], self.nodes[nodeid]  # which closes the descriptor

    async def getattr(self, op: fuse.FuseGetattrOp | fuse.FuseSetattrOp) -> fuse.FuseAttrOut:
        return fuse.FuseAttrOut(BELIEVED, (await self.attr(self.nodes[op.hdr.nodeid]))[1])

    async def setattr(self, op: fuse.FuseSetattrOp) -> fuse.FuseAttrOut:
        new, valid, task, path = (
            op.msg,
            op.msg.valid,
            self.worker.task,
            await self.ptr(self.path(op.hdr.nodeid)),
        )
        if valid & (FATTR.UID | FATTR.GID):
            owner = new.uid if valid & FATTR.UID else -1, new.gid if valid & FATTR.GID else -1
            await self.nodes[op.hdr.nodeid].fchownat(await self.ptr(""), *owner, AT.EMPTY_PATH)
        if valid & FATTR.MODE:
            await task.chmod(path, int(new.mode.mode))
        if valid & FATTR.SIZE:
            await (
                self.files[new.fh].ftruncate(new.size) if valid & FATTR.FH else task.truncate(path, new.size)
            )
        if valid & (FATTR.ATIME | FATTR.MTIME):
            atime = (NOW if valid & FATTR.ATIME_NOW else new.atime) if valid & FATTR.ATIME else OMIT
            mtime = (NOW if valid & FATTR.MTIME_NOW else new.mtime) if valid & FATTR.MTIME else OMIT
            await task.utimensat(path, await self.ptr(FileTimes(atime, mtime)))
        return await self.getattr(op)

    async def readlink(self, op: fuse.FuseReadlinkOp) -> str:
        buffer = await self.worker.malloc(str, 4096)
        return await (await self.nodes[op.hdr.nodeid].readlinkat(await self.ptr(""), buffer))[0].read()

    async def symlink(self, op: fuse.FuseSymlinkOp) -> fuse.FuseEntryOut:
        await self.nodes[op.hdr.nodeid].symlinkat(await self.ptr(op.target), await self.ptr(op.name))
        return await self.entry(op, op.name)

    async def mknod(self, op: fuse.FuseMknodOp) -> fuse.FuseEntryOut:
        await self.nodes[op.hdr.nodeid].mknodat(await self.ptr(op.name), int(op.msg.mode), op.msg.rdev)
        return await self.entry(op, op.name)

    async def mkdir(self, op: fuse.FuseMkdirOp) -> fuse.FuseEntryOut:
        await self.nodes[op.hdr.nodeid].mkdirat(await self.ptr(op.name), op.msg.mode)
        return await self.entry(op, op.name)

    async def unlink(self, op: fuse.FuseUnlinkOp) -> None:
        await self.nodes[op.hdr.nodeid].unlinkat(await self.ptr(op.name))

    async def rmdir(self, op: fuse.FuseRmdirOp) -> None:
        await self.nodes[op.hdr.nodeid].unlinkat(await self.ptr(op.name), AT.REMOVEDIR)

    async def rename(self, op: fuse.FuseRenameOp) -> None:
        to = self.nodes[op.msg.newdir], await self.ptr(op.newname)
        await self.nodes[op.hdr.nodeid].renameat(await self.ptr(op.name), *to)

    async def link(self, op: fuse.FuseLinkOp) -> fuse.FuseEntryOut:
        to = self.nodes[op.hdr.nodeid], await self.ptr(op.name)
        path = await self.ptr(self.path(op.msg.oldnodeid))
        await self.worker.task.linkat(None, path, *to, AT.SYMLINK_FOLLOW)
        return await self.entry(op, op.name)

    async def open(self, op: fuse.FuseOpenOp | fuse.FuseOpendirOp) -> fuse.FuseOpenOut:
        return self.opened(await self.worker.open(self.path(op.hdr.nodeid), op.msg.flags & ~DONE))

    async def create(self, op: fuse.FuseCreateOp) -> tuple[fuse.FuseEntryOut, fuse.FuseOpenOut]:
        name, flags = await self.ptr(op.name), (op.msg.flags | O.CREAT) & ~O.DIRECT
        fd = await self.nodes[op.hdr.nodeid].openat(name, flags, int(op.msg.mode.mode))
        return await self.entry(op, op.name), self.opened(fd)

    async def read(self, op: fuse.FuseReadOp) -> bytes:
        buffer = await self.worker.malloc(bytes, op.msg.size)
        return await (await self.files[op.msg.fh].pread(buffer, op.msg.offset))[0].read()

    async def write(self, op: fuse.FuseWriteOp) -> fuse.FuseWriteOut:
        written, _ = await self.files[op.msg.fh].pwrite(await self.ptr(op.data), op.msg.offset)
        return fuse.FuseWriteOut(written.size())

    async def fsync(self, op: fuse.FuseFsyncOp) -> None:
        await self.files[op.msg.fh].fsync()

    async def release(self, op: fuse.FuseReleaseOp | fuse.FuseReleasedirOp) -> None:
        await self.files.pop(op.msg.fh).close()

    async def readdir(self, op: fuse.FuseReaddirOp) -> list[fuse.FuseDirent]:
        await self.files[op.msg.fh].lseek(op.msg.offset, SEEK.SET)
        valid, _ = await self.files[op.msg.fh].getdents(await self.worker.malloc(DirentList, op.msg.size))
        return op.fitting(fuse.FuseDirent(e.inode, e.offset, e.type, e.name) for e in await valid.read())

    async def opendir(self, op: fuse.FuseOpendirOp) -> fuse.FuseOpenOut:
        return await self.open(op)

    async def releasedir(self, op: fuse.FuseReleasedirOp) -> None:
        await self.release(op)

    async def statfs(self, op: fuse.FuseStatfsOp) -> fuse.FuseStatfsOut:
        st = await (await self.nodes[op.hdr.nodeid].fstatfs(await self.worker.malloc(Statfs))).read()
        room = st.blocks, st.bfree, st.bavail, st.files, st.ffree, st.bsize, st.namelen, st.frsize
        return fuse.FuseStatfsOut(fuse.FuseKstatfs(*room))


async def main(directory: str, mountpoint: str, *command: str) -> int | None:
    """Run the command in the file system, which only it can see; return its exit status."""
    worker, user = await local_thread.clone(), await local_thread.clone(CLONE.NEWNS)
    async with worker.process, user.process:
        await worker.task.umask(0)
        await user.make_rprivate()
        root = await worker.open(directory, O.PATH | O.DIRECTORY)
        async with serve(user, mountpoint, Passthrough(worker, root)):
            program = await user.environ.which(command[0])
            return (await user.run(program.args(*command[1:]), cwd=mountpoint, check=False)).returncode


SCRIPT = """
mkdir -p a/b && echo one > a/b/file && ln -s b/file a/link && ln a/b/file a/hard && tar -cf all.tar a &&
mkdir copy && tar -xf all.tar -C copy && diff -r a copy/a && cat copy/a/link && rm -r a copy && ls
"""

if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit(trio.run(lambda: main(*sys.argv[1:])))
    with tempfile.TemporaryDirectory() as behind, tempfile.TemporaryDirectory() as mountpoint:
        trio.run(main, behind, mountpoint, "sh", "-c", SCRIPT)
