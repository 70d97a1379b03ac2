"""Exceptions of decoding, and the reason of a failure: `unsupported: ...` or `damaged: ...`."""

import io
import re
from collections.abc import Mapping
from typing import Any, Final

from PIL import TiffImagePlugin
from PIL.ImageFile import ImageFile

from assay.core.errors import AssayError
from assay.image.formats import foreign_file_type, format_title, is_readable


class DecodeError(AssayError):
    """A file cannot be decoded; the message is a short reason such as "damaged: truncated JPEG"."""


class TooLargeError(DecodeError):
    """An image has more pixels than allowed."""


class TooComplexError(DecodeError):
    """Decoding a file would take far more work than its number of pixels justifies."""


ADVICE: Final = "convert it to JPEG or PNG"

_REDUCED: Final = 254
_BITS: Final = 258
_COMPRESSION: Final = 259
_PHOTOMETRIC: Final = 262
_YCBCR: Final = 6
_SUBFOLDERS: Final = 330
_FORMAT: Final = 339
_DNG: Final = 50706

_COMPRESSIONS: Final = {
    9: "JBIG",
    10: "JBIG",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33004: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG (DNG)",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
"""TIFF compressions that Pillow's wheels do not support; others are reported by number."""

_PHOTOMETRICS: Final = {
    0: "gray (white is zero)",
    1: "gray",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    9: "Lab",
    10: "Lab",
    32803: "camera raw",
    32844: "LogL",
    32845: "LogLuv",
    34892: "camera raw",
}
_FORMATS: Final = {1: "unsigned", 2: "signed", 3: "floating-point"}

_SCAN: Final = 0xDA
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
_FRAMES: Final = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_PROCESSES: Final = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xF7: "JPEG-LS",
}
"""Frame markers of JPEG processes that libjpeg does not support."""

# Messages of Pillow's readers about intact files of an unsupported variant.
_UNSUPPORTED_MESSAGE: Final = re.compile(
    r"unsupported (?!marker)|not supported|cannot handle|unknown pixel mode|unknown data organization"
    r"|unrecognized image mode|unable to determine"
)


def unrecognized_reason(head: bytes) -> str:
    """Return the reason for a file whose first `HEAD_BYTES` bytes are not those of an image."""
    if not head:
        return "empty file"
    name = foreign_file_type(head)
    return "not an image" if name is None else f"unsupported: {name}, not a photo"


def unsupported_format_reason(kind: str) -> str | None:
    """Return the reason if a format (as named by `sniff`) is not supported, else None."""
    return None if is_readable(kind) else f"unsupported: {format_title(kind)}; {ADVICE}"


def unsupported_header_reason(image: ImageFile, kind: str) -> str | None:
    """Return the reason if Pillow would decode a file wrongly, such as a raw file to its thumbnail."""
    if kind != "tiff":
        return None
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    if _DNG in tags or (_SUBFOLDERS in tags and _is_thumbnail(tags)):
        return f"unsupported: {format_title('raw')}; {ADVICE}"
    # libtiff would print errors for these, or Pillow return wrong colours.
    if tags.get(_COMPRESSION, 1) in _COMPRESSIONS:
        return f"unsupported: TIFF compressed as {_COMPRESSIONS[tags[_COMPRESSION]]}; {ADVICE}"
    if tags.get(_PHOTOMETRIC) == _YCBCR and image.mode == "RGB" and image.tile[0].codec_name != "libtiff":
        return f"unsupported: TIFF of YCbCr without JPEG compression; {ADVICE}"
    return None


def decode_failure_reason(error: BaseException, data: bytes, kind: str) -> str:
    """Return the reason for an exception that Pillow raised while decoding."""
    text = str(error).lower()
    lacking = bool(_UNSUPPORTED_MESSAGE.search(text))
    name = _unsupported_variant(data, kind, lacking=lacking)
    if name is None and lacking:
        name = f"{format_title(kind)} of a rare kind"
    if name is not None:
        return f"unsupported: {name}; {ADVICE}"
    if isinstance(error, EOFError) or "truncated" in text or "too short" in text:
        return f"damaged: truncated {format_title(kind)}"
    return f"damaged: invalid {format_title(kind)} data"


def _unsupported_variant(data: bytes, kind: str, *, lacking: bool) -> str | None:
    if kind == "jpeg":
        return _jpeg_variant(data)
    if kind == "tiff":
        return _tiff_variant(data, lacking=lacking)
    if kind == "png" and data[12:16] == b"CgBI":
        return "PNG in the form made for iPhone apps"
    return "PFM in colour" if kind == "ppm" and data.startswith(b"PF") else None


def _is_thumbnail(tags: Mapping[int, Any]) -> bool:
    value = tags.get(_REDUCED, 0)
    return isinstance(value, int) and bool(value & 1)


def _jpeg_variant(data: bytes) -> str | None:
    """Return the process of a JPEG that libjpeg does not support.

    Source: ITU-T T.81 (1992), tables B.1 and B.2; ITU-T T.87 (1998) for JPEG-LS.
    """
    frame = _jpeg_frame(data)
    if frame is None:
        return None
    marker, bits, channels = frame
    if marker in _PROCESSES:
        return _PROCESSES[marker]
    if bits == 12:
        return "JPEG with 12 bits a channel"
    return f"JPEG with {channels} channels" if channels not in {1, 3, 4} else None


def _jpeg_frame(data: bytes) -> tuple[int, int, int] | None:
    """Return marker, bits per channel and number of channels of a JPEG's first frame header."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAMES:
            return marker, data[position + 4], data[position + 9]
        if marker == _SCAN:
            return None
        if marker == 0xFF or marker in _BARE:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _tiff_variant(data: bytes, *, lacking: bool) -> str | None:
    """Return the compression of a TIFF if Pillow does not support it, or else its pixel format."""
    try:
        big = 43 in data[2:4]
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        compression = int(tags.get(_COMPRESSION, 1))
        photometric = int(tags.get(_PHOTOMETRIC, 0))
        bits, formats = _integers(tags, _BITS), _integers(tags, _FORMAT)
    except Exception:  # noqa: BLE001 - a file with invalid tags is damaged
        return None
    if compression in _COMPRESSIONS:
        return f"TIFF compressed as {_COMPRESSIONS[compression]}"
    if compression not in TiffImagePlugin.COMPRESSION_INFO:
        return f"TIFF of compression {compression}"
    colour = _PHOTOMETRICS.get(photometric, f"photometric {photometric}")
    if colour == "camera raw":
        return colour
    if not lacking:
        return None
    numbers = " and ".join(_FORMATS.get(value, "other") for value in sorted(set(formats))[:2])
    return f"TIFF of {colour}, {len(bits)} × {max(bits, default=0)} bits, {numbers}"


def _integers(tags: TiffImagePlugin.ImageFileDirectory_v2, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, 1)
    return tuple(int(number) for number in value) if isinstance(value, tuple) else (int(value),)
