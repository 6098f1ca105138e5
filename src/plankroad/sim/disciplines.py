"""Queue disciplines as people write them: what `queue` of `Network.link` and `Link.set` takes besides a length.

    net.link(a, b, rate="10Mbit/s", queue="codel")
    net.link(a, b, rate="10Mbit/s", queue=FqCodel(flows=256, ecn=False), backward={"queue": Red(limit=200)})
    link.set(queue=Pie(target="20ms"))

One object may serve many links: each direction makes its queue from it. Times are seconds or text ("5ms"); a `limit` is
packets or text with a unit ("64KiB"), None for none, and counts the packet in transmission, as with drop-tail. With
`ecn` packets are marked instead of dropped where their sender takes part (RFC 3168); all others are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from plankroad.sim.quantity import parse_fraction, parse_length, parse_size, parse_time
from plankroad.sim.queue import Queue
from plankroad.sim.queue_codel import CodelQueue
from plankroad.sim.queue_fq_codel import FqCodelQueue
from plankroad.sim.queue_pie import PieQueue
from plankroad.sim.queue_red import RedQueue
from plankroad.units import NEVER


@dataclass(frozen=True)
class Discipline:
    """Base of all of them. A discipline of one's own: a frozen dataclass with a `make`, and a queue of one's own.

    A queue that decides when a packet comes is a `sim.queue.Queue`, one that holds packets a
    `sim.queue_held.HoldingQueue`.
    """

    def __post_init__(self) -> None:
        # What makes no sense is refused where it is written.
        self.make(Random(0))

    def make(self, rng: Random) -> Queue:
        """A new queue, for one direction of a link. It draws from `rng` with `random()` only."""
        raise NotImplementedError


def _threshold(value: float | str | None) -> int:
    return NEVER if value is None else parse_time(value, "ce_threshold")


@dataclass(frozen=True)
class Red(Discipline):
    """RED (Floyd and Jacobson 1993; gentle: Floyd 2000).

    `min` and `max`: thresholds of the average length, packets or text ("30kB"), both of one kind; None: a twelfth and a
    fourth of the limit. `probability`: of a drop or mark when the average is at `max`. `weight`: of the current length
    in the average. `gentle`: above `max` the probability rises to 1 at twice of it; without, it is 1 there.
    `mean_packet`: bytes. Above `max` ECN packets are dropped too (RFC 3168 section 19.1).
    """

    min: int | str | None = None
    max: int | str | None = None
    limit: int | str | None = 1000
    probability: float = 0.1
    weight: float = 0.002
    gentle: bool = True
    ecn: bool = True
    mean_packet: int | str = 1000

    def make(self, rng: Random) -> RedQueue:
        packets, size = parse_length(self.limit, "RED limit", 1)
        whole = packets or size
        if (self.min is None or self.max is None) and not whole:
            raise ValueError("RED: without a limit, say where the thresholds are: Red(min=5, max=15, limit=None)")
        # Where only one threshold is given, the other one is of its kind.
        given = self.min if self.max is None else self.max
        by_bytes = size > 0 if given is None else parse_length(given, "RED max", 1)[1] > 0
        if self.min is None or self.max is None:
            if by_bytes != (size > 0):
                raise ValueError("RED: the limit and the thresholds are all packets, or all bytes")
        elif by_bytes != (parse_length(self.min, "RED min", 1)[1] > 0):
            raise ValueError("RED: both thresholds are packets, or both are bytes")
        high = max(2, whole // 4) if self.max is None else sum(parse_length(self.max, "RED max", 1))
        low = max(1, high // 3) if self.min is None else sum(parse_length(self.min, "RED min", 1))
        return RedQueue(
            rng,
            low,
            high,
            by_bytes,
            packets,
            size,
            self.weight,
            parse_fraction(self.probability, "RED probability"),
            bool(self.gentle),
            bool(self.ecn),
            parse_size(self.mean_packet, "RED mean_packet"),
        )


@dataclass(frozen=True)
class CoDel(Discipline):
    """CoDel (RFC 8289).

    `target`: how long packets may wait in a queue that stands. `interval`: how long it may be more, about the longest
    round trip. `ce_threshold`: what waited longer is marked in any case, for DCTCP; None: nothing is.
    """

    target: float | str = "5ms"
    interval: float | str = "100ms"
    limit: int | str | None = 1000
    ecn: bool = True
    ce_threshold: float | str | None = None

    def make(self, rng: Random) -> CodelQueue:
        packets, size = parse_length(self.limit, "CoDel limit", 1)
        return CodelQueue(
            parse_time(self.target, "CoDel target"),
            parse_time(self.interval, "CoDel interval"),
            packets,
            size,
            bool(self.ecn),
            _threshold(self.ce_threshold),
        )


@dataclass(frozen=True)
class FqCodel(Discipline):
    """FQ-CoDel (RFC 8290), with its defaults (section 5.2): flows in turn, each of them under CoDel.

    `flows`: rows that flows are hashed into. `quantum`: bytes that a flow sends in a round. `limit`: of all together.
    The rest is as with `CoDel`.
    """

    flows: int = 1024
    quantum: int | str = 1514
    target: float | str = "5ms"
    interval: float | str = "100ms"
    limit: int | str | None = 10240
    ecn: bool = True
    ce_threshold: float | str | None = None

    def make(self, rng: Random) -> FqCodelQueue:
        packets, size = parse_length(self.limit, "FQ-CoDel limit", 1)
        return FqCodelQueue(
            rng,
            parse_time(self.target, "FQ-CoDel target"),
            parse_time(self.interval, "FQ-CoDel interval"),
            self.flows,
            parse_size(self.quantum, "FQ-CoDel quantum"),
            packets,
            size,
            bool(self.ecn),
            _threshold(self.ce_threshold),
        )


@dataclass(frozen=True)
class Pie(Discipline):
    """PIE (RFC 8033), with its defaults.

    `target`: how long packets should wait. `update`: how often the probability is set anew. `max_burst`: for how long a
    burst after a time without congestion is left alone. `alpha`, `beta`: weights of the controller, per second.
    `max_marking`: from this probability on packets are dropped that could be marked (section 5.1).
    """

    target: float | str = "15ms"
    update: float | str = "15ms"
    max_burst: float | str = "150ms"
    limit: int | str | None = 1000
    ecn: bool = True
    alpha: float = 0.125
    beta: float = 1.25
    max_marking: float = 0.1

    def make(self, rng: Random) -> PieQueue:
        packets, size = parse_length(self.limit, "PIE limit", 1)
        return PieQueue(
            rng,
            parse_time(self.target, "PIE target"),
            parse_time(self.update, "PIE update"),
            parse_time(self.max_burst, "PIE max_burst"),
            packets,
            size,
            bool(self.ecn),
            self.alpha,
            self.beta,
            self.max_marking,
        )


#: By name, with the defaults. Hyphens and upper case are the same.
DISCIPLINES: dict[str, Discipline] = {"red": Red(), "codel": CoDel(), "fq_codel": FqCodel(), "pie": Pie()}


def discipline_named(name: str) -> Discipline | None:
    """The discipline of this name, or None."""
    return DISCIPLINES.get(name.strip().lower().replace("-", "_"))
