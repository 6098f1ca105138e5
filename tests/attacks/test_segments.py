"""SegmentSmack (CVE-2018-5390): segments out of order that are to cost more the more of them are held."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.attacks.kit import Figure, allocated, attack, growth, hold
from tests.volume import volume

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.reassembly import Reassembly
from plankroad.tcp.window import hold_limit
from plankroad.testing.scripted import ScriptedPeer
from plankroad.wire.segment import ACK, Segment

#: Packets that are timed or whose lines are counted, with many held and with few.
SAMPLE = 64

MEBIBYTE = 1 << 20


def victim(rcv_buf: int = 16 * MEBIBYTE) -> ScriptedPeer:
    peer = ScriptedPeer(TcpConfig(rcv_buf=rcv_buf))
    peer.establish(wscale=7)
    peer.reads = False
    return peer


def segments(peer: ScriptedPeer, places: list[tuple[int, int]]) -> list[Segment]:
    """Data segments at these places (sequence number, length), made beforehand."""
    made: list[Segment] = []
    ack = (peer.conn.tcb.iss + 1) & 0xFFFFFFFF
    for seq, length in places:
        made.append(Segment(80, 40000, (peer.peer_iss + seq) & 0xFFFFFFFF, ack, ACK, 60000, bytes(length)))
    return made


def deliver(peer: ScriptedPeer, some: list[Segment]) -> None:
    conn = peer.conn
    for seg in some:
        conn.handle_segment(peer.now, seg)
        while conn.poll_transmit(peer.now) is not None:
            pass


def sparse(n: int) -> list[tuple[int, int]]:
    """Single octets, each with a hole beside it."""
    return [(10_000 + 4 * i, 1) for i in range(n)]


def spread(n: int) -> list[int]:
    """SAMPLE numbers all over range(n), out of order."""
    return [(i * 37 % SAMPLE) * n // SAMPLE for i in range(SAMPLE)]


def new_holes(n: int) -> Callable[[], None]:
    """More single octets in the middle of n of them."""
    peer = victim()
    deliver(peer, segments(peer, sparse(n)))
    more = segments(peer, [(10_002 + 4 * i, 1) for i in spread(n)])
    return lambda: deliver(peer, more)


def filled_holes(n: int) -> Callable[[], None]:
    """Segments that join two held ones each."""
    peer = victim()
    deliver(peer, segments(peer, sparse(n)))
    more = segments(peer, [(10_001 + 4 * i, 3) for i in spread(n - 1)])
    return lambda: deliver(peer, more)


def repeated(n: int) -> Callable[[], None]:
    """What is held already, again."""
    peer = victim()
    deliver(peer, segments(peer, sparse(n)))
    more = segments(peer, [(10_000 + 4 * i, 1) for i in spread(n)])
    return lambda: deliver(peer, more)


def backwards(n: int) -> Callable[[], None]:
    """A window filled from its end, one hole left before each piece and then filled: the pieces pile up."""
    peer = victim()
    end = 12_000_000
    deliver(peer, segments(peer, [(end - 3000 * (i + 1), 3000) for i in range(n)]))
    base = end - 3000 * n
    places: list[tuple[int, int]] = []
    for i in range(SAMPLE // 2):
        places += [(base - 6000 * (i + 1), 3000), (base - 6000 * (i + 1) + 3000, 3000)]
    more = segments(peer, places)
    return lambda: deliver(peer, more)


def covering(n: int) -> Callable[[], None]:
    """One segment over all that is held, then the same elsewhere: what it swallows was paid for before."""
    peer = victim()
    deliver(peer, segments(peer, sparse(n)))
    more = segments(peer, [(10_000 + 4 * n + 4 * i, 1) for i in range(SAMPLE)])
    return lambda: deliver(peer, more)


SHAPES = {
    "new holes": new_holes,
    "filled holes": filled_holes,
    "repeated octets": repeated,
    "a window filled backwards": backwards,
    "new octets behind": covering,
}


@attack("SegmentSmack (CVE-2018-5390)")
def segment_smack() -> list[Figure]:
    """Each shape with few and with a hundred times as many segments held."""
    many = volume(3000, 2000)
    figures: list[Figure] = []
    for name, shape in SHAPES.items():
        figure = growth(shape, many // 100, many)
        figure.what = f"{name}: {figure.what}"
        figures.append(figure)
    return figures


def test_what_a_segment_costs_does_not_depend_on_how_many_are_held() -> None:
    hold(segment_smack())


@attack("segments of one octet")
def single_octets() -> list[Figure]:
    """A window of 64 KiB filled with every other octet: memory by our account and by tracemalloc."""
    window = 65536
    peer = victim(rcv_buf=window)
    t = peer.conn.tcb
    made = segments(peer, [(3 + 2 * i, 1) for i in range(window // 4)])
    grown = allocated(lambda: deliver(peer, made))
    figures = [
        Figure("held, by the account", t.reassembly.memory(), hold_limit(t), "bytes"),
        Figure("held, by tracemalloc", grown, hold_limit(t) + 8192, "bytes"),
        Figure("segments sent for one received", peer.conn.tcb.segments_sent / len(made), 1.05),
    ]
    # In order, they are joined.
    peer = victim(rcv_buf=window)
    made = segments(peer, [(1 + i, 1) for i in range(20_000)])
    grown = allocated(lambda: deliver(peer, made))
    figures.append(Figure("20,000 unread octets that came one by one, by tracemalloc", grown, 40_000, "bytes"))
    return figures


def test_small_segments_take_no_more_memory_than_the_account_says() -> None:
    hold(single_octets())


@pytest.mark.parametrize("seed", range(volume(20, 6)))
def test_joining_keeps_every_octet_in_its_place(seed: int) -> None:
    # The shorter list of pieces moves when two intervals meet, whichever of them it is.
    print(f"seed {seed}")
    rng = random.Random(seed)
    stream = rng.randbytes(200_000)
    held = Reassembly()
    pieces: list[tuple[int, int]] = []
    at = 0
    while at < len(stream):
        size = rng.choice((1, 100, 1460, 3000, 9000))
        pieces.append((at, min(size, len(stream) - at)))
        at += size
    order = rng.choice(("random", "backwards", "odd first"))
    if order == "random":
        rng.shuffle(pieces)
    elif order == "backwards":
        pieces.reverse()
    else:
        pieces = pieces[1::2] + pieces[::2]
    for start, size in pieces:
        held.insert(100 + start, stream[start : start + size], 1 << 30)
        assert held.octets == sum(interval.end - interval.start for interval in held.intervals)
    assert b"".join(held.pop(100)) == stream
