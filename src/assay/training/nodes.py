"""Training on several machines: the first one sends the others what to train, and receives their errors.

The machines connect with `multiprocessing.connection`, which proves on both sides that they know the same secret (HMAC)
before anything else is sent. The gradients themselves go through torch.distributed, which has neither encryption nor
authentication: the network between the machines must be private.
"""

import json
import os
import pickle
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any, Final, Protocol

from assay import __version__
from assay.core.errors import AssayError, UsageError
from assay.training.distributed import (
    DONE,
    READY,
    ProcessGroup,
    TrainingProcess,
    free_port,
    gloo_interface,
)

SECRET_VARIABLE: Final = "ASSAY_TRAIN_SECRET"  # noqa: S105 - a variable's name
_JOIN_TIMEOUT: Final = 600.0
"""Seconds that the first machine waits for the others."""
_START_TIMEOUT: Final = 3600.0
"""Seconds that another machine waits for the first one, which reads the photos before it listens."""
_RETRY_INTERVAL: Final = 1.0
_MAX_HELLO_BYTES: Final = 1024
_EXIT_TIMEOUT: Final = 10.0
"""Seconds that processes have to end by themselves after the training."""


class RemoteProcesses(Protocol):
    """Runs all processes of a training elsewhere."""

    def run(self, call: bytes, processes: int) -> None:
        """Run a pickled function and its arguments as `function(group, *arguments)` in so many processes.

        Raises:
            AssayError: a process failed.
        """


@dataclass(frozen=True)
class Nodes:
    """The machines of a training, seen from the first one."""

    count: int
    """Number of machines."""
    host: str
    """Address of the first one, at which the others reach it."""
    port: int

    @classmethod
    def parse(cls, count: int, rendezvous: str) -> "Nodes":
        """Return the machines that meet at an address such as `10.0.0.1:29500`.

        Raises:
            UsageError: it is not an address with a port.
        """
        host, _, port = rendezvous.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(
                f"--rendezvous {rendezvous!r} must look like 10.0.0.1:29500, the address of the first machine"
            )
        return cls(count, host.strip("[]"), int(port))

    @contextmanager
    def connect(self, devices: int, call: bytes) -> Iterator[tuple[int, list[Connection]]]:
        """Wait for the other machines, send them what to train, and yield a free port and the connections to them.

        Raises:
            UsageError: the address cannot be used, or there is no secret.
            AssayError: a machine did not connect within ten minutes.
        """
        with ExitStack() as stack:
            try:
                listener = stack.enter_context(Listener((self.host, self.port), authkey=_secret(), backlog=self.count))
            except OSError as error:
                raise UsageError(
                    f"--rendezvous {self.host}:{self.port} cannot be used ({error.strerror}): give an address of this "
                    "machine and a free port"
                ) from None
            joined = self._accept(listener)
            port = free_port(self.host)
            for node, connection in sorted(joined.items()):
                stack.enter_context(connection)
                settings = {"node": node, "nodes": self.count, "devices": devices, "host": self.host, "port": port}
                connection.send_bytes(json.dumps(settings).encode())
                connection.send_bytes(call)
            yield port, [joined[node] for node in sorted(joined)]

    def _accept(self, listener: Listener) -> dict[int, Connection]:
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def serve() -> None:
            while True:
                try:
                    arrived.put(listener.accept())
                except (AuthenticationError, EOFError, ConnectionError):
                    continue
                except OSError:  # closed
                    return

        threading.Thread(target=serve, daemon=True).start()
        joined: dict[int, Connection] = {}
        deadline = time.monotonic() + _JOIN_TIMEOUT
        while len(joined) < self.count - 1:
            try:
                connection = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                missing = min(set(range(1, self.count)) - joined.keys())
                raise AssayError(
                    f"machine {missing} did not connect within {_JOIN_TIMEOUT:.0f} s: run `assay train --node-rank "
                    f"{missing} --rendezvous {self.host}:{self.port}` there"
                ) from None
            with suppress(OSError, EOFError, ValueError):
                hello = json.loads(connection.recv_bytes(_MAX_HELLO_BYTES))
                node = hello["node"]
                if reason := self._refuse(node, hello["version"], joined):
                    connection.send_bytes(json.dumps({"error": reason}).encode())
                    connection.close()
                else:
                    joined[node] = connection
        return joined

    def _refuse(self, node: int, version: str, joined: dict[int, Connection]) -> str | None:
        if version != __version__:
            return f"the first machine has Assay {__version__}, this one {version}: install the same version"
        if not 0 < node < self.count:
            return (
                f"--node-rank {node} must be within 1 and {self.count - 1}: the first machine has --nodes {self.count}"
            )
        return f"another machine has --node-rank {node} too" if node in joined else None


def join_training(rendezvous: str, node: int) -> None:
    """Train as one of the other machines, until the first one has finished.

    Args:
        rendezvous: address of the first machine.
        node: number of this machine, 1 for the second one.

    Raises:
        UsageError: the address is invalid, or there is no secret.
        AssayError: the first machine cannot be reached, refuses this one, or a process fails.
    """
    first = Nodes.parse(2, rendezvous)
    with _call(first, node) as connection:
        settings = json.loads(connection.recv_bytes())
        if reason := settings.get("error"):
            raise AssayError(reason)
        call = connection.recv_bytes()
        devices, size = settings["devices"], settings["devices"] * settings["nodes"]
        processes: list[TrainingProcess] = []
        with gloo_interface(settings["host"]):
            try:
                for rank in range(node * devices, (node + 1) * devices):
                    group = ProcessGroup(rank, size, settings["port"], settings["host"], devices)
                    processes.append(TrainingProcess(group, call))
                for process in processes:
                    process.wait_until_ready()
                connection.send_bytes(READY)
                _watch(connection, processes)
            finally:
                for process in processes:
                    process.stop(0)


def _watch(connection: Connection, processes: list[TrainingProcess]) -> None:
    """Wait until the first machine has finished; pass the error of a process on to it."""
    running = list(processes)
    while True:
        ended = wait([connection, *(process.errors for process in running)])
        for process in [process for process in running if process.errors in ended]:
            running.remove(process)
            if (message := process.error()) is not None:
                with suppress(OSError):
                    connection.send_bytes(message.encode())
                raise AssayError(message)
        if connection in ended:
            try:
                done = connection.recv_bytes(_MAX_HELLO_BYTES) == DONE
            except (EOFError, OSError):
                done = False
            if not done:
                raise AssayError(
                    "the training ended on the first machine before it was complete: see its message there"
                )
            for process in processes:
                process.stop(_EXIT_TIMEOUT)
            return


def _call(first: Nodes, node: int) -> Connection:
    """Connect to the first machine, as soon as it listens."""
    secret = _secret()
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            connection = Client((first.host, first.port), authkey=secret)
        except AuthenticationError:
            raise AssayError(f"{SECRET_VARIABLE} is not the same on the first machine") from None
        except OSError as error:
            if time.monotonic() > deadline:
                where = f"{first.host}:{first.port}"
                raise AssayError(f"the first machine cannot be reached at {where} ({error.strerror})") from None
            time.sleep(_RETRY_INTERVAL)
            continue
        connection.send_bytes(json.dumps({"node": node, "version": __version__}).encode())
        return connection


def _secret() -> bytes:
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        raise UsageError(f"set the environment variable {SECRET_VARIABLE} to the same secret text on all machines")
    return secret.encode()


def pickled(function: Any, *arguments: Any) -> bytes:
    """Return a function and its arguments, for processes that do not share memory with this one."""
    return pickle.dumps((function, arguments))
