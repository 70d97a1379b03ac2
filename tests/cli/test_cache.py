"""The command `assay cache`: caches are listed and cleared."""

from pathlib import Path

import pytest

from assay.data.loading import load_split_dataset
from assay.recipe import DataSpec


def test_features_are_cached_listed_and_cleared(assay, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    load_split_dataset(colours, DataSpec(), seed=0)
    assert list((tmp_path / "features").iterdir())
    shown = assay("cache", "show").out
    assert str(tmp_path) in shown
    assert "features" in shown
    assert "MiB freed" in assay("cache", "clear").out
    assert list((tmp_path / "features").iterdir()) == []
    load_split_dataset(colours, DataSpec(), seed=0)


def test_clear_removes_traced_graphs(assay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    graph = tmp_path / "graphs" / ("0" * 64)
    graph.parent.mkdir()
    graph.write_bytes(bytes(5000))
    assert assay("cache", "clear").code == 0
    assert list(graph.parent.iterdir()) == []
