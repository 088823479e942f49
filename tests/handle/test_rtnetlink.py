"""Tests of `rsyscall.linux.rtnetlink`."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsyscall.linux.netlink import (
    NETLINK,
    NLM_F,
    NLMSG,
    Nlmsg,
    build_messages,
    parse_attributes,
    parse_messages,
)
from rsyscall.linux.rtnetlink import IFLA, RTM, Ifinfomsg
from rsyscall.net.if_ import IFF
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF, MSG, SOCK

from .helpers import forked
from .support import Local


@pytest.mark.needs("network namespaces")
@forked
async def test_links_of_a_new_namespace(local: Local, tmp_path: Path) -> None:
    await local.task.unshare(CLONE.NEWUSER | CLONE.NEWNET)
    sock = await local.task.socket(AF.NETLINK, SOCK.RAW, NETLINK.ROUTE)
    request = Nlmsg(RTM.GETLINK, NLM_F.REQUEST | NLM_F.DUMP, Ifinfomsg().to_bytes(), seq=1)
    await sock.write(await local.ptr(build_messages([request])))
    links = {}
    done = False
    while not done:
        valid, _ = await sock.recv(await local.malloc(bytes, 32768), MSG.NONE)
        for message in parse_messages(await valid.read()):
            if message.type == NLMSG.DONE:
                done = True
                break
            assert message.type == RTM.NEWLINK
            info = Ifinfomsg.from_bytes(message.payload)
            found = parse_attributes(message.payload[Ifinfomsg.sizeof() :])
            [name] = [a.value for a in found if a.type == IFLA.IFNAME]
            links[name] = info
    assert links[b"lo\0"].index == 1
    assert IFF.LOOPBACK in links[b"lo\0"].flags
    assert IFF.UP not in links[b"lo\0"].flags
