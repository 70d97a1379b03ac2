"""The command `assay augment`."""

import itertools
import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from assay.cli.augment import augment
from assay.cli.console import shell_command
from assay.core.errors import UsageError
from assay.data import read_manifest

app = typer.Typer()
app.command()(augment)
RUN = CliRunner()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_augmented_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = RUN.invoke(app, [str(photos), "-r", "bottle", "--to", str(out), "--copies", "2"])
    assert ended.exit_code == 0
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"{out}: 12 photos and ")
    assert lines[-1] == f"next: {shell_command('train', out / 'manifest.csv')}"
    assert len(read_manifest(out / "manifest.csv").part("train")) == 3 * sum(
        "_aug" not in sample.id for sample in read_manifest(out / "manifest.csv").part("train")
    )


def test_json_output_and_resumption(photos: Path, tmp_path: Path) -> None:
    command = [str(photos), "-r", "bottle", "--to", str(tmp_path / "out"), "--seed", "7", "--json"]
    first, second = (json.loads(RUN.invoke(app, command).stdout) for _ in range(2))
    assert first["kept"] == 0
    assert second["kept"] == first["originals"] + first["copies"]
    assert second["splits"] == first["splits"]
    assert sum(first["splits"]["test"].values()) < sum(first["splits"]["train"].values())


def test_crop_writes_the_region_of_interest(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "processed"
    typed = [str(photos), "-r", "bottle", "--crop", "--to", str(out)]
    ended = RUN.invoke(app, typed)
    assert ended.exit_code == 0, ended.output
    assert f"{out}: region of interest (left 0, top 0, right 1, bottom 0.3) of 12 photos" in ended.stdout
    assert "closed 6, open 6" in ended.stdout
    training = shell_command("train", out / "manifest.csv", "-r", "bottle", "--set", "preprocess.roi=[0,0,1,1]")
    assert ended.stdout.splitlines()[-1] == f"next: {training}"
    for path in photos.glob("*/*.png"):
        with Image.open(out / path.relative_to(photos)) as part:
            assert part.size == (160, 36)
    again = json.loads(RUN.invoke(app, [*typed, "--json"]).stdout)
    assert (again["photos"], again["kept"], again["region"]["bottom"]) == (12, 12, 0.3)


def test_bursts_stay_in_one_split(bottles: Path, tmp_path: Path) -> None:
    """The bottles were photographed fractions of a second apart; the file name is the time in ms."""
    command = [str(bottles), "-r", "bottle", "--to", str(tmp_path / "out"), "--copies", "0", "--json"]
    assert json.loads(RUN.invoke(app, command).stdout)["groups"] > 0
    times = sorted(
        (int(sample.path.stem), str(sample.split))
        for sample in read_manifest(tmp_path / "out" / "manifest.csv").samples
    )
    close = [(item, other) for item, other in itertools.pairwise(times) if other[0] - item[0] < 200]
    assert close
    assert all(item[1] == other[1] for item, other in close)


def test_contact_sheet_alone_writes_no_folder(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = [str(photos), "-r", "bottle", "--sheet", str(sheet), "--photos", "2", "--variants", "3"]
    ended = RUN.invoke(app, command)
    assert ended.exit_code == 0
    with Image.open(sheet) as image:
        assert image.size == (10 + 4 * 202, image.height)
        assert image.height < 3 * 222
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "sheet.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--to FOLDER"),
        (["--sheet", "sheet.jpg"], r"\.png"),
        (["--to", "photos/out", "-r", "bottle"], "lie within each other"),
        (["--to", "out", "--set", "augment.train=[]"], "empty"),
        (["--crop", "--sheet", "sheet.png", "-r", "bottle"], "--crop needs --to"),
        (["--crop", "--to", "out", "-r", "bottle", "--copies", "2"], "copies"),
        (["--crop", "--to", "out"], "whole photo"),
        (["--crop", "--to", "photos/out", "-r", "bottle"], "lie within each other"),
    ],
)
def test_wrong_usage(photos: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str) -> None:
    monkeypatch.chdir(photos.parent)
    failed = RUN.invoke(app, ["photos", *options])
    assert isinstance(failed.exception, UsageError)
    assert failed.exception.exit_code == 2
    with pytest.raises(UsageError, match=message):
        raise failed.exception
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos"]
