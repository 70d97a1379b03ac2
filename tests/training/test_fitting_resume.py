"""Runs killed by SIGKILL and resumed, compared with an uninterrupted run."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages, fit, read_metrics
from assay.training.checkpoint import load_training_state

_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import torch
from assay.nets import create_classifier
from assay.recipe import Recipe
from assay.training import LabeledImages, fit

folder = Path(sys.argv[1])
torch.set_num_threads(1)
recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
arrays = np.load(folder / "photos.npz")
train = LabeledImages(list(arrays["train"]), arrays["train_targets"])
val = LabeledImages(list(arrays["val"]), arrays["val_targets"])
torch.manual_seed(recipe.train.seed)
network = create_classifier(recipe.net, 2, size=recipe.preprocess.size)

def progress(what, done, total):
    print(what, done, flush=True)

fit(network, recipe, train, val, run=folder / "run", progress=progress)
"""


def kill_at(folder: Path, moment: str) -> None:
    """Start the run, and kill it after it has reported a batch."""
    with subprocess.Popen([sys.executable, "-c", _SCRIPT, str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert any(line.decode().strip() == moment for line in process.stdout)
        process.kill()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_and_resumed_run_has_the_weights_of_an_uninterrupted_one(
    make_recipe: Callable[..., Recipe],
    make_network: Callable[[Recipe], ClassifierNetwork],
    make_split: Callable[..., LabeledImages],
    tmp_path: Path,
):
    recipe = make_recipe(
        strategy="staged",
        staged={"head_epochs": 2},
        epochs=5,
        augment=({"name": "horizontal_flip"},),
        balance="sampler",
        ema_decay=0.9,
        schedule="cosine",
        early_stopping={"patience": 3},
        workers=1,
    )
    train, val = make_split(), make_split((9, 9), seed=1)
    np.savez(
        tmp_path / "photos.npz",
        train=np.stack(list(train.images)),
        train_targets=train.targets,
        val=np.stack(list(val.images)),
        val_targets=val.targets,
    )
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    straight = make_network(recipe)
    history = fit(straight, recipe, train, val, run=tmp_path / "straight")

    kill_at(tmp_path, "epoch 4/5 2")
    assert len(read_metrics(tmp_path / "run/metrics.csv")) == 3
    resumed = make_network(recipe)
    fit(resumed, recipe, train, val, run=tmp_path / "run", resume=True)

    final = resumed.state_dict()
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, final[name]), name
    rows = read_metrics(tmp_path / "run/metrics.csv")
    assert [(row.epoch, row.val_loss) for row in rows] == [(row.epoch, row.val_loss) for row in history.metrics]
    left, right = (load_training_state(tmp_path / run / "checkpoints/last.ckpt") for run in ("straight", "run"))
    assert left.best_epoch == right.best_epoch
    for index, state in left.optimizer["state"].items():
        assert torch.equal(state["exp_avg"], right.optimizer["state"][index]["exp_avg"])
