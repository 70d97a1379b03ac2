"""Training on two machines, here two commands on loopback addresses."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from process_groups import run_group

from assay.core.errors import AssayError, UsageError
from assay.pipeline import resume_training, train_classifier
from assay.recipe import Recipe, dump_recipe, load_recipe
from assay.training.nodes import SECRET_VARIABLE, Nodes, join_training

_ASSAY = Path(sys.executable).with_name("assay")
_ENVIRONMENT = {SECRET_VARIABLE: "secret", "OMP_NUM_THREADS": "1"}


def _free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x", "host:0", "host:70000"])
def test_an_invalid_address_is_refused(address: str):
    with pytest.raises(UsageError, match=r"must look like 10\.0\.0\.1:29500"):
        Nodes.parse(2, address)


def test_addresses_are_parsed():
    assert Nodes.parse(3, "10.0.0.1:29500") == Nodes(3, "10.0.0.1", 29500)
    assert Nodes.parse(2, "[::1]:29500").host == "::1"


def test_a_secret_is_required(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    with pytest.raises(UsageError, match=f"set the environment variable {SECRET_VARIABLE}"):
        join_training(_free_address(), 1)


@pytest.mark.parametrize(
    ("secret", "rank", "message"),
    [
        ("other", 1, f"{SECRET_VARIABLE} is not the same"),
        ("same", 7, r"--node-rank 7 must be within 1 and 1"),
    ],
    ids=["secret", "rank"],
)
def test_a_machine_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str, rank: int, message: str):
    monkeypatch.setattr("assay.training.nodes._JOIN_TIMEOUT", 2)
    monkeypatch.setenv(SECRET_VARIABLE, "same")
    nodes, errors = Nodes.parse(2, _free_address()), []

    def connect() -> None:
        try:
            with nodes.connect(1, b"call"):
                pass
        except AssayError as error:
            errors.append(str(error))

    first = threading.Thread(target=connect)
    first.start()
    while not _listens(nodes):
        pass
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    with pytest.raises(AssayError, match=message):
        join_training(f"{nodes.host}:{nodes.port}", rank)
    first.join()
    assert len(errors) == 1
    assert "machine 1 did not connect within 2 s: run `assay train --node-rank 1" in errors[0]


def _listens(nodes: Nodes) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((nodes.host, nodes.port)) == 0


def _losses(run: Path) -> np.ndarray:
    return np.loadtxt(run / "steps.csv", delimiter=",", skiprows=1)[:, 2]


@pytest.fixture(scope="module")
def recipe_file(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "base.yaml").write_text(dump_recipe(tiny), encoding="utf-8")
    recipe = load_recipe(folder / "base.yaml", ["train.early_stopping=null", "train.precision=32", "train.epochs=10"])
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def losses_of_one(recipe_file: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The loss of every step in a training by one process."""
    run = tmp_path_factory.mktemp("one") / "run"
    train_classifier(colours, load_recipe(recipe_file), run)
    return _losses(run)


@contextmanager
def _second_machine(address: str) -> Iterator["subprocess.Popen[str]"]:
    command = [str(_ASSAY), "train", "--node-rank", "1", "--rendezvous", address]
    process = subprocess.Popen(
        command, env={**os.environ, **_ENVIRONMENT}, start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_machines_have_the_loss_curve_of_one(
    recipe_file: Path, colours: Path, losses_of_one: np.ndarray, tmp_path: Path
):
    address = _free_address()
    train = [_ASSAY, "train", colours, "-r", recipe_file, "--run", tmp_path / "run", "--json"]
    with _second_machine(address) as second:
        first = run_group([*train, "--nodes", 2, "--rendezvous", address], timeout=400, environment=_ENVIRONMENT)
        assert first.returncode == 0, first.stderr
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 0, errors
    assert np.abs(losses_of_one - _losses(tmp_path / "run")).max() < 1e-3
    assert (tmp_path / "run" / "model.assay").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_machine_dies_and_the_other_one_resumes(
    recipe_file: Path, colours: Path, losses_of_one: np.ndarray, tmp_path: Path
):
    address, run = _free_address(), tmp_path / "run"
    train = [_ASSAY, "train", colours, "-r", recipe_file, "--run", run, "--nodes", 2, "--rendezvous", address]

    def kill_after_an_epoch() -> None:
        while second.poll() is None and not (run / "metrics.csv").exists():
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.killpg(second.pid, signal.SIGKILL)

    with _second_machine(address) as second:
        killer = threading.Thread(target=kill_after_an_epoch)
        killer.start()
        first = run_group(train, timeout=400, environment=_ENVIRONMENT)
        killer.join()
    assert first.returncode == 1
    assert "a training process died: free some memory and continue with --resume" in first.stderr
    resume_training(run)
    assert np.abs(losses_of_one - _losses(run)).max() < 1e-3
