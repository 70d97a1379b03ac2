"""Training by Ray Train on a cluster of this machine."""

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from process_groups import call_in_group, run_group

from assay.core.errors import AssayError
from assay.pipeline import train_classifier
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.scale.cluster import ray_cluster
from assay.scale.ray_train import RayTraining

_ASSAY = Path(sys.executable).with_name("assay")
_SETTINGS = ["train.early_stopping=null", "train.precision=32", "train.epochs=3"]


def _losses(run: Path) -> np.ndarray:
    return np.loadtxt(run / "steps.csv", delimiter=",", skiprows=1)[:, 2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_of_ray_have_the_loss_curve_of_one(tiny: Recipe, colours: Path, tmp_path: Path):
    (tmp_path / "base.yaml").write_text(dump_recipe(tiny), encoding="utf-8")
    recipe = load_recipe(tmp_path / "base.yaml", _SETTINGS)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    train_classifier(colours, recipe, tmp_path / "one")
    train = [_ASSAY, "train", colours, "-r", tmp_path / "recipe.yaml", "--run", tmp_path / "two", "--cluster", "ray"]
    ended = run_group([*train, "--devices", 2], timeout=500)
    assert ended.returncode == 0, ended.stderr
    assert np.abs(_losses(tmp_path / "one") - _losses(tmp_path / "two")).max() < 1e-3
    assert (tmp_path / "two" / "model.assay").is_file()
    # Epochs are printed as they end, as on one machine.
    assert "3/3" in ended.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_error_of_a_process_is_a_sentence():
    call_in_group(_fail_in_a_process, timeout=500)


def _fail_in_a_process() -> None:
    with ray_cluster(cpus=2, memory=100 << 20) as ray, pytest.raises(AssayError, match=r"^no recipe is called"):
        # The first argument of the function is the process group, which is no recipe.
        RayTraining(ray).run(pickle.dumps((load_recipe, ())), 1)


def test_more_processes_than_the_cluster_has_are_refused():
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0, "memory": 1e9})
    with pytest.raises(AssayError, match=r"the Ray cluster has 2 processors: give --devices 2 or fewer"):
        RayTraining(ray).run(b"", 3)
