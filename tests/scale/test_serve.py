"""The API as a Ray Serve application: the file in deploy/, autoscaling, rolling updates and killed replicas."""

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from process_groups import call_in_group
from services import find_program
from waiting import wait_until

from assay.inference import Classifier
from assay.scale.cluster import ray_cluster

_FILE = Path(__file__).parents[2] / "deploy" / "ray-serve.yaml"
_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  retries 5
  option redispatch
  retry-on all-retryable-errors
listen assay
  bind 127.0.0.1:{port}
  option http-buffer-request
  server serve 127.0.0.1:{serve}
"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (250, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


_PHOTO = _png()
_BODY = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + _PHOTO + b"\r\n--b--\r\n"
_FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def test_the_file_is_valid(colour_bundle: Path):
    call_in_group(_check_the_file, colour_bundle, timeout=120)


def _check_the_file(colour_bundle: str) -> None:
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - Ray reads the environment when it is imported

    from assay.scale.serve import ServeArguments, app  # noqa: PLC0415

    config = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    ServeDeploySchema.model_validate(config)
    (application,) = config["applications"]
    assert application["import_path"] == f"{app.__module__}:{app.__name__}"
    arguments = ServeArguments.read(application["args"])
    assert [deployment["name"] for deployment in application["deployments"]] == ["assay"]
    assert arguments.settings["auth"]["required"]
    app({"models": [colour_bundle], "settings": {"auth": {"required": False}}})


def test_arguments_that_cannot_be_used_are_a_sentence(colour_bundle: Path, tmp_path: Path):
    call_in_group(_use_wrong_arguments, colour_bundle, tmp_path, timeout=120)


def _use_wrong_arguments(colour_bundle: str, folder: str) -> None:
    from ray.serve.exceptions import RayServeException  # noqa: PLC0415

    from assay.scale.serve import app  # noqa: PLC0415

    (Path(folder) / "other.assay").write_bytes(b"no bundle")
    keys, models = {"auth": {"required": True, "folder": folder}}, [colour_bundle]
    for arguments, message in (
        ({"models": models, "settings": {"cache": {"ttl": -1}}}, r"^ttl \(ASSAY_SERVE_CACHE__TTL\) cannot be used: "),
        ({"models": models, "settings": keys}, rf"^{folder}/master.keys: there are no master keys; create a key with"),
        ({"models": models, "settings": {"cache": {"redis": "nothing"}, "auth": {"required": False}}}, "(?i)redis"),
        (
            {"models": models, "settings": {"auth": {"required": True, "folder": colour_bundle}}},
            "cannot be read|no master keys",
        ),
        ({"models": [f"{folder}/none.assay"]}, rf"^{folder}/none.assay does not exist"),
        ({"models": f"{folder}/other.assay"}, rf"^{folder}/other.assay is not a bundle"),
        ({"model": "model.assay"}, "^args.models is missing$"),
        ({"models": 3}, "^args.models cannot be used: must be a list"),
        ({"models": []}, "^args.models cannot be used: must have at least 1 value"),
        ({"models": [1]}, "^args.models.0 cannot be used: must be text$"),
        ({"models": models, "settings": {"listen": 3}}, "^args.settings.listen cannot be used: must be names with"),
        ({"models": models, "settings": {"listen": {"port": "x"}}}, "^port .ASSAY_SERVE_LISTEN__PORT. cannot be used"),
        ({"models": models, "settings": []}, r"^args.settings cannot be used: must be names with values"),
    ):
        with pytest.raises(RayServeException, match=message) as caught:
            app(arguments)
        assert "\n" not in str(caught.value)


def _config(bundle: Path, port: int, folder: Path, drift_window: int = 1000) -> dict[str, Any]:
    """Return the configuration of the file, for two replicas at most on this machine."""
    config: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] = {
        "models": [str(bundle)],
        "settings": {
            "auth": {"required": False},
            "cache": {"entries": 0},
            "request_log": {"url": str(folder / "requests.sqlite"), "spool_dir": str(folder / "spool")},
            "telemetry": {"log_dir": str(folder / "logs"), "drift_window": drift_window},
        },
    }
    application["deployments"][0]["autoscaling_config"] = {
        "min_replicas": 1,
        "max_replicas": 2,
        "target_ongoing_requests": 1,
        "upscale_delay_s": 1,
        "downscale_delay_s": 5,
        "metrics_interval_s": 1,
        "look_back_period_s": 3,
    }
    return config


class Load:
    """Clients that send requests one after the other until they are stopped."""

    def __init__(self, port: int, clients: int) -> None:
        self.answers: Counter[object] = Counter()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(port,), daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, port: int) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                connection.request("POST", "/classify", _BODY, _FORM)
                response = connection.getresponse()
                label = json.loads(response.read()).get("label")
                self.answers[response.status, label] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.answers[repr(error)] += 1
            finally:
                connection.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def _haproxy(serve: int, folder: Path) -> Iterator[int]:
    port = _free_port()
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(port=port, serve=serve), encoding="utf-8")
    process = subprocess.Popen([find_program("haproxy"), "-f", folder / "haproxy.cfg"])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_autoscaling_rolling_update_and_killed_replica(colour_bundle: Path, tmp_path: Path):
    call_in_group(_serve_under_load, colour_bundle, tmp_path, timeout=1100)


def _serve_under_load(bundle: str, folder: str) -> None:
    colour_bundle, tmp_path = Path(bundle), Path(folder)
    # The default of 5 s is not enough on a busy machine.
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "120"
    port = _free_port()
    with ray_cluster(cpus=4, memory=100 << 20), _haproxy(port, tmp_path) as balancer:
        from ray import serve  # noqa: PLC0415
        from ray.serve.context import _get_global_client  # noqa: PLC0415
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

        def deploy(drift_window: int = 1000) -> None:
            config = _config(colour_bundle, port, tmp_path, drift_window)
            _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))

        def status() -> Any:
            return serve.status().applications["assay"]

        def replicas() -> int:
            return int(status().deployments["assay"].replica_states.get("RUNNING", 0))

        def answered(metrics: str) -> float:
            lines = [line for line in metrics.splitlines() if line.startswith("assay_requests_total{")]
            return sum(float(line.rpartition(" ")[2]) for line in lines if 'status="200"' in line)

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
                body: bytes = response.read()
            return body

        serve.start(http_options={"host": "127.0.0.1", "port": port})
        deploy()
        wait_until(lambda: status().status == "RUNNING", 400, f"the application does not start: {status()}")
        assert replicas() == 1

        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/classify", _BODY, _FORM)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        expected = Classifier.load(colour_bundle).predict(_PHOTO)
        assert (answer["label"], answer["confidence"]) == (expected.label, expected.confidence)
        assert json.loads(get("/ready")) == {"status": "ready"}
        assert answered(get("/metrics").decode()) == 1

        load = Load(balancer, 6)
        wait_until(lambda: replicas() == 2, 400, "no second replica is started")

        before = sum(load.answers.values())
        deploy(drift_window=2000)
        wait_until(lambda: status().status == "DEPLOYING", 400, "the update does not start")
        wait_until(lambda: status().status == "RUNNING", 400, "the update does not end")
        assert sum(load.answers.values()) > before

        wait_until(lambda: replicas() == 2, 400, "after the update there is no second replica")
        assert _kill_a_replica()
        count = sum(load.answers.values())
        wait_until(lambda: sum(load.answers.values()) > count + 100, 400, "no answers after a replica was killed")
        wait_until(lambda: replicas() == 2, 400, "the killed replica is not replaced")
        load.stop()
        assert load.answers.keys() == {(200, "red")}, load.answers

        wait_until(lambda: replicas() == 1, 400, "no replica is stopped without load")
        # Counters of replicas that have been replaced are not lost.
        assert answered(get("/metrics").decode()) > 100
        serve.shutdown()


def _kill_a_replica() -> bool:
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and (process / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
            os.kill(int(process.name), signal.SIGKILL)
            return True
    return False
