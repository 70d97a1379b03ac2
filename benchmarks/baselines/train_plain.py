"""Fine-tuning as PyTorch's tutorials write it: ImageFolder, Pillow, random crops and flips, AdamW, 32 bits.

The network is torchvision's ResNet-18, or Assay's EfficientNet-Lite0, for which torchvision has no counterpart.
Usage: train_plain.py FOLDER NETWORK EPOCHS BATCH
"""

import json
import sys
import time
from pathlib import Path

import torch
import torchvision_here  # noqa: F401 - mends torchvision
from common import MEAN, SIDE, STD, THREADS
from lite import Lite
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18


def main() -> None:
    folder, network, epochs, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(THREADS)
    as_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    augmented = transforms.Compose(
        [transforms.RandomResizedCrop(SIDE, scale=(0.5, 1.0)), transforms.RandomHorizontalFlip(), *as_tensor]
    )
    centred = transforms.Compose([transforms.Resize(SIDE), transforms.CenterCrop(SIDE), *as_tensor])
    train, val = ImageFolder(str(folder / "train"), augmented), ImageFolder(str(folder / "val"), centred)
    train_loader = DataLoader(train, batch, shuffle=True, num_workers=THREADS, persistent_workers=True)
    val_loader = DataLoader(val, batch, num_workers=THREADS, persistent_workers=True)
    if network == "resnet18":
        model: nn.Module = resnet18(weights=None, num_classes=len(train.classes))
    else:
        model = Lite(len(train.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    seconds = []
    for _ in range(epochs):
        begin = time.perf_counter()
        model.train()
        for images, targets in train_loader:
            loss = nn.functional.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for images, targets in val_loader:
                nn.functional.cross_entropy(model(images), targets)
        seconds.append(time.perf_counter() - begin)
    sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")


if __name__ == "__main__":
    main()
