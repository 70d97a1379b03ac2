"""Name, encode, write and verify the files of an offline-augmented data set."""

import hashlib
import io
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from assay.core.errors import AssayError
from assay.core.files import atomic_write
from assay.data.dataset import Sample, Split
from assay.image import HEAD_BYTES, DecodeError, decode, inspect, sniff
from assay.image.augmentation import Augment
from assay.image.decode import Box
from assay.recipe import AugmentSpec

_SUFFIXES = {"jpeg": ".jpg", "png": ".png"}
_COPY_SUFFIX = re.compile(r"_aug[0-9]+$")
_PNG_BIT_DEPTH_OFFSET = 24  # offset of that byte: 8 bits a channel are 24 in all


Region = Callable[[int, int], Box]
"""Returns the crop box for the width and height of an upright image, in pixels."""


@dataclass(frozen=True)
class OutputFile:
    """One file to write."""

    sample: Sample
    split: Split | None
    path: str
    """Relative to the folder, with forward slashes."""
    kind: str
    """`jpeg` or `png`."""
    copy: int = 0
    """0 for the original, from 1 on for changed copies."""

    def changed(self, copy: int) -> "OutputFile":
        """Return the target of an augmented copy; its name sorts directly after the original's."""
        path = PurePosixPath(self.path)
        return replace(self, path=str(path.with_name(f"{path.stem}_aug{copy}{path.suffix}")), copy=copy)


def plan_output_files(samples: Sequence[Sample], *, parts: bool = True) -> list[OutputFile]:
    """Name the originals `<split>/<class>/<name>`, or `<class>/<name>` without `parts`; names are unique ignoring case.

    Raises `AssayError` if a sample has no split, a label is not a valid folder name, or a file no longer exists.
    """
    taken: set[str] = set()
    targets = []
    for sample in samples:
        if parts and sample.split is None:
            raise AssayError(f"{sample.id} belongs to no split; give it train, val or test")
        if PurePosixPath(sample.label).name != sample.label or not re.fullmatch(r"[^.\\\0][^\\\0]*", sample.label):
            raise AssayError(f"the class {sample.label!r} cannot be a folder's name; rename it")
        place, stem = f"{sample.split}/{sample.label}" if parts else sample.label, _stem(sample)
        if f"{place}/{stem}".casefold() in taken or _COPY_SUFFIX.search(stem):
            # Photos of the same name are distinguished by their folder, i.e. the whole id.
            stem += "-" + hashlib.sha256(sample.id.encode()).hexdigest()[:12]
        taken.add(f"{place}/{stem}".casefold())
        kind = "jpeg" if _format(sample) == "jpeg" else "png"
        targets.append(OutputFile(sample, sample.split, f"{place}/{stem}{_SUFFIXES[kind]}", kind))
    return targets


class FileWriter:
    """Writes targets; safe to call from several threads."""

    def __init__(
        self,
        spec: AugmentSpec,
        to: Path,
        seed: int,
        region: Region | None = None,
        *,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        """Build the transforms once, to find invalid settings before anything is written.

        `region` gives the part of each image to write, None the whole image. `value_range` is the recipe's
        `preprocess.value_range`; files are written with 8 bits. Raises `UsageError` for invalid transform values.
        """
        self._spec = spec
        self._to = to
        self._seed = seed
        self._region = region
        self._value_range = value_range
        self._thread = threading.local()
        self._augments()

    def write(self, family: Sequence[OutputFile]) -> int:
        """Write those files of one image that do not exist yet, each atomically.

        Returns:
            How many existed and were readable.

        Raises:
            AssayError: the image can no longer be read, or a file cannot be written.
        """
        missing = [target for target in family if not _is_whole(self._to / target.path, target.kind)]
        if missing:
            data = self._read(missing[0].sample)
            pixels = self._cropped(decode(data, value_range=self._value_range))
            pixels = _limit_side(pixels, self._spec.offline.max_side)
            for target in missing:
                self._save(target, data, pixels)
        return len(family) - len(missing)

    def _cropped(self, pixels: np.ndarray) -> np.ndarray:
        if self._region is None:
            return pixels
        left, top, right, bottom = self._region(pixels.shape[1], pixels.shape[0])
        return np.ascontiguousarray(pixels[top:bottom, left:right])

    def _save(self, target: OutputFile, data: bytes, pixels: np.ndarray) -> None:
        if target.copy and target.split is not None:
            seed = f"{self._seed}\0{target.sample.id}\0{target.copy}".encode()
            augment = self._augments()[target.split]
            pixels = augment(pixels, int.from_bytes(hashlib.sha256(seed).digest()[:8]))
            data = self._encoded(pixels, target.kind)
        elif self._region is not None or not self._fits(data):
            data = self._encoded(pixels, target.kind)
        path = self._to / target.path
        try:
            with atomic_write(path) as temporary:
                temporary.write_bytes(data)
                # Verify the written file before it is renamed.
                found = temporary.read_bytes()
                if found != data or decode(found).shape != pixels.shape:
                    raise AssayError(f"{path} does not read back as it was written; check the disk")
        except OSError as error:
            raise AssayError(f"{path} cannot be written: {error.strerror or error}") from None

    def _read(self, sample: Sample) -> bytes:
        try:
            data = sample.read()
        except OSError as error:
            raise AssayError(f"{sample.path} cannot be read any more: {error.strerror or error}") from None
        if sample.digest is not None and hashlib.sha256(data).hexdigest() != sample.digest:
            raise AssayError(f"{sample.path} was changed while it was in use; run the command again")
        return data

    def _fits(self, data: bytes) -> bool:
        info = inspect(data)
        return (
            (info.format == "jpeg" or (info.format == "png" and data[_PNG_BIT_DEPTH_OFFSET] == 8))
            and (info.mode, info.orientation, info.frames) == ("RGB", 1, 1)
            and max(info.width, info.height) <= self._spec.offline.max_side
        )

    def _encoded(self, pixels: np.ndarray, kind: str) -> bytes:
        stream = io.BytesIO()
        image, offline = Image.fromarray(pixels), self._spec.offline
        if kind == "jpeg":
            image.save(stream, "jpeg", quality=offline.jpeg_quality)
        else:
            image.save(stream, "png", compress_level=offline.png_compression)
        return stream.getvalue()

    def _augments(self) -> dict[str, Augment]:
        known: dict[str, Augment] | None = getattr(self._thread, "augments", None)
        if known is None:
            known = {"train": Augment(self._spec.train, None), "val": Augment(self._spec.val, None)}
            self._thread.augments = known
        return known


def _is_whole(path: Path, kind: str) -> bool:
    try:
        data = path.read_bytes()
        decode(data)
    except (OSError, DecodeError):  # the error is reported when the file is overwritten
        return False
    return sniff(data[:HEAD_BYTES]) == kind


def _limit_side(pixels: np.ndarray, longest: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def _format(sample: Sample) -> str | None:
    try:
        if sample.tensor is not None:
            return None
        if sample.shard is not None:
            return sniff(sample.read()[:HEAD_BYTES])
        with sample.path.open("rb") as stream:
            return sniff(stream.read(HEAD_BYTES))
    except OSError as error:
        raise AssayError(f"{sample.path} cannot be read any more: {error.strerror or error}") from None


def _stem(sample: Sample) -> str:
    """A file name for an image, without suffix, that is valid on every system."""
    place = PurePosixPath(sample.id)
    name = place.name if sample.tensor else place.stem
    return re.sub(r"[^\w.,;+=@()\[\]{} -]", "_", name)[:55].strip(". ") or "photo"
