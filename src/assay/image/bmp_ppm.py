"""Fast decoders of run-length BMP and of plain or deep PPM, which Pillow decodes pixel by pixel in Python."""

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, PpmImagePlugin

from assay.image.complexity import ComplexityLimitExceeded

_COMMENT: Final = re.compile(rb"#[^\r\n]*[\r\n]?")
_BLANKS: Final = b" \t\n\v\f\r"
_FOREIGN: Final = re.compile(rb"[^\d\s]")
_LINE_END: Final = re.compile(rb"[\r\n]")
_PART_BYTES: Final = 2**20
_RUN_LENGTH_BYTES: Final = 2**23
"""Bytes of run lengths allowed in any BMP: four million codes, which take a second."""
_PAIRS: Final = [bytes((value >> 4, value & 15)) for value in range(256)]
_TWINS: Final = [bytes((value, value)) for value in range(256)]
_RLE, _PLAIN, _DEEP = "assay_bmp_rle", "assay_ppm_plain", "assay_ppm"


class BmpImageFile(BmpImagePlugin.BmpImageFile):
    """Pillow's reader with a fast decoder for run lengths."""

    def _open(self) -> None:
        super()._open()
        _replace_decoders(self, {"bmp_rle": _RLE})


class PpmImageFile(PpmImagePlugin.PpmImageFile):
    """Pillow's reader with fast decoders for plain numbers and for maxvals other than 255 and 65535."""

    def _open(self) -> None:
        super()._open()
        _replace_decoders(self, {"ppm_plain": _PLAIN, "ppm": _DEEP})


def _replace_decoders(image: ImageFile.ImageFile, names: dict[str, str]) -> None:
    image.tile = [tile._replace(codec_name=names.get(tile.codec_name, tile.codec_name)) for tile in image.tile]


class _Decoder(ImageFile.PyDecoder):
    _pulls_fd = True

    def _rest(self) -> bytes:
        if self.fd is None:
            raise ValueError("no data")
        return self.fd.read()

    @property
    def _count(self) -> int:
        return self.state.xsize * self.state.ysize * Image.getmodebands(self.mode)


class RunLengthDecoder(_Decoder):
    """BMP of run lengths with 8 or 4 bits per pixel.

    Malformed data decode to the same pixels as with Pillow.

    Source: Microsoft, Bitmap Compression (BI_RLE8, BI_RLE4).
    """

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Decode all rows, from the bottom up.

        Raises `ComplexityLimitExceeded` if the codes take more than half of the size of the uncompressed pixels.
        """
        del buffer
        data = self._rest()
        most = max(_RUN_LENGTH_BYTES, self._count // 2)
        if len(data) > most:
            raise ComplexityLimitExceeded("bytes of run lengths", len(data), most)
        # Literal pixels are padded to an even offset in the file.
        odd = (self.fd.tell() - len(data)) % 2 if self.fd is not None else 0
        pixels = _expand_run_lengths(data, self.state.xsize, self._count, odd, four=self.args[1])
        self.set_as_raw(pixels, "L" if self.mode == "L" else "P", (0, self.args[-1]))
        return -1, 0


def _expand_run_lengths(data: bytes, width: int, size: int, odd: int, *, four: bool) -> bytes:
    out, pairs = bytearray(), _PAIRS if four else _TWINS
    end, position, x = len(data) - 1, 0, 0
    while position < end and len(out) < size:
        count, value = data[position], data[position + 1]
        position += 2
        if count:
            if x + count > width:
                count = max(0, width - x)
            out += (pairs[value] * (count + 1 >> 1))[:count]
            x += count
        elif value == 0:
            out += bytes(-len(out) % width)
            x = 0
        elif value == 1:
            break
        elif value == 2:
            if position >= end:
                break
            out += bytes(data[position] + data[position + 1] * width)
            position += 2
            x = len(out) % width
        else:
            length = value // 2 if four else value
            literal = data[position : position + length]
            out += b"".join(map(_PAIRS.__getitem__, literal)) if four else literal
            if len(literal) < length:
                break
            position += length
            position += (position + odd) % 2
            x += value
    return bytes(out)


class PlainDecoder(_Decoder):
    """PBM, PGM and PPM with decimal numbers. Source: Netpbm, ppm(5), pgm(5), pbm(5), "plain" formats."""

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Decode all rows."""
        del buffer
        text = self._rest()
        if b"#" in text:
            text = b"".join(_COMMENT.sub(b"", part) for part in _parts(text))
        if self.mode == "1":
            digits = text.translate(None, _BLANKS)[: self._count]
            if digits.translate(None, b"01"):
                raise ValueError("a bit is neither 0 nor 1")
            self.set_as_raw(digits.translate(bytes.maketrans(b"01", b"\xff\x00")), "1;8")
            return -1, 0
        if foreign := _FOREIGN.search(text):
            # Anything may follow the pixels.
            text = text[: foreign.start()].rstrip(b"0123456789")
        # Without NumPy's count argument: if the text has fewer numbers, it returns uninitialized memory.
        values = np.fromstring(text.decode("ascii"), np.int64, sep=" ")[: self._count]
        if len(values) and (values.min() < 0 or values.max() > self.args[-1]):
            raise ValueError("a value is below zero or above maxval")
        self.set_as_raw(*_scaled(values, self.args[-1], self.mode))
        return -1, 0


def _parts(text: bytes) -> Iterator[bytes]:
    """Split a text at line ends into parts of about 1 MB, because matching takes 50 times the memory of a part."""
    start = 0
    while start < len(text):
        found = _LINE_END.search(text, start + _PART_BYTES)
        end = found.end() if found else len(text)
        yield text[start:end]
        start = end


class DeepDecoder(_Decoder):
    """PGM and PPM of binary values with a maxval other than 255 and 65535."""

    def decode(self, buffer: Image.DecoderInput) -> tuple[int, int]:
        """Decode all rows."""
        del buffer
        kind = np.dtype("u1" if self.args[-1] < 256 else ">u2")
        data = self._rest()[: self._count * kind.itemsize]
        values = np.frombuffer(data[: len(data) - len(data) % kind.itemsize], kind)
        self.set_as_raw(*_scaled(values, self.args[-1], self.mode))
        return -1, 0


def _scaled(values: np.ndarray, largest: int, mode: str) -> tuple[bytes, str]:
    """Scale to 8 bits, or to 16 bits as 32-bit integers; return the bytes and their raw mode."""
    most = 65535 if mode == "I" else 255
    every = np.rint(np.arange(65536) / largest * most).clip(0, most)
    table = every.astype("<i4" if mode == "I" else np.uint8)
    return table[values].tobytes(), "I;32" if mode == "I" else mode


Image.register_decoder(_RLE, RunLengthDecoder)
Image.register_decoder(_PLAIN, PlainDecoder)
Image.register_decoder(_DEEP, DeepDecoder)
