"""A classifier of red, green and blue photos whose outputs can be computed by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colour_model import colour_model
from PIL import Image
from safetensors.numpy import save

from assay.bundle import BundleInfo, pack_bundle
from assay.inference import Classifier
from assay.recipe import PreprocessSpec

SIDE = 16


@pytest.fixture(scope="session")
def make_model() -> Callable[..., bytes]:
    return lambda **options: colour_model(**options).SerializeToString()


@pytest.fixture(scope="session")
def info() -> BundleInfo:
    spec = PreprocessSpec(size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return BundleInfo(name="colours", classes=("red", "green", "blue"), preprocess=spec)


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory, info: BundleInfo) -> Callable[..., Path]:
    """Pack a bundle, with other information or another model where given."""

    def make(model: bytes | None = None, *, dense: bool = False, **changes: object) -> Path:
        path = tmp_path_factory.mktemp("bundle") / "colours.assay"
        head = {"head.fc.weight": 10 * np.eye(3, dtype=np.float32), "head.fc.bias": np.zeros(3, np.float32)}
        weights = save({**head, "head.hidden.0.1.weight": np.ones((3, 3), np.float32)} if dense else head)
        members = {"model.onnx": model or colour_model().SerializeToString(), "weights.safetensors": weights}
        pack_bundle(path, info.model_copy(update=changes), members)
        return path

    return make


@pytest.fixture(scope="session")
def bundle_path(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


@pytest.fixture(scope="session", params=["openvino", "onnxruntime"])
def classifier(request: pytest.FixtureRequest, bundle_path: Path) -> Classifier:
    """The same classifier on every runtime."""
    return Classifier.load(bundle_path, request.param)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of every colour, of different sizes and formats."""
    folder = tmp_path_factory.mktemp("photos")
    shapes = {
        "red.png": ((40, 30), (250, 10, 20)),
        "green ü.jpg": ((64, 64), (20, 240, 30)),
        "blue.webp": ((17, 90), (0, 0, 255)),
    }
    paths = {}
    for name, (size, colour) in shapes.items():
        paths[name.split(".")[0].split(" ")[0]] = folder / name
        Image.new("RGB", size, colour).save(folder / name)
    return paths
