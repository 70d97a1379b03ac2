"""What the likeness of photos means for a data set: copies, conflicts of labels, leaks, bursts.

Knows nothing of how likeness is found.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from assay.data.duplicates import Alike, Kind, Link, components
from assay.data.examine import Photo
from assay.data.findings import Entry, Finding, FindingKind, Group, Severity

_SHOWN_DROPPED: Final = 50


def likeness_findings(photos: Sequence[Photo], alike: Alike, *, enough: bool) -> list[Finding]:
    """Return the findings that follow from links between photos.

    Args:
        photos: readable photos.
        alike: links between places in `photos`.
        enough: whether there are enough groups for every class to be in every part.
    """
    kept = "Nothing has to be done" if enough else "Add photos of other things or moments"
    copies = [link for link in alike.links if link.kind is not Kind.burst]
    findings = [
        _about(
            photos,
            [group for group in _groups(copies) if len({photos[place].sample.label for place in group}) > 1],
            FindingKind.label_conflict,
            Severity.error,
            what="show one picture under two labels",
            advice="Decide for one label and delete the other file; no classifier can learn both.",
        ),
        _about(
            photos,
            [group for group in alike.groups() if len(_parts(photos, group)) > 1],
            FindingKind.leak,
            Severity.error,
            what="stand in more than one ready-made part",
            advice="Keep each group in one part or let Assay split; what training saw tests nothing.",
            note=lambda group: "parts: " + ", ".join(sorted(_parts(photos, group))),
        ),
        _about(
            photos,
            alike.groups(Kind.identical),
            FindingKind.identical,
            Severity.warning,
            what="are byte for byte the same",
            advice="Delete all but one of each; until then Assay keeps them in one part.",
        ),
        _about(
            photos,
            _with_near(copies),
            FindingKind.near_duplicate,
            Severity.warning,
            what="are copies of one another, re-encoded, scaled, cropped or brightened",
            advice=f"{kept}: Assay keeps them in one part.",
        ),
        _about(
            photos,
            alike.groups(Kind.burst),
            FindingKind.burst,
            Severity.warning,
            what="were taken within moments of each other and look alike",
            advice=f"{kept}: Assay keeps bursts together; other moments teach more.",
        ),
        *_doubted(photos, alike),
    ]
    return [finding for finding in findings if finding is not None]


def entry(photo: Photo, note: str = "") -> Entry:
    """Return a photo as findings name it."""
    return Entry(photo.sample.id, photo.sample.label, photo.sample.split, note)


def _about(
    photos: Sequence[Photo],
    groups: Sequence[Sequence[int]],
    kind: FindingKind,
    severity: Severity,
    *,
    what: str,
    advice: str,
    note: Callable[[Sequence[int]], str] | None = None,
) -> Finding | None:
    if not groups:
        return None
    count = sum(len(group) for group in groups)
    plural = "groups" if len(groups) > 1 else "group"
    return Finding(
        kind,
        severity,
        f"{count:,} photos in {len(groups):,} {plural} {what}",
        advice,
        tuple(
            Group(tuple(entry(photos[place]) for place in group), note(group) if note else "")
            for group in groups
        ),
    )


def _groups(links: Iterable[Link]) -> list[tuple[int, ...]]:
    return components((link.first, link.second) for link in links)


def _with_near(copies: Sequence[Link]) -> list[tuple[int, ...]]:
    """Return groups of copies that are not merely identical files."""
    near = {link.first for link in copies if link.kind is Kind.near}
    return [group for group in _groups(copies) if near.intersection(group)]


def _parts(photos: Sequence[Photo], group: Sequence[int]) -> set[str]:
    return {split for place in group if (split := photos[place].sample.split)}


def _doubted(photos: Sequence[Photo], alike: Alike) -> list[Finding]:
    """Say that likeness went too far, and show the pairs that were given up."""
    return [
        Finding(
            FindingKind.likeness,
            Severity.warning,
            f"{'moments' if doubt.kind is Kind.burst else 'likeness'} linked {doubt.largest:,} photos to one "
            f"group; more likeness was asked for ({doubt.asked:.1f}), and the largest has {doubt.now:,} now",
            "Products on a line look alike without being copies: look at these pairs, not taken for "
            "copies; if they are, give the photos a group in a manifest.",
            tuple(
                Group(
                    (entry(photos[link.first]), entry(photos[link.second])), f"likeness {link.likeness:.1f}"
                )
                for link in doubt.dropped[:_SHOWN_DROPPED]
            ),
        )
        for doubt in alike.tightened
    ]
