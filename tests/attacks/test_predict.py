"""What cannot be predicted: initial sequence numbers, ports, identifications, timestamps, cookies.

Statistics over samples: how near the best guess of an attacker comes who sees what the host sends to it. Every seed is
printed and fixed, so a verdict does not change by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, SERVER6, Figure, Peer, Target, address, attack, hold
from tests.volume import volume

from plankroad.ip.ident import PacketIdent
from plankroad.tcp.cookies import SynCookies
from plankroad.tcp.fastopen_cookie import COOKIE_BAD, FastOpenKeys
from plankroad.tcp.isn import ISN_TICK, IsnGenerator
from plankroad.tcp.ports import FIRST_PORT, LAST_PORT, PortAllocator
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes

SECRET = b"the secret of this very host"
SAMPLES = volume(20_000, 3000)


def chi_square(values: list[int], space: int, bins: int = 64) -> float:
    """Pearson's statistic of the values in equal bins, divided by its degrees of freedom: near 1 for even ones."""
    counts = [0] * bins
    for value in values:
        counts[value * bins // space] += 1
    expected = len(values) / bins
    return sum((count - expected) ** 2 / expected for count in counts) / (bins - 1)


def correlation(values: list[int], space: int) -> float:
    """Of successive values, absolute."""
    mean = space / 2
    above = sum((a - mean) * (b - mean) for a, b in pairwise(values))
    below = sum((a - mean) ** 2 for a in values)
    return abs(above / below)


def guessed(values: list[int], space: int, guess: Callable[[list[int]], set[int]], history: int = 3) -> float:
    """How much better than chance the guesser is: hits for each that chance would give."""
    hits = tries = 0
    for i in range(history, len(values)):
        guesses = guess(values[i - history : i])
        tries += len(guesses)
        hits += int(values[i] in guesses)
    return hits / max(1.0, tries / space) if hits else 0.0


def by_the_last(space: int, reach: int = 16) -> Callable[[list[int]], set[int]]:
    """The values near the last, and near where the last two steps lead."""

    def guess(history: list[int]) -> set[int]:
        a, b, c = history
        found = {(c + step) % space for step in range(-reach, reach)}
        found |= {(c + (c - b) + step) % space for step in range(-reach, reach)}
        return found | {(c + (b - a) + step) % space for step in range(-reach, reach)}

    return guess


@attack("predictable initial sequence numbers (RFC 6528)")
def sequence_numbers() -> list[Figure]:
    """Of connections from many addresses, one right after the other: what one tells of the next."""
    print("secret", SECRET)
    isn = IsnGenerator(SECRET)
    values = [isn.isn(10 * SECOND + i * 10_000, SERVER4, 80, address(i), 1024 + i % 60_000) for i in range(SAMPLES)]
    space = 1 << 32
    # From one address, port by port, as an attacker would sample before it forges for the next.
    ports = [isn.isn(10 * SECOND, SERVER4, 80, ATTACKER, 1024 + i) for i in range(SAMPLES)]
    return [
        Figure("unevenness (chi square by its degrees of freedom)", chi_square(values, space), 1.7),
        Figure("correlation of successive ones", correlation(values, space), 0.05),
        Figure("hits by the last three, per hit of chance", guessed(values, space, by_the_last(space)), 3),
        Figure("the same, ports of one address", guessed(ports, space, by_the_last(space)), 3),
        Figure("values that came twice", SAMPLES - len(set(values)), 12),
    ]


def test_initial_sequence_numbers_tell_nothing_of_each_other() -> None:
    hold(sequence_numbers())


def test_on_the_wire_too() -> None:
    net = Target()
    values: list[int] = []
    for i in range(400):
        peer = Peer(net, address(i), 2000)
        peer.syn()
        [_] = [path for path in net.b.connections.values() if path.dst == address(i)]
        values.append(net.b.connections[(SERVER4, 80, address(i), 2000)].connection.tcb.iss)
    assert chi_square(values, 1 << 32, 16) < 2.5
    assert correlation(values, 1 << 32) < 0.15


@attack("predictable ports (RFC 6056)")
def ports() -> list[Figure]:
    """Ephemeral ports towards many destinations, as seen by one of them between the others."""
    print("secret", SECRET)
    allocator = PortAllocator(SECRET)
    space = LAST_PORT - FIRST_PORT + 1

    def free(_port: int) -> bool:
        return False

    values = [allocator.allocate(SERVER4, address(i), 443, free) - FIRST_PORT for i in range(SAMPLES)]
    # The attacker sees its own ports before and after the victim's, and guesses near them.
    allocator = PortAllocator(SECRET + b"2")
    hits = 0
    rounds = SAMPLES // 4
    for i in range(rounds):
        own = allocator.allocate(SERVER4, ATTACKER, 80, free)
        other = allocator.allocate(SERVER4, address(i), 443, free)
        hits += int(abs(own - other) <= 32)
    chance = rounds * 65 / space
    return [
        Figure("unevenness (chi square by its degrees of freedom)", chi_square(values, space), 1.7),
        Figure("correlation of successive ones", correlation(values, space), 0.05),
        Figure("hits near the attacker's own port, per hit of chance", hits / chance, 2.5),
    ]


def test_ports_towards_others_cannot_be_told_from_ones_own() -> None:
    hold(ports())


@attack("predictable identifications (RFC 7739)")
def identifications() -> list[Figure]:
    """IPv4's of fragmented packets and IPv6's; and whether a third party can count what the host sends (idle scan)."""
    print("secret", SECRET, "seed 11")
    idents = PacketIdent(SECRET, random.Random(11))
    space6 = 1 << 32
    values4 = [idents.ipv4(SERVER4, address(i), 17) for i in range(SAMPLES)]
    values6 = [idents.ipv6(SERVER6, ip_to_bytes("2001:db8::")[:12] + address(i)) for i in range(SAMPLES)]
    # Idle scan: the zombie's own values before and after it may have sent a packet to the victim.
    steps: set[int] = set()
    for i in range(300):
        before = idents.ipv4(SERVER4, ATTACKER, 17)
        if i % 2:
            idents.ipv4(SERVER4, address(77), 17)
        steps.add((idents.ipv4(SERVER4, ATTACKER, 17) - before) & 0xFFFF)
    return [
        Figure("unevenness of IPv4's", chi_square(values4, 1 << 16), 1.7),
        Figure("unevenness of IPv6's", chi_square(values6, space6), 1.7),
        Figure("correlation of successive ones", correlation(values6, space6), 0.05),
        Figure("hits by the last three, per hit of chance", guessed(values6, space6, by_the_last(space6)), 3),
        Figure("different steps that an idle scan sees", len(steps), 1),
    ]


def test_identifications_tell_nothing_and_an_idle_scan_sees_nothing() -> None:
    hold(identifications())


@attack("identification of unfragmented packets (RFC 6864)")
def atomic_identifications() -> list[Figure]:
    """Every IPv4 packet of TCP has Don't Fragment: its identification is 0, always."""
    net = Target()
    seen: set[int] = set()
    for i in range(50):
        for packet in net.give(Peer(net, address(i)).packet("S", seq=0)):
            seen.add(int.from_bytes(packet[4:6], "big"))
        for packet in net.give(Peer(net, address(i), to_port=81).packet("S", seq=0)):
            seen.add(int.from_bytes(packet[4:6], "big"))
    return [Figure("different identifications", len(seen), 1)]


def test_packets_that_cannot_be_fragmented_count_nothing() -> None:
    hold(atomic_identifications())


@attack("predictable timestamps (RFC 7323 section 5.4)")
def timestamps() -> list[Figure]:
    """Timestamps of connections: what one tells of another, and of how long the host has been up."""
    print("secret", SECRET)
    isn = IsnGenerator(SECRET)
    space = 1 << 32
    offsets = [isn.ts_offset(SERVER4, 80, address(i), 1024 + i % 60_000) for i in range(SAMPLES)]
    # The uptime: two hosts that were started at different times look alike.
    net = Target()
    late = Target()
    late.now += 10**6 * SECOND
    stamps = []
    for target in (net, late):
        peer = Peer(target, ts=True)
        peer.open()
        stamps.append((peer.ts_ecr - target.b.isn.ts_offset(SERVER4, 80, ATTACKER, 40_000)) & 0xFFFFFFFF)
    # With the offset known, which nobody does, the clock would show.
    assert stamps[1] - stamps[0] == 10**9
    return [
        Figure("unevenness (chi square by its degrees of freedom)", chi_square(offsets, space), 1.7),
        Figure("correlation of successive ones", correlation(offsets, space), 0.05),
        Figure("hits by the last three, per hit of chance", guessed(offsets, space, by_the_last(space)), 3),
    ]


def test_timestamps_of_one_connection_tell_nothing_of_another() -> None:
    hold(timestamps())


@attack("SYN cookies guessed (RFC 4987)")
def cookies() -> list[Figure]:
    """ACKs with random numbers against a listener that has just sent cookies."""
    seed = 5
    print("seed", seed)
    rng = random.Random(seed)
    jar = SynCookies(SECRET)
    count = volume(200_000, 20_000)
    hits = 0
    for i in range(count):
        isn = rng.getrandbits(32)
        hits += int(jar.check(10 * SECOND, SERVER4, 80, address(i), 1024, isn, rng.getrandbits(32)) != 0)
    made = [jar.make(10 * SECOND, SERVER4, 80, address(i), 1024, 5, 1460) for i in range(SAMPLES)]
    # Of 2**32 numbers 8 sizes at 2 times are good.
    return [
        Figure(f"of {count:,} guesses accepted", hits, count * 16 / (1 << 32) + 2),
        Figure("correlation of successive cookies", correlation(made, 1 << 32), 0.1),
    ]


def test_cookies_cannot_be_guessed() -> None:
    hold(cookies())


@attack("Fast Open cookies guessed (RFC 7413 section 5.1)")
def fast_open_cookies() -> list[Figure]:
    """Random cookies, and those of another client."""
    seed = 6
    print("seed", seed)
    rng = random.Random(seed)
    keys = FastOpenKeys(SECRET, 0)
    good = 0
    count = volume(20_000, 4000)
    theirs = keys.cookie(SECOND, ATTACKER, SERVER4, 8)
    for i in range(count):
        good += int(keys.check(SECOND, address(i), SERVER4, rng.randbytes(8)) != COOKIE_BAD)
        good += int(keys.check(SECOND, address(i), SERVER4, theirs) != COOKIE_BAD)
    return [Figure(f"of {2 * count:,} cookies accepted", good, 0)]


def test_fast_open_cookies_belong_to_one_client() -> None:
    hold(fast_open_cookies())


@pytest.mark.parametrize("values", [[*range(1000)], [i * 7919 % (1 << 16) for i in range(1000)]])
def test_the_statistics_find_what_is_predictable(values: list[int]) -> None:
    # Counters and fixed steps: the judge is no lenient one.
    assert guessed(values, 1 << 16, by_the_last(1 << 16)) > 100


def test_the_clock_of_sequence_numbers_ticks_for_one_connection_only() -> None:
    isn = IsnGenerator(SECRET)
    first = isn.isn(0, SERVER4, 80, ATTACKER, 1000)
    later = isn.isn(MILLISECOND, SERVER4, 80, ATTACKER, 1000)
    assert (later - first) & 0xFFFFFFFF == MILLISECOND // ISN_TICK
