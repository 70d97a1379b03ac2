"""Which image formats the photos of a data set have, by content."""

from collections import Counter
from collections.abc import Iterable

from assay.data.samples import Sample
from assay.image import HEAD_BYTES, sniff


def count_formats(samples: Iterable[Sample]) -> dict[str, int]:
    """Count photos by format, most frequent first; images in array files have none.

    A file that has gone since it was scanned is not counted.
    """
    found: Counter[str] = Counter()
    for sample in samples:
        if sample.tensor is not None:
            continue
        try:
            with sample.path.open("rb") as stream:
                kind = sniff(stream.read(HEAD_BYTES))
        except OSError:
            continue
        if kind is not None:
            found[kind] += 1
    return dict(found.most_common())
