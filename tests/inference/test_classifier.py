"""`Classifier`: inputs, batches, streams and errors."""

import gc
import math
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

import assay
from assay.bundle import Bundle, BundleError, amend_bundle
from assay.core.cpu import bf16_instructions
from assay.core.errors import AssayError, UsageError
from assay.inference import Classifier, EngineSetup, Failure, ModelLoader, Prediction
from assay.inference.engine_selection import PrecisionChoice
from assay.inference.workload import EngineMeasurement

CLASSES = ("red", "green", "blue")
Photos = dict[str, Path]


def test_file_gets_the_probabilities_of_its_colour(classifier: Classifier, photos: Photos) -> None:
    answer = classifier.predict(photos["red"])
    powers = [math.exp(10 * level / 255) for level in (250, 10, 20)]
    assert answer.label == "red"
    assert answer.source == str(photos["red"])
    assert list(answer.probabilities) == list(CLASSES)
    expected = [power / sum(powers) for power in powers]
    np.testing.assert_allclose(list(answer.probabilities.values()), expected, rtol=1e-4)
    assert answer.confidence == answer.probabilities["red"]
    assert type(answer.confidence) is float


def test_all_input_types_give_the_same_prediction(classifier: Classifier, photos: Photos) -> None:
    path = photos["green"]
    with Image.open(path) as image:
        pixels = np.asarray(image)
        forms = [str(path), path.read_bytes(), bytearray(path.read_bytes()), image, pixels]
        answers = [classifier.predict(form) for form in forms]
    expected = classifier.predict(path)
    assert [answer.probabilities for answer in answers] == [expected.probabilities] * len(forms)
    assert [answer.source for answer in answers] == [str(path), None, None, None, None]


def test_list_gives_a_list_in_order(classifier: Classifier, photos: Photos) -> None:
    paths = list(photos.values())
    expected = [classifier.predict(path).label for path in paths]
    assert expected == list(CLASSES)
    for many in (paths, tuple(paths), iter(paths), (path for path in paths), dict.fromkeys(paths)):
        assert [answer.label for answer in classifier.predict(many)] == expected


def test_array_of_images_is_a_batch(classifier: Classifier) -> None:
    pixels = np.zeros((3, 20, 20, 3), np.uint8)
    pixels[[0, 1, 2], :, :, [0, 1, 2]] = 255
    assert [answer.label for answer in classifier.predict(pixels)] == list(CLASSES)


def test_list_of_one_gives_a_list(classifier: Classifier, photos: Photos) -> None:
    answers = classifier.predict([photos["blue"]])
    assert isinstance(answers, list)
    assert answers[0].label == "blue"


def test_empty_input_gives_an_empty_list(classifier: Classifier) -> None:
    assert classifier.predict([]) == []


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_batch_size_does_not_change_results(classifier: Classifier, photos: Photos, batch_size: int) -> None:
    paths = list(photos.values()) * 5
    one_by_one = [classifier.predict(path) for path in paths]
    together = classifier.predict(paths, batch_size=batch_size)
    assert [answer.source for answer in together] == [str(path) for path in paths]
    for item, other in zip(one_by_one, together, strict=True):
        assert item.label == other.label
        assert item.confidence == pytest.approx(other.confidence, abs=1e-6)


@pytest.fixture
def unreadable(tmp_path: Path, photos: Photos) -> dict[str, Path]:
    """Reason: a file or folder that gives it."""
    (tmp_path / "cut.jpg").write_bytes(photos["green"].read_bytes()[:300])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").write_bytes(b"")
    return {
        "damaged: truncated JPEG": tmp_path / "cut.jpg",
        "not an image": tmp_path / "text.png",
        "empty file": tmp_path / "empty.jpg",
        "no such file or directory": tmp_path / "absent.jpg",
        "it is a folder: give the files in it": tmp_path,
    }


def test_unreadable_image_is_named_with_its_reason(
    classifier: Classifier, unreadable: dict[str, Path], photos: Photos
) -> None:
    for reason, path in unreadable.items():
        for given in (path, [photos["red"], path]):
            with pytest.raises(AssayError) as caught:
                classifier.predict(given)
            assert str(caught.value) == f"{path} cannot be read: {reason}"


def test_stream_continues_after_unreadable_images(
    classifier: Classifier, unreadable: dict[str, Path], photos: Photos
) -> None:
    mixed = [photos["red"], *unreadable.values(), photos["blue"], b"junk"]
    answers = list(classifier.stream(mixed, batch_size=3))
    assert [type(answer) for answer in answers] == [Prediction, *[Failure] * 5, Prediction, Failure]
    assert [answer.reason for answer in answers if isinstance(answer, Failure)] == [*unreadable, "not an image"]
    assert answers[-1] == Failure("photo 8", "not an image")


def test_stream_of_failures_only(classifier: Classifier) -> None:
    assert len(list(classifier.stream([b"x"] * 40, batch_size=4))) == 40


@pytest.mark.parametrize(
    ("photo", "reason"),
    [
        (np.zeros((4, 4), np.uint8), r"must be uint8 \[H, W, 3\] in RGB order, not uint8 \[4, 4\]"),
        (np.zeros((4, 4, 3), np.float32), r"not float32 \[4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"not uint8 \[0, 4, 3\]"),
        ("a\0b", "null byte"),
        ([None], "a photo must be a path, bytes, a Pillow image or an array, not NoneType"),
        ([["a.jpg"]], "not list"),
        (7, "not int"),
    ],
)
def test_invalid_inputs_raise(classifier: Classifier, photo: object, reason: str) -> None:
    with pytest.raises(AssayError, match=reason):
        classifier.predict(photo)  # type: ignore[call-overload]


def test_pillow_image_equals_its_file(classifier: Classifier, tmp_path: Path) -> None:
    sideways = Image.new("RGB", (40, 20), "red")
    sideways.paste("blue", (20, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.paste((0, 255, 0, 255), (0, 0, 10, 20))
    sideways.save(tmp_path / "sideways.png", exif=exif)
    clear.save(tmp_path / "clear.png")
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(tmp_path / "deep.png")
    sideways.save(tmp_path / "sideways.tif", exif=exif)
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert classifier.predict(image).probabilities == classifier.predict(path).probabilities, path.name


def test_damaged_pillow_image_raises(classifier: Classifier, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    for name in ("cut.jpg", "cut.png"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with Image.open(tmp_path / name) as image, pytest.raises(AssayError, match="photo 1 cannot be read"):
            classifier.predict(image)


def test_stream_prefetches_a_bounded_number(classifier: Classifier, photos: Photos) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        content = photos["red"].read_bytes()
        while True:
            taken += 1
            yield content

    stream = classifier.stream(endless(), batch_size=4)
    for count in range(1, 41):
        assert isinstance(next(stream), Prediction)
        assert taken <= count + 3 * 4
    stream.close()
    assert taken <= 52


def test_stream_releases_images(classifier: Classifier) -> None:
    made: list[weakref.ref[np.ndarray]] = []
    most = 0

    def photos() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(100):
            photo = np.zeros((30, 30, 3), np.uint8)
            made.append(weakref.ref(photo))
            most = max(most, sum(reference() is not None for reference in made))
            yield photo

    assert sum(1 for _ in classifier.stream(photos(), batch_size=2)) == 100
    gc.collect()
    assert most <= 12


def test_error_of_the_input_iterator_is_propagated(classifier: Classifier, photos: Photos) -> None:
    def broken() -> Iterator[Path]:
        yield photos["red"]
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        list(classifier.stream(broken()))


@pytest.mark.parametrize("batch_size", [0, -3])
def test_batch_size_must_be_positive(classifier: Classifier, batch_size: int) -> None:
    with pytest.raises(UsageError, match=f"batch_size is {batch_size}"):
        classifier.predict([b""], batch_size=batch_size)


def test_outputs_of_a_batch_equal_those_of_each_image(classifier: Classifier) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), dtype=np.uint8)
    outputs = classifier.outputs(pixels)
    assert [len(array) for array in outputs] == [37, 37, 37]
    for index in (0, 15, 16, 36):
        alone = classifier.outputs(pixels[index : index + 1])
        for item, other in zip(alone, outputs, strict=True):
            np.testing.assert_allclose(item[0], other[index], atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (1, 8, 16, 3), (16, 16, 3)])
def test_outputs_of_other_shapes_raise(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[N, 16, 16, 3\]"):
        classifier.outputs(np.zeros(shape, np.uint8))


def test_predict_pixels_equals_predict(classifier: Classifier, photos: Photos) -> None:
    paths = list(photos.values())
    pixels = np.stack([classifier.preprocess.read(path.read_bytes()) for path in paths])
    answers = classifier.predict_pixels(pixels, [str(path) for path in paths])
    assert answers == classifier.predict(paths)
    assert [answer.source for answer in classifier.predict_pixels(pixels)] == [None] * 3


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-300, 1e300])
def test_extreme_temperatures_give_finite_probabilities(
    temperature: float, make_bundle: Callable[..., Path], photos: Photos
) -> None:
    answer = Classifier.load(make_bundle(temperature=temperature)).predict(photos["red"])
    assert answer.label == "red"
    assert 1 / 3 <= answer.confidence <= 1
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_temperature_is_applied(make_bundle: Callable[..., Path], photos: Photos) -> None:
    path = make_bundle()
    plain = assay.load(path)
    amend_bundle(Bundle.open(path), {"temperature": 4.0})
    mild = assay.load(path)
    outputs = mild.outputs(np.full((1, 16, 16, 3), (200, 100, 0), np.uint8))
    expected = np.exp(outputs.logits.astype(np.float64) / 4)
    np.testing.assert_allclose(mild.probabilities(outputs), expected / expected.sum(), rtol=1e-9)
    assert mild.predict(photos["red"]).confidence < plain.predict(photos["red"]).confidence


def test_runtimes_agree(bundle_path: Path, photos: Photos) -> None:
    answers = [Classifier.load(bundle_path, name).predict(photos["green"]) for name in ("openvino", "onnxruntime")]
    assert answers[0].confidence == pytest.approx(answers[1].confidence, abs=1e-6)


def test_model_of_another_input_size_raises(make_bundle: Callable[..., Path], make_model: Callable[..., bytes]) -> None:
    for model, reason in [
        (make_model(side=32), "input of 16 pixels for a model of 32"),
        (make_model(classes=2), "3 classes for a model of 2"),
    ]:
        with pytest.raises(BundleError, match=rf"colours\.assay is inconsistent: {reason}"):
            assay.load(make_bundle(model))


def test_broken_model_error_names_the_file(make_bundle: Callable[..., Path], make_model: Callable[..., bytes]) -> None:
    with pytest.raises(BundleError, match=r"colours\.assay cannot be run: its input has type .*, not uint8"):
        assay.load(make_bundle(make_model(input_type=TensorProto.FLOAT)))


def test_missing_int8_model_raises(bundle_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contains no int8 model: use precision auto"):
        Classifier.load(bundle_path, precision="int8")


@pytest.mark.skipif(not bf16_instructions(), reason="the processor has no instructions for bfloat16")
def test_bfloat16_uses_the_fp32_model(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whichever runtime was found to be fastest with 32 bits.
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    fp32 = ModelLoader(bundle_path, precision="fp32")
    fp32.save("latency", EngineMeasurement(EngineSetup("onnxruntime", 1, 1, 1), {}))
    exact, rounded = (Classifier.load(bundle_path, precision=item) for item in ("fp32", "bf16"))
    assert (exact.runtime, rounded.runtime) == ("onnxruntime, fp32", "openvino, bf16")
    assert rounded.info == exact.info
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    item, other = exact.predict(photo), rounded.predict(photo)
    assert other.confidence == pytest.approx(item.confidence, abs=0.02)


def test_unknown_precision_raises(bundle_path: Path) -> None:
    wrong: PrecisionChoice = "fp8"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="unknown precision 'fp8': choose auto, fp32, bf16 or int8"):
        Classifier.load(bundle_path, precision=wrong)


def test_missing_bundle_is_named() -> None:
    with pytest.raises(BundleError, match=r"absent\.assay does not exist"):
        assay.load("absent.assay")


LIGHT = """
import sys
import assay
light = not {"numpy", "pydantic"} & set(sys.modules)
answer = assay.load(sys.argv[1]).predict(sys.argv[2])
heavy = ("torch", "sklearn", "matplotlib", "albumentations", "onnx", "lightning", "scipy", "pandas")
print(answer.label, [name for name in heavy if name in sys.modules], light)
"""


def test_prediction_imports_no_training_modules(bundle_path: Path, photos: Photos) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(bundle_path), str(photos["red"])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "red [] True"
    assert done.stderr == ""


def test_public_names_of_the_package() -> None:
    assert assay.Classifier is Classifier
    assert {"load", "Classifier", "Prediction", "Failure"} <= set(assay.__all__)
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        assay.lode  # noqa: B018
