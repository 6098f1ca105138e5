"""The endpoint by itself, with a host that knows one address; tests/stack/test_udp.py has the real one."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR, EVENT_WRITABLE
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED, HOST_UNREACHABLE, PORT_UNREACHABLE, errno_of
from plankroad.udp.counters import UdpCounters
from plankroad.udp.datagram import Datagram, UdpError
from plankroad.udp.endpoint import MAX_ERRORS, OVERHEAD, PMTU_DO, UdpEndpoint, UdpHost
from plankroad.wire.address import ip_to_bytes

OWN = ip_to_bytes("10.0.0.2")
PEER = ip_to_bytes("10.0.0.1")
GROUP = ip_to_bytes("239.1.1.1")


class FakeHost(UdpHost):
    """A host with one address, one interface and a path MTU of 1000."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def udp_source(self, endpoint: UdpEndpoint, dst: bytes, local: bytes, interface: int) -> bytes:
        return local or OWN

    def udp_limit(self, now: int, endpoint: UdpEndpoint, dst: bytes, interface: int) -> int:
        return 1000

    def udp_connect(self, endpoint: UdpEndpoint, addr: bytes, port: int) -> None:
        endpoint.remote_addr, endpoint.remote_port = addr, port

    def udp_join(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> int:
        self.calls.append("join")
        return 0

    def udp_leave(self, now: int, endpoint: UdpEndpoint, group: bytes, interface: int) -> None:
        self.calls.append("leave")

    def udp_unbind(self, endpoint: UdpEndpoint) -> None:
        self.calls.append("unbind")


def endpoint(rcv_buf: int = 10_000, snd_buf: int = 10_000) -> UdpEndpoint:
    return UdpEndpoint(FakeHost(), UdpCounters(), b"", 53, rcv_buf, snd_buf)


def datagram(data: bytes) -> Datagram:
    return Datagram(data, PEER, 1000, OWN, 0, 64, 0)


def test_a_datagram_keeps_the_choices_that_stood_when_it_was_sent() -> None:
    udp = endpoint()
    udp.ttl, udp.tos, udp.pmtu, udp.no_checksum, udp.options = 5, 8, 0, True, b"\x01"
    udp.send_to(0, b"x", PEER, 7)
    udp.ttl, udp.tos, udp.pmtu, udp.no_checksum, udp.options = 6, 9, 1, False, b""
    out = udp.poll_transmit()
    assert out is not None
    assert (out.src, out.src_port, out.dst, out.dst_port, out.data) == (OWN, 53, PEER, 7, b"x")
    assert (out.ttl, out.tos, out.pmtu, out.no_checksum, out.options) == (5, 8, 0, True, b"\x01")
    udp.send_to(0, b"x", GROUP, 7)
    out = udp.poll_transmit()
    assert out is not None
    assert (out.ttl, out.loop) == (1, True)
    assert udp.poll_transmit() is None


def test_each_command_and_input_wakes_it_once() -> None:
    udp = endpoint()
    udp.send_to(0, b"x", PEER, 7)
    udp.send_to(0, b"x", PEER, 7)
    udp.deliver(datagram(b"x"))
    assert udp.work == [udp]


def test_buffers_are_bounded_but_one_datagram_always_fits() -> None:
    udp = endpoint(rcv_buf=256, snd_buf=256)
    assert udp.deliver(datagram(bytes(5000)))
    assert not udp.deliver(datagram(b""))
    assert (udp.dropped, udp.counters.receive_buffer_full) == (1, 1)
    udp.send_to(0, bytes(5000), PEER, 7)
    with pytest.raises(BlockingIOError):
        udp.send_to(0, b"", PEER, 7)
    assert udp.receive_from() is not None
    assert udp.deliver(datagram(b""))
    assert udp.poll_transmit() is not None
    assert udp.poll_events() == EVENT_READABLE | EVENT_WRITABLE
    assert (udp.rcv_queued, udp.snd_queued) == (OVERHEAD, 0)


def test_which_errors_are_hard() -> None:
    udp = endpoint()
    udp.connect(PEER, 7)
    cases = [
        (PORT_UNREACHABLE, PEER, 7, EVENT_ERROR),
        (PORT_UNREACHABLE, PEER, 8, EVENT_SOFT_ERROR),
        (HOST_UNREACHABLE, PEER, 7, EVENT_SOFT_ERROR),
        (FRAGMENTATION_NEEDED, PEER, 7, 0),
    ]
    for kind, addr, port, events in cases:
        udp.deliver_error(UdpError(kind, errno_of(kind), addr, port, addr))
        assert udp.poll_events() == events
    udp.pmtu = PMTU_DO
    udp.deliver_error(UdpError(FRAGMENTATION_NEEDED, errno.EMSGSIZE, PEER, 7, PEER, 900))
    assert udp.poll_events() == EVENT_SOFT_ERROR
    assert udp.take_error() == errno.ECONNREFUSED
    assert udp.take_error() == 0
    for _ in range(2 * MAX_ERRORS):
        udp.deliver_error(UdpError(HOST_UNREACHABLE, errno.EHOSTUNREACH, PEER, 7, PEER))
    assert len(udp.errors) == MAX_ERRORS


def test_the_path_mtu_counts_for_each_piece_of_a_super_segment() -> None:
    udp = endpoint()
    udp.pmtu = PMTU_DO
    udp.send_to(0, bytes(5000), PEER, 7, gso_size=972)
    with pytest.raises(OSError, match="too long"):
        udp.send_to(0, bytes(5000), PEER, 7, gso_size=973)
    with pytest.raises(OSError, match="too long"):
        udp.send_to(0, bytes(973), PEER, 7)
    assert udp.counters.too_big == 2


def test_close_leaves_groups_unbinds_and_drops_what_was_received() -> None:
    udp = endpoint()
    udp.join(0, GROUP)
    udp.deliver(datagram(b"x"))
    udp.close(0)
    udp.close(0)
    assert isinstance(udp.host, FakeHost)
    assert udp.host.calls == ["join", "leave", "unbind"]
    assert udp.receive_from() is None
    with pytest.raises(OSError, match="descriptor"):
        udp.join(0, GROUP)
    with pytest.raises(OSError, match="descriptor"):
        udp.connect(PEER, 7)
    with pytest.raises(OSError, match="descriptor"):
        udp.send_to(0, b"", PEER, 7)


def test_counters_are_told_by_name() -> None:
    counters = UdpCounters()
    assert set(counters.as_dict()) == {name for name in dir(counters) if name[0] != "_" and name != "as_dict"}
    assert set(counters.as_dict().values()) == {0}
