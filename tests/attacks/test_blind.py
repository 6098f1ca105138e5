"""Strangers off the path: resets, SYNs, data and ICMP swept over the window, and what challenge ACKs tell them.

Each sweep tries places all over the sequence space, dense near the edges of the window. RFC 5961, RFC 5927, RFC 4953.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, Figure, Peer, Target, address, attack, hold
from tests.stack.net import tcp
from tests.volume import volume

from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.icmp import build_icmp
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.segment import ACK, PSH, RST, SYN, Segment

VICTIM = address(1)


def victim(ts: bool = False) -> tuple[Target, Peer, Connection]:
    """A connection of the target with a client that is not the attacker, in the middle of something."""
    net = Target()
    client = Peer(net, VICTIM, 50_000, ts=ts)
    client.open()
    server = net.listener.accept()
    assert server is not None
    client.send(".", data=b"hello ")
    server.send(net.now, bytes(5000))
    client.heard(net.poll())
    return net, client, server


def places(window: int, count: int, seed: int = 1) -> Iterator[int]:
    """Where a sweep of the sequence space tries, relative to RCV.NXT: steps of half a window, the edges, chance."""
    step = (1 << 32) // count
    for i in range(count):
        yield i * step
    for edge in (0, window):
        for offset in range(-3, 4):
            yield edge + offset
    rng = random.Random(seed)
    for _ in range(count // 4):
        yield rng.randrange(window)


def forged(flags: int, seq: int, ack: int = 0, data: bytes = b"") -> bytes:
    """A segment in the client's name, without the timestamps that a stranger cannot know."""
    return tcp(Segment(50_000, 80, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, 1000, data), VICTIM, SERVER4)


def alive(net: Target, client: Peer, server: Connection) -> int:
    """0 where the connection goes on as if nothing had been."""
    seq = 7
    client.send(".", seq=seq, ack=1, data=b"world")
    received = server.receive(net.now, 100)
    return int(server.error != 0 or received != b"hello world")


@attack("blind reset (RFC 5961 section 3)")
def blind_reset() -> list[Figure]:
    """RSTs all over the sequence space; only the one exact number ends the connection."""
    net, client, server = victim()
    t = server.tcb
    window = t.rcv_adv - t.rcv_nxt
    answers = tried = 0
    for place in places(window, volume(20_000, 3000)):
        if place != 0:
            tried += 1
            answers += len(net.give(forged(RST, t.rcv_nxt + place)))
    # One RST a window would have been enough before RFC 5961: 65,536 at the most.
    return [
        Figure(f"connections ended by {tried:,} RSTs", alive(net, client, server), 0),
        Figure("challenge ACKs in one second", answers, 10),
    ]


def test_resets_swept_over_the_window_end_nothing() -> None:
    hold(blind_reset())
    net, _, server = victim()
    net.give(forged(RST, server.tcb.rcv_nxt))
    assert server.error


@attack("blind SYN (RFC 5961 section 4)")
def blind_syn() -> list[Figure]:
    """SYNs all over the sequence space."""
    net, client, server = victim()
    t = server.tcb
    answers = tried = 0
    for place in places(t.rcv_adv - t.rcv_nxt, volume(20_000, 3000)):
        tried += 1
        answers += len(net.give(forged(SYN, t.rcv_nxt + place)))
    return [
        Figure(f"connections ended by {tried:,} SYNs", alive(net, client, server), 0),
        Figure("challenge ACKs in one second", answers, 10),
    ]


def test_syns_swept_over_the_window_end_nothing() -> None:
    hold(blind_syn())


@attack("blind data injection (RFC 5961 section 5)")
def blind_data() -> list[Figure]:
    """Data in the right window with acknowledgement numbers from all over the space: what part of them is taken?"""
    net, _client, server = victim()
    t = server.tcb
    count = volume(20_000, 4000)
    step = (1 << 32) // count
    taken = 0
    for i in range(count):
        before = t.reassembly.octets + t.bytes_received
        # Behind a hole, so that the stream itself stays whole.
        net.give(forged(ACK | PSH, t.rcv_nxt + 1000 + i % 30_000, t.snd_una + 1 + i * step, b"x"))
        taken += int(t.reassembly.octets + t.bytes_received != before)
    without = 0
    for i in range(100):
        before = t.reassembly.octets
        net.give(forged(PSH, t.rcv_nxt + 40_000 + 2 * i, 0, b"y"))
        without += int(t.reassembly.octets != before)
    # MAX.SND.WND is 64 KiB here: SND.UNA - MAX.SND.WND =< SEG.ACK =< SND.NXT is what is believed.
    share = (t.max_snd_wnd + 5001) / (1 << 32)
    return [
        Figure("share of acknowledgement numbers that were believed", taken / count, share + 1.5 / count),
        Figure("of 100 segments without an ACK believed", without, 0),
        Figure("connections ended", int(server.error != 0), 0),
    ]


def test_data_needs_an_acknowledgement_number_that_is_nearly_right() -> None:
    hold(blind_data())


@attack("blind data against timestamps (RFC 7323)")
def blind_timestamps() -> list[Figure]:
    """Everything else is known to the stranger but the timestamps."""
    net, _client, server = victim(ts=True)
    t = server.tcb
    taken = 0
    count = volume(5000, 1000)
    for _ in range(count):
        before = t.reassembly.octets
        net.give(forged(ACK, t.rcv_nxt + 10, t.snd_una, b"x"))
        taken += int(t.reassembly.octets != before)
    guesses = 0
    rng = random.Random(3)
    seg_seq = t.rcv_nxt
    for _ in range(count):
        seg = Segment(50_000, 80, (seg_seq + 10) & 0xFFFFFFFF, t.snd_una & 0xFFFFFFFF, ACK, 1000, b"x")
        seg.has_ts = True
        seg.ts_val = rng.getrandbits(32)
        before = t.reassembly.octets
        net.give(tcp(seg, VICTIM, SERVER4))
        if t.reassembly.octets != before:
            guesses += 1
            t.reassembly.clear()
    return [
        Figure("segments without timestamps taken in", taken, 0),
        # Half of all values are newer than the last: PAWS is no protection against strangers, and claims to be none.
        Figure("share of guessed timestamps that pass", guesses / count, 0.55),
    ]


def test_segments_without_timestamps_are_dropped_where_they_were_agreed() -> None:
    hold(blind_timestamps())


@attack("blind ICMP (RFC 5927)")
def blind_icmp() -> list[Figure]:
    """All kinds of errors about the connection, quoting sequence numbers from all over the space."""
    net, client, server = victim()
    t = server.tcb
    router = ATTACKER
    mss = t.snd_mss
    believed = tried = 0
    count = volume(4000, 600)
    for kind, code, rest in (
        (3, 0, 0),
        (3, 1, 0),
        (3, 2, 0),
        (3, 3, 0),
        (3, 4, 576),
        (11, 0, 0),
        (12, 0, 0),
        (4, 0, 0),
    ):
        for i in range(count):
            seq = t.snd_nxt + 1 + i * ((1 << 32) // count)
            quoted = tcp(Segment(80, 50_000, seq & 0xFFFFFFFF, 0, ACK, 1000), SERVER4, VICTIM)
            message = build_icmp(kind, code, rest, quoted[:28])
            before = t.soft_error, t.snd_mss
            tried += 1
            net.give(build_ipv4(router, SERVER4, 1, len(message)) + message)
            believed += int((t.soft_error, t.snd_mss) != before)
            t.soft_error = 0
    in_flight = (t.snd_nxt - t.snd_una) / (1 << 32)
    return [
        Figure(f"connections ended by {tried:,} messages", alive(net, client, server), 0),
        Figure("share that was believed", believed / tried, in_flight + 8 / tried),
        Figure("octets that segments became smaller", mss - t.snd_mss, 0),
        Figure("messages not counted", tried - believed - _rejected(net), 0),
    ]


def _rejected(net: Target) -> int:
    return net.total("tcp", "icmp_rejected") + net.total("tcp", "source_quench_ignored")


def test_icmp_errors_about_what_is_not_in_flight_are_not_believed() -> None:
    hold(blind_icmp())


@attack("ICMP that is believed (RFC 5927 section 5)")
def true_icmp() -> list[Figure]:
    """Somebody who knows the sequence numbers: hard errors, and ever smaller MTUs below every floor."""
    net, client, server = victim()
    t = server.tcb
    for kind, code, rest in (
        [(3, code, 0) for code in range(16) if code != 4]
        + [(3, 4, mtu) for mtu in (1280, 576, 552, 551, 296, 68, 67, 28, 1, 0)] * 3
        + [(11, 0, 0), (11, 1, 0), (12, 0, 0), (12, 1, 0), (4, 0, 0)]
    ):
        quoted = tcp(Segment(80, 50_000, t.snd_una & 0xFFFFFFFF, 0, ACK, 1000), SERVER4, VICTIM)
        message = build_icmp(kind, code, rest, quoted[:28])
        net.give(build_ipv4(ATTACKER, SERVER4, 1, len(message)) + message)
        net.pass_time(10 * MILLISECOND)
    smallest = 1460 - t.snd_mss
    return [
        Figure("connections ended", alive(net, client, server), 0),
        Figure("octets that a segment became smaller", smallest, 1460 - (552 - 40)),
    ]


def test_errors_that_are_believed_end_nothing_and_segments_stay_large() -> None:
    hold(true_icmp())


# --- CVE-2016-5696 ------------------------------------------------------------------------------------------------


def challenges_seen(exists: bool, probe: str, offset: int) -> int:
    """An attacker with a connection of its own uses up a second's challenge ACKs on it, having sent forged segments
    that would draw some for the victim's connection, if it exists and they lie in its window. How many does it get?
    """
    net = Target(StackConfig(tcp=TcpConfig(challenge_ack_limit=100)))
    base = 0
    if exists:
        client = Peer(net, VICTIM, 50_000)
        client.open()
        server = net.listener.accept()
        assert server is not None
        base = server.tcb.rcv_nxt
    own = Peer(net, ATTACKER, 60_000)
    own.open()
    net.pass_time(SECOND - net.now % SECOND)
    for _ in range(30):
        if probe == "syn":
            net.give(forged(SYN, base + offset))
        elif probe == "rst":
            net.give(forged(RST, base + offset))
        else:
            net.give(forged(ACK, base + offset, 12345, b"x"))
    return sum(len(own.send("R", seq=100)) for _ in range(150))


@attack("challenge ACK side channel (CVE-2016-5696)")
def side_channel() -> list[Figure]:
    """Whether a connection exists, and where its window is, as the attacker's own challenge ACKs would tell."""
    seen = set()
    for probe in ("syn", "rst", "ack"):
        for exists in (False, True):
            for offset in (1, 1 << 31):
                seen.add(challenges_seen(exists, probe, offset))
    return [Figure("different counts that the attacker can see", len(seen), 1)]


def test_challenge_acks_of_one_connection_tell_nothing_of_another() -> None:
    hold(side_channel())


@pytest.mark.parametrize("limit", [1, 10])
def test_the_limit_is_what_the_configuration_says(limit: int) -> None:
    net = Target(StackConfig(tcp=TcpConfig(challenge_ack_limit=limit)))
    peer = Peer(net)
    peer.open()
    assert sum(len(peer.send("R", seq=100)) for _ in range(50)) == limit
    assert net.total("tcp", "challenge_acks") == limit
    assert net.total("tcp", "challenge_acks_throttled") == 50 - limit
