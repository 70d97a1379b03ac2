"""Labelled data for a finished classifier: its class mapping.

Overlap with the images it was trained on.

Needs no torch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from assay.bundle import BundleInfo
from assay.core.errors import AssayError
from assay.data import Dataset, Sample, read_manifest
from assay.data.dataset import ClassMapping
from assay.data.loading import list_source
from assay.inference import Classifier
from assay.pipeline.run_folder import Run
from assay.recipe import Layout, Recipe


def class_mapping_for(info: BundleInfo, data: Path, layout: Layout = "auto") -> ClassMapping | None:
    """Return the class mapping with which data are to be read for a classifier.

    Args:
        info: what its bundle says; the recipe may map labels (CIFAR-10's ten to vehicle and animal).
        data: labelled photos.
        layout: what the folders in a folder are.

    Returns:
        The recipe's mapping; None where it has none, or where the data are labelled with the classes.

    Raises:
        AssayError: the data cannot be read.
    """
    mapping = Recipe.model_validate(info.provenance.recipe).data.class_mapping
    if mapping is None or set(list_source(data, layout).labels) <= set(info.classes):
        return None
    return mapping


def check_training_overlap(classifier: Classifier, dataset: Dataset, samples: Sequence[Sample]) -> str:
    """Say why a finished classifier's numbers on some photos may be too good; empty where nothing does."""
    run = find_run(classifier)
    return overlap_warning(classifier, dataset, samples, () if run is None else training_samples(run))


def overlap_warning(
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


def find_run(classifier: Classifier) -> Run | None:
    """Return the run in whose folder the bundle still lies; none if it was moved or the run is not whole."""
    if classifier.bundle is None:
        return None
    try:
        run = Run.open(Path(classifier.bundle.path).parent)
    except AssayError:
        return None
    return run if run.done and run.manifest.is_file() else None


def training_samples(run: Run) -> tuple[Sample, ...]:
    """Return the photos that a run learned from."""
    return read_manifest(run.manifest, run.classes).part("train")
