"""All counters of a host: `stack.counters.tcp.retransmitted` and the like (`netstat -s`)."""

from __future__ import annotations

from plankroad.ip.counters import IcmpCounters, IpCounters
from plankroad.tcp.counters import TcpCounters
from plankroad.udp.counters import UdpCounters


class StackCounters:
    """One object a layer, each with counters named after causes."""

    __slots__ = ("icmp", "ip", "tcp", "udp")

    def __init__(self) -> None:
        self.ip: IpCounters = IpCounters()
        self.icmp: IcmpCounters = IcmpCounters()
        self.tcp: TcpCounters = TcpCounters()
        self.udp: UdpCounters = UdpCounters()

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Every counter by layer and name."""
        return {
            "ip": self.ip.as_dict(),
            "icmp": self.icmp.as_dict(),
            "tcp": self.tcp.as_dict(),
            "udp": self.udp.as_dict(),
        }
