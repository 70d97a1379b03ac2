"""Collect what the evaluation report shows besides predictions.

Write the report of a run or an evaluation.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.data import SPLITS, Dataset, Sample, Split
from assay.data.check import check
from assay.data.check_findings import FindingKind
from assay.evaluation import Metrics, Predictions, compute_metrics
from assay.evaluation.predictions import ReadImage, evenly_spaced
from assay.evaluation.report import EpochMetrics, MakeHeatmap, ReportContext, ReportFinding, write_report
from assay.evaluation.report.thumbnails import LARGE
from assay.inference import Classifier
from assay.pipeline.evaluation_data import find_run, overlap_warning, training_samples
from assay.pipeline.explain import create_explainer
from assay.pipeline.predict_dataset import measure_confidence, predict_dataset
from assay.pipeline.run_folder import Run
from assay.recipe import Recipe, SplitSpec, dump_recipe
from assay.training import History, read_metrics

SPLIT_TITLES: Mapping[Split, str] = {"train": "training", "val": "validation", "test": "test"}
"""What people call the parts."""


def audit_findings(
    source: Path, recipe: Recipe, dataset: Dataset, progress: Progress = no_progress
) -> tuple[list[ReportFinding] | None, bool]:
    """Check the data.

    Args:
        source: what was scanned.
        recipe: what it says of the data.
        dataset: the images of the run, whose files are not read again.
        progress: told while photos are opened and compared.

    Returns:
        What the check finds, none where the source can no longer be read; and whether it brings parts.
    """
    try:
        found = check(
            source,
            spec=recipe.data,
            seed=recipe.train.seed,
            value_range=recipe.preprocess.value_range,
            digests={sample.id: sample.digest for sample in dataset.samples if sample.digest},
            progress=progress,
        )
    except AssayError:
        return None, False
    rows = [
        ReportFinding(one.severity.value, one.title, one.advice, one.photos)
        for one in found.findings
        # The run knows its own warnings.
        if one.kind is not FindingKind.training
    ]
    return rows, bool(found.splits)


def scan_findings(dataset: Dataset) -> list[ReportFinding]:
    """Return what was noticed when the photos were read: those that cannot be, and warnings."""
    return [
        *(ReportFinding("warning", f"{one.id}: {one.reason}", "It was left out.") for one in dataset.unreadable),
        *(ReportFinding("note", text.rstrip(".")) for text in dataset.warnings),
    ]


def describe_split(dataset: Dataset, recipe: Recipe, *, brought: bool) -> str:
    """Tell in words how the photos were shared out.

    Args:
        dataset: with groups.
        recipe: shares, method and seed.
        brought: whether the data brings its own parts.
    """
    spec = recipe.data.split
    if brought:
        how = "The data brings its own parts, which were kept."
    else:
        shares = [f"{100 * share:.0f} % {SPLIT_TITLES[name]}" for name, share in _split_shares(spec) if share]
        how = f"Photos were shared out by chance, {', '.join(shares)}, each class in proportion (seed "
        how += f"{recipe.train.seed})."
    groups = [size for size in Counter(one.group for one in dataset.samples if one.group).values() if size > 1]
    if groups and spec.method == "grouped":
        how += (
            f" {sum(groups):,} photos that look alike or belong together form {len(groups):,} groups; each "
            "group stays in one part, so that no photo is judged whose copy was learned."
        )
    return how


def _split_shares(spec: SplitSpec) -> tuple[tuple[Split, float], ...]:
    return ("train", spec.train), ("val", spec.val), ("test", spec.test)


def report_provenance(classifier: Classifier, data: Path) -> dict[str, str]:
    """Return where a classifier comes from and what it was judged on, by name, in the order to show."""
    info = classifier.info
    origin, recipe = info.provenance, Recipe.model_validate(info.provenance.recipe)
    bundle = "" if classifier.bundle is None else str(classifier.bundle.path)
    rows = {
        "Classifier": f"{info.name}, version {info.version}",
        "What it is for": info.description,
        "File": bundle,
        "Made": origin.created,
        "Network": f"{recipe.net.name}, {recipe.train.strategy}",
        "Photos judged": str(data),
        "Fingerprint of the data": origin.data[:16],
        "Seed": str(origin.seed),
        "Runtime and precision here": classifier.runtime,
        "Libraries": ", ".join(f"{name} {version}" for name, version in origin.libraries.items()),
    }
    return {name: value for name, value in rows.items() if value}


MAX_NEIGHBOURS_POOL = 1_000
"""Training photos among which the nearest ones are looked for; of more, an even sample."""

EMBEDDINGS_FILE = "embeddings.npz"
"""In the evaluation of the training part: predictions on some of its photos, with embeddings."""


def write_run_report(
    run: Run, dataset: Dataset, part: Split, history: History | None = None, progress: Progress = no_progress
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
    findings, brought = audit_findings(run.data, recipe, dataset, progress)
    context = ReportContext(
        title=classifier.info.name,
        split_name=SPLIT_TITLES[part],
        warning=said,
        history=_history(run),
        best_epoch=0 if history is None else history.best_epoch,
        temperature=classifier.info.temperature,
        threshold=classifier.info.thresholds.get("confidence"),
        answer_counts=measure_confidence(classifier, predictions).answered,
        training_predictions=_training_predictions(run, classifier, dataset, progress),
        read_image=_reader(dataset.samples),
        make_heatmap=_heatmap(classifier),
        findings=None if findings is None else [*findings, *scan_findings(dataset)],
        split_counts={name: dataset.counts(name) for name in SPLITS if dataset.part(name)},
        split_description=describe_split(dataset, recipe, brought=brought),
        provenance=report_provenance(classifier, run.data),
        settings=dump_recipe(recipe),
    )
    metrics = compute_metrics(predictions, recipe.data.positive_class)
    return write_report(run.evaluation(part), predictions, metrics, context, progress)


def write_evaluation_report(
    folder: Path,
    classifier: Classifier,
    dataset: Dataset,
    predictions: Predictions,
    metrics: Metrics,
    *,
    threshold: float | None = None,
    progress: Progress = no_progress,
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
    info, run = classifier.info, find_run(classifier)
    least = info.thresholds.get("confidence") if threshold is None else threshold
    judged = {sample.id: sample for sample in dataset.samples}
    samples = [judged[name] for name in predictions.ids]
    taught = () if run is None else training_samples(run)
    known = None if run is None else run.evaluation("train") / EMBEDDINGS_FILE
    parts = {sample.split for sample in samples}
    part = parts.pop() if len(parts) == 1 else None
    context = ReportContext(
        title=info.name,
        split_name="" if part is None else SPLIT_TITLES[part],
        warning=overlap_warning(classifier, dataset, samples, taught),
        history=() if run is None else _history(run),
        temperature=info.temperature,
        threshold=least,
        answer_counts=measure_confidence(classifier, predictions, least).answered,
        training_predictions=Predictions.load(known) if known is not None and known.is_file() else None,
        read_image=_reader([*samples, *taught]),
        make_heatmap=_heatmap(classifier),
        findings=scan_findings(dataset) or None,
        split_counts=info.provenance.photos,
        split_description="The classifier was made from these photos:" if info.provenance.photos else "",
        provenance=report_provenance(classifier, dataset.root),
        settings=dump_recipe(Recipe.model_validate(info.provenance.recipe)),
    )
    return write_report(folder, predictions, metrics, context, progress)


def _training_predictions(run: Run, classifier: Classifier, dataset: Dataset, progress: Progress) -> Predictions:
    """Judge some training photos for the sake of their embeddings, unless calibration has done so."""
    kept = run.evaluation("train") / EMBEDDINGS_FILE
    if kept.is_file():
        return Predictions.load(kept)
    predictions = predict_dataset(
        classifier, dataset, evenly_spaced(dataset.part("train"), MAX_NEIGHBOURS_POOL), progress
    )
    predictions.save(kept)
    return predictions


def _history(run: Run) -> tuple[EpochMetrics, ...]:
    path = run.folder / "metrics.csv"
    rows = read_metrics(path) if path.is_file() else ()
    return tuple(
        EpochMetrics(row.epoch, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy) for row in rows
    )


def _reader(samples: Iterable[Sample]) -> ReadImage:
    known = {(sample.id, str(sample.path)): sample for sample in samples}
    return lambda name, path: known[name, path].read()


def _heatmap(classifier: Classifier) -> MakeHeatmap | None:
    try:
        explain = create_explainer(classifier)
    except AssayError:
        return None  # a head that cannot be made anew: the page does without heat maps
    gradients = nullcontext() if classifier.head is not None else threading.Lock()

    def heatmap(data: bytes, place: int) -> bytes | None:
        with gradients:
            return explain(data, classifier.classes[place]).png(LARGE)

    return heatmap
