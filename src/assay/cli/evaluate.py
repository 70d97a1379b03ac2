"""`assay evaluate`: evaluate a classifier on labelled images."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from assay.cli.console import echo, echo_text
from assay.cli.options import EngineOption, LayoutOption, Precision, PrecisionOption, ThreadsOption


class Split(StrEnum):
    """The split to evaluate on."""

    train = "train"
    val = "val"
    test = "test"


def evaluate(
    model: Annotated[Path, typer.Argument(help="A .assay file.")],
    data: Annotated[Path, typer.Argument(help="Labelled photos: a folder with class folders, or a manifest.")],
    *,
    split: Annotated[Split | None, typer.Option(help="Evaluate only the photos of this split.")] = None,
    layout: LayoutOption = None,
    out: Annotated[Path | None, typer.Option(help="Output folder. (default: evaluation-N)")] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(help="Evaluate with the confidence threshold for this precision instead of the model's own."),
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = Precision.auto,
    threads: ThreadsOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Evaluate a classifier on labelled images; write metrics, figures and misclassified images.

    Example: assay evaluate model.assay photos/
    """
    from assay.cli.console import print_json, progress_bars
    from assay.cli.training_output import describe_abstention, describe_metrics
    from assay.core.errors import UsageError
    from assay.pipeline import evaluate_classifier, result_folder

    if out is not None and (out / "run.json").exists():
        raise UsageError(f"{out} is a run folder, which must not be overwritten: choose another --out")
    with progress_bars() as progress, result_folder(out, Path(), "evaluation") as folder:
        result = evaluate_classifier(
            model,
            data,
            folder,
            split=None if split is None else split.value,
            layout="auto" if layout is None else layout.value,
            target_precision=target_precision,
            engine=engine,
            precision=precision.value,
            threads=threads,
            progress=progress,
        )
    if json:
        figures = {"metrics": result.metrics.to_dict(), "confidence": result.confidence.to_dict()}
        chosen = None if result.selection is None else result.selection.to_dict()
        run = {"folder": str(folder), "runtime": result.runtime, "caution": result.caution}
        print_json({**run, **figures, "selection": chosen})
        return
    for name in ("report", "confusion_text"):
        echo_text(result.files[name].read_text(encoding="utf-8").rstrip() + "\n")
    echo_text(describe_metrics(result.metrics, f"{data}"))
    if (answered := result.confidence.answered) is not None:
        echo_text(describe_abstention(answered, result.confidence.threshold, result.selection))
    if result.caution:
        echo(f"warning     {result.caution}", colour="yellow")
    echo(f"engine      {result.runtime}")
    echo(f"report      {result.files['page']}")
    echo(f"figures     {folder}")
