"""Profiles: what scripts assume of a system that no RFC says, as choices of `TcpConfig`, `StackConfig` and the sockets.

A profile is a TOML file with the tables `[tcp]`, `[stack]` and `[sockets]`, whose keys are fields of `TcpConfig`,
`StackConfig` and `SocketPolicy`, and `[link]` with the key `gso_max_size`: the largest super-segment that the device
takes, in bytes. Times are text with a unit ("200ms"), sizes numbers or text ("64KiB"). A key that is
not known, or a value that a field does not take, is an error. Nothing in a profile bends what the runner checks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from plankroad.packetdrill.errors import ScriptError
from plankroad.sim.quantity import parse_size, parse_time
from plankroad.stack.config import StackConfig
from plankroad.tcp.config import TcpConfig
from plankroad.testing.syscalls import SocketPolicy

#: Fields that are nanoseconds.
TIMES: Final = frozenset(
    {
        "cork_limit",
        "delayed_ack",
        "fast_open_blackhole",
        "fast_open_key_lifetime",
        "fast_open_wait",
        "fin_timeout",
        "initial_rto",
        "ipv4_reassembly",
        "ipv6_reassembly",
        "keepalive_idle",
        "keepalive_interval",
        "linger",
        "max_ack_delay",
        "max_rto",
        "min_rto",
        "msl",
        "orphan_timeout",
        "path_mtu_lifetime",
        "r2",
        "syn_timeout",
        "user_timeout",
        "user_timeout_max",
        "user_timeout_min",
    }
)

#: Fields that a table of text has no form for.
_NOT_HERE: Final = ("tcp", "neighbours", "source_route")


class Profile:
    """Values by field for each of the tables. `name`: what it was asked for as."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.tcp: dict[str, Any] = {}
        self.stack: dict[str, Any] = {}
        self.sockets: dict[str, Any] = {}
        self.link: dict[str, Any] = {}

    def stack_config(self) -> StackConfig:
        """A configuration with these values. Raises ScriptError for one that it does not take."""
        config = StackConfig()
        for name, value in self.tcp.items():
            setattr(config.tcp, name, value)
        for name, value in self.stack.items():
            setattr(config, name, value)
        try:
            config.validate()
        except ValueError as error:
            raise ScriptError(f"the profile {self.name}: {error}") from None
        return config

    def apply_to(self, policy: SocketPolicy) -> None:
        """What the sockets' policy is."""
        for name, value in self.sockets.items():
            setattr(policy, name, value)


def built_in() -> list[str]:
    """The names of the profiles that come with plankroad."""
    folder = resources.files("plankroad.packetdrill") / "profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_profile(name: str) -> Profile:
    """The profile of a name that is built in, or of a file; an empty one for "". Raises ScriptError."""
    if not name:
        return Profile()
    if name in built_in():
        text = (resources.files("plankroad.packetdrill") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    else:
        path = Path(name)
        if path.suffix != ".toml" and not path.exists():
            raise ScriptError(
                f"there is no profile {name!r}; built in: {', '.join(built_in())}; or name a .toml file"
            )
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ScriptError(f"the profile {name} cannot be read: {why}") from None
    return parse_profile(text, name)


def parse_profile(text: str, name: str) -> Profile:
    """The profile that `text` is. Raises ScriptError with the name, the table and the key of what is wrong."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"the profile {name}: {error}") from None
    profile = Profile(name)
    for table, known, into in (
        ("tcp", _fields(TcpConfig()), profile.tcp),
        ("stack", _fields(StackConfig()), profile.stack),
        ("sockets", vars(SocketPolicy()), profile.sockets),
        ("link", {"gso_max_size": 0}, profile.link),
    ):
        values = tables.pop(table, {})
        if not isinstance(values, dict):
            raise ScriptError(f"the profile {name}: {table} must be a table")
        for key, value in values.items():
            if key not in known:
                raise ScriptError(
                    f"the profile {name}: [{table}] has no key {key!r}; it has {', '.join(sorted(known))}"
                )
            into[key] = _value(f"the profile {name}: {table}.{key}", key, value, known[key])
    for key in tables:
        raise ScriptError(
            f"the profile {name}: there is no table [{key}]; there are [tcp], [stack], [sockets] and [link]"
        )
    profile.stack_config()
    if not 0 <= profile.link.get("gso_max_size", 0) <= 65535:
        raise ScriptError(f"the profile {name}: link.gso_max_size must be from 0 to 65535")
    return profile


def _fields(config: TcpConfig | StackConfig) -> Mapping[str, Any]:
    names = config.__dataclass_fields__
    return {name: getattr(config, name) for name in names if name not in _NOT_HERE}


def _value(where: str, key: str, value: object, default: object) -> object:
    """`value` as a field with this default takes it."""
    if isinstance(default, bool) or isinstance(value, bool):
        if isinstance(default, bool) and isinstance(value, bool):
            return value
        raise ScriptError(
            f"{where} is {value!r}; it must be {'true or false' if isinstance(default, bool) else 'a value'}"
        )
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise ScriptError(f"{where} is {value!r}; it must be text")
    if key in TIMES:
        if isinstance(value, str):
            try:
                return parse_time(value, where)
            except ValueError as error:
                raise ScriptError(str(error)) from None
        if value == -1:
            return -1
        raise ScriptError(f'{where} is {value!r}; it must be text with a unit, as "200ms"')
    if isinstance(value, str):
        try:
            return parse_size(value, where)
        except ValueError as error:
            raise ScriptError(str(error)) from None
    if not isinstance(value, int):
        raise ScriptError(f"{where} is {value!r}; it must be a whole number")
    return value
