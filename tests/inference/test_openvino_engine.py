from concurrent.futures import ThreadPoolExecutor
from os import utime
from pathlib import Path

from assay.inference.openvino_engine import CompiledModelCache


def test_what_is_put_comes_back(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path / "a")
    assert kept.get("00") is None
    kept.put("00", b"blob")
    assert kept.get("00") == b"blob"
    kept.forget("00")
    assert kept.get("00") is None


def test_changed_bytes_are_not_given_out(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path)
    kept.put("00", b"blob")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert kept.get("00") is None
    file.write_bytes(b"")
    assert kept.get("00") is None


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path, limit=100)
    for age, key in enumerate(("00", "01")):
        kept.put(key, bytes(18))
        utime(tmp_path / f"{key}.blob", (age, age))
    assert kept.get("00") == bytes(18)
    kept.put("02", bytes(18))
    assert {file.stem for file in tmp_path.iterdir()} == {"00", "02"}
    kept.put("03", bytes(101))
    assert kept.get("03") is None


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = CompiledModelCache(tmp_path / "file" / "below")
    kept.put("00", b"blob")
    assert kept.get("00") is None


def test_many_may_put_at_once(tmp_path: Path) -> None:
    kept = CompiledModelCache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda place: kept.put(f"{place % 2:02}", bytes(1000)), range(40)))
    assert kept.get("00") == kept.get("01") == bytes(1000)
    assert len(list(tmp_path.iterdir())) == 2
