"""Whether photos that a classifier is judged on are among those it learned from. Needs no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from assay.data import Dataset, Sample, read_manifest
from assay.errors import AssayError
from assay.inference import Classifier
from assay.workflow.run import Run


def cautioned(classifier: Classifier, dataset: Dataset, samples: Sequence[Sample]) -> str:
    """Say why a finished classifier's numbers on some photos may be too good; empty where nothing does."""
    run = run_of(classifier)
    return caution(classifier, dataset, samples, () if run is None else taught_by(run))


def caution(
    classifier: Classifier, dataset: Dataset, samples: Sequence[Sample], taught: Iterable[Sample]
) -> str:
    """Say why the numbers may be too good, as far as can be known.

    Args:
        classifier: the one judged.
        dataset: the photos' data set.
        samples: the photos it was judged on.
        taught: the photos it learned from, where they are known.

    Returns:
        A sentence; empty where nothing speaks against the numbers.
    """
    known = {sample.digest for sample in taught} - {None}
    count = sum(sample.digest in known for sample in samples)
    too_good = "the numbers are better than they will be for new photos."
    if count:
        return f"{count:,} of these {len(samples):,} photos taught the classifier, so {too_good}"
    if not known and dataset.fingerprint == classifier.info.provenance.data:
        parts = {sample.split for sample in samples}
        if "train" in parts or None in parts:
            return f"these are the very photos that the classifier was made from, so {too_good}"
    return ""


def run_of(classifier: Classifier) -> Run | None:
    """Return the run in whose folder the bundle still lies; none if it was moved or the run is not whole."""
    if classifier.bundle is None:
        return None
    try:
        run = Run.open(Path(classifier.bundle.path).parent)
    except AssayError:
        return None
    return run if run.done and run.manifest.is_file() else None


def taught_by(run: Run) -> tuple[Sample, ...]:
    """Return the photos that a run learned from."""
    return read_manifest(run.manifest, run.classes).part("train")
