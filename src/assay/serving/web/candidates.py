"""Photos that a person should look at: those the server was least sure of, and suspects of a data set.

Knows nothing of HTTP. A candidate's id tells nothing of where it is, and only photos of these lists are ever
read.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.errors import UsageError
from assay.serving.journal.uncertain import read_manifest
from assay.serving.web.tables import read_table

_SUSPECT = "label_suspect"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A photo to look at."""

    path: Path
    """Absolute."""
    label: str
    """What it is taken for now."""
    note: str
    """Why it should be looked at."""
    fleeting: bool = False
    """Whether the server may drop the photo."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return hashlib.sha256(os.fsencode(self.path)).hexdigest()[:32]


def uncertain(folder: Path, model: str) -> list[Candidate]:
    """Return the photos of a folder that a model answered, least sure first.

    Raises:
        UsageError: its manifest cannot be read.
    """
    try:
        kept = read_manifest(folder)
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UsageError(f"{folder} holds no manifest of uncertain photos: {error}") from None
    return [
        Candidate(
            folder.absolute() / row.path, row.label, f"{100 * row.confidence:.0f} % sure", fleeting=True
        )
        for row in sorted(kept, key=lambda row: row.confidence)
        if row.model == model
    ]


def suspects(path: Path, data: Path | None) -> list[Candidate]:
    """Return the photos whose labels a check doubts, most doubtful first.

    Args:
        path: `suspects.csv` of a report, or the JSON that `assay check --model --json` prints.
        data: manifest of the data set, which tells where the photos of a JSON are.

    Raises:
        UsageError: the file is neither, or the manifest does not know a photo.
    """
    if path.suffix.casefold() == ".json":
        return list(_of_check(path, data))
    return [
        Candidate(
            Path(row["path"]),
            row["label"],
            f"{row['suggested']}?" if row.get("suggested") else "",
        )
        for row in read_table(path, ("path", "label"), own=True)
    ]


def _of_check(path: Path, data: Path | None) -> Iterator[Candidate]:
    places = _places(data)
    for photo in _photos(path):
        place = places.get(photo["id"], Path(photo["id"]))
        if not place.is_absolute():
            raise UsageError(
                f"{path} does not tell where {photo['id']} is: give the manifest of its data set with --data"
            )
        yield Candidate(place, photo["label"], photo["note"])


def _places(data: Path | None) -> dict[str, Path]:
    if data is None:
        return {}
    folder = data.absolute().parent
    places = {}
    for row in read_table(data, ("path", "label")):
        place = Path(row["path"])
        inside = place.relative_to(folder) if place.is_relative_to(folder) else place
        places[row.get("id") or inside.as_posix()] = place
    return places


def _photos(path: Path) -> Sequence[dict[str, str]]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return [
            {name: str(photo[name]) for name in ("id", "label", "note")}
            for finding in report["findings"]
            if finding["kind"] == _SUSPECT
            for group in finding["groups"]
            for photo in group["photos"]
        ]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} was not written by `assay check --model --json`: {error!r}") from None
