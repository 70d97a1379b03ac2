"""Findings of a check, the report and its JSON form."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from assay.core.errors import UsageError
from assay.data.dataset import Sample
from assay.data.image_features import Features

REPORT_VERSION: Final = 1
"""Version of the JSON form; raised when a field is removed or changes its meaning."""


class Severity(StrEnum):
    """Severity of a finding, from worst to harmless."""

    error = "error"
    """Metrics measured on this data would be wrong, or training would fail."""
    warning = "warning"
    """Should be fixed, or known before the metrics are used."""
    note = "note"
    """For information."""


class FindingKind(StrEnum):
    """Kinds of findings; `fail_on` accepts these names."""

    unreadable = "unreadable"
    label_conflict = "label_conflict"
    leak = "leak"
    label_suspect = "label_suspect"
    blank = "blank"
    empty_class = "empty_class"
    training = "training"
    identical = "identical"
    near_duplicate = "near_duplicate"
    burst = "burst"
    similarity = "similarity"
    small_class = "small_class"
    imbalance = "imbalance"
    wrong_extension = "wrong_extension"
    dark = "dark"
    blurred = "blurred"
    extreme_aspect = "extreme_aspect"
    odd_size = "odd_size"
    unusual_mode = "unusual_mode"
    value_range = "value_range"
    rotated = "rotated"
    plain = "plain"
    listing = "listing"


@dataclass(frozen=True, slots=True)
class FindingEntry:
    """One image of a finding."""

    id: str
    """Path relative to the data's root."""
    label: str = ""
    split: str | None = None
    note: str = ""
    """Remark on this image."""


@dataclass(frozen=True, slots=True)
class FindingGroup:
    """Images reported together, such as copies of one image; often a single one."""

    photos: tuple[FindingEntry, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of the data."""

    kind: FindingKind
    severity: Severity
    title: str
    """A sentence with the numbers."""
    advice: str
    """A sentence on what to do."""
    groups: tuple[FindingGroup, ...] = ()

    @property
    def photos(self) -> int:
        """Number of different images concerned."""
        return len({entry.id for group in self.groups for entry in group.photos})


@dataclass(frozen=True)
class CheckReport:
    """The result of a check."""

    root: Path
    """Folder that ids are relative to."""
    photos: int
    """Number of readable images."""
    classes: Mapping[str, int]
    """Readable images by label."""
    splits: Mapping[str, int]
    """Readable images by existing split; empty without splits."""
    findings: tuple[Finding, ...]
    """Worst first."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Skipped files, by reason."""
    groups: tuple[frozenset[str], ...] = ()
    """Ids that must stay together in any split."""
    samples: tuple[Sample, ...] = ()
    """Readable images, with their digests."""
    features: Mapping[str, Features] = field(default_factory=dict)
    """Measurements, by id."""

    def of(self, kind: FindingKind) -> Finding | None:
        """Return the finding of this kind, if there is one."""
        return next((finding for finding in self.findings if finding.kind is kind), None)

    def failures(self, fail_on: Collection[str] = ("error",)) -> tuple[Finding, ...]:
        """Return the findings that make the check fail; see `parse_fail_on`."""
        wanted = parse_fail_on(fail_on)
        return tuple(finding for finding in self.findings if finding.kind in wanted or finding.severity in wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints: plain values, paths relative to the data.

        Keys: `version`, `photos` (number readable), `classes` and `splits` (images by name), `skipped` (files by
        reason), `findings` (worst first; each has `kind`, `severity`, `title`, `advice`, `photos` (number) and
        `groups`: lists of `photos` with `id`, `label`, `split`, `note`, and a `note`), `groups` (lists of ids that
        must stay together in a split).
        """
        return {
            "version": REPORT_VERSION,
            "photos": self.photos,
            "classes": dict(self.classes),
            "splits": dict(self.splits),
            "skipped": dict(self.skipped),
            "findings": [_finding_dict(finding) for finding in self.findings],
            "groups": [sorted(group) for group in self.groups],
        }


def one_per_group(entries: Iterable[FindingEntry]) -> tuple[FindingGroup, ...]:
    """Return a group for each entry."""
    return tuple(FindingGroup((entry,)) for entry in entries)


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "title": finding.title,
        "advice": finding.advice,
        "photos": finding.photos,
        "groups": [
            {
                "note": group.note,
                "photos": [
                    {"id": entry.id, "label": entry.label, "split": entry.split, "note": entry.note}
                    for entry in group.photos
                ],
            }
            for group in finding.groups
        ],
    }


def parse_fail_on(fail_on: Collection[str]) -> frozenset[str]:
    """Return the severities and kinds for names of severities (each includes worse ones) or kinds, or `never`.

    Raises `UsageError` for any other name.
    """
    severities, kinds = [item.value for item in Severity], {item.value for item in FindingKind}
    wanted: set[str] = set()
    for name in fail_on:
        if name in severities:
            wanted.update(severities[: severities.index(name) + 1])
        elif name in kinds:
            wanted.add(name)
        elif name != "never":
            raise UsageError(
                f"--fail-on {name} is unknown; use never, {', '.join(severities)}, or a kind: "
                f"{', '.join(sorted(kinds))}"
            )
    return frozenset(wanted)
