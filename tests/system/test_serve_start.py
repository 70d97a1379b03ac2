"""Start-up of `assay serve`, and its errors."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.cli.main import main

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested is that it is refused


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle()


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *map(str, arguments)])
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return stop.value.code, message


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    monkeypatch.setenv("ASSAY_KEYS", str(tmp_path / "keys"))


def test_start_prints_address_model_engine_and_precision(serve, bundle: Path):
    running = serve(bundle, "--engine", "onnxruntime")
    assert running.message.startswith("http://127.0.0.1:")
    assert "colours" in running.message
    assert "onnxruntime, fp32" in running.message
    assert running.stop() == 0


def test_port_in_use_is_reported(bundle: Path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, message = _refused(capsys, bundle, "--port", port)
    assert code == 1
    assert f"127.0.0.1:{port}" in message


def test_other_machines_need_keys_or_no_auth(bundle: Path, capsys, serve):
    code, message = _refused(capsys, bundle, "--host", _EVERYWHERE)
    assert code == 2
    assert "--no-auth" in message
    assert serve(bundle, "--host", _EVERYWHERE, "--no-auth").stop() == 0


def test_invalid_settings_and_models_are_reported(bundle: Path, capsys, tmp_path: Path, monkeypatch):
    assert "port" in _refused(capsys, bundle, "--port", 70000)[1]
    assert "missing.assay" in _refused(capsys, tmp_path / "missing.assay")[1]
    assert "NAME=PATH" in _refused(capsys, bundle, bundle)[1]
    assert "unknown engine 'abacus'" in _refused(capsys, bundle, "--engine", "abacus")[1]
    monkeypatch.setenv("ASSAY_SERVE_BATCHING__QUEUE", "none")
    assert "ASSAY_SERVE_BATCHING__QUEUE" in _refused(capsys, bundle)[1]


def test_invalid_model_is_reported_once_by_several_workers(serve, tmp_path: Path):
    with pytest.raises(pytest.fail.Exception, match=r"missing\.assay") as failed:
        serve(tmp_path / "missing.assay", "--workers", "2")
    assert str(failed.value).count("missing.assay") == 1
