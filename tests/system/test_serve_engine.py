"""Engine settings of a server: which measurement it uses, and measuring while it is idle."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from assay.inference import EngineSetup, ModelLoader, Workload
from assay.inference.workload import EngineMeasurement

_SECONDS = 120.0


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of which nothing was measured."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return make_bundle()


def _measured(bundle: Path, workload: Workload, engine: str) -> None:
    """Save a measurement in which an engine was the fastest."""
    loader = ModelLoader(bundle)
    loader.save(workload, EngineMeasurement(EngineSetup(engine, loader.threads, 1, 3), {}))


def _measuring(parent: int) -> Iterator[int]:
    """Yield the children of a process that measure."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for pid in task.joinpath("children").read_text(encoding="ascii").split():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"assay.serving.engine_measurement" in command:
                yield int(pid)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _log(running) -> str:
    environment = Path(f"/proc/{running.process.pid}/environ").read_bytes().split(b"\0")
    variables = dict(entry.split(b"=", 1) for entry in environment if b"=" in entry)
    folder = Path(os.fsdecode(variables[b"ASSAY_STATE"]))
    return "".join(path.read_text(encoding="utf-8") for path in [folder / "log", *(folder / "logs").iterdir()])


@pytest.mark.parametrize("workload", ["latency", "throughput"])
def test_measurements_of_other_workloads_do_not_change_the_server(serve, bundle: Path, workload: Workload):
    _measured(bundle, workload, "onnxruntime")
    running = serve(bundle)
    assert "openvino, fp32" in running.message
    assert running.stop() == 0


def test_server_uses_its_own_measurement_and_says_so(serve, bundle: Path):
    _measured(bundle, "server", "onnxruntime")
    running = serve(bundle)
    assert "onnxruntime, fp32" in running.message
    line = running.process.stdout.readline()
    assert line.startswith("engine settings of colours: onnxruntime, 1 × ")
    assert line.endswith(" threads, batch 3 (measured for this server)\n")
    assert running.stop() == 0


def test_running_server_switches_to_settings_that_are_measured_later(serve, bundle: Path, painted):
    running = serve(bundle, models__measure=True)
    assert "by rule; measured while the server is idle" in running.process.stdout.readline()
    with running.client() as client:
        before = client.post("/classify", files={"image": painted()}).json()
        _measured(bundle, "server", "onnxruntime")
        wait_until(lambda: "as measured; before: openvino" in _log(running), _SECONDS, "the settings were not changed")
        after = client.post("/classify", files={"image": painted()}).json()
    assert before["label"] == after["label"]
    assert running.stop() == 0


def test_measuring_stops_when_a_request_arrives_and_ends_with_the_server(serve, bundle: Path, painted):
    running = serve(bundle, models__measure=True)
    wait_until(lambda: list(_measuring(running.process.pid)), _SECONDS, "nothing is measured")
    (pid,) = _measuring(running.process.pid)
    with running.client() as client:

        def stopped() -> bool:
            # The signal takes effect when the process next runs, which at its idle priority may be later than the
            # answer; the requests go on, so that the server does not continue it before.
            assert client.post("/classify", files={"image": painted()}).status_code == 200
            return _state(pid) in {"T", "gone"}

        wait_until(stopped, _SECONDS, "measuring is not stopped")
    wait_until(lambda: _state(pid) != "T", _SECONDS, "measuring is not continued")
    with running.client() as client:
        client.post("/classify", files={"image": painted()})
    # It is stopped, and its parent cannot end it.
    running.process.send_signal(signal.SIGKILL)
    wait_until(lambda: _state(pid) in {"gone", "Z"}, _SECONDS, "the process that measures outlived the server")


def test_one_worker_measures_at_a_time(serve, bundle: Path):
    running = serve(bundle, "--workers", 3, models__measure=True)
    wait_until(lambda: len(running.workers()) == 3, _SECONDS, "not all workers have started")
    workers = running.workers()

    def measuring() -> list[int]:
        return [pid for worker in workers for pid in _measuring(worker)]

    wait_until(measuring, _SECONDS, "nothing is measured")
    counts = []
    for _ in range(30):
        counts.append(len(measuring()))
        time.sleep(0.1)
    assert max(counts) == 1
    (pid,) = measuring()
    assert running.stop() == 0
    assert _state(pid) == "gone"
