"""What a network does to packets, by chance and by rule."""

from __future__ import annotations

import itertools

import pytest
from tests.sim.kit import A, Arrivals, B, Reports, make, numbered, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import (
    CORRUPTED,
    DELAYED,
    DUPLICATE,
    HELD_BACK,
    LOST_BURST,
    LOST_RANDOM,
    LOST_RULE,
    MARKED,
    describe,
)
from plankroad.sim.faults import Corruption, Duplication, GilbertElliott, RandomLoss, Reordering
from plankroad.sim.observe import TraceHash
from plankroad.sim.pipe import Pipe
from plankroad.sim.queue import DropTail
from plankroad.sim.rng import stream
from plankroad.sim.rules import CORRUPT, DELAY, DROP, PASS, Rule, RuleList
from plankroad.sim.rules import DUPLICATE as COPY
from plankroad.sim.view import PacketView
from plankroad.units import MILLISECOND
from plankroad.wire.checksum import complete
from plankroad.wire.constants import PROTO_UDP
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.segment import ACK
from plankroad.wire.tcp import tcp_checksum_ok
from plankroad.wire.udp import build_udp


def send_many(sim: Simulator, pipe: Pipe, count: int, gap: int = 1000) -> None:
    for i in range(count):
        sim.call_at(sim.now + i * gap, pipe.send, Packet(numbered(i)))
    sim.run()


def numbers(sink: Arrivals) -> list[int]:
    return [int.from_bytes(data[:4], "big") for data in sink.contents]


def test_random_loss_has_its_rate_and_no_memory(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    pipe.before.append(RandomLoss(0.2, stream(5, "loss")))
    send_many(sim, pipe, 20_000)
    got = set(numbers(sink))
    assert pipe.counters.lost_random == 20_000 - len(got)
    assert 0.185 < pipe.counters.lost_random / 20_000 < 0.215
    after_loss = [i + 1 in got for i in range(19_999) if i not in got]
    assert 0.18 < 1 - sum(after_loss) / len(after_loss) < 0.22


def test_losing_everything_and_nothing(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.before.append(RandomLoss(0.0, stream(5, "loss")))
    send_many(sim, pipe, 1000)
    assert len(sink.packets) == 1000
    pipe.before[0] = RandomLoss(1.0, stream(5, "loss"))
    send_many(sim, pipe, 1000)
    assert len(sink.packets) == 1000


def test_gilbert_elliott_loses_in_bursts_of_the_right_length(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.before.append(GilbertElliott(0.01, 0.25, 1.0, 0.0, stream(8, "burst")))
    send_many(sim, pipe, 50_000)
    lost = sorted(set(range(50_000)) - set(numbers(sink)))
    bursts = 1 + sum(b != a + 1 for a, b in itertools.pairwise(lost))
    assert 3.4 < len(lost) / bursts < 4.6  # 1 / 0.25
    assert 0.03 < len(lost) / 50_000 < 0.047  # 0.01 / 0.26
    assert pipe.counters.lost_burst == len(lost)


def test_a_lost_packet_is_told_when_it_would_have_arrived(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, delay=5 * MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.before.append(RandomLoss(0.5, stream(1, "loss")))
    for i in range(40):
        pipe.send(Packet(numbered(i, 125)))
    sim.run()
    assert [entry[0] for entry in reports.told] == [(i + 6) * MILLISECOND for i in range(40)]
    assert {entry[3] for entry in reports.told} == {0, LOST_RANDOM}
    assert sink.contents == [entry[2] for entry in reports.told if entry[3] == 0]
    assert pipe.busy_until == 40 * MILLISECOND  # what is lost on the way was transmitted


def test_duplicates_arrive_next_to_each_other_as_separate_objects(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.before.append(Duplication(0.3, stream(2, "dup")))
    for i in range(200):
        pipe.send(tcp_packet(numbered(i), partial=True))
    sim.run()
    assert pipe.counters.duplicated == len(sink.packets) - 200 > 30
    assert len({id(p) for p in sink.objects}) == len(sink.objects)
    assert all(p.csum_start == 20 and p.csum_offset == 16 for p in sink.objects)
    copies = [i for i, entry in enumerate(reports.told) if entry[3] == DUPLICATE]
    assert len(copies) == pipe.counters.duplicated
    assert all(reports.told[i][2] == reports.told[i - 1][2] for i in copies)


def test_corruption_flips_as_many_bits_as_asked_after_finishing_the_checksum(sim: Simulator) -> None:
    for bits in (1, 3):
        pipe, sink = make(sim)
        pipe.behind.append(Corruption(1.0, bits, stream(3, "corrupt"), stream(3, "places")))
        whole = complete(tcp_packet(b"payload" * 20, partial=True)).to_bytes()
        for _ in range(200):
            pipe.send(tcp_packet(b"payload" * 20, partial=True))
        sim.run()
        assert pipe.counters.corrupted == 200
        places = set()
        for packet in sink.objects:
            difference = int.from_bytes(packet.head, "big") ^ int.from_bytes(whole, "big")
            assert difference.bit_count() == bits
            assert not packet.csum_start
            assert not packet.csum_valid
            places.add(difference)
        assert len(places) > 150  # anywhere in the packet


def test_one_flipped_bit_is_always_detected(sim: Simulator) -> None:
    """RFC 1071: the checksum covers the segment and its pseudo-header; the IP header has its own."""
    pipe, sink = make(sim)
    pipe.behind.append(Corruption(1.0, 1, stream(4, "corrupt"), stream(4, "places")))
    data = bytes(range(64))
    for _ in range(500):
        pipe.send(tcp_packet(data, partial=True))
    sim.run()
    for packet in sink.objects:
        head = packet.head
        ip_right = int.from_bytes(head[:20], "big") % 65535 == 0
        assert not (ip_right and tcp_checksum_ok(head, 20, len(head), A, B))


def test_copies_of_a_packet_are_damaged_independently(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.before.append(Duplication(1.0, stream(1, "dup")))
    pipe.behind.append(Corruption(0.5, 1, stream(1, "corrupt"), stream(1, "places")))
    for _ in range(300):
        pipe.send(Packet(numbered(9)))
    sim.run()
    pairs = list(zip(sink.contents[::2], sink.contents[1::2], strict=True))
    assert {(a == numbered(9), b == numbered(9)) for a, b in pairs} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }


def test_reordering_holds_some_back_and_counts_the_overtaken(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.behind.append(Reordering(0.1, 5500, stream(6, "reorder")))
    send_many(sim, pipe, 1000, gap=1000)
    order = numbers(sink)
    assert sorted(order) == list(range(1000))
    held = [int.from_bytes(entry[2][:4], "big") for entry in reports.told if entry[3] & HELD_BACK]
    assert 70 < len(held) < 130
    late = 0
    highest = -1
    for number in order:
        late += number < highest
        highest = max(highest, number)
    assert pipe.counters.reordered == late
    assert abs(late - len(held)) <= 2  # the last ones have nobody to overtake them
    for number, when in zip(order, sink.times, strict=True):
        assert when == number * 1000 + MILLISECOND + (5500 if number in held else 0)


def test_a_packet_held_back_when_the_link_is_cut_is_lost(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    pipe.behind.append(Reordering(1.0, 10 * MILLISECOND, stream(6, "reorder")))
    pipe.send(Packet(numbered(1)))
    sim.run_until(2 * MILLISECOND)
    assert pipe.on_the_way() == 1
    pipe.cut()
    sim.run()
    assert (sink.packets, pipe.counters.lost_cut) == ([], 1)


def rules_on(pipe: Pipe, *rules: Rule) -> RuleList:
    found = RuleList(pipe.name, pipe.ethernet, stream(1, "rules"))
    found.rules.extend(rules)
    pipe.before.insert(0, found)
    return found


def fates(*, loss: bool, burst: bool, rule: bool) -> dict[str, set[int]]:
    """The numbers of the packets that met with each fate."""
    sim = Simulator()
    pipe, _ = make(sim)
    reports = Reports()
    pipe.observers.append(reports)
    if rule:
        rules_on(pipe, Rule(PASS, lambda view: view.packet.head[3] == 7))
    if loss:
        pipe.before.append(RandomLoss(0.1, stream(1, "loss")))
    if burst:
        pipe.before.append(GilbertElliott(0.05, 0.3, 1.0, 0.0, stream(1, "burst")))
    pipe.behind.append(Reordering(0.2, 10_000, stream(1, "reorder")))
    send_many(sim, pipe, 2000)
    return {
        name: {int.from_bytes(told[2][:4], "big") for told in reports.told if told[3] == fate}
        for name, fate in (("random", LOST_RANDOM), ("burst", LOST_BURST), ("held", HELD_BACK), ("arrived", 0))
    }


def test_faults_do_not_disturb_each_other() -> None:
    """Which packets a fault strikes does not depend on other faults: each draws for every packet."""
    loss = fates(loss=True, burst=False, rule=False)
    both = fates(loss=True, burst=True, rule=True)
    burst = fates(loss=False, burst=True, rule=False)
    passed = set(range(7, 2000, 256))
    assert both["random"] == loss["random"] - passed
    assert both["burst"] == burst["burst"] - passed - both["random"]
    alive = loss["arrived"] | loss["held"]
    assert both["held"] == loss["held"] - burst["burst"] - passed
    assert burst["held"] & alive == loss["held"] - burst["burst"]
    assert min(len(numbers) for numbers in both.values()) > 100


def test_a_rule_acts_on_the_packets_that_it_means(sim: Simulator) -> None:
    pipe, sink = make(sim)
    reports = Reports()
    pipe.observers.append(reports)
    rule = Rule(
        DROP, lambda view: view.tcp is not None and view.payload.startswith(b"b"), skip=1, count=1, note="the test"
    )
    rules_on(pipe, rule)
    for data in (b"a1", b"b1", b"b2", b"b3"):
        pipe.send(tcp_packet(data))
    sim.run()
    assert [data[40:] for data in sink.contents] == [b"a1", b"b1", b"b3"]
    assert (rule.seen, rule.hits, pipe.counters.lost_rule) == (2, 1, 1)
    lost = next(entry for entry in reports.told if entry[3] == LOST_RULE)
    assert describe(lost[3], lost[4]) == "dropped: packet rule (the test)"


def test_the_first_rule_that_fits_decides(sim: Simulator) -> None:
    pipe, sink = make(sim)
    passes = Rule(PASS, lambda view: view.size == 104, count=2)
    drops = Rule(DROP, lambda view: view.size > 100)
    rules_on(pipe, passes, drops)
    for i in range(4):
        pipe.send(Packet(numbered(i, 104)))
    pipe.send(Packet(numbered(4, 100)))
    sim.run()
    assert numbers(sink) == [0, 1, 4]
    assert (passes.hits, drops.hits) == (2, 2)


def test_a_packet_that_a_rule_lets_pass_is_spared_by_chance(sim: Simulator) -> None:
    pipe, sink = make(sim)
    rules_on(pipe, Rule(PASS, lambda view: view.size == 104))
    pipe.before.append(RandomLoss(1.0, stream(1, "loss")))
    pipe.behind.append(Corruption(1.0, 1, stream(1, "corrupt"), stream(1, "places")))
    for i in range(4):
        pipe.send(Packet(numbered(i, 104 - i % 2)))
    sim.run()
    assert sink.contents == [numbered(0, 104), numbered(2, 104)]


def test_rules_delay_duplicate_and_corrupt(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    rules_on(
        pipe,
        Rule(DELAY, lambda view: view.size == 101, delay=7 * MILLISECOND),
        Rule(COPY, lambda view: view.size == 102, copies=2),
        Rule(CORRUPT, lambda view: view.size == 103, bits=2),
    )
    for size in (101, 102, 103, 104):
        pipe.send(Packet(numbered(size, size)))
    sim.run()
    assert numbers(sink)[:3] == [102, 102, 102]
    assert sink.packets[-1] == (8 * MILLISECOND, numbered(101, 101))
    assert sorted(entry[3] for entry in reports.told) == sorted([0, 0, DUPLICATE, DUPLICATE, CORRUPTED, DELAYED])
    damaged = next(data for data in sink.contents if len(data) == 103)
    assert (int.from_bytes(damaged, "big") ^ int.from_bytes(numbered(103, 103), "big")).bit_count() == 2


def test_rules_have_a_time_and_an_end(sim: Simulator) -> None:
    pipe, sink = make(sim)
    rules_on(pipe, Rule(DROP, start=2000, end=4000))
    send_many(sim, pipe, 6)
    assert numbers(sink) == [0, 1, 4, 5]
    with Rule(DROP) as rule:
        rules_on(pipe, rule)
        pipe.send(Packet(numbered(6)))
    pipe.send(Packet(numbered(7)))
    sim.run()
    assert numbers(sink) == [0, 1, 4, 5, 7]


def test_bad_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="no such action: 'lose'; there are pass, delay, drop"):
        Rule("lose")
    with pytest.raises(ValueError, match="needs a delay above 0"):
        Rule(DELAY)
    with pytest.raises(ValueError, match="copies and bits"):
        Rule(COPY, copies=0)
    with pytest.raises(ValueError, match="count 1 or more"):
        Rule(DROP, count=0)
    with pytest.raises(ValueError, match="end is not after"):
        Rule(DROP, start=5, end=5)


def test_views_read_what_is_there() -> None:
    view = PacketView(9, "a->b", tcp_packet(b"hello"), False)
    assert (view.version, view.src, view.dst, view.protocol, view.size) == (4, "10.0.0.1", "10.0.0.2", 6, 45)
    assert view.tcp is not None
    assert (view.tcp.flags & ACK, view.payload, view.now, view.link) == (ACK, b"hello", 9, "a->b")

    src, dst = bytes(15) + b"\1", bytes(15) + b"\2"
    udp = build_udp(src, dst, 5, 6, b"data") + b"data"
    framed = build_ethernet(bytes(6), bytes(6), 0x86DD) + build_ipv6(src, dst, PROTO_UDP, len(udp)) + udp
    view = PacketView(0, "", Packet(framed), True)
    assert view.udp is not None
    assert (view.version, view.src, view.udp.dst_port, view.payload, view.ethertype) == (6, "::1", 6, b"data", 0x86DD)

    fragment = build_ipv4(A, B, 6, 8, fragment_offset=8) + bytes(8)
    view = PacketView(0, "", Packet(fragment), False)
    assert (view.fragment, view.tcp, view.payload) == (True, None, bytes(8))

    arp = PacketView(0, "", Packet(build_ethernet(bytes(6), bytes(6), 0x0806) + bytes(28)), True)
    assert (arp.ethertype, arp.version, arp.protocol) == (0x0806, 0, -1)


@pytest.mark.parametrize("junk", [b"", b"\x45", bytes(100), b"\x60" * 60, b"\xff" * 64])
def test_views_of_junk_are_empty(junk: bytes) -> None:
    for ethernet in (False, True):
        assert PacketView(0, "", Packet(junk), ethernet).tcp is None


def trace(seed: int) -> str:
    sim = Simulator()
    pipe, _ = make(sim, rate=10_000_000, delay=MILLISECOND, queue=DropTail(50))
    pipe.jitter = MILLISECOND // 2
    pipe.before.append(RandomLoss(0.1, stream(seed, "loss")))
    pipe.before.append(GilbertElliott(0.02, 0.3, 0.9, 0.01, stream(seed, "burst")))
    pipe.before.append(Duplication(0.1, stream(seed, "dup")))
    pipe.behind.append(Corruption(0.1, 2, stream(seed, "corrupt"), stream(seed, "places")))
    pipe.behind.append(Reordering(0.1, MILLISECOND, stream(seed, "reorder")))
    watcher = TraceHash()
    pipe.observers.append(watcher)
    send_many(sim, pipe, 2000, gap=90_000)
    assert watcher.packets == 2000 + pipe.counters.duplicated
    return watcher.hexdigest()


def test_the_same_seed_gives_the_same_trace_and_another_one_another() -> None:
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_what_happened_is_told_in_words() -> None:
    assert describe(0, "") == ""
    assert describe(LOST_BURST | CORRUPTED, "") == "dropped: burst loss, damaged"
    assert describe(DELAYED | MARKED, "") == "delayed by a packet rule, congestion experienced marked"
    assert describe(HELD_BACK | DUPLICATE, "x") == "duplicate made by the network, held back to be overtaken (x)"


def test_damage_needs_a_packet_that_makes_sense(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.behind.append(Corruption(1.0, 1, stream(1, "corrupt"), stream(1, "places")))
    pipe.send(Packet(bytes(20), csum_start=19, csum_offset=16))
    pipe.send(Packet(b""))
    sim.run()
    assert pipe.counters.lost_invalid == 1
    assert sink.contents == [b""]


def test_all_bits_of_a_small_packet_can_be_flipped(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.behind.append(Corruption(1.0, 100, stream(1, "corrupt"), stream(1, "places")))
    pipe.send(Packet(b"\x00\xff"))
    sim.run()
    assert sink.contents == [b"\xff\x00"]
