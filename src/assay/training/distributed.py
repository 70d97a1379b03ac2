"""Training in several processes that share every batch: their group, their loss weights, and how they are started."""

import copyreg
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.training.device import Device

if TYPE_CHECKING:
    from assay.training.nodes import Nodes

_HOST: Final = "127.0.0.1"
READY: Final = b"ready"
"""What a process sends once it has started."""
DONE: Final = b"done"
"""What the first machine sends the others at the end."""
_JOIN_TIMEOUT: Final = 10.0
"""Seconds that a process has to end by itself."""
_DIED: Final = "a training process died: free some memory and continue with --resume"


# pickle would look for `torch.channels_last` in any module that has imported torch.
copyreg.pickle(torch.memory_format, lambda layout: (_memory_format, (str(layout).removeprefix("torch."),)))


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes of a training, seen from one of them."""

    rank: int = 0
    """Number of this process, counted from 0; process 0 writes the run's files."""
    size: int = 1
    """Number of processes."""
    port: int = 0
    """Port of process 0."""
    host: str = _HOST
    """Address of process 0."""
    node_size: int = 0
    """Number of processes of each machine; 0: all of them."""

    @property
    def local_size(self) -> int:
        """Number of processes of this machine."""
        return self.node_size or self.size

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.local_size

    def share(self, images: int) -> int:
        """Return how many images of a batch of `images` this process takes; batches are dealt out one by one."""
        return len(range(self.rank, images, self.size))

    def loss_weight(self, images: int) -> float:
        """Return the factor of this process's mean loss of a batch of `images`.

        Gradients are averaged over the processes; with this factor they are those of the mean loss of the batch.
        """
        return self.share(images) * self.size / images

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


class _StartedProcesses(ClusterEnvironment):
    """Tells Lightning about processes that exist already."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._group.host

    @property
    def main_port(self) -> int:
        return self._group.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._group.size

    def set_world_size(self, size: int) -> None:
        del size

    def global_rank(self) -> int:
        return self._group.rank

    def set_global_rank(self, rank: int) -> None:
        del rank

    def local_rank(self) -> int:
        return self._group.rank % self._group.local_size

    def node_rank(self) -> int:
        return self._group.rank // self._group.local_size


def ddp_strategy(group: ProcessGroup, device: Device, *, unfreezes: bool) -> DDPStrategy:
    """Return Lightning's strategy for a process of the group.

    Args:
        group: of several processes.
        device: CPUs communicate by gloo, GPUs by NCCL.
        unfreezes: layers that are trained only in some epochs have no gradient in the others.
    """
    backend = "nccl" if device.kind == "cuda" else "gloo"
    return DDPStrategy(
        cluster_environment=_StartedProcesses(group),
        process_group_backend=backend,
        find_unused_parameters=unfreezes,
    )


class TrainingProcess:
    """A process of a training on this machine; it ends if this process dies.

    Args:
        group: seen from the process.
        call: a pickled function and its arguments; the process calls `function(group, *arguments)`.
    """

    def __init__(self, group: ProcessGroup, call: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        self.errors, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(sender, group, call), daemon=True)
        self._process.start()
        sender.close()

    def wait_until_ready(self) -> None:
        """Wait until the process has started.

        Raises:
            AssayError: it died.
        """
        _receive_ready(self.errors)

    def error(self) -> str | None:
        """Return the message of a process that has closed its connection; None if it ended without an error."""
        message = _receive_error(self.errors, 0)
        self._process.join(_JOIN_TIMEOUT)
        return None if message == _DIED and self._process.exitcode == 0 else message

    def stop(self, timeout: float) -> None:
        """Wait for the end of the process, then kill it."""
        self._process.join(timeout)
        self._process.kill()
        self._process.join()


@contextmanager
def training_processes(
    count: int, pickled: Callable[[], bytes], nodes: "Nodes | None" = None
) -> Iterator[ProcessGroup]:
    """Start processes that train together with this one; yield the group of this process.

    At the end of the block they are stopped. If this process dies, they end too.

    Args:
        count: number of processes of each machine; on this one, `count - 1` are started.
        pickled: returns a pickled function and its arguments; every other process calls `function(group, *arguments)`.
        nodes: machines that train together; None: this one alone.

    Raises:
        AssayError: one of them failed; with its message, if it is an `AssayError`.
    """
    if count == 1 and nodes is None:
        yield ProcessGroup()
        return
    host = _HOST if nodes is None else nodes.host
    size = count if nodes is None else count * nodes.count
    processes: list[TrainingProcess] = []
    call, threads, finished = pickled(), torch.get_num_threads(), False
    with ExitStack() as stack:
        stack.enter_context(gloo_interface(host))
        port, machines = free_port(host), list[Connection]()
        if nodes is not None:
            port, machines = stack.enter_context(nodes.connect(count, call))
        try:
            processes += [
                TrainingProcess(ProcessGroup(rank, size, port, host, count), call) for rank in range(1, count)
            ]
            # The others would wait for a process that died at its start.
            for process in processes:
                process.wait_until_ready()
            for machine in machines:
                _receive_ready(machine)
            torch.set_num_threads(_threads_per_process(count))
            yield ProcessGroup(0, size, port, host, count)
            finished = True
            for machine in machines:
                with suppress(OSError):
                    machine.send_bytes(DONE)
        except RuntimeError as error:
            # A process that ends closes its connections, which the others report first.
            messages = (_receive_error(errors, 1) for errors in [*(process.errors for process in processes), *machines])
            message = next(filter(None, messages), None)
            raise error if message is None else AssayError(message) from error
        finally:
            torch.set_num_threads(threads)
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for process in processes:
                process.stop(_JOIN_TIMEOUT if finished else 0)


def _run(errors: Connection, group: ProcessGroup, call: bytes) -> None:
    """Entry point of the other processes."""
    target, args = pickle.loads(call)  # noqa: S301 - from the first process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles Ctrl-C
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(_threads_per_process(group.local_size))
    errors.send_bytes(READY)
    try:
        target(group, *args)
    except AssayError as error:
        errors.send_bytes(str(error).encode())
    finally:
        errors.close()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _receive_ready(connection: Connection) -> None:
    try:
        message = connection.recv_bytes()
    except (EOFError, OSError) as error:
        raise AssayError("a training process did not start: free some memory and try again") from error
    if message != READY:
        raise AssayError(message.decode())


def _receive_error(connection: Connection, timeout: float) -> str | None:
    """Return the message of a process that ended, within `timeout` seconds."""
    try:
        return connection.recv_bytes().decode() if connection.poll(timeout) else None
    except (EOFError, OSError):
        return _DIED


def _threads_per_process(count: int) -> int:
    return max(1, min(torch.get_num_threads(), cpu_count() // count))


def _memory_format(name: str) -> torch.memory_format:
    found: torch.memory_format = getattr(torch, name)
    return found


def free_port(host: str) -> int:
    """Return a free port of an address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def gloo_interface(host: str) -> Iterator[None]:
    """Let gloo use the loopback interface if process 0 is there, unless the environment names an interface."""
    name = "GLOO_SOCKET_IFNAME"
    if name in os.environ or not _is_loopback(host):
        yield
        return
    os.environ[name] = "lo" if os.path.exists("/sys/class/net/lo") else "lo0"  # noqa: PTH110
    try:
        yield
    finally:
        del os.environ[name]


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")
