"""Time for fine-tuning, and the features and the input that it starts with."""

from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from assay.core.errors import AssayError
from assay.core.files import write_text
from assay.core.progress import no_progress
from assay.data.loading import load_split_dataset
from assay.pipeline.auto.fine_tuning_budget import FineTuningBudget
from assay.pipeline.auto.fine_tuning_plan import Comparison, FineTuningCost
from assay.pipeline.auto.probe import LinearProbe, Protocol, fit_probe, probe_name
from assay.pipeline.auto.probe_changes import ProbeChange, first_recipe, without_intermediate_features
from assay.pipeline.build_network import build_model
from assay.pipeline.run_folder import FINE_TUNING
from assay.recipe import dump_recipe, load_recipe
from assay.training.linear_heads import FoldIndices

RECIPE = first_recipe(load_recipe("default", ["preprocess.size=64"]))
SMALLER = ProbeChange({"size": 32}, {})


@pytest.fixture(scope="module")
def probe(wide: Path) -> LinearProbe:
    dataset = load_split_dataset(wide, RECIPE.data, 0)
    return fit_probe(Protocol.of(dataset, RECIPE), RECIPE, build_model(RECIPE, dataset), no_progress)


def budget(wide: Path, run: Path, probe: LinearProbe, smaller: ProbeChange | None = SMALLER) -> FineTuningBudget:
    """Return one in which an epoch takes 10 s with 64 pixels and 2 s with 32, of 12 epochs and at least 3."""
    comparison = Comparison((FoldIndices(np.arange(100), np.arange(100, 120)),), 1)
    plain = without_intermediate_features(probe.recipe)
    small = SMALLER.apply(plain)
    costs = {
        probe_name(plain): FineTuningCost(0.1, 12, (comparison,)),
        probe_name(small): FineTuningCost(0.02, 12, (comparison,)),
    }
    protocol = Protocol.of(load_split_dataset(wide, RECIPE.data, 0), RECIPE)
    return FineTuningBudget(protocol, run, smaller, costs)


@pytest.mark.parametrize(
    ("seconds", "size"), [(inf, 64), (1000, 64), (60, 64), (59, 32), (40, 32), (7, 32), (0, 64), (-5, 64)]
)
def test_few_epochs_are_trained_with_a_smaller_input(
    wide: Path, tmp_path: Path, probe: LinearProbe, seconds: float, size: int
):
    start = budget(wide, tmp_path, probe).starting_recipe(probe, seconds)
    assert start.preprocess.size == size
    assert not start.net.intermediate_features
    same_input = budget(wide, tmp_path, probe, smaller=None).starting_recipe(probe, seconds)
    assert same_input == without_intermediate_features(probe.recipe)


@pytest.mark.parametrize("size", [64, 32])
def test_a_begun_fine_tuning_keeps_its_input(wide: Path, tmp_path: Path, probe: LinearProbe, size: int):
    begun = ProbeChange({"size": size}, {}).apply(RECIPE)
    (tmp_path / FINE_TUNING).mkdir()
    write_text(tmp_path / FINE_TUNING / "recipe.yaml", dump_recipe(begun))
    for seconds in (inf, 1000, 10, -1):
        assert budget(wide, tmp_path, probe).starting_recipe(probe, seconds).preprocess.size == size


def test_reserved_time(wide: Path, tmp_path: Path, probe: LinearProbe):
    found = budget(wide, tmp_path, probe)
    assert found.reserved(probe, 1000, few_epochs=False) == pytest.approx(120)
    assert found.reserved(probe, 1000, few_epochs=True) == pytest.approx(30)
    assert found.reserved(probe, 40, few_epochs=False) == pytest.approx(24)
    assert found.reserved(probe, 5, few_epochs=False) == 0


def test_too_little_memory_reserves_nothing(
    wide: Path, tmp_path: Path, probe: LinearProbe, monkeypatch: pytest.MonkeyPatch
):
    def measure(*_: object) -> FineTuningCost:
        raise AssayError("too little memory")

    monkeypatch.setattr(FineTuningCost, "of", measure)
    found = replace(budget(wide, tmp_path, probe), costs={})
    assert found.reserved(probe, 1000, few_epochs=False) == 0
    assert found.starting_recipe(probe, 1000).preprocess.size == 32
