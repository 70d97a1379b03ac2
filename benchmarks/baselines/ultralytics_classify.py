"""Ultralytics `classify` with its own ResNet-18 configuration: a model, called with a path.

Its weights and head are its own; the body, and so the work, is the same. It scales the shorter side and cuts
out the middle. AGPL-3.0: it is run in the baselines' environment alone.
Usage: ultralytics_classify.py SECONDS
"""

from pathlib import Path

import torch
import torchvision_here  # noqa: F401 - mends torchvision
import yaml
from common import CLASSES, SIDE, THREADS, WORK, report, top
from PIL import Image
from ultralytics import YOLO


def main() -> None:
    torch.set_num_threads(THREADS)
    config = {
        "nc": CLASSES,
        "backbone": [[-1, 1, "TorchVision", [512, "resnet18", None, True, 2]]],
        "head": [[-1, 1, "Classify", ["nc"]]],
    }
    file = WORK / "resnet18-cls.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    model = YOLO(str(file), task="classify")

    def cut(path: Path) -> object:
        with Image.open(path) as image:
            return model(top(image), imgsz=SIDE, verbose=False)

    report({"whole": lambda path: model(path, imgsz=SIDE, verbose=False), "region": cut})


if __name__ == "__main__":
    main()
