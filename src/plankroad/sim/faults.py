"""What a network does to packets: loss, bursts of loss, copies, damage, reordering.

Each fault draws from a random stream of its own, and as often for each packet, be that lost already or not. So faults
do not disturb each other: which packets one of them strikes does not depend on the others. `sim.rules` has the faults
that are not left to chance.
"""

from __future__ import annotations

from random import Random

from plankroad.compat import mypyc_attr
from plankroad.sim.fate import CORRUPTED, HELD_BACK, LOST_BURST, LOST_INVALID, LOST_MASK, LOST_RANDOM
from plankroad.sim.rng import below
from plankroad.wire.checksum import complete
from plankroad.wire.packet import Packet


class Transit:
    """A packet on its way through the faults of a pipe.

    `fate`: of `sim.fate`. `note`: what to add to the capture's comment. `extra`: nanoseconds of delay to add;
    `overtaken`: with it, later packets need not wait. `copies`: how many more of it will arrive.
    `exempt`: the faults of chance leave it alone; `spared` that, or it is lost already.
    """

    __slots__ = ("copies", "exempt", "extra", "fate", "note", "overtaken", "packet")

    def __init__(self, packet: Packet, fate: int) -> None:
        self.packet = packet
        self.fate = fate
        self.note: str = ""
        self.extra: int = 0
        self.overtaken: bool = False
        self.copies: int = 0
        self.exempt: bool = False

    def lose(self, cause: int) -> None:
        """The packet will not arrive; the first cause counts."""
        if not self.fate & LOST_MASK:
            self.fate |= cause

    def spared(self) -> bool:
        """Whether a fault of chance is to leave it alone."""
        return self.exempt or self.fate & LOST_MASK != 0

    def add_note(self, text: str) -> None:
        """Add to what a capture tells about the packet."""
        self.note = f"{self.note}; {text}" if self.note else text


@mypyc_attr(allow_interpreted_subclasses=True)
class Fault:
    """Base of everything that happens to packets on a pipe."""

    __slots__ = ()

    def apply(self, now: int, transit: Transit) -> None:
        """Do to `transit` what is to be done, if it is not `spared`; but draw from a random stream in any case."""
        raise NotImplementedError


class RandomLoss(Fault):
    """Each packet is lost with `probability`, independent of all others."""

    __slots__ = ("probability", "rng")

    def __init__(self, probability: float, rng: Random) -> None:
        self.probability = probability
        self.rng = rng

    def apply(self, now: int, transit: Transit) -> None:
        if self.rng.random() < self.probability and not transit.spared():
            transit.lose(LOST_RANDOM)


class GilbertElliott(Fault):
    """Loss in bursts: a chain of two states that may change before each packet (Gilbert 1960, Elliott 1963).

    A burst is counted in packets, not in time: it lasts long for a sender that sends seldom.

    `enter` is the probability of going from good to bad, `leave` that of going back; so bursts last 1 / `leave`
    packets in the mean and the share of packets in the bad state is `enter` / (`enter` + `leave`). A packet is lost
    with probability `bad_loss` in the bad state and `good_loss` in the good one.
    """

    __slots__ = ("bad", "bad_loss", "enter", "good_loss", "leave", "rng")

    def __init__(self, enter: float, leave: float, bad_loss: float, good_loss: float, rng: Random) -> None:
        self.enter = enter
        self.leave = leave
        self.bad_loss = bad_loss
        self.good_loss = good_loss
        self.rng = rng
        self.bad: bool = False

    def apply(self, now: int, transit: Transit) -> None:
        change: float = self.rng.random()
        loss: float = self.rng.random()
        if self.bad:
            if change < self.leave:
                self.bad = False
        elif change < self.enter:
            self.bad = True
        if loss < (self.bad_loss if self.bad else self.good_loss) and not transit.spared():
            transit.lose(LOST_BURST)


class Duplication(Fault):
    """Each packet arrives twice with `probability`."""

    __slots__ = ("probability", "rng")

    def __init__(self, probability: float, rng: Random) -> None:
        self.probability = probability
        self.rng = rng

    def apply(self, now: int, transit: Transit) -> None:
        if self.rng.random() < self.probability and not transit.spared():
            transit.copies += 1


class Corruption(Fault):
    """`bits` different bits of a packet, anywhere in it, are flipped with `probability`.

    One flipped bit is found by every checksum. Of two, about one pair in 32 compensate each other in the Internet
    checksum (RFC 1071), as on a real network. `places` says which bits.
    """

    __slots__ = ("bits", "places", "probability", "rng")

    def __init__(self, probability: float, bits: int, rng: Random, places: Random) -> None:
        self.probability = probability
        self.bits = bits
        self.rng = rng
        self.places = places

    def apply(self, now: int, transit: Transit) -> None:
        if self.rng.random() < self.probability and not transit.spared():
            flip_bits(transit, self.bits, self.places)


class Reordering(Fault):
    """A packet is held back by `extra` nanoseconds with `probability`; those sent meanwhile overtake it."""

    __slots__ = ("extra", "probability", "rng")

    def __init__(self, probability: float, extra: int, rng: Random) -> None:
        self.probability = probability
        self.extra = extra
        self.rng = rng

    def apply(self, now: int, transit: Transit) -> None:
        if self.rng.random() < self.probability and not transit.spared():
            transit.extra += self.extra
            transit.overtaken = True
            transit.fate |= HELD_BACK


def flip_bits(transit: Transit, bits: int, rng: Random) -> None:
    """Flip `bits` different bits of the packet, whose checksum is finished first so that the damage is real."""
    try:
        packet = complete(transit.packet)
    except ValueError:
        transit.lose(LOST_INVALID)
        return
    data = bytearray(packet.to_bytes())
    size = len(data) * 8
    if size == 0:
        return
    flipped: list[int] = []
    while len(flipped) < bits and len(flipped) < size:
        place = below(rng, size)
        if place in flipped:
            continue
        flipped.append(place)
        data[place >> 3] ^= 0x80 >> (place & 7)
        transit.add_note(f"bit {place & 7} of byte {place >> 3} flipped")
    # A new object: other copies of the packet keep their bytes. Nobody vouches for these any more.
    transit.packet = Packet(bytes(data), b"", packet.interface)
    transit.fate |= CORRUPTED
