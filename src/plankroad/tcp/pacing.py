"""Pacing: what the window allows leaves in small bursts spread over the round trip.

A burst is a millisecond of the rate, two segments at the least: fine enough to keep queues short, and coarse enough
for an event loop that wakes up once a millisecond. A wake-up that comes late is made up for: the schedule goes on from
when the burst was due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.constants import TIMER_PACING
from plankroad.units import MILLISECOND, SECOND

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

#: How much sending time a late wake-up may make up for.
_CREDIT: Final = 2 * MILLISECOND

#: A burst in time.
_BURST: Final = MILLISECOND


def update_rate(t: Tcb) -> None:
    """After each ACK: the rate that the algorithm asks for, or that its window comes to."""
    cc = t.cc
    if not cc.paced:
        t.pacing_rate = 0
        return
    rate = cc.pacing_rate
    if rate == 0 and t.rtt.srtt > 0:
        # While the window doubles each round trip the rate must too; above that a fifth more than the window keeps the
        # window what limits, not the rate.
        window = max(t.window(), t.pipe(), t.snd_mss)
        rate = window * SECOND // t.rtt.srtt
        rate = rate * 2 if 2 * cc.cwnd < cc.ssthresh else rate * 6 // 5
    t.pacing_rate = rate


def is_blocked(t: Tcb, now: int) -> bool:
    """Must what is to be sent wait? Then the timer is set."""
    if t.pace_at <= now:
        return False
    if t.pace_burst > 0 or (t.cc.pacing_rate == 0 and t.scoreboard.is_empty()):
        # With nothing in flight a rate that was reckoned from the window has nothing to be spread over.
        return False
    t.timers[TIMER_PACING] = t.pace_at
    return True


def quantum(t: Tcb) -> int:
    """The most that leaves in one burst, in bytes. Where a round trip is shorter than a burst, that is all of cwnd."""
    least = t.cc.send_quantum if t.cc.send_quantum > 0 else 2 * t.snd_mss
    return max(t.pacing_rate * _BURST // SECOND, least)


def push_burst(t: Tcb) -> int:
    """The most that a super-segment holds where each ends with PSH (`TcpConfig.push_bursts`), in bytes.

    Before a round trip was measured (TCP Fast Open) there is no rate, and nothing to hold back by it.
    """
    window = t.window()
    rate = 2 * window * _BURST // t.rtt.srtt if t.rtt.srtt > 0 else window
    return min(max(rate, t.config.push_bursts * t.snd_mss), window >> 1)


def on_sent(t: Tcb, now: int, length: int, pipe: int) -> None:
    """`length` octets leave; `pipe` were in flight before them."""
    if t.pace_burst <= 0 or t.pace_at < now - _CREDIT:
        # A new burst. The schedule goes on where it was due, if that is not too long ago.
        t.pace_at = max(t.pace_at, now - _CREDIT)
        t.pace_burst = quantum(t)
        if pipe == 0:
            # After silence there is no queue of ours to spare: an initial window goes at once, as RFC 6928 allows.
            t.pace_burst = max(t.pace_burst, min(t.cc.initial_window, t.cc.cwnd))
            t.pace_at = max(t.pace_at, now)
    t.pace_burst -= length
    t.pace_at += length * SECOND // t.pacing_rate
