"""The audit of a data set before it is trained on: one pass over the files, then one finding a rule.

Unlike `scan`, nothing that is wrong with the data stops it: that is what it reports. Originals are never
touched.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.data.check_likeness import likeness_findings
from assay.data.check_photos import photo_findings
from assay.data.check_values import values_finding
from assay.data.duplicates import LARGEST_SHARE, Alike, find_alike
from assay.data.examine import Examined, Photo, examine
from assay.data.feature_store import open_store
from assay.data.findings import CheckReport, Entry, Finding, FindingKind, Severity, singles
from assay.data.folders import Listing
from assay.data.labels import map_labels
from assay.data.prepare import ready_to_train
from assay.data.samples import Unreadable, natural_key
from assay.data.scan import labelled_dataset, list_source
from assay.data.verify import ABSENT, Verified
from assay.errors import AssayError
from assay.progress import Progress, silent
from assay.recipe import DataSpec
from assay.tables import listed

_STEPS: Final = (
    (ABSENT, "Correct the paths of those that do not exist: they are relative to the table's folder."),
    ("Permission denied", "Allow reading where permission is denied."),
    ("not valid Unicode", "Rename files whose names are not valid Unicode."),
    ("unsupported", "Convert the unsupported ones as their reasons say."),
)
"""What to do about files that cannot be read, by what the reason says."""
LARGEST_IMBALANCE: Final = 10
"""How many times larger than the smallest class the largest may be."""

_DEFAULT: Final = DataSpec()
_ORDER: Final = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class _Counts:
    """Readable photos by label, labels without any included."""

    by_label: dict[str, int]
    advised: int


def check(
    path: str | Path,
    *,
    spec: DataSpec = _DEFAULT,
    seed: int = 0,
    mirrored: bool = False,
    bursts: bool = True,
    largest_share: float = LARGEST_SHARE,
    value_range: tuple[float, float] | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Look at every file of a data set once and say all that is wrong with it.

    Args:
        path: as for `scan`: class folders, train/val/test folders, a manifest, an array file.
        spec: of the recipe that shall be trained: what the folders in a folder are, the class mapping (label
            conflicts are then those between new classes), the split, the photos a class that it advises.
        seed: of the recipe; decides the split.
        mirrored: take mirrored copies for copies too.
        bursts: look for bursts.
        largest_share: share of the data, 0-1, beyond which a group of look-alikes is doubted.
        value_range: the recipe's `preprocess.value_range`.
        cache: folder where features of photos are kept by content; the usual one when None.
        progress: told while files are opened and compared.

    Raises:
        UsageError: there is nothing at `path`, or it is no data.
        AssayError: the folder or manifest makes no sense at all.
    """
    listing = list_source(Path(path), spec.layout)
    mapping = spec.mapping
    samples = listing.samples if mapping is None else map_labels(listing.samples, mapping)
    with open_store(cache) as store:
        seen = examine(samples, store, progress, value_range)
        alike = find_alike(
            seen.photos,
            store,
            mirrored=mirrored,
            bursts=bursts,
            largest_share=largest_share,
            progress=progress,
        )
        # What training would find alike, whatever was asked for here.
        usual = (mirrored, bursts, largest_share) == (False, True, LARGEST_SHARE)
        trained = alike if usual else find_alike(seen.photos, store, progress=progress)
    labels = listing.labels if mapping is None else list(mapping)
    counts = _Counts(_by_label(labels, seen.photos), spec.advised_per_class)
    training = _training(Path(path), listing, seen, trained, spec=spec, seed=seed, value_range=value_range)
    values = values_finding(seen.photos, seen.refused, value_range)
    return _report(listing, seen, alike, counts, training=training, values=values)


def _training(
    path: Path,
    listing: Listing,
    seen: Examined,
    alike: Alike,
    *,
    spec: DataSpec,
    seed: int,
    value_range: tuple[float, float] | None,
) -> list[Finding]:
    """Ask what training would say of these photos: that it cannot use them, or its warnings."""
    values = Counter(photo.features.values for photo in seen.photos)
    verified = Verified([photo.sample for photo in seen.photos], seen.unreadable, seen.skipped, values)
    try:
        dataset = labelled_dataset(path, listing, verified, spec.mapping, value_range=value_range)
        ready = ready_to_train(dataset, _ids(seen.photos, alike), spec, seed)
    except AssayError as error:
        return [
            Finding(
                FindingKind.training,
                Severity.error,
                f"cannot be trained on: {error}",
                "Change this first: assay train stops with the same sentence.",
            )
        ]
    if told := [sentence for sentence in ready.warnings if sentence not in listing.warnings]:
        return [
            Finding(
                FindingKind.training,
                Severity.warning,
                "; ".join(told),
                "See that this is what was meant; assay train says the same.",
            )
        ]
    return []


def _ids(photos: list[Photo], alike: Alike) -> list[frozenset[str]]:
    return [frozenset(photos[place].sample.id for place in group) for group in alike.groups()]


def _report(
    listing: Listing,
    seen: Examined,
    alike: Alike,
    counts: _Counts,
    *,
    training: list[Finding],
    values: Finding | None,
) -> CheckReport:
    classes = _classes(counts)
    if any(finding.kind is FindingKind.empty_class for finding in classes):
        # That is why training stops; once is enough.
        training = []
    findings = [
        *_unreadable([*listing.unreadable, *seen.unreadable]),
        *training,
        *likeness_findings(seen.photos, alike, enough=not training),
        *classes,
        *photo_findings(seen.photos),
        *([] if values is None else [values]),
        *_listing(listing),
    ]
    splits = Counter(photo.sample.split for photo in seen.photos if photo.sample.split)
    return CheckReport(
        root=listing.root,
        photos=len(seen.photos),
        classes=counts.by_label,
        splits={str(split): count for split, count in splits.items()},
        findings=tuple(sorted(findings, key=lambda finding: _ORDER[finding.severity])),
        skipped=dict(sorted((listing.skipped + seen.skipped).items())),
        groups=tuple(_ids(seen.photos, alike)),
        samples=tuple(photo.sample for photo in seen.photos),
    )


def _by_label(labels: list[str], photos: list[Photo]) -> dict[str, int]:
    seen = Counter(photo.sample.label for photo in photos)
    return {label: seen[label] for label in sorted({*labels, *seen}, key=natural_key)}


def _unreadable(unreadable: list[Unreadable]) -> list[Finding]:
    if not unreadable:
        return []
    return [
        Finding(
            FindingKind.unreadable,
            Severity.error,
            f"{_photos(len(unreadable))} cannot be read",
            _mend(unreadable),
            singles(Entry(one.id, note=one.reason) for one in unreadable),
        )
    ]


def _mend(unreadable: list[Unreadable]) -> str:
    """Say what to do about files that cannot be read."""
    left = [one.reason for one in unreadable]
    steps = []
    for kind, step in _STEPS:
        if any(kind in reason for reason in left):
            steps.append(step)
            left = [reason for reason in left if kind not in reason]
    if left:
        steps.append("Replace the damaged ones by undamaged copies, or delete them.")
    return " ".join([*steps, "--write leaves them out."])


def _classes(counts: _Counts) -> list[Finding]:
    findings = []
    present = {label: count for label, count in counts.by_label.items() if count}
    if empty := [label for label in counts.by_label if label not in present]:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"{_names(empty)}: no photo that can be read",
                "Add photos or remove the folder.",
            )
        )
    if len(present) == 1:
        findings.append(
            Finding(
                FindingKind.empty_class,
                Severity.error,
                f"one class only, {_names(present)}",
                "Add photos of what it is to be told from, in a folder of their own.",
            )
        )
    if small := {label: count for label, count in present.items() if count < counts.advised}:
        findings.append(
            Finding(
                FindingKind.small_class,
                Severity.warning,
                "small classes: " + listed([f"{label} ({count})" for label, count in small.items()]),
                f"Collect at least {counts.advised} photos a class; until then judge by assay crossval, "
                "since a single split of so few says little.",
            )
        )
    if present and max(present.values()) > LARGEST_IMBALANCE * min(present.values()):
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


def _listing(listing: Listing) -> list[Finding]:
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


def _photos(count: int) -> str:
    return f"{count} photo" if count == 1 else f"{count:,} photos"


def _names(labels: object) -> str:
    return ", ".join(repr(label) for label in labels) if isinstance(labels, list | dict) else repr(labels)
