"""`Predictions`: a classifier's probabilities for labelled images, their file, and the misclassified ones."""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from assay.core.errors import AssayError
from assay.core.files import atomic_write, open_file

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PREDICTIONS_FORMAT = 1
"""Version of the file that `Predictions.save` writes."""

Scalar = TypeVar("Scalar", bound=np.generic)
Item = TypeVar("Item")

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False, kw_only=True)
class Predictions:
    """The predictions of one classifier on N labelled images of C classes, in a fixed order.

    The arrays are checked, converted to the types below and made read-only.

    Attributes:
        classes: names of the classes, in output order; two or more.
        ids: name of each image, unique within its data set; N of them.
        paths: path of each image; N of them.
        actual: int64 array [N], index of the labelled class.
        probabilities: float64 array [N, C], each row from 0 to 1 and summing to 1.
        embedding: float32 array [N, D], the network's pooled features, or None.
        source_labels: the label of each image before classes were mapped (bird, airplane...), or None.

    Raises:
        AssayError: a probability is not a number, or a row is not a distribution.
        ValueError: lengths or shapes do not match.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    actual: IntArray
    probabilities: FloatArray
    embedding: npt.NDArray[np.float32] | None = None
    source_labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._set("classes", tuple(map(str, self.classes)))
        self._set("ids", tuple(map(str, self.ids)))
        self._set("paths", tuple(map(str, self.paths)))
        self._set("actual", _read_only(np.asarray(self.actual, dtype=np.int64)))
        self._set("probabilities", _read_only(np.asarray(self.probabilities, dtype=np.float64)))
        if self.embedding is not None:
            self._set("embedding", _read_only(np.asarray(self.embedding, dtype=np.float32)))
        if self.source_labels is not None:
            self._set("source_labels", tuple(map(str, self.source_labels)))
        self._check_shapes()
        self._check_probabilities()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> IntArray:
        """Index of the most probable class, int64 [N]; of equally probable ones the first."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class, float64 [N]."""
        return np.asarray(self.probabilities.max(axis=1), dtype=np.float64)

    @property
    def correct(self) -> BoolArray:
        """Whether the predicted class is the labelled one, bool [N]."""
        return np.equal(self.predicted, self.actual)

    @property
    def log_probabilities(self) -> FloatArray:
        """Natural logarithm of the probabilities, float64 [N, C]; a probability of 0 counts as 1e-300.

        They can be used as logits: `softmax(log_probabilities / T)` equals what the network's logits give for
        temperature T, since the two differ by a constant per row.
        """
        return np.log(np.maximum(self.probabilities, 1e-300))

    def take(self, indices: Sequence[int] | IntArray | BoolArray) -> Self:
        """Return the images at `indices` (or where a bool mask is true), in that order."""
        rows = np.arange(len(self))[np.asarray(indices)] if len(indices) else np.arange(0)
        labels = self.source_labels
        return type(self)(
            classes=self.classes,
            ids=tuple(self.ids[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            actual=self.actual[rows],
            probabilities=self.probabilities[rows],
            embedding=None if self.embedding is None else self.embedding[rows],
            source_labels=None if labels is None else tuple(labels[row] for row in rows),
        )

    def save(self, path: Path) -> None:
        """Write a compressed `.npz` file atomically; the same predictions give the same bytes."""
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "format": np.asarray(PREDICTIONS_FORMAT),
            "classes": _string_array(self.classes),
            "ids": _string_array(self.ids),
            "paths": _string_array(self.paths),
            "actual": self.actual,
            "probabilities": self.probabilities,
        }
        if self.embedding is not None:
            arrays["embedding"] = self.embedding
        if self.source_labels is not None:
            arrays["source_labels"] = _string_array(self.source_labels)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Nothing in the file is executed.

        Raises:
            AssayError: the file is missing, damaged, from a later version or holds no predictions.
        """
        try:
            arrays = _read_npz(path)
        except FileNotFoundError:
            raise AssayError(f"{path} is missing: evaluate the classifier again to write it") from None
        except (
            OSError,
            EOFError,
            ValueError,
            TypeError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise AssayError(f"{path} cannot be read ({error}): evaluate the classifier again") from None
        if arrays.get("format", np.asarray(0)).tolist() != PREDICTIONS_FORMAT:
            raise AssayError(
                f"{path} has no predictions of format {PREDICTIONS_FORMAT}: evaluate again with this version of Assay"
            )
        try:
            return cls(
                classes=_string_tuple(arrays["classes"]),
                ids=_string_tuple(arrays["ids"]),
                paths=_string_tuple(arrays["paths"]),
                actual=arrays["actual"],
                probabilities=arrays["probabilities"],
                embedding=arrays.get("embedding"),
                source_labels=_string_tuple(arrays["source_labels"]) if "source_labels" in arrays else None,
            )
        except (KeyError, ValueError, TypeError) as error:
            raise AssayError(f"{path} is inconsistent ({error}): evaluate the classifier again") from None

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_shapes(self) -> None:
        count, classes = len(self.ids), len(self.classes)
        if classes < 2:
            raise ValueError(f"predictions need two or more classes, not {classes}")
        if len(set(self.classes)) != classes:
            raise ValueError("two classes have the same name")
        lengths = {"paths": len(self.paths), "actual": self.actual.size}
        if self.source_labels is not None:
            lengths["source_labels"] = len(self.source_labels)
        if self.embedding is not None:
            lengths["embedding"] = self.embedding.shape[0] if self.embedding.ndim == 2 else -1
        for name, length in lengths.items():
            if length != count:
                raise ValueError(f"{name} has the length {length}, ids {count}")
        if self.actual.ndim != 1 or self.probabilities.shape != (count, classes):
            raise ValueError(f"probabilities have the shape {self.probabilities.shape}, not {(count, classes)}")
        if count and (self.actual.min() < 0 or self.actual.max() >= classes):
            raise ValueError(f"an actual class lies outside 0-{classes - 1}")

    def _check_probabilities(self) -> None:
        finite = np.isfinite(self.probabilities).all(axis=1)
        if not finite.all():
            raise AssayError(
                f"the prediction for {self.ids[int(finite.argmin())]} is not a number: "
                "the training has diverged; train again with a lower learning rate"
            )
        sound = np.abs(self.probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
        sound &= (self.probabilities >= 0).all(axis=1)
        if not sound.all():
            row = int(sound.argmin())
            raise AssayError(
                f"the probabilities for {self.ids[row]} sum to {self.probabilities[row].sum():.4g}, not 1: "
                "apply a softmax to the logits first"
            )


def _read_only(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    view = array.view()
    view.flags.writeable = False
    return view


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    # Opened here, since numpy leaves truncated files open.
    with open_file(path) as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise TypeError("the file holds a single array")
        with file:
            return {name: file[name] for name in file.files}


def _string_array(texts: Sequence[str]) -> npt.NDArray[np.str_]:
    return np.asarray(texts, dtype=np.str_)


def _string_tuple(array: npt.NDArray[np.generic]) -> tuple[str, ...]:
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ValueError("names are not a list of strings")
    return tuple(array.tolist())


class Mistake(NamedTuple):
    """A misclassified image."""

    row: int
    """Its index in the predictions."""
    id: str
    path: str
    actual: str
    predicted: str
    confidence: float
    """Probability of the predicted class, 0-1."""
    source_label: str | None


def misclassified_photos(predictions: Predictions) -> tuple[Mistake, ...]:
    """Return every misclassified image, the most confident mistake first; ties stay in order."""
    rows = np.flatnonzero(~predictions.correct)
    rows = rows[np.argsort(-predictions.confidence[rows], kind="stable")]
    sources = predictions.source_labels
    predicted, confidence = predictions.predicted, predictions.confidence
    return tuple(
        Mistake(
            row=int(row),
            id=predictions.ids[row],
            path=predictions.paths[row],
            actual=predictions.classes[predictions.actual[row]],
            predicted=predictions.classes[predicted[row]],
            confidence=float(confidence[row]),
            source_label=None if sources is None else sources[row],
        )
        for row in rows
    )


ReadImage = Callable[[str, str], bytes]
"""Returns the bytes of an image by its id and its path."""


def read_image(name: str, path: str, read: ReadImage | None) -> bytes:
    """Read an image's bytes with `read`, or from its path where that is None.

    Raises:
        AssayError: it cannot be read; the message is a short reason.
    """
    try:
        return Path(path).read_bytes() if read is None else read(name, path)
    except FileNotFoundError:
        raise AssayError("the file is missing") from None
    except KeyError:
        raise AssayError("the photo is not in the data set") from None
    except (OSError, ValueError):
        # ValueError: a NUL in the name.
        raise AssayError("the file cannot be opened") from None


def evenly_spaced(rows: Sequence[Item], count: int) -> list[Item]:
    """Choose `count` of the rows, evenly spaced; all of them where there are no more."""
    if len(rows) <= count:
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]
