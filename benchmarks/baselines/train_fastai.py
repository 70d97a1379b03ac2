"""fastai: `vision_learner` on ResNet-18 and `fine_tune`, whose epochs with all layers are timed.

Random crops and flips are item transforms, as in the other programs; the batch transforms of fastai's examples
(rotation, warping) would add to its time.
Usage: train_fastai.py FOLDER EPOCHS BATCH
"""

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import torch
import torchvision_here  # noqa: F401 - mends torchvision
from common import SIDE, THREADS
from fastai.vision.all import (
    Callback,
    FlipItem,
    ImageDataLoaders,
    RandomResizedCrop,
    accuracy,
    resnet18,
    vision_learner,
)

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Timer(Callback):
    """Seconds of every epoch, validation included, that trains all layers."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begin = 0.0

    def before_epoch(self) -> None:
        """Start timing."""
        self._begin = time.perf_counter()

    def after_epoch(self) -> None:
        """End timing."""
        frozen = any(not weights.requires_grad for weights in self.learn.model[0].parameters() if weights.ndim > 1)
        if not frozen:
            self.seconds.append(time.perf_counter() - self._begin)


def main() -> None:
    folder, epochs, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(THREADS)
    loaders = ImageDataLoaders.from_folder(
        folder,
        train="train",
        valid="val",
        item_tfms=[RandomResizedCrop(SIDE, min_scale=0.5), FlipItem()],
        bs=batch,
        num_workers=THREADS,
        device=torch.device("cpu"),
    )
    learn = vision_learner(loaders, resnet18, pretrained=False, metrics=accuracy)
    learn.freeze()
    timer = Timer()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(epochs, cbs=timer)
    sys.stdout.write(json.dumps({"seconds": timer.seconds}) + "\n")


if __name__ == "__main__":
    main()
