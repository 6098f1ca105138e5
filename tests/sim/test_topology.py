"""Networks of hosts, routers, switches and links, with the real stack."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from plankroad.link.capture import CaptureWriter
from plankroad.pcap.reader import read_capture
from plankroad.pcap.records import INBOUND, OUTBOUND
from plankroad.sim.conditions import Burst, Conditions
from plankroad.sim.errors import DeadlockError
from plankroad.sim.host import Host
from plankroad.sim.pipe import Observer, Pipe
from plankroad.sim.queue import DropTail
from plankroad.sim.rules import DROP, Rule
from plankroad.sim.topology import Network
from plankroad.wire.packet import Packet


def line(seed: int = 1, **kwds: object) -> tuple[Network, Host, Host]:
    """client - r1 - r2 - server."""
    net = Network(seed, trace_hash=True)
    client, server = net.host("client"), net.host("server")
    r1, r2 = net.router("r1"), net.router("r2")
    net.link(client, r1, rate="1Gbit/s", delay="1ms")
    net.link(r1, r2, **{"rate": "100Mbit/s", "delay": "10ms", **kwds})  # type: ignore[arg-type]
    net.link(r2, server, rate="1Gbit/s", delay="1ms")
    return net, client, server


async def transfer(server: Host, data: bytes, name: str = "server") -> bytes:
    """Send `data` to an echo server at `server`, from the current host; what came back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    with server.here():
        listening = await asyncio.start_server(echo, None, 7)
    reader, writer = await asyncio.open_connection(name, 7)

    async def send() -> None:
        for i in range(0, len(data), 50_000):
            writer.write(data[i : i + 50_000])
            await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    back = await reader.read(-1)
    await sending
    writer.close()
    await writer.wait_closed()
    listening.close()
    await listening.wait_closed()
    return back


def payload(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_an_unmodified_program_talks_through_routers() -> None:
    net, client, server = line()
    data = payload(300_000)
    assert net.run(transfer(server, data), host=client) == data
    assert net.now > 0.05
    assert server.address == "10.0.2.2"
    assert client.addresses == ["10.0.0.1", "fd00::1"]


def test_the_handshake_takes_the_round_trip_of_the_links() -> None:
    net, client, server = line()

    async def main() -> float:
        with server.here():
            await asyncio.start_server(lambda r, w: None, "server", 80)
        await asyncio.open_connection("server", 80)
        return net.now

    # Twice 12 ms, and the time that some 60 bytes take on each of the six links.
    assert net.run(main(), host=client) == pytest.approx(0.024, abs=0.0001)


def test_all_faults_together_lose_nothing_and_the_same_seed_gives_the_same_trace() -> None:
    conditions = {
        "loss": 0.02,
        "duplicate": 0.02,
        "corrupt": 0.02,
        "reorder": 0.02,
        "reorder_delay": "5ms",
        "jitter": "2ms",
        "burst": Burst.of(0.01, 3),
    }
    hashes = []
    for seed in (5, 5, 6):
        net, client, server = line(seed, **conditions)
        data = payload(200_000)
        assert hashlib.sha256(net.run(transfer(server, data), host=client)).digest() == hashlib.sha256(data).digest()
        counters = net.counters()
        for name in ("lost_random", "lost_burst", "corrupted", "duplicated", "reordered"):
            assert counters[name] > 0, name
        hashes.append((net.trace_hash(), net.simulator.now))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.sim.test_topology import line, payload, transfer
net, client, server = line(9, loss=0.03, corrupt=0.02, jitter="1ms", duplicate=0.02)
net.run(transfer(server, payload(60_000)), host=client)
print(net.trace_hash(), net.simulator.now)
"""


def test_another_process_with_another_hash_seed_gives_the_same_trace() -> None:
    root = str(Path(__file__).parents[2])
    outputs = set()
    for hash_seed in ("1", "22"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, root], env=env, capture_output=True, text=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_ipv6_goes_the_same_way() -> None:
    net, client, server = line()
    data = payload(50_000)
    assert net.run(transfer(server, data, name="fd00:0:0:2::2"), host=client) == data


def test_a_dead_link_is_routed_around_and_comes_back() -> None:
    net = Network(3)
    client, server = net.host("client"), net.host("server")
    r1, r2, upper, lower = (net.router(name) for name in ("r1", "r2", "upper", "lower"))
    net.link(client, r1, rate="50Mbit/s", delay="1ms")
    first = net.link(r1, upper, delay="5ms")
    net.link(upper, r2, delay="5ms")
    second = net.link(r1, lower, delay="10ms", cost=5)
    net.link(lower, r2, delay="10ms", cost=5)
    net.link(r2, server, delay="1ms")
    first.cut(at="0.3s")
    first.heal(at="1s")
    data = payload(2_500_000)
    assert net.run(transfer(server, data), host=client) == data
    assert second.there.pipe.counters.arrived > 100
    assert first.there.pipe.counters.lost_cut > 0
    before = first.there.pipe.counters.arrived

    async def again() -> bytes:
        with server.here():
            await asyncio.start_server(lambda r, w: w.write(b"hello"), None, 8)
        reader, _ = await asyncio.open_connection("server", 8)
        return await reader.read(5)

    net.run_until(max(net.now, 2.0))
    assert net.run(again(), host=client) == b"hello"
    assert first.there.pipe.counters.arrived > before


def test_without_detection_nothing_is_routed_around() -> None:
    net = Network(3, detection=None)
    client, server = net.host("client"), net.host("server")
    r1, r2 = net.router("r1"), net.router("r2")
    net.link(client, r1)
    dead = net.link(r1, r2)
    other = net.link(r1, r2, cost=9)
    net.link(r2, server)
    dead.cut()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("server", 80), 10)

    net.run(main(), host=client)
    assert dead.there.pipe.counters.lost_cut > 2
    assert other.there.pipe.counters.packets == 0


def test_a_flap_shorter_than_the_detection_goes_unnoticed() -> None:
    net = Network(3, detection="100ms")
    r1, r2 = net.router("r1"), net.router("r2")
    link = net.link(r1, r2)
    link.flap(down="50ms", up="1s", times=2, at="1s")
    net.run_until("0.5s")
    generation = r1.stack.routes.generation
    net.run_until("3s")
    assert r1.stack.routes.generation == generation
    link.cut()
    net.run_for("50ms")
    assert r1.interfaces[0].up
    net.run_for("60ms")
    assert not r1.interfaces[0].up
    link.heal()
    net.run_for("200ms")
    assert r1.interfaces[0].up


def test_packets_take_several_routes_in_turn() -> None:
    net = Network(2, multipath="packet")
    client, server = net.host("client"), net.host("server")
    r1, r2 = net.router("r1"), net.router("r2")
    net.link(client, r1, rate="20Mbit/s")
    ways = []
    for i in range(3):
        middle = net.router(f"m{i}")
        ways.append(net.link(r1, middle, delay=f"{5 + i}ms"))
        net.link(middle, r2)
    net.link(r2, server)
    data = payload(500_000)
    assert net.run(transfer(server, data), host=client) == data
    counts = [way.there.pipe.counters.packets for way in ways]
    assert max(counts) - min(counts) <= 2
    assert min(counts) > 50


def test_flows_are_spread_as_flows() -> None:
    net = Network(2, multipath="flow", ipv6=False)
    client, server = net.host("client"), net.host("server")
    r1, r2 = net.router("r1"), net.router("r2")
    net.link(client, r1)
    ways = [net.link(r1, r2, delay="5ms") for _ in range(2)]
    net.link(r2, server)

    async def main() -> None:
        with server.here():
            await asyncio.start_server(lambda r, w: w.close(), "server", 80)
        for _ in range(20):
            reader, writer = await asyncio.open_connection("server", 80)
            await reader.read()
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(1)

    net.run(main(), host=client)
    counts = [way.there.pipe.counters.packets for way in ways]
    assert min(counts) > 10
    assert all(way.there.pipe.counters.reordered == 0 for way in ways)


def test_a_lan_with_a_switch_and_a_router() -> None:
    net = Network(4)
    hosts = [net.host(f"h{i}") for i in range(3)]
    router, far = net.router("gw"), net.host("far")
    first, second = net.switch("sw1"), net.switch("sw2")
    net.link(first, second)
    for host, switch in zip(hosts, (first, first, second), strict=True):
        net.link(host, switch, rate="100Mbit/s", delay="100us")
    net.link(router, second, delay="100us")
    net.link(router, far, delay="5ms")
    assert [host.address for host in hosts] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert "fd00::4" in router.addresses
    data = payload(100_000)
    assert net.run(transfer(hosts[2], data, "h2"), host=hosts[0]) == data
    assert net.run(transfer(far, data, "far"), host=hosts[1]) == data
    assert net.run(transfer(far, data, far.addresses[1]), host=hosts[2]) == data
    assert first.switch.flooded > 0
    assert len(first.switch.table) >= 3


def test_an_ethernet_link_between_two_hosts() -> None:
    net = Network(4)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, ethernet=True, delay="1ms", corrupt=0.05)
    data = payload(100_000)
    assert net.run(transfer(b, data, "b"), host=a) == data
    assert net.run(transfer(b, data, "fd00::2"), host=a) == data


def test_a_smaller_mtu_on_the_way_is_found() -> None:
    net, client, server = line(mtu=1280)
    data = payload(100_000)
    assert net.run(transfer(server, data), host=client) == data
    assert net.counters()["lost_mtu"] == 0
    assert net.nodes["r1"].stack.counters.ip.too_big > 0  # type: ignore[attr-defined]


def test_a_link_too_small_for_ipv6_has_no_ipv6_addresses() -> None:
    """RFC 8200 section 5: every link carries 1280 bytes."""
    net = Network()
    a, b = net.host("a"), net.host("b")
    net.link(a, b, mtu=1279)
    assert (a.addresses, b.addresses) == (["10.0.0.1"], ["10.0.0.2"])
    with pytest.raises(ValueError, match="1280 bytes at least"):
        net.link(a, b, mtu=600, addresses=("fd00::1/64", "fd00::2/64"))
    assert net.run(transfer(b, b"x" * 5000, "b"), host=a) == b"x" * 5000


def test_an_mtu_that_changes_under_way_is_found() -> None:
    net, client, server = line()
    net.links[1].set(mtu=900, at="80ms")
    data = payload(400_000)
    assert net.run(transfer(server, data), host=client) == data
    assert net.links[1].there.conditions.mtu == 900


def test_a_black_hole_swallows_large_packets_only() -> None:
    net, client, server = line(carried_mtu=600)

    async def main() -> bytes:
        with server.here():
            await asyncio.start_server(lambda r, w: w.write(b"small"), "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        small = await reader.readexactly(5)
        writer.write(bytes(5000))
        await asyncio.sleep(1)
        return small

    assert net.run(main(), host=client) == b"small"
    assert net.links[1].there.pipe.counters.lost_mtu > 0


def test_conditions_change_on_a_timeline() -> None:
    net, _, _ = line()
    link = net.links[1]
    link.set(at="1s", rate="10Mbit/s", toward="r2")
    link.set(at="2s", loss=0.5)
    net.run_until("1.5s")
    assert (link.there.pipe.rate, link.back.pipe.rate) == (10_000_000, 100_000_000)
    assert link.there.conditions.loss == 0
    net.run_until("2s")
    assert (link.there.conditions.loss, link.back.conditions.loss) == (0.5, 0.5)
    assert link.there.pipe.rate == 10_000_000


@pytest.mark.parametrize("detection", ["50ms", None])
def test_one_way_cuts(detection: str | None) -> None:
    """A host's only link goes dead: its packets go there and are lost, whether or not the routers know."""
    net = Network(3, detection=detection)
    client, router, server = net.host("client"), net.router("router"), net.host("server")
    link = net.link(client, router, delay="1ms")
    net.link(router, server, delay="1ms")
    link.cut(toward=client, at="0.5s")
    link.heal(toward="client", at="2s")

    async def main() -> float:
        with server.here():
            await asyncio.start_server(lambda r, w: None, "server", 80)
        await asyncio.sleep(0.6)
        assert not link.is_up()
        await asyncio.open_connection("server", 80)
        return net.now

    assert net.run(main(), host=client) > 2
    assert link.there.pipe.counters.lost_cut == 0
    assert link.there.pipe.counters.arrived > 1
    if detection is None:
        assert link.back.pipe.counters.lost_cut > 0
    else:
        assert router.stack.counters.ip.no_route + router.stack.counters.ip.interface_down > 0


def test_a_crashed_host_is_silent() -> None:
    net, client, server = line()

    async def main() -> None:
        with server.here():
            await asyncio.start_server(lambda r, w: None, "server", 80)
        reader, writer = await asyncio.open_connection("server", 80)
        server.crash()
        writer.write(b"anyone there?")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 5)

    net.run(main(), host=client)
    assert net.dropped()["nobody"] > 0


def test_a_refused_port_is_refused_and_an_unknown_name_is_unknown() -> None:
    net, client, _ = line()

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("10.0.2.2", 81)
        with pytest.raises(
            socket.gaierror, match="no host named 'sever' in the simulated network; there are: client"
        ):
            await asyncio.open_connection("sever", 80)
        assert await asyncio.get_running_loop().getnameinfo(("10.0.2.2", 80)) == ("server", "80")

    net.run(main(), host=client)


def test_an_unreachable_network_is_told() -> None:
    net = Network()
    client = net.host("client")
    other = net.host("other")
    net.link(client, other)

    async def main() -> None:
        with pytest.raises(OSError, match="unreachable") as caught:
            await asyncio.open_connection("192.0.2.1", 80)
        assert caught.value.errno == errno.ENETUNREACH

    net.run(main(), host=client)


def test_datagrams_and_servers_belong_to_the_host_of_the_task() -> None:
    net, client, server = line()

    class Echo(asyncio.DatagramProtocol):
        transport: asyncio.DatagramTransport

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.DatagramTransport)
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(data.upper(), addr)

    class Ask(Echo):
        def __init__(self) -> None:
            self.answer: asyncio.Future[tuple[bytes, tuple[str, int]]] = asyncio.get_running_loop().create_future()

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.answer.set_result((data, addr))

    async def serve() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("server", 53))

    async def main() -> tuple[bytes, tuple[str, int]]:
        await server.create_task(serve())
        _, ask = await asyncio.get_running_loop().create_datagram_endpoint(Ask, remote_addr=("server", 53))
        ask.transport.sendto(b"question")
        return await ask.answer

    assert net.run(main(), host=client) == (b"QUESTION", ("10.0.2.2", 53))


def test_connections_accepted_by_a_server_run_on_its_host() -> None:
    net, client, server = line()
    back = net.host("backend")
    net.link("r2", back, delay="1ms")

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No host is named here: this task was made by the server's transport.
        inner, _ = await asyncio.open_connection("backend", 9)
        writer.write(await inner.read())
        writer.close()

    def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(writer.get_extra_info("peername")[0].encode())
        writer.close()

    async def main() -> bytes:
        with back.here():
            await asyncio.start_server(tell, "backend", 9)
        with server.here():
            await asyncio.start_server(proxy, "server", 80)
        reader, _ = await asyncio.open_connection("server", 80)
        return await reader.read()

    assert net.run(main(), host=client) == server.address.encode()


def test_a_network_runs_without_asyncio_too() -> None:
    net, client, server = line()
    listener = server.stack.listen(0, b"", 80)
    remote = socket.inet_aton("10.0.2.2")
    net.refresh_routes()
    conn = client.stack.connect(0, remote, 80)
    client.driver.push()
    net.run_for("1s")
    accepted = listener.accept()
    assert accepted is not None
    assert conn.send(client.now, b"hello") == 5
    client.driver.push()
    net.run_for("1s")
    assert accepted.receive(server.now, 100) == b"hello"
    client.crash(at="5s")
    net.run_until("5s")
    assert client.crashed


def test_a_capture_holds_every_packet_with_what_became_of_it() -> None:
    net, client, server = line(8, loss=0.05, corrupt=0.05, duplicate=0.05)
    target = io.BytesIO()
    with net.capture(target):
        data = payload(100_000)
        assert net.run(transfer(server, data), host=client) == data
    packets = read_capture(io.BytesIO(target.getvalue()))
    comments = ["; ".join(packet.comments) for packet in packets]
    counters = net.counters()
    assert sum(comment.startswith("dropped: random loss") for comment in comments) == counters["lost_random"] > 0
    assert sum("damaged" in comment for comment in comments) >= counters["corrupted"] > 0
    assert sum("duplicate made by the network" in comment for comment in comments) > 0
    assert {packet.interface.name for packet in packets} == {"client-r1", "r1-r2", "r2-server"}
    assert {packet.direction for packet in packets} == {INBOUND, OUTBOUND}
    times = [packet.time for packet in packets]
    assert times == sorted(times)
    pipes = [direction.pipe for link in net.links for direction in (link.there, link.back)]
    assert len(times) == counters["packets"] + counters["duplicated"] - sum(pipe.on_the_way() for pipe in pipes)


def test_rules_on_the_whole_network() -> None:
    net, client, server = line()
    rule = net.add_rule(Rule(DROP, lambda view: view.tcp is not None and len(view.payload) > 0, count=3))
    data = payload(10_000)
    assert net.run(transfer(server, data), host=client) == data
    assert rule.hits == 3
    assert net.dropped() == {"rule": 3}
    with net.links[0].rule("drop", toward="r1") as silence:
        net.links[0].direction("r1").arrange()
        assert not silence.removed


def test_deadlocks_name_the_program() -> None:
    net, client, _ = line()

    async def wait_for_nobody() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match="wait_for_nobody"):
        net.run(wait_for_nobody(), host=client)


def test_given_addresses_are_taken() -> None:
    net = Network()
    a, b = net.host("a"), net.host("b")
    net.link(a, b, addresses=("192.168.1.1/24", ("192.168.1.2/24",)))
    assert (a.addresses, b.address) == (["192.168.1.1"], "192.168.1.2")
    lan = net.switch("lan", subnets="172.16.0.0/16")
    c = net.host("c")
    net.link(c, lan)
    net.link(a, lan, addresses=("172.16.9.9/16", ()))
    assert (c.address, a.addresses[1]) == ("172.16.0.1", "172.16.9.9")
    data = payload(5000)
    assert net.run(transfer(a, data, "172.16.9.9"), host=c) == data


def test_names_of_parallel_links_differ() -> None:
    net = Network()
    a, b = net.host("a"), net.host("b")
    links = [net.link(a, b) for _ in range(3)]
    assert [link.name for link in links] == ["a-b", "a-b#2", "a-b#3"]
    assert [link.there.pipe.name for link in links] == ["a->b", "a->b#2", "a->b#3"]


def test_mistakes_are_told_with_what_to_do() -> None:
    net = Network()
    a, b = net.host("a"), net.host("b")
    lan = net.switch("lan")
    cases: list[tuple[dict[str, object], str]] = [
        ({"loss": 1.5}, "loss: 1.5 is no probability"),
        ({"delay": -1}, "delay: -1 is not within"),
        ({"delay": "20 lightyears"}, "write seconds as a number"),
        ({"rate": "quick"}, "rate: 'quick' is no rate"),
        ({"mtu": 20}, "mtu: 20 is not within 68 and 65535"),
        ({"carried_mtu": 2000}, "is more than the MTU"),
        ({"queue": 0}, "a queue holds 1 or more"),
        ({"reorder": 0.1}, "reorder_delay"),
        ({"corrupt": 0.1, "corrupt_bits": 0}, "corrupt_bits: 0"),
        ({"cost": 0}, "cost: 0 is less than 1"),
        ({"burst": (2, 1)}, "burst enter: 2 is no probability"),
        ({"addresses": ("10.9.0.1/24", "10.8.0.1/24")}, "not of the same subnets"),
        ({"name": "a-b", "forward": {"jitter": "fast"}}, "jitter: 'fast' is no time"),
    ]
    for conditions, text in cases:
        with pytest.raises(ValueError, match=text.replace("(", r"\(")):
            net.link(a, b, **conditions)  # type: ignore[arg-type]
    assert not net.links
    with pytest.raises(TypeError, match="a link has no 'latency'; it has"):
        net.link(a, b, latency=5)
    with pytest.raises(ValueError, match="no node named 'c'; there are: a, b, lan"):
        net.link("a", "c")
    with pytest.raises(ValueError, match="linked to itself"):
        net.link(a, a)
    with pytest.raises(ValueError, match="a node named 'A' already"):
        net.router("A")
    with pytest.raises(ValueError, match="no name of a host"):
        net.host("two words")
    with pytest.raises(ValueError, match="it is None, 'flow' or 'packet'"):
        Network(multipath="all")
    with pytest.raises(ValueError, match="nothing to carry"):
        Network(ipv4=False, ipv6=False)
    with pytest.raises(ValueError, match="trace_hash=True"):
        net.trace_hash()
    with pytest.raises(ValueError, match="a has no address"):
        _ = a.address
    other = net.switch("other")
    net.link(lan, other)
    with pytest.raises(ValueError, match="no spanning tree"):
        net.link(lan, other)
    link = net.link(a, b)
    with pytest.raises(ValueError, match="lan is not at an end of a-b"):
        link.cut(toward=lan)
    with pytest.raises(ValueError, match="loss: 7"):
        link.set(loss=7, at="1s")
    with pytest.raises(ValueError, match="already, by a"):
        net.link(net.host("d"), b, addresses=("10.0.0.1/24", "10.0.0.3/24"))
    with pytest.raises(ValueError, match="another network"):
        Network().link(a, b)


@pytest.mark.parametrize(
    ("addresses", "says"),
    [
        (("10.0.0.1/24", "10.0.0.9/24"), "10.0.0.1 is taken already, by a"),
        (("10.7.0.1/24", "10.7.0.1/24"), "10.7.0.1 is taken already, by a"),
        (("10.7.0.1/24", "10.7.0.255/24"), "10.7.0.255/24: a broadcast"),
        (("10.7.0.1/24", "10.7.0.2/99"), "no prefix length"),
    ],
)
def test_a_link_that_is_refused_leaves_nothing_behind(addresses: tuple[str, str], says: str) -> None:
    net = Network()
    a, b = net.host("a"), net.host("b")
    net.link(a, b)
    before = (dict(net.owners), list(net.links), list(a.links), len(a.interfaces), a.addresses, b.addresses)
    with pytest.raises(ValueError, match=says):
        net.link(a, b, name="second", addresses=addresses)
    assert (dict(net.owners), net.links, a.links, len(a.interfaces), a.addresses, b.addresses) == before
    net.link(a, b, name="second", addresses=("10.7.0.1/24", "10.7.0.2/24"))

    async def main() -> bytes:
        return await transfer(b, b"x" * 1000, "10.7.0.2")

    assert net.run(main(), host=a) == b"x" * 1000


def test_a_program_that_cannot_run_is_closed() -> None:
    net = Network()
    net.switch("lan")
    for host in ("lan", "nobody"):
        main = asyncio.sleep(1)
        with pytest.raises(ValueError, match=host):
            net.run(main, host=host)
        with pytest.raises(RuntimeError, match="cannot reuse"):
            main.send(None)


def test_conditions_of_one_direction() -> None:
    net = Network()
    link = net.link(net.host("a"), net.host("b"), rate="10Mbit/s", queue="64KiB", backward={"rate": "1Mbit/s"})
    assert (link.there.pipe.rate, link.back.pipe.rate) == (10_000_000, 1_000_000)
    queue = link.there.queue
    assert isinstance(queue, DropTail)
    assert (queue.max_packets, queue.max_bytes) == (0, 65536)
    assert Conditions().queue_packets == 1000


def test_bursts_by_mean() -> None:
    burst = Burst.of(0.1, 5)
    assert burst.leave == 0.2
    assert burst.enter / (burst.enter + burst.leave) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="never ends"):
        Burst(0.1, 0)


def test_addresses_run_out_with_a_hint() -> None:
    net = Network(ipv6=False)
    lan = net.switch("lan", subnets="10.1.0.0/30")
    net.link(net.host("a"), lan)
    net.link(net.host("b"), lan)
    with pytest.raises(ValueError, match="give the switch a larger"):
        net.link(net.host("c"), lan)


def test_a_lan_that_falls_apart_and_heals() -> None:
    net = Network(6, detection="10ms")
    a, b = net.host("a"), net.host("b")
    left, right = net.switch("left"), net.switch("right")
    trunk = net.link(left, right, delay="100us")
    net.link(a, left)
    net.link(b, right)

    async def main() -> None:
        assert await transfer(b, b"before", "b") == b"before"
        trunk.cut()
        await asyncio.sleep(0.1)
        assert all(port != 0 for port, _ in left.switch.table.values())  # whoever was behind the trunk is forgotten
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.wait_for(asyncio.open_connection("b", 7), 300)
        trunk.heal()
        await asyncio.sleep(5)
        assert await transfer(b, b"after", "b") == b"after"

    net.run(main(), host=a)


def test_what_is_asked_for_before_there_are_links_holds_for_those_to_come() -> None:
    net = Network(2, ipv6=False)
    seen: list[int] = []

    class Watcher(Observer):
        def packet(self, pipe: Pipe, now: int, sent: int, packet: Packet, fate: int, note: str) -> None:
            seen.append(pipe.number)

    target = io.BytesIO()
    writer = net.capture(target)
    net.observe(Watcher())
    rule = net.add_rule(Rule(DROP, lambda view: view.protocol == 6, count=1))
    a, b = net.host("a"), net.host("b")
    net.link(a, b, delay="1ms")
    net.observe(Watcher())
    net.at("10s", seen.clear)
    assert net.run(transfer(b, b"hello", "b"), host=a) == b"hello"
    assert rule.hits == 1
    assert set(seen) == {0, 1}
    assert len(seen) == 2 * writer.packets
    # Closed captures are left alone, by links to come as well.
    writer.close()
    written = writer.packets
    net.link(a, b)
    assert net.run(transfer(b, b"again", "b"), host=a) == b"again"
    assert len(seen) > 2 * written == 2 * writer.packets
    net.run_until("10s")
    assert not seen


def test_a_capture_that_cannot_be_written_ends_and_the_network_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    net = Network(2)
    a, b = net.host("a"), net.host("b")
    net.link(a, b)
    writer = CaptureWriter(io.BytesIO())
    assert net.capture(writer) is writer
    writer.close()
    net.run(transfer(b, b"hello", "b"), host=a)
    net.link(a, b)
    net.run(transfer(b, b"hello", "b"), host=a)
    assert [record.getMessage() for record in caplog.records if "capture" in record.getMessage()] == [
        "the capture of the simulated network ends here: the capture is closed"
    ]


def test_mtu_changes_do_not_disturb_the_dead() -> None:
    net, client, _ = line()
    client.crash()
    net.links[0].set(mtu=1300)
    assert net.links[0].there.pipe.mtu == 1300
    with pytest.raises(ValueError, match="flaps 1 or more times"):
        net.links[0].flap(down="1s", up="1s", times=0)
    with pytest.raises(ValueError, match="a link named 'r1-r2' already"):
        net.link("r1", "r2", name="r1-r2")
    lonely = Network()
    one, two = lonely.switch("one"), lonely.switch("two")
    lonely.link(lonely.host("a"), one)
    lonely.link(lonely.host("b"), two)
    with pytest.raises(ValueError, match="link switches before their hosts"):
        lonely.link(one, two)


def test_a_network_of_one_family() -> None:
    net = Network(ipv4=False)
    a, b = net.host("a"), net.host("b")
    net.link(a, b)
    assert (a.addresses, b.addresses) == (["fd00::1"], ["fd00::2"])
    assert net.run(transfer(b, b"six", "b"), host=a) == b"six"
