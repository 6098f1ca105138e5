"""SYN floods with and without cookies, Fast Open floods, split handshakes, and what a forged SYN makes us send."""

from __future__ import annotations

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, Figure, Peer, Target, address, allocated, attack, hold
from tests.stack.net import Pair, tcp
from tests.volume import volume

from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.memory import CONNECTION_COST
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.packet import Packet
from plankroad.wire.segment import SYN, Segment

BACKLOG = 256


class Flood:
    """SYNs from ever new addresses, at a rate, in the target's time."""

    def __init__(self, net: Target, rate: int) -> None:
        self.net = net
        self.rate = rate
        self.number = 100
        self.sent = 0
        self.answered = 0
        self.most = 0

    def for_(self, duration: int) -> None:
        """Let it go on so long: what else happens waits meanwhile."""
        steps = max(1, duration // (5 * MILLISECOND))
        for _ in range(steps):
            for _ in range(self.rate * duration // steps // SECOND):
                self.number += 1
                self.sent += 1
                seg = Segment(1024 + self.number % 60_000, 80, self.number * 77 & 0xFFFFFFFF, 0, SYN, 1000)
                seg.mss = 1460
                self.answered += len(self.net.give(tcp(seg, address(self.number), SERVER4)))
            self.net.pass_time(duration // steps)
            self.most = max(self.most, len(self.net.listener.half_open))


def clients_in(net: Target, flood: Flood, count: int, rtt: int) -> int:
    """How many of `count` clients get in while the flood goes on. Each tries four times, a second apart at first."""
    inside = 0
    for number in range(count):
        client = Peer(net, address(number), 50_000)
        for wait in (SECOND, 2 * SECOND, 4 * SECOND, 0):
            answers = [seg for seg in client.syn() if seg.flags & SYN]
            if answers:
                client.irs = answers[0].seq
                flood.for_(rtt)
                client.send(".")
                server = net.listener.accept()
                if server is not None and server.remote_addr == address(number):
                    client.send(".", data=b"GET /")
                    inside += int(server.receive(net.now, 10) == b"GET /")
                    break
            flood.for_(wait)
    return inside


@attack("SYN flood, with cookies (RFC 4987)")
def with_cookies() -> list[Figure]:
    """A full backlog, ten times over; clients with a round trip of 100 ms."""
    net = Target(StackConfig(tcp=TcpConfig(syn_backlog=BACKLOG)))
    flood = Flood(net, volume(4000, 2000))
    grown = allocated(lambda: flood.for_(SECOND // 4))
    flood.for_(SECOND // 4)
    out = net.packets_out / net.packets_in
    count = volume(20, 4)
    inside = clients_in(net, flood, count, 100 * MILLISECOND)
    return [
        Figure("half-open connections at the most", flood.most, BACKLOG),
        Figure("memory, by tracemalloc", grown, (BACKLOG + 8) * CONNECTION_COST, "bytes"),
        Figure("packets sent for one received", out, 1.05),
        Figure(f"of {count} clients kept out", count - inside, 0),
    ]


def test_clients_get_in_through_a_flood_with_cookies() -> None:
    hold(with_cookies())


@attack("SYN flood, without cookies (RFC 4987 section 3.4)")
def without_cookies() -> list[Figure]:
    """The same without cookies: the oldest half-open connection makes place."""
    net = Target(StackConfig(tcp=TcpConfig(syn_backlog=BACKLOG, syn_cookies=False)))
    rate = 2000
    flood = Flood(net, rate)
    flood.for_(SECOND // 4)
    out = net.packets_out / net.packets_in
    count = volume(20, 4)
    # A backlog of 256 is filled in 128 ms; who needs less than that for a round trip gets in at once.
    inside = clients_in(net, flood, count, 80 * MILLISECOND)
    return [
        Figure("half-open connections at the most", flood.most, BACKLOG),
        Figure("packets sent for one received", out, 1.05),
        Figure(f"of {count} clients kept out", count - inside, 0),
        Figure("memory", net.used(), (BACKLOG + count) * (CONNECTION_COST + 100), "bytes"),
    ]


def test_clients_get_in_through_a_flood_without_cookies() -> None:
    hold(without_cookies())


def test_a_recycled_half_open_connection_is_forgotten_in_silence() -> None:
    net = Target(StackConfig(tcp=TcpConfig(syn_backlog=4, syn_cookies=False)))
    first = Peer(net, address(1))
    first.syn()
    out = [packet for number in range(4) for packet in net.give(Peer(net, address(9 + number)).packet("S", seq=0))]
    assert len(out) == 4
    assert net.total("tcp", "syn_queue_recycled") == 1
    assert len(net.b.connections) == 4
    # Its ACK finds nobody; it may try again.
    [reset] = first.send(".")
    assert flags_of(reset) == "R"
    assert first.open()


@attack("SYN amplification")
def amplification() -> list[Figure]:
    """One forged SYN: what its supposed sender gets, in all (SYN-ACKs are repeated five times)."""
    figures: list[Figure] = []
    for name, cookies, backlog, bound in (("a listener", False, 10, 6), ("a listener with cookies", True, 0, 1)):
        net = Target(StackConfig(tcp=TcpConfig(syn_backlog=backlog, syn_cookies=cookies)))
        net.give(Peer(net).packet("S", seq=0, mss=1460))
        net.pass_time(300 * SECOND)
        figures.append(Figure(f"packets for one SYN to {name}", net.packets_out, bound))
        figures.append(Figure(f"bytes for one of a SYN to {name}", net.bytes_out / net.bytes_in, bound * 1.0))
    net = Target()
    net.give(Peer(net, to_port=81).packet("S", seq=0, mss=1460))
    net.pass_time(300 * SECOND)
    figures.append(Figure("packets for one SYN to a closed port", net.packets_out, 1))
    figures.append(Figure("bytes for one of a SYN to a closed port", net.bytes_out / net.bytes_in, 1))
    return figures


def test_a_forged_syn_is_answered_a_bounded_number_of_times() -> None:
    hold(amplification())


@attack("Fast Open flood (RFC 7413 section 5.1)")
def fast_open_flood() -> list[Figure]:
    """An attacker with a good cookie forges its own address's SYNs with data, and never finishes a handshake."""
    limit = 16
    net = Target(StackConfig(tcp=TcpConfig(fast_open_queue=limit)))
    cookie = net.b.fast_open_keys.cookie(net.now, ATTACKER, SERVER4, 8)
    most = worked = 0
    count = volume(2000, 500)
    for number in range(count):
        seg = Segment(1024 + number, 80, 5000 + number, 0, SYN, 1000, b"GET /" + bytes(500))
        seg.mss = 1460
        seg.fast_open = cookie
        net.give(tcp(seg, ATTACKER, SERVER4))
        while net.listener.accept() is not None:
            worked += 1
        most = max(most, len(net.listener.fast_open_pending))
    inside = int(Peer(net, address(1)).open())
    return [
        Figure("connections opened without a handshake at once", most, limit),
        Figure("requests that a program saw for nothing", worked, limit),
        Figure("requests beyond the limit not counted", count - limit - net.total("tcp", "fast_open_queue_full"), 0),
        Figure("clients without Fast Open kept out", 1 - inside, 0),
    ]


def test_fast_open_opens_a_bounded_number_of_connections_at_once() -> None:
    hold(fast_open_flood())


@attack("split handshake")
def split_handshake() -> list[Figure]:
    """A server that answers a SYN by a bare ACK, or nothing, and then by a SYN of its own: roles turn round on the
    wire (T. Beardsley, J. Qian, 2010). The client stays who it is, and takes no data before its SYN is acknowledged.
    """
    early = 0
    wrong = 0
    for first in ("ack", "none"):
        peer = ScriptedPeer(TcpConfig())
        peer.open()
        if first == "ack":
            # RFC 9293 section 3.10.7.3: an acceptable ACK without a SYN is dropped.
            wrong += len(peer.segment(".", seq=0, ack=1))
        out = peer.segment("S", seq=0, mss=1460)
        wrong += int([flags_of(seg) for seg in out] != ["S."])
        peer.segment("P", seq=1, data=b"early")
        early += len(peer.received)
        peer.segment(".", seq=1, ack=1)
        wrong += int(peer.state != "ESTABLISHED")
        peer.segment(".", seq=1, ack=1, data=b"data")
        early += int(bytes(peer.received) != b"data")
        wrong += int(peer.conn.tcb.passive)
    return [
        Figure("octets taken before the handshake was over", early, 0),
        Figure("steps that went another way than RFC 9293's", wrong, 0),
    ]


def test_a_split_handshake_is_a_simultaneous_open_and_no_more() -> None:
    hold(split_handshake())


@attack("LAND: from a host to itself")
def land() -> list[Figure]:
    """SYNs whose source is their destination, port included, from outside and within (CVE-1999-0016)."""
    net = Target()
    out = 0
    for source, port in ((SERVER4, 80), (SERVER4, 81), (ip_to_bytes("127.0.0.1"), 80)):
        for _ in range(100):
            seg = Segment(port, 80, 1, 0, SYN, 1000)
            out += len(net.give(tcp(seg, source, SERVER4)))
    within = net.b.connections
    return [
        Figure("packets sent for 300", out, 0),
        Figure("connections made", len(within), 0),
        Figure("packets not counted", 300 - net.total("ip", "bad_address"), 0),
    ]


def test_packets_from_oneself_are_refused() -> None:
    hold(land())


@pytest.mark.parametrize("port", [80, 81])
def test_a_connection_to_oneself_on_one_port_ends(port: int) -> None:
    # The host's own attempt, over its loopback: a simultaneous open with itself, or a reset. No storm either way.
    net = Pair()
    net.a.listen(net.now, b"", 80)
    client = net.a.connect(net.now, ip_to_bytes("10.0.0.1"), port)
    packets = net.settle()
    assert packets < 10
    assert client.state() in ("ESTABLISHED", "CLOSED")


@attack("SYNs to a full accept queue")
def accept_queue() -> list[Figure]:
    """Handshakes that are completed while the program accepts nobody: how many wait, and what more of them cost."""
    limit = 32
    net = Target(backlog=limit)
    for number in range(volume(1000, 300)):
        Peer(net, address(number)).open()
    waiting = len(net.listener.ready)
    held = net.used()
    return [
        Figure("connections that wait for the program", waiting, limit),
        Figure("memory", held, (limit + 1) * CONNECTION_COST, "bytes"),
        Figure("overflow not counted", int(net.total("tcp", "accept_queue_overflow") == 0), 0),
    ]


def test_the_accept_queue_is_bounded() -> None:
    hold(accept_queue())


def test_a_flood_over_ethernet_fills_no_neighbour_cache() -> None:
    # SYN-ACKs to addresses on the link that nobody has: each waits for its neighbour, and is bounded.
    net = Target()
    stack = net.b
    interface = stack.add_interface("e1", 1500, ethernet=True, mac=b"\x02\0\0\0\0\x01")
    stack.add_address(interface, "10.5.0.1/16")
    for number in range(3000):
        seg = Segment(1024, 80, number, 0, SYN, 1000)
        source = bytes((10, 5, 1 + number // 250, 1 + number % 250))
        frame = interface.mac + b"\x02\0\0\0\0\x99" + b"\x08\x00" + tcp(seg, source, ip_to_bytes("10.5.0.1"))
        stack.receive(net.now, Packet(frame, interface=interface.index))
        net.take()
    neighbours = interface.neighbours
    assert neighbours is not None
    assert len(neighbours.entries) <= neighbours.config.cache_limit
