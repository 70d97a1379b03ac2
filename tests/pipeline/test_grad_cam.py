"""Heat maps on synthetic images whose classes differ only in a patch: the maximum must lie inside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from assay.bundle import Bundle, BundleError, BundleInfo, Provenance, amend_bundle
from assay.bundle.writer import write_bundle
from assay.core.errors import AssayError
from assay.image import Preprocess
from assay.inference import ENGINES, Classifier, Explainer
from assay.nets import create_classifier, default_normalization, load_pretrained
from assay.nets.heads import Head
from assay.pipeline.build_network import rebuild_head
from assay.pipeline.grad_cam import GradCam, create_explainer
from assay.recipe import PreprocessSpec, Recipe

CLASSES = ("plain", "planted")
SIDE, PATCH = 224, 48
TRAIN, HELD_OUT = 40, 100


class Planted(NamedTuple):
    """Images, and the position of the patch in the held-out ones."""

    folder: Path
    places: dict[Path, tuple[int, int]]


def background(rng: np.random.Generator) -> np.ndarray:
    """Return clouds of random colour and contrast, with the spectrum of natural photos."""
    across = np.fft.fftfreq(SIDE)
    distance = np.hypot(across[:, np.newaxis], across)
    distance[0, 0] = np.inf
    phases = np.exp(2j * np.pi * rng.random((3, SIDE, SIDE)))
    clouds = np.fft.ifft2(distance**-1.2 * phases).real
    clouds /= clouds.std(axis=(1, 2), keepdims=True)
    clouds[1:] = 0.7 * clouds[:1] + 0.3 * clouds[1:]
    pixels = rng.uniform(80, 170) + rng.uniform(20, 45) * clouds
    return pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def rings() -> np.ndarray:
    offsets = np.arange(PATCH) - PATCH / 2 + 0.5
    waves = 128 + 100 * np.sin(np.hypot(offsets[:, np.newaxis], offsets) / 1.5)
    return np.repeat(waves.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder, rng, patch = tmp_path_factory.mktemp("planted"), np.random.default_rng(5), rings()
    places = {}
    for part, label, count in [
        ("train", "plain", TRAIN),
        ("train", "planted", TRAIN),
        ("test", "planted", HELD_OUT),
    ]:
        (folder / part / label).mkdir(parents=True)
        for number in range(count):
            pixels = background(rng)
            path = folder / part / label / f"{number:03}.jpg"
            if label == "planted":
                left, top = (int(place) for place in rng.integers(0, SIDE - PATCH + 1, 2))
                pixels[top : top + PATCH, left : left + PATCH] = patch
                if part == "test":
                    places[path] = left, top
            Image.fromarray(pixels).save(path, quality=95)
    return Planted(folder, places)


@pytest.fixture(scope="module")
def make(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Classifier]:
    """Fit a head on EfficientNet-Lite0's frozen features, and write and open its bundle."""
    embeddings: list[torch.Tensor] = []

    def run(**head: object) -> Classifier:
        recipe = Recipe.model_validate({"net": {"name": "efficientnet-lite0", "head": head}})
        torch.manual_seed(1)
        network = create_classifier(recipe.net, 2)
        load_pretrained(network, recipe.net)
        mean, std = default_normalization(recipe.net.name)
        spec = PreprocessSpec(size=SIDE, mean=mean, std=std)
        photos = sorted((planted.folder / "train").glob("*/*.jpg"))
        pixels = np.stack([Preprocess(spec).read(photo.read_bytes()) for photo in photos])
        if not embeddings:
            with torch.no_grad():
                parts = [network.eval().embed(part) for part in torch.from_numpy(pixels).split(16)]
            embeddings.append(torch.cat(parts))
        targets = torch.tensor([CLASSES.index(photo.parent.name) for photo in photos])
        fit_head(network.head, embeddings[0], targets)
        info = BundleInfo(
            name="planted",
            classes=CLASSES,
            preprocess=spec,
            provenance=Provenance(recipe=recipe.model_dump(mode="json")),
        )
        path = tmp_path_factory.mktemp("bundle") / "planted.assay"
        write_bundle(path, network, info, pixels[:2], {"openvino": ENGINES["openvino"]})
        return Classifier.load(path)

    return run


def fit_head(head: Head, embeddings: torch.Tensor, targets: torch.Tensor) -> None:
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    head.train()
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(embeddings), targets).backward()
        optimizer.step()
    head.eval()


@pytest.fixture(scope="module")
def linear(make: Callable[..., Classifier]) -> Classifier:
    return make()


@pytest.fixture(scope="module")
def dense(make: Callable[..., Classifier]) -> Classifier:
    return make(hidden=[32], dropout=0.1, batch_norm=True)


def share_inside(explain: Explainer, planted: Planted) -> float:
    inside, answers = [], []
    for path, (left, top) in planted.places.items():
        explanation = explain(path, "planted")
        peak = explanation.peak
        inside.append(peak is not None and left <= peak[0] < left + PATCH and top <= peak[1] < top + PATCH)
        answers.append(explanation.prediction.label)
    assert answers.count("planted") >= 0.9 * len(answers), "a classifier that sees no patch has nothing to find"
    return sum(inside) / len(inside)


@pytest.mark.slow
def test_class_activation_map_peaks_inside_the_patch(linear: Classifier, planted: Planted):
    explain = create_explainer(linear)
    assert explain(next(iter(planted.places)), None).method == "cam"
    assert share_inside(explain, planted) >= 0.95


@pytest.mark.slow
def test_grad_cam_peaks_inside_the_patch_with_a_dense_head(dense: Classifier, planted: Planted):
    assert dense.head is None
    explain = create_explainer(dense)
    assert explain(next(iter(planted.places)), None).method == "grad-cam"
    assert share_inside(explain, planted) >= 0.95


@pytest.mark.slow
def test_both_methods_agree_for_a_linear_head(linear: Classifier, planted: Planted):
    assert linear.bundle is not None
    photo = next(iter(planted.places))
    by_gradients = linear.explain(photo, evidence=GradCam(linear.bundle))
    np.testing.assert_allclose(by_gradients.cells, linear.explain(photo).cells, atol=1e-3)


@pytest.mark.slow
def test_gradients_are_those_of_the_logits(dense: Classifier, planted: Planted):
    """Numeric derivatives of the logit equal the map."""
    assert dense.bundle is not None
    outputs = dense.outputs(dense.preprocess.read(next(iter(planted.places)).read_bytes())[np.newaxis])
    head = rebuild_head(dense.bundle).double()

    def contrast(featuremap: np.ndarray) -> float:
        with torch.no_grad():
            logits = head(torch.from_numpy(featuremap.mean(axis=(2, 3))))[0]
        return float(logits[1] - logits.mean())

    exact = outputs.featuremap.astype(np.float64)
    logits = outputs.logits[0]
    assert contrast(exact) == pytest.approx(logits[1] - logits.mean(), abs=1e-3)
    cells = GradCam(dense.bundle)(np.zeros((1, 1, 3), np.uint8), outputs, 1)
    for row, column in [(0, 0), (3, 3), (6, 2)]:
        step = exact.copy()
        step[:, :, row, column] *= 1 + 1e-5
        moved = (contrast(step) - contrast(exact)) / 1e-5
        assert moved * cells.size == pytest.approx(cells[row, column], rel=0.02, abs=1e-3)


@pytest.mark.slow
def test_threads_get_the_maps_of_their_own_images(dense: Classifier, planted: Planted):
    explain, photos = create_explainer(dense), list(planted.places)[:12]
    alone = [explain(photo, "planted").cells for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: explain(photo, "planted").cells, photos))
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.slow
def test_bundle_without_a_description_of_its_head_is_rejected(dense: Classifier, tmp_path: Path):
    assert dense.bundle is not None
    amend_bundle(dense.bundle, {"provenance": Provenance(recipe={"net": 3})}, path=tmp_path / "a.assay")
    with pytest.raises(BundleError, match=r"the recipe in .* cannot be read"):
        create_explainer(Classifier.load(tmp_path / "a.assay"))
    amend_bundle(dense.bundle, {"provenance": Provenance()}, path=tmp_path / "b.assay")
    with pytest.raises(BundleError, match="do not match the head of its recipe"):
        rebuild_head(Bundle.open(tmp_path / "b.assay"))
    with pytest.raises(AssayError, match="was not loaded from a bundle"):
        create_explainer(Classifier(dense.info, dense.engine))
