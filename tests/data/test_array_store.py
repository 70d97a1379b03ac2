"""The memory-mapped file of fixed-size records behind the caches."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.array_store import (
    ArrayStore,
    count_slots,
    create_store_file,
    is_in_use,
    slots_that_fit,
    store_file_size,
)

SIZE = 16
BYTES = SIZE * SIZE * 3
DIGESTS = [f"{number:064x}" for number in range(20)]
PLACES = {digest: place for place, digest in enumerate(DIGESTS)}


def square(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_store_file(tmp_path / "a.pixels", DIGESTS, BYTES)
    return tmp_path / "a.pixels"


def open_slots(path: Path) -> ArrayStore:
    return ArrayStore(path, PLACES, len(DIGESTS), (SIZE, SIZE, 3))


def test_written_records_are_visible_to_all_readers(path: Path) -> None:
    writer, reader = open_slots(path), open_slots(path)
    assert reader.get(DIGESTS[3]) is None
    writer.put(DIGESTS[3], square(3))
    for slots in (writer, reader, open_slots(path)):
        kept = slots.get(DIGESTS[3])
        assert kept is not None
        np.testing.assert_array_equal(kept, square(3))
        assert not kept.flags.writeable
        assert slots.get(DIGESTS[2]) is None


def test_black_pixels_differ_from_an_empty_slot(path: Path) -> None:
    slots = open_slots(path)
    slots.put(DIGESTS[0], np.zeros((SIZE, SIZE, 3), np.uint8))
    assert slots.get(DIGESTS[0]) is not None
    assert slots.get(DIGESTS[1]) is None


def test_unknown_digests_have_no_slot(path: Path) -> None:
    slots = open_slots(path)
    slots.put("f" * 64, square(0))
    assert "f" * 64 not in slots
    assert slots.get("f" * 64) is None
    assert DIGESTS[0] in slots


@pytest.mark.parametrize("offset", [0, BYTES // 2, BYTES - 1])
def test_damaged_records_are_never_used(path: Path, offset: int) -> None:
    slots = open_slots(path)
    for place, digest in enumerate(DIGESTS):
        slots.put(digest, square(place))
    with path.open("r+b") as stream:
        stream.seek(store_file_size(len(DIGESTS), BYTES) - (len(DIGESTS) - 5) * BYTES + offset)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))
    assert [slots.get(digest) is not None for digest in DIGESTS] == [place != 5 for place in range(20)]
    slots.put(DIGESTS[5], square(5))
    assert slots.get(DIGESTS[5]) is not None


def test_pixels_without_a_checksum_are_missing(path: Path) -> None:
    # As after a kill between the two writes.
    slots = open_slots(path)
    slots.put(DIGESTS[1], square(1))
    with path.open("r+b") as stream:
        stream.seek(8)
        stream.write(bytes(8))
    assert slots.get(DIGESTS[1]) is None


def test_missing_or_truncated_file_is_not_used(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.truncate(path, 100)
    short = open_slots(path)
    path.unlink()
    gone = open_slots(path)
    for slots in (short, gone):
        slots.put(DIGESTS[0], square(0))
        assert slots.get(DIGESTS[0]) is None
        assert DIGESTS[0] not in slots
    assert "is not used" in caplog.text


def test_removed_file_stays_usable_while_open(path: Path) -> None:
    slots = open_slots(path).opened()
    path.unlink()
    slots.put(DIGESTS[0], square(0))
    assert slots.get(DIGESTS[0]) is not None


def test_pixels_stay_valid_after_close(path: Path) -> None:
    slots = open_slots(path)
    slots.put(DIGESTS[0], square(0))
    kept = slots.get(DIGESTS[0])
    slots.close()
    assert kept is not None
    np.testing.assert_array_equal(kept, square(0))
    assert is_in_use(path)
    del kept
    assert not is_in_use(path)


def test_file_is_in_use_while_open(path: Path) -> None:
    assert not is_in_use(path)
    slots = open_slots(path).opened()
    assert is_in_use(path)
    slots.close()
    assert not is_in_use(path)


def test_unpickled_copy_opens_the_file(path: Path) -> None:
    slots = open_slots(path)
    slots.put(DIGESTS[0], square(0))
    copy = pickle.loads(pickle.dumps(slots))  # noqa: S301 - our own
    assert copy.get(DIGESTS[0]) is not None


FILL = """
import pickle, sys
slots, squares = pickle.load(sys.stdin.buffer)
for digest, square in squares.items():
    slots.put(digest, square)
    assert (slots.get(digest) == square).all()
"""


def test_processes_write_the_same_slots_concurrently(path: Path) -> None:
    slots = open_slots(path).opened()
    squares = {digest: square(place) for digest, place in PLACES.items()}
    workers = [subprocess.Popen([sys.executable, "-c", FILL], stdin=subprocess.PIPE) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(pickle.dumps((slots, squares)))
        worker.stdin.close()
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    for digest, expected in squares.items():
        np.testing.assert_array_equal(slots.get(digest), expected)


def test_forked_process_shares_the_file(path: Path) -> None:
    slots = open_slots(path).opened()
    child = os.fork()
    if child == 0:
        slots.put(DIGESTS[0], square(0))
        os._exit(0 if slots.get(DIGESTS[0]) is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert slots.get(DIGESTS[0]) is not None


@given(st.integers(1, 5000), st.sampled_from([192, 1000, 12288, 150528]))
def test_sizes_and_counts_agree(count: int, slot_bytes: int) -> None:
    size = store_file_size(count, slot_bytes)
    assert store_file_size(slots_that_fit(size, slot_bytes), slot_bytes) <= size
    assert slots_that_fit(size, slot_bytes) <= count <= slots_that_fit(size + 4096, slot_bytes) + 1


def test_number_of_slots_follows_from_the_length(tmp_path: Path) -> None:
    for count in (1, 511, 512, 513, 3000):
        create_store_file(tmp_path / "n.pixels", DIGESTS[:1] * count, 192)
        assert count_slots(tmp_path / "n.pixels", 192) == count
    (tmp_path / "n.pixels").write_bytes(b"x" * 5000)
    assert count_slots(tmp_path / "n.pixels", 192) == 0


def test_empty_slots_take_no_disk_space(tmp_path: Path) -> None:
    create_store_file(tmp_path / "large.pixels", DIGESTS[:1] * 1000, 150528)
    assert (tmp_path / "large.pixels").stat().st_blocks * 512 < 1_000_000
