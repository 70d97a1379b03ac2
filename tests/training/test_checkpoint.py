"""Checkpoints and fingerprints of runs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from assay.core.errors import AssayError
from assay.recipe import Recipe
from assay.training import EpochMetrics, LabeledImages
from assay.training.checkpoint import (
    TrainingState,
    load_best_weights,
    load_training_state,
    run_fingerprint,
    save_best_weights,
    save_training_state,
)


@pytest.fixture
def snapshot() -> TrainingState:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.Adam([{"params": list(module.parameters()), "scale": 0.5}], lr=0.1)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return TrainingState(
        fingerprint={"train.lr": "0.1"},
        metrics=(EpochMetrics(1, 0.1 + 0.2, 0.5, 1 / 3, 0.75, 1e-5, 12.25),),
        step_losses=((0.1, 0.2),),
        best_epoch=1,
        finished=False,
        stopped_early=False,
        weights=dict(module.state_dict()),
        ema_weights={name: tensor + 1 for name, tensor in module.state_dict().items()},
        ema_steps=7,
        optimizer=optimizer.state_dict(),
        precision={},
    )


def test_training_state_survives_a_round_trip(tmp_path: Path, snapshot: TrainingState):
    save_training_state(tmp_path / "last.ckpt", snapshot)
    found = load_training_state(tmp_path / "last.ckpt")
    assert (found.metrics, found.step_losses, found.fingerprint) == (
        snapshot.metrics,
        snapshot.step_losses,
        snapshot.fingerprint,
    )
    assert torch.equal(found.weights["weight"], snapshot.weights["weight"])
    assert torch.equal(found.optimizer["state"][0]["exp_avg"], snapshot.optimizer["state"][0]["exp_avg"])
    assert found.optimizer["param_groups"][0]["scale"] == 0.5
    assert found.epoch == 1


def test_validated_weights_are_the_average_if_there_is_one(snapshot: TrainingState):
    assert snapshot.validated_weights is snapshot.ema_weights
    assert replace(snapshot, ema_weights=None).validated_weights is snapshot.weights


def test_checkpoints_contain_no_pickled_objects(tmp_path: Path, snapshot: TrainingState):
    save_training_state(tmp_path / "last.ckpt", snapshot)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["best_epoch"] == 1


def test_best_weights_are_loaded_into_the_module(tmp_path: Path):
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    save_best_weights(tmp_path / "best.ckpt", source.state_dict(), 3)
    load_best_weights(tmp_path / "best.ckpt", target)
    assert torch.equal(source.weight, target.weight)


def test_unwritable_folder_raises(tmp_path: Path, snapshot: TrainingState):
    (tmp_path / "file").touch()
    with pytest.raises(AssayError, match=r"file/last\.ckpt cannot be written: make room"):
        save_training_state(tmp_path / "file" / "last.ckpt", snapshot)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_damaged_checkpoint_raises(tmp_path: Path, content: bytes):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(AssayError, match=r"last\.ckpt cannot be read"):
        load_training_state(tmp_path / "last.ckpt")


def test_checkpoint_with_code_is_rejected(tmp_path: Path):
    torch.save({"format": 1, "weights": print}, tmp_path / "last.ckpt")
    with pytest.raises(AssayError, match=r"last\.ckpt cannot be read"):
        load_training_state(tmp_path / "last.ckpt")


def test_other_format_version_is_named(tmp_path: Path):
    torch.save({"format": 9}, tmp_path / "last.ckpt")
    with pytest.raises(AssayError, match="checkpoint format 9, not 1"):
        load_training_state(tmp_path / "last.ckpt")


def test_checkpoint_of_another_run_is_rejected_with_the_differing_setting(snapshot: TrainingState):
    snapshot.check_fingerprint({"train.lr": "0.1"}, Path("last.ckpt"))
    with pytest.raises(AssayError, match=r"last\.ckpt cannot be resumed: train\.lr differs"):
        snapshot.check_fingerprint({"train.lr": "0.2"}, Path("last.ckpt"))


MakeRecipe = Callable[..., Recipe]
MakeSplit = Callable[..., LabeledImages]


def test_settings_that_change_weights_are_in_the_fingerprint(make_recipe: MakeRecipe, make_split: MakeSplit):
    item = run_fingerprint(make_recipe(lr=0.1), make_split(), make_split(), "32")
    two = run_fingerprint(make_recipe(lr=0.2), make_split(), make_split(), "32")
    assert {name for name in item if item[name] != two[name]} == {"train.lr"}


def test_device_and_speed_settings_are_not_in_the_fingerprint(make_recipe: MakeRecipe, make_split: MakeSplit):
    item = run_fingerprint(make_recipe(workers=0, device="cpu"), make_split(), make_split(), "32")
    two = run_fingerprint(make_recipe(workers=3, device="auto", tensorboard=True), make_split(), make_split(), "32")
    assert item == two


def test_labels_are_in_the_fingerprint(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    flipped = LabeledImages(split.images, 1 - split.targets)
    item, two = (run_fingerprint(make_recipe(), each, split, "32") for each in (split, flipped))
    assert {name for name in item if item[name] != two[name]} == {"the order or labels of the training photos"}


def test_fingerprint_does_not_depend_on_integer_width(make_recipe: MakeRecipe, make_split: MakeSplit):
    split = make_split()
    narrow = LabeledImages(split.images, split.targets.astype(np.int32))
    assert run_fingerprint(make_recipe(), split, split, "32") == run_fingerprint(make_recipe(), narrow, split, "32")
