"""The search of the strategy `auto`: what is tried, kept and recorded, and what an interruption leaves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from assay.core.errors import AssayError
from assay.data.loading import load_split_dataset
from assay.inference import Classifier
from assay.nets import ClassifierNetwork as Network
from assay.pipeline import TrainCallbacks, TrainResult, resume_training, train_classifier, train_on_splits
from assay.pipeline.auto import Candidate
from assay.pipeline.auto.candidate_results import candidates_table
from assay.pipeline.auto.fine_tuning_plan import FineTuningCost, comparisons
from assay.pipeline.auto.probe import TWO_HEADS, Protocol
from assay.pipeline.auto.probe_cost import ProbeCost
from assay.pipeline.auto.scores import Gain
from assay.pipeline.build_network import build_model
from assay.pipeline.evaluate import evaluate_classifier
from assay.pipeline.run_folder import Run
from assay.pipeline.training_overlap import uses_validation_images
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training import TrainingInterruptedError

SETTINGS = ["preprocess.size=32", "serve.int8=false", "train.auto.backbones=[]", "augment.train=[]"]


def recipe(*overrides: str) -> Recipe:
    return load_recipe("default", [*SETTINGS, *overrides])


@pytest.fixture(scope="module")
def trained(wide: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    settings = recipe("preprocess.resize_mode=crop", "train.auto.fine_tune=false")
    return train_classifier(wide, settings, tmp_path_factory.mktemp("auto") / "run")


def test_geometry_that_shows_the_class_is_kept(trained: TrainResult):
    assert "crop" in trained.candidates[0].name
    assert trained.candidates[0].outcome == "replaced"
    (kept,) = [candidate.name for candidate in trained.candidates if candidate.outcome == "kept"]
    assert "crop" not in kept
    assert Classifier.load(trained.run.bundle).info.preprocess.resize_mode != "crop"
    assert (trained.metrics["test"].accuracy or 0) > 0.7


def test_candidates_are_recorded(trained: TrainResult):
    stored = json.loads((trained.run.folder / "candidates.json").read_text(encoding="utf-8"))
    assert [Candidate(**values) for values in stored] == list(trained.candidates)
    table = candidates_table(trained.candidates)
    assert {len(row) for row in table} == {len(table[0])}
    assert stored[-1]["outcome"] == "not tried"
    page = (trained.run.evaluation("test") / "report.html").read_text(encoding="utf-8")
    assert "Candidates" in page
    assert trained.candidates[0].name in page


def test_confidence_comes_from_all_training_and_validation_photos(trained: TrainResult):
    confidence = Classifier.load(trained.run.bundle).info.metrics["confidence"]
    assert isinstance(confidence, dict)
    held_out = len(trained.dataset.part("train")) + len(trained.dataset.part("val"))
    assert confidence["abstaining"]["count"] == held_out
    assert trained.evaluated.cross_validated
    assert trained.metrics["val"].count == held_out


def test_a_finished_run_can_be_resumed_with_the_same_bundle(trained: TrainResult):
    version = Classifier.load(trained.run.bundle).info.version
    again = resume_training(trained.run.folder)
    assert Classifier.load(again.run.bundle).info.version == version


def test_a_finished_run_is_resumed_with_the_same_bundle_when_its_time_is_over(trained: TrainResult, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(trained.run.folder, folder)
    settings = dump_recipe(load_recipe(folder / "recipe.yaml", ["train.auto.minutes=0.001"]))
    (folder / "recipe.yaml").write_text(settings, encoding="utf-8")
    again = resume_training(folder)
    assert Classifier.load(again.run.bundle).info.version == Classifier.load(trained.run.bundle).info.version
    tried = [candidate.name for candidate in trained.candidates if candidate.photos]
    assert [candidate.name for candidate in again.candidates if candidate.photos] == tried


def test_an_early_interruption_of_a_resumed_run_keeps_its_better_bundle(trained: TrainResult, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(trained.run.folder, folder)
    with pytest.raises(TrainingInterruptedError, match="--resume"):
        resume_training(folder, TrainCallbacks(on_candidate=interrupt_at(1)))
    assert Classifier.load(Run(folder).bundle).info.version == Classifier.load(trained.run.bundle).info.version
    stored = json.loads((folder / "candidates.json").read_text(encoding="utf-8"))
    tried = [candidate.name for candidate in trained.candidates if candidate.photos]
    assert [values["name"] for values in stored if values["photos"]] == tried


def test_fine_tuning_is_a_candidate_and_resumes(wide: Path, tmp_path: Path):
    settings = recipe("train.epochs=3", "train.batch_size=16")
    tried: list[str] = []
    result = train_classifier(wide, settings, tmp_path / "run", TrainCallbacks(on_try=tried.append))
    # Averages of weights come from the same fine-tuning.
    assert tried == [item.name for item in result.candidates if item.photos and "average of weights" not in item.name]
    names = [candidate.name for candidate in result.candidates]
    assert names[-3].startswith("fine-tuning from efficientnet-lite0, ")
    assert "intermediate" not in names[-3]
    assert all(name.startswith("average of weights") for name in names[-2:])
    assert [candidate.fine_tuned for candidate in result.candidates] == [False] * (len(names) - 3) + [True] * 3
    assert (tmp_path / "run" / "fine-tuning" / "final" / "metrics.csv").is_file()
    # A candidate without which fine-tuning had begun is not tried: it could be the one to start from instead.
    stored = json.loads((tmp_path / "run" / "candidates.json").read_text(encoding="utf-8"))
    stored[1]["photos"] = 0
    (tmp_path / "run" / "candidates.json").write_text(json.dumps(stored), encoding="utf-8")
    epochs: list[int] = []
    final = tmp_path / "run" / "fine-tuning" / "final" / "training.log"
    began = final.read_text(encoding="utf-8").count("  epoch ")
    again = resume_training(tmp_path / "run", TrainCallbacks(on_epoch=lambda row: epochs.append(row.epoch)))
    assert not epochs
    assert final.read_text(encoding="utf-8").count("  epoch ") == began
    assert again.candidates[1].reason == "fine-tuning had begun without it"


def test_fine_tuning_that_was_stopped_between_two_folds_is_resumed(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # So that the fine-tuned network is kept.
    monkeypatch.setattr(Gain, "is_better", lambda _, slower=False: not slower)
    settings = recipe("train.epochs=1", "train.batch_size=16", "data.split={train: 0.8, val: 0.2, test: 0}")

    def terminated(name: str) -> None:
        if name.startswith("fold 2"):
            raise SystemExit

    with pytest.raises(SystemExit):
        train_classifier(wide, settings, tmp_path / "run", TrainCallbacks(on_network=terminated))
    names: list[str] = []
    result = resume_training(tmp_path / "run", TrainCallbacks(on_network=names.append))
    assert names == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3", "all photos"]
    log = (tmp_path / "run" / "fine-tuning" / "fold-1-of-3" / "training.log").read_text(encoding="utf-8")
    assert log.count("started: ") == 1
    # The report is of the held-out photos of the folds.
    assert result.reported_split == "val"
    assert len(result.dataset.part("val")) < result.metrics["val"].count < len(result.dataset)
    page = (result.run.evaluation("val") / "report.html").read_text(encoding="utf-8")
    assert "epochs of the network of the first fold" in page
    assert "held-out photos" in page


def test_without_time_only_the_first_probe_is_tried(wide: Path, tmp_path: Path):
    result = train_classifier(wide, recipe("train.auto.minutes=0.0001"), tmp_path / "run")
    assert [candidate.outcome for candidate in result.candidates] == ["kept"] + ["not tried"] * (
        len(result.candidates) - 1
    )
    assert result.candidates[-1].reason == "no time left"


@pytest.mark.slow
def test_the_time_of_an_interrupted_session_counts(wide: Path, tmp_path: Path):
    settings = recipe("train.auto.minutes=30", "train.auto.fine_tune=false")
    run = train_classifier(wide, settings, tmp_path / "run").run
    stored = json.loads((run.folder / "candidates.json").read_text(encoding="utf-8"))
    stored[-2]["after"] = 1700.0
    (run.folder / "candidates.json").write_text(json.dumps(stored), encoding="utf-8")
    assert resume_training(run.folder).candidates[0].after > 1700
    stored[-2]["after"] = 2000.0  # more than half an hour: what was not tried before is not tried now
    stored[1]["photos"] = 0
    (run.folder / "candidates.json").write_text(json.dumps(stored), encoding="utf-8")
    again = {candidate.name: candidate for candidate in resume_training(run.folder).candidates}
    assert again[stored[1]["name"]].reason == "no time left"
    assert again[stored[2]["name"]].photos


@pytest.mark.slow
def test_the_networks_of_fine_tuning_are_named(wide: Path, tmp_path: Path):
    names: list[str] = []
    epochs: list[int] = []
    callbacks = TrainCallbacks(on_network=names.append, on_epoch=lambda _: epochs.append(len(names)))
    train_classifier(wide, recipe("train.epochs=1", "train.batch_size=16"), tmp_path / "run", callbacks)
    assert names == ["fold 1 of 3", "fold 2 of 3", "fold 3 of 3", "all photos"]
    assert epochs == [1, 2, 3]


def test_limited_time_is_left_for_fine_tuning(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))  # without embeddings of other tests
    # 375 epochs, the most for so few photos, would take a minute.
    monkeypatch.setattr(FineTuningCost, "of", lambda protocol, *_: FineTuningCost(0.001, 1000, comparisons(protocol)))
    settings = recipe("train.auto.minutes=1", "train.auto.backbones=[efficientnet-lite1]")
    callbacks = TrainCallbacks(on_plan=interrupt_at(1))
    result = train_classifier(wide, settings, tmp_path / "run", callbacks)
    tried = [candidate for candidate in result.candidates if candidate.photos]
    probes = [candidate.name for candidate in tried if not candidate.name.endswith(TWO_HEADS)]
    assert [name.split(", ", 2)[2] for name in probes] == [
        "stretch, 32 pixels, intermediate features",
        "stretch, 32 pixels",
        "crop, 32 pixels, intermediate features",
        "letterbox, 32 pixels, intermediate features",
    ]
    assert {candidate.reason for candidate in result.candidates if not candidate.photos} == {
        "fine-tuning needs the time",
        "interrupted",
    }


def test_small_photos_are_fine_tuned_with_a_smaller_input_if_time_is_short(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    photos = tmp_path / "small"
    for path in wide.rglob("*.png"):
        small = photos / path.relative_to(wide)
        small.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.crop((0, 0, 40, 32)).save(small)

    def cost(protocol: Protocol, _: Network, settings: Recipe) -> FineTuningCost:
        return FineTuningCost(1000.0 if settings.preprocess.size == 160 else 1e-4, 1, comparisons(protocol))

    monkeypatch.setattr(FineTuningCost, "of", cost)
    monkeypatch.setattr(Gain, "is_better", lambda *_, **__: True)
    settings = recipe("preprocess.size=160", "train.auto.minutes=20", "train.epochs=1", "train.batch_size=16")
    result = train_classifier(photos, settings, tmp_path / "run")
    kept = result.candidates[-1]
    assert (kept.outcome, kept.fine_tuned) == ("kept", True)
    (tuned,) = [item.name for item in result.candidates if item.name.startswith("fine-tuning")]
    assert ", 96 pixels" in tuned
    classifier = Classifier.load(result.run.bundle)
    assert classifier.info.preprocess.size == 96
    found = evaluate_classifier(result.run.bundle, result.run.manifest, tmp_path / "out", split="test")
    assert found.metrics.accuracy == result.metrics["test"].accuracy
    version = classifier.info.version
    assert Classifier.load(resume_training(tmp_path / "run").run.bundle).info.version == version


def test_a_network_for_which_there_is_no_time_is_not_tried(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    slow = "efficientnet-lite1"
    known = len(build_model(recipe(), load_split_dataset(wide, recipe().data, 0))[0].state_dict())
    monkeypatch.setattr(ProbeCost, "of", lambda _, network, __: 0.0 if len(network.state_dict()) == known else 1000.0)
    settings = recipe("train.auto.minutes=5", f"train.auto.backbones=[{slow}]", "train.auto.fine_tune=false")
    result = train_classifier(wide, settings, tmp_path / "run")
    (skipped,) = [candidate for candidate in result.candidates if f"probe, {slow}" in candidate.name]
    assert (skipped.photos, skipped.reason) == (0, "no time left")


def interrupt_at(number: int) -> Callable[[object], None]:
    """Return a callback that is interrupted at a call, counted from 1."""
    seen: list[object] = []

    def stop(event: object) -> None:
        seen.append(event)
        if len(seen) == number:
            raise KeyboardInterrupt

    return stop


def test_an_interruption_keeps_the_best_so_far(wide: Path, tmp_path: Path):
    result = train_classifier(wide, recipe(), tmp_path / "run", TrainCallbacks(on_candidate=interrupt_at(2)))
    assert [candidate.reason for candidate in result.candidates][2:] == ["interrupted"]
    assert result.run.done
    assert result.metrics["test"].count > 0


def test_an_interruption_of_an_experiment_is_an_interruption(wide: Path, tmp_path: Path):
    dataset = load_split_dataset(wide, recipe().data, 0)
    callbacks = TrainCallbacks(on_candidate=interrupt_at(2))
    with pytest.raises(TrainingInterruptedError, match="--resume"):
        train_on_splits(dataset, recipe(), tmp_path / "run", callbacks, report=False)


@pytest.mark.slow
def test_a_candidate_that_cannot_be_trained_does_not_end_the_search(wide: Path, tmp_path: Path):
    # timm has no such network.
    overrides = ("train.auto.backbones=['timm:nonsense']", "train.auto.fine_tune=false")
    result = train_classifier(wide, recipe(*overrides), tmp_path / "run")
    assert any("timm" in candidate.reason for candidate in result.candidates if candidate.outcome == "not tried")
    assert result.run.done


@pytest.mark.slow
def test_a_file_with_weights_belongs_to_the_network_of_the_recipe(wide: Path, tmp_path: Path):
    weights = tmp_path / "lite0.pth"
    network, _ = build_model(recipe(), load_split_dataset(wide, recipe().data, 0))
    torch.save(network.state_dict(), weights)
    overrides = (f"net.weights={weights}", "train.auto.backbones=[efficientnet-lite1]", "train.auto.fine_tune=false")
    result = train_classifier(wide, recipe(*overrides), tmp_path / "run")
    other, *_ = [candidate for candidate in result.candidates if "probe, efficientnet-lite1" in candidate.name]
    assert other.accuracy is not None


def test_the_bundle_says_that_its_head_was_trained_on_validation_photos(trained: TrainResult):
    assert uses_validation_images(Classifier.load(trained.run.bundle).info)
    manifest = trained.run.manifest
    result = evaluate_classifier(trained.run.bundle, manifest, manifest.parent / "again", split="val")
    assert "were used for training" in result.caution


@pytest.mark.slow
def test_a_resumed_run_is_incomplete_until_its_end(wide: Path, tmp_path: Path):
    train_classifier(wide, recipe("train.auto.fine_tune=false"), tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.done

    def terminated(_: Candidate) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        resume_training(run.folder, TrainCallbacks(on_candidate=terminated))
    assert not run.done


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.auto.backbones=[nonsense]", "no network is called 'nonsense'"),
        ("train.auto.backbones=[convnet]", "no pretrained weights exist"),
        ("train.balance=sampler", "train.objective=balanced_accuracy"),
        ("net.weights=none", "needs pretrained weights"),
        ("net.head.hidden=[8]", "fits a linear head"),
        ("train.freeze=1", "ignores train.freeze"),
        ("train.balance=sampler", "objective=balanced_accuracy"),
    ],
)
def test_settings_that_auto_cannot_use_are_refused(override: str, message: str):
    with pytest.raises(AssayError, match=message):
        recipe(override)


@pytest.mark.slow
def test_a_tiny_input_is_not_made_smaller(wide: Path, tmp_path: Path):
    result = train_classifier(
        wide, recipe("preprocess.size=8", "preprocess.resize_mode=crop", "train.auto.fine_tune=false"), tmp_path / "run"
    )
    assert all("8 pixels" in candidate.name for candidate in result.candidates)
