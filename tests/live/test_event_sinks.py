"""Event sinks against a real web server, a real broker and real programs."""

import hmac
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from http_server import running

from assay.core.errors import UsageError
from assay.live.event_sinks import CommandSink, DeliveryError, MqttSink, RuleEvent, WebhookSink, webhook_key

EVENT = RuleEvent("id-1", "cat>0.9; rm -rf /", "cät", 0.93, "camera 0", "2026-01-01T00:00:00+00:00", 12.5)
KEY = b"0123456789abcdef"


class Receiver(HTTPServer):
    """Keeps what is posted; answers what it is received to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running(Receiver()) as started:
        yield started


def test_webhook_signature_can_be_verified(receiver: Receiver):
    WebhookSink(receiver.url, KEY, now=lambda: 1_700_000_000.9)(EVENT)
    ((path, headers, body),) = receiver.got
    assert path == "/hook"
    assert json.loads(body)["rule"] == EVENT.rule
    assert json.loads(body)["label"] == "cät"
    timestamp = headers["x-assay-timestamp"]
    assert timestamp == "1700000000"
    expected = hmac.new(KEY, timestamp.encode() + b"\n" + body, "sha256").hexdigest()
    assert headers["x-assay-signature"] == expected


@pytest.mark.parametrize(("status", "again"), [(500, True), (503, True), (429, True), (404, False), (302, False)])
def test_http_status_decides_whether_to_retry(status: int, again: bool, receiver: Receiver):
    receiver.answers = [status]
    with pytest.raises(DeliveryError, match=str(status)) as error:
        WebhookSink(receiver.url, KEY)(EVENT)
    assert error.value.retryable is again
    assert len(receiver.got) == 1


def test_refused_webhook_connection_is_retryable(receiver: Receiver):
    url = receiver.url.replace(str(receiver.server_port), "1")
    with pytest.raises(DeliveryError) as error:
        WebhookSink(url, KEY)(EVENT)
    assert error.value.retryable


def test_password_in_a_url_is_not_shown():
    assert WebhookSink("https://me:secret@host/hook?token=secret", KEY).name == "https://host/hook"


@pytest.mark.parametrize("url", ["", "host/hook", "ftp://host", "file:///etc/passwd", "http://"])
def test_invalid_url_is_rejected(url: str):
    with pytest.raises(UsageError, match="is not a URL"):
        WebhookSink(url, KEY)


def test_key_is_read_from_the_environment_or_a_private_file(tmp_path: Path):
    assert webhook_key(None, {"ASSAY_WEBHOOK_KEY": KEY.decode()}) == KEY
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    file.chmod(0o600)
    assert webhook_key(file, {}) == KEY
    file.chmod(0o640)
    with pytest.raises(UsageError, match="other users can read"):
        webhook_key(file, {})


@pytest.mark.parametrize(
    ("environment", "word"), [({}, "webhooks need a signing key"), ({"ASSAY_WEBHOOK_KEY": "short"}, "too short")]
)
def test_missing_or_short_key_is_rejected(environment: dict[str, str], word: str):
    with pytest.raises(UsageError, match=word):
        webhook_key(None, environment)


def test_command_receives_the_event_without_a_shell(tmp_path: Path):
    script = "import os,sys; open(sys.argv[1],'w').write(os.environ['ASSAY_RULE']+os.environ['ASSAY_CONFIDENCE'])"
    out = tmp_path / "$(out)"
    CommandSink([sys.executable, "-c", script, str(out)])(EVENT)
    assert out.read_text(encoding="utf-8") == "cat>0.9; rm -rf /0.93"


@pytest.mark.parametrize(("arguments", "word"), [(["/nowhere/program"], "No such file"), (["false"], "exit code 1")])
def test_failed_command_is_not_retried(arguments: list[str], word: str):
    with pytest.raises(DeliveryError, match=word) as error:
        CommandSink(arguments)(EVENT)
    assert not error.value.retryable


@pytest.mark.parametrize("url", ["host/topic", "mqtt://host", "mqtt:///topic", "http://host/topic", "mqtt://host/a/#"])
def test_invalid_broker_address_is_rejected(url: str):
    with pytest.raises(UsageError):
        MqttSink(url, {})


def test_broker_name_hides_the_password():
    assert MqttSink("mqtts://me:secret@host/a/b", {}).name == "mqtts://host:8883/a/b"


def test_refused_broker_connection_is_retryable():
    with pytest.raises(DeliveryError) as error:
        MqttSink("mqtt://127.0.0.1:1/a", {})(EVENT)
    assert error.value.retryable


def test_event_reaches_subscribers_of_the_topic(mqtt_broker):
    command = [sys.executable, "-c", LISTEN, str(mqtt_broker.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        MqttSink(f"{mqtt_broker.url}/sign/1", {})(EVENT)
        assert json.loads(listener.communicate(timeout=20)[0])["id"] == "id-1"


LISTEN = """
import sys
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
client = Client(CallbackAPIVersion.VERSION2)
client.on_subscribe = lambda *_: print("ready", flush=True)
def take(client, _, message):
    print(message.payload.decode())
    client.disconnect()
client.on_message = take
client.on_connect = lambda client, *_: client.subscribe("sign/#", 1)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""
