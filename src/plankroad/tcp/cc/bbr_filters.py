"""What BBR remembers of the recent past: the most bandwidth, the most aggregation, the least recent round trip.

Section numbers are those of draft-ietf-ccwg-bbr-06.
"""

from __future__ import annotations


class CycleMax:
    """BBR.max_bw_filter (sections 2.10, 5.5.3 and 5.5.6): the maximum of this ProbeBW cycle and the one before it."""

    __slots__ = ("current", "previous")

    def __init__(self) -> None:
        self.current: int = 0
        self.previous: int = 0

    def update(self, value: int) -> None:
        if value > self.current:
            self.current = value

    def advance(self) -> None:
        """A cycle is over. One without a sample is none: what is known is not forgotten for want of news."""
        if self.current > 0:
            self.previous = self.current
            self.current = 0

    def best(self) -> int:
        return max(self.current, self.previous)


class RoundMax:
    """A windowed maximum over packet-timed round trips (BBR.extra_acked_filter, section 5.5.9).

    The values that can still become the maximum are kept, with their rounds: the later ones, each smaller than the one
    before it. They are no more than the window has rounds.
    """

    __slots__ = ("rounds", "values")

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.values: list[int] = []

    def update(self, value: int, now: int, window: int) -> int:
        """Take `value` of the round `now` in; the maximum of the last `window` rounds, this one included."""
        rounds = self.rounds
        values = self.values
        while values and values[-1] <= value:
            values.pop()
            rounds.pop()
        if not rounds or rounds[-1] != now:
            rounds.append(now)
            values.append(value)
        # The first is the largest; it goes when it is too old.
        while rounds[0] <= now - window:
            del rounds[0]
            del values[0]
        return values[0]


class RecentMin:
    """The minimum of the last one to two spans of time: a delay that this has is one that every packet met lately."""

    __slots__ = ("current", "previous", "since")

    def __init__(self) -> None:
        self.current: int = -1
        self.previous: int = -1
        self.since: int = 0

    def update(self, value: int, now: int, span: int) -> None:
        if now - self.since >= span:
            self.previous = self.current
            self.current = value
            self.since = now
        elif value < self.current or self.current < 0:
            self.current = value

    def best(self) -> int:
        """-1 if there is none."""
        if self.previous < 0 or self.current < self.previous:
            return self.current
        return self.previous
