"""Crafted hash collisions on the keys by which connections are found.

The key of a connection is (local address, local port, remote address, remote port): bytes, int, bytes, int. Python
salts the hash of bytes (PYTHONHASHSEED), not that of an int. So addresses are safe from a stranger, and ports are not;
what is measured here is how much harm ports alone can do, and what remains where somebody switched the salt off.

Steps are counted as CPython's dict takes them: the slot is the hash's low bits, then those of the hash shifted.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.attacks.kit import ATTACKER, SERVER4, SERVER6, Figure, Peer, Target, attack, growth, hold
from tests.volume import volume

from plankroad.wire.address import ip_to_bytes

Key = tuple[bytes, int, bytes, int]


def steps(keys: list[Key]) -> tuple[float, int]:
    """Mean and most slots looked at to find each key of a dict of these keys."""
    bits = 3
    while (1 << bits) * 2 < len(keys) * 3:
        bits += 1
    mask = (1 << bits) - 1
    table: dict[int, Key] = {}
    total = most = 0
    for key in keys:
        perturb = hash(key) & 0xFFFFFFFFFFFFFFFF
        slot = perturb & mask
        count = 1
        while slot in table:
            perturb >>= 5
            slot = (slot * 5 + perturb + 1) & mask
            count += 1
        table[slot] = key
        total += count
        most = max(most, count)
    return total / len(keys), most


def from_one_host(ports: range | list[int]) -> list[Key]:
    return [(SERVER4, 80, ATTACKER, port) for port in ports]


def worst_ports(count: int) -> list[int]:
    """The ports of which as many as possible fall together in a table of 64 Ki slots, as the attacker's own Python
    has it.
    """
    slots: dict[int, list[int]] = {}
    for port in range(1, 65536):
        slots.setdefault(hash((SERVER4, 80, ATTACKER, port)) & 0xFFFF, []).append(port)
    crowded = sorted(slots.values(), key=len, reverse=True)
    return [port for group in crowded for port in group][:count]


def random_keys(count: int) -> list[Key]:
    rng = random.Random(4)
    return [(SERVER6, 80, rng.randbytes(16), rng.randrange(1, 65536)) for _ in range(count)]


def elsewhere(seed: str, what: str) -> list[float]:
    """The same in a Python with another salt (PYTHONHASHSEED); "0" is none at all."""
    program = (
        "import json, sys; from tests.attacks import test_demux as d; "
        f"print(json.dumps(d.report({what!r}, json.load(sys.stdin))))"
    )
    places = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=places)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        input=json.dumps(worst_ports(4000)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[float] = json.loads(done.stdout)
    return found


def report(what: str, ports: list[int]) -> list[float]:
    """What `elsewhere` asks for: steps for those ports, or for keys without salt."""
    keys = from_one_host(ports) if what == "ports" else sequential(4000)
    return list(steps(keys))


def sequential(count: int) -> list[Key]:
    """Addresses and ports in a row, IPv6."""
    base = ip_to_bytes("2001:db8::")[:8]
    return [(SERVER6, 80, base + i.to_bytes(8, "big"), 1024 + i % 60_000) for i in range(count)]


@attack("crafted hash collisions on the demultiplexing key")
def collisions() -> list[Figure]:
    """Steps a lookup, for keys as an attacker would choose them, beside those of random ones."""
    count = volume(20_000, 8000)
    fair, _ = steps(random_keys(count))
    every, most_of_all = steps(from_one_host(range(1, 1 + count)))
    strided = max(steps(from_one_host(list(range(1, 65536, stride))))[0] for stride in (2, 3, 8, 13, 16, 64, 255))
    same = Counter(hash(key) for key in from_one_host(range(1, 65536)))
    foreign, _ = elsewhere("random", "ports")
    unsalted, most_unsalted = elsewhere("0", "addresses")
    return [
        Figure("random keys", fair, 2.5, "steps a lookup"),
        Figure("all ports of one host", every, 2.5, "steps a lookup"),
        Figure("the same, the worst", most_of_all, 40, "steps"),
        Figure("ports at a distance", strided, 3, "steps a lookup"),
        Figure("ports chosen to collide in the attacker's own Python", foreign, 2.5, "steps a lookup"),
        Figure("ports of one host with the same hash", max(same.values()) - 1, 0),
        Figure("addresses in a row without salt (PYTHONHASHSEED=0)", unsalted, 2.5, "steps a lookup"),
        Figure("the same, the worst", most_unsalted, 40, "steps"),
    ]


@pytest.mark.either
def test_no_choice_of_ports_makes_lookups_long() -> None:
    hold(collisions())


@attack("a segment among many connections")
def among_many() -> list[Figure]:
    """What a segment costs with many connections of one host, ports in a row, and with few."""

    def connections(n: int) -> object:
        net = Target()
        for port in range(n):
            Peer(net, ATTACKER, 1024 + port).open()
        peers = [Peer(net, ATTACKER, 1024 + port * n // 64) for port in range(64)]
        packets = [peer.packet("R", seq=90_000) for peer in peers]

        def act() -> None:
            for packet in packets:
                net.give(packet)

        return act

    return [growth(connections, 64, volume(2000, 600))]  # type: ignore[arg-type]


def test_a_segment_costs_the_same_among_few_and_many() -> None:
    hold(among_many())
