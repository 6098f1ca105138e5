"""What the commands on a TUN device have in common: its options, the stack on it, and the end by a signal."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from plankroad.aio.open import neighbour_address, open_tun
from plankroad.aio.resolver import SystemResolver
from plankroad.aio.stack import AsyncStack
from plankroad.cli.errors import Failure, one_line
from plankroad.cli.values import ADDRESS
from plankroad.wire.address import ip_to_bytes, is_loopback
from plankroad.wire.constants import IPV6_MIN_MTU

#: Where nothing is said. Private networks (RFC 1918, RFC 4193) that few have in use.
DEFAULT_ADDRESSES: Final[tuple[str, ...]] = ("10.97.0.2/24", "fd00:97::2/64")

#: As a shell reports it: 128 and the signal's number.
TERMINATED: Final = 128 + signal.SIGTERM

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Place:
    """A TUN device and plankroad's addresses on it. `name`: "" lets the kernel number it. `mtu`: 0 = as it is."""

    name: str
    addresses: tuple[str, ...]
    mtu: int

    def open(self) -> AsyncStack:
        """The stack, on the running loop. Raises OSError and ValueError, whose texts say what to do."""
        return open_tun(self.name, address=self.addresses, mtu=self.mtu, resolver=SystemResolver())

    def kernel_addresses(self) -> list[str]:
        """What the kernel's end of a new device is given, without the prefix lengths."""
        found = (neighbour_address(address) for address in self.addresses)
        return [address.partition("/")[0] for address in found if address]

    def own_addresses(self) -> list[str]:
        """plankroad's, without the prefix lengths."""
        return [address.partition("/")[0] for address in self.addresses]


def tun_options(command: F) -> F:
    """Add --tun, --address and --mtu; the command gets them as `tun`, `address` and `mtu`."""
    shown = " and ".join(DEFAULT_ADDRESSES)
    for option in (
        click.option(
            "--mtu",
            type=click.IntRange(576, 65535),
            help="Of the device, in bytes of the IP packet.  [default: 1500]",
        ),
        click.option(
            "--address",
            type=ADDRESS,
            multiple=True,
            metavar="A/PREFIX",
            help="plankroad's own address, IPv4 or IPv6; may be given for both. The kernel's end of the device gets "
            f"the first other address of that network.  [default: {shown}]",
        ),
        click.option(
            "--tun",
            metavar="NAME",
            default="",
            help="The TUN device: made, set up and removed again; or one that is there already, which is left as it "
            "is.  [default: a new one, tun0 or the next]",
        ),
    ):
        command = option(command)
    return command


def place(tun: str, address: tuple[str, ...], mtu: int | None) -> Place:
    """The options as one object. The default addresses are without IPv6 where the MTU is too small for it."""
    default = DEFAULT_ADDRESSES
    if mtu and mtu < IPV6_MIN_MTU:
        default = tuple(one for one in default if ":" not in one)
    return Place(tun, address or default, mtu or 0)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end. Ctrl-C and SIGTERM cancel it, so that it closes what it opened; then the process ends with
    the signal's exit status. Raises `Failure` for errors that a person can act on.
    """
    if not sys.platform.startswith("linux"):
        main.close()
        raise Failure(f"TUN devices are Linux's; this is {sys.platform}. plankroad demo runs everywhere.")

    async def terminable() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await main

    with one_line():
        try:
            asyncio.run(terminable())
        except asyncio.CancelledError:
            sys.exit(TERMINATED)


async def address_of(stack: AsyncStack, where: Place, host: str, family: int = 0) -> str:
    """The address that `host` has for the stack. Raises `Failure` where it has none, or it is the stack's loopback."""
    if not host:
        raise Failure("no host was named")
    try:
        address = (await stack.resolve(host, family))[0]
    except OSError as exc:
        raise Failure(f"{host}: {exc.strerror or exc}") from exc
    if is_loopback(ip_to_bytes(address)):
        kernel = " or ".join(where.kernel_addresses()) or "the kernel's address on the device"
        raise Failure(f"{host} is plankroad itself, which has a loopback of its own; this machine is {kernel}")
    return address
