"""`plankroad.testing.world`: blocking programs on simulated hosts, in virtual time."""

from __future__ import annotations

import errno
import http.client
import select
import socket

import pytest

from plankroad.sim.errors import DeadlockError
from plankroad.testing.sockets import Socket
from plankroad.testing.world import Machine, World


def echo(listener: Socket) -> None:
    """Serve one connection: all that comes goes back."""
    conn, _ = listener.accept()
    with conn:
        while data := conn.recv(4096):
            conn.sendall(data)


def test_a_call_takes_the_time_that_the_network_takes_and_no_more() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        world.start(echo, server.create_server(("", 80)))
        sock = client.socket()
        sock.connect(("server", 80))
        assert world.now == 0.010
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        assert world.now == 0.020


def test_the_examples_docstring_holds() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")

        def serve() -> None:
            listener = server.socket()
            listener.bind(("", 80))
            listener.listen()
            conn, _ = listener.accept()
            conn.sendall(conn.recv(100).upper())
            conn.close()

        world.start(serve)
        sock = client.socket()
        sock.connect(("server", 80))
        sock.sendall(b"hello")
        assert sock.recv(100) == b"HELLO"
        assert sock.recv(100) == b""


def transfer(seed: int) -> tuple[str, float]:
    """A megabyte over a bad link, both programs blocking; what the network saw and when it was over."""
    with World(seed) as world:
        client, server = world.pair(delay="10ms", rate="20Mbit/s", loss=0.02, duplicate=0.02)
        data = bytes(range(256)) * 4096
        received = bytearray()

        def read(listener: Socket) -> int:
            conn, _ = listener.accept()
            with conn:
                while piece := conn.recv(65536):
                    received.extend(piece)
            return len(received)

        program = world.start(read, server.create_server(("", 80)))
        with client.create_connection(("server", 80)) as sock:
            sock.sendall(data)
        assert program.join() == len(data)
        assert bytes(received) == data
        return str(sorted(world.network.counters().items())), world.now


def test_two_runs_with_one_seed_are_the_same() -> None:
    assert transfer(7) == transfer(7)
    assert transfer(7) != transfer(8)


def test_a_time_out_is_a_timeout_error_at_its_moment_and_the_socket_lives_on() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")

        def serve(listener: Socket) -> None:
            conn, _ = listener.accept()
            world.sleep(2)
            conn.sendall(b"late")
            conn.close()

        world.start(serve, server.create_server(("", 80)))
        sock = client.create_connection(("server", 80))
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        assert world.now == pytest.approx(0.510)
        sock.settimeout(None)
        assert sock.recv(10) == b"late"


def test_what_would_wait_raises_where_it_must_not() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.create_server(("", 80))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        sock = client.socket()
        sock.setblocking(False)
        assert sock.connect_ex(("server", 80)) == errno.EINPROGRESS
        assert client.poll([(sock, select.POLLOUT)], 1.0) == [(sock, select.POLLOUT)]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        world.sleep("5ms")  # the ACK arrives
        conn, peer = listener.accept()
        assert peer == sock.getsockname()
        assert conn.getpeername() == peer
        conn.sendall(b"x")
        assert client.poll([(sock, select.POLLIN)]) == [(sock, select.POLLIN)]
        assert sock.recv(1) == b"x"
        assert client.poll([(sock, select.POLLIN)], 0.25) == []


def test_errors_are_those_of_pythons_sockets() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        with pytest.raises(ConnectionRefusedError):
            client.create_connection(("server", 81))
        listener = server.create_server(("", 80))
        with pytest.raises(OSError, match=r".") as raised:
            server.create_server(("", 80))
        assert raised.value.errno == errno.EADDRINUSE
        sock = client.create_connection(("server", 80))
        conn, _ = listener.accept()
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        conn.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        with pytest.raises(BrokenPipeError):
            sock.sendall(b"x")
        with pytest.raises(OSError, match="no host named 'nobody'"):
            client.create_connection(("nobody", 80))


def test_a_blocking_writer_waits_for_a_reader_that_is_slow() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.create_server(("", 80))
        sock = client.create_connection(("server", 80))
        conn, _ = listener.accept()
        data = bytes(8 << 20)

        def write() -> float:
            sock.sendall(data)
            sock.close()
            return world.now

        writer = world.start(write)
        world.sleep(10)
        assert not writer.done
        count = 0
        while piece := conn.recv(1 << 20):
            count += len(piece)
        assert count == len(data)
        assert writer.join() > 10


def test_urgent_data_is_kept_apart_and_inline_where_asked() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.create_server(("", 80))
        sock = client.create_connection(("server", 80))
        conn, _ = listener.accept()
        sock.send(b"abc", socket.MSG_OOB)
        sock.sendall(b"def")
        world.sleep(1)
        assert conn.recv(1, socket.MSG_OOB) == b"c"
        assert conn.recv(100) == b"ab"
        assert conn.recv(100) == b"def"
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.send(b"x", socket.MSG_OOB)
        world.sleep(1)
        with pytest.raises(OSError, match=r".") as raised:
            conn.recv(1, socket.MSG_OOB)
        assert raised.value.errno == errno.EINVAL
        assert conn.recv(100) == b"x"


def test_flags_of_recv() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.create_server(("", 80))
        sock = client.create_connection(("server", 80))
        conn, _ = listener.accept()
        sock.sendall(b"0123456789")
        world.sleep(1)
        assert conn.recv(4, socket.MSG_PEEK) == b"0123"
        assert conn.recv(4) == b"0123"

        def more() -> None:
            world.sleep(1)
            sock.sendall(b"abc")

        world.start(more)
        assert conn.recv(9, socket.MSG_WAITALL) == b"456789abc"
        assert world.now > 2


def test_datagrams() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        service = server.socket(type=socket.SOCK_DGRAM)
        service.bind(("", 53))
        sock = client.socket(type=socket.SOCK_DGRAM)
        sock.sendto(b"question", ("server", 53))
        data, peer = service.recvfrom(100)
        assert data == b"question"
        service.sendto(b"a long answer", peer)
        data, _, flags, name = sock.recvmsg(6)
        assert (data, flags) == (b"a long", socket.MSG_TRUNC)
        assert name == (server.address, 53)
        sock.connect(("server", 54))
        sock.send(b"to nobody")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)


@pytest.mark.parametrize("v6only", [0, 1])
def test_an_ipv6_socket_speaks_ipv4_unless_told_not_to(v6only: int) -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.socket(socket.AF_INET6)
        listener.setsockopt(41, 26, v6only)
        listener.bind(("", 80))
        listener.listen()
        sock = client.socket()
        if v6only:
            with pytest.raises(ConnectionRefusedError):
                sock.connect(("server", 80))
            return
        sock.connect(("server", 80))
        _, peer = listener.accept()
        assert peer[0] == f"::ffff:{client.address}"


def test_the_standard_librarys_http_client_works_on_it() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")

        def serve(listener: Socket) -> None:
            conn, _ = listener.accept()
            with conn, conn.makefile("rb") as lines:
                while lines.readline() not in (b"\r\n", b""):
                    pass
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))

        world.start(serve, server.create_server(("", 80)))
        connection = http.client.HTTPConnection("server", 80)
        connection.sock = client.create_connection(("server", 80))
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, bytes(100_000))


def test_what_a_program_raises_comes_out_where_it_is_joined_or_at_the_end() -> None:
    def fail() -> None:
        raise LookupError("on purpose")

    with World() as world:
        program = world.start(fail)
        with pytest.raises(LookupError):
            program.join()
    world = World()
    world.start(fail)
    world.sleep(1)
    with pytest.raises(LookupError):
        world.__exit__(None, None, None)


def test_waiting_for_what_never_comes_is_a_deadlock_and_says_who_waits() -> None:
    with World() as world:
        _, server = world.pair(delay="5ms")
        program = world.start(server.create_server(("", 80)).accept, name="the server")
        with pytest.raises(DeadlockError, match="the server waits in accept4"):
            program.join()
        with pytest.raises(TimeoutError):
            program.join(timeout=3)
        assert world.now == 3.0


def test_programs_take_turns_in_the_order_of_their_beginnings() -> None:
    with World() as world:
        told: list[str] = []

        def tell(name: str) -> None:
            for _ in range(3):
                told.append(name)
                world.sleep("10ms")

        for name in "abc":
            world.start(tell, name)
        world.sleep(1)
        assert "".join(told) == "abcabcabc"


def test_the_end_of_a_world_ends_its_programs() -> None:
    with World() as world:
        _, server = world.pair()
        program = world.start(server.create_server(("", 80)).accept)
        world.sleep(1)
    assert program.done
    assert program.result is None
    with pytest.raises(RuntimeError, match="closed"):
        world.sleep(1)


def machines(world: World) -> tuple[Machine, Machine]:
    """Two hosts."""
    return world.pair(delay="5ms")


def test_half_close_and_end_of_file() -> None:
    with World() as world:
        client, server = machines(world)
        listener = server.create_server(("", 80))
        sock = client.create_connection(("server", 80))
        conn, _ = listener.accept()
        sock.shutdown(socket.SHUT_WR)
        assert conn.recv(1) == b""
        conn.sendall(b"still")
        assert sock.recv(100) == b"still"
        with pytest.raises(BrokenPipeError):
            sock.sendall(b"x")
        conn.close()
        assert sock.recv(1) == b""
