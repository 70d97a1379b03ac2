"""Fine-tune EfficientNet-Lite0 with fastai's `fine_tune` for a given time; run in an environment that has fastai.

Usage: python fastai_fine_tune.py JOB.json OUT.npz
The job has the photos with label and split, the backbone's weights, the minutes and the seed. The defaults of fastai
are used: one epoch with a frozen body, then `epochs` with all layers; random crops of 224, flips, rotation, lighting.
As many epochs are trained as fit into the time, measured on a few batches.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Learner,
    Normalize,
    Resize,
    accuracy,
    aug_transforms,
    create_head,
    params,
    set_seed,
)
from torch import nn

from assay.nets.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLite

_BATCH = 32
_TIMED_BATCHES = 4


def make_learner(job: dict[str, Any]) -> Learner:
    """Return fastai's learner on the training and validation photos, the latter also trained on."""
    rows = [photo for photo in job["photos"] if photo["split"] != "test"]
    table = pd.DataFrame(rows)
    # fastai needs a validation set; nothing is selected on it, so its photos are trained on as well.
    table["is_valid"] = False
    table = pd.concat([table, table.sample(min(64, len(table)), random_state=0).assign(is_valid=True)])
    mean, std = job["mean"], job["std"]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=job["classes"])),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter("is_valid"),
        item_tfms=Resize(256),
        batch_tfms=[*aug_transforms(size=224), Normalize.from_stats(mean, std)],
    )
    loaders = block.dataloaders(table, bs=min(_BATCH, len(rows)), num_workers=0)
    body = EfficientNetLite(EFFICIENTNET_LITES["efficientnet-lite0"])
    body.load_state_dict(torch.load(job["weights"], weights_only=True))
    head = create_head(body.channels, len(job["classes"]))
    model = nn.Sequential(body, head)
    return Learner(loaders, model, splitter=lambda model: [params(model[0]), params(model[1])], metrics=accuracy)


def seconds_per_batch(learner: Learner) -> float:
    """Return the time of a training step with all layers, the fastest of a few."""
    learner.model.train()
    times = []
    for number, (images, labels) in enumerate(learner.dls.train):
        begin = time.perf_counter()
        learner.loss_func(learner.model(images), labels).backward()
        times.append(time.perf_counter() - begin)
        learner.model.zero_grad()
        if number + 1 == _TIMED_BATCHES:
            break
    return min(times)


def main(job_file: Path, out: Path) -> None:
    """Train, predict the test photos and write their probabilities."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    set_seed(job["seed"], reproducible=True)
    state = make_learner(job)
    step = seconds_per_batch(state) * 1.2  # reading and augmentation
    epoch = step * max(1, len(state.dls.train))
    # The frozen epoch needs about half the time of one with all layers.
    epochs = int(np.clip((60 * job["minutes"] - 0.5 * epoch) // epoch, 1, job["max_epochs"]))
    set_seed(job["seed"], reproducible=True)
    learner = make_learner(job)
    begin, cpu = time.perf_counter(), time.process_time()
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    tests = [photo for photo in job["photos"] if photo["split"] == "test"]
    loader = learner.dls.test_dl(pd.DataFrame(tests), num_workers=0)
    with learner.no_bar(), learner.no_logging():
        probabilities, _ = learner.get_preds(dl=loader)
    np.savez(
        out,
        ids=np.array([photo["id"] for photo in tests]),
        probabilities=probabilities.numpy(),
        epochs=epochs,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
