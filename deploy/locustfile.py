"""A load test for `assay serve`: virtual clients that send photos and check the answers.

    ASSAY_PHOTOS=photos ASSAY_KEY=ak_... locust -f deploy/locustfile.py --host https://assay.example \
        --headless --users 50 --spawn-rate 5 --run-time 2m

Photos are sent unchanged, so that results may come from the cache of the server. ASSAY_UNCACHED=1 appends a few bytes,
which decoders ignore, so that all uploads differ.
"""

import json
import os
import random
from pathlib import Path

from locust import HttpUser, between, task

_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def read_photos(folder: str | None) -> list[tuple[str, bytes]]:
    """Read a folder's photos, with their content types.

    Raises:
        SystemExit: there are none, and so there is no test.
    """
    paths = sorted(Path(folder).rglob("*")) if folder else []
    photos = [(_KINDS[item.suffix.lower()], item.read_bytes()) for item in paths if item.suffix.lower() in _KINDS]
    if not photos:
        raise SystemExit("set ASSAY_PHOTOS to a folder with .jpg or .png files")
    return photos


_PHOTOS = read_photos(os.environ.get("ASSAY_PHOTOS"))


class Client(HttpUser):
    """A client that classifies photos."""

    wait_time = between(0.05, 0.5)

    def on_start(self) -> None:
        """Set the API key."""
        if key := os.environ.get("ASSAY_KEY"):
            self.client.headers["Authorization"] = f"Bearer {key}"

    @task(50)
    def classify(self) -> None:
        """Send a photo. Expected rejections (429, 503) do not count as errors."""
        kind, photo = random.choice(_PHOTOS)
        if os.environ.get("ASSAY_UNCACHED"):
            photo += random.randbytes(8)
        files = {"image": ("photo", photo, kind)}
        with self.client.post("/classify", files=files, catch_response=True) as answer:
            if answer.status_code in {429, 503}:
                answer.failure(f"turned away: {answer.status_code}")
            elif answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
            else:
                try:
                    fields = json.loads(answer.text)
                except ValueError:
                    answer.failure("the answer is no JSON")
                else:
                    if not fields:
                        answer.failure("the answer is empty")

    @task(1)
    def health(self) -> None:
        """Request the health, as the web page does."""
        self.client.get("/health")
