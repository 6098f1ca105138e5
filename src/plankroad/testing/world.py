"""`World`: ordinary blocking programs on hosts of a simulated network, in virtual time.

    with World() as world:
        client, server = world.pair(delay="5ms")

        def serve():
            listener = server.socket()
            listener.bind(("", 80))
            listener.listen()
            conn, peer = listener.accept()
            conn.sendall(conn.recv(100).upper())
            conn.close()

        world.start(serve)
        sock = client.socket()
        sock.connect(("server", 80))
        sock.sendall(b"hello")
        assert sock.recv(100) == b"HELLO"
        assert world.now == 0.020                # two round trips of 10 ms, and no time besides

A call that must wait lets virtual time go on until it returns. `start` runs a function as a program of its own, side by
side with the one that is running: each is a thread, but only one of them runs at a time, and gives way only where it
waits, so that a run depends on the programs and the seed alone. Time goes on when all programs wait.

The network is `world.network`, a `plankroad.sim` one: links with rates, losses, queues and cuts, captures, rules.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from plankroad.aio.sockopt import os_error
from plankroad.sim.errors import DeadlockError
from plankroad.sim.host import Host
from plankroad.sim.quantity import parse_time
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.testing.abi import AF_INET, AF_INET6, SOCK_STREAM
from plankroad.testing.call import Call
from plankroad.testing.sockets import Socket
from plankroad.testing.syscalls import SyscallTable
from plankroad.units import NEVER, SECOND
from plankroad.wire.address import bytes_to_ip, ip_to_bytes

#: Events of the network between two looks at signals.
_BATCH: Final = 1000

#: Real seconds that a thread may take to come to an end once it was told to.
_PATIENCE: Final = 10.0


class StoppedError(BaseException):
    """The world ends: raised in a program that still waits."""


class Program:
    """A function that runs in a world. `result` is what it returned, once it is `done`."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.error_told = False
        self._turn = threading.Event()
        self._thread: threading.Thread | None = None
        #: What it waits for: a call, another program, a time (ns).
        self._call: Call | None = None
        self._joined: Program | None = None
        self._deadline = NEVER
        self._stopped = False
        self._deadlock = False

    def __repr__(self) -> str:
        return f"<Program {self.name}, {'done' if self.done else self.waits_for()}>"

    def join(self, timeout: float | None = None) -> Any:
        """Wait for its end and give what it returned; raises what it raised, TimeoutError after `timeout` seconds."""
        world = self.world
        deadline = NEVER if timeout is None else world.network.simulator.now + int(timeout * SECOND)
        world.wait(None, self, deadline)
        if not self.done:
            raise TimeoutError(f"{self.name} goes on after {timeout} seconds")
        if self.error is not None:
            self.error_told = True
            raise self.error
        return self.result

    def waits_for(self) -> str:
        """In words."""
        if self._call is not None:
            return f"waits in {self._call.kind}{self._call.arguments}"
        if self._joined is not None:
            return f"waits for {self._joined.name}"
        return "sleeps" if self._deadline < NEVER else "runs"

    def _is_ready(self, now: int) -> bool:
        """What it waits for has happened."""
        if self._call is not None and self._call.done:
            return True
        if self._joined is not None and self._joined.done:
            return True
        if self._deadline <= now or self._stopped:
            return True
        return self._call is None and self._joined is None and self._deadline == NEVER


class Machine:
    """A host of the world: its sockets and system calls. `host` is the simulator's, `table` has the descriptors."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.host = host
        simulator = world.network.simulator
        self.table = SyscallTable(host.stack, lambda: simulator.now, host.driver.push)
        self.table.on_return = world.returned.append

    def __repr__(self) -> str:
        return f"<Machine {self.name}>"

    @property
    def name(self) -> str:
        """The host's."""
        return self.host.name

    @property
    def address(self) -> str:
        """Its first address."""
        return self.host.address

    def socket(self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0) -> Socket:
        """As `socket.socket`. Raises OSError."""
        return Socket(self, family, type, proto)

    def create_connection(
        self, address: tuple[str, int], timeout: float | None = None, source_address: tuple[str, int] | None = None
    ) -> Socket:
        """As `socket.create_connection`: to the first of the name's addresses that answers. Raises OSError."""
        error: OSError | None = None
        for text in self.world.addresses(address[0]):
            sock = self.socket(AF_INET6 if ":" in text else AF_INET)
            try:
                sock.settimeout(timeout)
                if source_address is not None:
                    sock.bind(source_address)
                sock.connect((text, address[1]))
            except OSError as exc:
                sock.close()
                error = exc
            else:
                return sock
        raise error if error is not None else OSError(f"{address[0]} has no address")

    def create_server(self, address: tuple[str, int], *, family: int = AF_INET, backlog: int = 128) -> Socket:
        """As `socket.create_server`: bound and listening. Raises OSError."""
        sock = self.socket(family)
        try:
            sock.bind(address)
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        return sock

    def poll(self, entries: list[tuple[Socket, int]], timeout: float | None = None) -> list[tuple[Socket, int]]:
        """Wait until one of the sockets has one of its events (bits of `select.POLLIN` and the like); those that have
        some, with what they have; [] after `timeout` seconds.
        """
        call = self.call("poll", [(sock.fileno(), events) for sock, events in entries], _milliseconds(timeout))
        return [(sock, revents) for (sock, _), (_, revents) in zip(entries, call.ready, strict=True) if revents]

    def call(self, kind: str, *arguments: object) -> Call:
        """A system call of the table in `plankroad.testing.call`, waited for to its end. Raises OSError, CallError."""
        return self.world.finish(self.table, self.table.start(kind, *arguments))


def _milliseconds(timeout: float | None) -> int:
    return -1 if timeout is None else max(0, round(timeout * 1000))


class World:
    """See the module. `seed`: of all chance. Or `network`: one that was made before."""

    def __init__(self, seed: int = 0, network: Network | None = None) -> None:
        self.network = network if network is not None else Network(seed=seed)
        self.machines: dict[str, Machine] = {}
        self.returned: list[Call] = []
        self.main = Program(self, "the main program")
        self._programs: list[Program] = [self.main]
        self._current = self.main
        self._closed = False

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            for program in self._programs:
                if program.error is not None and not program.error_told:
                    raise program.error

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.network.now

    # Building

    def host(self, name: str, config: StackConfig | None = None) -> Machine:
        """A new host. Raises ValueError for a name that is taken."""
        return self.machine(self.network.host(name, config))

    def machine(self, host: Host | str) -> Machine:
        """The face of a host of `network`. Raises ValueError for one that is not there."""
        found = self.network.nodes.get(host) if isinstance(host, str) else host
        if not isinstance(found, Host):
            raise ValueError(f"no host named {host!r}; there are: {', '.join(self.network.nodes) or 'none'}")
        known = self.machines.get(found.name)
        if known is None:
            known = self.machines[found.name] = Machine(self, found)
        return known

    def link(self, a: Machine, b: Machine, **conditions: Any) -> None:
        """Link two hosts; conditions are those of `Network.link`."""
        self.network.link(a.host, b.host, **conditions)

    def pair(self, **conditions: Any) -> tuple[Machine, Machine]:
        """Two hosts, "client" and "server", and a link between them."""
        client, server = self.host("client"), self.host("server")
        self.link(client, server, **conditions)
        return client, server

    def addresses(self, name: str) -> list[str]:
        """The addresses of a host by name, or the address that `name` is. Raises OSError for a name nobody has."""
        node = self.network.nodes.get(name)
        if isinstance(node, Host):
            return node.addresses
        try:
            return [bytes_to_ip(ip_to_bytes(name))]
        except ValueError:
            known = ", ".join(node.name for node in self.network.hosts) or "none"
            raise OSError(f"no host named {name!r} in this world; there are: {known}") from None

    # Programs

    def start(self, function: Callable[..., Any], *arguments: object, name: str = "") -> Program:
        """Run `function(*arguments)` as a program; it begins when the one that runs now waits."""
        self._check_open()
        program = Program(self, name or getattr(function, "__name__", "a program"))
        thread = threading.Thread(
            target=self._run, args=(program, function, arguments), name=f"plankroad {program.name}", daemon=True
        )
        program._thread = thread
        self._programs.append(program)
        thread.start()
        return program

    def sleep(self, duration: float | str) -> None:
        """Wait for a while: seconds, or text such as "20ms"."""
        self.wait(None, None, self.network.simulator.now + parse_time(duration, "duration"))

    def finish(self, table: SyscallTable, call: Call, timeout: float | None = None) -> Call:
        """Wait for the end of `call`. Raises what it failed with (OSError), TimeoutError after `timeout` seconds."""
        if not call.done:
            deadline = NEVER if timeout is None else self.network.simulator.now + int(timeout * SECOND)
            try:
                self.wait(call, None, deadline)
            finally:
                if not call.done:
                    table.abandon(call)
            if not call.done:
                raise TimeoutError("timed out")
        if call.errno:
            raise os_error(call.errno)
        return call

    def close(self) -> None:
        """End all programs that still wait, and close their sockets."""
        if self._closed:
            return
        self._closed = True
        for program in self._programs[1:]:
            if not program.done and program._thread is not None:
                program._stopped = True
                self._current = program
                program._turn.set()
                program._thread.join(_PATIENCE)
        self._current = self.main
        for machine in self.machines.values():
            machine.table.close_all()

    # Inside

    def wait(self, call: Call | None, joined: Program | None, deadline: int) -> None:
        """The program that runs waits: until `call` is done, `joined` has ended, or it is `deadline`."""
        self._check_open()
        me = self._current
        if me._thread is not None and me._thread is not threading.current_thread():
            raise RuntimeError("a thread that is no program of this world cannot wait in it: use World.start")
        me._call, me._joined, me._deadline = call, joined, deadline
        try:
            self._give_way(me)
        finally:
            me._call, me._joined, me._deadline = None, None, NEVER
        if me._stopped:
            raise StoppedError

    def _give_way(self, me: Program) -> None:
        """Let others run, and time go on, until `me` can."""
        ready = self._next_ready()
        if ready is not me:
            self._hand_over(ready)
            me._turn.wait()
            me._turn.clear()
        if me._deadlock:
            me._deadlock = False
            raise DeadlockError(self._deadlock_text())

    def _hand_over(self, program: Program) -> None:
        self._current = program
        program._turn.set()

    def _next_ready(self) -> Program:
        """The program that can go on: the first in the order of their beginnings; time goes on until there is one."""
        self.network.refresh_routes()
        simulator = self.network.simulator
        while True:
            now = simulator.now
            for program in self._programs:
                if not program.done and program._is_ready(now):
                    return program
            self.returned.clear()
            until = self._next_deadline()
            if until >= NEVER and simulator.next_time() >= NEVER:
                self.main._deadlock = True
                return self.main
            if not simulator.run_batch(until, _BATCH, self.returned) and until < NEVER:
                simulator.run_until(until)
                for machine in self.machines.values():
                    if machine.table.next_deadline() <= until:
                        machine.table.expire()

    def _next_deadline(self) -> int:
        when = min(program._deadline for program in self._programs if not program.done)
        for machine in self.machines.values():
            when = min(when, machine.table.next_deadline())
        return when

    def _deadlock_text(self) -> str:
        waiting = ", ".join(f"{one.name} {one.waits_for()}" for one in self._programs if not one.done)
        return f"nothing will ever happen any more at {self.now:.9f} s, and programs wait: {waiting}"

    def _run(self, program: Program, function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
        """The life of a program's thread."""
        program._turn.wait()
        program._turn.clear()
        try:
            if not program._stopped:
                program.result = function(*arguments)
        except StoppedError:
            pass
        except BaseException as exc:
            program.error = exc
        program.done = True
        if not self._closed:
            self._hand_over(self._next_ready())

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the world is closed")
