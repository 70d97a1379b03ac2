"""Images of the page as data URIs: small JPEGs whose total size is limited."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from assay.core.cpu import cpu_count
from assay.core.errors import AssayError
from assay.core.progress import Progress, no_progress
from assay.evaluation.report.context import MakeHeatmap, ReadImage
from assay.image import decode

Item = TypeVar("Item")

MAX_THUMBNAIL_BYTES = 11_000_000
"""Bytes of pictures on a page, as they stand in it."""

_JPEG_QUALITY = 74


class ThumbnailRequest(NamedTuple):
    """A picture that a page would like to show."""

    id: str
    path: str
    size: int
    """Of the longer side, in pixels."""
    heat: int | None = None
    """Index of the class whose heat map is wanted instead of the photo."""


class EncodedThumbnail(NamedTuple):
    """A picture ready for a page, or the reason why there is none."""

    address: str
    """Begins with `data:`; empty without a picture."""
    problem: str = ""
    width: int = 0
    height: int = 0


ThumbnailMap = dict[ThumbnailRequest, EncodedThumbnail]


def make_thumbnails(
    wishes: Iterable[ThumbnailRequest],
    *,
    read: ReadImage | None,
    heatmap: MakeHeatmap | None,
    room: int = MAX_THUMBNAIL_BYTES,
    progress: Progress = no_progress,
) -> ThumbnailMap:
    """Make the pictures in the order of the wishes, until the room is used up.

    Args:
        wishes: what the page would show, the most important first; equal ones are made once but count each
            time, as the page repeats them.
        read: how photos are read; none: from the files at their paths.
        heatmap: how heat maps are made.
        room: bytes that all pictures may take.
        progress: told of every picture.

    Returns:
        A picture for every wish that there was room for; bad photos have a reason instead.
    """
    wanted = list(wishes)
    made: ThumbnailMap = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        step = 64
        for start in range(0, len(wanted), step):
            batch = wanted[start : start + step]
            new = [wish for wish in dict.fromkeys(batch) if wish not in made]
            found = dict(zip(new, pool.map(_thumbnail_maker(read, heatmap), new), strict=True))
            for wish in batch:
                picture = made.get(wish) or found[wish]
                room -= len(picture.address)
                if room < 0:
                    return made
                made[wish] = picture
            progress("images of the report", min(start + step, len(wanted)), len(wanted))
    return made


def jpeg_data_uri(picture: Image.Image, size: int) -> EncodedThumbnail:
    """Shrink a picture to `size` pixels of its longer side, never enlarge it, and write it as an address."""
    scale = min(1.0, size / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return EncodedThumbnail(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}", "", width, height)


def read_image(identity: str, path: str, read: ReadImage | None) -> bytes:
    """Read a photo's bytes.

    Raises:
        AssayError: it cannot be read; the message is a short reason.
    """
    try:
        return Path(path).read_bytes() if read is None else read(identity, path)
    except FileNotFoundError:
        raise AssayError("the file is missing") from None
    except KeyError:
        raise AssayError("the photo is not in the data set") from None
    except (OSError, ValueError):
        # ValueError: a NUL in the name.
        raise AssayError("the file cannot be opened") from None


def _thumbnail_maker(
    read: ReadImage | None, heatmap: MakeHeatmap | None
) -> Callable[[ThumbnailRequest], EncodedThumbnail]:
    def make(wish: ThumbnailRequest) -> EncodedThumbnail:
        try:
            data = read_image(wish.id, wish.path, read)
            if wish.heat is not None:
                overlay = None if heatmap is None else heatmap(data, wish.heat)
                if overlay is None:
                    return EncodedThumbnail("", "no heat map")
                data = overlay
            return jpeg_data_uri(Image.fromarray(decode(data, min_side=wish.size, value_range="minmax")), wish.size)
        except AssayError as error:
            return EncodedThumbnail("", str(error))

    return make


def evenly_spaced(rows: Sequence[Item], count: int) -> list[Item]:
    """Choose `count` of the rows, evenly spread; all of them where there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]
