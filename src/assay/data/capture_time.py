"""When a photo was taken, by its Exif data or file name, and its position in a video or burst."""

import re
import struct
from calendar import timegm
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from PIL import Image

from assay.image.decode import suppress_warnings

_HEAD_LIMIT: Final = 1 << 17
_EXIF_LIMIT: Final = 1 << 16
_EXIF_IFD: Final = 0x8769
_TIME_ORIGINAL: Final = 0x9003
_SUBSECONDS_ORIGINAL: Final = 0x9291
_EXIF_ERRORS: Final = (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError, struct.error)
_EPOCH: Final = re.compile(r"(?<!\d)(1\d{9})(\d{3})?(?!\d)")
_CALENDAR: Final = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[-_.T ]{0,3}"
    r"(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)[-_.]?(\d{3})?(?!\d)"
)

_FRAME: Final = re.compile(r"(.*(?:frame|frm|video|vid|clip|burst|seq).*?)(\d{1,9})$", re.IGNORECASE)


class FramePosition(NamedTuple):
    """Position in a video or burst; `sequence` is folder and file name without the number."""

    sequence: str
    number: int


def exif_time(data: bytes) -> float | None:
    """Return the exposure time in the Exif data of a JPEG, PNG or WebP file; None if missing or damaged.

    Source: CIPA DC-008 (Exif 2.32, 2019), tags DateTimeOriginal and SubSecTimeOriginal.
    """
    start = data.find(b"Exif\0\0", 0, _HEAD_LIMIT)
    if start < 0:
        marker = max(data.rfind(b"EXIF", -_EXIF_LIMIT), data.find(b"eXIf", 0, _HEAD_LIMIT))
        if marker < 0:
            return None
        start = marker + (8 if data[marker : marker + 4] == b"EXIF" else 4)
    try:
        with suppress_warnings():
            exif = Image.Exif()
            exif.load(data[start : start + _EXIF_LIMIT])
            tags = exif.get_ifd(_EXIF_IFD)
            text, part = tags.get(_TIME_ORIGINAL), tags.get(_SUBSECONDS_ORIGINAL, "")
            whole = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 (no zone in it)
    except _EXIF_ERRORS:
        return None
    digits = str(part).strip("\0 ")
    return timegm(whole.timetuple()) + (float(f"0.{digits}") if digits.isdecimal() else 0.0)


def filename_time(name: str) -> float | None:
    """Return the time in a file name, in seconds since 1970, or None.

    Recognised are `1715279745553.jpg` (s or ms), `IMG_20240101_120102.jpg` and `2024-01-01 12.01.02.png`.
    """
    stem = PurePosixPath(name).stem
    if found := _CALENDAR.search(stem):
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        if 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61:
            thousandths = int(found.group(7) or 0)
            return timegm((year, month, day, hour, minute, second)) + thousandths / 1000
    if found := _EPOCH.search(stem):
        return int(found.group(1)) + int(found.group(2) or 0) / 1000
    return None


def parse_frame(name: str) -> FramePosition | None:
    """Return sequence and number of names such as `frame_000123.jpg`; None for names that are only numbered.

    `cell0001.png` and `IMG_0001.jpg` do not imply a time: the next number may be another product.
    """
    path = PurePosixPath(name)
    found = _FRAME.match(path.stem)
    return FramePosition(f"{path.parent}/{found.group(1)}", int(found.group(2))) if found else None
