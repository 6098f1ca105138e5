"""Flows of chosen algorithms through one bottleneck, packet by packet in virtual time."""

from __future__ import annotations

from typing import Any

from plankroad.paths.programs import ReceivingServer, SendingProgram
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import ip_to_bytes

PORT = 5001


class Dumbbell:
    """`rate` bit/s and `rtt` ns of the path, `queue` bytes at the bottleneck; further conditions as `Network.link`
    takes them. `algorithms`: one a flow; flow n begins at `starts[n]` seconds, at once where there is no n.
    """

    def __init__(
        self,
        algorithms: list[str],
        *,
        rate: int = 10_000_000,
        rtt: int = 20_000_000,
        queue: int = 50_000,
        starts: tuple[float, ...] = (),
        ecn: str = "passive",
        seed: int = 1,
        **forward: Any,
    ) -> None:
        self.rate = rate
        self.network = Network(seed=seed, ipv6=False)
        sender = self.network.host("sender", StackConfig())
        receiver = self.network.host("receiver", StackConfig())
        link = self.network.link(
            sender,
            receiver,
            addresses=("10.0.0.1/24", "10.0.0.2/24"),
            delay=rtt / 2e9,
            forward={"rate": rate, "queue": f"{queue}B", **forward},
        )
        self.waits = QueueDelay()
        self.pipe = link.there.pipe
        self.pipe.queue_observers.append(self.waits)
        self.network.refresh_routes()
        self.simulator = self.network.simulator
        self.server = ReceivingServer(receiver, PORT, TcpConfig(), 0, lambda: None)
        self.timeouts = sender.stack.counters.tcp
        self.senders = []
        for number, name in enumerate(algorithms):
            config = TcpConfig(congestion_control=name, ecn=ecn)
            program = SendingProgram(sender, ip_to_bytes("10.0.0.2"), PORT, config, 0)
            self.senders.append(program)
            start = starts[number] if number < len(starts) else 0.0
            self.simulator.call_at(self.simulator.now + int(start * SECOND), program.start)

    def delivered(self) -> list[int]:
        """Bytes that the receiving programs have had, flow by flow."""
        readers = self.server.readers
        return [
            readers[program.connection.local_port].delivered
            if program.connection is not None and program.connection.local_port in readers
            else 0
            for program in self.senders
        ]

    def run(self, seconds: float) -> list[float]:
        """Go on for so long: the share of the rate that each flow's payload had. `waits` counts anew."""
        before = self.delivered()
        self.waits.reset()
        self.simulator.run_batch(self.simulator.now + int(seconds * SECOND), NEVER, [])
        return [(now - then) * 8 / seconds / self.rate for now, then in zip(self.delivered(), before, strict=True)]

    def segments_waiting(self) -> float:
        """The mean queue in packets of 1500 bytes, as they who joined it found it."""
        return self.waits.mean() / 1e9 * self.rate / 8 / 1500


def jain(shares: list[float]) -> float:
    """Jain's index of fairness."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
