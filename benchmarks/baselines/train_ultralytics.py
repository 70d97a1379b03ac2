"""Ultralytics `train` for classification with its own ResNet-18 configuration.

Its augmentation is reduced to random crops and flips, as in the other programs. AGPL-3.0: it is run in the
baselines' environment alone.
Usage: train_ultralytics.py FOLDER EPOCHS BATCH
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torchvision_here  # noqa: F401 - mends torchvision
import yaml
from common import SIDE, THREADS, WORK
from ultralytics import YOLO


def main() -> None:
    folder, epochs, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(THREADS)
    config = {
        "nc": len(list((folder / "train").iterdir())),
        "backbone": [[-1, 1, "TorchVision", [512, "resnet18", None, True, 2]]],
        "head": [[-1, 1, "Classify", ["nc"]]],
    }
    file = WORK / "resnet18-train-cls.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    model = YOLO(str(file), task="classify")
    begins: list[float] = []
    seconds: list[float] = []
    model.add_callback("on_train_epoch_start", lambda _: begins.append(time.perf_counter()))

    def end(_: Any) -> None:
        # Called once more after the final validation.
        if len(seconds) < len(begins):
            seconds.append(time.perf_counter() - begins[-1])

    model.add_callback("on_fit_epoch_end", end)
    none: dict[str, Any] = {"auto_augment": None, "erasing": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
    model.train(
        data=str(folder),
        epochs=epochs,
        imgsz=SIDE,
        batch=batch,
        workers=THREADS,
        device="cpu",
        optimizer="AdamW",
        lr0=1e-4,
        pretrained=False,
        scale=0.5,
        fliplr=0.5,
        plots=False,
        save=False,
        verbose=False,
        project=str(WORK / "ultralytics"),
        exist_ok=True,
        **none,
    )
    sys.stdout.write("\n" + json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
