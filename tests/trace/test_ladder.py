"""Sequence ladders: relative numbers, fates, choosing and drawing."""

from __future__ import annotations

import pytest

from plankroad.trace.ladder import LEFT, RIGHT, Ladder
from plankroad.units import MILLISECOND
from plankroad.wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment

# The client's numbers wrap after 95 bytes.
A = 2**32 - 96
B = 77


def seg(seq: int, ack: int, flags: int, n: int = 0, sack: list[tuple[int, int]] | None = None) -> Segment:
    s = Segment(40001, 80, seq % 2**32, ack % 2**32, flags, 65535 if flags & SYN else 502, bytes(n))
    s.sack = [(a % 2**32, b % 2**32) for a, b in sack or []]
    return s


def syn(seq: int, ack: int, flags: int, wscale: int = 7) -> Segment:
    s = seg(seq, ack, flags)
    s.mss, s.sack_permitted, s.has_ts, s.wscale = 1460, True, True, wscale
    return s


def transfer() -> Ladder:
    """A handshake, 30 data segments of which the 20th is lost, its recovery, a close whose FIN is lost once."""
    ladder = Ladder("client", "server")
    ladder.add(0, RIGHT, syn(A, 0, SYN))
    ladder.add(20 * MILLISECOND, LEFT, syn(B, A + 1, SYN | ACK, 9))
    ladder.add(40 * MILLISECOND, RIGHT, seg(A + 1, B + 1, ACK))
    first = A + 1
    for i in range(30):
        now = (41 + i) * MILLISECOND
        ladder.add(now, RIGHT, seg(first + 1000 * i, B + 1, ACK, 1000), dropped="queue full" if i == 20 else "")
        if i > 20:
            ladder.add(
                now + 500_000, LEFT, seg(B + 1, first + 20000, ACK, 0, [(first + 21000, first + 1000 * i + 1000)])
            )
    ladder.add(200 * MILLISECOND, RIGHT, seg(first + 20000, B + 1, ACK, 1000), note="fast")
    ladder.add(220 * MILLISECOND, LEFT, seg(B + 1, first + 30000, ACK))
    ladder.add(221 * MILLISECOND, LEFT, seg(B + 1, first + 30000, ACK | FIN), dropped="route is down")
    ladder.add(300 * MILLISECOND, LEFT, seg(B + 1, first + 30000, ACK | FIN))
    ladder.add(320 * MILLISECOND, RIGHT, seg(first + 30000, B + 2, ACK))
    return ladder


def test_numbers_are_relative_and_go_on_across_the_wrap() -> None:
    steps = transfer().steps
    assert [(s.seq, s.ack) for s in steps[:4]] == [(0, -1), (0, 1), (1, 1), (1, 1)]
    data = [s for s in steps if s.length and not s.retransmission]
    assert [s.seq for s in data] == [1 + 1000 * i for i in range(30)]
    sacks = [s.sack for s in steps if s.sack]
    assert sacks[0] == [(21001, 22001)]
    assert sacks[-1] == [(21001, 30001)]


def test_windows_are_scaled_by_the_senders_shift_except_in_a_syn() -> None:
    # RFC 7323 section 2.2.
    steps = transfer().steps
    assert [s.wnd for s in steps[:3]] == [65535, 65535, 502 << 7]
    assert next(s.wnd for s in steps[3:] if s.direction == LEFT) == 502 << 9
    plain = Ladder("a", "b")
    plain.add(0, RIGHT, syn(A, 0, SYN))
    plain.add(1, LEFT, syn(B, A + 1, SYN | ACK, -1))
    assert plain.add(2, RIGHT, seg(A + 1, B + 1, ACK)).wnd == 502


def test_retransmissions_are_found() -> None:
    assert [(s.seq, s.length) for s in transfer().steps if s.retransmission] == [(20001, 1000), (1, 0)]


def test_handshake_recovery_and_closing_are_found() -> None:
    ladder = transfer()
    assert ladder.handshake() == (0, 4)
    first, last = ladder.recovery()
    assert [s.dropped for s in ladder.steps[first : first + 2]] == ["", "queue full"]
    assert ladder.steps[last - 1].ack == 30001
    first, last = ladder.closing()
    assert ladder.steps[first + 1].flags & FIN
    assert last == len(ladder.steps)
    assert ladder.recovery(skip=1) == (0, 0)
    assert Ladder("a", "b").closing() == Ladder("a", "b").handshake() == (0, 0)


def test_a_recovery_without_an_end_runs_to_the_last_step() -> None:
    ladder = Ladder("a", "b")
    ladder.add(0, RIGHT, seg(1, 1, ACK, 10), dropped="loss")
    ladder.add(1, LEFT, seg(1, 1, ACK))
    assert ladder.recovery() == (0, 2)


def test_every_line_fits_the_width_and_the_rails_stand_in_line() -> None:
    for width in (72, 80, 100, 132):
        for ascii_only in (False, True):
            text = transfer().draw(width=width, ascii_only=ascii_only, collapse=0)
            assert text.isascii() is ascii_only
            lines = text.splitlines()
            assert max(len(line) for line in lines) <= width
            rail = "|" if ascii_only else "│"
            columns = {tuple(i for i, c in enumerate(line) if c == rail) for line in lines[1:]}
            assert len(columns) == 1


def test_the_handshake_reads_like_this() -> None:
    ladder = transfer()
    assert ladder.draw(0, 3, width=100).splitlines() == [
        "    time (s) client                                                         server",
        "    0.000000 │── SYN  seq 0  mss 1460 sackOK ts ws 7  win 65535 ────────────────▶│",
        "    0.020000 │◀───── SYN ACK  seq 0  ack 1  mss 1460 sackOK ts ws 9  win 65535 ──│",
        "    0.040000 │── ACK  ack 1  win 64256 ─────────────────────────────────────────▶│",
    ]


def test_a_lost_segment_does_not_arrive_and_its_reason_stands_beside() -> None:
    ladder = transfer()
    first, last = ladder.recovery()
    lines = ladder.draw(first, last).splitlines()
    lost = next(line for line in lines if "20001:21001" in line)
    assert "▶" not in lost
    assert "✗" in lost
    assert lost.endswith("lost: queue full")
    again = [line for line in lines if "20001:21001" in line][1]
    assert again.endswith("retransmission;")
    assert lines[lines.index(again) + 1].endswith("│ fast")
    assert next(line for line in ladder.draw().splitlines() if "FIN" in line and "✗" in line)


def test_long_runs_collapse_and_nothing_is_lost_in_the_sum() -> None:
    lines = transfer().draw(collapse=6).splitlines()
    # After the SYNs: an ACK and 20 data segments; the first 3 and the last 2 of them are drawn.
    assert "▶ 16 x data, 16,000 bytes" in lines[6]
    # After the loss: 9 data segments and 9 ACKs.
    gap = next(line for line in lines if "x ACK" in line)
    assert "▶ 6 x data, 6,000 bytes; 7 x ACK" in gap or "▶ 7 x data, 7,000 bytes; 6 x ACK" in gap
    assert len(transfer().draw(collapse=0).splitlines()) > len(transfer().steps)


def test_rare_things_are_on_the_label() -> None:
    ladder = Ladder("a", "b")
    s = syn(5, 0, SYN)
    s.user_timeout, s.fast_open, s.md5, s.ao = 30, b"", True, True
    assert "uto tfo md5 ao" in ladder.add(0, RIGHT, s).label()
    urgent = seg(6, 1, ACK | PSH | URG, 3)
    urgent.urgent = 3
    assert "PSH ACK URG  1:4 (3)  ack 0  urg +3" in ladder.add(1, RIGHT, urgent).label()
    assert ladder.add(2, LEFT, seg(1, 0, RST)).label() == "RST  seq 0"
    assert ladder.add(3, LEFT, seg(1, 0, 0)).label().startswith("no flags")


def test_accurate_ecn_is_read_as_a_counter_once_it_is_agreed() -> None:
    """RFC 9768 section 3.2.2: three flags are one field then, and data with it is nothing to remark on."""
    ladder = Ladder("a", "b")
    asked = seg(0, 0, SYN | AE | CWR | ECE)
    assert ladder.add(0, RIGHT, asked).label().startswith("SYN ECE CWR AE  seq 0")
    assert ladder.add(1, LEFT, seg(0, 1, SYN | ACK | CWR)).label().startswith("SYN ACK CWR  seq 0")
    data = seg(1, 1, ACK | AE | ECE, 10)
    data.accecn = (1, 20, -1)
    step = ladder.add(2, RIGHT, data)
    assert step.label() == "ACK  1:11 (10)  ack 1  accecn 1/20/- ace 5  win 502"
    assert step.is_plain()


@pytest.mark.parametrize("answer", [0, ECE, AE | CWR | ECE])
def test_what_was_not_agreed_to_is_shown_as_flags(answer: int) -> None:
    ladder = Ladder("a", "b")
    ladder.add(0, RIGHT, seg(0, 0, SYN | AE | CWR | ECE))
    ladder.add(1, LEFT, seg(0, 1, SYN | ACK | answer))
    step = ladder.add(2, LEFT, seg(1, 1, ACK | ECE))
    assert step.label().startswith("ACK ECE")
    assert not step.is_plain()


def test_a_nonsense_acknowledgement_does_not_derail_the_numbers() -> None:
    ladder = Ladder("a", "b")
    ladder.add(0, RIGHT, seg(1000, 1, ACK, 10))
    for i in range(8):
        ladder.add(1, LEFT, seg(1, 1000 + i * 2**30, ACK))
    assert ladder.add(2, RIGHT, seg(1010, 1, ACK, 10)).seq == 10


def test_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 72 columns"):
        transfer().draw(width=71)
