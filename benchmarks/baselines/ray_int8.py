"""Ray Serve as its documentation advises: one replica with dynamic batching; decoding in threads.

Usage: ray_int8.py PORT
"""

import asyncio
import signal
import sys

import numpy as np
import ray
from common import THREADS, WORK
from openvino_network import Network, decode
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
class Classifier:
    """Photo in, label out."""

    def __init__(self) -> None:
        self.network = Network()

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)
    async def answer(self, squares: list[np.ndarray]) -> list[dict[str, object]]:
        """Answer a batch."""
        return await asyncio.to_thread(self.network.answer, squares)

    async def __call__(self, request: Request) -> dict[str, object]:
        """Answer an upload."""
        async with request.form() as form:
            data = await form["image"].read()
        return await self.answer(await asyncio.to_thread(decode, data))


if __name__ == "__main__":
    # The paths of Ray's sockets may have 107 characters.
    folder = str(WORK / "r")
    ray.init(num_cpus=THREADS, include_dashboard=False, _temp_dir=folder, _node_ip_address="127.0.0.1")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
        serve.run(Classifier.bind(), route_prefix="/classify")
        # A terminated driver takes the cluster with it, whose processes are in sessions of their own. Ray has set its
        # own handler before.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.pause()
    finally:
        ray.shutdown()
