"""A bundle, photos and an S3 server for distributed prediction."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import fsspec
import numpy as np
import pytest
from PIL import Image

from assay.scale.batch_predict import PredictJob, predict_locally, predict_partitions

_ACCESS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 600 noisy photos, of which two cannot be read: three partitions."""
    folder, rng = tmp_path_factory.mktemp("many") / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(598):
        mean = rng.integers(0, 256, 3)
        noise = rng.normal(mean, 40, (12, 12, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03}.png")
    (folder / "300-damaged.png").write_bytes((folder / "300.png").read_bytes()[:60])
    (folder / "empty.jpg").touch()
    return folder


@pytest.fixture
def make_job(colour_bundle: Path, tmp_path: Path) -> Callable[..., PredictJob]:
    """Return a job that writes to a folder of the test."""

    def make(out: str = "out") -> PredictJob:
        return PredictJob(colour_bundle, out if "://" in out else str(tmp_path / out), "onnxruntime", "fp32", 1)

    return make


@pytest.fixture
def predict_local(make_job: Callable[..., PredictJob]) -> Callable[..., Path]:
    """Predict in this process and return the output folder."""

    def predict(*inputs: str, out: str = "expected") -> Path:
        job = make_job(out)
        classifier = job.load()
        predict_partitions(job, classifier, inputs, predict_locally(job, classifier))
        return Path(job.out)

    return predict


class Bucket(Protocol):
    """A server with a URL."""

    url: str


@pytest.fixture(scope="session")
def bucket(s3_server: Bucket) -> Iterator[str]:
    """URL of an empty bucket; the environment names its server, as for other S3 stores than Amazon's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**_ACCESS, "AWS_ENDPOINT_URL": s3_server.url}.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("photos")
        yield "s3://photos"
