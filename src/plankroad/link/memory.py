"""`MemoryLink`: two ends in one process, for tests and for stacks that talk to each other without a device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from plankroad.link.base import ETHERNET_OVERHEAD, Link
from plankroad.wire.packet import Packet


class MemoryLink(Link):
    """One end of a wire in memory; made in pairs by `pair`.

    It loses nothing: where the other end's queue is full `send` answers False, and `set_notify`'s callback is called
    once the other end has taken packets out. A packet larger than the MTU is lost, as on a real wire, and counted in
    `tx_errors`.
    """

    def __init__(
        self,
        name: str,
        mtu: int,
        *,
        ethernet: bool = False,
        mac: bytes = b"",
        tx_csum: bool = False,
        gso_max_size: int = 0,
        queue_packets: int = 1024,
        batch_packets: int = 64,
    ) -> None:
        super().__init__(name, mtu, ethernet=ethernet, mac=mac, tx_csum=tx_csum, gso_max_size=gso_max_size)
        if gso_max_size and not tx_csum:
            raise ValueError(
                "gso_max_size needs tx_csum: the checksums of a super-segment's parts cannot be complete"
            )
        if mtu < 1 or queue_packets < 1 or batch_packets < 1:
            raise ValueError("mtu, queue_packets and batch_packets must be at least 1")
        self.queue_packets = queue_packets
        self.batch_packets = batch_packets
        self._peer: MemoryLink | None = None
        self._queue: deque[Packet] = deque()
        self._refused = False
        self._notify: Callable[[], None] | None = None
        self._notified = False

    @classmethod
    def pair(
        cls,
        mtu: int = 1500,
        *,
        names: tuple[str, str] = ("memory0", "memory1"),
        ethernet: bool = False,
        macs: tuple[bytes, bytes] = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"),
        tx_csum: bool = False,
        gso_max_size: int = 0,
        queue_packets: int = 1024,
        batch_packets: int = 64,
    ) -> tuple[MemoryLink, MemoryLink]:
        """Two connected ends. `queue_packets` bounds what waits on the way to each, `batch_packets` one `receive`.

        By default everything arrives as on a wire: cut to size, checksums complete. With `tx_csum` partial checksums
        pass as they are, and with `gso_max_size` (bytes of the IP packet) super-segments do.
        """
        ends = [
            cls(
                names[i],
                mtu,
                ethernet=ethernet,
                mac=macs[i] if ethernet else b"",
                tx_csum=tx_csum,
                gso_max_size=gso_max_size,
                queue_packets=queue_packets,
                batch_packets=batch_packets,
            )
            for i in (0, 1)
        ]
        ends[0]._peer = ends[1]
        ends[1]._peer = ends[0]
        return ends[0], ends[1]

    def set_notify(self, callback: Callable[[], None] | None) -> None:
        self._notify = callback
        self._notified = False
        if self._queue:
            self._tell()

    def _tell(self) -> None:
        if self._notify is not None and not self._notified:
            self._notified = True
            self._notify()

    def receive(self) -> list[Packet]:
        self._notified = False
        queue = self._queue
        if not queue:
            return []
        count = min(len(queue), self.batch_packets)
        batch = [queue.popleft() for _ in range(count)]
        counters = self.counters
        counters.rx_batches += 1
        counters.rx_packets += count
        for packet in batch:
            counters.rx_bytes += len(packet.head)
            if packet.gso_type:
                counters.rx_super_segments += 1
        if queue:
            self._tell()
        peer = self._peer
        if peer is not None and peer._refused:
            peer._refused = False
            peer._tell()
        return batch

    def send(self, packet: Packet) -> bool:
        peer = self._peer
        counters = self.counters
        if peer is None:
            counters.tx_dropped += 1
            return True
        queue = peer._queue
        # The parts of a super-segment stay together: they are taken when there is any room at all.
        if len(queue) >= peer.queue_packets:
            counters.tx_refused += 1
            self._refused = True
            return False
        limit = self.mtu + (ETHERNET_OVERHEAD if self.ethernet else 0)
        for part in self.lower(packet):
            size = len(part)
            if part.gso_type:
                counters.tx_super_segments += 1
            elif size > limit:
                counters.tx_errors += 1
                continue
            counters.tx_packets += 1
            counters.tx_bytes += size
            # A new object: the other end's stack writes its own interface into it.
            queue.append(
                Packet(
                    part.to_bytes(),
                    b"",
                    0,
                    part.gso_type,
                    part.gso_size,
                    part.csum_start,
                    part.csum_offset,
                    part.csum_valid,
                )
            )
        if queue:
            peer._tell()
        return True

    def close(self) -> None:
        """Take this end away: what waits is dropped, and what the other end sends from now on."""
        peer = self._peer
        self._peer = None
        self._notify = None
        self._queue.clear()
        if peer is not None:
            peer._peer = None
            if peer._refused:
                peer._refused = False
                peer._tell()
