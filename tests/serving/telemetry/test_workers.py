"""Metrics of several workers are combined; gauges of dead workers are dropped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from assay.bundle import BundleInfo
from assay.serving.telemetry.metrics import MULTIPROCESS_VARIABLE, multiprocess_metrics

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A worker process that receives events as lines."""

    def __init__(self, info: BundleInfo) -> None:
        self._process = subprocess.Popen(
            [sys.executable, WORKER, info.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, event: str, *values: object) -> str:
        pipe = _there(self._process.stdin)
        pipe.write(json.dumps([event, *values]) + "\n")
        pipe.flush()
        answer: str = json.loads(_there(self._process.stdout).readline())
        return answer

    def figures(self) -> dict[tuple[str, ...], float]:
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in parse(self.tell("render"))
            for sample in family.samples
        }

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            _there(pipe).close()


def _there(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


@pytest.fixture
def workers(info: BundleInfo) -> Iterator[list[Worker]]:
    with multiprocess_metrics():
        started = [Worker(info) for _ in range(2)]
        yield started
        for worker in started:
            worker.kill()


def test_metrics_of_workers_are_combined_and_gauges_of_dead_ones_dropped(workers: list[Worker], info: BundleInfo):
    first, second = workers
    first.tell("answered", "open", 60)
    second.tell("answered", "closed", 50)
    first.tell("queue_length", 3)
    second.tell("queue_length", 4)
    for worker in workers:  # from any worker
        figures = worker.figures()
        assert figures["assay_requests_total", "200", "bottle", "gold"] == 110
        assert figures["assay_queue_length",] == 7
        assert figures["assay_model_info", "bottle", "v1"] == 2
        assert figures["assay_drift_predictions", "bottle", "class", "open"] == 60
        assert figures["assay_drift_reference", "bottle", "class", "open"] == 40
        assert ("assay_drift_psi", "bottle", "class") in figures
    first.kill()
    figures = second.figures()
    assert figures["assay_requests_total", "200", "bottle", "gold"] == 110
    assert figures["assay_queue_length",] == 4
    assert figures["assay_model_info", "bottle", "v1"] == 1
    assert figures["assay_drift_predictions", "bottle", "class", "open"] == 0
    assert ("assay_drift_psi", "bottle", "class") not in figures
    workers[0] = Worker(info)
    workers[0].tell("answered", "open", 1)
    assert second.figures()["assay_requests_total", "200", "bottle", "gold"] == 111


def test_metrics_folder_is_removed_with_the_server():
    before = os.environ.get(MULTIPROCESS_VARIABLE)
    with multiprocess_metrics() as outer:
        with multiprocess_metrics() as inner:
            assert os.environ[MULTIPROCESS_VARIABLE] == str(inner)
        assert os.environ[MULTIPROCESS_VARIABLE] == str(outer)
        assert outer.is_dir()
        assert not inner.exists()
    assert not outer.exists()
    assert os.environ.get(MULTIPROCESS_VARIABLE) == before


def test_prometheus_client_imported_too_early_raises():
    script = "import prometheus_client\nfrom assay.serving.telemetry.metrics import multiprocess_metrics\n"
    script += "with multiprocess_metrics():\n"
    script += "    from assay.serving.telemetry.metrics import PrometheusMetrics; PrometheusMetrics()"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "enter multiprocess_metrics() first" in run.stderr
