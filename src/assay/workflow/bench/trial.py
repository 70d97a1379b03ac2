"""One worker, from the start of its process to its figures; it ends with whoever waits for it.

Knows nothing of repeats or tables.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from assay.errors import AssayError
from assay.workflow.bench.stages import Stages
from assay.workflow.bench.worker import Job, Setting, to_json


class TrialError(AssayError):
    """An engine that could not be measured; the message is a reason without its name."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one worker found.

    Attributes:
        startup: seconds from the start of the process to its first answer.
        p50: median seconds an image, batch 1, from pixels to logits.
        p95: the 95th percentile.
        p99: the 99th.
        runs: images behind these.
        throughput: images a second, from pixels to logits.
        setting: what gave it.
        memory: most bytes held while it answered one image at a time; None where nobody counts.
        peak: most bytes held at all.
        stages: mean seconds from a file to its answer.
    """

    startup: float
    p50: float
    p95: float
    p99: float
    runs: int
    throughput: float
    setting: Setting
    memory: int | None
    peak: int | None
    stages: Stages


def run_trial(job: Job) -> Trial:
    """Start a worker, let it do a job and end.

    Raises:
        TrialError: the engine cannot run the model, or its process died.
    """
    command = [sys.executable, "-m", "assay.workflow.bench.worker", to_json(job)]
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        started = time.perf_counter()
        # In a session of its own, so that Ctrl-C reaches whoever waits. The worker ends when its input does,
        # and so with this process, however that ends.
        with subprocess.Popen(  # noqa: S603 - our own module, by the interpreter that runs us
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
            start_new_session=True,
        ) as process:
            try:
                first, startup, rest = _listen(process, started)
            finally:
                process.kill()
        complaints.seek(0)
        return _trial(first, rest, startup, complaints.read())


def _listen(process: subprocess.Popen[str], started: float) -> tuple[str, float, str]:
    """Return the worker's first line, when it came, in seconds, and all it said afterwards."""
    if process.stdout is None:
        raise TrialError("its process cannot be heard")
    first = process.stdout.readline()
    startup = time.perf_counter() - started
    return first, startup, process.stdout.read()


def _trial(first: str, rest: str, startup: float, complaints: str) -> Trial:
    lines = [json.loads(line) for line in (first + rest).splitlines()]
    for line in lines:
        if "error" in line:
            raise TrialError(line["error"])
    if len(lines) != 2:
        last = (complaints.strip().splitlines() or ["without a word"])[-1]
        raise TrialError(f"its process died: {last[:200]}")
    told: dict[str, Any] = lines[1]
    p50, p95, p99 = np.percentile(told["latency"], (50, 95, 99)).tolist()
    return Trial(
        startup=startup,
        p50=p50,
        p95=p95,
        p99=p99,
        runs=len(told["latency"]),
        throughput=told["throughput"],
        setting=Setting(**told["setting"]),
        memory=told["memory"],
        peak=told["peak"],
        stages=Stages(**told["stages"]),
    )
