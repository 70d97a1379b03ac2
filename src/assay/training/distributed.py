"""Training in several processes of one machine that share every batch: their group, loss weights and batch norm."""

import copyreg
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.training.device import Device

_HOST: Final = "127.0.0.1"
_READY: Final = "ready"
_JOIN_TIMEOUT: Final = 10.0
"""Seconds that a process has to end by itself."""


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
    """Port of process 0, on a loopback address."""

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


class _LocalProcesses(ClusterEnvironment):
    """Tells Lightning about processes that exist already."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return _HOST

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
        return self._group.rank

    def node_rank(self) -> int:
        return 0


def ddp_strategy(group: ProcessGroup, device: Device, *, unfreezes: bool) -> DDPStrategy:
    """Return Lightning's strategy for a process of the group.

    Args:
        group: of several processes.
        device: CPUs communicate by gloo, GPUs by NCCL.
        unfreezes: layers that are trained only in some epochs have no gradient in the others.
    """
    backend = "nccl" if device.kind == "cuda" else "gloo"
    return DDPStrategy(
        cluster_environment=_LocalProcesses(group),
        process_group_backend=backend,
        find_unused_parameters=unfreezes,
    )


@contextmanager
def training_processes(count: int, target: Callable[..., None], *args: Any) -> Iterator[ProcessGroup]:
    """Start `count - 1` processes that train together with this one; yield the group of this process.

    Every process calls `target(group, *args)`, which must be picklable. At the end of the block they are stopped.
    If this process dies, they end too.

    Raises:
        AssayError: one of them failed; with its message, if it is an `AssayError`.
    """
    if count == 1:
        yield ProcessGroup()
        return
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    # torch would let the processes share the memory of weights, which each of them updates.
    call = pickle.dumps((target, args))
    processes, errors = [], []
    threads, finished = torch.get_num_threads(), False
    with _single_machine_communication():
        try:
            for rank in range(1, count):
                receiver, sender = context.Pipe(duplex=False)
                group = ProcessGroup(rank, count, port)
                process = context.Process(target=_run, args=(sender, group, call), daemon=True)
                process.start()
                sender.close()
                processes.append(process)
                errors.append(receiver)
            for receiver in errors:
                # The others would wait for a process that died at its start.
                receiver.recv()
            torch.set_num_threads(_threads_per_process(count))
            yield ProcessGroup(0, count, port)
            finished = True
        except EOFError as error:
            raise AssayError("a training process did not start: free some memory and try again") from error
        except RuntimeError as error:
            # A process that ends closes its connections, which the others report first.
            raise _first_error(errors, error) from error
        finally:
            torch.set_num_threads(threads)
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for process in processes:
                process.join(_JOIN_TIMEOUT if finished else 0)
                process.kill()
                process.join()


def synchronize_batch_norm(module: nn.Module, group: ProcessGroup) -> None:
    """Let every batch norm layer of a network use the statistics of the whole batch; a no-op for one process.

    torch's own synchronized batch norm needs a GPU.
    """
    for layer in module.modules() if group.size > 1 else ():
        if type(layer) in _SYNCHRONIZED:
            layer.__class__ = _SYNCHRONIZED[type(layer)]


def restore_batch_norm(module: nn.Module) -> None:
    """Undo `synchronize_batch_norm`."""
    for layer in module.modules():
        if isinstance(layer, _SynchronizedBatchNorm):
            original = next(kind for kind, other in _SYNCHRONIZED.items() if type(layer) is other)
            layer.__class__ = original  # type: ignore[assignment]


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since every process's loss depends on every value."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _SynchronizedBatchNorm(_BatchNorm):
    """Batch norm over the images of all processes.

    Source: Ioffe and Szegedy, "Batch Normalization" (2015); mean and variance are computed one after the other, since
    the difference of two large sums would lose digits.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training:
            return super().forward(input)
        values = input.float()
        over = [dimension for dimension in range(values.ndim) if dimension != 1]
        count = _sum(values.new_tensor(values.numel() / values.shape[1]))
        shape = [1, -1] + [1] * (values.ndim - 2)
        mean = _sum(values.sum(over)) / count
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(over)) / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), momentum)
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(input.dtype)


class _SynchronizedBatchNorm1d(_SynchronizedBatchNorm, nn.BatchNorm1d):
    pass


class _SynchronizedBatchNorm2d(_SynchronizedBatchNorm, nn.BatchNorm2d):
    pass


_SYNCHRONIZED: Final[dict[type[nn.Module], type[_SynchronizedBatchNorm]]] = {
    nn.BatchNorm1d: _SynchronizedBatchNorm1d,
    nn.BatchNorm2d: _SynchronizedBatchNorm2d,
}


def _run(errors: Connection, group: ProcessGroup, call: bytes) -> None:
    """Entry point of the other processes."""
    target, args = pickle.loads(call)  # noqa: S301 - from the first process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles Ctrl-C
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(_threads_per_process(group.size))
    errors.send(_READY)
    try:
        target(group, *args)
    except AssayError as error:
        errors.send(str(error))
    finally:
        errors.close()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _first_error(errors: list[Connection], error: RuntimeError) -> Exception:
    for receiver in errors:
        try:
            if receiver.poll(1):
                return AssayError(receiver.recv())
        except EOFError:
            return AssayError("a training process died: free some memory and continue with --resume")
    return error


def _threads_per_process(count: int) -> int:
    return max(1, min(torch.get_num_threads(), cpu_count() // count))


def _memory_format(name: str) -> torch.memory_format:
    found: torch.memory_format = getattr(torch, name)
    return found


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _single_machine_communication() -> Iterator[None]:
    """Restrict gloo to the loopback interface within the block, unless the environment names another."""
    name = "GLOO_SOCKET_IFNAME"
    chosen = name in os.environ
    if not chosen:
        os.environ[name] = "lo" if os.path.exists("/sys/class/net/lo") else "lo0"  # noqa: PTH110
    try:
        yield
    finally:
        if not chosen:
            del os.environ[name]
