"""Path MTU discovery without ICMP: black holes are found and survived, and larger packets are used where they fit."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from typing import Any

import pytest

from plankroad.sim.host import Host
from plankroad.sim.link import Link
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.cc.base import INITIAL_SSTHRESH
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED
from plankroad.tcp.plpmtud import COMPLETE, DISABLED, RAISE_TIMER, SEARCHING, effective_mtu
from plankroad.tcp.tcb import Tcb
from plankroad.testing.pair import Pair, Rule
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment

DATA = random.Random(5).randbytes(600_000)


class Path:
    """client - router - router - server; in the middle packets above `carried` vanish without a word, both ways.

    `told`: routers there answer those that are larger, as they should.
    """

    def __init__(
        self,
        carried: int = 0,
        family: int = 4,
        mtu: int = 1500,
        told: int = 0,
        rate: str = "50Mbit/s",
        delay: str = "10ms",
        seed: int = 1,
        **tcp: object,
    ) -> None:
        config = TcpConfig()
        for name, value in tcp.items():
            setattr(config, name, value)
        self.net = Network(seed)
        self.client: Host = self.net.host("client", StackConfig(tcp=config))
        self.server: Host = self.net.host("server")
        near, far = self.net.router("near"), self.net.router("far")
        subnets = ("10.1.0.", "10.2.0.", "10.3.0.") if family == 4 else ("fd01::", "fd02::", "fd03::")
        ends = [
            (f"{prefix}1/{24 if family == 4 else 64}", f"{prefix}2/{24 if family == 4 else 64}") for prefix in subnets
        ]
        self.net.link(self.client, near, rate="1Gbit/s", delay="1ms", mtu=mtu, addresses=ends[0])
        conditions: dict[str, Any] = {"carried_mtu": carried} if carried else {}
        self.link: Link = self.net.link(
            near, far, rate=rate, delay=delay, mtu=told or mtu, addresses=ends[1], **conditions
        )
        self.net.link(far, self.server, rate="1Gbit/s", delay="1ms", mtu=mtu, addresses=ends[2])
        self.target = f"{subnets[2]}2"
        self.tcbs: list[Tcb] = []
        self.stall = 0.0
        self.took = 0.0

    async def upload(self, data: bytes = DATA, piece: int = 20_000, every: float = 0.0, keep: bool = False) -> str:
        """Send `data` and return the SHA-256 of what arrived. `stall`: the longest silence at the receiver, seconds."""
        loop = asyncio.get_running_loop()
        digest = hashlib.sha256()
        done = loop.create_future()
        last = loop.time()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal last
            while chunk := await reader.read(1 << 16):
                self.stall = max(self.stall, loop.time() - last)
                last = loop.time()
                digest.update(chunk)
            writer.close()
            done.set_result(None)

        start = loop.time()
        listening = await self.server.aio.start_server(receive, port=7)
        _, writer = await self.client.aio.open_connection(self.target, 7)
        last = loop.time()
        self.tcbs.append(writer.get_extra_info("connection").tcb)
        for i in range(0, len(data), piece):
            writer.write(data[i : i + piece])
            await writer.drain()
            if every:
                await asyncio.sleep(every)
        writer.write_eof()
        await done
        if not keep:
            writer.close()
        listening.close()
        self.took = loop.time() - start
        return digest.hexdigest()

    def counters(self) -> dict[str, int]:
        return self.client.stack.counters.tcp.as_dict()


def trickle(pair: Pair, seconds: int) -> None:
    """Enough for a probe now and then, and no more."""
    for _ in range(seconds * 20):
        pair.a.send(bytes(6000))
        pair.run_for(50 * MILLISECOND)


def sha(data: bytes = DATA) -> str:
    return hashlib.sha256(data).hexdigest()


# Black holes


@pytest.mark.parametrize(("family", "carried"), [(4, 1400), (4, 1492), (4, 1100), (6, 1400), (6, 1280), (6, 1492)])
def test_a_black_hole_under_the_first_flight_is_survived(family: int, carried: int) -> None:
    # RFC 4821 section 7.7. The handshake is small; all of the first window vanishes.
    path = Path(carried, family)
    assert path.net.run(path.upload()) == sha()
    counters = path.counters()
    assert counters["mtu_black_holes"] == 1
    assert counters["timeouts"] <= 3
    assert path.stall < 1.5
    assert effective_mtu(path.tcbs[0]) <= carried


@pytest.mark.parametrize(("family", "carried"), [(4, 1400), (4, 1492), (4, 1100), (6, 1400), (6, 1280), (6, 1492)])
def test_after_a_black_hole_the_largest_size_that_arrives_is_found(family: int, carried: int) -> None:
    # RFC 4821 section 7.3: to what is worth the cost of probing.
    path = Path(carried, family)
    assert path.net.run(path.upload(piece=8000, every=0.2)) == sha()
    counters = path.counters()
    assert counters["timeouts"] <= 3
    assert counters["mtu_black_holes"] == 1
    assert carried - 24 < effective_mtu(path.tcbs[0]) <= carried


@pytest.mark.parametrize("family", [4, 6])
def test_a_black_hole_that_opens_in_mid_transfer_is_survived(family: int) -> None:
    path = Path(0, family)
    path.link.set(carried_mtu=1400, at="60ms")
    data = random.Random(9).randbytes(2_000_000)
    assert path.net.run(path.upload(data)) == sha(data)
    counters = path.counters()
    assert counters["mtu_black_holes"] == 1
    assert path.stall < 2.0
    assert effective_mtu(path.tcbs[0]) <= 1400
    # A window was sent again, and what probes cost; not the transfer.
    assert counters["bytes_retransmitted"] < len(data) // 2


def test_without_probing_a_black_hole_is_the_end() -> None:
    path = Path(1400, mtu_probing="off")

    async def main() -> bool:
        try:
            await asyncio.wait_for(path.upload(), 60)
        except TimeoutError:
            return False
        return True

    assert not path.net.run(main())


def test_what_was_resent_because_of_its_size_is_no_congestion() -> None:
    # RFC 1191 section 6.5, RFC 4821 section 7.6.2: slow start leads back up to where it was.
    path = Path(1400)
    path.net.run(path.upload())
    assert path.tcbs[0].cc.ssthresh == INITIAL_SSTHRESH
    assert path.took < 3.0


def test_a_second_timeout_is_needed_and_more_where_large_segments_arrive() -> None:
    # One timeout is a loss. A large segment that the peer holds speaks against a black hole, until R1.
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"))
    peer.establish(mss=1460, wscale=7)
    peer.send(bytes(8 * 1460))
    peer.segment(".", seq=1, ack=1, sack=[(1 + 3 * 1460, 1 + 4 * 1460)])
    t = peer.conn.tcb
    seen = []
    while t.counters.mtu_black_holes == 0:
        peer.next_timer()
        seen.append(t.counters.timeouts)
    assert seen[-1] == 3
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"))
    peer.establish(mss=1460, wscale=7)
    peer.send(bytes(8 * 1460))
    while peer.counters.mtu_black_holes == 0:
        peer.next_timer()
    assert peer.counters.timeouts == 2


def test_small_segments_that_vanish_are_no_black_hole() -> None:
    peer = ScriptedPeer(TcpConfig())
    peer.establish(mss=1460, wscale=7)
    peer.send(bytes(500))
    while peer.counters.timeouts < 6:
        peer.next_timer()
    assert peer.counters.mtu_black_holes == 0
    assert peer.conn.tcb.snd_mss == 1460


@pytest.mark.parametrize(("ipv6", "sizes"), [(False, [1024, 512]), (True, [1280])])
def test_the_size_is_halved_and_has_a_floor(ipv6: bool, sizes: list[int]) -> None:
    # RFC 4821 section 7.7: "halved, with a lower bound of 68 bytes for IPv4 and 1280 bytes for IPv6"; 512 here.
    peer = ScriptedPeer(TcpConfig(), ipv6=ipv6)
    peer.establish(mss=1460, wscale=7)
    peer.send(bytes(8 * 1460))
    seen: list[int] = []
    while peer.counters.timeouts < 12:
        for out in peer.next_timer():
            assert len(out.payload) <= peer.conn.tcb.snd_mss
        if effective_mtu(peer.conn.tcb) not in (1500, *seen[-1:]):
            seen.append(effective_mtu(peer.conn.tcb))
    assert seen == sizes


@pytest.mark.parametrize("size", [30_000, 400_000])
def test_an_outage_is_no_black_hole(size: int) -> None:
    # The first packet of the old size that arrives again shows it; nobody else hears of anything.
    path = Path()
    path.link.cut(at="55ms")
    path.link.heal(at="1.8s")
    data = DATA[:size]
    assert path.net.run(path.upload(data, every=0.02, piece=5_000)) == sha(data)
    counters = path.counters()
    assert counters["mtu_black_holes"] >= 1
    assert counters["mtu_probes_failed"] == 0
    t = path.tcbs[0]
    assert effective_mtu(t) == 1500
    assert t.plpmtud is not None
    assert t.plpmtud.state == DISABLED
    assert len(path.client.stack.pmtu.entries) == 0


# The search


def dropping(mtu: int, sizes: list[int] | None = None) -> Rule:
    """Packets of IPv4 above `mtu` vanish; `sizes` gathers those that are larger than 1024."""

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        size = 40 + (12 if seg.has_ts else 0) + (seg.gso_size or len(seg.payload))
        if sizes is not None and size > 1024:
            sizes.append(size)
        return [] if size > mtu else [0]

    return rule


def test_probing_from_the_beginning_needs_no_timeout() -> None:
    for carried in (1500, 1492, 1420, 1280, 1100):
        path = Path(carried if carried < 1500 else 0, mtu_probing="on")
        assert path.net.run(path.upload(piece=8000, every=0.2)) == sha()
        counters = path.counters()
        assert counters["timeouts"] == 0
        assert counters["mtu_black_holes"] == 0
        assert carried - 24 < effective_mtu(path.tcbs[0]) <= carried
        assert (counters["mtu_probes_failed"] > 0) == (carried < 1500)
        assert path.stall < 0.4


def test_a_path_that_carries_all_is_found_out_by_one_probe() -> None:
    sizes: list[int] = []
    pair = Pair(TcpConfig(mtu_probing="on"), rule=dropping(1500, sizes))
    pair.connect()
    t = pair.a.conn.tcb
    assert t.snd_mss == 1024 - 40 - 12
    pair.a.send(bytes(100_000))
    pair.run()
    assert t.snd_mss == 1448
    assert pair.a_counters.mtu_probes_sent == 1
    assert len(pair.b.received) == 100_000


def test_a_probe_that_is_lost_alone_is_no_congestion() -> None:
    # RFC 4821 section 7.6.2.
    pair = Pair(TcpConfig(mtu_probing="on", congestion_control="newreno"), rule=dropping(1400))
    pair.connect()
    t = pair.a.conn.tcb
    trickle(pair, 20)
    pair.run()
    assert pair.a_counters.mtu_probes_failed >= 3
    assert pair.a_counters.recoveries_sack == 0
    assert pair.a_counters.timeouts == 0
    assert t.cc.ssthresh == INITIAL_SSTHRESH
    # Each failed probe is sent again once, in smaller segments.
    assert pair.a_counters.bytes_retransmitted <= pair.a_counters.mtu_probes_failed * 1448
    assert len(pair.b.received) == 400 * 6000


def test_a_size_fails_when_it_was_lost_three_times() -> None:
    # RFC 8899 section 5.1.2: MAX_PROBES. A single loss of a probe may be chance.
    for losses, found in ((2, 1500), (3, 1480)):
        sizes: list[int] = []

        def rule(number: int, sender: str, seg: Segment, losses: int = losses, sizes: list[int] = sizes) -> list[int]:
            if len(seg.payload) == 1448:
                sizes.append(number)
                return [] if len(sizes) <= losses else [0]
            return [0]

        pair = Pair(TcpConfig(mtu_probing="on"), rule=rule)
        pair.connect()
        trickle(pair, 10)
        assert (effective_mtu(pair.a.conn.tcb) == 1500) == (found == 1500)
        assert pair.a_counters.mtu_probes_failed == losses


def test_failures_are_spaced_as_losses_would_be() -> None:
    # RFC 4821 section 7.6.2: "the same number of round trips as the current congestion window in packets".
    times: list[int] = []
    pair: Pair

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        if len(seg.payload) == 1448:
            times.append(pair.now)
            return []
        return [0]

    pair = Pair(TcpConfig(mtu_probing="on"), rule=rule)
    pair.connect()
    trickle(pair, 20)
    assert len(times) == 3
    for before, after in itertools.pairwise(times):
        assert after - before >= 10 * 20 * MILLISECOND


def test_a_probe_lost_with_others_decides_nothing() -> None:
    # RFC 4821 section 7.6.4.
    hit: list[int] = []

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        if sender == "a" and (len(seg.payload) == 1448 or hit) and len(hit) < 2:
            hit.append(number)
            return []
        return [0]

    pair = Pair(TcpConfig(mtu_probing="on"), rule=rule)
    pair.connect()
    pair.a.send(bytes(400_000))
    pair.run()
    assert len(hit) == 2
    assert pair.a_counters.mtu_probes_failed == 0
    assert pair.a_counters.recoveries_sack == 1
    assert effective_mtu(pair.a.conn.tcb) == 1500


def test_a_probe_needs_data_behind_it() -> None:
    # RFC 4821 section 7.4: else its loss would show by a timeout only.
    pair = Pair(TcpConfig(mtu_probing="on"))
    pair.connect()
    for _ in range(20):
        pair.a.send(bytes(3000))
        pair.run()
    assert pair.a_counters.mtu_probes_sent == 0
    pair.a.send(bytes(10_000))
    pair.run()
    assert pair.a_counters.mtu_probes_sent == 1


def test_a_probe_is_one_packet_among_super_segments() -> None:
    pair = Pair(TcpConfig(mtu_probing="on"), gso=64_000)
    pair.connect()
    pair.a.send(bytes(300_000))
    pair.run()
    probes = [seg for _, seg in pair.a.sent if len(seg.payload) == 1448 and not seg.gso_size]
    assert probes
    assert effective_mtu(pair.a.conn.tcb) == 1500
    assert all(seg.gso_size in (972, 1448) for _, seg in pair.a.sent if len(seg.payload) > 1448)


@pytest.mark.parametrize(("mss", "link"), [(1460, 1500), (1300, 9000), (8960, 1500), (1300, 1500)])
def test_probes_exceed_neither_the_link_nor_the_peers_mss(mss: int, link: int) -> None:
    peer = ScriptedPeer(TcpConfig(mtu_probing="on", initial_window=200), mtu=link)
    peer.establish(mss=mss, wscale=7)
    sent = 0
    seq = 1
    for _ in range(60):
        for out in peer.send(bytes(20_000)):
            sent = max(sent, len(out.payload))
            seq = max(seq, out.seq + len(out.payload))
        peer.advance(20 * MILLISECOND)
        for out in peer.segment(".", seq=1, ack=seq):
            sent = max(sent, len(out.payload))
            seq = max(seq, out.seq + len(out.payload))
    assert sent == min(mss, link - 40)


def test_jumbo_frames_are_found() -> None:
    path = Path(4352, mtu=9000, mtu_probing="on")
    data = random.Random(2).randbytes(3_000_000)
    assert path.net.run(path.upload(data, piece=40_000, every=0.4)) == sha(data)
    assert 4352 - 4352 // 64 <= effective_mtu(path.tcbs[0]) <= 4352
    assert path.counters()["timeouts"] == 0


def test_after_ten_minutes_larger_packets_are_tried_again() -> None:
    # RFC 4821 section 7.3, RFC 8899's PMTU_RAISE_TIMER.
    limit = [1400]

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        return [] if len(seg.payload) + 52 > limit[0] else [0]

    pair = Pair(TcpConfig(mtu_probing="on"), rule=rule)
    pair.connect()

    trickle(pair, 20)
    t = pair.a.conn.tcb
    assert t.plpmtud is not None
    assert t.plpmtud.state == COMPLETE
    found = effective_mtu(t)
    assert 1376 < found <= 1400
    limit[0] = 1500
    pair.run_for(RAISE_TIMER - 60 * SECOND)
    trickle(pair, 5)
    assert effective_mtu(t) == found
    pair.run_for(60 * SECOND)
    trickle(pair, 5)
    assert effective_mtu(t) == 1500


def test_without_sack_a_lost_probe_is_an_ordinary_loss() -> None:
    pair = Pair(TcpConfig(mtu_probing="on", sack=False, congestion_control="newreno"), rule=dropping(1400))
    pair.connect()
    trickle(pair, 20)
    pair.run()
    assert len(pair.b.received) == 400 * 6000
    assert pair.a_counters.mtu_probes_failed >= 1
    assert pair.a_counters.recoveries_newreno == pair.a_counters.mtu_probes_failed
    assert pair.a.conn.tcb.snd_mss <= 1400 - 52


# Together with ICMP, and with other connections


def test_packet_too_big_names_the_next_size_to_try() -> None:
    # RFC 8899 section 4.6.2: PLPMTU < PL_PTB_SIZE < PROBED_SIZE.
    peer = ScriptedPeer(TcpConfig(mtu_probing="on"))
    peer.establish(mss=1460, wscale=7)
    out = peer.send(bytes(200_000))
    probe = next(seg for seg in out if len(seg.payload) == 1460)
    t = peer.conn.tcb
    assert peer.conn.handle_icmp(peer.now, FRAGMENTATION_NEEDED, (t.iss + probe.seq) & 0xFFFFFFFF, 1333)
    peer.advance(20 * MILLISECOND)
    end = probe.seq + len(probe.payload)
    last = out[-1].seq + len(out[-1].payload)
    again = peer.segment(".", seq=1, ack=probe.seq, sack=[(end, last)])
    assert again[0].seq == probe.seq
    assert len(again[0].payload) == 984
    more = peer.segment(".", seq=1, ack=last)
    for _ in range(6):
        peer.advance(20 * MILLISECOND)
        last = max([last, *(seg.seq + len(seg.payload) for seg in more)])
        sizes = {len(seg.payload) for seg in more}
        if 1333 - 40 in sizes:
            break
        more = peer.segment(".", seq=1, ack=last)
    assert 1333 - 40 in sizes
    assert 1460 not in sizes
    assert peer.counters.timeouts == 0


def test_a_router_that_speaks_is_believed_at_once() -> None:
    """The classical way, with probing ready: not a single timeout, and no search."""
    path = Path(told=1300)
    assert path.net.run(path.upload()) == sha()
    assert path.counters()["timeouts"] == 0
    assert path.counters()["mtu_probes_sent"] == 0
    assert effective_mtu(path.tcbs[0]) == 1300


def test_new_connections_begin_with_the_size_that_was_found_and_entries_age() -> None:
    path = Path(1400)

    async def main() -> None:
        assert await path.upload(piece=8000, every=0.2) == sha()
        found = effective_mtu(path.tcbs[0])
        assert found > 1376
        before = path.counters()
        path.stall = 0
        assert await path.upload() == sha()
        after = path.counters()
        # No timeout, no search: the stack's cache knew.
        assert after["timeouts"] == before["timeouts"]
        assert after["mtu_probes_sent"] == before["mtu_probes_sent"]
        assert path.stall < 0.2
        assert effective_mtu(path.tcbs[1]) == found
        # Forgotten after ten minutes, the path is what the link is, until shown otherwise.
        path.link.set(carried_mtu=1500)
        await asyncio.sleep(700)
        assert await path.upload() == sha()
        assert effective_mtu(path.tcbs[2]) == 1500
        assert path.counters()["timeouts"] == before["timeouts"]

    path.net.run(main())


def test_a_short_transfer_tells_the_next_of_the_black_hole() -> None:
    path = Path(1400)

    async def main() -> None:
        data = DATA[:3000]
        for _ in range(4):
            assert await path.upload(data) == sha(data)

    path.net.run(main())
    assert path.counters()["mtu_black_holes"] == 1


def test_connections_that_live_learn_from_each_other() -> None:
    path = Path(0)

    async def main() -> None:
        # The second was open before the first one fell into the hole.
        _, writer = await path.client.aio.open_connection(path.target, await sink(path))
        t = writer.get_extra_info("connection").tcb
        writer.write(bytes(100_000))
        await asyncio.sleep(1)
        path.link.set(carried_mtu=1400)
        assert await path.upload(piece=8000, every=0.2) == sha()
        before = path.counters()["timeouts"]
        writer.write(bytes(100_000))
        await asyncio.sleep(1)
        assert t.snd_una == t.snd_nxt
        assert effective_mtu(t) == effective_mtu(path.tcbs[0])
        assert path.counters()["timeouts"] == before
        assert t.plpmtud is not None
        assert t.plpmtud.state in (SEARCHING, COMPLETE)
        writer.close()

    path.net.run(main())


async def sink(path: Path) -> int:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    await path.server.aio.start_server(swallow, port=8)
    return 8


def test_where_routers_may_cut_packets_up_probes_prove_nothing() -> None:
    # Below the floor of the cache packets go without DF: a large probe would arrive in pieces.
    path = Path(told=400, mtu_probing="on")
    assert path.net.run(path.upload()) == sha()
    t = path.tcbs[0]
    assert t.plpmtud is not None
    assert t.plpmtud.suspended
    assert effective_mtu(t) <= 552


def test_bad_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="mtu_probing"):
        TcpConfig(mtu_probing="maybe").validate()
    with pytest.raises(ValueError, match="mtu_base"):
        TcpConfig(mtu_base=100).validate()


def test_a_delay_that_looked_like_a_black_hole_is_taken_back() -> None:
    # RFC 3522: the first ACK shows that the originals, large as they were, arrived.
    start = 0

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        at = pair.now - start
        return [2 * SECOND - at] if start and SECOND <= at < 2 * SECOND else [0]

    pair = Pair(TcpConfig(congestion_control="newreno"), rule=rule, delay=20 * MILLISECOND)
    pair.connect()
    start = pair.now
    t = pair.a.conn.tcb
    t.cc.ssthresh = 60_000
    before = 0
    while pair.now - start < 4 * SECOND:
        pair.a.send(bytes(100_000))
        pair.run_for(10 * MILLISECOND)
        if pair.now - start < SECOND:
            before = t.cc.cwnd
    assert pair.a_counters.mtu_black_holes >= 1
    assert pair.a_counters.spurious_recoveries >= 1
    assert effective_mtu(t) == 1500
    assert t.plpmtud is not None
    assert t.plpmtud.state == DISABLED
    assert t.mtu_found == 0
    assert t.cc.cwnd >= before
