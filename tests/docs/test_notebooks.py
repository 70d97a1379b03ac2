"""The notebooks run from beginning to end; stored outputs are small and contain no machine details."""

import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
ORDER = ("first-classifier", "honest-evaluation", "camera", "serving")
"""Each needs what those before it left."""


def _outputs(name: str) -> str:
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    return "".join(str(cell.get("outputs", "")) for cell in cells)


def test_all_notebooks_are_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_stored_outputs_are_complete_and_small(name: str):
    result = _outputs(name)
    assert 500 < len(result) < 300_000
    assert "Traceback" not in result
    assert not re.search(r"/(home|root|work|tmp|Users)/", result)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_notebooks_run_in_order(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for label, colour in (("open", "red"), ("closed", "blue")):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(1, 17):
            shutil.copy(colours / colour / f"{number:03}.png", tmp_path / "photos" / label)
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / ".jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    there = {"metadata": {"path": str(tmp_path)}}
    for name in ORDER:
        book = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        client = NotebookClient(book, timeout=240, kernel_name="python3", resources=there)
        client.execute()
        shown = [cell for cell in book.cells if cell.cell_type == "code" and cell.outputs]
        assert len(shown) >= 4
    last = [cell for cell in book.cells if cell.cell_type == "code"][-1]
    assert last.outputs[0].text.strip() == "exit code 0"
