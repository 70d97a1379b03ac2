"""Pictures that other processes can make too: they can be pickled, and depend on their number only."""

import numpy as np

from assay.core.errors import AssayError

SIDE = 16


class NoisyPictures:
    """Noisy pictures of three colours; the one at `broken` cannot be read."""

    def __init__(self, targets: np.ndarray, broken: int | None = None) -> None:
        self.targets, self.broken = targets, broken

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int, /) -> np.ndarray:
        if index == self.broken:
            raise AssayError("picture.png can no longer be read")
        rng = np.random.default_rng(index)
        colour = 90 + 30 * np.eye(3)[self.targets[index]]
        return rng.normal(colour, 60, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
