"""The scoreboard against a model that holds one record an octet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from plankroad.tcp.scoreboard import Scoreboard

SMSS = 10


class Model:
    """Each outstanding octet: [sacked, lost, retransmitted], and when it was last sent."""

    def __init__(self, una: int) -> None:
        self.una = una
        self.octets: dict[int, list[bool]] = {}
        self.sent_at: dict[int, int] = {}

    def detect_lost(self, xmit_ts: int, wait: int, now: int) -> int:
        """RACK_detect_loss () of RFC 8985 section 6.2, step 5, an octet at a time."""
        fresh = 0
        for i, o in self.octets.items():
            in_flight = not o[0] and (not o[1] or o[2])
            if in_flight and self.sent_at[i] < xmit_ts and self.sent_at[i] + wait <= now:
                o[1], o[2] = True, False
                fresh += 1
        return fresh


@given(
    st.integers(0, 2**33),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 200), st.integers(1, 40)), max_size=60),
)
@settings(max_examples=300)
def test_sums_and_marks_agree_with_a_record_for_each_octet(base: int, steps: list[tuple[int, int, int]]) -> None:
    board = Scoreboard()
    board.begin(base)
    model = Model(base)
    nxt = base
    for now, (kind, offset, length) in enumerate(steps):
        if kind == 0:
            board.add(nxt, nxt + length, now)
            for i in range(nxt, nxt + length):
                model.octets[i] = [False, False, False]
                model.sent_at[i] = now
            nxt += length
        elif kind == 1 and nxt > model.una:
            upto = model.una + offset % (nxt - model.una + 1)
            board.begin_ack()
            assert board.ack(upto) == sum(1 for i in range(model.una, upto) if not model.octets[i][0])
            for i in range(model.una, upto):
                del model.octets[i]
            model.una = upto
        elif kind == 2 and nxt > model.una:
            left = model.una + offset % (nxt - model.una)
            right = min(nxt, left + length)
            fresh = [i for i in range(left, right) if not model.octets[i][0]]
            latest = max((model.sent_at[i] for i in fresh), default=-1)
            board.begin_ack()
            assert board.sack(left, right, SMSS) == len(fresh)
            assert board.newest_sent_at == latest
            for i in fresh:
                model.octets[i] = [True, False, False]
            if latest >= 0:
                assert board.detect_lost(latest, 0, length, now) == model.detect_lost(latest, length, now)
                waiting = [
                    model.sent_at[i]
                    for i, o in model.octets.items()
                    if not o[0] and (not o[1] or o[2]) and model.sent_at[i] < latest
                ]
                assert board.next_deadline == (min(waiting) + length if waiting else -1)
        elif kind == 3:
            sent = board.next_lost()
            candidates = [i for i, o in model.octets.items() if o[1] and not o[2]]
            if sent is None:
                assert not candidates
            else:
                assert sent.start == min(candidates)
                n = min(length, sent.end - sent.start)
                start = sent.start
                board.resent(sent, n, now)
                for i in range(start, start + n):
                    model.octets[i][2] = True
                    model.sent_at[i] = now
        elif kind == 4 and offset > 150:
            board.mark_all_lost()
            for o in model.octets.values():
                if not o[0]:
                    o[1], o[2] = True, False
        elif kind == 4 and offset > 140:
            board.unmark_lost()
            for o in model.octets.values():
                o[1] = False
        values = list(model.octets.values())
        assert board.sacked == sum(o[0] for o in values)
        assert board.lost == sum(o[1] for o in values)
        assert board.retransmitted == sum(o[2] for o in values)
        covered = [(s.start, s.end) for s in board.ranges[board.head() :]]
        assert [a for a, _ in covered[1:]] == [b for _, b in covered[:-1]]
        assert (covered[0][0], covered[-1][1]) == (model.una, nxt) if covered else model.una == nxt


def test_only_octets_sent_once_give_a_sample() -> None:
    # Karn's algorithm, RFC 6298 section 3.
    board = Scoreboard()
    board.begin(0)
    board.add(0, 10, 100)
    board.add(10, 20, 200)
    board.mark_first_lost(10)
    lost = board.next_lost()
    assert lost is not None
    board.resent(lost, 10, 300)
    board.begin_ack()
    board.ack(20)
    assert board.acked_ever_retransmitted
    board.add(20, 30, 400)
    board.add(30, 40, 500)
    board.begin_ack()
    board.ack(40)
    assert not board.acked_ever_retransmitted
    assert (board.acked_first_sent_at, board.acked_last_sent_at) == (400, 500)
