"""What a studio does besides its pages: photos of the server come back, classifiers stay loaded."""

import csv
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from studio_projects import paint

from assay.core.errors import UsageError
from assay.serving.request_log.uncertain_samples import UncertainSample
from assay.studio.project import Project
from assay.studio.service import UNCERTAIN_FOLDER, Studio


@pytest.fixture
def studio(make_project: Callable[..., Project]) -> Iterator[Studio]:
    opened = Studio(make_project(3))
    yield opened
    opened.close()


def keep_uncertain(folder: Path, count: int) -> None:
    """Write what `assay serve --keep-uncertain` writes."""
    names = [f"{number:032x}.png" for number in range(count)]
    for number, name in enumerate(names):
        paint(folder / name, seed=50 + number)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, [item.name for item in dataclasses.fields(UncertainSample)])
        table.writeheader()
        rows = (UncertainSample(name, "cat", 0.4, "id", "2026-01-01T00:00:00.000+00:00", "m", "1") for name in names)
        table.writerows(map(dataclasses.asdict, rows))


def test_photos_that_the_server_was_unsure_of_come_back_unlabelled(studio: Studio):
    assert studio.uncertain_count() == 0
    keep_uncertain(studio.project.folder / UNCERTAIN_FOLDER, 2)
    studio.rescan()
    assert len(studio.project.photos) == 3  # the folder of the server is not the project's
    assert (studio.uncertain_count(), studio.import_uncertain()) == (2, 2)
    assert (studio.uncertain_count(), studio.import_uncertain()) == (0, 0)
    assert studio.project.counts() == (5, 5, 0, {})


def test_what_is_missing_for_a_training_is_a_sentence(studio: Studio):
    photos = list(studio.project.photos)
    assert studio.check_problem() == "Label photos first."
    studio.project.label(photos[:1], "a", studio.project.revision)
    assert studio.check_problem() is None
    assert studio.training_problem() == "Label photos of at least two classes first."
    studio.project.label(photos[1:], "b", studio.project.revision)
    assert studio.training_problem() is None


def test_the_photos_compared_by_an_export_are_no_options_or_patterns(make_project: Callable[..., Project]):
    project = make_project(names=["-x.png", "a*.png", "[b].png", "c?.png", "plain.png"])
    studio = Studio(project)
    project.label(list(project.photos), "a", project.revision)
    assert studio.checked_photos() == ["plain.png"]
    studio.close()


def test_a_classifier_is_loaded_once_and_an_unknown_run_refused(trained_project: Path):
    studio = Studio(Project.open(trained_project))
    first = studio.classifier("run-1")
    assert studio.classifier("run-1") is first
    assert first.predict(trained_project / "red-000.png").label in {"red", "blue"}
    with pytest.raises(UsageError):
        studio.classifier("../run-1")
    studio.close()
