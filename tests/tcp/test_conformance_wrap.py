"""Sequence numbers go past 2**32 and timestamps past theirs in mid-transfer, with losses around the wrap."""

from __future__ import annotations

import random

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment

WRAP = 1 << 32
SIZE = 600_000


@pytest.mark.requirement("wraps")
@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("before", [1, 300_000])
def test_a_transfer_both_ways_across_the_wraps(sack: bool, timestamps: bool, before: int) -> None:
    # RFC 9293 section 3.4; RFC 7323 section 5.4: both spaces are circles. Issue section 9.
    seed = before + 2 * sack + timestamps
    rng = random.Random(seed)

    def lossy(number: int, sender: str, seg: Segment) -> list[int]:
        dice = rng.random()
        if dice < 0.03 and number > 10:
            return []
        return [25 * MILLISECOND] if dice < 0.06 else [0]

    start = 10 * SECOND
    # TSval is milliseconds plus the offset: 300 ms before 2**32 at the start.
    offset = WRAP - start // MILLISECOND - 300
    pair = Pair(
        TcpConfig(sack=sack, timestamps=timestamps),
        start=start,
        rule=lossy,
        a_iss=WRAP - before,
        b_iss=WRAP - before - 1,
        a_ts_offset=offset,
        b_ts_offset=offset,
    )
    pair.connect()
    there = rng.randbytes(SIZE)
    back = rng.randbytes(SIZE)
    assert pair.a.send(there) == SIZE
    assert pair.b.send(back) == SIZE
    pair.a.close()
    pair.b.close()
    pair.run()
    assert pair.b.received == there, f"seed {seed}"
    assert pair.a.received == back, f"seed {seed}"
    assert pair.both_closed()
    for name in ("a", "b"):
        sent = [seg for _, who, seg, _ in pair.log if who == name]
        assert any(seg.seq > WRAP - before - 2 for seg in sent)
        assert any(seg.seq < SIZE for seg in sent)
        if timestamps:
            values = {seg.ts_val for seg in sent if seg.has_ts}
            assert max(values) > WRAP - 400
            assert min(values) < 1 << 20
    # Late copies only, not everything from the wrap on.
    assert pair.a_counters.paws_rejected + pair.b_counters.paws_rejected < 60


@pytest.mark.requirement("wraps")
def test_four_gibibytes_in_giant_steps() -> None:
    # Absolute numbers beyond 2**33: acknowledged in the wire's 32 bits, unwrapped right each time.
    step = 1 << 24
    peer = ScriptedPeer(TcpConfig(rcv_buf=1 << 26, timestamps=False), peer_iss=WRAP - 5, iss=WRAP - 5)
    peer.establish(wscale=14)
    piece = bytes(65_000)
    seq = 1
    for _ in range(40):
        peer.segment(".", seq=seq, ack=1, data=piece)
        seq += len(piece)
        # As if `step` octets more had come and were read: what a long transfer leaves behind.
        t = peer.conn.tcb
        t.rcv_nxt += step * 16
        t.rcv_adv += step * 16
        t.last_ack_sent += step * 16
        t.snd_wl1 += step * 16
        seq += step * 16
    assert peer.conn.tcb.rcv_nxt > 2 * WRAP
    peer.segment("P.", seq=seq, ack=1, data=b"end", poll=False)
    peer.segment("F.", seq=seq + 3, ack=1, poll=False)
    [answer] = peer.output()
    assert answer.ack == ((seq + 4 + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    assert peer.received[-3:] == b"end"


@pytest.mark.requirement("wraps")
@pytest.mark.parametrize("distance", [(1 << 31) - 1, 1 << 31, (1 << 31) + 1])
def test_numbers_half_a_circle_away_are_outside(distance: int) -> None:
    # RFC 9293 section 3.4: "all arithmetic dealing with sequence numbers must be performed modulo 2**32".
    peer = ScriptedPeer()
    peer.establish()
    peer.send(bytes(100))
    t = peer.conn.tcb
    peer.segment(".", seq=1 + distance, ack=1, data=b"far")
    peer.segment(".", seq=1, ack=1 + distance, data=b"mad")
    peer.segment("R", seq=1 + distance)
    peer.segment("F.", seq=1 + distance, ack=1)
    assert peer.state == "ESTABLISHED"
    assert peer.received == b""
    assert (t.snd_una - t.iss, t.rcv_nxt - t.irs) == (1, 1)
