"""Image files of adversarial structure, each through `assay predict`'s way and through a live server.

    python benchmarks/hostile_images.py [--server PORT] [--only NAME] [--seed N]

Prints the slowest files, how many of each answer, and what was late or failed; the exit code is 1 then.
Without `--server` one is started that takes every format a server can take.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from hostile_files import Hostile, hostile
from PIL import Image
from safetensors.numpy import save

from assay.bundle import BundleInfo, pack_bundle
from assay.inference import Classifier
from assay.recipe import PreprocessSpec

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from colour_model import colour_model

_LIMIT_SECONDS = 5.0
_BUSY = {503, 504}
_SHOWN = 15


@dataclass(frozen=True)
class Outcome:
    """What became of a file."""

    name: str
    size: int
    predict_seconds: float
    predict_text: str
    answer_seconds: float
    status: int

    @property
    def failed(self) -> bool:
        """Whether it took too long, or the server failed."""
        late = max(self.predict_seconds, self.answer_seconds) > _LIMIT_SECONDS
        return late or (self.status >= 500 and self.status not in _BUSY)


def write_bundle(path: Path) -> Path:
    """Pack a tiny classifier of 224 x 224 pixels; its own time does not matter."""
    model = colour_model(side=224).SerializeToString()
    spec = PreprocessSpec(size=224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    info = BundleInfo(name="colours", classes=("red", "green", "blue"), preprocess=spec)
    head = {"head.fc.weight": 10 * np.eye(3, dtype=np.float32), "head.fc.bias": np.zeros(3, np.float32)}
    pack_bundle(path, info, {"model.onnx": model, "weights.safetensors": save(head)})
    return path


@contextlib.contextmanager
def server(bundle: Path, folder: Path) -> Iterator[int]:
    """Run a server of every format at a free port."""
    settings = {
        "ASSAY_STATE": str(folder),
        "ASSAY_KEYS": str(folder / "keys"),
        "ASSAY_SERVE_UPLOADS__FORMATS": json.dumps(["jpeg", "png", "webp", "tiff", "bmp"]),
        "ASSAY_SERVE_TELEMETRY__LOG_DIR": str(folder / "logs"),
    }
    command = [
        sys.executable,
        "-m",
        "assay",
        "serve",
        str(bundle),
        "--port",
        "0",
        "--request-log",
        "none",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | settings) as process:
        try:
            found = re.search(r":(\d+) ", process.stdout.readline() if process.stdout else "")
            if found is None:
                raise SystemExit("the server did not start")
            yield int(found[1])
        finally:
            process.terminate()


def try_out(file: Hostile, classifier: Classifier, client: httpx.Client, folder: Path) -> Outcome:
    """Send a file both ways."""
    path = folder / "photo"
    data = file.make()
    path.write_bytes(data)
    started = time.monotonic()
    try:
        text = classifier.predict(path).label
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        text = f"{type(error).__name__}: {error}"
    middle = time.monotonic()
    status = client.post("/classify", files={"image": ("photo", data)}).status_code
    return Outcome(file.name, len(data), middle - started, text, time.monotonic() - middle, status)


def show(outcomes: list[Outcome]) -> None:
    """Print the slowest, the counts, and what failed."""
    print(f"{'predict':>8} {'server':>8} status  bytes      file")
    slowest = sorted(outcomes, key=lambda item: -max(item.predict_seconds, item.answer_seconds))
    for item in slowest[:_SHOWN]:
        times = f"{item.predict_seconds:7.2f}s {item.answer_seconds:7.2f}s"
        print(f"{times} {item.status}     {item.size:<10} {item.name}")
        print(f"{'':>18} {item.predict_text[:100]}")
    kinds = Counter(item.predict_text.split(": ")[0][:30] for item in outcomes)
    print("predict:", ", ".join(f"{name} {count}" for name, count in kinds.most_common()))
    print("server:", ", ".join(f"{status} {n}" for status, n in Counter(o.status for o in outcomes).items()))
    failed = [item.name for item in outcomes if item.failed]
    print(f"{len(outcomes)} files, {len(failed)} late or failed", *failed, sep="\n  ")


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", type=int, metavar="PORT", help="a server that runs already")
    parser.add_argument("--only", default="", metavar="NAME", help="files whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    files = [file for file in hostile(options.seed) if file.name.startswith(options.only)]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        bundle = write_bundle(folder / "colours.assay")
        classifier = Classifier.load(bundle)
        port = options.server or stack.enter_context(server(bundle, folder))
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False))
        outcomes = []
        for number, file in enumerate(files, 1):
            outcomes.append(try_out(file, classifier, client, folder))
            print(f"\r{number} of {len(files)}", end="", file=sys.stderr)
        print(file=sys.stderr)
    show(outcomes)
    sys.exit(any(item.failed for item in outcomes))


if __name__ == "__main__":
    main()
