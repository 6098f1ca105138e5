"""Bytes as programs: each byte an act of a program, of the network or of time.

`run_pair` plays with two live stacks (`tests.fuzz.world`); `run_connection` with one `Connection` and the segments that
a hostile peer may send it. Any bytes are a program, so a fuzzer that knows nothing of TCP can write them.
"""

from __future__ import annotations

import errno
from typing import Final

from tests.fuzz.edits import FLAG_SETS, MASK32, STEPS
from tests.fuzz.feed import Feed
from tests.fuzz.world import World

from plankroad.endpoint import EVENT_ACCEPT
from plankroad.tcp.cc.registry import names
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import CLOSED
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.counters import TcpCounters
from plankroad.tcp.fastopen_cache import FastOpenCache
from plankroad.tcp.fastopen_cookie import FastOpenKeys
from plankroad.tcp.invariants import check
from plankroad.tcp.isn import IsnGenerator
from plankroad.tcp.listen import Listener
from plankroad.testing.pair import show
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import ACK, FIN, PSH, SYN, Segment

#: Numbers that are not worth a byte each: a few sizes and times.
SIZES: Final = (1, 0, 10, 100, 536, 1460, 3000, 10_000, 40_000)
TIMES: Final = (
    MILLISECOND,
    1,
    10 * MILLISECOND,
    40 * MILLISECOND,
    200 * MILLISECOND,
    SECOND,
    3 * SECOND,
    60 * SECOND,
    600 * SECOND,
    3600 * SECOND,
)

OPTIONS: Final[tuple[tuple[str, int | bool | str], ...]] = (
    ("nagle", "off"),
    ("nagle", "classic"),
    ("cork", True),
    ("cork", False),
    ("congestion_control", "newreno"),
    ("congestion_control", "cubic"),
    ("congestion_control", "bbr"),
    ("congestion_control", "dctcp"),
    ("delayed_ack", 0),
    ("delayed_ack", 400 * MILLISECOND),
    ("ecn", "off"),
    ("ecn", "on"),
    ("keepalive", True),
    ("keepalive", False),
    ("keepalive_idle", SECOND),
    ("keepalive_interval", SECOND),
    ("linger", 0),
    ("linger", SECOND),
    ("linger", -1),
    ("max_segment", 100),
    ("max_segment", 0),
    ("pacing", True),
    ("pacing", False),
    ("quick_acks", 0),
    ("r2", 10 * SECOND),
    ("rcv_buf", 1024),
    ("rcv_buf", 100_000),
    ("rcv_buf", 0),
    ("snd_buf", 1024),
    ("snd_buf", 0),
    ("tos", 0x48),
    ("ttl", 1),
    ("user_timeout", 5 * SECOND),
    ("user_timeout", 0),
    ("fin_timeout", 0),
)


def config_from(feed: Feed) -> TcpConfig:
    """Choices for a connection; the bytes 0 are the defaults."""
    config = TcpConfig(
        snd_buf=feed.pick((0, 1024, 20_000)),
        rcv_buf=feed.pick((0, 1024, 1500, 10_000, 65_535, 1 << 20)),
        nagle=feed.pick(("minshall", "classic", "off")),
        congestion_control=feed.pick(("cubic", *(name for name in names() if name != "cubic"))),
        initial_window=feed.pick((10, 1, 2, 40)),
        mtu_probing=feed.pick(("black_hole", "off", "on")),
        max_segment=feed.pick((0, 100, 536)),
        delayed_ack=feed.pick((40, 0, 200, 499)) * MILLISECOND,
        quick_acks=feed.pick((16, 0)),
        ecn=feed.pick(("passive", "off", "on", "accecn")),
        min_rto=feed.pick((200, 1, 1000)) * MILLISECOND,
        linger=feed.pick((-1, 0, SECOND)),
        msl=feed.pick((30 * SECOND, 0, SECOND)),
        syn_backlog=feed.pick((1024, 0, 1)),
        user_timeout=feed.pick((0, 0, 0, 100 * SECOND)),
    )
    bits = feed.byte()
    config.sack = not bits & 1
    config.timestamps = not bits & 2
    config.window_scaling = not bits & 4
    config.dsack = not bits & 8
    config.pacing = not bits & 16
    config.fast_open = bool(bits & 32)
    config.fast_open_queue = 4 if bits & 32 else 0
    config.keepalive = bool(bits & 64)
    config.idle_restart = not bits & 128
    config.validate()
    return config


def run_pair(data: bytes) -> World:
    """Play the program `data` on two stacks, to the end; AssertionError where something that always holds does not."""
    feed = Feed(data)
    plain = feed.byte() & 3 == 0
    configs = (TcpConfig(), TcpConfig()) if plain else (config_from(feed), config_from(feed))
    world = World(0, configs, ipv6=feed.flag(), mtu=feed.pick((1500, 1280, 9000)))
    try:
        world.open()
        while not feed.ended():
            act(world, feed)
        world.finish()
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{world.tell()}") from error
    return world


def act(world: World, feed: Feed) -> None:
    """One act."""
    kind = feed.below(26)
    side = feed.below(2) if kind < 10 else 0
    if kind == 0:
        world.write(0, side, feed.pick(SIZES))
    elif kind == 1:
        world.write(feed.below(3), side, feed.pick(SIZES), urgent=feed.flag())
    elif kind == 2:
        world.read(feed.below(3), side, feed.pick(SIZES))
    elif kind == 3:
        world.close(feed.below(3), side)
    elif kind == 4:
        name, value = feed.pick(OPTIONS)
        world.set_option(feed.below(3), side, name, value)
    elif kind == 5:
        world.set_mtu(side, feed.pick((1500, 1280, 9000, 1400)))
    elif kind == 6:
        if feed.byte() & 3 == 3:
            world.abort(feed.below(3), side)
    elif kind == 7:
        if feed.byte() & 3 == 3:
            world.release(feed.below(3), side)
    elif kind == 8:
        if len(world.flows) < 3:
            world.open()
    elif kind == 9:
        world.read(0, side, 1 << 30)
    elif kind <= 11:
        world.advance(feed.pick(TIMES))
    elif kind <= 13:
        world.carry(1 + feed.below(8))
    elif kind == 14:
        world.carry(100)
    elif kind == 15:
        world.deliver(feed.byte())
    elif kind == 16:
        world.drop(feed.byte())
    elif kind == 17:
        world.duplicate(feed.byte())
    elif kind == 18:
        world.corrupt(feed.byte(), feed.number(2))
    elif kind == 19:
        world.resegment(feed.byte(), feed.pick((0, 1, 1000)), feed.pick((0, 1, 1000)))
    else:
        index, keep = feed.byte(), feed.flag()
        world.change(index, feed, keep)


LOCAL: Final = b"\x0a\0\0\x01"
REMOTE: Final = b"\x0a\0\0\x02"
SECRET: Final = b"a secret of the fuzzers"

#: Segments that one act may be answered by: a send buffer's worth, in the smallest segments.
MAX_OUTPUT: Final = 30_000


_COMMANDS: Final = ("send", "send_urgent", "receive", "close", "release", "abort", "option", "icmp", "mtu", "info")


class Solo:
    """One connection and no peer: `log` tells what came and what went."""

    def __init__(self, feed: Feed) -> None:
        self.now = 10 * SECOND
        self.log: list[str] = []
        self.config = config_from(feed)
        mtu = feed.pick((1500, 68, 576, 1280, 9000))
        self.counters = TcpCounters()
        isn = IsnGenerator(SECRET)
        # Sequence numbers that wrap soon, and some that do not.
        iss = feed.pick((1000, MASK32, MASK32 - 3000, (1 << 31) - 1))
        self.peer_iss = feed.pick((5000, MASK32, MASK32 - 3000, (1 << 31) - 1))
        self.ts = feed.pick((1000, MASK32, 1 << 31))
        self.ts_used = feed.flag()
        self.connection: Connection | None = None
        self.listener: Listener | None = None
        self.mtu = mtu
        self.released = False
        if feed.flag():
            cookies = SynCookies(SECRET)
            keys = FastOpenKeys(SECRET, 0)
            self.listener = Listener(self.config, self.counters, LOCAL, 80, 4, isn, cookies, None, None, keys)
        else:
            self.connection = Connection(
                self.config, self.counters, LOCAL, 80, REMOTE, 9, iss, iss, mtu, mtu, None, None
            )
            cache = FastOpenCache(self.counters, 4, 0) if self.config.fast_open else None
            self.connection.open(self.now, cache)
            self.connection.tcb.gso_max = feed.pick((0, 65535))
            self.output()

    def segment(self, feed: Feed) -> None:
        """A segment arrives; its numbers are near those that mean something to the connection."""
        t = self.connection.tcb if self.connection is not None else None
        shape = feed.byte()
        seq_base = [self.peer_iss, (self.peer_iss + 1) & MASK32]
        ack_base = [0]
        if t is not None:
            if t.irs >= 0:
                seq_base = [t.rcv_nxt, t.rcv_adv, t.irs, t.rcv_nxt - 1, t.rcv_nxt]
                for interval in t.reassembly.intervals[:2]:
                    seq_base += [interval.start, interval.end]
            ack_base = [t.snd_max, t.snd_una, t.snd_nxt, t.iss, t.snd_una + t.snd_mss]
        seq = feed.pick(seq_base) + (feed.pick((0, 1, *STEPS)) if shape & 1 else 0)
        ack = feed.pick(ack_base) + (feed.pick((0, 1, *STEPS)) if shape & 2 else 0)
        flags = feed.pick(FLAG_SETS) if shape & 4 else feed.pick((ACK, ACK | PSH, SYN | ACK, FIN | ACK, SYN))
        size = feed.pick((0, 1, 100, 536, 1460, 20_000)) if shape & 8 else 0
        wnd = feed.pick((65535, 0, 1, 1000, feed.number(2))) if shape & 16 else 65535
        seg = Segment(9, 80, seq & MASK32, ack & MASK32, flags, wnd, bytes(size))
        if self.ts_used:
            seg.has_ts = True
            seg.ts_val = (self.ts + self.now // MILLISECOND) & MASK32
            seg.ts_ecr = self.last_ts
        if flags & SYN:
            seg.mss = feed.pick((1460, 0, 1, 536, 65535))
            seg.wscale = feed.pick((7, -1, 0, 14, 15))
            seg.sack_permitted = feed.flag()
        if shape & 32:
            self.decorate(seg, feed)
        if shape & 64 and t is not None:
            blocks = []
            for _ in range(1 + feed.below(4)):
                left = feed.pick((t.snd_una, t.snd_nxt, t.snd_una + t.snd_mss)) + feed.pick((0, 1, *STEPS))
                blocks.append((left & MASK32, (left + feed.pick((t.snd_mss, 0, 1, *STEPS))) & MASK32))
            seg.sack = blocks
        if size > 2000:
            seg.gso_size = 1460
        self.take(seg)

    last_ts = 0

    def decorate(self, seg: Segment, feed: Feed) -> None:
        """The fields that few segments have."""
        kind = feed.below(8)
        if kind == 0:
            seg.has_ts = not seg.has_ts
            seg.ts_val = feed.number(4)
        elif kind == 1:
            seg.ts_val = (seg.ts_val + feed.pick(STEPS)) & MASK32
        elif kind == 2:
            seg.ts_ecr = (seg.ts_ecr + feed.pick(STEPS)) & MASK32
        elif kind == 3:
            seg.urgent = feed.number(2)
            seg.flags |= 0x20
        elif kind == 4:
            seg.user_timeout = feed.number(2)
        elif kind == 5:
            seg.fast_open = feed.some(16)
        elif kind == 6:
            seg.accecn = (feed.number(3), feed.number(3), feed.pick((-1, feed.number(3))))
            seg.tos = feed.below(4)
        else:
            seg.tos = feed.below(4)
            seg.flags ^= feed.pick((0x40, 0x80, 0x100, 0x1C0))

    def take(self, seg: Segment) -> None:
        """The segment arrives."""
        self.note(f"> {show(seg)}")
        if self.connection is not None:
            self.connection.handle_segment(self.now, seg)
        else:
            assert self.listener is not None
            result = self.listener.handle_segment(self.now, seg, LOCAL, REMOTE, self.mtu, self.mtu)
            self.connection = result.connection
            if result.reply is not None:
                self.note(f"< {show(result.reply)}")
        self.output()

    def output(self) -> None:
        """Drain it, and check."""
        if self.listener is not None and self.listener.poll_events() & EVENT_ACCEPT:
            self.listener.accept()
        connection = self.connection
        if connection is None:
            return
        count = 0
        while (seg := connection.poll_transmit(self.now)) is not None:
            count += 1
            assert count < MAX_OUTPUT, "output without end"
            assert len(seg.payload) <= max(65535, self.mtu)
            if seg.has_ts:
                self.last_ts = seg.ts_val
            self.note(f"< {show(seg)}")
        connection.poll_events()
        check(connection.tcb)

    def advance(self, duration: int) -> None:
        """Time passes."""
        self.note(f"{duration / SECOND:g} s pass")
        end = self.now + duration
        rounds = 0
        while self.connection is not None and self.connection.next_timeout() <= end:
            rounds += 1
            assert rounds < 20 + 20 * (duration // MILLISECOND + 1), "deadlines without end"
            self.now = max(self.now, self.connection.next_timeout())
            self.connection.handle_timeout(self.now)
            self.output()
        self.now = end

    def command(self, feed: Feed) -> None:
        """A call of the program."""
        connection = self.connection
        if connection is None:
            return
        kind = feed.below(10)
        try:
            if kind == 0:
                connection.send(self.now, bytes(feed.pick(SIZES)))
            elif kind == 1:
                connection.send_urgent(self.now, bytes(feed.pick(SIZES)))
            elif kind == 2:
                connection.receive(self.now, feed.pick(SIZES))
            elif kind == 3:
                connection.close(self.now)
            elif kind == 4:
                connection.release(self.now)
                self.released = True
            elif kind == 5:
                connection.abort(self.now)
            elif kind == 6:
                name, value = feed.pick(OPTIONS)
                connection.set_option(self.now, name, value)
            elif kind == 7:
                seq = (connection.tcb.snd_una + feed.pick((0, 1, *STEPS))) & MASK32
                mtu = feed.pick((0, 68, 552, 1000, 1400, 65535))
                if connection.handle_icmp(self.now, feed.below(10), seq, mtu) and mtu >= 68:
                    connection.set_path_mtu(self.now, mtu)
            elif kind == 8:
                connection.set_path_mtu(self.now, feed.pick((1500, 68, 576, 9000, 65535)))
            else:
                connection.info(self.now)
                connection.receive(self.now, 1 << 30)
        except OSError as error:
            # What `send` says of a connection that is closed or was never open.
            if kind > 1 or not error.errno:
                raise
        self.note(f"program: {_COMMANDS[kind]}")
        self.output()

    def finish(self) -> None:
        """The program goes; silence must end the connection."""
        connection = self.connection
        if connection is None:
            return
        connection.receive(self.now, 1 << 30)
        self.output()
        connection.release(self.now)
        self.output()
        for _ in range(20_000):
            when = connection.next_timeout()
            if when >= NEVER:
                break
            self.now = max(self.now, when)
            connection.handle_timeout(self.now)
            self.output()
        else:
            raise AssertionError(f"it does not end: {connection.state()} {connection.tcb.timers}")
        assert connection.tcb.state == CLOSED, connection.state()
        if connection.error:
            assert connection.error in errno.errorcode

    def note(self, line: str) -> None:
        """One more line for the log."""
        state = self.connection.state() if self.connection is not None else "LISTEN"
        self.log.append(f"{self.now / SECOND:14.6f} {state:12} {line}")


def run_connection(data: bytes) -> Solo:
    """Play the program `data` on one connection; AssertionError where something that always holds does not."""
    feed = Feed(data)
    solo = Solo(feed)
    try:
        while not feed.ended():
            kind = feed.below(8)
            if kind < 5:
                solo.segment(feed)
            elif kind < 7:
                solo.command(feed)
            else:
                solo.advance(feed.pick(TIMES))
        solo.finish()
    except Exception as error:
        log = "\n".join(solo.log[-80:])
        raise AssertionError(f"{type(error).__name__}: {error}\n{log}") from error
    return solo
