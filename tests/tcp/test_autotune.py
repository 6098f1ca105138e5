"""Buffers that follow the path: windows never hold a willing program back, and never hold more than it uses."""

from __future__ import annotations

import asyncio

import pytest

from plankroad.endpoint import EVENT_WRITABLE
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.cc.newreno import NewReno
from plankroad.tcp.cc.registry import register
from plankroad.tcp.config import INITIAL_RCV_BUF, INITIAL_SND_BUF, TcpConfig
from plankroad.tcp.window import hold_limit
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment

MIB = 1024 * 1024
GSO = 64_240  # 44 segments of 1460


class Doubling(NewReno):
    """Slow start that doubles in spite of stretch ACKs, and ends at a loss only."""

    def __init__(self, smss: int, initial_window: int) -> None:
        super().__init__(smss, initial_window)
        self.slow_start_limit = 1 << 20


register("test-doubling", Doubling)


class Stream:
    """`a` writes as fast as it may, until `octets` are acknowledged; what held it back is counted.

    `held_by_window`: steps at which congestion control and the data would have let more out, but not the peer's window.
    `starved`: steps at which both windows were open, and the send buffer was empty of unsent data.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.chunk = bytes(256 * 1024)
        self.held_by_window = 0
        self.starved = 0
        self.edge = 0

    def run(self, octets: int) -> None:
        pair = self.pair
        t = pair.a.conn.tcb
        start = t.bytes_acked
        pair.a.send(self.chunk)
        while t.bytes_acked - start < octets:
            assert pair.step(), pair.story(20)
            while pair.a.send(self.chunk):
                pass
            self.look()

    def look(self) -> None:
        t = self.pair.a.conn.tcb
        mss = t.snd_mss
        room = t.cc.cwnd - t.pipe()
        window = t.snd_una + t.snd_wnd - t.snd_nxt
        if room >= 2 * mss and t.snd_buf.end - t.snd_nxt >= 2 * mss and window < mss:
            self.held_by_window += 1
        if room >= 2 * mss and window >= 2 * mss and t.snd_buf.end == t.snd_nxt:
            self.starved += 1
        r = self.pair.b.conn.tcb
        assert r.rcv_adv >= self.edge, "SHLD-14: the right edge moved left"
        self.edge = r.rcv_adv


def long_pair(rule: object = None, **options: object) -> Pair:
    """300 ms of round trip, no rate: cwnd doubles each round trip, and so must the windows."""
    config = TcpConfig(congestion_control="test-doubling")
    for name, value in options.items():
        setattr(config, name, value)
    return Pair(config, delay=150 * MILLISECOND, gso=GSO, automatic=True, rule=rule)  # type: ignore[arg-type]


# Receiving


@pytest.mark.parametrize("timestamps", [True, False])
def test_the_window_keeps_ahead_of_a_sender_in_slow_start(timestamps: bool) -> None:
    pair = long_pair(timestamps=timestamps)
    pair.connect()
    stream = Stream(pair)
    stream.run(12 * MIB)
    t = pair.a.conn.tcb
    assert t.cc.cwnd > 10 * MIB
    assert stream.held_by_window == 0
    assert pair.b.conn.tcb.rcv_buf > t.cc.cwnd
    assert pair.b_counters.receive_buffer_grown > 3


def test_a_gigabit_at_300_ms_fits_the_default_limits() -> None:
    # 37.5 MB of bandwidth-delay product: the window that both sides can come to is larger.
    config = TcpConfig()
    pair = long_pair()
    pair.connect()
    t = pair.a.conn.tcb
    offered = 65535 << t.snd_wind_shift
    assert offered >= config.rcv_buf_max - 1024 > 1_000_000_000 // 8 * 3 // 10
    # A writer that is woken when a third is free has the rest in flight meanwhile.
    assert config.snd_buf_max * 2 // 3 > 1_000_000_000 // 8 * 3 // 10


def test_the_first_window_holds_several_super_segments() -> None:
    pair = long_pair()
    pair.connect()
    pair.a.send(b"x")
    pair.run_for(2 * SECOND)
    assert pair.a.conn.tcb.snd_wnd >= INITIAL_RCV_BUF - 1024 >= 3 * 65535


def test_a_program_that_does_not_read_gets_no_larger_buffer() -> None:
    pair = long_pair()
    pair.connect()
    pair.b.reads = False
    for _ in range(8):
        pair.a.send(bytes(INITIAL_RCV_BUF))
        pair.run_for(SECOND)
    r = pair.b.conn.tcb
    assert r.rcv_buf == INITIAL_RCV_BUF
    assert INITIAL_RCV_BUF - 2 * 1460 <= r.rcv_queued <= INITIAL_RCV_BUF
    assert pair.a.conn.tcb.snd_wnd < 2 * 1460


def test_a_slow_reader_gets_a_buffer_for_its_pace_and_not_for_the_path() -> None:
    # 10 KB in each round trip of 20 ms. The sender could send a hundred times as much.
    pair = Pair(TcpConfig(congestion_control="test-doubling"), delay=10 * MILLISECOND, gso=GSO, automatic=True)
    pair.connect()
    pair.b.reads = False
    for _ in range(200):
        pair.a.send(bytes(100_000))
        pair.run_for(20 * MILLISECOND)
        pair.b.read(10_000)
    assert pair.b.conn.tcb.rcv_buf == INITIAL_RCV_BUF
    assert len(pair.a.conn.tcb.snd_buf) <= pair.a.conn.tcb.snd_buf_limit <= 4 * INITIAL_SND_BUF


def test_a_buffer_that_was_set_stays_as_it_was_set() -> None:
    pair = long_pair(rcv_buf=500_000, snd_buf=300_000)
    pair.connect()
    stream = Stream(pair)
    stream.run(3 * MIB)
    assert pair.b.conn.tcb.rcv_buf == 500_000
    assert pair.b.conn.tcb.rcv_wind_shift == 3
    assert pair.a.conn.tcb.snd_buf_limit == 300_000
    assert pair.b_counters.receive_buffer_grown == 0


def test_a_limit_is_kept_and_the_scale_is_chosen_for_it() -> None:
    pair = long_pair(rcv_buf_max=MIB, snd_buf_max=2 * MIB)
    pair.connect()
    assert pair.b.conn.tcb.rcv_wind_shift == 4
    Stream(pair).run(6 * MIB)
    assert pair.b.conn.tcb.rcv_buf == MIB
    assert pair.a.conn.tcb.snd_wnd <= MIB
    assert pair.a.conn.tcb.snd_buf_limit <= 2 * MIB


def test_an_option_fixes_the_buffer_of_a_connection_and_0_sets_it_free_again() -> None:
    pair = long_pair()
    pair.connect()
    b = pair.b.conn
    b.set_option(pair.now, "rcv_buf", 300_000)
    Stream(pair).run(2 * MIB)
    assert b.tcb.rcv_buf == 300_000
    b.set_option(pair.now, "rcv_buf", 0)
    Stream(pair).run(6 * MIB)
    assert b.tcb.rcv_buf > MIB


def test_the_window_does_not_close_in_a_recovery() -> None:
    # What is held out of order has left the network, and sending goes on while the hole is repaired.
    lost: list[int] = []

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        if (
            sender == "a"
            and len(seg.payload) > 1460
            and len(lost) < 1
            and seg.seq - pair.a.conn.tcb.iss & 0xFFFFFFFF > MIB
        ):
            lost.append(number)
            return []
        return [0]

    pair = long_pair(rule)
    pair.connect()
    stream = Stream(pair)
    stream.run(10 * MIB)
    assert lost
    assert pair.a_counters.retransmitted > 0
    assert stream.held_by_window == 0


def test_data_out_of_order_alone_does_not_make_the_buffer_grow() -> None:
    # A peer that leaves out the first octet could otherwise fill the memory of a program that reads all it can.
    peer = ScriptedPeer(TcpConfig())
    peer.establish(wscale=7)
    peer.segment(".", seq=1, ack=1, data=bytes(1000))
    seq = 1002
    for _ in range(2000):
        peer.advance(MILLISECOND)
        if seq + 1000 > peer.conn.tcb.rcv_adv - peer.conn.tcb.irs:
            break
        peer.segment(".", seq=seq, ack=1, data=bytes(1000))
        seq += 1000
    assert peer.conn.tcb.rcv_buf == INITIAL_RCV_BUF


def test_the_window_stays_open_through_a_recovery_of_several_round_trips() -> None:
    # A sender that goes on at its rate while what it sent again is lost, too.
    peer = ScriptedPeer(TcpConfig())
    peer.establish(wscale=7)
    t = peer.conn.tcb
    per_ms = 2600
    seq = 1
    for _ in range(400):
        peer.advance(MILLISECOND)
        peer.segment(".", seq=seq, ack=1, data=bytes(per_ms))
        seq += per_ms
    proven = t.rcv_space.proven
    assert proven > 0
    t.rcv_buf = before = 4 * proven  # enough for one recovery; what was offered may be more, the hole is larger
    t.rcv_space.grow_at = seq + t.irs + 16 * proven
    seq += 1000  # lost, and lost again
    for _ in range(7 * proven // per_ms):
        peer.advance(MILLISECOND)
        assert seq + per_ms <= t.rcv_adv - t.irs, "the window has closed"
        peer.segment(".", seq=seq, ack=1, data=bytes(per_ms))
        seq += per_ms
    assert before < t.reassembly.octets < t.rcv_buf <= 8 * t.rcv_space.proven


def test_holes_cannot_take_much_more_memory_than_the_window() -> None:
    peer = ScriptedPeer(TcpConfig(rcv_buf=16 * MIB))
    peer.establish(wscale=7)
    for seq in range(3, 3 + 2 * 30_000, 2):
        peer.conn.tcb.reassembly.insert(peer.conn.tcb.irs + seq, b"x", hold_limit(peer.conn.tcb))
    assert peer.conn.tcb.reassembly.memory() > 5 * MIB
    peer.conn.tcb.reassembly.clear()
    peer.conn.tcb.rcv_buf = MIB
    for seq in range(3, 3 + 2 * 30_000, 2):
        peer.conn.tcb.reassembly.insert(peer.conn.tcb.irs + seq, b"x", hold_limit(peer.conn.tcb))
    assert peer.conn.tcb.reassembly.memory() <= 2 * MIB


def test_a_sender_that_pauses_does_not_spoil_the_measure_of_the_round_trip() -> None:
    # Echoes that came after a pause say nothing of the path: the least counts, and more only slowly.
    pair = Pair(TcpConfig(congestion_control="test-doubling"), delay=10 * MILLISECOND, automatic=True)
    pair.connect()
    for _ in range(20):
        pair.a.send(bytes(5000))
        pair.run_for(3 * SECOND)
    assert pair.b.conn.tcb.rcv_space.rtt <= 25 * MILLISECOND


def test_without_a_measured_handshake_the_round_trip_is_learnt_from_data() -> None:
    dropped: list[int] = []

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        if sender == "b" and not dropped:
            dropped.append(number)
            return []
        return [0]

    pair = long_pair(rule, timestamps=False)
    pair.connect()
    assert pair.b.conn.tcb.rtt.samples == 0
    Stream(pair).run(6 * MIB)
    # From filled windows: never less than it is.
    assert 290 * MILLISECOND <= pair.b.conn.tcb.rcv_space.rtt <= 1200 * MILLISECOND
    assert pair.b.conn.tcb.rcv_buf > MIB


# Sending


def test_the_send_buffer_follows_the_window_and_never_starves_it() -> None:
    pair = long_pair()
    pair.connect()
    a = pair.a.conn.tcb
    assert a.snd_buf_limit == INITIAL_SND_BUF
    stream = Stream(pair)
    stream.run(12 * MIB)
    assert stream.starved == 0
    assert a.snd_buf_limit >= 2 * min(a.cc.cwnd // 2, a.max_snd_wnd)


def test_the_writer_is_woken_when_a_third_is_free() -> None:
    pair = long_pair()
    pair.connect()
    a = pair.a
    while a.send(bytes(64 * 1024)):
        pass
    a.events = 0
    while not a.events & EVENT_WRITABLE:
        assert 3 * len(a.conn.tcb.snd_buf) > 2 * a.conn.tcb.snd_buf_limit
        assert pair.step()
    assert 3 * len(a.conn.tcb.snd_buf) <= 2 * a.conn.tcb.snd_buf_limit


def test_a_path_that_becomes_slow_takes_the_send_buffer_back() -> None:
    pair = long_pair()
    pair.connect()
    Stream(pair).run(8 * MIB)
    t = pair.a.conn.tcb
    assert t.snd_buf_limit > 8 * MIB
    pair.run()
    t.cc.cwnd = 20_000
    pair.a.send(bytes(100_000))
    pair.run()
    assert t.snd_buf_limit <= MIB


def test_back_pressure_reaches_a_fast_writer_on_a_slow_path() -> None:
    """1 Mbit/s: what a program may write ahead is bounded by what the path holds, not by what a fast one would."""
    net = Network(seed=1)
    client, server = net.host("client"), net.host("server")
    net.link(client, server, rate="1Mbit/s", delay="20ms", queue="64KiB")
    most = 0

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    async def main() -> None:
        nonlocal most
        await server.aio.start_server(swallow, port=7)
        _, writer = await client.aio.open_connection("server", 7)
        conn = writer.get_extra_info("connection")
        for _ in range(40):
            writer.write(bytes(50_000))
            await writer.drain()
            most = max(most, len(conn.tcb.snd_buf))
        writer.close()

    net.run(main())
    assert 50_000 < most <= 2 * INITIAL_SND_BUF


@pytest.mark.parametrize("loss", [0.0, 0.0005])
def test_no_buffer_is_the_bottleneck_of_a_long_fast_path(loss: float) -> None:
    """100 Mbit/s at 200 ms, two BDP of queue: 2.5 MB in flight, with default buffers on both sides."""
    net = Network(seed=4)
    config = StackConfig(tcp=TcpConfig())
    client, server = net.host("client", config), net.host("server", config)
    net.link(client, server, rate="100Mbit/s", delay="100ms", queue="5MB", loss=loss)
    got = 0
    marks: list[int] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.close()

    async def main() -> None:
        await server.aio.start_server(swallow, port=7)
        _, writer = await client.aio.open_connection("server", 7)
        t = writer.get_extra_info("connection").tcb

        async def write() -> None:
            while True:
                writer.write(bytes(128 * 1024))
                await writer.drain()

        task = asyncio.create_task(write())
        for _ in range(30):
            await asyncio.sleep(0.1)
            usable = t.snd_una + t.snd_wnd - t.snd_nxt
            waits = t.cc.cwnd - t.pipe() >= 2 * t.snd_mss
            marks.append(1 if waits and (usable < t.snd_mss or t.snd_buf.end == t.snd_nxt) else 0)
        task.cancel()
        writer.transport.abort()

    net.run(main())
    assert sum(marks) <= 1
    assert got > (6_000_000 if loss else 15_000_000)


@pytest.mark.parametrize("gso", [0, GSO])
@pytest.mark.parametrize("algorithm", ["newreno", "cubic"])
def test_cwnd_does_not_grow_behind_a_window_of_the_peer_that_does_not(algorithm: str, gso: int) -> None:
    # RFC 7661 section 4.4: what was not tested by sending must not grow; the crumb that is left of a window is no use.
    config = TcpConfig(congestion_control=algorithm, rcv_buf=100_000)
    pair = Pair(config, delay=10 * MILLISECOND, gso=gso, automatic=True)
    pair.connect()
    Stream(pair).run(8 * MIB)
    assert pair.a.conn.tcb.cc.cwnd <= 3 * 100_000
    assert pair.a.conn.tcb.snd_buf_limit <= 2 * 100_000 + INITIAL_SND_BUF
