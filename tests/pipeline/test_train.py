"""Training end to end: the run folder, interruption and resumption, and the metrics of the bundle."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

import assay
from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.evaluation import Predictions
from assay.inference import Classifier
from assay.pipeline import (
    Run,
    TrainCallbacks,
    TrainResult,
    evaluate_classifier,
    resume_training,
    suggest_learning_rate,
    train_classifier,
)
from assay.pipeline.build_network import rebuild_network
from assay.pipeline.grad_cam import create_explainer
from assay.recipe import Recipe, load_recipe
from assay.training import TrainingInterruptedError
from assay.training.nodes import Nodes


@pytest.fixture(scope="module")
def trained(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train_classifier(colours, tiny, tmp_path_factory.mktemp("runs") / "a")


def test_run_folder_is_complete(trained: TrainResult):
    folder = trained.run.folder
    expected = [
        "recipe.yaml",
        "manifest.csv",
        "unreadable.csv",
        "model.assay",
        "metrics.csv",
        "training.log",
        "curves.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "evaluation/val/metrics.json",
        "evaluation/test/confusion_matrix.png",
        "evaluation/test/misclassified.csv",
    ]
    assert [name for name in expected if not (folder / name).is_file()] == []
    assert trained.run.done


def test_training_reaches_the_expected_accuracy(trained: TrainResult):
    assert trained.reported_split == "test"
    assert trained.metrics["test"].accuracy == 1.0


def test_every_image_has_one_split_and_unreadable_ones_are_listed(trained: TrainResult):
    rows = list(csv.DictReader(trained.run.manifest.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 80
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    unreadable = trained.run.unreadable.read_text(encoding="utf-8")
    assert "broken.png" in unreadable
    assert trained.dataset.skipped


def test_bundle_contains_its_provenance(trained: TrainResult):
    info = Bundle.open(trained.run.bundle).info
    assert info.classes == ("blue", "red") == trained.dataset.classes
    assert info.provenance.data == trained.dataset.fingerprint
    assert info.provenance.photos["train"] == trained.dataset.counts("train")
    assert Recipe.model_validate(info.provenance.recipe).name == "colours"
    assert set(info.agreement) == {"openvino", "onnxruntime"}
    figures = json.loads(json.dumps(info.metrics["test"]))
    assert figures["accuracy"] == trained.metrics["test"].accuracy


def test_predictions_equal_those_of_the_evaluation(trained: TrainResult):
    saved = Predictions.load(trained.run.evaluation("test") / "predictions.npz")
    answers = Classifier.load(trained.run.bundle).predict([Path(path) for path in saved.paths])
    given = np.array([[item.probabilities[name] for name in saved.classes] for item in answers])
    np.testing.assert_allclose(given, saved.probabilities, atol=1e-5)


def test_same_seed_gives_the_same_classifier(trained: TrainResult, colours: Path, tiny: Recipe, tmp_path: Path):
    again = train_classifier(colours, tiny, tmp_path / "b")
    assert Bundle.open(again.run.bundle).info.version == Bundle.open(trained.run.bundle).info.version


def test_interrupted_and_resumed_run_gives_the_same_classifier(
    trained: TrainResult, colours: Path, tiny: Recipe, tmp_path: Path
):
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError, match="--resume"):
        train_classifier(colours, tiny, tmp_path / "c", TrainCallbacks(on_epoch=stop))
    assert not Run.open(tmp_path / "c").done
    resumed = resume_training(tmp_path / "c")
    assert Bundle.open(resumed.run.bundle).info.version == Bundle.open(trained.run.bundle).info.version
    assert resumed.run.done


def test_run_interrupted_before_its_manifest_starts_again(colours: Path, tiny: Recipe, tmp_path: Path):
    run = Run.create(tmp_path / "d", colours, tiny)
    result = resume_training(run.folder)
    assert result.metrics["test"].count > 0


def test_a_search_is_not_resumed_on_several_machines(colours: Path, tmp_path: Path):
    run = Run.create(tmp_path / "run", colours, load_recipe("default"))
    with pytest.raises(UsageError, match="the strategy auto trains on one machine"):
        resume_training(run.folder, machines=Nodes.parse(2, "127.0.0.1:29512"))


def test_folder_in_use_is_rejected(colours: Path, tiny: Recipe, tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        train_classifier(colours, tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_resuming_another_folder_is_rejected(tmp_path: Path):
    with pytest.raises(UsageError, match="holds no run"):
        resume_training(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        resume_training(tmp_path / "absent")


def test_evaluation_of_a_bundle_on_its_own_test_split(trained: TrainResult, tmp_path: Path):
    result = evaluate_classifier(trained.run.bundle, trained.run.manifest, tmp_path, split="test")
    assert result.metrics == trained.metrics["test"]
    assert result.files["confusion_figure"].is_file()


def test_labels_are_mapped_in_evaluation(colours: Path, tiny: Recipe, tmp_path: Path):
    mapping = {"warm": ("red",), "cold": ("blue",)}
    data = tiny.data.model_copy(update={"class_mapping": mapping, "positive_class": "warm"})
    result = train_classifier(colours, tiny.model_copy(update={"data": data}), tmp_path / "run")
    assert result.dataset.classes == ("warm", "cold")
    evaluated = evaluate_classifier(result.run.bundle, colours, tmp_path / "evaluated")
    assert evaluated.metrics.positive == "warm"
    saved = Predictions.load(evaluated.files["predictions"])
    assert set(saved.source_labels or ()) == {"red", "blue"}


def test_training_on_source_labels_sums_their_probabilities(tiny: Recipe, tmp_path: Path):
    photos = tmp_path / "photos"
    noise = np.random.default_rng(0)
    for name, colour in (("red", (170, 90, 90)), ("green", (90, 170, 90)), ("blue", (90, 90, 170))):
        (photos / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(np.array(colour) + noise.normal(0, 20, (24, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(photos / name / f"{number:02}.png")
    mapping = {"colder": ("green", "blue"), "warm": ("red",)}
    recipe = tiny.model_copy(
        update={
            "data": tiny.data.model_copy(update={"class_mapping": mapping, "positive_class": None}),
            "train": tiny.train.model_copy(
                update={"source_labels": True, "epochs": 15, "lr": 0.02, "keep_epoch": "last"}
            ),
        }
    )
    result = train_classifier(photos, recipe, tmp_path / "run")
    assert result.dataset.classes == ("colder", "warm")
    assert (result.metrics["test"].accuracy or 0) > 0.9
    bundle = Bundle.open(result.run.bundle)
    assert bundle.weights()["head.fc.weight"].shape[0] == 3
    classifier = Classifier.load(result.run.bundle)
    assert classifier.head is None
    photo = photos / "green" / "00.png"
    pixels = classifier.preprocess.read(photo.read_bytes())[None]
    rebuilt = rebuild_network(bundle)(torch.from_numpy(pixels)).logits
    np.testing.assert_allclose(classifier.outputs(pixels).logits, rebuilt.numpy(), rtol=1e-4, atol=1e-4)
    assert create_explainer(classifier)(photo).label == "colder"


def test_source_labels_that_are_missing_are_named(colours: Path, tiny: Recipe, tmp_path: Path):
    manifest = tmp_path / "manifest.csv"
    rows = [
        f"{colours / name / f'{number:03}.png'},{label}"
        for name, label in (("red", "warm"), ("blue", "cold"))
        for number in range(1, 40)
    ]
    manifest.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    data = tiny.data.model_copy(update={"class_mapping": {"warm": ("red",), "cold": ("blue",)}, "positive_class": None})
    recipe = tiny.model_copy(update={"data": data, "train": tiny.train.model_copy(update={"source_labels": True})})
    with pytest.raises(AssayError, match=r"has no label that data\.class_mapping combines into '(warm|cold)'"):
        train_classifier(manifest, recipe, tmp_path / "run")


def test_probe_trains_on_the_compiled_backbone(colours: Path, tiny: Recipe, tmp_path: Path):
    train = tiny.train.model_copy(update={"strategy": "probe", "epochs": 40, "lr": 0.02})
    recipe = tiny.model_copy(update={"train": train, "augment": load_recipe("defect").augment})
    result = train_classifier(colours, recipe, tmp_path / "run")
    assert (result.metrics["test"].accuracy or 0) > 0.9


def test_learning_rate_is_suggested_and_plotted(colours: Path, tiny: Recipe, tmp_path: Path):
    finding = suggest_learning_rate(colours, tiny, tmp_path / "lr.png")
    assert 1e-7 < finding.suggestion < 1
    assert (tmp_path / "lr.png").is_file()


def test_history_counts_epochs(trained: TrainResult):
    assert [row.epoch for row in trained.history.metrics] == [1, 2]
    assert replace(trained.history, metrics=()).best_epoch in {1, 2}


FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["blue", "red"])})


def _rows(colours: Path, count: int) -> datasets.Dataset:
    values = [
        (str(colours / name / f"{number:03}.png"), place)
        for place, name in enumerate(("blue", "red"))
        for number in range(1, count + 1)
    ]
    return datasets.Dataset.from_dict(
        {"image": [item for item, _ in values], "label": [item for _, item in values]}, FEATURES
    )


def test_training_evaluation_and_display_of_hf_rows(
    colours: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = assay.train(_rows(colours, 24), tiny)
    assert result.run.folder == Path("runs/colours-1")
    assert result.dataset.classes == ("blue", "red")
    html = result._repr_html_()
    assert "7 of 7 photos correct" in html
    assert html.count("<img") == 2
    evaluated = evaluate_classifier(result.run.bundle, _rows(colours, 6), tmp_path / "evaluated")
    assert evaluated.metrics.count == 12
    assert evaluated._repr_html_().count("<img") == 1


def test_keyword_settings_change_the_recipe(colours: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"no setting is called 'train\.epoch'"):
        assay.train(colours, "custom-resnet", tmp_path / "run", train__epoch=1)
    with pytest.raises(UsageError, match=r"train\.epochs: .*greater than or equal to 1"):
        assay.train(colours, "custom-resnet", tmp_path / "run", train__epochs=0)
    assert not (tmp_path / "run").exists()


def test_recipe_object_with_settings_is_rejected(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match="settings change a recipe that is named"):
        assay.train(colours, tiny, tmp_path / "run", train__epochs=1)
