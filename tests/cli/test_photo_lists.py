"""All commands list the same images and skip run folders."""

import json
from pathlib import Path
from shutil import copytree

import pytest
from PIL import Image

import assay as package
from assay.pipeline import Run
from assay.recipe import Recipe, dump_recipe


@pytest.fixture
def photos(colours: Path, tmp_path: Path) -> Path:
    """Two classes with links and all sorts of clutter."""
    root = tmp_path / "photos"
    copytree(colours, root)
    copytree(colours / "red", tmp_path / "pool")
    for place, name in enumerate(("blue/@eaDir/1.png", "red/#recycle/2.png", "$RECYCLE.BIN/3.png", ".Trash-0/4.png")):
        (root / name).parent.mkdir()
        Image.new("RGB", (32, 32), (60 * place, 0, 0)).save(root / name)
    (root / "red/Thumbs.db").write_bytes(b"x")
    (root / "red/twice.png").symlink_to(root / "red/001.png")
    (root / "red/loop").symlink_to(root)
    (root / "red/more").symlink_to(tmp_path / "pool")
    (root / "red/again").symlink_to(tmp_path / "pool")
    return root


def test_every_command_lists_the_same_photos_and_skips_runs(
    assay, photos: Path, tiny: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(photos)
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    expected = {f"{name}/{number:03}.png" for name in ("blue", "red") for number in range(40)}
    expected |= {f"red/again/{number:03}.png" for number in range(40)}
    broken = {"red/broken.png", "red/again/broken.png"}
    earlier = photos / "runs/colours-1"
    copytree(photos / "blue", earlier / "evaluation")
    for name in ("run.json", "recipe.yaml"):
        (earlier / name).touch()
    result = assay("train", ".", "-r", recipe)
    assert result.code == 0, result.err
    assert "1 folder reached twice" in result.out
    assert "1 written by Assay" in result.out
    run = Run(photos / "runs/colours-2")
    assert run.classes == ("blue", "red")
    assert set(run.splits()) == expected
    model = run.bundle

    report = json.loads(assay("check", ".", "--json", "--fail-on", "never").out)
    assert report["classes"] == {"blue": 40, "red": 80}
    assert report["skipped"]["written by Assay"] == 1

    assert assay("explain", model, "blue/001.png", "blue/002.png").code == 0
    assert assay("evaluate", model, ".").code == 0
    evaluated = json.loads(Path("evaluation-1/metrics.json").read_text(encoding="utf-8"))
    assert evaluated["count"] == 120

    result = assay("predict", model, ".", "--json")
    values = [json.loads(line) for line in result.out.splitlines()]
    assert {item["source"] for item in values} == expected | broken
    assert "3 written by Assay" in result.err, "runs, heat maps, an evaluation"

    to = tmp_path / "copy"
    assert assay("augment", ".", "-r", "bottle", "--to", to, "--copies", "0", "--json").code == 0
    assert sum(1 for path in to.rglob("*.png")) == 120


def test_layout_is_stored_with_the_run(colours: Path, tiny: Recipe, tmp_path: Path, assay):
    # As parts they would be refused: there is one class, `day`.
    for part, label in (("train", "red"), ("test", "blue")):
        copytree(colours / label, tmp_path / "photos" / part / "day")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dump_recipe(tiny), encoding="utf-8")
    trained = package.train(tmp_path / "photos", tiny, tmp_path / "run", layout="classes")
    assert trained.dataset.classes == ("test", "train")
    assert Run(tmp_path / "run").recipe().data.layout == "classes"
    assert assay("train", "--resume", tmp_path / "run").code == 0
    assert "--resume takes" in assay("train", "--resume", tmp_path / "run", "--layout", "classes").err
