"""A cell: one path, what is sent over it, and for how long. Whoever measures a cell takes all of it from here.

The path: a sender whose own link takes what it is given at once, as a TUN device does; the bottleneck, a queue before
a link of `rate`; half the round trip; the faults, which strike what has left the queue; the receiver. The way back has
the other half of the round trip, no limit of rate, and loses nothing. The MTU is 1500 everywhere. The path alone adds
the transmission time of a packet to `rtt`: 12 ms at 1 Mbit/s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Final

from plankroad.sim.quantity import parse_fraction, parse_rate, parse_size, parse_time
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND, SECOND

MTU: Final = 1500

#: What a full packet carries of a program's data: 20 bytes of IPv4, 20 of TCP and 12 of timestamps taken off.
PAYLOAD: Final = 1448

#: A queue has room for so many full packets at least, however small the product of bandwidth and delay.
LEAST_QUEUE: Final = 4

#: Queues that are named: disciplines that keep themselves short.
DISCIPLINES: Final = ("codel", "fq_codel", "pie", "red")

#: Buffers of both programs hold so many times what the path and its queue do, and this much at least.
BUFFER_FACTOR: Final = 4
LEAST_BUFFER: Final = 4 * 1024 * 1024
#: The longest queue that makes sense, in BDP.
MOST_BDP: Final = 1000

#: The most that a connection may have (`TcpConfig`).
MOST_BUFFER: Final = 1 << 30

#: What a discipline is reckoned to hold when buffers are sized; it keeps itself far below.
DISCIPLINE_BDP: Final = 4

#: Flows of a timed cell start in its first fifth.
START_SHARE: Final = 5

_BDP: Final = re.compile(
    r"(?:(?P<number>[0-9]*\.?[0-9]+(?:e-?[0-9]+)?)|(?P<top>[0-9]+)/(?P<bottom>[0-9]*[1-9][0-9]*))\s*bdp", re.I
)
_PACKETS: Final = re.compile(r"(?P<number>[0-9]+)\s*(?:p|pkt|pkts|packets?)?", re.I)
_NOTHING: Final = ("", "0", "none", "off", "no")


@dataclass(frozen=True)
class CellQueue:
    """The queue before the bottleneck. `kind`: "bdp" (`amount` times rate x rtt), "bytes", "packets", or one of
    `DISCIPLINES`, for which `amount` means nothing.
    """

    kind: str = "bdp"
    amount: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in ("bdp", "bytes", "packets", *DISCIPLINES):
            raise ValueError(f"queue: there is no kind {self.kind!r}; {_QUEUE_HELP}")
        if self.kind not in DISCIPLINES and not self.amount > 0:
            raise ValueError(f"queue: {self.amount:g} {self.kind} is no room for a packet; {_QUEUE_HELP}")

    def __str__(self) -> str:
        if self.kind in DISCIPLINES:
            return self.kind
        return f"{_number(self.amount)}bdp" if self.kind == "bdp" else f"{int(self.amount)}{_UNITS[self.kind]}"


_UNITS: Final = {"bytes": "B", "packets": "packets"}
_QUEUE_HELP: Final = f"write 1bdp, 0.25bdp, 64KiB, 100packets or one of {', '.join(DISCIPLINES)}"


@dataclass(frozen=True)
class CellBurst:
    """Loss in bursts of `length` packets in the mean, in which all are lost, such that `loss` of all packets are."""

    loss: float
    length: float

    def __post_init__(self) -> None:
        parse_fraction(self.loss, "burst loss")
        if not 0 < self.loss < 1 or not self.length >= 1 or self.loss / (1 - self.loss) > self.length:
            raise ValueError(f"burst: {self} cannot be; {_BURST_HELP}")

    def __str__(self) -> str:
        return f"{_number(self.loss)}:{_number(self.length)}"


_BURST_HELP: Final = "write the share that is lost and the mean length of a burst in packets, such as 1%:8, or none"


@dataclass(frozen=True)
class CellReorder:
    """A packet is held back by `delay` nanoseconds with `probability`; those sent meanwhile overtake it."""

    probability: float
    delay: int

    def __post_init__(self) -> None:
        parse_fraction(self.probability, "reorder")
        if not self.probability or self.delay <= 0:
            raise ValueError(f"reorder: {self} changes nothing; {_REORDER_HELP}")

    def __str__(self) -> str:
        return f"{_number(self.probability)}:{_number(self.delay / MILLISECOND)}ms"


_REORDER_HELP: Final = "write the share that is held back and for how long, such as 1%:5ms, or none"


@dataclass(frozen=True)
class Cell:
    """One path and what is sent over it. ValueError, naming the field, for what makes no sense.

    `rate` bit/s and `rtt` nanoseconds of the path. `loss`: the share of packets lost at random. `burst`, `reorder` and
    `queue`: as their classes say. `algorithms`: congestion control; flows take them in turn, so `("cubic",)` is cubic
    for all, and `("cubic", "bbr")` for two flows one of each. `flows`: how many. `seconds`: for how long, from the
    start of the first flow. `size`: bytes that each flow sends; 0: as much as it can in `seconds`, which otherwise are
    the most that is waited. `ecn`: both ends take part in explicit congestion notification, and a queue with a
    discipline marks. `seed`: of all that is left to chance.
    """

    rate: int
    rtt: int
    loss: float = 0.0
    burst: CellBurst | None = None
    reorder: CellReorder | None = None
    queue: CellQueue = CellQueue()
    algorithms: tuple[str, ...] = ("cubic",)
    flows: int = 1
    seconds: float = 10.0
    size: int = 0
    seed: int = 1
    ecn: bool = False

    def __post_init__(self) -> None:
        if not 8_000 <= self.rate <= 10**11:
            raise ValueError(f"rate: {self.rate} bit/s is not within 8 kbit/s and 100 Gbit/s")
        if not 0 <= self.rtt <= 10 * SECOND:
            raise ValueError(f"rtt: {self.rtt / SECOND:g} s is not within 0 and 10 s")
        parse_fraction(self.loss, "loss")
        if self.loss >= 1:
            raise ValueError("loss: where all is lost there is nothing to measure")
        if not self.algorithms or not all(self.algorithms):
            raise ValueError("algorithm: name at least one")
        if not 1 <= self.flows <= 1000:
            raise ValueError(f"flows: {self.flows} is not within 1 and 1000")
        if not 0 < self.seconds <= 86400:
            raise ValueError(f"seconds: {self.seconds:g} is not above 0 and up to 86400")
        if self.size < 0:
            raise ValueError(f"bytes: {self.size} is less than nothing")

    # What follows from it

    @property
    def bdp(self) -> int:
        """Bytes that fill the path: rate x rtt."""
        return self.rate * self.rtt // (8 * SECOND)

    @property
    def queue_bytes(self) -> int:
        """The bytes that the queue holds, the packet in transmission included; 0 where packets or a discipline rule."""
        least = LEAST_QUEUE * MTU
        if self.queue.kind == "bdp":
            return max(least, int(self.bdp * self.queue.amount))
        return max(least, int(self.queue.amount)) if self.queue.kind == "bytes" else 0

    @property
    def queue_packets(self) -> int:
        """The packets that the queue holds; 0 where bytes or a discipline rule."""
        return int(self.queue.amount) if self.queue.kind == "packets" else 0

    @property
    def buffer_bytes(self) -> int:
        """What the send and receive buffers of either end may grow to, so that no window is the limit."""
        waiting = self.queue_bytes or self.queue_packets * MTU or DISCIPLINE_BDP * self.bdp
        return min(max(LEAST_BUFFER, BUFFER_FACTOR * (self.bdp + waiting)), MOST_BUFFER)

    @property
    def forth(self) -> int:
        """Nanoseconds from the end of a packet's transmission to its arrival."""
        return self.rtt // 2

    @property
    def back(self) -> int:
        """Nanoseconds of the way back."""
        return self.rtt - self.rtt // 2

    @property
    def duration(self) -> int:
        """`seconds` in nanoseconds."""
        return round(self.seconds * SECOND)

    def algorithm(self, flow: int) -> str:
        """The congestion control of flow number `flow`, from 0."""
        return self.algorithms[flow % len(self.algorithms)]

    def starts(self) -> list[int]:
        """When each flow starts, in nanoseconds after the first: spread evenly over the first fifth of a timed cell,
        else one round trip apart; each a part of a round trip later, as the seed wants it, so that seeds differ.
        """
        rng = stream(self.seed, "paths starts")
        step = self.rtt if self.size else self.duration // START_SHARE // self.flows
        jitter = min(self.rtt, step) if step else self.rtt
        return [0] + [flow * step + int(rng.random() * jitter) for flow in range(1, self.flows)]

    # Text

    @property
    def algorithm_text(self) -> str:
        """All algorithms: "cubic", "cubic+bbr"."""
        return "+".join(self.algorithms)

    def describe(self) -> str:
        """The cell in one line."""
        parts = [f"{show_rate(self.rate)}, {show_time(self.rtt)}"]
        if self.loss:
            parts.append(f"{self.loss * 100:g} % loss")
        if self.burst is not None:
            parts.append(f"bursts {self.burst}")
        if self.reorder is not None:
            parts.append(f"reordered {self.reorder}")
        parts += [str(self.queue), self.algorithm_text + (" with ECN" if self.ecn else "")]
        parts.append("1 flow" if self.flows == 1 else f"{self.flows} flows")
        parts.append(f"{self.size} bytes" if self.size else f"{self.seconds:g} s")
        return ", ".join([*parts, f"seed {self.seed}"])

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what `of_dict` reads back, and the sizes that follow from it."""
        return {
            "rate_bps": self.rate,
            "rtt_ms": self.rtt / MILLISECOND,
            "loss": self.loss,
            "burst": None if self.burst is None else str(self.burst),
            "reorder": None if self.reorder is None else str(self.reorder),
            "queue": str(self.queue),
            "algorithm": self.algorithm_text,
            "flows": self.flows,
            "seconds": self.seconds,
            "bytes": self.size,
            "seed": self.seed,
            "ecn": self.ecn,
            "bdp_bytes": self.bdp,
            "queue_bytes": self.queue_bytes,
        }

    @classmethod
    def of_dict(cls, found: dict[str, Any]) -> Cell:
        """The cell that `as_dict` told."""
        return cls(
            rate=int(found["rate_bps"]),
            rtt=round(found["rtt_ms"] * MILLISECOND),
            loss=float(found["loss"]),
            burst=parse_burst(found["burst"] or ""),
            reorder=parse_reorder(found["reorder"] or ""),
            queue=parse_queue(found["queue"]),
            algorithms=parse_algorithms(found["algorithm"]),
            flows=int(found["flows"]),
            seconds=float(found["seconds"]),
            size=int(found["bytes"]),
            seed=int(found["seed"]),
            ecn=bool(found["ecn"]),
        )


# Cells from text. Each raises ValueError that says what to write.


def parse_share(text: str, what: str = "loss") -> float:
    """A probability: "1%", "0.01", "none"."""
    written = text.strip()
    if written.lower() in _NOTHING:
        return 0.0
    try:
        value = float(Fraction(written[:-1].strip()) / 100) if written.endswith("%") else float(written)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{what}: {text!r} is no share; write 1% or 0.01") from None
    if not 0 <= value <= 1:
        raise ValueError(f"{what}: {text!r} is not from 0 % to 100 %; write 1% or 0.01")
    return value


def parse_burst(text: str) -> CellBurst | None:
    """Loss in bursts: "1%:8", "none"."""
    if text.strip().lower() in _NOTHING:
        return None
    share, colon, length = text.partition(":")
    try:
        packets = float(length)
    except ValueError:
        packets = 0.0
    if not colon or not packets:
        raise ValueError(f"burst: {text!r} is not understood; {_BURST_HELP}")
    return CellBurst(parse_share(share, "burst"), packets)


def parse_reorder(text: str) -> CellReorder | None:
    """Reordering: "1%:5ms", "none"."""
    if text.strip().lower() in _NOTHING:
        return None
    share, colon, delay = text.partition(":")
    if not colon:
        raise ValueError(f"reorder: {text!r} is not understood; {_REORDER_HELP}")
    return CellReorder(parse_share(share, "reorder"), parse_time(delay, "reorder"))


def parse_queue(text: str) -> CellQueue:
    """A queue: "1bdp", "1/4bdp", "64KiB", "100packets" (or "100"), "codel"."""
    written = text.strip().lower().replace("-", "_")
    if written in DISCIPLINES:
        return CellQueue(written, 0.0)
    match = _BDP.fullmatch(written)
    if match is not None:
        number = match["number"]
        amount = float(number) if number else int(match["top"]) / int(match["bottom"])
        if amount > MOST_BDP:
            raise ValueError(f"queue: {text!r} is more than {MOST_BDP} BDP, which no path has")
        return CellQueue("bdp", amount)
    match = _PACKETS.fullmatch(written)
    if match is not None:
        return CellQueue("packets", float(match["number"]))
    try:
        return CellQueue("bytes", float(parse_size(text.strip(), "queue")))
    except ValueError:
        raise ValueError(f"queue: {text!r} is not understood; {_QUEUE_HELP}") from None


def parse_algorithms(text: str) -> tuple[str, ...]:
    """Congestion control: "cubic"; "cubic+bbr" for flows that take them in turn. Unknown names are not found here."""
    return tuple(name.strip() for name in text.split("+"))


def parse_cell(**texts: str) -> Cell:
    """A cell from text, one piece a field: `parse_cell(rate="50Mbit", rtt="40ms", loss="1%", queue="1bdp")`.

    The fields are those of `Cell`, `algorithm` standing for `algorithms` and `bytes` for `size`. ValueError for values
    that make no sense, TypeError for names that there are not.
    """
    values: dict[str, Any] = {}
    known = {field.name for field in fields(Cell)} - {"algorithms", "size"} | {"algorithm", "bytes"}
    for name, text in texts.items():
        if name not in known:
            raise TypeError(f"a cell has no {name!r}; it has {', '.join(sorted(known))}")
        values[_FIELDS.get(name, name)] = parse_field(name, text)
    return Cell(**values)


_FIELDS: Final = {"algorithm": "algorithms", "bytes": "size"}


def parse_field(name: str, text: str) -> Any:
    """The value of one field of a cell from text; see `parse_cell`."""
    if name == "rate":
        return parse_rate(text, name)
    if name == "rtt":
        return parse_time(text, name)
    if name == "loss":
        return parse_share(text, name)
    if name == "burst":
        return parse_burst(text)
    if name == "reorder":
        return parse_reorder(text)
    if name == "queue":
        return parse_queue(text)
    if name == "algorithm":
        return parse_algorithms(text)
    if name == "seconds":
        return parse_time(text, name) / SECOND
    if name == "bytes":
        return parse_size(text, name)
    if name == "ecn":
        if text.strip().lower() not in ("on", "true", "yes", "1", *_NOTHING, "false"):
            raise ValueError(f"ecn: {text!r} is neither on nor off")
        return text.strip().lower() in ("on", "true", "yes", "1")
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is no whole number") from None


def _number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(value)).removesuffix(".0")


def show_rate(rate: float) -> str:
    """A rate with its unit: "50 Mbit/s"."""
    for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if rate >= size:
            return f"{rate / size:.4g} {unit}"
    return f"{rate:.4g} bit/s"


def show_time(time: float) -> str:
    """Nanoseconds with their unit: "40 ms"."""
    for size, unit in ((SECOND, "s"), (MILLISECOND, "ms")):
        if time >= size:
            return f"{time / size:.4g} {unit}"
    return f"{time / 1000:.4g} us"
