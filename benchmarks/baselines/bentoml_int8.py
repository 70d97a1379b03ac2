"""BentoML as its documentation advises: a service whose one method takes a photo and has adaptive batching.

Usage: bentoml_int8.py PORT
"""

import os
import sys
from pathlib import Path

import bentoml
from openvino_network import Network, decode


@bentoml.service(workers=1, traffic={"timeout": 30, "max_concurrency": 64})
class Classifier:
    """Photo in, label out."""

    def __init__(self) -> None:
        self.network = Network()

    @bentoml.api(route="/classify", batchable=True, max_batch_size=8, max_latency_ms=1000)
    def classify(self, image: list[Path]) -> list[dict]:
        """Answer a batch of photos, each a file."""
        return self.network.answer([decode(path.read_bytes()) for path in image])


if __name__ == "__main__":
    arguments = ["serve", f"{Path(__file__).stem}:Classifier", "--host", "127.0.0.1", "--port", sys.argv[1]]
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    os.chdir(folder)
    os.execve(sys.executable, [sys.executable, "-m", "bentoml", *arguments], environment)  # noqa: S606
