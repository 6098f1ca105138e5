"""Who has something to send: the endpoints that woke are served in turn, one segment each.

`poll` is the only place from which packets leave the stack. First come packets that are ready (answers to strangers,
forwarded ones), then frames of neighbour discovery, then what the host sends to itself is taken in, then endpoints.
"""

from __future__ import annotations

from plankroad.endpoint import Endpoint
from plankroad.ip.interface import Interface
from plankroad.stack.errors import report
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.stack.icmp_output import send_error4, send_error6
from plankroad.stack.receive import loopback_input
from plankroad.stack.shed import account
from plankroad.stack.tcp_output import forget, refresh, share_path_mtu
from plankroad.stack.tcp_output import transmit as transmit_tcp
from plankroad.stack.udp_output import transmit as transmit_udp
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED
from plankroad.tcp.icmp import HOST_UNREACHABLE
from plankroad.tcp.listen import Listener
from plankroad.udp.endpoint import UdpEndpoint
from plankroad.wire.address import bytes_to_ip
from plankroad.wire.checksum import complete
from plankroad.wire.constants import (
    ICMP_DEST_UNREACHABLE,
    ICMP_HOST_UNREACHABLE,
    ICMPV6_ADDRESS_UNREACHABLE,
    ICMPV6_DEST_UNREACHABLE,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.packet import Packet

#: Names of the `ADDRESS_` states of `ip.interface`; -1 is gone.
ADDRESS_STATES = {-1: "removed", 0: "tentative", 1: "preferred", 2: "deprecated", 3: "duplicate"}


def poll(host: Host, now: int) -> Packet | None:
    """The next packet for a link, None where there is nothing more to send."""
    output = host.output
    if host.remote:
        # What `poll_local` passed over: it was first.
        host.work[:0] = host.remote
        host.remote.clear()
    while True:
        if output:
            return output.popleft()
        if host.ethernets:
            packet = poll_neighbours(host, now)
            if packet is not None:
                return packet
        if host.loopback_queue:
            # Those that are there now: what they lead to waits for its turn.
            for _ in range(len(host.loopback_queue)):
                loopback_input(host, now, host.loopback_queue.popleft())
            continue
        if host.turn_at >= len(host.turn):
            if not host.work:
                if host.turn:
                    host.turn.clear()
                    host.turn_at = 0
                if output or host.loopback_queue:
                    continue
                return None
            # `work` stays the list that the endpoints hold.
            host.turn, host.turn_at = host.work[:], 0
            host.work.clear()
        endpoint = host.turn[host.turn_at]
        host.turn_at += 1
        endpoint.queued = False
        packet = serve(host, now, endpoint)
        if packet is not None:
            return packet


def poll_local(host: Host, now: int) -> None:
    """`poll` of what needs no link, while all links are full: packets to the host itself, and who sends them.

    Whoever has something for a link is passed over and waits on `remote`, where it is looked at once only.
    """
    waiting = host.turn[host.turn_at :]
    host.turn.clear()
    host.turn_at = 0
    while True:
        for _ in range(len(host.loopback_queue)):
            loopback_input(host, now, host.loopback_queue.popleft())
        waiting.extend(host.work)
        host.work.clear()
        if not waiting:
            if host.loopback_queue:
                continue
            return
        for endpoint in waiting:
            if is_local(host, now, endpoint):
                endpoint.queued = False
                packet = serve(host, now, endpoint)
                if packet is not None:
                    # Its route changed in this very moment.
                    host.output.append(packet)
            else:
                host.remote.append(endpoint)
                if isinstance(endpoint, Connection):
                    # It is not served, but what came in for it counts.
                    path = host.paths.get(endpoint)
                    if path is not None:
                        account(host, now, path)
        waiting.clear()


def is_local(host: Host, now: int, endpoint: Endpoint) -> bool:
    """Whether what the endpoint has to send, if anything, is for this host itself."""
    if isinstance(endpoint, Connection):
        path = host.paths.get(endpoint)
        if path is None:
            return True
        if path.generation != host.state_generation() or now >= path.check_at:
            refresh(host, now, path)
        return path.route is not None and path.interface.index == LOOPBACK_INDEX
    if isinstance(endpoint, UdpEndpoint):
        return not endpoint.snd_queue or host.owner(endpoint.snd_queue[0].dst) is not None
    return True


def serve(host: Host, now: int, endpoint: Endpoint) -> Packet | None:
    """One segment, super-segment or datagram of an endpoint; where it has none, its deadline and events are filed."""
    if isinstance(endpoint, Connection):
        path = host.paths.get(endpoint)
        if path is not None:
            if path.generation != host.state_generation() or now >= path.check_at:
                refresh(host, now, path)
            seg = endpoint.poll_transmit(now)
            if seg is not None:
                packet = transmit_tcp(host, now, path, seg)
                endpoint.wake()
                if endpoint.has_events():
                    host.mark_ready(endpoint)
                return packet
            if endpoint.tcb.mtu_found:
                share_path_mtu(host, now, path)
            if endpoint.tcb.state == CLOSED:
                forget(host, endpoint)
            else:
                account(host, now, path)
                host.timers.set(endpoint, endpoint.next_timeout())
        if endpoint.has_events():
            host.mark_ready(endpoint)
        return None
    if isinstance(endpoint, UdpEndpoint):
        out = endpoint.poll_transmit()
        packet = None
        if out is not None:
            packet = transmit_udp(host, now, endpoint, out)
            endpoint.wake()
        if endpoint.events:
            host.mark_ready(endpoint)
        return packet
    if isinstance(endpoint, Listener) and endpoint.closed:
        key = (endpoint.local_addr, endpoint.local_port)
        if host.listeners.get(key) is endpoint:
            del host.listeners[key]
            host.tcp_bound.remove(endpoint.local_addr, endpoint.local_port)
        return None
    if endpoint.events:
        host.mark_ready(endpoint)
    return None


def poll_neighbours(host: Host, now: int) -> Packet | None:
    """A frame that neighbour discovery wants sent; what could not be delivered is dealt with."""
    for interface in host.ethernets:
        neighbours = interface.neighbours
        if neighbours is None:
            continue
        packet = neighbours.poll_transmit(now)
        if packet is not None:
            return packet
        if neighbours.address_events:
            address_events(host, now, interface)
    return None


def address_events(host: Host, now: int, interface: Interface) -> None:
    """Addresses of ours changed by themselves: found unique or another's, made from a router's prefix, expired."""
    neighbours = interface.neighbours
    if neighbours is None:
        return
    host.generation += 1
    host.sources.clear()
    for ip, state in neighbours.poll_address_events():
        log = host.log
        if log is not None:
            log.event(now, interface.name, "address", {"address": bytes_to_ip(ip), "state": ADDRESS_STATES[state]})


def advise(host: Host, connection: Connection) -> None:
    """RFC 9293 section 3.8.3 (a): at R1 "negative advice" is passed to IP, "to trigger dead-gateway diagnosis".

    The next hop counts as reachable no more until it answers, and the route is looked up again.
    """
    path = host.paths.get(connection)
    if path is None or path.advised == connection.tcb.trouble_reported:
        return
    path.advised = connection.tcb.trouble_reported
    neighbours = path.interface.neighbours
    if not path.advised or neighbours is None:
        return
    path.generation = -1
    entry = neighbours.entries.get(path.next_hop)
    if entry is not None:
        # The first use of an entry that is not confirmed any more begins to probe (RFC 4861 section 7.3.3).
        entry.reachable_until = 0


def neighbour_failures(host: Host, now: int) -> None:
    """Packets whose neighbour does not answer: their senders are told (RFC 1122 section 2.4: not as ICMP from within,
    RFC 4861 section 7.2.2, RFC 1812 section 5.2.7.1)."""
    for interface in host.ethernets:
        neighbours = interface.neighbours
        if neighbours is None:
            continue
        for packet in neighbours.failures():
            undeliverable(host, now, packet, interface.index)


def undeliverable(host: Host, now: int, packet: Packet, index: int) -> None:
    """A packet of this host, or one that it was to pass on, cannot reach its next hop."""
    host.counters.ip.neighbour_unreachable += 1
    buf = complete(packet).to_bytes()
    try:
        if buf[0] >> 4 == 4:
            header4 = parse_ipv4(buf)
            if host.owner(header4.src) is not None:
                own_undeliverable(host, now, buf)
            else:
                send_error4(host, now, buf, header4, index, False, ICMP_DEST_UNREACHABLE, ICMP_HOST_UNREACHABLE, 0)
            return
        header6 = parse_ipv6(buf)
        if host.owner(header6.src) is not None:
            own_undeliverable(host, now, buf)
        else:
            code = ICMPV6_ADDRESS_UNREACHABLE
            send_error6(host, now, buf, header6, index, False, ICMPV6_DEST_UNREACHABLE, code, 0)
    except BadPacket:
        # A packet of a program's own making.
        return


def own_undeliverable(host: Host, now: int, buf: bytes) -> None:
    """The error goes straight to whom it concerns."""
    report(host, now, buf, HOST_UNREACHABLE, b"", 0, 0, 0, 0)
