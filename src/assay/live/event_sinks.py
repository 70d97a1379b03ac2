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
"""Seconds for a connection, an answer or an acknowledgement."""
_COMMAND_TIMEOUT = 60.0
_MIN_KEY_CHARS = 16
_RETRYABLE_STATUSES = {408, 425, 429}
"""HTTP statuses below 500 after which trying again may help."""


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A rule came true.

    Attributes:
        id: the same however often it is sent, so that a receiver can drop what comes twice.
        rule: as typed.
        label: that is told at that moment; a rule about a low probability may come true before its label.
        confidence: its smoothed probability.
        source: what was watched.
        at: time of day, ISO 8601 with zone.
        time: in the film, or by the clock of the program, in seconds.
    """

    id: str
    rule: str
    label: str
    confidence: float
    source: str
    at: str
    time: float


class DeliveryError(Exception):
    """An event did not arrive; `again` tells whether another attempt may help."""

    def __init__(self, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.again = again


class EventSink(Protocol):
    """Something to do about an event."""

    @property
    def name(self) -> str:
        """What to call it, without any secret."""

    def __call__(self, event: RuleEvent) -> None:
        """Do it, in at most about a minute.

        Raises:
            DeliveryError: it did not work.
        """


@dataclass(frozen=True)
class CommandSink:
    """A program, started without a shell.

    What happened stands in its environment as ASSAY_RULE, ASSAY_LABEL, ASSAY_CONFIDENCE, ASSAY_SOURCE,
    ASSAY_AT, ASSAY_TIME and ASSAY_ID. What it prints is dropped.
    """

    arguments: Sequence[str]

    @property
    def name(self) -> str:
        """The program."""
        return self.arguments[0]

    def __call__(self, event: RuleEvent) -> None:
        """Run it to its end; it is not run again when it fails, since half of it may have been done."""
        told = {f"ASSAY_{name.upper()}": str(value) for name, value in asdict(event).items()}
        quiet = subprocess.DEVNULL
        try:
            ended = subprocess.run(  # noqa: S603 - the arguments are the user's own, and there is no shell
                self.arguments,
                env={**os.environ, **told},
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
                timeout=_COMMAND_TIMEOUT,
                check=False,
            )
        except OSError as error:
            raise DeliveryError(error.strerror or str(error), again=False) from None
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"stopped after {_COMMAND_TIMEOUT:.0f} s", again=False) from None
        if ended.returncode:
            raise DeliveryError(f"ended with {ended.returncode}", again=False)


class WebhookSink:
    """POSTs the event as JSON, signed.

    `X-Assay-Signature` is HMAC-SHA256, in hexadecimal digits, over the bytes of `X-Assay-Timestamp` (seconds
    since 1970), a line feed, and the body.

    A receiver that compares the signature, refuses old timestamps and remembers `id` cannot be fooled by
    anybody who lacks the key, nor by a repetition. Redirections are not followed.

    Source: RFC 2104 (1997).
    """

    def __init__(self, url: str, key: bytes, now: Callable[[], float] = time.time) -> None:
        """Check the address.

        Args:
            url: http:// or https://.
            key: to sign with.
            now: seconds since 1970.

        Raises:
            UsageError: the address is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"--webhook {url} is no web address: give http:// or https://")
        self.name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self._url, self._key, self._now = url, key, now
        self._open = urllib.request.build_opener(_NoRedirect).open

    def __call__(self, event: RuleEvent) -> None:
        """Send it and wait for a status from 200 to 299."""
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
                again = error.code >= 500 or error.code in _RETRYABLE_STATUSES
                raise DeliveryError(f"it answered {error.code}", again=again) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise DeliveryError(str(reason) or type(error).__name__, again=True) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirection for a refusal: the event is for the address that was typed."""

    def redirect_request(self, *_: object) -> None:
        """Follow nothing."""


def sign_payload(key: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a web request: see `WebhookSink`."""
    return hmac.digest(key, f"{timestamp}\n".encode() + body, hashlib.sha256).hex()


def webhook_key(file: Path | None, environment: Mapping[str, str]) -> bytes:
    """Return the key to sign with: a file's text, else that of the variable ASSAY_WEBHOOK_KEY.

    Raises:
        UsageError: there is none, it is short, or others can read the file.
    """
    if file is None:
        key, where = environment.get(KEY_VARIABLE, ""), KEY_VARIABLE
        if not key:
            raise UsageError(f"a webhook is signed: set {KEY_VARIABLE}, or give --webhook-key FILE")
    else:
        if not file.is_file():
            raise UsageError(f"--webhook-key {file} is no file: write the key into one")
        if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UsageError(f"others can read {file}: chmod 600 {file}")
        key, where = file.read_text(encoding="utf-8"), str(file)
    if len(key.strip()) < _MIN_KEY_CHARS:
        raise UsageError(f"the key in {where} is too short: give {_MIN_KEY_CHARS} characters or more")
    return key.strip().encode()


class MqttSink:
    """Publishes the event as JSON, with acknowledgement (quality of service 1), over a connection of its own.

    Source: MQTT 3.1.1 (OASIS, 2014).
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        """Check the address: mqtt://[user@]host[:port]/topic, or mqtts:// for TLS.

        Args:
            url: as typed.
            environment: ASSAY_MQTT_PASSWORD is the password, unless the address holds one.

        Raises:
            UsageError: the address is none.
            ModuleNotFoundError: paho-mqtt is not installed.
        """
        import paho.mqtt.client  # noqa: F401, PLC0415 - an extra; its absence is to be told at once

        parts = urlsplit(url)
        self._topic = unquote(parts.path.lstrip("/"))
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname or not self._topic:
            raise UsageError(f"--mqtt {url} is no such address: write mqtt://host:1883/topic")
        if set("+#?") & set(url.partition("://")[2].partition("/")[2]):
            raise UsageError(f"--mqtt {url}: a topic to publish to holds no +, # or ?")
        self._tls, self._host = parts.scheme == "mqtts", parts.hostname
        self._port = parts.port or (8883 if self._tls else 1883)
        self._user = unquote(parts.username) if parts.username else None
        password = parts.password and unquote(parts.password)
        self._password = password or environment.get("ASSAY_MQTT_PASSWORD")
        self.name = f"{parts.scheme}://{self._host}:{self._port}/{self._topic}"

    def __call__(self, event: RuleEvent) -> None:
        """Connect, publish, wait for the acknowledgement."""
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
                raise DeliveryError("it did not acknowledge", again=True)
        except (OSError, RuntimeError) as error:
            raise DeliveryError(str(error), again=True) from None
        finally:
            client.disconnect()
            client.loop_stop()
