"""The pictures of a page as data addresses: small JPEGs, together never larger than the page allows."""

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from assay.errors import AssayError
from assay.evaluation.report.context import Heatmap, Read
from assay.image import decode
from assay.inference import cpu_count
from assay.progress import Progress, silent

Item = TypeVar("Item")

ROOM = 11_000_000
"""Bytes of pictures on a page, as they stand in it."""

_QUALITY = 74


class Wish(NamedTuple):
    """A picture that a page would like to show."""

    id: str
    path: str
    size: int
    """Of the longer side, in pixels."""
    heat: int | None = None
    """Index of the class whose heat map is wanted instead of the photo."""


class Picture(NamedTuple):
    """A picture ready for a page, or the reason why there is none."""

    address: str
    """Begins with `data:`; empty without a picture."""
    problem: str = ""
    width: int = 0
    height: int = 0


Shots = dict[Wish, Picture]


def shots(
    wishes: Iterable[Wish],
    *,
    read: Read | None,
    heatmap: Heatmap | None,
    room: int = ROOM,
    progress: Progress = silent,
) -> Shots:
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
    made: Shots = {}
    with ThreadPoolExecutor(cpu_count()) as pool:
        step = 64
        for start in range(0, len(wanted), step):
            batch = wanted[start : start + step]
            new = [wish for wish in dict.fromkeys(batch) if wish not in made]
            found = dict(zip(new, pool.map(_maker(read, heatmap), new), strict=True))
            for wish in batch:
                picture = made.get(wish) or found[wish]
                room -= len(picture.address)
                if room < 0:
                    return made
                made[wish] = picture
            progress("pictures of the report", min(start + step, len(wanted)), len(wanted))
    return made


def jpeg_address(picture: Image.Image, size: int) -> Picture:
    """Shrink a picture to `size` pixels of its longer side, never enlarge it, and write it as an address."""
    scale = min(1.0, size / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    small = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return Picture(
        f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}", "", width, height
    )


def read_photo(identity: str, path: str, read: Read | None) -> bytes:
    """Read a photo's bytes.

    Raises:
        AssayError: it cannot be read; the message is a short reason.
    """
    try:
        return Path(path).read_bytes() if read is None else read(identity, path)
    except FileNotFoundError:
        raise AssayError("the file is missing") from None
    except KeyError:
        raise AssayError("the photo is unknown") from None
    except (OSError, ValueError):
        # ValueError: a NUL in the name.
        raise AssayError("the file cannot be opened") from None


def _maker(read: Read | None, heatmap: Heatmap | None) -> Callable[[Wish], Picture]:
    def make(wish: Wish) -> Picture:
        try:
            data = read_photo(wish.id, wish.path, read)
            if wish.heat is not None:
                overlay = None if heatmap is None else heatmap(data, wish.heat)
                if overlay is None:
                    return Picture("", "no heat map")
                data = overlay
            return jpeg_address(
                Image.fromarray(decode(data, min_side=wish.size, value_range="stretch")), wish.size
            )
        except AssayError as error:
            return Picture("", str(error))

    return make


def spread(rows: Sequence[Item], count: int) -> list[Item]:
    """Choose `count` of the rows, evenly spread; all of them where there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]
