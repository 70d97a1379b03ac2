"""LitServe as its documentation advises: a LitAPI that decodes photos one by one and answers batches.

Usage: litserve_int8.py PORT
"""

import sys

import litserve
import numpy as np
from fastapi import Request
from openvino_network import Network, decode


class Api(litserve.LitAPI):
    """Photo in, label out."""

    def setup(self, device: str) -> None:
        """Make the model ready in the worker process."""
        del device
        self.network = Network()

    def decode_request(self, request: Request) -> np.ndarray:
        """Decode an upload."""
        return decode(request["image"].file.read())

    def batch(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Keep a batch as a list."""
        return list(inputs)

    def predict(self, squares: list[np.ndarray]) -> list[dict[str, object]]:
        """Answer a batch."""
        return self.network.answer(squares)

    def unbatch(self, output: list[dict[str, object]]) -> list[dict[str, object]]:
        """Share out the answers."""
        return output

    def encode_response(self, output: dict[str, object]) -> dict[str, object]:
        """Return what becomes JSON."""
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.002, api_path="/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
