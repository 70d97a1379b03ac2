"""Measure which engine settings are fastest for a workload, running them as that workload does."""

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from assay.core.errors import AssayError
from assay.inference.workload import EngineMeasurement, EngineSetup, Workload, default_setup

if TYPE_CHECKING:
    from assay.inference.classifier import Classifier

Trial = Callable[["Classifier", float], float]
"""Runs a workload for about some seconds, after a warm-up, and returns photos per second."""

_ROUNDS = 5
_MIN_GAIN = 1.05
"""Settings replace those of the rule only if their slowest round is faster than the rule's fastest, and the median
faster by this factor. If a busy machine makes all rates random, that happens once in 250 comparisons."""
_BATCHES = (1, 2, 4, 8, 16)
_WARM_UP_PHOTOS = 2
_MIN_PHOTOS = 5


def candidate_setups(workload: Workload, engines: Sequence[str], threads: int) -> list[EngineSetup]:
    """Return the settings to compare, those of the rule first.

    One photo is tried with all threads and with half of them, since two threads of a core can slow each other down;
    many photos are tried with streams of one, two and four threads.

    Args:
        workload: what the engine is used for.
        engines: names of engines, the preferred one first.
        threads: CPU threads.
    """
    setups = []
    for engine in engines:
        rule = default_setup(workload, engine, threads, gpu=engine == "cuda")
        setups.append(rule)
        if engine == "cuda":
            continue
        if workload == "latency":
            setups += [replace(rule, threads=threads // 2)] if threads >= 4 else []
        else:
            setups += [replace(rule, streams=threads // share) for share in (2, 4) if threads >= 2 * share - 2]
    return setups


@dataclass(frozen=True, slots=True)
class WorkloadBenchmark:
    """Compares settings in interleaved rounds, one engine in memory at a time.

    Attributes:
        load: loads the classifier with some settings; raises `AssayError` if the engine cannot run the model.
        trial: runs the workload.
        seconds: duration of a trial.
        is_valid: called after each trial; a trial that was not valid is repeated.
    """

    load: Callable[[EngineSetup], "Classifier"]
    trial: Trial
    seconds: float = 0.3
    is_valid: Callable[[], bool] = lambda: True

    def run(self, setups: Sequence[EngineSetup], *, batches: bool = False) -> EngineMeasurement:
        """Return the fastest settings, or the first if no others are clearly faster.

        `batches`: choose the size of batches too, for the best of these settings.

        Raises:
            AssayError: none of the engines can run the model.
        """
        rates = self._rounds(setups)
        chosen = fastest_setup(rates)
        if batches:
            sizes = self._rounds([chosen, *(replace(chosen, batch=size) for size in _BATCHES if size != chosen.batch)])
            chosen = fastest_setup(sizes)
            rates |= sizes
        return EngineMeasurement(chosen, {str(setup): round(median(values), 2) for setup, values in rates.items()})

    def _rounds(self, setups: Sequence[EngineSetup]) -> dict[EngineSetup, list[float]]:
        rates: dict[EngineSetup, list[float]] = {setup: [] for setup in setups}
        failed = AssayError("no inference engine is installed: pip install openvino")
        for _ in range(_ROUNDS):
            for setup in list(rates):
                try:
                    rates[setup].append(self._measure(setup))
                except AssayError as error:
                    failed = error
                    del rates[setup]
        if not rates:
            raise failed
        return rates

    def _measure(self, setup: EngineSetup) -> float:
        classifier = self.load(setup)
        self.is_valid()  # forgets what happened before
        while True:
            rate = self.trial(classifier, self.seconds)
            if self.is_valid():
                return rate


def fastest_setup(rates: dict[EngineSetup, list[float]]) -> EngineSetup:
    """Return the settings with the best rates, or the first if no others are clearly and consistently faster.

    `rates` are photos per second, one value per round.
    """
    rule = next(iter(rates))
    best = rule
    for setup, values in rates.items():
        clearly_faster = min(values) > max(rates[rule]) and median(values) > _MIN_GAIN * median(rates[rule])
        if clearly_faster and median(values) > median(rates[best]):
            best = setup
    return best


def latency_trial(classifier: "Classifier", seconds: float) -> float:
    """Run one photo at a time; the rate is that of inference, each after a photo was decoded."""
    photo, took = synthetic_photo(), list[float]()
    start = time.perf_counter()
    while len(took) < _WARM_UP_PHOTOS + _MIN_PHOTOS or time.perf_counter() - start < seconds:
        pixels = classifier.preprocess.read(photo)[np.newaxis]
        before = time.perf_counter()
        classifier.predict_pixels(pixels)
        took.append(time.perf_counter() - before)
    return 1 / median(took[_WARM_UP_PHOTOS:])


def throughput_trial(classifier: "Classifier", seconds: float) -> float:
    """Read, decode and classify photos as for a folder."""
    photo = synthetic_photo()

    def photos(until: float) -> Iterator[bytes]:
        yield photo
        while time.perf_counter() < until:
            yield photo

    list(classifier.stream(photos(0.0)))
    start = time.perf_counter()
    count = sum(1 for _ in classifier.stream(photos(start + seconds)))
    return count / (time.perf_counter() - start)


TRIALS: Mapping[Workload, Trial] = MappingProxyType({"latency": latency_trial, "throughput": throughput_trial})
"""How a workload is run; the server's is in `assay.serving`."""


@lru_cache(maxsize=1)
def synthetic_photo() -> bytes:
    """Return a JPEG of 1080 × 1920 with about the detail of a photo; always the same bytes."""
    rng = np.random.default_rng(0)
    layers = [rng.integers(0, 256, (1920 // cell, 1080 // cell, 3), dtype=np.uint8) for cell in (120, 24, 4)]
    images = [Image.fromarray(layer).resize((1080, 1920), Image.Resampling.BICUBIC) for layer in layers]
    picture = Image.blend(Image.blend(images[0], images[1], 0.3), images[2], 0.15)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()
