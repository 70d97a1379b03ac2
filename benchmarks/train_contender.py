"""Fine-tuning with Assay: random crops and flips, AdamW, every other setting as by default.

Usage: train_contender.py FOLDER NETWORK EPOCHS BATCH
"""

import json
import sys
import tempfile
from pathlib import Path

from assay.data.loading import load_split_dataset
from assay.pipeline.build_network import build_model
from assay.pipeline.cached_embeddings import labelled_pixels
from assay.recipe import Recipe
from assay.training import fit


def main() -> None:
    """Train, and print the seconds of every epoch, validation included."""
    folder, network, epochs, batch = sys.argv[1:]
    recipe = Recipe.model_validate(
        {
            "data": {"layout": "splits"},
            "preprocess": {"resize_mode": "crop", "size": 224},
            "augment": {
                "input_scale": 1.15,
                "train": [{"name": "random_resized_crop", "scale": [0.5, 1.0]}, {"name": "horizontal_flip"}],
            },
            "net": {"name": network, "weights": "none", "head": {"dropout": 0.2}},
            "train": {
                "strategy": "finetune",
                "epochs": int(epochs),
                "batch_size": int(batch),
                "lr": 1e-4,
                "early_stopping": None,
            },
        }
    )
    dataset = load_split_dataset(Path(folder), recipe.data, recipe.train.seed)
    model, spec = build_model(recipe, dataset)
    train, val = labelled_pixels(dataset, "train", spec, recipe), labelled_pixels(dataset, "val", spec)
    with tempfile.TemporaryDirectory() as run:
        history = fit(model, recipe, train, val, run=Path(run))
        log = (Path(run) / "training.log").read_text(encoding="utf-8")
    precision = log.split(" precision ")[1].split(",")[0]
    print(json.dumps({"seconds": [epoch.seconds for epoch in history.metrics], "precision": precision}))


if __name__ == "__main__":
    main()
