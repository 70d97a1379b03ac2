"""Start-up of `assay serve`, and its errors."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from waiting import wait_until

from assay.cli.main import main

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
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
    # The default port may be in use.
    monkeypatch.setenv("ASSAY_SERVE_LISTEN__PORT", "0")


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


def test_addresses_that_cannot_be_used_are_reported(bundle: Path, capsys):
    assert "give another --host" in _refused(capsys, bundle, "--host", "192.0.2.1", "--no-auth")[1]
    assert (
        "there is no address nowhere.invalid" in _refused(capsys, bundle, "--host", "nowhere.invalid", "--no-auth")[1]
    )
    assert "an argument is empty" in _refused(capsys, bundle, "--host", "")[1]
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use" in _refused(capsys, bundle, "--host", "[::1]", "--port", port)[1]


def test_variable_that_no_setting_reads_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("ASSAY_SERVE_WORKERS", "2")
    monkeypatch.setenv("ASSAY_SERVE_PORT", "tcp://10.0.0.7:8000")
    with pytest.raises(SystemExit):
        main(["serve", str(tmp_path / "none.assay")])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: ASSAY_SERVE_WORKERS is not read: no setting has this name; the nearest is")


def test_keys_without_tls_on_a_network_give_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def warnings(*arguments: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["serve", str(tmp_path / "none.assay"), "--port", "0", *arguments])
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]

    (warning,) = warnings("--host", _EVERYWHERE, "--auth")
    assert "unencrypted" in warning
    assert warnings("--host", _EVERYWHERE, "--no-auth") == []
    assert warnings("--auth") == []
    monkeypatch.setenv("ASSAY_SERVE_AUTH__PROXIES", '["10.0.0.0/8"]')
    assert warnings("--host", _EVERYWHERE, "--auth") == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_lines_of_requests_are_on_standard_output(bundle: Path, tmp_path: Path, workers: str):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "assay", "serve", str(bundle), "--workers", workers]
    with output.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=subprocess.PIPE) as server:
        try:
            wait_until(lambda: _ADDRESS.search(output.read_text(encoding="utf-8")))
            address = _ADDRESS.search(output.read_text(encoding="utf-8"))[0]
            answer = httpx.post(f"{address}/classify", files={"image": ("a", b"no photo")}, trust_env=False, timeout=30)
            wait_until(lambda: answer.headers["x-request-id"] in output.read_text(encoding="utf-8"))
        finally:
            server.terminate()
            server.communicate()


_SLOW_WORKER = """
import signal, socket, sys
from assay.serving import supervisor
supervisor._WORKER_COMMAND = (sys.executable, "-c", "import sys, time; print('up', file=sys.stderr); time.sleep(60)")
with socket.create_server(("127.0.0.1", 0)) as listening:
    config = supervisor.WorkerConfig({}, [], listening.fileno())
    supervisor.WorkerSupervisor(config, listening, 2, print, 10.0).run()
"""


def test_ctrl_c_before_the_workers_are_ready_is_quiet():
    process = subprocess.Popen([sys.executable, "-c", _SLOW_WORKER], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert "Traceback" not in process.communicate(timeout=30)[1]


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
