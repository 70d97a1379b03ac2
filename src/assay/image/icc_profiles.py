"""ICC profiles made from primaries and tone curves (CICP, gAMA, Adobe RGB), and a check of embedded profiles."""

import struct
from functools import lru_cache
from typing import Final

import numpy as np

Chromaticity = tuple[float, float]
"""CIE 1931 x and y."""

Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]
"""White point, red, green, blue."""

D65: Final = (0.3127, 0.329)
REC709: Final[Primaries] = (D65, (0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
ADOBE_RGB: Final[Primaries] = (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA: Final = 563 / 256

_MAX_TAGS: Final = 100
_MAX_ELEMENTS: Final = 32
_MAX_SEGMENTS: Final = 32
_MAX_CHANNELS: Final = 4

_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_STEPS: Final = 4096

# ITU-T H.273 (2021), tables 2 and 3, for the values found in photos.
_CICP_PRIMARIES: Final[dict[int, Primaries]] = {
    1: REC709,
    4: ((0.31, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (D65, (0.64, 0.33), (0.29, 0.6), (0.15, 0.06)),
    6: (D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: (D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    9: (D65, (0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    12: (D65, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_PQ: Final = 16
_HLG: Final = 18


@lru_cache(maxsize=16)
def cicp_profile(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of CICP ColourPrimaries and TransferCharacteristics; None for sRGB and unknown code points.

    The transfer curves of video and sRGB (1, 6, 13, 14, 15) count as sRGB's, as in photo software. In HDR
    images (PQ, HLG), values brighter than diffuse white are clipped.

    Source: ITU-T H.273 (2021); ITU-R BT.2100-2 (2018); ITU-R BT.2408-7 (2023) for diffuse white.
    """
    if primaries not in _CICP_PRIMARIES:
        return None
    if transfer in _GAMMAS:
        return rgb_profile(_CICP_PRIMARIES[primaries], _GAMMAS[transfer])
    signal = np.linspace(0, 1, _STEPS)
    if transfer == _PQ:
        root = signal ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return rgb_profile(_CICP_PRIMARIES[primaries], np.minimum(light * 10_000 / 203, 1))
    if transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        white = (np.exp((0.75 - c) / a) + b) / 12
        return rgb_profile(_CICP_PRIMARIES[primaries], np.minimum(light / white, 1))
    return None if primaries == 1 else rgb_profile(_CICP_PRIMARIES[primaries], None)


def rgb_profile(primaries: Primaries, curve: float | np.ndarray | None) -> bytes:
    """Make a display profile of three primaries and one tone curve.

    `curve` is the exponent of a power; or the light, 0-1, at evenly spaced signals; None: the curve of sRGB. Raises
    `ValueError` if the primaries are collinear, or a value is out of range.

    Source: ICC.1:2022 (profile version 4.4), 8.3 and annex E; IEC 61966-2-1 (1999).
    """
    columns = _to_d50(primaries)
    tags = {
        b"desc": _text("Assay"),
        b"cprt": _text("none"),
        b"wtpt": _xyz(_D50),
        **{name: _xyz(columns[:, position]) for position, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(curve)),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x04400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + _numbers(_D50)
    return head.ljust(128, b"\0") + table + body


def _to_d50(primaries: Primaries) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ under D50; its columns are the colorants."""
    if any(not (-1 < x < 2 and 0 < y < 2) for x, y in primaries):
        raise ValueError("a chromaticity is out of range")
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries)
    try:
        matrix = np.stack(colours, axis=1)
        matrix = matrix * np.linalg.solve(matrix, white)
    except np.linalg.LinAlgError:
        raise ValueError("the primaries lie on a line") from None
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ matrix)


def _curve(curve: float | np.ndarray | None) -> bytes:
    if isinstance(curve, np.ndarray):
        levels = np.rint(curve * 65535).astype(">u2")
        return struct.pack(">4sII", b"curv", 0, len(levels)) + bytes(levels)
    if curve is None:
        return struct.pack(">4sIHH", b"para", 0, 3, 0) + _numbers((2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    return struct.pack(">4sIHH", b"para", 0, 0, 0) + _numbers((curve,))


def _xyz(values: np.ndarray | tuple[float, ...]) -> bytes:
    return struct.pack(">4sI", b"XYZ ", 0) + _numbers(values)


def _numbers(values: np.ndarray | tuple[float, ...]) -> bytes:
    whole = [round(float(value) * 65536) for value in values]
    if any(abs(value) >= 2**31 for value in whole):
        raise ValueError("a number is out of range")
    return struct.pack(f">{len(whole)}i", *whole)


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return struct.pack(">4sIII2s2sII", b"mluc", 0, 1, 12, b"en", b"US", len(coded), 28) + coded


def is_too_complex(profile: bytes) -> bool:
    """Return whether a transform of the profile would take seconds to build.

    A multiProcessElementsType may have thousands of elements that share the same bytes and pass up to 15
    channels through a lookup table; LittleCMS evaluates each for tens of thousands of colours. Real profiles
    have three to six elements, with curves of a few segments. Other tag types have a fixed number of steps.

    Source: ICC.1:2022 (profile version 4.4), 7.3 and 10.17.
    """
    count = min(_unsigned(profile, 128), _MAX_TAGS)
    for position in range(132, 132 + 12 * count, 12):
        start = _unsigned(profile, position + 4)
        if profile[start : start + 4] == b"mpet" and not _is_simple(profile, start):
            return True
    return False


def _is_simple(profile: bytes, start: int) -> bool:
    """Return whether there are few elements at an offset, and none has many channels or segments."""
    count = _unsigned(profile, start + 12)
    if count > _MAX_ELEMENTS:
        return False
    for element in _positions(profile, start, start + 16, count):
        kind, channels = profile[element : element + 4], _unsigned(profile, element + 8, 2)
        if channels > _MAX_CHANNELS:
            return False
        if kind == b"cvst":
            for curve in _positions(profile, element, element + 12, channels):
                if _unsigned(profile, curve + 8, 2) > _MAX_SEGMENTS:
                    return False
    return True


def _positions(profile: bytes, start: int, table: int, count: int) -> list[int]:
    """Return the absolute offsets of the parts listed in a table of offsets and lengths."""
    return [start + _unsigned(profile, table + 8 * position) for position in range(count)]


def _unsigned(profile: bytes, position: int, size: int = 4) -> int:
    return int.from_bytes(profile[position : position + size], "big")
