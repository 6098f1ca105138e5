"""The deadlines of all endpoints: a heap with lazy deletion.

Theory of operation. A connection moves its deadlines with nearly every segment, nearly always to later. So a heap
entry is only a promise to look again: an endpoint whose deadline moves to later keeps its entry, and gets a new one
when that comes to the top. `wanted` holds the deadlines that count; an endpoint without a deadline is not in it. Each
operation costs O(log n) at the worst and a dict access mostly; no walk over endpoints happens but the rebuilding
when more than half of the heap is out of date, which the operations since the last one have paid for.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from plankroad.endpoint import Endpoint
from plankroad.units import NEVER


class TimerHeap:
    """Which endpoint is due when. Endpoints that are due at the same time come in the order they were filed."""

    __slots__ = ("count", "filed", "heap", "wanted")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Endpoint]] = []
        self.wanted: dict[Endpoint, int] = {}
        self.filed: dict[Endpoint, int] = {}  # the time of the entry that counts
        self.count: int = 0

    def __len__(self) -> int:
        """Endpoints with a deadline."""
        return len(self.wanted)

    def set(self, endpoint: Endpoint, deadline: int) -> None:
        """The endpoint's only deadline is now this; `NEVER` takes it out."""
        if deadline >= NEVER:
            if self.wanted.pop(endpoint, -1) >= 0:
                self.trim()
            return
        self.wanted[endpoint] = deadline
        if deadline < self.filed.get(endpoint, NEVER):
            self.push(endpoint, deadline)

    def next_timeout(self) -> int:
        """The earliest deadline; `NEVER` where there is none."""
        heap = self.heap
        while heap:
            when, _, endpoint = heap[0]
            wanted = self.wanted.get(endpoint, NEVER)
            if wanted == when:
                return when
            heappop(heap)
            if self.filed.get(endpoint, NEVER) == when:
                del self.filed[endpoint]
                if wanted < NEVER:
                    self.push(endpoint, wanted)
        return NEVER

    def pop_due(self, now: int) -> Endpoint | None:
        """An endpoint whose deadline has come, which it thereby loses; None where there is no more."""
        if self.next_timeout() > now:
            return None
        when, _, endpoint = heappop(self.heap)
        del self.wanted[endpoint]
        if self.filed.get(endpoint, NEVER) == when:
            del self.filed[endpoint]
        return endpoint

    def push(self, endpoint: Endpoint, deadline: int) -> None:
        """File an entry."""
        self.count += 1
        self.filed[endpoint] = deadline
        heappush(self.heap, (deadline, self.count, endpoint))
        self.trim()

    def trim(self) -> None:
        """Rebuild the heap where most of it is out of date: it holds at most twice what it needs, and a few."""
        if len(self.heap) <= 2 * len(self.wanted) + 64:
            return
        self.filed.clear()
        heap = self.heap
        heap.clear()
        for endpoint, deadline in self.wanted.items():
            self.count += 1
            self.filed[endpoint] = deadline
            heap.append((deadline, self.count, endpoint))
        heapify(heap)
