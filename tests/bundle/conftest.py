"""An untrained network of three layers, its metadata, and a bundle of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save
from torch import Tensor, nn

from assay.bundle import BundleInfo, Provenance, pack_bundle
from assay.recipe import PreprocessSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


class Outputs(NamedTuple):
    logits: Tensor
    embedding: Tensor
    featuremap: Tensor


class Tiny(nn.Module):
    """What every classifier promises, as small as it gets: normalisation, batch norm and dropout included."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, classes))

    def forward(self, images: Tensor) -> Outputs:
        pixels = images.permute(0, 3, 1, 2).float() / 255
        featuremap = self.backbone((pixels - self.mean.view(3, 1, 1)) / self.std.view(3, 1, 1))
        embedding = featuremap.mean(dim=(2, 3))
        return Outputs(self.head(embedding), embedding, featuremap)


@pytest.fixture(scope="session")
def make_tiny() -> Callable[[], Tiny]:
    """Build the same network anew each time."""

    def make() -> Tiny:
        torch.manual_seed(0)
        network = Tiny()
        # Statistics as training would leave them, so that batch norm matters.
        network.backbone[1].running_mean.uniform_(-1, 1)
        network.backbone[1].running_var.uniform_(0.5, 2)
        return network

    return make


@pytest.fixture
def tiny(make_tiny: Callable[[], Tiny]) -> Tiny:
    return make_tiny()


@pytest.fixture
def info() -> BundleInfo:
    """A draft, as training writes it."""
    return BundleInfo(
        name="screws",
        description="Tells good screws from bad ones.",
        classes=("good", "scratched", "bent ü"),
        preprocess=PreprocessSpec(size=32, mean=MEAN, std=STD, roi=(0.0, 0.0, 1.0, 0.3)),
        metrics={"accuracy": 0.9375, "per_class": {"good": {"recall": 1.0}}, "roc_auc": float("nan")},
        provenance=Provenance(
            recipe={"train": {"epochs": 5}},
            data="4be1",
            photos={"train": {"good": 40, "scratched": 20, "bent ü": 9}, "test": {"good": 8, "scratched": 4}},
            seed=7,
            libraries={"torch": "2.13.0"},
            created="2026-01-02T03:04:05+00:00",
        ),
    )


@pytest.fixture
def images() -> np.ndarray:
    """uint8 [11, 32, 32, 3], smooth as photos are."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture
def members() -> dict[str, bytes]:
    """Models and weights that are valid but mean nothing."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])],
        "nothing",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
    )
    weights = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(3, np.int64)}
    return {"model.onnx": helper.make_model(graph).SerializeToString(), "weights.safetensors": save(weights)}


@pytest.fixture
def packed(tmp_path: Path, info: BundleInfo, members: dict[str, bytes]) -> Path:
    """A whole bundle that no runtime has to run."""
    path = tmp_path / "screws.assay"
    pack_bundle(path, info, members)
    return path
