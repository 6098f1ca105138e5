"""The system calls of `plankroad.testing.syscalls`: return values, errnos and what wakes whom, as on Linux."""

from __future__ import annotations

import errno
import struct

import pytest

from plankroad.testing import abi
from plankroad.testing.call import BadBuffer, SockName
from plankroad.testing.sockets import Socket
from plankroad.testing.syscalls import CallError
from plankroad.testing.world import Machine, World

EPOLLOUT = abi.POLLOUT
EPOLLIN = abi.POLLIN


class Bench:
    """A connection: the client's descriptor and the server's, and their machines."""

    def __init__(self) -> None:
        self.world = World()
        self.client, self.server = self.world.pair(delay="5ms")
        self.listener = self.server.create_server(("", 80))
        self.near: Socket = self.client.create_connection(("server", 80))
        self.far, _ = self.listener.accept()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()


def result(machine: Machine, kind: str, *arguments: object) -> tuple[int, int]:
    """Value and errno of a call that must be done at once."""
    call = machine.table.start(kind, *arguments)
    assert call.done, call
    return call.value, call.errno


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ((1, abi.SOCK_STREAM, 0), errno.EAFNOSUPPORT),
        ((abi.AF_INET, abi.SOCK_STREAM, abi.IPPROTO_UDP), errno.EPROTONOSUPPORT),
        ((abi.AF_INET, 3, 0), errno.ESOCKTNOSUPPORT),
        ((abi.AF_INET, abi.SOCK_STREAM | 0x100, 0), errno.EINVAL),
    ],
)
def test_sockets_that_there_are_not(arguments: tuple[int, int, int], number: int) -> None:
    with World() as world:
        assert result(world.host("a"), "socket", *arguments) == (-1, number)


def test_a_socket_that_is_not_connected() -> None:
    with World() as world:
        client, _ = world.pair()
        fd = client.socket().fileno()
        any_address = SockName(abi.AF_INET, bytes(4), 0)
        assert result(client, "read", fd, 10) == (-1, errno.ENOTCONN)
        assert result(client, "write", fd, b"x") == (-1, errno.EPIPE)
        assert result(client, "accept", fd) == (-1, errno.EINVAL)
        assert result(client, "shutdown", fd, abi.SHUT_WR) == (-1, errno.ENOTCONN)
        assert result(client, "shutdown", fd, 7) == (-1, errno.EINVAL)
        assert result(client, "getpeername", fd) == (-1, errno.ENOTCONN)
        assert result(client, "connect", fd, SockName(abi.AF_INET6, bytes(16), 80)) == (-1, errno.EAFNOSUPPORT)
        assert result(client, "poll", [(fd, abi.POLLIN | abi.POLLOUT)], 0) == (1, 0)
        assert result(client, "bind", fd, any_address) == (0, 0)
        assert result(client, "bind", fd, any_address) == (-1, errno.EINVAL)
        assert result(client, "close", fd) == (0, 0)
        assert result(client, "close", fd) == (-1, errno.EBADF)


def test_descriptors_are_the_lowest_that_are_free() -> None:
    with World() as world:
        machine = world.host("a")
        assert [machine.socket().fileno() for _ in range(3)] == [3, 4, 5]
        machine.call("close", 4)
        assert machine.socket().fileno() == 4


def test_what_connect_says_while_it_goes_on_and_after() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        server.create_server(("", 80))
        fd = client.socket().fileno()
        name = SockName(abi.AF_INET, bytes((10, 0, 0, 2)), 80)
        client.call("fcntl", fd, abi.F_SETFL, abi.O_NONBLOCK)
        assert result(client, "connect", fd, name) == (-1, errno.EINPROGRESS)
        assert result(client, "connect", fd, name) == (-1, errno.EALREADY)
        assert result(client, "write", fd, b"x") == (-1, errno.EAGAIN)
        world.sleep("20ms")
        assert result(client, "connect", fd, name) == (0, 0)
        assert result(client, "connect", fd, name) == (-1, errno.EISCONN)


def test_a_refused_connection_is_told_once() -> None:
    with World() as world:
        client, _ = world.pair(delay="5ms")
        fd = client.socket().fileno()
        client.call("fcntl", fd, abi.F_SETFL, abi.O_NONBLOCK)
        client.table.start("connect", fd, SockName(abi.AF_INET, bytes((10, 0, 0, 2)), 81))
        world.sleep("20ms")
        call = client.call("poll", [(fd, abi.POLLIN | abi.POLLOUT)], 0)
        assert call.ready[0][1] & (abi.POLLERR | abi.POLLHUP) == abi.POLLERR | abi.POLLHUP
        call = client.call("getsockopt", fd, abi.SOL_SOCKET, abi.SO_ERROR, 4)
        assert struct.unpack("i", call.data) == (errno.ECONNREFUSED,)
        call = client.call("getsockopt", fd, abi.SOL_SOCKET, abi.SO_ERROR, 4)
        assert struct.unpack("i", call.data) == (0,)


def test_pointers_to_nothing() -> None:
    with Bench() as bench:
        near, far = bench.near.fileno(), bench.far.fileno()
        assert result(bench.client, "write", near, BadBuffer(10)) == (-1, errno.EFAULT)
        bench.near.sendall(b"data")
        bench.world.sleep(1)
        assert result(bench.server, "read", far, BadBuffer(10)) == (-1, errno.EFAULT)
        assert bench.far.recv(10) == b"data"
        assert result(bench.server, "setsockopt", far, abi.SOL_SOCKET, abi.SO_KEEPALIVE, None) == (-1, errno.EFAULT)


def test_edge_triggered_epoll_tells_of_each_arrival_once() -> None:
    with Bench() as bench:
        server, fd = bench.server, bench.far.fileno()
        epfd = server.call("epoll_create1", 0).value
        server.call("epoll_ctl", epfd, abi.EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | abi.EPOLLET, 77)
        assert server.call("epoll_wait", epfd, 4, 0).ready == [(77, EPOLLOUT)]
        assert server.call("epoll_wait", epfd, 4, 0).ready == []
        for _ in range(2):
            bench.near.sendall(b"0123456789")
            bench.world.sleep(1)
            assert server.call("epoll_wait", epfd, 4, 0).ready == [(77, EPOLLIN | EPOLLOUT)]
            assert server.call("epoll_wait", epfd, 4, 0).ready == []
        assert bench.far.recv(5) == b"01234"
        assert server.call("epoll_wait", epfd, 4, 0).ready == []


def test_level_triggered_epoll_and_one_shot() -> None:
    with Bench() as bench:
        server, fd = bench.server, bench.far.fileno()
        epfd = server.call("epoll_create", 1).value
        server.call("epoll_ctl", epfd, abi.EPOLL_CTL_ADD, fd, EPOLLIN, 1)
        wait = server.table.start("epoll_wait", epfd, 4, -1)
        assert not wait.done
        bench.near.sendall(b"x")
        bench.world.finish(server.table, wait)
        assert wait.ready == [(1, EPOLLIN)]
        assert server.call("epoll_wait", epfd, 4, 0).ready == [(1, EPOLLIN)]
        server.call("epoll_ctl", epfd, abi.EPOLL_CTL_MOD, fd, EPOLLIN | abi.EPOLLONESHOT, 2)
        assert server.call("epoll_wait", epfd, 4, 0).ready == [(2, EPOLLIN)]
        assert server.call("epoll_wait", epfd, 4, 0).ready == []
        assert result(server, "epoll_ctl", epfd, abi.EPOLL_CTL_ADD, fd, EPOLLIN, 1) == (-1, errno.EEXIST)
        server.call("epoll_ctl", epfd, abi.EPOLL_CTL_DEL, fd, 0, 0)
        assert result(server, "epoll_ctl", epfd, abi.EPOLL_CTL_DEL, fd, 0, 0) == (-1, errno.ENOENT)


def test_files_are_sent_and_pipes_spliced() -> None:
    with Bench() as bench:
        client = bench.client
        client.table.files["/data"] = bytearray(b"0123456789")
        fd = client.call("open", "/data", abi.O_RDONLY).value
        call = client.call("sendfile", bench.near.fileno(), fd, 2, 5)
        assert (call.value, call.number) == (5, 7)
        assert client.call("sendfile", bench.near.fileno(), fd, None, 3).value == 3
        bench.world.sleep(1)
        assert bench.far.recv(100) == b"23456012"
        reader, writer = client.call("pipe").fds
        assert client.call("splice", fd, None, writer, None, 4, 0).value == 4
        assert client.call("splice", reader, None, bench.near.fileno(), None, 100, 0).value == 4
        bench.world.sleep(1)
        assert bench.far.recv(100) == b"3456"
        assert result(client, "open", "/nothing", abi.O_RDONLY) == (-1, errno.ENOENT)
        assert result(client, "sendfile", bench.near.fileno(), bench.near.fileno(), None, 3) == (-1, errno.EINVAL)


def test_what_ioctl_counts() -> None:
    with Bench() as bench:
        near, far = bench.near.fileno(), bench.far.fileno()
        bench.near.sendall(bytes(1000))
        assert bench.client.call("ioctl", near, abi.SIOCOUTQ).number == 1000
        assert bench.client.call("ioctl", near, abi.SIOCOUTQNSD).number == 0
        bench.world.sleep(1)
        assert bench.client.call("ioctl", near, abi.SIOCOUTQ).number == 0
        assert bench.server.call("ioctl", far, abi.SIOCINQ).number == 1000
        assert result(bench.server, "ioctl", bench.listener.fileno(), abi.SIOCINQ) == (-1, errno.EINVAL)


def test_options_are_checked_and_given_back() -> None:
    with Bench() as bench:
        sock = bench.near
        sock.setsockopt(abi.SOL_SOCKET, abi.SO_SNDBUF, 21000)
        assert sock.getsockopt(abi.SOL_SOCKET, abi.SO_SNDBUF) == 42000
        sock.setsockopt(abi.IPPROTO_TCP, abi.TCP_CONGESTION, b"newreno")
        assert sock.getsockopt(abi.IPPROTO_TCP, abi.TCP_CONGESTION, 16).rstrip(b"\0") == b"newreno"
        timeout = struct.pack("qq", 1, 500_000)
        sock.setsockopt(abi.SOL_SOCKET, abi.SO_RCVTIMEO, timeout)
        assert sock.getsockopt(abi.SOL_SOCKET, abi.SO_RCVTIMEO, 16) == timeout
        start = bench.world.now
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        assert bench.world.now == pytest.approx(start + 1.5)
        for level, option, value, number in (
            (abi.IPPROTO_TCP, 9999, 1, errno.ENOPROTOOPT),
            (abi.IPPROTO_TCP, abi.TCP_CONGESTION, b"none such", errno.ENOENT),
            (abi.IPPROTO_TCP, abi.TCP_MAXSEG, 40, errno.EINVAL),
            (abi.SOL_SOCKET, abi.SO_KEEPALIVE, b"\1", errno.EINVAL),
        ):
            with pytest.raises(OSError, match=r".") as raised:
                sock.setsockopt(level, option, value)
            assert raised.value.errno == number, option


def test_a_close_that_lingers_waits_for_the_last_acknowledgement() -> None:
    with Bench() as bench:
        start = bench.world.now
        bench.near.setsockopt(abi.SOL_SOCKET, abi.SO_LINGER, struct.pack("ii", 1, 5))
        bench.near.sendall(b"x")
        bench.near.close()
        assert bench.world.now == pytest.approx(start + 0.010)


def test_ports_are_shared_only_where_all_allow_it_and_nobody_listens() -> None:
    with World() as world:
        _, server = world.pair()
        first, second = server.socket(), server.socket()
        first.bind(("", 80))
        with pytest.raises(OSError, match=r".") as raised:
            second.bind(("", 80))
        assert raised.value.errno == errno.EADDRINUSE
        first.close()
        first = server.socket()
        for sock in (first, second):
            sock.setsockopt(abi.SOL_SOCKET, abi.SO_REUSEADDR, 1)
            sock.bind(("", 80))
        first.listen()
        with pytest.raises(OSError, match=r".") as raised:
            second.listen()
        assert raised.value.errno == errno.EADDRINUSE


def test_fast_open_takes_the_first_write_in_the_syn() -> None:
    with World() as world:
        client, server = world.pair(delay="5ms")
        listener = server.socket()
        listener.bind(("", 80))
        listener.setsockopt(abi.IPPROTO_TCP, abi.TCP_FASTOPEN, 5)
        listener.listen()

        def serve() -> None:
            while True:
                conn, _ = listener.accept()
                conn.sendall(conn.recv(100).upper())
                conn.close()

        world.start(serve)
        took: list[float] = []
        for _ in range(2):
            start = world.now
            sock = client.socket()
            assert sock.sendto(b"hello", abi.MSG_FASTOPEN, ("server", 80)) == 5
            assert sock.recv(100) == b"HELLO"
            took.append(world.now - start)
            sock.close()
        # The first asks for a cookie, the second saves a round trip by it.
        assert took == [pytest.approx(0.020), pytest.approx(0.010)]


def test_what_is_no_call_is_named() -> None:
    with World() as world:
        machine = world.host("a")
        with pytest.raises(CallError, match="'fork'"):
            machine.call("fork")
        with pytest.raises(CallError, match="listen takes 2 arguments, not 1"):
            machine.call("listen", 3)
