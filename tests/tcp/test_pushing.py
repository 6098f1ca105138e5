"""SEND without PUSH (MSG_MORE): what is held, until when, and what is said of its end; writes that are taken back."""

from __future__ import annotations

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.sendbuf import SendBuffer
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND


def shown(peer: ScriptedPeer) -> list[tuple[str, int, int]]:
    """What goes out: flags, sequence number, length."""
    return [(flags_of(seg), seg.seq, len(seg.payload)) for seg in peer.output()]


def established(nagle: str = "off") -> ScriptedPeer:
    peer = ScriptedPeer(TcpConfig(nagle=nagle))
    peer.establish()
    return peer


def test_what_more_follows_waits_and_goes_with_it() -> None:
    peer = established()
    assert peer.conn.send_more(peer.now, b"a" * 100) == 100
    assert shown(peer) == []
    peer.conn.send(peer.now, b"b" * 10)
    assert shown(peer) == [("P.", 1, 110)]


def test_full_segments_do_not_wait() -> None:
    peer = established()
    peer.conn.send_more(peer.now, bytes(1460 + 100))
    assert shown(peer) == [(".", 1, 1460)]


def test_an_acknowledgement_lets_the_rest_go_without_push() -> None:
    peer = established()
    peer.conn.send_more(peer.now, bytes(1460 + 100))
    assert shown(peer) == [(".", 1, 1460)]
    out = peer.segment(".", ack=1461)
    assert [(flags_of(seg), seg.seq, len(seg.payload)) for seg in out] == [(".", 1461, 100)]


def test_it_waits_no_longer_than_cork_does() -> None:
    """MUST-60: a TCP that does not push MUST NOT buffer data indefinitely."""
    peer = established()
    peer.conn.send_more(peer.now, b"a" * 100)
    assert shown(peer) == []
    assert peer.advance(199 * MILLISECOND) == []
    [seg] = peer.advance(MILLISECOND)
    assert (flags_of(seg), len(seg.payload)) == ("P.", 100)


def test_push_lets_go_what_cork_holds_and_only_that() -> None:
    peer = established()
    peer.conn.set_option(peer.now, "cork", True)
    peer.conn.push(peer.now)  # nothing is held: nothing changes
    peer.conn.send(peer.now, b"a" * 100)
    assert shown(peer) == []
    peer.conn.push(peer.now)
    assert shown(peer) == [("P.", 1, 100)]
    peer.segment(".", ack=101)
    peer.conn.send(peer.now, b"b" * 100)
    assert shown(peer) == []


def test_the_end_of_the_stream_does_not_wait() -> None:
    peer = established()
    peer.conn.send_more(peer.now, b"a" * 100)
    peer.conn.close(peer.now)
    assert shown(peer) == [("FP.", 1, 100)]


def test_what_was_not_sent_can_be_taken_back() -> None:
    peer = established()
    peer.wnd = 1460
    peer.segment(".", ack=1)
    peer.conn.send(peer.now, bytes(range(148)) * 20)
    assert shown(peer) == [(".", 1, 1460)]
    assert peer.conn.take_back() == 1500
    assert peer.conn.take_back() == 0
    peer.wnd = 60000
    assert peer.segment(".", ack=1461) == []
    peer.conn.send(peer.now, b"else")
    assert shown(peer) == [("P.", 1461, 4)]


def test_a_send_buffer_is_cut_at_any_place() -> None:
    pieces = [bytes([i]) * size for i, size in enumerate((5000, 3, 4096, 1, 5000))]
    whole = b"".join(pieces)
    for end in (0, 1, 4999, 5000, 5001, 5003, 9099, 9100, len(whole) - 1, len(whole)):
        buffer = SendBuffer(100)
        for piece in pieces:
            buffer.append(piece)
        buffer.slice(100 + len(whole) - 1, 1)
        buffer.cut(100 + end)
        assert len(buffer) == end
        buffer.append(b"tail" * 2000)
        assert buffer.slice(100, end + 8000) == whole[:end] + b"tail" * 2000


def test_a_record_waits_for_nothing_once_another_is_behind_it() -> None:
    peer = ScriptedPeer(TcpConfig(nagle="classic"))
    peer.establish(mss=1000)
    peer.send(b"first")
    peer.conn.send(peer.now, b"a" * 100)
    peer.conn.end_record()
    # Nagle holds the last one back as ever.
    assert peer.output() == []
    peer.conn.send(peer.now, b"b" * 100)
    [record] = peer.output()
    assert (record.payload, flags_of(record)) == (b"a" * 100, "P.")
    # What is acknowledged is forgotten.
    peer.segment(".", ack=106)
    assert peer.conn.tcb.snd_buf.records == []
    assert peer.conn.tcb.snd_una == peer.conn.tcb.iss + 106


def test_the_window_and_not_the_record_decides_how_much_goes() -> None:
    peer = ScriptedPeer()
    peer.establish(mss=1000, wnd=1500)
    peer.conn.send(peer.now, bytes(2000))
    peer.conn.end_record()
    peer.conn.send(peer.now, bytes(1000))
    assert [len(seg.payload) for seg in peer.output()] == [1000]
    peer.segment(".", ack=1001, wnd=5000)
    assert peer.conn.tcb.snd_nxt == peer.conn.tcb.iss + 3001


def test_the_time_that_a_full_send_buffer_costs_is_told() -> None:
    peer = ScriptedPeer(TcpConfig(snd_buf=2000))
    peer.establish(mss=1000)
    assert peer.conn.send(peer.now, bytes(5000)) == 2000
    peer.output()
    peer.advance(30 * MILLISECOND)
    info = peer.conn.info(peer.now)
    assert (info["sndbuf_limited"], info["busy_time"], info["rwnd_limited"]) == (30_000, 30_000, 0)
    # When all has come there is nothing to wait for.
    peer.segment(".", ack=2001)
    peer.advance(30 * MILLISECOND)
    info = peer.conn.info(peer.now)
    assert (info["sndbuf_limited"], info["busy_time"]) == (30_000, 30_000)
    peer.send(b"x")
    peer.advance(20 * MILLISECOND)
    peer.conn.abort(peer.now)
    peer.advance(20 * MILLISECOND)
    info = peer.conn.info(peer.now)
    assert (info["sndbuf_limited"], info["busy_time"]) == (30_000, 50_000)
