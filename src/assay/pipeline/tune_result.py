"""The trials of a search, best first: as text, CSV, JSON and an HTML page."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.core.html_pages import template_environment, theme_css
from assay.core.notebook_html import data_uri
from assay.core.tables import Cell, write_json, write_rows
from assay.core.text_layout import align_columns, format_number, format_percent
from assay.evaluation.figure_style import BLUE, LINES, new_figure, style_axes, to_svg
from assay.pipeline.search_space import Settings
from assay.recipe import Recipe, TuneSpec, dump_recipe
from assay.training import EpochMetrics

RankBy = Literal["accuracy", "loss"]
State = Literal["complete", "pruned", "failed"]
BEST_RECIPE = "best.yaml"
PAGE = "tune.html"
_MAX_ROWS = 20
_STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Draw:
    """The settings of a trial that is to be trained."""

    number: int
    settings: Settings


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    number: int
    settings: Settings
    state: State
    bests: tuple[EpochMetrics, ...]
    """The best epoch of every fold, or of the only split; empty if the trial failed in its first epoch."""
    seconds: float
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Trial:
    """One combination of settings and its validation metrics."""

    settings: Settings
    """Such as `train.lr=0.01`."""
    recipe: Recipe
    bests: tuple[EpochMetrics, ...]
    """The best epoch of every fold, a single one without folds; empty if the trial failed."""
    seconds: float
    """Of its training, or its share of the time of the heads trained together."""
    number: int = 0
    """In the order in which the trials began, from 0."""
    state: State = "complete"
    """pruned: ended early, because others were better after as many epochs."""
    reason: str = ""
    """Why it failed."""
    epochs: tuple[EpochMetrics, ...] = ()
    """All epochs, if the whole recipe was trained."""

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy, averaged over the folds."""
        return fmean(row.val_accuracy for row in self.bests) if self.bests else None

    @property
    def loss(self) -> float | None:
        """Validation cross-entropy in nats, averaged over the folds."""
        return fmean(row.val_loss for row in self.bests) if self.bests else None

    @property
    def accuracy_std(self) -> float | None:
        """Standard deviation of the accuracy over the folds."""
        return stdev(row.val_accuracy for row in self.bests) if len(self.bests) > 1 else None

    @property
    def epoch(self) -> float | None:
        """Best epoch, averaged over the folds."""
        return fmean(row.epoch for row in self.bests) if self.bests else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "settings": list(self.settings),
            "state": self.state,
            "reason": self.reason,
            "val_accuracy": self.accuracy,
            "val_accuracy_std": self.accuracy_std,
            "val_loss": self.loss,
            "best_epochs": [row.epoch for row in self.bests],
            "epochs": len(self.epochs) or None,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class TuneResult:
    """All trials, best first; those that were pruned or failed come last."""

    folder: Path
    trials: tuple[Trial, ...]
    photos: int
    """Training and validation images."""
    folds: int
    """0: one split."""

    @property
    def best(self) -> Trial:
        """The best trial."""
        return self.trials[0]

    @property
    def text(self) -> str:
        """The best trials as a table."""
        rows = [["", "accuracy", "±", "loss", "epoch", "", "settings"]]
        rows += [
            [
                str(rank),
                format_percent(trial.accuracy),
                "" if trial.accuracy_std is None else format_percent(trial.accuracy_std),
                format_number(trial.loss),
                format_number(trial.epoch, 0),
                "" if trial.state == "complete" else trial.state,
                " ".join(trial.settings),
            ]
            for rank, trial in enumerate(self.trials[:_MAX_ROWS], start=1)
        ]
        hidden = len(self.trials) - _MAX_ROWS
        return align_columns(rows) + (f"\nand {hidden} more" if hidden > 0 else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {
            "folder": str(self.folder),
            "photos": self.photos,
            "folds": self.folds,
            "trials": [trial.to_dict() for trial in self.trials],
        }

    def write(self) -> None:
        """Write `tune.csv`, `tune.json`, `tune.txt`, `tune.html` and `best.yaml`, the best recipe.

        Raises:
            AssayError: no trial is complete.
        """
        write_rows(self.folder / "tune.csv", [_row(rank, trial) for rank, trial in enumerate(self.trials, start=1)])
        write_json(self.folder / "tune.json", self.to_dict())
        write_text(self.folder / "tune.txt", self.text + "\n")
        if self.best.state != "complete":
            reason = self.best.reason or "the loss diverged with every combination of settings: reduce train.lr"
            raise AssayError(f"no trial could be trained: {reason}" if self.best.reason else reason)
        recipe = self.best.recipe.model_copy(update={"tune": TuneSpec()})
        write_text(self.folder / BEST_RECIPE, dump_recipe(recipe))
        write_text(self.folder / PAGE, _page(self))


def rank_trials(trials: Iterable[Trial], by: RankBy) -> tuple[Trial, ...]:
    """Return trials, best first; the other metric breaks ties, then the order in which they began."""

    def key(trial: Trial) -> tuple[float, ...]:
        if trial.accuracy is None or trial.loss is None:
            return (_STATES.index(trial.state), float("inf"), float("inf"), trial.number)
        metrics = (-trial.accuracy, trial.loss)
        return (_STATES.index(trial.state), *(metrics if by == "accuracy" else metrics[::-1]), trial.number)

    return tuple(sorted(trials, key=key))


def _row(rank: int, trial: Trial) -> dict[str, Cell]:
    return {
        "rank": rank,
        "val_accuracy": trial.accuracy,
        "val_accuracy_std": trial.accuracy_std,
        "val_loss": trial.loss,
        "best_epoch": trial.epoch,
        "seconds": trial.seconds,
        "state": trial.state,
        **dict(setting.split("=", 1) for setting in trial.settings),
    }


def _page(result: TuneResult) -> str:
    names = [setting.split("=", 1)[0] for setting in result.best.settings]
    varied = [place for place, _ in enumerate(names) if len({trial.settings[place] for trial in result.trials}) > 1]
    return (
        template_environment("assay.pipeline")
        .get_template("tune.html.j2")
        .render(
            theme=theme_css(),
            title=result.folder.name,
            result=result,
            counts={state: sum(trial.state == state for trial in result.trials) for state in _STATES},
            names=[names[place] for place in varied],
            rows=[(trial, [trial.settings[place].split("=", 1)[1] for place in varied]) for trial in result.trials],
            number=format_number,
            chart=_chart(result.trials),
        )
    )


def _chart(trials: tuple[Trial, ...]) -> str | None:
    """Draw the validation loss of every trial by epoch, the best one in blue; None for heads."""
    curves = [trial.epochs for trial in reversed(trials) if trial.epochs]
    if not curves:
        return None
    figure = new_figure(5.6, 3.6)
    axes = figure.add_subplot()
    style_axes(axes, "Validation loss", "blue: the best trial")
    for epochs in curves:
        best = epochs is curves[-1]
        places, losses = [row.epoch for row in epochs], [row.val_loss for row in epochs]
        axes.plot(places, losses, color=BLUE if best else LINES, linewidth=1.8 if best else 1, marker="o", markersize=2)
    axes.set_xlabel("epoch")
    return data_uri(to_svg(figure).encode(), "image/svg+xml")
