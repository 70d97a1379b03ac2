"""What an event is sent to: a command, a signed webhook or an MQTT topic."""

import hashlib
import hmac
import http.client
import json
import os
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from assay.core.errors import UsageError

KEY_VARIABLE = "ASSAY_WEBHOOK_KEY"
_TIMEOUT = 5.0
"""Seconds to wait for a connection, a response or an acknowledgement."""
_COMMAND_TIMEOUT = 60.0
_MIN_KEY_CHARS = 16
_RETRYABLE_STATUSES = {408, 425, 429}
"""HTTP statuses below 500 after which a retry may succeed."""


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A rule has triggered.

    Attributes:
        id: unique per event and the same in retries, so that receivers can drop duplicates.
        label: current label; a rule with a low threshold can trigger before its class becomes the label.
        confidence: its smoothed probability.
        at: wall clock time, ISO 8601 with time zone.
        time: time of the frame in seconds.
    """

    id: str
    rule: str
    label: str
    confidence: float
    source: str
    at: str
    time: float


class DeliveryError(Exception):
    """An event was not delivered; `retryable` says whether a retry may succeed."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.retryable = retryable


class EventSink(Protocol):
    """Receives events."""

    @property
    def name(self) -> str:
        """Name for messages, without secrets."""

    def __call__(self, event: RuleEvent) -> None:
        """Deliver an event within about a minute; raise `DeliveryError` if that fails."""


@dataclass(frozen=True)
class CommandSink:
    """Runs a program without a shell.

    The event is passed in the environment as ASSAY_RULE, ASSAY_LABEL, ASSAY_CONFIDENCE, ASSAY_SOURCE, ASSAY_AT,
    ASSAY_TIME and ASSAY_ID. The program's output is discarded.
    """

    arguments: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the program."""
        return self.arguments[0]

    def __call__(self, event: RuleEvent) -> None:
        """Run the program; failures are not retried, since part of its work may be done."""
        variables = {f"ASSAY_{name.upper()}": str(value) for name, value in asdict(event).items()}
        null = subprocess.DEVNULL
        try:
            process = subprocess.run(  # noqa: S603 - the user's own command, without a shell
                self.arguments,
                env={**os.environ, **variables},
                stdin=null,
                stdout=null,
                stderr=null,
                timeout=_COMMAND_TIMEOUT,
                check=False,
            )
        except OSError as error:
            raise DeliveryError(error.strerror or str(error), retryable=False) from None
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"timeout after {_COMMAND_TIMEOUT:.0f} s", retryable=False) from None
        if process.returncode:
            raise DeliveryError(f"exit code {process.returncode}", retryable=False)


class WebhookSink:
    """POSTs events as signed JSON.

    `X-Assay-Signature` is the hexadecimal HMAC-SHA256 of `X-Assay-Timestamp` (seconds since 1970), a line feed and
    the body. A receiver that verifies the signature, rejects old timestamps and stores each `id` is protected
    against forged and replayed events. Redirects are not followed.

    Source: RFC 2104 (1997).
    """

    def __init__(self, url: str, key: bytes, now: Callable[[], float] = time.time) -> None:
        """Raise `UsageError` if `url` is not a valid http:// or https:// URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"--webhook {url} is not a URL: give http:// or https://")
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._url, self._key, self._now = url, key, now
        self._open = urllib.request.build_opener(_NoRedirect).open

    def __call__(self, event: RuleEvent) -> None:
        """Send the event; any status from 200 to 299 is success."""
        body = json.dumps(asdict(event), ensure_ascii=False).encode()
        timestamp = str(int(self._now()))
        headers = {
            "Content-Type": "application/json",
            "X-Assay-Timestamp": timestamp,
            "X-Assay-Signature": sign_payload(self._key, timestamp, body),
        }
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - checked above
        try:
            self._open(request, timeout=_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            with error:
                retryable = error.code >= 500 or error.code in _RETRYABLE_STATUSES
                raise DeliveryError(f"HTTP status {error.code}", retryable=retryable) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise DeliveryError(str(reason) or type(error).__name__, retryable=True) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: events must go to the configured URL only."""

    def redirect_request(self, *_: object) -> None:
        """Do not follow redirects."""


def sign_payload(key: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a request; see `WebhookSink`."""
    return hmac.digest(key, f"{timestamp}\n".encode() + body, hashlib.sha256).hex()


def webhook_key(file: Path | None, environment: Mapping[str, str]) -> bytes:
    """Return the signing key from a file, or else from the variable ASSAY_WEBHOOK_KEY.

    Raises:
        UsageError: there is no key, it is too short, or other users can read the file.
    """
    if file is None:
        key, where = environment.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not key:
            raise UsageError(f"webhooks need a signing key: set {KEY_VARIABLE}, or give --webhook-key FILE")
    else:
        if not file.is_file():
            raise UsageError(f"--webhook-key {file} is not a file: write the key to a file")
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UsageError(f"other users can read {file}: run chmod 600 {file}")
        key, where = file.read_text(encoding="utf-8"), str(file)
    if len(key.strip()) < _MIN_KEY_CHARS:
        raise UsageError(f"the key in {where} is too short: give {_MIN_KEY_CHARS} characters or more")
    return key.strip().encode()


class MqttSink:
    """Publishes events as JSON with acknowledgement (QoS 1), with one connection per event.

    Source: MQTT 3.1.1 (OASIS, 2014).
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        """Create a sink for mqtt://[user@]host[:port]/topic, or mqtts:// for TLS.

        The password is in the URL or in ASSAY_MQTT_PASSWORD. Raises `UsageError` if the URL is invalid, and
        `ModuleNotFoundError` if paho-mqtt is not installed.
        """
        import paho.mqtt.client  # noqa: F401, PLC0415 - an extra; report its absence early

        parts = urlsplit(url)
        self._topic = unquote(parts.path.lstrip("/"))
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or not self._topic:
            raise UsageError(f"--mqtt {url} is not a valid URL: write mqtt://host:1883/topic")
        if set("+#?") & set(url.partition("://")[2].partition("/")[2]):
            raise UsageError(f"--mqtt {url}: a topic must not contain +, # or ?")
        self._tls, self._host = parts.scheme == "mqtts", parts.hostname
        self._port = parts.port or (8883 if self._tls else 1883)
        self._user = unquote(parts.username) if parts.username else None
        password = parts.password and unquote(parts.password)
        self._password = password or environment.get("ASSAY_MQTT_PASSWORD")
        self.name = f"{parts.scheme}://{self._host}:{self._port}/{self._topic}"

    def __call__(self, event: RuleEvent) -> None:
        """Connect, publish and wait for the acknowledgement."""
        from paho.mqtt.client import Client  # noqa: PLC0415
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = _TIMEOUT
        if self._user is not None:
            client.username_pw_set(self._user, self._password)
        if self._tls:
            client.tls_set()
        try:
            client.connect(self._host, self._port)
            client.loop_start()
            sent = client.publish(self._topic, json.dumps(asdict(event), ensure_ascii=False), qos=1)
            sent.wait_for_publish(_TIMEOUT)
            if not sent.is_published():
                raise DeliveryError("no acknowledgement", retryable=True)
        except (OSError, RuntimeError) as error:
            raise DeliveryError(str(error), retryable=True) from None
        finally:
            client.disconnect()
            client.loop_stop()
