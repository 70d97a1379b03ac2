"""The photos to label: uncertain samples of a model, and suspected label errors."""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import UsageError
from assay.core.label_tables import read_label_table
from assay.serving.request_log.uncertain_samples import read_uncertain_samples

_SUSPECT_KIND = "label_suspect"


@dataclass(frozen=True, slots=True)
class LabelCandidate:
    """A photo to label."""

    path: Path
    """Absolute."""
    label: str
    """Its current label."""
    note: str
    """Why it should be checked."""
    temporary: bool = False
    """Whether the server may delete the photo."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32]


def uncertain_candidates(folder: Path, model: str) -> list[LabelCandidate]:
    """Return the photos of a folder that a model classified, least confident first.

    Raises:
        UsageError: its manifest cannot be read.
    """
    try:
        kept = read_uncertain_samples(folder)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UsageError(f"{folder} holds no manifest of uncertain photos: {error}") from None
    return [
        LabelCandidate(
            folder.absolute() / row.path, row.label, f"{100 * row.confidence:.0f} % confidence", temporary=True
        )
        for row in sorted(kept, key=lambda row: row.confidence)
        if row.model == model
    ]


def suspect_candidates(path: Path, data: Path | None) -> list[LabelCandidate]:
    """Return the photos with suspected label errors, most suspicious first.

    Args:
        path: `label_issues.csv` of a report, or the JSON that `assay check --model --json` prints.
        data: manifest of the data set, needed to locate the photos of a JSON file.

    Raises:
        UsageError: the file is neither, or a photo is not in the manifest.
    """
    if path.suffix.casefold() == ".json":
        return list(_check_candidates(path, data))
    return [
        LabelCandidate(
            Path(row["path"]),
            row["label"],
            f"{row['suggested']}?" if row.get("suggested") else "",
        )
        for row in read_label_table(path, ("path", "label"), literal=True)
    ]


def _check_candidates(path: Path, data: Path | None) -> Iterator[LabelCandidate]:
    places = _photo_paths(data)
    for photo in _suspect_photos(path):
        place = places.get(photo["id"], Path(photo["id"]))
        if not place.is_absolute():
            raise UsageError(
                f"{path} does not tell where {photo['id']} is: give the manifest of its data set with --data"
            )
        yield LabelCandidate(place, photo["label"], photo["note"])


def _photo_paths(data: Path | None) -> dict[str, Path]:
    if data is None:
        return {}
    folder = data.absolute().parent
    places = {}
    for row in read_label_table(data, ("path", "label")):
        place = Path(row["path"])
        inside = place.relative_to(folder) if place.is_relative_to(folder) else place
        places[row.get("id") or inside.as_posix()] = place
    return places


def _suspect_photos(path: Path) -> Sequence[dict[str, str]]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return [
            {name: str(photo[name]) for name in ("id", "label", "note")}
            for finding in report["findings"]
            if finding["kind"] == _SUSPECT_KIND
            for group in finding["groups"]
            for photo in group["photos"]
        ]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} was not written by `assay check --model --json`: {error!r}") from None
