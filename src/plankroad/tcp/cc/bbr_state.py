"""The state of a BBR flow: constants, the model of the path, and where the state machine stands.

Section numbers are those of draft-ietf-ccwg-bbr-06; the names are the draft's. `tcp/cc/bbr.py` tells which file does
what. Bytes, bytes a second, nanoseconds.
"""

from __future__ import annotations

from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.tcp.cc.base import CongestionControl
from plankroad.tcp.cc.bbr_filters import CycleMax, RecentMin, RoundMax
from plankroad.units import MILLISECOND, SECOND

#: BBR.state (section 5.1.1). The states of ProbeBW lie between PROBE_BW_DOWN and PROBE_BW_UP.
STARTUP: Final = 0
DRAIN: Final = 1
PROBE_BW_DOWN: Final = 2
PROBE_BW_CRUISE: Final = 3
PROBE_BW_REFILL: Final = 4
PROBE_BW_UP: Final = 5
PROBE_RTT: Final = 6
STATE_NAMES: Final = (
    "STARTUP",
    "DRAIN",
    "PROBE_BW_DOWN",
    "PROBE_BW_CRUISE",
    "PROBE_BW_REFILL",
    "PROBE_BW_UP",
    "PROBE_RTT",
)
NO_STATE: Final = -1

#: BBR.ack_phase (section 2.13): what the ACKs that come in now tell of.
ACKS_INIT: Final = 0  #: not probing bandwidth; not getting probe feedback
ACKS_REFILLING: Final = 1  #: sending at estimated bandwidth to fill the pipe
ACKS_PROBE_STARTING: Final = 2  #: inflight rising to probe bandwidth
ACKS_PROBE_FEEDBACK: Final = 3  #: getting feedback from bandwidth probing
ACKS_PROBE_STOPPING: Final = 4  #: stopped bandwidth probing; still getting feedback

#: "Infinity" of bounds, rates and times; small enough that sums of a few stay in a machine word.
INFINITE: Final = 1 << 60

#: 2 / ln 2, as the BBR of 2016 (Cardwell et al., ACM Queue 14 number 5). The draft's 4 ln 2 = 2.77 is "the minimum gain
#: value for calculating the pacing rate that will allow the sending rate to double each round", which it does where
#: nothing else takes time; the rate is measured over whole segments and delayed ACKs, though.
STARTUP_PACING_GAIN: Final = 2.885
# Section 5.6.1: pacing and cwnd gains by state.
# Lists, for mypyc takes a constant tuple of floats for one that was not set.
PACING_GAINS: Final[list[float]] = [STARTUP_PACING_GAIN, 0.5, 0.9, 1.0, 1.0, 1.25, 1.0]
CWND_GAINS: Final[list[float]] = [2.0, 2.0, 2.0, 2.0, 2.0, 2.25, 0.5]

# Section 2.4
PACING_MARGIN: Final = 0.99  #: 1 - BBR.PacingMarginPercent
# Section 2.7
LOSS_THRESH: Final = 0.02  #: BBR.LossThresh
BETA: Final = 0.7  #: BBR.Beta
HEADROOM: Final = 0.15  #: BBR.Headroom
MIN_PIPE_SEGMENTS: Final = 4  #: BBR.MinPipeCwnd in segments
# Section 2.11
EXTRA_ACKED_FILTER_LEN: Final = 10
# Section 5.3.1.3: BBRStartupFullLossCnt
STARTUP_FULL_LOSS_COUNT: Final = 6
# Sections 5.3.1.2
FULL_BW_GROWTH: Final = 1.25
FULL_BW_ROUNDS: Final = 3
# Section 2.15
MIN_RTT_FILTER_LEN: Final = 10 * SECOND
PROBE_RTT_DURATION: Final = 200 * MILLISECOND
PROBE_RTT_INTERVAL: Final = 5 * SECOND
# Section 5.3.3.8
RENO_ROUNDS: Final = 63
#: Between probes where others keep the queue full: as the BBR of 2016.
CONTENDED_ROUNDS: Final = 8


@mypyc_attr(allow_interpreted_subclasses=True)
class BbrState(CongestionControl):
    """The state of a flow. The attributes are the draft's variables (sections 2.4 to 2.15) unless told here.

    `delivered`, `in_flight`: as of the last ACK. `sample_app_limited`: RS.is_app_limited of the ACK at hand, the mark
    of ProbeRTT included. `recovering`: fast recovery or the recovery from a timeout goes on; `recovering_until`: the
    end of the latter, in `delivered`. `recovery_round`: the round in which it began.

    What loss means (`bbr_loss`): `recent_rtt`: the least round trip of late. `baseline`: share of bytes lost where
    there is no queue. `round_*`: counts of the packet-timed round that goes on. `loss_round_*`: counts since the first
    loss of the loss round. `loss_events`, `previous_loss_events`: moments at which losses were found, in this round and
    the one before it. `queued_rounds`: for how many loss rounds of cruising there has been a queue all the time.
    `clear_round`: in this loss round there has been none at any time. `policed`: the short-term model was lowered for
    losses without a queue. `contended`: others keep the queue full, even in ProbeRTT (`bbr_contended`);
    `contended_probes`: ProbeBW_UPs since; `clear_drains`: times in a row that all was drained and the queue empty;
    `probe_rtt_before`, `probe_rtt_least`: the least recent round trip as ProbeRTT began,
    and the least in it; `probe_rtt_full`: how many ProbeRTTs in a row did not make the queue much shorter;
    `cruise_lost`, `cruise_delivered`: bytes while not probing since `cruise_since`; `cruise_rounds`, `cruise_low`:
    round trips, and those in which the queue was short; `cruise_spans`, `cruise_steady`: spans judged, and those in a
    row in which it seldom was; `rtt_high`, `rtt_high_before`: the longest round trips.
    """

    __slots__ = (
        "ack_phase",
        "app_limited_from",
        "app_limited_until",
        "baseline",
        "bdp",
        "bw",
        "bw_latest",
        "bw_probe_up_acked",
        "bw_probe_up_rounds",
        "bw_probe_wait",
        "bw_shortterm",
        "ce_alpha",
        "ce_in_loss_round",
        "ce_in_round",
        "clear_drains",
        "clear_round",
        "contended",
        "contended_probes",
        "cruise_delivered",
        "cruise_lost",
        "cruise_low",
        "cruise_rounds",
        "cruise_since",
        "cruise_spans",
        "cruise_steady",
        "cwnd_gain",
        "cwnd_limited_last_round",
        "cwnd_limited_this_round",
        "cycle_stamp",
        "delivered",
        "down_start_round",
        "drain_start_round",
        "extra_acked",
        "extra_acked_delivered",
        "extra_acked_filter",
        "extra_acked_interval_start",
        "full_bw",
        "full_bw_count",
        "full_bw_now",
        "full_bw_reached",
        "has_seen_rtt",
        "has_selective_acks",
        "idle_restart",
        "in_flight",
        "inflight_latest",
        "inflight_longterm",
        "inflight_shortterm",
        "is_bw_probe_sample",
        "is_loss_in_round",
        "last_ack_at",
        "last_loss_at",
        "loss_events",
        "loss_round_delivered",
        "loss_round_events",
        "loss_round_lost",
        "loss_round_queued_lost",
        "loss_round_start",
        "loss_round_start_delivered",
        "max_bw",
        "max_bw_filter",
        "max_inflight",
        "min_rtt",
        "min_rtt_stamp",
        "next_round_delivered",
        "pacing_gain",
        "policed",
        "prev_probe_precautionary",
        "prev_probe_too_high",
        "previous_loss_events",
        "probe_rtt_before",
        "probe_rtt_done_stamp",
        "probe_rtt_expired",
        "probe_rtt_full",
        "probe_rtt_least",
        "probe_rtt_min_delay",
        "probe_rtt_min_stamp",
        "probe_rtt_round_done",
        "probe_up_acked_per_inc",
        "queued_rounds",
        "quiet_delivered",
        "quiet_lost",
        "recent_rtt",
        "recovering",
        "recovering_until",
        "recovery_round",
        "round_count",
        "round_delivered",
        "round_quiet_delivered",
        "round_quiet_lost",
        "round_start",
        "rounds_since_probe_up",
        "rtt_high",
        "rtt_high_before",
        "sample_app_limited",
        "state",
        "undo_bw_shortterm",
        "undo_inflight_longterm",
        "undo_inflight_shortterm",
        "undo_state",
        "up_start_round",
    )

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        # Section 5.2.1, OnInit.
        self.uses_prr = False
        self.state: int = STARTUP
        self.pacing_gain: float = PACING_GAINS[STARTUP]
        self.cwnd_gain: float = CWND_GAINS[STARTUP]
        # The network path model: data rate (2.8.1) and data volume (2.8.2).
        self.max_bw_filter: CycleMax = CycleMax()
        self.max_bw: int = 0
        self.bw_shortterm: int = INFINITE
        self.bw: int = 0
        self.bdp: int = 0
        self.max_inflight: int = initial_window
        self.inflight_longterm: int = INFINITE
        self.inflight_shortterm: int = INFINITE
        # The last round trip (2.9).
        self.bw_latest: int = 0
        self.inflight_latest: int = 0
        # Aggregation (2.11).
        self.extra_acked: int = 0
        self.extra_acked_delivered: int = 0
        self.extra_acked_interval_start: int = 0
        self.extra_acked_filter: RoundMax = RoundMax()
        # Rounds (5.5.1).
        self.round_count: int = 0
        self.round_start: bool = False
        self.next_round_delivered: int = 0
        self.delivered: int = 0
        self.in_flight: int = 0
        self.last_ack_at: int = -1
        self.sample_app_limited: bool = False
        self.app_limited_from: int = INFINITE
        self.app_limited_until: int = -1
        self.cwnd_limited_this_round: bool = False
        self.cwnd_limited_last_round: bool = False
        self.idle_restart: bool = False
        # Full pipe (2.12).
        self.full_bw: int = 0
        self.full_bw_count: int = 0
        self.full_bw_now: bool = False
        self.full_bw_reached: bool = False
        self.drain_start_round: int = 0
        self.down_start_round: int = 0
        self.up_start_round: int = 0
        # ProbeBW (2.13).
        self.ack_phase: int = ACKS_INIT
        self.is_bw_probe_sample: bool = False
        self.bw_probe_up_acked: int = 0
        self.probe_up_acked_per_inc: int = INFINITE
        self.bw_probe_up_rounds: int = 0
        self.rounds_since_probe_up: int = 0
        self.bw_probe_wait: int = 0
        self.cycle_stamp: int = 0
        self.prev_probe_too_high: bool = False
        self.prev_probe_precautionary: bool = False
        # ProbeRTT (2.15).
        self.has_seen_rtt: bool = False
        self.min_rtt: int = INFINITE
        self.min_rtt_stamp: int = 0
        self.probe_rtt_min_delay: int = INFINITE
        self.probe_rtt_min_stamp: int = 0
        self.probe_rtt_expired: bool = False
        self.probe_rtt_done_stamp: int = 0
        self.probe_rtt_round_done: bool = False
        # Loss recovery and undo (2.14).
        self.recovering: bool = False
        self.recovering_until: int = INFINITE
        self.recovery_round: int = 0
        self.undo_state: int = NO_STATE
        self.undo_bw_shortterm: int = INFINITE
        self.undo_inflight_shortterm: int = INFINITE
        self.undo_inflight_longterm: int = INFINITE
        # Losses and marks.
        self.has_selective_acks: bool = False
        self.is_loss_in_round: bool = False
        self.loss_round_start: bool = False
        self.loss_round_delivered: int = 0
        self.loss_round_start_delivered: int = 0
        self.loss_round_lost: int = 0
        self.queued_rounds: int = 0
        self.clear_round: bool = False
        self.policed: bool = False
        self.contended: bool = False
        self.contended_probes: int = 0
        self.clear_drains: int = 0
        self.probe_rtt_before: int = 0
        self.probe_rtt_least: int = INFINITE
        self.probe_rtt_full: int = 0
        self.cruise_lost: int = 0
        self.cruise_delivered: int = 0
        self.cruise_since: int = 0
        self.cruise_rounds: int = 0
        self.cruise_low: int = 0
        self.cruise_spans: int = 0
        self.cruise_steady: int = 0
        self.rtt_high: int = 0
        self.rtt_high_before: int = 0
        self.loss_round_queued_lost: int = 0
        self.loss_round_events: int = 0
        self.last_loss_at: int = -1
        self.loss_events: int = 0
        self.previous_loss_events: int = 0
        self.round_delivered: int = 0
        self.ce_in_round: int = 0
        self.ce_in_loss_round: bool = False
        self.ce_alpha: float = 1.0
        self.recent_rtt: RecentMin = RecentMin()
        self.baseline: float = 0.0
        self.quiet_delivered: int = 0
        self.quiet_lost: int = 0
        self.round_quiet_delivered: int = 0
        self.round_quiet_lost: int = 0
        # Section 5.6.2, InitPacingRate: before there is a round-trip time it is taken to be a millisecond.
        self.pacing_rate = initial_pacing_rate(initial_window, MILLISECOND)
        self.send_quantum = 2 * smss

    def min_pipe_cwnd(self) -> int:
        """BBR.MinPipeCwnd (section 5.6.4.3)."""
        return MIN_PIPE_SEGMENTS * self.smss

    def is_in_probe_bw(self) -> bool:
        """IsInAProbeBWState of section 5.3.3.9."""
        return PROBE_BW_DOWN <= self.state <= PROBE_BW_UP

    def is_probing_bw(self) -> bool:
        """IsProbingBW of section 5.3.3.9."""
        return self.state in (STARTUP, PROBE_BW_REFILL, PROBE_BW_UP)


def initial_pacing_rate(initial_window: int, rtt: int) -> int:
    """Section 5.6.2: StartupPacingGain * InitialCwnd / RTT."""
    return int(PACING_GAINS[STARTUP] * initial_window * SECOND / rtt)


def enter_state(b: BbrState, state: int) -> None:
    """Set the state and the gains that section 5.6.1 has for it."""
    b.state = state
    b.pacing_gain = PACING_GAINS[state]
    b.cwnd_gain = CWND_GAINS[state]
