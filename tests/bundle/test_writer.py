"""Writing bundles from networks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from assay.bundle import Bundle, BundleError, BundleInfo
from assay.bundle.onnx_export import export_onnx, frozen_copy, state_to_safetensors, torch_logits
from assay.bundle.writer import MAX_LOGIT_DIFFERENCE, Runtime, measure_agreement, write_bundle


class Answer(NamedTuple):
    logits: np.ndarray


class Session:
    """ONNX Runtime, optionally off by a little."""

    def __init__(self, model: bytes, error: float = 0.0) -> None:
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._error = error

    def run(self, images: np.ndarray) -> Answer:
        return Answer(self._session.run(["logits"], {"images": images})[0] + np.float32(self._error))


def off_by(error: float) -> Callable[[bytes], Runtime]:
    return lambda model: Session(model, error)


@pytest.fixture(scope="module")
def exported(make_tiny: Callable[[], nn.Module]) -> bytes:
    return export_onnx(frozen_copy(make_tiny()), 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "screws.assay"


def test_bundle_gives_the_outputs_of_the_network(
    path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray
) -> None:
    written = write_bundle(path, tiny, info, images, {"onnxruntime": Session})
    bundle = Bundle.open(path)
    assert bundle.info == written
    assert written.agreement["onnxruntime"] <= 1e-5
    session = onnxruntime.InferenceSession(bundle.model(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert names == ["logits", "embedding", "featuremap"]
    with torch.no_grad():
        expected = tiny.eval()(torch.from_numpy(images))
    for item, other in zip(expected, session.run(None, {"images": images}), strict=True):
        np.testing.assert_allclose(other, item.numpy(), atol=1e-5)


def test_known_architecture_is_not_traced_again(
    make_tiny: Callable[[], nn.Module], images: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    first = export_onnx(frozen_copy(make_tiny()), 32)
    other = frozen_copy(make_tiny())
    for tensor in other.state_dict().values():
        tensor.add_(torch.rand(tensor.shape).to(tensor.dtype))
    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("it was traced"))
        filled = export_onnx(other, 32)
        assert export_onnx(frozen_copy(make_tiny()), 32) == first != filled
    np.testing.assert_allclose(Session(filled).run(images).logits, torch_logits(other, images), atol=1e-5)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "empty"))
    assert export_onnx(other, 32) == filled


def test_other_architecture_is_traced(
    make_tiny: Callable[[], nn.Module], images: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    export_onnx(frozen_copy(make_tiny()), 32)
    other = frozen_copy(make_tiny())
    other.backbone[2] = nn.LeakyReLU(0.3)
    np.testing.assert_allclose(
        Session(export_onnx(other, 32)).run(images).logits, torch_logits(other, images), atol=1e-5
    )


@pytest.mark.parametrize("content", ["", "not a graph", "altered", "other", None])
def test_unusable_cache_is_ignored(
    tiny: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    first = export_onnx(frozen_copy(tiny), 32)
    (graph,) = (tmp_path / "graphs").iterdir()
    if content == "other":
        other = frozen_copy(tiny)
        other.backbone[2] = nn.LeakyReLU(0.3)
        export_onnx(other, 32)
        (another,) = set((tmp_path / "graphs").iterdir()) - {graph}
        graph.write_bytes(another.read_bytes())
    elif content == "altered":
        graph.write_bytes(graph.read_bytes().replace(b"Relu", b"Selu"))
    elif content is None:
        graph.unlink()
        graph.parent.rmdir()
        graph.parent.write_text("in the way", encoding="utf-8")
    else:
        graph.write_bytes(content.encode())
    assert export_onnx(frozen_copy(tiny), 32) == first


def test_same_network_gives_the_same_file(
    path: Path,
    make_tiny: Callable[[], nn.Module],
    info: BundleInfo,
    images: np.ndarray,
) -> None:
    write_bundle(path, make_tiny(), info, images, {"onnxruntime": Session})
    first = path.read_bytes()
    write_bundle(path, make_tiny(), info, images, {"onnxruntime": Session})
    assert path.read_bytes() == first


def test_weights_can_be_loaded_into_the_network(
    path: Path, tiny: nn.Module, make_tiny: Callable[[], nn.Module], info: BundleInfo, images: np.ndarray
) -> None:
    write_bundle(path, tiny, info, images, {})
    again = make_tiny()
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    weights = {name: torch.from_numpy(tensor) for name, tensor in Bundle.open(path).weights().items()}
    again.load_state_dict(weights, strict=True)
    np.testing.assert_array_equal(torch_logits(again.eval(), images), torch_logits(tiny.eval(), images))


def test_network_is_not_changed(path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray) -> None:
    tiny.train()
    tiny.backbone.eval()
    tiny.backbone[0].weight.requires_grad_(requires_grad=False)
    before, random = state_to_safetensors(tiny), torch.get_rng_state()
    write_bundle(path, tiny, info, images, {})
    assert state_to_safetensors(tiny) == before
    assert tiny.training
    assert tiny.head.training
    assert not tiny.backbone.training
    assert [p.requires_grad for p in tiny.parameters()] == [False, True, True, True, True, True]
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("error", [2e-3, float("nan")])
def test_disagreeing_runtime_raises(
    path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray, error: float
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"the old one")
    engines = {"sound": Session, "unsound": off_by(error)}
    difference = "0.002" if error > 0 else "nan"
    found = (
        rf"not written: unsound and torch differ by {difference} \(unsound\) in a logit on 11 photos, more than 0.001, "
        "while sound and torch agree; install the version of unsound that"
    )
    with pytest.raises(BundleError, match=found):
        write_bundle(path, tiny, info, images, engines)
    assert path.read_bytes() == b"the old one"
    assert list(path.parent.iterdir()) == [path]


def test_no_runtime_is_blamed_if_all_differ_from_torch(
    path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray
) -> None:
    found = (
        r"not written: torch and the model exported from it differ by 0.002 \(one\) and 0.003 \(other\) in a logit .*; "
        "install the versions of torch, onnxscript, one, other that"
    )
    with pytest.raises(BundleError, match=found):
        write_bundle(path, tiny, info, images, {"one": off_by(0.002), "other": off_by(0.003)})


def test_every_image_and_batch_size_is_compared(tiny: nn.Module, exported: bytes, images: np.ndarray) -> None:
    frozen = frozen_copy(tiny)
    seen: list[int] = []

    class WrongAtTheEnd(Session):
        def run(self, part: np.ndarray) -> Answer:
            seen.append(len(part))
            logits = super().run(part).logits
            logits[-1] += 0.25 * (sum(seen) == len(images))
            return Answer(logits)

    found = measure_agreement(torch_logits(frozen, images), exported, images, {"x": WrongAtTheEnd})
    assert found["x"] == pytest.approx(0.25, abs=1e-4)
    assert seen == [1, 8, 2]
    assert found["x"] > MAX_LOGIT_DIFFERENCE


def test_network_for_other_classes_raises(path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray) -> None:
    two = info.model_copy(update={"classes": ("a", "b")})
    with pytest.raises(BundleError, match=r"logits \[11, 3\] and there are 2 classes"):
        write_bundle(path, tiny, two, images, {})


def test_network_with_other_normalization_raises(
    path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray
) -> None:
    other = info.preprocess.model_copy(update={"mean": (0.5, 0.4, 0.31)})
    with pytest.raises(BundleError, match=r"preprocess\.mean is \[0\.5, 0\.4, 0\.31\]"):
        write_bundle(path, tiny, info.model_copy(update={"preprocess": other}), images, {})


def test_diverged_network_raises(path: Path, tiny: nn.Module, info: BundleInfo, images: np.ndarray) -> None:
    nn.init.constant_(tiny.head[1].bias, float("nan"))
    with pytest.raises(BundleError, match="logits are not finite"):
        write_bundle(path, tiny, info, images, {})
    assert not path.exists()


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (2, 16, 16, 3), (2, 3, 32, 32)])
def test_images_of_another_shape_raise(path: Path, tiny: nn.Module, info: BundleInfo, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[n, 32, 32, 3\]"):
        write_bundle(path, tiny, info, np.zeros(shape, np.uint8), {})


def test_export_contains_no_machine_metadata(exported: bytes) -> None:
    for trace in (b"stack_trace", b".py", str(Path.home()).encode(), sys.prefix.encode()):
        assert trace not in exported


def test_export_prints_nothing(
    tiny: nn.Module, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    export_onnx(frozen_copy(tiny), 32)
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records if record.levelname != "DEBUG"] == []


def test_half_precision_network_is_exported_in_float32(tiny: nn.Module, images: np.ndarray) -> None:
    frozen = frozen_copy(tiny.half())
    assert {tensor.dtype for tensor in frozen.parameters()} == {torch.float32}
    assert torch_logits(frozen, images).dtype == np.float32
