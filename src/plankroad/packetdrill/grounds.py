"""The virtual ground of a run: its stack configured by a profile, its commands by the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plankroad.packetdrill.errors import ScriptError
from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.virtual import VirtualGround


def virtual_ground(settings: Settings, profile: str, commands: Sequence[Path], directory: Path) -> VirtualGround:
    """Raises ScriptError for a profile or a file of commands that cannot be used."""
    if profile:
        raise ScriptError(f"there is no profile {profile!r}")
    if commands:
        raise ScriptError(f"{commands[0]}: commands cannot be added")
    return VirtualGround(settings)
