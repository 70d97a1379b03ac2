"""A bundle with an int8 model, whose network can be made anew, and photos as cameras and tools give them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image

from assay.bundle import Bundle, BundleInfo, Provenance, amend_bundle
from assay.bundle.writer import write_bundle
from assay.image import Preprocess
from assay.inference import ENGINES
from assay.nets import create_classifier
from assay.recipe import PreprocessSpec, Recipe

SIDE = 32


class _Reader(CalibrationDataReader):
    def __init__(self, squares: np.ndarray) -> None:
        self._left = iter(squares[:, np.newaxis])

    def get_next(self) -> dict[str, np.ndarray] | None:
        square = next(self._left, None)
        return None if square is None else {"images": square}


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Large, tall, turned by Exif, transparent, gray and CMYK; every corner has another colour."""
    folder = tmp_path_factory.mktemp("shots")
    down, across = np.mgrid[0:1:480j, 0:1:640j]
    pixels = np.stack([across, down, 1 - across * down], axis=2)
    photo = Image.fromarray((255 * pixels).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "large.jpg", quality=95)
    photo.resize((90, 300)).save(folder / "tall.png")
    photo.save(folder / "turned.jpg", exif=turned)
    photo.convert("L").save(folder / "gray.png")
    photo.convert("CMYK").save(folder / "ink.jpg")
    glass = photo.resize((120, 70)).convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize((120, 70)))
    glass.save(folder / "glass.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def make_bundle(tiny: Recipe, shots: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a bundle of a network that nobody trained, but whose answers depend on the photo."""

    def make(*, int8: bool = True, classes: tuple[str, str] = ("left ü", "right"), **preprocess: object) -> Path:
        spec = PreprocessSpec.model_validate({"size": SIDE, "mean": (0.5,) * 3, "std": (0.5,) * 3, **preprocess})
        look = Preprocess(spec)
        squares = np.stack([look.read(shot.read_bytes()) for shot in shots])
        torch.manual_seed(0)
        network = create_classifier(tiny.net, 2, size=SIDE).eval()
        with torch.no_grad():
            network.head.fc.weight /= network(torch.from_numpy(squares)).logits.std(dim=0).mean()
            network.head.fc.bias -= network(torch.from_numpy(squares)).logits.mean(dim=0)
        told = Provenance(recipe=tiny.model_dump(mode="json"))
        info = BundleInfo(
            name="shots",
            classes=classes,
            preprocess=spec,
            provenance=told,
            temperature=0.8,
            thresholds={"confidence": 0.7},
        )
        path = tmp_path_factory.mktemp("bundle") / "shots.assay"
        write_bundle(path, network, info, squares, ENGINES)
        if int8:
            bundle = Bundle.open(path)
            amend_bundle(bundle, {}, int8=_quantised(bundle, squares, path.with_suffix(".onnx")))
        return path

    return make


def _quantised(bundle: Bundle, squares: np.ndarray, scratch: Path) -> bytes:
    scratch.write_bytes(bundle.model())
    quantize_static(scratch, scratch, _Reader(squares), quant_format=QuantFormat.QDQ, per_channel=True)
    return scratch.read_bytes()


@pytest.fixture(scope="session")
def int8_bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(roi=(0.1, 0.0, 0.9, 0.7), center_crop=0.9)
