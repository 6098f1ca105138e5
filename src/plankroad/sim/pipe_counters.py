"""What is counted on one direction of a link."""

from __future__ import annotations

from plankroad.sim.fate import (
    LOST_BURST,
    LOST_CUT,
    LOST_MTU,
    LOST_NOBODY,
    LOST_QUEUE,
    LOST_RANDOM,
    LOST_RULE,
)


class PipeCounters:
    """Counts of one direction.

    `packets`, `bytes`: what came to be sent (a super-segment counts as the packets it is cut into).
    `arrived`, `arrived_bytes`: what got to the other end, copies and damaged packets included.
    `lost_*`: by cause; `dropped_early` are those of `lost_queue` that the queue dropped although there was room.
    `corrupted`, `duplicated`, `marked`: what was done to packets. `reordered`: packets that arrived
    after one that was sent later.
    """

    __slots__ = (
        "arrived",
        "arrived_bytes",
        "bytes",
        "corrupted",
        "dropped_early",
        "duplicated",
        "lost_burst",
        "lost_cut",
        "lost_invalid",
        "lost_mtu",
        "lost_nobody",
        "lost_queue",
        "lost_random",
        "lost_rule",
        "marked",
        "packets",
        "reordered",
    )

    def __init__(self) -> None:
        self.packets: int = 0
        self.bytes: int = 0
        self.arrived: int = 0
        self.arrived_bytes: int = 0
        self.lost_random: int = 0
        self.lost_burst: int = 0
        self.lost_queue: int = 0
        self.lost_cut: int = 0
        self.lost_mtu: int = 0
        self.lost_rule: int = 0
        self.lost_invalid: int = 0
        self.lost_nobody: int = 0
        self.corrupted: int = 0
        self.duplicated: int = 0
        self.reordered: int = 0
        self.marked: int = 0
        self.dropped_early: int = 0

    def lose(self, cause: int) -> None:
        """Count a loss."""
        if cause == LOST_RANDOM:
            self.lost_random += 1
        elif cause == LOST_BURST:
            self.lost_burst += 1
        elif cause == LOST_QUEUE:
            self.lost_queue += 1
        elif cause == LOST_CUT:
            self.lost_cut += 1
        elif cause == LOST_MTU:
            self.lost_mtu += 1
        elif cause == LOST_RULE:
            self.lost_rule += 1
        elif cause == LOST_NOBODY:
            self.lost_nobody += 1
        else:
            self.lost_invalid += 1

    def lost(self) -> int:
        """All losses."""
        return (
            self.lost_random
            + self.lost_burst
            + self.lost_queue
            + self.lost_cut
            + self.lost_mtu
            + self.lost_rule
            + self.lost_invalid
            + self.lost_nobody
        )

    def as_dict(self) -> dict[str, int]:
        """Every count by its name."""
        return {
            "packets": self.packets,
            "bytes": self.bytes,
            "arrived": self.arrived,
            "arrived_bytes": self.arrived_bytes,
            "lost_random": self.lost_random,
            "lost_burst": self.lost_burst,
            "lost_queue": self.lost_queue,
            "lost_cut": self.lost_cut,
            "lost_mtu": self.lost_mtu,
            "lost_rule": self.lost_rule,
            "lost_invalid": self.lost_invalid,
            "lost_nobody": self.lost_nobody,
            "corrupted": self.corrupted,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "marked": self.marked,
            "dropped_early": self.dropped_early,
        }
