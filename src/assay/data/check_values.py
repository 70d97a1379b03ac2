"""What `assay check` says of photos of more than 8 bits: their types, their ranges."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from assay.data.check_likeness import entry
from assay.data.examine import Photo
from assay.data.findings import Finding, FindingKind, Severity, singles
from assay.data.value_ranges import ADVICE, CONVERT, conflict, told
from assay.image.values import UINT8, Values

_DIM: Final = 20
"""95th percentile of gray below which deep photos seem to hold fewer bits than their type: 16 is 12 bits."""


def values_finding(
    photos: Sequence[Photo], refused: Counter[Values], value_range: tuple[float, float] | None
) -> Finding | None:
    """Return what is to be said of the values; None where all have 8 bits or one rule fits all.

    Args:
        photos: those that can be read.
        refused: types and ranges of those that training refuses for their values.
        value_range: of the recipe.
    """
    deep = [photo for photo in photos if photo.features.value_type != UINT8.type]
    if not deep and not refused:
        return None
    types = Counter(photo.features.values for photo in photos) + refused
    groups = singles(entry(photo, str(photo.features.values)) for photo in deep)
    several = "several types or ranges" if len(types) > 1 else "more than 8 bits"
    title = f"values of {several}: {told(types)}"
    if refused:
        advice = "Set preprocess.value_range: [black, white] for those refused, or convert them to 8 bits."
        return Finding(FindingKind.value_range, Severity.error, title, advice, groups)
    if conflict(types, value_range):
        advice = f"Training refuses them: {CONVERT if value_range else ADVICE}."
        return Finding(FindingKind.value_range, Severity.error, title, advice, groups)
    if value_range is None and all(photo.features.bright <= _DIM for photo in deep):
        return Finding(
            FindingKind.value_range,
            Severity.warning,
            f"photos use little of the range of their values: {told(types)}",
            "If the camera gives fewer bits, set preprocess.value_range, for 12 bits to [0, 4095].",
            groups,
        )
    if len(types) == 1:
        return None
    advice = "See that they show the same brightness: each type is scaled by its own range."
    return Finding(FindingKind.value_range, Severity.note, title, advice, groups)
