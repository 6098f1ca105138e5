"""What a stack tells of itself: counters, netstat, connections."""

from __future__ import annotations

import asyncio

from plankroad.sim.topology import Network


def test_counters_connections_and_netstat_tell_what_happened() -> None:
    net = Network(seed=1)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, delay="10ms")

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))

        server = await b.aio.start_server(serve, port=7)
        reader, writer = await a.aio.open_connection("b", 7)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        [connection] = a.aio.connections()
        assert connection["remote"] == b.address or ":" in str(connection["remote"])
        assert (connection["remote_port"], connection["state"]) == (7, "ESTABLISHED")
        assert connection["rtt"] == 20_000
        assert connection["bytes_acked"] == 5
        info = writer.get_extra_info("tcp_info")
        assert info == {name: value for name, value in connection.items() if name in info}
        assert (info["state"], info["rtt"], info["bytes_received"]) == ("ESTABLISHED", 20_000, 5)
        counters = a.aio.counters()
        assert counters["tcp"]["active_opens"] == 1
        assert counters["tcp"]["bytes_received"] == 5
        assert "1 active opens" in a.aio.netstat()
        assert "1 passive opens" in b.aio.netstat()
        writer.close()
        server.close()

    net.run(main())
