"""Cards of a real check: what they show, what one click leaves out, and when nothing is left to do."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from studio_projects import paint

from assay.data.check import check
from assay.data.check_result import FindingKind
from assay.studio.findings import (
    FIRST_PHOTOS,
    GROUPS_PER_PAGE,
    cards_by_severity,
    finding_cards,
    photos_to_leave_out,
)
from assay.studio.pages import texts
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


def test_photos_of_a_finding_about_single_ones_are_a_grid(project: Project):
    Image.new("RGB", (64, 64), "white").save(project.folder / "blank.png")
    Image.new("RGB", (64, 64), "black").save(project.folder / "black.png")
    project.rescan()
    names = project.by_name()
    blank = [names[name].id for name in ("blank.png", "black.png")]
    project.label(blank, "cat", project.revision)
    found = report(project)
    cards = {card.kind: card for card in finding_cards(found, names)}
    assert (cards["blank"].is_grid, cards["identical"].is_grid) == (True, False)
    project.leave_out(blank[:1], project.revision)
    card = next(card for card in finding_cards(found, names) if card.kind == "blank")
    assert [(row[0], row[3], row[4]) for row in card.grid] == [(blank[1], "cat", 0), (blank[0], "cat", 1)]
    assert all(row[5].endswith("of 255") for row in card.grid)
    assert (card.open, card.resolved) == (1, False)


def finding(kind: str, severity: str, groups: list[list[str]]) -> dict[str, object]:
    members = [{"photos": [{"id": name, "note": ""} for name in group], "note": ""} for group in groups]
    return {"kind": kind, "severity": severity, "title": kind, "groups": members}


def test_what_matters_comes_first_and_what_is_done_last(project: Project):
    names = project.by_name()
    kinds = [("burst", "note", "2.png"), ("blank", "warning", "3.png"), ("dark", "warning", "4.png")]
    found = {"findings": [finding(kind, severity, [[name]]) for kind, severity, name in kinds]}
    found["findings"].append(finding("unreadable", "error", [["5.png"]]))
    project.leave_out([names["3.png"].id], project.revision)
    cards = finding_cards(found, project.by_name())
    assert [card.kind for card in cards] == ["unreadable", "dark", "blank", "burst"]
    counts = [(severity, len(members)) for severity, members in cards_by_severity(cards)]
    assert counts == [("error", 1), ("warning", 2), ("note", 1)]


def test_every_group_is_on_a_page_and_every_photo_in_its_group(project: Project):
    names = sorted(project.by_name())
    pairs = [names[:2]] * (2 * GROUPS_PER_PAGE + 1)
    found = {"findings": [finding("near_duplicate", "note", pairs), finding("burst", "note", [names * 2])]}
    pages = [finding_cards(found, project.by_name(), {0: page})[0] for page in (1, 2, 3, 9)]
    assert [(card.page, card.pages, card.first, len(card.groups)) for card in pages] == [
        (1, 3, 1, GROUPS_PER_PAGE),
        (2, 3, GROUPS_PER_PAGE + 1, GROUPS_PER_PAGE),
        (3, 3, 2 * GROUPS_PER_PAGE + 1, 1),
        (3, 3, 2 * GROUPS_PER_PAGE + 1, 1),
    ]
    assert {group.index for card in pages for group in card.groups} == set(range(len(pairs)))
    (group,) = finding_cards(found, project.by_name())[1].groups
    assert (len(group.first), len(group.more)) == (FIRST_PHOTOS, len(names) * 2 - FIRST_PHOTOS)


@pytest.mark.parametrize("kind", FindingKind)
def test_the_advice_on_every_finding_is_one_for_the_page(kind: FindingKind):
    assert texts()[f"advice_{kind}"].endswith(".")


def test_texts_of_pages_need_no_terminal():
    """Only the studio itself is started there."""
    starts = "assay studio"
    found = [
        key for key, text in texts().items() if re.search(r"`|(^|\s)--?\w|\bassay [a-z]", text.replace(starts, ""))
    ]
    assert found == []
