"""Models of a server: the threads that compute, and the measured engine settings."""

import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from colour_model import colour_model
from safetensors.numpy import save

from assay.bundle import BundleInfo, pack_bundle
from assay.inference import EngineSetup, ModelLoader
from assay.inference.workload import EngineMeasurement
from assay.recipe import PreprocessSpec
from assay.serving.compute_pool import ComputePool
from assay.serving.model_registry import ModelRegistry
from assay.serving.settings import BatchSettings, ModelSettings, ModelSource, UploadSettings
from assay.serving.telemetry import NullTelemetry

_THREADS = 2
_NICE_FIELD = 16


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    spec = PreprocessSpec(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    info = BundleInfo(name="colours", classes=("red", "green", "blue"), preprocess=spec)
    path = tmp_path / "colours.assay"
    model = colour_model(convolutions=4).SerializeToString()
    pack_bundle(path, info, {"model.onnx": model, "weights.safetensors": save({"w": np.zeros(1, np.float32)})})
    return path


def _registry(bundle: Path, batching: BatchSettings | None = None) -> ModelRegistry:
    return ModelRegistry(
        [ModelSource(bundle)],
        settings=ModelSettings(),
        pool=ComputePool(_THREADS),
        batching=batching or BatchSettings(),
        uploads=UploadSettings(),
        telemetry=NullTelemetry(),
    )


def _busy_threads() -> dict[int, tuple[int, int]]:
    """Return processor time, in ticks, and nice level by thread."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        fields = task.joinpath("stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        found[int(task.name)] = (int(fields[11]) + int(fields[12]), int(fields[_NICE_FIELD]))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux")
def test_threads_of_streams_have_lower_priority_than_the_event_loop(bundle: Path) -> None:
    model = _registry(bundle).default
    assert model.setup.streams == _THREADS
    image = np.zeros((16, 16, 3), np.uint8)

    async def ask(count: int) -> None:
        await asyncio.gather(*(model.batcher.submit(image, in_progress=8) for _ in range(count)))

    asyncio.run(ask(4))
    before, own = _busy_threads(), os.getpriority(os.PRIO_PROCESS, 0)
    start = time.process_time()
    while time.process_time() - start < 1.0:
        asyncio.run(ask(16))
    spent = {thread: (ticks - before.get(thread, (0, 0))[0], nice) for thread, (ticks, nice) in _busy_threads().items()}
    low = sum(ticks for ticks, nice in spent.values() if nice > own)
    assert low > 0.5 * sum(ticks for ticks, _ in spent.values())


def test_measured_settings_replace_those_of_the_rule(bundle: Path) -> None:
    registry = _registry(bundle)
    model = registry.default
    assert (model.setup, model.classifier.setup_source) == (EngineSetup("openvino", 2, 2, 4), "rule")
    measured = EngineSetup("onnxruntime", 2, 1, 8)
    ModelLoader(bundle, threads=_THREADS).save("server", EngineMeasurement(measured, {}))
    asyncio.run(registry.apply_measurement(model))
    assert (registry.default.setup, registry.default.classifier.setup_source) == (measured, "measured")
    assert registry.default.identity != model.identity


def test_model_that_was_reloaded_in_the_meantime_is_not_replaced(bundle: Path) -> None:
    registry = _registry(bundle)
    old = registry.default

    async def run() -> None:
        await registry.reload()
        await registry.apply_measurement(old)

    asyncio.run(run())
    assert registry.default is not old
    assert registry.default.classifier.setup_source == "rule"


def test_batch_size_of_the_settings_has_precedence(bundle: Path) -> None:
    assert _registry(bundle, BatchSettings(batch_size=3)).default.setup.batch == 3
