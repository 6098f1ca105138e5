"""ECN between two of us while segments are marked, lost, repeated and overtaken: nothing is lost, and counts agree."""

from __future__ import annotations

import random

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.testing.pair import Pair
from plankroad.units import MILLISECOND
from plankroad.wire.segment import Segment

ECT0, CE = 2, 3


@pytest.mark.parametrize("ecn", ["on", "accecn"])
@pytest.mark.parametrize("seed", range(12))
def test_marks_among_losses(seed: int, ecn: str) -> None:
    print("seed", seed)
    rng = random.Random(f"ecn {seed}")
    lose, mark, repeat, late = rng.choice([0, 0.02, 0.1]), rng.choice([0.01, 0.3, 1.0]), 0.02, 0.05
    marked = {"a": 0, "b": 0}
    calm = False

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        if number < 4 or calm:
            return [0]
        if seg.tos == ECT0 and rng.random() < mark:
            seg.tos = CE
        if rng.random() < lose:
            return []
        delay = rng.randrange(30) * MILLISECOND if rng.random() < late else 0
        copies = [delay, delay + MILLISECOND] if rng.random() < repeat else [delay]
        if seg.tos == CE:
            marked[sender] += len(copies)
        return copies

    config = TcpConfig(ecn=ecn, timestamps=rng.random() < 0.7, sack=rng.random() < 0.8)
    pair = Pair(config, TcpConfig(), rule=rule, gso=rng.choice([0, 20_000]))
    pair.connect()
    sizes = {pair.a: rng.randrange(400_000), pair.b: rng.choice([0, 300_000])}
    for end, size in sizes.items():
        assert end.conn.send(pair.now, bytes(size)) in (size, min(size, end.conn.tcb.snd_buf_limit))
    pair.settle()
    pair.run()
    # The last word: a small exchange without trouble brings every counter across.
    calm = True
    for _ in range(3):
        for end in (pair.a, pair.b):
            end.send(b"z" * 10)
            pair.run()
    for end, other in ((pair.a, pair.b), (pair.b, pair.a)):
        t = end.conn.tcb
        assert t.snd_una == t.snd_nxt
        assert t.snd_buf.start - t.iss - 1 == len(other.received)
        mine, theirs = t.ecn, other.conn.tcb.ecn
        assert mine is not None
        assert theirs is not None
        if ecn == "accecn":
            assert theirs.r_ceb <= sum(len(seg.payload) for _, seg in end.sent) + 10_000_000 * (repeat > 0)
            assert (mine.s_cep - theirs.r_cep) % 8 == 0 or not mine.responds
            if theirs.sends_options and mine.responds:
                assert mine.s_ceb == theirs.r_ceb
                assert mine.s_cep >= theirs.r_cep or theirs.r_cep - mine.s_cep >= 8
