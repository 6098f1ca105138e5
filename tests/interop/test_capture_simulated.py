"""Captures of a simulated network that drops and damages, as Wireshark's tshark reads them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from tests.interop.ground import Mailbox
from tests.pcap.test_tshark import BAD, fields, tshark
from tests.sim.test_topology import payload, transfer

from plankroad.pcap.reader import read_capture
from plankroad.sim.conditions import Burst
from plankroad.sim.host import Host
from plankroad.sim.topology import Network

pytestmark = pytest.mark.needs("tshark")

WRONG = BAD
DAMAGED = 'frame.comment contains "damaged"'


def run(net: Network, client: Host, server: Host, size: int, name: str = "server") -> None:
    """A stream there and back, beside it datagrams, pings and a refused port."""

    async def main() -> None:
        data = payload(size)
        talking = asyncio.create_task(transfer(server, data, name))
        with server.here():
            heard, _ = await asyncio.get_running_loop().create_datagram_endpoint(Mailbox, local_addr=(name, 50007))
        loop = asyncio.get_running_loop()
        sender, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(name, 50007))
        refused, _ = await loop.create_datagram_endpoint(Mailbox, remote_addr=(name, 50009))
        for number in range(60):
            sender.sendto(bytes([number]) * 24 * number)
            refused.sendto(b"anybody?")
            await asyncio.sleep(0.05)
        async for _ in client.aio.ping(name, 10, interval=0.1, size=500):
            pass
        assert await talking == data
        for transport in (heard, sender, refused):
            transport.close()

    net.run(main(), host=client)


@pytest.mark.parametrize("ethernet", [False, True], ids=["ip", "ethernet"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_every_fault_is_commented_and_nothing_else_is_wrong(tmp_path: Path, ethernet: bool, ipv6: bool) -> None:
    net = Network(71, ipv4=not ipv6, ipv6=ipv6)
    client, server = net.host("client"), net.host("server")
    net.link(
        client,
        server,
        rate="20Mbit/s",
        delay="5ms",
        jitter="1ms",
        queue=6,
        loss=0.02,
        burst=Burst.of(0.01, 3),
        duplicate=0.02,
        reorder=0.02,
        reorder_delay="4ms",
        corrupt=0.05,
        ethernet=ethernet,
    )
    path = tmp_path / "net.pcapng"
    with net.capture(path):
        run(net, client, server, 300_000)

    assert tshark(path, "-Y", f"({WRONG}) && !({DAMAGED})") == []
    # The checks bite, and bite what was damaged.
    assert tshark(path, "-Y", "tcp.checksum.status == 1")
    assert tshark(path, "-Y", "udp.checksum.status == 1")
    wrong = len(tshark(path, "-Y", f"({WRONG}) && {DAMAGED}"))
    damaged = len(tshark(path, "-Y", DAMAGED))
    assert damaged > 20
    if not ipv6 and not ethernet:
        # Each bit of an IPv4 packet is under a checksum. Only one whose version became another is no longer IPv4; and
        # tshark sums up no segment whose data offset is below 5 (RFC 9293 section 3.1).
        assert tshark(path, "-Y", f"{DAMAGED} && !({BAD}) && ip && !(tcp.hdr_len < 20)") == []
    assert wrong > damaged / 2

    # Every packet that met with something says so: as many of each as the network counted.
    counters = net.counters()
    causes: Counter[str] = Counter()
    for (comment,) in fields(path, "frame.comment"):
        for part in comment.partition(" (")[0].split(", "):
            causes[part] += 1
    assert causes["dropped: random loss"] == counters["lost_random"] > 0
    assert causes["dropped: burst loss"] == counters["lost_burst"] > 0
    assert causes["dropped: queue full"] == counters["lost_queue"] > 0
    assert causes["damaged"] == counters["corrupted"] == damaged
    assert causes["duplicate made by the network"] == counters["duplicated"] > 0
    known = {"", "damaged", "duplicate made by the network", "held back to be overtaken"}
    assert {cause for cause in causes if not cause.startswith("dropped: ")} <= known


def test_interfaces_and_times(tmp_path: Path) -> None:
    """One interface a link, by its name; times in virtual nanoseconds, none of them rounded."""
    net = Network(72)
    client, router, server = net.host("client"), net.router("router"), net.host("server")
    net.link(client, router, delay="1ms", loss=0.01)
    net.link(router, server, name="the far side", delay=0.000_001_234_567, rate="77Mbit/s", ethernet=True)
    path = tmp_path / "net.pcapng"
    with net.capture(path):
        run(net, client, server, 100_000)
    assert tshark(path, "-Y", WRONG) == []
    found = fields(path, "frame.time_epoch", "frame.interface_name", "frame.packet_flags_direction")
    read = read_capture(path)
    assert [int(row[0].replace(".", "")) for row in found] == [packet.time for packet in read]
    assert any(packet.time % 1000 for packet in read)
    assert max(packet.time for packet in read) < 10_000_000_000  # from the beginning of the simulation
    assert {row[1] for row in found} == {"client-router", "the far side"}
    assert {int(row[2], 16) & 3 for row in found} == {1, 2}
    # The far side is Ethernet, the near one is not.
    assert {row[0] for row in fields_of(path, "eth", "frame.interface_name")} == {"the far side"}
    assert tshark(path, "-Y", "arp || icmpv6.type == 135")


def fields_of(path: Path, chosen: str, name: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("\t")) for line in tshark(path, "-Y", chosen, "-T", "fields", "-e", name)]


def test_damage_beyond_a_router_is_found_where_it_happened(tmp_path: Path) -> None:
    """A router passes on what is damaged behind the IP header: on the next link it is as it came, so faults are put
    on the links to the hosts, towards them.
    """
    net = Network(73)
    client, router, server = net.host("client"), net.router("router"), net.host("server")
    near = net.link(client, router, delay="2ms", loss=0.01)
    far = net.link(router, server, rate="50Mbit/s", delay="2ms", mtu=1300)
    near.set(toward=client, corrupt=0.05, corrupt_bits=3)
    far.set(toward=server, corrupt=0.05, corrupt_bits=3)
    path = tmp_path / "net.pcapng"
    with net.capture(path):
        run(net, client, server, 200_000)
    assert tshark(path, "-Y", f"({WRONG}) && !({DAMAGED})") == []
    names = Counter(row[0] for row in fields_of(path, f"({WRONG}) && {DAMAGED}", "frame.interface_name"))
    assert set(names) == {"client-router", "router-server"}
    # The narrow link was found out on the way: RFC 1191, RFC 8201.
    assert tshark(path, "-Y", "icmp.type == 3 && icmp.code == 4 || icmpv6.type == 2")
