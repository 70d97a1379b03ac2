"""Reading images from array files: encodings, layouts and damaged files."""

import io
import pickle
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from assay.core.errors import AssayError
from assay.data.tensor_files import TensorRef, channels_last, detect_encoding, load_arrays, read_as_bmp

PATH = Path("data.npy")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("opened"),))


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("encoding", ["uint8", "unit", "byte", "imagenet"])
@pytest.mark.parametrize("first", [False, True])
def test_every_encoding_and_layout_survives_a_round_trip(
    tmp_path: Path, image: np.ndarray, encoding: str, first: bool
) -> None:
    values = {
        "uint8": image,
        "unit": (image / 255).astype(np.float32),
        "byte": image.astype(np.float64),
        "imagenet": ((image / 255 - MEAN) / STD).astype(np.float32),
    }[encoding]
    if first:
        values = values.transpose(2, 0, 1)
    np.save(tmp_path / "one.npy", values)
    torch.save(torch.from_numpy(np.ascontiguousarray(values)), tmp_path / "one.pt")
    np.savez(tmp_path / "many.npz", images=np.stack([np.zeros_like(values), values]), labels=[0, 1])
    found = detect_encoding(values.dtype, float(values.min()), float(values.max()), PATH)
    assert found == encoding
    for name, index in (("one.npy", None), ("one.pt", None), ("many.npz", 1)):
        np.testing.assert_array_equal(pixels(read_as_bmp(tmp_path / name, TensorRef(found, index))), image)


def test_gray_images_become_rgb(tmp_path: Path) -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "gray.npy", gray)
    found = pixels(read_as_bmp(tmp_path / "gray.npy", TensorRef("uint8")))
    np.testing.assert_array_equal(found, np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (4, 4, 2), (0, 4, 3)])
def test_other_shapes_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(AssayError, match="not one image"):
        channels_last(np.zeros(shape), PATH)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("float32", -3.0, 3.0),
        ("float32", 0.0, 300.0),
        ("int16", -5, 100),
        ("bool", 0, 1),
        ("float32", np.nan, 1.0),
    ],
)
def test_unknown_value_ranges_are_rejected(dtype: str, low: float, high: float) -> None:
    with pytest.raises(AssayError, match="use 0-255, 0-1"):
        detect_encoding(np.dtype(dtype), low, high, PATH)


def test_index_out_of_range_raises(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(AssayError, match="holds 2 images, none with the index 2"):
        read_as_bmp(tmp_path / "a.npy", TensorRef("uint8", 2))


def test_pickles_are_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("object.npy", np.array([Malicious()], dtype=object), allow_pickle=True)
    np.savez("object.npz", images=np.array([Malicious()], dtype=object))
    torch.save({"images": Malicious()}, "object.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Malicious()))
    torch.save(torch.nn.Linear(1, 1), "module.pt")
    for name in ("object.npy", "object.npz", "object.pt", "raw.pt", "module.pt"):
        with pytest.raises(AssayError, match="Assay opens no pickles"):
            load_arrays(Path(name))
    assert not Path("opened").exists()


def test_legacy_torch_files_are_loaded(tmp_path: Path) -> None:
    torch.save(torch.ones(3, 4, 4), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_arrays(tmp_path / "old.pt")["images"].shape == (3, 4, 4)


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt"])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_truncated_and_scrambled_files_raise_an_assay_error(tmp_path: Path, suffix: str, old: bool) -> None:
    path = tmp_path / f"a.{suffix}"
    values = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    if suffix == "pt":
        torch.save(torch.from_numpy(values), path, _use_new_zipfile_serialization=not old)
    else:
        (np.savez if suffix == "npz" else np.save)(path, values)
    whole = path.read_bytes()
    noise = np.random.default_rng(0)
    for _ in range(60):
        cut = bytearray(whole[: noise.integers(1, len(whole))] if old else whole)
        for place in noise.integers(0, len(cut), 3):
            cut[place] = noise.integers(0, 256)
        path.write_bytes(cut)
        # Damage in the numbers themselves goes unnoticed in a format without checksums.
        with suppress(AssayError):
            assert load_arrays(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt"])
@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04broken"])
def test_damaged_files_are_rejected(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AssayError, match="is damaged"):
        load_arrays(tmp_path / name)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"a\.npy cannot be read: No such file"):
        load_arrays(tmp_path / "a.npy")


def test_rewritten_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for value in (1, 2):
        np.save(path, np.full((2, 4, 4, 3), value, np.uint8))
        assert pixels(read_as_bmp(path, TensorRef("uint8", 0)))[0, 0, 0] == value


def test_image_files_do_not_import_torch() -> None:
    code = "import sys, assay.data; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
