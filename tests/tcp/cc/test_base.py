"""What every algorithm inherits: timeouts, undo, idle restart, window validation, segment size changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.tcp.cc import ECN, LOSS, TIMEOUT, AckSample, CongestionControl, create, names, register
from plankroad.tcp.cc.base import INITIAL_SSTHRESH
from plankroad.units import MILLISECOND, SECOND

SMSS = 1460
IW = 10 * SMSS
# LEDBAT begins with less and grows more slowly: it has tests of its own.
ALGORITHMS = ["newreno", "cubic", "vegas", "dctcp"]
LOSS_BASED = ["newreno", "cubic"]


def ack(cc: CongestionControl, acked: int, now: int = 0, limited: bool = True, recovery: bool = False) -> None:
    cc.on_ack(AckSample(now=now, acked=acked, srtt=MILLISECOND, cwnd_limited=limited, in_recovery=recovery))


def test_names_lists_what_is_registered() -> None:
    assert {"cubic", "dctcp", "ledbat", "newreno", "reno", "vegas"} <= set(names())
    assert names() == sorted(names())


def test_unknown_name_is_refused_and_the_known_ones_are_told() -> None:
    with pytest.raises(ValueError, match=r"unknown congestion control 'tahoe'.*cubic.*newreno"):
        create("tahoe", SMSS, IW)


def test_a_name_cannot_be_taken_twice_nor_by_something_else() -> None:
    with pytest.raises(ValueError, match="already registered"):
        register("cubic", type(create("newreno", SMSS, IW)))
    with pytest.raises(TypeError, match="not a subclass"):
        register("int", int)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a name"):
        register("", type(create("newreno", SMSS, IW)))
    register("cubic", type(create("cubic", SMSS, IW)))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_starts_in_slow_start_with_the_initial_window_unpaced(name: str) -> None:
    cc = create(name, SMSS, IW)
    assert (cc.cwnd, cc.ssthresh, cc.smss, cc.pacing_rate) == (IW, INITIAL_SSTHRESH, SMSS, 0)
    assert cc.in_slow_start()
    with pytest.raises(ValueError, match="positive"):
        create(name, 0, IW)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_slow_start_doubles_in_a_round_trip_with_an_ack_for_every_segment_or_every_second(name: str) -> None:
    # RFC 3465 section 2.2: byte counting makes up for delayed ACKs.
    for per_ack in (1, 2):
        cc = create(name, SMSS, IW)
        for _ in range(10 // per_ack):
            ack(cc, per_ack * SMSS)
        assert cc.cwnd == 2 * IW


@pytest.mark.requirement("byte-counting")
@pytest.mark.parametrize("name", ALGORITHMS)
def test_ack_division_gains_nothing(name: str) -> None:
    # RFC 3465 section 3.3: growth follows bytes, not the number of ACKs.
    cc = create(name, SMSS, IW)
    for _ in range(146):
        ack(cc, 10)
    assert cc.cwnd == IW + SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_growth_in_recovery_nor_when_the_window_was_not_filled_nor_by_sack_alone(name: str) -> None:
    for threshold in (INITIAL_SSTHRESH, IW // 2):
        cc = create(name, SMSS, IW)
        cc.ssthresh = threshold
        for i in range(200):
            ack(cc, SMSS, i * MILLISECOND, recovery=True)
            ack(cc, SMSS, i * MILLISECOND, limited=False)
            cc.on_ack(AckSample(now=i * MILLISECOND, sacked=SMSS))
        assert cc.cwnd == IW


@pytest.mark.parametrize(("name", "factor"), [("newreno", 0.5), ("cubic", 0.7)])
def test_loss_sets_ssthresh_from_flight_size_and_cwnd_to_it(name: str, factor: float) -> None:
    # RFC 5681 equation (4), RFC 9438 section 4.6: FlightSize, not cwnd.
    cc = create(name, SMSS, 100 * SMSS)
    cc.on_congestion(0, LOSS, 80 * SMSS)
    assert cc.ssthresh == int(80 * SMSS * factor)
    assert cc.cwnd == cc.ssthresh


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_lower_bound_is_two_segments(name: str) -> None:
    cc = create(name, SMSS, 3 * SMSS)
    cc.on_congestion(0, LOSS, SMSS)
    assert (cc.cwnd, cc.ssthresh) == (2 * SMSS, 2 * SMSS)
    cc.on_congestion(0, ECN, SMSS)
    assert (cc.cwnd, cc.ssthresh) == (2 * SMSS, 2 * SMSS)
    # A mark does not raise what a timeout left.
    cc.on_congestion(0, TIMEOUT, SMSS)
    cc.on_congestion(0, ECN, SMSS)
    assert (cc.cwnd, cc.ssthresh) == (SMSS, 2 * SMSS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_congestion_never_raises_the_window(name: str) -> None:
    # Much was in flight, but the window had been lowered since.
    cc = create(name, SMSS, IW)
    cc.on_congestion(0, LOSS, 1000 * SMSS)
    assert cc.cwnd == IW
    cc = create(name, SMSS, IW)
    cc.on_congestion(0, ECN, 1000 * SMSS)
    assert cc.cwnd <= IW


@pytest.mark.parametrize("name", ALGORITHMS)
def test_timeout_leaves_the_loss_window_and_repeated_ones_hold_ssthresh(name: str) -> None:
    # RFC 5681 section 3.1.
    cc = create(name, SMSS, 100 * SMSS)
    cc.on_congestion(0, TIMEOUT, 100 * SMSS)
    ssthresh = cc.ssthresh
    assert cc.cwnd == SMSS
    assert ssthresh >= 50 * SMSS
    cc.on_congestion(SECOND, TIMEOUT, 10 * SMSS)
    assert (cc.cwnd, cc.ssthresh) == (SMSS, ssthresh)
    # Something new was acknowledged: the next timeout is about another segment.
    ack(cc, SMSS, 2 * SECOND)
    cc.on_congestion(3 * SECOND, TIMEOUT, 10 * SMSS)
    assert cc.cwnd == SMSS
    assert cc.ssthresh < 10 * SMSS


@pytest.mark.parametrize("name", LOSS_BASED)
def test_slow_start_after_a_timeout_adds_one_segment_an_ack_and_ends_at_ssthresh(name: str) -> None:
    # RFC 3465 section 2.3: L = 1 * SMSS after a retransmission timeout, where nothing is paced.
    cc = create(name, SMSS, 40 * SMSS)
    cc.paced = False
    cc.on_congestion(0, TIMEOUT, 40 * SMSS)
    ssthresh = cc.ssthresh
    acks = 0
    while cc.in_slow_start():
        before = cc.cwnd
        ack(cc, 30 * SMSS, MILLISECOND)
        acks += 1
        assert cc.cwnd - before <= SMSS
    assert acks == -(-(ssthresh - SMSS) // SMSS)
    # It is over: a second slow start, not after a timeout, counts two again.
    cc.on_congestion(0, LOSS, 40 * SMSS)
    cc.on_recovery_exit(0)
    cc.ssthresh = 1000 * SMSS
    before = cc.cwnd
    ack(cc, 30 * SMSS, MILLISECOND)
    assert cc.cwnd == before + 2 * SMSS


@pytest.mark.parametrize("name", LOSS_BASED)
def test_paced_slow_start_after_a_timeout_counts_what_has_just_arrived_not_what_came_long_ago(name: str) -> None:
    # RFC 3465 section 2.3 fears an ACK that covers much that left the network long ago; SACK tells which that is.
    cc = create(name, SMSS, 100 * SMSS)
    cc.on_congestion(0, TIMEOUT, 100 * SMSS)
    cc.on_ack(AckSample(acked=60 * SMSS, newly_delivered=SMSS))
    assert cc.cwnd == 2 * SMSS
    cc.on_ack(AckSample(acked=12 * SMSS, newly_delivered=12 * SMSS))
    assert cc.cwnd == 14 * SMSS
    # All of it was known: one segment at least, as without pacing.
    cc.on_ack(AckSample(acked=12 * SMSS))
    assert cc.cwnd == 15 * SMSS


@pytest.mark.parametrize("name", LOSS_BASED)
def test_stretch_acks_do_not_slow_the_ramp_where_sending_is_paced(name: str) -> None:
    # RFC 9406 section 4.3: with pacing L is infinite: 16 segments an ACK, a doubling a round trip all the same.
    cc = create(name, SMSS, IW)
    cc.on_ack(AckSample(acked=10 * SMSS, srtt=MILLISECOND))
    assert cc.cwnd == 2 * IW
    cc.on_ack(AckSample(acked=20 * SMSS, srtt=MILLISECOND))
    assert cc.cwnd == 4 * IW


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_inflated_the_window_in_recovery_is_taken_back_at_its_end(name: str) -> None:
    # RFC 6582 section 3.2 step 3: "deflate the window".
    cc = create(name, SMSS, 40 * SMSS)
    cc.on_congestion(0, LOSS, 40 * SMSS)
    reduced = cc.cwnd
    cc.cwnd += 7 * SMSS
    cc.on_recovery_exit(0)
    assert cc.cwnd == reduced
    # Without a recovery there is nothing to take back.
    cc.cwnd += 7 * SMSS
    cc.on_recovery_exit(0)
    assert cc.cwnd == reduced + 7 * SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("signal", [LOSS, TIMEOUT, ECN])
def test_spurious_congestion_is_undone_once(name: str, signal: int) -> None:
    cc = create(name, SMSS, 40 * SMSS)
    cc.ssthresh = 39 * SMSS
    cc.on_congestion(0, signal, 40 * SMSS)
    assert cc.cwnd < 40 * SMSS
    cc.on_spurious(MILLISECOND)
    assert (cc.cwnd, cc.ssthresh) == (40 * SMSS, 39 * SMSS)
    cc.on_recovery_exit(MILLISECOND)
    assert cc.cwnd == 40 * SMSS
    cc.cwnd = 20 * SMSS
    cc.on_spurious(MILLISECOND)
    assert cc.cwnd == 20 * SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_undo_after_several_timeouts_goes_back_to_before_the_first(name: str) -> None:
    cc = create(name, SMSS, 40 * SMSS)
    for i in range(4):
        cc.on_congestion(i * SECOND, TIMEOUT, 40 * SMSS)
    cc.on_spurious(4 * SECOND)
    assert (cc.cwnd, cc.ssthresh) == (40 * SMSS, INITIAL_SSTHRESH)
    # And the one that comes next is a first one again.
    cc.on_congestion(5 * SECOND, TIMEOUT, 20 * SMSS)
    assert cc.ssthresh <= 14 * SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_undo_does_not_take_away_what_was_learned_since(name: str) -> None:
    cc = create(name, SMSS, 40 * SMSS)
    cc.on_congestion(0, LOSS, 40 * SMSS)
    cc.cwnd = 90 * SMSS
    cc.on_spurious(0)
    assert cc.cwnd == 90 * SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_idle_longer_than_the_timeout_restarts_from_the_initial_window(name: str) -> None:
    # RFC 5681 section 4.1.
    cc = create(name, SMSS, IW)
    cc.cwnd = 80 * SMSS
    cc.ssthresh = 20 * SMSS
    cc.after_idle(SECOND, 200 * MILLISECOND, 200 * MILLISECOND)
    assert cc.cwnd == 80 * SMSS
    cc.after_idle(SECOND, 201 * MILLISECOND, 200 * MILLISECOND)
    assert (cc.cwnd, cc.ssthresh) == (IW, 60 * SMSS)
    # A window below the initial one is not raised.
    cc.cwnd = 3 * SMSS
    cc.after_idle(2 * SECOND, SECOND, 200 * MILLISECOND)
    assert cc.cwnd == 3 * SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_smaller_segment_scales_the_window_down_a_larger_one_leaves_it(name: str) -> None:
    # RFC 5681 section 3.1, about path MTU discovery.
    cc = create(name, 1400, 14000)
    cc.cwnd = 140_000
    cc.set_smss(700)
    assert (cc.smss, cc.cwnd, cc.initial_window) == (700, 70_000, 7000)
    cc.set_smss(1400)
    assert (cc.smss, cc.cwnd, cc.initial_window) == (1400, 70_000, 14000)
    cc.cwnd = 1400
    cc.ssthresh = 2800
    cc.set_smss(9000)
    assert (cc.cwnd, cc.ssthresh) == (9000, 18000)
    with pytest.raises(ValueError, match="positive"):
        cc.set_smss(0)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_window_stays_below_the_largest_that_tcp_has(name: str) -> None:
    cc = create(name, 60_000, (1 << 30) - 100_000)
    for i in range(2000):
        ack(cc, 600_000, i * MILLISECOND)
    assert cc.cwnd <= 1 << 30


@pytest.mark.parametrize("name", ALGORITHMS)
def test_two_equal_histories_give_equal_windows(name: str) -> None:
    def run() -> list[int]:
        cc = create(name, SMSS, IW)
        windows = []
        for i in range(3000):
            ack(cc, SMSS * (1 + i % 3), i * MILLISECOND)
            if i % 701 == 700:
                cc.on_congestion(i * MILLISECOND, LOSS if i % 2 else ECN, cc.cwnd)
                cc.on_recovery_exit(i * MILLISECOND)
            windows.append(cc.cwnd)
        return windows

    assert run() == run()


hooks = st.lists(
    st.tuples(
        st.sampled_from(
            ["ack", "ack", "ack", "sent", "loss", "timeout", "ecn", "exit", "spurious", "idle", "app", "smss"]
        ),
        st.integers(0, 10**6),
        st.integers(0, 300 * MILLISECOND),
        st.booleans(),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", [*ALGORITHMS, "ledbat"])
@given(calls=hooks)
def test_whatever_happens_the_window_keeps_its_bounds_and_congestion_does_not_raise_it(
    name: str, calls: list[tuple[str, int, int, bool]]
) -> None:
    cc = create(name, SMSS, IW)
    now = 0
    for kind, size, wait, flag in calls:
        now += wait
        before = cc.cwnd
        if kind == "ack":
            cc.on_ack(
                AckSample(
                    now=now,
                    acked=size,
                    sacked=size // 3,
                    rtt=wait if flag else -1,
                    srtt=wait,
                    min_rtt=wait // 2,
                    prior_in_flight=size,
                    cwnd_limited=flag or size % 2 == 0,
                    in_recovery=size % 5 == 0,
                    round_start=size % 3 == 0,
                )
            )
            # Those that go by delay may step back.
            assert cc.cwnd >= before or name in ("vegas", "ledbat")
            assert cc.cwnd - before <= max(size, cc.smss)
        elif kind == "sent":
            cc.on_sent(now, size % SMSS, size)
        elif kind in {"loss", "timeout", "ecn"}:
            cc.on_congestion(now, {"loss": LOSS, "timeout": TIMEOUT, "ecn": ECN}[kind], size)
            assert cc.cwnd <= max(before, 2 * cc.smss)
        elif kind == "exit":
            cc.on_recovery_exit(now)
        elif kind == "spurious":
            cc.on_spurious(now)
            assert cc.cwnd >= before
        elif kind == "idle":
            cc.after_idle(now, wait, size)
            assert cc.cwnd <= before
        elif kind == "app":
            cc.on_app_limited(now, size)
            assert cc.cwnd <= before
        else:
            cc.set_smss(100 + size % 9000)
        assert type(cc.cwnd) is int
        assert type(cc.ssthresh) is int
        assert cc.smss <= cc.cwnd <= 1 << 30
        assert cc.ssthresh >= 2 * cc.smss
        assert cc.pacing_rate == 0


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_timeout_ends_the_recovery_that_it_falls_into(name: str) -> None:
    cc = create(name, SMSS, 40 * SMSS)
    cc.on_congestion(0, LOSS, 40 * SMSS)
    cc.on_congestion(SECOND, TIMEOUT, 20 * SMSS)
    cc.on_recovery_exit(SECOND)
    assert cc.cwnd == SMSS


@pytest.mark.parametrize("name", ALGORITHMS)
def test_ssthresh_goes_with_a_smaller_segment_unless_it_was_never_set(name: str) -> None:
    cc = create(name, 1400, 14000)
    cc.set_smss(700)
    assert cc.ssthresh == INITIAL_SSTHRESH
    cc.ssthresh = 70_000
    cc.cwnd = 90_000
    cc.set_smss(350)
    assert cc.ssthresh == 35_000
    # Undo comes back to scaled values too.
    cc.on_congestion(0, LOSS, 45_000)
    cc.set_smss(175)
    cc.on_spurious(0)
    assert (cc.cwnd, cc.ssthresh) == (22_500, 17_500)


def test_a_larger_segment_during_recovery_raises_the_window_to_one_of_it() -> None:
    cc = create("newreno", 1000, 10_000)
    cc.on_congestion(0, LOSS, 0)
    cc.set_smss(100)
    cc.set_smss(201)
    cc.on_recovery_exit(0)
    assert cc.cwnd >= 201
