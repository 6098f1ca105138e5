"""How a link is: what `Network.link` and `Link.set` take, with units."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from plankroad.sim.quantity import parse_fraction, parse_rate, parse_size, parse_time

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

    `queue_packets`, `queue_bytes`: 0 = no such limit. `mark_packets`, `mark_bytes`: packets that find so much in the
    queue get congestion experienced set where they allow it; 0 = none is marked. `carried_mtu`: packets larger than
    this are lost without a word (a black hole), 0 = `mtu`.
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
    loss: float = 0.0
    burst: Burst | None = None
    duplicate: float = 0.0
    corrupt: float = 0.0
    corrupt_bits: int = 1
    reorder: float = 0.0
    reorder_delay: int = 0

    def changed(self, given: dict[str, Any]) -> Conditions:
        """These conditions with others in their place, as people write them.

        `queue` and `mark` take a number of packets or a size as text ("64KiB"). Raises ValueError for values that make
        no sense and TypeError for names that there are not.
        """
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name == "queue":
                packets, size = _length(value, "queue")
                values.update(queue_packets=packets, queue_bytes=size)
            elif name == "mark":
                packets, size = _length(value, "mark")
                values.update(mark_packets=packets, mark_bytes=size)
            elif name in _NAMES:
                values[name] = _parsed(name, value)
            else:
                known = ", ".join(sorted([*_NAMES - _SPLIT, "queue", "mark"]))
                raise TypeError(f"a link has no {name!r}; it has {known}")
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
_SPLIT = {"queue_packets", "queue_bytes", "mark_packets", "mark_bytes"}
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


def _length(value: int | str | None, what: str) -> tuple[int, int]:
    """Packets and bytes: one of them 0."""
    if value is None:
        return 0, 0
    if isinstance(value, str) and not value.strip().isdigit():
        return 0, parse_size(value, what)
    packets = int(value)
    if packets < (1 if what == "queue" else 0):
        raise ValueError(
            f"{what}: {value!r} packets; a queue holds 1 or more (the one in transmission), None: no limit"
        )
    return packets, 0
