"""Trials of `assay tune` on a Ray cluster of this machine."""

import json
import sys
from pathlib import Path

import pytest
from process_groups import run_group

from assay.pipeline.tune import resume_tune
from assay.recipe import Recipe, dump_recipe, load_recipe

_ASSAY = Path(sys.executable).with_name("assay")
_SPACE = "tune={space: {train.lr: [1.0e-30, 0.1, 1.0e-29]}, halving: {first_epochs: 1, factor: 3}}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_trials_run_as_tasks(tiny: Recipe, colours: Path, tmp_path: Path):
    (tmp_path / "base.yaml").write_text(dump_recipe(tiny), encoding="utf-8")
    recipe = load_recipe(
        tmp_path / "base.yaml", ["train.epochs=3", "train.early_stopping=null", "augment.train=[]", _SPACE]
    )
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    command = [_ASSAY, "tune", colours, "-r", tmp_path / "recipe.yaml", "--run", tmp_path / "a", "--by", "loss"]
    ended = run_group([*command, "--cluster", "ray", "--json"], timeout=280)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["trials"][0]["settings"] == ["train.lr=0.1"]
    assert len(found["trials"]) == 3
    assert {trial["state"] for trial in found["trials"]} <= {"complete", "pruned"}
    assert resume_tune(tmp_path / "a").to_dict() == found

    failing = [*command[:5], "--set", "train.lr=1e30,1e31", "--set", "train.optimizer=sgd", "--run", tmp_path / "b"]
    ended = run_group([*failing, "--cluster", "ray"], timeout=280)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "no trial could be trained: the loss is no longer a finite number" in ended.stderr
