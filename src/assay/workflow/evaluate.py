"""A finished classifier judged on labelled photos that it may never have met."""

from dataclasses import dataclass
from pathlib import Path

from assay.data import Dataset, DataSource, as_path, scan
from assay.data.samples import Split
from assay.errors import UsageError
from assay.evaluation import Metrics, Selection, evaluate, write_evaluation
from assay.inference import Classifier, PrecisionChoice
from assay.progress import Progress, silent
from assay.recipe import Layout, Recipe
from assay.tables import write_json
from assay.workflow.confidence import Assessment, assess, choose_again
from assay.workflow.judge import judge
from assay.workflow.mapping import mapping_for
from assay.workflow.report import report_evaluation
from assay.workflow.shown import CONFUSION, show_evaluation
from assay.workflow.taught import cautioned


@dataclass(frozen=True)
class EvaluateResult:
    """What an evaluation gave."""

    folder: Path
    dataset: Dataset
    metrics: Metrics
    files: dict[str, Path]
    """What was written, by name."""
    confidence: Assessment
    """Whether the confidence is honest, and how many photos are answered how well."""
    runs: str
    """The runtime and the precision that answered."""
    selection: Selection | None = None
    """The threshold for another target precision, where one was wanted."""
    caution: str = ""
    """Why the figures may be too good: photos that taught are among those judged; else empty."""

    def _repr_html_(self) -> str:
        return show_evaluation(
            f"judged on {self.dataset.root.name}", self.metrics, (self.folder / CONFUSION,)
        )


def evaluate_classifier(
    model: Path,
    data: DataSource,
    folder: Path,
    *,
    part: Split | None = None,
    layout: Layout = "auto",
    engine: str = "auto",
    precision: PrecisionChoice = "auto",
    threads: int | None = None,
    target_precision: float | None = None,
    progress: Progress = silent,
) -> EvaluateResult:
    """Judge a bundle on labelled photos and write figures and pictures.

    Labels that the classifier's recipe maps (CIFAR-10's ten to vehicle and animal) are mapped here too.

    Args:
        model: the bundle.
        data: what `assay.data.scan` reads; or rows of the `datasets` library, which are written as files
            beside `folder`.
        folder: where to write; files of an earlier evaluation there are replaced.
        part: only photos of this part; none: all.
        layout: what the folders in a folder are.
        engine: which runtime predicts.
        precision: fp32, bf16, int8, or auto: what the bundle is meant to answer with.
        threads: processors to use; none: all that this process may.
        target_precision: share of the answers that shall be right; the threshold for it is chosen anew from
            what the bundle knows of its validation photos, and the bundle stays as it is. none: its own.
        progress: told how things go on.

    Raises:
        AssayError: model or data cannot be read, or a label is none of the classifier's.
        UsageError: no photo is in `part`, or the bundle cannot choose another threshold.
    """
    source = as_path(data, folder.parent, progress)
    classifier = Classifier.load(model, engine=engine, precision=precision, threads=threads)
    selection = None if target_precision is None else choose_again(classifier, target_precision)
    recipe = Recipe.model_validate(classifier.info.provenance.recipe)
    mapping = mapping_for(classifier.info, source, layout)
    dataset = scan(
        source,
        mapping=mapping,
        classes=classifier.classes,
        layout=layout,
        value_range=classifier.preprocess.spec.value_range,
        progress=progress,
    )
    samples = dataset.samples if part is None else dataset.part(part)
    if not samples:
        raise UsageError(f"{source} has no photos in the part {part}: leave out --part to judge all")
    predictions = judge(classifier, dataset, samples, progress)
    metrics = evaluate(predictions, recipe.data.positive)
    files = write_evaluation(folder, predictions, metrics, progress=progress)
    least = None if selection is None else selection.threshold
    files["page"] = report_evaluation(
        folder, classifier, dataset, predictions, metrics, threshold=least, progress=progress
    )
    confidence = assess(classifier, predictions, least)
    files["confidence"] = folder / "confidence.json"
    write_json(files["confidence"], confidence.to_dict())
    warning = cautioned(classifier, dataset, samples)
    return EvaluateResult(folder, dataset, metrics, files, confidence, classifier.runs, selection, warning)
