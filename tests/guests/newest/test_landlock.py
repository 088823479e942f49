"""What landlock has got since Linux 6.18, versions 8 to 11 of its interface."""

from __future__ import annotations

import errno

import pytest
from integration.support import bring_up_loopback

from rsyscall.fcntl import O
from rsyscall.handle import FileDescriptor
from rsyscall.linux.landlock import (
    LANDLOCK_ACCESS_FS,
    LANDLOCK_ACCESS_NET,
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    LANDLOCK_SCOPE,
    NetPortAttr,
    PathBeneathAttr,
    RulesetAttr,
)
from rsyscall.netinet.in_ import SockaddrIn
from rsyscall.path import Path
from rsyscall.sched import CLONE
from rsyscall.stdlib import mkdtemp
from rsyscall.sys.socket import AF, MSG, SOCK
from rsyscall.sys.un import SockaddrUn
from rsyscall.thread import Thread

from .support import child_of, drop_capabilities, opened

pytestmark = pytest.mark.slow

FS, NET, QUIET = LANDLOCK_ACCESS_FS, LANDLOCK_ACCESS_NET, LANDLOCK_ADD_RULE.QUIET
RESTRICT = LANDLOCK_RESTRICT_SELF


async def ruleset(thread: Thread, attr: RulesetAttr) -> FileDescriptor:
    return await thread.task.landlock_create_ruleset(await thread.ptr(attr))


async def test_everything_is_handled(thread: Thread) -> None:
    abi = await thread.task.landlock_abi()
    assert abi >= 11
    assert await thread.task.landlock_abi(LANDLOCK_CREATE_RULESET.ERRATA) >= 0
    files, ports, scopes = FS.of_abi(abi), NET.of_abi(abi), LANDLOCK_SCOPE.of_abi(abi)
    assert files & FS.RESOLVE_UNIX
    assert ports & NET.CONNECT_SEND_UDP
    await (await ruleset(thread, RulesetAttr(files, ports, scopes, files, ports, scopes))).close()
    for wrong in (
        RulesetAttr(FS.READ_FILE, quiet_access_fs=FS.READ_FILE | FS.WRITE_FILE),
        RulesetAttr(FS.READ_FILE, quiet_access_net=NET.BIND_TCP),
        RulesetAttr(FS.READ_FILE, quiet_scoped=LANDLOCK_SCOPE.SIGNAL),
        RulesetAttr(FS(1 << 60)),
    ):
        with pytest.raises(OSError, match="Invalid argument"):
            await ruleset(thread, wrong)


async def test_paths_of_sockets(thread: Thread) -> None:
    async with await mkdtemp(thread) as directory:
        servers = []
        for name in ("allowed", "denied"):
            await thread.mkdir(directory / name)
            server = await thread.socket(AF.UNIX, SOCK.STREAM)
            address = await SockaddrUn.from_path(thread, Path(directory / name / "socket"))
            await server.bind(await thread.ptr(address))
            await server.listen(10)
            servers.append((server, address))
        async with child_of(thread) as child:
            rules = await ruleset(child, RulesetAttr(FS.RESOLVE_UNIX))
            parent = await opened(child, str(directory / "allowed"), O.PATH)
            await rules.landlock_add_rule(await child.ptr(PathBeneathAttr(FS.RESOLVE_UNIX, parent)))
            await rules.landlock_restrict_self()
            (_, allowed), (_, denied) = servers
            await (await child.socket(AF.UNIX, SOCK.STREAM)).connect(await child.ptr(allowed))
            with pytest.raises(PermissionError) as caught:
                await (await child.socket(AF.UNIX, SOCK.STREAM)).connect(await child.ptr(denied))
            assert caught.value.errno == errno.EACCES
        for server, _ in servers:
            await server.close()


async def test_ports_of_datagrams(thread: Thread) -> None:
    async with child_of(thread, CLONE.NEWNET) as child:
        await bring_up_loopback(child)
        rules = await ruleset(child, RulesetAttr(handled_access_net=NET.BIND_UDP | NET.CONNECT_SEND_UDP))
        await rules.landlock_add_rule(await child.ptr(NetPortAttr(NET.BIND_UDP, 5000)))
        await rules.landlock_add_rule(await child.ptr(NetPortAttr(NET.CONNECT_SEND_UDP, 5000)))
        # A socket that is not bound gets a port when it sends.
        await rules.landlock_add_rule(await child.ptr(NetPortAttr(NET.BIND_UDP, 0)))
        await rules.landlock_restrict_self()
        local = {port: await child.ptr(SockaddrIn(port, "127.0.0.1")) for port in (5000, 5001)}
        server = await child.socket(AF.INET, SOCK.DGRAM)
        with pytest.raises(PermissionError):
            await server.bind(local[5001])
        await server.bind(local[5000])
        client = await child.socket(AF.INET, SOCK.DGRAM)
        with pytest.raises(PermissionError):
            await client.connect(local[5001])
        with pytest.raises(PermissionError):
            await client.sendto(await child.ptr(b"no"), MSG.NONE, local[5001])
        await client.connect(local[5000])
        await client.write(await child.ptr(b"yes"))
        assert await child.read(server, 10) == b"yes"


async def test_denials_that_are_not_logged(thread: Thread) -> None:
    """They are denials all the same; a rule may be there just to be quiet."""
    async with child_of(thread) as child:
        rules = await ruleset(child, RulesetAttr(FS.READ_FILE, quiet_access_fs=FS.READ_FILE))
        root = await opened(child, "/", O.PATH)
        nothing = await child.ptr(PathBeneathAttr(FS.NONE, root))
        with pytest.raises(OSError, match="No message"):
            await rules.landlock_add_rule(nothing)
        await rules.landlock_add_rule(nothing, QUIET)
        with pytest.raises(OSError, match="Invalid argument"):
            await rules.landlock_add_rule(nothing, LANDLOCK_ADD_RULE(1 << 30))
        await rules.landlock_restrict_self()
        with pytest.raises(PermissionError):
            await opened(child, "/init")
        await opened(child, "/init", O.PATH)


async def test_no_new_privileges_in_the_same_call(thread: Thread) -> None:
    async with child_of(thread) as child:
        rules = await ruleset(child, RulesetAttr(FS.READ_FILE))
        await drop_capabilities(child)
        with pytest.raises(PermissionError):
            await rules.landlock_restrict_self()
        assert not await child.task.prctl_get_no_new_privs()
        await opened(child, "/init")
        await rules.landlock_restrict_self(RESTRICT.NO_NEW_PRIVS | RESTRICT.TSYNC)
        assert await child.task.prctl_get_no_new_privs()
        with pytest.raises(PermissionError):
            await opened(child, "/init")
        with pytest.raises(OSError, match="Invalid argument"):
            await rules.landlock_restrict_self(RESTRICT(1 << 30))
