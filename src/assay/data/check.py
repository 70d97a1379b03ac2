"""Check a labelled data set: read every file once and report problems."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.core.text_layout import counted, join_names
from assay.data.check_result import CheckReport, Finding, FindingEntry, FindingKind, Severity, one_per_group
from assay.data.check_rules import duplicate_findings, finding_entry, image_findings
from assay.data.class_folders import Listing
from assay.data.dataset import UnreadableFile, map_labels, natural_key
from assay.data.image_feature_cache import open_feature_store
from assay.data.image_scan import (
    CONVERT_ADVICE,
    FILE_NOT_FOUND,
    VALUE_RANGE_ADVICE,
    ScannedImage,
    ScanResult,
    describe_values,
    scan_images,
    value_range_conflict,
)
from assay.data.loading import build_dataset, list_source, split_for_training
from assay.data.near_duplicates import MAX_GROUP_SHARE, NearDuplicates, find_near_duplicates
from assay.image.pixel_conversion import UINT8, ValueEncoding
from assay.recipe import DataSpec

_FIX_STEPS: Final = (
    (FILE_NOT_FOUND, "Correct the paths of those that do not exist: they are relative to the table's folder."),
    ("Permission denied", "Allow reading where permission is denied."),
    ("not valid Unicode", "Rename files whose names are not valid Unicode."),
    ("unsupported", "Convert the unsupported ones as their reasons say."),
)
"""Advice for files that cannot be read, by reason."""
MAX_CLASS_RATIO: Final = 10
"""Largest allowed ratio of the largest to the smallest class."""

_DIM_BRIGHTNESS: Final = 20
"""95th percentile of gray below which deep images seem to use fewer bits than their type: 16 is 12 bits."""

_DEFAULT: Final = DataSpec()
_SEVERITY_ORDER: Final = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class _ClassCounts:
    by_label: dict[str, int]
    advised: int


def check(
    path: str | Path,
    *,
    spec: DataSpec = _DEFAULT,
    seed: int = 0,
    mirrored: bool = False,
    bursts: bool = True,
    max_group_share: float = MAX_GROUP_SHARE,
    value_range: tuple[float, float] | None = None,
    cache: Path | None = None,
    digests: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> CheckReport:
    """Find problems in a labelled data set; every file is read once.

    Args:
        path: as for `scan`: class folders, train/val/test folders, a manifest, an array file.
        spec: data settings of the recipe. With a class mapping, label conflicts are those between new classes.
        seed: seed of the recipe, for the split.
        mirrored: also treat mirrored copies as duplicates.
        bursts: look for bursts.
        max_group_share: share of the data, 0-1, above which a group of similar images needs a higher similarity.
        value_range: the recipe's `preprocess.value_range`.
        cache: folder of the feature cache; None: the default folder.
        digests: SHA-256 by sample id of files that this process has already read; see `scan_images`.
        progress: called while files are read and compared.

    Raises:
        UsageError: `path` does not exist or is not a data set.
        AssayError: the folder or manifest is invalid.
    """
    listing = list_source(Path(path), spec.layout)
    mapping = spec.class_mapping
    samples = listing.samples if mapping is None else map_labels(listing.samples, mapping)
    with open_feature_store(cache) as store:
        seen = scan_images(samples, store, progress, value_range, digests=digests)
        alike = find_near_duplicates(
            seen.images,
            store,
            mirrored=mirrored,
            bursts=bursts,
            max_group_share=max_group_share,
            progress=progress,
        )
        # Use the duplicates that training would find, independent of the options here.
        usual = (mirrored, bursts, max_group_share) == (False, True, MAX_GROUP_SHARE)
        trained = alike if usual else find_near_duplicates(seen.images, store, progress=progress)
    labels = listing.labels if mapping is None else list(mapping)
    counts = _ClassCounts(_count_by_label(labels, seen.images), spec.min_images_per_class)
    training = _training_findings(Path(path), listing, seen, trained, spec=spec, seed=seed, value_range=value_range)
    values = _value_range_finding(seen.images, seen.refused, value_range)
    return _report(listing, seen, alike, counts, training=training, values=values)


def _training_findings(
    path: Path,
    listing: Listing,
    seen: ScanResult,
    alike: NearDuplicates,
    *,
    spec: DataSpec,
    seed: int,
    value_range: tuple[float, float] | None,
) -> list[Finding]:
    """Return the error or warnings that training would give for these images."""
    try:
        dataset = build_dataset(path, listing, seen.verified(), spec.class_mapping, value_range=value_range)
        ready = split_for_training(dataset, alike.id_groups(seen.images), spec, seed)
    except AssayError as error:
        return [
            Finding(
                FindingKind.training,
                Severity.error,
                f"cannot be trained on: {error}",
                "Change this first: assay train stops with the same sentence.",
            )
        ]
    if warnings := [sentence for sentence in ready.warnings if sentence not in listing.warnings]:
        return [
            Finding(
                FindingKind.training,
                Severity.warning,
                "; ".join(warnings),
                "See that this is what was meant; assay train says the same.",
            )
        ]
    return []


def _report(
    listing: Listing,
    seen: ScanResult,
    alike: NearDuplicates,
    counts: _ClassCounts,
    *,
    training: list[Finding],
    values: Finding | None,
) -> CheckReport:
    classes = _class_findings(counts)
    if any(finding.kind is FindingKind.empty_class for finding in classes):
        # Training stops for this reason; report it only once.
        training = []
    findings = [
        *_unreadable_findings([*listing.unreadable, *seen.unreadable]),
        *training,
        *duplicate_findings(seen.images, alike, enough=not training),
        *classes,
        *image_findings(seen.images),
        *([] if values is None else [values]),
        *_listing_findings(listing),
    ]
    splits = Counter(photo.sample.split for photo in seen.images if photo.sample.split)
    return CheckReport(
        root=listing.root,
        photos=len(seen.images),
        classes=counts.by_label,
        splits={str(split): count for split, count in splits.items()},
        findings=tuple(sorted(findings, key=lambda finding: _SEVERITY_ORDER[finding.severity])),
        skipped=dict(sorted((listing.skipped + seen.skipped).items())),
        groups=tuple(alike.id_groups(seen.images)),
        samples=tuple(photo.sample for photo in seen.images),
        features={photo.sample.id: photo.features for photo in seen.images},
    )


def _count_by_label(labels: list[str], photos: list[ScannedImage]) -> dict[str, int]:
    seen = Counter(photo.sample.label for photo in photos)
    return {label: seen[label] for label in sorted({*labels, *seen}, key=natural_key)}


def _unreadable_findings(unreadable: list[UnreadableFile]) -> list[Finding]:
    if not unreadable:
        return []
    return [
        Finding(
            FindingKind.unreadable,
            Severity.error,
            f"{counted(len(unreadable), 'photo')} cannot be read",
            _unreadable_advice(unreadable),
            one_per_group(FindingEntry(file.id, note=file.reason) for file in unreadable),
        )
    ]


def _unreadable_advice(unreadable: list[UnreadableFile]) -> str:
    left = [file.reason for file in unreadable]
    steps = []
    for kind, step in _FIX_STEPS:
        if any(kind in reason for reason in left):
            steps.append(step)
            left = [reason for reason in left if kind not in reason]
    if left:
        steps.append("Replace the damaged ones by undamaged copies, or delete them.")
    return " ".join([*steps, "--write leaves them out."])


def _class_findings(counts: _ClassCounts) -> list[Finding]:
    findings = []
    present = {label: count for label, count in counts.by_label.items() if count}
    if empty := [label for label in counts.by_label if label not in present]:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"{_quoted(empty)}: no photo that can be read",
                "Add photos or remove the folder.",
            )
        )
    if len(present) == 1:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"one class only, {_quoted(present)}",
                "Add photos of at least one other class, in a folder of their own.",
            )
        )
    if small := {label: count for label, count in present.items() if count < counts.advised}:
        findings.append(
            Finding(
                FindingKind.small_class,
                Severity.warning,
                f"small classes, of fewer than {counted(counts.advised, 'photo')}: "
                + join_names([f"{label} ({count})" for label, count in small.items()]),
                f"Collect at least {counted(counts.advised, 'photo')} a class. Until then, measure the accuracy with "
                "assay crossval: a test on so few photos is not reliable.",
            )
        )
    if present and max(present.values()) > MAX_CLASS_RATIO * min(present.values()):
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        findings.append(
            Finding(
                FindingKind.imbalance,
                Severity.warning,
                f"{most} has {present[most]} photos, {least} {present[least]}",
                "Collect more of the rare class or train with class weights, and judge by balanced accuracy.",
            )
        )
    return findings


def _listing_findings(listing: Listing) -> list[Finding]:
    if not listing.warnings:
        return []
    return [
        Finding(
            FindingKind.listing,
            Severity.note,
            "; ".join(listing.warnings),
            "See that this is what was meant.",
            (),
        )
    ]


def _quoted(labels: object) -> str:
    return ", ".join(repr(label) for label in labels) if isinstance(labels, list | dict) else repr(labels)


def _value_range_finding(
    photos: Sequence[ScannedImage], refused: Counter[ValueEncoding], value_range: tuple[float, float] | None
) -> Finding | None:
    """Return the finding about value ranges; None if all images have 8 bits or share one scaling rule.

    `refused` counts the types and ranges that training refuses.
    """
    deep = [photo for photo in photos if photo.features.value_type != UINT8.type]
    if not deep and not refused:
        return None
    types = Counter(photo.features.values for photo in photos) + refused
    groups = one_per_group(finding_entry(photo, str(photo.features.values)) for photo in deep)
    several = "several types or ranges" if len(types) > 1 else "more than 8 bits"
    title = f"values of {several}: {describe_values(types)}"
    if refused:
        advice = "Set preprocess.value_range: [black, white] for those refused, or convert them to 8 bits."
        return Finding(FindingKind.value_range, Severity.error, title, advice, groups)
    if value_range_conflict(types, value_range):
        advice = f"Training refuses them: {CONVERT_ADVICE if value_range else VALUE_RANGE_ADVICE}."
        return Finding(FindingKind.value_range, Severity.error, title, advice, groups)
    if value_range is None and all(photo.features.bright <= _DIM_BRIGHTNESS for photo in deep):
        return Finding(
            FindingKind.value_range,
            Severity.warning,
            f"photos use little of the range of their values: {describe_values(types)}",
            "If the camera gives fewer bits, set preprocess.value_range, for 12 bits to [0, 4095].",
            groups,
        )
    if len(types) == 1:
        return None
    advice = "See that they show the same brightness: each type is scaled by its own range."
    return Finding(FindingKind.value_range, Severity.note, title, advice, groups)
