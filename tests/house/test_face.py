"""What `import plankroad` offers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import plankroad


@pytest.mark.parametrize("name", plankroad.__all__)
def test_each_name_of_the_face_is_there(name: str) -> None:
    assert getattr(plankroad, name) is not None
    assert name in dir(plankroad)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'plankroad' has no attribute 'sockets'"):
        plankroad.sockets  # noqa: B018


def test_types_and_homes_name_the_same() -> None:
    """mypy reads the imports under TYPE_CHECKING, Python the table: one must not say more than the other."""
    tree = ast.parse(Path(plankroad.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: statement.module
        for node in tree.body
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == plankroad._HOMES
