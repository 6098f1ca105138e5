"""Reassembly: RFC 791, RFC 815, RFC 5722, RFC 6946, RFC 7112, RFC 8200 section 4.5."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.ip.counters import IpCounters
from plankroad.ip.fragment import fragment_ipv4, fragment_ipv6
from plankroad.ip.reassembly import ENTRY_COST, FragmentTable
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import ip_to_bytes as ip
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_fragment, build_ipv6, parse_ipv6
from plankroad.wire.ipv6_options import build_options_header

A4 = ip("10.0.0.1")
B4 = ip("10.0.0.2")
A6 = ip("fd00::1")
B6 = ip("fd00::2")


def table(**limits: int) -> FragmentTable:
    return FragmentTable(IpCounters(), **limits)


def data(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def add(into: FragmentTable, packet: bytes, now: int = 0) -> bytes | None:
    if packet[0] >> 4 == 4:
        return into.add_ipv4(now, packet, parse_ipv4(packet))
    return into.add_ipv6(now, packet, parse_ipv6(packet))


def part(
    family: int, start: int, payload: bytes, more: bool, ident: int = 7, src: bytes = b"", tos: int = 0
) -> bytes:
    if family == 4:
        head = build_ipv4(src or A4, B4, 17, len(payload), 64, tos, ident, False, more, start)
        return head + payload
    body = build_fragment(17, start, more, ident) + payload
    return build_ipv6(src or A6, B6, 44, len(body), 64, tos) + body


def whole(family: int, payload: bytes, tos: int = 0) -> bytes:
    if family == 4:
        return build_ipv4(A4, B4, 17, len(payload), 64, tos, 7) + payload
    return build_ipv6(A6, B6, 17, len(payload), 64, tos) + payload


def assert_empty(into: FragmentTable) -> None:
    assert len(into) == 0
    assert into.memory == 0
    assert not into.sources
    assert into.next_timeout() == NEVER


families = pytest.mark.parametrize("family", [4, 6])


@pytest.mark.requirement("RFC1122-3.2.1.4-a", "RFC1122-3.3.2-a")
@given(st.integers(0, 2**32), st.sampled_from([4, 6]), st.integers(9, 9000))
def test_any_order_and_any_duplicates_give_the_packet_once(seed: int, family: int, size: int) -> None:
    rng = random.Random(seed)
    packet = whole(family, data(size, seed))
    mtu = rng.randrange(68 if family == 4 else 64, 1500)
    fragments = fragment_ipv4(packet, mtu) if family == 4 else fragment_ipv6(packet, mtu, 99)
    into = table(max_fragments=2000)
    if len(fragments) == 1:
        assert add(into, fragments[0]) == packet
        return
    order = fragments[:]
    rng.shuffle(order)
    # Duplicates of what is there already, before the last one comes.
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(order) - 1)
        order.insert(rng.randrange(at + 1, len(order)), order[at])
    done: list[bytes] = []
    seen: set[bytes] = set()
    for fragment in order:
        found = add(into, fragment)
        seen.add(fragment)
        if found is not None:
            assert len(seen) == len(fragments)
            done.append(found)
    assert done == [packet]


@families
def test_fragments_of_different_datagrams_are_not_mixed(family: int) -> None:
    into = table()
    for ident in (1, 2):
        assert add(into, part(family, 0, bytes([ident]) * 16, True, ident)) is None
    assert add(into, part(family, 0, b"z" * 16, True, 1, B4 if family == 4 else B6)) is None
    result = add(into, part(family, 16, b"end", False, 2))
    assert result is not None
    assert result.endswith(b"\2" * 16 + b"end")
    assert len(into) == 2


def test_the_ipv4_protocol_tells_datagrams_apart_and_ipv6_next_headers_do_not() -> None:
    into = table()
    head = build_ipv4(A4, B4, 1, 16, 64, 0, 7, False, True, 0)
    add(into, part(4, 0, bytes(16), True))
    add(into, head + bytes(16))
    assert len(into) == 2
    # RFC 8200: "Only the value from the Offset zero fragment packet is used for reassembly."
    body = build_fragment(60, 16, False, 7) + b"tail"
    add(into, part(6, 0, bytes(16), True))
    result = add(into, build_ipv6(A6, B6, 44, len(body)) + body)
    assert result is not None
    assert parse_ipv6(result).protocol == 17


@families
@pytest.mark.parametrize("overlap", [(8, 24), (0, 24), (8, 16), (0, 8), (16, 40), (24, 40)])
def test_any_overlap_ends_the_datagram(family: int, overlap: tuple[int, int]) -> None:
    # RFC 5722 section 4, RFC 8200 section 4.5
    into = table()
    payload = data(48)
    assert add(into, part(family, 0, payload[0:16], True)) is None
    assert add(into, part(family, 24, payload[24:32], True)) is None
    start, end = overlap
    assert add(into, part(family, start, bytes(end - start), True)) is None
    assert into.counters.fragments_overlapping == 1
    assert into.counters.reassembly_failed == 1
    # "... and any constituent fragments, including those not yet received": nothing comes of the rest.
    for at in (0, 8, 16, 24, 32):
        assert add(into, part(family, at, payload[at : at + 8], True)) is None
    assert add(into, part(family, 40, payload[40:48], False)) is None
    assert into.counters.reassembled == 0
    # No ICMP error for it, either.
    assert into.handle_timeout(60 * SECOND) == []
    assert into.counters.reassembly_timeout == 0
    assert_empty(into)


@families
def test_same_place_other_bytes_is_an_overlap(family: int) -> None:
    into = table()
    add(into, part(family, 0, b"a" * 16, True))
    add(into, part(family, 0, b"b" * 16, True))
    assert into.counters.fragments_overlapping == 1
    assert add(into, part(family, 16, b"end", False)) is None


@families
def test_an_exact_duplicate_is_dropped_alone(family: int) -> None:
    # RFC 8200 section 4.5
    into = table()
    add(into, part(family, 0, b"a" * 16, True))
    memory = into.memory
    add(into, part(family, 0, b"a" * 16, True))
    assert into.memory == memory
    assert into.counters.fragments_duplicate == 1
    assert add(into, part(family, 16, b"end", False)) == whole(family, b"a" * 16 + b"end")
    assert_empty(into)


@families
def test_two_different_ends_contradict_each_other(family: int) -> None:
    for second in ((32, b"x" * 8, False), (8, b"x" * 8, False), (40, b"x" * 8, True)):
        into = table()
        add(into, part(family, 24, b"y" * 8, False))
        add(into, part(family, *second))
        assert into.counters.fragments_overlapping == 1, second
    # The end comes after what lies behind it.
    into = table()
    add(into, part(family, 40, b"y" * 8, True))
    add(into, part(family, 24, b"y" * 8, False))
    assert into.counters.fragments_overlapping == 1
    # An end that becomes a middle.
    into = table()
    add(into, part(family, 24, b"y" * 8, False))
    add(into, part(family, 24, b"y" * 8, True))
    assert into.counters.fragments_overlapping == 1


def test_ipv4_lengths_that_cannot_be_are_refused() -> None:
    into = table()
    for bad in (part(4, 0, bytes(17), True), part(4, 8, b"", True), part(4, 65520, bytes(16), False)):
        assert add(into, bad) is None
    assert into.counters.fragments_refused == 3
    assert_empty(into)
    # 65535 itself is possible.
    packet = whole(4, data(65515))
    found = None
    for fragment in fragment_ipv4(packet, 1500):
        found = add(into, fragment)
    assert found == packet


def test_ipv6_problems_are_reported() -> None:
    # RFC 8200 section 4.5
    into = table()
    add(into, part(6, 0, bytes(17), True))
    assert (into.problem_code, into.problem_pointer) == (0, 4)
    add(into, part(6, 65528, bytes(16), True))
    assert (into.problem_code, into.problem_pointer) == (0, 42)
    hop = build_options_header(44, [])
    body = hop + build_fragment(17, 65528, True, 7) + bytes(8)
    add(into, build_ipv6(A6, B6, 0, len(body)) + body)
    assert (into.problem_code, into.problem_pointer) == (0, 50)
    assert into.counters.fragments_refused == 3
    add(into, part(6, 8, bytes(16), True))
    assert into.problem_code == -1
    assert len(into) == 1
    # A part without data is none.
    add(into, part(6, 800, b"", False, 8))
    assert into.counters.fragments_refused == 4
    assert len(into) == 1


def test_the_first_ipv6_fragment_holds_all_headers() -> None:
    # RFC 7112 section 5, RFC 8200 section 4.5
    into = table()
    for protocol, size in ((6, 16), (60, 8)):
        body = build_fragment(protocol, 0, True, 7) + bytes(size)
        assert add(into, build_ipv6(A6, B6, 44, len(body)) + body) is None
        assert (into.problem_code, into.problem_pointer) == (3, 0)
    assert_empty(into)
    body = build_fragment(6, 0, True, 7) + bytes(24)
    add(into, build_ipv6(A6, B6, 44, len(body)) + body)
    assert into.problem_code == -1


def test_tiny_tcp_fragments_are_refused() -> None:
    # RFC 1858, RFC 3128
    into = table()
    for start, size in ((0, 8), (8, 8), (8, 800)):
        head = build_ipv4(A4, B4, 6, size, 64, 0, 7, False, True, start)
        assert add(into, head + bytes(size)) is None
    assert into.counters.fragments_refused == 3
    assert_empty(into)
    assert add(into, build_ipv4(A4, B4, 6, 24, 64, 0, 7, False, True, 0) + bytes(24)) is None
    assert len(into) == 1


def test_atomic_fragments_stand_alone() -> None:
    # RFC 6946 section 4
    into = table()
    add(into, part(6, 0, bytes(16), True, 7))
    body = build_options_header(44, []) + build_fragment(17, 0, False, 7) + data(20)
    result = add(into, build_ipv6(A6, B6, 0, len(body), 33, 5) + body)
    plain = build_options_header(17, []) + data(20)
    assert result == build_ipv6(A6, B6, 0, len(plain), 33, 5) + plain
    assert into.counters.fragments_overlapping == 0
    assert add(into, part(6, 16, b"end", False, 7)) == whole(6, bytes(16) + b"end")


def test_packets_that_are_no_fragments_come_back() -> None:
    into = table()
    for family in (4, 6):
        packet = whole(family, b"payload")
        assert add(into, packet + b"padding") == packet
    assert into.counters.fragments_received == 0


def test_only_the_headers_of_the_first_fragment_are_kept() -> None:
    # RFC 8200: "Only those headers in the Offset zero fragment packet are retained in the reassembled packet."
    into = table()
    hop = build_options_header(44, [])
    body = hop + build_fragment(17, 0, True, 7) + b"a" * 16
    later = part(6, 16, b"end", False, 7)
    assert add(into, later) is None
    result = add(into, build_ipv6(A6, B6, 0, len(body), 9) + body)
    plain = build_options_header(17, []) + b"a" * 16 + b"end"
    assert result == build_ipv6(A6, B6, 0, len(plain), 9) + plain


def test_ipv4_options_of_the_first_fragment_are_kept() -> None:
    options = b"\x07\x07\x04\x00\x00\x00\x00\x00"
    packet = build_ipv4(A4, B4, 17, 100, 64, 0, 7, False, False, 0, options) + data(100)
    into = table()
    found = None
    for fragment in reversed(fragment_ipv4(packet, 68)):
        found = add(into, fragment)
    assert found == packet


@families
@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([0, 0], 0),
        ([2, 2], 2),
        ([2, 3], 3),
        ([3, 2], 3),
        ([1, 3], 3),
        ([3, 3], 3),
        ([0, 3], None),
        ([3, 0], None),
        ([2, 1], 2),
    ],
)
def test_congestion_marks_survive_reassembly(family: int, marks: list[int], expected: int | None) -> None:
    # RFC 3168 section 5.3
    into = table()
    add(into, part(family, 0, bytes(16), True, tos=0xB8 | marks[0]))
    result = add(into, part(family, 16, b"end", False, tos=0xB8 | marks[1]))
    if expected is None:
        assert result is None
        assert into.counters.reassembly_failed == 1
    else:
        assert result == whole(family, bytes(16) + b"end", 0xB8 | expected)
    assert_empty(into)


@pytest.mark.parametrize(("family", "lifetime"), [(4, 30 * SECOND), (6, 60 * SECOND)])
def test_a_datagram_is_given_up_in_time_and_its_first_fragment_returned(family: int, lifetime: int) -> None:
    # RFC 1122 section 3.3.2; RFC 8200 section 4.5: from the first-arriving fragment on
    into = table()
    first = part(family, 0, bytes(16), True)
    add(into, part(family, 32, bytes(8), False), 5)
    add(into, first + b"pad", 5 + lifetime // 2)
    assert into.next_timeout() == 5 + lifetime
    assert into.handle_timeout(4 + lifetime) == []
    assert into.handle_timeout(5 + lifetime) == [first]
    assert into.counters.reassembly_timeout == 1
    assert_empty(into)
    # The rest comes too late.
    assert add(into, part(family, 16, bytes(16), True), 6 + lifetime) is None
    assert into.handle_timeout(6 + 2 * lifetime) == []
    assert into.counters.reassembly_timeout == 2


@families
def test_a_late_fragment_does_not_complete_though_no_timer_ran(family: int) -> None:
    into = table()
    first = part(family, 0, bytes(16), True)
    add(into, first, 0)
    assert add(into, part(family, 16, b"end", False), 60 * SECOND) is None
    assert into.next_timeout() == 0
    assert into.handle_timeout(60 * SECOND) == [first]
    assert len(into) == 1


@families
def test_fragments_of_one_datagram_are_limited(family: int) -> None:
    into = table(max_fragments=4)
    for i in range(5):
        add(into, part(family, 16 * i, bytes(8), True))
    assert into.counters.fragments_refused == 1
    assert into.counters.reassembly_failed == 1
    assert into.memory == ENTRY_COST


@families
def test_one_source_cannot_use_all_memory(family: int) -> None:
    into = table(limit=1 << 20, source_limit=64 << 10)
    other = B4 if family == 4 else B6
    add(into, part(family, 0, b"b" * 1000, True, 1, other))
    for ident in range(2000):
        add(into, part(family, 0, bytes(1000), True, ident))
        assert into.memory <= (64 << 10) + 3000
    assert into.counters.reassembly_evicted > 1900
    # The newest are still there, and so is that of the other.
    assert add(into, part(family, 1000, b"end", False, 1999)) is not None
    assert add(into, part(family, 1000, b"end", False, 0)) is None
    assert add(into, part(family, 1000, b"end", False, 1, other)) is not None


@families
def test_many_sources_cannot_use_more_than_the_limit(family: int) -> None:
    into = table(limit=100_000, source_limit=50_000)
    size = 4 if family == 4 else 16
    for i in range(3000):
        add(into, part(family, 8, bytes(8), True, 1, b"\x0a" + bytes(size - 3) + i.to_bytes(2, "big")))
        assert into.memory <= 100_000
    assert len(into.sources) == len(into)


@families
def test_refused_datagrams_are_bounded_too(family: int) -> None:
    into = table(limit=100_000, source_limit=50_000)
    for ident in range(3000):
        add(into, part(family, 0, bytes(16), True, ident))
        add(into, part(family, 8, bytes(16), True, ident))
        assert into.memory <= 50_000
    assert into.counters.fragments_overlapping == 3000


def test_families_share_the_limit_oldest_first() -> None:
    into = table(limit=8000, source_limit=8000)
    add(into, part(4, 0, bytes(1000), True), 0)
    for i in range(3):
        add(into, part(6, 0, bytes(1000), True, i), 1 + i)
    assert len(into.ipv4) == 0
    assert into.counters.reassembly_evicted >= 1


def test_numbers_that_make_no_sense_are_refused() -> None:
    for limits in (
        {"ipv4_lifetime": 0},
        {"source_limit": 10},
        {"limit": 1000, "source_limit": 2000},
        {"max_fragments": 1},
        {"ipv4_max_size": 575},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            table(**limits)


@pytest.mark.requirement("RFC1122-3.3.2-b", "RFC1122-3.3.2-c")
def test_emtu_r_is_configurable() -> None:
    # RFC 1122 section 3.3.2
    into = table(ipv4_max_size=576)
    assert add(into, part(4, 560, bytes(8), False)) is None
    assert into.counters.fragments_refused == 1
    # "MUST be greater than or equal to 576"
    with pytest.raises(ValueError, match="576"):
        table(ipv4_max_size=575)


@given(st.integers(0, 2**32), st.sampled_from([4, 6]))
def test_accounts_balance_whatever_comes(seed: int, family: int) -> None:
    rng = random.Random(seed)
    into = table(limit=20_000, source_limit=10_000, max_fragments=6)
    now = 0
    for _ in range(120):
        now += rng.randrange(3 * SECOND)
        size = rng.choice([8, 16, 24, 7])
        start = rng.randrange(8) * 8
        src = bytes([10]) + bytes(2 if family == 4 else 14) + bytes([rng.randrange(3)])
        add(into, part(family, start, bytes(size), rng.random() < 0.7, rng.randrange(4), src), now)
        if rng.random() < 0.1:
            into.handle_timeout(now)
        datagrams = [*into.ipv4.values(), *into.ipv6.values()]
        assert into.memory == sum(d.memory for d in datagrams) == sum(s.memory for s in into.sources.values())
        assert sum(len(s.datagrams) for s in into.sources.values()) == len(datagrams)
        assert into.memory <= 20_000
        for d in datagrams:
            assert d.received == sum(map(len, d.parts))
            assert d.starts == sorted(d.starts)
            assert all(d.ends[i] <= d.starts[i + 1] for i in range(len(d.starts) - 1))
    into.handle_timeout(now + 60 * SECOND)
    assert_empty(into)
