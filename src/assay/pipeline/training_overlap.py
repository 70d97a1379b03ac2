"""Whether images to evaluate on were used to train the classifier; also the class mapping of its recipe.

Needs no torch.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from assay.bundle import Bundle, BundleInfo
from assay.core.errors import AssayError
from assay.core.text_layout import counted
from assay.data import Dataset, Sample, Split, read_manifest
from assay.data.dataset import ClassMapping
from assay.data.loading import list_source
from assay.inference import Classifier
from assay.pipeline.run_folder import SPLIT_TITLES, Run
from assay.recipe import Layout, Recipe


def class_mapping_for(info: BundleInfo, data: Path, layout: Layout = "auto") -> ClassMapping | None:
    """Return the class mapping of a classifier's recipe, unless the data is labelled with its classes.

    Args:
        info: of the bundle.
        data: labelled images.
        layout: how folders are interpreted.

    Raises:
        AssayError: the data cannot be read.
    """
    mapping = Recipe.model_validate(info.provenance.recipe).data.class_mapping
    if mapping is None or set(list_source(data, layout).labels) <= set(info.classes):
        return None
    return mapping


def find_run(classifier: Classifier) -> Run | None:
    """Return the run whose folder holds the bundle; None if the bundle was moved or the run is incomplete."""
    if classifier.bundle is None:
        return None
    try:
        run = Run.open(Path(classifier.bundle.path).parent)
    except AssayError:
        return None
    return run if run.done and run.manifest.is_file() else None


def uses_validation_images(info: BundleInfo) -> bool:
    """Whether a classifier was also trained on the validation split, and calibrated by cross-validation."""
    confidence = info.metrics.get("confidence")
    return isinstance(confidence, dict) and confidence.get("cross_validated") is True


def is_cross_validated(run: Run) -> bool:
    """Whether the classifier of a run uses validation images as above; False if its bundle cannot be read."""
    try:
        return uses_validation_images(Bundle.open(run.bundle).info)
    except (AssayError, OSError):
        return False


def split_title(run: Run, split: Split) -> str:
    """Return the name of a split's images in texts; `held-out` for `val` of a run that is cross-validated."""
    return "held-out" if split == "val" and is_cross_validated(run) else SPLIT_TITLES[split]


def training_samples(run: Run | None, info: BundleInfo) -> tuple[Sample, ...]:
    """Return the images that the classifier of a run was trained on; none without a run.

    Args:
        run: see `find_run`.
        info: of its bundle.
    """
    if run is None:
        return ()
    dataset = read_manifest(run.manifest, run.classes)
    return (*dataset.part("train"), *(dataset.part("val") if uses_validation_images(info) else ()))


def overlap_warning(
    classifier: Classifier, dataset: Dataset, samples: Sequence[Sample], trained_on: Iterable[Sample]
) -> str:
    """Return a warning if images to evaluate on are known to have been used for training.

    Args:
        classifier: to be evaluated.
        dataset: the images' dataset.
        samples: the images to evaluate on.
        trained_on: see `training_samples`.

    Returns:
        A sentence; empty without a known overlap.
    """
    known = {sample.digest for sample in trained_on} - {None}
    count = sum(sample.digest in known for sample in samples)
    optimistic = "so the metrics are higher than for new photos"
    if count:
        used = "was" if count == 1 else "were"
        return f"{count:,} of these {counted(len(samples), 'photo')} {used} used for training, {optimistic}."
    if not known and dataset.fingerprint == classifier.info.provenance.data:
        splits = {sample.split for sample in samples}
        if "train" in splits or None in splits or ("val" in splits and uses_validation_images(classifier.info)):
            return f"these photos include those that the classifier was trained on, {optimistic}."
    return ""
