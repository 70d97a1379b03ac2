"""The images of a report: which are shown, and their thumbnails as data URIs of limited total size."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.notebook_html import data_uri
from assay.core.progress import Progress, no_progress
from assay.evaluation.confusion_matrix import ConfusedPair
from assay.evaluation.predictions import Mistake, ReadImage, read_image
from assay.evaluation.report.report_data import LabelIssue, MakeHeatmap, Neighbor, ReportData
from assay.image.thumbnail import jpeg_thumbnail

MAX_THUMBNAIL_BYTES = 11_000_000
"""Total size of the data URIs of a page."""

MAX_PAIRS = 6
"""Confused pairs of classes shown with images."""

MAX_PAIR_PHOTOS = 6
MAX_LABEL_ISSUES = 24
MAX_MISTAKES = 160
"""Misclassified images shown; the tables list them all."""

LARGE, MEDIUM, SMALL = 176, 120, 72
"""Longer side of thumbnails, in pixels."""

_BATCH_SIZE = 64


class ThumbnailRequest(NamedTuple):
    """An image that a page shows if there is room."""

    id: str
    path: str
    size: int
    """Of the longer side, in pixels."""
    heatmap_class: int | None = None
    """Index of the class whose heat map is shown instead of the image."""


class EncodedThumbnail(NamedTuple):
    """A thumbnail ready for a page, or the reason why there is none."""

    uri: str
    """A data URI; empty without an image."""
    problem: str = ""
    width: int = 0
    height: int = 0


ThumbnailMap = dict[ThumbnailRequest, EncodedThumbnail]


class ConfusedPairPhotos(NamedTuple):
    """A confused pair of classes and its most confident mistakes."""

    pair: ConfusedPair
    photos: tuple[tuple[Mistake, ThumbnailRequest], ...]


class LabelIssuePhoto(NamedTuple):
    """A label that is probably wrong and its image."""

    issue: LabelIssue
    photo: ThumbnailRequest


class MistakePhotos(NamedTuple):
    """A misclassified image, its heat map, and the nearest training images."""

    mistake: Mistake
    photo: ThumbnailRequest
    heatmap: ThumbnailRequest | None
    nearest: tuple[tuple[Neighbor, ThumbnailRequest], ...]


class Gallery(NamedTuple):
    """All images that a page shows."""

    pairs: tuple[ConfusedPairPhotos, ...]
    label_issues: tuple[LabelIssuePhoto, ...]
    mistakes: tuple[MistakePhotos, ...]

    def requests(self) -> Iterator[ThumbnailRequest]:
        """Yield every image as often as it is shown, the most important first."""
        for pair in self.pairs:
            yield from (request for _, request in pair.photos)
        yield from (issue.photo for issue in self.label_issues)
        for mistake in self.mistakes:
            yield mistake.photo
            if mistake.heatmap is not None:
                yield mistake.heatmap
            yield from (request for _, request in mistake.nearest)


def select_photos(data: ReportData, *, with_heatmaps: bool) -> Gallery:
    """Choose the images to show: a bounded number, the most confident mistakes first."""

    def request(image: Mistake | LabelIssue | Neighbor, size: int) -> ThumbnailRequest:
        return ThumbnailRequest(image.id, image.path, size)

    pairs = []
    for pair in data.confusion.pairs()[:MAX_PAIRS]:
        members = [
            mistake for mistake in data.mistakes if (mistake.actual, mistake.predicted) == (pair.actual, pair.predicted)
        ]
        photos = tuple((mistake, request(mistake, MEDIUM)) for mistake in members[:MAX_PAIR_PHOTOS])
        pairs.append(ConfusedPairPhotos(pair, photos))
    issues = (LabelIssuePhoto(issue, request(issue, MEDIUM)) for issue in data.label_issues[:MAX_LABEL_ISSUES])
    classes = data.predictions.classes
    mistakes = (
        MistakePhotos(
            mistake,
            request(mistake, LARGE),
            ThumbnailRequest(mistake.id, mistake.path, LARGE, classes.index(mistake.predicted))
            if with_heatmaps
            else None,
            tuple((neighbor, request(neighbor, SMALL)) for neighbor in neighbors),
        )
        for mistake, neighbors in zip(data.mistakes[:MAX_MISTAKES], data.neighbors[:MAX_MISTAKES], strict=True)
    )
    return Gallery(tuple(pairs), tuple(issues), tuple(mistakes))


def make_thumbnails(
    requests: Iterable[ThumbnailRequest],
    *,
    read: ReadImage | None,
    make_heatmap: MakeHeatmap | None,
    max_bytes: int = MAX_THUMBNAIL_BYTES,
    progress: Progress = no_progress,
) -> ThumbnailMap:
    """Make thumbnails in the order of the requests, until `max_bytes` are used up.

    Args:
        requests: the most important first; equal ones are made once but count each time, as the page
            repeats them.
        read: returns an image's bytes; None: read from the file at its path.
        make_heatmap: None: requests for heat maps fail.
        max_bytes: total size of the data URIs.
        progress: called with the number of thumbnails made.

    Returns:
        A thumbnail for every request that there was room for; unreadable images have a reason instead.
    """

    def make(request: ThumbnailRequest) -> EncodedThumbnail:
        try:
            data = read_image(request.id, request.path, read)
            if request.heatmap_class is not None:
                heatmap = None if make_heatmap is None else make_heatmap(data, request.heatmap_class)
                if heatmap is None:
                    return EncodedThumbnail("", "no heat map")
                data = heatmap
            jpeg = jpeg_thumbnail(data, request.size, request.size)
        except AssayError as error:
            return EncodedThumbnail("", str(error))
        return EncodedThumbnail(data_uri(jpeg.data, "image/jpeg"), "", jpeg.width, jpeg.height)

    pending = list(requests)
    thumbnails: ThumbnailMap = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, len(pending), _BATCH_SIZE):
            batch = pending[start : start + _BATCH_SIZE]
            new = [request for request in dict.fromkeys(batch) if request not in thumbnails]
            made = dict(zip(new, pool.map(make, new), strict=True))
            for request in batch:
                thumbnail = thumbnails.get(request) or made[request]
                max_bytes -= len(thumbnail.uri)
                if max_bytes < 0:
                    return thumbnails
                thumbnails[request] = thumbnail
            progress("images of the report", min(start + _BATCH_SIZE, len(pending)), len(pending))
    return thumbnails
