"""What queues read in packets: the flow they are of."""

from __future__ import annotations

import pytest
from tests.sim.kit import A, B

from plankroad.sim.queue_packet import flow_key, ip_start, mark_ce
from plankroad.wire.constants import PROTO_ICMP, PROTO_TCP, PROTO_UDP
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import Packet

SIX_A, SIX_B = bytes(15) + b"\1", bytes(15) + b"\2"


def ports(src: int, dst: int) -> bytes:
    return src.to_bytes(2, "big") + dst.to_bytes(2, "big") + bytes(16)


def four(src: int, dst: int, protocol: int = PROTO_TCP, **more: int) -> bytes:
    return build_ipv4(A, B, protocol, 20, **more) + ports(src, dst)  # type: ignore[arg-type]


def six(src: int, dst: int, protocol: int = PROTO_UDP, extension: bytes = b"") -> bytes:
    return build_ipv6(SIX_A, SIX_B, protocol, 20 + len(extension)) + extension + ports(src, dst)


def key(head: bytes, ethernet: bool = False) -> bytes:
    return flow_key(head, ip_start(head, ethernet))


def test_a_flow_is_addresses_protocol_and_ports() -> None:
    """RFC 8290 section 4.1.1: the 5-tuple."""
    keys = {
        key(four(1, 2)),
        key(four(2, 1)),
        key(four(1, 3)),
        key(four(1, 2, PROTO_UDP)),
        key(six(1, 2)),
        key(six(1, 4)),
    }
    assert len(keys) == 6
    assert key(four(1, 2, ident=7, ttl=3, tos=1)) == key(four(1, 2))
    frame = build_ethernet(bytes(6), bytes(6), 0x0800, [(0x8100, 5)]) + four(1, 2)
    assert key(frame, True) == key(four(1, 2))


def test_what_has_no_ports_goes_by_addresses_and_protocol() -> None:
    assert key(four(1, 2, PROTO_ICMP)) == key(four(5, 6, PROTO_ICMP))


def test_the_fragments_of_a_datagram_stay_together() -> None:
    first = build_ipv4(A, B, PROTO_UDP, 20, more_fragments=True) + ports(1, 2)
    second = build_ipv4(A, B, PROTO_UDP, 20, fragment_offset=16) + bytes(20)
    assert key(first) == key(second)
    assert key(build_ipv4(A, B, PROTO_UDP, 20, dont_fragment=True) + ports(1, 2)) == key(four(1, 2, PROTO_UDP))


def test_ports_are_found_behind_extension_headers() -> None:
    hop_by_hop = bytes([PROTO_UDP, 0, 1, 4, 0, 0, 0, 0])
    assert key(six(1, 2, 0, hop_by_hop)) == key(six(1, 2))
    fragment = bytes([PROTO_UDP, 0, 0, 1, 0, 0, 0, 9])  # more fragments
    assert key(six(1, 2, 44, fragment)) == key(six(3, 4, 44, fragment)) != key(six(1, 2))


@pytest.mark.parametrize("ethernet", [False, True])
def test_whatever_comes_has_a_key_and_is_marked_only_if_it_is_ip(ethernet: bool) -> None:
    for junk in (b"", b"\x45", bytes(100), b"\x60" * 30, b"\x60" * 60, b"\xff" * 64, b"\x45" * 20):
        for start in {ip_start(junk, ethernet)}:
            assert isinstance(flow_key(junk, start), bytes)
            if start >= 0 and junk[start] >> 4 not in (4, 6):
                assert not mark_ce(Packet(junk), start)
    arp = build_ethernet(b"\xff" * 6, bytes(6), 0x0806) + bytes(28)
    assert flow_key(arp, ip_start(arp, True)) == arp[:14]
