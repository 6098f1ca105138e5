"""How a link is: what `Network.link` and `Link.set` take, with units."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from plankroad.sim.disciplines import DISCIPLINES, Discipline, discipline_named
from plankroad.sim.quantity import parse_fraction, parse_length, parse_rate, parse_size, parse_time

#: A queue's default: packets (Linux: txqueuelen).
DEFAULT_QUEUE = 1000


@dataclass(frozen=True)
class Burst:
    """Loss in bursts by the Gilbert-Elliott model; see `sim.faults.GilbertElliott` for the four probabilities.

    A burst is counted in packets: a sender that backs off can be in one for minutes.
    """

    enter: float
    leave: float
    bad_loss: float = 1.0
    good_loss: float = 0.0

    def __post_init__(self) -> None:
        for name in ("enter", "leave", "bad_loss", "good_loss"):
            parse_fraction(getattr(self, name), f"burst {name}")
        if self.enter > 0 and self.leave == 0:
            raise ValueError("burst leave: 0 would be a burst that never ends; use a cut for that")

    @classmethod
    def of(cls, loss: float, length: float) -> Burst:
        """Bursts of `length` packets in the mean, in which all are lost, such that `loss` of all packets are."""
        parse_fraction(loss, "burst loss")
        if loss >= 1 or length < 1:
            raise ValueError("bursts: loss must be below 1 and the mean length 1 packet or more")
        leave = 1 / length
        enter = leave * loss / (1 - loss)
        if enter > 1:
            raise ValueError(f"bursts of {length} packets cannot lose {loss} of all; make them longer")
        return cls(enter, leave)


@dataclass(frozen=True)
class Conditions:
    """One direction of a link, in the simulator's units (bit/s, ns, bytes, probabilities).

    `discipline`: of the queue; None is drop-tail, with `queue_packets`, `queue_bytes` (0 = no such limit) and
    `mark_packets`, `mark_bytes`: packets that find so much in the queue get congestion experienced set where they allow
    it; 0 = none is marked. `carried_mtu`: packets larger than this are lost without a word (a black hole), 0 = `mtu`.
    """

    rate: int = 0
    delay: int = 0
    jitter: int = 0
    jitter_reorders: bool = False
    mtu: int = 1500
    carried_mtu: int = 0
    overhead: int = 0
    queue_packets: int = DEFAULT_QUEUE
    queue_bytes: int = 0
    mark_packets: int = 0
    mark_bytes: int = 0
    discipline: Discipline | None = None
    loss: float = 0.0
    burst: Burst | None = None
    duplicate: float = 0.0
    corrupt: float = 0.0
    corrupt_bits: int = 1
    reorder: float = 0.0
    reorder_delay: int = 0

    def changed(self, given: dict[str, Any]) -> Conditions:
        """These conditions with others in their place, as people write them.

        `queue` and `mark` take a number of packets or a size as text ("64KiB"), `queue` a discipline or its name as
        well (see `sim.disciplines`). Raises ValueError for values that make
        no sense and TypeError for names that there are not.
        """
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name == "queue":
                values.update(_queue(value))
            elif name == "mark":
                packets, size = parse_length(value, "mark", 0)
                values.update(mark_packets=packets, mark_bytes=size)
            elif name in _NAMES and name != "discipline":
                values[name] = _parsed(name, value)
            else:
                known = ", ".join(sorted([*_NAMES - _SPLIT, "queue", "mark"]))
                raise TypeError(f"a link has no {name!r}; it has {known}")
        if values.get("discipline", self.discipline) is not None:
            for name in _LENGTHS:
                if given.get(name):
                    raise ValueError(
                        f"{name}: that is of the drop-tail queue; other disciplines have limits of their own, "
                        "for example queue=CoDel(limit=100, ecn=True)"
                    )
            values.update(mark_packets=0, mark_bytes=0)
        result = replace(self, **values)
        if result.reorder and not result.reorder_delay:
            raise ValueError(
                "reorder: say by how much, with reorder_delay, the packets are held back (for example '5ms')"
            )
        if not 68 <= result.mtu <= 65535:
            raise ValueError(f"mtu: {result.mtu} is not within 68 and 65535")
        if result.carried_mtu > result.mtu:
            raise ValueError(f"carried_mtu: {result.carried_mtu} is more than the MTU, {result.mtu}")
        return result


_NAMES = {field.name for field in fields(Conditions)}
_LENGTHS = ("queue_packets", "queue_bytes", "mark", "mark_packets", "mark_bytes")  # of the drop-tail queue
_SPLIT = {"queue_packets", "queue_bytes", "mark_packets", "mark_bytes", "discipline"}
_TIMES = ("delay", "jitter", "reorder_delay")
_FRACTIONS = ("loss", "duplicate", "corrupt", "reorder")
_SIZES = ("mtu", "carried_mtu", "overhead", "queue_bytes", "mark_bytes")


def _parsed(name: str, value: Any) -> Any:
    if name == "rate":
        return parse_rate(value, name)
    if name in _TIMES:
        return parse_time(value, name)
    if name in _FRACTIONS:
        return parse_fraction(value, name)
    if name in _SIZES:
        return parse_size(value, name)
    if name == "burst":
        if value is None or isinstance(value, Burst):
            return value
        return Burst(*value)
    if name == "jitter_reorders":
        return bool(value)
    if not isinstance(value, int) or value < (1 if name == "corrupt_bits" else 0):
        raise ValueError(f"{name}: {value!r} is no number that one can count with")
    return value


def _queue(value: int | str | Discipline | None) -> dict[str, Any]:
    """What `queue` says: the limits of a drop-tail queue, or another discipline."""
    if isinstance(value, Discipline):
        return {"discipline": value}
    if isinstance(value, str):
        name = value.strip().lower().replace("-", "_")
        if name in ("droptail", "drop_tail"):
            return {"discipline": None, "queue_packets": DEFAULT_QUEUE, "queue_bytes": 0}
        found = discipline_named(name)
        if found is not None:
            return {"discipline": found}
        if name and not (name[0].isdigit() or name[0] == "."):
            raise ValueError(
                f"queue: there is no {value!r}; it is a number of packets, text such as '64KiB', one of droptail, "
                f"{', '.join(sorted(DISCIPLINES))}, or an object of sim.disciplines"
            )
    packets, size = parse_length(value, "queue", 1)
    return {"discipline": None, "queue_packets": packets, "queue_bytes": size}
