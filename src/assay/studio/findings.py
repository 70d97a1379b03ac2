"""The findings of `assay check` as cards: which photos they show, and what can be done with one click."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from assay.studio.pages import text
from assay.studio.photos import Photo

Action = Literal["leave_out", "keep_one", "relabel"]

GROUPS_PER_PAGE: Final = 6
"""Groups that a card shows at once."""
FIRST_PHOTOS: Final = 12
"""Photos of a group that are shown at once; the others are folded away."""
PHOTOS_PER_PAGE: Final = 500
"""Photos that a card shows at once, if each is a group of its own."""
_SEVERITIES: Final = ("error", "warning", "note")
"""The first ones matter most."""
_COPIES: Final = frozenset({"identical", "near_duplicate", "burst"})
_RELABEL: Final = frozenset({"label_conflict", "label_suspect"})
_NO_ACTION: Final = frozenset({"leak", "similarity", "value_range", "listing", "training"})
_STEPS: Final[Mapping[str, str]] = {
    "small_class": "photos",
    "empty_class": "photos",
    "training": "photos",
    "imbalance": "train",
    "extreme_aspect": "train",
    "value_range": "train",
}
"""The step whose page a card links to, by the kind of finding."""


@dataclass(frozen=True)
class CardPhoto:
    """A photo of a finding."""

    photo: Photo
    note: str


@dataclass(frozen=True)
class CardGroup:
    """Photos that are shown together."""

    index: int
    """In the finding."""
    photos: tuple[CardPhoto, ...]
    note: str
    resolved: bool

    @property
    def first(self) -> tuple[CardPhoto, ...]:
        """The photos that are shown at once."""
        return self.photos[:FIRST_PHOTOS]

    @property
    def more(self) -> tuple[CardPhoto, ...]:
        """The photos that are folded away."""
        return self.photos[FIRST_PHOTOS:]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its photos, each once."""
        return tuple(dict.fromkeys(item.photo.label for item in self.photos if item.photo.label is not None))


@dataclass(frozen=True)
class Card:
    """One finding.

    Attributes:
        index: in the report.
        action: that is offered for all groups; None: there is none.
        step: whose page the advice is about; None: this one.
        groups: with photos of the project, those of one page.
        is_grid: whether each group has one photo, so that they are shown in a grid.
        page: number of the page that is shown, from 1.
        pages: number of pages.
        first: place of its first group among all, from 1.
        total: number of groups on all pages.
        open: number of groups for which something is left to do.
    """

    index: int
    kind: str
    severity: str
    title: str
    advice: str
    action: Action | None
    step: str | None
    groups: tuple[CardGroup, ...]
    is_grid: bool
    page: int
    pages: int
    first: int
    total: int
    open: int

    @property
    def resolved(self) -> bool:
        """Whether all its photos were dealt with."""
        return self.total > 0 and not self.open

    @property
    def grid(self) -> list[list[object]]:
        """The photos as rows for the script of the page: id, name, version, label, left out (0 or 1), note."""
        photos = ((item.photo, item.note) for group in self.groups for item in group.photos)
        return [[photo.id, photo.name, photo.version, photo.label, int(photo.left_out), note] for photo, note in photos]


def finding_cards(
    report: Mapping[str, Any], photos: Mapping[str, Photo], pages: Mapping[int, int] | None = None
) -> list[Card]:
    """Return the cards of a report: errors first, then warnings and notes; of each, what is resolved last.

    Args:
        report: what `assay check --json` printed.
        photos: of the project, by name.
        pages: which page of a card is shown, by the index of the card; None: of all the first.
    """
    pages = pages or {}
    findings = enumerate(report.get("findings", ()))
    cards = [_card(index, finding, photos, pages.get(index, 1)) for index, finding in findings]
    return sorted(cards, key=lambda card: (_SEVERITIES.index(card.severity), card.resolved))


def cards_by_severity(cards: Sequence[Card]) -> list[tuple[str, list[Card]]]:
    """Return the severities that occur, the most important first, each with its cards."""
    found = [(severity, [card for card in cards if card.severity == severity]) for severity in _SEVERITIES]
    return [(severity, members) for severity, members in found if members]


def photos_to_leave_out(
    report: Mapping[str, Any], index: int, photos: Mapping[str, Photo], group: int | None = None
) -> list[str]:
    """Return the ids of the photos that the action of a card excludes from training.

    Args:
        report: of the check.
        index: of the finding.
        photos: of the project, by name.
        group: index of one group; None: all groups.

    Raises:
        LookupError: there is no such finding or group.
    """
    finding = report["findings"][index]
    groups = finding["groups"] if group is None else [finding["groups"][group]]
    chosen: list[str] = []
    for item in groups:
        used = [photo for photo in _members(item, photos) if not photo.left_out]
        chosen += [photo.id for photo in (used[1:] if finding["kind"] in _COPIES else used)]
    return chosen


def _card(index: int, finding: Mapping[str, Any], photos: Mapping[str, Photo], page: int) -> Card:
    kind = str(finding["kind"])
    action = _action(kind)
    groups = [_group(place, group, photos, action) for place, group in enumerate(finding["groups"])]
    shown = [group for group in groups if group.photos]
    # What is still to be done comes first.
    shown.sort(key=lambda group: group.resolved)
    is_grid = bool(shown) and all(len(group["photos"]) == 1 for group in finding["groups"])
    limit = PHOTOS_PER_PAGE if is_grid else GROUPS_PER_PAGE
    pages = max(1, math.ceil(len(shown) / limit))
    page = min(max(1, page), pages)
    start = limit * (page - 1)
    return Card(
        index=index,
        kind=kind,
        severity=str(finding["severity"]),
        title=str(finding["title"]),
        advice=text(f"advice_{kind}"),
        action=action if shown else None,
        step=_STEPS.get(kind),
        groups=tuple(shown[start : start + limit]),
        is_grid=is_grid,
        page=page,
        pages=pages,
        first=start + 1,
        total=len(shown),
        open=sum(not group.resolved for group in shown),
    )


def _action(kind: str) -> Action | None:
    if kind in _NO_ACTION:
        return None
    return "keep_one" if kind in _COPIES else "relabel" if kind in _RELABEL else "leave_out"


def _group(index: int, group: Mapping[str, Any], photos: Mapping[str, Photo], action: Action | None) -> CardGroup:
    members = [
        CardPhoto(photo, str(item["note"] or ""))
        for item in group["photos"]
        if (photo := photos.get(item["id"])) is not None
    ]
    used = [item.photo for item in members if not item.photo.left_out]
    labels = {photo.label for photo in used}
    match action:
        case "keep_one":
            resolved = len(used) < 2
        case "relabel":
            resolved = len(labels) < 2 if len(members) > 1 else not used or labels != {group["photos"][0]["label"]}
        case "leave_out":
            resolved = not used
        case _:
            resolved = False
    return CardGroup(index, tuple(members), str(group["note"] or ""), resolved)


def _members(group: Mapping[str, Any], photos: Mapping[str, Photo]) -> Sequence[Photo]:
    return [photo for item in group["photos"] if (photo := photos.get(item["id"])) is not None]
