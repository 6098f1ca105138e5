"""Ports of connections in TIME-WAIT, taken over by new ones (RFC 6191, from the sender's side)."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, B4, B6, Pair

from plankroad.stack.config import StackConfig
from plankroad.stack.tcp_open import FREE_PORT_TRIES, TcpPortProbe
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.listen import Listener
from plankroad.units import MILLISECOND, SECOND

FIRST = 50_000


def pair(ports: int = 3, timestamps: bool = True) -> tuple[Pair, Listener]:
    """Two hosts; the first has so many ephemeral ports."""
    tcp = TcpConfig(timestamps=timestamps, snd_buf=4 << 20)
    net = Pair(config=StackConfig(tcp=tcp, first_port=FIRST, last_port=FIRST + ports - 1))
    return net, net.b.listen(0, b"", 80)


def use(net: Pair, listener: Listener, remote: bytes = B4, data: bytes = b"data", local_port: int = 0) -> Connection:
    """Open a connection, send, and close it at this end first: it is in TIME-WAIT then."""
    client = net.a.connect(net.now, remote, 80, local_port=local_port)
    net.run(MILLISECOND)
    server = listener.accept()
    assert server is not None
    assert client.send(net.now, data) == len(data)
    client.close(net.now)
    got = b""
    for _ in range(1000):
        net.run(MILLISECOND)
        got += server.receive(net.now, 1 << 20)
        if server.at_eof():
            break
    assert got == data
    server.close(net.now)
    net.run(MILLISECOND)
    assert client.state() == "TIME_WAIT"
    return client


@pytest.mark.parametrize("remote", [B4, B6])
def test_a_connection_in_time_wait_makes_place_where_no_port_is_left(remote: bytes) -> None:
    net, listener = pair()
    old = [use(net, listener, remote) for _ in range(3)]
    assert len({connection.local_port for connection in old}) == 3
    net.run(2 * SECOND)
    for _ in range(10):
        use(net, listener, remote)
        net.run(2 * SECOND)
    assert net.a.counters.tcp.time_wait_reused == 10
    assert len(net.a.connections) == 3
    assert [connection.state() for connection in old] == ["CLOSED"] * 3


def test_within_a_second_its_timestamps_may_not_have_grown() -> None:
    net, listener = pair()
    for _ in range(3):
        use(net, listener)
    with pytest.raises(OSError, match="every local port") as caught:
        net.a.connect(net.now, B4, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("old_has", [True, False])
def test_without_timestamps_the_two_cannot_be_told_apart(old_has: bool) -> None:
    net, listener = pair(timestamps=old_has)
    for _ in range(3):
        use(net, listener)
    net.run(2 * SECOND)
    with pytest.raises(OSError, match="every local port") as caught:
        net.a.connect(net.now, B4, 80, config=TcpConfig(timestamps=not old_has))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_living_connections_and_listeners_keep_their_ports() -> None:
    net, listener = pair()
    use(net, listener)
    use(net, listener)
    living = net.a.connect(net.now, B4, 80)
    net.run(2 * SECOND)
    assert living.state() == "ESTABLISHED"
    for port in range(FIRST, FIRST + 3):
        if port != living.local_port:
            net.a.listen(net.now, b"", port)
    with pytest.raises(OSError, match="every local port"):
        net.a.connect(net.now, B4, 80)


def test_a_port_that_is_asked_for_is_taken_over_too() -> None:
    net, listener = pair()
    use(net, listener, local_port=FIRST)
    with pytest.raises(OSError, match="in use") as caught:
        net.a.connect(net.now, B4, 80, local_port=FIRST)
    assert caught.value.errno == errno.EADDRINUSE
    net.run(2 * SECOND)
    use(net, listener, local_port=FIRST)
    assert net.a.counters.tcp.time_wait_reused == 1


def test_a_free_port_is_preferred() -> None:
    net, listener = pair(ports=20)
    for _ in range(10):
        use(net, listener)
        net.run(2 * SECOND)
    assert net.a.counters.tcp.time_wait_reused == 0


def test_with_all_ports_in_time_wait_the_search_is_short() -> None:
    net, listener = pair(ports=FREE_PORT_TRIES + 500)
    for _ in range(FREE_PORT_TRIES + 500):
        client = net.a.connect(net.now, B4, 80)
        net.run()
        server = listener.accept()
        assert server is not None
        client.close(net.now)
        net.run()
        server.close(net.now)
        net.run()
    net.run(2 * SECOND)
    probe = TcpPortProbe(net.a, net.now, A4, B4, 80, True)
    port = net.a.tcp_ports.allocate(A4, B4, 80, probe.in_use)
    assert (A4, port, B4, 80) in net.a.connections
    assert probe.asked == FREE_PORT_TRIES + 1


def test_the_new_incarnation_begins_beyond_what_the_old_one_sent() -> None:
    """A fast transfer overtakes the clock of initial sequence numbers, which ticks every 4 microseconds."""
    net, listener = pair(ports=1)
    old = use(net, listener, data=bytes(2_000_000))
    end = old.tcb.snd_max
    net.run(2 * SECOND)
    new = net.a.connect(net.now, B4, 80)
    step = new.tcb.iss - end & 0xFFFFFFFF
    assert 65_536 < step < 1 << 31
    net.run(SECOND)
    assert new.state() == "ESTABLISHED"
    # It sends at once what the peer's timestamps let pass.
    assert new.local_port == old.local_port
    assert new.tcb.ts_offset == old.tcb.ts_offset


def test_a_peer_that_still_waits_for_our_last_ack_is_met() -> None:
    """RFC 6191: its LAST-ACK is answered by a reset, and the SYN that comes again finds it listening."""
    net, listener = pair(ports=1)
    client = net.a.connect(net.now, B4, 80)
    net.run()
    server = listener.accept()
    assert server is not None
    client.close(net.now)
    net.run(SECOND)
    # Nothing of ours arrives from here on; the last ACK is lost.
    net.wire.filter = lambda packet: [] if packet.interface == 0 and net.wire.seen[-1][0] is net.a else [packet]
    server.close(net.now)
    net.run(2 * SECOND)
    assert (client.state(), server.state()) == ("TIME_WAIT", "LAST_ACK")
    net.wire.filter = None
    new = net.a.connect(net.now, B4, 80)
    assert new.local_port == client.local_port
    net.run(3 * SECOND)
    assert new.state() == "ESTABLISHED"
    assert server.state() == "CLOSED"
