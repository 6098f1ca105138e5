"""Buffers that follow the path: dynamic right-sizing of the receive buffer, and a send buffer that follows the window.

Receive side: M. Fisk, W. Feng, "Dynamic Right-Sizing in TCP" (LACSI 2001). The receiver can't see the sender's window,
but what the program takes out within a round trip says what the sender had in flight. A buffer of twice that never
holds a steady sender back; one in slow start doubles what it sends with each round trip, and hears of a larger window
one round trip later, so that it needs four times as much. A program that does not read takes nothing, and its buffer
stays as it is, and so does everyone's while the stack's memory is short. A buffer never shrinks: what was offered
stays offered (RFC 9293 section 3.8.6, SHLD-14).

Send side: the program may write ahead two windows, one that is in flight and one that is ready when its
acknowledgements come. So a slow path is not buried in data, and a fast one does not wait for the writer.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp.seq import MASK32
from plankroad.tcp.tcb import Tcb
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.segment import Segment

#: A round is no shorter: programs and links work in batches, and the clock of timestamps ticks so.
_LEAST_ROUND: Final = MILLISECOND

#: No round trip is longer than this (and nobody's timestamps say so, RFC 7323 section 4.1).
_GREATEST_ROUND: Final = 60_000


# --- receiving --------------------------------------------------------------------------------------------------------


def begin(t: Tcb, now: int) -> None:
    """The connection is established, or its buffer has become automatic: the first round begins."""
    space = t.rcv_space
    space.on = t.config.rcv_buf == 0 and t.rcv_buf < t.config.rcv_buf_max
    if not space.on:
        return
    # The handshake gave a first measurement, unless a SYN was lost.
    space.rtt = t.rtt.srtt
    space.taken = 0
    space.echo = 0
    _begin_round(t, now)


def _begin_round(t: Tcb, now: int) -> None:
    space = t.rcv_space
    space.read_from = t.rcv_nxt - t.rcv_queued
    space.level_from = space.read_from + t.reassembly.octets
    space.round_rtt = NEVER
    if not t.ts_ok:
        # What lies beyond this edge cannot be sent before the peer has heard of an edge offered later than now.
        space.edge = t.rcv_adv
        space.edge_at = now
    _set_deadlines(t, now)


def _set_deadlines(t: Tcb, now: int) -> None:
    space = t.rcv_space
    if space.rtt == 0:
        space.due = NEVER
        space.grow_at = NEVER
        return
    space.due = now + max(space.rtt, _LEAST_ROUND)
    _set_growth(t)


def _set_growth(t: Tcb) -> None:
    # A quarter of the buffer taken within one round, and more than in the round before: the sender is doubling.
    space = t.rcv_space
    space.grow_at = space.level_from + max(t.rcv_buf >> 2, space.taken + (space.taken >> 3))


def on_data(t: Tcb, now: int, seg: Segment) -> None:
    """Data came in order: a measurement of the round trip as the receiver sees it.

    With timestamps from each new echo; without from the time in which a whole window was filled, which is a round trip
    at least. A sender that has nothing to send makes both too long and never too short, so the least one counts.
    """
    space = t.rcv_space
    if t.ts_ok:
        space.echo = seg.ts_ecr
        elapsed = (t.ts_now(now) - seg.ts_ecr) & MASK32
        if elapsed > _GREATEST_ROUND:
            return
        rtt = max(elapsed, 1) * MILLISECOND
    else:
        rtt = max(now - space.edge_at, 1)
        space.edge = t.rcv_adv
        space.edge_at = now
    space.round_rtt = min(space.round_rtt, rtt)
    if space.rtt == 0:
        space.rtt = rtt
        _begin_round(t, now)
    elif rtt < space.rtt:
        space.rtt = rtt
        space.due = min(space.due, now + max(rtt, _LEAST_ROUND))


def on_taken(t: Tcb, now: int) -> None:
    """The program took data out, or data was held out of order, and a deadline has passed: is the buffer too small?

    Data held out of order has left the network, too: it counts as taken, or a window would close in each recovery. It
    is no sign that the program reads, though, so there is a limit to what it may add.
    """
    space = t.rcv_space
    read = t.rcv_nxt - t.rcv_queued
    level = read + t.reassembly.octets
    taken = level - space.level_from
    space.proven = max(space.proven, read - space.read_from)
    size = t.rcv_buf
    want = size
    if level >= space.grow_at:
        want = max(2 * size, 4 * taken)
    elif 2 * t.reassembly.octets > size:
        # A recovery that takes several round trips, because what was sent again was lost, too: the window would close.
        want = 2 * size
    over = now >= space.due
    if over:
        want = max(want, 2 * taken)
    want = min(want, 8 * space.proven, t.config.rcv_buf_max)
    if want > size and (t.memory is None or not t.memory.is_short()):
        t.rcv_buf = want
        t.counters.receive_buffer_grown += 1
        if t.log is not None:
            t.log.event(now, t.name(), "receive buffer", {"size": want, "taken": taken, "rtt": space.rtt})
        if want == t.config.rcv_buf_max:
            space.on = False
            return
    if over:
        if space.round_rtt != NEVER and space.round_rtt > space.rtt and taken >= t.rcv_buf >> 3:
            # Slowly upwards, and only where much came in: a path that has become longer goes on saying so.
            space.rtt += min(space.round_rtt - space.rtt, space.rtt) >> 3
        space.taken = taken
        _begin_round(t, now)
    else:
        _set_growth(t)


# --- sending ----------------------------------------------------------------------------------------------------------


def follow_window(t: Tcb) -> None:
    """An ACK came: the send buffer is to hold two windows. Whichever is smaller rules, cwnd or the peer's.

    Four for an algorithm that sends on at its rate while losses are repaired: all that arrives behind the first gap
    stays in the buffer until that is closed, a round trip later, or two where the repair was lost too.
    """
    want = (2 if t.cc.uses_prr else 4) * min(t.cc.cwnd, t.max_snd_wnd) + t.config.snd_buf_start
    limit = t.snd_buf_limit
    if want > limit:
        if t.memory is None or not t.memory.is_short():
            t.snd_buf_limit = min(want, t.config.snd_buf_max)
    elif 4 * want < limit:
        # The path has become a slow one. What was taken stays.
        t.snd_buf_limit = max(min(want, t.config.snd_buf_max), len(t.snd_buf))
