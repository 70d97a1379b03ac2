"""The forms in which a photo may be handed over, and the one way from each to the network's pixels.

Knows nothing of models.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from assay.image import HEAD_BYTES, DecodeError, Preprocess, sniff
from assay.image.rgb import to_rgb, upright
from assay.inference.prediction import Failure

Photo = str | Path | bytes | bytearray | memoryview | Image.Image | np.ndarray
"""A file's path, a file's bytes, a Pillow image, or pixels: uint8 [H, W, 3], RGB, upright."""

FORMS = "a path, bytes, a Pillow image or an array"
"""The same in words."""

_ORIENTATION = 0x0112


def source_of(photo: Photo) -> str | None:
    """Return the path of a photo that is a file, as it was given."""
    return str(photo) if isinstance(photo, str | Path) else None


def read_photo(photo: Photo, preprocess: Preprocess, place: int = 0) -> np.ndarray | Failure:
    """Read one photo, in whatever form it comes, for the network.

    A file and its bytes give the same pixels. A Pillow image is used at full size, where a large JPEG file
    would be decoded at a fraction of it: the pixels then differ by little (see `Preprocess.read`).

    Args:
        photo: see `Photo`.
        preprocess: from a decoded photo to the network's pixels.
        place: the photo's index among several, to name one that has no path.

    Returns:
        uint8 array of shape [S, S, 3]; or why the photo cannot be read, as data, so that one bad file among
        thousands does no harm.
    """
    try:
        return _read(photo, preprocess)
    except DecodeError as error:
        why = str(error)
    except IsADirectoryError:
        why = "it is a folder: give the files in it"
    except (OSError, ValueError) as error:
        # ValueError: a path with a zero byte.
        why = getattr(error, "strerror", None) or str(error)
    return Failure(source_of(photo) or f"photo {place + 1}", why[:1].lower() + why[1:])


def _read(photo: Photo, preprocess: Preprocess) -> np.ndarray:
    if isinstance(photo, str | Path):
        return preprocess.read(_bytes(Path(photo)))
    if isinstance(photo, bytes | bytearray | memoryview):
        return preprocess.read(bytes(photo))
    return preprocess(_pixels(photo) if isinstance(photo, Image.Image) else _checked(photo))


def _bytes(path: Path) -> bytes:
    """Read a file, but only its head if that is no image's: the file may be a video of many gigabytes."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        return head if sniff(head) is None else head + stream.read()


def _pixels(image: Image.Image) -> np.ndarray:
    """Do for a Pillow image what `decode` does for a file: upright, transparency over white, 8-bit RGB."""
    try:
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
        return upright(to_rgb(image, (image.format or "").lower()), orientation)
    except (UnidentifiedImageError, SyntaxError, ValueError, EOFError) as error:
        raise DecodeError(f"damaged image ({error})") from None


def _checked(pixels: object) -> np.ndarray:
    if not isinstance(pixels, np.ndarray):
        raise DecodeError(f"a photo must be {FORMS}, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise DecodeError(
            f"an array must be uint8 [H, W, 3] in RGB order, not {pixels.dtype} {list(pixels.shape)}"
        )
    return pixels
