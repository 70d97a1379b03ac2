"""What all contenders share: photos, one set of random ResNet-18 weights, and the models made of it.

The weights are named as torchvision's. From them come a plain ONNX file and two bundles of Assay's, one that
looks at whole photos and one at their top 30 %, each with an int8 model calibrated on the photos. A third bundle
contains EfficientNet-Lite0, Assay's default network.
"""

import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from assay.bundle import Bundle, BundleInfo, amend_bundle
from assay.bundle.quantization import Quantizer
from assay.bundle.writer import write_bundle
from assay.core.cpu import cpu_count
from assay.image import Preprocess
from assay.inference import ENGINES
from assay.nets import ClassifierNetwork, create_classifier
from assay.recipe import NetSpec, PreprocessSpec

CLASSES = 10
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE = "efficientnet-lite0"
REGIONS = {"whole": (0.0, 0.0, 1.0, 1.0), "region": (0.0, 0.0, 1.0, 0.3)}


class Plain(nn.Module):
    """The network as others know it: normalised float32 [N, 3, S, S] in, logits out."""

    def __init__(self, network: ClassifierNetwork) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, S, S] to [N, C]."""
        logits: Tensor = self.head(self.backbone(images).mean((2, 3)))
        return logits


def data_folder() -> Path:
    """Return the folder of the photos' archives: `ASSAY_DATA`, as for the tests."""
    return Path(os.environ.get("ASSAY_DATA", "../shared/data"))


def extract_photos(folder: Path) -> list[Path]:
    """Unpack the bottles, 20 photos of 1080 x 1920, into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(data_folder() / "bottles.tar") as packed, tempfile.TemporaryDirectory() as scratch:
        packed.extractall(scratch, filter="data")
        for number, path in enumerate(sorted(Path(scratch).rglob("*.jpg"))):
            (folder / f"{number:02}.jpg").write_bytes(path.read_bytes())
    return sorted(folder.glob("*.jpg"))


def make_bundle(path: Path, network: ClassifierNetwork, photos: list[Path], roi: tuple[float, ...]) -> bytes:
    """Write a bundle whose int8 model answers, as training would; return that model."""
    spec = PreprocessSpec(resize_mode="stretch", roi=roi, size=SIDE, mean=MEAN, std=STD)
    preprocess = Preprocess(spec)
    squares = np.stack([preprocess.read(photo.read_bytes()) for photo in photos])
    classes = tuple(f"class {number}" for number in range(CLASSES))
    info = BundleInfo(name=path.stem, classes=classes, preprocess=spec)
    write_bundle(path, network, info, squares[:4], ENGINES)
    bundle = Bundle.open(path)
    model = Quantizer.observe(bundle.model("fp32"), [squares[:8], squares[8:16]], cpu_count()).model()
    amend_bundle(bundle, {"precision": "int8"}, int8=model)
    return model


def prepare(work: Path) -> None:
    """Put everything into a folder."""
    torch.manual_seed(0)
    photos = extract_photos(work / "photos")
    spec = NetSpec(name="resnet18", weights="none")
    network = create_classifier(spec, CLASSES, mean=MEAN, std=STD, size=SIDE).eval()
    named = {
        name.removeprefix("backbone.").removeprefix("head."): tensor
        for name, tensor in network.state_dict().items()
        if name not in {"mean", "std"}
    }
    torch.save(named, work / "weights.pt")
    torch.onnx.export(
        Plain(network).eval(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        work / "plain.onnx",
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    models = {name: make_bundle(work / f"{name}.assay", network, photos, roi) for name, roi in REGIONS.items()}
    (work / "model.int8.onnx").write_bytes(models["whole"])
    lite = create_classifier(NetSpec(name=LITE, weights="none"), CLASSES, mean=MEAN, std=STD, size=SIDE).eval()
    make_bundle(work / "lite0.assay", lite, photos, REGIONS["whole"])


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
