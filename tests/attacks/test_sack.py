"""The SACK attacks of 2019 and small segments: CVE-2019-11477 (SACK Panic), -11478 (SACK Slowness), -11479 (low MSS).

In Linux a queue of super-segments with a tiny MSS overflowed a counter of 16 bits, was cut into ever more pieces by
SACK blocks, and made the sender send little but headers. Here a sender keeps ranges, whose number is bounded by what it
has in flight, and no segment is smaller than 48 octets less its options unless the path says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.attacks.kit import Figure, attack, growth, hold
from tests.volume import volume

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.invariants import check
from plankroad.tcp.memory import RANGE_COST
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND
from plankroad.wire.segment import ACK, Segment

SAMPLE = 64


def download(octets: int, mss: int = 48, gso_max: int = 0, in_flight: int = 0, ts: bool = False) -> ScriptedPeer:
    """A connection that sends to a peer with a tiny MSS and an open window; all `in_flight` octets are out."""
    peer = ScriptedPeer(TcpConfig(snd_buf=max(octets, 65536), initial_window=1000))
    peer.establish(mss=mss, wscale=7, wnd=65535, ts=ts)
    peer.conn.tcb.gso_max = gso_max
    peer.segment(".", ack=1, wnd=65535)
    peer.conn.tcb.cc.cwnd = max(in_flight, octets)
    assert peer.conn.send(peer.now, bytes(octets)) == octets
    peer.output()
    return peer


def sack(peer: ScriptedPeer, blocks: list[tuple[int, int]], ack: int = 1) -> Segment:
    """An acknowledgement with these blocks, made beforehand."""
    iss = peer.conn.tcb.iss
    seg = Segment(80, 40000, peer.peer_iss + 1 & 0xFFFFFFFF, (iss + ack) & 0xFFFFFFFF, ACK, 65535)
    seg.sack = [((iss + left) & 0xFFFFFFFF, (iss + right) & 0xFFFFFFFF) for left, right in blocks]
    return seg


@attack("SACK Panic (CVE-2019-11477)")
def sack_panic() -> list[Figure]:
    """Super-segments of 60 KB with an MSS of 48, cut by blocks of single octets."""
    octets = 1_000_000
    peer = download(octets, gso_max=60_000)
    t = peer.conn.tcb
    # The block that reaches the limit may still cut a range in three.
    limit = 64 + 2 * octets // t.snd_mss + 1
    most = 0
    for i in range(volume(20_000, 3000)):
        place = 10 + 97 * i % (octets - 20)
        peer.conn.handle_segment(peer.now, sack(peer, [(place + 8 * k, place + 8 * k + 1) for k in range(4)]))
        most = max(most, len(t.scoreboard.ranges))
    check_later = len(peer.output())
    check(t)
    # All of it arrives in the end.
    peer.segment(".", ack=1 + octets)
    return [
        Figure("ranges on the scoreboard", most, limit),
        Figure("what they cost", most * RANGE_COST / octets, 20, "bytes an octet in flight"),
        Figure("segments sent for one ACK", check_later / volume(20_000, 3000), 3),
        Figure("octets not acknowledged in the end", t.snd_nxt - t.snd_una, 0),
    ]


def test_sack_panic_makes_a_bounded_number_of_ranges() -> None:
    hold(sack_panic())


def odd_segments(n: int) -> Callable[[], None]:
    """Every other of n segments is reported, then acknowledgements that report a few more each."""
    peer = download(48 * n)
    mss = peer.conn.tcb.snd_mss
    for i in range(0, n // 2, 4):
        places = [1 + 2 * k * mss for k in range(i, min(i + 4, n // 2))]
        peer.conn.handle_segment(peer.now, sack(peer, [(place, place + mss) for place in places]))
    # Repairs leave as they may.
    peer.advance(200 * MILLISECOND)
    more: list[Segment] = []
    for i in range(SAMPLE):
        k = (i * 37 % SAMPLE) * (n // 2 - 1) // SAMPLE
        place = 1 + (2 * k + 1) * mss
        more.append(sack(peer, [(place + 4, place + 9)]))

    def act() -> None:
        conn = peer.conn
        for seg in more:
            conn.handle_segment(peer.now, seg)
            conn.poll_transmit(peer.now)

    return act


def known_blocks(n: int) -> Callable[[], None]:
    """The same blocks over and over."""
    peer = download(48 * n)
    mss = peer.conn.tcb.snd_mss
    for k in range(0, n, 2):
        peer.conn.handle_segment(peer.now, sack(peer, [(1 + k * mss, 1 + (k + 1) * mss)]))
    peer.advance(200 * MILLISECOND)
    more = duplicates(peer, n)

    def act() -> None:
        for seg in more:
            peer.conn.handle_segment(peer.now, seg)
            peer.conn.poll_transmit(peer.now)

    # Recoveries that are taken back walk over the flight; there is an end to them, see the figure for it.
    act()
    return act


def duplicates(peer: ScriptedPeer, n: int) -> list[Segment]:
    """Acknowledgements whose first block says that something came twice (RFC 2883 section 4)."""
    mss = peer.conn.tcb.snd_mss
    made: list[Segment] = []
    for i in range(SAMPLE):
        k = (i * 37 % SAMPLE) * (n // 2 - 1) // SAMPLE
        made.append(sack(peer, [(1 + 2 * k * mss, 1 + (2 * k + 1) * mss)] * 4))
    return made


def plain_acks(n: int) -> Callable[[], None]:
    """n segments in flight, acknowledged one by one."""
    peer = download(48 * n)
    mss = peer.conn.tcb.snd_mss
    more = [sack(peer, [], 1 + (i + 1) * mss) for i in range(SAMPLE)]

    def act() -> None:
        for seg in more:
            peer.conn.handle_segment(peer.now, seg)
            peer.conn.poll_transmit(peer.now)

    return act


SHAPES = {"blocks in new holes": odd_segments, "blocks known already": known_blocks, "plain ACKs": plain_acks}


@attack("SACK Slowness (CVE-2019-11478)")
def sack_slowness() -> list[Figure]:
    """What an acknowledgement costs with few and with many ranges on the scoreboard."""
    many = volume(4000, 2000)
    figures: list[Figure] = []
    for name, shape in SHAPES.items():
        figure = growth(shape, many // 20, many)
        figure.what = f"{name}: {figure.what}"
        figures.append(figure)
    # Of all that was sent again the peer says that it had it: a recovery taken back, and the next one, without end.
    n = 400
    peer = download(48 * n)
    mss = peer.conn.tcb.snd_mss
    for k in range(0, n, 2):
        peer.conn.handle_segment(peer.now, sack(peer, [(1 + k * mss, 1 + (k + 1) * mss)]))
    peer.advance(200 * MILLISECOND)
    for seg in duplicates(peer, n) * 4:
        peer.conn.handle_segment(peer.now, seg)
        peer.conn.poll_transmit(peer.now)
    figures.append(Figure("recoveries taken back in one flight", peer.counters.spurious_recoveries, 4))
    return figures


def test_what_an_acknowledgement_costs_does_not_depend_on_the_number_of_ranges() -> None:
    hold(sack_slowness())


@attack("low MSS (CVE-2019-11479)")
def low_mss() -> list[Figure]:
    """A peer that names an MSS of 1: what goes out for an octet of data, headers and all."""
    figures: list[Figure] = []
    for named in (1, 8, 48):
        peer = ScriptedPeer(TcpConfig())
        peer.establish(mss=named, wscale=7)
        peer.conn.send(peer.now, bytes(4800))
        out = peer.output()
        size = sum(len(seg.payload) + 40 for seg in out) / sum(len(seg.payload) for seg in out)
        figures.append(Figure(f"bytes sent an octet of data, MSS of {named} named", size, 40 / 48 + 1))
    return figures


def test_a_tiny_mss_does_not_make_tiny_segments() -> None:
    hold(low_mss())


@attack("tiny windows and tiny segments")
def tiny_windows() -> list[Figure]:
    """A peer that opens its window by a few octets with each acknowledgement (RFC 9293 section 3.8.6.2.1)."""
    octets = 5000
    peer = ScriptedPeer(TcpConfig())
    peer.establish(mss=48, wnd=65535)
    peer.segment(".", ack=1, wnd=2)
    peer.conn.send(peer.now, bytes(octets))
    out = peer.output()
    sent = len(out)
    received = 1
    at = 1
    for _ in range(2000):
        if at > octets:
            break
        more = peer.advance(10 * MILLISECOND)
        more += peer.segment(".", ack=at, wnd=2)
        received += 1
        sent += len(more)
        for seg in more:
            at = max(at, seg.seq + len(seg.payload))
    return [Figure("packets sent for one received", sent / received, 1.0)]


def test_tiny_windows_are_not_filled_with_tiny_segments() -> None:
    hold(tiny_windows())


@pytest.mark.parametrize("seed", range(volume(30, 6)))
def test_random_blocks_leave_the_scoreboard_whole(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    octets = 20_000
    peer = download(octets, gso_max=rng.choice((0, 60_000)))
    ack = 1
    for _ in range(300):
        blocks = []
        for _ in range(rng.randrange(5)):
            left = rng.randrange(-5, octets + 5)
            blocks.append((left, left + rng.choice((0, 1, 7, 36, 1000, -3))))
        if rng.random() < 0.05:
            ack = min(octets, ack + rng.randrange(200))
        peer.conn.handle_segment(peer.now, sack(peer, blocks, ack))
        peer.output()
        if rng.random() < 0.1:
            peer.advance(rng.randrange(1, 300) * MILLISECOND)
    peer.segment(".", ack=1 + octets)
    assert peer.conn.tcb.snd_una == peer.conn.tcb.snd_nxt
