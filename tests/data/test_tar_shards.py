"""Photos in tar files: WebDataset's members, class folders, hostile and damaged tars."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from assay.core.errors import AssayError
from assay.data import read_manifest, write_manifest
from assay.data.loading import load_dataset, load_grouped_dataset, load_split_dataset
from assay.data.splits import hash_part
from assay.data.tar_shards import is_shard_folder, list_shards
from assay.pipeline import train_classifier
from assay.recipe import Recipe, load_recipe


def _write(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def photos(colours: Path) -> dict[str, list[bytes]]:
    return {
        label: [path.read_bytes() for path in sorted((colours / label).glob("[0-9]*.png"))[:6]]
        for label in ("red", "blue")
    }


@pytest.fixture
def shards(photos: dict[str, list[bytes]], tmp_path: Path) -> Path:
    """Two shards of class folders, and one with .cls and .json members."""
    for number in range(2):
        own = slice(3 * number, 3 * number + 3)
        _write(
            tmp_path / "shards" / f"photos-{number}.tar",
            {f"./{label}/{place}.png": data for label in photos for place, data in enumerate(photos[label][own])},
        )
    return tmp_path / "shards"


def test_photos_are_read_in_place(shards: Path, photos: dict[str, list[bytes]]):
    dataset = load_dataset(shards)
    assert dataset.classes == ("blue", "red")
    assert [sample.id for sample in dataset.samples][:2] == ["photos-0.tar/blue/0.png", "photos-0.tar/blue/1.png"]
    assert [sample.read() for sample in dataset.samples if sample.label == "red"] == photos["red"]
    assert {sample.format for sample in dataset.samples} == {"png"}
    assert sorted(path.name for path in shards.iterdir()) == ["photos-0.tar", "photos-1.tar"]
    one = load_dataset(shards / "photos-0.tar")
    assert len(one) == 6


def test_labels_of_webdataset(photos: dict[str, list[bytes]], tmp_path: Path):
    red, blue = photos["red"], photos["blue"]
    path = _write(
        tmp_path / "a.tar",
        {
            "0001.png": red[0], "0001.cls": b"red\n",
            "0002.json": json.dumps({"label": "blue", "group": 7, "split": "val"}).encode(), "0002.png": blue[0],
            "0003.left.png": red[1], "0003.right.png": red[2], "0003.cls": b"red", "0003.txt": b"a caption",
            ".hidden/._0004.png": b"", "0005.cls": b"green",
        },
    )  # fmt: skip
    listing = list_shards(path)
    found = [(sample.id, sample.label, sample.group, sample.split) for sample in listing.samples]
    assert found == [
        ("a.tar/0001.png", "red", None, None),
        ("a.tar/0002.png", "blue", "7", "val"),
        ("a.tar/0003.left.png", "red", None, None),
        ("a.tar/0003.right.png", "red", None, None),
    ]
    assert listing.skipped == {"not an image": 1}


def test_folders_are_splits(shards: Path, tmp_path: Path):
    for split, shard in (("train", "photos-0.tar"), ("val", "photos-1.tar")):
        (tmp_path / "data" / split).mkdir(parents=True)
        (shards / shard).rename(tmp_path / "data" / split / shard)
    assert is_shard_folder(tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    assert [len(dataset.part(split)) for split in ("train", "val")] == [6, 6]
    assert dataset.samples[0].id == "train/photos-0.tar/blue/0.png"


def test_a_folder_of_classes_is_no_shard_folder(shards: Path):
    (shards / "red").mkdir()
    assert not is_shard_folder(shards)


def test_the_manifest_of_a_run_reads_the_same_photos(shards: Path, tmp_path: Path):
    dataset = load_dataset(shards)
    write_manifest(dataset, tmp_path / "run" / "manifest.csv")
    again = read_manifest(tmp_path / "run" / "manifest.csv", dataset.classes)
    assert [(sample.id, sample.label, sample.shard) for sample in again.samples] == [
        (sample.id, sample.label, sample.shard) for sample in dataset.samples
    ]
    assert [sample.read() for sample in again.samples] == [sample.read() for sample in dataset.samples]


@pytest.mark.parametrize("text", ["12", "a:b", "1:2:3", "-1:5"])
def test_a_wrong_place_in_a_manifest_is_refused(text: str, tmp_path: Path):
    (tmp_path / "m.csv").write_text(f"id,path,label,split,shard\na,a.tar,red,,{text}\n", encoding="utf-8")
    with pytest.raises(AssayError, match="is not two numbers with a colon between"):
        read_manifest(tmp_path / "m.csv")


def test_a_place_beyond_the_end_reserves_no_memory(shards: Path, tmp_path: Path):
    text = f"id,path,label,split,shard\na,{shards / 'photos-0.tar'},red,,0:9000000000000\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    (sample,) = read_manifest(tmp_path / "m.csv").samples
    with pytest.raises(AssayError, match="has fewer bytes than when its photos were listed"):
        sample.read()


def test_damaged_tars_are_refused(shards: Path, photos: dict[str, list[bytes]], tmp_path: Path):
    whole = (shards / "photos-0.tar").read_bytes()
    cases = {
        "compressed.tar": (
            _write(tmp_path / "gz", {"red/0.png": photos["red"][0]}, "w:gz").read_bytes(),
            "uncompressed",
        ),
        "empty.tar": (b"", "not an uncompressed tar"),
        "other.tar": (b"\xff\xd8\xff" * 500, "not an uncompressed tar"),
        "short.tar": (whole[:700], "truncated|damaged"),
        "nothing.tar": (_write(tmp_path / "none", {"notes.txt": b"x"}).read_bytes(), "contains no photos"),
        "unlabelled.tar": (
            _write(tmp_path / "bare", {"0.png": photos["red"][0]}).read_bytes(),
            r"0\.png has no label; add 0",
        ),
        "json.tar": (_write(tmp_path / "js", {"0.png": b"x", "0.json": b"{"}).read_bytes(), "is not valid JSON"),
        "long.tar": (_write(tmp_path / "long", {"0.png": b"x", "0.cls": b"x" * 5000}).read_bytes(), "at most 4,096"),
        "bytes.tar": (_write(tmp_path / "bytes", {"0.png": b"x", "0.cls": b"\xff"}).read_bytes(), "is not UTF-8 text"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / "bad" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        with pytest.raises(AssayError, match=message):
            list_shards(path)


def test_photos_after_a_damaged_header_are_not_lost(shards: Path, tmp_path: Path):
    whole = (shards / "photos-0.tar").read_bytes()
    place = whole.index(b"red/1.png")
    damaged = {
        "header.tar": whole[:place] + b"\xff" * 100 + whole[place + 100 :],
        "half.tar": whole[: place + 200],
        "two.tar": whole + whole,
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AssayError, match=f"{name} is damaged, or several tars in one file: there is data after"):
            list_shards(tmp_path / name)
    # Some programs write no end, and zero bytes may follow.
    end = whole.rindex(b"IEND") + 8
    end += -end % 512
    for number, content in enumerate((whole[:end], whole + bytes(5 << 20))):
        (tmp_path / f"{number}.tar").write_bytes(content)
        assert len(list_shards(tmp_path / f"{number}.tar").samples) == 6


def test_a_long_chain_of_headers_is_refused(tmp_path: Path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "chain.tar").write_bytes((header.tobuf() + bytes(512)) * 5000)
    with pytest.raises(AssayError, match=r"chain.tar is not an uncompressed tar, or it is damaged"):
        list_shards(tmp_path / "chain.tar")


def test_links_and_paths_outside_are_only_names(photos: dict[str, list[bytes]], tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("red/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        info = tarfile.TarInfo("../../red/up.png")
        info.size = len(photos["red"][0])
        archive.addfile(info, io.BytesIO(photos["red"][0]))
    listing = list_shards(path)
    (sample,) = listing.samples
    assert sample.label == "red"
    assert sample.read() == photos["red"][0]
    assert listing.skipped == {"link in a tar": 1}


def _add(
    archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    archive.addfile(info, io.BytesIO(content))


def test_a_hard_link_is_the_photo_of_an_earlier_member(photos: dict[str, list[bytes]], tmp_path: Path):
    path, red, blue = tmp_path / "a.tar", photos["red"], photos["blue"]
    with tarfile.open(path, "w") as archive:
        _add(archive, "./red/0.png", red[0])
        _add(archive, "red/1.png", red[1])
        _add(archive, "red/copy.png", kind=tarfile.LNKTYPE, target="red/0.png")
        _add(archive, "blue/0.png", blue[0])
        _add(archive, "blue/copy.png", kind=tarfile.LNKTYPE, target="./blue/0.png")
        _add(archive, "blue/copy-of-copy.png", kind=tarfile.LNKTYPE, target="blue/copy.png")
    listing = list_shards(path)
    assert {sample.id: sample.read() for sample in listing.samples} == {
        "a.tar/red/0.png": red[0],
        "a.tar/red/1.png": red[1],
        "a.tar/red/copy.png": red[0],
        "a.tar/blue/0.png": blue[0],
        "a.tar/blue/copy.png": blue[0],
        "a.tar/blue/copy-of-copy.png": blue[0],
    }
    assert not listing.skipped


def test_a_hard_link_to_a_hidden_file_is_a_photo_wherever_it_is(photos: dict[str, list[bytes]], tmp_path: Path):
    path, red, blue = tmp_path / "a.tar", photos["red"], photos["blue"]
    with tarfile.open(path, "w") as archive:
        for number, content in enumerate([red[0], red[1], blue[0]]):
            _add(archive, f"red/.{number}.png", content)
            _add(archive, f"red/{number}.png", kind=tarfile.LNKTYPE, target=f"red/.{number}.png")
            _add(archive, f"red/.link-{number}.png", kind=tarfile.LNKTYPE, target=f"red/.{number}.png")
        _add(archive, "red/.wrong.png", kind=tarfile.LNKTYPE, target="red/none.png")
        _add(archive, "red/3.png", kind=tarfile.LNKTYPE, target="red/.link-1.png")
    listing = list_shards(path)
    assert [sample.read() for sample in listing.samples] == [red[0], red[1], blue[0], red[1]]
    assert not listing.skipped


def test_members_that_are_not_files_are_counted(photos: dict[str, list[bytes]], tmp_path: Path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        _add(archive, "red", kind=tarfile.DIRTYPE)
        _add(archive, "red/before.png", kind=tarfile.LNKTYPE, target="red/0.png")
        _add(archive, "red/0.png", photos["red"][0])
        _add(archive, "red/itself.png", kind=tarfile.LNKTYPE, target="red/itself.png")
        _add(archive, "red/outside.png", kind=tarfile.LNKTYPE, target="/etc/passwd")
        _add(archive, "red/symbolic.png", kind=tarfile.SYMTYPE, target="0.png")
        _add(archive, "red/pipe.png", kind=tarfile.FIFOTYPE)
        _add(archive, "red/device.png", kind=tarfile.CHRTYPE)
        _add(archive, "red/.hidden.png", kind=tarfile.SYMTYPE, target="0.png")
    listing = list_shards(path)
    assert [sample.id for sample in listing.samples] == ["a.tar/red/0.png"]
    assert listing.skipped == {"link in a tar": 4, "special file in a tar": 2}


def test_copies_in_other_shards_are_found(shards: Path, photos: dict[str, list[bytes]]):
    _write(shards / "copies.tar", {"red/copy.png": photos["red"][0], "blue/other.png": photos["blue"][0]})
    dataset = load_grouped_dataset(shards, load_recipe("default").data)
    groups: dict[str | None, set[str]] = {}
    for sample in dataset.samples:
        groups.setdefault(sample.group, set()).add(sample.id)
    assert any(
        {"copies.tar/red/copy.png", "photos-0.tar/red/0.png"} <= members for name, members in groups.items() if name
    )


def test_a_split_by_hash_does_not_depend_on_other_photos(shards: Path, photos: dict[str, list[bytes]]):
    spec = load_recipe("default", ["data.split={method: hash, train: 0.4, val: 0.3, test: 0.3}"]).data
    before = {sample.id: sample.split for sample in load_split_dataset(shards, spec, 3).samples}
    assert set(before.values()) == {"train", "val", "test"}
    _write(shards / "zz.tar", {"red/copy.png": photos["red"][0]})
    after = {sample.id: sample.split for sample in load_split_dataset(shards, spec, 3).samples}
    assert after.pop("zz.tar/red/copy.png") == before["photos-0.tar/red/0.png"]
    assert after == before


def test_shares_of_a_split_by_hash():
    parts = [hash_part(f"photo-{number}", [0.7, 0.2, 0.1], seed=0) for number in range(10_000)]
    assert [parts.count(part) / len(parts) for part in range(3)] == pytest.approx([0.7, 0.2, 0.1], abs=0.02)
    assert parts[:50] != [hash_part(f"photo-{number}", [0.7, 0.2, 0.1], seed=1) for number in range(50)]


def test_a_classifier_is_trained_from_shards_as_from_files(shards: Path, colours: Path, tiny: Recipe, tmp_path: Path):
    with tarfile.open(shards / "all.tar", "w") as archive:
        for label in ("red", "blue"):
            archive.add(colours / label, label)
    for path in shards.glob("photos-*"):
        path.unlink()
    recipe = tiny.model_copy(update={"train": tiny.train.model_copy(update={"epochs": 1})})
    from_shards = train_classifier(shards, recipe, tmp_path / "shards-run")
    from_files = train_classifier(colours, recipe, tmp_path / "files-run")
    assert len(from_shards.dataset) == len(from_files.dataset)
    assert len(from_shards.dataset.unreadable) == 1
    assert from_shards.run.bundle.is_file()
    assert "all.tar" in (from_shards.run.folder / "manifest.csv").read_text(encoding="utf-8")
