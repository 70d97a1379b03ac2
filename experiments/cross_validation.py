"""Rows of results from cross-validations: metrics of the held-out images, joined over the folds of each repeat."""

from collections.abc import Callable, Mapping

from result_file import Row, accuracy_interval, balanced_accuracy, mean_and_std
from runs import duration

from assay.evaluation import Predictions
from assay.pipeline import CrossvalResult
from assay.pipeline.experiment_tables import out_of_fold


def held_out_predictions(result: CrossvalResult) -> list[Predictions]:
    """Return the out-of-fold predictions of every repeat: each image is predicted once per repeat."""
    repeats = sorted({run.repeat for run in result.runs})
    return [
        out_of_fold([run.run for run in result.runs if run.repeat == repeat], result.held_out) for repeat in repeats
    ]


def multiclass_metrics(predictions: Predictions) -> dict[str, float]:
    """Return accuracy and balanced accuracy."""
    return {"accuracy": float(predictions.correct.mean()), "balanced_accuracy": balanced_accuracy(predictions)}


def crossval_row(
    name: str,
    recipe: str,
    split: str,
    result: CrossvalResult,
    measure: Callable[[Predictions], Mapping[str, float]] = multiclass_metrics,
) -> Row:
    """Return the metrics of a finished cross-validation.

    Args:
        name: of the method.
        recipe: recipe and overrides.
        split: how images were assigned to folds.
        result: of the cross-validation.
        measure: metrics of the out-of-fold predictions of one repeat; mean and deviation are over repeats.
    """
    repeats = held_out_predictions(result)
    measured = [measure(predictions) for predictions in repeats]
    folds = max(run.fold for run in result.runs)
    seconds = duration(result.folder)
    metrics = {key: mean_and_std(found[key] for found in measured) for key in measured[0]}
    metrics["fold_accuracy"] = mean_and_std(run.metrics[result.held_out].accuracy for run in result.runs)
    return Row(
        name=name,
        recipe=recipe,
        protocol=f"{split}, {folds}-fold, {len(repeats)} repeats",
        seeds=sorted({run.run.recipe().train.seed for run in result.runs}),
        runs=len(result.runs),
        planned=len(result.runs),
        photos=len(repeats[0]),
        metrics=metrics,
        interval=accuracy_interval(repeats[0]),
        wall_seconds=seconds.wall,
        cpu_seconds=seconds.cpu,
    )
