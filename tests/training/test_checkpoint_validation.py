"""Edited, truncated and foreign checkpoints raise an error."""

import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import LabeledImages, fit

Plain = dict[str, Any]
Change = Callable[[Plain], object]


class StopError(AssayError):
    """Stands for a kill after an epoch."""


def stop(row: object) -> None:
    raise StopError(str(row))


@pytest.fixture(scope="module")
def stopped_runs() -> dict[str, Path]:
    return {}


@pytest.fixture
def resume(
    make_recipe: Callable[..., Recipe],
    make_network: Callable[[Recipe], ClassifierNetwork],
    make_split: Callable[..., LabeledImages],
    stopped_runs: dict[str, Path],
    tmp_path: Path,
) -> Callable[..., Path]:
    """Begin a run of some settings, stop it after an epoch, change its files, and go on with it."""

    def run(change: Callable[[Path], None], optimizer: str = "adamw") -> Path:
        recipe = make_recipe(
            optimizer=optimizer, epochs=2, ema_decay=0.5, schedule="plateau", early_stopping={"patience": 2}
        )
        train, val = make_split(seed=1), make_split((6, 6), seed=2)
        if optimizer not in stopped_runs:
            folder = tmp_path / "stopped"
            with pytest.raises(StopError):
                fit(make_network(recipe), recipe, train, val, run=folder, on_epoch=stop)
            stopped_runs[optimizer] = folder
        folder = tmp_path / "run"
        shutil.copytree(stopped_runs[optimizer], folder)
        change(folder / "checkpoints")
        fit(make_network(recipe), recipe, train, val, run=folder, resume=True)
        return folder

    return run


def edited(change: Change, name: str = "last.ckpt") -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        plain = torch.load(folder / name, weights_only=True)
        found = change(plain)
        torch.save(plain if found is None else found, folder / name)

    return edit


def without(*path: Any) -> Change:
    def change(plain: Plain) -> None:
        for part in path[:-1]:
            plain = plain[part]
        del plain[path[-1]]

    return change


def put(value: Any, *path: Any) -> Change:
    def change(plain: Plain) -> None:
        for part in path[:-1]:
            plain = plain[part]
        plain[path[-1]] = value(plain[path[-1]]) if callable(value) else value

    return change


NAMES = [
    *("format", "fingerprint", "metrics", "step_losses", "best_epoch", "finished", "stopped_early", "weights"),
    *("ema_weights", "ema_steps", "optimizer", "precision"),
]
SOME_WEIGHT = "head.fc.weight"
ODD: list[Change] = [
    *(without(name) for name in NAMES),
    *(put(value, name) for name in NAMES for value in ([1, [2]], "text", 7.5)),
    put(1, "extra"),
    put(2, 3),
    put(lambda _: True, "best_epoch"),
    put(0, "best_epoch"),
    put(99, "best_epoch"),
    put(-1, "ema_steps"),
    put(1, "finished"),
    put([], "metrics"),
    put(lambda rows: rows * 2, "metrics"),
    put(7, "metrics", 0, "epoch"),
    put(float("nan"), "metrics", 0, "val_loss"),
    put("much", "metrics", 0, "val_loss"),
    put(1.5, "metrics", 0, "more"),
    without("metrics", 0, "lr"),
    put(None, "metrics", 0),
    put([], "step_losses"),
    put(["loss"], "step_losses"),
    put([torch.ones(2, 2)], "step_losses"),
    put([torch.tensor([float("inf")])], "step_losses"),
    put([torch.tensor([1, 2])], "step_losses"),
    put({1: 2}, "fingerprint"),
    without("fingerprint", "train.lr"),
    without("weights", SOME_WEIGHT),
    put(torch.ones(1), "weights", "more"),
    put(lambda tensor: tensor[:1], "weights", SOME_WEIGHT),
    put(lambda tensor: tensor.double(), "weights", SOME_WEIGHT),
    put(lambda tensor: tensor * float("nan"), "weights", SOME_WEIGHT),
    put(lambda tensor: tensor.to_sparse(), "weights", SOME_WEIGHT),
    put("text", "weights", SOME_WEIGHT),
    put(None, "ema_weights"),
    put({}, "ema_weights"),
    put(lambda tensor: tensor * float("inf"), "ema_weights", SOME_WEIGHT),
    put({"scale": "large"}, "precision"),
    put({}, "optimizer"),
    put([], "optimizer", "param_groups"),
    put({0: 1}, "optimizer", "state"),
    put(lambda groups: [*groups, groups[0]], "optimizer", "param_groups"),
    put("x", "optimizer", "param_groups", 0),
    without("optimizer", "param_groups", 0, "betas"),
    put((0.5, "y"), "optimizer", "param_groups", 0, "betas"),
    put(-1, "optimizer", "param_groups", 0, "eps"),
    put(float("nan"), "optimizer", "param_groups", 0, "lr"),
    put([0, 0, 0], "optimizer", "param_groups", 0, "params"),
    put(1, "optimizer", "param_groups", 0, "more"),
    without("optimizer", "state", 0, "exp_avg"),
    put(torch.ones(1, 1), "optimizer", "state", 0, "exp_avg"),
    put(lambda tensor: tensor * float("nan"), "optimizer", "state", 0, "exp_avg_sq"),
    put("many", "optimizer", "state", 0, "step"),
    put(torch.ones(2), "optimizer", "state", 0, "step"),
    put({}, "optimizer", "state", 4_000),
    put({}, "optimizer", "state", "zero"),
    put(lambda tensor: tensor - 1, "optimizer", "state", 0, "exp_avg_sq"),
    put(lambda tensor: tensor - 99, "optimizer", "state", 0, "step"),
    put(lambda _: True, "finished"),
    put(lambda _: True, "stopped_early"),
    lambda plain: (
        put(lambda rows: [rows[0], {**rows[0], "epoch": 2}], "metrics")(plain)
        or put(lambda losses: losses * 2, "step_losses")(plain)
    ),
    lambda plain: (
        put(lambda rows: [{**rows[0], "epoch": item} for item in (1, 2, 3)], "metrics")(plain)
        or put(lambda losses: losses * 3, "step_losses")(plain)
    ),
    put(lambda tensor: torch.zeros(1).expand(tensor.shape), "weights", SOME_WEIGHT),
    put(torch.zeros(1).expand(10**6, 10**7), "weights", SOME_WEIGHT),
    put([torch.zeros(1, dtype=torch.float64).expand(10**13)], "step_losses"),
    put(lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), "weights", SOME_WEIGHT),
    put(lambda tensor: torch.nested.nested_tensor([tensor]), "weights", SOME_WEIGHT),
    put(torch.ones(2, device="meta"), "weights", SOME_WEIGHT),
    lambda plain: [plain],
    lambda _: torch.ones(3),
    lambda plain: {"weights": plain["weights"]},
    lambda plain: plain["weights"],
]


@pytest.mark.filterwarnings("ignore:torch.quantize_per", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("change", ODD, ids=range(len(ODD)))
def test_missing_extra_and_invalid_entries_are_named(resume: Callable[..., Path], change: Change) -> None:
    with pytest.raises(AssayError, match=r"last\.ckpt (cannot be|has the|is no)") as caught:
        resume(edited(change))
    assert type(caught.value) is AssayError
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_unchanged_run_resumes_with_every_optimizer(resume: Callable[..., Path], optimizer: str) -> None:
    folder = resume(lambda _: None, optimizer)
    assert len((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    "change",
    [
        without("weights"),
        without("epoch"),
        put({}, "weights"),
        put(lambda tensor: tensor * float("nan"), "weights", SOME_WEIGHT),
        put("x", "more"),
        lambda _: 3,
    ],
)
def test_best_weights_are_validated_too(resume: Callable[..., Path], change: Change) -> None:
    def edit(folder: Path) -> None:
        # Two epochs, the first of which was the best: best.ckpt is then not written anew.
        edited(put(lambda rows: [rows[0], {**rows[0], "epoch": 2}], "metrics"))(folder)
        edited(put(lambda losses: losses * 2, "step_losses"))(folder)
        edited(put(lambda _: True, "finished"))(folder)
        edited(change, "best.ckpt")(folder)

    with pytest.raises(AssayError, match=r"best\.ckpt (cannot be|has the|is no)") as caught:
        resume(edit)
    assert "\n" not in str(caught.value)


def of_bytes(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "last.ckpt").write_bytes(content) and None


def cut(folder: Path) -> None:
    path = folder / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-2000])


def damaged(folder: Path) -> None:
    path = folder / "last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 400] = os.urandom(400)
    path.write_bytes(content)


def weights_changed(folder: Path) -> None:
    """Overwrite one number of the weights by another one that is finite: only the checksum shows it."""
    path = folder / "last.ckpt"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        name = max((item for item in archive.namelist() if "/data/" in item), key=lambda item: len(archive.read(item)))
        values = archive.read(name)
    place = content.index(values)
    path.write_bytes(content[:place] + struct.pack("<f", 0.5) + content[place + 4 :])


def pipe(folder: Path) -> None:
    (folder / "last.ckpt").unlink()
    os.mkfifo(folder / "last.ckpt")


def link(to: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "last.ckpt").unlink()
        (folder / "last.ckpt").symlink_to(to)

    return change


def as_folder(folder: Path) -> None:
    (folder / "last.ckpt").unlink()
    (folder / "last.ckpt").mkdir()


def arrays(folder: Path) -> None:
    with (folder / "last.ckpt").open("wb") as stream:
        np.savez(stream, weights=np.ones(3))


@pytest.mark.parametrize(
    "change",
    [
        *(of_bytes(content) for content in (b"", b"PK\3\4", pickle.dumps({"a": os.getcwd}), b"\x80" * 999)),
        *(cut, damaged, weights_changed, pipe, as_folder, arrays),
        *(link(to) for to in ("/dev/zero", "nowhere", "best.ckpt", "last.ckpt", "/etc/passwd")),
    ],
)
def test_files_that_are_not_checkpoints_are_named(resume: Callable[..., Path], change: Callable[[Path], None]) -> None:
    with pytest.raises(AssayError, match=r"last\.ckpt") as caught:
        resume(change)
    assert "\n" not in str(caught.value)


def test_link_to_a_checkpoint_is_accepted(resume: Callable[..., Path]) -> None:
    def change(folder: Path) -> None:
        (folder / "last.ckpt").rename(folder / "elsewhere.ckpt")
        (folder / "last.ckpt").symlink_to("elsewhere.ckpt")

    folder = resume(change)
    assert not (folder / "checkpoints" / "last.ckpt").is_symlink()
