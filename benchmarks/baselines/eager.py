"""The plain baseline: Pillow decodes in full, PyTorch runs the network eagerly in float32, a photo at a time.

Usage: eager.py SECONDS
"""

import torch
from common import THREADS, photos, report
from eager_network import answer, load, prepare
from PIL import Image


def main() -> None:
    network = load(THREADS)
    with Image.open(photos()[0]) as image:
        tensor = prepare(image)

    def forward(_: object) -> None:
        with torch.inference_mode():
            network(tensor)

    report(
        {
            "forward": forward,
            "whole": lambda path: answer(network, path),
            "region": lambda path: answer(network, path, region=True),
        }
    )


if __name__ == "__main__":
    main()
