"""The persistent store of features and comparison results."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.data.image_feature_cache import open_feature_store
from assay.data.image_features import FEATURES_VERSION, Features

_ONE = Features(
    digest="a" * 64, format="jpeg", width=3, height=4, mode="RGB", orientation=1, frames=1,
        value_type="uint8", low=0, high=255, capture_time=None,
    brightness=1.5, dark=1.0, bright=2.0, contrast=3.0, sharpness=4.0, detail=5.0,
    colour_thumbnail=np.arange(768, dtype=np.uint8).reshape(16, 16, 3),
    gray_thumbnail=np.arange(1024, dtype=np.uint8).reshape(32, 32),
)  # fmt: skip


def _same(one: Features, other: Features) -> bool:
    blank = np.zeros(1, np.uint8)
    return (
        replace(one, colour_thumbnail=blank, gray_thumbnail=blank)
        == replace(other, colour_thumbnail=blank, gray_thumbnail=blank)
        and np.array_equal(one.colour_thumbnail, other.colour_thumbnail)
        and np.array_equal(one.gray_thumbnail, other.gray_thumbnail)
    )


def test_features_survive_a_restart(tmp_path: Path) -> None:
    other = replace(_ONE, digest="b" * 64, capture_time=1.5, gray_thumbnail=np.ones((64, 64), np.uint8))
    with open_feature_store(tmp_path) as store:
        store.put([_ONE, other])
    with open_feature_store(tmp_path) as store:
        found = store.get([_ONE.digest, other.digest, "c" * 64])
        assert set(found) == {_ONE.digest, other.digest}
        assert _same(found[_ONE.digest], _ONE)
        assert _same(found[other.digest], other)
        assert [len(fine) for fine in store.gray_thumbnails([other.digest, _ONE.digest, other.digest])] == [64, 32, 64]
        with pytest.raises(KeyError):
            store.gray_thumbnails(["c" * 64])


def test_least_recently_used_features_are_removed_first(tmp_path: Path) -> None:
    digests = [letter * 64 for letter in "abcd"]
    with open_feature_store(tmp_path) as store:
        store.put([replace(_ONE, digest=digest) for digest in digests])
        store.touch(digests[1:], now=2)
        store.touch(digests[2:], now=3, most=2)
        assert set(store.get(digests)) == set(digests[2:])


def test_damaged_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "features" / f"v{FEATURES_VERSION}.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with open_feature_store(tmp_path) as store:
        store.put([_ONE])
        assert _same(store.get([_ONE.digest])[_ONE.digest], _ONE)


def test_folder_that_cannot_be_created_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with open_feature_store(tmp_path / "file") as store:
        store.put([_ONE])
        assert store.get([_ONE.digest])


def test_features_are_kept_in_memory_when_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    others = [replace(_ONE, digest=f"{number:064}") for number in range(200)]
    digests = [item.digest for item in (_ONE, *others)]
    with open_feature_store(tmp_path) as store:
        store.put([_ONE])
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        for item in others:
            store.put([item])
        store.touch(digests, now=1)
        store.put_result("key", "value" * 10_000)
        assert set(store.get(digests)) == set(digests)
        assert len(store.gray_thumbnails(digests)) == 201
        assert store.get_result("key") is None
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "further features are not kept",
        "the feature cache is not updated",
    ]
    with open_feature_store(tmp_path) as store:
        assert _ONE.digest in store.get(digests)


def test_runs_and_threads_share_a_file(tmp_path: Path) -> None:
    many = [replace(_ONE, digest=f"{number:064d}") for number in range(200)]
    with open_feature_store(tmp_path) as first, open_feature_store(tmp_path) as second, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda job: job[0].put([job[1]]), zip([first, second] * 100, many, strict=True)))
        assert len(second.get([item.digest for item in many])) == 200


def test_store_is_an_sqlite_file(tmp_path: Path) -> None:
    with open_feature_store(tmp_path) as store:
        store.put([_ONE])
    with sqlite3.connect(tmp_path / "features" / f"v{FEATURES_VERSION}.sqlite") as database:
        assert database.execute("SELECT count(*) FROM photos").fetchone() == (1,)
    database.close()


def test_results_are_stored_and_the_oldest_dropped(tmp_path: Path) -> None:
    with open_feature_store(tmp_path) as store:
        for number in range(5):
            store.put_result(f"key {number}", f"value {number}", most=3)
    with open_feature_store(tmp_path) as store:
        kept = [store.get_result(f"key {number}") for number in range(5)]
    assert kept == [None, None, "value 2", "value 3", "value 4"]
