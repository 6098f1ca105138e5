"""Explicit congestion notification: RFC 3168, and agreeing on it or on accurate ECN (RFC 9768, see `accecn`).

Marks on data come in the IP-ECN field; the receiver echoes them, the sender answers like to a loss, once a round trip.

    handshake     `ask`, `set_syn_flags`, `negotiate`, `repeated_syn`, `repeated_syn_ack`, `established`
    receiver      `arrived` takes in marks, `stamp` echoes them on everything that is sent
    sender        `mark_data` sets ECT on new data, `feedback` takes in the echo, `window_reduced` hears of losses

All but the first few are called only where `Tcb.ecn` is not None: a connection without ECN pays for one test a segment.
"""

from __future__ import annotations

import errno
from typing import Final

from plankroad.tcp.accecn import (
    accurate_arrived,
    accurate_feedback,
    accurate_stamp,
    handshake_ack_received,
    handshake_flags,
    handshake_value,
    packets_of,
    path_mangles,
    syn_ack_option,
)
from plankroad.tcp.cc.base import ECN as SIGNAL_ECN
from plankroad.tcp.config import ECN_OPTIONS_ALWAYS, ECN_OPTIONS_NEVER
from plankroad.tcp.constants import OPEN, SYN_SENT
from plankroad.tcp.ecnstate import ACCECN, CLASSIC, ECN_ACCURATE, ECN_OFF, ECN_ON, ECN_PASSIVE, NOT_ECN, Ecn
from plankroad.tcp.ending import abort_connection
from plankroad.tcp.seq import MASK32
from plankroad.tcp.tcb import Tcb
from plankroad.tcp.window import window_field
from plankroad.wire.constants import ECN_CE, ECN_ECT0, ECN_MASK, ECN_NOT_ECT
from plankroad.wire.segment import ACE, ACK, CWR, ECE, SYN, Segment

#: SYNs, and SYN,ACKs, that ask or agree before one goes without. RFC 9768 section 3.1.4.1: "it SHOULD attempt to
#: negotiate the use of AccECN at least one more time"; RFC 3168 section 6.1.1.1 leaves the number open.
_TRIES: Final = 2

#: ACKs of before a change of marks that wait to be sent; a batch that alternates more often is reported less exactly.
_MAX_EARLY_ACKS: Final = 16


# --- the handshake ---------------------------------------------------------------------------------------------------


def ask(t: Tcb) -> None:
    """Active open: shall our SYN ask, and for what?"""
    wanted: str = t.config.ecn
    asked = NOT_ECN
    if wanted == ECN_ACCURATE or (wanted == ECN_PASSIVE and t.cc.wants_ecn):
        asked = ACCECN
    elif wanted == ECN_ON:
        asked = CLASSIC
    if asked:
        e = Ecn()
        e.asked = asked
        t.ecn = e


def set_syn_flags(t: Tcb, seg: Segment, answering: bool) -> None:
    """The flags of our SYN, or, `answering`, of our SYN,ACK, which has all its other options; and the one with it."""
    e = t.ecn
    if e is None:
        return
    if not answering:
        if t.retries < _TRIES:
            # RFC 9768 section 3.1.1: (AE,CWR,ECE) = (1,1,1); RFC 3168 section 6.1.1: ECE and CWR.
            seg.flags |= ACE if e.asked == ACCECN else CWR | ECE
        else:
            # RFC 3168 section 6.1.1.1 and RFC 9768 section 3.1.4.1: something on the path may drop such SYNs.
            _fall_back(t, e)
        return
    if e.mode == CLASSIC:
        seg.flags |= ECE
    elif t.retries < _TRIES:
        # RFC 9768 section 3.1.5: it "MUST feed back the IP-ECN field on the latest valid SYN".
        seg.flags |= handshake_flags(e.peer_ip_ecn)
        # Section 3.2.3.2.2: "the TCP Server SHOULD retransmit the SYN/ACK, but with no AccECN Option."
        if t.syn_sent_at < 0 and e.sends_options:
            syn_ack_option(seg)
    else:
        # "If this retransmission times out, to expedite connection setup, the TCP Server SHOULD retransmit the SYN/ACK
        # with (AE,CWR,ECE) = (0,0,0) and no AccECN Option, but it remains in AccECN feedback mode". Section 3.1.5: a
        # server that sent one "MUST NOT set ECT on any packet for the rest of the connection".
        _fall_back(t, e)
        e.may_mark = False


def _fall_back(t: Tcb, e: Ecn) -> None:
    if not e.fell_back:
        e.fell_back = True
        t.counters.ecn_fallbacks += 1


def negotiate(t: Tcb, now: int, seg: Segment) -> None:
    """The peer's first SYN or SYN,ACK: enter the mode of RFC 9768's table 2, and stay in it."""
    flags = seg.flags & ACE
    if seg.flags & ACK:
        _answered(t, now, seg, flags)
        return
    mode = NOT_ECN
    if flags and t.config.ecn != ECN_OFF:
        # RFC 9768 section 3.1.3: "any combination other than (0,0,0), (0,1,1) or (1,1,1) ... as if the three flags had
        # been set to (1,1,1)". RFC 3168 section 6.1.1, for a host that knows no other: "we call a SYN packet with both
        # the ECE and CWR flags set an 'ECN-setup SYN packet', and we call a SYN packet with at least one of the ECE and
        # CWR flags not set a 'non-ECN-setup SYN packet'".
        if flags != CWR | ECE and t.config.accurate_ecn:
            mode = ACCECN
        elif flags & (CWR | ECE) == CWR | ECE:
            mode = CLASSIC
    e = t.ecn
    if t.state == SYN_SENT:
        # Simultaneous open: each answers the other's SYN as a server would. The peer does so with ours, so what it did
        # not read there is not agreed.
        mode = min(mode, e.asked if e is not None and not e.fell_back else NOT_ECN)
    if mode == NOT_ECN:
        t.ecn = None
        return
    if e is None:
        e = Ecn()
        t.ecn = e
    e.peer_ip_ecn = seg.tos & ECN_MASK
    _enter(t, e, mode, seg)


def _answered(t: Tcb, now: int, seg: Segment, flags: int) -> None:
    """The SYN,ACK that answers our SYN."""
    e = t.ecn
    if e is None:
        return
    if e.asked == CLASSIC:
        # RFC 3168 section 6.1.1: "a SYN-ACK packet with only the ECE flag set but the CWR flag not set".
        mode = CLASSIC if flags & (CWR | ECE) == ECE else NOT_ECN
    elif flags == ECE:
        mode = CLASSIC
    elif flags in (0, ACE):
        # A server without ECN; or one that reflects our flags ("Broken"), which is one without, too.
        mode = NOT_ECN
    else:
        mode = ACCECN
    if mode == NOT_ECN:
        t.counters.ecn_refused += 1
        t.ecn = None
        return
    e.peer_ip_ecn = seg.tos & ECN_MASK
    _enter(t, e, mode, seg)
    if mode == CLASSIC:
        # RFC 3168 section 6.1.1: it MUST NOT set ECT unless it "has sent no non-ECN-setup SYN".
        e.may_mark = not e.fell_back
        return
    if e.peer_ip_ecn == ECN_CE:
        # RFC 9768 section 3.2.2.2: a client "MUST increment r.cep, but no more than once".
        e.r_cep = 6
    e.handshake_ack = True
    # Section 3.2.3.2.1: an option on the last ACK of the handshake, which may be lost, and on the first data.
    e.option_due = True
    e.first_data = True
    if seg.accecn is not None:
        e.options_seen = True
        # Section 3.2.3.2.4: the counters do not begin at zero, unless something on the path made them so.
        e.options_ignored = seg.accecn[0] == 0 or seg.accecn[2] == 0
    value = handshake_value(flags)
    if value > ECN_NOT_ECT:
        # Our SYN had not-ECT. Section 3.2.2.3: "the Client is advised to send non-ECN-capable packets, but it still
        # ought to respond to any feedback of CE markings".
        path_mangles(t, now, e, "syn")
        if value == ECN_CE:
            t.cc.on_congestion(now, SIGNAL_ECN, t.cc.cwnd)


def _enter(t: Tcb, e: Ecn, mode: int, seg: Segment) -> None:
    e.mode = mode
    options: str = t.config.accurate_ecn_options
    e.sends_options = options != ECN_OPTIONS_NEVER
    e.always_options = options == ECN_OPTIONS_ALWAYS
    e.feedback_ts = seg.ts_val
    e.snd_high = max(t.snd_nxt, t.iss + 1)
    e.reduced_at = t.iss
    e.round_end = t.iss + 1
    e.feedback_end = t.rcv_nxt


def repeated_syn(t: Tcb, now: int, seg: Segment) -> bool:
    """The peer's SYN once more, in SYN_RECEIVED; returns False where it ends the connection."""
    e = t.ecn
    if e is None:
        return True
    flags = seg.flags & ACE
    e.peer_ip_ecn = seg.tos & ECN_MASK
    if flags == 0:
        # RFC 9768 section 3.1.5: a server "MUST NOT set ECT on any packet for the rest of the connection, if it has
        # received or sent at least one valid SYN or Acceptable SYN/ACK with (AE,CWR,ECE) = (0,0,0) during the
        # handshake"; RFC 3168 section 6.1.1 likewise.
        e.may_mark = False
    elif (flags == CWR | ECE) != (e.mode == CLASSIC):
        # Section 3.1.5: "MUST reset the connection with a RST packet, if it receives a 'Classic' ECN-setup SYN with
        # (AE,CWR,ECE) = (0,1,1) and a SYN requesting AccECN feedback during the same handshake".
        abort_connection(t, now, errno.ECONNRESET)
        return False
    return True


def repeated_syn_ack(t: Tcb, seg: Segment) -> None:
    """A SYN,ACK that we had before: our ACK was lost, and is to tell how this one came (RFC 9768 section 3.2.2.1)."""
    e = t.ecn
    if e is None or e.mode != ACCECN or t.passive or e.asked != ACCECN or seg.flags & ACE in (0, ECE, ACE):
        return
    e.peer_ip_ecn = seg.tos & ECN_MASK
    if e.peer_ip_ecn == ECN_CE and e.r_cep == 5:
        e.r_cep = 6
    e.handshake_ack = True


def established(t: Tcb, now: int, seg: Segment | None) -> None:
    """The handshake is over. `seg`: the ACK of our SYN,ACK, None where we were the client."""
    e = t.ecn
    if e is None:
        return
    if e.mode == CLASSIC:
        t.counters.ecn_classic += 1
    else:
        t.counters.ecn_accurate += 1
        if seg is not None and not seg.flags & SYN:
            value = handshake_ack_received(e, seg)
            if seg.payload or seg.sack:
                # It is no bare ACK, so its ACE field is the counter.
                if accurate_feedback(t, now, e, seg, t.rcv_nxt, 0, 1):
                    t.cc.on_congestion(now, SIGNAL_ECN, t.cc.cwnd)
            elif value < 0:
                # Note 1 of table 4: ACE is zero: "for the rest of the connection the Server MUST NOT set ECT on
                # outgoing packets and MUST NOT respond to AccECN feedback."
                e.responds = False
                path_mangles(t, now, e, "zero")
            elif value > ECN_NOT_ECT:
                path_mangles(t, now, e, "syn ack")
                if value == ECN_CE:
                    t.cc.on_congestion(now, SIGNAL_ECN, t.cc.cwnd)
    if t.log is not None:
        t.log.event(now, t.name(), "ecn", {"mode": "classic" if e.mode == CLASSIC else "accurate"})


# --- the receiver ----------------------------------------------------------------------------------------------------


def arrived(t: Tcb, seg: Segment) -> None:
    """An acceptable segment came (RFC 9293 section 3.10.7.4, RFC 5961): take in its IP-ECN field, before its text."""
    e = t.ecn
    if e is None:
        return
    mark = seg.tos & ECN_MASK
    if mark:
        e.seen = True
        if mark == ECN_CE:
            t.counters.ecn_ce_received += packets_of(seg)
    if e.mode == ACCECN:
        accurate_arrived(t, e, seg, mark)
        return
    if seg.flags & CWR:
        # RFC 3168 section 6.1.3: the echo goes on "until it receives a CWR packet". Err3639: CWR first, then CE. Its
        # sender's window may be one segment by now, so it is not kept waiting.
        if not t.cc.wants_ecn:
            e.echo = False
        if seg.payload and t.ack_now == 0:
            t.ack_now = 1
    if not seg.payload:
        return
    if t.cc.wants_ecn:
        _exact(t, e, mark == ECN_CE)
    elif mark == ECN_CE:
        e.echo = True


def _exact(t: Tcb, e: Ecn, ce: bool) -> None:
    """RFC 8257 section 3.2: "the ECE flag MUST be set if and only if DCTCP.CE is true"; `echo` is that variable."""
    if ce == e.echo:
        return
    # "an implementation MAY choose to send two ACKs: one for previously unacknowledged packets and another
    # acknowledging the most recently received packet."
    if t.ack_octets > 0 and t.rcv_nxt > t.last_ack_sent and len(e.early_acks) < _MAX_EARLY_ACKS:
        e.early_acks.append((t.rcv_nxt, e.echo))
    e.echo = ce
    if t.ack_now == 0:
        t.ack_now = 1


def early_ack(t: Tcb, now: int) -> Segment:
    """An ACK of what came before the marks changed; `Ecn.early_acks` has some. The one of now follows it."""
    e = t.ecn
    assert e is not None
    ack, echo = e.early_acks.pop(0)
    # The right edge of the window stays where the latest ACK puts it.
    window = window_field(t, True) + ((t.rcv_nxt - ack) >> t.rcv_wind_shift)
    seg = Segment(
        t.local_port, t.remote_port, t.snd_nxt & MASK32, ack & MASK32, ACK | ECE if echo else ACK, min(window, 65535)
    )
    seg.tos = t.tos
    if t.ts_ok:
        seg.has_ts = True
        seg.ts_val = t.ts_now(now)
        seg.ts_ecr = t.ts_recent
    t.segments_sent += 1
    t.counters.segments_sent += 1
    return seg


def stamp(t: Tcb, seg: Segment) -> None:
    """Echo on a segment that is otherwise finished, of a synchronized connection."""
    e = t.ecn
    if e is None:
        return
    if e.mode == ACCECN:
        accurate_stamp(t, e, seg)
    elif e.mode == CLASSIC and e.echo:
        seg.flags |= ECE


# --- the sender ------------------------------------------------------------------------------------------------------


def mark_data(t: Tcb, seg: Segment, start: int, end: int) -> None:
    """A segment with the octets [start, end) is about to leave: ECT, and CWR, belong on new data only."""
    e = t.ecn
    if e is None:
        return
    if seg.payload:
        e.sent_packets += packets_of(seg)
        e.largest_sent = max(e.largest_sent, seg.gso_size if seg.gso_size else len(seg.payload))
    if start < e.snd_high:
        # RFC 3168 section 6.1.5: an ECT codepoint MUST NOT be set on retransmissions; section 6.1.2: nor should CWR.
        e.snd_high = max(e.snd_high, end)
        if start < e.first_data_end:
            # RFC 9768 section 3.2.3.2.2: "If the TCP Client detects that the first data segment it sent with an AccECN
            # Option was lost (...) it SHOULD fall back to no AccECN Option on the retransmission."
            e.sends_options = False
        return
    e.snd_high = end
    if not seg.payload:
        return
    if e.may_mark and e.wanted:
        # RFC 8311 section 4.1: ECT(1) is for experiments, ECT(0) for everybody else.
        seg.tos |= ECN_ECT0
    if e.cwr_due:
        e.cwr_due = False
        seg.flags |= CWR


def no_super_segments(t: Tcb) -> bool:
    """Would whoever cuts a super-segment spoil its ACE field?

    RFC 9768 section 3.3.4: what supports RFC 3168 clears CWR on all segments but the first; so super-segments may be
    used "only as long as the CWR flag in the TCP header is not set".
    """
    e = t.ecn
    return e is not None and e.mode == ACCECN and e.r_cep & 2 != 0


def feedback(t: Tcb, now: int, seg: Segment, start: int, delivered: int, acked: int) -> bool:
    """What an acceptable ACK says of marks; returns whether the window is to be reduced for them.

    `delivered`: octets of which it is the first news that they arrived; `acked`: by how much SND.UNA went up.
    `Ecn.new_ce` has then what `AckSample.ce_bytes` is to say, `Ecn.hold` whether cwnd must not grow by this ACK.
    """
    e = t.ecn
    if e is None or seg.flags & SYN:
        # RFC 9768 section 3.2.2: three flags are no counter on a segment with SYN.
        return False
    e.hold = False
    if e.mode == ACCECN:
        marked = accurate_feedback(t, now, e, seg, start, delivered, acked)
    else:
        marked = e.mode == CLASSIC and seg.flags & ECE != 0
        if marked:
            # All that the ACK acknowledges: exact where the receiver is exact (RFC 8257 section 3.3).
            e.new_ce += delivered
            e.ce_octets += delivered
    if not marked:
        return False
    t.counters.ecn_echoes_received += 1
    # RFC 3168 section 6.1.2: "The sending TCP SHOULD NOT increase the congestion window in response to the receipt of
    # an ECN-Echo ACK packet." RFC 9768 section 4: that is one by which s.cep goes up.
    e.hold = not t.cc.ecn_by_sample
    # "TCP should not react to congestion indications more than once every window of data", losses included.
    if t.snd_una <= e.reduced_at or t.congestion != OPEN:
        return False
    e.reduced_at = t.snd_nxt
    e.cwr_due = e.mode == CLASSIC
    if t.cc.ecn_by_sample:
        return False
    t.counters.ecn_reductions += 1
    return True


def take_ce(t: Tcb) -> int:
    """`AckSample.ce_bytes`: octets newly reported marked."""
    e = t.ecn
    if e is None:
        return 0
    ce = e.new_ce
    e.new_ce = 0
    return ce


def window_reduced(t: Tcb) -> None:
    """The window was reduced for a loss.

    RFC 3168 section 6.1.2: "When an ECN-Capable TCP sender reduces its congestion window for any reason (because of a
    retransmit timeout, a Fast Retransmit, or in response to an ECN Notification), the TCP sender sets the CWR flag in
    the TCP header of the first new data packet sent after the window reduction."
    """
    e = t.ecn
    if e is not None:
        e.reduced_at = t.snd_nxt
        e.cwr_due = e.mode == CLASSIC
