"""HyStart++ (RFC 9406): leave the first slow start when the round-trip time begins to rise, before a loss says so."""

from __future__ import annotations

from typing import Final

from plankroad.tcp.cc.base import AckSample
from plankroad.units import MILLISECOND, NEVER

# RFC 9406 section 4.3: the constants.
MIN_RTT_THRESH: Final = 4 * MILLISECOND
MAX_RTT_THRESH: Final = 16 * MILLISECOND
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5
#: L for a sender that does not pace, in segments.
HYSTART_LIMIT: Final = 8

#: Phases of the slow start.
SLOW_START: Final = 0
CONSERVATIVE: Final = 1  #: Conservative Slow Start, CSS
DONE: Final = 2  #: five rounds of CSS are over: congestion avoidance is due


class HyStart:
    """Rounds and round-trip times of one first slow start (RFC 9406 section 4.2).

    `phase`: what to do now. `limit`: L, the most that one ACK adds to cwnd without pacing, in segments.
    """

    __slots__ = ("baseline_rtt", "css_rounds", "last_round_rtt", "limit", "phase", "round_rtt", "samples")

    def __init__(self) -> None:
        self.phase: int = SLOW_START
        self.limit: int = HYSTART_LIMIT
        self.last_round_rtt: int = NEVER  # lastRoundMinRTT
        self.round_rtt: int = NEVER  # currentRoundMinRTT
        self.samples: int = 0  # rttSampleCount
        self.baseline_rtt: int = NEVER  # cssBaselineMinRtt
        self.css_rounds: int = 0

    def on_ack(self, sample: AckSample) -> None:
        """Count the round trip and its RTT; every ACK of the first slow start comes here."""
        if sample.round_start:
            if self.phase == CONSERVATIVE:
                # "CSS lasts at most CSS_ROUNDS rounds. If the transition into CSS happens in the middle of a round,
                # that partial round counts towards the limit." This ACK ends a round.
                self.css_rounds += 1
                if self.css_rounds >= CSS_ROUNDS:
                    self.phase = DONE
                    return
            self.last_round_rtt = self.round_rtt
            self.round_rtt = NEVER
            self.samples = 0
        if sample.rtt >= 0:
            self.round_rtt = min(self.round_rtt, sample.rtt)
            self.samples += 1
        if self.samples < N_RTT_SAMPLE:
            return
        if self.phase == SLOW_START:
            last = self.last_round_rtt
            if last != NEVER and self.round_rtt >= last + max(
                MIN_RTT_THRESH, min(last // MIN_RTT_DIVISOR, MAX_RTT_THRESH)
            ):
                self.baseline_rtt = self.round_rtt
                self.css_rounds = 0
                self.phase = CONSERVATIVE
        elif self.phase == CONSERVATIVE and self.round_rtt < self.baseline_rtt:
            # The rise was jitter: "resume slow start including HyStart++".
            self.baseline_rtt = NEVER
            self.phase = SLOW_START
