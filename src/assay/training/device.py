"""Selection of device (CUDA, Apple MPS, CPU) and precision; thread count and deterministic kernels of torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch

from assay.core.cpu import bf16_instructions
from assay.core.errors import UsageError
from assay.recipe import TrainSpec

DeviceKind = Literal["cpu", "cuda", "mps"]
ComputePrecision = Literal["32", "bf16", "fp16"]

MAX_USEFUL_THREADS = 4
"""Threads beyond which small batches gain little."""


@dataclass(frozen=True, slots=True)
class Device:
    """The device of a run and its precision."""

    kind: DeviceKind
    precision: ComputePrecision

    @property
    def torch(self) -> torch.device:
        """The device as torch names it."""
        return torch.device(self.kind)

    @property
    def lightning_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """Lightning's name of the precision; weights are kept in 32 bits in all of them."""
        if self.precision == "32":
            return "32-true"
        return "bf16-mixed" if self.precision == "bf16" else "16-mixed"

    def with_precision(self, precision: str | None) -> Self:
        """Return the device at another precision, or the same one where it cannot compute in that precision.

        Every CPU can compute in bf16; without instructions for it, it is slow.
        """
        possible: tuple[ComputePrecision, ...] = ("32", "bf16") if self.kind == "cpu" else ("32", "bf16", "fp16")
        return next((replace(self, precision=found) for found in possible if found == precision), self)


def select_device(spec: TrainSpec, *, on_embeddings: bool = False) -> Device:
    """Select the device and precision of a run.

    Args:
        spec: the requested device and precision.
        on_embeddings: only a head is trained, on cached embeddings; a head is always computed in 32 bits.

    Raises:
        UsageError: the recipe requests a device that is not available, or fp16 without a GPU.
    """
    kind = _select_kind(spec.device)
    if spec.precision == "fp16" and kind == "cpu":
        raise UsageError("train.precision is fp16, which needs a GPU; set train.precision=auto")
    if on_embeddings:
        return Device(kind, "32")
    return Device(kind, _fastest_precision(kind) if spec.precision == "auto" else spec.precision)


def precision_warning(spec: TrainSpec) -> str | None:
    """Return a warning if the recipe requests bf16 on a CPU that only emulates it; None: it does not."""
    if spec.precision != "bf16" or select_device(spec).kind != "cpu" or _fastest_precision("cpu") == "bf16":
        return None
    return (
        "train.precision is bf16, but this processor has no instructions for it: training takes several times as "
        "long as in 32 bits; set train.precision=auto"
    )


def available_devices() -> tuple[DeviceKind, ...]:
    """Return the kinds of device that are available, fastest first."""
    kinds: list[DeviceKind] = ["cpu"]
    if torch.backends.mps.is_available():
        kinds.insert(0, "mps")
    if torch.cuda.is_available():
        kinds.insert(0, "cuda")
    return tuple(kinds)


def _select_kind(requested: Literal["auto", "cpu", "cuda", "mps"]) -> DeviceKind:
    kinds = available_devices()
    if requested == "auto":
        return kinds[0]
    if requested not in kinds:
        raise UsageError(
            f"train.device is {requested}, but torch finds only {' and '.join(kinds)}; set train.device=auto"
        )
    return requested


def _fastest_precision(kind: DeviceKind) -> ComputePrecision:
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # Without oneDNN, torch's convolutions in bf16 are slower than in 32 bits.
    fast = kind == "cpu" and bf16_instructions() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return "bf16" if fast else "32"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Set torch's number of threads within the block; small tensors are slower with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic_algorithms(device: Device) -> Iterator[None]:
    """Use deterministic GPU kernels within the block.

    An operation without one still runs; torch warns about it. CPU kernels are deterministic for a fixed
    number of threads.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark = torch.backends.cudnn.benchmark
    if device.kind != "cpu":
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark


def out_of_memory_message(error: RuntimeError, device: Device, batch_size: int) -> str | None:
    """Return what to do about a failed allocation in training; None: the error has another cause."""
    if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
        return None
    return (
        f"train.batch_size is {batch_size}, for which the {device.kind} device has too little memory; halve it, or "
        "choose a smaller preprocess.size or net.name"
    )
