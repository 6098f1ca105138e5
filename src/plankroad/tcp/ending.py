"""Changes of state, and how a connection ends."""

from __future__ import annotations

import errno

from plankroad.endpoint import EVENT_CLOSED, EVENT_ERROR
from plankroad.tcp.constants import (
    CLOSED,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TIMER_COUNT,
    TIMER_TIME_WAIT,
)
from plankroad.tcp.fastopen import on_attempt_failed
from plankroad.tcp.limits import account
from plankroad.tcp.tcb import Tcb
from plankroad.units import NEVER


def set_state(t: Tcb, now: int, state: int) -> None:
    """Go to `state`, and say so."""
    if t.log is not None:
        t.log.event(now, t.name(), "state", {"from": STATE_NAMES[t.state], "to": STATE_NAMES[state]})
    t.state = state


def stop_timers(t: Tcb) -> None:
    """No deadline is left."""
    for i in range(TIMER_COUNT):
        t.timers[i] = NEVER


def forget_send_side(t: Tcb) -> None:
    """Nothing will be sent any more: give the memory back."""
    t.snd_buf.release(t.snd_buf.end)
    t.scoreboard.clear()
    t.scoreboard.begin(t.snd_max)
    t.prr.active = False
    t.pacing_rate = 0
    t.reno_sacked = 0
    t.snd_una = t.snd_nxt = t.snd_max
    t.dsacks.clear()


def end_connection(t: Tcb, now: int, error: int) -> None:
    """Enter CLOSED with `error` (0: orderly). What was received and not read stays readable."""
    if t.state == CLOSED:
        return
    if t.state in (SYN_SENT, SYN_RECEIVED):
        t.counters.attempt_fails += 1
        if t.fast_open and error not in (0, errno.ECONNABORTED):
            on_attempt_failed(t, now)
    if error and t.error == 0:
        t.error = error
    if t.log is not None and error:
        t.log.event(now, t.name(), "error", {"errno": errno.errorcode.get(error, str(error))})
    set_state(t, now, CLOSED)
    stop_timers(t)
    forget_send_side(t)
    account(t, now)
    t.reassembly.clear()
    t.ack_now = 0
    t.syn_pending = False
    t.probe_due = 0
    t.events |= EVENT_CLOSED
    if error:
        t.events |= EVENT_ERROR
    listener = t.listener
    if listener is not None:
        t.listener = None
        listener.half_open_gone(t, now, error)


def abort_connection(t: Tcb, now: int, error: int) -> None:
    """End it with a RST to the peer, where the state asks for one (RFC 9293 section 3.10.5)."""
    if t.state not in (CLOSED, SYN_SENT, TIME_WAIT):
        t.send_reset = True
        t.reset_seq = t.snd_nxt
        t.reset_with_ack = True
    end_connection(t, now, error)


def enter_time_wait(t: Tcb, now: int) -> None:
    """Both FINs are acknowledged: wait 2 MSL (MUST-13). The program need not wait with us."""
    set_state(t, now, TIME_WAIT)
    t.counters.time_wait_entered += 1
    stop_timers(t)
    restart_time_wait(t, now)
    forget_send_side(t)
    account(t, now)
    t.reassembly.clear()
    t.events |= EVENT_CLOSED


def restart_time_wait(t: Tcb, now: int) -> None:
    """The wait begins anew."""
    t.timers[TIMER_TIME_WAIT] = now + 2 * t.config.msl
