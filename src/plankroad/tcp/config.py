"""`TcpConfig`: everything about a connection that a program may choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from plankroad.tcp.cc.base import SLOW_START_LIMIT
from plankroad.tcp.cc.registry import names
from plankroad.tcp.constants import MAX_WIND_SHIFT
from plankroad.tcp.ecnstate import ECN_ACCURATE, ECN_OFF, ECN_ON, ECN_PASSIVE
from plankroad.units import MILLISECOND, SECOND

ECN_OPTIONS_DUE: Final = "due"
ECN_OPTIONS_ALWAYS: Final = "always"
ECN_OPTIONS_NEVER: Final = "never"

REDUCE_FROM_FLIGHT: Final = "flight"
REDUCE_FROM_CWND: Final = "cwnd"

WINDOW_PROBE_OCTET: Final = "octet"
WINDOW_PROBE_EMPTY: Final = "empty"

NAGLE_OFF: Final = "off"
NAGLE_CLASSIC: Final = "classic"
NAGLE_MINSHALL: Final = "minshall"

MTU_PROBING_OFF: Final = "off"
MTU_PROBING_BLACK_HOLE: Final = "black_hole"
MTU_PROBING_ON: Final = "on"

#: What an automatic receive buffer begins with: four super-segments; a sender's first windows fit several times.
INITIAL_RCV_BUF: Final = 256 * 1024
#: What an automatic send buffer begins with, and has beside two windows.
INITIAL_SND_BUF: Final = 256 * 1024
#: RFC 8985 section 7.2, TLP.max_ack_delay: what a peer may wait with the acknowledgement of a single segment; 40 ms in
#: most stacks. Where it waits longer the round trips that we measure show it, and a needless probe costs one segment.
MAX_ACK_DELAY: Final = 50 * MILLISECOND


@dataclass
class TcpConfig:
    """Choices for a connection. Times are nanoseconds, sizes bytes. `validate` tells what is wrong with a value.

    A stack holds one as its default; `connect` and `listen` take another. A connection keeps its own copy, and
    `Connection.set_option` changes what may be changed while it lives.
    """

    # Buffers
    #: Bytes the program may write ahead of what the peer acknowledged (SO_SNDBUF). 0: as many as two windows and
    #: `snd_buf_start`, up to `snd_buf_max`; it begins with `snd_buf_start`. A number fixes it.
    snd_buf: int = 0
    snd_buf_start: int = INITIAL_SND_BUF
    snd_buf_max: int = 64 * 1024 * 1024
    #: Bytes kept for a program that does not read; bounds the window offered (SO_RCVBUF). 0: it begins with
    #: `rcv_buf_start` and grows to what a program that reads needs on its path, up to `rcv_buf_max`. A number fixes it.
    #: The window scale is chosen for it when the connection opens: what is set later offers no more than that can tell.
    rcv_buf: int = 0
    rcv_buf_start: int = INITIAL_RCV_BUF
    rcv_buf_max: int = 64 * 1024 * 1024

    # Sending
    #: "minshall" (at most one small segment unacknowledged), "classic" (RFC 9293 section 3.7.4) or "off" (TCP_NODELAY).
    nagle: str = NAGLE_MINSHALL
    #: What asks a peer whose window is zero (RFC 9293 section 3.8.6.1): "octet", one of new data, or "empty", a segment
    #: without any from before the window, which makes the peer answer too; Linux sends those.
    window_probe: str = WINDOW_PROBE_OCTET
    #: Only full segments are sent, for at most `cork_limit` (TCP_CORK).
    cork: bool = False
    cork_limit: int = 200 * MILLISECOND
    #: Congestion control by its registered name: "cubic", "bbr", "newreno" ("reno" on Linux), "vegas", "ledbat",
    #: "dctcp", or a program's own. docs/congestion-control.md tells what each is for.
    congestion_control: str = "cubic"
    #: Spread what the window allows over the round trip, where the algorithm does not object.
    pacing: bool = True
    #: Super-segments as Linux makes them: each ends with PSH, so that a receiver that joins segments passes them on at
    #: once, and holds so many segments, or a millisecond of what cwnd comes to if that is more; half of cwnd at most.
    #: 0: as large as windows and link allow, with PSH on the last octet that waits (MUST-61) alone.
    push_bursts: int = 0
    #: Initial window in segments (RFC 6928).
    initial_window: int = 10
    #: L of RFC 3465 section 2.3: the segments that one ACK adds to cwnd in slow start at most, where nothing is paced.
    #: 0: all that it is the first news of, as Linux does; then an ACK for many segments lets a burst out.
    slow_start_limit: int = SLOW_START_LIMIT
    #: After a loss or mark ssthresh comes from "flight", what was in flight (RFC 5681 equation (4)), or from "cwnd",
    #: even where the program did not fill it: RFC 9438 section 4.6 allows that, and Linux does it.
    reduce_from: str = REDUCE_FROM_FLIGHT
    #: Shrink cwnd to the initial window after an idle period longer than RTO (RFC 5681 section 4.1). Off: it is kept
    #: for five minutes, as one that has to prove itself (RFC 7661).
    idle_restart: bool = True

    # Segments
    #: Upper bound on the MSS that is offered and used, 0 for what the link allows (TCP_MAXSEG).
    max_segment: int = 0
    #: A peer that names a smaller MSS than this gets segments of this size: below 48 bytes headers outweigh the data,
    #: and queues are made of little else. 1 keeps to whatever it names (MUST-16).
    least_mss: int = 48
    #: Offer no larger MSS than the path's MTU allows: routes are often the same both ways. Off: what the link carries.
    offer_path_mss: bool = False
    #: Path MTU discovery without ICMP (RFC 4821, RFC 8899). "black_hole": when timeouts suggest that large packets
    #: vanish, segments become small and the largest size that arrives is searched for. "on": it is searched for from
    #: the beginning, from `mtu_base` upwards. "off": ICMP alone.
    mtu_probing: str = MTU_PROBING_BLACK_HOLE
    #: Size of the IP packets that the search begins with (RFC 4821 section 7.2); IPv6 has at least 1280.
    mtu_base: int = 1024
    #: Forbid fragments on the way, and follow what routers say of it (RFC 1191). Off, IPv4 packets may be fragmented
    #: (IP_PMTUDISC_DONT); an IPv6 path is always discovered.
    path_mtu_discovery: bool = True
    window_scaling: bool = True
    timestamps: bool = True
    #: Drop segments without timestamps where they were agreed on (RFC 7323 section 3.2: SHOULD).
    timestamps_required: bool = True
    sack: bool = True
    #: Report duplicates (RFC 2883).
    dsack: bool = True
    #: IPv4 time to live or IPv6 hop limit (MUST-49).
    ttl: int = 64
    #: IPv4 type of service or IPv6 traffic class: the Diffserv field is its upper six bits (MUST-48); the lower two
    #: belong to ECN and are 0 here.
    tos: int = 0
    #: Explicit congestion notification: "passive" agrees to what a peer asks for, "on" asks for it (RFC 3168), "accecn"
    #: asks for accurate feedback (RFC 9768) and takes the other where the peer knows no better, "off" does neither. All
    #: but "off" agree to accurate feedback. An algorithm that lives by marks (dctcp) asks where this says "passive".
    #: On a living connection "off" ends marking what is sent, and anything else resumes it, if it was agreed.
    ecn: str = ECN_PASSIVE
    #: Agree to accurate feedback where a peer asks for it. Off: it gets RFC 3168's.
    accurate_ecn: bool = True
    #: Options of accurate feedback (RFC 9768 section 3.2.3): "due" where a counter moved, "always" on every segment
    #: with room for one, "never".
    accurate_ecn_options: str = ECN_OPTIONS_DUE
    #: IPv4 source route (MUST-51): router addresses to go through, as 4-byte strings.
    source_route: tuple[bytes, ...] = ()

    # Acknowledging
    #: Longest wait of an acknowledgement (MUST-40: below 0.5 s).
    delayed_ack: int = 40 * MILLISECOND
    #: Segments acknowledged at once when a connection starts, while the sender's window is small.
    quick_acks: int = 16
    #: Leave those out while the program answers: what it sends within `delayed_ack` of what came takes the next
    #: acknowledgements along. Until one of them had to be sent by itself, as on Linux.
    interactive_acks: bool = False

    # Retransmission
    #: RFC 6298 (2.1): before there is a sample.
    initial_rto: int = 1 * SECOND
    #: RFC 6298 (2.4) says 1 s; Linux and the others use less. See docs/deviations.md.
    min_rto: int = 200 * MILLISECOND
    #: RFC 6298 to the letter (MUST-18): RTO is SRTT + 4 * RTTVAR, but not below `min_rto` (which should then be 1 s),
    #: and stays backed off until there is a sample. Off: `min_rto` comes on top of the round trip, and progress ends
    #: back-off.
    strict_rto: bool = False
    #: RFC 6298 (2.5): at least 60 s.
    max_rto: int = 60 * SECOND
    #: Probe for the loss of the end of a flight (RFC 8985 section 7).
    tail_loss_probes: bool = True
    #: TLP.max_ack_delay of RFC 8985 section 7.2: what a peer may wait with the acknowledgement of a single segment.
    max_ack_delay: int = MAX_ACK_DELAY
    #: Find out without timestamps whether a timeout was a mistake (RFC 5682).
    frto: bool = True
    #: R1 (RFC 9293 section 3.8.3): retransmissions after which the program and IP hear of the trouble.
    r1: int = 3
    #: R2: time without an answer after which a connection is given up (SHLD-11: at least 100 s). 0 = never (MUST-21).
    r2: int = 900 * SECOND
    #: R2 of a SYN (MUST-23: at least 3 minutes).
    syn_timeout: int = 180 * SECOND
    #: SYN retransmissions after which an attempt to connect is given up (TCP_SYNCNT), 0 = `syn_timeout` alone rules.
    syn_retries: int = 0
    #: SYN retransmissions after which a standing soft ICMP error ends an attempt to connect (RFC 5461), 0 = never. -1:
    #: any ICMP error ends a connection before it is established, at once.
    syn_soft_error_retries: int = 2
    #: User timeout (TCP_USER_TIMEOUT): bounds R2 and keep-alive; 0 = R2 alone.
    user_timeout: int = 0
    #: Tell the peer of it (RFC 5482).
    user_timeout_offered: bool = True
    #: Adopt the peer's user timeout option (RFC 5482 section 3.1: CHANGEABLE).
    user_timeout_changeable: bool = True
    #: Bounds on what is adopted from the peer: RFC 5482 section 3.1, L_LIMIT and U_LIMIT.
    user_timeout_min: int = 100 * SECOND
    user_timeout_max: int = 1800 * SECOND

    # Keep-alive (off: MUST-25)
    keepalive: bool = False
    keepalive_idle: int = 7200 * SECOND
    keepalive_interval: int = 75 * SECOND
    keepalive_count: int = 9

    # Closing
    #: Maximum segment lifetime; TIME-WAIT lasts twice as long. RFC 9293 says 2 minutes; Linux waits 60 s in all.
    msl: int = 30 * SECOND
    #: FIN_WAIT_2 after the program is gone (tcp_fin_timeout).
    fin_timeout: int = 60 * SECOND
    #: After `release`, how long unacknowledged data is still tried before a reset; -1 = R2 alone, 0 = reset at once
    #: (SO_LINGER).
    linger: int = -1
    #: How long a peer may keep its window closed, however well it answers probes; then the connection is reset.
    #: 0 = for ever (MUST-37). RFC 6429: the program may give such a connection up.
    persist_timeout: int = 0
    #: The same after `release`, where no program is left that could (0 = `persist_timeout`). Linux: tcp_orphan_retries.
    orphan_timeout: int = 120 * SECOND

    # Listening
    #: Half-open connections of a listener before SYN cookies answer.
    syn_backlog: int = 1024
    #: Answer with SYN cookies when `syn_backlog` is full; otherwise the oldest half-open connection makes place.
    syn_cookies: bool = True
    #: SYN-ACK retransmissions before a half-open connection is forgotten (tcp_synack_retries).
    synack_retries: int = 5

    # TCP Fast Open (RFC 7413), off unless asked for: what a SYN brings may reach the program twice, if the network
    # repeats the SYN after the server has forgotten the connection (section 2.1). It is for requests that may be
    # answered twice (section 6): lookups, GET, a TLS ClientHello.
    #: Connections ask servers for a cookie and, where they have one, send the first write in the SYN: its answer comes
    #: a round trip sooner. `Connection.awaits_write` tells which it is.
    fast_open: bool = False
    #: How long the SYN of such a connection waits for that write; then it goes without.
    fast_open_wait: int = 2 * MILLISECOND
    #: Listening: connections opened by Fast Open whose handshake is not over (TCP_FASTOPEN); 0 = no Fast Open.
    fast_open_queue: int = 0
    #: Bytes of the cookies that a listener gives: even, 4 to 16.
    fast_open_cookie: int = 8
    #: A listener takes the data of SYNs without asking for a cookie; connections send it so (RFC 7413 section 7.3). For
    #: closed networks: elsewhere anybody can make a server work, under the name of somebody else.
    fast_open_accept_cookieless: bool = False
    fast_open_send_cookieless: bool = False
    #: The MSS that a SYN with data counts on while the server's is not known, 0 = the default of RFC 7413 section
    #: 4.1.3: 536 bytes for IPv4, 1220 for IPv6. Never more than the path's.
    fast_open_unknown_mss: int = 0
    #: Bytes of options that the data of such a SYN leaves room for at least; Linux: 40, whatever options it has.
    fast_open_option_room: int = 0

    # Safety
    #: Challenge ACKs a connection sends per second (RFC 5961 section 10: per connection, so it tells nobody anything).
    challenge_ack_limit: int = 10

    def validate(self) -> None:
        """Raise ValueError naming the field, the value and what it may be."""
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            if value == 0 and name in ("snd_buf", "rcv_buf"):
                continue
            if not isinstance(value, int) or not low <= value <= high:
                automatic = " (0: automatic)" if name in ("snd_buf", "rcv_buf") else ""
                raise ValueError(f"TcpConfig.{name} is {value}; it must be from {low} to {high}{automatic}")
        if self.nagle not in (NAGLE_OFF, NAGLE_CLASSIC, NAGLE_MINSHALL):
            raise ValueError(f'TcpConfig.nagle is {self.nagle!r}; it must be "minshall", "classic" or "off"')
        if self.ecn not in (ECN_OFF, ECN_PASSIVE, ECN_ON, ECN_ACCURATE):
            raise ValueError(f'TcpConfig.ecn is {self.ecn!r}; it must be "off", "passive", "on" or "accecn"')
        if self.accurate_ecn_options not in (ECN_OPTIONS_DUE, ECN_OPTIONS_ALWAYS, ECN_OPTIONS_NEVER):
            raise ValueError(
                f"TcpConfig.accurate_ecn_options is {self.accurate_ecn_options!r}; "
                'it must be "due", "always" or "never"'
            )
        if self.reduce_from not in (REDUCE_FROM_FLIGHT, REDUCE_FROM_CWND):
            raise ValueError(f'TcpConfig.reduce_from is {self.reduce_from!r}; it must be "flight" or "cwnd"')
        if self.window_probe not in (WINDOW_PROBE_OCTET, WINDOW_PROBE_EMPTY):
            raise ValueError(f'TcpConfig.window_probe is {self.window_probe!r}; it must be "octet" or "empty"')
        if self.tos & 3:
            raise ValueError(
                f"TcpConfig.tos is {self.tos}; its lower two bits are not the program's: TcpConfig.ecn rules them"
            )
        if self.mtu_probing not in (MTU_PROBING_OFF, MTU_PROBING_BLACK_HOLE, MTU_PROBING_ON):
            raise ValueError(f'TcpConfig.mtu_probing is {self.mtu_probing!r}; it must be "off", "black_hole" or "on"')
        if self.congestion_control not in names():
            raise ValueError(
                f"TcpConfig.congestion_control is {self.congestion_control!r}; known are {', '.join(names())}"
            )
        if self.max_segment and not 88 <= self.max_segment <= 65495:
            raise ValueError(f"TcpConfig.max_segment is {self.max_segment}; it must be 0 or from 88 to 65495")
        if self.fast_open_cookie & 1:
            raise ValueError(f"TcpConfig.fast_open_cookie is {self.fast_open_cookie}; it must be even")
        if self.max_rto < self.min_rto:
            raise ValueError("TcpConfig.max_rto must not be below min_rto")

    def initial_rcv_buf(self) -> int:
        """The receive buffer of a new connection, bytes."""
        return self.rcv_buf if self.rcv_buf else min(self.rcv_buf_start, self.rcv_buf_max)

    def largest_rcv_buf(self) -> int:
        """What it may come to: the window scale of the SYN must be able to tell it."""
        return self.rcv_buf if self.rcv_buf else self.rcv_buf_max

    def initial_snd_buf(self) -> int:
        """The send buffer of a new connection, bytes."""
        return self.snd_buf if self.snd_buf else min(self.snd_buf_start, self.snd_buf_max)

    def copy(self) -> TcpConfig:
        """The same choices in an object of their own."""
        other = TcpConfig()
        for name in self.__dataclass_fields__:
            setattr(other, name, getattr(self, name))
        return other


_FOREVER: Final = 365 * 24 * 3600 * SECOND
_BOUNDS: Final = (
    ("snd_buf", 1024, 1 << 30),
    ("snd_buf_start", 1024, 1 << 30),
    ("snd_buf_max", 1024, 1 << 30),
    ("rcv_buf", 1024, 65535 << MAX_WIND_SHIFT),
    ("mtu_base", 576, 65535),
    ("rcv_buf_start", 1024, 65535 << MAX_WIND_SHIFT),
    ("rcv_buf_max", 1024, 65535 << MAX_WIND_SHIFT),
    ("cork_limit", MILLISECOND, 60 * SECOND),
    ("initial_window", 1, 1000),
    ("push_bursts", 0, 1000),
    ("slow_start_limit", 0, 1 << 30),
    ("least_mss", 1, 536),
    ("ttl", 1, 255),
    ("tos", 0, 255),
    ("delayed_ack", 0, 500 * MILLISECOND - 1),
    ("quick_acks", 0, 1000),
    ("initial_rto", MILLISECOND, 60 * SECOND),
    ("min_rto", MILLISECOND, 60 * SECOND),
    ("max_rto", MILLISECOND, 3600 * SECOND),
    ("max_ack_delay", 0, SECOND),
    ("r1", 1, 1000),
    ("r2", 0, _FOREVER),
    ("syn_timeout", SECOND, _FOREVER),
    ("syn_retries", 0, 1000),
    ("syn_soft_error_retries", -1, 1000),
    ("user_timeout", 0, _FOREVER),
    ("user_timeout_min", 0, _FOREVER),
    ("user_timeout_max", 0, _FOREVER),
    ("keepalive_idle", MILLISECOND, _FOREVER),
    ("keepalive_interval", MILLISECOND, _FOREVER),
    ("keepalive_count", 1, 1000),
    ("msl", 0, 600 * SECOND),
    ("fin_timeout", 0, _FOREVER),
    ("linger", -1, _FOREVER),
    ("persist_timeout", 0, _FOREVER),
    ("orphan_timeout", 0, _FOREVER),
    ("syn_backlog", 0, 1 << 20),
    ("synack_retries", 1, 100),
    ("fast_open_wait", 0, SECOND),
    ("fast_open_queue", 0, 1 << 20),
    ("fast_open_cookie", 4, 16),
    ("fast_open_unknown_mss", 0, 65495),
    ("fast_open_option_room", 0, 40),
    ("challenge_ack_limit", 1, 1_000_000),
)
