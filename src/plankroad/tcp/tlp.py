"""Tail loss probes (RFC 8985 section 7): the end of a flight has nothing behind it that could tell of its loss.

Two round trips after the last news a probe goes out, new data or the last segment once more; its acknowledgement shows
RACK what is missing, long before the retransmission timer would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.tcp import ecn
from plankroad.tcp.cc.base import LOSS as SIGNAL_LOSS
from plankroad.tcp.constants import CWR, OPEN, TIMER_PROBE, TIMER_RETRANSMIT
from plankroad.units import MILLISECOND, NEVER, SECOND

if TYPE_CHECKING:
    from plankroad.tcp.tcb import Tcb

#: What clocks and wake-ups of two hosts are off by; matters where the round trip is shorter than that.
_SLACK: Final = 2 * MILLISECOND


def schedule(t: Tcb, now: int) -> None:
    """New data was sent, or acknowledged: start or restart the probe timer (section 7.2), if a probe makes sense."""
    board = t.scoreboard
    if (
        t.congestion not in (OPEN, CWR)
        or not t.sack_ok
        or not t.config.tail_loss_probes
        or board.sacked_segments
        or board.is_empty()
        or t.snd_wnd == 0
        or not is_due(t)  # or data that is written all the time would put off the last resort for ever
    ):
        t.timers[TIMER_PROBE] = NEVER
        return
    if t.rtt.samples:
        pto = 2 * t.rtt.srtt + _SLACK
        if t.snd_nxt - t.snd_una <= t.snd_mss:
            pto += t.config.max_ack_delay
    else:
        pto = SECOND
    # "If Now() + PTO > TCP_RTO_expiration(): PTO = TCP_RTO_expiration() - Now()".
    t.timers[TIMER_PROBE] = min(now + pto, t.timers[TIMER_RETRANSMIT])


def is_due(t: Tcb) -> bool:
    """The timer expired: may a probe be sent (section 7.3)? None is in flight, and a sample came since the last."""
    return t.tlp_end_seq < 0 and t.rtt.samples != t.tlp_samples


def on_sent(t: Tcb, retransmission: bool) -> None:
    """The probe leaves; SND.NXT counts it."""
    t.tlp_end_seq = t.snd_nxt
    t.tlp_is_retrans = retransmission
    t.tlp_samples = t.rtt.samples
    t.counters.tail_loss_probes += 1


def cancel(t: Tcb) -> None:
    """A recovery begins: TLP_init ()."""
    t.tlp_end_seq = -1
    t.tlp_is_retrans = False
    t.timers[TIMER_PROBE] = NEVER


def process_ack(t: Tcb, now: int, duplicate: bool, dsack_end: int) -> None:
    """TLP_process_ack (section 7.4.2): was a single loss repaired by the probe itself?

    `dsack_end`: where the DSACK of this ACK ends, -1 where there is none.
    """
    end = t.tlp_end_seq
    if t.snd_una < end:
        return
    if not t.tlp_is_retrans or dsack_end == end:
        # New data that arrived; or (case 1) both copies did.
        t.tlp_end_seq = -1
    elif t.snd_una > end:
        # "Repaired the single loss": "Invoke congestion control to react to the loss event the probe has repaired".
        t.tlp_end_seq = -1
        t.counters.tail_loss_repaired += 1
        if t.congestion == OPEN:
            t.undo_marker = -1
            t.cc.on_congestion(now, SIGNAL_LOSS, min(t.cc.cwnd, max(t.flight_size(), t.snd_mss)))
            t.cc.on_recovery_exit(now)
            if t.ecn is not None:
                ecn.window_reduced(t)
    elif duplicate:
        # Case 2: a duplicate ACK without any SACK option.
        t.tlp_end_seq = -1
