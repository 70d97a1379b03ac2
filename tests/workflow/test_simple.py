"""`assay.train` is the command line's training, and results show themselves."""

from pathlib import Path

import datasets
import pytest

import assay
from assay.core.errors import UsageError
from assay.pipeline import evaluate_classifier
from assay.recipe import Recipe

FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["blue", "red"])})


def _rows(colours: Path, count: int) -> datasets.Dataset:
    values = [
        (str(colours / name / f"{number:03}.png"), place)
        for place, name in enumerate(("blue", "red"))
        for number in range(1, count + 1)
    ]
    return datasets.Dataset.from_dict(
        {"image": [one for one, _ in values], "label": [one for _, one in values]}, FEATURES
    )


def test_rows_are_trained_on_judged_and_shown(
    colours: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    result = assay.train(_rows(colours, 24), tiny)
    assert result.run.folder == Path("runs/colours-1")
    assert result.dataset.classes == ("blue", "red")
    html = result._repr_html_()
    assert "photos right" in html
    assert html.count("<img") == 2
    judged = evaluate_classifier(result.run.bundle, _rows(colours, 6), tmp_path / "judged")
    assert judged.metrics.count == 12
    assert judged._repr_html_().count("<img") == 1


def test_settings_are_those_of_the_recipe(colours: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"no setting is called 'train\.epoch'"):
        assay.train(colours, "custom-resnet", tmp_path / "run", train__epoch=1)
    with pytest.raises(UsageError, match=r"train\.epochs: .*greater than or equal to 1"):
        assay.train(colours, "custom-resnet", tmp_path / "run", train__epochs=0)
    assert not (tmp_path / "run").exists()


def test_a_recipe_is_not_changed_behind_its_back(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match="settings change a recipe that is named"):
        assay.train(colours, tiny, tmp_path / "run", train__epochs=1)
