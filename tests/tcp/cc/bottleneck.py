"""A bottleneck and flows across it, packet by packet in virtual time: what an algorithm does, without a TCP around it.

Every transmission is a packet of its own with a number (as in QUIC), so there is nothing to retransmit: what arrived
is the goodput. A packet is lost when one sent three later has arrived; a silence of a second is a timeout. The
delivery-rate sample is that of draft-ietf-ccwg-bbr section 4.1.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

from plankroad.tcp.cc import ECN, LOSS, TIMEOUT, AckSample, CongestionControl, create
from plankroad.units import SECOND

SMSS = 1448
IW = 10 * SMSS
DUP_THRESH = 3
RTO = SECOND


class Packet:
    """A transmission: its number, and what was known when it left."""

    def __init__(self, flow: Flow, number: int, now: int) -> None:
        self.flow = flow
        self.number = number
        self.sent_at = now
        self.delivered = flow.delivered
        self.delivered_at = flow.delivered_at
        self.first_sent_at = flow.first_sent_at
        self.lost = flow.lost
        self.app_limited = flow.app_limited > 0
        self.tx_in_flight = flow.in_flight
        self.marked = False


class Flow:
    """A sender. `rtt`: its propagation delay, there and back. `until`: when it stops."""

    def __init__(self, cc: CongestionControl, rtt: int, start: int = 0, until: int = 1 << 62) -> None:
        self.cc = cc
        self.rtt = rtt
        self.start = start
        self.until = until
        #: Bytes that the program has still to send, -1: no end.
        self.backlog = -1
        self.number = 0
        self.outstanding: deque[Packet] = deque()
        self.sacked: set[int] = set()
        self.in_flight = 0
        self.delivered = 0
        self.delivered_at = start
        self.first_sent_at = start
        self.lost = 0
        self.sent = 0
        self.app_limited = 0
        self.srtt = 0
        self.min_rtt = 0
        self.round_end = 0
        self.recover = -1
        self.next_send = start
        self.last_heard = start
        self.timeouts = 0
        self.waiting = False
        self.limited = False
        #: When and how much was delivered, a sample each 100 ms at the least.
        self.history: list[tuple[int, int, int]] = []


class Bottleneck:
    """One link. `rate`: bytes a second; `queue`: bytes; `loss`: probability before the queue; `mark`: bytes of backlog
    from which congestion experienced is marked; `policer`: (rate, burst) in front of it, which drops without a queue.
    """

    def __init__(self, rate: int, queue: int, loss: float = 0.0, seed: int = 1) -> None:
        self.rate = rate
        self.queue = queue
        self.loss = loss
        self.mark = 1 << 62
        self.policer: tuple[int, int] | None = None
        self.tokens = 0.0
        self.tokens_at = 0
        self.extra_delay: Callable[[int], int] | None = None
        self.lose: Callable[[int], bool] | None = None
        self.ack_every = 0
        self.rng = random.Random(seed)
        self.now = 0
        self.free_at = 0
        self.overflows = 0
        self.queue_time = 0
        self.queue_samples = 0
        self.flows: list[Flow] = []
        self.events: list[tuple[int, int, Callable[[Flow, Packet | None], None], Flow, Packet | None]] = []
        self.count = 0
        self.watch: Callable[[Flow], None] | None = None

    def add(self, name: str, rtt: int, start: int = 0, until: int = 1 << 62) -> Flow:
        flow = Flow(create(name, SMSS, IW), rtt, start, until)
        self.flows.append(flow)
        self.at(start, self._begin, flow, None)
        return flow

    def at(self, when: int, action: Callable[[Flow, Packet | None], None], flow: Flow, packet: Packet | None) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, action, flow, packet))

    def run(self, until: int) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, action, flow, packet = heapq.heappop(self.events)
            action(flow, packet)
        self.now = until

    def _begin(self, flow: Flow, packet: Packet | None) -> None:
        flow.cc.on_established(self.now, flow.rtt)
        flow.srtt = flow.min_rtt = flow.rtt
        flow.last_heard = self.now
        self.at(self.now + RTO, self._check_timeout, flow, None)
        self.send(flow)

    def send(self, flow: Flow) -> None:
        cc = flow.cc
        now = self.now
        flow.limited = False
        while now < flow.until:
            if flow.backlog == 0:
                if flow.in_flight < cc.cwnd:
                    flow.app_limited = max(flow.delivered + flow.in_flight, 1)
                return
            if flow.in_flight + SMSS > cc.cwnd and flow.in_flight > 0:
                flow.limited = True
                return
            if flow.next_send > now:
                if not flow.waiting:
                    flow.waiting = True
                    self.at(flow.next_send, self._wake, flow, None)
                return
            self._transmit(flow)

    def _wake(self, flow: Flow, packet: Packet | None) -> None:
        flow.waiting = False
        self.send(flow)

    def _transmit(self, flow: Flow) -> None:
        now = self.now
        cc = flow.cc
        rate = cc.pacing_rate
        if rate == 0 and cc.paced:
            rate = (2 if cc.in_slow_start() else 1) * cc.cwnd * 6 * SECOND // (5 * max(flow.srtt, 1))
        if rate:
            flow.next_send = max(flow.next_send, now - SECOND // 1000) + SMSS * SECOND // rate
        if flow.in_flight == 0:
            flow.first_sent_at = flow.delivered_at = now
        flow.in_flight += SMSS
        if flow.backlog > 0:
            flow.backlog = max(flow.backlog - SMSS, 0)
        packet = Packet(flow, flow.number, now)
        flow.number += 1
        flow.sent += SMSS
        flow.outstanding.append(packet)
        cc.on_sent(now, SMSS, flow.in_flight)
        if self.lose is not None and self.lose(now):
            return
        if self.loss and self.rng.random() < self.loss:
            return
        if self.policer is not None:
            token_rate, burst = self.policer
            self.tokens = min(self.tokens + (now - self.tokens_at) * token_rate / SECOND, burst)
            self.tokens_at = now
            if self.tokens < SMSS:
                return
            self.tokens -= SMSS
        backlog = max(self.free_at - now, 0) * self.rate // SECOND
        if backlog > self.queue:
            self.overflows += 1
            return
        packet.marked = backlog > self.mark
        self.queue_time += max(self.free_at - now, 0)
        self.queue_samples += 1
        self.free_at = max(self.free_at, now) + SMSS * SECOND // self.rate
        extra = 0 if self.extra_delay is None else self.extra_delay(now)
        self.at(self.free_at + flow.rtt + extra, self._arrive, flow, packet)

    def _arrive(self, flow: Flow, packet: Packet | None) -> None:
        assert packet is not None
        now = self.now
        flow.last_heard = now
        cc = flow.cc
        if packet.number in flow.sacked:
            return
        prior_in_flight = flow.in_flight
        known = packet.number < (flow.outstanding[0].number if flow.outstanding else flow.number)
        if known:
            # It had been given up.
            return
        flow.sacked.add(packet.number)
        flow.in_flight -= SMSS
        flow.delivered += SMSS
        flow.delivered_at = now
        flow.first_sent_at = packet.sent_at
        rtt = now - packet.sent_at
        flow.srtt += (rtt - flow.srtt) // 8
        flow.min_rtt = min(flow.min_rtt, rtt)
        lost_before = flow.lost
        self._find_lost(flow, packet.number - DUP_THRESH)
        if flow.app_limited and flow.delivered > flow.app_limited:
            flow.app_limited = 0
        if flow.lost > lost_before and flow.recover < 0:
            flow.recover = flow.number
            cc.on_congestion(now, LOSS, prior_in_flight)
        elif flow.recover >= 0 and (not flow.outstanding or flow.outstanding[0].number >= flow.recover):
            flow.recover = -1
            cc.on_recovery_exit(now)
        if packet.marked:
            cc.on_congestion(now, ECN, prior_in_flight)
        interval = max(packet.sent_at - packet.first_sent_at, now - packet.delivered_at)
        valid = interval > 0 and interval >= flow.min_rtt
        gained = flow.delivered - packet.delivered
        sample = AckSample(
            now=now,
            acked=SMSS,
            sacked=SMSS if flow.recover >= 0 else 0,
            newly_delivered=SMSS,
            newly_lost=flow.lost - lost_before,
            rtt=rtt,
            srtt=flow.srtt,
            min_rtt=flow.min_rtt,
            prior_in_flight=prior_in_flight,
            in_flight=flow.in_flight,
            cwnd_limited=flow.limited,
            in_recovery=flow.recover >= 0,
            round_start=packet.delivered >= flow.round_end,
            delivered=flow.delivered,
            lost=flow.lost,
            ce_bytes=SMSS if packet.marked else 0,
            rate_interval=interval if valid else -1,
            rate_delivered=gained if valid else 0,
            delivery_rate=gained * SECOND // interval if valid else 0,
            prior_delivered=packet.delivered,
            tx_in_flight=packet.tx_in_flight,
            rate_lost=flow.lost - packet.lost,
            app_limited=packet.app_limited,
        )
        if sample.round_start:
            flow.round_end = flow.delivered
        cc.on_ack(sample)
        if not flow.history or now - flow.history[-1][0] >= SECOND // 10:
            flow.history.append((now, flow.delivered, flow.lost))
        if self.watch is not None:
            self.watch(flow)
        self.send(flow)

    def _find_lost(self, flow: Flow, below: int) -> None:
        outstanding = flow.outstanding
        while outstanding:
            first = outstanding[0]
            if first.number in flow.sacked:
                flow.sacked.discard(first.number)
                outstanding.popleft()
            elif first.number <= below:
                outstanding.popleft()
                self._lose(flow, first)
            else:
                return

    def _lose(self, flow: Flow, packet: Packet) -> None:
        flow.in_flight -= SMSS
        flow.lost += SMSS
        flow.cc.on_lost(self.now, SMSS, packet.tx_in_flight, flow.lost - packet.lost, packet.app_limited)

    def _check_timeout(self, flow: Flow, packet: Packet | None) -> None:
        due = flow.last_heard + max(RTO, 2 * flow.srtt)
        if self.now >= due and flow.in_flight > 0:
            flow.timeouts += 1
            flow.last_heard = self.now
            flight = flow.in_flight
            self._find_lost(flow, flow.number)
            flow.cc.on_congestion(self.now, TIMEOUT, flight)
            flow.recover = -1
            self.send(flow)
        self.at(max(due, self.now + RTO // 10), self._check_timeout, flow, None)


def goodput(flow: Flow, since: int, until: int) -> float:
    """Bytes a second that arrived between the two times."""
    before = max((d for t, d, _ in flow.history if t <= since), default=0)
    after = max((d for t, d, _ in flow.history if t <= until), default=0)
    return (after - before) * SECOND / (until - since)


def loss_rate(flow: Flow, since: int, until: int) -> float:
    """Share of the bytes lost between the two times."""
    lost = max((x for t, _, x in flow.history if t <= until), default=0) - max(
        (x for t, _, x in flow.history if t <= since), default=0
    )
    return lost / max(lost + goodput(flow, since, until) * (until - since) / SECOND, 1)
