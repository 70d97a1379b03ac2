"""A measurement tells what it was made on."""

import json
from pathlib import Path

from assay.benchmark.machine import load_average, machine_info

_X86 = """processor : 0
model name : Fast Chip 9000
flags : fpu avx2 avx512_vnni rdtscp

processor : 1
model name : Other
"""
_ARM = "processor : 0\nFeatures : fp asimddp i8mm\n"


def test_processor_and_what_it_can_do(tmp_path: Path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(_X86, encoding="utf-8")
    told = machine_info(tmp_path)
    assert (told["processor"], told["features"]) == ("Fast Chip 9000", ["avx2", "avx512_vnni"])
    (tmp_path / "proc" / "cpuinfo").write_text(_ARM, encoding="utf-8")
    assert machine_info(tmp_path)["features"] == ["asimddp", "i8mm"]


def test_a_system_that_tells_nothing_is_no_error(tmp_path: Path):
    told = machine_info(tmp_path)
    assert told["features"] == []
    assert told["processors"]["usable"] >= 1
    assert told["libraries"]["numpy"]
    json.dumps(told)


def test_load_is_a_number_where_it_is_counted():
    assert load_average() is None or load_average() >= 0
