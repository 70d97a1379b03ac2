"""Plots of a training run: loss and accuracy by epoch, loss by step, and the learning-rate range test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from assay.core.files import atomic_write
from assay.training.history import EpochMetrics

_TRAIN = "#0072B2"
_VAL = "#D55E00"
_GRAY = "#6b7280"
_DPI = 144
_SMOOTHING = 0.9
_MAX_MARKERS = 40


def plot_learning_curves(
    path: Path, epochs: Sequence[EpochMetrics], losses: Sequence[Sequence[float]], best_epoch: int
) -> None:
    """Plot training and validation loss and accuracy by epoch, with the smoothed loss of every step.

    A run of one epoch is plotted by step.

    Args:
        path: the PNG file.
        epochs: one or more epochs.
        losses: training loss of every step, one sequence per epoch.
        best_epoch: the epoch whose weights were kept, counted from 1.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if len(epochs) == 1:
        _plot_single_epoch(left, losses[0], epochs[0])
        _plot_accuracy_bars(right, epochs[0])
    else:
        _plot_step_losses(left, losses)
        _plot_train_and_val(left, epochs, "loss", best_epoch)
        _plot_train_and_val(right, epochs, "accuracy", best_epoch)
    right.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    _save(figure, path)


def plot_range_test(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float) -> None:
    """Plot the smoothed loss of every step against its learning rate, and mark the suggested rate."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=_TRAIN)
    axes.axvline(suggestion, color=_VAL, linestyle="--", label=f"suggestion {suggestion:.2g}")
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="training loss (smoothed)", title="Learning-rate range test")
    _style_axes(axes)
    _save(figure, path)


def exponential_moving_average(values: Sequence[float], weight: float = _SMOOTHING) -> list[float]:
    """Return the bias-corrected exponential moving average of a series with decay `weight`, 0 to below 1."""
    average, averages = 0.0, []
    for count, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        averages.append(average / (1 - weight**count))
    return averages


def centered_moving_average(values: Sequence[float], width: int = 9) -> list[float]:
    """Return the centered moving average of a series, which does not lag behind it.

    Args:
        values: the series.
        width: odd number of values in the window; near an end the window shrinks on both sides.
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    indices = np.arange(len(values))
    radius = np.minimum(np.minimum(indices, indices[::-1]), width // 2)
    means: list[float] = ((sums[indices + radius + 1] - sums[indices - radius]) / (2 * radius + 1)).tolist()
    return means


def _plot_train_and_val(axes: Axes, epochs: Sequence[EpochMetrics], metric: str, best_epoch: int) -> None:
    numbers = [metrics.epoch for metrics in epochs]
    marker = "o" if len(epochs) <= _MAX_MARKERS else ""
    for split, color, name in (("train", _TRAIN, "training"), ("val", _VAL, "validation")):
        values = [getattr(metrics, f"{split}_{metric}") for metrics in epochs]
        axes.plot(numbers, values, color=color, marker=marker, markersize=3.5, label=name)
    axes.axvline(best_epoch, color=_GRAY, linestyle=":", linewidth=1.2, label=f"kept (epoch {best_epoch})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=metric, title=metric.capitalize())
    _style_axes(axes)


def _plot_step_losses(axes: Axes, losses: Sequence[Sequence[float]]) -> None:
    """Plot the smoothed loss of every step; the steps of epoch n lie between n - 1 and n."""
    positions = np.concatenate(
        [epoch + np.arange(1, len(steps) + 1) / len(steps) for epoch, steps in enumerate(losses)]
    )
    values = exponential_moving_average([loss for steps in losses for loss in steps])
    axes.plot(positions, values, color=_TRAIN, alpha=0.3, linewidth=1, label="training, by step")


def _plot_single_epoch(axes: Axes, losses: Sequence[float], metrics: EpochMetrics) -> None:
    steps = np.arange(1, len(losses) + 1)
    few = len(losses) <= _MAX_MARKERS
    marker = "o" if few else ""
    axes.plot(steps, losses, color=_TRAIN, alpha=1 if few else 0.35, marker=marker, markersize=3.5, label="training")
    if not few:
        axes.plot(steps, exponential_moving_average(losses), color=_TRAIN, label="training, smoothed")
    axes.plot([steps[-1]], [metrics.val_loss], "o", color=_VAL, label="validation")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="iteration", ylabel="loss", title="Training loss per iteration")
    _style_axes(axes)


def _plot_accuracy_bars(axes: Axes, metrics: EpochMetrics) -> None:
    names = ["training", "validation"]
    bars = axes.bar(names, [metrics.train_accuracy, metrics.val_accuracy], width=0.5, color=[_TRAIN, _VAL], label=names)
    axes.bar_label(bars, fmt="{:.1%}", padding=3)
    axes.set(ylim=(0, 1.08), ylabel="accuracy", title="Accuracy after one epoch")
    _style_axes(axes)
    axes.legend().remove()


def _style_axes(axes: Axes) -> None:
    axes.grid(visible=True, alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
