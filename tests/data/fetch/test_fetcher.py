"""Fetching data sets from a local server, in their publishers' formats."""

import csv
import dataclasses
import gzip
import hashlib
import io
import json
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from http_server import running
from PIL import Image

from assay.core.errors import AssayError, UsageError
from assay.core.progress import no_progress
from assay.data import load_dataset
from assay.data.fetch.converters import CIFAR10_CLASSES as CIFAR
from assay.data.fetch.converters import extract_rar, read_idx, write_cifar10
from assay.data.fetch.fetcher import SOURCE_FILE, fetch, fetch_dataset
from assay.data.fetch.registry import REGISTRY, RegisteredDataset
from assay.recipe import recipe_names


class Server(ThreadingHTTPServer):
    """Serves the bytes in `files` by path, and counts the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests = 0

    def offer(self, name: str, body: bytes) -> str:
        self.files[f"/{name}"] = body
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        body = self.server.files.get(self.path.partition("?")[0])
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as started:
        yield started


def here(name: str, server: Server, bodies: dict[str, bytes]) -> RegisteredDataset:
    """The catalogue's data set with other files, served here."""
    dataset = REGISTRY[name]
    files = tuple(
        dataclasses.replace(
            remote,
            url=server.offer(remote.name, bodies[remote.name]),
            sha256=remote.sha256 and hashlib.sha256(bodies[remote.name]).hexdigest(),
        )
        for remote in dataset.files
    )
    return dataclasses.replace(dataset, files=files, installed=lambda: None)


def picture(red: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (red, 0, 0)).save(stream, "png")
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tar_gz_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


PHOTOS = zip_of({f"photos-main/{label}/{n}.png": picture(n) for label in ("cats", "dogs") for n in range(3)})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- addresses and files


def test_fetch_from_a_url(server: Server, tmp_path: Path) -> None:
    url = server.offer("archive/photos.zip", PHOTOS) + "?raw=1"
    fetched = fetch(url, tmp_path / "new" / "photos", sha256=hashlib.sha256(PHOTOS).hexdigest())
    assert fetched.written
    assert names(tmp_path / "new") == ["photos"]
    assert names(fetched.folder) == [SOURCE_FILE, "cats", "dogs"]
    assert load_dataset(fetched.folder).counts() == {"cats": 3, "dogs": 3}
    note = json.loads((fetched.folder / SOURCE_FILE).read_text())
    assert note == {"source": url, "files": {url: hashlib.sha256(PHOTOS).hexdigest()}}


def test_second_fetch_sends_no_request(server: Server, tmp_path: Path) -> None:
    url = server.offer("photos.zip", PHOTOS)
    fetch(url, tmp_path / "photos")
    assert not fetch(url, tmp_path / "photos").written
    assert server.requests == 1


def test_folder_is_named_after_the_archive(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetch(server.offer("a%20b.tar.gz", tar_gz_of({"a/1.png": b"1"}))).folder == Path("a b")
    assert fetch(server.offer("..zip", PHOTOS)).folder == Path("photos")
    assert names(tmp_path) == ["a b", "photos"]


def test_fetch_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.zip").write_bytes(PHOTOS)
    assert fetch("mine.zip").folder == Path("mine")
    assert not fetch("mine.zip").written
    with pytest.raises(AssayError, match="SHA-256"):
        fetch("mine.zip", Path("other"), sha256="0" * 64)
    assert names(tmp_path) == ["mine", "mine.zip"]


def test_existing_folder_is_rejected_before_any_request(server: Server, tmp_path: Path) -> None:
    url = server.offer("photos.zip", PHOTOS)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    with pytest.raises(AssayError, match="exists already"):
        fetch(url, tmp_path / "photos")
    with pytest.raises(AssayError, match="exists already"):
        fetch("cifar10", tmp_path / "photos")
    assert server.requests == 0


@pytest.mark.parametrize(
    ("body", "sha256", "message"),
    [
        (PHOTOS, "0" * 64, "SHA-256"),
        (PHOTOS[:-40], None, "damaged"),
        (b"<html>not found</html>" * 100, None, "no zip or tar"),
        (zip_of({"../evil.png": b"x"}), None, "leads out of the folder"),
    ],
)
def test_invalid_archives_leave_no_files(
    server: Server, tmp_path: Path, body: bytes, sha256: str | None, message: str
) -> None:
    with pytest.raises(AssayError, match=message):
        fetch(server.offer("photos.zip", body), tmp_path / "photos", sha256=sha256)
    assert names(tmp_path) == []


def test_network_errors_leave_no_files(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match="check the network"):
        fetch("http://127.0.0.1:1/photos.zip", tmp_path / "photos")
    assert names(tmp_path) == []


def test_unknown_name_suggests_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'cifar10'"):
        fetch("cifar", tmp_path / "x")


def test_invalid_options_raise(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sha256"):
        fetch("cifar10", tmp_path / "x", sha256="0" * 64)
    with pytest.raises(UsageError, match="--from"):
        fetch("http://127.0.0.1:1/photos.zip", tmp_path / "x", downloads=tmp_path)


# --- the catalogue


@pytest.mark.parametrize("name", REGISTRY)
def test_registry_entries_are_complete(name: str) -> None:
    dataset = REGISTRY[name]
    assert dataset.files
    for remote in dataset.files:
        assert remote.url.startswith(("https://", "http://fashion-mnist.s3-website"))
        for sha256 in (remote.sha256 or dataset.content_sha256, *remote.equivalent_sha256):
            assert len(bytes.fromhex(sha256)) == 32
    words = dataset.usage.split()
    assert words[:2] == ["assay", "train"]
    assert "-r" not in words or words[words.index("-r") + 1] in recipe_names()
    assert dataset.licence
    assert dataset.citation


def record(label: int, pixels: np.ndarray) -> bytes:
    return bytes([label]) + pixels.transpose(2, 0, 1).tobytes()


def test_cifar10(server: Server, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 32, 32, 3), np.uint8)
    batches = {
        f"cifar-10-batches-bin/{name}.bin": b"".join(record(n, pixels[at, n]) for n in range(10))
        for at, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"])
    }
    body = tar_gz_of(batches | {"cifar-10-batches-bin/readme.html": b"see the home page"})
    dataset = here("cifar10", server, {"cifar-10-binary.tar.gz": body})
    folder = fetch_dataset(dataset, tmp_path / "cifar10").folder
    data = load_dataset(folder)
    assert data.classes == CIFAR
    assert len(data.part("train")) == 50
    assert len(data.part("test")) == 10
    with Image.open(folder / "train" / "bird" / "00012.png") as image:
        assert np.array_equal(np.asarray(image), pixels[1, 2])
    two = load_dataset(folder / "vehicle-animal.csv")
    assert two.counts() == {"animal": 36, "vehicle": 24}
    assert {item.source_label for item in two.samples if item.label == "vehicle"} == {
        "airplane",
        "automobile",
        "ship",
        "truck",
    }
    assert names(tmp_path) == ["cifar10"]
    assert json.loads((folder / SOURCE_FILE).read_text())["citation"].startswith("A. Krizhevsky")


@pytest.mark.parametrize("body", [b"", bytes(3072), b"\x0a" + bytes(3072)])
def test_cifar10_of_another_format(tmp_path: Path, body: bytes) -> None:
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (tmp_path / name).write_bytes(body)
    with pytest.raises(AssayError, match="binary format"):
        write_cifar10(tmp_path, tmp_path / "out", no_progress)


def test_cifar10_with_a_file_missing(tmp_path: Path) -> None:
    with pytest.raises(AssayError, match=r"data_batch_1\.bin is missing"):
        write_cifar10(tmp_path, tmp_path / "out", no_progress)


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def fashion(count: int = 20) -> dict[str, bytes]:
    dice = np.random.default_rng(1)
    bodies = {}
    for part in ("train", "t10k"):
        bodies[f"{part}-images-idx3-ubyte.gz"] = idx(dice.integers(0, 256, (count, 28, 28), np.uint8))
        bodies[f"{part}-labels-idx1-ubyte.gz"] = idx(np.arange(count, dtype=np.uint8) % 10)
    return bodies


def test_fashion_mnist(server: Server, tmp_path: Path) -> None:
    bodies = fashion()
    folder = fetch_dataset(here("fashion-mnist", server, bodies), tmp_path / "fashion").folder
    data = load_dataset(folder)
    assert len(data.classes) == 10
    assert (len(data.part("train")), len(data.part("test"))) == (20, 20)
    pixels = np.frombuffer(gzip.decompress(bodies["t10k-images-idx3-ubyte.gz"]), np.uint8, offset=16)
    with Image.open(folder / "test" / "dress" / "00013.png") as image:
        assert np.array_equal(np.asarray(image), pixels.reshape(-1, 28, 28)[13])


def test_files_downloaded_by_other_means(server: Server, tmp_path: Path) -> None:
    bodies = fashion()
    dataset = here("fashion-mnist", server, bodies)
    (tmp_path / "stick").mkdir()
    with pytest.raises(AssayError, match="is missing; download it from http"):
        fetch_dataset(dataset, tmp_path / "fashion", downloads=tmp_path / "stick")
    for name, body in bodies.items():
        (tmp_path / "stick" / name).write_bytes(body)
    assert fetch_dataset(dataset, tmp_path / "fashion", downloads=tmp_path / "stick").written
    (tmp_path / "stick" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"other")
    with pytest.raises(AssayError, match="SHA-256"):
        fetch_dataset(dataset, tmp_path / "again", downloads=tmp_path / "stick")
    assert server.requests == 0
    assert names(tmp_path) == ["fashion", "stick"]


def test_downloaded_files_are_kept_when_a_later_one_fails(server: Server, tmp_path: Path) -> None:
    dataset = here("fashion-mnist", server, fashion())
    labels = server.files.pop("/t10k-labels-idx1-ubyte.gz")
    with pytest.raises(AssayError, match="404"):
        fetch_dataset(dataset, tmp_path / "fashion")
    server.files["/t10k-labels-idx1-ubyte.gz"] = labels
    fetch_dataset(dataset, tmp_path / "fashion")
    assert server.requests == 5
    assert names(tmp_path) == ["fashion"]


def test_mismatched_images_and_labels_raise(server: Server, tmp_path: Path) -> None:
    bodies = fashion() | {"t10k-labels-idx1-ubyte.gz": idx(np.zeros(7, np.uint8))}
    with pytest.raises(AssayError, match="belong together"):
        fetch_dataset(here("fashion-mnist", server, bodies), tmp_path / "fashion")
    assert not (tmp_path / "fashion").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x08"),
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0"),
        gzip.compress(b"\0\0\x08\x01\0\0\0\x02\0"),
        gzip.compress(b"\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0"),
        gzip.compress(bytes(100))[:-9],
    ],
    ids=["empty", "plain", "nothing", "cut", "type", "short", "huge", "truncated"],
)
def test_invalid_idx_files_raise(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "file").write_bytes(body)
    with pytest.raises(AssayError, match="download it again"):
        read_idx(tmp_path / "file")


def test_elpv_from_the_package_file(server: Server, tmp_path: Path) -> None:
    labels = "images/cell0001.png  1.0  mono\nimages/cell0002.png  0.3333333333333333  poly\n"
    wheel = zip_of(
        {
            "elpv_dataset/__init__.py": b"",
            "elpv_dataset/data/labels.csv": labels.encode(),
            "elpv_dataset/data/images/cell0001.png": picture(1),
            "elpv_dataset/data/images/cell0002.png": picture(2),
        }
    )
    dataset = here("elpv", server, {REGISTRY["elpv"].files[0].name: wheel})
    folder = fetch_dataset(dataset, tmp_path / "elpv").folder
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["label"], row["source_label"]) for row in rows] == [
        ("defective", "mono"),
        ("functional", "poly"),
    ]
    assert load_dataset(folder / "manifest.csv").counts() == {"defective": 1, "functional": 1}


def test_installed_elpv_needs_no_network(tmp_path: Path) -> None:
    source = tmp_path / "installed"
    (source / "images").mkdir(parents=True)
    (source / "images" / "cell0001.png").write_bytes(picture())
    (source / "labels.csv").write_text("images/cell0001.png 1.0 mono\n")
    dataset = dataclasses.replace(REGISTRY["elpv"], installed=lambda: source, files=())
    folder = fetch_dataset(dataset, tmp_path / "elpv").folder
    assert names(folder) == [SOURCE_FILE, "defective", "functional", "manifest.csv"]


# --- RAR


def rar_of(files: dict[str, bytes]) -> bytes:
    """A RAR 4 archive, its files stored uncompressed."""

    def block(kind: int, flags: int, fields: bytes, data: bytes = b"") -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data

    body = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in files.items():
        fields = struct.pack("<IIBIIBBHI", len(data), len(data), 3, zlib.crc32(data), 0, 20, 0x30, len(name), 0o100644)
        body += block(0x74, 0x8000, fields + name.encode(), data)
    return body + block(0x7B, 0x4000, b"")


CRACKS = {f"{label}/{n:05}.png": picture(n) for label in ("Negative", "Positive") for n in (1, 2)}


@pytest.fixture
def unpacker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for a foreign program, which not every machine has: unpacks zip under the name of bsdtar."""
    program = tmp_path / "bin" / "bsdtar"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, zipfile\n"
        "assert sys.argv[1:3] == ['-x', '-f'] and sys.argv[4] == '-C'\n"
        "zipfile.ZipFile(sys.argv[3]).extractall(sys.argv[5])\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_concrete_cracks(server: Server, tmp_path: Path, unpacker: Path) -> None:
    dataset = here("concrete-cracks", server, {"concrete-cracks.rar": zip_of(CRACKS)})
    folder = fetch_dataset(dataset, tmp_path / "cracks").folder
    assert load_dataset(folder).counts() == {"negative": 2, "positive": 2}
    assert names(tmp_path) == [unpacker.parent.name, "cracks"]


def test_concrete_cracks_with_unexpected_content(server: Server, tmp_path: Path, unpacker: Path) -> None:
    dataset = here("concrete-cracks", server, {"concrete-cracks.rar": zip_of({"cats/1.png": b"x", "dogs/1.png": b"x"})})
    with pytest.raises(AssayError, match="no folder Negative"):
        fetch_dataset(dataset, tmp_path / "cracks")
    assert unpacker.exists()
    assert not (tmp_path / "cracks").exists()


def test_error_of_the_unpacker_is_quoted(tmp_path: Path, unpacker: Path) -> None:
    (tmp_path / "damaged.rar").write_bytes(b"Rar!")
    (tmp_path / "out").mkdir()
    with pytest.raises(AssayError, match="BadZipFile") as refusal:
        extract_rar(tmp_path / "damaged.rar", tmp_path / "out")
    assert str(unpacker) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_without_an_unpacker_the_download_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    dataset = here("concrete-cracks", server, {"concrete-cracks.rar": rar_of(CRACKS)})
    for _ in range(2):
        with pytest.raises(AssayError, match="bsdtar, 7z"):
            fetch_dataset(dataset, tmp_path / "cracks")
    assert server.requests == 1
    assert names(tmp_path) == [".cracks.download"]


def test_link_in_a_rar_archive_is_rejected(tmp_path: Path, unpacker: Path) -> None:
    unpacker.write_text(f"#!{sys.executable}\nimport os, sys\nos.symlink('/etc', sys.argv[5] + '/link')\n")
    (tmp_path / "out").mkdir()
    with pytest.raises(AssayError, match="no plain file"):
        extract_rar(tmp_path / "links.rar", tmp_path / "out")


def test_real_unpacker(tmp_path: Path) -> None:
    (tmp_path / "cracks.rar").write_bytes(rar_of(CRACKS))
    (tmp_path / "out").mkdir()
    try:
        extract_rar(tmp_path / "cracks.rar", tmp_path / "out")
    except AssayError as refusal:
        if "needs one of the programs" not in str(refusal):
            raise
        pytest.skip("no program for RAR is installed")
    found = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.png")}
    assert {name: path.read_bytes() for name, path in found.items()} == CRACKS
