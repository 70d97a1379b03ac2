"""The scan of image files: readable, unreadable and skipped files, and value ranges."""

import contextlib
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.core.errors import AssayError
from assay.core.progress import Progress
from assay.data import image_scan as module
from assay.data.check import check
from assay.data.check_result import Finding, FindingKind, Severity
from assay.data.dataset import Sample
from assay.data.image_feature_cache import open_feature_store
from assay.data.image_scan import scan_images, value_range_conflict, verify
from assay.data.loading import list_source, load_dataset
from assay.image.pixel_conversion import UINT8, ValueEncoding


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Seventy small photos, an identical one, a damaged one and a text, in that order of names."""
    folder = tmp_path / "data" / "a"
    folder.mkdir(parents=True)
    for number in range(70):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    shutil.copy(folder / "05.png", folder / "70.png")
    (folder / "71.png").write_bytes((folder / "06.png").read_bytes()[:200])
    (folder / "72.txt").write_text("no photo")
    return sorted(list_source(tmp_path / "data").samples, key=lambda sample: sample.id)


def test_results_are_in_order(samples: list[Sample], tmp_path: Path) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        seen = scan_images(samples, store)

        assert [photo.sample.id for photo in seen.images] == [f"a/{number:02}.png" for number in range(71)]
        assert all(photo.sample.digest == photo.features.digest for photo in seen.images)
        assert [(item.id, item.reason) for item in seen.unreadable] == [("a/71.png", "damaged: truncated PNG")]
        assert seen.skipped == {"not an image": 1}
        assert len(store.get([photo.features.digest for photo in seen.images])) == 70


def test_images_with_known_digests_are_not_decoded(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        first = scan_images(samples, store)
    decoded: list[int] = []
    extract = module.extract_features
    monkeypatch.setattr(module, "extract_features", lambda data: decoded.append(len(data)) or extract(data))
    with open_feature_store(tmp_path / "cache") as store:
        second = scan_images(samples, store)

    assert len(decoded) == 1  # the damaged one
    assert [photo.sample for photo in second.images] == [photo.sample for photo in first.images]
    assert [photo.features.sharpness for photo in second.images] == [photo.features.sharpness for photo in first.images]


def test_progress_reaches_the_total(samples: list[Sample], tmp_path: Path) -> None:
    result: list[tuple[int, int]] = []

    def note(what: str, done: int, total: int) -> None:
        assert what == "Reading photos"
        result.append((done, total))

    progress: Progress = note
    with open_feature_store(tmp_path / "cache") as store:
        scan_images(samples, store, progress)

    assert result[-1] == (73, 73)
    assert result == sorted(result)


def test_files_read_earlier_are_not_read_again(samples: list[Sample], tmp_path: Path) -> None:
    with open_feature_store(tmp_path / "cache") as store:
        first = scan_images(samples, store)
        digests = {image.sample.id: image.features.digest for image in first.images}
        for sample in samples[:70]:
            sample.path.unlink()
        second = scan_images(samples, store, digests=digests)

    assert [image.sample for image in second.images] == [image.sample for image in first.images]
    assert [item.id for item in second.unreadable] == ["a/71.png"]


def test_content_of_few_files_is_kept_in_memory(samples: list[Sample], tmp_path: Path) -> None:
    sizes = [sample.path.stat().st_size for sample in samples[:70]]
    with open_feature_store(tmp_path / "cache") as store:
        images = scan_images(samples, store, keep_bytes=sum(sizes) // 2).images
    kept = [image.sample for image in images if image.sample.content is not None]
    assert sum(sizes) / 2 - max(sizes) <= sum(len(sample.read()) for sample in kept) <= sum(sizes) / 2
    content = kept[0].path.read_bytes()
    kept[0].path.unlink()
    assert kept[0].read() == content
    copy = pickle.loads(pickle.dumps(kept[0]))  # noqa: S301
    assert copy == kept[0]
    with pytest.raises(FileNotFoundError):
        copy.read()


WritePhoto = Callable[..., Path]


def candidate(path: Path) -> Sample:
    return Sample(path.name, path, "a")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "JPEG"),
        ("a.JPG", "WEBP"),
        ("photo", "PNG"),
        ("a.txt", "BMP"),
        ("日本.jpeg", "JPEG"),
        ("a.png", "TIFF"),
    ],
)
def test_content_decides_over_the_file_name(tmp_path: Path, write_photo: WritePhoto, name: str, kind: str) -> None:
    path = write_photo(tmp_path / name, kind)
    verified = verify([candidate(path)])
    assert [sample.digest for sample in verified.samples] == [hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("missing", [40, 400])
def test_truncated_images_are_unreadable(tmp_path: Path, write_photo: WritePhoto, kind: str, missing: int) -> None:
    path = write_photo(tmp_path / "a.jpg", kind, (200, 200))
    whole = path.read_bytes()
    assert len(verify([candidate(path)]).samples) == 1
    path.write_bytes(whole[:-missing])
    assert [item.id for item in verify([candidate(path)]).unreadable] == ["a.jpg"]


@pytest.mark.parametrize("progressive", [False, True])
def test_large_jpeg_missing_one_byte_is_found_by_draft_decoding(tmp_path: Path, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    Image.effect_noise((1080, 1920), 60).save(path, progressive=progressive)
    assert len(verify([candidate(path)]).samples) == 1
    path.write_bytes(path.read_bytes()[:-3])
    assert len(verify([candidate(path)]).unreadable) == 1


def test_too_complex_image_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("L", (4096, 4096)).save(path, progressive=True)
    data = path.read_bytes()
    last = data.rfind(b"\xff\xda")
    path.write_bytes(data[:last] + data[last:-2] * 1000 + b"\xff\xd9")
    (unreadable,) = verify([candidate(path)]).unreadable
    assert unreadable.reason.startswith("too complex: ")


def test_other_files_are_skipped_and_broken_images_listed(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "web.JPEG").write_text("<html>not found</html>")
    verified = verify([candidate(path) for path in sorted(tmp_path.iterdir())] + [candidate(tmp_path / "gone.png")])
    assert verified.samples == []
    assert verified.skipped == {"not an image": 1}
    assert {item.id: item.reason for item in verified.unreadable} == {
        "empty.jpg": "empty file",
        "web.JPEG": "unsupported: a web page, not a photo",
        "gone.png": "the file does not exist",
    }


def test_names_that_are_not_unicode_are_listed(tmp_path: Path, write_photo: WritePhoto) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    write_photo(tmp_path / "a.jpg").rename(path)
    verified = verify([candidate(path)])
    assert [(item.id, item.reason) for item in verified.unreadable] == [
        ("caf\\xe9.jpg", "its name is not valid Unicode"),
    ]


def test_scan_keeps_order_and_reports_progress(tmp_path: Path, write_photo: WritePhoto) -> None:
    paths = [write_photo(tmp_path / f"{number}.png", "PNG", (8, 8)) for number in range(50)]
    result: list[tuple[str, int, int]] = []
    verified = verify([candidate(path) for path in paths], lambda *step: result.append(step))
    assert [sample.path for sample in verified.samples] == paths
    assert result[-1] == ("Reading photos", 50, 50)
    assert [done for _, done, _ in result] == sorted(done for _, done, _ in result)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `count` photos of a type into both classes of a data set."""

    def put(name: str, dtype: str, count: int = 3, high: float = 1, **tags: float) -> Path:
        for label in ("a", "b"):
            for number in range(count):
                path = tmp_path / "data" / label / f"{name}{number}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = np.random.default_rng([number, ord(label), len(name)]).random((12, 16))
                image = Image.fromarray((noise * high).astype(dtype))
                image = image.resize((160, 120), Image.Resampling.NEAREST)
                image.save(path, tiffinfo={int(tag[1:]): value for tag, value in tags.items()})
        return tmp_path / "data"

    return put


def _finding(root: Path, value_range: tuple[float, float] | None = None) -> Finding | None:
    for _ in range(2):  # the second time from what is kept
        report = check(root, cache=root.parent / "cache", value_range=value_range)
        found = report.of(FindingKind.value_range)
        with contextlib.suppress(AssayError):  # training raises, as other tests check
            unreadable = {item.reason for item in load_dataset(root, value_range=value_range).unreadable}
            listed = report.of(FindingKind.unreadable)
            groups = () if listed is None else listed.groups
            assert {entry.note for group in groups for entry in group.photos} == unreadable
    return found


def test_float_images_without_a_range_are_rejected(write: Write):
    root = write("f", "float32")
    with pytest.raises(AssayError, match=r"none of the 6 photos .*float32 without a declared range; set preproc"):
        load_dataset(root)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.error
    assert finding.title == "values of more than 8 bits: float32 without a declared range: 6"
    assert "preprocess.value_range" in finding.advice
    assert len(load_dataset(root, value_range=(0, 1)).samples) == 6
    assert _finding(root, (0, 1)) is None


def test_single_float_images_are_listed(write: Write):
    write("f", "float32", count=1)
    root = write("u", "uint8", high=255)
    data = load_dataset(root)
    assert len(data.samples) == 6
    assert all("float32 without a declared range" in item.reason for item in data.unreadable)
    finding = _finding(root)
    assert finding is not None
    assert "uint8, 0 to 255: 6; float32 without a declared range: 2" in finding.title


def test_one_declared_range_is_accepted(write: Write):
    root = write("f", "float32", t340=0.0, t341=1.0)
    assert len(load_dataset(root).samples) == 6
    assert _finding(root) is None


def test_ranges_that_depend_on_content_are_rejected(write: Write):
    write("one", "float32", t340=0.0, t341=1.0)
    root = write("two", "float32", high=0.5, t340=0.0, t341=0.5)
    with pytest.raises(
        AssayError, match=r"declare different ranges of values \(float32, 0 to 0.5: 6; float32, 0 to 1: 6"
    ):
        load_dataset(root)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.error
    assert len(load_dataset(root, value_range=(0, 1)).samples) == 12


def test_mixed_8_and_16_bit_images_give_a_warning(write: Write):
    write("deep", "uint16", high=65535, count=2)
    root = write("u", "uint8", high=255)
    assert len(load_dataset(root).samples) == 10
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.note
    assert "uint8, 0 to 255: 6; uint16, 0 to 65535: 4" in finding.title


def test_12_bit_values_in_16_bits_give_a_warning(write: Write):
    root = write("deep", "uint16", high=4095)
    finding = _finding(root)
    assert finding is not None
    assert finding.severity is Severity.warning
    assert "[0, 4095]" in finding.advice
    assert len(load_dataset(root, value_range=(0, 4095)).samples) == 6


def test_dark_images_without_a_range_are_not_advised_for_deletion(write: Write):
    root = write("deep", "uint16", high=1023)
    blank = check(root, cache=root.parent / "cache").of(FindingKind.blank)
    assert blank is not None
    assert blank.advice.startswith("See first whether their values need preprocess.value_range.")
    assert check(root, cache=root.parent / "cache", value_range=(0, 1023)).of(FindingKind.blank) is None


def test_set_range_needs_a_single_value_type(write: Write):
    write("deep", "uint16", high=4095)
    root = write("f", "float32", high=4095)
    with pytest.raises(AssayError, match=r"integers and floating-point values cannot share a range .*convert"):
        load_dataset(root, value_range=(0, 4095))


def test_8_bit_images_need_no_range(write: Write):
    root = write("u", "uint8", high=255)
    assert _finding(root) is None
    assert len(load_dataset(root, value_range=(0, 4095)).samples) == 6


def test_many_ranges_are_summarized():
    counts = {ValueEncoding("float32", (0, float(high))): 1 for high in range(1, 40)}
    why = value_range_conflict({**counts, UINT8: 900}, None)
    assert why is not None
    assert why.endswith("; 35 more)")
    assert len(why) < 200
