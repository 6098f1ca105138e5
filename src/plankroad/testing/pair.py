"""Two connections and a wire between them, in virtual time: the smallest world in which TCP can be seen at work.

No IP, no stack, no asyncio: segments go from one `Connection` to the other as objects, after a delay, unless a rule
drops, delays, repeats or changes them. Every call checks the invariants of both ends.

    pair = Pair()
    pair.connect()
    pair.a.send(b"hello")
    pair.run()
    assert pair.b.received == b"hello"
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from plankroad.endpoint import EVENT_READABLE, Endpoint
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED, STATE_NAMES
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.fastopen_cache import FastOpenCache
from plankroad.tcp.fastopen_cookie import FastOpenKeys
from plankroad.tcp.invariants import check
from plankroad.tcp.isn import IsnGenerator
from plankroad.tcp.listen import Listener
from plankroad.tcp.reset import reset_for
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Segment

#: A rule sees each segment before it is carried: (number of the segment on the wire from 1, sender's name, segment) and
#: returns the delays (nanoseconds beyond the usual) at which copies arrive: [] drops it, [0] carries it, [0, 0] twice.
Rule = Callable[[int, str, Segment], list[int]]

#: What a program may write at once, where the configuration leaves it to the path.
SEND_BUFFER = 4 * 1024 * 1024

SECRET = b"a secret of the test kit"


def show(seg: Segment, iss: int = 0, irs: int = 0) -> str:
    """A segment in one line; sequence numbers less `iss`, acknowledgements less `irs`."""
    names = (
        (SYN, "S"),
        (FIN, "F"),
        (RST, "R"),
        (PSH, "P"),
        (URG, "U"),
        (ACK, "."),
        (ECE, "E"),
        (CWR, "W"),
        (AE, "e"),
    )
    flags = "".join(name for bit, name in names if seg.flags & bit)
    text = f"{flags} seq {(seg.seq - iss) & 0xFFFFFFFF}:{(seg.seq - iss + len(seg.payload)) & 0xFFFFFFFF}"
    if seg.flags & ACK:
        text += f" ack {(seg.ack - irs) & 0xFFFFFFFF}"
    text += f" win {seg.wnd}"
    if seg.sack:
        text += " sack " + " ".join(
            f"{(left - irs) & 0xFFFFFFFF}-{(right - irs) & 0xFFFFFFFF}" for left, right in seg.sack
        )
    return text


def _written_at_once(config: TcpConfig) -> TcpConfig:
    if config.snd_buf:
        return config
    config = config.copy()
    config.snd_buf = SEND_BUFFER
    return config


class End:
    """One end of the pair: a connection and what its program did and saw.

    `reads` False: the program does not read, so the window closes. `received` is all it read.
    """

    def __init__(self, pair: Pair, name: str, connection: Connection | None) -> None:
        self.pair = pair
        self.name = name
        self.connection = connection
        self.reads = True
        self.received = bytearray()
        self.events = 0
        self.sent: list[tuple[int, Segment]] = []  # (time, segment) this end put on the wire

    @property
    def conn(self) -> Connection:
        """The connection; there must be one."""
        assert self.connection is not None, f"{self.name} has no connection"
        return self.connection

    @property
    def state(self) -> str:
        """The RFC's name of the state, CLOSED where there is no connection yet."""
        return STATE_NAMES[self.connection.tcb.state] if self.connection is not None else "CLOSED"

    def send(self, data: bytes) -> int:
        """Write, and let output go to the wire."""
        taken = self.conn.send(self.pair.now, data)
        self.pair.settle()
        return taken

    def read(self, limit: int = 1 << 30) -> bytes:
        """Read once."""
        data = self.conn.receive(self.pair.now, limit)
        self.received += data
        self.pair.settle()
        return data

    def close(self) -> None:
        """CLOSE: a FIN follows."""
        self.conn.close(self.pair.now)
        self.pair.settle()

    def release(self) -> None:
        """The program is gone."""
        self.conn.release(self.pair.now)
        self.pair.settle()

    def abort(self) -> None:
        """RST."""
        self.conn.abort(self.pair.now)
        self.pair.settle()

    def inject(self, seg: Segment) -> None:
        """A segment arrives from outside, now."""
        self.conn.handle_segment(self.pair.now, seg)
        self.pair.settle()


class Pair:
    """Ends `a` (a client) and `b` (a server behind a `Listener`), `delay` nanoseconds apart each way.

    `now` begins at `start`. `rule` is asked about every segment. `b_mtu`, `a_mtu`: path MTU of each sender.
    `gso`: largest super-segment either may send, 0 for none. An automatic send buffer is fixed at 4 MiB, so that
    programs can write whole messages at once, unless `automatic`.
    """

    def __init__(
        self,
        config: TcpConfig | None = None,
        b_config: TcpConfig | None = None,
        delay: int = 10 * MILLISECOND,
        rule: Rule | None = None,
        start: int = 1_000_000_000,
        ipv6: bool = False,
        mtu: int = 1500,
        gso: int = 0,
        a_iss: int = -1,
        b_iss: int = -1,
        a_ts_offset: int = -1,
        b_ts_offset: int = -1,
        automatic: bool = False,
    ) -> None:
        self.now = start
        self.delay = delay
        self.rule = rule
        self.gso = gso
        self.mtu = mtu
        self.config = config if config is not None else TcpConfig()
        self.b_config = b_config if b_config is not None else self.config.copy()
        if not automatic:
            self.config = _written_at_once(self.config)
            self.b_config = _written_at_once(self.b_config)
        self.a_addr = bytes(15) + b"\x0a" if ipv6 else b"\x0a\x00\x00\x01"
        self.b_addr = bytes(15) + b"\x0b" if ipv6 else b"\x0a\x00\x00\x02"
        self.a_counters = TcpCounters()
        self.b_counters = TcpCounters()
        self.isn = FixedIsn(b_iss, b_ts_offset)
        self.a_isn = FixedIsn(a_iss, a_ts_offset)
        self.work: list[Endpoint] = []
        self.wire: list[tuple[int, int, str, Segment]] = []
        self.count = 0
        self.log: list[tuple[int, str, Segment, str]] = []
        self.listener: Listener | None = Listener(
            self.b_config,
            self.b_counters,
            self.b_addr,
            80,
            16,
            self.isn,
            SynCookies(SECRET),
            self.work,
            None,
            FastOpenKeys(SECRET, 0),
        )
        self.cache = FastOpenCache(self.a_counters, 16, 0)
        self.a = End(self, "a", self.client(40000))
        self.b = End(self, "b", None)
        self.others: list[Connection] = []

    def client(self, port: int) -> Connection:
        """A connection from `a` to the listener's port, not opened yet."""
        iss = self.a_isn.isn(self.now, self.a_addr, port, self.b_addr, 80)
        offset = self.a_isn.ts_offset(self.a_addr, port, self.b_addr, 80)
        connection = Connection(
            self.config,
            self.a_counters,
            self.a_addr,
            port,
            self.b_addr,
            80,
            iss,
            offset,
            self.mtu,
            self.mtu,
            self.work,
        )
        connection.tcb.gso_max = self.gso
        return connection

    def connect(self) -> None:
        """Open from `a` and run until both ends are connected."""
        self.a.conn.open(self.now)
        self.settle()
        self.run_until(lambda: self.a.state == "ESTABLISHED" and self.b.state == "ESTABLISHED")

    def settle(self) -> None:
        """Put all output on the wire, let the programs read, check the invariants."""
        again = True
        while again:
            again = False
            for end in (self.a, self.b):
                connection = end.connection
                if connection is None:
                    continue
                connection.queued = False
                while (seg := connection.poll_transmit(self.now)) is not None:
                    self._send(end, seg)
                    again = True
                events = connection.poll_events()
                end.events |= events
                if events & EVENT_READABLE and end.reads:
                    end.received += connection.receive(self.now, 1 << 30)
                    again = True
                check(connection.tcb)
        self.work.clear()
        if self.listener is not None:
            self.listener.queued = False

    def step(self) -> bool:
        """Go to the next arrival or deadline; False when there is none."""
        when = min(
            self.wire[0][0] if self.wire else NEVER,
            self.a.connection.next_timeout() if self.a.connection is not None else NEVER,
            self.b.connection.next_timeout() if self.b.connection is not None else NEVER,
        )
        if when == NEVER:
            return False
        self.now = max(self.now, when)
        # All that arrives at one instant is a batch: handed in first, answered once.
        while self.wire and self.wire[0][0] <= self.now:
            _, _, sender, seg = heapq.heappop(self.wire)
            self._deliver(sender, seg)
        for end in (self.a, self.b):
            if end.connection is not None and end.connection.next_timeout() <= self.now:
                end.connection.handle_timeout(self.now)
        self.settle()
        return True

    def run(self, limit: int = 3600 * 1_000_000_000, steps: int = 1_000_000) -> None:
        """Run until nothing is left to happen, at most `limit` nanoseconds of virtual time."""
        self.settle()
        end = self.now + limit
        for _ in range(steps):
            when = min(
                self.wire[0][0] if self.wire else NEVER,
                self.a.connection.next_timeout() if self.a.connection is not None else NEVER,
                self.b.connection.next_timeout() if self.b.connection is not None else NEVER,
            )
            if when > end:
                if when != NEVER or end - self.now < limit:
                    self.now = max(self.now, min(end, when)) if when != NEVER else self.now
                return
            self.step()
        raise AssertionError(f"still busy after {steps} steps\n{self.story(40)}")

    def run_for(self, duration: int) -> None:
        """Let `duration` nanoseconds pass."""
        end = self.now + duration
        self.run(duration)
        self.now = end

    def run_until(self, condition: Callable[[], bool], steps: int = 1_000_000) -> None:
        """Run until `condition` holds; AssertionError with the last segments if it never does."""
        self.settle()
        for _ in range(steps):
            if condition():
                return
            if not self.step():
                break
        if not condition():
            raise AssertionError(f"nothing is left to happen and the condition does not hold\n{self.story(40)}")

    def story(self, last: int = 1000) -> str:
        """The segments so far, a line each."""
        a_iss = self.a.conn.tcb.iss
        b_iss = self.b.connection.tcb.iss if self.b.connection is not None else 0
        lines = [f"{self.a.name}: {self.a.state}   {self.b.name}: {self.b.state}"]
        for when, sender, seg, fate in self.log[-last:]:
            mine, theirs = (a_iss, b_iss) if sender == "a" else (b_iss, a_iss)
            lines.append(f"{when / 1e9:12.6f} {sender} {show(seg, mine, theirs)} {fate}".rstrip())
        return "\n".join(lines)

    def both_closed(self) -> bool:
        """Are both ends CLOSED?"""
        return self.a.conn.tcb.state == CLOSED and self.b.conn.tcb.state == CLOSED

    def _send(self, end: End, seg: Segment) -> None:
        self._carry(end.name, seg)
        end.sent.append((self.now, seg))

    def _carry(self, sender: str, seg: Segment) -> None:
        self.count += 1
        delays = self.rule(self.count, sender, seg) if self.rule is not None else [0]
        self.log.append((self.now, sender, seg, "" if delays == [0] else f"[{delays}]" if delays else "[dropped]"))
        for copy, extra in enumerate(delays):
            heapq.heappush(self.wire, (self.now + self.delay + extra, self.count * 8 + copy, sender, seg))

    def _deliver(self, sender: str, seg: Segment) -> None:
        end = self.b if sender == "a" else self.a
        connection = end.connection
        if connection is not None and (seg.dst_port, seg.src_port) == (connection.local_port, connection.remote_port):
            if connection.tcb.state != CLOSED:
                connection.handle_segment(self.now, seg)
                return
        elif sender == "a" and self.listener is not None and seg.dst_port == 80:
            result = self.listener.handle_segment(self.now, seg, self.b_addr, self.a_addr, self.mtu, self.mtu)
            if result.connection is not None:
                result.connection.tcb.gso_max = self.gso
                self.b.connection = result.connection
            if result.reply is not None:
                self._carry("b", result.reply)
            return
        reply = reset_for(seg)
        if reply is not None:
            self._carry(end.name, reply)


class FixedIsn(IsnGenerator):
    """Initial sequence numbers and timestamp offsets as the test wants them, or the usual ones (-1)."""

    def __init__(self, iss: int = -1, offset: int = -1) -> None:
        super().__init__(SECRET)
        self.fixed_iss = iss
        self.fixed_offset = offset

    def isn(self, now: int, local_addr: bytes, local_port: int, remote_addr: bytes, remote_port: int) -> int:
        """The fixed number, or that of RFC 6528."""
        if self.fixed_iss >= 0:
            return self.fixed_iss
        return super().isn(now, local_addr, local_port, remote_addr, remote_port)

    def ts_offset(self, local_addr: bytes, local_port: int, remote_addr: bytes, remote_port: int) -> int:
        """The fixed offset, or that of RFC 7323."""
        if self.fixed_offset >= 0:
            return self.fixed_offset
        return super().ts_offset(local_addr, local_port, remote_addr, remote_port)
