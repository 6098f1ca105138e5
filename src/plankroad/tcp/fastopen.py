"""TCP Fast Open (RFC 7413) on one connection: what its SYN carries, and what the answer to it means.

A client that was asked for it (`Tcb.fast_open_cache`) and has no cookie asks for one in its SYN. With a cookie it
holds its SYN back until the program writes, for a moment at most, so that the SYN can bring what was written. Whatever
the SYN-ACK does not acknowledge of that counts as lost, without congestion, and leaves with the first ACK. A SYN that
is sent again is a plain one.

A server's side is in `listen` (who is let in) and `handshake` (what that means); its cookies are in `fastopen_cookie`.
"""

from __future__ import annotations

from typing import Final

from plankroad.tcp.constants import (
    FAST_OPEN_ACTIVE,
    FAST_OPEN_ASKING,
    FAST_OPEN_FAILED,
    FAST_OPEN_NONE,
    FAST_OPEN_TRYING,
    FAST_OPEN_WAITING,
    SYN_RECEIVED,
    SYN_SENT,
    TIMER_CORK,
)
from plankroad.tcp.fastopen_cache import FastOpenCookie
from plankroad.tcp.tcb import Tcb
from plankroad.units import NEVER
from plankroad.wire.segment import Segment
from plankroad.wire.tcp import MAX_OPTIONS, options_length

#: RFC 7413 section 4.1.3: without a cached MSS "the amount of data in the SYN packet is limited to the default MSS of
#: 536 bytes for IPv4 [RFC1122] and 1220 bytes for IPv6".
_DEFAULT_MSS4: Final = 536
_DEFAULT_MSS6: Final = 1220
#: The same: "the client MAY limit the cached MSS to 1460 bytes for IPv4 or 1440 for IPv6."
_MOST_MSS4: Final = 1460
_MOST_MSS6: Final = 1440

#: Timeouts in a row, with nothing heard since the handshake, that make a path suspect which let the SYN through.
_SILENT_TIMEOUTS: Final = 2


def begin_client(t: Tcb, now: int) -> bool:
    """An active open begins. True: its SYN is held back for the first write."""
    cache = t.fast_open_cache
    if cache is None:
        return False
    option = cache.find(now, t.local_addr, t.remote_addr, t.remote_port)
    if option is None:
        return False
    if t.config.fast_open_send_cookieless:
        # RFC 7413 section 7.3; what is known of the server's MSS bounds the data all the same.
        option = FastOpenCookie(b"", False, option.mss)
        option.bare = True
    t.fast_open_option = option
    if not option.cookie and not option.bare:
        t.fast_open = FAST_OPEN_ASKING
        return False
    t.fast_open = FAST_OPEN_WAITING
    t.timers[TIMER_CORK] = now + t.config.fast_open_wait
    return True


def release_syn(t: Tcb) -> None:
    """The program wrote, or did not in time: the SYN goes out."""
    if t.fast_open == FAST_OPEN_WAITING and t.state == SYN_SENT:
        t.fast_open = FAST_OPEN_TRYING
        t.timers[TIMER_CORK] = NEVER
        t.syn_pending = True


def holds_early_data(t: Tcb) -> bool:
    """In SYN_SENT: the program wrote because the SYN was to take it along, and was not told of a handshake at all."""
    return t.fast_open in (FAST_OPEN_TRYING, FAST_OPEN_FAILED) and len(t.snd_buf) > 0


def load_syn(t: Tcb, seg: Segment) -> None:
    """Put the option, and what data goes with it, into our first SYN or SYN-ACK, which has all other options."""
    option = t.fast_open_option
    if option is None:
        return
    if not option.bare:
        seg.fast_open = option.cookie
        seg.fast_open_exp = option.exp
    used = options_length(seg)
    if used > MAX_OPTIONS:
        # RFC 7413 section 4.2.2: "If the SYN packet does not have enough option space for the Fast Open option, abort
        # TFO and fall back to the regular 3WHS."
        seg.fast_open = None
        if t.state != SYN_RECEIVED:
            t.fast_open = FAST_OPEN_NONE
        return
    if t.fast_open == FAST_OPEN_TRYING:
        # RFC 6691: an MSS counts no options.
        used = max(used, t.config.fast_open_option_room)
        length = min(_data_limit(t, option.mss) - used, len(t.snd_buf))
        if length > 0:
            t.syn_data = length
            seg.payload = t.snd_buf.slice(t.iss + 1, length)


def _data_limit(t: Tcb, mss: int) -> int:
    """Octets of options and data that a SYN may carry. `mss`: the server's as it was remembered, 0 = not."""
    if len(t.local_addr) == 4:
        limit = min(mss, _MOST_MSS4) if mss else t.config.fast_open_unknown_mss or _DEFAULT_MSS4
    else:
        limit = min(mss, _MOST_MSS6) if mss else t.config.fast_open_unknown_mss or _DEFAULT_MSS6
    limit = min(limit, t.path_mss)
    if t.config.max_segment:
        limit = min(limit, t.config.max_segment)
    return limit


def on_answer(t: Tcb, now: int, seg: Segment, acked: int, crossed: bool) -> None:
    """Our SYN is acknowledged and `acked` octets of its data too. `crossed`: by the peer's own SYN, both opening."""
    state = t.fast_open
    if state not in (FAST_OPEN_ASKING, FAST_OPEN_TRYING):
        return
    option = t.fast_open_option
    t.fast_open_option = None
    sent = t.syn_data
    if acked:
        t.fast_open = FAST_OPEN_ACTIVE
        t.counters.fast_open_active += 1
    else:
        t.fast_open = FAST_OPEN_FAILED if sent else FAST_OPEN_NONE
    cache = t.fast_open_cache
    if crossed or cache is None:
        # Another client, not a server, which knows nothing of cookies.
        return
    local = t.local_addr
    remote = t.remote_addr
    port = t.remote_port
    # RFC 7413 section 4.2.2: "If the SYN-ACK has a Fast Open option, an MSS option, or both, update the corresponding
    # cookie and MSS information in the cookie cache."
    renewed = False
    cookie = seg.fast_open
    if cookie and (option is None or not option.bare):
        renewed = True
        t.counters.fast_open_cookies_received += 1
        cache.learn(local, remote, cookie, seg.fast_open_exp, seg.mss)
    elif option is not None and option.bare:
        cache.learn_bare(local, remote, seg.mss)
    elif seg.mss:
        cache.learn_mss(local, remote, seg.mss)
    if acked or (renewed and state == FAST_OPEN_ASKING):
        cache.worked(local, remote, port)
    elif t.syn_retransmitted and not renewed:
        # "If the client has timed out and retransmitted only regular SYN packets ... If the SYN-ACK acknowledges only
        # the initial sequence and does not carry a Fast Open cookie option, presumably it is triggered by a
        # retransmitted (regular) SYN and the original SYN or the corresponding SYN-ACK was lost."
        t.counters.fast_open_syn_lost += 1
        cache.failed(now, local, remote, port, True)
    elif state == FAST_OPEN_ASKING:
        cache.unanswered(now, local, remote, port, option is not None and option.exp)
    elif sent:
        t.counters.fast_open_rejected += 1
        cache.rejected(now, local, remote, port, renewed)


def on_attempt_failed(t: Tcb, now: int) -> None:
    """The connection ends with an error while its SYN was not answered.

    RFC 7413 section 4.1.3.1, negative responses: "ICMP error messages, and (most importantly) no response (SYN-ACK)
    from the server at all"; a reset by whatever stands in the way is one too.
    """
    cache = t.fast_open_cache
    if cache is not None and t.fast_open in (FAST_OPEN_ASKING, FAST_OPEN_TRYING):
        t.fast_open = FAST_OPEN_FAILED
        cache.failed(now, t.local_addr, t.remote_addr, t.remote_port, False)


def on_too_big(t: Tcb) -> None:
    """A credible ICMP error says that our SYN was too large for the path, which its data made it.

    It is lost, so nobody need wait for the timer to send one without data. That is no failure of Fast Open: the path's
    MTU is remembered, and the next SYN fits.
    """
    if t.state == SYN_SENT and t.fast_open == FAST_OPEN_TRYING and t.syn_data and not t.syn_retransmitted:
        t.fast_open = FAST_OPEN_FAILED
        t.syn_pending = True


def on_silence(t: Tcb, now: int) -> None:
    """The retransmission timer expired. A middlebox may let a SYN with data through and lose track of the rest."""
    cache = t.fast_open_cache
    if (
        cache is not None
        and t.fast_open == FAST_OPEN_ACTIVE
        and t.retries == _SILENT_TIMEOUTS
        and t.bytes_received == 0
        and t.snd_una <= t.iss + 1 + t.syn_data
    ):
        cache.failed(now, t.local_addr, t.remote_addr, t.remote_port, True)
