"""A connection with a flight of numbered segments under way, for tests of recovery."""

from __future__ import annotations

from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND

MSS = 1000
RTT = 100 * MILLISECOND


def at(i: int) -> int:
    """Sequence number of the first octet of segment `i`."""
    return 1 + i * MSS


def flight(
    segments: int = 10, spacing: int = 0, ts: bool = False, sack: bool = True, **options: object
) -> ScriptedPeer:
    """Segments 0 to `segments` - 1 are in flight, sent `spacing` apart; a round trip takes 100 ms.

    The clock stands at one round trip after segment 0 was sent.
    """
    config = TcpConfig(timestamps=ts, sack=sack, initial_window=segments, congestion_control="newreno")
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.establish(mss=MSS + (12 if ts else 0), sack=sack, ts=ts, wnd=65535, rtt=RTT)
    began = peer.now
    for _ in range(segments if spacing else 1):
        if peer.conn.tcb.snd_nxt > peer.conn.tcb.iss + 1:
            peer.advance(spacing)
        peer.send(bytes(MSS if spacing else segments * MSS))
    assert peer.conn.tcb.snd_nxt - peer.conn.tcb.iss == at(segments)
    peer.advance(began + RTT - peer.now)
    return peer
