"""`assay collect`: its summary."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from assay.cli.collect import _print_collection_summary


@pytest.mark.parametrize(("count", "words"), [(1, "1 near-duplicate (skipped)"), (2, "2 near-duplicates (skipped)")])
def test_near_duplicates_are_counted_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int, words: str
):
    writer = SimpleNamespace(counts={"red": 4})
    summary = SimpleNamespace(written={"red": 3}, near_duplicates={"red": count})
    _print_collection_summary(writer, summary, tmp_path, skip_duplicates=True)
    assert capsys.readouterr().out == f"red: 3 new, 4 in total; {words}\n"
