"""The scoreboard against a model that holds one record an octet."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from plankroad.tcp.constants import DUP_THRESH
from plankroad.tcp.scoreboard import Scoreboard

SMSS = 10


class Model:
    """Each outstanding octet: [sacked, lost, retransmitted]."""

    def __init__(self, una: int) -> None:
        self.una = una
        self.octets: dict[int, list[bool]] = {}

    def is_lost(self, seq: int) -> bool:
        """IsLost () of RFC 6675 section 4, word by word."""
        above = sorted(i for i, o in self.octets.items() if i > seq and o[0])
        blocks = sum(1 for i in above if i - 1 not in above)
        return blocks >= DUP_THRESH or len(above) > (DUP_THRESH - 1) * SMSS


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
            nxt += length
        elif kind == 1 and nxt > model.una:
            upto = model.una + offset % (nxt - model.una + 1)
            board.ack(upto)
            for i in range(model.una, upto):
                del model.octets[i]
            model.una = upto
        elif kind == 2 and nxt > model.una:
            left = model.una + offset % (nxt - model.una)
            right = min(nxt, left + length)
            fresh = [i for i in range(left, right) if not model.octets[i][0]]
            assert board.sack(left, right) == len(fresh)
            for i in fresh:
                model.octets[i] = [True, False, False]
            expected = {i for i, o in model.octets.items() if not o[0] and (o[1] or model.is_lost(i))}
            board.mark_lost(SMSS)
            for i in expected:
                model.octets[i][1] = True
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
        elif kind == 4 and offset > 150:
            board.mark_all_lost()
            for o in model.octets.values():
                if not o[0]:
                    o[1], o[2] = True, False
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
    board.ack(20)
    assert board.acked_ever_retransmitted
    board.add(20, 30, 400)
    board.add(30, 40, 500)
    board.ack(40)
    assert not board.acked_ever_retransmitted
    assert (board.acked_first_sent_at, board.acked_last_sent_at) == (400, 500)
