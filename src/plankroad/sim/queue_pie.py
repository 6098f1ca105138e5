"""PIE: proportional integral controller enhanced (RFC 8033).

Packets are dropped at random when they come, with a probability that a controller sets each `update` such that the time
packets wait comes near a target. Of the optional elements of section 5 it has ECN (5.1), derandomization (5.4) and the
cap on the probability's growth (5.5); how long packets wait is seen from those that leave (section 4.3), so that
no departure rate need be guessed (5.2).
"""

from __future__ import annotations

from random import Random
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.sim.queue_held import Held, HoldingQueue

#: Section 4.1: below this probability packets pass while the queue's delay is less than half of the target.
SAFE_PROBABILITY: Final = 0.2

#: Section 4.1: of so many bytes or fewer nothing is dropped (2 packets of a mean size).
SAFE_BYTES: Final = 2 * 1500

#: Section 5.4: no drop until the probabilities of the packets since the last one add up to the first; a drop for sure
#: when they add up to the second.
LEAST_SUM: Final = 0.85
MOST_SUM: Final = 8.5

#: Section 5.5: where the probability is this or more, it grows by no more than the second in one update.
CAPPED_FROM: Final = 0.1
CAP: Final = 0.02

#: Section 4.2: what the probability is multiplied by in each update while nothing waits.
DECAY: Final = 0.98


@mypyc_attr(allow_interpreted_subclasses=True)
class PieQueue(HoldingQueue):
    """A queue under PIE. Times in ns; the names are those of RFC 8033 section 4.

    `target`: QDELAY_REF. `update`: T_UPDATE. `max_burst`: MAX_BURST, for how long a burst that finds no congestion is
    left alone. `alpha`, `beta`: weights of the delay's distance from the target and of its growth, per second.
    `ecn`: mark instead of drop where the packet allows it and the probability is below `max_marking` (mark_ecnth).
    `drop_probability`, `delay` and `old_delay` (current_qdelay, qdelay_old), `burst_allowance` and `sum` (accu_prob)
    are what it has come to.
    """

    __slots__ = (
        "alpha",
        "beta",
        "burst_allowance",
        "delay",
        "drop_probability",
        "ecn",
        "max_burst",
        "max_marking",
        "next_update",
        "old_delay",
        "rng",
        "sum",
        "target",
        "update",
    )

    def __init__(
        self,
        rng: Random,
        target: int,
        update: int,
        max_burst: int,
        max_packets: int = 0,
        max_bytes: int = 0,
        ecn: bool = True,
        alpha: float = 0.125,
        beta: float = 1.25,
        max_marking: float = 0.1,
    ) -> None:
        super().__init__(max_packets, max_bytes)
        if target < 1 or update < 1 or max_burst < 0:
            raise ValueError("PIE: target and update are times above 0, and max_burst is no time below it")
        if alpha < 0 or beta < 0 or not 0 <= max_marking <= 1:
            raise ValueError("PIE: alpha and beta are 0 or more, max_marking is a probability")
        self.name = "PIE"
        self.rng = rng
        self.target = target
        self.update = update
        self.max_burst = max_burst
        self.ecn = ecn
        self.alpha = alpha
        self.beta = beta
        self.max_marking = max_marking
        self.drop_probability: float = 0.0
        self.delay: int = 0
        self.old_delay: int = 0
        self.burst_allowance: int = max_burst
        self.sum: float = 0.0
        self.next_update: int = -1  # -1: no packet has come yet

    def put(self, now: int, held: Held) -> None:
        self.catch_up(now)
        if not self.fits(held.size):
            self.sum = 0.0
            self.drop(held, "full", False)
            return
        if self.burst_allowance == 0 and self.drops_early():
            self.sum = 0.0
            # Section 5.1: while the probability is high, packets that could be marked are dropped as well.
            if not (self.ecn and self.drop_probability < self.max_marking and held.mark()):
                self.drop(held, f"probability {self.drop_probability:.3g}", True)
                return
        self.count_in(held)
        self.waiting.append(held)

    def drops_early(self) -> bool:
        """Whether the packet that has come is to be dropped: sections 4.1 and 5.4."""
        probability = self.drop_probability
        if self.old_delay < self.target // 2 and probability < SAFE_PROBABILITY:
            return False
        if self.waiting_bytes <= SAFE_BYTES:
            return False
        if probability <= 0.0:
            self.sum = 0.0
            return False
        self.sum += probability
        if self.sum < LEAST_SUM:
            return False
        if self.sum >= MOST_SUM:
            return True
        chance: float = self.rng.random()
        return chance < probability

    def take(self, now: int) -> Held | None:
        self.catch_up(now)
        held = super().take(now)
        if held is not None:
            self.delay = now - held.came
        return held

    def catch_up(self, now: int) -> None:
        """Do the updates that were due since the last packet came or left: nothing has changed between them."""
        if self.next_update < 0:
            self.next_update = now + self.update
            return
        while self.next_update <= now:
            if not self.waiting_packets:
                self.delay = 0
                if self.drop_probability <= 0.0 and self.old_delay == 0 and self.burst_allowance == self.max_burst:
                    # Nothing would change any more.
                    self.next_update += ((now - self.next_update) // self.update + 1) * self.update
                    return
            self.next_update += self.update
            self.calculate()

    def calculate(self) -> None:
        """One update of the probability and the burst allowance: sections 4.2 and 4.4."""
        delay = self.delay
        old = self.old_delay
        probability = self.drop_probability
        step = (self.alpha * (delay - self.target) + self.beta * (delay - old)) / 1e9
        # Section 4.2: the steps are the smaller the smaller the probability is, so that the loop stays stable.
        if probability < 0.000001:
            step /= 2048
        elif probability < 0.00001:
            step /= 512
        elif probability < 0.0001:
            step /= 128
        elif probability < 0.001:
            step /= 32
        elif probability < 0.01:
            step /= 8
        elif probability < 0.1:
            step /= 2
        elif step > CAP:
            step = CAP
        probability += step
        if delay == 0 and old == 0:
            probability *= DECAY
        self.drop_probability = min(max(probability, 0.0), 1.0)
        self.old_delay = delay
        if self.drop_probability <= 0.0 and delay < self.target // 2 and old < self.target // 2:
            self.burst_allowance = self.max_burst
        else:
            self.burst_allowance = max(0, self.burst_allowance - self.update)

    def release(self) -> list[Held]:
        released = super().release()
        self.delay = 0
        return released

    def clear(self) -> None:
        super().clear()
        self.drop_probability = 0.0
        self.old_delay = 0
        self.burst_allowance = self.max_burst
        self.sum = 0.0
        self.next_update = -1
