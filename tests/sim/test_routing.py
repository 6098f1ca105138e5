"""Shortest paths: what routers install."""

from __future__ import annotations

from plankroad.sim.routing import Attachment, Graph, Way, ways_of


def address(segment: int, number: int) -> list[tuple[bytes, int]]:
    return [(bytes([10, 0, segment, number]), 24)]


class Plan:
    """A graph in the making: links between named nodes."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []
        self.segments = 0

    def link(self, a: str, b: str, cost: int = 1) -> tuple[Attachment, Attachment]:
        number = self.segments
        self.segments += 1
        ends = (Attachment(a, number, cost, address(number, 1)), Attachment(b, number, cost, address(number, 2)))
        for end in ends:
            end.segment = number
            self.attachments.append(end)
        return ends

    def graph(self, *forwarding: str) -> Graph:
        return Graph(self.attachments, forwarding)


def shown(ways: list[Way]) -> dict[str, list[str]]:
    return {f"{'.'.join(map(str, way.prefix))}/{way.length}": [other.node for _, other in way.hops] for way in ways}


def test_a_host_with_one_router_has_a_default_route() -> None:
    plan = Plan()
    plan.link("a", "r")
    plan.link("r", "b")
    assert shown(ways_of(plan.graph("r"), "a", [4])) == {"0.0.0.0/0": ["r"]}


def test_a_host_without_a_router_has_no_route() -> None:
    plan = Plan()
    plan.link("a", "b")
    assert ways_of(plan.graph(), "a", [4]) == []


def test_routers_know_each_subnet_by_the_cheapest_way() -> None:
    plan = Plan()
    plan.link("r1", "r2", cost=10)
    plan.link("r1", "r3")
    plan.link("r3", "r2")
    plan.link("r2", "host")
    ways = ways_of(plan.graph("r1", "r2", "r3"), "r1", [4])
    assert shown(ways) == {"10.0.2.0/24": ["r3"], "10.0.3.0/24": ["r3"]}
    assert {way.cost for way in ways} == {1, 2}


def test_equal_ways_are_all_there_in_the_order_of_the_links() -> None:
    plan = Plan()
    for middle in ("m1", "m2", "m3"):
        plan.link("r1", middle)
        plan.link(middle, "r2")
    plan.link("r2", "host")
    ways = shown(ways_of(plan.graph("r1", "r2", "m1", "m2", "m3"), "r1", [4]))
    assert ways["10.0.6.0/24"] == ["m1", "m2", "m3"]


def test_hosts_pass_nothing_on() -> None:
    plan = Plan()
    plan.link("r1", "host")
    plan.link("host", "r2")
    plan.link("r2", "far")
    plan.link("r1", "r3")
    # The host's other address is reached through it; what lies behind is not.
    assert shown(ways_of(plan.graph("r1", "r2", "r3"), "r1", [4])) == {"10.0.1.0/24": ["host"]}


def test_a_dead_link_is_left_out_and_its_addresses_are_reached_by_other_links() -> None:
    plan = Plan()
    plan.link("a", "r1")
    ends = plan.link("r1", "b")
    plan.link("r1", "r2")
    plan.link("r2", "b")
    before = shown(ways_of(plan.graph("r1", "r2"), "r1", [4]))
    assert before == {"10.0.3.0/24": ["r2", "b"]}
    for end in ends:
        end.up = False
    after = shown(ways_of(plan.graph("r1", "r2"), "r1", [4]))
    assert after == {"10.0.1.2/32": ["r2"], "10.0.3.0/24": ["r2"]}


def test_a_segment_with_many_joins_them_all() -> None:
    attachments = []
    for i, node in enumerate(("a", "b", "r")):
        attachment = Attachment(node, i, 1, address(0, i + 1))
        attachment.segment = 0
        attachments.append(attachment)
    up = Attachment("r", 3, 1, address(1, 1))
    up.segment = 1
    far = Attachment("far", 4, 1, address(1, 2))
    far.segment = 1
    graph = Graph([*attachments, up, far], ["r"])
    assert shown(ways_of(graph, "a", [4])) == {"0.0.0.0/0": ["r"]}
    assert ways_of(graph, "r", [4]) == []
    assert {hop[1].node for hop in graph.neighbours("b")} == {"a", "r"}


def test_a_family_needs_addresses_all_the_way() -> None:
    plan = Plan()
    plan.link("a", "r")
    plan.link("r", "b")
    for attachment in plan.attachments:
        if attachment.node != "b":
            attachment.addresses.append((bytes(15) + bytes([attachment.number + 1]), 64))
    graph = plan.graph("r")
    assert [len(way.prefix) for way in ways_of(graph, "a", [4, 16])] == [4, 16]
    assert [len(way.prefix) for way in ways_of(graph, "b", [4, 16])] == [4]
