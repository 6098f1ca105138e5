"""What happens when a deadline passes."""

from __future__ import annotations

import errno

from plankroad.endpoint import EVENT_SOFT_ERROR
from plankroad.tcp import plpmtud
from plankroad.tcp.constants import (
    CLOSED,
    ESTABLISHED,
    FAST_OPEN_PASSIVE,
    SYN_RECEIVED,
    SYN_SENT,
    TIMER_CORK,
    TIMER_COUNT,
    TIMER_DELAYED_ACK,
    TIMER_KEEPALIVE,
    TIMER_LINGER,
    TIMER_NAMES,
    TIMER_PERSIST,
    TIMER_PROBE,
    TIMER_REORDER,
    TIMER_RETRANSMIT,
    TIMER_TIME_WAIT,
    TIMER_USER,
)
from plankroad.tcp.ending import abort_connection, end_connection
from plankroad.tcp.fastopen import on_silence, release_syn
from plankroad.tcp.output import PROBE_KEEPALIVE, PROBE_TAIL, PROBE_WINDOW, acknowledge
from plankroad.tcp.recovery import on_reorder_timer, on_timeout
from plankroad.tcp.tcb import Tcb
from plankroad.units import NEVER, SECOND


def next_timeout(t: Tcb) -> int:
    """The earliest deadline, NEVER where there is none."""
    return min(t.timers)


def handle_timeout(t: Tcb, now: int) -> None:
    """Act on every deadline that has passed; harmless when none has."""
    for i in range(TIMER_COUNT):
        if t.timers[i] <= now:
            t.timers[i] = NEVER
            if t.log is not None:
                t.log.event(now, t.name(), "timer", {"timer": TIMER_NAMES[i]})
            _expired(t, now, i)
            if t.state == CLOSED:
                return


def _expired(t: Tcb, now: int, timer: int) -> None:
    if timer == TIMER_RETRANSMIT:
        _retransmit(t, now)
    elif timer == TIMER_PROBE:
        if t.state >= ESTABLISHED:
            t.probe_due = PROBE_TAIL
            # Whether or not one is sent, the last resort counts from here (RFC 8985 section 7.3).
            t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()
    elif timer == TIMER_REORDER:
        on_reorder_timer(t, now)
    elif timer == TIMER_DELAYED_ACK:
        t.counters.delayed_acks += 1
        t.interactive = False
        acknowledge(t)
    elif timer == TIMER_PERSIST:
        _persist(t, now)
    elif timer == TIMER_KEEPALIVE:
        _keepalive(t, now)
    elif timer == TIMER_TIME_WAIT:
        # In FIN_WAIT_2 the program is gone and the peer does not close. It may still be reading what we sent, so
        # nothing is said; what it sends from now on belongs to no connection and is answered by a reset.
        end_connection(t, now, 0)
    elif timer == TIMER_USER:
        t.counters.user_timeouts += 1
        abort_connection(t, now, _timeout_errno(t))
    elif timer == TIMER_LINGER:
        abort_connection(t, now, errno.ETIMEDOUT)
    elif timer == TIMER_CORK:
        t.cork_expired = True
        if t.state == SYN_SENT:
            release_syn(t)


def _timeout_errno(t: Tcb) -> int:
    """ETIMEDOUT, or the standing soft error that explains it better (RFC 1122 section 4.2.3.9)."""
    return t.soft_error or errno.ETIMEDOUT


def _retransmit(t: Tcb, now: int) -> None:
    if t.state in (SYN_SENT, SYN_RECEIVED):
        _retransmit_syn(t, now)
        return
    if t.scoreboard.is_empty():
        return
    if t.unanswered_since < 0:
        t.unanswered_since = now
    if _given_up(t, now, t.timeout_limit()):
        return
    if t.snd_wnd == 0:
        # The window shrank over data in flight. This is a probe, not a sign of congestion, and the connection stays as
        # long as it is answered (SHLD-17, MUST-37).
        if _persisted(t, now):
            return
        t.probes += 1
        t.probe_due = PROBE_WINDOW
    else:
        on_timeout(t, now)
        _count_retry(t)
        if t.plpmtud is not None and plpmtud.on_timeout(t, now):
            t.scoreboard.mark_all_lost()
            t.scoreboard.fresh_losses.clear()
        if t.fast_open:
            on_silence(t, now)
    # RFC 6298 (5.5): "The host MUST set RTO <- RTO * 2".
    t.rtt.backoff += 1
    t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()


def _retransmit_syn(t: Tcb, now: int) -> None:
    config = t.config
    if t.state == SYN_RECEIVED and t.passive:
        if t.retries >= config.synack_retries:
            end_connection(t, now, errno.ETIMEDOUT)
            return
    elif 0 < config.syn_retries <= t.retries:
        t.counters.retransmission_giveups += 1
        end_connection(t, now, _timeout_errno(t))
        return
    elif _given_up(t, now, t.user_timeout or config.syn_timeout):
        return
    elif t.soft_error not in (0, errno.ETIMEDOUT) and 0 < config.syn_soft_error_retries <= t.retries:
        # RFC 5461 section 4.1: in a non-synchronized state a standing soft error ends the attempt, lest a program wait
        # minutes for a host that routers say cannot be reached.
        end_connection(t, now, t.soft_error)
        return
    if t.fast_open == FAST_OPEN_PASSIVE and t.retries == 0 and not t.scoreboard.is_empty():
        # A client that missed the SYN-ACK threw away what came behind it: it is sent again once the handshake is over.
        on_timeout(t, now)
    _count_retry(t)
    t.syn_pending = True
    t.rtt.backoff += 1
    t.timers[TIMER_RETRANSMIT] = now + t.rtt.rto()


def _count_retry(t: Tcb) -> None:
    """R1 (RFC 9293 section 3.8.3): after some retransmissions the program hears that something is wrong (SHLD-9)."""
    t.retries += 1
    if t.retries == t.config.r1 and not t.trouble_reported:
        t.trouble_reported = True
        if t.soft_error == 0:
            t.soft_error = errno.ETIMEDOUT
            t.events |= EVENT_SOFT_ERROR


def _given_up(t: Tcb, now: int, limit: int) -> bool:
    """R2 (RFC 9293 section 3.8.3): the peer owed an answer too long; close the connection (MUST-20)."""
    # A host that slept tries at least once more: the clock alone says nothing about the peer.
    tried = t.retries > 0 or t.probes > 0
    if limit and tried and t.unanswered_since >= 0 and now - t.unanswered_since >= limit:
        t.counters.retransmission_giveups += 1
        abort_connection(t, now, _timeout_errno(t))
        return True
    return False


def _persist(t: Tcb, now: int) -> None:
    if not t.scoreboard.is_empty():
        return  # the retransmission timer is at work
    unsent = t.snd_buf.end - t.snd_nxt
    if unsent <= 0 and not (t.close_requested and (t.fin_seq < 0 or t.fin_seq >= t.snd_nxt)):
        return
    if t.snd_wnd > t.snd_nxt - t.snd_una and t.probes == 0:
        # The window is open, only small: the override of silly-window avoidance lets what fits go.
        t.sws_override = True
        return
    if t.unanswered_since < 0:
        t.unanswered_since = now
        if t.user_timeout or t.adopted_user_timeout:
            # RFC 9293 section 3.10.8: "For any state if the user timeout expires ...": probes that nobody answers are
            # not waited for longer than data is.
            t.timers[TIMER_USER] = now + t.timeout_limit()
    if _persisted(t, now) or _given_up(t, now, t.timeout_limit()):
        return
    t.probe_due = PROBE_WINDOW
    # SHLD-30: "the interval between successive probes SHOULD be increased exponentially".
    t.probes += 1
    t.timers[TIMER_PERSIST] = now + min(t.rtt.base_rto << min(t.probes, 20), t.config.max_rto)
    limit = _persist_limit(t)
    if limit:
        t.timers[TIMER_PERSIST] = min(t.timers[TIMER_PERSIST], max(t.persist_since + limit, now + 1))


def _persist_limit(t: Tcb) -> int:
    """How long the window may stay closed, 0 = for ever.

    RFC 6429 section 4: a TCP does not close a connection "merely because it seems to be stuck in the ZWP or persist
    condition", but its program may, and where the program is gone, whoever manages the resources.
    """
    config = t.config
    if t.released and config.orphan_timeout and not 0 < config.persist_timeout < config.orphan_timeout:
        return config.orphan_timeout
    return config.persist_timeout


def _persisted(t: Tcb, now: int) -> bool:
    """The window is closed, and a probe due: give the connection up where it has been so too long."""
    if t.probes == 0:
        t.persist_since = now
        return False
    limit = _persist_limit(t)
    if limit == 0 or now - t.persist_since < limit:
        return False
    t.counters.persist_timeouts += 1
    t.reason = f"the peer kept its window closed for {(now - t.persist_since) // SECOND} s"
    abort_connection(t, now, errno.ETIMEDOUT)
    return True


def arm_keepalive(t: Tcb, now: int) -> None:
    """Keep-alives are on: begin to wait for silence."""
    if t.config.keepalive and t.timers[TIMER_KEEPALIVE] == NEVER:
        t.timers[TIMER_KEEPALIVE] = now + t.config.keepalive_idle


def _keepalive(t: Tcb, now: int) -> None:
    config = t.config
    if not config.keepalive:
        return
    # MUST-26: only when nothing is outstanding and nothing was received during the interval.
    due = t.last_received + config.keepalive_idle
    if due > now and t.keepalive_probes == 0:
        t.timers[TIMER_KEEPALIVE] = due
        return
    if t.snd_nxt != t.snd_una or t.snd_buf.end > t.snd_nxt:
        t.timers[TIMER_KEEPALIVE] = max(due, now + SECOND)
        return
    if t.keepalive_probes:
        silent = now - t.last_received
        over = t.keepalive_probes >= config.keepalive_count
        if t.user_timeout:
            over = silent >= t.user_timeout
        if over:
            # MUST-29: one unanswered probe is no dead connection; this many are.
            t.counters.keepalive_drops += 1
            abort_connection(t, now, _timeout_errno(t))
            return
    t.keepalive_probes += 1
    t.probe_due = PROBE_KEEPALIVE
    t.timers[TIMER_KEEPALIVE] = now + config.keepalive_interval
