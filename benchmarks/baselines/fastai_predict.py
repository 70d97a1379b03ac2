"""fastai as its documentation advises: a vision learner on ResNet-18, `learn.predict` for a photo.

Its head has two linear layers and its weights are its own; the body, and so the work, is the same. Photos in
batches go through `get_preds` on a test loader without worker processes.
Usage: fastai_predict.py SECONDS
"""

import logging
import time
import warnings
from pathlib import Path

import torch
import torchvision_here  # noqa: F401 - mends torchvision
from common import SIDE, THREADS, photos, report, top
from fastai.vision.all import (
    ImageDataLoaders,
    PILImage,
    Resize,
    ResizeMethod,
    resnet18,
    vision_learner,
)

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def main() -> None:
    torch.set_num_threads(THREADS)
    paths = photos()
    loaders = ImageDataLoaders.from_lists(
        paths[0].parent,
        paths,
        ["a" if number % 2 else "b" for number in range(len(paths))],
        item_tfms=Resize(SIDE, method=ResizeMethod.Squish),
        bs=4,
        num_workers=0,
    )
    learn = vision_learner(loaders, resnet18, pretrained=False, normalize=False)
    learn.model.eval()

    def many() -> float:
        """Return milliseconds a photo of `get_preds`."""
        begin = time.perf_counter()
        learn.get_preds(dl=learn.dls.test_dl(paths, bs=len(paths), num_workers=0))
        return 1e3 * (time.perf_counter() - begin) / len(paths)

    def cut(path: Path) -> object:
        return learn.predict(PILImage(top(PILImage.create(path))))

    with learn.no_bar(), learn.no_logging():
        many()
        report({"whole": learn.predict, "region": cut}, many=many())


if __name__ == "__main__":
    main()
