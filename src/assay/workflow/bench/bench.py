"""Every engine and precision measured on this machine, in rounds, each time in a fresh process.

Rounds take the combinations in turn, so that a machine that slows down slows all of them. Needs no torch.
"""

from collections.abc import Callable
from pathlib import Path

from assay.bundle import Bundle
from assay.data import Dataset, scan
from assay.errors import UsageError
from assay.inference import Classifier
from assay.inference.choice import usual_engine
from assay.inference.cpus import bf16_instructions
from assay.progress import Progress, silent
from assay.recipe import Layout
from assay.temporary import temporary_folder
from assay.workflow.bench.accuracy import count_right
from assay.workflow.bench.machine import load_average, machine
from assay.workflow.bench.photos import DRAWN, drawn_photo, sample_photos
from assay.workflow.bench.result import Accuracy, BenchResult, Combination, Row
from assay.workflow.bench.trial import Trial, TrialError, run_trial
from assay.workflow.bench.worker import Job
from assay.workflow.mapping import mapping_for
from assay.workflow.taught import cautioned

ROUNDS = 3
"""How often every combination is measured where time allows."""

_SHORTEST = 2.0  # seconds a trial, below which rounds are given up instead


def bench_model(
    model: Path,
    data: Path | None = None,
    *,
    layout: Layout = "auto",
    seconds: float = 60.0,
    progress: Progress = silent,
    trial: Callable[[Job], Trial] = run_trial,
) -> BenchResult:
    """Measure a bundle with every engine and precision that is here.

    Args:
        model: the bundle.
        data: labelled photos, as `assay.data.scan` reads them: accuracy is counted on all of them, and the
            time from file to answer is measured on some. None: on one that is drawn.
        layout: what the folders in a folder are.
        seconds: about how long to measure; start-up of the processes and accuracy come on top.
        progress: told how things go on.
        trial: measures one combination once.

    Raises:
        BundleError: the bundle cannot be read.
        AssayError: the data cannot be read, or has labels that the classifier does not know.
        UsageError: `seconds` is not above 0.
    """
    if not seconds > 0:
        raise UsageError(f"--seconds is {seconds:g}: give more than 0")
    bundle = Bundle.open(model)
    dataset = (
        None
        if data is None
        else scan(
            data,
            mapping=mapping_for(bundle.info, data, layout),
            classes=bundle.info.classes,
            layout=layout,
            value_range=bundle.info.preprocess.value_range,
            progress=progress,
        )
    )
    combinations = [Combination(name, one) for one in bundle.precisions for name in usual_engine()]
    if "openvino" in usual_engine() and bf16_instructions():
        combinations.append(Combination("openvino", "bf16"))
    before = load_average()
    with temporary_folder("assay-bench") as scratch:
        photos = _photos(dataset, scratch)
        names = [str(photo) for photo in photos]
        rows = _measure(
            combinations,
            seconds,
            lambda one, share: trial(Job(str(model), one.engine, one.precision, names, share)),
            progress,
        )
    after = load_average()
    accuracies, caution = _judged(model, rows, dataset, progress)
    told = DRAWN if dataset is None else f"{len(photos)} photos of {data}"
    return BenchResult(
        name=bundle.info.name,
        version=bundle.info.version,
        size=bundle.info.preprocess.size,
        photos=told,
        caution=caution,
        judged=max((one.photos for one in accuracies.values()), default=0),
        rounds=max(len(row.trials) for row in rows),
        machine=machine(),
        load=(before, after),
        rows=tuple(
            Row(row.combination, row.trials, accuracies.get(row.combination), row.error) for row in rows
        ),
    )


def _photos(dataset: Dataset | None, folder: Path) -> list[Path]:
    if dataset is not None:
        return sample_photos(dataset.samples, folder)
    path = folder / "drawn.jpg"
    path.write_bytes(drawn_photo())
    return [path]


def _measure(
    combinations: list[Combination],
    seconds: float,
    measure: Callable[[Combination, float], Trial],
    progress: Progress,
) -> list[Row]:
    """Measure every combination once a round; one that fails is not tried again."""
    rounds = max(1, min(ROUNDS, int(seconds / len(combinations) / _SHORTEST)))
    share = seconds / rounds / len(combinations)
    trials: dict[Combination, list[Trial]] = {one: [] for one in combinations}
    errors: dict[Combination, str] = {}
    # There and back, so that none always comes after the same other.
    turns = [one for number in range(rounds) for one in combinations[:: 1 if number % 2 == 0 else -1]]
    for done, one in enumerate(turns):
        progress("measuring", done, len(turns))
        if one in errors:
            continue
        try:
            trials[one].append(measure(one, share))
        except TrialError as error:
            errors[one] = str(error)
    progress("measuring", len(turns), len(turns))
    return [
        Row(one, () if one in errors else tuple(trials[one]), error=errors.get(one)) for one in combinations
    ]


def _judged(
    model: Path, rows: list[Row], dataset: Dataset | None, progress: Progress
) -> tuple[dict[Combination, Accuracy], str]:
    """Count right answers, and say why there may be too many."""
    classifiers = {
        row.combination: Classifier.load(
            model, row.combination.engine, precision=row.combination.precision, abstain=False
        )
        for row in rows
        if row.trials and dataset is not None
    }
    if dataset is None or not classifiers:
        return {}, ""
    caution = cautioned(next(iter(classifiers.values())), dataset, dataset.samples)
    return count_right(classifiers, dataset, progress), caution
