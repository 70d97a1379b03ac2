"""Embeddings of a frozen backbone are computed once and reused while nothing that affects them changes."""

from pathlib import Path

import numpy as np
import pytest

from assay.bundle import Bundle
from assay.data import Dataset, load_dataset
from assay.data.loading import load_split_dataset
from assay.image import Preprocess
from assay.inference import Classifier
from assay.pipeline import train_classifier
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import CachedEmbeddings, FrozenBackbone, backbone_key, compiled_backbone
from assay.pipeline.dataset_evaluation import predict_dataset
from assay.recipe import Recipe, load_recipe


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def probe(tiny: Recipe) -> Recipe:
    train = tiny.train.model_copy(update={"strategy": "probe", "augmentation_views": 2})
    return tiny.model_copy(update={"train": train})


@pytest.fixture(scope="module")
def dataset(colours: Path, tiny: Recipe) -> Dataset:
    return load_split_dataset(colours, tiny.data, 0)


def changed(recipe: Recipe, **train: object) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


def frozen(recipe: Recipe, dataset: Dataset, messages: list[str] | None = None) -> FrozenBackbone:
    messages = [] if messages is None else messages
    network, spec = build_model(changed(recipe, seed=0), dataset)
    return FrozenBackbone(network, spec, recipe, dataset, lambda what, *_: messages.append(what))


def test_embeddings_equal_the_output_of_the_backbone(probe: Recipe, dataset: Dataset):
    network, spec = build_model(probe, dataset)
    samples = dataset.samples[5:9]
    images = np.stack([Preprocess(spec).read(sample.read()) for sample in samples])
    rows = frozen(probe, dataset).plain(samples)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, compiled_backbone(network, spec.size)(images), atol=1e-5)


def test_embedding_does_not_depend_on_other_images(
    probe: Recipe, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    few = frozen(probe, dataset).plain(dataset.samples[40:43])
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(frozen(probe, dataset).plain(dataset.samples)[40:43], few)


def test_cache_serves_other_heads_rates_and_batch_sizes_without_reading_files(
    probe: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    first = frozen(probe, dataset).embedded()
    result: list[str] = []
    monkeypatch.setattr("assay.data.dataset.Sample.read", lambda _: pytest.fail("a photo was opened"))
    again = frozen(changed(probe, lr=0.5, batch_size=7, epochs=9), dataset, result).embedded()
    np.testing.assert_array_equal(first.train, again.train)
    np.testing.assert_array_equal(first.val, again.val)
    assert first.train.shape[:2] == (2, len(dataset.part("train")))
    assert result == []


def test_views_are_per_image_and_more_views_keep_the_first(probe: Recipe, dataset: Dataset):
    train = dataset.part("train")
    views = frozen(probe, dataset).embedded().train
    assert not np.array_equal(views[0], views[1])
    result: list[str] = []
    three = frozen(changed(probe, augmentation_views=3), dataset, result).embedded().train
    np.testing.assert_array_equal(three[:2], views)
    assert len(result) == -(-len(train) // probe.train.batch_size)
    np.testing.assert_array_equal(frozen(probe, dataset).view(train[::-1], 1), views[1][::-1])
    other = frozen(changed(probe, seed=7), dataset).view(train, 0)
    assert not np.array_equal(other, views[0])


def test_interrupted_computation_is_resumed(probe: Recipe, dataset: Dataset):
    rows = frozen(probe, dataset).plain(dataset.samples[:20])
    result: list[str] = []
    whole = frozen(probe, dataset, result).plain(dataset.samples)
    np.testing.assert_array_equal(whole[:20], rows)
    assert len(result) == -(-(len(dataset) - 20) // probe.train.batch_size)


def test_image_changed_since_the_scan_is_not_cached(probe: Recipe, colours: Path, tmp_path: Path):
    for name in ("red", "blue"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        source = colours / name / "003.png"
        (tmp_path / "photos" / name / "a.png").write_bytes(source.read_bytes())
    dataset = load_dataset(tmp_path / "photos")
    (tmp_path / "photos/red/a.png").write_bytes((colours / "blue" / "003.png").read_bytes())
    wrong = frozen(probe, dataset).plain(dataset.samples)
    np.testing.assert_array_equal(wrong[0], wrong[1])
    (tmp_path / "photos/red/a.png").write_bytes((colours / "red" / "003.png").read_bytes())
    right = frozen(probe, dataset).plain(dataset.samples)
    assert not np.array_equal(right[0], right[1])


def test_weights_and_pixels_change_the_key(dataset: Dataset, tiny: Recipe):
    network, spec = build_model(tiny, dataset)
    key = backbone_key(network, spec)
    network.head.fc.weight.data += 1
    assert backbone_key(network, spec) == key
    assert backbone_key(network, spec.model_copy(update={"resize_mode": "crop"})) != key
    other, _ = build_model(changed(tiny, seed=1), dataset)
    assert backbone_key(other, spec) != key


def test_without_augmentation_there_is_one_view_for_all_seeds(probe: Recipe, dataset: Dataset):
    canvas = load_recipe("defect").augment.model_copy(update={"input_scale": 1.5})
    recipe = probe.model_copy(update={"augment": canvas})
    first = frozen(recipe, dataset).embedded().train
    result: list[str] = []
    np.testing.assert_array_equal(frozen(changed(recipe, seed=3), dataset, result).embedded().train, first)
    assert len(first) == 1
    assert result == []


@pytest.fixture
def probed(tiny: Recipe, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Dataset]:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    train = tiny.train.model_copy(update={"strategy": "probe", "augmentation_views": 2})
    result = train_classifier(colours, tiny.model_copy(update={"train": train}), tmp_path / "run")
    return Bundle.open(result.run.bundle), result.dataset


def test_cached_outputs_equal_those_of_the_bundle_if_complete(probed: tuple[Bundle, Dataset]):
    bundle, dataset = probed
    kept, classifier = CachedEmbeddings.of(bundle, dataset), Classifier.load(bundle.path)
    assert kept is not None
    test, val = dataset.part("test"), dataset.part("val")
    assert kept.outputs(classifier, test) is None, "nobody asked for their embeddings yet"
    kept.backbone.plain(test)
    for samples in (test, val):
        assert kept.outputs(classifier, samples) is not None
        plain, found = (predict_dataset(classifier, dataset, samples, cached=item) for item in (None, kept))
        assert found.ids == plain.ids
        np.testing.assert_allclose(found.probabilities, plain.probabilities, atol=1e-4)
        np.testing.assert_allclose(found.embedding, plain.embedding, atol=1e-4)


def test_cached_outputs_that_differ_from_the_bundle_are_not_used(probed: tuple[Bundle, Dataset]):
    bundle, dataset = probed
    kept, classifier = CachedEmbeddings.of(bundle, dataset), Classifier.load(bundle.path)
    assert kept is not None
    kept.head.fc.bias.data += 0.01
    assert kept.outputs(classifier, dataset.part("val")) is None


def test_trained_backbone_is_not_cached(probed: tuple[Bundle, Dataset], monkeypatch: pytest.MonkeyPatch):
    bundle, dataset = probed
    settings = bundle.info.provenance.recipe
    monkeypatch.setitem(settings, "train", {**settings["train"], "strategy": "finetune"})
    assert CachedEmbeddings.of(bundle, dataset) is None
