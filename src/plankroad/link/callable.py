"""`CallableLink`: any pair of "here is a packet" and "send this packet" as a link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from plankroad.link.base import Link
from plankroad.link.coalesce import coalesce
from plankroad.link.segmentation import MAX_PACKET, segment
from plankroad.wire.packet import Packet


class CallableLink(Link):
    """A link made of functions: a tunnel in another library, a radio, a serial line with framing, a test bench.

    Outgoing: `transmit(packet)` is called with the bytes of each packet, complete and at most the MTU. It answers
    False, or raises BlockingIOError, to be offered the packet again after `writable` is called; any other answer
    means taken. Any other OSError loses the packet and is counted in `tx_errors`.

    Incoming, either way or both: the owner calls `deliver(packet)`; or `poll()` answers the next packet, None (or
    BlockingIOError) when there is none now, and is asked whenever `fileno` is readable or `readable` was called.

    `deliver`, `readable` and `writable` call the `set_notify` callback at once. The event loop's thread must call
    them; from another thread go through `loop.call_soon_threadsafe(link.deliver, packet)`.
    """

    def __init__(
        self,
        transmit: Callable[[bytes], object],
        *,
        poll: Callable[[], bytes | None] | None = None,
        fileno: int = -1,
        name: str = "callable0",
        mtu: int = 1500,
        ethernet: bool = False,
        mac: bytes = b"",
        queue_packets: int = 1024,
        batch_packets: int = 64,
        join: bool = False,
    ) -> None:
        """`queue_packets` bounds what was delivered and waits; more is dropped and counted in `rx_dropped`.

        `join`: batches are put through `link.coalesce.coalesce`.
        """
        super().__init__(name, mtu, ethernet=ethernet, mac=mac, tx_csum=True, gso_max_size=MAX_PACKET)
        if mtu < 1 or queue_packets < 1 or batch_packets < 1:
            raise ValueError("mtu, queue_packets and batch_packets must be at least 1")
        if fileno >= 0 and poll is None:
            raise ValueError("a fileno needs poll: what would be called when it is readable?")
        self.queue_packets = queue_packets
        self.batch_packets = batch_packets
        self.join = join
        self._transmit = transmit
        self._poll = poll
        self._fileno = fileno
        self._queue: deque[bytes] = deque()
        self._unsent: deque[bytes] = deque()
        self._unsent_of: Packet | None = None
        self._notify: Callable[[], None] | None = None
        self._notified = False
        self._closed = False

    def fileno(self) -> int:
        return -1 if self._closed else self._fileno

    def set_notify(self, callback: Callable[[], None] | None) -> None:
        self._notify = callback
        self._notified = False
        if self._queue:
            self.readable()

    def deliver(self, packet: bytes | bytearray | memoryview) -> bool:
        """A packet came in; False when the queue was full (or the link is closed) and it was dropped."""
        if self._closed or len(self._queue) >= self.queue_packets:
            self.counters.rx_dropped += 1
            return False
        self._queue.append(bytes(packet))
        self.readable()
        return True

    def readable(self) -> None:
        """`poll` has something."""
        if self._notify is not None and not self._notified:
            self._notified = True
            self._notify()

    def writable(self) -> None:
        """`transmit` has room again after it refused."""
        self.readable()

    def receive(self) -> list[Packet]:
        self._notified = False
        if self._closed:
            return []
        queue = self._queue
        batch: list[Packet] = []
        size = 0
        while len(batch) < self.batch_packets:
            if queue:
                data: bytes | None = queue.popleft()
            elif self._poll is not None:
                try:
                    data = self._poll()
                except BlockingIOError:
                    break
            else:
                break
            if data is None:
                break
            size += len(data)
            batch.append(Packet(bytes(data)))
        else:
            # The batch is full: there may be more.
            self.readable()
        if batch:
            counters = self.counters
            counters.rx_batches += 1
            counters.rx_packets += len(batch)
            counters.rx_bytes += size
            if self.join:
                batch = coalesce(batch, self.ethernet)
        return batch

    def send(self, packet: Packet) -> bool:
        if self._closed:
            self.counters.tx_dropped += 1
            return True
        unsent = self._unsent
        if packet is not self._unsent_of:
            if not self._drain():
                self.counters.tx_refused += 1
                return False
            try:
                # Cutting here costs less than a round through the stack for each segment.
                parts = segment(packet, self.ethernet)
            except ValueError:
                self.counters.tx_errors += 1
                return True
            if packet.gso_type:
                self.counters.tx_cut += 1
            if packet.csum_start:
                self.counters.tx_completed += len(parts)
            for part in parts:
                unsent.append(part.to_bytes())
        if self._drain():
            self._unsent_of = None
            return True
        self._unsent_of = packet
        self.counters.tx_refused += 1
        return False

    def _drain(self) -> bool:
        """Send what is cut and waits; False when refused."""
        unsent = self._unsent
        counters = self.counters
        while unsent:
            data = unsent[0]
            try:
                if self._transmit(data) is False:
                    return False
                counters.tx_packets += 1
                counters.tx_bytes += len(data)
            except BlockingIOError:
                return False
            except OSError:
                counters.tx_errors += 1
            unsent.popleft()
        return True

    def close(self) -> None:
        self._closed = True
        self._queue.clear()
        self._unsent.clear()
        self._unsent_of = None
        self._notify = None
