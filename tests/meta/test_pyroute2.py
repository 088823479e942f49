"""Messages of pyroute2, carried by our sockets in processes of ours."""

from __future__ import annotations

import importlib.util

import pytest

from rsyscall import ChildThread, local_thread
from rsyscall.linux.netlink import NLM_F
from rsyscall.linux.rtnetlink import RTM, RTN
from rsyscall.netlink_socket import NetlinkSocket
from rsyscall.sched import CLONE
from rsyscall.sys.socket import AF

# It is no requirement of ours; the session `meta` has it.
pytestmark = [
    pytest.mark.needs("network namespaces"),
    pytest.mark.skipif(
        importlib.util.find_spec("pyroute2") is None, reason="python: pyroute2 is not installed"
    ),
]


async def test_rules_and_links() -> None:
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.marshal import MarshalRtnl

    child: ChildThread = await local_thread.clone(CLONE.NEWUSER | CLONE.NEWNET)
    async with child.process, await NetlinkSocket.make(child.task, child.ram) as sock:
        link = ifinfmsg()
        link["header"]["type"], link["header"]["flags"] = RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL
        peer = {"attrs": [["IFLA_IFNAME", "there"]]}
        info = [["IFLA_INFO_KIND", "veth"], ["IFLA_INFO_DATA", {"attrs": [["VETH_INFO_PEER", peer]]}]]
        link["attrs"] = [["IFLA_IFNAME", "here"], ["IFLA_LINKINFO", {"attrs": info}]]
        link.encode()
        assert await sock.carry(bytes(link.data)) == []
        assert {"here", "there"} <= {one.name for one in await child.net.list_links()}
        with pytest.raises(FileExistsError):
            await sock.carry(bytes(link.data))

        rule = fibmsg()
        rule["header"]["type"], rule["header"]["flags"] = RTM.NEWRULE, NLM_F.CREATE | NLM_F.EXCL
        rule["family"], rule["action"] = AF.INET, RTN.UNICAST
        rule["attrs"] = [["FRA_TABLE", 1234], ["FRA_PRIORITY", 77]]
        rule.encode()
        wanted = fibmsg()
        wanted["header"]["type"], wanted["header"]["flags"] = RTM.GETRULE, NLM_F.DUMP
        wanted["family"] = AF.INET
        wanted.encode()
        # Two requests in one piece.
        answers = await sock.carry(bytes(rule.data) + bytes(wanted.data))
        rules = list(MarshalRtnl().parse(b"".join(answers)))
        assert len(rules) == len(answers)
        assert 1234 in {one.get_attr("FRA_TABLE") for one in rules if one.get_attr("FRA_PRIORITY") == 77}
        with pytest.raises(ValueError, match="length"):
            await sock.carry(bytes(rule.data)[:20])
