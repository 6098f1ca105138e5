"""TLS on a TCP transport, by asyncio's own `sslproto`: the same code as over kernel sockets.

`SSLProtocol` is private to asyncio; it is used here in the one way in which asyncio's event loops use it.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any, cast


class TlsOptions:
    """What `ssl=` and its companions say.

    `context` None means a default client context (`ssl=True`). `server_hostname` "" switches the check of the name
    off. Times are seconds, None for asyncio's defaults.
    """

    __slots__ = ("context", "handshake_timeout", "server_hostname", "server_side", "shutdown_timeout")

    def __init__(
        self,
        context: ssl.SSLContext | None,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        handshake_timeout: float | None = None,
        shutdown_timeout: float | None = None,
    ) -> None:
        self.context = context
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout

    def wrap(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
    ) -> asyncio.BufferedProtocol:
        """The protocol for the transport below; `protocol` is above TLS. `waiter` is done when the handshake is."""
        return sslproto.SSLProtocol(
            loop,
            protocol,
            cast("ssl.SSLContext", self.context),
            cast("asyncio.Future[Any]", waiter),
            self.server_side,
            self.server_hostname,
            ssl_handshake_timeout=cast("int | None", self.handshake_timeout),
            ssl_shutdown_timeout=self.shutdown_timeout,
        )


def app_transport(protocol: asyncio.BaseProtocol | None) -> asyncio.Transport | None:
    """The transport above TLS, where `protocol` is one that `TlsOptions.wrap` or `loop.start_tls` made; else None."""
    if isinstance(protocol, sslproto.SSLProtocol):
        return cast("asyncio.Transport | None", protocol._app_transport)
    return None
