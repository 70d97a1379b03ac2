"""Workers and the size of /dev/shm, which is small in containers."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from assay.training import dataloaders
from assay.training.dataloaders import worker_count, worker_death_message

_TRAIN = """
import sys
import numpy as np
from pathlib import Path
from assay.nets import create_classifier
from assay.recipe import load_recipe
from assay.training import LabeledImages, fit
sets = ["preprocess.size=64", "train.epochs=1", "train.batch_size=64", "train.workers=2", "net.weights=none",
        "net.name=convnet", "net.convnet.filters=[4]", "train.strategy=finetune", "train.device=cpu"]
recipe = load_recipe("default", sets)
targets = np.arange(128) % 2
photos = [np.full((64, 64, 3), 99 * target, np.uint8) for target in targets]
split = LabeledImages(photos, targets)
network = create_classifier(recipe.net, 2, size=64)
fit(network, recipe, split, split, run=Path(sys.argv[1]))
print("trained")
"""


def _in_small(size: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Train where /dev/shm has a size of its own; skip where no such place can be made."""
    unshare = shutil.which("unshare")
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    wrap = [unshare or "unshare", "-rm", "sh", "-c"]
    if unshare is None or subprocess.run([*wrap, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount")
    command = [*wrap, f'{mount} && exec "$@"', "sh", sys.executable, "-c", _TRAIN, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_training_completes_with_little_shared_memory(tmp_path: Path) -> None:
    done = _in_small("256k", tmp_path)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


@pytest.mark.parametrize("length", [200, *(pytest.param(length, marks=pytest.mark.slow) for length in (60, 75, 90))])
def test_training_completes_with_a_long_path_for_temporary_files(tmp_path: Path, length: int) -> None:
    with tempfile.TemporaryDirectory() as short:
        temporary = Path(short) / ("x" * (length - len(short) - 1))
        temporary.mkdir()
        command = [sys.executable, "-c", _TRAIN, str(tmp_path)]
        environment = {**os.environ, "TMPDIR": str(temporary)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr


def test_number_of_workers_is_limited_by_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage("/dev/shm").free  # noqa: S108
    assert worker_count(8, 1000, 2 * free) == 0
    assert worker_count(None, 1000, 2 * free) == 0
    assert worker_count(8, 1000, 1) == 8
    monkeypatch.setattr(dataloaders, "_SHARED_MEMORY", tmp_path / "missing")
    assert worker_count(8, 1000, 2 * free) == 8


def test_dead_worker_raises_an_assay_error() -> None:
    torchs = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"
    assert "DataLoader worker (pid 7) is killed by signal: Bus error" in str(worker_death_message(RuntimeError(torchs)))
    assert worker_death_message(RuntimeError("shapes cannot be multiplied")) is None
