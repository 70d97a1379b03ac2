"""The cache of compiled models."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import utime
from pathlib import Path

import numpy as np
import pytest

from assay.inference.openvino_engine import CompiledModelCache, OpenVinoEngine


def test_stored_model_survives_a_round_trip(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path / "a")
    assert kept.get("00") is None
    kept.put("00", b"blob")
    assert kept.get("00") == b"blob"
    kept.forget("00")
    assert kept.get("00") is None


def test_changed_files_are_not_used(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path)
    kept.put("00", b"blob")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert kept.get("00") is None
    file.write_bytes(b"")
    assert kept.get("00") is None


def test_least_recently_used_model_is_removed_first(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path, limit=100)
    for age, key in enumerate(("00", "01")):
        kept.put(key, bytes(18))
        utime(tmp_path / f"{key}.blob", (age, age))
    assert kept.get("00") == bytes(18)
    kept.put("02", bytes(18))
    assert {file.stem for file in tmp_path.iterdir()} == {"00", "02"}
    kept.put("03", bytes(101))
    assert kept.get("03") is None


def test_unwritable_folder_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = CompiledModelCache(tmp_path / "file" / "below")
    kept.put("00", b"blob")
    assert kept.get("00") is None


def test_concurrent_writes(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: kept.put(f"{place % 2:02}", bytes(1000)), range(40)))
    assert kept.get("00") == kept.get("01") == bytes(1000)
    assert len(list(tmp_path.iterdir())) == 2


CONVERTER = """
import sys
from assay.inference.openvino_engine import import_openvino
import_openvino()
print("openvino.tools.ovc" in sys.modules)
import openvino
print(openvino.convert_model.__name__, hasattr(openvino, "no_such_name"))
"""


def test_model_converter_is_imported_on_first_use() -> None:
    done = subprocess.run([sys.executable, "-c", CONVERTER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "convert_model", "False"]


FIRST_INFERENCES = """
import threading
import numpy as np
from pathlib import Path
from assay.inference.openvino_engine import OpenVinoEngine
engine = OpenVinoEngine(Path({model!r}).read_bytes(), 2, streams=2)
images = np.zeros((4, {side}, {side}, 3), np.uint8)
start = threading.Barrier(2)
def run():
    start.wait()
    engine.run(images)
threads = [threading.Thread(target=run) for _ in range(2)]
for thread in threads:
    thread.start()
"""


@pytest.mark.slow
def test_first_inferences_of_two_threads_do_not_wait_for_each_other(
    make_model: Callable[..., bytes], tmp_path: Path
) -> None:
    # Without conversions in `import_openvino`, about one process in 15 hung.
    model = tmp_path / "model.onnx"
    model.write_bytes(make_model())
    script = FIRST_INFERENCES.format(model=str(model), side=16)
    for _ in range(20):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["streams of OpenVINO", "a copy for each stream"])
def test_concurrent_calls_with_streams_give_the_outputs_of_one_stream(
    make_model: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int
) -> None:
    monkeypatch.setattr("assay.inference.openvino_engine._MAX_COPIES_BYTES", limit)
    model = make_model()
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)
    expected = OpenVinoEngine(model, 1).run(images).logits
    for from_cache in (False, True):
        engine = OpenVinoEngine(model, 3, streams=3, cache=tmp_path)
        assert engine.from_cache is from_cache
        with ThreadPoolExecutor(6) as pool:
            found = [outputs.logits[0] for outputs in pool.map(engine.run, images[:, None])]
        np.testing.assert_allclose(np.stack(found), expected, rtol=1e-5, atol=1e-6)
        engine.store()
