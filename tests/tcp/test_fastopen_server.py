"""TCP Fast Open, the server's side: RFC 7413 sections 4.1.2, 4.2 and 5.1, segment by segment."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_CLOSED, EVENT_CONNECTED, EVENT_ERROR, EVENT_READABLE, EVENT_SOFT_ERROR
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.connection import Connection
from plankroad.tcp.constants import TIMER_PERSIST
from plankroad.tcp.fastopen_cookie import COOKIE_BAD, COOKIE_GOOD, COOKIE_OLD, MAC_SIPHASH, FastOpenKeys
from plankroad.tcp.icmp import HOST_UNREACHABLE
from plankroad.tcp.seq import MASK32
from plankroad.tcp.siphash import siphash
from plankroad.testing.scripted import ScriptedPeer, flags_of
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import Segment

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


def server(queue: int = 8, config: TcpConfig | None = None, backlog: int = 8, ipv6: bool = False) -> ScriptedPeer:
    config = config if config is not None else TcpConfig()
    config.fast_open_queue = queue
    peer = ScriptedPeer(config, ipv6=ipv6)
    peer.listen(backlog)
    return peer


def cookie_for(peer: ScriptedPeer, length: int = 8) -> bytes:
    return peer.keys.cookie(peer.now, peer.remote, peer.local, length)


def syn(peer: ScriptedPeer, cookie: bytes | None, data: bytes = b"", **kwds: object) -> list[Segment]:
    return peer.segment("S", seq=0, data=data, mss=1460, sack_ok=True, fast_open=cookie, **kwds)  # type: ignore[arg-type]


def opened(peer: ScriptedPeer, data: bytes = REQUEST) -> Connection:
    """A connection that a good cookie opened; its SYN-ACK is off the wire."""
    [answer] = syn(peer, cookie_for(peer), data)
    assert flags_of(answer) == "S."
    assert answer.ack == 1 + len(data)
    return peer.conn


def test_a_request_is_answered_with_a_cookie() -> None:
    # RFC 7413 section 4.2.1: a server that supports TFO for this port sends a cookie in its SYN-ACK.
    peer = server()
    [answer] = syn(peer, b"")
    assert (flags_of(answer), answer.ack) == ("S.", 1)
    assert answer.fast_open == cookie_for(peer)
    assert not answer.fast_open_exp
    assert len(answer.fast_open or b"") == 8
    assert peer.counters.fast_open_cookie_requests == 1


def test_a_request_in_the_experimental_form_is_answered_in_it() -> None:
    peer = server()
    [answer] = syn(peer, b"", fast_open_exp=True)
    assert (answer.fast_open, answer.fast_open_exp) == (cookie_for(peer), True)


@pytest.mark.parametrize("length", [4, 6, 8, 16])
def test_cookies_have_the_length_that_is_configured(length: int) -> None:
    peer = server(config=TcpConfig(fast_open_cookie=length))
    [answer] = syn(peer, b"")
    assert answer.fast_open is not None
    assert len(answer.fast_open) == length
    peer.connection = None
    [answer] = syn(peer, answer.fast_open, REQUEST)
    assert answer.ack == 1 + len(REQUEST)


def test_without_fast_open_on_the_listener_all_cookies_are_ignored() -> None:
    # Section 4.2: FastOpenEnabled "default is off"; then "the server ... MUST ignore all cookie options".
    for cookie in (b"", b"12345678"):
        peer = server(queue=0)
        [answer] = syn(peer, cookie, REQUEST)
        assert (answer.fast_open, answer.ack) == (None, 1)
        peer.segment(".", seq=1 + len(REQUEST), ack=1)
        # RFC 9293 section 3.10.7.2: text with the SYN is held, and delivered once the connection is established.
        assert peer.received == REQUEST


@pytest.mark.parametrize("ipv6", [False, True])
def test_data_with_a_good_cookie_is_delivered_before_the_handshake_ends(ipv6: bool) -> None:
    # Section 3: "The server then delivers the data to the application."
    peer = server(ipv6=ipv6)
    conn = opened(peer)
    assert peer.listener is not None
    assert peer.listener.accept() is conn
    assert peer.state == "SYN_RECEIVED"
    assert peer.received == REQUEST
    assert peer.events & EVENT_READABLE
    assert not peer.events & EVENT_CONNECTED
    assert peer.counters.fast_open_passive == 1


def test_the_answer_leaves_before_the_handshake_ends() -> None:
    # Section 3, step 3: "it may send the response data before the handshake finishes."
    peer = server()
    opened(peer)
    out = peer.send(b"200 OK")
    assert [(flags_of(s), s.seq, s.ack, s.payload) for s in out] == [("P.", 1, 1 + len(REQUEST), b"200 OK")]
    assert peer.state == "SYN_RECEIVED"
    # The ACK of all of it ends the handshake, and nothing is sent again.
    assert peer.segment(".", seq=1 + len(REQUEST), ack=7) == []
    assert peer.state == "ESTABLISHED"
    assert peer.events & EVENT_CONNECTED
    assert peer.conn.tcb.bytes_acked == 6
    assert peer.conn.next_timeout() > 1 << 61


def test_the_answer_is_bounded_by_the_initial_window() -> None:
    # Section 4.2.2 (6): "the server MUST follow [RFC5681] ... to set the initial congestion window".
    peer = server()
    opened(peer)
    out = peer.send(bytes(100_000))
    assert sum(len(s.payload) for s in out) == 10 * 1460
    # The window of the SYN, 65535, bounds it too.
    peer = server()
    peer.wnd = 3000
    opened(peer)
    out = peer.send(bytes(100_000))
    assert 2 * 1460 <= sum(len(s.payload) for s in out) <= 3000


def test_a_client_without_a_window_is_sent_nothing_before_the_handshake_ends() -> None:
    peer = server()
    peer.wnd = 0
    opened(peer)
    assert peer.send(b"200 OK") == []
    # Nor is its window asked after: that waits for the handshake too.
    assert peer.conn.tcb.timers[TIMER_PERSIST] == NEVER
    [data] = peer.segment(".", seq=1 + len(REQUEST), ack=1, wnd=1000)
    assert data.payload == b"200 OK"


def test_a_program_may_answer_and_close_at_once() -> None:
    peer = server()
    opened(peer)
    assert peer.conn.send(peer.now, b"200 OK") == 6
    out = peer.close()
    assert [(flags_of(s), s.payload) for s in out] == [("FP.", b"200 OK")]
    assert peer.segment(".", seq=1 + len(REQUEST), ack=8) == []
    assert peer.state == "FIN_WAIT_2"


def test_a_good_cookie_without_data_opens_too() -> None:
    peer = server()
    conn = opened(peer, b"")
    assert peer.listener is not None
    assert peer.listener.accept() is conn
    assert peer.send(b"220 ready")[0].payload == b"220 ready"


@pytest.mark.parametrize("length", [4, 6, 8, 10, 12, 14, 16])
def test_a_guessed_cookie_opens_nothing_and_brings_the_right_one(length: int) -> None:
    # Section 4.2.2 (3) to (5): otherwise the SYN-ACK "acknowledges only the SYN sequence".
    peer = server()
    [answer] = syn(peer, bytes(length), REQUEST)
    assert (flags_of(answer), answer.ack, answer.fast_open) == ("S.", 1, cookie_for(peer))
    assert peer.listener is not None
    assert peer.listener.accept() is None
    assert peer.counters.fast_open_cookie_invalid == 1
    # Section 3, step 2 b: "the server drops the data".
    assert peer.segment(".", seq=1, ack=1) == []
    assert peer.received == b""
    peer.segment("P.", seq=1, ack=1, data=REQUEST)
    assert peer.received == REQUEST
    assert peer.listener.accept() is peer.conn


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 17, 18, 20, 36])
def test_a_cookie_of_an_impossible_length_opens_nothing(length: int) -> None:
    # What the parser lets through is even and 4 to 16; the listener trusts nobody.
    peer = server()
    [answer] = syn(peer, bytes(length), REQUEST)
    assert (answer.ack, answer.fast_open) == (1, cookie_for(peer))


def test_a_cookie_cut_short_or_of_another_address_opens_nothing() -> None:
    # Section 4.1.2, property 1: "The cookie authenticates the client's (source) IP address".
    for other in ("short", "client", "server", "bits"):
        peer = server()
        cookie = cookie_for(peer)
        if other == "short":
            cookie = cookie[:4]
        elif other == "client":
            cookie = peer.keys.cookie(peer.now, b"\x0a\x00\x00\x63", peer.local, 8)
        elif other == "server":
            cookie = peer.keys.cookie(peer.now, peer.remote, b"\x0a\x00\x00\x63", 8)
        else:
            cookie = cookie[:7] + bytes([cookie[7] ^ 1])
        [answer] = syn(peer, cookie, REQUEST)
        assert answer.ack == 1
        assert peer.received == b""


def test_a_repeated_syn_is_answered_and_its_data_not_delivered_again() -> None:
    peer = server()
    opened(peer)
    [again] = syn(peer, cookie_for(peer), REQUEST)
    assert (flags_of(again), again.ack, again.fast_open) == ("S.", 1 + len(REQUEST), None)
    assert peer.received == REQUEST
    # A client that sends its SYN again sends a plain one.
    [again] = syn(peer, None)
    assert (flags_of(again), again.ack) == ("S.", 1 + len(REQUEST))
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert peer.state == "ESTABLISHED"
    # Later still, RFC 5961 section 4: a challenge.
    assert [flags_of(s) for s in syn(peer, cookie_for(peer), REQUEST)] == ["."]
    assert peer.received == REQUEST


def test_a_syn_repeated_in_time_wait_is_not_taken_for_a_new_one() -> None:
    # RFC 7413 section 2.1: as long as the connection is remembered a duplicate does no harm.
    peer = server()
    opened(peer)
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    peer.close()
    peer.segment("F.", seq=1 + len(REQUEST), ack=2)
    assert peer.state == "TIME_WAIT"
    seg = Segment(80, 40000, peer.peer_iss, 0, 2, 65535, REQUEST)
    assert not peer.conn.may_reuse(peer.now, seg)


def test_the_syn_ack_is_repeated_without_the_option() -> None:
    # Section 4.2.2: "If the SYN-ACK timer fires, the server SHOULD retransmit a SYN-ACK segment with neither data nor
    # Fast Open options".
    peer = server()
    [answer] = syn(peer, b"")
    assert answer.fast_open is not None
    [again] = peer.advance(SECOND)
    assert (flags_of(again), again.fast_open, again.payload) == ("S.", None, b"")


def test_a_lost_syn_ack_holds_data_back_until_the_handshake_ends() -> None:
    peer = server()
    opened(peer)
    assert len(peer.send(bytes(5000))) == 4
    out = peer.advance(SECOND)
    assert [(flags_of(s), s.ack, s.payload) for s in out] == [("S.", 1 + len(REQUEST), b"")]
    # RFC 5681 section 3.1: after a timeout the window is a segment; what was lost with the SYN-ACK goes first.
    out = peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert [(s.seq, len(s.payload)) for s in out] == [(1, 1460)]
    out = peer.segment(".", seq=1 + len(REQUEST), ack=1461)
    assert [s.seq for s in out] == [1461, 2921]


def test_lost_data_behind_a_syn_ack_that_arrived_is_sent_again() -> None:
    peer = server()
    opened(peer)
    peer.advance(100 * MILLISECOND)
    peer.send(b"200 OK")
    assert peer.segment(".", seq=1 + len(REQUEST), ack=1) == []
    assert peer.state == "ESTABLISHED"
    # RFC 8985 section 7.2: from the handshake's measurement on a probe is due before the last resort is.
    out = peer.advance(500 * MILLISECOND)
    assert [s.payload for s in out] == [b"200 OK"]
    assert (peer.counters.tail_loss_probes, peer.counters.timeouts) == (1, 0)


def test_a_handshake_that_never_ends_is_given_up() -> None:
    peer = server()
    opened(peer)
    out = peer.advance(120 * SECOND)
    assert [flags_of(s) for s in out] == ["S."] * 5
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ETIMEDOUT
    assert peer.events & EVENT_ERROR
    assert peer.listener is not None
    assert not peer.listener.fast_open_pending


def test_a_full_queue_makes_requests_ordinary() -> None:
    # Section 4.2: "If this variable goes over a preset system limit, the server MUST disable TFO for all new connection
    # requests until PendingFastOpenRequests drops below the system limit."
    peer = server(queue=2)
    first = opened(peer)
    for port in (81, 82):
        peer.connection = None
        seg = Segment(port, 40000, 5000, 0, 2, 65535, REQUEST)
        seg.fast_open = cookie_for(peer)
        [answer] = peer.raw(seg)
        assert answer.ack == 1 + len(REQUEST) - (len(REQUEST) if port == 82 else 0) + 5000 - peer.peer_iss
        assert answer.fast_open is None
    assert peer.counters.fast_open_queue_full == 1
    assert peer.received == 2 * REQUEST
    # The first handshake ends: there is room again.
    peer.connection = first
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    peer.connection = None
    seg = Segment(83, 40000, 5000, 0, 2, 65535, REQUEST)
    seg.fast_open = cookie_for(peer)
    peer.raw(seg)
    assert peer.received == 3 * REQUEST


def test_a_reset_frees_its_place_only_after_a_while() -> None:
    # Section 5.1: "continuing to account for those connection requests that have just been reset ... until a timeout
    # period has passed". A spoofed victim resets what it did not ask for.
    peer = server(queue=1)
    conn = opened(peer)
    peer.segment("R", seq=1 + len(REQUEST))
    assert peer.state == "CLOSED"
    assert conn.error == errno.ECONNRESET
    for waited, taken in ((1, False), (58, False), (2, True)):
        peer.advance(waited * SECOND)
        peer.connection = None
        [answer] = syn(peer, cookie_for(peer), REQUEST)
        assert (answer.ack == 1 + len(REQUEST)) == taken
        if not taken:
            peer.segment("R", seq=1)  # an ordinary half-open connection, reset


def test_a_good_cookie_needs_no_room_among_half_open_connections() -> None:
    peer = server(config=TcpConfig(syn_backlog=0))
    opened(peer)
    assert peer.received == REQUEST
    # Without a good one, RFC 4987's cookies answer, and know nothing of Fast Open.
    peer.connection = None
    for bad in (b"", b"12345678", None):
        seg = Segment(81, 40000, 5000, 0, 2, 65535, REQUEST)
        seg.fast_open = bad
        [answer] = peer.raw(seg)
        assert (flags_of(answer), answer.ack, answer.fast_open) == ("S.", 5001, None)
    assert peer.counters.syn_cookies_sent == 3


def test_a_full_accept_queue_drops_the_syn() -> None:
    peer = server(backlog=1)
    opened(peer)
    peer.connection = None
    seg = Segment(81, 40000, 5000, 0, 2, 65535, REQUEST)
    seg.fast_open = cookie_for(peer)
    assert peer.raw(seg) == []
    assert peer.connection is None
    assert peer.counters.accept_queue_overflow == 1


def test_the_place_in_a_full_accept_queue_is_kept_through_the_handshake() -> None:
    peer = server(backlog=1)
    opened(peer)
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert peer.state == "ESTABLISHED"


def test_a_connection_is_offered_once() -> None:
    peer = server()
    conn = opened(peer)
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert peer.listener is not None
    assert peer.listener.accept() is conn
    assert peer.listener.accept() is None


def test_closing_the_listener_leaves_accepted_connections_alone() -> None:
    peer = server()
    opened(peer)
    assert peer.listener is not None
    peer.listener.accept()
    peer.listener.close(peer.now)
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert peer.state == "ESTABLISHED"
    # One that nobody accepted is reset.
    peer = server()
    opened(peer)
    assert peer.listener is not None
    peer.listener.close(peer.now)
    assert [flags_of(s) for s in peer.output()] == ["R."]
    assert peer.events & EVENT_CLOSED


def test_an_old_key_is_good_once_more_and_then_not() -> None:
    # Section 4.1.2, property 5: "The cookie expires after a certain amount of time"; keys rotate.
    peer = server()
    peer.keys.lifetime = 100 * SECOND
    peer.keys._epoch = -1
    start = peer.now
    cookie = cookie_for(peer)
    for waited, ack, renewed in ((50, True, False), (150, True, True), (250, False, True)):
        peer.connection = None
        peer.now = start - start % (100 * SECOND) + waited * SECOND
        [answer] = syn(peer, cookie, REQUEST)
        assert (answer.ack > 1) == ack
        assert answer.fast_open == (cookie_for(peer) if renewed else None)
    assert cookie_for(peer) != cookie


def test_a_reset_by_the_program_is_heard_by_the_client() -> None:
    peer = server()
    opened(peer)
    peer.conn.abort(peer.now)
    [rst] = peer.output()
    assert (flags_of(rst), rst.seq, rst.ack) == ("R.", 1, 1 + len(REQUEST))
    assert peer.listener is not None
    assert not peer.listener.fast_open_pending
    assert not peer.listener.fast_open_resets


def test_more_data_than_the_window_is_taken_in_part() -> None:
    peer = server(config=TcpConfig(rcv_buf=1024))
    answer, update = syn(peer, cookie_for(peer), bytes(1400))
    assert (flags_of(answer), answer.ack, answer.wnd) == ("S.", 1 + 1024, 0)
    # The program read: the window is open again.
    assert (flags_of(update), update.wnd << peer.conn.tcb.rcv_wind_shift) == (".", 1024)
    assert len(peer.received) == 1024


def test_an_ack_of_what_was_never_sent_does_not_end_the_handshake() -> None:
    peer = server()
    opened(peer)
    peer.send(b"200 OK")
    for bad in (0, 8, 100):
        out = peer.segment(".", seq=1 + len(REQUEST), ack=bad)
        assert [flags_of(s) for s in out] == ["R"]
    assert peer.state == "SYN_RECEIVED"


def test_options_that_leave_no_room_keep_the_cookie_out() -> None:
    # 4 + 12 + 4 + 4 + 20 bytes of options are 44.
    config = TcpConfig(user_timeout=60 * SECOND, fast_open_cookie=16)
    peer = server(config=config)
    peer.ts = True
    [answer] = syn(peer, b"", wscale=7)
    assert (answer.fast_open, answer.has_ts, answer.user_timeout) == (None, True, 60)


def test_without_cookies_data_of_any_syn_is_taken() -> None:
    # RFC 7413 section 7.3: "cookies are not necessary if the server has application-level protection".
    for cookie in (None, b"", b"whatever"):
        peer = server(config=TcpConfig(fast_open_accept_cookieless=True))
        [answer] = syn(peer, cookie, REQUEST)
        assert (answer.ack, answer.fast_open) == (1 + len(REQUEST), None)
        assert peer.received == REQUEST
    peer = server(config=TcpConfig(fast_open_accept_cookieless=True))
    [answer] = syn(peer, None)
    assert answer.ack == 1
    assert peer.counters.fast_open_passive == 0
    peer = server(queue=0, config=TcpConfig(fast_open_accept_cookieless=True))
    [answer] = syn(peer, None, REQUEST)
    assert peer.counters.fast_open_passive == 0


def test_without_cookies_the_queue_is_the_bound() -> None:
    # Section 5.1: PendingFastOpenRequests.
    peer = server(queue=1, config=TcpConfig(fast_open_accept_cookieless=True))
    syn(peer, None, REQUEST)
    peer.connection = None
    peer.segment("S", seq=0, data=REQUEST, mss=1460)
    assert peer.counters.fast_open_queue_full == 1
    assert peer.counters.fast_open_passive == 1


def test_siphash_is_the_one_of_its_paper() -> None:
    # J.-P. Aumasson, D. J. Bernstein, appendix A.
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5.to_bytes(8, "little")
    with pytest.raises(ValueError, match="16 bytes"):
        siphash(bytes(15), b"")


def test_cookies_of_a_shared_key_are_those_of_linux() -> None:
    # RFC 7413 section 6.3.4. The cookie is one that a Linux host gave (net.ipv4.tcp_fastopen_key in the octets' order).
    keys = FastOpenKeys(bytes(16), 0, MAC_SIPHASH)
    keys.set_key(bytes.fromhex("a1a1a1a1b2b2b2b2c3c3c3c3d4d4d4d4"))
    client, own = bytes([192, 0, 2, 1]), bytes([192, 168, 0, 1])
    assert keys.cookie(0, client, own, 8).hex() == "3021b9d889017eeb"
    assert keys.check(0, client, own, keys.cookie(0, client, own, 16)) == COOKIE_GOOD
    assert keys.check(0, client, own, keys.cookie(0, client, own, 8)[:6]) == COOKIE_BAD
    old = keys.cookie(0, client, own, 8)
    keys.set_key(bytes(16), bytes.fromhex("a1a1a1a1b2b2b2b2c3c3c3c3d4d4d4d4"))
    assert keys.check(0, client, own, old) == COOKIE_OLD
    with pytest.raises(ValueError, match="16 bytes"):
        keys.set_key(bytes(17))


def test_siphash_keys_of_our_own_rotate_too() -> None:
    keys = FastOpenKeys(bytes(16), 100, MAC_SIPHASH)
    cookie = keys.cookie(0, b"cccc", b"ssss", 8)
    assert keys.check(99, b"cccc", b"ssss", cookie) == COOKIE_GOOD
    assert keys.check(100, b"cccc", b"ssss", cookie) == COOKIE_OLD
    assert keys.check(200, b"cccc", b"ssss", cookie) == COOKIE_BAD


@pytest.mark.requirement("SHLD-9")
def test_trouble_with_the_data_is_told_though_there_was_trouble_with_the_syn_ack() -> None:
    # R1 (RFC 9293 section 3.8.3): each time that something is wrong anew.
    peer = server(config=TcpConfig(r1=2, timestamps=False))
    conn = opened(peer)
    conn.send(peer.now, b"answer")
    peer.output()
    while not peer.events & EVENT_SOFT_ERROR:
        peer.next_timer()
    assert conn.tcb.soft_error == errno.ETIMEDOUT
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert peer.state == "ESTABLISHED"
    assert (conn.tcb.soft_error, conn.tcb.retries) == (0, 0)
    peer.events = 0
    peer.timeout()
    assert not peer.events & EVENT_SOFT_ERROR
    peer.timeout()
    assert peer.events & EVENT_SOFT_ERROR


def test_an_icmp_error_about_the_syn_ack_counts_until_the_handshake_is_over() -> None:
    # RFC 5927 section 4.1: SND.UNA =< SEG.SEQ < SND.NXT; our SYN is not acknowledged, though data may follow it.
    peer = server()
    conn = opened(peer)
    assert conn.handle_icmp(peer.now, HOST_UNREACHABLE, conn.tcb.iss & MASK32)
    assert conn.soft_error == errno.EHOSTUNREACH
    peer.segment(".", seq=1 + len(REQUEST), ack=1)
    assert not conn.handle_icmp(peer.now, HOST_UNREACHABLE, conn.tcb.iss & MASK32)


def test_where_icmp_errors_end_attempts_the_data_of_the_syn_stays_to_be_read() -> None:
    peer = server(config=TcpConfig(syn_soft_error_retries=-1))
    conn = opened(peer)
    assert conn.handle_icmp(peer.now, HOST_UNREACHABLE, conn.tcb.iss & MASK32)
    assert (peer.state, conn.error) == ("CLOSED", errno.EHOSTUNREACH)
    assert bytes(peer.received) == REQUEST


def test_before_a_round_trip_is_known_no_rate_bounds_what_is_pushed_at_once() -> None:
    peer = server(config=TcpConfig(push_bursts=2))
    conn = opened(peer)
    conn.tcb.gso_max = 65_535
    half = conn.tcb.cc.cwnd // 2 // conn.tcb.snd_mss * conn.tcb.snd_mss
    assert [len(seg.payload) for seg in peer.send(bytes(2 * half))] == [half, half]


def test_a_listener_may_have_a_key_of_its_own() -> None:
    peer = server()
    hosts = cookie_for(peer)
    assert peer.listener is not None
    peer.listener.set_fast_open_key(bytes(range(16)))
    [answer] = syn(peer, hosts, REQUEST)
    assert (answer.ack, answer.fast_open == hosts) == (1, False)
    own = answer.fast_open
    assert own is not None
    peer.connection = None
    [answer] = syn(peer, own, REQUEST)
    assert answer.ack == 1 + len(REQUEST)
    # The key before it is good until the program says otherwise.
    peer.connection = None
    peer.listener.set_fast_open_key(bytes(16), bytes(range(16)))
    [answer] = syn(peer, own, REQUEST)
    assert answer.ack == 1 + len(REQUEST)
    assert answer.fast_open not in (None, own)
    with pytest.raises(ValueError, match="16 bytes"):
        peer.listener.set_fast_open_key(bytes(3))
