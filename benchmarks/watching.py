"""What telemetry costs a request: microseconds of every call that the server makes, of one worker or several.

Usage: python benchmarks/watching.py
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from assay.bundle import BundleInfo
from assay.recipe import PreprocessSpec
from assay.serving.request_record import ImageMetadata, RequestRecord
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import RequestCompleted, StageCompleted
from assay.serving.telemetry.metrics import multiprocess_metrics

CALLS = 1000
REPEATS = 30
METRICS = {
    "val": {"classes": [{"name": "closed", "predicted": 60}, {"name": "open", "predicted": 40}]},
    "confidence": {"val": {"histogram": {"edges": [0.6, 0.7, 0.8, 0.9], "counts": [20, 20, 20, 20, 20]}}},
}


def records() -> list[RequestRecord]:
    """Answers of two classes, of all confidences."""
    image, now = ImageMetadata(200_000, "jpeg", (1080, 1920)), datetime.now(UTC)
    return [
        RequestRecord(
            request_id=f"{number:032x}",
            timestamp=now,
            client_id="line-3",
            image=image,
            result="open" if number % 3 else "closed",
            confidence=0.5 + number % 50 / 100,
            unknown=False,
            processing_time=0.0123,
            model="bottle",
            model_version="v1",
            cache_hit=False,
            status=200,
        )
        for number in range(CALLS)
    ]


def microseconds(work: Callable[[], None]) -> float:
    """Median time of one of `CALLS` calls, with a pause in which the log is written."""
    taken = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        taken.append(1e6 * (perf_counter() - start) / CALLS)
        sleep(0.05)
    return median(taken)


def measure(*, together: bool) -> None:
    """Print one row: by prometheus_client alone in memory, or in the files of several workers."""
    pixels = PreprocessSpec(mean=(0, 0, 0), std=(1, 1, 1))
    info = BundleInfo(name="bottle", version="v1", classes=("closed", "open"), preprocess=pixels, metrics=METRICS)
    with ExitStack() as stack:
        if together:
            stack.enter_context(multiprocess_metrics())
        from assay.serving.telemetry.telemetry import make_telemetry  # noqa: PLC0415 - after multiprocess_metrics

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        telemetry = make_telemetry(TelemetrySettings(log_dir=folder), {"bottle": info}, {})
        stack.callback(telemetry.close)
        answers = records()

        def answered() -> None:
            for record in answers:
                telemetry.emit(RequestCompleted(record, "gold"))

        def phase() -> None:
            for _ in range(CALLS):
                telemetry.emit(StageCompleted("decode", 0.004))

        def request() -> None:
            for _ in range(CALLS):
                with telemetry.request_scope("r1", {}):
                    continue

        times = [microseconds(work) for work in (answered, phase, request)]
        start = perf_counter()
        for _ in range(CALLS // 10):
            telemetry.render_metrics()
        render = 1e3 * (perf_counter() - start) / (CALLS // 10)
    kind = "several workers" if together else "one worker"
    print(f"{kind:16} {times[0]:9.1f} {times[1]:9.1f} {times[2]:9.1f} {render:12.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(together=sys.argv[1] == "together")
    else:
        print(f"{'':16} {'answered':>9} {'phase':>9} {'request':>9} {'GET /metrics':>12}")
        print(f"{'':16} {'µs':>9} {'µs':>9} {'µs':>9} {'ms':>12}", flush=True)
        for kind in ("alone", "together"):
            subprocess.run([sys.executable, __file__, kind], check=True)
