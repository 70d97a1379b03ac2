"""The plain baseline: Pillow decodes in full, PyTorch runs the network eagerly in float32, a photo at a time.

Usage: eager.py SECONDS
"""

import torch
from common import CLASSES, THREADS, photos, report
from eager_network import answer, load, prepare
from lite import Lite
from PIL import Image


def main() -> None:
    network, lite = load(THREADS), Lite(CLASSES).eval()
    with Image.open(photos()[0]) as image:
        tensor = prepare(image)

    def forward(_: object) -> None:
        with torch.inference_mode():
            network(tensor)

    def forward_lite(_: object) -> None:
        with torch.inference_mode():
            lite(tensor)

    report(
        {
            "forward": forward,
            "forward lite0": forward_lite,
            "whole": lambda path: answer(network, path),
            "region": lambda path: answer(network, path, region=True),
        }
    )


if __name__ == "__main__":
    main()
