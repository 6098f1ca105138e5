"""Opening connections: what is selected, what is refused and how."""

from __future__ import annotations

import errno

import pytest
from tests.stack.net import A4, A6, B4, B6, Lone, Net, Pair, segment_of

from plankroad.endpoint import EVENT_ERROR
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.segment import SYN


@pytest.mark.requirement("MUST-46")
@pytest.mark.parametrize(
    "remote", ["255.255.255.255", "10.0.0.255", "224.0.0.1", "239.1.2.3", "ff02::1", "0.0.0.0", "::"]
)
def test_connecting_to_an_invalid_address_is_refused(remote: str) -> None:
    """MUST-46."""
    net = Lone()
    with pytest.raises(OSError, match="unreachable") as caught:
        net.b.connect(0, ip_to_bytes(remote), 80)
    assert caught.value.errno == errno.ENETUNREACH
    assert net.b.is_idle()


def test_connecting_without_a_route_is_refused() -> None:
    net = Pair()
    with pytest.raises(OSError, match="unreachable") as caught:
        net.a.connect(0, ip_to_bytes("192.0.2.1"), 80)
    assert caught.value.errno == errno.ENETUNREACH


@pytest.mark.requirement("RFC1122-3.2.1.3-b")
@pytest.mark.parametrize(
    ("local", "remote", "port", "number"),
    [
        ("10.9.9.9", "10.0.0.1", 80, errno.EADDRNOTAVAIL),
        ("fd00::2", "10.0.0.1", 80, errno.EAFNOSUPPORT),
        ("::", "10.0.0.1", 80, errno.EAFNOSUPPORT),
        ("127.0.0.1", "10.0.0.1", 80, errno.EINVAL),
        ("10.0.0.2", "10.0.0.1", 0, errno.EINVAL),
        ("10.0.0.2", "10.0.0.1", 65536, errno.EINVAL),
    ],
)
def test_bad_calls_get_the_right_errno(local: str, remote: str, port: int, number: int) -> None:
    net = Lone()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the errno is the point
        net.b.connect(0, ip_to_bytes(remote), port, ip_to_bytes(local))
    assert caught.value.errno == number
    assert net.b.is_idle()


@pytest.mark.requirement("MUST-43", "MUST-44", "RFC1122-3.3.4.2-b")
def test_the_source_address_is_selected_or_the_programs() -> None:
    """MUST-43, MUST-44, MUST-45."""
    net = Lone()
    net.b.add_address(net.interface, "10.0.0.7/24")
    assert net.b.connect(0, A4, 80).local_addr == B4
    assert net.b.connect(0, A6, 80).local_addr == B6
    other = ip_to_bytes("10.0.0.7")
    chosen = net.b.connect(0, A4, 80, other, 5000)
    assert (chosen.local_addr, chosen.local_port) == (other, 5000)
    sources = [packet[12:16] for packet in net.take() if packet[0] >> 4 == 4]
    assert sorted(sources) == [B4, other]


def test_all_zeros_as_local_address_mean_any() -> None:
    net = Lone()
    assert net.b.connect(0, A4, 80, bytes(4)).local_addr == B4


def test_a_four_tuple_in_use_is_refused_and_another_remote_port_is_not() -> None:
    net = Lone()
    net.b.connect(0, A4, 80, local_port=4000)
    with pytest.raises(OSError, match="in use") as caught:
        net.b.connect(0, A4, 80, local_port=4000)
    assert caught.value.errno == errno.EADDRINUSE
    net.b.connect(0, A4, 81, local_port=4000)


def test_one_can_connect_from_a_port_that_is_listened_to() -> None:
    """RFC 1122 section 4.2.2.18: passive OPEN calls don't interfere with others."""
    net = Lone()
    net.b.connect(0, A4, 80, local_port=4000)
    net.b.listen(0, b"", 4000)
    net.b.connect(0, A4, 81, local_port=4000)


def test_ports_towards_one_remote_end_run_out_with_eaddrnotavail() -> None:
    net = Lone(StackConfig(first_port=40000, last_port=40009))
    ports = {net.b.connect(0, A4, 80).local_port for _ in range(10)}
    assert ports == set(range(40000, 40010))
    with pytest.raises(OSError, match="in use") as caught:
        net.b.connect(0, A4, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert net.b.connect(0, A4, 81).local_port in ports


def test_ephemeral_ports_pass_over_listeners() -> None:
    net = Lone(StackConfig(first_port=40000, last_port=40001))
    net.b.listen(0, b"", 40000)
    assert net.b.connect(0, A4, 80).local_port == 40001


def test_a_refused_connection_ends_with_econnrefused() -> None:
    net = Pair()
    client = net.a.connect(0, B4, 80)
    net.run()
    assert client.error == errno.ECONNREFUSED
    endpoint = net.a.poll_endpoint()
    assert endpoint is client
    assert endpoint.poll_events() & EVENT_ERROR
    assert not net.a.connections


@pytest.mark.requirement("MUST-22", "MUST-23")
def test_an_attempt_nobody_answers_times_out() -> None:
    """MUST-23: not before 3 minutes."""
    net = Pair()
    net.wire.filter = lambda packet: []
    client = net.a.connect(0, B4, 80)
    net.run(170 * SECOND)
    assert client.state() == "SYN_SENT"
    net.run(60 * SECOND)
    assert client.error == errno.ETIMEDOUT
    assert net.a.is_idle() or net.a.poll_endpoint() is client


@pytest.mark.requirement("MUST-10")
def test_simultaneous_open() -> None:
    """MUST-10."""
    net = Pair()
    one = net.a.connect(0, B4, 5000, local_port=5000)
    other = net.b.connect(0, A4, 5000, local_port=5000)
    # Both SYNs are on their way before either arrives.
    first = net.a.poll_transmit(0)
    second = net.b.poll_transmit(0)
    assert first is not None
    assert second is not None
    net.a.receive(0, second)
    net.b.receive(0, first)
    net.run(5 * SECOND)
    assert one.state() == other.state() == "ESTABLISHED"
    one.send(net.now, b"both ways")
    net.run()
    assert other.receive(net.now, 100) == b"both ways"


@pytest.mark.requirement("MUST-67", "SHLD-6")
def test_the_mss_offered_is_the_links() -> None:
    """MUST-67."""
    for mtu, mss4, mss6 in ((1500, 1460, 1440), (9000, 8960, 8940)):
        net = Pair(mtu=mtu)
        net.a.connect(0, B4, 80)
        net.a.connect(0, B6, 80)
        net.settle()
        offers = [segment_of(packet) for packet in net.wire.sent_by(net.a)]
        assert [seg.mss for seg in offers if seg.flags & SYN] == [mss4, mss6]


def test_a_bad_configuration_is_refused_with_its_name() -> None:
    net = Lone()
    with pytest.raises(ValueError, match=r"TcpConfig\.ttl"):
        net.b.connect(0, A4, 80, config=TcpConfig(ttl=0))
    with pytest.raises(ValueError, match=r"StackConfig\.output_queue is 0"):
        Net().add(1, StackConfig(output_queue=0))
    with pytest.raises(ValueError, match="last_port"):
        Net().add(1, StackConfig(first_port=5, last_port=4))


def test_link_local_connections_stay_on_their_link() -> None:
    net = Net()
    a, b, c = net.add(), net.add(), net.add()
    net.join(a, ["fe80::1/64"], c, ["fe80::2/64"])
    net.join(a, ["fe80::9/64"], b, ["fe80::2/64"])
    b.listen(0, b"", 80)
    wrong = a.connect(0, ip_to_bytes("fe80::2"), 80, ip_to_bytes("fe80::1"))
    right = a.connect(0, ip_to_bytes("fe80::2"), 80, interface=1)
    assert right.local_addr == ip_to_bytes("fe80::9")
    net.run()
    assert wrong.error == errno.ECONNREFUSED
    assert right.state() == "ESTABLISHED"
    right.send(net.now, b"x")
    net.run()
    assert b.counters.tcp.bytes_received == 1


def test_a_connection_is_never_made_to_itself_by_chance() -> None:
    net = Lone(StackConfig(first_port=40000, last_port=40000))
    with pytest.raises(OSError, match="in use"):
        net.b.connect(0, B4, 40000)
    assert net.b.connect(0, B4, 40001).local_port == 40000
