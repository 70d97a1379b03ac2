"""Invalid runs are rejected before a folder is created."""

import time
from pathlib import Path

import pytest

from assay.core.errors import AssayError, UsageError
from assay.data.loading import load_split_dataset
from assay.pipeline import build_network, cross_validate, train_classifier, train_on_splits
from assay.pipeline.build_network import check_model_size, free_memory
from assay.recipe import Recipe, load_recipe


def _changed(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update=changes)


@pytest.mark.parametrize("start", [train_classifier, cross_validate])
def test_unknown_positive_class_raises(start, colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = _changed(tiny, data=_changed(tiny.data, positive_class="green"))
    with pytest.raises(AssayError, match=r"looks for the class 'green', which is none of blue, red: .*--set"):
        start(colours, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unavailable_device_raises(colours: Path, tiny: Recipe, tmp_path: Path):
    recipe = _changed(tiny, train=_changed(tiny.train, device="mps"))
    with pytest.raises(AssayError, match=r"train\.device is mps, but torch finds only"):
        train_classifier(colours, recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_empty_split_raises(colours: Path, tiny: Recipe, tmp_path: Path):
    dataset = load_split_dataset(colours, tiny.data, seed=0)
    with pytest.raises(AssayError, match="there are no validation photos"):
        train_on_splits(dataset.with_samples(dataset.part("train")), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keeps", [("train", "val"), ("train",)], ids=["everywhere", "in the training split"])
def test_training_photos_of_one_class_raise(colours: Path, tiny: Recipe, tmp_path: Path, keeps: tuple[str, ...]):
    dataset = load_split_dataset(colours, tiny.data, seed=0)
    kept = [sample for sample in dataset.samples if sample.label == "red" or sample.split not in keeps]
    with pytest.raises(AssayError, match="all training photos are of the class 'red': add training photos of other"):
        train_on_splits(dataset.with_samples(kept), tiny, tmp_path / "run")
    assert not (tmp_path / "run").exists()


HUGE = 10**9


@pytest.mark.parametrize(
    "override",
    [
        f"net.convnet.filters=[{HUGE}]",
        f"net.convnet.filters=[32, {10**40}]",
        f"net.convnet.filters=[{', '.join(['2'] * 40)}]",
        f"net.resnet={{layers: [{HUGE}, 1], widths: [8, 8]}}",
        f"net.resnet={{layers: [1], widths: [{HUGE}]}}",
        f"net.resnet={{layers: [{', '.join(['1'] * 99)}], widths: [{', '.join(['1'] * 99)}]}}",
        f"net.head.hidden=[{HUGE}]",
        f"net.head.hidden=[{', '.join(['9'] * 999)}]",
        f"preprocess.size={HUGE}",
        f"augment.input_scale={HUGE}",
        f"augment.offline.copies={HUGE}",
        f"augment.train=[{{name: motion_blur, kernel: [3, {HUGE}]}}]",
        f"augment.train=[{{name: gaussian_blur, kernel: [3, {HUGE}]}}]",
        f"augment.train=[{{name: grid_distortion, steps: {HUGE}}}]",
        *(
            f"train.{name}={HUGE}"
            for name in (
                *("epochs", "batch_size", "workers", "augmentation_views", "freeze", "warmup_epochs", "seed"),
                *("early_stopping.patience", "staged.head_epochs"),
            )
            if name != "seed"
        ),
        f"train.seed={10**20}",
        f"serve.max_megabytes={HUGE}",
        f"serve.max_side={HUGE}",
        f"live.fps={HUGE}",
    ],
)
def test_every_size_has_an_upper_bound(override: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("custom-resnet", [override])
    assert override.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["net.name=convnet", "net.convnet.filters=[65536, 65536]"],
        ["net.resnet={layers: [200, 200], widths: [4096, 4096], block: bottleneck}"],
        ["net.head.hidden=[65536, 65536]"],
        ["net.name=efficientnet-lite0", "net.head.hidden=[65536, 65536]"],
    ],
)
def test_too_large_network_for_a_bundle_is_rejected_at_once(overrides: list[str]) -> None:
    net = load_recipe("custom-resnet", overrides).net
    begin = time.process_time()
    with pytest.raises(UsageError, match="ONNX files are limited to 2 GiB"):
        check_model_size(net, 2, 32)
    assert time.process_time() - begin < 20


def test_network_larger_than_memory_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    net = load_recipe("custom-resnet", []).net
    check_model_size(net, 2, 32)
    monkeypatch.setattr(build_network, "free_memory", lambda: 1 << 20)
    with pytest.raises(UsageError, match=r"training needs 4 times as much, but 0\.0 GiB are free"):
        check_model_size(net, 2, 32)
    monkeypatch.setattr(build_network, "free_memory", lambda: 0)
    check_model_size(net, 2, 32)


def test_free_memory_is_read_if_available(tmp_path: Path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", encoding="ascii")
    assert free_memory(tmp_path / "meminfo") == 2048 * 1024
    assert free_memory(tmp_path / "nothing") == 0
