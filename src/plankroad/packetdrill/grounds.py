"""The virtual ground of a run: its stack configured by a profile, its commands by the tables."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from plankroad.packetdrill.ground import Settings
from plankroad.packetdrill.profile import Profile, load_profile
from plankroad.packetdrill.virtual import VirtualGround


@functools.lru_cache(maxsize=16)
def _profile(name: str, changed: int) -> Profile:
    """A profile, read once for all scripts of a run; `changed` is the time at which its file was."""
    return load_profile(name)


def virtual_ground(settings: Settings, profile: str, commands: Sequence[Path], directory: Path) -> VirtualGround:
    """Raises ScriptError for a profile or a file of commands that cannot be used."""
    chosen = _profile(profile, Path(profile).stat().st_mtime_ns if profile and Path(profile).is_file() else 0)
    config = chosen.stack_config()
    # A host that pushes each super-segment has PSH where it happened to end one.
    settings.pushes_bursts = config.tcp.push_bursts > 0
    ground = VirtualGround(settings, config, chosen.link.get("gso_max_size", 0), directory, commands)
    chosen.apply_to(ground.table.policy)
    return ground
