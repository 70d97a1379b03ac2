"""The worker process of a measurement: results, errors and exit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assay.benchmark.worker import BATCHES, MeasurementJob
from assay.benchmark.worker_process import MeasurementError, run_measurement


def test_worker_returns_measurements(int8_bundle: Path, photo_files: list[Path]):
    trial = run_measurement(
        MeasurementJob(str(int8_bundle), "openvino", "int8", [str(shot) for shot in photo_files], 0.2)
    )
    assert 0 < trial.p50 <= trial.p95 <= trial.p99 < trial.startup
    assert trial.runs >= 10
    assert trial.throughput > 0
    assert trial.setting.batch in BATCHES
    assert min(trial.stages) > 0
    assert trial.memory is not None
    assert trial.peak is not None
    # Less than torch alone would take: the worker holds what predicting needs, and nothing of this process.
    assert 20 << 20 < trial.memory <= trial.peak < 600 << 20


def test_broken_model_raises(int8_bundle: Path, photo_files: list[Path]):
    with pytest.raises(MeasurementError, match="unknown engine 'abacus'"):
        run_measurement(MeasurementJob(str(int8_bundle), "abacus", "fp32", [str(photo_files[0])], 0.1))


def test_output_of_a_dead_worker_is_reported(int8_bundle: Path):
    with pytest.raises(MeasurementError, match="its process died: IndexError"):
        run_measurement(MeasurementJob(str(int8_bundle), "onnxruntime", "fp32", [], 0.1))


_INTERRUPTED = """
import sys
from assay.cli.main import main
main(["bench", sys.argv[1], "--seconds", "600"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are looked up in /proc")
def test_ctrl_c_ends_the_worker(int8_bundle: Path, tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED, str(int8_bundle)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        worker = _child(process)
        process.send_signal(signal.SIGINT)
        _, result = process.communicate(timeout=60)
    assert process.returncode == 130
    assert result == "assay: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    # It ends when its input does; a test that waits for ever is ended by its time limit.
    while _alive(worker):
        os.sched_yield()


def _child(process: subprocess.Popen[str]) -> int:
    """Wait until a process has started another, and return that one's number."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        for child in children.read_text(encoding="ascii").split():
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"benchmark.worker" in command.read_bytes():
                return int(child)
    raise AssertionError("it ended before it measured")


def _alive(worker: int) -> bool:
    try:
        state = Path(f"/proc/{worker}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
