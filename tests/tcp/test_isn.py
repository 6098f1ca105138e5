"""Initial sequence numbers and timestamp offsets."""

from __future__ import annotations

from hashlib import blake2s

import pytest

from plankroad.tcp.isn import IsnGenerator
from plankroad.units import MICROSECOND, SECOND

SECRET = bytes(range(16))
A4, B4 = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
A6, B6 = bytes(15) + b"\x01", bytes(15) + b"\x02"


@pytest.mark.requirement("MUST-8")
def test_isn_grows_by_one_every_four_microseconds_for_one_four_tuple() -> None:
    # MUST-8, RFC 9293 section 3.4.1.
    gen = IsnGenerator(SECRET)
    start = gen.isn(0, A4, 1000, B4, 80)
    assert gen.isn(4 * MICROSECOND - 1, A4, 1000, B4, 80) == start
    for ticks in (1, 2, 1000, 2**31, 2**32 - 1):
        assert gen.isn(4 * MICROSECOND * ticks, A4, 1000, B4, 80) == (start + ticks) % 2**32


@pytest.mark.requirement("SHLD-1")
def test_isn_is_the_clock_plus_a_keyed_hash_of_the_four_tuple() -> None:
    # RFC 6528 section 3, computed here on its own.
    digest = blake2s(A4 + B4 + b"\x03\xe8\x00\x50", digest_size=4, key=SECRET, person=b"isn").digest()
    expected = (int.from_bytes(digest, "big") + 250_000) % 2**32
    assert IsnGenerator(SECRET).isn(SECOND, A4, 1000, B4, 80) == expected


@pytest.mark.requirement("MUST-9")
def test_every_part_of_the_four_tuple_and_the_secret_matter() -> None:
    gen = IsnGenerator(SECRET)
    tuples = [
        (A4, 1000, B4, 80),
        (B4, 1000, A4, 80),
        (A4, 80, B4, 1000),
        (A4, 1001, B4, 80),
        (A4, 1000, B4, 81),
        (A6, 1000, B6, 80),
    ]
    values = {gen.isn(0, *t) for t in tuples} | {gen.ts_offset(*t) for t in tuples}
    values.add(IsnGenerator(SECRET[::-1]).isn(0, *tuples[0]))
    assert len(values) == 2 * len(tuples) + 1


def test_values_fill_32_bits() -> None:
    gen = IsnGenerator(SECRET)
    isns = [gen.isn(0, A4, port, B4, 80) for port in range(1, 2000)]
    offsets = [gen.ts_offset(A4, port, B4, 80) for port in range(1, 2000)]
    for values in (isns, offsets):
        assert len(set(values)) == len(values)
        assert 0 <= min(values) < 2**24
        assert 2**32 - 2**24 < max(values) < 2**32


@pytest.mark.requirement("timestamp-offset")
def test_timestamp_offset_is_the_same_for_each_incarnation() -> None:
    # RFC 6191 needs later timestamps from a later incarnation: the offset must not change.
    gen = IsnGenerator(SECRET)
    assert gen.ts_offset(A4, 1000, B4, 80) == gen.ts_offset(A4, 1000, B4, 80)
    assert gen.ts_offset(A4, 1000, B4, 80) == IsnGenerator(SECRET).ts_offset(A4, 1000, B4, 80)


@pytest.mark.requirement("MUST-9")
def test_a_short_secret_is_refused_and_a_long_one_counts_to_its_last_byte() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes, not 15"):
        IsnGenerator(bytes(15))
    one = IsnGenerator(bytes(99) + b"\x01").isn(0, A4, 1, B4, 2)
    two = IsnGenerator(bytes(99) + b"\x02").isn(0, A4, 1, B4, 2)
    assert one != two
