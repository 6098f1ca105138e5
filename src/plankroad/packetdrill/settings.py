"""The options of a script, `--name=value` at its top, as `Settings`; those of the command line come after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.ground import IPV4, IPV6, MAPPED, Settings
from plankroad.packetdrill.syntax import Option
from plankroad.units import MICROSECOND
from plankroad.wire.address import ip_to_bytes

_VERSIONS: Final = (IPV4, MAPPED, IPV6)


def settings_of(options: Iterable[Option], ip_version: str = IPV4) -> Settings:
    """What a run's options say; of several of one name the last counts. Raises BadScriptError naming what is wrong."""
    options = list(options)
    for option in options:
        if option.name == "ip_version":
            if option.value not in _VERSIONS:
                raise _wrong(option, " or ".join(_VERSIONS))
            ip_version = option.value
    settings = Settings(ip_version)
    for option in options:
        apply_option(settings, option)
    return settings


def apply_option(settings: Settings, option: Option) -> None:
    """Change what `option` is about."""
    if option.name == "ip_version":
        return
    setter = _SETTERS.get(option.name)
    if setter is None:
        raise BadScriptError(
            option.where,
            f'found the option "--{option.name}", expected one of {", ".join(sorted(["ip_version", *_SETTERS]))}',
        )
    setter(settings, option)


def _wrong(option: Option, wanted: str) -> BadScriptError:
    return BadScriptError(option.where, f'found "--{option.name}={option.value}", expected {wanted}')


def _number(option: Option, low: int, high: int) -> int:
    try:
        value = int(option.value, 0)
    except ValueError:
        raise _wrong(option, "a number") from None
    if not low <= value <= high:
        raise _wrong(option, f"a number from {low} to {high}")
    return value


def _address(settings: Settings, option: Option) -> bytes:
    try:
        address = ip_to_bytes(option.value)
    except ValueError:
        address = b""
    size = 16 if settings.ip_version == IPV6 else 4
    if len(address) != size:
        raise _wrong(option, f"an IPv{6 if size == 16 else 4} address")
    return address


def _local(settings: Settings, option: Option) -> None:
    settings.local = _address(settings, option)


def _remote(settings: Settings, option: Option) -> None:
    settings.remote = _address(settings, option)


def _gateway(settings: Settings, option: Option) -> None:
    settings.gateway = _address(settings, option)


def _link_local(settings: Settings, option: Option) -> None:
    settings.local_link_local = _address(settings, option)


def _netmask(settings: Settings, option: Option) -> None:
    if option.value.isdigit():
        settings.prefix = _number(option, 0, len(settings.local) * 8)
        return
    bits = int.from_bytes(_address(settings, option), "big")
    size = len(settings.local) * 8
    prefix = bin(bits).count("1")
    if bits != (1 << size) - (1 << (size - prefix)):
        raise _wrong(option, "a netmask whose ones come first")
    settings.prefix = prefix


def _mtu(settings: Settings, option: Option) -> None:
    settings.mtu = _number(option, 1280 if settings.ip_version == IPV6 else 68, 65535)


def _mss(settings: Settings, option: Option) -> None:
    settings.mss = _number(option, 0, 65535)


def _tolerance(settings: Settings, option: Option) -> None:
    settings.tolerance = _number(option, 0, 10**9) * MICROSECOND


def _percent(settings: Settings, option: Option) -> None:
    try:
        percent = float(option.value)
    except ValueError:
        raise _wrong(option, "a number") from None
    if not 0 <= percent <= 100:
        raise _wrong(option, "a number from 0 to 100")
    settings.tolerance_percent = percent


def _tick(settings: Settings, option: Option) -> None:
    settings.tick = _number(option, 0, 10**9) * MICROSECOND


def _bind_port(settings: Settings, option: Option) -> None:
    settings.bind_port = _number(option, 1, 65535)


def _connect_port(settings: Settings, option: Option) -> None:
    settings.connect_port = _number(option, 1, 65535)


def _speed(settings: Settings, option: Option) -> None:
    settings.speed = _number(option, 0, 10**12)


def _seed(settings: Settings, option: Option) -> None:
    settings.seed = _number(option, 0, (1 << 64) - 1)


def _scale(settings: Settings, option: Option) -> None:
    if option.value not in ("", "0", "1"):
        raise _wrong(option, "no value, 0 or 1")
    settings.scale_echoes = option.value != "0"


def _strict(settings: Settings, option: Option) -> None:
    if option.value not in ("", "0", "1"):
        raise _wrong(option, "no value, 0 or 1")
    settings.strict_segments = option.value != "0"


_SETTERS: Final[dict[str, Callable[[Settings, Option], None]]] = {
    "bind_port": _bind_port,
    "connect_port": _connect_port,
    "gateway_ip": _gateway,
    "local_ip": _local,
    "local_linklocal_ip": _link_local,
    "mss": _mss,
    "mtu": _mtu,
    "netmask_ip": _netmask,
    "remote_ip": _remote,
    "seed": _seed,
    "speed": _speed,
    "strict_segments": _strict,
    "tcp_ts_ecr_scaled": _scale,
    "tcp_ts_tick_usecs": _tick,
    "tolerance_percent": _percent,
    "tolerance_usecs": _tolerance,
}
