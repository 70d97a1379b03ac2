"""Run one measurement in a worker process, and read its output."""

import json
import subprocess
import sys
import time
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from assay.benchmark.results import Measurement
from assay.benchmark.worker import MeasurementJob, StageTimes, ThroughputSetting, to_json
from assay.core.errors import AssayError


class MeasurementError(AssayError):
    """An engine could not be measured; the message does not name it."""


def run_measurement(job: MeasurementJob) -> Measurement:
    """Measure a job in a worker process.

    Raises:
        MeasurementError: the engine cannot run the model, or the process died.
    """
    command = [sys.executable, "-m", "assay.benchmark.worker", to_json(job)]
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        started = time.perf_counter()
        # In its own session, so that Ctrl-C reaches only this process. The worker exits when its
        # standard input is closed, that is, whenever this process ends.
        with subprocess.Popen(  # noqa: S603 - a module of Assay, run by this interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            start_new_session=True,
        ) as process:
            try:
                first, startup, rest = _read_output(process, started)
            finally:
                process.kill()
        errors.seek(0)
        return _parse_output(first, rest, startup, errors.read())


def _read_output(process: subprocess.Popen[str], started: float) -> tuple[str, float, str]:
    """Return the worker's first line, the seconds until it arrived, and the rest of its output."""
    if process.stdout is None:
        raise MeasurementError("the output of its process cannot be read")
    first = process.stdout.readline()
    startup = time.perf_counter() - started
    return first, startup, process.stdout.read()


def _parse_output(first: str, rest: str, startup: float, errors: str) -> Measurement:
    lines = [json.loads(line) for line in (first + rest).splitlines()]
    for line in lines:
        if "error" in line:
            raise MeasurementError(line["error"])
    if len(lines) != 2:
        last = (errors.strip().splitlines() or ["no error message"])[-1]
        raise MeasurementError(f"its process died: {last[:200]}")
    values: dict[str, Any] = lines[1]
    p50, p95, p99 = np.percentile(values["latency"], (50, 95, 99)).tolist()
    return Measurement(
        startup=startup,
        p50=p50,
        p95=p95,
        p99=p99,
        runs=len(values["latency"]),
        throughput=values["throughput"],
        setting=ThroughputSetting(**values["setting"]),
        memory=values["memory"],
        peak=values["peak"],
        stages=StageTimes(**values["stages"]),
    )
