"""Dead gateways on Ethernet: RFC 1122 sections 3.3.1.4 and 3.3.1.5, RFC 9293 section 3.8.3."""

from __future__ import annotations

import pytest
from tests.stack.net import Net, Wire

from plankroad.stack.config import StackConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.packet import Packet


class Twin(Net):
    """a reaches b by two routers, each on an Ethernet of its own; by the first while it works."""

    def __init__(self) -> None:
        super().__init__()
        router = StackConfig(forwarding=True)
        self.a, self.r, self.s, self.b = self.add(1), self.add(2, router), self.add(3, router), self.add(4)
        self.wires_out: list[Wire] = []
        for number, router_stack in ((1, self.r), (2, self.s)):
            wire = self.join(
                self.a,
                [f"10.{number}.0.1/24"],
                router_stack,
                [f"10.{number}.0.254/24"],
                ethernet=True,
            )
            self.wires_out.append(wire)
            self.join(router_stack, [f"10.{number + 5}.0.254/24"], self.b, [f"10.{number + 5}.0.1/24"])
            self.a.add_route("10.6.0.0/24", gateway=f"10.{number}.0.254", metric=number)
        self.s.add_route("10.6.0.0/24", gateway="10.7.0.1")
        self.b.add_route("10.1.0.0/24", gateway="10.7.0.254", metric=2)
        self.b.add_route("10.1.0.0/24", gateway="10.6.0.254", metric=1)
        self.s.add_route("10.1.0.1/32", gateway="10.2.0.1")
        self.r.add_route("10.1.0.1/32", interface=self.r.interfaces[0], metric=1)


@pytest.mark.requirement("MUST-20", "RFC1122-3.3.1.2-d", "RFC1122-3.3.1.4-f", "RFC1122-3.3.1.5-a")
@pytest.mark.parametrize("after_a_pause", [False, True])
def test_a_connection_goes_on_by_the_other_gateway_when_its_own_falls_silent(after_a_pause: bool) -> None:
    net = Twin()
    listener = net.b.listen(0, b"", 80)
    client = net.a.connect(0, ip_to_bytes("10.6.0.1"), 80)
    net.run(SECOND)
    server = listener.accept()
    assert server is not None
    client.send(net.now, b"by the first")
    net.run(SECOND)

    def silent(packet: Packet) -> list[Packet]:
        return []

    # The first router is dead: no frame comes or goes, and nothing says so.
    net.wires_out[0].filter = silent
    net.b.set_interface_up(net.now, net.b.interfaces[0], False)
    if after_a_pause:
        net.run(100 * SECOND)
    # b answers by the second router; its interface address there is another one, so b still takes 10.6.0.1 as its own.
    client.send(net.now, bytes(30_000))
    # Without advice the neighbour would count as reachable for 15 s at the least, and be probed for 8 s more.
    net.run(20 * SECOND)
    assert len(server.receive(net.now, 1 << 20)) == 30_012
    assert max(len(frame) for frame in net.wires_out[1].sent_by(net.a)) == 1514
