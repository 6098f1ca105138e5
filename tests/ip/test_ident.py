"""Identification fields (RFC 7739, RFC 6864)."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from plankroad.ip.ident import PAIRS, PacketIdent
from plankroad.wire.address import ip_to_bytes as ip

SECRET = b"0123456789abcdef"
A = ip("fd00::1")
B = ip("fd00::2")


def test_values_between_two_hosts_follow_each_other() -> None:
    ident = PacketIdent(SECRET, random.Random(1))
    values = [ident.ipv6(A, B) for _ in range(100)]
    assert all((y - x) & 0xFFFFFFFF == 1 for x, y in pairwise(values))
    four = [ident.ipv4(A[:4], B[:4], 17) for _ in range(70000)]
    assert len(set(four[:65536])) == 65536
    assert max(four) <= 0xFFFF


def test_values_of_one_destination_tell_nothing_of_another() -> None:
    # RFC 7739 section 5.3: neither the offset nor, but by chance, the counter is shared
    ident = PacketIdent(SECRET, random.Random(1))
    first = ident.ipv6(A, B)
    offsets = {(ident.ipv6(A, ip(f"fd00:{i:x}::2")) - first) & 0xFFFFFFFF for i in range(1, 200)}
    assert len(offsets) == 199
    assert max(offsets) - min(offsets) > 1 << 31


def test_the_secret_decides() -> None:
    values = {PacketIdent(bytes([i]) * 16, random.Random(1)).ipv6(A, B) for i in range(50)}
    assert len(values) == 50
    again = {PacketIdent(bytes([1]) * 16, random.Random(1)).ipv6(A, B) for _ in range(3)}
    assert len(again) == 1


def test_forgetting_pairs_does_not_repeat_values() -> None:
    ident = PacketIdent(SECRET, random.Random(1))
    before = ident.ipv6(A, B)
    for i in range(2 * PAIRS):
        ident.ipv6(A, ip(f"2001:db8:{i:x}::1"))
        assert len(ident.pairs) <= PAIRS
    # Others on the same counter may have moved it on, but never back.
    assert 1 <= (ident.ipv6(A, B) - before) & 0xFFFFFFFF < 100


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        PacketIdent(b"short", random.Random(1))
