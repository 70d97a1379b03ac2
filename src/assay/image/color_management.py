"""Conversion of a file's colours to sRGB by its ICC profile or equivalent metadata; transforms are cached."""

import hashlib
import io
import re
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile

from assay.image import icc_profiles
from assay.image.jpeg_png_trimming import MAX_PROFILE

_MAX_CACHED: Final = 16
"""Maximum number of cached profiles; those of printing presses can have some megabytes."""

_MAX_DIFFERENCE: Final = 2
"""A profile that changes no colour by more levels than this counts as sRGB: vendors' copies of it differ in
rounding."""

_MODES: Final = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}
"""Pillow's mode for the colour space of a profile."""

_CLASSES: Final = {"mntr", "scnr", "prtr", "spac"}
_INTENT: Final = ImageCms.Intent.RELATIVE_COLORIMETRIC
# Without LittleCMS's one-pixel cache a transform is safe for concurrent use.
_FLAGS: Final = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE

_INTEROPERABILITY: Final = 0xA005
_HEAD: Final = 1 << 16
_NCLX: Final = re.compile(rb"colrnclx(....)", re.DOTALL)
_JP2_PROFILE: Final = re.compile(rb"(....)colr\x02..", re.DOTALL)
_SRGB_GAMMA: Final = 0.45455


@dataclass(frozen=True, slots=True)
class SrgbTransform:
    """The transform of a profile's colours to sRGB; thread-safe. `space` is "RGB", "CMYK" or "GRAY"."""

    space: str
    _transform: ImageCms.ImageCmsTransform

    def __call__(self, image: Image.Image) -> Image.Image:
        """Convert an image in any mode without alpha to a new RGB image."""
        mode = _MODES[self.space]
        return self._transform.apply(image if image.mode == mode else image.convert(mode))


def srgb_transform(image: ImageFile, kind: str, data: bytes) -> SrgbTransform | None:
    """Return the transform of a file's colours to sRGB; None if they are sRGB or no colour space is declared.

    An ICC profile takes precedence; without one, the sRGB, gAMA and cHRM chunks of a PNG, the CICP code
    points of an AVIF, and the DCF mark for Adobe RGB in a JPEG are used. A PNG's cICP chunk overrides its
    profile. Only the header of `image` must be parsed.

    Source: ICC.1:2022; PNG, third edition (W3C, 2025), 4.3; ISO/IEC 14496-12 (2022), 12.1.5; CIPA DC-008
        (Exif 2.32, 2019) and DC-009 (DCF 2.0, 2010), interoperability index R03.
    """
    profile = _file_profile(image, kind, data)
    return None if profile is None else srgb_transform_of_profile(profile, _color_space(image.mode))


def srgb_transform_of_image(image: Image.Image) -> SrgbTransform | None:
    """Return the transform to sRGB of the ICC profile of an image in memory, if it has one."""
    profile = image.info.get("icc_profile")
    return srgb_transform_of_profile(profile, _color_space(image.mode)) if isinstance(profile, bytes) else None


def srgb_transform_of_profile(profile: bytes, space: str) -> SrgbTransform | None:
    """Return the transform of a profile to sRGB; None if it changes nothing, is invalid or does not fit.

    `space` is that of the image: "RGB", "GRAY" or "CMYK"; a gray image may have an RGB profile.
    """
    found = _transforms.get(profile) if 0 < len(profile) <= MAX_PROFILE else None
    if found is None or found.space == space or (space, found.space) == ("GRAY", "RGB"):
        return found
    return None


def _color_space(mode: str) -> str:
    if mode in {"L", "LA", "La", "1"} or mode.startswith("I") or mode == "F":
        return "GRAY"
    return {"CMYK": "CMYK", "LAB": "LAB"}.get(mode, "RGB")


def _file_profile(image: ImageFile, kind: str, data: bytes) -> bytes | None:
    """Return the embedded profile of a file, or the equivalent of its other colour metadata."""
    info: dict[Any, Any] = image.info
    if kind == "png" and (coded := _png_chunk(data, b"cICP")) and len(coded) == 4:
        return icc_profiles.cicp_profile(coded[0], coded[1])
    if profile := info.get("icc_profile"):
        return bytes(profile)
    if kind == "jpeg":
        return _ADOBE_RGB if _is_adobe_rgb(info.get("exif", b"")) else None
    return _gamma_profile(info) if kind == "png" else _container_profile(kind, data)


def _container_profile(kind: str, data: bytes) -> bytes | None:
    """Return the profile of an AVIF, JPEG 2000 or BMP file, which Pillow does not read."""
    if kind == "avif" and (found := _NCLX.search(data)):
        primaries, transfer = struct.unpack(">HH", found[1])
        return icc_profiles.cicp_profile(primaries, transfer)
    if kind == "jpeg2000" and (found := _JP2_PROFILE.search(data, 0, _HEAD)):
        return data[found.end() : found.start() + int.from_bytes(found[1], "big")]
    if kind == "bmp" and len(data) > 138 and data[14] == 124 and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 126)
        return data[14 + start : 14 + start + size]
    return None


def _png_chunk(data: bytes, name: bytes) -> bytes | None:
    position = 8
    while position + 12 <= len(data) and data[position + 4 : position + 8] not in {b"IDAT", b"IEND"}:
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == name:
            return data[position + 8 : position + 8 + length]
        position += 12 + length
    return None


def _gamma_profile(info: dict[Any, Any]) -> bytes | None:
    """Return the profile for a PNG's gAMA and cHRM chunks; an sRGB chunk overrides them."""
    gamma, numbers = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not isinstance(gamma, float) or not 0.1 <= gamma <= 4:
        return None
    if isinstance(numbers, tuple) and len(numbers) == 8:
        white, red, green, blue = ((numbers[position], numbers[position + 1]) for position in range(0, 8, 2))
        primaries: icc_profiles.Primaries = (white, red, green, blue)
    else:
        primaries = icc_profiles.REC709
    usual = abs(gamma - _SRGB_GAMMA) < 0.001
    if usual and np.abs(np.subtract(primaries, icc_profiles.REC709)).max() < 0.001:
        return None
    try:
        # The gamma of sRGB stands for sRGB's tone curve.
        return icc_profiles.rgb_profile(primaries, None if usual else 1 / gamma)
    except ValueError:
        return None


def _is_adobe_rgb(exif: bytes) -> bool:
    """Return whether Exif data have DCF's interoperability index for Adobe RGB."""
    if b"R03" not in exif:
        return False
    try:
        tags = Image.Exif()
        tags.load(exif)
        return str(tags.get_ifd(_INTEROPERABILITY).get(1, "")).strip("\0 ") == "R03"
    except Exception:  # noqa: BLE001 - damaged metadata are ignored
        return False


class _TransformCache:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached: OrderedDict[bytes, SrgbTransform | None] = OrderedDict()

    def get(self, profile: bytes) -> SrgbTransform | None:
        digest = hashlib.sha256(profile).digest()
        with self._lock:
            if digest in self._cached:
                self._cached.move_to_end(digest)
                return self._cached[digest]
        transform = _build_transform(profile)
        with self._lock:
            self._cached[digest] = transform
            while len(self._cached) > _MAX_CACHED:
                self._cached.popitem(last=False)
        return transform


def _build_transform(profile: bytes) -> SrgbTransform | None:
    if icc_profiles.is_too_complex(profile):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        mode = _MODES.get(space)
        if mode is None or source.profile.device_class not in _CLASSES:
            return None
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB", _INTENT, _FLAGS)
        srgb = SrgbTransform(space, transform)
        return None if _is_identity(srgb) else srgb
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_identity(transform: SrgbTransform) -> bool:
    ramp = np.arange(256, dtype=np.uint8)
    if transform.space == "GRAY":
        before = np.repeat(ramp[None, :, None], 3, axis=2)
        after = np.asarray(transform(Image.fromarray(ramp[None])))
    elif transform.space == "RGB":
        grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 9).astype(np.uint8)] * 3), axis=3).reshape(1, -1, 3)
        before = np.concatenate([grid, np.repeat(ramp[None, :, None], 3, axis=2)], axis=1)
        after = np.asarray(transform(Image.fromarray(before)))
    else:
        return False
    return int(np.abs(before.astype(int) - after).max()) <= _MAX_DIFFERENCE


_SRGB: Final = ImageCms.createProfile("sRGB")
_ADOBE_RGB: Final = icc_profiles.rgb_profile(icc_profiles.ADOBE_RGB, icc_profiles.ADOBE_GAMMA)
_transforms: Final = _TransformCache()
