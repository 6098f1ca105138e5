"""One connection under test, and a peer that the test plays by hand, segment by segment.

Sequence numbers are relative: 0 is a SYN, 1 the first octet, on both sides. Each call returns what the connection sends
in answer, as a list of `Segment`s whose `seq`, `ack` and SACK blocks are made relative too.

    peer = ScriptedPeer()
    peer.establish()
    peer.conn.send(peer.now, b"hello")
    [data] = peer.output()
    assert (data.seq, data.payload) == (1, b"hello")
    assert peer.segment(".", ack=6) == []
"""

from __future__ import annotations

from typing import Final

from plankroad.endpoint import EVENT_READABLE
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import STATE_NAMES
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.fastopen_cache import FastOpenCache
from plankroad.tcp.fastopen_cookie import FastOpenKeys
from plankroad.tcp.invariants import check
from plankroad.tcp.isn import IsnGenerator
from plankroad.tcp.listen import Listener
from plankroad.tcp.seq import MASK32
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment

FLAGS: Final = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "U": URG, ".": ACK, "E": ECE, "W": CWR, "e": AE}

LOCAL: Final = b"\x0a\x00\x00\x01"
REMOTE: Final = b"\x0a\x00\x00\x02"
SECRET: Final = b"a secret of the test kit"


def flags_of(seg: Segment) -> str:
    """The flags in tcpdump's letters, in the order of `FLAGS`."""
    return "".join(letter for letter, bit in FLAGS.items() if seg.flags & bit)


class ScriptedPeer:
    """A `Connection` as `conn` (from `LOCAL`:40000 to `REMOTE`:80) and the other end in the hands of the test.

    `peer_iss`: the test's initial sequence number on the wire. `rtt`: how far `establish` lets time go for the SYN.
    The program on the connection's side reads by itself (`reads`) into `received`. `cache`: what a Fast Open client
    knows of servers, `keys`: a server's. Without `pacing` what may be sent leaves at once.
    """

    def __init__(
        self,
        config: TcpConfig | None = None,
        peer_iss: int = 1_000_000,
        start: int = 10 * SECOND,
        mtu: int = 1500,
        ipv6: bool = False,
        iss: int = -1,
        cache: FastOpenCache | None = None,
        pacing: bool = False,
    ) -> None:
        self.config = (config if config is not None else TcpConfig()).copy()
        self.config.pacing = pacing
        self.counters = TcpCounters()
        self.now = start
        self.peer_iss = peer_iss
        self.isn = IsnGenerator(SECRET)
        self.keys = FastOpenKeys(SECRET, 0)
        self.cache = cache if cache is not None else FastOpenCache(self.counters, 16, 3600 * SECOND)
        self.local = bytes(15) + b"\x01" if ipv6 else LOCAL
        self.remote = bytes(15) + b"\x02" if ipv6 else REMOTE
        self.mtu = mtu
        self.reads = True
        self.received = bytearray()
        self.events = 0
        if iss < 0:
            iss = self.isn.isn(start, self.local, 40000, self.remote, 80)
        self.connection: Connection | None = Connection(
            self.config,
            self.counters,
            self.local,
            40000,
            self.remote,
            80,
            iss,
            self.isn.ts_offset(self.local, 40000, self.remote, 80),
            mtu,
            mtu,
        )
        self.listener: Listener | None = None
        # What a segment of the peer carries unless told otherwise.
        self.wnd = 65535
        self.ts = False
        self.ts_base = 5000
        self.last_ts_val = 0

    @property
    def conn(self) -> Connection:
        """The connection under test."""
        assert self.connection is not None, "there is no connection yet"
        return self.connection

    @property
    def state(self) -> str:
        """Its state."""
        return STATE_NAMES[self.conn.tcb.state]

    def listen(self, backlog: int = 8) -> Listener:
        """Be the server instead: the test's SYN (40000 to 80 swapped) makes `conn`."""
        self.connection = None
        self.listener = Listener(
            self.config,
            self.counters,
            self.local,
            40000,
            backlog,
            self.isn,
            SynCookies(SECRET),
            None,
            None,
            self.keys,
        )
        return self.listener

    def open(self, fast_open: bool = False) -> list[Segment]:
        """Active open; returns the SYN, if it does not wait for data."""
        self.conn.open(self.now, self.cache if fast_open else None)
        return self.output()

    def establish(
        self,
        mss: int = 1460,
        wscale: int = -1,
        ts: bool = False,
        sack: bool = True,
        wnd: int = 65535,
        rtt: int = 100 * MILLISECOND,
    ) -> None:
        """Open, and answer with a SYN, ACK that has these options, `rtt` later; its ACK is taken off the wire."""
        self.open()
        self.advance(rtt)
        self.wnd = wnd
        self.ts = ts
        out = self.segment("S.", seq=0, ack=1, mss=mss, wscale=wscale, sack_ok=sack)
        assert [flags_of(s) for s in out] == ["."], [flags_of(s) for s in out]
        assert self.state == "ESTABLISHED"

    def segment(
        self,
        flags: str,
        seq: int = 1,
        ack: int = 0,
        data: bytes = b"",
        wnd: int = -1,
        mss: int = 0,
        wscale: int = -1,
        sack_ok: bool = False,
        sack: list[tuple[int, int]] | None = None,
        urgent: int = 0,
        ts_val: int = -1,
        ts_ecr: int = -1,
        user_timeout: int = -1,
        absolute_ack: int = -1,
        fast_open: bytes | None = None,
        fast_open_exp: bool = False,
        tos: int = 0,
        accecn: tuple[int, int, int] | None = None,
        gso_size: int = 0,
        poll: bool = True,
    ) -> list[Segment]:
        """The peer sends a segment, now; returns the answers (none, and output stays undrained, where not `poll`)."""
        bits = 0
        for letter in flags:
            bits |= FLAGS[letter]
        seg = Segment(80, 40000, (self.peer_iss + seq) & MASK32, 0, bits, self.wnd if wnd < 0 else wnd, data)
        if bits & ACK:
            seg.ack = absolute_ack if absolute_ack >= 0 else (self.conn.tcb.iss + ack) & MASK32
        seg.mss = mss
        seg.wscale = wscale
        seg.sack_permitted = sack_ok
        seg.urgent = urgent
        seg.user_timeout = user_timeout
        seg.fast_open = fast_open
        seg.fast_open_exp = fast_open_exp
        seg.tos = tos
        seg.accecn = accecn
        seg.gso_size = gso_size
        if sack:
            iss = self.conn.tcb.iss
            seg.sack = [((left + iss) & MASK32, (right + iss) & MASK32) for left, right in sack]
        if self.ts:
            seg.has_ts = True
            seg.ts_val = self.ts_clock() if ts_val < 0 else ts_val
            seg.ts_ecr = self.last_ts_val if ts_ecr < 0 else ts_ecr
        return self.raw(seg, poll)

    def raw(self, seg: Segment, poll: bool = True) -> list[Segment]:
        """Any segment at all arrives."""
        if self.connection is None:
            assert self.listener is not None
            result = self.listener.handle_segment(self.now, seg, self.local, self.remote, self.mtu, self.mtu)
            self.connection = result.connection
            if result.reply is not None:
                return [result.reply]
            return self.output() if self.connection is not None and poll else []
        self.connection.handle_segment(self.now, seg)
        return self.output() if poll else []

    def ts_clock(self) -> int:
        """The peer's timestamp clock: a millisecond a tick."""
        return (self.ts_base + self.now // MILLISECOND) & MASK32

    def output(self) -> list[Segment]:
        """Everything the connection wants to send now."""
        out: list[Segment] = []
        conn = self.conn
        again = True
        while again:
            again = False
            while (seg := conn.poll_transmit(self.now)) is not None:
                if seg.has_ts:
                    self.last_ts_val = seg.ts_val
                out.append(self._relative(seg))
                again = True
            events = conn.poll_events()
            self.events |= events
            if events & EVENT_READABLE and self.reads:
                self.received += conn.receive(self.now, 1 << 30)
                again = True
        check(conn.tcb)
        return out

    def send(self, data: bytes) -> list[Segment]:
        """The program writes `data`, all of which must be taken; returns what goes out."""
        assert self.conn.send(self.now, data) == len(data)
        return self.output()

    def close(self) -> list[Segment]:
        """The program closes."""
        self.conn.close(self.now)
        return self.output()

    def advance(self, duration: int) -> list[Segment]:
        """Let time pass, timers included; returns what goes out."""
        out: list[Segment] = []
        end = self.now + duration
        while self.conn.next_timeout() <= end:
            self.now = max(self.now, self.conn.next_timeout())
            self.conn.handle_timeout(self.now)
            out += self.output()
        self.now = end
        return out

    def next_timer(self) -> list[Segment]:
        """Go to the next deadline; returns what goes out. AssertionError where no timer runs."""
        when = self.conn.next_timeout()
        assert when < 1 << 61, "no timer is running"
        self.now = max(self.now, when)
        self.conn.handle_timeout(self.now)
        return self.output()

    def timeout(self) -> list[Segment]:
        """Go on until the retransmission timer expires, past all probes; returns what goes out then."""
        before = self.conn.tcb.timeouts
        for _ in range(10):
            out = self.next_timer()
            if self.conn.tcb.timeouts > before:
                return out
        raise AssertionError("ten timers expired, and none was that of retransmission")

    def _relative(self, seg: Segment) -> Segment:
        t = self.conn.tcb
        seg.seq = (seg.seq - t.iss + 0x80000000 & MASK32) - 0x80000000
        if seg.flags & ACK:
            seg.ack = (seg.ack - self.peer_iss + 0x80000000 & MASK32) - 0x80000000
        seg.sack = [((left - self.peer_iss) & MASK32, (right - self.peer_iss) & MASK32) for left, right in seg.sack]
        return seg
