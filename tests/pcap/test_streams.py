"""One direction of a connection, put together again."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from plankroad.pcap.streams import Stream

DATA = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(3000))


@given(
    isn=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.tuples(st.integers(0, 2999), st.integers(1, 500)), max_size=40),
    seed=st.integers(0, 1000),
)
def test_any_pieces_in_any_order_make_the_stream(isn: int, cuts: list[tuple[int, int]], seed: int) -> None:
    # Pieces that cover everything, and others that overlap them anyhow.
    pieces = [(i, DATA[i : i + 250]) for i in range(0, 3000, 250)]
    pieces += [(start, DATA[start : start + size]) for start, size in cuts]
    random.Random(seed).shuffle(pieces)
    stream = Stream()
    stream.synchronize(isn)
    for start, data in pieces:
        stream.add((isn + 1 + start) % 2**32, data)
    stream.end((isn + 1 + 3000) % 2**32)
    assert stream.data() == DATA
    assert stream.gaps() == []
    assert stream.is_complete()
    assert stream.conflict_bytes == 0
    assert stream.duplicate_bytes == sum(len(d) for _, d in pieces) - 3000


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(1, 30)), max_size=12))
def test_gaps_are_what_no_piece_covers(pieces: list[tuple[int, int]]) -> None:
    stream = Stream()
    stream.synchronize(7)
    covered = [False] * 230
    for start, size in pieces:
        stream.add(8 + start, DATA[start : start + size])
        covered[start : start + size] = [True] * size
    end = max((s + n for s, n in pieces), default=0)
    missing = {i for a, b in stream.gaps() for i in range(a, b)}
    assert missing == {i for i in range(end) if not covered[i]}
    first = min((i for i in range(end) if not covered[i]), default=end)
    assert stream.data() == DATA[:first]


def test_the_first_bytes_win_and_a_conflict_is_counted() -> None:
    stream = Stream()
    stream.synchronize(0)
    stream.add(1, b"aaaa")
    stream.add(3, b"aXYb")
    assert stream.data() == b"aaaaYb"
    assert (stream.duplicate_bytes, stream.conflict_bytes) == (2, 1)


def test_a_capture_that_begins_late_starts_at_the_lowest_byte_it_has() -> None:
    stream = Stream()
    stream.add(5000, b"world")
    stream.add(4995, b"hello")
    assert stream.data() == b"helloworld"
    assert not stream.is_complete()


def test_a_keep_alive_before_the_first_byte_is_no_data() -> None:
    stream = Stream()
    stream.synchronize(100)
    stream.add(100, b"\0")
    stream.add(101, b"data")
    assert stream.data() == b"data"
    assert stream.duplicate_bytes == 1


def test_a_fin_after_a_gap_shows_the_gap() -> None:
    stream = Stream()
    stream.synchronize(0)
    stream.add(1, b"ab")
    stream.end(8)
    assert stream.gaps() == [(2, 7)]
    assert not stream.is_complete()


def test_more_than_4_gib_keeps_its_order() -> None:
    stream = Stream()
    stream.synchronize(0)
    step = 2**30
    for n in range(10):
        stream.add((1 + n * step) % 2**32, bytes([n]))
    assert [start for start, _ in stream.gaps()] == [n * step + 1 for n in range(9)]
