"""FragmentSmack (CVE-2018-5391), Teardrop, the ping of death, overlapping and atomic IPv6 fragments, planted ones."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.attacks.kit import ATTACKER, SERVER4, SERVER6, Figure, Target, address, allocated, attack, growth, hold
from tests.volume import volume

from plankroad.ip.counters import IpCounters
from plankroad.ip.fragment import fragment_ipv4, fragment_ipv6
from plankroad.ip.reassembly import FragmentTable
from plankroad.stack.config import StackConfig
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.constants import PROTO_FRAGMENT, PROTO_ICMP, PROTO_UDP
from plankroad.wire.icmp import build_icmp
from plankroad.wire.ipv4 import build_ipv4, parse_ipv4
from plankroad.wire.ipv6 import build_fragment, build_ipv6, parse_ipv6
from plankroad.wire.packet import Packet
from plankroad.wire.udp import build_udp

SAMPLE = 64
FAR6 = ip_to_bytes("2001:db8::66")
MEBIBYTE = 1 << 20


def udp4(src: bytes, data: bytes, ident: int, port: int = 53) -> bytes:
    length = 8 + len(data)
    return build_ipv4(src, SERVER4, PROTO_UDP, length, 64, 0, ident) + build_udp(src, SERVER4, 7, port, data) + data


def udp6(src: bytes, data: bytes) -> bytes:
    return build_ipv6(src, SERVER6, PROTO_UDP, 8 + len(data)) + build_udp(src, SERVER6, 7, 53, data) + data


def part4(src: bytes, ident: int, offset: int, data: bytes, more: bool, protocol: int = PROTO_UDP) -> bytes:
    """One fragment, as wrong as it likes. `offset` in bytes."""
    head = build_ipv4(src, SERVER4, protocol, len(data), 64, 0, ident, fragment_offset=offset, more_fragments=more)
    return head + data


def part6(src: bytes, ident: int, offset: int, data: bytes, more: bool, kind: int = PROTO_UDP) -> bytes:
    head = build_fragment(kind, offset, more, ident)
    return build_ipv6(src, SERVER6, PROTO_FRAGMENT, 8 + len(data)) + head + data


def table(memory: int = 1 << 30) -> FragmentTable:
    return FragmentTable(IpCounters(), limit=memory, source_limit=memory, max_fragments=1 << 16)


def add(fragments: FragmentTable, packets: list[bytes]) -> None:
    for packet in packets:
        if packet[0] >> 4 == 4:
            fragments.add_ipv4(0, packet, parse_ipv4(packet))
        else:
            fragments.add_ipv6(0, packet, parse_ipv6(packet))


def many_datagrams(n: int) -> Callable[[], None]:
    """n datagrams, one fragment each, and some more."""
    fragments = table()
    add(fragments, [part4(address(i >> 4), i & 0xFFFF, 8, bytes(16), True) for i in range(n)])
    more = [part4(ATTACKER, i, 8, bytes(16), True) for i in range(SAMPLE)]
    return lambda: add(fragments, more)


def one_datagram(n: int) -> Callable[[], None]:
    """One datagram of n fragments with holes between, and some more in them."""
    fragments = table()
    add(fragments, [part4(ATTACKER, 1, 32 * i, bytes(8), True) for i in range(n)])
    places = [32 * ((i * 37 % SAMPLE) * n // SAMPLE) + 16 for i in range(SAMPLE)]
    more = [part4(ATTACKER, 1, place, bytes(8), True) for place in dict.fromkeys(places)]
    return lambda: add(fragments, more)


def evicting(n: int) -> Callable[[], None]:
    """n datagrams that fill the table: each more pushes one out."""
    fragments = FragmentTable(IpCounters(), limit=n * 1024 + 65536, source_limit=n * 1024 + 65536)
    add(fragments, [part6(FAR6, i, 8, bytes(1024), True) for i in range(n + 200)])
    more = [part6(FAR6, 1 << 20 | i, 8, bytes(1024), True) for i in range(SAMPLE)]
    return lambda: add(fragments, more)


@attack("FragmentSmack (CVE-2018-5391)")
def fragment_smack() -> list[Figure]:
    """What a fragment costs with few and with many kept; memory; and whether datagrams of others still arrive."""
    many = volume(3000, 1500)
    figures: list[Figure] = []
    for name, shape, n in (
        ("datagrams", many_datagrams, many),
        ("fragments of one datagram", one_datagram, 1600),
        ("datagrams that push others out", evicting, many),
    ):
        figure = growth(shape, n // 25, n)
        figure.what = f"{name}: {figure.what}"
        figures.append(figure)
    limit = MEBIBYTE
    fragments = FragmentTable(IpCounters(), limit=limit, source_limit=limit // 4)
    rng = random.Random(1)
    flood = []
    for i in range(volume(6000, 1500)):
        source = address(rng.randrange(1 << 16))
        data = bytes(8 * rng.randrange(1, 180))
        flood.append(part4(source, i & 0xFFFF, 8 * rng.randrange(4000), data, True))
    most = 0

    def pour() -> None:
        nonlocal most
        for packet in flood:
            # As from a link: each packet is bytes of its own.
            copy = bytes(bytearray(packet))
            fragments.add_ipv4(0, copy, parse_ipv4(copy))
            most = max(most, fragments.memory)

    grown = allocated(pour)
    figures.append(Figure("memory at the most, by the account", most, limit, "bytes"))
    figures.append(Figure("memory, by tracemalloc", grown, limit * 1.2, "bytes"))
    return figures


def test_what_a_fragment_costs_does_not_depend_on_how_many_are_kept() -> None:
    hold(fragment_smack())


@attack("fragments of others amid a flood")
def others_amid_a_flood() -> list[Figure]:
    """20,000 fragments a second that complete nothing; a client's datagrams take 10 ms from first to last fragment."""
    net = Target(StackConfig(reassembly_memory=MEBIBYTE, reassembly_memory_source=MEBIBYTE // 4))
    endpoint = net.b.bind_udp(b"", 53)
    friend = address(1)
    lost = 0
    rounds = volume(40, 10)
    for i in range(rounds):
        parts = fragment_ipv4(udp4(friend, bytes(3000), i), 1500)
        net.b.receive(net.now, Packet(parts[0]))
        for k in range(200):
            net.b.receive(net.now, Packet(part4(address(2 + 200 * i + k), k, 8, bytes(1400), True)))
        net.pass_time(10 * MILLISECOND)
        for part in parts[1:]:
            net.b.receive(net.now, Packet(part))
        lost += int(endpoint.receive_from() is None)
    return [Figure(f"of {rounds} datagrams lost", lost, 0)]


def test_a_flood_of_fragments_does_not_push_out_what_is_completed_in_time() -> None:
    hold(others_amid_a_flood())


@attack("Teardrop and other overlapping IPv4 fragments")
def teardrop() -> list[Figure]:
    """Every way in which a second fragment can overlap the first (RFC 1858, RFC 6274 section 4.1.1.4)."""
    net = Target()
    endpoint = net.b.bind_udp(b"", 53)
    whole = udp4(ATTACKER, bytes(range(200)), 0)[20:]
    delivered = 0
    count = 0
    for start in range(0, 104, 8):
        for length in range(8, 120, 8):
            for last in (False, True):
                if start == 0 and last:
                    continue  # no fragment
                count += 1
                evil = bytes([0xEE]) * length
                # The first covers [0, 96); the other begins in it, and is not the same.
                net.give(part4(ATTACKER, count, 0, whole[:96], True))
                if start < 96:
                    net.give(part4(ATTACKER, count, start, evil, not last))
                net.give(part4(ATTACKER, count, 96, whole[96:], False))
                delivered += int(start < 96 and endpoint.receive_from() is not None)
                while endpoint.receive_from() is not None:
                    pass
    return [
        Figure(f"of {count} datagrams with an overlap delivered", delivered, 0),
        Figure("packets sent in answer", net.packets_out, 0),
        Figure("entries left after their time", len(_expired(net)), 0),
    ]


def _expired(net: Target) -> FragmentTable:
    net.pass_time(61 * SECOND)
    return net.b.fragments


def test_overlapping_ipv4_fragments_deliver_nothing() -> None:
    hold(teardrop())
    # Nor does an overlap by one octet in the other direction make anything of nothing.
    net = Target()
    net.give(part4(ATTACKER, 1, 24, bytes(32), True))
    net.give(part4(ATTACKER, 1, 0, bytes(32), True))
    assert net.total("ip", "fragments_overlapping") == 1


@attack("ping of death")
def ping_of_death() -> list[Figure]:
    """Fragments that end beyond octet 65535 of their packet, of both families."""
    net = Target()
    echo = build_icmp(8, 0, 1, bytes(1400))
    kept = 0
    for offset in (65512, 65520, 65528):
        net.give(part4(ATTACKER, 1, 0, echo[:1400], True, PROTO_ICMP))
        net.give(part4(ATTACKER, 1, offset, bytes(1400), False, PROTO_ICMP))
        net.give(part6(FAR6, 1, offset, bytes(1400), False))
    for offset in (65512, 65520, 65528):
        kept += sum(offset in entry.starts for entry in net.b.fragments.ipv4.values())
        kept += sum(offset in entry.starts for entry in net.b.fragments.ipv6.values())
    return [
        Figure("of 6 fragments kept", kept, 0),
        Figure("of 6 fragments not counted", 6 - net.total("ip", "fragments_refused"), 0),
        Figure("packets sent for one received", net.packets_out / net.packets_in, 3 / 9),
    ]


def test_fragments_beyond_the_largest_packet_are_refused() -> None:
    # RFC 8200 section 4.5: IPv6 is told by a parameter problem, which the rate limit bounds.
    hold(ping_of_death())


@attack("overlapping IPv6 fragments (RFC 5722, RFC 8200)")
def overlaps6() -> list[Figure]:
    """Each place where a fragment can overlap; what is discarded, and that no error tells of it."""
    net = Target()
    endpoint = net.b.bind_udp(b"", 53)
    whole = udp6(FAR6, bytes(range(152)))[40:]
    delivered = 0
    count = 0
    for start in range(0, 96, 8):
        for length in range(8, 104, 8):
            count += 1
            net.give(part6(FAR6, count, 0, whole[:96], True))
            net.give(part6(FAR6, count, start, bytes([0xEE]) * length, True))
            net.give(part6(FAR6, count, 96, whole[96:], False))
            # Nor do those that come later: "including those not yet received".
            net.give(part6(FAR6, count, 0, whole[:96], True))
            while endpoint.receive_from() is not None:
                delivered += 1
    return [
        Figure(f"of {count} datagrams delivered", delivered, 0),
        Figure("packets sent in answer", net.packets_out, 0),
        Figure("of them not counted", count - net.total("ip", "fragments_overlapping"), 0),
    ]


def test_overlapping_ipv6_fragments_end_the_datagram_in_silence() -> None:
    hold(overlaps6())


@attack("atomic fragments (RFC 6946)")
def atomic() -> list[Figure]:
    """A stranger plants fragments with the identification of a client's atomic fragment; and the other way round."""
    net = Target()
    endpoint = net.b.bind_udp(b"", 53)
    body = udp6(FAR6, b"query")[40:]
    lost = 0
    for ident in range(20):
        net.give(part6(FAR6, ident, 8, bytes(80), True))
        net.give(part6(FAR6, ident, 0, body, False))
        lost += int(endpoint.receive_from() is None)
    # An atomic fragment does not spoil a reassembly that is under way either.
    parts = fragment_ipv6(udp6(FAR6, bytes(3000)), 1500, 99)
    net.give(parts[0])
    net.give(part6(FAR6, 99, 0, body, False))
    for part in parts[1:]:
        net.give(part)
    got = []
    while (datagram := endpoint.receive_from()) is not None:
        got.append(len(datagram.data))
    return [
        Figure("of 20 atomic fragments lost to planted ones", lost, 0),
        Figure("datagrams spoiled by an atomic fragment", int(got != [5, 3000]), 0),
    ]


def test_atomic_fragments_stand_by_themselves() -> None:
    hold(atomic())


@attack("planted fragments (identification guessed)")
def planted() -> list[Figure]:
    """A stranger off the path plants second fragments for what our host sends to a server that fragments arrive at.

    What it needs is the identification (RFC 7739). It sees those that we send to itself, and guesses the ones that we
    send to another: the next, the same, a distance seen before.
    """
    net = Target()
    idents = net.b.idents
    rng = random.Random(7)
    hits = 0
    rounds = volume(3000, 1000)
    for i in range(rounds):
        victim = address(i)
        seen = [idents.ipv4(SERVER4, ATTACKER, PROTO_UDP) for _ in range(3)]
        actual = idents.ipv4(SERVER4, victim, PROTO_UDP)
        guesses = {(seen[-1] + step) & 0xFFFF for step in range(-8, 9)}
        guesses |= {rng.randrange(1 << 16) for _ in range(47)}
        hits += int(actual in guesses)
    # 64 guesses of 65536 each time: one in a thousand by chance.
    return [Figure(f"of {rounds} identifications guessed with 64 tries", hits, rounds * 64 / 65536 * 3 + 5)]


def test_identifications_of_one_destination_do_not_tell_those_of_another() -> None:
    hold(planted())


def test_a_first_fragment_without_the_whole_chain_is_refused_and_its_sender_told() -> None:
    # RFC 7112 section 5. One that says to be the only fragment is simply malformed.
    net = Target()
    chain = bytes((60, 0, 1, 4, 0, 0, 0, 0)) * 3 + bytes((PROTO_UDP, 3, 1, 28)) + bytes(4)
    [told] = net.give(part6(FAR6, 5, 0, chain, True, 60))
    assert told[40:42] == bytes((4, 3))
    assert net.total("ip", "fragments_refused") == 1
    assert net.give(part6(FAR6, 5, 0, chain, False, 60)) == []
    assert net.total("ip", "bad_header") == 1
