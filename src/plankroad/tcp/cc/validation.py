"""Congestion window validation (RFC 7661): does the flow use the window that it has?

A flow that its program limits keeps a window which nothing has tested lately. It may keep it for a while, so that it
need not start anew after each pause, but a congestion that comes then is answered from what was in use, not from what
was allowed. Section numbers are RFC 7661's.
"""

from __future__ import annotations

from typing import Final

from plankroad.units import SECOND

#: Section 4.4.3: how long an unused window is kept, the non-validated period.
NVP: Final = 300 * SECOND
#: Section 4.2: the sampling period is max (3 * RTT, 1 second).
SAMPLING_ROUNDS: Final = 3
SAMPLING_MIN: Final = 1 * SECOND
#: Section 4.5.1: the period is divided into five, and the largest sample of each is kept.
BINS: Final = 5
#: pipeACK before there is a measurement, and after a recovery.
UNDEFINED: Final = -1


class WindowValidation:
    """pipeACK and the phase that it says the flow is in.

    `pipe_ack`: the most that was acknowledged in one of the round trips of the sampling period, bytes, or `UNDEFINED`.
    `validated`: the phase. `validated_at`: when the window was last known to be in use, ns.
    `round_acked`: acknowledged in the round trip that goes on; `round_window`: cwnd when it began. `acked_at`: when the
    last acknowledgement came. `loss_basis`: what the window of a recovery in the non-validated phase was made from, 0
    outside of one; `lost`: bytes found lost since then (R of section 4.4.1).
    """

    __slots__ = (
        "acked_at",
        "bin",
        "bin_start",
        "bin_value",
        "loss_basis",
        "lost",
        "measuring",
        "pipe_ack",
        "round_acked",
        "round_window",
        "validated",
        "validated_at",
    )

    def __init__(self) -> None:
        self.bin: int = 0
        self.bin_start: list[int] = [0] * BINS
        self.bin_value: list[int] = [0] * BINS
        self.pipe_ack: int = UNDEFINED
        self.measuring: bool = False
        self.round_acked: int = 0
        self.round_window: int = 0
        self.acked_at: int = 0
        self.validated: bool = True
        self.validated_at: int = -1
        self.loss_basis: int = 0
        self.lost: int = 0

    def reset(self) -> None:
        """Begin anew: after a loss recovery pipeACK is undefined (section 4.4.1)."""
        self.pipe_ack = UNDEFINED
        self.measuring = False
        self.round_acked = 0
        self.validated = True
        self.loss_basis = 0
        self.lost = 0
        for i in range(BINS):
            self.bin_value[i] = 0

    def end_round(self, now: int, cwnd: int, srtt: int) -> None:
        """A new round trip begins with this ACK: file the sample of the old one and tell the phase.

        The data acknowledged in a round trip was sent under the window with which that round trip began: it is what the
        sample is held against, or slow start, which doubles cwnd meanwhile, would always be at the edge.
        """
        if self.validated_at < 0:
            self.validated_at = now
        period = max(SAMPLING_ROUNDS * srtt, SAMPLING_MIN)
        if self.measuring:
            self._file(self.acked_at, self.round_acked, period // BINS)
            best = 0
            for i in range(BINS):
                if self.bin_start[i] > now - period and self.bin_value[i] > best:
                    best = self.bin_value[i]
            self.pipe_ack = best
            # Section 4.3: validated is pipeACK >= (1/2)*cwnd, or an undefined pipeACK.
            self.validated = 2 * best >= min(self.round_window, cwnd)
            if self.validated:
                self.validated_at = now
        self.measuring = True
        self.round_acked = 0
        self.round_window = cwnd

    def _file(self, when: int, value: int, length: int) -> None:
        current = self.bin
        if when - self.bin_start[current] >= length:
            current = (current + 1) % BINS
            self.bin = current
            self.bin_start[current] = when
            self.bin_value[current] = value
        elif value > self.bin_value[current]:
            self.bin_value[current] = value

    def used(self, in_flight: int) -> int:
        """Max (pipeACK, FlightSize), the round trip that goes on included."""
        return max(self.pipe_ack, self.round_acked, in_flight)
