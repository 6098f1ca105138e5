"""`Connection`: the face of the TCP machine.

Commands of the program: `open`, `send`, `receive`, `close`, `abort`, `release` (RFC 9293 section 3.10.1 to 3.10.5).
Inputs: `handle_segment`, `handle_timeout`, `handle_icmp`, `set_path_mtu`.
Outputs, to be drained after any of those, in this order: `poll_transmit` until it returns None, then `next_timeout`,
then `poll_events`. Each command and input wakes the endpoint, so a stack knows whom to poll.

What a call does is in the functions around the Tcb: `handshake`, `input`, `ack`, `receive`, `recovery`, `output`,
`timers`, `ending`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from plankroad.endpoint import EVENT_WRITABLE, Endpoint
from plankroad.tcp import pacing
from plankroad.tcp.autotune import begin as begin_autotuning
from plankroad.tcp.autotune import on_taken
from plankroad.tcp.cc.registry import create
from plankroad.tcp.config import NAGLE_MINSHALL, NAGLE_OFF, TcpConfig
from plankroad.tcp.constants import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FAST_OPEN_WAITING,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    STATE_NAMES,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
    TIMER_CORK,
    TIMER_KEEPALIVE,
    TIMER_LINGER,
    TIMER_TIME_WAIT,
    TIMER_USER,
)
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.ecnstate import ECN_OFF
from plankroad.tcp.ending import abort_connection, end_connection, set_state
from plankroad.tcp.fastopen import holds_early_data, release_syn
from plankroad.tcp.handshake import begin_active, start_congestion_control
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED, handle_icmp
from plankroad.tcp.info import tcp_info
from plankroad.tcp.input import handle_segment, may_reuse
from plankroad.tcp.output import acknowledge, poll_transmit
from plankroad.tcp.plpmtud import TOLD, on_packet_too_big, path_changed
from plankroad.tcp.recovery import resend_all
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.timers import arm_keepalive, handle_timeout
from plankroad.tcp.window import update_is_due
from plankroad.units import NEVER
from plankroad.wire.segment import Segment

if TYPE_CHECKING:
    from plankroad.tcp.fastopen_cache import FastOpenCache
    from plankroad.trace.eventlog import EventLog

#: Released chunks are removed from the receive queue when this many have gathered.
_COMPACT_AT: Final = 64

_OPTIONS: Final = (
    "congestion_control",
    "cork",
    "delayed_ack",
    "ecn",
    "keepalive",
    "keepalive_count",
    "keepalive_idle",
    "keepalive_interval",
    "linger",
    "max_segment",
    "nagle",
    "orphan_timeout",
    "pacing",
    "persist_timeout",
    "quick_acks",
    "r1",
    "r2",
    "rcv_buf",
    "rcv_buf_max",
    "snd_buf",
    "snd_buf_max",
    "syn_retries",
    "tos",
    "ttl",
    "user_timeout",
    "fin_timeout",
)


class Connection(Endpoint):
    """One TCP connection. `tcb` holds every variable; `error` the errno of its end (0: orderly)."""

    __slots__ = ("local_addr", "local_port", "remote_addr", "remote_port", "tcb")

    def __init__(
        self,
        config: TcpConfig,
        counters: TcpCounters,
        local_addr: bytes,
        local_port: int,
        remote_addr: bytes,
        remote_port: int,
        iss: int,
        ts_offset: int,
        link_mtu: int,
        path_mtu: int,
        work: list[Endpoint] | None = None,
        log: EventLog | None = None,
    ) -> None:
        """`iss` and `ts_offset`: 32 bits each, from `IsnGenerator`. `link_mtu`: of the interface, for the MSS we offer;
        `path_mtu`: of the route, for the segments we send; both are sizes of IP packets.

        ValueError: the configuration names an unknown congestion control or a value out of bounds.
        """
        super().__init__(work)
        self.local_addr: bytes = local_addr
        self.local_port: int = local_port
        self.remote_addr: bytes = remote_addr
        self.remote_port: int = remote_port
        cc = create(config.congestion_control, 536, 5360)
        self.tcb: Tcb = Tcb(
            config,
            counters,
            local_addr,
            local_port,
            remote_addr,
            remote_port,
            iss,
            ts_offset,
            link_mtu,
            path_mtu,
            cc,
            log,
        )
        self.tcb.update_mss()

    # Commands of the program

    def open(self, now: int, fast_open: FastOpenCache | None = None) -> None:
        """Active open: the next `poll_transmit` gives the SYN. OSError(EISCONN) on a connection already opened.

        With `fast_open`, what the host knows of servers, TCP Fast Open is tried (see `TcpConfig.fast_open`): if
        `awaits_write` is true afterwards, the SYN goes out with the first `send`.
        """
        if self.tcb.state != CLOSED or self.tcb.opened_at >= 0 or self.tcb.error:
            raise OSError(errno.EISCONN, "this connection was opened before")
        self.tcb.fast_open_cache = fast_open
        begin_active(self.tcb, now)
        self._changed()

    def awaits_write(self) -> bool:
        """The SYN waits for data, to take it along (RFC 7413): nothing is gained by waiting for EVENT_CONNECTED."""
        return self.tcb.fast_open == FAST_OPEN_WAITING and self.tcb.state == SYN_SENT

    def send(self, now: int, data: bytes) -> int:
        """Queue `data`; returns how many of its bytes were taken, as the send buffer had room.

        After less than all were taken EVENT_WRITABLE tells of room. Before ESTABLISHED data is queued.
        OSError: EPIPE after `close`, the connection's own error after its end, ENOTCONN before `open`.
        """
        t = self.tcb
        if t.close_requested or t.released:
            raise BrokenPipeError(errno.EPIPE, "the connection was closed for sending")
        if t.state in (CLOSED, TIME_WAIT):
            if t.error:
                raise OSError(t.error, t.reason or os.strerror(t.error))
            raise OSError(errno.ENOTCONN, "the connection is not open")
        room = t.snd_buf_limit - len(t.snd_buf)
        if room <= 0:
            t.send_blocked = True
            return 0
        if len(data) > room:
            data = data[:room]
            t.send_blocked = True
        if data:
            t.more = False
            t.snd_buf.append(data)
            if t.fast_open == FAST_OPEN_WAITING:
                release_syn(t)
            self._changed()
        return len(data)

    def send_more(self, now: int, data: bytes) -> int:
        """`send`, and more follows at once: what is less than a segment waits for it, until an acknowledgement comes.

        This is a SEND without PUSH (RFC 9293 section 3.9.1.2, MAY-15; MSG_MORE), and does not wait longer than cork
        does (MUST-60).
        """
        taken = self.send(now, data)
        if taken:
            t = self.tcb
            t.more = True
            t.more_end = t.snd_buf.end
        return taken

    def end_record(self) -> None:
        """What was written so far ends a record: it shares no segment with what is written next (MSG_EOR).

        The peer reads a stream all the same; this is for programs that know what their segments are made of. A small
        segment that ends a record leaves as soon as another record is behind it.
        """
        self.tcb.snd_buf.end_record()

    def push(self, now: int) -> None:
        """What cork or `send_more` holds back may go; what is written from now on is held as before."""
        t = self.tcb
        t.more = False
        t.cork_expired = t.snd_buf.end > max(t.snd_nxt, t.snd_buf.start)
        self._changed()

    def send_urgent(self, now: int, data: bytes) -> int:
        """`send`, and mark the end of what was taken as urgent (MUST-30, MUST-31; RFC 6093 advises against use)."""
        taken = self.send(now, data)
        if taken:
            t = self.tcb
            t.snd_up = t.snd_buf.end
            t.snd_urgent = True
            # The peer hears of it at once, even where its window holds the data back.
            if t.state in (ESTABLISHED, CLOSE_WAIT):
                acknowledge(t)
        return taken

    def take_back(self) -> int:
        """Give back to the program what it wrote last and was never sent; returns how many octets.

        So a write that is to go out in the SYN (RFC 7413), and not to wait for the handshake, ends where the SYN does.
        """
        t = self.tcb
        first = max(t.snd_max, t.iss + 1, t.snd_buf.start)
        if t.state == SYN_SENT:
            first = max(first, t.iss + 1 + t.syn_data)
        count = t.snd_buf.end - first
        if count <= 0 or t.close_requested:
            return 0
        t.snd_buf.cut(first)
        self._changed()
        return count

    def receive(self, now: int, limit: int) -> bytes:
        """Up to `limit` bytes that arrived in order; b"" when there is nothing (at the end, too: see `at_eof`)."""
        t = self.tcb
        if t.rcv_queued == 0 or limit <= 0:
            return b""
        queue = t.rcv_queue
        head = t.rcv_queue_head
        first = queue[head]
        if len(first) > limit:
            data = first[:limit]
            queue[head] = first[limit:]
        elif len(first) == limit or head + 1 == len(queue):
            data = first
            queue[head] = b""
            head += 1
        else:
            parts = []
            left = limit
            while left > 0 and head < len(queue):
                piece = queue[head]
                if len(piece) > left:
                    queue[head] = piece[left:]
                    piece = piece[:left]
                else:
                    queue[head] = b""
                    head += 1
                parts.append(piece)
                left -= len(piece)
            data = b"".join(parts)
        if head == len(queue) or head >= _COMPACT_AT:
            del queue[:head]
            head = 0
        t.rcv_queue_head = head
        t.rcv_queued -= len(data)
        if t.rcv_urgent and _read_up_to(t) >= t.rcv_up:
            t.rcv_urgent = False
        space = t.rcv_space
        if space.on and (now >= space.due or t.rcv_nxt - t.rcv_queued >= space.grow_at):
            on_taken(t, now)
        if not t.rcv_eof and t.state != CLOSED and update_is_due(t):
            t.counters.window_updates_sent += 1
            acknowledge(t)
            self._changed()
        return data

    def readable(self) -> int:
        """How many bytes wait to be read."""
        return self.tcb.rcv_queued

    def next_chunk(self) -> int:
        """How many of them came in one piece: a `receive` of as many copies nothing. 0 where nothing waits."""
        t = self.tcb
        return len(t.rcv_queue[t.rcv_queue_head]) if t.rcv_queued else 0

    def at_eof(self) -> bool:
        """The peer's FIN was reached and everything before it was read."""
        return self.tcb.rcv_eof and self.tcb.rcv_queued == 0

    def urgent_remaining(self) -> int:
        """Bytes still to be read up to the end of the peer's urgent data (MUST-33); 0 when there is none."""
        t = self.tcb
        if not t.rcv_urgent:
            return 0
        return max(0, t.rcv_up - _read_up_to(t))

    def close(self, now: int) -> None:
        """No more will be sent: a FIN follows what is queued (RFC 9293 section 3.10.4). Receiving goes on."""
        t = self.tcb
        if t.close_requested:
            return
        if t.state == SYN_SENT:
            if holds_early_data(t):
                # The program was told that it may write, and has written: that is sent, whatever the state is called.
                t.close_requested = True
            else:
                end_connection(t, now, 0)
        elif t.state == SYN_RECEIVED:
            t.close_requested = True
        elif t.state == ESTABLISHED:
            t.close_requested = True
            set_state(t, now, FIN_WAIT_1)
        elif t.state == CLOSE_WAIT:
            t.close_requested = True
            set_state(t, now, LAST_ACK)
        self._changed()

    def release(self, now: int) -> None:
        """The program is gone: close, and nobody will read (a socket's close()).

        Where received data was not read, or where linger is 0, that is a reset (SHLD-3); data that arrives later is
        answered by one. With linger > 0 what is not acknowledged within that time is given up by a reset.
        """
        t = self.tcb
        if t.released:
            return
        t.released = True
        if t.state in (CLOSED, TIME_WAIT):
            t.rcv_queue.clear()
            t.rcv_queued = 0
            t.rcv_queue_head = 0
        elif t.state == SYN_SENT and not holds_early_data(t):
            end_connection(t, now, 0)
        elif t.rcv_queued > 0 or t.reassembly.octets > 0 or t.config.linger == 0:
            if t.rcv_queued > 0 or t.reassembly.octets > 0:
                t.counters.data_after_close += 1
            abort_connection(t, now, errno.ECONNABORTED)
        else:
            self.close(now)
            if t.config.linger > 0:
                t.timers[TIMER_LINGER] = now + t.config.linger
            if t.state == FIN_WAIT_2:
                t.timers[TIMER_TIME_WAIT] = now + t.config.fin_timeout
        self._changed()

    def abort(self, now: int) -> None:
        """Reset the connection (RFC 9293 section 3.10.5): queued data is dropped, the peer is told."""
        abort_connection(self.tcb, now, errno.ECONNABORTED)
        self._changed()

    def shed(self, now: int, error: int, reason: str) -> None:
        """Abort, and let go of what the program has not read: the memory is wanted elsewhere.

        The program hears of `error`, an errno, with the words of `reason`; the peer of a RST.
        """
        t = self.tcb
        if t.state == CLOSED:
            return
        t.reason = reason
        abort_connection(t, now, error)
        t.rcv_queue.clear()
        t.rcv_queue_head = 0
        t.rcv_queued = 0
        self._changed()

    def drop(self, now: int) -> None:
        """Forget the connection without a word to the peer: a new incarnation takes its place."""
        self.tcb.counters.time_wait_reused += 1
        end_connection(self.tcb, now, 0)
        self._changed()

    def set_option(self, now: int, name: str, value: int | bool | str) -> None:
        """Change one of the choices of `TcpConfig` that may change while a connection lives.

        ValueError: the name is unknown or fixed at the open, or the value is out of bounds.
        """
        if name not in _OPTIONS:
            raise ValueError(f"{name!r} cannot be changed on a connection; these can: {', '.join(_OPTIONS)}")
        t = self.tcb
        config = t.config.copy()
        try:
            setattr(config, name, value)
        except TypeError:
            # A compiled field refuses what is of another type by itself.
            raise ValueError(f"TcpConfig.{name} is {value!r}; it must be of another type") from None
        config.validate()
        t.config = config
        if name == "keepalive":
            if value:
                if t.state >= ESTABLISHED and t.state != TIME_WAIT:
                    arm_keepalive(t, now)
            else:
                t.timers[TIMER_KEEPALIVE] = NEVER
        elif name == "keepalive_idle" and t.timers[TIMER_KEEPALIVE] != NEVER:
            t.timers[TIMER_KEEPALIVE] = max(now, t.last_received + config.keepalive_idle)
        elif name == "congestion_control":
            # The new algorithm takes over where the old one stands.
            old = t.cc
            start_congestion_control(t)
            t.cc.cwnd = old.cwnd
            t.cc.ssthresh = old.ssthresh
            t.prr.active = False
            t.cc.on_established(now, t.rtt.srtt or -1)
            pacing.update_rate(t)
        elif name == "pacing":
            t.cc.paced = config.pacing
            pacing.update_rate(t)
        elif name == "max_segment":
            t.update_mss()
        elif name == "cork" and not value:
            t.timers[TIMER_CORK] = NEVER
        elif name == "tos":
            t.tos = config.tos
        elif name == "ecn":
            if t.ecn is not None:
                t.ecn.wanted = value != ECN_OFF
        elif name == "snd_buf":
            # What was taken stays; a smaller buffer shows as it empties.
            t.snd_buf_auto = config.snd_buf == 0
            t.snd_buf_limit = max(config.initial_snd_buf(), len(t.snd_buf))
            if t.send_blocked and len(t.snd_buf) < t.snd_buf_limit:
                t.send_blocked = False
                t.events |= EVENT_WRITABLE
        elif name == "rcv_buf":
            # The offered window never moves left; a smaller buffer shows as it is used up.
            t.rcv_buf = max(config.initial_rcv_buf(), t.rcv_queued + max(0, t.rcv_adv - t.rcv_nxt))
            if t.state >= ESTABLISHED:
                begin_autotuning(t, now)
        elif name == "rcv_buf_max":
            if t.state >= ESTABLISHED:
                begin_autotuning(t, now)
        elif name == "quick_acks":
            t.quick_acks = config.quick_acks
        elif name == "user_timeout":
            t.user_timeout = config.user_timeout
            t.user_timeout_due = config.user_timeout > 0 and config.user_timeout_offered
            limit = t.timeout_limit()
            owed = t.unanswered_since >= 0 and t.state not in (CLOSED, TIME_WAIT)
            t.timers[TIMER_USER] = t.unanswered_since + limit if owed and config.user_timeout else NEVER
        self._changed()

    def set_nodelay(self, now: int, on: bool) -> None:
        """TCP_NODELAY (MUST-17)."""
        self.set_option(now, "nagle", NAGLE_OFF if on else NAGLE_MINSHALL)

    # Inputs

    def handle_segment(self, now: int, seg: Segment) -> None:
        """A segment of this connection arrived; its checksum is right."""
        handle_segment(self.tcb, now, seg)
        self._changed()

    def handle_timeout(self, now: int) -> None:
        """The time is `now`: act on the deadlines that have passed."""
        handle_timeout(self.tcb, now)
        self._changed()

    def handle_icmp(self, now: int, kind: int, seq: int, mtu: int = 0) -> bool:
        """An ICMP error (`tcp.icmp` has the kinds) quotes a segment of ours with sequence number `seq` (-1: unknown).

        Returns whether it is credible. A credible FRAGMENTATION_NEEDED is followed by `set_path_mtu`.
        """
        credible = handle_icmp(self.tcb, now, kind, seq)
        if credible and kind == FRAGMENTATION_NEEDED and mtu > 0:
            on_packet_too_big(self.tcb, mtu)
        self._changed()
        return credible

    def set_path_mtu(self, now: int, mtu: int, link_mtu: int = 0, searched: int = TOLD) -> None:
        """The largest IP packet that the path carries is now `mtu` bytes.

        `link_mtu`: that the first hop carries, 0 as before. `searched`: how `mtu` became known, see `tcp.plpmtud`.
        """
        t = self.tcb
        before = t.snd_mss
        path_changed(t, now, mtu, link_mtu, searched)
        if t.snd_mss < before and not t.scoreboard.is_empty():
            resend_all(t, now)
        self._changed()

    def may_reuse(self, now: int, seg: Segment) -> bool:
        """May this SYN open a new connection in place of this one in TIME-WAIT? (RFC 6191) Then `drop` it."""
        return may_reuse(self.tcb, now, seg)

    # Outputs

    def poll_transmit(self, now: int) -> Segment | None:
        """The next segment to send, None when there is none."""
        return poll_transmit(self.tcb, now)

    def next_timeout(self) -> int:
        """When `handle_timeout` is to be called, NEVER where no timer runs."""
        return min(self.tcb.timers)

    def poll_events(self) -> int:
        """The EVENT_ bits since the last call."""
        t = self.tcb
        events = self.events | t.events
        self.events = 0
        t.events = 0
        return events

    def has_events(self) -> bool:
        """Would `poll_events` tell something?"""
        return (self.events | self.tcb.events) != 0

    # Looking

    def state(self) -> str:
        """The state's name in RFC 9293."""
        return STATE_NAMES[self.tcb.state]

    def info(self, now: int) -> dict[str, int | str]:
        """What Linux's tcp_info tells, under its names; see `tcp.info`."""
        return tcp_info(self.tcb, now)

    def _changed(self) -> None:
        t = self.tcb
        self.error = t.error
        self.soft_error = t.soft_error
        self.wake()


def _read_up_to(t: Tcb) -> int:
    """Sequence number of the next octet that the program reads; a FIN is none."""
    return t.rcv_nxt - t.rcv_queued - (1 if t.rcv_eof else 0)
