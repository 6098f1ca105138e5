"""The timer heap against a plain model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from plankroad.endpoint import Endpoint
from plankroad.stack.timers import TimerHeap
from plankroad.units import NEVER

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 9), st.integers(0, 1000)),
        st.tuples(st.just("clear"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 300)),
    ),
    max_size=200,
)


@given(STEPS)
def test_every_endpoint_is_due_at_its_last_deadline_and_once(steps: list[tuple[str, int, int]]) -> None:
    heap = TimerHeap()
    endpoints = [Endpoint() for _ in range(10)]
    model: dict[Endpoint, int] = {}
    now = 0
    for kind, which, value in steps:
        endpoint = endpoints[which]
        if kind == "set":
            heap.set(endpoint, now + value)
            model[endpoint] = now + value
        elif kind == "clear":
            heap.set(endpoint, NEVER)
            model.pop(endpoint, None)
        else:
            now += value
            due: list[Endpoint] = []
            while (found := heap.pop_due(now)) is not None:
                due.append(found)
            assert set(due) == {e for e, when in model.items() if when <= now}
            assert len(due) == len(set(due))
            assert [model[e] for e in due] == sorted(model[e] for e in due)
            model = {e: when for e, when in model.items() if when > now}
        assert heap.next_timeout() == min(model.values(), default=NEVER)
        assert len(heap) == len(model)
        assert len(heap.heap) <= 2 * len(heap) + 65


def test_a_deadline_that_only_moves_later_files_nothing_new() -> None:
    heap = TimerHeap()
    endpoint = Endpoint()
    heap.set(endpoint, 100)
    for when in range(101, 10_000):
        heap.set(endpoint, when)
    assert len(heap.heap) == 1
    assert heap.next_timeout() == 9_999


def test_endpoints_due_at_one_time_come_in_the_order_they_were_filed() -> None:
    heap = TimerHeap()
    endpoints = [Endpoint() for _ in range(50)]
    for endpoint in endpoints:
        heap.set(endpoint, 7)
    assert [heap.pop_due(7) for _ in endpoints] == endpoints


def test_an_endpoint_without_a_deadline_is_not_kept() -> None:
    heap = TimerHeap()
    for _ in range(10_000):
        endpoint = Endpoint()
        heap.set(endpoint, 1_000_000)
        heap.set(endpoint, NEVER)
    assert len(heap) == 0
    assert len(heap.heap) <= 65
    assert heap.next_timeout() == NEVER
    assert not heap.heap
    assert not heap.filed


def test_deadlines_that_move_earlier_again_and_again_do_not_pile_up() -> None:
    heap = TimerHeap()
    endpoint = Endpoint()
    for when in range(10_000, 0, -1):
        heap.set(endpoint, when)
    assert len(heap.heap) <= 67
    assert heap.pop_due(1) is endpoint
    assert heap.next_timeout() == NEVER
