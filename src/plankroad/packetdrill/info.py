"""`tcp_info` as scripts see it: the members of Linux's struct by name (`tcpi_snd_cwnd`), in Linux's meaning.

The meaning is that of tcp(7) and include/uapi/linux/tcp.h: counts are segments, times microseconds but for those that
tell how long ago something was (milliseconds), `tcpi_options` and `tcpi_ca_state` are numbers of TCPI_OPT_ and TCP_CA_.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plankroad.aio.tcpinfo import tcp_info_members

if TYPE_CHECKING:
    from plankroad.testing.tcpsocket import TcpSocket


def script_info(sock: TcpSocket) -> dict[str, int]:
    """What `getsockopt(TCP_INFO)` tells of `sock`, by member."""
    listener = sock.listener
    if listener is not None:
        # tcp(7): of a listening socket the lengths of its queue: how many wait, and how many may.
        members = tcp_info_members({"state": "LISTEN"})
        members["tcpi_unacked"] = len(listener.ready)
        members["tcpi_sacked"] = listener.backlog
        return members
    conn = sock.conn
    return tcp_info_members(conn.info(sock.table.now()) if conn is not None else {"state": "CLOSED"})
