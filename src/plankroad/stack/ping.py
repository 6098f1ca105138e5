"""`PingEndpoint`: echo requests, what answers them, and the ICMP errors about them: what ping and traceroute need."""

from __future__ import annotations

import errno
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from plankroad.endpoint import EVENT_READABLE, Endpoint
from plankroad.stack.output import is_group, send
from plankroad.stack.routing import find_route, scope_of, source_fits, source_for
from plankroad.tcp.icmp import errno_of
from plankroad.udp.endpoint import os_error
from plankroad.wire.address import is_unspecified
from plankroad.wire.constants import ICMP_ECHO_REQUEST, ICMPV6_ECHO_REQUEST, PROTO_ICMP, PROTO_ICMPV6
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from plankroad.stack.host import Host

#: `PingReply.kind` of an answer; an error has a kind of `tcp.icmp`.
ECHO_REPLY: Final = -1


class EchoRequest:
    """A request whose answers are awaited."""

    __slots__ = ("answered", "dst", "sent_at")

    def __init__(self, dst: bytes, sent_at: int) -> None:
        self.dst = dst
        self.sent_at = sent_at
        self.answered: bool = False


class PingReply:
    """What came back for a request.

    `kind`: `ECHO_REPLY`, or the kind of ICMP error (`tcp.icmp`), `errno` then what it means to a program. `addr`: who
    answers, a router where it is an error. `dst`, `seq`, `sent_at`: of the request. `received_at` less `sent_at`
    is the round trip in nanoseconds. `type`, `code`, `mtu`: of the error as it came. `ttl`: of the answer's header.
    `duplicate`: the request had been answered before.
    """

    __slots__ = (
        "addr",
        "code",
        "data",
        "dst",
        "duplicate",
        "errno",
        "kind",
        "mtu",
        "received_at",
        "sent_at",
        "seq",
        "ttl",
        "type",
    )

    def __init__(self, kind: int, addr: bytes, dst: bytes, seq: int, sent_at: int, received_at: int) -> None:
        self.kind = kind
        self.addr = addr
        self.dst = dst
        self.seq = seq
        self.sent_at = sent_at
        self.received_at = received_at
        self.errno: int = 0
        self.data: bytes = b""
        self.type: int = 0
        self.code: int = 0
        self.mtu: int = 0
        self.ttl: int = 0
        self.duplicate: bool = False


class PingEndpoint(Endpoint):
    """Sends echo requests under an identifier of its own (RFC 1122 section 3.2.2.6, RFC 4443 section 4.1).

    EVENT_READABLE tells of replies, to be taken by `poll_reply`. At most `limit` replies and requests are remembered;
    the oldest go first.
    """

    __slots__ = ("closed", "dropped", "host", "ident", "limit", "queue", "requests")

    def __init__(self, host: Host, ident: int, limit: int) -> None:
        super().__init__(host.work)
        self.host = host
        self.ident = ident
        self.limit = limit
        self.queue: deque[PingReply] = deque()
        self.requests: OrderedDict[int, EchoRequest] = OrderedDict()
        self.dropped: int = 0
        self.closed: bool = False

    def send(
        self,
        now: int,
        dst: bytes,
        seq: int,
        data: bytes = b"",
        ttl: int = 0,
        tos: int = 0,
        dont_fragment: bool = False,
        local: bytes = b"",
        interface: int = -1,
    ) -> None:
        """Send an echo request to `dst` with sequence number `seq` (16 bits).

        `ttl` 0 is the host's. `local`: the source address, b"" = selected. `interface`: index of the one to leave by.
        Raises OSError: EBADF, EINVAL, ENETUNREACH, EADDRNOTAVAIL, EMSGSIZE (larger than IP takes; with
        `dont_fragment` than the path takes).
        """
        if self.closed:
            raise os_error(errno.EBADF)
        if len(dst) not in (4, 16) or is_unspecified(dst) or not 0 <= seq <= 0xFFFF or not 0 <= ttl <= 255:
            raise os_error(errno.EINVAL)
        if not 0 <= tos <= 255:
            raise os_error(errno.EINVAL)
        host = self.host
        scope = interface if interface >= 0 else scope_of(host, local, dst, -1)
        route = find_route(host, dst, 0, scope)
        if route is None:
            raise os_error(errno.ENETUNREACH)
        if local:
            if len(local) != len(dst) or host.owner(local) is None or not source_fits(host, local, route):
                raise os_error(errno.EADDRNOTAVAIL)
            src = local
        else:
            src = source_for(host, dst, route)
            if not src:
                raise os_error(errno.EADDRNOTAVAIL)
        size = len(data) + 8
        header = 20 if len(dst) == 4 else 40
        if size > (65515 if len(dst) == 4 else 65535):
            raise os_error(errno.EMSGSIZE)
        mtu = host.pmtu.get(now, dst, route.path_mtu())
        fits = header + size <= mtu
        if dont_fragment and not fits:
            raise os_error(errno.EMSGSIZE)
        rest = self.ident << 16 | seq
        if not ttl:
            ttl = 1 if is_group(route.interface, dst) else host.config.ttl
        if len(dst) == 4:
            message = build_icmp(ICMP_ECHO_REQUEST, 0, rest, data)
            # An atomic datagram needs no identification; one that may be cut does (RFC 6864 section 4).
            ident = 0 if dont_fragment else host.idents.ipv4(src, dst, PROTO_ICMP)
            head = build_ipv4(src, dst, PROTO_ICMP, size, ttl, tos, ident, dont_fragment)
        else:
            message = build_icmpv6(src, dst, ICMPV6_ECHO_REQUEST, 0, rest, data)
            head = build_ipv6(src, dst, PROTO_ICMPV6, size, ttl, tos)
        self.requests.pop(seq, None)
        if len(self.requests) >= self.limit:
            self.requests.popitem(last=False)
        self.requests[seq] = EchoRequest(dst, now)
        host.counters.icmp.sent += 1
        host.counters.icmp.echo_requests_sent += 1
        send(host, now, route, dst, Packet(head + message))
        self.wake()

    def poll_reply(self) -> PingReply | None:
        """The oldest reply or error not yet told, None where there is none."""
        if not self.queue:
            return None
        return self.queue.popleft()

    def close(self, now: int) -> None:
        """Give the identifier back."""
        if self.closed:
            return
        self.closed = True
        self.host.pings.pop(self.ident, None)
        self.queue.clear()
        self.requests.clear()
        self.wake()

    # Inputs

    def deliver_reply(self, now: int, addr: bytes, seq: int, data: bytes, ttl: int) -> bool:
        """An echo reply with this endpoint's identifier; False where no such request was sent."""
        request = self.requests.get(seq)
        if request is None or len(request.dst) != len(addr):
            return False
        reply = PingReply(ECHO_REPLY, addr, request.dst, seq, request.sent_at, now)
        reply.data = data
        reply.ttl = ttl
        reply.duplicate = request.answered
        request.answered = True
        self.add(reply)
        return True

    def deliver_error(
        self, now: int, kind: int, addr: bytes, seq: int, type_: int, code: int, mtu: int, dst: bytes, ttl: int
    ) -> bool:
        """An ICMP error about a request to `dst`; False where no such request was sent."""
        request = self.requests.get(seq)
        if request is None or request.dst != dst:
            return False
        reply = PingReply(kind, addr, dst, seq, request.sent_at, now)
        reply.errno = errno_of(kind)
        reply.type = type_
        reply.code = code
        reply.mtu = mtu
        reply.ttl = ttl
        reply.duplicate = request.answered
        request.answered = True
        self.add(reply)
        return True

    def add(self, reply: PingReply) -> None:
        """Queue what the program is to hear."""
        if len(self.queue) >= self.limit:
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(reply)
        self.events |= EVENT_READABLE
        self.wake()
