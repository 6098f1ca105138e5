"""`Ecn`: what a connection that uses explicit congestion notification, or asks for it, remembers beside its `Tcb`."""

from __future__ import annotations

from typing import Final

from plankroad.wire.segment import Segment

# TcpConfig.ecn
ECN_OFF: Final = "off"
ECN_PASSIVE: Final = "passive"
ECN_ON: Final = "on"
ECN_ACCURATE: Final = "accecn"

# Feedback modes, RFC 9768 section 3.1.2.
NOT_ECN: Final = 0
CLASSIC: Final = 1  #: RFC 3168
ACCECN: Final = 2  #: RFC 9768


class Ecn:
    """ECN of one connection. There is none (`Tcb.ecn` is None) where the connection neither has nor asks for it.

    Counters are named as in RFC 9768 section 3.2: `r_` those of the data receiver, `s_` those of the data sender;
    `cep` counts packets with the mark CE, `ceb`, `e0b`, `e1b` payload octets with CE, ECT(0), ECT(1). They do not wrap.
    """

    __slots__ = (
        "ack_of_ack",
        "acked_packets",
        "always_options",
        "asked",
        "ce_octets",
        "ce_unreported",
        "cwr_due",
        "early_acks",
        "echo",
        "estimated",
        "feedback_end",
        "feedback_ts",
        "fell_back",
        "first_data",
        "first_data_end",
        "first_feedback",
        "handshake_ack",
        "handshake_seg",
        "hold",
        "largest_sent",
        "last_ce",
        "may_mark",
        "mode",
        "new_ce",
        "option_acks",
        "option_cep",
        "option_due",
        "option_dups",
        "options_ignored",
        "options_seen",
        "peer_ip_ecn",
        "r_ceb",
        "r_cep",
        "r_e0b",
        "r_e1b",
        "reduced_at",
        "responds",
        "round_end",
        "rounds",
        "s_ceb",
        "s_cep",
        "s_e0b",
        "s_e1b",
        "seen",
        "sends_options",
        "sent_ceb",
        "sent_e0b",
        "sent_e1b",
        "sent_packets",
        "settled_packets",
        "snd_high",
        "wanted",
    )

    def __init__(self) -> None:
        self.asked: int = NOT_ECN  # what our SYN asked for
        self.mode: int = NOT_ECN  # what was agreed; it never changes again
        self.fell_back: bool = False  # a SYN or SYN,ACK of ours went without the flags
        self.peer_ip_ecn: int = 0  # IP-ECN field of the peer's latest SYN or SYN,ACK

        # Sending
        self.wanted: bool = True  # the program has not switched it off
        self.may_mark: bool = True  # neither handshake nor path forbid ECT
        self.responds: bool = True  # what the peer reports is to be believed
        self.snd_high: int = 0  # end of what was sent as data: what begins below is a retransmission
        self.cwr_due: bool = False  # classic: tell the receiver of a reduction
        self.reduced_at: int = 0  # SND.NXT at the last reduction: one a window of data
        self.hold: bool = False  # the ACK at hand reports marks: cwnd must not grow
        self.new_ce: int = 0  # octets reported marked of which the algorithm has not heard
        self.ce_octets: int = 0  # all of those so far
        self.sent_packets: int = 0  # with data
        self.largest_sent: int = 1  # octets of data in one of them
        self.settled_packets: int = 0  # those of them that were sent when all was acknowledged last

        # Receiving, classic
        self.seen: bool = False  # a packet with ECT or CE came
        self.echo: bool = False  # ECE is set on what is sent
        self.early_acks: list[tuple[int, bool]] = []  # exact feedback: (ACK, ECE) of before a change of marks

        # Receiving, accurate
        self.r_cep: int = 5
        self.r_ceb: int = 0
        self.r_e0b: int = 1
        self.r_e1b: int = 1
        self.last_ce: bool = False  # the last packet had CE
        self.ce_unreported: int = 0  # CE packets since something was sent
        self.handshake_ack: bool = False  # the next bare ACK tells how the SYN,ACK came (table 3)
        self.ack_of_ack: bool = False  # the ACK that is due answers no data: no SACK blocks
        self.sends_options: bool = True
        self.always_options: bool = False  # on every segment with room, not only where a counter moved
        self.option_due: bool = False  # a byte counter moved since the last option
        self.first_data: bool = False  # the first data segment is to carry an option, to test the path
        self.first_data_end: int = 0  # where it ended
        self.option_acks: int = 0  # bare ACKs sent with an option
        self.option_dups: int = 0  # segments that came again after we had acknowledged them
        self.sent_e0b: int = 1  # counters when the last option was sent
        self.sent_ceb: int = 0
        self.sent_e1b: int = 1

        # The peer's accurate feedback
        self.s_cep: int = 5
        self.s_ceb: int = 0
        self.s_e0b: int = 1
        self.s_e1b: int = 1
        self.handshake_seg: Segment | None = None  # the ACK whose ACE field was handshake encoding
        self.first_feedback: bool = True  # none has come
        self.feedback_ts: int = 0  # TSval of the newest feedback
        self.feedback_end: int = 0  # end of the newest text that came with it
        self.options_seen: bool = False
        self.options_ignored: bool = False  # zeroed on the way
        self.option_cep: int = 5  # `s_cep` when an option told `s_ceb` last
        self.estimated: int = 0  # octets reckoned from ACE alone that an option may yet report
        self.acked_packets: int = 0  # moving average of packets an ACK acknowledges, times 16
        self.rounds: int = 0  # rounds in which the path was watched
        self.round_end: int = 0
