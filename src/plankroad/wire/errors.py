"""The one exception that a parser of foreign bytes may raise."""

from __future__ import annotations


class BadPacket(ValueError):  # noqa: N818 - the name the rest of the house catches
    """The bytes are no well-formed header or message of the kind asked for; the text says what is wrong."""
