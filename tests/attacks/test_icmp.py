"""ICMP and UDP: messages that lie, limits that leak (SAD DNS, CVE-2020-25705), and answers that amplify."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, SERVER6, Figure, Target, address, attack, hold
from tests.volume import volume

from plankroad.ip.rate_limit import IcmpRateLimiter
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.constants import PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.udp import build_udp

RESOLVER = address(53)
FAR6 = ip_to_bytes("2001:db8::66")


def udp4(src: bytes, port: int, to_port: int, data: bytes = b"") -> bytes:
    head = build_udp(src, SERVER4, port, to_port, data)
    return build_ipv4(src, SERVER4, PROTO_UDP, len(head) + len(data)) + head + data


def udp6(src: bytes, to_port: int, data: bytes = b"") -> bytes:
    head = build_udp(src, SERVER6, 7, to_port, data)
    return build_ipv6(src, SERVER6, PROTO_UDP, len(head) + len(data)) + head + data


def error4(src: bytes, kind: int, code: int, rest: int, quoted: bytes) -> bytes:
    message = build_icmp(kind, code, rest, quoted)
    return build_ipv4(src, SERVER4, PROTO_ICMP, len(message)) + message


def error6(src: bytes, kind: int, code: int, rest: int, quoted: bytes) -> bytes:
    message = build_icmpv6(src, SERVER6, kind, code, rest, quoted)
    return build_ipv6(src, SERVER6, PROTO_ICMPV6, len(message)) + message


@attack("ICMP with quoted lies")
def quoted_lies() -> list[Figure]:
    """Errors that quote packets which were never sent, cut anywhere, wrong in every octet."""
    seed = 8
    print("seed", seed)
    rng = random.Random(seed)
    net = Target()
    endpoint = net.b.bind_udp(b"", 5353)
    endpoint.send_to(net.now, b"question", RESOLVER, 53)
    [question] = net.poll()
    answered = changed = 0
    count = volume(4000, 600)
    for i in range(count):
        quoted = bytearray(question)
        for _ in range(rng.randrange(1, 4)):
            # Addresses, ports, protocol, lengths: never all of them as they were.
            place = rng.choice((0, 9, *range(12, 20), 20, 21, 22, 23))
            quoted[place] ^= rng.randrange(1, 256)
        cut = bytes(quoted[: rng.randrange(len(quoted) + 1)])
        kind, code, rest = rng.choice(
            ((3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0), (3, 4, 600), (11, 0, 0), (12, 0, 0))
        )
        before = len(net.b.pmtu.entries)
        answered += len(net.give(error4(address(i), kind, code, rest, cut)))
        changed += int(endpoint.soft_error != 0 or len(net.b.pmtu.entries) != before)
        endpoint.soft_error = 0
        endpoint.poll_events()
    # An error about what was sent is heard.
    net.give(error4(RESOLVER, 3, 3, 0, question))
    return [
        Figure("packets sent in answer", answered, 0),
        Figure(f"of {count:,} lies believed", changed, 0),
        Figure("true errors that were not heard", int(endpoint.soft_error == 0 and not endpoint.events), 0),
    ]


def test_errors_about_packets_that_were_never_sent_change_nothing() -> None:
    hold(quoted_lies())


@attack("packet too big below the floor")
def below_the_floor() -> list[Figure]:
    """Credible messages about a datagram of ours, with every MTU from 0 to the link's."""
    net = Target()
    endpoint = net.b.bind_udp(b"", 5353)
    endpoint.send_to(net.now, bytes(1400), RESOLVER, 53)
    [question] = net.poll()
    for mtu in [*range(0, 1500, 7), 551, 552, 65535]:
        net.give(error4(ATTACKER, 3, 4, mtu, question[:548]))
    lowest4 = min([entry.mtu for entry in net.b.pmtu.entries.values()], default=1500)
    net = Target()
    endpoint = net.b.bind_udp(b"", 5353)
    endpoint.send_to(net.now, bytes(1400), FAR6, 53)
    [question] = net.poll()
    for mtu in [*range(0, 1500, 17), 1279, 1280, 65535, 1 << 31]:
        net.give(error6(ATTACKER6, 2, 0, mtu, question[:1200]))
    lowest6 = min([entry.mtu for entry in net.b.pmtu.entries.values()], default=1500)
    # RFC 8021: no atomic fragments are made because of a small MTU.
    endpoint.send_to(net.now, bytes(100), FAR6, 53)
    [packet] = net.poll()
    return [
        Figure("octets by which an IPv4 path is narrower than 1500", 1500 - lowest4, 1500 - 552, "bytes"),
        Figure("octets by which an IPv6 path is narrower than 1500", 1500 - lowest6, 1500 - 1280, "bytes"),
        Figure("atomic fragments sent (RFC 8021)", int(packet[6] == 44), 0),
    ]


ATTACKER6 = ip_to_bytes("fd00::66")


def test_no_message_makes_a_path_narrower_than_its_floor() -> None:
    hold(below_the_floor())


@attack("path MTU cache exhaustion")
def path_mtu_cache() -> list[Figure]:
    """Credible messages for ever more destinations: of an endpoint that sends to all of them."""
    net = Target()
    net.b.pmtu.limit = limit = volume(4096, 256)
    endpoint = net.b.bind_udp(b"", 5353)
    for i in range(limit * 3 // 2):
        endpoint.send_to(net.now, bytes(1000), address(i), 53)
        [question] = net.poll()
        net.give(error4(ATTACKER, 3, 4, 700, question[:548]))
    return [
        Figure("entries (a smaller limit in the pure run)", len(net.b.pmtu.entries), limit),
    ]


def test_the_path_mtu_cache_is_bounded() -> None:
    hold(path_mtu_cache())


# --- what a limit tells -------------------------------------------------------------------------------------------


def own_answers(rng: random.Random, open_port: bool) -> int:
    """How many errors the attacker itself gets out of a burst, having sent some in a resolver's name before.

    K. Man et al., "DNS Cache Poisoning Attack Reloaded" (2020): datagrams in the name of the resolver, each to another
    port of a client; one that is open brings no error. What is left of a limit that all errors share tells which.
    """
    limit = IcmpRateLimiter(rng, 1000, 50)
    # Of one destination a limit of its own lets no more than six through.
    for _ in range(5 if open_port else 6):
        limit.allow(SECOND, RESOLVER)
    return sum(limit.allow(SECOND, address(1000 + i)) for i in range(60))


def advantage(rounds: int, make: Callable[[int], random.Random]) -> float:
    """How much more often than by tossing a coin the best judge of those counts is right, 0 to 1."""
    counts: dict[bool, list[int]] = {}
    for is_open in (True, False):
        counts[is_open] = [own_answers(make(2 * i + is_open), is_open) for i in range(rounds)]
    best = 0.0
    for threshold in range(60):
        above = [sum(count > threshold for count in counts[is_open]) / rounds for is_open in (True, False)]
        best = max(best, abs(above[0] - above[1]))
    return best


@attack("ICMP limit as a side channel (SAD DNS, CVE-2020-25705)")
def side_channel() -> list[Figure]:
    """What one burst tells of a port, where half of them are open."""
    seed = 21
    print("seed", seed)
    found = advantage(volume(3000, 600), lambda i: random.Random(seed * 100_000 + i))
    # Linux's limit was exact: 1.
    return [Figure("advantage of the best judge (1: certain, 0: a coin)", found, 0.4)]


def test_the_limit_of_errors_hardly_tells_which_ports_are_open() -> None:
    hold(side_channel())


class Exact(random.Random):
    """No chance."""

    def randrange(self, *_args: object, **_kwds: object) -> int:
        return 0


def test_a_limit_without_chance_would_tell() -> None:
    # The judge is no lenient one.
    assert advantage(5, Exact) == 1.0


@attack("UDP amplification by port unreachable")
def amplification() -> list[Figure]:
    """Forged datagrams to closed ports: what their supposed sender gets in ten seconds."""
    figures: list[Figure] = []
    for name, packet in (
        ("IPv4, empty", udp4(ATTACKER, 7, 9)),
        ("IPv4, 1,400 octets", udp4(ATTACKER, 7, 9, bytes(1400))),
        ("IPv6, empty", udp6(FAR6, 9)),
        ("IPv6, 1,400 octets", udp6(FAR6, 9, bytes(1400))),
    ):
        net = Target()
        for _ in range(400):
            net.give(packet)
            net.pass_time(25 * MILLISECOND)
        figures.append(Figure(f"{name}: packets to one destination", net.packets_out, 106))
        largest = 576 if packet[0] >> 4 == 4 else 1280
        figures.append(Figure(f"{name}: bytes to it in ten seconds", net.bytes_out, 106 * largest, "bytes"))
        # One by itself is at most the quoted packet with a header before it.
        net = Target()
        net.give(packet)
        figures.append(Figure(f"{name}: bytes for the first, beside it", net.bytes_out - net.bytes_in, 48))
    return figures


def test_port_unreachable_does_not_amplify() -> None:
    hold(amplification())


@attack("ICMP errors to many victims")
def many_victims() -> list[Figure]:
    """Forged datagrams from ever new sources: errors in all in one second."""
    net = Target()
    net.pass_time(SECOND)
    count = volume(20_000, 2000)
    for i in range(count):
        net.give(udp4(address(i), 7, 9))
    out = net.packets_out
    return [
        Figure("errors at once", out, net.b.config.icmp_burst),
        Figure("destinations remembered", len(net.b.icmp_limit.buckets), net.b.icmp_limit.peers),
        Figure("errors not counted", count - out - net.total("icmp", "errors_rate_limited"), 0),
    ]


def test_errors_are_bounded_in_all() -> None:
    hold(many_victims())


@attack("smurf: echo requests to groups")
def smurf() -> list[Figure]:
    """Echo requests to broadcast and group addresses in a victim's name; and ordinary ones, one answer each."""
    net = Target()
    echo = build_icmp(8, 0, 1, bytes(56))
    for group in ("10.0.0.255", "255.255.255.255", "224.0.0.1", "10.0.0.0"):
        net.give(build_ipv4(ATTACKER, ip_to_bytes(group), PROTO_ICMP, len(echo)) + echo)
    groups = net.packets_out
    for _ in range(100):
        net.give(build_ipv4(ATTACKER, SERVER4, PROTO_ICMP, len(echo)) + echo)
    return [
        Figure("answers to groups", groups, 0),
        Figure("bytes sent for one received, one host", net.bytes_out / net.bytes_in, 1.0),
    ]


def test_groups_are_not_answered() -> None:
    hold(smurf())


@pytest.mark.parametrize("kind", range(0, 256, 11))
def test_no_message_is_answered_by_more_than_one_of_its_size(kind: int) -> None:
    net = Target()
    for code in range(0, 16, 5):
        for body in (b"", bytes(8), bytes(200)):
            message = build_icmp(kind, code, 0x01020304, body)
            net.give(build_ipv4(ATTACKER, SERVER4, PROTO_ICMP, len(message)) + message)
            message = build_icmpv6(FAR6, SERVER6, kind, code, 0x01020304, body)
            net.give(build_ipv6(FAR6, SERVER6, PROTO_ICMPV6, len(message)) + message)
    assert net.packets_out <= net.packets_in
    assert net.bytes_out <= net.bytes_in
