"""Who may bind which port."""

from __future__ import annotations

import errno
import random

import pytest
from tests.stack.net import B4, B6, Lone

from plankroad.stack.ports import ANY4, ANY6, BoundPorts, overlap
from plankroad.wire.address import ip_to_bytes

ADDRESSES = [b"", ANY4, ANY6, B4, B6, ip_to_bytes("10.0.0.9"), ip_to_bytes("fd00::9")]


def test_conflict_is_overlap_with_anything_bound() -> None:
    seed = 5
    rng = random.Random(seed)
    table = BoundPorts()
    held: list[tuple[bytes, int]] = []
    for _ in range(3000):
        address, port = rng.choice(ADDRESSES), rng.randrange(3)
        expected = any(overlap(address, other) for other, at in held if at == port)
        assert table.conflict(address, port) == expected, (seed, address, held)
        if rng.random() < 0.4:
            table.add(address, port)
            held.append((address, port))
        elif held:
            gone = held.pop(rng.randrange(len(held)))
            table.remove(*gone)
    for address, port in held:
        table.remove(address, port)
    assert table.bound == {}


@pytest.mark.requirement("MUST-41")
@pytest.mark.parametrize("first", [b"", ANY4, B4])
@pytest.mark.parametrize("second", [b"", ANY4, B4])
def test_a_second_listener_on_a_port_is_refused(first: bytes, second: bytes) -> None:
    net = Lone()
    net.b.listen(0, first, 80)
    with pytest.raises(OSError, match="in use") as caught:
        net.b.listen(0, second, 80)
    assert caught.value.errno == errno.EADDRINUSE


def test_families_and_addresses_do_not_exclude_each_other() -> None:
    net = Lone()
    net.b.add_address(net.interface, "10.0.0.3/24")
    net.b.listen(0, ANY6, 80)
    net.b.listen(0, B4, 80)
    net.b.listen(0, ip_to_bytes("10.0.0.3"), 80)
    net.b.listen(0, B4, 81)


def test_a_dual_stack_listener_excludes_both_families() -> None:
    net = Lone()
    net.b.listen(0, ANY6, 80, v6only=False)
    for other in (ANY4, B4, B6):
        with pytest.raises(OSError, match="in use"):
            net.b.listen(0, other, 80)


def test_a_port_is_free_as_soon_as_its_listener_is_closed() -> None:
    net = Lone()
    net.b.listen(0, b"", 80).close(0)
    net.b.listen(0, b"", 80).close(0)
    net.settle()
    assert net.b.is_idle()


def test_listening_at_port_0_selects_a_free_ephemeral_port() -> None:
    net = Lone()
    ports = {net.b.listen(0, b"", 0).local_port for _ in range(200)}
    assert len(ports) == 200
    assert min(ports) >= net.b.config.first_port
    assert max(ports) <= net.b.config.last_port


def test_foreign_addresses_cannot_be_bound() -> None:
    net = Lone()
    foreign = ip_to_bytes("10.9.9.9")
    with pytest.raises(OSError, match="assign") as caught:
        net.b.listen(0, foreign, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError, match="assign") as caught:
        net.b.bind_udp(foreign, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_udp_ports_are_exclusive_unless_all_share() -> None:
    net = Lone()
    net.b.bind_udp(b"", 53)
    for address in (b"", B4, ANY6):
        with pytest.raises(OSError, match="in use"):
            net.b.bind_udp(address, 53)
    shared = net.b.bind_udp(b"", 54, reuse=True)
    net.b.bind_udp(b"", 54, reuse=True)
    with pytest.raises(OSError, match="in use"):
        net.b.bind_udp(b"", 54)
    shared.close(0)


def test_udp_ephemeral_ports_run_out_with_eaddrinuse() -> None:
    net = Lone()
    net.b.udp.allocator.number = 5
    taken = {net.b.bind_udp().local_port for _ in range(5)}
    assert len(taken) == 5
    with pytest.raises(OSError, match="in use") as caught:
        net.b.bind_udp()
    assert caught.value.errno == errno.EADDRINUSE
