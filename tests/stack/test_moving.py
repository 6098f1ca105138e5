"""What becomes of a connection whose ground moves: its route, its link, the link's MTU and offloads."""

from __future__ import annotations

import itertools

import pytest
from tests.stack.net import B4, Lone, Net, Wire

from plankroad.link.segmentation import segment
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.packet import Packet

#: MTU and gso_max_size of the two links.
LINKS = [(1500, 0), (9000, 65535), (1280, 65535)]


def narrow(wire: Wire, mtu: int, too_long: list[int]) -> None:
    """What the link's far end sees: super-segments cut, and nothing longer than the MTU."""

    def cut(packet: Packet) -> list[Packet]:
        parts = segment(packet)
        too_long.extend(len(part) for part in parts if len(part) > mtu)
        return parts

    wire.filter = cut


@pytest.mark.parametrize("first", LINKS)
@pytest.mark.parametrize("second", LINKS)
@pytest.mark.parametrize("target", ["10.9.9.9", "fd99::9"])
def test_a_route_that_changes_to_another_link(first: tuple[int, int], second: tuple[int, int], target: str) -> None:
    net = Net()
    a, b = net.add(), net.add()
    too_long: list[int] = []
    for number, (mtu, gso) in enumerate((first, second)):
        ends = [[f"10.0.{number}.{host}/24", f"fd0{number}::{host}/64"] for host in (1, 2)]
        narrow(net.join(a, ends[0], b, ends[1], mtu, tx_csum=gso > 0, gso_max_size=gso), mtu, too_long)
    remote = ip_to_bytes(target)
    prefix = f"{target}/{len(remote) * 8}"
    b.add_address(b.interfaces[0], prefix)
    gateways = ("10.0.0.2", "10.0.1.2") if len(remote) == 4 else ("fd00::2", "fd01::2")
    route = a.add_route(prefix, gateway=gateways[0])
    listener = b.listen(0, b"", 80)
    client = a.connect(0, remote, 80)
    net.run(SECOND)
    server = listener.accept()
    assert server is not None
    data = bytes(range(256)) * 16_000
    sent = 0
    got = b""
    for turn in itertools.count():
        assert turn < 2000
        sent += client.send(net.now, data[sent:])
        if turn == 3:
            # Segments made for the old way are in flight and in the window of the peer.
            a.remove_route(route)
            a.add_route(prefix, gateway=gateways[1])
        elif turn == 6:
            a.set_interface_up(net.now, a.interfaces[1], False)
            net.run(2 * SECOND)
            a.set_interface_up(net.now, a.interfaces[1], True)
        net.run(20 * MILLISECOND)
        got += server.receive(net.now, 20_000 if turn < 10 else 1 << 20)
        if len(got) == len(data):
            break
    assert got == data
    assert too_long == []
    assert client.tcb.path_mss == second[0] - (40 if len(remote) == 4 else 60)
    assert (client.tcb.gso_max > 0) == (second[1] > 0)


def test_a_connection_to_itself() -> None:
    """Simultaneous open with oneself: the four-tuple read either way is the same."""
    net = Lone()
    client = net.b.connect(0, B4, 5000, local_port=5000)
    assert net.take() == []
    assert client.state() == "ESTABLISHED"
    client.send(net.now, b"hello" * 1000)
    assert net.take() == net.pass_time(SECOND) == []
    assert client.receive(net.now, 10_000) == b"hello" * 1000
    client.close(net.now)
    assert net.take() == []
    net.finish()
    # No storm of acknowledgements.
    assert client.tcb.counters.segments_sent < 10
    assert net.b.is_idle()
