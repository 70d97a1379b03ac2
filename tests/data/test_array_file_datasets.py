"""Data sets in array files and folders of arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from assay.core.errors import AssayError
from assay.data import PreprocessedImages, load_dataset, read_manifest, write_manifest
from assay.image import Preprocess
from assay.recipe import PreprocessSpec

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
PREPROCESS = Preprocess(PreprocessSpec(size=16))


def assert_images(path: Path, classes: tuple[str, ...]) -> None:
    data = load_dataset(path)
    assert data.classes == classes
    assert data.targets().tolist() == LABELS.tolist()
    pixels = PreprocessedImages(data.samples, PREPROCESS)
    np.testing.assert_array_equal([pixels[index] for index in range(12)], IMAGES)


def test_npz_with_and_without_class_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    assert_images(tmp_path / "a.npz", ("0", "1", "2"))
    np.savez_compressed(tmp_path / "b.npz", X=IMAGES.transpose(0, 3, 1, 2), y=LABELS, classes=["x", "y", "z"])
    assert_images(tmp_path / "b.npz", ("x", "y", "z"))


def test_torch_file_of_tensors(tmp_path: Path) -> None:
    images = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / 255).float()
    torch.save({"images": images, "labels": torch.from_numpy(LABELS), "classes": ["x", "y", "z"]}, tmp_path / "a.pt")
    assert_images(tmp_path / "a.pt", ("x", "y", "z"))


def test_folder_of_two_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS.astype(np.float32))
    assert_images(tmp_path, ("0", "1", "2"))


def test_class_folders_of_normalized_tensors(tmp_path: Path) -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for index, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        folder = tmp_path / f"c{label}"
        folder.mkdir(exist_ok=True)
        # One image so bright that nothing in it is below 0: the encoding is that of the data set, not of the image.
        values = np.ones_like(image) if index == 0 else image / 255
        torch.save(torch.from_numpy(((values - mean) / std).transpose(2, 0, 1)).float(), folder / f"{index:02}.pt")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "c0/module.pt")
    data = load_dataset(tmp_path)
    assert data.counts() == {"c0": 4, "c1": 4, "c2": 4}
    assert [item.id for item in data.unreadable] == ["c0/module.pt"]
    pixels = {sample.id: PreprocessedImages([sample], PREPROCESS)[0] for sample in data.samples}
    assert pixels["c0/00.pt"].min() == 255
    np.testing.assert_array_equal(pixels["c1/01.pt"], IMAGES[1])


def test_manifest_gives_the_same_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    data = load_dataset(tmp_path / "a.npz")
    write_manifest(data, tmp_path / "run/manifest.csv")
    again = read_manifest(tmp_path / "run/manifest.csv")
    assert [item.read() for item in again.samples] == [item.read() for item in data.samples]
    assert load_dataset(tmp_path / "run/manifest.csv").fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": IMAGES}, "holds no array called 'labels'"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "holds 12 images for 3 labels"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "labels of type float64"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, r"labels of shape \[12, 1\]"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["a"]}, "labels up to 2 but 1 class"),
        ({"images": IMAGES[:, :, 0, 0], "labels": LABELS}, "not images"),
        ({"images": IMAGES * 9.0, "labels": LABELS}, "use 0-255, 0-1"),
        (
            {"photos": IMAGES, "labels": LABELS, "other": LABELS},
            "holds no array called 'images' but other, photos",
        ),
    ],
)
def test_invalid_arrays_raise(tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(AssayError, match=sentence):
        load_dataset(tmp_path / "a.npz")


def test_tensors_of_several_types_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/1.npy", IMAGES[0])
    np.save(tmp_path / "a/2.npy", IMAGES[0] / 255)
    with pytest.raises(AssayError, match="different types"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("label", ["nan", "None", "", " ", "x\ud800", float("nan"), float("inf")])
def test_missing_labels_are_not_a_class(tmp_path: Path, label: str | float) -> None:
    rest = ["a", "b"] * 5 + ["a"] if isinstance(label, str) else [0.0] * 11
    np.savez(tmp_path / "a.npz", X=IMAGES, y=np.array([rest[0], label, *rest[1:]]))
    with pytest.raises(AssayError, match=r"label .*of image 1 is (missing|no Unicode text)"):
        load_dataset(tmp_path / "a.npz")
