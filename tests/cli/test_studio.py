"""`assay studio`: the folder that it is given."""

from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.studio.app import run_studio


def test_a_folder_that_does_not_exist_is_refused_and_not_created(tmp_path: Path):
    def on_ready(*_: object) -> None:
        pytest.fail("the studio was started")

    with pytest.raises(UsageError, match=r"there is no folder .*nosuch: create it, or give the folder of your photos"):
        run_studio(tmp_path / "nosuch", 0, on_ready)
    assert not (tmp_path / "nosuch").exists()
