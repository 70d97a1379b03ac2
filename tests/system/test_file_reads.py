"""How often `assay train` opens each image file, counted from the system calls of all its processes."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from services import find_program

# The result is on another line if a thread was interrupted.
_READ = re.compile(r'open(?:at)?\([^"]*"([^"]+)", O_RDONLY(?!\S*O_DIRECTORY)(?!.* = -1 )')
_SETTINGS = (
    "preprocess.size=32",
    "train.epochs=1",
    "train.workers=1",
    "train.batch_size=16",
    "serve.int8=false",
    "net.resnet={block: basic, layers: [1], widths: [16], stem: conv3}",
    "augment.train=[{name: horizontal_flip}]",
)


def _reads(photos: Path, run: Path, home: Path) -> Counter[str]:
    """Train, and return how often each image of the run was opened, by its path relative to the run."""
    log = run.with_suffix(".calls")
    home.mkdir(exist_ok=True)
    names = ("PATH", "LANG", "LC_ALL", "PYTHONPATH")
    environment = {name: os.environ[name] for name in names if name in os.environ} | {"HOME": str(home)}
    trace = [find_program("strace"), "-f", "--seccomp-bpf", "-s", "300", "-e", "trace=open,openat", "-o", log]
    sets = [word for setting in _SETTINGS for word in ("--set", setting)]
    train = [sys.executable, "-m", "assay", "train", photos, "-r", "custom-resnet", "--run", run, *sets]
    done = subprocess.run([*map(str, [*trace, *train])], env=environment, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("this machine lets no process be traced")
    assert done.returncode == 0, done.stdout + done.stderr
    with (run / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        images = {os.path.normpath(run / row["path"]) for row in csv.DictReader(stream)}
    assert len(images) > 60
    opened = Counter(_READ.findall(log.read_text(encoding="utf-8", errors="replace")))
    return Counter({path: opened[path] for path in images})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_training_reads_each_image_at_most_twice_and_once_with_warm_caches(colours: Path, tmp_path: Path) -> None:
    first = _reads(colours, tmp_path / "first", tmp_path / "home")
    assert set(first.values()) <= {1, 2}
    second = _reads(colours, tmp_path / "second", tmp_path / "home")
    assert set(second.values()) == {1}
