"""Cards of a real check: what they show, what one click leaves out, and when nothing is left to do."""

import json
import shutil
from pathlib import Path

import pytest
from studio_projects import paint

from assay.data.check import check
from assay.studio.findings import finding_cards, photos_to_leave_out
from assay.studio.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Copies of one photo under one label and of another under two."""
    for number in range(8):
        paint(tmp_path / f"{number}.png", seed=number)
    shutil.copy(tmp_path / "0.png", tmp_path / "0 copy.png")
    shutil.copy(tmp_path / "1.png", tmp_path / "1 other.png")
    project = Project.open(tmp_path)
    names = project.by_name()
    cats = [names[name].id for name in ("0.png", "0 copy.png", "1.png", "2.png", "3.png")]
    project.label(cats, "cat", project.revision)
    project.label([item.id for item in project.photos.values() if item.label is None], "dog", project.revision)
    return project


def report(project: Project) -> dict[str, object]:
    return json.loads(json.dumps(check(project.labels_path).to_dict()))


def test_one_click_keeps_one_of_each_copy(project: Project):
    found = report(project)
    card = next(card for card in finding_cards(found, project.by_name()) if card.kind == "identical")
    assert card.action == "keep_one"
    chosen = photos_to_leave_out(found, card.index, project.by_name())
    project.leave_out(chosen, project.revision)
    assert len(chosen) == card.open
    after = next(card for card in finding_cards(found, project.by_name()) if card.kind == "identical")
    assert after.resolved
    assert photos_to_leave_out(found, card.index, project.by_name()) == []
    assert not any(item["kind"] == "identical" for item in report(project)["findings"])


def test_a_conflict_is_resolved_by_relabelling(project: Project):
    found = report(project)
    card = next(card for card in finding_cards(found, project.by_name()) if card.kind == "label_conflict")
    (group,) = card.groups
    assert (card.action, set(group.labels), group.resolved) == ("relabel", {"cat", "dog"}, False)
    project.label([item.photo.id for item in group.photos], "cat", project.revision)
    after = next(card for card in finding_cards(found, project.by_name()) if card.kind == "label_conflict")
    assert after.resolved


def test_findings_of_photos_that_are_gone_are_harmless(project: Project):
    found = report(project)
    cards = finding_cards(found, {})
    assert all(not card.groups and card.action is None for card in cards)
    with pytest.raises(LookupError):
        photos_to_leave_out(found, 99, {})
