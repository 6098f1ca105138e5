"""A stack as a router: RFC 1812, RFC 8200."""

from __future__ import annotations

import pytest
from tests.stack.net import Net, Wire, tcp

from plankroad.ip.routes import MULTIPATH_PER_PACKET
from plankroad.stack.config import StackConfig
from plankroad.stack.resegment import resegment
from plankroad.stack.stack import Stack
from plankroad.tcp.connection import Connection
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import complete
from plankroad.wire.icmp import parse_icmp
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv4_options import RouteOption, TimestampOption, build_route, build_timestamp, parse_options
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import GSO_TCPV4, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, CWR, FIN, PSH, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import build_udp

SRC = ip_to_bytes("10.1.0.1")
DST = ip_to_bytes("10.2.0.1")
SRC6 = ip_to_bytes("fd01::1")
DST6 = ip_to_bytes("fd02::1")
ROUTER = StackConfig(forwarding=True, icmp_rate=0, icmp_peer_rate=0)


class Line(Net):
    """a - router - b; the router takes the second link's MTU to be `second_mtu`, as if it were narrow further on."""

    def __init__(
        self,
        mtu: int = 1500,
        second_mtu: int = 1500,
        tx_csum: bool = False,
        gso_max_size: int = 0,
        ethernet: bool = False,
        config: StackConfig = ROUTER,
    ) -> None:
        super().__init__()
        self.a, self.r, self.b = self.add(1), self.add(2, config), self.add(3)
        self.left = self.join(
            self.a,
            ["10.1.0.1/24", "fd01::1/64"],
            self.r,
            ["10.1.0.254/24", "fd01::fe/64"],
            mtu,
            ethernet,
            tx_csum,
            gso_max_size,
        )
        self.right = self.join(
            self.r,
            ["10.2.0.254/24", "fd02::fe/64"],
            self.b,
            ["10.2.0.1/24", "fd02::1/64"],
            mtu,
            ethernet,
            tx_csum,
            gso_max_size,
        )
        self.r.set_mtu(0, self.r.interfaces[1], second_mtu)
        for stack, net in ((self.a, 1), (self.b, 2)):
            stack.add_route("0.0.0.0/0", gateway=f"10.{net}.0.254")
            stack.add_route("::/0", gateway=f"fd0{net}::fe")

    def through(self, data: bytes, csum_start: int = 0, csum_offset: int = 0) -> tuple[list[Packet], list[Packet]]:
        """Hand the router a packet from the left; what it sends to the right, and back."""
        self.r.receive(self.now, Packet(data, b"", 0, csum_start=csum_start, csum_offset=csum_offset))
        right: list[Packet] = []
        left: list[Packet] = []
        while (packet := self.r.poll_transmit(self.now)) is not None:
            (right if packet.interface == 1 else left).append(packet)
        return right, left


def transfer(
    net: Net, client_host: Stack, server_host: Stack, remote: bytes, size: int
) -> tuple[Connection, Connection]:
    """So many bytes go from one to the other, whole."""
    listener = server_host.listen(net.now, b"", 80)
    client = client_host.connect(net.now, remote, 80)
    net.run()
    server = listener.accept()
    assert server is not None
    data = bytes(range(256)) * (size // 256)
    sent = 0
    got = b""
    for _ in range(1000):
        sent += client.send(net.now, data[sent:])
        net.run(50 * MILLISECOND)
        got += server.receive(net.now, 1 << 22)
        if len(got) == len(data):
            break
    assert got == data
    return client, server


@pytest.mark.requirement("RFC1122-3.1-e")
@pytest.mark.parametrize("remote", [DST, DST6])
@pytest.mark.parametrize("ethernet", [False, True])
def test_a_stream_goes_through_a_router(remote: bytes, ethernet: bool) -> None:
    net = Line(ethernet=ethernet)
    transfer(net, net.a, net.b, remote, 200_000)
    assert net.r.counters.ip.forwarded >= 138
    assert net.r.counters.tcp.segments_received == 0


@pytest.mark.requirement("RFC1122-3.1-f", "RFC1122-3.1-g", "RFC1122-3.2.1.3-c")
def test_a_host_does_not_forward() -> None:
    """RFC 1122 section 3.1: off by default."""
    net = Line(config=StackConfig())
    assert net.through(tcp(Segment(1, 2, 3, 4, ACK, 5), SRC, DST)) == ([], [])
    assert net.r.counters.ip.not_for_us == 1


@pytest.mark.requirement("RFC1122-3.1-d")
def test_ttl_and_header_checksum_are_brought_up_to_date() -> None:
    """RFC 1812 section 5.3.1, RFC 1624; parse_ipv4 verifies the checksum."""
    net = Line()
    for ttl in range(2, 256):
        for ident in (0, 0xFFFF, ttl * 257 & 0xFFFF):
            data = build_ipv4(SRC, DST, 17, 8, ttl, ident=ident) + build_udp(SRC, DST, 1, 2, b"")
            right, left = net.through(data)
            header = parse_ipv4(right[0].head)
            assert (header.ttl, header.ident, left) == (ttl - 1, ident, [])
            assert right[0].head[20:] == data[20:]


def test_the_hop_limit_is_lowered() -> None:
    net = Line()
    data = build_ipv6(SRC6, DST6, 17, 8, 9) + build_udp(SRC6, DST6, 1, 2, b"")
    right, left = net.through(data)
    assert right[0].head == data[:7] + b"\x08" + data[8:]
    assert left == []


@pytest.mark.parametrize("ttl", [0, 1])
def test_time_exceeded_goes_back_when_the_ttl_runs_out(ttl: int) -> None:
    """RFC 1812 section 5.3.1, RFC 4443 section 3.3."""
    net = Line()
    data = build_ipv4(SRC, DST, 17, 8, ttl) + build_udp(SRC, DST, 1, 2, b"")
    right, left = net.through(data)
    answer = left[0].head
    assert right == []
    assert (answer[12:16], answer[16:20]) == (ip_to_bytes("10.1.0.254"), SRC)
    message = parse_icmp(answer, 20, len(answer))
    assert (message.type, message.code, message.body) == (11, 0, data)
    data6 = build_ipv6(SRC6, DST6, 17, 8, ttl) + build_udp(SRC6, DST6, 1, 2, b"")
    right, left = net.through(data6)
    assert right == []
    assert (left[0].head[40:42], left[0].head[48:]) == (b"\x03\x00", data6)


def test_no_route_is_told() -> None:
    net = Line()
    data = build_ipv4(SRC, ip_to_bytes("192.0.2.1"), 17, 8) + build_udp(SRC, DST, 1, 2, b"")
    _, left = net.through(data)
    assert left[0].head[20:22] == b"\x03\x00"
    data = build_ipv6(SRC6, ip_to_bytes("2001:db8::1"), 17, 8) + build_udp(SRC6, DST6, 1, 2, b"")
    _, left = net.through(data)
    assert left[0].head[40:42] == b"\x01\x00"


@pytest.mark.requirement("RFC1122-3.1-d")
@pytest.mark.parametrize(
    ("src", "dst"),
    [
        ("10.1.0.1", "169.254.1.1"),
        ("169.254.1.1", "10.2.0.1"),
        ("10.1.0.1", "127.0.0.2"),
        ("10.1.0.1", "224.0.0.251"),
        ("10.1.0.1", "239.1.1.1"),
        ("10.1.0.1", "10.2.0.255"),
        ("10.1.0.1", "240.0.0.1"),
        ("10.1.0.1", "0.0.0.9"),
        ("127.0.0.1", "10.2.0.1"),
        ("10.1.0.255", "10.2.0.1"),
        ("fd01::1", "fe80::1"),
        ("fd01::1", "ff05::1"),
        ("fd01::1", "::1"),
        ("::1", "fd02::1"),
        ("::", "fd02::1"),
        ("ff02::1", "fd02::1"),
    ],
)
def test_what_must_not_be_passed_on_is_not(src: str, dst: str) -> None:
    """RFC 1812 sections 4.2.2.11 and 5.3.7, RFC 2644, RFC 3927 section 7, RFC 4291 section 2.5.6."""
    net = Line()
    one, other = ip_to_bytes(src), ip_to_bytes(dst)
    build = build_ipv4 if len(one) == 4 else build_ipv6
    right, left = net.through(build(one, other, 17, 8) + build_udp(one, other, 1, 2, b""))
    assert (right, left) == ([], [])
    assert net.r.counters.ip.forwarded == 0


def test_link_local_sources_do_not_cross() -> None:
    """RFC 4443 section 3.1: beyond scope of source address."""
    net = Line()
    one = ip_to_bytes("fe80::1")
    net.r.add_address(net.r.interfaces[0], "fe80::fe/64")
    right, left = net.through(build_ipv6(one, DST6, 17, 8) + build_udp(one, DST6, 1, 2, b""))
    assert right == []
    assert left[0].head[40:42] == b"\x01\x02"


def test_link_layer_broadcasts_are_not_passed_on() -> None:
    net = Line(ethernet=True)
    inner = build_ipv4(SRC, DST, 17, 8) + build_udp(SRC, DST, 1, 2, b"")
    frame = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\x00" + inner
    assert net.through(frame) == ([], [])
    assert net.r.counters.ip.no_forwarding == 1


@pytest.mark.requirement("RFC1122-3.3.5-d")
@pytest.mark.parametrize("partial", [False, True])
def test_too_large_is_fragmented_or_told(partial: bool) -> None:
    """RFC 1812 section 4.2.2.7; RFC 1191 section 4; RFC 8200 section 5: routers never fragment IPv6."""
    net = Line(second_mtu=1280)
    data = bytes(range(254)) * 5
    start, offset = (20, 6) if partial else (0, 0)
    whole = build_ipv4(SRC, DST, 17, 8 + len(data), ident=77) + build_udp(SRC, DST, 1, 2, data)
    head = build_udp(SRC, DST, 1, 2, data, partial)
    right, left = net.through(build_ipv4(SRC, DST, 17, 8 + len(data), ident=77) + head + data, start, offset)
    assert left == []
    assert [len(packet) for packet in right] == [1276, 42]
    assert right[0].head[20:] + right[1].head[20:] == whole[20:] + data
    refused = build_ipv4(SRC, DST, 17, 8 + len(data), dont_fragment=True) + head + data
    right, left = net.through(refused, start, offset)
    assert right == []
    message = parse_icmp(left[0].head, 20, len(left[0].head))
    assert (message.type, message.code, message.rest) == (3, 4, 1280)
    head6 = build_udp(SRC6, DST6, 1, 2, data)
    right, left = net.through(build_ipv6(SRC6, DST6, 17, 8 + len(data)) + head6 + data)
    assert right == []
    assert left[0].head[40:48] == b"\x02\x00" + left[0].head[42:44] + (1280).to_bytes(4, "big")


def super_segment(size: int, mss: int, dont_fragment: bool, flags: int = ACK) -> Packet:
    """A TCP super-segment with a partial checksum."""
    seg = Segment(1, 2, 3_000_000_000, 4, flags, 5, bytes(range(256)) * (size // 256))
    seg.has_ts = True
    tcp_head = build_tcp(seg, SRC, DST, True)
    head = build_ipv4(SRC, DST, 6, len(tcp_head) + size, ident=9, dont_fragment=dont_fragment)
    return Packet(head + tcp_head + seg.payload, b"", 0, GSO_TCPV4, mss, 20, 16)


def test_a_super_segment_passes_whole_where_its_segments_fit() -> None:
    net = Line(second_mtu=1500, tx_csum=True, gso_max_size=65535)
    given = super_segment(51_200, 1448, True)
    net.r.receive(0, given)
    packet = net.r.poll_transmit(0)
    assert packet is not None
    assert (packet.gso_type, packet.gso_size, packet.csum_start, packet.csum_offset) == (GSO_TCPV4, 1448, 20, 16)
    assert packet.head[20:] == given.head[20:]
    assert net.r.poll_transmit(0) is None


def test_fragmentation_needed_judges_the_segments_of_a_super_segment() -> None:
    net = Line(second_mtu=1499, tx_csum=True, gso_max_size=65535)
    net.r.receive(0, super_segment(51_200, 1448, True))
    answer = net.r.poll_transmit(0)
    assert answer is not None
    message = parse_icmp(answer.head, 20, len(answer.head))
    assert (answer.interface, message.type, message.code, message.rest) == (0, 3, 4, 1499)
    net.r.receive(0, super_segment(51_200, 1447, True))
    passed = net.r.poll_transmit(0)
    assert passed is not None
    assert passed.interface == 1


def test_a_super_segment_that_may_be_fragmented_is_cut_and_its_segments_too() -> None:
    net = Line(second_mtu=1000, tx_csum=True, gso_max_size=65535)
    net.r.receive(0, super_segment(5120, 1448, False, ACK | FIN | PSH | CWR))
    while (packet := net.r.poll_transmit(0)) is not None:
        assert len(packet) <= 1000
        net.right.carry(net.r, packet)
    # The host puts the fragments together again (the last of four segments was small enough); they are for nobody.
    assert net.b.counters.ip.reassembled == 3
    assert net.b.counters.tcp.no_connection == 4
    assert net.b.counters.tcp.bad_checksum == 0


@pytest.mark.parametrize("udp", [False, True])
def test_resegmented_super_segments_are_the_segments_they_stand_for(udp: bool) -> None:
    size, piece = 5120, 1400
    if udp:
        data = bytes(range(256)) * 20
        head = build_udp(SRC, DST, 1, 2, data, True)
        whole = Packet(build_ipv4(SRC, DST, 17, 8 + size) + head + data, b"", 0, GSO_UDP_L4, piece, 20, 6)
    else:
        whole = super_segment(size, piece, False, ACK | FIN | PSH | CWR)
        data = bytes(range(256)) * 20
    got = b""
    pieces = resegment(whole)
    assert len(pieces) == 4
    for number, packet in enumerate(pieces):
        assert complete(packet) is packet
        header = parse_ipv4(packet.head)
        assert header.total_length == len(packet)
        if udp:
            length = int.from_bytes(packet.head[24:26], "big")
            assert packet.head[20:28] == build_udp(SRC, DST, 1, 2, packet.head[28:])
            assert length == len(packet) - 20
            got += packet.head[28:]
            continue
        assert tcp_checksum_ok(packet.head, 20, len(packet), SRC, DST)
        seg = parse_tcp(packet.head, 20, len(packet))
        assert (seg.seq, header.ident) == (3_000_000_000 + len(got), 9 + number)
        assert bool(seg.flags & CWR) == (number == 0)
        assert bool(seg.flags & FIN) == bool(seg.flags & PSH) == (number == 3)
        got += seg.payload
    assert got == data


@pytest.mark.requirement("RFC1122-3.3.3-a", "RFC1122-3.3.3-d")
@pytest.mark.parametrize("remote", [DST, DST6])
@pytest.mark.parametrize(("tx_csum", "gso"), [(False, 0), (True, 65535)])
def test_path_mtu_discovery_finds_the_narrow_link(remote: bytes, tx_csum: bool, gso: int) -> None:
    """RFC 1191, RFC 8201."""
    net = Line(second_mtu=1300, tx_csum=tx_csum, gso_max_size=gso)
    client, _ = transfer(net, net.a, net.b, remote, 300_000)
    header = 40 if len(remote) == 4 else 60
    assert client.tcb.snd_mss == 1300 - header - 12
    assert net.r.counters.icmp.packet_too_big_sent >= 1
    assert net.a.counters.ip.path_mtu_decreased == 1
    assert net.a.counters.tcp.timeouts == 0
    # The next connection knows from the start.
    again = net.a.connect(net.now, remote, 80)
    assert again.tcb.path_mss == 1300 - header


def test_the_mtu_of_a_link_that_changes_in_mid_transfer() -> None:
    net = Line()
    client, server = transfer(net, net.a, net.b, DST, 100_000)
    net.r.set_mtu(net.now, net.r.interfaces[1], 900)
    client.send(net.now, bytes(100_000))
    net.run(5 * SECOND)
    assert len(server.receive(net.now, 1 << 20)) == 100_000
    assert client.tcb.snd_mss == 900 - 52
    net.a.set_mtu(net.now, net.a.interfaces[0], 800)
    assert client.tcb.snd_mss == 800 - 52


def test_a_path_mtu_estimate_is_forgotten_in_time() -> None:
    """RFC 1191 section 6.3: 10 minutes."""
    net = Line(second_mtu=1300)
    client, server = transfer(net, net.a, net.b, DST, 100_000)
    net.r.set_mtu(net.now, net.r.interfaces[1], 1500)
    net.run(599 * SECOND)
    client.send(net.now, b"x")
    net.run()
    assert client.tcb.snd_mss == 1248
    net.run(2 * SECOND)
    client.send(net.now, b"x")
    net.run()
    assert client.tcb.snd_mss == 1448
    assert server.receive(net.now, 10) == b"xx"


@pytest.mark.requirement("RFC1122-3.3.5-f")
def test_record_route_and_timestamp_options_are_filled_in() -> None:
    """RFC 1812 section 5.2.4."""
    net = Line()
    options = build_route(RouteOption(7, 4, [bytes(4)] * 3)) + b"\x01"
    options += build_timestamp(TimestampOption(1, 5, 0, [(bytes(4), 0)] * 2))
    net.now = 5 * SECOND
    right, _ = net.through(build_ipv4(SRC, DST, 17, 8, options=options) + build_udp(SRC, DST, 1, 2, b""))
    out = parse_options(parse_ipv4(right[0].head).options)
    own = ip_to_bytes("10.2.0.254")
    assert out[0].data == b"\x08" + own + bytes(8)
    assert out[1].data[2:10] == own + (5000 | 1 << 31).to_bytes(4, "big")


def test_per_packet_multipath_uses_every_route_in_turn() -> None:
    """mission.md row 3."""
    config = StackConfig(multipath=MULTIPATH_PER_PACKET)
    net = Net()
    a, r, b = net.add(1, config), net.add(2, ROUTER), net.add(3)
    wires: list[Wire] = []
    for number in (1, 2):
        wires.append(net.join(a, [f"10.{number}.0.1/24"], r, [f"10.{number}.0.254/24"]))
    net.join(r, ["10.9.0.254/24"], b, ["10.9.0.1/24"])
    for number in (1, 2):
        a.add_route("10.9.0.0/24", gateway=f"10.{number}.0.254")
    b.add_route("0.0.0.0/0", gateway="10.9.0.254")
    transfer(net, a, b, ip_to_bytes("10.9.0.1"), 200_000)
    counts = [len(wire.sent_by(a)) for wire in wires]
    assert abs(counts[0] - counts[1]) <= 1
    # A dead link is routed around, in mid-transfer.
    a.set_interface_up(net.now, a.interfaces[0], False)
    before = len(wires[0].sent_by(a))
    client = a.connect(net.now, ip_to_bytes("10.9.0.1"), 80)
    net.run(SECOND)
    assert client.state() == "ESTABLISHED"
    assert len(wires[0].sent_by(a)) == before


def test_a_connection_changes_over_to_another_route_when_its_link_dies() -> None:
    net = Net()
    a, r, b = net.add(1), net.add(2, ROUTER), net.add(3)
    net.join(a, ["10.1.0.1/24"], r, ["10.1.0.254/24"])
    net.join(a, ["10.2.0.1/24"], r, ["10.2.0.254/24"], mtu=1000)
    net.join(r, ["10.9.0.254/24"], b, ["10.9.0.1/24"])
    a.add_route("10.9.0.0/24", gateway="10.1.0.254", metric=1)
    a.add_route("10.9.0.0/24", gateway="10.2.0.254", metric=2)
    b.add_route("0.0.0.0/0", gateway="10.9.0.254")
    r.add_route("10.1.0.1/32", gateway="10.2.0.1", metric=5)
    client, server = transfer(net, a, b, ip_to_bytes("10.9.0.1"), 50_000)
    a.set_interface_up(net.now, a.interfaces[0], False)
    r.set_interface_up(net.now, r.interfaces[0], False)
    client.send(net.now, bytes(50_000))
    net.run(3 * SECOND)
    assert len(server.receive(net.now, 1 << 20)) == 50_000
    assert client.tcb.snd_mss == 1000 - 52


def test_forwarded_packets_wait_in_a_bounded_queue() -> None:
    net = Line(config=StackConfig(forwarding=True, output_queue=10))
    for number in range(30):
        net.r.receive(0, Packet(tcp(Segment(number, 2, 3, 4, ACK, 5), SRC, DST)))
    count = 0
    while net.r.poll_transmit(0) is not None:
        count += 1
    assert count == 10
    assert net.r.counters.ip.output_queue_full == 20
