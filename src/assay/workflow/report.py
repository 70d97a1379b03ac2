"""The report of a run or of an evaluation: what stands around the predictions is gathered, the page written.

Everything is read from what a run leaves behind, so that a report can be written anew at any time.
"""

import threading
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

from assay.data import SPLITS, Dataset, Sample, Split
from assay.errors import AssayError
from assay.evaluation import Metrics, Predictions, evaluate
from assay.evaluation.report import Epoch, ReportContext, write_report
from assay.evaluation.report.album import spread
from assay.evaluation.report.context import Heatmap, Read
from assay.evaluation.report.gallery import LARGE
from assay.inference import Classifier
from assay.progress import Progress, silent
from assay.recipe import Recipe, dump_recipe
from assay.training import History, read_metrics
from assay.workflow.confidence import assess
from assay.workflow.explain import explainer
from assay.workflow.judge import judge
from assay.workflow.origin import PARTS, data_findings, oddities, provenance, split_sentence
from assay.workflow.run import Run
from assay.workflow.taught import caution, run_of, taught_by

KNOWN = 1_000
"""Training photos among which the nearest ones are looked for; of more, an even sample."""

EMBEDDINGS = "embeddings.npz"
"""In the evaluation of the training part: predictions on some of its photos, with embeddings."""


def report_run(
    run: Run, dataset: Dataset, part: Split, history: History | None = None, progress: Progress = silent
) -> Path:
    """Write the report of a finished run beside the evaluation of one part.

    Args:
        run: its bundle is written and the part is judged.
        dataset: the run's photos with their parts.
        part: the photos to report on.
        history: of the training; none: read from the run.
        progress: told how things go on.

    Returns:
        The path of the page.

    Raises:
        AssayError: a file of the run cannot be read.
    """
    classifier, recipe = Classifier.load(run.bundle), run.recipe()
    predictions = Predictions.load(run.evaluation(part) / "predictions.npz")
    said = (
        "these validation photos also chose the weights and set the confidence, for there is no test part."
        if part == "val"
        else ""
    )
    findings, brought = data_findings(run.data, recipe, progress)
    context = ReportContext(
        title=classifier.info.name,
        part=PARTS[part],
        caution=said,
        history=_history(run),
        best_epoch=0 if history is None else history.best_epoch,
        temperature=classifier.info.temperature,
        threshold=classifier.info.thresholds.get("confidence"),
        answered=assess(classifier, predictions).answered,
        training=_training(run, classifier, dataset, progress),
        read=_reader(dataset.samples),
        heatmap=_heatmap(classifier),
        findings=None if findings is None else [*findings, *oddities(dataset)],
        parts={name: dataset.counts(name) for name in SPLITS if dataset.part(name)},
        split=split_sentence(dataset, recipe, brought=brought),
        provenance=provenance(classifier, run.data),
        settings=dump_recipe(recipe),
    )
    metrics = evaluate(predictions, recipe.data.positive)
    return write_report(run.evaluation(part), predictions, metrics, context, progress)


def report_evaluation(
    folder: Path,
    classifier: Classifier,
    dataset: Dataset,
    predictions: Predictions,
    metrics: Metrics,
    *,
    threshold: float | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the report of a finished classifier on labelled photos.

    Where the bundle still lies in the folder of its run, the course of the training and the nearest training
    photos are told too, and a caution where photos that taught are among those judged.

    Args:
        folder: where to.
        classifier: as `Classifier.load` gives it.
        dataset: the photos' data set.
        predictions: of the photos judged, all of the data set or some.
        metrics: counted on them.
        threshold: least confidence that is answered; none: the bundle's.
        progress: told how things go on.

    Returns:
        The path of the page.
    """
    info, run = classifier.info, run_of(classifier)
    least = info.thresholds.get("confidence") if threshold is None else threshold
    judged = {sample.id: sample for sample in dataset.samples}
    samples = [judged[name] for name in predictions.ids]
    taught = () if run is None else taught_by(run)
    known = None if run is None else run.evaluation("train") / EMBEDDINGS
    parts = {sample.split for sample in samples}
    part = parts.pop() if len(parts) == 1 else None
    context = ReportContext(
        title=info.name,
        part="" if part is None else PARTS[part],
        caution=caution(classifier, dataset, samples, taught),
        history=() if run is None else _history(run),
        temperature=info.temperature,
        threshold=least,
        answered=assess(classifier, predictions, least).answered,
        training=Predictions.load(known) if known is not None and known.is_file() else None,
        read=_reader([*samples, *taught]),
        heatmap=_heatmap(classifier),
        findings=oddities(dataset) or None,
        parts=info.provenance.photos,
        split="The classifier was made from these photos:" if info.provenance.photos else "",
        provenance=provenance(classifier, dataset.root),
        settings=dump_recipe(Recipe.model_validate(info.provenance.recipe)),
    )
    return write_report(folder, predictions, metrics, context, progress)


def _training(run: Run, classifier: Classifier, dataset: Dataset, progress: Progress) -> Predictions:
    """Judge some training photos for the sake of their embeddings, unless calibration has done so."""
    kept = run.evaluation("train") / EMBEDDINGS
    if kept.is_file():
        return Predictions.load(kept)
    predictions = judge(classifier, dataset, spread(dataset.part("train"), KNOWN), progress)
    predictions.save(kept)
    return predictions


def _history(run: Run) -> tuple[Epoch, ...]:
    path = run.folder / "metrics.csv"
    rows = read_metrics(path) if path.is_file() else ()
    return tuple(
        Epoch(row.epoch, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy) for row in rows
    )


def _reader(samples: Iterable[Sample]) -> Read:
    known = {(sample.id, str(sample.path)): sample for sample in samples}
    return lambda name, path: known[name, path].read()


def _heatmap(classifier: Classifier) -> Heatmap | None:
    try:
        explain = explainer(classifier)
    except AssayError:
        return None  # a head that cannot be made anew: the page does without heat maps
    gradients = nullcontext() if classifier.head is not None else threading.Lock()

    def heatmap(data: bytes, place: int) -> bytes | None:
        with gradients:
            return explain(data, classifier.classes[place]).png(LARGE)

    return heatmap
