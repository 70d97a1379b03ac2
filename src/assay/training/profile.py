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
    """Seconds that the processes preparing photos spent, added up in memory that all of them share."""

    def __init__(self) -> None:
        """Start at nothing; hand it to the processes before they start."""
        self._seconds = get_context().Array("d", len(_WORKERS))

    def add(self, name: str, seconds: float) -> None:
        """Add to `READING` or `CHANGING`."""
        with self._seconds.get_lock():
            self._seconds[_WORKERS.index(name)] += seconds

    def seconds(self) -> dict[str, float]:
        """Return the seconds of both."""
        return {name: float(self._seconds[place]) for place, name in enumerate(_WORKERS)}


class Profile:
    """Adds up seconds."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._seconds: dict[str, float] = {}
        self.workers = WorkerClock()

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to what has a name."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Add the time of the block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begin)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds of this process, in the order in which things were first done."""
        return dict(self._seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"seconds": dict(self._seconds), "preparing_photos": self.workers.seconds()}


class Profiler(Callback):
    """Splits the time of the loop at Lightning's seams: what ends at a seam is what went before it."""

    def __init__(self, profile: Profile) -> None:
        """Hold where seconds are added."""
        self._profile = profile
        self._since = time.perf_counter()

    def _seam(self, name: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._profile.add(name, now - self._since)
        self._since = now

    def on_train_start(self, *_: Any) -> None:
        """Begin."""
        self._since = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        """A batch is on the device: until now it was waited for."""
        self._seam(WAITING)

    def on_before_zero_grad(self, *_: Any) -> None:
        """Logits and loss are there."""
        self._seam(FORWARD)

    def on_after_backward(self, *_: Any) -> None:
        """Gradients are there."""
        self._seam(BACKWARD)

    def on_train_batch_end(self, *_: Any) -> None:
        """A step is done."""
        self._seam(OPTIMISER)

    def on_validation_start(self, *_: Any) -> None:
        """The last batch of an epoch was waited for in vain."""
        self._seam(WAITING)

    def on_validation_end(self, *_: Any) -> None:
        """The epoch is judged."""
        self._seam(VALIDATION)

    def on_train_epoch_start(self, *_: Any) -> None:
        """Checkpoints and tables of the epoch before are written."""
        self._seam(KEEPING)

    def on_train_end(self, *_: Any) -> None:
        """Those of the last epoch too."""
        self._seam(KEEPING)
