"""Training by two processes: the loss curve of one, resuming with another number of processes, and failures.

Every training runs in a process of its own, which is killed if it hangs.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noisy_pictures import SIDE, NoisyPictures
from process_groups import call_in_group

from assay.core.errors import AssayError
from assay.nets import create_classifier
from assay.recipe import Recipe, load_recipe
from assay.training import History, LabeledImages, fit
from assay.training.distributed import ProcessGroup
from assay.training.sampling import BatchSampler, SequentialSampler

_TIMEOUT = 280


def _images(count: int, broken: int | None = None) -> LabeledImages:
    targets = np.arange(count, dtype=np.int64) % 3
    return LabeledImages(NoisyPictures(targets, broken), targets)


def _recipe(**train: Any) -> Recipe:
    settings = {"epochs": 3, "batch_size": 16, "workers": 0, "precision": "32", "optimizer": "sgd", "lr": 0.1, **train}
    return load_recipe(
        "custom-resnet",
        [
            f"preprocess.size={SIDE}",
            "net.resnet={block: basic, layers: [1], widths: [8], stem: conv3}",
            "augment.train=[{name: horizontal_flip}]",
            "serve.int8=false",
            *[f"train.{name}={value}" for name, value in settings.items()],
        ],
    )


def _fit(folder: Path, recipe: Recipe, *, resume: bool = False, train: LabeledImages | None = None) -> History:
    torch.manual_seed(0)
    network = create_classifier(recipe.net, 3, size=SIDE)
    # 75 = 4 batches of 16 and one of 11; validation has an odd number too.
    return fit(network, recipe, train or _images(75), _images(31), run=folder, resume=resume)


def _losses(history: History) -> np.ndarray:
    return np.array([[row.train_loss, row.val_loss, row.train_accuracy, row.val_accuracy] for row in history.metrics])


def test_every_image_is_in_one_share():
    whole = list(BatchSampler(SequentialSampler(33), 16))
    shares = [list(BatchSampler(SequentialSampler(33), 16, group=ProcessGroup(rank, 2))) for rank in (0, 1)]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)][:2] == whole[:2]
    # Of a batch of one image, the second process gets a copy, whose loss has the weight 0.
    assert [share[2] for share in shares] == [whole[2], whole[2]]
    assert [ProcessGroup(rank, 2).loss_weight(1) for rank in (0, 1)] == [2, 0]
    assert [ProcessGroup(rank, 2).share(11) for rank in (0, 1)] == [6, 5]


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_and_any_number_resumes(tmp_path: Path):
    call_in_group(_compare_loss_curves, tmp_path, timeout=_TIMEOUT)


def _compare_loss_curves(folder: str) -> None:
    tmp_path = Path(folder)
    settings = {"ema_decay": 0.9, "balance": "weights", "gradient_clip": 1.0, "epochs": 3}
    one = _fit(tmp_path / "one", _recipe(**settings))
    two = _fit(tmp_path / "two", _recipe(**settings, devices=2))
    assert np.abs(_losses(one) - _losses(two)).max() < 1e-3
    steps = [np.loadtxt(tmp_path / name / "steps.csv", delimiter=",", skiprows=1)[:, 2] for name in ("one", "two")]
    assert np.abs(steps[0] - steps[1]).max() < 1e-3
    assert {path.name for path in (tmp_path / "two").rglob("*.ckpt")} == {"last.ckpt", "best.ckpt"}

    class StopError(Exception):
        pass

    def stop(row: Any) -> None:
        if row.epoch == 1:
            raise StopError

    recipe = _recipe(**settings, devices=2)
    torch.manual_seed(0)
    network = create_classifier(recipe.net, 3, size=SIDE)
    with pytest.raises(StopError):
        fit(network, recipe, _images(75), _images(31), run=tmp_path / "three", on_epoch=stop)
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"devices": 1})})
    resumed = _fit(tmp_path / "three", alone, resume=True)
    assert np.abs(_losses(one) - _losses(resumed)).max() < 1e-3


@pytest.mark.slow
def test_layers_that_are_unfrozen_later_and_early_stopping(tmp_path: Path):
    call_in_group(_compare_staged_training, tmp_path, timeout=_TIMEOUT)


def _compare_staged_training(folder: str) -> None:
    tmp_path = Path(folder)
    settings = {
        "strategy": "staged",
        "epochs": 6,
        "staged": "{head_epochs: 1}",
        "balance": "sampler",
        "early_stopping": "{metric: val_loss, patience: 1}",
    }
    one = _fit(tmp_path / "one", _recipe(**settings))
    two = _fit(tmp_path / "two", _recipe(**settings, devices=2))
    assert (len(one.metrics), one.best_epoch) == (len(two.metrics), two.best_epoch)
    assert np.abs(_losses(one) - _losses(two)).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("position", [0, 1])
def test_an_image_that_cannot_be_read_is_reported_by_any_process(position: int, tmp_path: Path):
    call_in_group(_read_a_broken_image, position, tmp_path, timeout=_TIMEOUT)


def _read_a_broken_image(position: str, folder: str) -> None:
    recipe = _recipe(devices=2)
    order = next(iter(BatchSampler(SequentialSampler(75), 16)))
    broken = _images(75, order[int(position)][0])
    with pytest.raises(AssayError, match=r"picture.png can no longer be read"):
        _fit(Path(folder), recipe, train=replace(broken))
