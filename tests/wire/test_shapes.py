"""`Packet` and `Segment`: what they say of themselves."""

from __future__ import annotations

import pytest

from plankroad.wire.packet import GSO_NONE, GSO_TCPV6, Packet
from plankroad.wire.segment import ACK, FIN, PSH, SYN, Segment


def test_a_packet_is_as_long_as_its_parts_and_is_joined_only_where_there_are_two() -> None:
    head = b"headers"
    whole = Packet(head)
    assert (len(whole), whole.payload, whole.interface, whole.gso_type, whole.gso_size) == (7, b"", 0, GSO_NONE, 0)
    assert (whole.csum_start, whole.csum_offset, whole.csum_valid) == (0, 0, False)
    assert whole.to_bytes() is head
    parted = Packet(head, b"data", 2, GSO_TCPV6, 2, 3, 4, True)
    assert (len(parted), parted.to_bytes()) == (11, b"headersdata")
    assert (parted.interface, parted.gso_type, parted.gso_size) == (2, GSO_TCPV6, 2)
    assert (parted.csum_start, parted.csum_offset, parted.csum_valid) == (3, 4, True)


@pytest.mark.parametrize(
    ("flags", "payload", "length"),
    [(ACK, b"", 0), (ACK | PSH, b"abc", 3), (SYN, b"", 1), (FIN | ACK, b"abc", 4), (SYN | FIN, b"a", 3)],
)
def test_syn_and_fin_count_in_the_length_of_a_segment(flags: int, payload: bytes, length: int) -> None:
    """RFC 9293 section 3.3.1: SEG.LEN counts them."""
    assert Segment(1, 2, 3, 4, flags, 5, payload).length() == length
