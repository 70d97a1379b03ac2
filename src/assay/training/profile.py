"""Where the time of a run goes: seconds by the name of what was done.

A GPU works on while Python goes ahead, so a profiled run waits for it at every seam: the shares are right,
the whole is slower than a run that is not watched. Knows nothing of files.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch
from lightning.pytorch import Callback

WAITING, FORWARD, BACKWARD = "waiting for photos", "forward and loss", "backward"
OPTIMISER, VALIDATION, KEEPING = "optimiser", "validation", "checkpoints and tables"
READING, CHANGING = "reading and decoding", "augmentation"
_WORKERS = (READING, CHANGING)


class WorkerClock:
    """Total seconds that worker processes spent per stage, in shared memory. Create it before the workers."""

    def __init__(self) -> None:
        self._seconds = get_context().Array("d", len(_WORKERS))

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to the stage `READING` or `CHANGING`."""
        with self._seconds.get_lock():
            self._seconds[_WORKERS.index(name)] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every stage."""
        return {name: float(self._seconds[place]) for place, name in enumerate(_WORKERS)}


class Profile:
    """Total seconds of a run by phase.

    A profiled run synchronizes with the GPU at the end of every phase: the proportions are right, but the run
    is slower than one that is not profiled.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.workers = WorkerClock()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds of this process by phase, in the order in which the phases first occurred."""
        return dict(self._seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"seconds": dict(self._seconds), "preparing_photos": self.workers.seconds()}


class Profiler(Callback):
    """Adds the time between two of Lightning's hooks to the phase that ends with the second one."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._since = time.perf_counter()

    def _seam(self, name: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._profile.add(name, now - self._since)
        self._since = now

    def on_train_start(self, *_: Any) -> None:
        """Start timing."""
        self._since = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """End the wait for a batch."""
        self._seam(WAITING)

    def on_before_zero_grad(self, *_: Any) -> None:
        """End the forward pass."""
        self._seam(FORWARD)

    def on_after_backward(self, *_: Any) -> None:
        """End the backward pass."""
        self._seam(BACKWARD)

    def on_train_batch_end(self, *_: Any) -> None:
        """End the optimizer step."""
        self._seam(OPTIMISER)

    def on_validation_start(self, *_: Any) -> None:
        """End the wait after the last batch of an epoch."""
        self._seam(WAITING)

    def on_validation_end(self, *_: Any) -> None:
        """End validation."""
        self._seam(VALIDATION)

    def on_train_epoch_start(self, *_: Any) -> None:
        """End the writing of the previous epoch's files."""
        self._seam(KEEPING)

    def on_train_end(self, *_: Any) -> None:
        """End the writing of the last epoch's files."""
        self._seam(KEEPING)
