"""Headers and options with every wrong length, urgent pointers beyond the segment, chains of extension headers."""

from __future__ import annotations

import random
import time

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, SERVER6, Figure, Peer, Target, attack, hold, lines_of
from tests.volume import volume

import plankroad
from plankroad.endpoint import EVENT_URGENT
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.checksum import checksum, pseudo_sum
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_ipv6, parse_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.udp import build_udp

FAR6 = ip_to_bytes("2001:db8::66")


def with_options(peer: Peer, options: bytes, flags: int = 0x10, data: bytes = b"x", seq: int = 1) -> bytes:
    """A segment of `peer` with these raw options (a multiple of 4), its checksum right."""
    head = bytearray(20)
    head[0:2] = peer.port.to_bytes(2, "big")
    head[2:4] = (80).to_bytes(2, "big")
    head[4:8] = ((peer.iss + seq) & 0xFFFFFFFF).to_bytes(4, "big")
    head[8:12] = ((peer.irs + 1) & 0xFFFFFFFF).to_bytes(4, "big") if flags & 0x10 else bytes(4)
    head[12] = (20 + len(options)) // 4 << 4
    head[13] = flags
    head[14:16] = (1000).to_bytes(2, "big")
    body = bytes(head) + options + data
    value = checksum(body, pseudo_sum(peer.address, SERVER4, PROTO_TCP, len(body)))
    body = body[:16] + value.to_bytes(2, "big") + body[18:]
    return build_ipv4(peer.address, SERVER4, PROTO_TCP, len(body), 64, 0, 0, True) + body


@attack("options with every wrong length")
def wrong_lengths() -> list[Figure]:
    """Each kind with each length, at each place in the header, in SYNs and in data."""
    net = Target()
    peer = Peer(net)
    peer.open()
    server = net.listener.accept()
    assert server is not None
    step = volume(1, 7)
    tried = unanswered = 0
    seq = 1
    for kind in range(0, 256, step):
        for length in (0, 1, 2, 3, 4, 7, 10, 11, 39, 40, 41, 255):
            for before in (0, 1, 37):
                options = bytes([1]) * before + bytes((kind, length)) + bytes(40)
                options = options[: 40 if before == 37 else 4 + before & ~3]
                tried += 1
                net.give(with_options(peer, options, seq=seq))
                # What is no option is passed over (MUST-7): the data counts, whatever stood there.
                got = server.receive(net.now, 10)
                unanswered += int(got != b"x")
                seq += 1
                if server.error:
                    break
    syn_out = 0
    syns = volume(2000, 300)
    rng = random.Random(2)
    for i in range(syns):
        options = rng.randbytes(4 * rng.randrange(11))
        other = Peer(net, ATTACKER, 1024 + i)
        syn_out += len(net.give(with_options(other, options, flags=2, data=b"", seq=0)))
    return [
        Figure(f"of {tried:,} segments whose data was not taken", unanswered, 0),
        Figure("connections ended", int(server.error != 0), 0),
        Figure(f"of {syns:,} SYNs with random options not answered", syns - syn_out, 0),
    ]


def test_options_of_any_length_are_survived() -> None:
    hold(wrong_lengths())


@attack("header lengths that lie")
def lying_lengths() -> list[Figure]:
    """Data offsets, IP lengths and total lengths that do not fit the packet."""
    net = Target()
    peer = Peer(net)
    peer.open()
    server = net.listener.accept()
    assert server is not None
    whole = bytearray(peer.packet(".", data=b"good"))
    taken = answered = 0
    for place in (0, 2, 3, 32):
        for value in range(256):
            packet = bytearray(whole)
            if packet[place] == value:
                continue
            packet[place] = value
            if place < 20:
                packet[10:12] = bytes(2)
                length = (packet[0] & 15) * 4
                if 20 <= length <= len(packet):
                    packet[10:12] = checksum(bytes(packet[:length])).to_bytes(2, "big")
            answered += len(net.give(bytes(packet)))
            taken += int(server.receive(net.now, 100) != b"")
    for end in range(len(whole)):
        answered += len(net.give(bytes(whole[:end])))
        taken += int(server.receive(net.now, 100) != b"")
    return [
        Figure("octets of them taken in", taken, 0),
        Figure("connections ended", int(server.error != 0), 0),
        Figure("answers, ICMP errors about options among them", answered, net.b.config.icmp_peer_burst),
    ]


def test_lengths_that_do_not_fit_are_dropped() -> None:
    hold(lying_lengths())


@attack("urgent pointer beyond the segment")
def urgent() -> list[Figure]:
    """Urgent pointers of all sizes, on segments with and without data, far beyond what was sent (RFC 6093)."""
    net = Target()
    peer = Peer(net)
    peer.open()
    server = net.listener.accept()
    assert server is not None
    before = net.used()
    seq = 1
    lost = 0
    most = 0
    for pointer in (0, 1, 2, 5, 100, 1000, 32767, 32768, 65535):
        for data in (b"", b"abc"):
            peer.send("U.", seq=seq, data=data, urgent=pointer)
            seq += len(data)
            most = max(most, server.urgent_remaining())
            lost += int(server.receive(net.now, 100) != data)
    events = server.poll_events()
    return [
        Figure("octets that did not arrive in their place", lost, 0),
        Figure("octets still said to be urgent at the most", most, 65535 + seq),
        Figure("memory it took, the last segment's octets among it", net.used() - before, 3, "bytes"),
        Figure("programs that were not told", int(not events & EVENT_URGENT), 0),
    ]


def test_an_urgent_pointer_beyond_the_segment_promises_and_takes_nothing() -> None:
    hold(urgent())


def chain(headers: int, kind: int = 60, length: int = 0, tail: int = PROTO_UDP) -> bytes:
    """Extension headers of one kind, one after the other, padded; and a datagram."""
    size = (length + 1) * 8
    body = b""
    for i in range(headers):
        following = tail if i == headers - 1 else kind
        body += bytes((following, length, 1, size - 4)) + bytes(size - 4)
    data = build_udp(FAR6, SERVER6, 7, 53, b"data") + b"data"
    return build_ipv6(FAR6, SERVER6, kind if headers else tail, len(body) + len(data)) + body + data


@attack("extension header chains (RFC 7112, RFC 8504)")
def chains() -> list[Figure]:
    """Longer and longer chains, of small and of large headers, full of options."""
    net = Target()
    endpoint = net.b.bind_udp(b"", 53)
    through: list[int] = []
    for count in range(180):
        net.give(chain(count))
        if endpoint.receive_from() is not None:
            through.append(count)
    # A header full of options that mean nothing, the smallest there are.
    worst = build_ipv6(FAR6, SERVER6, 60, 2048 + 12) + bytes((PROTO_UDP, 255)) + bytes(2046)
    worst += build_udp(FAR6, SERVER6, 7, 53, b"data") + b"data"
    plain = Packet(chain(0))
    long = [Packet(chain(170)), Packet(chain(32)), Packet(worst)]

    def receive(packet: Packet) -> None:
        for _ in range(20):
            net.b.receive(net.now, packet)
        net.take()
        while endpoint.receive_from() is not None:
            pass

    factors: list[float] = []
    for packet in long:
        if plankroad.is_compiled():
            times = []
            for one in (plain, packet):
                best = 1.0
                for _ in range(5):
                    begin = time.perf_counter()
                    receive(one)
                    best = min(best, time.perf_counter() - begin)
                times.append(best)
            factors.append(times[1] / times[0])
        else:
            factors.append(lines_of(lambda packet=packet: receive(packet)) / lines_of(lambda: receive(plain)))  # type: ignore[misc]
    return [
        Figure("headers of the longest chain that gets through", max(through), 32),
        Figure("shorter ones that did not", 33 - len(through), 0),
        Figure("cost of 170 headers, to none", factors[0], 20, "x"),
        Figure("cost of 32 headers, to none", factors[1], 20, "x"),
        Figure("cost of a header with 2,046 options, to none", factors[2], 100, "x"),
        Figure("packets sent for one received", net.packets_out / net.packets_in, 0.1),
    ]


def test_chains_of_extension_headers_are_bounded() -> None:
    hold(chains())


def test_routing_headers_of_type_0_are_not_followed() -> None:
    # RFC 5095: a packet that visits two hosts again and again.
    net = Target()
    hops = (FAR6 + SERVER6) * 10
    routing = bytes((PROTO_UDP, len(hops) // 8, 0, 20, 0, 0, 0, 0)) + hops
    data = build_udp(FAR6, SERVER6, 7, 53, b"") + b""
    packet = build_ipv6(FAR6, SERVER6, 43, len(routing) + len(data)) + routing + data
    out = net.give(packet)
    # A parameter problem that points to the type (RFC 8200 section 4.4), and nothing to the next hop.
    assert len(out) == 1
    assert out[0][24:40] == FAR6
    assert out[0][40] == 4


@pytest.mark.parametrize("seed", range(volume(40, 10)))
def test_random_headers_raise_bad_packet_or_nothing(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    net = Target()
    samples = [chain(3), chain(1, 0), Peer(net).packet("S", seq=0, mss=1460, sack_ok=True), chain(2, 43)]
    for _ in range(300):
        packet = bytearray(rng.choice(samples))
        for _ in range(rng.randrange(1, 6)):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        data = bytes(packet[: rng.randrange(len(packet) + 1)])
        net.give(data)
        for parser in (parse_ipv4, parse_ipv6):
            try:
                parser(data)
            except BadPacket:
                continue
