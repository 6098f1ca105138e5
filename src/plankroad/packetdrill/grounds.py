"""The virtual ground of a run: its stack configured by a profile, its commands by the tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.profile import load_profile
from plankroad.packetdrill.virtual import VirtualGround


def virtual_ground(settings: Settings, profile: str, commands: Sequence[Path], directory: Path) -> VirtualGround:
    """Raises ScriptError for a profile or a file of commands that cannot be used."""
    chosen = load_profile(profile)
    ground = VirtualGround(settings, chosen.stack_config(), directory=directory, commands=commands)
    chosen.apply_to(ground.table.policy)
    return ground
