"""The window we offer: RFC 9293 section 3.8.6, with RFC 7323's scale."""

from __future__ import annotations

from typing import Final

from plankroad.tcp.constants import MAX_WIND_SHIFT
from plankroad.tcp.tcb import Tcb

_MAX_FIELD: Final = 65535

#: What holding pieces may cost at most beside the octets in them: 16,000 holes in a window.
_HOLDING_COSTS: Final = 4 * 1024 * 1024


def shift_for(rcv_buf: int) -> int:
    """The window shift that lets us offer all of a receive buffer (RFC 7323 section 2.3)."""
    # What the field cannot tell by less than its own granularity is no reason to make that coarser.
    shift = 0
    while shift < MAX_WIND_SHIFT and ((_MAX_FIELD + 1) << shift) < rcv_buf:
        shift += 1
    return shift


def hold_limit(t: Tcb) -> int:
    """Bytes that data held out of order may take, with what holding it costs: small pieces cost more than they hold."""
    return t.rcv_buf + min(t.rcv_buf, _HOLDING_COSTS)


def _free_edge(t: Tcb) -> int:
    """How far the window could reach: to the end of the free buffer, or of what the field can tell."""
    return t.rcv_nxt + min(t.rcv_buf - t.rcv_queued, _MAX_FIELD << t.rcv_wind_shift)


def advance_window(t: Tcb) -> None:
    """Move the right edge as far as the free buffer allows, but neither by crumbs nor to the left."""
    edge = _free_edge(t)
    # RFC 9293 section 3.8.6.2.2: "A TCP receiver SHOULD NOT ... the suggested SWS avoidance algorithm for the
    # receiver is to keep RCV.NXT+RCV.WND fixed until the reduction satisfies: RCV.BUFF - RCV.USER - RCV.WND >=
    # min( Fr * RCV.BUFF, Eff.snd.MSS )", Fr = 1/2 (MUST-39). The edge never moves left (SHLD-14).
    if edge - t.rcv_adv >= min(t.rcv_buf >> 1, t.link_mss):
        t.rcv_adv = edge


def window_field(t: Tcb, scaled: bool) -> int:
    """SEG.WND for a segment sent now; moves the right edge with it."""
    told = t.rcv_adv
    advance_window(t)
    window = t.rcv_adv - t.rcv_nxt
    if not scaled:
        if window > _MAX_FIELD:
            # A SYN once more: a challenge ACK between the two may have told more than its field can. RFC 9293 section
            # 3.8.6 (SHLD-14): "A TCP receiver SHOULD NOT shrink the window, i.e., move the right window edge to the
            # left".
            window = _MAX_FIELD
            t.rcv_adv = max(told, t.rcv_nxt + window)
        return window
    field = min(window >> t.rcv_wind_shift, _MAX_FIELD)
    if field == 0:
        t.counters.zero_windows_sent += 1
    return field


def update_is_due(t: Tcb) -> bool:
    """After the program read: is the window to be told to the peer at once?

    The peer hears of small steps with the next acknowledgement; a step is worth a segment of its own when it gives
    back a quarter of the buffer, or when what the peer may still send is less than two segments. That the window of a
    SYN,ACK could tell of no more than 64 KiB is no such step: the program's answer, or the next ACK, tells the rest.
    """
    step = _free_edge(t) - t.rcv_adv
    mss = t.link_mss
    little = t.rcv_adv - t.rcv_nxt < 2 * mss
    if t.segments_sent == 1 and not little:
        return False
    if step >= max(t.rcv_buf >> 2, min(t.rcv_buf >> 1, t.link_mss)):
        return True
    return little and step >= min(t.rcv_buf >> 1, mss)
