"""Challenge ACKs: RFC 5961."""

from __future__ import annotations

from plankroad.tcp.output import acknowledge
from plankroad.tcp.tcb import Tcb
from plankroad.units import SECOND


def challenge_ack(t: Tcb, now: int) -> None:
    """An ACK that makes the peer prove itself (RFC 5961), at most so many a second, counted for this connection alone.

    RFC 5961 section 10 asks for the limit. A limit shared by connections tells an attacker on one of them what happens
    on another, so the count is the connection's own.
    """
    if now - t.challenge_window >= SECOND:
        t.challenge_window = now
        t.challenge_count = 0
    if t.challenge_count >= t.config.challenge_ack_limit:
        t.counters.challenge_acks_throttled += 1
        return
    t.challenge_count += 1
    t.counters.challenge_acks += 1
    acknowledge(t)
