"""Image formats recognized by their first bytes.

Each readable format has exactly one Pillow reader; others, such as EPS, which starts Ghostscript, are never tried.
"""

import re
from typing import IO, Final

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from assay.image import bmp_ppm

HEAD_BYTES: Final = 512
"""Leading bytes that `sniff` needs, for the brands of an ISO media file or the first tag of an SVG."""

_READERS: Final[dict[str, type[ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": bmp_ppm.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "jpeg2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "ppm": bmp_ppm.PpmImageFile,
}

_NAMES: Final = {
    "webp": "WebP",
    "jpeg2000": "JPEG 2000",
    "jxl": "JPEG XL",
    "jxr": "JPEG XR",
    "raw": "camera raw",
    "psd": "Photoshop",
    "exr": "OpenEXR",
}

# BMP and PPM begin like ordinary text: their patterns include the field that follows.
_SIGNATURES: Final = [
    ("jpeg", re.compile(rb"\xff\xd8\xff")),
    ("png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("gif", re.compile(rb"GIF8[79]a")),
    ("bmp", re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    # Camera raw files: Canon (CR2, CRW), Olympus, Panasonic, Fujifilm, Sigma, Minolta. Some look like TIFF.
    ("raw", re.compile(rb"II\*\0....CR|II\x1a\0..\0\0HEAPCCDR", re.DOTALL)),
    ("raw", re.compile(rb"IIR[OS]|MMOR|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM")),
    ("tiff", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("jpeg2000", re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("ppm", re.compile(rb"P[1-6]\s+(#|\d+\s)|P[fF]\s+\d+\s")),
    ("jxl", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")),
    ("jxr", re.compile(rb"II\xbc[\0\x01]")),
    ("psd", re.compile(rb"8BPS\0[\x01\x02]")),
    ("exr", re.compile(rb"v/1\x01")),
]

_ISO_BRANDS: Final = [
    ("avif", {b"avif", b"avis"}),
    ("heic", {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}),
    ("heif", {b"mif1", b"msf1", b"mif2", b"miaf", b"avci", b"avcs", b"jpeg", b"jpgs", b"j2ki"}),
    ("raw", {b"crx "}),
]
"""Still images in ISO media files, by brand."""

# Files of other kinds that users may pass by mistake.
_FOREIGN_SIGNATURES: Final = [
    ("a PDF document", re.compile(rb"%PDF-")),
    (
        "an SVG drawing",
        re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml.*|<!--.*|<!DOCTYPE svg.*)?<svg[\s>]", re.DOTALL),
    ),
    ("a PostScript file", re.compile(rb"%!PS|\xc5\xd0\xd3\xc6")),
    ("a video", re.compile(rb"....(ftyp|moov|mdat|wide)|RIFF....AVI |\x1a\x45\xdf\xa3|FLV\x01", re.DOTALL)),
    ("a video", re.compile(rb"\0\0\x01[\xb3\xba]|\x30\x26\xb2\x75\x8e\x66\xcf\x11|OggS")),
    ("a GIMP picture", re.compile(rb"gimp xcf ")),
    ("a Radiance picture", re.compile(rb"#\?(RADIANCE|RGBE)")),
    ("a DDS texture", re.compile(rb"DDS \x7c")),
    ("an icon", re.compile(rb"\0\0[\x01\x02]\0[^\0]\0..", re.DOTALL)),
    ("an Apple icon", re.compile(rb"icns")),
    ("a FITS picture", re.compile(rb"SIMPLE  =")),
    ("a DICOM picture", re.compile(rb".{128}DICM", re.DOTALL)),
    ("an animation (MNG)", re.compile(rb"\x8a[MJ]NG|\x8bJNG")),
    ("a zip archive", re.compile(rb"PK\x03\x04")),
    ("a web page", re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)),
]


def sniff(head: bytes) -> str | None:
    """Return the image format of a file from its first `HEAD_BYTES` bytes, or None if it is not an image.

    "jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "jpeg2000", "ppm" (PBM, PGM, PPM and PFM); or "heic", "heif",
    "jxl", "jxr", "raw", "psd", "exr", which are recognized but not decoded (see `is_readable`).
    """
    for kind, signature in _SIGNATURES:
        if signature.match(head):
            return kind
    return _iso_kind(head) if head[4:8] == b"ftyp" else None


def _iso_kind(head: bytes) -> str | None:
    """Return the format of an ISO media file: by its major brand, then by the compatible ones.

    Source: ISO/IEC 14496-12 (2022), 4.3; AV1 Image File Format 1.1 (2022), section 6: `mif1` may come first.
    """
    box = head[8 : min(int.from_bytes(head[:4], "big"), len(head))]
    major, compatible = box[:4], {box[position : position + 4] for position in range(8, len(box), 4)}
    general = _ISO_BRANDS[2][1]
    if major not in general:
        return next((kind for kind, brands in _ISO_BRANDS if major in brands), None)
    return next((kind for kind, brands in _ISO_BRANDS if brands & {major, *compatible}), None)


def foreign_file_type(head: bytes) -> str | None:
    """Return the type of a file that is not an image from its first bytes, if known: "a PDF document"."""
    return next((name for name, signature in _FOREIGN_SIGNATURES if signature.match(head[:HEAD_BYTES])), None)


def format_title(kind: str) -> str:
    """Return a format's display name: JPEG, PNG, WebP."""
    return _NAMES.get(kind, kind.upper())


def is_readable(kind: str) -> bool:
    """Return whether Assay can decode a format."""
    return kind in _READERS


def read_header(stream: IO[bytes], kind: str) -> ImageFile:
    """Parse the header with the format's reader; `load` decodes the pixels later.

    `PIL.Image.open` is not used: it depends on limits and readers that any code in the process may change,
    and treats phone photos that contain a second image as a different format. Raises `KeyError` for an unsupported
    format, and any exception of Pillow for a damaged header.
    """
    return _READERS[kind](stream)
