"""The rules of a check: duplicates, leaks, label conflicts; blank, dark or blurred images; value ranges."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from statistics import median
from typing import Final

from assay.core.text_layout import counted
from assay.data.check_result import Finding, FindingEntry, FindingGroup, FindingKind, Severity, one_per_group
from assay.data.groups import connected_groups
from assay.data.image_features import Features
from assay.data.image_scan import ScannedImage
from assay.data.near_duplicates import MIN_DETAIL, DuplicateLink, LinkKind, NearDuplicates
from assay.image.pixel_conversion import UINT8

_MAX_DROPPED_SHOWN: Final = 50


def duplicate_findings(photos: Sequence[ScannedImage], alike: NearDuplicates, *, enough: bool) -> list[Finding]:
    """Return the findings that follow from links between images.

    Links are indices into `photos`; `enough` says whether there are enough groups for every class in every split.
    """
    kept = "Nothing has to be done" if enough else "Add photos of other things or moments"
    copies = [link for link in alike.links if link.kind is not LinkKind.burst]
    findings = [
        _group_finding(
            photos,
            [group for group in _linked_groups(copies) if len({photos[place].sample.label for place in group}) > 1],
            FindingKind.label_conflict,
            Severity.error,
            what="show one picture under two labels",
            advice="Decide for one label and delete the other file; no classifier can learn both.",
        ),
        _group_finding(
            photos,
            [group for group in alike.groups() if len(_splits_of(photos, group)) > 1],
            FindingKind.leak,
            Severity.error,
            what="are in more than one of the existing splits",
            advice="Keep each group in one split, or let Assay split; images used for training cannot test anything.",
            note=lambda group: "splits: " + ", ".join(sorted(_splits_of(photos, group))),
        ),
        _group_finding(
            photos,
            alike.groups(LinkKind.identical),
            FindingKind.identical,
            Severity.warning,
            what="are byte for byte the same",
            advice="Delete all but one of each; until then Assay keeps them in one split.",
        ),
        _group_finding(
            photos,
            _near_duplicate_groups(copies),
            FindingKind.near_duplicate,
            Severity.warning,
            what="are copies of one another, re-encoded, scaled, cropped or brightened",
            advice=f"{kept}: Assay keeps them in one split.",
        ),
        _group_finding(
            photos,
            alike.groups(LinkKind.burst),
            FindingKind.burst,
            Severity.warning,
            what="were taken within moments of each other and look alike",
            advice=f"{kept}: Assay keeps bursts together; photos of other moments improve the classifier more.",
        ),
        *_threshold_findings(photos, alike),
    ]
    return [finding for finding in findings if finding is not None]


def finding_entry(photo: ScannedImage, note: str = "") -> FindingEntry:
    """Return an image as an entry of a finding."""
    return FindingEntry(photo.sample.id, photo.sample.label, photo.sample.split, note)


def _group_finding(
    photos: Sequence[ScannedImage],
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
    return Finding(
        kind,
        severity,
        f"{counted(count, 'photo')} in {counted(len(groups), 'group')} {what}",
        advice,
        tuple(
            FindingGroup(tuple(finding_entry(photos[place]) for place in group), note(group) if note else "")
            for group in groups
        ),
    )


def _linked_groups(links: Iterable[DuplicateLink]) -> list[tuple[int, ...]]:
    return connected_groups((link.first, link.second) for link in links)


def _near_duplicate_groups(copies: Sequence[DuplicateLink]) -> list[tuple[int, ...]]:
    near = {link.first for link in copies if link.kind is LinkKind.near}
    return [group for group in _linked_groups(copies) if near.intersection(group)]


def _splits_of(photos: Sequence[ScannedImage], group: Sequence[int]) -> set[str]:
    return {split for place in group if (split := photos[place].sample.split)}


def _threshold_findings(photos: Sequence[ScannedImage], alike: NearDuplicates) -> list[Finding]:
    """Report raised thresholds, with the pairs dropped by them."""
    return [
        Finding(
            FindingKind.similarity,
            Severity.warning,
            f"{'capture times' if change.kind is LinkKind.burst else 'similarity'} linked {change.largest_before:,} "
            f"photos to one group; the threshold was raised to {change.threshold:.1f}, and the largest group has "
            f"{change.largest_after:,} photos now",
            "Products on a line look similar without being copies: check these pairs, which were not grouped; "
            "if they are copies, give the photos a group in a manifest.",
            tuple(
                FindingGroup(
                    (finding_entry(photos[link.first]), finding_entry(photos[link.second])),
                    f"similarity {link.similarity:.1f}",
                )
                for link in change.dropped[:_MAX_DROPPED_SHOWN]
            ),
        )
        for change in alike.adjustments
    ]


BLANK_MAX_CONTRAST: Final = 2.0
"""Standard deviation, in gray values, below which an image is blank."""
DARK_MAX_BRIGHTNESS: Final = 40
"""95th percentile of gray below which an image is very dark."""
BLURRED_MAX_SHARPNESS: Final = 0.02
"""Sharpness below which an image is very blurred, if the median is at least `BLURRED_MEDIAN_RATIO` times as high."""
BLURRED_MEDIAN_RATIO: Final = 3.0
MAX_ASPECT_RATIO: Final = 3.0
"""Ratio of longer to shorter side above which stretching or cropping is harmful."""
MAX_SIZE_RATIO: Final = 4.0
"""Ratio of an image's shorter side to the median, or its inverse, above which it is reported."""
RARE_MODE_SHARE: Final = 0.2
"""Share of images below which a pixel mode is unusual."""

_MIN_SIDE_FOR_SHARPNESS: Final = 64
_FORMAT_SUFFIXES: Final[Mapping[str, frozenset[str]]] = {
    "jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}),
    "png": frozenset({".png", ".apng"}),
    "webp": frozenset({".webp"}),
    "gif": frozenset({".gif"}),
    "bmp": frozenset({".bmp", ".dib"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "avif": frozenset({".avif", ".avifs"}),
    "jpeg2000": frozenset({".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"}),
    "ppm": frozenset({".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}),
}
_KNOWN_SUFFIXES: Final = frozenset(suffix for suffixes in _FORMAT_SUFFIXES.values() for suffix in suffixes)
_PLAIN_MODES: Final = frozenset({"RGB", "L"})


def image_findings(photos: Sequence[ScannedImage]) -> list[Finding]:
    """Return the findings about single images."""
    if not photos:
        return []
    rules = (_blank, _wrong_extension, _dark, _blurred, _aspect, _size, _mode, _rotated, _too_plain)
    return [finding for rule in rules if (finding := rule(photos)) is not None]


def _image_finding(
    photos: Iterable[ScannedImage],
    note: Callable[[Features], str],
    kind: FindingKind,
    severity: Severity,
    *,
    what: str,
    advice: str,
) -> Finding | None:
    groups = one_per_group(finding_entry(photo, note(photo.features)) for photo in photos)
    return Finding(kind, severity, f"{counted(len(groups), 'photo')} {what}", advice, groups) if groups else None


def _is_blank(features: Features) -> bool:
    return features.contrast < BLANK_MAX_CONTRAST


def _blank(photos: Sequence[ScannedImage]) -> Finding | None:
    blank = [photo for photo in photos if _is_blank(photo.features)]
    advice = "Delete them or take them again; --write leaves them out."
    if any(photo.features.value_type != UINT8.type for photo in blank):
        # 12-bit values in a 16-bit file look black.
        advice = f"See first whether their values need preprocess.value_range. {advice}"
    return _image_finding(
        blank,
        lambda features: f"{features.dark:.0f}-{features.bright:.0f} of 255",
        FindingKind.blank,
        Severity.error,
        what="with nothing to be seen",
        advice=advice,
    )


def _wrong_extension(photos: Sequence[ScannedImage]) -> Finding | None:
    def lies(photo: ScannedImage) -> bool:
        suffix = PurePosixPath(photo.sample.id).suffix.casefold()
        return suffix in _KNOWN_SUFFIXES and suffix not in _FORMAT_SUFFIXES.get(photo.features.format, frozenset())

    return _image_finding(
        (photo for photo in photos if photo.sample.tensor is None and lies(photo)),
        lambda features: f"is {features.format}",
        FindingKind.wrong_extension,
        Severity.warning,
        what="named as another format than the content is",
        advice="Assay goes by content; rename them, for other tools may refuse them.",
    )


def _dark(photos: Sequence[ScannedImage]) -> Finding | None:
    return _image_finding(
        (photo for photo in photos if photo.features.bright < DARK_MAX_BRIGHTNESS and not _is_blank(photo.features)),
        lambda features: f"95 % of it below {features.bright:.0f} of 255",
        FindingKind.dark,
        Severity.warning,
        what="so dark that little can be seen",
        advice="Take them again with more light, unless photos in use will be as dark.",
    )


def _blurred(photos: Sequence[ScannedImage]) -> Finding | None:
    judged = [
        photo
        for photo in photos
        if min(photo.features.width, photo.features.height) >= _MIN_SIDE_FOR_SHARPNESS and not _is_blank(photo.features)
    ]
    usual = median(photo.features.sharpness for photo in judged) if judged else 0.0
    limit = min(BLURRED_MAX_SHARPNESS, usual / BLURRED_MEDIAN_RATIO)
    return _image_finding(
        (photo for photo in judged if photo.features.sharpness < limit),
        lambda features: f"sharpness {features.sharpness:.3f}, usually {usual:.3f}",
        FindingKind.blurred,
        Severity.warning,
        what="blurred even when seen small",
        advice="Take them again in focus, unless photos in use will be as blurred.",
    )


def _aspect(photos: Sequence[ScannedImage]) -> Finding | None:
    def aspect(features: Features) -> float:
        sides = (features.width, features.height)
        return max(sides) / min(sides)

    return _image_finding(
        (photo for photo in photos if aspect(photo.features) > MAX_ASPECT_RATIO),
        lambda features: f"{features.width} x {features.height}",
        FindingKind.extreme_aspect,
        Severity.warning,
        what=f"more than {MAX_ASPECT_RATIO:.0f} times as long as wide",
        advice="Choose letterbox in the recipe or crop them; stretched to a square they are hard to tell.",
    )


def _size(photos: Sequence[ScannedImage]) -> Finding | None:
    def shorter(features: Features) -> int:
        return min(features.width, features.height)

    usual = median(shorter(photo.features) for photo in photos)
    return _image_finding(
        (photo for photo in photos if not usual / MAX_SIZE_RATIO <= shorter(photo.features) <= usual * MAX_SIZE_RATIO),
        lambda features: f"{features.width} x {features.height}",
        FindingKind.odd_size,
        Severity.note,
        what=f"of a size far from the usual {usual:.0f} pixels",
        advice="Check that they are of the same kind as the others: smaller ones may be thumbnails, larger ones may "
        "show more of the scene.",
    )


def _mode(photos: Sequence[ScannedImage]) -> Finding | None:
    seen = Counter(photo.features.mode for photo in photos)
    usual = seen.most_common(1)[0][0]

    def unusual(features: Features) -> bool:
        rare = seen[features.mode] < RARE_MODE_SHARE * len(photos)
        return features.frames > 1 or (features.mode != usual and (rare or features.mode not in _PLAIN_MODES))

    return _image_finding(
        (photo for photo in photos if unusual(photo.features)),
        lambda features: features.mode + (f", {features.frames} frames" if features.frames > 1 else ""),
        FindingKind.unusual_mode,
        Severity.note,
        what=f"stored otherwise than the usual {usual}",
        advice="Assay reads them as RGB (alpha over white, first frame); see that no class alone has them.",
    )


def _rotated(photos: Sequence[ScannedImage]) -> Finding | None:
    return _image_finding(
        (photo for photo in photos if photo.features.orientation != 1),
        lambda features: f"orientation {features.orientation}",
        FindingKind.rotated,
        Severity.note,
        what="turned upright by Exif",
        advice="Assay turns them; other tools may not, and then see them on their side.",
    )


def _too_plain(photos: Sequence[ScannedImage]) -> Finding | None:
    return _image_finding(
        (photo for photo in photos if photo.features.detail < MIN_DETAIL and not _is_blank(photo.features)),
        lambda features: f"detail {features.detail:.1f}",
        FindingKind.plain,
        Severity.note,
        what="with too little detail to tell copies",
        advice="Only identical files were looked for among them.",
    )
