"""At least 500 seeds of everything at once. A failure names its seed, and the seed alone runs it again."""

from __future__ import annotations

import pytest
from tests.volume import volume

from plankroad.testing.chaos import Chaos

#: Small parcels, so that they spread over the processors.
PARCEL = 10


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("first", range(0, volume(500, 100), PARCEL))
def test_nothing_is_lost_whatever_the_network_does(first: int) -> None:
    for seed in range(first, first + PARCEL):
        Chaos(seed).run()


def test_the_same_seed_tells_the_same_story() -> None:
    stories = []
    for _ in range(2):
        story = Chaos(7)
        story.run()
        stories.append((story.events, story.net.simulator.now, story.net.counters()))
    assert stories[0] == stories[1]


def test_a_story_that_goes_wrong_says_how_to_tell_it_again() -> None:
    story = Chaos(3)
    story.b.data += b"what nobody sends"
    story.a_host.stack.config.tcp.r2 = 0
    story.b.written = -17
    with pytest.raises(AssertionError, match=r"python -m plankroad\.testing\.chaos 3"):
        story.run()
