"""Tests of `rsyscall.linux.rtnetlink`."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rsyscall.linux.fib_rules import FIB_RULE, FR_ACT, FRA, FibRuleHdr, FibRulePortRange
from rsyscall.linux.netlink import (
    NETLINK,
    NLM_F,
    NLMSG,
    Nlattr,
    Nlmsg,
    Nlmsgerr,
    build_attributes,
    build_messages,
    parse_attributes,
    parse_messages,
)
from rsyscall.linux.rtnetlink import IFLA, RT_TABLE, RTM, Ifinfomsg
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


@pytest.mark.needs("network namespaces")
@forked
async def test_rules_of_a_new_namespace(local: Local, tmp_path: Path) -> None:
    await local.task.unshare(CLONE.NEWUSER | CLONE.NEWNET)
    sock = await local.task.socket(AF.NETLINK, SOCK.RAW, NETLINK.ROUTE)
    header = FibRuleHdr(AF.INET, tos=8, table=77, action=FR_ACT.TO_TBL, flags=FIB_RULE.INVERT)
    attributes = {
        FRA.PRIORITY: (1234).to_bytes(4, "little"),
        FRA.FWMARK: (5).to_bytes(4, "little"),
        FRA.DPORT_RANGE: FibRulePortRange(80, 443).to_bytes(),
    }
    payload = header.to_bytes() + build_attributes(Nlattr(*item) for item in attributes.items())
    flags = NLM_F.REQUEST | NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL
    for number, error in ((1, 0), (2, -errno.EEXIST)):
        await sock.write(await local.ptr(build_messages([Nlmsg(RTM.NEWRULE, flags, payload, number)])))
        valid, _ = await sock.recv(await local.malloc(bytes, 32768), MSG.NONE)
        [answer] = parse_messages(await valid.read())
        assert answer.type == NLMSG.ERROR
        assert Nlmsgerr.from_bytes(answer.payload).error == error
    request = Nlmsg(RTM.GETRULE, NLM_F.REQUEST | NLM_F.DUMP, FibRuleHdr(AF.INET).to_bytes(), seq=3)
    await sock.write(await local.ptr(build_messages([request])))
    valid, _ = await sock.recv(await local.malloc(bytes, 32768), MSG.NONE)
    found = [message for message in parse_messages(await valid.read()) if message.type == RTM.NEWRULE]
    size = FibRuleHdr.sizeof()
    rules = [FibRuleHdr.from_bytes(message.payload) for message in found]
    assert {RT_TABLE.LOCAL, RT_TABLE.MAIN, RT_TABLE.DEFAULT, 77} == {rule.table for rule in rules}
    [index] = [index for index, rule in enumerate(rules) if rule.table == 77]
    assert rules[index] == header
    values = {attribute.type: attribute.value for attribute in parse_attributes(found[index].payload[size:])}
    assert attributes.items() <= values.items()
