"""The list of recent projects."""

from pathlib import Path

import pytest

from assay.studio.recent_projects import MAX_RECENT, RecentProjects


def test_the_last_opened_project_is_first_and_the_list_is_bounded(tmp_path: Path):
    recent = RecentProjects(tmp_path / "state")
    assert recent.read() == []
    folders = [tmp_path / f"project-{number}" for number in range(MAX_RECENT + 3)]
    for folder in folders:
        recent.add(folder)
    recent.add(folders[-2])
    assert recent.read()[:3] == [folders[-2], folders[-1], folders[-3]]
    assert len(recent.read()) == MAX_RECENT
    recent.remove(folders[-2])
    assert recent.read()[0] == folders[-1]


@pytest.mark.parametrize("content", ["", "[]", '{"projects": [1]}', '{"projects": "x"}'])
def test_a_damaged_list_is_empty_and_is_written_again(tmp_path: Path, content: str):
    (tmp_path / "projects.json").write_text(content)
    recent = RecentProjects(tmp_path)
    assert recent.read() == []
    recent.add(tmp_path)
    assert recent.read() == [tmp_path]
