"""The send buffer and the reassembly queue against the simplest models: a bytes object and a dict of octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.tcp.reassembly import INTERVAL_COST, Reassembly
from plankroad.tcp.sendbuf import SendBuffer

CHUNKS = st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=30)


@given(CHUNKS, st.integers(0, 2**40), st.data())
def test_any_slice_of_the_send_buffer_is_what_was_written(
    chunks: list[bytes], start: int, data: st.DataObject
) -> None:
    buffer = SendBuffer(start)
    for chunk in chunks:
        buffer.append(chunk)
    everything = b"".join(chunks)
    released = 0
    for _ in range(20):
        low = data.draw(st.integers(released, len(everything)))
        high = data.draw(st.integers(low, len(everything)))
        if high > low:
            assert buffer.slice(start + low, high - low) == everything[low:high]
        if data.draw(st.booleans()):
            released = data.draw(st.integers(released, high))
            buffer.release(start + released)
            assert len(buffer) == len(everything) - released
    assert buffer.start == start + released
    assert buffer.end == start + len(everything)


def test_a_whole_chunk_is_sent_without_a_copy() -> None:
    buffer = SendBuffer(1)
    chunk = bytes(8000)
    buffer.append(bytes(5000))
    buffer.append(chunk)
    assert buffer.slice(5001, 8000) is chunk


def test_many_small_writes_share_chunks() -> None:
    buffer = SendBuffer(0)
    for _ in range(100_000):
        buffer.append(b"x")
    assert len(buffer._chunks) < 100
    buffer.release(99_999)
    assert buffer.slice(99_999, 1) == b"x"


@pytest.mark.requirement("SHLD-31")
@given(
    st.integers(0, 2**40),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 60)), min_size=1, max_size=60),
    st.data(),
)
def test_reassembly_gives_every_octet_once_and_in_order(
    base: int, arrivals: list[tuple[int, int]], data: st.DataObject
) -> None:
    stream = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(400))
    held = Reassembly()
    have: set[int] = set()
    rcv_nxt = 0
    out = bytearray()
    for first, length in arrivals:
        start = max(first, rcv_nxt)
        end = min(first + length, len(stream))
        if end <= start:
            continue
        fresh = set(range(start, end)) - have
        added = held.insert(base + start, stream[start:end], 1 << 20)
        assert added == len(fresh)
        have |= fresh
        assert held.octets == len(have)
        blocks = held.sack_blocks(4)
        assert blocks[0][0] <= base + start < base + end <= blocks[0][1]  # RFC 2018: the latest segment's block first
        assert len(set(blocks)) == len(blocks)
        for left, right in blocks:
            assert {i - base for i in range(left, right)} <= have
            assert left - base - 1 not in have
            assert right - base not in have
        if data.draw(st.booleans()):
            rcv_nxt_before = rcv_nxt
            for piece in held.pop(base + rcv_nxt):
                out += piece
                rcv_nxt += len(piece)
            while rcv_nxt_before in have:
                have.discard(rcv_nxt_before)
                rcv_nxt_before += 1
            assert rcv_nxt == rcv_nxt_before
            assert held.octets == len(have)
    assert bytes(out) == stream[:rcv_nxt]


def test_what_was_held_first_is_not_replaced() -> None:
    held = Reassembly()
    held.insert(10, b"bbbb", 10_000)
    held.insert(8, b"AAAAAAAA", 10_000)
    assert b"".join(held.pop(8)) == b"AAbbbbAA"


@pytest.mark.requirement("reassembly-memory")
def test_memory_is_bounded_by_the_limit_whatever_arrives() -> None:
    held = Reassembly()
    limit = 10_000
    for i in range(10_000):
        held.insert(2 * i + 1, b"x", limit)
        assert held.memory() <= limit
    assert len(held.intervals) == limit // (INTERVAL_COST + 1)


def test_contiguous_small_segments_share_pieces() -> None:
    held = Reassembly()
    for i in range(4000):
        held.insert(10 + i, b"x", 1 << 20)
    assert len(held.intervals) == 1
    assert len(held.intervals[0].pieces) < 5


@pytest.mark.requirement("sack")
def test_sack_blocks_repeat_the_latest_first() -> None:
    # RFC 2018 section 4 and its example in section 7, case 3.
    held = Reassembly()
    for start in (5500, 6500, 7500, 8500):
        held.insert(start, bytes(500), 1 << 20)
    assert held.sack_blocks(4) == [(8500, 9000), (7500, 8000), (6500, 7000), (5500, 6000)]
    held.insert(7000, bytes(500), 1 << 20)  # fills the gap between two of them
    assert held.sack_blocks(4) == [(6500, 8000), (8500, 9000), (5500, 6000)]
