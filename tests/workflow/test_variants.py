"""Variants trained over folds, stopped and taken up again; what cannot be compared is refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import AssayError, UsageError
from assay.pipeline import ExperimentCallbacks, Run, VariantsResult, compare_results, resume_variants, train_variants
from assay.recipe import Recipe
from assay.training import TrainingInterruptedError


def named(recipe: Recipe, name: str, **train: object) -> Recipe:
    return recipe.model_copy(update={"name": name, "train": recipe.train.model_copy(update=train)})


def test_weights_that_cannot_be_had_are_known_at_once(colours: Path, tiny: Recipe, tmp_path: Path):
    net = tiny.net.model_copy(update={"weights": str(tmp_path / "nothing.safetensors")})
    recipes = {"good": named(tiny, "good"), "bad": tiny.model_copy(update={"net": net})}
    with pytest.raises(UsageError, match=r"^bad: weights .*nothing"):
        train_variants(colours, recipes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_variants_with_different_photos_are_refused(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match="same photos"):
        train_variants(colours, {"a": tiny, "b": named(tiny, "b", seed=1)}, tmp_path / "run")
    with pytest.raises(UsageError, match="two variants"):
        train_variants(colours, {"a": tiny}, tmp_path / "run")


def test_a_crossval_is_no_list_of_variants(tmp_path: Path):
    (tmp_path / "crossval.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"variants\.json"):
        resume_variants(tmp_path)
    (tmp_path / "variants.json").write_text("{", encoding="utf-8")
    with pytest.raises(AssayError, match="damaged"):
        resume_variants(tmp_path)


@pytest.fixture(scope="module")
def few(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 16 photos of both colours."""
    folder = tmp_path_factory.mktemp("few")
    for path in sorted(colours.glob("*/0*.png")):
        if int(path.stem) < 16:
            (folder / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, folder / path.parent.name)
    return folder


def two(tiny: Recipe) -> dict[str, Recipe]:
    told = {"description": "a tenth of the rate"}
    slow = named(tiny, "slow", epochs=1, lr=1e-4).model_copy(update=told)
    return {"quick": named(tiny, "quick", epochs=1), "slow": slow}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def assert_tables_hold_spreads(result: VariantsResult, runs: int) -> None:
    table = {row["variant"]: row for row in rows(result.folder / "results.csv")}
    told = json.loads((result.folder / "results.json").read_text(encoding="utf-8"))
    each = rows(result.folder / "runs.csv")
    for one in told["variants"]:
        row = table[one["name"]]
        assert row["runs"] == str(runs)
        assert row["description"] == one["description"]
        for part in ("train", "val", "test"):
            for figure in ("accuracy", "loss", "precision"):
                values = [float(run[figure]) for run in each if (run["variant"], run["part"]) == (one["name"], part)]
                assert len(values) == runs
                spread = one["figures"][part][figure]
                assert spread["mean"] == pytest.approx(np.mean(values))
                assert spread["std"] == pytest.approx(np.std(values, ddof=1))
                assert float(row[f"{part}_{figure}"]) == spread["mean"]
                assert float(row[f"{part}_{figure}_std"]) == spread["std"]
    text = (result.folder / "results.txt").read_text(encoding="utf-8")
    assert f"± is the standard deviation over {runs} runs of each variant" in text
    for said in ("training", "validation", "test", "precision of red", "a tenth of the rate"):
        assert said in text


def test_folds_of_every_variant_stopped_and_taken_up_again(few: Path, tiny: Recipe, tmp_path: Path):
    folder, told = tmp_path / "run", []

    def stop(name: str, _: object) -> None:
        told.append(name)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterruptedError, match="assay variants --resume"):
        train_variants(few, two(tiny), folder, folds=2, jobs=1, watcher=ExperimentCallbacks(on_run=stop))
    result = resume_variants(folder, jobs=1, watcher=ExperimentCallbacks(on_run=lambda name, _: told.append(name)))
    names = ["quick fold 1/2", "quick fold 2/2", "slow fold 1/2", "slow fold 2/2"]
    assert told == [*names[:3], *names]
    assert_tables_hold_spreads(result, 2)
    # Every photo is tested once, in the same folds by both variants, and compared out of fold.
    for fold in ("repeat-1/fold-1", "repeat-1/fold-2"):
        assert Run(folder / "quick" / fold).parts() == Run(folder / "slow" / fold).parts()
    assert [one.contestant.part for one in result.ranking.verdicts] == ["out of fold"] * 2
    again = compare_results([folder / "quick", folder / "slow"])
    assert [one.contestant.metrics.count for one in again.verdicts] == [32, 32]
    assert again.verdicts[0].contestant.metrics.positive == "red"
    before = (folder / "results.json").read_bytes()
    resume_variants(folder)
    assert (folder / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"folds": 1}, "2 folds"), ({"folds": -2}, "folds"), ({"repeats": 0}, "--repeats")],
)
def test_numbers_that_make_no_sense_are_refused(
    few: Path, tiny: Recipe, tmp_path: Path, arguments: dict[str, int], said: str
):
    with pytest.raises(UsageError, match=said):
        train_variants(few, two(tiny), tmp_path / "run", **arguments)
