"""One segment through every layer of two hosts and over the routers between them."""

from __future__ import annotations

from plankroad.cli.demo_scenario import Demo, Source, Weather
from plankroad.units import MILLISECOND


def weather(loss: float, seed: int = 1) -> Weather:
    return Weather(20_000_000, 20 * MILLISECOND, loss, 0.0, 0.0, 0.0, seed)


def test_a_segment_goes_down_over_the_routers_and_up() -> None:
    demo = Demo(weather(0.0), Source(50_000))
    demo.run()
    rows = [line.split(None, 2) for line in demo.journey.drawn().splitlines()]
    layers = [row[1] if row[0] in ("client", "west", "east", "server") else row[0] for row in rows]
    down = ["application", "transport", "internet", "link"]
    assert layers == [*down, "internet", "link", "internet", "link", "internet", "transport", "application"]
    assert [passage.ttl for passage in demo.journey.passages] == [64, 63, 62]
    times = [time for passage in demo.journey.passages for time in (passage.sent, passage.now)]
    assert times == sorted(times)
    assert demo.journey.octets == 1448
    assert demo.journey.arrived


def test_a_segment_that_is_lost_is_followed_until_a_copy_arrives() -> None:
    for seed in range(20):
        demo = Demo(weather(0.4, seed), Source(3000))
        demo.run()
        fates = [passage.fate for passage in demo.journey.passages]
        if any(fates):
            assert demo.journey.arrived
            assert "TCP will send it again" in demo.journey.drawn()
            assert demo.journey.drawn().count("client-west") >= 2
            return
    raise AssertionError("with 40 % loss no first segment of 20 was lost")
