"""Measure a model as a server runs it: concurrent photos through the batcher, with decoding beside it.

`python -m assay.serving.engine_measurement JOB` measures in a process of its own, prints the result as JSON and saves
it. With `background`, the process has the lowest priority of the system, and is the first to be ended if memory runs
out. It exits when its standard input is closed. A trial during which the process was stopped is repeated.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Thread

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.inference import Classifier, EngineSetup, ModelLoader, Workload
from assay.inference.engine_selection import PrecisionChoice
from assay.inference.workload import EngineMeasurement
from assay.inference.workload_measurement import TRIALS, WorkloadBenchmark, synthetic_photo
from assay.serving.compute_pool import ComputePool
from assay.serving.decoding import Decoder, ImageLimits
from assay.serving.model_registry import make_batcher
from assay.serving.telemetry import NullTelemetry

_MIN_CONCURRENCY = 8
_DECODE_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True)
class EngineMeasurementJob:
    """What a process measures; see `ModelLoader` for `engine`, `precision` and `threads`."""

    model: str
    workload: Workload
    engine: str
    precision: PrecisionChoice
    threads: int
    background: bool = False
    seconds: float = 0.3
    """Duration of a trial."""

    @property
    def command(self) -> list[str]:
        """The command line of the process."""
        return [sys.executable, "-m", "assay.serving.engine_measurement", json.dumps(asdict(self))]


def measure(job: EngineMeasurementJob) -> EngineMeasurement:
    """Measure a job in this process, and save the result for later loads.

    Raises:
        AssayError: the bundle cannot be read, or no engine can run its model.
    """
    loader = ModelLoader(job.model, job.engine, precision=job.precision, threads=job.threads)
    stops = _StopCounter()

    def load(setup: EngineSetup) -> Classifier:
        return Classifier.from_setup(loader, setup)

    def server_trial(classifier: Classifier, seconds: float) -> float:
        single = classifier
        if classifier.setup.streams > 1:
            single = load(replace(classifier.setup, streams=1))
        return asyncio.run(_serve_photos(classifier, single, job.threads, seconds))

    trial = server_trial if job.workload == "server" else TRIALS[job.workload]
    benchmark = WorkloadBenchmark(load, trial, job.seconds, stops.none_since_last_call)
    measurement = benchmark.run(loader.candidate_setups(job.workload), batches=job.workload == "server")
    loader.save(job.workload, measurement)
    return measurement


def measure_in_process(job: EngineMeasurementJob) -> EngineMeasurement:
    """Measure a job in a process of its own, and save the result for later loads.

    Raises:
        AssayError: the bundle cannot be read, no engine can run its model, or the process died.
    """
    # In its own session, so that Ctrl-C reaches only this process. The other one exits when its standard input is
    # closed, that is, whenever this process ends.
    with subprocess.Popen(  # noqa: S603 - our own module
        job.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            output = "" if process.stdout is None else process.stdout.read()
        finally:
            process.kill()
    return parse_output(output)


def parse_output(output: str) -> EngineMeasurement:
    """Return the measurement that a process has printed; `AssayError` if there is none."""
    values = json.loads((output.splitlines() or ['{"error": "the process that measures died"}'])[-1])
    if "error" in values:
        raise AssayError(values["error"])
    return EngineMeasurement(EngineSetup(**values["setup"]), values["rates"])


async def _serve_photos(classifier: Classifier, single: Classifier, threads: int, seconds: float) -> float:
    """Decode and classify photos concurrently; return photos per second, after a warm-up of one per client."""
    photo, clients = synthetic_photo(), max(_MIN_CONCURRENCY, 2 * cpu_count())
    pool = ComputePool(threads)
    batcher = make_batcher(classifier, single, classifier.setup, pool, NullTelemetry())
    decoder, limits = Decoder(pool, _DECODE_MEMORY), ImageLimits(("jpeg",), 10_000)

    async def client(until: float) -> int:
        count = 0
        while not count or time.perf_counter() < until:
            _, pixels = await decoder.decode(photo, limits, classifier.preprocess)
            await batcher.submit(pixels, clients)
            count += 1
        return count

    try:
        await asyncio.gather(*(client(0.0) for _ in range(clients)))
        start = time.perf_counter()
        counts = await asyncio.gather(*(client(start + seconds) for _ in range(clients)))
        return sum(counts) / (time.perf_counter() - start)
    finally:
        pool.close()


class _StopCounter:
    """Counts how often this process was stopped and continued."""

    def __init__(self) -> None:
        self._count = 0
        if hasattr(signal, "SIGCONT"):
            signal.signal(signal.SIGCONT, self._on_continue)

    def _on_continue(self, *_: object) -> None:
        self._count += 1

    def none_since_last_call(self) -> bool:
        """Return whether the process was not stopped since the last call."""
        count, self._count = self._count, 0
        return not count


def _lower_process_priority() -> None:
    # A sandbox may forbid each of these.
    with suppress(OSError, AttributeError):
        os.nice(19)
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _exit_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Measure the job of the command line and print the result, or `error`, as JSON."""
    job = EngineMeasurementJob(**json.loads(sys.argv[1]))
    if job.background:
        _lower_process_priority()
    Thread(target=_exit_with_parent, daemon=True).start()
    try:
        measurement = measure(job)
    except AssayError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
    else:
        sys.stdout.write(json.dumps(asdict(measurement)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
