"""A listener: LISTEN state (RFC 9293 section 3.10.7.2), a bounded SYN queue, SYN cookies, a bounded accept queue."""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from plankroad.endpoint import EVENT_ACCEPT, Endpoint
from plankroad.tcp.accecn import handshake_flags, syn_ack_option
from plankroad.tcp.config import ECN_OPTIONS_NEVER, TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import FAST_OPEN_PASSIVE, SYN_RECEIVED
from plankroad.tcp.cookies import SynCookies, decode_options, encode_options
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.ecn import established
from plankroad.tcp.ecnstate import ECN_OFF
from plankroad.tcp.ending import abort_connection, end_connection
from plankroad.tcp.fastopen_cache import FastOpenCookie
from plankroad.tcp.fastopen_cookie import COOKIE_BAD, COOKIE_GOOD, COOKIE_NONE, MAC_BLAKE2, FastOpenKeys
from plankroad.tcp.handshake import accept_syn, begin_fast, begin_passive, establish, syn_acknowledged
from plankroad.tcp.isn import IsnGenerator
from plankroad.tcp.reset import reset_for
from plankroad.tcp.seq import MASK32
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.window import shift_for
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.constants import ECN_MASK
from plankroad.wire.segment import ACE, ACE_SHIFT, ACK, CWR, ECE, RST, SYN, Segment

if TYPE_CHECKING:
    from plankroad.trace.eventlog import EventLog

#: For this long after the last cookie was sent an ACK may be the answer to one.
_COOKIE_PERIOD: Final = 128 * SECOND

#: RFC 7413 section 5.1: "continuing to account for those connection requests that have just been reset against the
#: listener's PendingFastOpenRequests until a timeout period has passed". As long as on Linux.
_RESET_COUNTS: Final = 60 * SECOND


class ListenResult:
    """What a segment for a listener leads to: a connection to register, a segment to send back, or neither."""

    __slots__ = ("connection", "reply")

    def __init__(self, connection: Connection | None, reply: Segment | None) -> None:
        self.connection = connection
        self.reply = reply


class Listener(Endpoint):
    """Answers SYNs for a local port.

    `backlog`: connections that may wait for `accept`. Half-open ones are bounded by `config.syn_backlog`; past that SYN
    cookies answer, which hold no state at all, or the oldest makes place. EVENT_ACCEPT tells of a connection to accept.

    `fast_open_queue` (at first `config.fast_open_queue`): connections that TCP Fast Open may have opened and whose
    handshake is not over (RFC 7413 section 4.2: PendingFastOpenRequests); 0 switches it off. Such a connection can be
    accepted at once, in SYN_RECEIVED, and has the data of its SYN.
    """

    __slots__ = (
        "backlog",
        "closed",
        "config",
        "cookies",
        "counters",
        "fast_open_keys",
        "fast_open_pending",
        "fast_open_queue",
        "fast_open_resets",
        "half_open",
        "isn",
        "last_cookie",
        "local_addr",
        "local_port",
        "log",
        "ready",
    )

    def __init__(
        self,
        config: TcpConfig,
        counters: TcpCounters,
        local_addr: bytes,
        local_port: int,
        backlog: int,
        isn: IsnGenerator,
        cookies: SynCookies,
        work: list[Endpoint] | None = None,
        log: EventLog | None = None,
        fast_open_keys: FastOpenKeys | None = None,
    ) -> None:
        """`local_addr`: b"" for any; without `fast_open_keys` there is no Fast Open.

        ValueError where the configuration is out of bounds.
        """
        super().__init__(work)
        config.validate()
        self.config: TcpConfig = config
        self.counters: TcpCounters = counters
        self.local_addr: bytes = local_addr
        self.local_port: int = local_port
        self.backlog: int = max(1, backlog)
        self.isn: IsnGenerator = isn
        self.cookies: SynCookies = cookies
        self.log: EventLog | None = log
        self.fast_open_keys: FastOpenKeys | None = fast_open_keys
        self.fast_open_queue: int = config.fast_open_queue
        self.fast_open_pending: dict[Tcb, Connection] = {}
        self.fast_open_resets: list[int] = []  # until when each of those that were reset still counts, ascending
        self.half_open: OrderedDict[Tcb, Connection] = OrderedDict()
        self.ready: list[Connection] = []
        self.last_cookie: int = -1
        self.closed: bool = False

    def handle_segment(
        self,
        now: int,
        seg: Segment,
        local_addr: bytes,
        remote_addr: bytes,
        link_mtu: int,
        path_mtu: int,
        initial_window: int = 0,
    ) -> ListenResult:
        """A segment for this port that belongs to no connection.

        `link_mtu`: what our MSS stands for; `initial_window`: the route's, in segments, 0 = the configuration's.
        """
        flags = seg.flags
        # RFC 9293 section 3.10.7.2, first: "An incoming RST should be ignored."
        if flags & RST or self.closed:
            return ListenResult(None, None)
        # Second: "Any acknowledgment is bad if it arrives on a connection still in the LISTEN state. An acceptable
        # reset segment should be formed", unless it answers a cookie.
        if flags & ACK:
            if not flags & SYN and self.last_cookie >= 0 and now - self.last_cookie <= _COOKIE_PERIOD:
                connection = self._from_cookie(now, seg, local_addr, remote_addr, link_mtu, path_mtu, initial_window)
                if connection is not None:
                    return ListenResult(connection, None)
                self.counters.syn_cookies_failed += 1
            return ListenResult(None, reset_for(seg))
        if not flags & SYN:
            return ListenResult(None, None)
        # Third: a SYN.
        if not self.has_room():
            self.counters.accept_queue_overflow += 1
            return ListenResult(None, None)
        verdict = COOKIE_NONE
        if self.fast_open_queue > 0 and self.config.fast_open_accept_cookieless:
            # RFC 7413 section 7.3: "cookies are not necessary if the server has application-level protection".
            if seg.payload or seg.fast_open is not None:
                verdict = COOKIE_NONE if self._fast_open_is_full(now) else COOKIE_GOOD
        elif seg.fast_open is not None and self.fast_open_queue > 0:
            verdict = self._cookie_verdict(now, seg.fast_open, local_addr, remote_addr)
            if verdict < COOKIE_GOOD:
                # RFC 7413 section 3, step 2 b: "the server drops the data and sends a SYN-ACK acknowledging only the
                # SYN sequence number."
                seg.payload = b""
        # Whoever brings a good cookie has shown that his address is his own: he need not answer another.
        if verdict < COOKIE_GOOD and len(self.half_open) >= self.config.syn_backlog:
            self.counters.syn_queue_overflow += 1
            if self.config.syn_cookies:
                return ListenResult(None, self._cookie_reply(now, seg, local_addr, remote_addr, link_mtu))
            if not self.recycle(now):
                return ListenResult(None, None)
        iss = self.isn.isn(now, local_addr, self.local_port, remote_addr, seg.src_port)
        connection = self._connection(seg, local_addr, remote_addr, link_mtu, path_mtu, iss)
        t = connection.tcb
        t.listener = self
        if initial_window:
            t.initial_window = initial_window
        if verdict not in (COOKIE_NONE, COOKIE_GOOD):
            t.fast_open_option = self._fresh_cookie(now, seg, local_addr, remote_addr)
        if verdict >= COOKIE_GOOD:
            self.fast_open_pending[t] = connection
            begin_fast(t, now, seg)
            connection.wake()
            self._offer(connection)
        else:
            self.half_open[t] = connection
            begin_passive(t, now, seg)
            connection.wake()
        return ListenResult(connection, None)

    def accept(self) -> Connection | None:
        """The connection that waits longest, None where none does."""
        if not self.ready:
            return None
        return self.ready.pop(0)

    def set_fast_open_key(self, key: bytes, previous: bytes = b"") -> None:
        """Cookies of this listener are made with `key`, not with the host's, and those made with `previous` taken too.

        ValueError as `FastOpenKeys.set_key`: both of at least 16 bytes, or `previous` empty.
        """
        host = self.fast_open_keys
        if len(key) < 16:
            raise ValueError("a key for Fast Open cookies must be of at least 16 bytes")
        keys = FastOpenKeys(key, 0, MAC_BLAKE2 if host is None else host.mac)
        keys.set_key(key, previous)
        self.fast_open_keys = keys

    def recycle(self, now: int) -> bool:
        """Forget the half-open connection that waits longest; False where there is none.

        RFC 4987 section 3.4: this "works under the assumption that legitimate connections can be fully established in
        less time than the backlog can be filled by incoming attack SYNs". Without cookies it is the best there is:
        whoever refuses new SYNs instead locks everyone out for as long as the flood lasts.
        """
        for t, connection in self.half_open.items():
            self.counters.syn_queue_recycled += 1
            end_connection(t, now, errno.ETIMEDOUT)
            connection.wake()
            return True
        return False

    def has_room(self) -> bool:
        """Can one more connection wait for `accept`?"""
        return len(self.ready) < self.backlog

    def close(self, now: int) -> None:
        """Stop listening; connections that nobody accepted are reset."""
        self.closed = True
        waiting = self.ready
        self.ready = []
        for connection in waiting:
            connection.abort(now)
        for t, connection in list(self.half_open.items()):
            t.listener = None
            abort_connection(t, now, errno.ECONNABORTED)
            connection.wake()
        self.half_open.clear()
        # Those of Fast Open that were accepted go on like any other.
        for t in self.fast_open_pending:
            t.listener = None
        self.fast_open_pending.clear()
        self.wake()

    def half_open_done(self, t: Tcb) -> None:
        """A half-open connection reached ESTABLISHED: it waits for `accept`, if it did not from its SYN on."""
        if t.fast_open == FAST_OPEN_PASSIVE:
            self.fast_open_pending.pop(t, None)
        else:
            self._offer(self.half_open.pop(t))

    def half_open_gone(self, t: Tcb, now: int, error: int) -> None:
        """A half-open connection ended before it was one, with the errno `error`."""
        if t.fast_open == FAST_OPEN_PASSIVE:
            self.fast_open_pending.pop(t, None)
            if error == errno.ECONNRESET:
                self.fast_open_resets.append(now + _RESET_COUNTS)
        else:
            self.half_open.pop(t, None)

    def _cookie_verdict(self, now: int, cookie: bytes, local_addr: bytes, remote_addr: bytes) -> int:
        """What a SYN's Fast Open option is worth: a COOKIE_ constant; COOKIE_BAD and COOKIE_OLD ask for a fresh one."""
        keys = self.fast_open_keys
        if keys is None:
            return COOKIE_NONE
        if self._fast_open_is_full(now):
            return COOKIE_NONE
        if not cookie:
            self.counters.fast_open_cookie_requests += 1
            return COOKIE_BAD
        verdict = keys.check(now, remote_addr, local_addr, cookie)
        if verdict == COOKIE_BAD:
            self.counters.fast_open_cookie_invalid += 1
        return verdict

    def _fresh_cookie(self, now: int, seg: Segment, local_addr: bytes, remote_addr: bytes) -> FastOpenCookie | None:
        """What a SYN-ACK brings in answer to `seg`, in the form that it asked in."""
        keys = self.fast_open_keys
        if keys is None:
            return None
        cookie = keys.cookie(now, remote_addr, local_addr, self.config.fast_open_cookie)
        return FastOpenCookie(cookie, seg.fast_open_exp, 0)

    def _fast_open_is_full(self, now: int) -> bool:
        """Is PendingFastOpenRequests at its limit?

        RFC 7413 section 5.1: "subsequent TFO requests will be downgraded to regular connection requests, i.e., with the
        data dropped and only SYNs acknowledged. This allows regular SYN flood defense techniques [RFC4987] like SYN
        cookies to kick in".
        """
        resets = self.fast_open_resets
        if len(self.fast_open_pending) + len(resets) < self.fast_open_queue:
            return False
        while resets and resets[0] <= now:
            del resets[0]
        if len(self.fast_open_pending) + len(resets) < self.fast_open_queue:
            return False
        self.counters.fast_open_queue_full += 1
        return True

    def _offer(self, connection: Connection) -> None:
        self.ready.append(connection)
        self.events |= EVENT_ACCEPT
        self.wake()

    def _connection(
        self, seg: Segment, local_addr: bytes, remote_addr: bytes, link_mtu: int, path_mtu: int, iss: int
    ) -> Connection:
        return Connection(
            self.config,
            self.counters,
            local_addr,
            self.local_port,
            remote_addr,
            seg.src_port,
            iss,
            self.isn.ts_offset(local_addr, self.local_port, remote_addr, seg.src_port),
            link_mtu,
            path_mtu,
            self.work,
            self.log,
        )

    def _cookie_reply(self, now: int, seg: Segment, local_addr: bytes, remote_addr: bytes, link_mtu: int) -> Segment:
        """<SYN,ACK> whose sequence number and timestamp hold what we would have remembered (RFC 4987 section 3.6)."""
        config = self.config
        port = self.local_port
        default = 536 if len(local_addr) == 4 else 1220
        cookie = self.cookies.make(
            now, local_addr, port, remote_addr, seg.src_port, seg.seq, seg.mss if seg.mss else default
        )
        self.last_cookie = now
        self.counters.syn_cookies_sent += 1
        reply = Segment(port, seg.src_port, cookie, (seg.seq + 1) & MASK32, SYN | ACK, 0)
        reply.wnd = min(config.initial_rcv_buf(), 65535)
        reply.tos = config.tos
        classic = False
        if config.ecn != ECN_OFF:
            # RFC 9768 section 5.1: accurate ECN needs no memory, its flags come back in the ACK. What is agreed to by
            # RFC 3168 must be kept in the timestamp, and without one is refused.
            asked = seg.flags & ACE
            classic = asked == CWR | ECE or (asked != 0 and not config.accurate_ecn)
            if classic:
                if config.timestamps and seg.has_ts:
                    reply.flags |= ECE
            elif asked:
                reply.flags |= handshake_flags(seg.tos & ECN_MASK)
        reply.mss = link_mtu - (40 if len(local_addr) == 4 else 60)
        if config.max_segment:
            reply.mss = min(reply.mss, config.max_segment)
        if config.timestamps and seg.has_ts:
            offset = self.isn.ts_offset(local_addr, port, remote_addr, seg.src_port)
            wscale = seg.wscale if config.window_scaling else -1
            sack = config.sack and seg.sack_permitted
            clock = encode_options((now // MILLISECOND) & MASK32, wscale, sack, classic)
            reply.has_ts = True
            reply.ts_val = (clock + offset) & MASK32
            reply.ts_ecr = seg.ts_val
            reply.sack_permitted = sack
            if wscale >= 0:
                reply.wscale = shift_for(config.largest_rcv_buf())
        if reply.flags & ACE and not classic and config.accurate_ecn_options != ECN_OPTIONS_NEVER:
            syn_ack_option(reply)
        return reply

    def _from_cookie(
        self,
        now: int,
        seg: Segment,
        local_addr: bytes,
        remote_addr: bytes,
        link_mtu: int,
        path_mtu: int,
        initial_window: int,
    ) -> Connection | None:
        """The connection of which this ACK completes the handshake, if its cookie is one of ours."""
        if not self.has_room():
            return None
        cookie = (seg.ack - 1) & MASK32
        peer_isn = (seg.seq - 1) & MASK32
        mss = self.cookies.check(now, local_addr, self.local_port, remote_addr, seg.src_port, peer_isn, cookie)
        if mss == 0:
            return None
        self.counters.syn_cookies_accepted += 1
        connection = self._connection(seg, local_addr, remote_addr, link_mtu, path_mtu, cookie)
        t = connection.tcb
        if initial_window:
            t.initial_window = initial_window
        # The SYN as it must have been.
        syn = Segment(seg.src_port, seg.dst_port, peer_isn, 0, SYN, seg.wnd)
        syn.mss = mss
        if seg.has_ts and t.ts_ok:
            options = decode_options((seg.ts_ecr - t.ts_offset) & MASK32)
            syn.has_ts = True
            syn.ts_val = seg.ts_val
            syn.wscale = options.wscale
            syn.sack_permitted = options.sack_permitted
            if options.ecn:
                syn.flags |= CWR | ECE
        if not syn.flags & ACE and (seg.flags & ACE) >> ACE_SHIFT >= 2:
            # RFC 9768 section 5.1: "if the ACK contains an ACE field with the value 0b010 to 0b111", we had agreed.
            syn.flags |= ACE
        t.passive = True
        t.opened_at = now
        self.counters.passive_opens += 1
        t.state = SYN_RECEIVED
        accept_syn(t, now, syn)
        # No round trip was measured: the cookie's timestamp is too coarse for it.
        t.syn_retransmitted = True
        syn_acknowledged(t, now, syn, cookie + 1)
        t.rtt.base_rto = self.config.initial_rto
        t.snd_wnd = seg.wnd << t.snd_wind_shift
        t.max_snd_wnd = t.snd_wnd
        establish(t, now)
        if t.ecn is not None:
            established(t, now, seg)
        t.timers = [NEVER] * len(t.timers) if not self.config.keepalive else t.timers
        self._offer(connection)
        # The ACK may carry data: it goes the ordinary way.
        connection.handle_segment(now, seg)
        return connection
