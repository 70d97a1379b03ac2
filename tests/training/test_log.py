import re
from pathlib import Path

from assay.training.history import RunLog


def test_lines_are_appended_with_the_time(tmp_path: Path):
    RunLog(tmp_path / "run" / "training.log").write("started: α")
    RunLog(tmp_path / "run" / "training.log").write("resumed")
    lines = (tmp_path / "run" / "training.log").read_text(encoding="utf-8").splitlines()
    assert [line.split("  ")[1] for line in lines] == ["started: α", "resumed"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  ", line) for line in lines)
