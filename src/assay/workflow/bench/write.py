"""A benchmark as files: JSON for programs, a picture for people. Needs matplotlib."""

import json
from pathlib import Path

from assay.errors import AssayError
from assay.evaluation.figure import save_figure
from assay.files import write_text
from assay.workflow.bench.figure import bench_figure
from assay.workflow.bench.result import BenchResult


def write_bench(result: BenchResult, folder: Path) -> list[Path]:
    """Write `bench.json` and `bench.png`, each whole or not at all.

    Args:
        result: what was measured.
        folder: made if it is missing.

    Returns:
        The files written; no picture where nothing could be measured.

    Raises:
        AssayError: the folder cannot be written to.
    """
    text, picture = folder / "bench.json", folder / "bench.png"
    try:
        write_text(text, json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        if not result.measured:
            return [text]
        save_figure(bench_figure(result), picture)
    except OSError as error:
        raise AssayError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return [text, picture]
