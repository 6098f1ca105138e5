"""Packets belong to the conversation that the script speaks of; what an old one still sends is not in the way."""

from __future__ import annotations

import pytest

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.match import compare
from plankroad.packetdrill.outcome import FAILED, PASSED
from plankroad.packetdrill.seen import see
from plankroad.packetdrill.suite import RunOptions, run_text
from plankroad.packetdrill.virtual import VirtualGround
from plankroad.wire.packet import Packet

from .wiring import flow_of, packet_of, sent

TWO_CLIENTS = """
    0 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
   +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
   +0 > S 0:0(0) <...>
   +0 < S. 0:0(0) ack 1 win 65535 <mss 1460>
   +0 > . 1:1(0) ack 1
   +0 close(3) = 0
   +0 > F. 1:1(0) ack 1

// Nobody answers: in this second the FIN is sent again and again, by a connection that the script is done with.
   +1 socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 4
   +0 connect(4, ..., ...) = -1 EINPROGRESS (Operation now in progress)
   +0 > S 0:0(0) <...>
  +.1 < S. 0:0(0) ack 1 win 65535 <mss 1460>
   +0 > . 1:1(0) ack 1
   +0 write(4, ..., 10) = 10
   +0 > P. 1:11(10) ack 1
  +.1 < . 1:1(0) ack 11 win 65535
"""


def test_what_an_old_connection_still_sends_is_passed_over() -> None:
    outcome = run_text(TWO_CLIENTS)
    assert outcome.status == PASSED, f"{outcome.text()}\n{outcome.detail}"


def test_the_new_connection_is_still_held_to_what_is_expected() -> None:
    outcome = run_text(TWO_CLIENTS.replace("P. 1:11(10)", "P. 1:12(11)"))
    assert outcome.status == FAILED
    assert "the stack sent > P. 1:11(10)" in outcome.why


@pytest.mark.either
def test_a_port_that_is_not_known_is_learned_from_a_syn_and_from_nothing_else() -> None:
    flow = flow_of(local_port=0)
    rows = compare(packet_of("> . 1:1(0) ack 1"), see(sent("7777 > 40001 . 1:1(0) ack 1")), flow)
    assert [row.name for row in rows if not row.same] == ["ports"]
    assert flow.local_port == 0
    rows = compare(packet_of("> S 0:0(0)"), see(sent("7777 > 40001 S 0:0(0)")), flow)
    assert all(row.same for row in rows)
    assert flow.local_port == 7777


def test_a_packet_that_is_larger_than_the_link_s_mtu_is_a_failure() -> None:
    """What is on the wire has been cut; a super-segment there would pass for its pieces."""
    ground = VirtualGround(Settings())
    ground._send(Packet(sent(". 1:1461(1460) ack 1")))
    assert ground.take() is not None
    with pytest.raises(ScriptError, match="the stack sent a packet of 1501 bytes on a link whose MTU is 1500"):
        ground._send(Packet(sent(". 1:1462(1461) ack 1")))


@pytest.mark.parametrize(("options", "size"), [("", 4000), ("--mss=1000\n", 1000), ("--mss=4000\n", 4000)])
@pytest.mark.parametrize("ip_version", ["ipv4", "ipv6"])
def test_an_injected_super_segment_stands_for_segments_of_the_mss_given(
    options: str, size: int, ip_version: str
) -> None:
    """What the stack takes for the peer's segment size tells: `tcpi_rcv_mss`."""
    script = f"""{options}
        0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
        +0 bind(3, ..., ...) = 0
        +0 listen(3, 1) = 0
        +0 < S 0:0(0) win 65535 <mss 500>
        +0 > S. 0:0(0) ack 1 <...>
        +0 < . 1:1(0) ack 1 win 65535
        +0 accept(3, ..., ...) = 4
        +0 < P. 1:4001(4000) ack 1 win 65535
        +0 read(4, ..., 5000) = 4000
        +0 %{{ assert tcpi_rcv_mss == {size}, tcpi_rcv_mss }}%
    """
    outcome = run_text(script, options=RunOptions(ip_version=ip_version, strict_end=False))
    assert outcome.status == PASSED, f"{outcome.text()}\n{outcome.detail}"
