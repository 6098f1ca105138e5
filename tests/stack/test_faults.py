"""Connections and datagrams over a wire that loses, repeats, reorders and damages; afterwards nothing is left."""

from __future__ import annotations

import random

import pytest
from tests.stack.net import B4, B6, Pair

from plankroad.tcp.config import TcpConfig
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.checksum import complete
from plankroad.wire.packet import Packet


class Faults:
    """What a bad wire does to packets."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        self.rng = rng
        self.rate = rate
        self.held: list[Packet] = []
        self.damaged = 0

    def __call__(self, packet: Packet) -> list[Packet]:
        rng = self.rng
        out = self.held if rng.random() < 0.7 else []
        if out:
            self.held = []
        if rng.random() < self.rate:
            return out
        if rng.random() < self.rate:
            self.held.append(packet)
            return out
        if rng.random() < self.rate:
            out = [*out, packet]
        if rng.random() < self.rate and not packet.gso_size:
            data = bytearray(complete(packet).to_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            self.damaged += 1
            return [*out, Packet(bytes(data))]
        return [*out, packet]


@pytest.mark.parametrize("ethernet", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_streams_both_ways_arrive_whole_and_leave_nothing(seed: int, ethernet: bool) -> None:
    rng = random.Random(seed)
    net = Pair(ethernet=ethernet, tx_csum=seed % 2 == 0, gso_max_size=0 if ethernet or seed % 3 else 65535)
    faults = Faults(rng, 0.01 + 0.02 * seed)
    net.wire.filter = faults
    # Each end tries often enough to be heard while the other is in TIME-WAIT: what comes later is answered by a reset.
    config = TcpConfig(max_rto=5 * SECOND)
    listener = net.b.listen(0, b"", 80, backlog=20, config=config)
    clients = [net.a.connect(0, B6 if number % 2 else B4, 80, config=config) for number in range(4)]
    servers = {}
    sizes = {client.local_port: rng.randrange(200_000) for client in clients}
    data = rng.randbytes(200_000)
    sent: dict[tuple[int, int], int] = {}
    got: dict[tuple[int, int], bytes] = {}
    for _ in range(40_000):
        net.run(rng.randrange(1, 40) * MILLISECOND)
        while (server := listener.accept()) is not None:
            servers[server.remote_port] = server
        done = len(servers) == len(clients)
        for number, table in enumerate(({c.local_port: c for c in clients}, servers)):
            for port, connection in table.items():
                key = (number, port)
                if key not in sent:
                    sent[key], got[key] = 0, b""
                size = sizes[port]
                if sent[key] < size and connection.state() in ("ESTABLISHED", "CLOSE_WAIT"):
                    sent[key] += connection.send(net.now, data[sent[key] : min(size, sent[key] + 50_000)])
                elif sent[key] == size and not connection.tcb.close_requested and connection.state() != "SYN_SENT":
                    connection.close(net.now)
                got[key] += connection.receive(net.now, rng.randrange(1, 100_000))
                assert not connection.error, f"seed {seed}: {connection.error}"
                done = done and connection.state() in ("CLOSED", "TIME_WAIT") and not connection.tcb.rcv_queued
        if done:
            break
    else:
        raise AssertionError(f"seed {seed}: not done")
    for key, received in got.items():
        assert received == data[: sizes[key[1]]], f"seed {seed}: {key}"
    listener.close(net.now)
    net.wire.filter = None
    net.finish()
    assert net.a.is_idle(), f"seed {seed}: {net.a.leftovers()}"
    assert net.b.is_idle(), f"seed {seed}: {net.b.leftovers()}"


@pytest.mark.requirement("RFC1122-4.1.3.4-b")
def test_datagrams_arrive_as_they_were_sent_or_not_at_all() -> None:
    seed = 4
    rng = random.Random(seed)
    net = Pair()
    net.wire.filter = Faults(rng, 0.05)
    server = net.b.bind_udp(b"", 53, rcv_buf=1 << 24)
    client = net.a.bind_udp()
    sent = set()
    count = 0
    for number in range(400):
        body = number.to_bytes(4, "big") + rng.randbytes(rng.randrange(6000))
        sent.add(body)
        client.send_to(net.now, body, B4 if number % 2 else B6, 53)
        net.run(10 * MILLISECOND)
        while (datagram := server.receive_from()) is not None:
            assert datagram.data in sent, f"seed {seed}"
            count += 1
    assert count > 200
    net.run(100 * SECOND)
    assert net.b.leftovers()["fragments"] == 0
