"""Requests to a part of the kernel over a netlink socket of any process, and its answers."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rsyscall.closing import ClosedAtEnd
from rsyscall.handle import FileDescriptor, Task
from rsyscall.linux.netlink import (
    NETLINK,
    NETLINK_OPTION,
    NLM_F,
    NLMSG,
    NLMSGERR_ATTR,
    Nlmsg,
    Nlmsgerr,
    SockaddrNl,
    build_messages,
    parse_attributes,
    parse_messages,
)
from rsyscall.struct import Int32
from rsyscall.sys.socket import AF, MSG, SOCK, SOL, Sockbuf

if TYPE_CHECKING:
    from rsyscall.memory.ram import RAM

__all__ = ["NetlinkSocket"]

# The kernel makes no longer pieces of a list.
_RECEIVE_SIZE = 32768
# How often a list is asked for that changes while the kernel makes it.
_ATTEMPTS = 100


class NetlinkSocket(ClosedAtEnd):
    """A netlink socket, which talks to the kernel alone. See `make`.

    Args:
        sock: the socket, bound; owned.
        ram: memory of its task.
        port: its number, the `pid` of what the kernel sends to it.
    """

    def __init__(self, sock: FileDescriptor, ram: RAM, port: int) -> None:
        self.sock = sock
        self.ram = ram
        self.port = port
        self._seq = 0

    @staticmethod
    async def make(task: Task, ram: RAM, protocol: NETLINK = NETLINK.ROUTE) -> NetlinkSocket:
        """Make a socket in that process, and so in its network namespace.

        Raises:
            OSError: EPROTONOSUPPORT (no such protocol), EMFILE and others.

        manpage: netlink(7)
        """
        sock = await task.socket(AF.NETLINK, SOCK.RAW, protocol)
        try:
            await sock.bind(await ram.ptr(SockaddrNl(0, 0)))
            found = await sock.getsockname(await ram.ptr(Sockbuf(await ram.malloc(SockaddrNl))))
            address = await (await found.read()).buf.read()
            on = await ram.ptr(Int32(1))
            for option in (NETLINK_OPTION.CAP_ACK, NETLINK_OPTION.EXT_ACK):
                await sock.setsockopt(SOL.NETLINK, option, on)
        except BaseException:
            await sock.invalidate()
            raise
        return NetlinkSocket(sock, ram, address.pid)

    async def request(
        self, type: int, payload: bytes, flags: NLM_F = NLM_F.NONE, what: object = None
    ) -> list[Nlmsg]:
        """Make a request, and wait for all of the answer.

        Args:
            type: of the request, an `RTM` for example.
            payload: what follows the header.
            flags: besides `NLM_F.REQUEST` and `NLM_F.ACK`. With `NLM_F.DUMP` the answer is a list. One that
                has changed while the kernel made it is asked for again.
            what: the `filename` of an error.

        Returns:
            The messages of the answer, without the acknowledgement.

        Raises:
            OSError: what the kernel answered, with its own words, if it has any; EINTR if the list has
                changed each time.

        manpage: netlink(7)
        """
        for _ in range(_ATTEMPTS):
            found = await self._request(type, payload, flags, what)
            if found is not None:
                return found
        raise OSError(errno.EINTR, "The list changed each time that it was read", what)

    async def _request(self, type: int, payload: bytes, flags: NLM_F, what: object) -> list[Nlmsg] | None:
        self._seq += 1
        await self.send(
            build_messages([Nlmsg(type, NLM_F.REQUEST | NLM_F.ACK | flags, payload, self._seq, self.port)])
        )
        answer: list[Nlmsg] = []
        consistent = True
        while True:
            for message in parse_messages(await self.recv()):
                if (message.seq, message.pid) != (self._seq, self.port):
                    continue
                consistent &= not message.flags & NLM_F.DUMP_INTR
                if message.type == NLMSG.ERROR:
                    _raise_if_error(message, what)
                elif message.type == NLMSG.DONE:
                    _raise_if_failed(message, what)
                else:
                    answer.append(message)
                    continue
                return answer if consistent else None

    async def carry(self, data: bytes) -> list[bytes]:
        """Make the requests that another codec has encoded, one after the other, and give it the answers.

        Those of pyroute2, for example, which knows many more messages than `rsyscall.linux.rtnetlink`:

            message = ifinfmsg()
            message["header"].update(type=RTM_GETLINK, flags=NLM_F_DUMP)
            message.encode()
            links = list(MarshalRtnl().parse(b"".join(await sock.carry(bytes(message.data)))))

        Args:
            data: messages with their headers. Their sequence and port numbers are replaced.

        Returns:
            The messages of the answers with their headers, one by one, without acknowledgements.

        Raises:
            ValueError: `data` is no list of messages.
            OSError: as for `request`, of the first request that fails; later ones are not made.
        """
        return [
            build_messages([answer])
            for message in parse_messages(data)
            for answer in await self.request(message.type, message.payload, message.flags)
        ]

    async def send(self, data: bytes) -> None:
        """Send messages to the kernel, as they are: `build_messages` makes such bytes.

        Raises:
            OSError: EPERM and others; `filename` is the socket.
        """
        await self.sock.sendto(await self.ram.ptr(data), MSG.NONE, await self.ram.ptr(SockaddrNl(0, 0)))

    async def recv(self) -> bytes:
        """Receive messages of the kernel: `parse_messages` takes such bytes.

        The kernel answers while a request is sent, so there is nothing to wait for.

        Raises:
            BlockingIOError: EAGAIN, there are none.
            OSError: ENOBUFS (some were lost); `filename` is the socket.
        """
        while True:
            sender = await self.ram.ptr(Sockbuf(await self.ram.malloc(SockaddrNl)))
            filled, _, sender = await self.sock.recvfrom(
                await self.ram.malloc(bytes, _RECEIVE_SIZE), MSG.DONTWAIT, sender
            )
            address = await (await sender.read()).buf.read()
            # Other processes may send, too.
            if address.pid == 0:
                return await filled.read()

    async def close(self) -> None:
        """Close the socket."""
        await self.sock.close()


def _raise_if_error(message: Nlmsg, what: object) -> None:
    error = Nlmsgerr.from_bytes(message.payload)
    if error.error == 0:
        return
    skipped = Nlmsgerr.sizeof()
    if not message.flags & NLM_F.CAPPED:
        # The rest of the request.
        skipped += max(0, error.msg.len - 16 + -error.msg.len % 4)
    attributes = message.payload[skipped:] if message.flags & NLM_F.ACK_TLVS else b""
    raise _error(error.error, attributes, what)


def _raise_if_failed(message: Nlmsg, what: object) -> None:
    """Raise what has ended a list before its end."""
    error = int.from_bytes(message.payload[:4], "little", signed=True)
    if error < 0:
        raise _error(error, message.payload[4:] if message.flags & NLM_F.ACK_TLVS else b"", what)


def _error(number: int, attributes: bytes, what: object) -> OSError:
    text = os.strerror(-number)
    for attribute in parse_attributes(attributes):
        if attribute.type == NLMSGERR_ATTR.MSG:
            text += f" ({attribute.value.rstrip(bytes(1)).decode(errors='replace')})"
    return OSError(-number, text, what)
