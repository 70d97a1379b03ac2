"""Bottles: leave one burst out, then the served classifier's response to a photo.

The 20 public photos are bursts, taken fractions of a second apart. Each burst is the test split once; the classifier
sees the top 30 % of a photo. The last step trains with the recipe `bottle`, serves the classifier and
sends it a photo.

Run as `python experiments/bottle.py`; an interrupted run is resumed.
"""

import json
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import data_sources
import runs
from cross_validation import crossval_row
from result_file import Row, write_result

from assay.data.groups import group_indices
from assay.data.loading import load_grouped_dataset
from assay.recipe import load_recipe

NAME = "bottles"
RECIPE = "defect-lite"
OVERRIDES = ("data.positive_class=open", "preprocess.roi=[0, 0, 1, 0.3]")
SERVED = (
    "net.name=efficientnet-lite0",
    "train.strategy=probe",
    "train.freeze=0",
    "train.lr=1e-2",
    "augment.train=[]",
)
"""Overrides of the recipe `bottle`, whose ResNet-18 needs a download: the installed backbone, frozen."""


@contextmanager
def serving(bundle: Path) -> Iterator[str]:
    """Serve a bundle on a free port of this machine; yield its address."""
    command = [sys.executable, "-m", "assay", "serve", str(bundle), "--port", "0", "--request-log", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:  # noqa: S603
        try:
            for line in server.stdout or ():
                if found := re.search(r"http://[\d.]+:\d+", line):
                    yield found.group()
                    return
            raise SystemExit("the server did not start")
        finally:
            server.terminate()


def classify(address: str, photo: Path) -> dict[str, Any]:
    """Send a photo as the form field `image` to `/classify`; return the JSON response."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{photo.name}"\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(  # noqa: S310 - a local address
        f"{address}/classify", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        values: dict[str, Any] = json.load(answer)
    return values


def main() -> None:
    """Train what is missing, ask the server and write the result."""
    options = runs.parser(__doc__).parse_args()
    data = data_sources.locate(NAME, options.runs, options.data)
    recipe = load_recipe(RECIPE, OVERRIDES)
    dataset = load_grouped_dataset(data, recipe.data)
    bursts = len(group_indices(dataset.samples))
    folder = options.runs / NAME / "leave-one-burst-out"
    result = runs.crossval(data, recipe, folder, folds=bursts, repeats=1)
    rows: list[Row] = [crossval_row("linear probe", f"{RECIPE} {' '.join(OVERRIDES)}", "one burst per fold", result)]
    run = runs.train(data, load_recipe("bottle", SERVED), options.runs / NAME / "served")
    photos = [next(iter(sorted((data / label).iterdir()))) for label in ("open", "closed")]
    with serving(run.bundle) as address:
        responses = {photo.parent.name: classify(address, photo) for photo in photos}
        with urllib.request.urlopen(f"{address}/health") as answer:  # noqa: S310
            health = json.load(answer)
    write_result(NAME, rows, bursts=bursts, responses=responses, health=health)


if __name__ == "__main__":
    runs.run_script(main)
