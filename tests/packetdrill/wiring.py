"""What the tests of the language share: a conversation, and packets from the stack's side of it in a script's words."""

from __future__ import annotations

from dataclasses import replace

from plankroad.packetdrill.flow import Flow
from plankroad.packetdrill.packets import build
from plankroad.packetdrill.parser import parse_script
from plankroad.packetdrill.syntax import SYN, Packet, SequenceRange, Tcp
from plankroad.wire.address import ip_to_bytes

LOCAL = {4: ip_to_bytes("192.168.0.1"), 6: ip_to_bytes("fd3d:0a0b:17d6::1")}
REMOTE = {4: ip_to_bytes("192.0.2.1"), 6: ip_to_bytes("2001:db8::1")}
LOCAL_PORT, REMOTE_PORT = 8080, 40001
#: Initial sequence numbers: the stack's, which the script calls 0, and the peer's, which it calls what it is.
ISN, PEER_ISN = 0xFFFF_FF00, 500


def packet_of(text: str) -> Packet:
    """The packet `text`, with its < or >."""
    action = parse_script("0 " + text, "t").events[0].action
    assert isinstance(action, Packet)
    return action


def flow_of(version: int = 4, handshake: int = True, **settings: int) -> Flow:
    """A conversation, its handshake done."""
    flow = Flow(LOCAL[version], REMOTE[version], LOCAL_PORT, REMOTE_PORT)
    if handshake:
        flow.remote_isn = PEER_ISN
        flow.peer_mss = 1460
        flow.syn_expected(0, ISN)
        flow.established = True
    for name, value in settings.items():
        setattr(flow, name, value)
    return flow


def sent(text: str, version: int = 4) -> bytes:
    """The packet on the wire by which the stack sends what `text` says (without > at its start)."""
    packet = packet_of("< " + text)
    mirror = Flow(REMOTE[version], LOCAL[version], REMOTE_PORT, LOCAL_PORT)
    mirror.remote_isn = ISN
    mirror.live_isn = mirror.script_isn = PEER_ISN
    # Timestamps are written as they are.
    mirror.scale_echoes = True
    mirror.first_script_ts = 0
    tcp = packet.body
    if isinstance(tcp, Tcp) and tcp.flags & SYN:
        start = (tcp.seq.start + ISN) & 0xFFFFFFFF
        end = (tcp.seq.end + ISN) & 0xFFFFFFFF
        tcp = replace(tcp, seq=SequenceRange(start, end, tcp.seq.length))
    return build(replace(packet, body=tcp), mirror)
