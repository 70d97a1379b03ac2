"""One rule for the values of a whole data set: which of them are black and white in every photo."""

from collections.abc import Mapping

from assay.image.values import Values

ADVICE = "set preprocess.value_range to [black, white], which then holds for all of them"
CONVERT = "convert them to one type"


def conflict(counts: Mapping[Values, int], value_range: tuple[float, float] | None) -> str | None:
    """Say in what way photos of more than 8 bits would be scaled by different rules; None if they are not.

    Photos of different types may stand side by side, as 8 and 16 bits: each type has a range of its own.
    Photos of one type that declare different ranges may not: equal values would look different.

    Args:
        counts: photos by type and range.
        value_range: the recipe's `preprocess.value_range`, which holds for all but 8-bit photos.
    """
    deep = {values: count for values, count in counts.items() if values.type != "uint8"}
    if value_range is not None:
        kinds = {values.type.startswith("float") for values in deep}
        return (
            f"integers and floating-point values cannot share a range ({told(deep)})"
            if len(kinds) > 1
            else None
        )
    for name in sorted({values.type for values in deep}):
        same = {values: count for values, count in deep.items() if values.type == name and values.range}
        if len(same) > 1:
            return f"photos of one type declare different ranges of values ({told(same)})"
    return None


def told(counts: Mapping[Values, int], most: int = 4) -> str:
    """Return the types and ranges with their numbers of photos, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], str(entry[0])))
    more = f"; {len(ordered) - most} more" if len(ordered) > most else ""
    return "; ".join(f"{values}: {count:,}" for values, count in ordered[:most]) + more
