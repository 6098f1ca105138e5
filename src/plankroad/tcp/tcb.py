"""`Tcb`: every variable of a connection (RFC 9293 section 3.3.1), and nothing that acts.

The rooms around it are functions that take a Tcb: `handshake`, `input`, `output`, `recovery`, `timers`, `window`,
`ending`. All sequence numbers here are absolute (see `seq`); all times are nanoseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.tcp.cc.base import AckSample, CongestionControl
from plankroad.tcp.config import MTU_PROBING_OFF, NAGLE_OFF, TcpConfig
from plankroad.tcp.constants import CLOSED, FAST_OPEN_NONE, HEADER_LEN, OPEN, TIMER_COUNT, TIMESTAMP_LEN
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.ecnstate import Ecn
from plankroad.tcp.limits import Limits
from plankroad.tcp.plpmtud import Plpmtud
from plankroad.tcp.plpmtud import begin as begin_plpmtud
from plankroad.tcp.prr import Prr
from plankroad.tcp.rack import Rack
from plankroad.tcp.reassembly import Reassembly
from plankroad.tcp.rtt import RttEstimator
from plankroad.tcp.scoreboard import Scoreboard
from plankroad.tcp.sendbuf import SendBuffer
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.address import bytes_to_ip

if TYPE_CHECKING:
    from plankroad.tcp.fastopen_cache import FastOpenCache, FastOpenCookie
    from plankroad.tcp.listen import Listener
    from plankroad.tcp.memory import Memory
    from plankroad.trace.eventlog import EventLog


class ReceiveSpace:
    """What `autotune` measures of the receiving side. Bytes, ns, absolute sequence numbers.

    `on`: the buffer may still grow. `rtt`: the round trip as the receiver sees it, 0 unknown; `round_rtt`: the least of
    this round. `echo`: the timestamp echoed last; `edge`, `edge_at`: without timestamps, the edge offered at that time.
    `due`: when the round is over; `grow_at`: the level at which the buffer is too small before that. A level counts
    what the program has read and what is held out of order; `level_from`, `read_from`: where the round began. `taken`:
    in the last round; `proven`: the most that was read in one.
    """

    __slots__ = (
        "due",
        "echo",
        "edge",
        "edge_at",
        "grow_at",
        "level_from",
        "on",
        "proven",
        "read_from",
        "round_rtt",
        "rtt",
        "taken",
    )

    def __init__(self) -> None:
        self.on: bool = False
        self.rtt: int = 0
        self.round_rtt: int = NEVER
        self.echo: int = 0
        self.edge: int = NEVER
        self.edge_at: int = 0
        self.due: int = NEVER
        self.grow_at: int = NEVER
        self.level_from: int = 0
        self.read_from: int = 0
        self.taken: int = 0
        self.proven: int = 0


class Tcb:
    """The transmission control block. Invariants that hold between calls are in `invariants`."""

    __slots__ = (
        "ack_now",
        "ack_octets",
        "ack_segments",
        "adopted_user_timeout",
        "app_limited",
        "bytes_acked",
        "bytes_received",
        "bytes_retransmitted",
        "bytes_sent",
        "cc",
        "challenge_count",
        "challenge_window",
        "close_requested",
        "config",
        "congestion",
        "cork_expired",
        "counters",
        "cwnd_filled_at",
        "cwnd_limited",
        "cwnd_used",
        "delivered",
        "delivered_at",
        "delivery_rate",
        "dsack_end",
        "dsack_of_recovery",
        "dsacks",
        "dsacks_received",
        "dup_acks",
        "ecn",
        "error",
        "established_at",
        "events",
        "fast_open",
        "fast_open_cache",
        "fast_open_option",
        "fin_seq",
        "first_sent_at",
        "flight_most",
        "force_retransmit",
        "fresh_acked",
        "frto",
        "frto_new",
        "gso_max",
        "high_new",
        "initial_window",
        "interactive",
        "irs",
        "iss",
        "keepalive_probes",
        "last_ack_sent",
        "last_received",
        "last_sent",
        "last_text",
        "limited_sent",
        "limits",
        "link_mss",
        "listener",
        "local_addr",
        "local_port",
        "log",
        "lost_total",
        "max_snd_wnd",
        "memory",
        "more",
        "more_end",
        "mtu_found",
        "mtu_probe_at",
        "mtu_watch",
        "opened_at",
        "pace_at",
        "pace_burst",
        "pacing_rate",
        "passive",
        "path_mss",
        "peer_mss",
        "persist_since",
        "plpmtud",
        "probe_due",
        "probes",
        "prr",
        "quick_acks",
        "rack",
        "rcv_adv",
        "rcv_buf",
        "rcv_eof",
        "rcv_fin_seq",
        "rcv_mss",
        "rcv_nxt",
        "rcv_queue",
        "rcv_queue_head",
        "rcv_queued",
        "rcv_space",
        "rcv_up",
        "rcv_urgent",
        "rcv_wind_shift",
        "reason",
        "reassembly",
        "recover",
        "released",
        "remote_addr",
        "remote_port",
        "reno_credit",
        "reno_flight",
        "reno_recover",
        "reno_round_at",
        "reno_sacked",
        "reset_seq",
        "reset_with_ack",
        "retransmitted_segments",
        "retries",
        "round_end",
        "rtt",
        "rttvar_prev",
        "sack_ok",
        "sample",
        "scoreboard",
        "segments_received",
        "segments_sent",
        "send_blocked",
        "send_reset",
        "snd_buf",
        "snd_buf_auto",
        "snd_buf_limit",
        "snd_max",
        "snd_mss",
        "snd_nxt",
        "snd_sml",
        "snd_una",
        "snd_up",
        "snd_urgent",
        "snd_wind_shift",
        "snd_wl1",
        "snd_wl2",
        "snd_wnd",
        "soft_error",
        "srtt_prev",
        "state",
        "sws_override",
        "syn_data",
        "syn_data_end",
        "syn_pending",
        "syn_retransmitted",
        "syn_sent_at",
        "timeouts",
        "timers",
        "tlp_end_seq",
        "tlp_is_retrans",
        "tlp_samples",
        "tos",
        "trouble_reported",
        "ts_offset",
        "ts_ok",
        "ts_recent",
        "ts_recent_at",
        "unanswered_since",
        "undo_begun_at",
        "undo_end",
        "undo_marker",
        "undo_octets",
        "undo_of_timeout",
        "undo_recover",
        "undone",
        "undone_flight",
        "user_timeout",
        "user_timeout_due",
        "ws_ok",
    )

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
        cc: CongestionControl,
        log: EventLog | None,
    ) -> None:
        self.config: TcpConfig = config
        self.counters: TcpCounters = counters
        self.log: EventLog | None = log
        self.local_addr: bytes = local_addr
        self.local_port: int = local_port
        self.remote_addr: bytes = remote_addr
        self.remote_port: int = remote_port
        self.listener: Listener | None = None  # the listener this half-open connection belongs to
        self.memory: Memory | None = None  # the account of the stack

        self.state: int = CLOSED
        self.passive: bool = False  # MUST-11: SYN_RECEIVED was reached from LISTEN
        self.error: int = 0  # errno of the end
        self.reason: str = ""  # the end in words, where the errno alone would not tell
        self.soft_error: int = 0  # errno of the last delivery trouble
        self.events: int = 0
        self.opened_at: int = -1
        self.established_at: int = -1
        self.released: bool = False  # the program is gone: nobody will read or write any more
        self.close_requested: bool = False  # CLOSE was called: a FIN follows what is in the send buffer

        # Send sequence space
        self.iss: int = iss
        self.snd_una: int = iss
        self.snd_nxt: int = iss
        self.snd_max: int = iss  # above SND.NXT only by a window probe of one octet
        self.snd_wnd: int = 0  # bytes, scaled
        self.snd_wl1: int = 0
        self.snd_wl2: int = 0
        self.max_snd_wnd: int = 0
        self.snd_up: int = iss  # end of the urgent data (RFC 6093: the octet following it)
        self.snd_urgent: bool = False
        self.snd_sml: int = iss  # end of the last small segment (Minshall)
        self.snd_wind_shift: int = 0
        self.fin_seq: int = -1  # the FIN's sequence number once it was sent
        self.snd_buf: SendBuffer = SendBuffer(iss + 1)
        self.snd_buf_auto: bool = config.snd_buf == 0  # `autotune` sets the limit
        self.snd_buf_limit: int = config.initial_snd_buf()
        self.send_blocked: bool = False  # a write was cut short: say when there is room
        self.last_sent: int = -1  # when data was last sent

        # Receive sequence space
        self.irs: int = 0
        self.rcv_nxt: int = 0
        self.rcv_adv: int = 0  # right edge of the window that was offered
        self.rcv_wind_shift: int = 0
        self.ws_ok: bool = config.window_scaling  # offered, and once synchronized: agreed
        self.rcv_buf: int = config.initial_rcv_buf()
        self.rcv_space: ReceiveSpace = ReceiveSpace()
        self.rcv_up: int = 0
        self.rcv_urgent: bool = False
        self.rcv_queue: list[bytes] = []
        self.rcv_queue_head: int = 0
        self.rcv_queued: int = 0
        self.rcv_fin_seq: int = -1  # sequence number of the peer's FIN, once seen
        self.rcv_eof: bool = False  # the FIN was reached
        self.reassembly: Reassembly = Reassembly()
        self.last_received: int = 0
        self.last_text: int = -1  # when data came in order last, -1 never

        # Sizes of segments, without the TCP header; snd_mss also without the options every segment carries
        ip_header = 20 if len(local_addr) == 4 else 40
        self.path_mss: int = path_mtu - ip_header - HEADER_LEN
        self.link_mss: int = link_mtu - ip_header - HEADER_LEN  # MUST-67: MMS_R - 20
        self.peer_mss: int = 536 if len(local_addr) == 4 else 1220  # MUST-15
        self.snd_mss: int = self.peer_mss
        self.rcv_mss: int = 536  # estimate of the peer's segments
        self.plpmtud: Plpmtud | None = None
        self.mtu_probe_at: int = NEVER  # when the next probe of a larger packet is due
        self.mtu_watch: int = NEVER  # the sequence number whose acknowledgement `plpmtud` waits for
        self.mtu_found: int = 0  # a path MTU that the host is to hear of
        if config.mtu_probing != MTU_PROBING_OFF:
            self.plpmtud = begin_plpmtud(self, path_mtu, link_mtu)
        self.initial_window: int = config.initial_window  # segments; a route may say otherwise
        self.gso_max: int = 0  # most payload that may leave in one super-segment, 0 = one MSS
        self.tos: int = config.tos

        # Options in force
        self.ts_ok: bool = config.timestamps
        self.ts_offset: int = ts_offset
        self.ts_recent: int = 0  # wire value
        self.ts_recent_at: int = 0
        self.sack_ok: bool = config.sack
        self.ecn: Ecn | None = None  # None: there is none, nor is it asked for
        self.last_ack_sent: int = 0

        # Acknowledging
        self.ack_now: int = 0  # acknowledgements that are due at once
        self.ack_octets: int = 0  # octets received since the last acknowledgement
        self.ack_segments: int = 0  # segments likewise
        self.quick_acks: int = config.quick_acks
        self.interactive: bool = False  # the program answers what comes
        self.dsacks: list[tuple[int, int]] = []  # duplicates not yet reported
        self.challenge_count: int = 0
        self.challenge_window: int = 0  # when the second began in which challenge_count were sent

        # Loss recovery and congestion control
        self.rtt: RttEstimator = RttEstimator(config.initial_rto, config.min_rto, config.max_rto, config.strict_rto)
        self.scoreboard: Scoreboard = Scoreboard()
        self.cc: CongestionControl = cc
        self.sample: AckSample = AckSample()
        self.congestion: int = OPEN
        self.dup_acks: int = 0
        self.dsack_end: int = -1  # where the DSACK of this ACK ends, -1 without one
        self.dsack_of_recovery: bool = False  # it is about what fast recovery sent again
        self.dsacks_received: int = 0
        self.fresh_acked: int = 0  # of the octets this ACK acknowledges, those that SACK had not reported
        self.limited_sent: int = 0  # octets of new data sent because of duplicate ACKs (RFC 3042)
        self.reno_sacked: int = 0  # without SACK: octets that duplicate ACKs say have left the network
        self.reno_flight: int = 0  # what was in flight when the recovery began
        self.reno_credit: int = 0  # octets that duplicates may still say have left, this round trip
        self.reno_round_at: int = 0  # when that began
        self.recover: int = iss  # RecoveryPoint: where the present recovery ends
        self.reno_recover: int = iss  # `recover` of RFC 6582: of fast recoveries and timeouts alone
        self.rack: Rack = Rack()
        self.prr: Prr = Prr()
        self.tlp_end_seq: int = -1  # TLP.end_seq; -1: no probe is in flight
        self.tlp_is_retrans: bool = False
        self.tlp_samples: int = 0  # how many samples of the round trip there were at the last probe
        self.frto: int = 0  # the step of RFC 5682 that the next ACK belongs to
        self.frto_new: int = 0  # new segments that its step 2b may still send
        self.high_new: int = 0  # SND.NXT before those
        self.force_retransmit: bool = False  # the next retransmission goes out whatever cwnd says
        self.cwnd_limited: bool = False
        self.cwnd_filled_at: int = 0  # when cwnd was last filled, or its use last looked at
        self.cwnd_used: int = 0  # the most that was in flight since
        self.round_end: int = iss
        self.flight_most: int = 0  # the most that was in flight in this round trip and the one before
        self.delivered: int = 0  # octets known to have arrived, each once
        self.delivered_at: int = 0  # when the last of them became known
        self.first_sent_at: int = 0  # when the packet was sent that the latest rate sample begins with
        self.app_limited: int = (
            0  # `delivered` at the end of a flight that the program did not fill; 0: it fills cwnd
        )
        self.lost_total: int = 0  # octets found lost, each time they were
        self.delivery_rate: int = 0  # the latest sample that is worth showing, bytes a second
        self.pacing_rate: int = 0  # bytes a second; 0: what cwnd allows leaves at once
        self.pace_at: int = 0  # when the next burst is due
        self.pace_burst: int = 0  # what is left of the present one, bytes
        # What is kept to undo a recovery that was a mistake
        self.undo_marker: int = -1  # SND.UNA when it began; -1: nothing to undo
        self.undo_end: int = 0  # SND.NXT then
        self.undo_octets: int = 0  # sent again and not yet reported as duplicates
        self.undo_of_timeout: bool = False
        self.undo_begun_at: int = 0
        self.undone: int = 0  # recoveries taken back since SND.UNA passed `undone_flight`
        self.undone_flight: int = iss
        self.undo_recover: int = -1  # `recover` of the fast recovery that a timeout broke off
        self.srtt_prev: int = 0
        self.rttvar_prev: int = 0

        # Retransmission
        self.retries: int = 0
        self.timeouts: int = 0
        self.trouble_reported: bool = False  # R1 was passed
        self.unanswered_since: int = -1  # since when the peer owes an answer
        self.user_timeout: int = config.user_timeout
        # Our option is still to be sent.
        self.user_timeout_due: bool = config.user_timeout > 0 and config.user_timeout_offered
        self.adopted_user_timeout: int = 0
        self.syn_pending: bool = False
        self.syn_sent_at: int = -1
        self.syn_retransmitted: bool = False
        self.fast_open: int = FAST_OPEN_NONE
        self.fast_open_option: FastOpenCookie | None = None  # what our first SYN or SYN-ACK carries
        self.fast_open_cache: FastOpenCache | None = None  # a client's memory; None: it does not want Fast Open
        self.syn_data: int = 0  # octets of data in our SYN; once answered, those that the peer took
        self.syn_data_end: int = 0  # where the data of our SYN ended that its answer left out
        self.probes: int = 0
        self.persist_since: int = 0  # with probes: when the first of them was due
        self.probe_due: int = 0  # a PROBE_ constant of `output`
        self.sws_override: bool = False
        self.cork_expired: bool = False
        self.more: bool = False  # the program said that more follows at once (SEND without PUSH)
        self.more_end: int = -1  # the end of what it said that of
        self.keepalive_probes: int = 0
        self.send_reset: bool = False
        self.reset_seq: int = 0
        self.reset_with_ack: bool = True

        self.timers: list[int] = [NEVER] * TIMER_COUNT

        # Statistics of this connection
        self.limits: Limits = Limits()
        self.segments_sent: int = 0
        self.segments_received: int = 0
        self.bytes_sent: int = 0
        self.bytes_acked: int = 0
        self.bytes_received: int = 0
        self.bytes_retransmitted: int = 0
        self.retransmitted_segments: int = 0

    def name(self) -> str:
        """How events name the connection."""
        local = bytes_to_ip(self.local_addr)
        remote = bytes_to_ip(self.remote_addr)
        return f"{local}.{self.local_port} > {remote}.{self.remote_port}"

    def ts_now(self, now: int) -> int:
        """TSval: a millisecond clock plus the connection's secret offset (RFC 7323 section 5.4)."""
        return (now // MILLISECOND + self.ts_offset) & 0xFFFFFFFF

    def flight_size(self) -> int:
        """FlightSize: octets sent and not cumulatively acknowledged (RFC 5681 section 2)."""
        return self.snd_nxt - self.snd_una

    def window(self) -> int:
        """What congestion control lets be in flight now: cwnd, or in recovery what PRR says."""
        return self.prr.window if self.prr.active else self.cc.cwnd

    def pipe(self) -> int:
        """RFC 6675's estimate of the octets in the network, kept as sums (section 4, SetPipe ())."""
        board = self.scoreboard
        return self.snd_nxt - self.snd_una - board.sacked - self.reno_sacked - board.lost + board.retransmitted

    def update_mss(self) -> None:
        """Eff.snd.MSS (RFC 9293 section 3.7.1, MUST-16), less the options of every segment (RFC 6691)."""
        mss = min(self.peer_mss, self.path_mss)
        if self.config.max_segment:
            mss = min(mss, self.config.max_segment)
        if self.ts_ok:
            mss -= TIMESTAMP_LEN
        # A peer whose MSS has no room for the options gets one octet beside them.
        mss = max(mss, 1)
        if mss != self.snd_mss:
            self.snd_mss = mss
            self.cc.set_smss(mss)

    def nodelay(self) -> bool:
        """Is Nagle's algorithm switched off (MUST-17)?"""
        return self.config.nagle == NAGLE_OFF

    def timeout_limit(self) -> int:
        """R2: how long the peer may owe an answer, 0 = for ever."""
        if self.user_timeout:
            return self.user_timeout
        if self.adopted_user_timeout:
            return self.adopted_user_timeout
        return self.config.r2
