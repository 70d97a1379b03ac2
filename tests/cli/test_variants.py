"""The command `assay variants`: the five variants of the vehicle-animal system on a few photos of CIFAR-10."""

import csv
import json
from pathlib import Path

import pytest

_QUICK = (
    "train.epochs=1",
    "preprocess.size=48",
    "net.convnet.filters=[8, 8]",
    "net.resnet={block: basic, layers: [1, 1], widths: [16, 16], stem: conv3}",
)


def a_few(cifar10: Path, manifest: Path) -> Path:
    """Write a manifest of eight training and four test photos of every class."""
    lines = ["path,label,split"]
    for split, count in (("train", 8), ("test", 4)):
        for folder in sorted((cifar10 / split).iterdir()):
            lines += [f"{path},{folder.name},{split}" for path in sorted(folder.iterdir())[:count]]
    manifest.write_text("\n".join(lines), encoding="utf-8")
    return manifest


@pytest.mark.slow
def test_five_variants_of_one_split_in_one_table(assay, cifar10: Path, tmp_path: Path):
    photos, run = a_few(cifar10, tmp_path / "few.csv"), tmp_path / "run"
    settings = [word for value in _QUICK for word in ("--set", value)]
    result = assay("variants", photos, "vehicle-animal", "--run", run, "--jobs", 1, *settings)
    assert result.code == 0, result.err
    names = ["convnet", "convnet-no-dropout", "convnet-wide", "resnet", "efficientnet-lite0-frozen"]
    rows = list(csv.DictReader((run / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["variant"] for row in rows] == names
    for row in rows:
        for part in ("train", "val", "test"):
            assert 0 <= float(row[f"{part}_accuracy"]) <= 1
            assert 0 <= float(row[f"{part}_precision"]) <= 1
            assert float(row[f"{part}_loss"]) > 0
    for values in [*names, "precision of animal", "40 test", "best"]:
        assert values in result.out
    manifests = {(run / name / "manifest.csv").read_text(encoding="utf-8") for name in names}
    assert len(manifests) == 1

    again = json.loads(assay("variants", "--resume", run, "--json").out)
    assert [item["name"] for item in again["variants"]] == names
    assert again["variants"][0]["metrics"]["test"]["accuracy"]["mean"] == float(rows[0]["test_accuracy"])
    compared = assay("compare", run / "convnet", run / "resnet")
    assert "McNemar" in compared.out


def test_list_of_variants_is_printed(assay):
    assert "convnet-wide:" in assay("variants", "--show", "vehicle-animal").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["variants"], "list of variants"),
        (["variants", "."], "list of variants"),
        (["variants", ".", "vehicles"], "'vehicle-animal'"),
        (["variants", "--resume", "nowhere"], "variants.json"),
        (["variants", ".", "--resume", "x"], "--resume takes all settings"),
        (["variants", "--repeats", "2", "--resume", "x"], "--resume takes all settings"),
        (["variants", ".", "vehicle-animal", "--folds", "1"], "2 folds"),
        (["variants", ".", "vehicle-animal", "--repeats", "0"], "--repeats"),
    ],
)
def test_wrong_usage_exits_with_code_2(assay, arguments: list[str], message: str):
    result = assay(*arguments)
    assert result.code == 2
    assert message in result.err
    assert result.err.count("\n") == 1
