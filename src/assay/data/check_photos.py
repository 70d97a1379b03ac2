"""What is wrong or odd about single photos: names that lie, blank, dark, blurred, odd sizes and modes.

Every rule looks at measured features alone; nothing is opened here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from statistics import median
from typing import Final

from assay.data.check_likeness import entry
from assay.data.duplicates import LEAST_DETAIL
from assay.data.examine import Photo
from assay.data.features import Features
from assay.data.findings import Finding, FindingKind, Severity, singles
from assay.image.values import UINT8

BLANK_CONTRAST: Final = 2.0
"""Standard deviation, in gray values, below which a photo shows nothing."""
DARK: Final = 40
"""95th percentile of gray below which a photo is very dark."""
BLURRED: Final = 0.02
"""Sharpness below which a photo is very blurred, if the median is `BLURRED_BELOW_OTHERS` times as much."""
BLURRED_BELOW_OTHERS: Final = 3.0
LONGEST_ASPECT: Final = 3.0
"""Longer over shorter side beyond which squashing or cropping harms."""
ODD_SCALE: Final = 4.0
"""How many times larger or smaller than the median a photo's shorter side is when it is odd."""
RARE_SHARE: Final = 0.2
"""Share of photos below which a mode of pixels is unusual."""

_SMALLEST_JUDGED: Final = 64
_SUFFIXES: Final[Mapping[str, frozenset[str]]] = {
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
_KNOWN: Final = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_PLAIN_MODES: Final = frozenset({"RGB", "L"})


def photo_findings(photos: Sequence[Photo]) -> list[Finding]:
    """Return the findings about single photos."""
    if not photos:
        return []
    rules = (_blank, _wrong_extension, _dark, _blurred, _aspect, _size, _mode, _rotated, _plain)
    return [finding for rule in rules if (finding := rule(photos)) is not None]


def _finding(
    photos: Iterable[Photo],
    note: Callable[[Features], str],
    kind: FindingKind,
    severity: Severity,
    *,
    what: str,
    advice: str,
) -> Finding | None:
    groups = singles(entry(photo, note(photo.features)) for photo in photos)
    noun = "photo" if len(groups) == 1 else "photos"
    return Finding(kind, severity, f"{len(groups):,} {noun} {what}", advice, groups) if groups else None


def _is_blank(features: Features) -> bool:
    return features.contrast < BLANK_CONTRAST


def _blank(photos: Sequence[Photo]) -> Finding | None:
    blank = [photo for photo in photos if _is_blank(photo.features)]
    advice = "Delete them or take them again; --write leaves them out."
    if any(photo.features.value_type != UINT8.type for photo in blank):
        # Values of 12 bits in a file of 16 look black.
        advice = f"See first whether their values need preprocess.value_range. {advice}"
    return _finding(
        blank,
        lambda features: f"{features.dark:.0f}-{features.bright:.0f} of 255",
        FindingKind.blank,
        Severity.error,
        what="with nothing to be seen",
        advice=advice,
    )


def _wrong_extension(photos: Sequence[Photo]) -> Finding | None:
    def lies(photo: Photo) -> bool:
        suffix = PurePosixPath(photo.sample.id).suffix.casefold()
        return suffix in _KNOWN and suffix not in _SUFFIXES.get(photo.features.format, frozenset())

    return _finding(
        (photo for photo in photos if photo.sample.tensor is None and lies(photo)),
        lambda features: f"is {features.format}",
        FindingKind.wrong_extension,
        Severity.warning,
        what="named as another format than the content is",
        advice="Assay goes by content; rename them, for other tools may refuse them.",
    )


def _dark(photos: Sequence[Photo]) -> Finding | None:
    return _finding(
        (photo for photo in photos if photo.features.bright < DARK and not _is_blank(photo.features)),
        lambda features: f"95 % of it below {features.bright:.0f} of 255",
        FindingKind.dark,
        Severity.warning,
        what="so dark that little can be seen",
        advice="Take them again with more light, unless photos in use will be as dark.",
    )


def _blurred(photos: Sequence[Photo]) -> Finding | None:
    judged = [
        photo
        for photo in photos
        if min(photo.features.width, photo.features.height) >= _SMALLEST_JUDGED
        and not _is_blank(photo.features)
    ]
    usual = median(photo.features.sharpness for photo in judged) if judged else 0.0
    limit = min(BLURRED, usual / BLURRED_BELOW_OTHERS)
    return _finding(
        (photo for photo in judged if photo.features.sharpness < limit),
        lambda features: f"sharpness {features.sharpness:.3f}, usually {usual:.3f}",
        FindingKind.blurred,
        Severity.warning,
        what="blurred even when seen small",
        advice="Take them again in focus, unless photos in use will be as blurred.",
    )


def _aspect(photos: Sequence[Photo]) -> Finding | None:
    def aspect(features: Features) -> float:
        sides = (features.width, features.height)
        return max(sides) / min(sides)

    return _finding(
        (photo for photo in photos if aspect(photo.features) > LONGEST_ASPECT),
        lambda features: f"{features.width} x {features.height}",
        FindingKind.extreme_aspect,
        Severity.warning,
        what=f"more than {LONGEST_ASPECT:.0f} times as long as wide",
        advice="Choose letterbox in the recipe or crop them; squashed to a square they are hard to tell.",
    )


def _size(photos: Sequence[Photo]) -> Finding | None:
    def shorter(features: Features) -> int:
        return min(features.width, features.height)

    usual = median(shorter(photo.features) for photo in photos)
    return _finding(
        (photo for photo in photos if not usual / ODD_SCALE <= shorter(photo.features) <= usual * ODD_SCALE),
        lambda features: f"{features.width} x {features.height}",
        FindingKind.odd_size,
        Severity.note,
        what=f"of a size far from the usual {usual:.0f} pixels",
        advice="See that they are of the same kind as the others; thumbnails teach little.",
    )


def _mode(photos: Sequence[Photo]) -> Finding | None:
    seen = Counter(photo.features.mode for photo in photos)
    usual = seen.most_common(1)[0][0]

    def unusual(features: Features) -> bool:
        rare = seen[features.mode] < RARE_SHARE * len(photos)
        return features.frames > 1 or (features.mode != usual and (rare or features.mode not in _PLAIN_MODES))

    return _finding(
        (photo for photo in photos if unusual(photo.features)),
        lambda features: features.mode + (f", {features.frames} frames" if features.frames > 1 else ""),
        FindingKind.unusual_mode,
        Severity.note,
        what=f"stored otherwise than the usual {usual}",
        advice="Assay reads them as RGB (alpha over white, first frame); see that no class alone has them.",
    )


def _rotated(photos: Sequence[Photo]) -> Finding | None:
    return _finding(
        (photo for photo in photos if photo.features.orientation != 1),
        lambda features: f"orientation {features.orientation}",
        FindingKind.rotated,
        Severity.note,
        what="turned upright by Exif",
        advice="Assay turns them; other tools may not, and then see them on their side.",
    )


def _plain(photos: Sequence[Photo]) -> Finding | None:
    return _finding(
        (photo for photo in photos if photo.features.detail < LEAST_DETAIL and not _is_blank(photo.features)),
        lambda features: f"detail {features.detail:.1f}",
        FindingKind.plain,
        Severity.note,
        what="with too little detail to tell copies",
        advice="Only identical files were looked for among them.",
    )
