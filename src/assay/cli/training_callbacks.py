"""Callbacks of `assay train`: they print progress, or write it to the event log."""

from typing import TYPE_CHECKING

from assay.cli.console import echo, echo_text

if TYPE_CHECKING:
    from assay.core.event_log import EventLog
    from assay.core.progress import Progress
    from assay.data import Dataset
    from assay.pipeline import TrainCallbacks
    from assay.pipeline.auto import FineTuningPlan
    from assay.recipe import Recipe


def training_callbacks(
    recipe: "Recipe", progress: "Progress", *, quiet: bool, profile: bool = False
) -> "TrainCallbacks":
    """Return callbacks that print the data summary and epochs; only progress bars if `quiet`."""
    from dataclasses import replace

    from assay.cli.training_output import EpochPrinter, describe_data, print_candidate, print_head_fit, print_plan
    from assay.core.event_log import environment_event_log
    from assay.pipeline import TrainCallbacks

    def on_data(dataset: "Dataset") -> None:
        lines = [describe_data(dataset, recipe.data.min_images_per_class)]
        lines += [f"warning: {sentence}" for sentence in _setting_warnings(recipe)]
        echo_text("\n".join(lines) + "\n")

    clock = None
    if profile:
        from assay.training.callbacks import Profile

        clock = Profile()
    if (log := environment_event_log()) is not None:
        return replace(_event_callbacks(log, progress, recipe), profile=clock)
    if quiet:
        return TrainCallbacks(progress, profile=clock)
    printer, trained, networks = EpochPrinter(), [recipe], [""]

    def on_plan(plan: "FineTuningPlan") -> None:
        print_plan(plan)
        trained.append(plan.recipe)

    def on_network(name: str) -> None:
        networks.append(name)
        echo(f"fine-tuning: {name}")

    return TrainCallbacks(
        progress,
        on_data=on_data,
        on_epoch=lambda row: printer(networks[-1], row, trained[-1]),
        on_candidate=lambda candidate: print_candidate(candidate, recipe.train.objective),
        on_plan=on_plan,
        on_network=on_network,
        on_history=lambda history: print_head_fit(history, recipe),
        profile=clock,
    )


def _event_callbacks(log: "EventLog", progress: "Progress", recipe: "Recipe") -> "TrainCallbacks":
    """Return callbacks that write events: settings, data, trying, candidate, plan, epoch and search_end."""
    from dataclasses import asdict

    from assay.data import SPLITS
    from assay.pipeline import TrainCallbacks

    log.write(
        "settings",
        strategy=recipe.train.strategy,
        objective=recipe.train.objective or "accuracy",
        minutes=recipe.train.auto.minutes,
        epochs=recipe.train.epochs,
    )
    return TrainCallbacks(
        progress,
        on_data=lambda dataset: log.write(
            "data",
            classes=list(dataset.classes),
            splits={split: len(dataset.part(split)) for split in SPLITS},
            warnings=[*dataset.warnings, *_setting_warnings(recipe)],
        ),
        on_epoch=lambda row: log.write("epoch", **asdict(row)),
        on_try=lambda name: log.write("trying", name=name),
        on_candidate=lambda candidate: log.write("candidate", **candidate.to_dict()),
        on_search_end=lambda: log.write("search_end"),
        on_plan=lambda plan: log.write("plan", seconds=plan.seconds, epochs=plan.recipe.train.epochs),
    )


def _setting_warnings(recipe: "Recipe") -> list[str]:
    from assay.training.device import precision_warning
    from assay.training.feature_extraction import uses_cached_embeddings

    warning = None if uses_cached_embeddings(recipe) else precision_warning(recipe.train)
    return [] if warning is None else [warning]
