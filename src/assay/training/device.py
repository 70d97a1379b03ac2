"""Where training runs and in which precision: CUDA, Apple MPS or the CPU.

Knows torch, and nothing of what is trained.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from assay.errors import UsageError
from assay.recipe import TrainSpec

Kind = Literal["cpu", "cuda", "mps"]


ENOUGH_THREADS = 4
"""Processors beyond which small batches gain little from more."""


@dataclass(frozen=True, slots=True)
class Device:
    """A place to train and a number format to train in."""

    kind: Kind
    precision: Literal["32", "bf16", "fp16"]

    @property
    def torch(self) -> torch.device:
        """The torch device."""
        return torch.device(self.kind)

    @property
    def lightning_precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """Lightning's name of the precision; weights stay in 32 bits in all of them."""
        if self.precision == "32":
            return "32-true"
        return "bf16-mixed" if self.precision == "bf16" else "16-mixed"


def choose(spec: TrainSpec) -> Device:
    """Return the device and precision that a run uses here.

    Raises:
        UsageError: the recipe asks for a device that is not here, or for fp16 without a GPU.
    """
    kind = _kind(spec.device)
    return Device(kind, _precision(spec.precision, kind))


def available() -> tuple[Kind, ...]:
    """Return the kinds of device this computer has, the fastest first."""
    kinds: list[Kind] = ["cpu"]
    if torch.backends.mps.is_available():
        kinds.insert(0, "mps")
    if torch.cuda.is_available():
        kinds.insert(0, "cuda")
    return tuple(kinds)


def _kind(wanted: Literal["auto", "cpu", "cuda", "mps"]) -> Kind:
    kinds = available()
    if wanted == "auto":
        return kinds[0]
    if wanted not in kinds:
        raise UsageError(
            f"train.device is {wanted}, but torch finds only {' and '.join(kinds)}; set train.device=auto"
        )
    return wanted


def _precision(wanted: Literal["auto", "32", "bf16", "fp16"], kind: Kind) -> Literal["32", "bf16", "fp16"]:
    if wanted == "fp16" and kind == "cpu":
        raise UsageError("train.precision is fp16, which needs a GPU; set train.precision=auto")
    if wanted != "auto":
        return wanted
    if kind != "cuda":
        return "32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch work with so many threads within the block: over little, several only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(device: Device) -> Iterator[None]:
    """Choose repeatable kernels within the block, where a GPU has both kinds.

    An operation without a repeatable kernel still runs; torch warns about it. On the CPU the kernels are
    repeatable as they are, for one number of threads.
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
