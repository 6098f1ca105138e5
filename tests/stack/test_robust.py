"""Whatever comes in, nothing raises, nothing grows without bound."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stack.net import A4, B4, Lone, Net, tcp
from tests.stack.samples import SAMPLES, busy

from plankroad.stack.config import StackConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.packet import Packet
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.udp import build_udp


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(data: bytes, trusted: bool) -> None:
    net = busy(StackConfig(forwarding=True, source_route=True))
    net.give(data, csum_valid=trusted)
    net.pass_time(SECOND)


def test_damaged_packets() -> None:
    seed = 11
    rng = random.Random(seed)
    for config in (StackConfig(), StackConfig(forwarding=True, source_route=True, icmp_timestamp=True)):
        net = busy(config)
        for _ in range(4000):
            data = bytearray(rng.choice(SAMPLES))
            for _ in range(rng.randrange(4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            if rng.random() < 0.1:
                data = data[: rng.randrange(len(data))]
            if len(data) >= 20 and data[0] >> 4 == 4 and rng.random() < 0.8:
                size = min((data[0] & 15) * 4, len(data))
                data[10:12] = b"\0\0"
                total = int.from_bytes(data[:size], "big") % 65535
                data[10:12] = (0xFFFF - total if total else 0).to_bytes(2, "big")
            try:
                net.give(bytes(data), csum_valid=rng.random() < 0.7)
            except Exception as exc:
                raise AssertionError(f"seed {seed}: {bytes(data).hex()}") from exc
            net.now += rng.randrange(SECOND // 10)
        net.pass_time(10 * SECOND)


def test_damaged_frames() -> None:
    seed = 12
    rng = random.Random(seed)
    net = Net()
    stack = net.add(1)
    interface = stack.add_interface("e0", 1500, ethernet=True, mac=b"\x02\0\0\0\0\x01")
    stack.add_address(interface, "10.0.0.2/24")
    stack.add_address(interface, "fd00::2/64")
    arp = b"\x00\x01\x08\x00\x06\x04\x00\x01" + b"\x02\0\0\0\0\x09" + A4 + bytes(6) + B4
    bodies = [(b"\x08\x06", arp)]
    bodies += [(b"\x08\x00" if sample[0] >> 4 == 4 else b"\x86\xdd", sample) for sample in SAMPLES]
    for _ in range(4000):
        ethertype, body = rng.choice(bodies)
        dst = rng.choice([interface.mac, b"\xff" * 6, b"\x33\x33\0\0\0\x01"])
        data = bytearray(dst + b"\x02\0\0\0\0\x09" + ethertype + body)
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.1:
            data = data[: rng.randrange(len(data))]
        try:
            stack.receive(net.now, Packet(bytes(data), csum_valid=rng.random() < 0.5))
            while stack.poll_transmit(net.now) is not None:
                pass
            net.now += rng.randrange(SECOND // 10)
            stack.handle_timeout(net.now)
        except Exception as exc:
            raise AssertionError(f"seed {seed}: {bytes(data).hex()}") from exc


def test_a_flood_of_syns_leaves_no_more_than_the_backlog() -> None:
    net = Lone()
    net.b.listen(0, b"", 80)
    rng = random.Random(3)
    for _ in range(5000):
        source = bytes([10, 0, rng.randrange(1, 255), rng.randrange(1, 255)])
        net.give(tcp(Segment(rng.randrange(1, 65536), 80, 1, 0, SYN, 999), source, B4))
    assert len(net.b.connections) == net.b.config.tcp.syn_backlog
    assert net.b.counters.tcp.syn_cookies_sent > 3000
    net.finish()
    assert not net.b.connections
    assert len(net.b.timers) == 0


@pytest.mark.requirement("RFC1122-3.1-i")
@pytest.mark.parametrize(
    ("cause", "data"),
    [
        ("bad_header", build_ipv4(A4, B4, 17, 8)[:19]),
        ("bad_address", build_ipv4(ip_to_bytes("127.0.0.1"), B4, 17, 8) + bytes(8)),
        ("not_for_us", build_ipv4(A4, ip_to_bytes("10.0.0.9"), 17, 8) + bytes(8)),
        ("bad_option", build_ipv4(A4, B4, 17, 8, options=b"\x07\x01\x01\x00") + bytes(8)),
        ("unknown_protocol", build_ipv4(A4, B4, 99, 8) + bytes(8)),
        ("source_routed", build_ipv4(A4, B4, 17, 8, options=b"\x83\x07\x08\x0a\x00\x00\x09\x00") + bytes(8)),
    ],
)
def test_what_is_thrown_away_is_counted_by_its_cause(cause: str, data: bytes) -> None:
    net = Lone()
    net.give(data)
    counted = net.b.counters.ip.as_dict()
    causes = ("bad_header", "bad_address", "not_for_us", "bad_option", "unknown_protocol", "source_routed")
    assert {name: counted[name] for name in causes if counted[name]} == {cause: 1}


@pytest.mark.requirement("RFC1122-3.3.6-f")
def test_the_destination_of_a_frame_is_checked() -> None:
    net = Net()
    stack = net.add(1)
    interface = stack.add_interface("e0", 1500, ethernet=True, mac=b"\x02\0\0\0\0\x01")
    stack.add_address(interface, "10.0.0.2/24")
    endpoint = stack.bind_udp(b"", 53)
    body = build_ipv4(A4, B4, 17, 8) + build_udp(A4, B4, 7, 53, b"")
    for dst, ethertype, heard in (
        (interface.mac, b"\x08\x00", True),
        (b"\x02\0\0\0\0\x07", b"\x08\x00", False),
        (b"\xff" * 6, b"\x08\x00", False),
        (interface.mac, b"\x81\x00\x00\x05\x08\x00", False),
        (interface.mac, b"\x86\xdd", False),
    ):
        stack.receive(0, Packet(dst + b"\x02\0\0\0\0\x09" + ethertype + body))
        assert (endpoint.receive_from() is not None) == heard, (dst, ethertype)
    padded = interface.mac + b"\x02\0\0\0\0\x09\x08\x00" + body + bytes(18)
    stack.receive(0, Packet(padded))
    assert endpoint.receive_from() is not None


def test_group_address_of_a_subnet_is_not_taken_for_a_host() -> None:
    net = Lone()
    assert net.b.source_of(ip_to_bytes("10.0.0.255")) == B4


def test_a_source_that_becomes_bad_is_refused_though_it_was_good() -> None:
    net = Lone()
    endpoint = net.b.bind_udp(b"", 53)
    src = ip_to_bytes("10.0.0.15")
    data = build_ipv4(src, B4, 17, 8) + build_udp(src, B4, 7, 53, b"")
    net.give(data)
    assert endpoint.receive_from() is not None
    # Now it is this subnet's broadcast address, then an own one, then any host's again.
    for address in ("10.0.0.10/29", "10.0.0.15/24"):
        net.b.add_address(net.interface, address)
        net.give(data)
        assert endpoint.receive_from() is None
        net.b.remove_address(net.interface, address)
    net.give(data)
    assert endpoint.receive_from() is not None


def test_the_memory_of_good_sources_is_bounded() -> None:
    net = Lone()
    for number in range(1, 6000):
        src = (0x0B000000 + number).to_bytes(4, "big")
        net.give(build_ipv4(src, B4, 99, 0))
    assert len(net.b.sources) <= 4096
