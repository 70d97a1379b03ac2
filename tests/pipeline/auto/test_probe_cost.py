"""The estimated duration of a linear probe."""

import copy
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from assay.core.progress import no_progress
from assay.data.loading import load_split_dataset
from assay.nets import ClassifierNetwork as Network
from assay.pipeline.auto.probe import LinearProbe, Protocol, fit_probe
from assay.pipeline.auto.probe_cost import ProbeCost, forward_seconds
from assay.pipeline.build_network import build_model
from assay.recipe import load_recipe

RECIPE = load_recipe("default", ["preprocess.size=32"])


@pytest.fixture(scope="module")
def probe(wide: Path) -> LinearProbe:
    dataset = load_split_dataset(wide, RECIPE.data, 0)
    return fit_probe(Protocol.of(dataset, RECIPE), RECIPE, build_model(RECIPE, dataset), no_progress)


def by_size(network: Network, size: int) -> float:
    return size * size * (2 if network.flip_average else 1) / 1e6


@pytest.mark.parametrize(("size", "ratio"), [(32, 1.0), (64, 4.0)])
def test_a_slower_network_takes_longer_in_proportion(probe: LinearProbe, size: int, ratio: float):
    first = replace(probe, computed=len(probe.embeddings))
    spec = probe.spec.model_copy(update={"size": size})
    assert ProbeCost(first, 10.0, by_size).of(probe.network, spec) == pytest.approx(10 * ratio)


def test_the_duration_of_a_probe_from_cached_embeddings_says_nothing(probe: LinearProbe):
    first, images = replace(probe, computed=0), len(probe.embeddings)
    estimated = ProbeCost(first, 0.01, by_size).of(probe.network, probe.spec)
    assert estimated == pytest.approx(0.01 + images * by_size(probe.network, 32))


def test_cached_embeddings_are_not_counted(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    dataset = load_split_dataset(wide, RECIPE.data, 0)

    def fitted() -> LinearProbe:
        return fit_probe(Protocol.of(dataset, RECIPE), RECIPE, build_model(RECIPE, dataset), no_progress)

    first, again = fitted(), fitted()
    assert (first.computed, again.computed) == (len(first.embeddings), 0)


def test_the_measured_network_stays_as_it_is(probe: LinearProbe):
    network = copy.deepcopy(probe.network).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    forward_seconds(network, 32)
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_the_first_pass_and_disturbed_ones_are_left_out(probe: LinearProbe):
    ticks = iter([0.0, 50.0, 50.0, 50.8, 60.0, 69.0])
    assert forward_seconds(probe.network, 32, lambda: next(ticks)) == pytest.approx(0.1)
    steps = count()
    assert forward_seconds(probe.network, 32, lambda: float(next(steps))) == pytest.approx(1 / 8)
