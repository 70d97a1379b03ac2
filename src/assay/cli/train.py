"""`assay train`: train a classifier and write a run folder."""

from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.console import echo, echo_text
from assay.cli.options import DATA_HELP, LayoutOption, layout_setting
from assay.cli.training_callbacks import training_callbacks

if TYPE_CHECKING:
    from contextlib import ExitStack

    from assay.core.progress import Progress
    from assay.pipeline import TrainResult
    from assay.recipe import Recipe
    from assay.training.nodes import Nodes, RemoteProcesses


class Cluster(StrEnum):
    """Where the processes of a training run."""

    local = "local"
    ray = "ray"


class Objective(StrEnum):
    """What predictions are optimized for."""

    accuracy = "accuracy"
    balanced_accuracy = "balanced_accuracy"


class SplitMethod(StrEnum):
    """How photos are assigned to splits."""

    grouped = "grouped"
    random = "random"
    hash = "hash"


def train(
    data: Annotated[
        Path | None,
        typer.Argument(help=DATA_HELP),
    ] = None,
    *,
    recipe: Annotated[str, typer.Option("--recipe", "-r", help="Name of a recipe, or a YAML file.")] = "default",
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a recipe value, e.g. train.epochs=5; repeatable.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Output folder. (default: runs/RECIPE-N)")] = None,
    layout: LayoutOption = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Time for training with strategy auto. (default: until nothing is left to try)"),
    ] = None,
    objective: Annotated[
        Objective | None,
        typer.Option(help="accuracy: most photos correct; balanced_accuracy: all classes equally important."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Initial weights: imagenet, none, or a file.")] = None,
    split_method: Annotated[
        SplitMethod | None,
        typer.Option(
            help="grouped: duplicates and bursts stay in one split; random: each photo independently; hash: by name."
        ),
    ] = None,
    keep_splits: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Keep the splits of an earlier run; only new photos are assigned."),
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(help="Required precision of the predictions; photos below the threshold are `unknown`."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, max=64, help="Processes that train together and share every batch, one per GPU. (default: 1)"
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=2, max=1000, help="Machines that train together, this one included; --devices applies to each."
        ),
    ] = None,
    node_rank: Annotated[
        int | None,
        typer.Option(
            min=1, max=999, help="On the other machines: their number, from 1. Give only --rendezvous with it."
        ),
    ] = None,
    rendezvous: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Address of the first machine, where the others connect to it."),
    ] = None,
    cluster: Annotated[
        Cluster,
        typer.Option(
            help="local: train on this machine, or those of --nodes; ray: --devices processes on the Ray cluster of "
            "RAY_ADDRESS, or one started on this machine."
        ),
    ] = Cluster.local,
    resume: Annotated[Path | None, typer.Option(help="Resume an interrupted run in this folder.")] = None,
    find_lr: Annotated[bool, typer.Option("--find-lr", help="Run the learning rate finder only.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print the time per stage and write profile.json.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a classifier; write a run folder with model, metrics, report, log and manifest.

    Example: assay train photos/ -r bottle --set train.epochs=10
    """
    from contextlib import ExitStack

    from assay.cli.console import print_json, progress_bars
    from assay.core.errors import UsageError
    from assay.pipeline import Run, result_folder, resume_training, train_classifier
    from assay.recipe import load_recipe

    if node_rank is not None:
        from assay.training.nodes import join_training

        if data or resume or nodes or devices or rendezvous is None:
            raise UsageError("--node-rank takes everything from the first machine: give only --rendezvous with it")
        join_training(rendezvous, node_rank)
        return
    with ExitStack() as stack:
        machines = _machines(stack, nodes, rendezvous, cluster)
        progress = stack.enter_context(progress_bars())
        if resume is not None:
            if (
                data
                or set_
                or run
                or layout
                or weights
                or split_method
                or keep_splits
                or find_lr
                or target_precision is not None
                or minutes is not None
                or objective
                or recipe != "default"
            ):
                raise UsageError("--resume takes all settings from the run: give no data and no other options")
            callbacks = training_callbacks(Run.open(resume).recipe(), progress, quiet=json, profile=profile)
            result = resume_training(resume, callbacks, devices=devices, machines=machines)
        elif data is None:
            raise UsageError("give the photos to train on, or --resume RUN")
        else:
            chosen = {
                "net.weights": weights,
                "data.split.method": split_method,
                "abstain.target_precision": target_precision,
                "train.auto.minutes": minutes,
                "train.objective": objective,
                "train.devices": devices,
            }
            overrides = [f"{key}={_yaml_value(value)}" for key, value in chosen.items() if value is not None]
            settings = load_recipe(recipe, [*(set_ or ()), *layout_setting(layout), *overrides])
            if minutes is not None and settings.train.strategy != "auto":
                raise UsageError(
                    f"--minutes limits the strategy auto, and recipe {settings.name} has {settings.train.strategy}: "
                    "leave it out, or choose another recipe, such as default"
                )
            with result_folder(run, Path("runs"), settings.name) as folder:
                if find_lr:
                    _find_lr(data, settings, folder, progress)
                    return
                callbacks = training_callbacks(settings, progress, quiet=json, profile=profile)
                result = train_classifier(data, settings, folder, callbacks, keep_splits=keep_splits, machines=machines)
    if json:
        print_json(result_summary(result))
    else:
        echo_text(training_summary(result))
        if profile:
            echo_text(f"\n{_profile_table(result.run.folder / 'profile.json')}")


def _machines(
    stack: "ExitStack", nodes: int | None, rendezvous: str | None, cluster: Cluster
) -> "Nodes | RemoteProcesses | None":
    """Return where the processes of the training run; None: on this machine."""
    from assay.core.errors import UsageError

    if (nodes is None) != (rendezvous is None):
        raise UsageError("--nodes and --rendezvous belong together: give both, or neither")
    if cluster is Cluster.ray:
        if nodes is not None:
            raise UsageError("--cluster ray uses the machines of the Ray cluster: leave --nodes and --rendezvous out")
        from assay.scale.cluster import ray_cluster
        from assay.scale.ray_train import RayTraining

        return RayTraining(stack.enter_context(ray_cluster()))
    if nodes is None or rendezvous is None:
        return None
    from assay.training.nodes import Nodes

    return Nodes.parse(nodes, rendezvous)


def _yaml_value(value: str | float) -> str:
    """Return a value in the syntax of `--set`; text is quoted."""
    return dumps(str(value)) if isinstance(value, str) else str(value)


def result_summary(result: "TrainResult") -> dict[str, object]:
    """Return the JSON output for a finished run."""
    from assay.pipeline.learning_curve import load_learning_curve

    curve = load_learning_curve(result.run.learning_curve)
    return {
        "run": str(result.run.folder),
        "bundle": str(result.run.bundle),
        "classes": list(result.dataset.classes),
        "best_epoch": result.history.best_epoch if result.history.metrics else None,
        "epochs": len(result.history.metrics),
        "candidates": [candidate.to_dict() for candidate in result.candidates],
        "reported_split": result.reported_split,
        "metrics": {part: metrics.to_dict() for part, metrics in result.metrics.items()},
        "learning_curve": None if curve is None else curve.to_dict(),
    }


def training_summary(result: "TrainResult") -> str:
    """Return the text output for a finished run: metrics, files and the next command."""
    from assay.bundle import Bundle
    from assay.cli.console import shell_command
    from assay.cli.training_output import describe_confidence, describe_learning_curve, describe_metrics
    from assay.pipeline.learning_curve import load_learning_curve
    from assay.pipeline.quantize import describe_int8

    run, part = result.run, result.reported_split
    selected = run.recipe().train.selected_by_validation
    use = f"select the {selected}" if selected else "calibrate the confidence"
    name = f"validation photos (also used to {use}; there is no test split)"
    if part == "test":
        name = "test photos"
    elif result.evaluated.cross_validated:
        name = "held-out photos (also used to select the classifier; there is no test split)"
    folder = run.epochs_folder if result.history.metrics else None
    curves = "" if folder is None else f", {folder / 'curves.png'}"

    figures = Bundle.open(run.bundle).info.metrics
    confidence, int8 = figures["confidence"], figures.get("int8")
    curve = load_learning_curve(run.learning_curve)
    matrix = (run.evaluation(part) / "confusion_matrix.txt").read_text(encoding="utf-8")
    return "\n".join(
        [
            "",
            matrix.rstrip(),
            "",
            describe_metrics(result.metrics[part], name),
            *([describe_confidence(confidence, part)] if isinstance(confidence, dict) else []),
            *([f"int8        {describe_int8(int8)}"] if isinstance(int8, dict) else []),
            *([] if curve is None else [describe_learning_curve(curve)]),
            "",
            f"classifier  {run.bundle}",
            f"report      {run.evaluation(part) / 'report.html'}",
            f"figures     {run.evaluation(part)}{curves}",
            f"use it      {shell_command('predict', run.bundle, _example_image(result))}",
        ]
    )


def _example_image(result: "TrainResult") -> Path | str:
    """Return an example photo, or a placeholder if the photos are not files."""
    judged = result.dataset.part(result.reported_split)
    return next((sample.path for sample in judged if sample.is_file), "PHOTO")


def _profile_table(path: Path) -> str:
    import json

    from assay.core.text_layout import align_columns, format_percent

    profile = json.loads(path.read_text(encoding="utf-8"))
    total = sum(profile["seconds"].values())
    rows = [["stage", "seconds", "share"]]
    rows += [[name, f"{seconds:.2f}", format_percent(seconds / total)] for name, seconds in profile["seconds"].items()]
    rows += [
        [f"in worker processes: {name}", f"{seconds:.2f}", ""] for name, seconds in profile["preparing_photos"].items()
    ]
    return align_columns(rows)


def _find_lr(data: Path, recipe: "Recipe", folder: Path, progress: "Progress") -> None:
    from assay.pipeline import suggest_learning_rate

    picture = folder.with_suffix(".png") if folder.suffix else folder.with_name(f"{folder.name}-lr.png")
    finding = suggest_learning_rate(data, recipe, picture, progress)
    echo(f"suggestion: --set train.lr={finding.suggestion:.2g}", f"curve: {picture}")
