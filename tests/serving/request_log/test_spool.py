"""Records on disk: bounded, consistent after a kill, and taken over from dead workers."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.serving.request_log.serialization import to_json_line
from assay.serving.request_log.spool import Spool
from assay.serving.request_record import RequestRecord

MIB = 2**20


def drain(spool: Spool) -> list[RequestRecord]:
    records = []
    while len(spool):
        records += spool.oldest()
        spool.remove_oldest()
    return records


MakeSpool = Callable[..., Spool]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeSpool]:
    """Open spools in one folder, as workers do."""
    made = []

    def make_spool(limit: int = MIB) -> Spool:
        made.append(Spool(tmp_path, limit=limit))
        made[-1].open()
        return made[-1]

    yield make_spool
    for spool in made:
        spool.close()


def test_records_are_read_oldest_first(make: MakeSpool, record: Any):
    spool = make()
    records = [record(number) for number in range(7)]
    assert spool.put(records[:3]) == 3
    assert spool.put(records[3:]) == 4
    assert len(spool) == 7
    assert drain(spool) == records
    assert spool.put([record(8)]) == 1
    assert len(drain(spool)) == 1


def test_records_put_while_the_oldest_file_is_being_stored_are_kept(make: MakeSpool, record: Any):
    spool = make()
    spool.put([record(0)])
    assert spool.oldest() == [record(0, id=spool.oldest()[0].id)]
    spool.put([record(1)])
    spool.remove_oldest()
    assert [item.request_id for item in drain(spool)] == ["request-1"]


def test_order_is_kept_across_files(make: MakeSpool, tmp_path: Path, record: Any):
    spool = make(limit=10 * MIB)
    records = [record(number) for number in range(6000)]
    for start in range(0, 6000, 500):
        assert spool.put(records[start : start + 500]) == 500
    assert len(list(tmp_path.rglob("*.jsonl"))) > 1
    assert drain(spool) == records
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_size_is_limited(make: MakeSpool, tmp_path: Path, record: Any):
    size = len(to_json_line(record(0))) + 1
    spool = make(limit=3 * size + 5)
    assert spool.put([record(number) for number in range(5)]) == 3
    assert spool.put([record(9)]) == 0
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jsonl")) <= 3 * size + 5
    assert len(drain(spool)) == 3
    assert spool.put([record(9)]) == 1


def test_next_process_takes_over_the_records(make: MakeSpool, record: Any):
    first = make()
    first.put([record(0)])
    first.close()
    again = make()
    assert [item.request_id for item in drain(again)] == ["request-0"]


def test_records_of_dead_workers_only_are_taken_over(make: MakeSpool, record: Any):
    item, two, three = (make() for _ in range(3))
    for number, spool in enumerate((item, two, three)):
        spool.put([record(number)])
    assert [len(spool) for spool in (item, two, three)] == [1, 1, 1]
    item.close()
    three.close()
    again = make()
    assert {record.request_id for record in drain(again)} == {"request-0", "request-2"}
    assert [record.request_id for record in drain(two)] == ["request-1"]


@pytest.mark.parametrize("cut", [1, 20, -1], ids=str)
def test_truncated_last_line_loses_only_that_line(make: MakeSpool, tmp_path: Path, record: Any, cut: int):
    spool = make()
    spool.put([record(number) for number in range(3)])
    spool.close()
    (path,) = tmp_path.rglob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:cut].rstrip(b"\n")[:-1])
    again = make()
    assert [item.request_id for item in drain(again)] == ["request-0", "request-1"]
    assert again.put([record(5)]) == 1
    assert len(drain(again)) == 1


def test_deleted_file_is_tolerated(make: MakeSpool, tmp_path: Path, record: Any):
    spool = make()
    spool.put([record(0)])
    (path,) = tmp_path.rglob("*.jsonl")
    path.unlink()
    assert drain(spool) == []
    assert spool.put([record(1)]) == 1


def test_read_only_folder_accepts_nothing(tmp_path: Path, record: Any):
    (tmp_path / "file").write_text("no folder")
    spool = Spool(tmp_path / "file", limit=MIB)
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        spool.open()
    assert spool.put([record(0)]) == 0
    assert (len(spool), spool.oldest()) == (0, [])
    spool.close()


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Set the size that files of this process may have, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_failed_write_leaves_complete_lines(make: MakeSpool, record: Any, largest_file: Callable[[int], None]):
    spool = make()
    spool.put([record(0)])
    largest_file(len(to_json_line(record(0))) + 100)
    assert spool.put([record(1)]) == 0
    assert spool.put([record(2)]) == 0
    largest_file(MIB)
    assert spool.put([record(3)]) == 1
    assert [item.request_id for item in drain(spool)] == ["request-0", "request-3"]


_WORKER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from assay.serving.request_log.spool import Spool
from assay.serving.request_context import Record
spool = Spool(Path(sys.argv[1]), limit=2**26)
for number in range(10**6):
    spool.put([Record(f"{number}", datetime.now(UTC), "c", None, None, None, None, .1, "m", "v", False, 200)])
    print(number, flush=True)
"""


def test_killed_worker_has_kept_all_confirmed_records(make: MakeSpool, tmp_path: Path):
    worker = subprocess.Popen([sys.executable, "-c", _WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    message = [worker.stdout.readline() for _ in range(200)]
    worker.kill()
    message += worker.stdout.readlines()
    worker.wait()
    worker.stdout.close()
    kept = [int(item.request_id) for item in drain(make())]
    whole = [int(line) for line in message if line.endswith("\n")]
    assert kept[: len(whole)] == whole
    assert len(kept) <= len(whole) + 2


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_lock_is_not_inherited_by_child_processes(make: MakeSpool, record: Any):
    spool = make()
    spool.put([record(0)])
    with subprocess.Popen(["sleep", "60"]) as program:
        spool.close()
        again = make()
        assert len(again) == 1
        program.kill()
