"""Fixtures of tests against the Linux kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interop.netns import Namespace, namespace


@pytest.fixture
def ns() -> Iterator[Namespace]:
    """A network namespace of the test's own."""
    with namespace() as made:
        yield made
