"""`fit`: files, reproducibility, strategies, errors and resumption."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from assay.core.errors import AssayError, UsageError
from assay.nets import ClassifierNetwork
from assay.recipe import Recipe
from assay.training import EpochMetrics, LabeledImages, SplitEmbeddings, TrainingInterruptedError, fit, read_metrics
from assay.training.checkpoint import load_training_state
from assay.training.lightning_module import ClassifierModule
from assay.training.training_schedule import TrainingSchedule

MakeRecipe = Callable[..., Recipe]
MakeNetwork = Callable[..., ClassifierNetwork]
MakeSplit = Callable[..., LabeledImages]
Train = Callable[..., ClassifierNetwork]


@pytest.fixture
def train(make_network: MakeNetwork, make_split: MakeSplit) -> Train:
    """Train the tiny network into a folder and return it."""

    def run_it(recipe: Recipe, run: Path, **options: Any) -> ClassifierNetwork:
        network = make_network(recipe)
        fit(network, recipe, make_split(), make_split((9, 9), seed=1), run=run, **options)
        return network

    return run_it


def state(network: ClassifierNetwork) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def loss_and_accuracy(network: ClassifierNetwork, split: LabeledImages) -> tuple[float, float]:
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack(list(split.images)))).logits
    targets = torch.from_numpy(split.targets)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    return float(loss), float((logits.argmax(1) == targets).double().mean())


def test_run_improves_the_loss_and_writes_its_files(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    rows: list[EpochMetrics] = []
    train(make_recipe(), tmp_path, on_epoch=rows.append)
    assert rows[-1].val_accuracy > 0.8
    assert rows[-1].train_loss < rows[0].train_loss
    assert read_metrics(tmp_path / "metrics.csv") == tuple(rows)
    assert len((tmp_path / "steps.csv").read_text().splitlines()) == 1 + 3 * 5
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "curves.png",
        "metrics.csv",
        "steps.csv",
        "training.log",
    }


def test_log_describes_the_run(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    train(make_recipe(epochs=2), tmp_path)
    lines = (tmp_path / "training.log").read_text().splitlines()
    result = [line.split("  ", 1)[1].split(":")[0].split("  ")[0] for line in lines]
    assert result == [
        "started",
        "settings",
        "epoch 1/2",
        "epoch 2/2",
        "finished after epoch 2; kept the weights of epoch 2",
    ]
    assert "strategy finetune, 40 training and 18 validation photos, device cpu" in lines[0]


@pytest.mark.parametrize("strategy", ["staged", "probe"])
def test_same_seed_gives_the_same_weights_for_any_number_of_workers(
    train: Train, make_recipe: MakeRecipe, tmp_path: Path, strategy: str
):
    settings: dict[str, Any] = {
        "strategy": strategy,
        "epochs": 2,
        "balance": "sampler",
        "staged": {"head_epochs": 1},
    }
    item = train(make_recipe(**settings, workers=0), tmp_path / "one")
    two = train(make_recipe(**settings, workers=2), tmp_path / "two")
    other = train(make_recipe(**settings, seed=1), tmp_path / "other")
    assert same(state(item), state(two))
    assert not same(state(item), state(other))


def test_final_weights_are_those_of_the_best_epoch(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(epochs=6, early_stopping={"metric": "val_loss", "patience": 2}, precision="32")
    split, val = make_split(), make_split((9, 9), seed=1)
    mistaken = LabeledImages(val.images, 1 - val.targets)
    network = make_network(recipe)
    history = fit(network, recipe, split, mistaken, run=tmp_path)
    assert history.stopped_early
    assert history.best_epoch == len(history.metrics) - 2
    assert history.seconds == sum(row.seconds for row in history.metrics)
    best = history.metrics[history.best_epoch - 1]
    assert best.val_loss == min(row.val_loss for row in history.metrics)
    assert loss_and_accuracy(network, mistaken) == pytest.approx((best.val_loss, best.val_accuracy), rel=1e-5)
    assert not network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_moving_average_is_validated_and_kept(
    train: Train, make_recipe: MakeRecipe, make_split: MakeSplit, tmp_path: Path
):
    network = train(make_recipe(ema_decay=0.9, epochs=4, precision="32"), tmp_path)
    last = load_training_state(tmp_path / "checkpoints/last.ckpt")
    assert last.ema_steps == 20
    assert last.ema_weights is not None
    assert same(state(network), last.ema_weights)
    assert not same(last.ema_weights, last.weights)
    best = last.metrics[last.best_epoch - 1]
    assert loss_and_accuracy(network, make_split((9, 9), seed=1))[0] == pytest.approx(best.val_loss, rel=1e-5)


def test_frozen_stages_keep_weights_and_statistics(
    train: Train, make_recipe: MakeRecipe, make_network: MakeNetwork, tmp_path: Path
):
    recipe = make_recipe(freeze=1, epochs=1)
    before = make_network(recipe)
    after = train(recipe, tmp_path)
    for index, (old, new) in enumerate(zip(before.backbone.stages(), after.backbone.stages(), strict=True)):
        for old_module, new_module in zip(old, new, strict=True):
            pairs = zip(old_module.state_dict().values(), new_module.state_dict().values(), strict=True)
            assert all(torch.equal(left, right) for left, right in pairs) == (index == 0)


def test_staged_strategy_freezes_the_backbone_first(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(strategy="staged", epochs=3, staged={"head_epochs": 2, "head_lr": 0.02}, lr=0.01)
    network = make_network(recipe)
    before = state(network)
    changed: list[set[str]] = []

    def on_epoch(row: EpochMetrics) -> None:
        del row
        now = network.state_dict()
        changed.append({name.split(".")[0] for name in before if not torch.equal(before[name], now[name])})

    history = fit(network, recipe, make_split(), make_split(seed=1), run=tmp_path, on_epoch=on_epoch)
    assert changed == [{"head"}, {"head"}, {"head", "backbone"}]
    assert [row.lr for row in history.metrics] == [0.02, 0.02, 0.01]


def test_early_stopping_ignores_the_first_stage(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    stopping = {"metric": "val_accuracy", "patience": 1, "min_delta": 0.9}
    recipe = make_recipe(strategy="staged", epochs=9, staged={"head_epochs": 4}, early_stopping=stopping)
    rows: list[EpochMetrics] = []
    train(recipe, tmp_path, on_epoch=rows.append)
    assert len(rows) == 6


def test_tensorboard_contains_the_metrics(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    rows: list[EpochMetrics] = []
    train(make_recipe(tensorboard=True, epochs=2), tmp_path, on_epoch=rows.append)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {event.step: event.value for event in events.Scalars("val/loss")}
    assert found == pytest.approx({row.epoch: row.val_loss for row in rows}, rel=1e-6)


def test_progress_counts_the_batches_of_training_and_validation(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    result: list[tuple[str, int, int]] = []
    train(make_recipe(epochs=1), tmp_path, progress=lambda *step: result.append(step))
    assert result == [("epoch 1/1", done, 8) for done in range(1, 9)]


def test_progress_counts_the_epochs_of_a_head_on_embeddings(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(strategy="probe", epochs=40, lr=0.1, early_stopping={"metric": "val_loss", "patience": 1})
    result: list[tuple[str, int, int]] = []
    val = make_split((9, 9), seed=1)
    mistaken = LabeledImages(val.images, 1 - val.targets)
    history = fit(
        make_network(recipe),
        recipe,
        make_split(),
        mistaken,
        run=tmp_path,
        progress=lambda *step: result.append(step),
    )
    assert history.stopped_early
    heads = [step for step in result if step[0] == "training the head"]
    assert heads == [
        *(("training the head", row.epoch, 40) for row in history.metrics),
        ("training the head", 40, 40),
    ]
    assert not [step for step in result if step[0].startswith("epoch")]


def test_balancing_lowers_the_loss_on_rare_classes(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    losses = {}
    for balance in ("none", "sampler", "weights"):
        recipe = make_recipe(balance=balance, epochs=1, batch_size=4, lr=0.003)
        network = make_network(recipe)
        fit(network, recipe, make_split((72, 8)), make_split((9, 9), seed=1), run=tmp_path / balance)
        losses[balance] = loss_and_accuracy(network, make_split((30, 30), seed=2))[0]
    assert losses["sampler"] < losses["none"]
    assert losses["weights"] < losses["none"]


def test_divergence_raises_and_leaves_no_checkpoint(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    with pytest.raises(AssayError, match=r"no longer a finite number in epoch 1: lower train\.lr"):
        train(make_recipe(optimizer="sgd", lr=1e30), tmp_path)
    assert not list((tmp_path / "checkpoints").glob("*"))
    assert "stopped: the loss is no longer" in (tmp_path / "training.log").read_text()


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_image_raises(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path, workers: int
):
    class Damaged(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            if index == 7:
                raise AssayError("a/7.jpg is a truncated JPEG; remove it")
            return super().__getitem__(index)

    recipe = make_recipe(workers=workers)
    split = make_split()
    with pytest.raises(AssayError, match=r"^a/7\.jpg is a truncated JPEG; remove it$"):
        fit(make_network(recipe), recipe, LabeledImages(Damaged(split.images), split.targets), split, run=tmp_path)


def test_out_of_memory_error_names_the_batch_size(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe(strategy="probe")
    split = make_split()

    def embedded() -> SplitEmbeddings:
        raise torch.OutOfMemoryError("no room for 8 images")

    with pytest.raises(AssayError, match=r"train\.batch_size is 8.*too little memory"):
        fit(make_network(recipe), recipe, split, split, run=tmp_path, embeddings=embedded)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_gradient_clipping_limits_the_update(
    train: Train, make_recipe: MakeRecipe, make_network: MakeNetwork, tmp_path: Path, precision: str
):
    recipe = make_recipe(optimizer="sgd", momentum=0, lr=0.5, gradient_clip=1e-6, epochs=1, precision=precision)
    before = dict(make_network(recipe).named_parameters())
    after = dict(train(recipe, tmp_path).named_parameters())
    moved = sum(float((after[name] - before[name]).detach().square().sum()) for name in before) ** 0.5
    assert 0 < moved <= 5 * 0.5 * 1e-6 * 1.01


def test_bf16_training_keeps_weights_in_float32(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    half = train(make_recipe(precision="bf16"), tmp_path / "bf16")
    full = train(make_recipe(precision="32"), tmp_path / "32")
    assert {tensor.dtype for tensor in half.parameters()} == {torch.float32}
    assert not same(state(half), state(full))
    torch.testing.assert_close(half.head.fc.weight, full.head.fc.weight, atol=0.05, rtol=0.1)


@pytest.mark.parametrize("began", ["32", "bf16"])
def test_run_that_is_resumed_on_another_machine_keeps_its_precision(
    train: Train, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: str
):
    whole = train(make_recipe(precision=began), tmp_path / "whole")
    monkeypatch.setattr("assay.training.device._fastest_precision", lambda _kind: began)
    with pytest.raises(TrainingInterruptedError):
        train(make_recipe(), tmp_path / "parts", progress=ctrl_c)
    monkeypatch.setattr("assay.training.device._fastest_precision", lambda _kind: {"32": "bf16", "bf16": "32"}[began])
    resumed = train(make_recipe(), tmp_path / "parts", resume=True)
    assert same(state(resumed), state(whole))
    assert f"precision {began}," in (tmp_path / "parts" / "training.log").read_text().splitlines()[-4]


def test_explicit_precision_is_not_resumed_at_another_one(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    train(make_recipe(precision="32"), tmp_path)
    with pytest.raises(AssayError, match=r"train\.precision differs"):
        train(make_recipe(precision="bf16"), tmp_path, resume=True)


def test_head_is_computed_in_32_bits(make_recipe: MakeRecipe, make_network: MakeNetwork):
    recipe = make_recipe(precision="bf16")
    module = ClassifierModule(make_network(recipe), TrainingSchedule(recipe.train, 1, ()))
    images = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.network(images).logits.dtype == torch.bfloat16
        assert module(images).dtype == torch.float32


def test_empty_split_is_named(
    make_recipe: MakeRecipe, make_network: MakeNetwork, make_split: MakeSplit, tmp_path: Path
):
    recipe = make_recipe()
    empty = LabeledImages([], np.empty(0, dtype=np.int64))
    with pytest.raises(AssayError, match="there are no validation photos"):
        fit(make_network(recipe), recipe, make_split(), empty, run=tmp_path)


def test_freezing_too_many_stages_raises(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    with pytest.raises(UsageError, match=r"train\.freeze is 9"):
        train(make_recipe(freeze=9), tmp_path)


def ctrl_c(what: str, done: int, total: int) -> None:
    """Send SIGINT to this process in the second epoch."""
    del total
    if what.startswith(("epoch 2/", "training the head")) and done == 2:
        signal.raise_signal(signal.SIGINT)


def terminated(what: str, done: int, total: int) -> None:
    """Be the system that shuts down in the second epoch."""
    del total
    if what.startswith(("epoch 2/", "training the head")) and done == 2:
        signal.raise_signal(signal.SIGTERM)


SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "adamw", "schedule": "cosine", "ema_decay": 0.9},
    {"optimizer": "sgd", "schedule": "plateau", "balance": "sampler", "early_stopping": {"patience": 2}},
    {"strategy": "staged", "staged": {"head_epochs": 1}, "schedule": "onecycle"},
    {"strategy": "probe", "ema_decay": 0.5},
]


@pytest.mark.parametrize(
    ("settings", "interruption"), [*((settings, ctrl_c) for settings in SETTINGS), (SETTINGS[0], terminated)]
)
def test_resumed_run_equals_an_uninterrupted_one(
    train: Train,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    settings: dict[str, Any],
    interruption: Callable[[str, int, int], None],
):
    recipe = make_recipe(**settings, epochs=4)
    straight = train(recipe, tmp_path / "straight")
    run = tmp_path / "interrupted"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterruptedError, match=rf"interrupted; continue with: assay train --resume {run}"):
        train(recipe, run, progress=interruption)
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(read_metrics(run / "metrics.csv")) == 1
    resumed = train(recipe, run, resume=True)
    assert same(state(straight), state(resumed))
    rows = [
        [(row.epoch, row.train_loss, row.val_loss, row.lr) for row in read_metrics(folder / "metrics.csv")]
        for folder in (tmp_path / "straight", run)
    ]
    assert rows[0] == rows[1]
    assert (run / "steps.csv").read_text() == (tmp_path / "straight/steps.csv").read_text()
    snapshots = [load_training_state(folder / "checkpoints/last.ckpt") for folder in (tmp_path / "straight", run)]
    assert same(snapshots[0].weights, snapshots[1].weights)
    assert "resumed after epoch 1" in (run / "training.log").read_text()


def test_kill_between_the_two_checkpoints_loses_nothing(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    recipe = make_recipe(epochs=2)
    straight = train(recipe, tmp_path / "straight")
    run = tmp_path / "killed"
    with pytest.raises(TrainingInterruptedError):
        train(recipe, run, progress=ctrl_c)
    (run / "checkpoints/best.ckpt").unlink()
    (run / "metrics.csv").unlink()
    assert same(state(train(recipe, run, resume=True)), state(straight))


def test_resuming_a_finished_run_does_not_train(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    recipe = make_recipe(epochs=2)
    network = train(recipe, tmp_path)
    rows: list[EpochMetrics] = []
    assert same(state(train(recipe, tmp_path, resume=True, on_epoch=rows.append)), state(network))
    assert rows == []


def test_resuming_before_the_first_checkpoint_starts_again(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    recipe = make_recipe(epochs=1)
    straight = train(recipe, tmp_path / "straight")
    assert same(state(train(recipe, tmp_path / "resumed", resume=True)), state(straight))


def test_run_cannot_be_resumed_with_another_recipe(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    train(make_recipe(epochs=1), tmp_path)
    with pytest.raises(AssayError, match=r"last\.ckpt cannot be resumed: train\.lr differs"):
        train(make_recipe(epochs=1, lr=0.5), tmp_path, resume=True)


def test_new_run_in_an_old_folder_starts_again(train: Train, make_recipe: MakeRecipe, tmp_path: Path):
    train(make_recipe(epochs=2), tmp_path)
    train(make_recipe(epochs=1), tmp_path)
    assert len(read_metrics(tmp_path / "metrics.csv")) == 1
