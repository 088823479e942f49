"""Calls of the families that few programs use, for `strace_driver`."""

from __future__ import annotations

import contextlib
import os

from rsyscall.fcntl import AT, O
from rsyscall.handle.process import Process
from rsyscall.linux.bpf import BPF, BPF_MAP_TYPE, BpfMapCreate
from rsyscall.linux.fs import FS_XFLAG, FileAttr
from rsyscall.linux.io_uring import IORING_REGISTER, IORING_SETUP, IoUringParams
from rsyscall.linux.keyctl import KEY_SPEC
from rsyscall.linux.landlock import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    NetPortAttr,
    PathBeneathAttr,
    RulesetAttr,
)
from rsyscall.linux.mempolicy import MPOL, MPOL_F, MPOL_MF, NodeMask
from rsyscall.linux.mount import LISTMOUNT, LSMT_ROOT, STATMOUNT, MntIdReq, MountIdList, Statmount
from rsyscall.linux.openat2 import RESOLVE, OpenHow
from rsyscall.linux.perf_event import PERF_ATTR, PERF_COUNT_SW, PERF_FLAG, PERF_TYPE, PerfEventAttr
from rsyscall.mqueue import MqAttr
from rsyscall.netinet.in_ import SockaddrIn, SockaddrIn6
from rsyscall.netinet.ip import IPPROTO
from rsyscall.netinet.tcp import TCP
from rsyscall.signal import SIG, Sigevent
from rsyscall.struct import Int32, Int64, StructList
from rsyscall.sys.fanotify import FAN, FAN_INIT, FAN_MARK
from rsyscall.sys.inotify import IN, InotifyFlag
from rsyscall.sys.ipc import IPC, IPC_PRIVATE
from rsyscall.sys.mman import MAP, PROT
from rsyscall.sys.mount import (
    FSCONFIG,
    FSMOUNT,
    FSOPEN,
    FSPICK,
    MOUNT_ATTR,
    MOVE_MOUNT,
    MS,
    OPEN_TREE,
    MountAttr,
)
from rsyscall.sys.msg import MSGCTL, Msgbuf, MsqidDs
from rsyscall.sys.ptrace import PTRACE_O
from rsyscall.sys.sem import SEM, SEMCTL, Sembuf, SemidDs, SemValues
from rsyscall.sys.shm import SHM, SHMCTL, ShmidDs
from rsyscall.sys.socket import (
    AF,
    MSG,
    SO,
    SOCK,
    SOL,
    CmsgList,
    CmsgSCMRights,
    Linger,
    RecvMsghdr,
    SendMsghdr,
    Sockbuf,
)
from rsyscall.sys.stat import STATX, Statx
from rsyscall.sys.timex import Timex
from rsyscall.sys.uio import Iovec, IovecList
from rsyscall.sys.xattr import XATTR, XattrList
from rsyscall.thread import Thread
from rsyscall.time import CLOCK, Timespec

FAILS = contextlib.suppress(OSError)


async def attributes(thr: Thread) -> None:
    task = thr.task
    path, name = await thr.ptr("attributed"), await thr.ptr("user.name")
    fd = await task.open(path, O.RDWR | O.CREAT, 0o600)
    with FAILS:
        await task.setxattr(path, name, await thr.ptr(b"a\0value"), XATTR.CREATE)
    with FAILS:
        await task.lsetxattr(path, name, await thr.ptr(b"another"), XATTR.REPLACE)
    with FAILS:
        await fd.fsetxattr(name, await thr.ptr(b""))
    with FAILS:
        await task.getxattr(path, name, await thr.malloc(bytes, 20))
    with FAILS:
        await task.lgetxattr(path, name, await thr.malloc(bytes, 20))
    with FAILS:
        await fd.fgetxattr(await thr.ptr("user.missing"), await thr.malloc(bytes, 20))
    await task.listxattr(path, await thr.malloc(XattrList, 100))
    await task.llistxattr(path, await thr.malloc(XattrList, 100))
    await fd.flistxattr(await thr.malloc(XattrList, 100))
    with FAILS:
        await task.removexattr(path, name)
    with FAILS:
        await task.lremovexattr(path, name)
    with FAILS:
        await fd.fremovexattr(name)
    with FAILS:
        await task.file_getattr(path, await thr.malloc(FileAttr), AT.SYMLINK_NOFOLLOW)
    with FAILS:
        await task.file_setattr(path, await thr.ptr(FileAttr(FS_XFLAG.NODUMP, projid=3)))
    with FAILS:
        how = OpenHow(O.RDWR | O.CREAT | O.CLOEXEC, 0o640, RESOLVE.BENEATH | RESOLVE.NO_SYMLINKS)
        await task.openat2(await thr.ptr("/absolute"), await thr.ptr(how))
    flags = AT.EMPTY_PATH | AT.STATX_DONT_SYNC
    await fd.statx(await thr.ptr(""), flags, STATX.BASIC_STATS | STATX.BTIME, await thr.malloc(Statx))
    await fd.close()
    await task.unlink(path)


async def keys(thr: Thread) -> None:
    task = thr.task
    kind, name = await thr.ptr("user"), await thr.ptr("a description")
    with FAILS:
        key = await task.add_key(kind, name, await thr.ptr(b"a\0payload"), KEY_SPEC.PROCESS_KEYRING)
        await task.keyctl_search(KEY_SPEC.PROCESS_KEYRING, kind, name)
        await task.keyctl_describe(key, await thr.malloc(bytes, 100))
        await task.keyctl_read(key, await thr.malloc(bytes, 100))
        await task.keyctl_update(key, await thr.ptr(b"new"))
        await task.keyctl_chown(key, -1, -1)
        await task.keyctl_set_timeout(key, 100)
        await task.keyctl_link(key, KEY_SPEC.THREAD_KEYRING)
        await task.keyctl_unlink(key, KEY_SPEC.THREAD_KEYRING)
        with FAILS:
            await task.keyctl_move(key, KEY_SPEC.PROCESS_KEYRING, KEY_SPEC.THREAD_KEYRING)
        with FAILS:
            await task.keyctl_get_security(key, await thr.malloc(bytes, 100))
        await task.keyctl_revoke(key)
    with FAILS:
        await task.add_key(await thr.ptr("keyring"), name, None, KEY_SPEC.THREAD_KEYRING)
    with FAILS:
        await task.request_key(kind, await thr.ptr("missing"), None, KEY_SPEC.PROCESS_KEYRING)
    with FAILS:
        await task.keyctl_get_keyring_ID(KEY_SPEC.SESSION_KEYRING)
    with FAILS:
        await task.keyctl_clear(KEY_SPEC.THREAD_KEYRING)
    with FAILS:
        await task.keyctl_invalidate(1)
    with FAILS:
        await task.keyctl_get_persistent(-1, KEY_SPEC.PROCESS_KEYRING)
    with FAILS:
        await task.keyctl_join_session_keyring(await thr.ptr("a session"))


async def rings(thr: Thread) -> None:
    task = thr.task
    with FAILS:
        params = IoUringParams(flags=IORING_SETUP.CQSIZE | IORING_SETUP.CLAMP, cq_entries=8)
        ring, _ = await task.io_uring_setup(4, await thr.ptr(params))
        async with ring:
            with FAILS:
                numbers = StructList(Int32, [Int32(int(ring.near))])
                await ring.io_uring_register(IORING_REGISTER.FILES, await thr.ptr(numbers), 1)
            with FAILS:
                await ring.io_uring_register(IORING_REGISTER.UNREGISTER_FILES, None, 0)
            await ring.io_uring_enter(0)
    with FAILS:
        attr = BpfMapCreate(BPF_MAP_TYPE.ARRAY, 4, 8, 2, map_name="a_map")
        await (await task.bpf_fd(BPF.MAP_CREATE, await thr.ptr(attr))).close()


async def rules(thr: Thread) -> None:
    task = thr.task
    with FAILS:
        attr = RulesetAttr(LANDLOCK_ACCESS_FS.READ_FILE, LANDLOCK_ACCESS_NET.BIND_TCP)
        ruleset = await task.landlock_create_ruleset(await thr.ptr(attr))
        async with ruleset, await task.open(await thr.ptr("."), O.PATH) as here:
            rule = PathBeneathAttr(LANDLOCK_ACCESS_FS.READ_FILE, here)
            await ruleset.landlock_add_rule(await thr.ptr(rule))
            await ruleset.landlock_add_rule(await thr.ptr(NetPortAttr(LANDLOCK_ACCESS_NET.BIND_TCP, 80)))
            with FAILS:
                await here.landlock_restrict_self()
    with FAILS:
        await task.landlock_abi()


async def mount_files(thr: Thread) -> None:
    task = thr.task
    here = await thr.ptr(".")
    with FAILS:
        context = await task.fsopen(await thr.ptr("tmpfs"), FSOPEN.CLOEXEC)
        async with context:
            await context.fsconfig(FSCONFIG.SET_STRING, await thr.ptr("size"), await thr.ptr("4096"))
            with FAILS:
                await context.fsconfig(FSCONFIG.SET_FLAG, await thr.ptr("no_such_flag"))
            with FAILS:
                await context.fsconfig(FSCONFIG.SET_FD, await thr.ptr("key"), None, context)
            await context.fsconfig(FSCONFIG.CMD_CREATE)
            mount = await context.fsmount(FSMOUNT.CLOEXEC, MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV)
            async with mount:
                attr = MountAttr(MOUNT_ATTR.RDONLY, propagation=MS.PRIVATE)
                await mount.mount_setattr(await thr.ptr(""), AT.EMPTY_PATH, await thr.ptr(attr))
                flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS
                with FAILS:
                    await mount.move_mount(await thr.ptr(""), None, await thr.ptr("/no/where"), flags)
    with FAILS:
        await (await task.fspick(here, FSPICK.CLOEXEC | FSPICK.NO_AUTOMOUNT)).close()
    with FAILS:
        await (await task.open_tree(here, OPEN_TREE.CLOEXEC | OPEN_TREE.CLONE)).close()
    with FAILS:
        attr = MountAttr(MOUNT_ATTR.RDONLY)
        await (await task.open_tree_attr(here, OPEN_TREE.CLOEXEC, await thr.ptr(attr))).close()
    with FAILS:
        request = MntIdReq(mnt_id=LSMT_ROOT)
        await task.listmount(await thr.ptr(request), await thr.malloc(MountIdList, 64), LISTMOUNT.REVERSE)
    with FAILS:
        request = MntIdReq(mnt_id=1, param=STATMOUNT.MNT_BASIC)
        await task.statmount(await thr.ptr(request), await thr.malloc(Statmount, 1024))
    with FAILS:
        await task.umount(await thr.ptr("/no/where"))
    with FAILS:
        await task.pivot_root(await thr.ptr("/no/where"), await thr.ptr("/no/where/old"))


async def counters(thr: Thread) -> None:
    task = thr.task
    flags = PERF_ATTR.DISABLED | PERF_ATTR.EXCLUDE_KERNEL | PERF_ATTR.EXCLUDE_HV
    attr = PerfEventAttr(PERF_TYPE.SOFTWARE, config=PERF_COUNT_SW.TASK_CLOCK, flags=flags)
    with FAILS:
        counter = await task.perf_event_open(await thr.ptr(attr), 0, -1, None, PERF_FLAG.FD_CLOEXEC)
        await counter.close()
    with FAILS:
        await task.adjtimex(await thr.ptr(Timex()))
    with FAILS:
        await task.clock_adjtime(CLOCK.REALTIME, await thr.ptr(Timex()))


async def nodes(thr: Thread) -> None:
    task = thr.task
    mapping = await task.mmap(8192, PROT.READ | PROT.WRITE, MAP.PRIVATE)
    with FAILS:
        await task.get_mempolicy(await thr.malloc(Int32), await thr.malloc(NodeMask))
    with FAILS:
        await task.get_mempolicy(await thr.malloc(Int32), None, mapping.near.as_address(), MPOL_F.ADDR)
    with FAILS:
        await task.set_mempolicy(MPOL.PREFERRED, await thr.ptr(NodeMask([0])))
    with FAILS:
        await task.set_mempolicy(MPOL.DEFAULT, None)
    with FAILS:
        await task.mbind(mapping, MPOL.BIND | MPOL_F.STATIC_NODES, await thr.ptr(NodeMask([0])), MPOL_MF.MOVE)
    with FAILS:
        await task.set_mempolicy_home_node(mapping, 0)
    process = Process(task, task.near_process)
    with FAILS:
        await process.migrate_pages(await thr.ptr(NodeMask([0])), await thr.ptr(NodeMask([0])))
    with FAILS:
        pages = StructList(Int64, [Int64(int(mapping.near.address))])
        await process.move_pages(await thr.ptr(pages), None, await thr.malloc(bytes, 4))
    await mapping.munmap()


async def queues(thr: Thread) -> None:
    task = thr.task
    name = await thr.ptr(f"/strace.{os.getpid()}")
    with FAILS:
        attr = await thr.ptr(MqAttr(maxmsg=2, msgsize=16))
        queue = await task.mq_open(name, O.RDWR | O.CREAT | O.NONBLOCK, 0o600, attr)
        async with queue:
            await queue.mq_timedsend(await thr.ptr(b"a\0message"), 3)
            await queue.mq_notify(await thr.ptr(Sigevent(5, SIG.USR1)))
            await queue.mq_notify(None)
            room, priority = await thr.malloc(bytes, 16), await thr.malloc(Int32)
            await queue.mq_timedreceive(room, priority, await thr.ptr(Timespec(0, 5)))
            with FAILS:
                await queue.mq_timedreceive(await thr.malloc(bytes, 16))
            await queue.mq_getsetattr(await thr.ptr(MqAttr()), await thr.malloc(MqAttr))
    with FAILS:
        await task.mq_unlink(name)
    with FAILS:
        await task.mq_unlink(await thr.ptr("/missing"))


async def system_v(thr: Thread) -> None:
    task = thr.task
    make = IPC.CREAT | IPC.EXCL | IPC(0o600)
    queue = await task.msgget(IPC_PRIVATE, make)
    await task.msgsnd(queue, await thr.ptr(Msgbuf(2, b"a\0text")), IPC.NOWAIT)
    await task.msgctl(queue, MSGCTL.STAT, await thr.malloc(MsqidDs))
    await task.msgrcv(queue, await thr.malloc(Msgbuf, 14), 2, IPC.NOWAIT)
    await task.msgctl(queue, MSGCTL.RMID)
    semaphores = await task.semget(IPC_PRIVATE, 2, make)
    await task.semctl(semaphores, 0, SEMCTL.SETALL, await thr.ptr(SemValues([3, 7])))
    sops = StructList(Sembuf, [Sembuf(0, -2), Sembuf(1, 1, SEM.UNDO | IPC.NOWAIT)])
    await task.semop(semaphores, await thr.ptr(sops))
    await task.semctl(semaphores, 1, SEMCTL.SETVAL, 4)
    await task.semctl(semaphores, 1, SEMCTL.GETVAL)
    await task.semctl(semaphores, 0, SEMCTL.STAT, await thr.malloc(SemidDs))
    with FAILS:
        take = StructList(Sembuf, [Sembuf(0, -9)])
        await task.semtimedop(semaphores, await thr.ptr(take), await thr.ptr(Timespec(0, 9)))
    await task.semctl(semaphores, 0, SEMCTL.RMID)
    shared = await task.shmget(IPC_PRIVATE, 4096, make | SHM.NORESERVE)
    room = await thr.malloc(ShmidDs)
    mapping = await task.shmat(shared, room, SHM.RDONLY)
    await task.shmdt(mapping)
    await task.shmctl(shared, SHMCTL.STAT, room)
    await task.shmctl(shared, SHMCTL.RMID)
    with FAILS:
        await task.msgget(0x1234567, IPC.NONE)


async def others(thr: Thread) -> None:
    """Calls about another process, all of them about this one, which strace alone traces."""
    task = thr.task
    itself = Process(task, task.near_process)
    source, target = await thr.ptr(b"some\0bytes"), await thr.malloc(bytes, 10)
    there = await thr.ptr(StructList(Iovec, [Iovec(int(source.near), 4), Iovec(int(source.near) + 4, 6)]))
    await itself.process_vm_readv(await thr.ptr(IovecList([target])), there)
    there = await thr.ptr(StructList(Iovec, [Iovec(int(source.near), 5)]))
    await itself.process_vm_writev(await thr.ptr(IovecList([await thr.ptr(b"other")])), there)
    with FAILS:
        await itself.ptrace_seize(PTRACE_O.EXITKILL | PTRACE_O.TRACESYSGOOD)
    with FAILS:
        await itself.ptrace_attach()
    with FAILS:
        await itself.ptrace_setoptions(PTRACE_O.TRACEEXEC)
    with FAILS:
        await itself.ptrace_cont(SIG.USR1)
    with FAILS:
        await itself.ptrace_peekdata(0x1000, await thr.malloc(Int64))
    with FAILS:
        await itself.ptrace_pokedata(0x1000, 0x1234567890)
    with FAILS:
        await itself.ptrace_interrupt()
    with FAILS:
        await itself.ptrace_detach()


async def watches(thr: Thread) -> None:
    task = thr.task
    inotify = await task.inotify_init(InotifyFlag.NONBLOCK | InotifyFlag.CLOEXEC)
    watch = await inotify.inotify_add_watch(await thr.ptr("."), IN.CREATE | IN.DELETE | IN.DONT_FOLLOW)
    await inotify.inotify_rm_watch(watch)
    await inotify.close()
    with FAILS:
        flags = FAN_INIT.CLASS_NOTIF | FAN_INIT.CLOEXEC | FAN_INIT.UNLIMITED_MARKS
        fanotify = await task.fanotify_init(flags, O.RDONLY | O.LARGEFILE)
        async with fanotify:
            mask = FAN.OPEN | FAN.CLOSE_WRITE | FAN.EVENT_ON_CHILD
            await fanotify.fanotify_mark(FAN_MARK.ADD | FAN_MARK.MOUNT, mask, None, await thr.ptr("."))
            await fanotify.fanotify_mark(FAN_MARK.FLUSH, FAN.NONE, None, None)


async def messages(thr: Thread) -> None:
    task = thr.task
    tcp = await task.socket(AF.INET6, SOCK.STREAM | SOCK.CLOEXEC, IPPROTO.TCP)
    await tcp.setsockopt(IPPROTO.TCP, TCP.NODELAY, await thr.ptr(Int32(1)))
    await tcp.setsockopt(SOL.SOCKET, SO.LINGER, await thr.ptr(Linger(1, 5)))
    await tcp.getsockopt(SOL.SOCKET, SO.LINGER, await thr.ptr(Sockbuf(await thr.malloc(Linger))))
    await tcp.getsockopt(SOL.SOCKET, SO.TYPE, await thr.ptr(Sockbuf(await thr.malloc(Int32))))
    with FAILS:
        await tcp.bind(await thr.ptr(SockaddrIn6(0, "::1")))
    await tcp.close()
    pair = await thr.socketpair(AF.UNIX, SOCK.DGRAM)
    first, second = pair.first, pair.second
    control = CmsgList([CmsgSCMRights([first])])
    text = await thr.ptr(IovecList([await thr.ptr(b"a\0message")]))
    message = SendMsghdr(None, text, await thr.ptr(control))
    await first.sendmsg(await thr.ptr(message), MSG.NOSIGNAL)
    room = await thr.ptr(IovecList([await thr.malloc(bytes, 20)]))
    received = await thr.ptr(RecvMsghdr(None, room, await thr.malloc(CmsgList, 64)))
    _, _, header = await second.recvmsg(received, MSG.CMSG_CLOEXEC)
    control_data = (await header.read()).control
    assert control_data is not None
    for item in await control_data.read():
        assert isinstance(item, CmsgSCMRights)
        for fd in item:
            await fd.close()
    await first.close()
    await second.close()
    udp = await task.socket(AF.INET, SOCK.DGRAM)
    with FAILS:
        address = await thr.ptr(SockaddrIn(9, "127.0.0.1"))
        await udp.sendto(await thr.ptr(b"to no one"), MSG.DONTWAIT, address)
    with FAILS:
        address = await thr.ptr(Sockbuf(await thr.malloc(SockaddrIn)))
        await udp.recvfrom(await thr.malloc(bytes, 9), MSG.DONTWAIT, address)
    await udp.close()


FAMILIES = (
    attributes,
    keys,
    rings,
    rules,
    mount_files,
    counters,
    nodes,
    queues,
    system_v,
    others,
    watches,
    messages,
)
