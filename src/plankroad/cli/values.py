"""Values with units on the command line: times, rates, sizes, probabilities, addresses."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TYPE_CHECKING, Any

import click

from plankroad.sim.quantity import parse_fraction, parse_rate, parse_size, parse_time

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic only since click 8.2


class Quantity(_ParamType):
    """Base: `read` raises ValueError, whose text becomes a usage error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except ValueError as exc:
            self.fail(str(exc).removeprefix(f"{self.name}: "), param, ctx)

    def read(self, text: str) -> Any:
        """The value that `text` stands for."""
        raise NotImplementedError


class Time(Quantity):
    """Nanoseconds, from "20ms" or a number of seconds."""

    name = "time"

    def read(self, text: str) -> int:
        return parse_time(text, self.name)


class Rate(Quantity):
    """Bits per second, from "10Mbit/s", "1MB/s", a number, or "unlimited" (0)."""

    name = "rate"

    def read(self, text: str) -> int:
        rate = parse_rate(text, self.name)
        if not rate and text != "unlimited":
            raise ValueError(f"{text!r} lets nothing through; for a link without a limit write unlimited")
        return rate


class Size(Quantity):
    """Bytes, from "3MB", "64KiB" or a number."""

    name = "size"

    def read(self, text: str) -> int:
        return parse_size(text, self.name)


class Fraction(Quantity):
    """A probability, from "5%" or "0.05"."""

    name = "probability"

    def read(self, text: str) -> float:
        number = text.strip()
        try:
            value = float(number[:-1]) / 100 if number.endswith("%") else float(number)
        except ValueError:
            raise ValueError(f"{text!r} is no probability; write 5% or 0.05") from None
        if not 0 <= value <= 1:
            raise ValueError(f"{text!r} is not from 0 % to 100 %; write 5% or 0.05")
        return parse_fraction(value, self.name)


class Address(Quantity):
    """An address with the length of its prefix, "10.9.0.2/24" or "fd09::2/64", as text in its shortest form."""

    name = "address/prefix"

    def read(self, text: str) -> str:
        try:
            interface = ip_interface(text)
        except ValueError:
            raise ValueError(
                f"{text!r} is no address with a prefix length such as 10.9.0.2/24 or fd09::2/64"
            ) from None
        if "/" not in text:
            raise ValueError(f"{text!r} has no prefix length; write for example {text}/{64 if ':' in text else 24}")
        reserved = reserved_as(interface)
        if reserved:
            raise ValueError(f"{text!r} is {reserved}, no address that a host can have on a device")
        return interface.with_prefixlen


def reserved_as(interface: IPv4Interface | IPv6Interface) -> str:
    """What kind of address it is, where no host can have it on a device; else empty."""
    address, network = interface.ip, interface.network
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_loopback:
        return "a loopback address"
    if address.is_multicast:
        return "a multicast address"
    # RFC 3021: a network of two addresses has neither.
    if address.version == 4 and network.prefixlen < 31:
        if address == network.network_address:
            return f"the address of {network} itself"
        if address == network.broadcast_address:
            return f"the broadcast address of {network}"
    return ""


TIME = Time()
RATE = Rate()
SIZE = Size()
FRACTION = Fraction()
ADDRESS = Address()
