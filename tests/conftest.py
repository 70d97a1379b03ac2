"""Fixtures that every part shares: the optional real photos, a data set of two colours, and real stores."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from colour_model import colour_model
from filelock import FileLock
from hypothesis import settings
from PIL import Image
from safetensors.numpy import save
from services import find_program

from assay.bundle import Bundle, BundleInfo, Provenance, amend_bundle, pack_bundle
from assay.recipe import PreprocessSpec, Recipe, load_recipe

_ARCHIVES = {"bottles": "bottles.tar", "button_cells": "button_cells.tar", "cifar10": "cifar10.tar.xz"}
_SIDE = 32
_DATA = Path(os.environ.get("ASSAY_DATA", "../shared/data"))

BuildOnce = Callable[[str, Callable[[Path], object]], Path]


# A machine that does other work at the same time must not fail an example; one that hangs is ended by the timeout.
settings.register_profile("thorough", deadline=timedelta(seconds=5))
settings.register_profile("quick", deadline=timedelta(seconds=5), max_examples=30)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# A shell starts what runs in the background with Ctrl-C switched off, for its children too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each reason of skipped tests, a missing program for example."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.section("skipped tests")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} skipped: {reason}")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the caches of the tests, and of the processes they start, apart from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(folder))
        yield folder


def _archive(name: str) -> Path:
    path = (_DATA / _ARCHIVES[name]).resolve()
    if not path.is_file():
        reason = f"{path} is absent; set ASSAY_DATA to the folder that holds {_ARCHIVES[name]}"
        if os.environ.get("ASSAY_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def build_once(tmp_path_factory: pytest.TempPathFactory) -> BuildOnce:
    """Build a folder once for all workers of this session; they must only read it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def build(name: str, make: Callable[[Path], object]) -> Path:
        done = folder / f"{name}.done"
        with FileLock(folder / f"{name}.lock"):
            if not done.exists():
                make(folder / name)
                done.touch()
        return folder / name

    return build


def _extract(name: str, folder: Path, limit: int | None = None) -> Path:
    with tarfile.open(_archive(name)) as archive:
        if limit is None:
            archive.extractall(folder, filter="data")
        else:
            seen: dict[str, int] = {}
            for member in archive:
                kind = str(Path(member.name).parent)
                if member.isfile() and seen.get(kind, 0) < limit:
                    seen[kind] = seen.get(kind, 0) + 1
                    archive.extract(member, folder, filter="data")
                elif len(seen) == 20 and min(seen.values()) == limit:
                    break
    return folder / name


@pytest.fixture(scope="session")
def bottles(build_once: BuildOnce) -> Path:
    """Folder with `open` and `closed`: 20 photos of 1080 x 1920, in bursts."""
    return build_once("photos-bottles", lambda folder: _extract("bottles", folder)) / "bottles"


@pytest.fixture(scope="session")
def button_cells(build_once: BuildOnce) -> Path:
    """Folder with three views of button cells: 55 photos, copies among them, `.jpg` files that are WebP."""
    return build_once("photos-cells", lambda folder: _extract("button_cells", folder)) / "button_cells"


@pytest.fixture(scope="session")
def cifar10(build_once: BuildOnce) -> Path:
    """Folder with `train` and `test` of CIFAR-10 as JPEG files, the first 40 of every class."""
    return build_once("photos-cifar10", lambda folder: _extract("cifar10", folder, limit=40)) / "cifar10"


def _paint(folder: Path, name: str, colour: tuple[int, int, int], count: int, seed: int) -> None:
    """Write `count` noisy photos of one colour."""
    rng = np.random.default_rng(seed)
    (folder / name).mkdir(parents=True)
    for number in range(count):
        noise = rng.normal(colour, 40, (_SIDE, _SIDE, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(folder / name / f"{number:03}.png")


@pytest.fixture(scope="session")
def colours(build_once: BuildOnce) -> Path:
    """Folder with `blue` and `red`, 40 photos each, and a file that is no photo."""
    return build_once("colours", _paint_colours)


def _paint_colours(folder: Path) -> None:
    _paint(folder, "red", (170, 90, 90), 40, seed=1)
    _paint(folder, "blue", (90, 90, 170), 40, seed=2)
    (folder / "red" / "broken.png").write_bytes((folder / "red" / "000.png").read_bytes()[:200])
    (folder / "red" / "notes.txt").write_text("no photo", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that trains in seconds."""
    return load_recipe(
        "custom-resnet",
        [
            "name=colours",
            f"preprocess.size={_SIDE}",
            "net.resnet={block: basic, layers: [1], widths: [8], stem: conv3}",
            "augment.train=[{name: horizontal_flip}]",
            "train.epochs=2",
            "train.batch_size=16",
            "train.workers=0",
            "serve.int8=false",
        ],
    )


@pytest.fixture(scope="session")
def colours_bundle(build_once: BuildOnce, colours: Path, tiny: Recipe) -> Path:
    """The bundle of the recipe `tiny`, trained on `colours`."""
    from assay.pipeline import train_classifier  # noqa: PLC0415  it imports torch

    return build_once("colours-run", lambda folder: train_classifier(colours, tiny, folder)) / "model.assay"


class Service:
    """A server that others use, on a free port of this machine; it can be killed and started again."""

    def __init__(self, scheme: str, command: Callable[[int], list[str]], folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._command, self._folder = command(self.port), folder

    def start(self) -> None:
        """Start it, unless it runs; return when it listens."""
        if self.process is None or self.process.poll() is not None:
            log = (self._folder / "log").open("ab")
            self.process = subprocess.Popen(self._command, cwd=self._folder, stdout=log, stderr=log)
            log.close()
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail((self._folder / "log").read_text(encoding="utf-8"))

    def kill(self) -> None:
        """End it outright, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path = find_program("redis-server")
    quiet = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]
    service = Service("redis", lambda port: [path, *quiet, str(port)], tmp_path_factory.mktemp("redis"))
    yield service
    service.kill()


@pytest.fixture
def redis_server(_redis: Service) -> Service:
    """A Redis of the tests' own, running; a test may kill it."""
    _redis.start()
    return _redis


@pytest.fixture(scope="session")
def _mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    path, folder = find_program("nx-27017"), tmp_path_factory.mktemp("mongo")
    files = ["--data-dir", str(folder), "--pid-file", str(folder / "pid"), "--log-file", str(folder / "log")]
    service = Service("mongodb", lambda port: [path, "--host", "127.0.0.1", *files, "-p", str(port)], folder)
    yield service
    service.kill()


@pytest.fixture
def mongo_server(_mongo: Service) -> Service:
    """A server that speaks MongoDB's protocol and keeps its data over a restart, running."""
    _mongo.start()
    return _mongo


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that speaks the protocol of Amazon S3."""
    path = find_program("moto_server")
    service = Service("http", lambda port: [path, "-H", "127.0.0.1", "-p", str(port)], tmp_path_factory.mktemp("s3"))
    service.start()
    yield service
    service.kill()


@pytest.fixture(scope="session")
def colour_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle that classifies the right half of an image by its colour."""
    path = tmp_path_factory.mktemp("bundle") / "colours.assay"
    spec = PreprocessSpec(size=16, roi=(0.5, 0, 1, 1), resize_mode="stretch", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    info = BundleInfo(name="colours", classes=("red", "green", "blue"), preprocess=spec, thresholds={"confidence": 0.5})
    head = {"head.fc.weight": 10 * np.eye(3, dtype=np.float32), "head.fc.bias": np.zeros(3, np.float32)}
    members = {"model.onnx": colour_model().SerializeToString(), "weights.safetensors": save(head)}
    pack_bundle(path, info, members)
    return path


def load_benchmark(name: str) -> ModuleType:
    """Import a module of `benchmarks/`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def make_files(root: Path, *names: str) -> Path:
    """Write a file of one byte under each name and return the folder."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


@pytest.fixture(scope="session")
def photo_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Large, tall, turned by Exif, transparent, gray and CMYK; every corner has another colour."""
    folder = tmp_path_factory.mktemp("photos")
    down, across = np.mgrid[0:1:480j, 0:1:640j]
    pixels = np.stack([across, down, 1 - across * down], axis=2)
    photo = Image.fromarray((255 * pixels).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "large.jpg", quality=95)
    photo.resize((90, 300)).save(folder / "tall.png")
    photo.save(folder / "turned.jpg", exif=turned)
    photo.convert("L").save(folder / "gray.png")
    photo.convert("CMYK").save(folder / "ink.jpg")
    glass = photo.resize((120, 70)).convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize((120, 70)))
    glass.save(folder / "glass.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def make_bundle(tiny: Recipe, photo_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a bundle of an untrained network whose predictions depend on the photo."""

    import torch  # noqa: PLC0415

    from assay.bundle.writer import write_bundle  # noqa: PLC0415
    from assay.image import Preprocess  # noqa: PLC0415
    from assay.inference import ENGINES  # noqa: PLC0415
    from assay.nets import create_classifier  # noqa: PLC0415

    def make(*, int8: bool = True, classes: tuple[str, str] = ("left ü", "right"), **preprocess: object) -> Path:
        spec = PreprocessSpec.model_validate({"size": _SIDE, "mean": (0.5,) * 3, "std": (0.5,) * 3, **preprocess})
        look = Preprocess(spec)
        squares = np.stack([look.read(shot.read_bytes()) for shot in photo_files])
        torch.manual_seed(0)
        network = create_classifier(tiny.net, 2, size=_SIDE).eval()
        with torch.no_grad():
            network.head.fc.weight /= network(torch.from_numpy(squares)).logits.std(dim=0).mean()
            network.head.fc.bias -= network(torch.from_numpy(squares)).logits.mean(dim=0)
        result = Provenance(recipe=tiny.model_dump(mode="json"))
        info = BundleInfo(
            name="photos",
            classes=classes,
            preprocess=spec,
            provenance=result,
            temperature=0.8,
            thresholds={"confidence": 0.7},
        )
        path = tmp_path_factory.mktemp("bundle") / "photos.assay"
        write_bundle(path, network, info, squares, ENGINES)
        if int8:
            bundle = Bundle.open(path)
            amend_bundle(bundle, {}, int8=_quantize(bundle, squares, path.with_suffix(".onnx")))
        return path

    return make


def _quantize(bundle: Bundle, squares: np.ndarray, scratch: Path) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static  # noqa: PLC0415

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(squares[:, np.newaxis])

        def get_next(self) -> dict[str, np.ndarray] | None:
            square = next(self._left, None)
            return None if square is None else {"images": square}

    scratch.write_bytes(bundle.model())
    quantize_static(scratch, scratch, Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
    return scratch.read_bytes()


@pytest.fixture(scope="session")
def int8_bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(roi=(0.1, 0.0, 0.9, 0.7), center_crop=0.9)
