"""Engines: outputs, threads, precisions, errors, and the automatic choice."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from assay.core.cpu import bf16_instructions
from assay.core.errors import UsageError
from assay.inference import ENGINES, Engine, EngineError, create_engine
from assay.inference.onnxruntime_engine import has_cuda
from assay.inference.openvino_engine import CompiledModelCache


@pytest.fixture(scope="module", params=list(ENGINES))
def engine(request: pytest.FixtureRequest, make_model: Callable[..., bytes]) -> Engine:
    return create_engine(request.param, make_model())


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def test_engine_has_a_name_and_a_signature(engine: Engine) -> None:
    assert ENGINES[engine.name] is type(engine)
    assert engine.signature == ((None, 16, 16, 3), (None, 3))


def test_outputs_equal_those_of_the_model(engine: Engine) -> None:
    images = noise(5)
    outputs = engine.run(images)
    means = images.reshape(5, -1, 3).mean(axis=1) / 255
    np.testing.assert_allclose(outputs.embedding, means, atol=1e-5)
    np.testing.assert_allclose(outputs.logits, 10 * means, atol=1e-4)
    assert outputs.featuremap.shape == (5, 3, 4, 4)
    assert {array.dtype for array in outputs} == {np.dtype(np.float32)}


def test_batches_of_any_size(engine: Engine) -> None:
    images = noise(33)
    expected = engine.run(images).logits
    for size in (1, 7, 2, 33, 1):
        np.testing.assert_allclose(engine.run(images[:size]).logits, expected[:size], atol=1e-5)


def test_outputs_are_not_overwritten_by_later_calls(engine: Engine) -> None:
    first = engine.run(noise(2, seed=1))
    before = [array.copy() for array in first]
    engine.run(noise(2, seed=2))
    for array, copy in zip(first, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_noncontiguous_images_are_accepted(engine: Engine) -> None:
    images = noise(4)
    np.testing.assert_allclose(engine.run(images[::-1]).logits[::-1], engine.run(images).logits, atol=1e-6)


def test_threads_get_their_own_outputs(engine: Engine) -> None:
    batches = [noise(1 + seed % 4, seed) for seed in range(64)]
    alone = [engine.run(batch).logits for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda batch: engine.run(batch).logits, batches))
    for item, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(item, other, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 8, 3), (1, 8, 16, 3), (1, 16, 16, 1), (0, 16, 16, 3), (16, 16, 3)])
@pytest.mark.parametrize("name", list(ENGINES))
def test_images_that_do_not_fit_are_refused(
    name: str, shape: tuple[int, ...], threads: int, make_model: Callable[..., bytes]
) -> None:
    engine = create_engine(name, make_model(), threads=threads)
    with pytest.raises(EngineError, match=r"must be uint8 \[N, 16, 16, 3\], not uint8"):
        engine.run(np.zeros(shape, np.uint8))
    with pytest.raises(EngineError, match="not float32"):
        engine.run(noise(1).astype(np.float32))
    assert engine.run(noise(2)).logits.shape == (2, 3)


@pytest.mark.parametrize("name", list(ENGINES))
def test_number_of_threads_can_be_set(name: str, make_model: Callable[..., bytes]) -> None:
    assert create_engine(name, make_model(), threads=1).run(noise(1)).logits.shape == (1, 3)


@pytest.mark.parametrize("name", list(ENGINES))
def test_concurrent_streams_give_the_same_outputs(name: str, make_model: Callable[..., bytes]) -> None:
    single, many = create_engine(name, make_model()), create_engine(name, make_model(), threads=2, streams=2)
    batches = [noise(count) for count in (1, 2, 3, 16)]
    with ThreadPoolExecutor(4) as pool:
        concurrent = list(pool.map(many.run, batches * 4))
    for batch, outputs in zip(batches * 4, concurrent, strict=True):
        for item, other in zip(single.run(batch), outputs, strict=True):
            np.testing.assert_allclose(other, item, atol=1e-5)


@pytest.mark.skipif(not bf16_instructions(), reason="the processor has no instructions for bfloat16")
def test_bfloat16_gives_nearly_the_same_outputs(make_model: Callable[..., bytes]) -> None:
    exact = create_engine("openvino", make_model()).run(noise(3))
    engine = create_engine("auto", make_model(), bf16=True)
    assert engine.name == "openvino"
    for item, other in zip(engine.run(noise(3)), exact, strict=True):
        assert item.dtype == np.float32
        # 8 bits of mantissa.
        np.testing.assert_allclose(item, other, rtol=0.05, atol=0.02 * np.abs(other).max())
    assert not np.array_equal(engine.run(noise(3)).logits, exact.logits)


def test_onnx_runtime_rejects_bfloat16(make_model: Callable[..., bytes]) -> None:
    with pytest.raises(UsageError, match="onnxruntime does not support bfloat16: choose the engine openvino"):
        create_engine("onnxruntime", make_model(), bf16=True)


def test_compiled_model_is_cached(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    first = create_engine("openvino", make_model(), threads=2, cache=tmp_path)
    assert not list(tmp_path.iterdir())
    first.store()
    (file,) = tmp_path.iterdir()
    written = file.read_bytes()
    again = create_engine("openvino", make_model(), threads=2, cache=tmp_path)
    assert (first.from_cache, again.from_cache) == (False, True)
    assert again.signature == first.signature
    np.testing.assert_array_equal(again.run(noise(3)).logits, first.run(noise(3)).logits)
    again.store()
    assert file.read_bytes() == written
    create_engine("openvino", make_model(), cache=tmp_path, threads=2, streams=2).store()
    assert len(list(tmp_path.iterdir())) == 2


def test_invalid_cached_model_is_compiled_again(tmp_path: Path, make_model: Callable[..., bytes]) -> None:
    first = create_engine("openvino", make_model(), cache=tmp_path)
    first.store()
    (file,) = tmp_path.iterdir()
    CompiledModelCache(tmp_path).put(file.stem, b"no compiled model")
    mended = create_engine("openvino", make_model(), cache=tmp_path)
    assert not mended.from_cache
    mended.store()
    expected = first.run(noise(1)).logits
    np.testing.assert_array_equal(mended.run(noise(1)).logits, expected)
    assert CompiledModelCache(tmp_path).get(file.stem) != b"no compiled model"


def test_cuda_without_a_gpu_raises(make_model: Callable[..., bytes]) -> None:
    if has_cuda():
        pytest.skip("ONNX Runtime for graphics cards is installed")
    with pytest.raises(EngineError, match="pip install onnxruntime-gpu"):
        create_engine("cuda", make_model())


@pytest.mark.parametrize("name", list(ENGINES))
@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 50])
def test_invalid_model_raises_one_line(name: str, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError) as caught:
        create_engine(name, content)
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", list(ENGINES))
def test_model_with_float_input_is_rejected(name: str, make_model: Callable[..., bytes]) -> None:
    with pytest.raises(EngineError, match="not uint8"):
        create_engine(name, make_model(input_type=TensorProto.FLOAT))


@pytest.mark.parametrize("name", list(ENGINES))
def test_model_without_the_outputs_is_rejected(name: str, make_model: Callable[..., bytes]) -> None:
    with pytest.raises(EngineError, match=r"(?i)logits"):
        create_engine(name, make_model().replace(b"logits", b"fogits"))


def test_auto_uses_openvino_if_installed(make_model: Callable[..., bytes]) -> None:
    assert create_engine("auto", make_model()).name == "openvino"


def test_unknown_engine_raises(make_model: Callable[..., bytes]) -> None:
    with pytest.raises(UsageError, match="unknown engine 'tensorrt': choose auto, openvino, onnxruntime"):
        create_engine("tensorrt", make_model())


WITHOUT_OPENVINO = """
import sys
sys.modules["openvino"] = None
from assay.inference import EngineError, create_engine
model = sys.stdin.buffer.read()
print(create_engine("auto", model).name)
try:
    create_engine("openvino", model)
except EngineError as error:
    print(error)
"""


def test_without_openvino_auto_uses_onnx_runtime(make_model: Callable[..., bytes]) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENVINO], input=make_model(), capture_output=True, check=True)
    name, refusal = done.stdout.decode().splitlines()
    assert name == "onnxruntime"
    assert refusal.startswith("cannot load OpenVINO")
    assert refusal.endswith("pip install openvino")


WATCHED = """
import json, sys
seen = []
def watch(event, arguments):
    told = event.startswith(("socket.", "subprocess.", "os.fork", "os.mkdir"))
    if told or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3):
        seen.append([event, str(arguments[0])])
sys.addaudithook(watch)
from assay.inference import create_engine
model = sys.stdin.buffer.read()
for name in ("openvino", "onnxruntime"):
    create_engine(name, model)
print(json.dumps([seen, sys.modules.get("openvino_telemetry") is not None]))
"""


def test_engines_use_no_network_and_leave_no_files(make_model: Callable[..., bytes]) -> None:
    done = subprocess.run([sys.executable, "-B", "-c", WATCHED], input=make_model(), capture_output=True, check=True)
    seen, telemetry = json.loads(done.stdout)
    assert seen == []
    assert not telemetry


@pytest.mark.parametrize("name", list(ENGINES))
def test_signals_are_handled_after_engines_are_destroyed(
    name: str, make_model: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(make_model())
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from assay.inference import create_engine\n"
        "model = Path(sys.argv[2]).read_bytes()\n"
        "first, second = (create_engine(sys.argv[1], model) for _ in range(2))\n"
        "del first\n"
        "del second\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    words = [sys.executable, "-c", code, name, tmp_path / "model.onnx"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr
