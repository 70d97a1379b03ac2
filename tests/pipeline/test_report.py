"""Reports of runs and evaluations."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from assay.evaluation import Predictions
from assay.evaluation.learning_curve import CurvePoint, LearningCurve
from assay.nets import create_classifier
from assay.pipeline import TrainResult, evaluate_classifier, train_classifier
from assay.pipeline.auto.candidate_results import Candidate, write_candidates
from assay.pipeline.learning_curve import load_learning_curve
from assay.pipeline.report import write_run_report
from assay.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def trained(colours: Path, tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train_classifier(colours, tiny, tmp_path_factory.mktemp("runs") / "run")


def read_report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def test_every_run_writes_its_report(trained: TrainResult, colours: Path):
    folder = trained.run.evaluation("test")
    page, report = (folder / "report.html").read_text("utf-8"), read_report(folder)
    assert report["title"] == "colours"
    assert report["result"].startswith(f"The classifier is correct on {trained.metrics['test'].correct} of 12 test")
    assert [row["epoch"] for row in report["history"]] == [1, 2]
    assert report["best_epoch"] == trained.history.best_epoch
    assert report["warning"] == ""
    assert report["splits"]["description"].startswith("Photos were split at random, 70 % training, 15 % validation")
    assert sum(sum(item.values()) for item in report["splits"]["counts"].values()) == 80
    assert any("broken.png" in item["title"] or "cannot be read" in item["title"] for item in report["findings"])
    assert report["abstention"]["counts"]["count"] == 12
    assert report["provenance"]["Evaluated data"] == str(colours.resolve())
    assert "Training</h2>" in page
    assert "layers:" in page  # the settings


def test_mistakes_have_heat_maps_and_nearest_images(trained: TrainResult, tmp_path: Path):
    # Photos of the one colour under the name of the other: mistakes by construction.
    data = tmp_path / "swapped"
    source = trained.dataset.root
    shutil.copytree(source / "blue", data / "red")
    shutil.copytree(source / "red", data / "blue")
    result = evaluate_classifier(trained.run.bundle, data, tmp_path / "out")
    assert result.files["page"] == tmp_path / "out" / "report.html"
    page, report = result.files["page"].read_text("utf-8"), read_report(tmp_path / "out")
    assert result.metrics.correct < result.metrics.count
    assert "Heat map of" in page
    assert len(report["mistakes"][0]["nearest"]) == 3
    # Same bytes as the training images, under other names.
    assert "of these 80 photos were used for training" in report["warning"]
    assert len(report["history"]) == 2


def test_report_of_a_bundle_without_its_run(trained: TrainResult, colours: Path, tmp_path: Path):
    model = tmp_path / "elsewhere" / "model.assay"
    model.parent.mkdir()
    shutil.copy(trained.run.bundle, model)
    evaluate_classifier(model, colours, tmp_path / "out")
    report = read_report(tmp_path / "out")
    assert report["history"] == []
    assert report["warning"].startswith("these photos include those that the classifier was trained on")
    assert all(not item["nearest"] for item in report["mistakes"])


def test_held_out_images_give_no_warning(trained: TrainResult, tmp_path: Path):
    evaluate_classifier(trained.run.bundle, trained.run.manifest, tmp_path / "out", split="test")
    report = read_report(tmp_path / "out")
    assert report["warning"] == ""
    assert report["split"] == "test"


def test_missing_test_split_is_stated_in_the_report(colours: Path, tmp_path: Path):
    recipe = load_recipe(
        "custom-resnet",
        [
            "preprocess.size=32",
            "net.resnet={block: basic, layers: [1], widths: [8], stem: conv3}",
            "augment.train=[]",
            "train.epochs=1",
            "train.workers=0",
            "data.split={train: 0.7, val: 0.3, test: 0}",
        ],
    )
    result = train_classifier(colours, recipe, tmp_path / "run")
    report = read_report(result.run.evaluation("val"))
    assert report["split"] == "validation"
    assert "to calibrate the confidence; there is no test split" in report["warning"]


@pytest.mark.parametrize(("kept", "epochs"), [(False, 0), (True, 2)])
def test_epochs_of_a_fine_tuning_are_shown_if_its_network_was_kept(
    trained: TrainResult, colours: Path, tmp_path: Path, *, kept: bool, epochs: int
):
    shutil.copytree(trained.run.folder, tmp_path / "run")
    first = Candidate(name="linear probe", outcome="replaced" if kept else "kept", reason="the first one")
    tuned = Candidate(name="fine-tuning", outcome="kept" if kept else "not kept", reason="", fine_tuned=True)
    write_candidates(tmp_path / "run", [first, tuned])
    evaluate_classifier(tmp_path / "run" / "model.assay", colours, tmp_path / "out")
    assert len(read_report(tmp_path / "out")["history"]) == epochs


def test_report_says_how_photos_got_their_splits(colours: Path, tiny: Recipe, tmp_path: Path):
    def described(data: Path, name: str, method: str = "grouped") -> str:
        split = tiny.data.split.model_copy(update={"method": method})
        recipe = tiny.model_copy(update={"data": tiny.data.model_copy(update={"split": split})})
        result = train_classifier(data, recipe, tmp_path / name)
        return read_report(result.run.evaluation(result.reported_split))["splits"]["description"]

    assert described(colours, "hash", "hash").startswith("The split of a photo depends on its name: about 70 % train")
    parts = tmp_path / "parts"
    for label in ("red", "blue"):
        for split, numbers in (("train", range(32)), ("test", range(32, 40))):
            (parts / split / label).mkdir(parents=True)
            for number in numbers:
                shutil.copy(colours / label / f"{number:03}.png", parts / split / label / f"{number}.png")
    assert described(parts / "train", "classes").startswith("Photos were split at random, 70 % training")
    shutil.copytree(parts / "train", tmp_path / "alone" / "train")
    assert described(tmp_path / "alone", "divided").startswith("Photos were split at random, 70 % training")
    text = described(parts, "kept")
    assert text.startswith("The test photos of the data were kept; the validation photos were taken from its training")
    shutil.copy(parts / "train" / "red" / "0.png", parts / "test" / "red" / "copy.png")
    text = described(parts, "copied")
    assert text.endswith(
        "1 group is in more than one split: photos are evaluated whose near-duplicates were used for training."
    )


def test_learning_curve_of_a_frozen_backbone_is_stored_and_shown(
    trained: TrainResult, colours: Path, tiny: Recipe, tmp_path: Path
):
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(create_classifier(tiny.net, 2).state_dict(), weights)
    recipe = tiny.model_copy(
        update={
            "net": tiny.net.model_copy(update={"weights": str(weights)}),
            "train": tiny.train.model_copy(update={"strategy": "probe"}),
            "augment": tiny.augment.model_copy(update={"train": ()}),
        }
    )
    result = train_classifier(colours, recipe, tmp_path / "run")
    curve = load_learning_curve(result.run.learning_curve)
    assert curve is not None
    assert curve.points[3].images == pytest.approx(0.8 * 0.85 * 80, abs=2)
    report = read_report(result.run.evaluation("test"))
    assert LearningCurve.from_dict(report["learning_curve"]) == curve
    # The same curve is in the report of another evaluation of the run.
    evaluate_classifier(result.run.bundle, result.run.manifest, tmp_path / "out", split="test")
    assert read_report(tmp_path / "out")["learning_curve"] == curve.to_dict() | {"sentence": curve.sentence}
    result.run.learning_curve.write_text('{"points": 3}', encoding="utf-8")
    assert load_learning_curve(result.run.learning_curve) is None
    # Trained layers: no cached embeddings.
    assert read_report(trained.run.evaluation("test"))["learning_curve"] is None
    assert load_learning_curve(trained.run.learning_curve) is None


def test_given_learning_curve_is_stored_and_shown(trained: TrainResult):
    point = CurvePoint(40, 0.5, 0.4, 0.6)
    curve = LearningCurve("accuracy", (point,), ())
    write_run_report(trained.run, trained.dataset, trained.evaluated, trained.history, learning_curve=curve)
    assert load_learning_curve(trained.run.learning_curve) == curve
    assert read_report(trained.run.evaluation("test"))["learning_curve"] == curve.to_dict() | {
        "sentence": curve.sentence
    }
    trained.run.learning_curve.unlink()
    write_run_report(trained.run, trained.dataset, trained.evaluated, trained.history)


def test_report_can_be_rewritten(trained: TrainResult):
    page = trained.run.evaluation("test") / "report.html"
    before = page.read_bytes()
    page.unlink()
    assert write_run_report(trained.run, trained.dataset, trained.evaluated, trained.history) == page
    assert page.read_bytes() == before
    known = Predictions.load(trained.run.evaluation("train") / "embeddings.npz")
    assert known.embedding is not None
    assert len(known) == len(trained.dataset.part("train"))
