"""Telling routers and switches of the groups that are listened to: IGMP version 2 (RFC 2236), MLD version 1 (RFC 2710).

A report is sent when a group is joined, once more a little later, and after a random wait in answer to a query, unless
another host was faster. The last member says when it leaves.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

from plankroad.ip.interface import IPV4_ALL_HOSTS, Interface
from plankroad.stack.host import Host
from plankroad.stack.output import emit, enqueue
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.address import IPV6_ALL_NODES, IPV6_ALL_ROUTERS, is_link_local, is_multicast
from plankroad.wire.checksum import checksum
from plankroad.wire.constants import (
    ICMPV6_MLD_DONE,
    ICMPV6_MLD_QUERY,
    ICMPV6_MLD_REPORT,
    PROTO_HOP_BY_HOP,
    PROTO_ICMPV6,
    PROTO_IGMP,
)
from plankroad.wire.icmp import IcmpMessage
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4
from plankroad.wire.ipv4_options import build_router_alert
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.ipv6_options import build_options_header, build_router_alert6
from plankroad.wire.packet import Packet

IGMP_QUERY: Final = 0x11
IGMP_REPORT_V1: Final = 0x12
IGMP_REPORT_V2: Final = 0x16
IGMP_LEAVE: Final = 0x17
IPV4_ALL_ROUTERS: Final = b"\xe0\x00\x00\x02"

#: RFC 2236 section 8.10 and RFC 2710 section 7.10: Unsolicited Report Interval.
UNSOLICITED_INTERVAL: Final = 10 * SECOND
#: RFC 2236 section 4: a query of version 1 has no time of its own; it is 10 s.
VERSION1_INTERVAL: Final = 10 * SECOND
#: RFC 2236 section 8.11: for so long after a query of a version 1 router, version 1 is spoken.
VERSION1_ROUTER: Final = 400 * SECOND


class GroupReports:
    """Reports that are due. `pending`: the deadline of each (interface, group); the heap may hold outdated ones.

    `last`: groups whose last report was this host's, which then says when it leaves (RFC 2236 section 3).
    `version1_until`: by interface, until when its router is taken for one of IGMP version 1.
    """

    __slots__ = ("heap", "last", "pending", "version1_until")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, bytes]] = []
        self.pending: dict[tuple[int, bytes], int] = {}
        self.last: set[tuple[int, bytes]] = set()
        self.version1_until: dict[int, int] = {}

    def schedule(self, when: int, interface: Interface, group: bytes) -> None:
        """A report is due at `when`, unless one is due before."""
        key = (interface.index, group)
        if when < self.pending.get(key, NEVER):
            self.pending[key] = when
            heappush(self.heap, (when, interface.index, group))
            if len(self.heap) > 2 * len(self.pending) + 64:
                # Most are out of date: queries came that wanted to be answered ever sooner.
                self.heap = [(due, index, each) for (index, each), due in self.pending.items()]
                heapify(self.heap)

    def cancel(self, interface: Interface, group: bytes) -> None:
        """No report is due."""
        self.pending.pop((interface.index, group), 0)

    def next_timeout(self) -> int:
        """When the next report is due; `NEVER` without one."""
        heap = self.heap
        while heap:
            when, index, group = heap[0]
            if self.pending.get((index, group), NEVER) == when:
                return when
            heappop(heap)
        return NEVER


def reported(host: Host, group: bytes) -> bool:
    """Whether the group is one that is reported: not those that everyone listens to."""
    if not host.config.group_reports or group in (IPV4_ALL_HOSTS, IPV6_ALL_NODES):
        return False
    # RFC 2710 section 5: reserved and node-local scope.
    return len(group) == 4 or group[1] & 0x0F > 1


def joined(host: Host, now: int, interface: Interface, group: bytes) -> None:
    """The interface listens to a group that it did not listen to before (RFC 2236 section 3, RFC 2710 section 4)."""
    reports = host.groups
    if reports is None or not reported(host, group) or interface.index < 0:
        return
    send_report(host, now, interface, group)
    reports.schedule(now + host.rng.randrange(UNSOLICITED_INTERVAL), interface, group)


def left(host: Host, now: int, interface: Interface, group: bytes) -> None:
    """The interface does not listen to a group any more."""
    reports = host.groups
    if reports is None or interface.index < 0:
        return
    reports.cancel(interface, group)
    if (interface.index, group) not in reports.last:
        return
    reports.last.discard((interface.index, group))
    if len(group) == 4:
        if reports.version1_until.get(interface.index, 0) <= now:
            send_igmp(host, now, interface, IGMP_LEAVE, group, IPV4_ALL_ROUTERS)
    else:
        send_mld(host, now, interface, ICMPV6_MLD_DONE, group, IPV6_ALL_ROUTERS)


def handle_timeout(host: Host, now: int) -> None:
    """Send the reports that are due."""
    reports = host.groups
    if reports is None:
        return
    while reports.next_timeout() <= now:
        _, index, group = heappop(reports.heap)
        reports.pending.pop((index, group), 0)
        interface = host.interface_at(index)
        if interface is not None and group in interface.groups:
            send_report(host, now, interface, group)


def send_report(host: Host, now: int, interface: Interface, group: bytes) -> None:
    """Say that this host listens to a group."""
    reports = host.groups
    if reports is None:
        return
    reports.last.add((interface.index, group))
    if len(group) == 4:
        version1 = reports.version1_until.get(interface.index, 0) > now
        send_igmp(host, now, interface, IGMP_REPORT_V1 if version1 else IGMP_REPORT_V2, group, group)
    else:
        send_mld(host, now, interface, ICMPV6_MLD_REPORT, group, group)


def send_igmp(host: Host, now: int, interface: Interface, type_: int, group: bytes, dst: bytes) -> None:
    """An IGMP message: TTL 1, with a Router Alert option (RFC 2236 section 2)."""
    if not interface.up:
        return
    src = b""
    for address in interface.addresses:
        if len(address.ip) == 4 and address.usable():
            src = address.ip
            break
    if not src:
        return
    body = bytes((type_, 0, 0, 0)) + group
    message = body[:2] + checksum(body).to_bytes(2, "big") + group
    head = build_ipv4(src, dst, PROTO_IGMP, 8, 1, 0xC0, 0, True, options=build_router_alert())
    host.counters.ip.sent += 1
    host.counters.ip.sent_bytes += len(head) + 8
    enqueue(host, emit(host, now, interface, dst, Packet(head + message)))


def send_mld(host: Host, now: int, interface: Interface, type_: int, group: bytes, dst: bytes) -> None:
    """An MLD message: hop limit 1, a link-local source, a Router Alert hop-by-hop option (RFC 2710 section 3)."""
    if not interface.up:
        return
    # RFC 3590: the unspecified address where there is no link-local one yet.
    src = bytes(16)
    for address in interface.addresses:
        if len(address.ip) == 16 and is_link_local(address.ip) and address.usable():
            src = address.ip
            break
    message = build_icmpv6(src, dst, type_, 0, 0, group)
    options = build_options_header(PROTO_ICMPV6, [build_router_alert6()])
    head = build_ipv6(src, dst, PROTO_HOP_BY_HOP, len(options) + len(message), 1)
    host.counters.icmp.sent += 1
    host.counters.ip.sent += 1
    host.counters.ip.sent_bytes += len(head) + len(options) + len(message)
    enqueue(host, emit(host, now, interface, dst, Packet(head + options + message)))


def query(host: Host, now: int, interface: Interface, group: bytes, limit: int) -> None:
    """A router asks who listens to `group` (any of the family where it is all zeros); answer within `limit`."""
    reports = host.groups
    if reports is None:
        return
    for member in interface.groups:
        if len(member) == len(group) and (member == group or not any(group)) and reported(host, member):
            reports.schedule(now + (host.rng.randrange(limit) if limit > 0 else 0), interface, member)


def igmp_input(host: Host, now: int, buf: bytes, header: Ipv4Header, interface: Interface) -> None:
    """An IGMP message came in (RFC 2236). Malformed ones are ignored."""
    reports = host.groups
    start = header.payload_start
    message = buf[start : header.payload_end]
    # RFC 2236 section 2: all messages "are sent with IP TTL 1"; with any other it comes from afar.
    if reports is None or len(message) < 8 or checksum(message) != 0 or interface.index < 0 or header.ttl != 1:
        return
    type_ = message[0]
    group = message[4:8]
    if type_ == IGMP_QUERY:
        limit = message[1] * 100 * MILLISECOND
        if limit == 0:
            limit = VERSION1_INTERVAL
            reports.version1_until[interface.index] = now + VERSION1_ROUTER
        query(host, now, interface, group, limit)
    elif type_ in (IGMP_REPORT_V1, IGMP_REPORT_V2) and is_multicast(group):
        # Another member was faster.
        reports.cancel(interface, group)
        reports.last.discard((interface.index, group))


def mld_input(
    host: Host, now: int, message: IcmpMessage, length: int, interface: Interface, src: bytes, hop_limit: int
) -> None:
    """An MLD message came in, its checksum right (RFC 2710). Version 2 reports tell a host nothing."""
    reports = host.groups
    # RFC 3810 section 5.1.14 and 6.2: a link-local source and a hop limit of 1, so that nobody from afar can ask.
    if reports is None or length < 24 or interface.index < 0 or not is_link_local(src) or hop_limit != 1:
        return
    group = message.body[:16]
    if message.type == ICMPV6_MLD_QUERY:
        query(host, now, interface, group, (message.rest >> 16) * MILLISECOND)
    elif message.type == ICMPV6_MLD_REPORT and group[0] == 0xFF:
        reports.cancel(interface, group)
        reports.last.discard((interface.index, group))
