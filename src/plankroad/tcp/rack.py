"""RACK: losses found by time (RFC 8985 section 6).

A segment is lost when one that was sent later has arrived and a settling time for reordering has passed. The time
adapts: a quarter of the least round trip at first, more while DSACKs say that we were too hasty, none where three
segments were SACKed and the path was never seen to reorder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp.constants import DUP_THRESH, OPEN, TIMER_REORDER
from plankroad.units import NEVER

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

#: Section 6.2, step 4: recoveries for which an inflated window persists.
_PERSIST: Final = 16

#: The window needs no more quarters than reach SRTT, whatever the DSACKs say.
_MAX_MULT: Final = 255


class Rack:
    """RACK.xmit_ts and RACK.end_seq of the segment sent last among those delivered, and the reordering window.

    Times are ns, sequence numbers absolute. `dsack_round`: -1 is None. `reordering`: by how many segments the path was
    seen to reorder, 3 at least; `reordered`: how often. They are told and not used: the window is one of time.
    """

    __slots__ = (
        "dsack_round",
        "end_seq",
        "reo_wnd_mult",
        "reo_wnd_persist",
        "reordered",
        "reordering",
        "reordering_seen",
        "rtt",
        "xmit_ts",
    )

    def __init__(self) -> None:
        self.xmit_ts: int = -1
        self.end_seq: int = 0
        self.rtt: int = 0
        self.reordering_seen: bool = False
        self.reordering: int = DUP_THRESH
        self.reordered: int = 0
        self.reo_wnd_mult: int = 1
        self.reo_wnd_persist: int = 0
        self.dsack_round: int = -1


def update(t: Tcb, now: int) -> None:
    """Steps 2 and 3: what the ACK says of the segment sent last, and of reordering."""
    rack = t.rack
    board = t.scoreboard
    at = board.rack_sent_at
    if at >= 0:
        rack.rtt = now - at
        if at > rack.xmit_ts or (at == rack.xmit_ts and board.rack_end > rack.end_seq):
            rack.xmit_ts = at
            rack.end_seq = board.rack_end
    if board.reordered:
        rack.reordered += 1
        distance = (board.fack - board.reordered_from + t.snd_mss - 1) // t.snd_mss
        if distance > rack.reordering:
            rack.reordering = distance
        if not rack.reordering_seen:
            rack.reordering_seen = True
            t.counters.reordering_seen += 1


def on_dsack(t: Tcb) -> None:
    """Step 4: "Grow the reordering window per round that sees DSACK".

    A DSACK of what fast recovery sent again says more: the original was not lost, but overtaken. Where each original
    that is overtaken is sent again before it arrives, step 3 would never see that the path reorders.
    """
    rack = t.rack
    if t.dsack_of_recovery and not rack.reordering_seen:
        rack.reordering_seen = True
        t.counters.reordering_seen += 1
    if rack.dsack_round >= 0 and t.snd_una >= rack.dsack_round:
        rack.dsack_round = -1
    if rack.dsack_round < 0:
        rack.dsack_round = t.snd_nxt
        rack.reo_wnd_mult = min(rack.reo_wnd_mult + 1, _MAX_MULT)
        rack.reo_wnd_persist = _PERSIST


def on_exit(t: Tcb) -> None:
    """Step 4: "Reset the window after 16 DSACK-free recoveries"."""
    rack = t.rack
    rack.reo_wnd_persist -= 1
    if rack.reo_wnd_persist <= 0:
        rack.reo_wnd_mult = 1


def reordering_window(t: Tcb) -> int:
    """RACK.reo_wnd, in ns."""
    rack = t.rack
    if not rack.reordering_seen and (t.congestion != OPEN or t.scoreboard.sacked_segments >= DUP_THRESH):
        return 0
    return min(rack.reo_wnd_mult * t.rtt.min_rtt // 4, t.rtt.srtt) if t.rtt.samples else 0


def detect_loss(t: Tcb, now: int) -> int:
    """RACK_detect_loss_and_arm_timer (): returns the octets newly lost."""
    rack = t.rack
    board = t.scoreboard
    if rack.xmit_ts < 0:
        return 0
    oldest = board.oldest
    if oldest is None or oldest.sent_at > rack.xmit_ts:
        t.timers[TIMER_REORDER] = NEVER
        return 0
    lost = board.detect_lost(rack.xmit_ts, rack.end_seq, rack.rtt + reordering_window(t), now)
    # "timeout = max(remaining, timeout)": the RFC waits for the last of them; each has its own time here, as each is
    # lost when its own time is over.
    t.timers[TIMER_REORDER] = board.next_deadline if board.next_deadline >= 0 else NEVER
    return lost
