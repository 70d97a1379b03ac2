"""Settings of the server, one class per topic, and the parsing of NAME=PATH model arguments.

`ASSAY_SERVE_LISTEN__PORT=9000` in the environment and `--port 9000` are the same setting; the command line
takes precedence.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from assay.core.errors import UsageError
from assay.recipe import ImageFormat
from assay.recipe.base import Settings, matches
from assay.recipe.validation_text import describe_invalid
from assay.serving.auth.origin_policy import ANY_HOST, host_name
from assay.serving.auth.settings import AuthSettings, RateLimitSettings
from assay.serving.environment import nearest_variable, unread_variables, variable_that_is_not_json
from assay.serving.request_log import RequestLogSettings, UncertainSampleSettings


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model to be served."""

    path: Path
    name: str | None = None
    """Its name in requests; None: that of the bundle."""

    @classmethod
    def parse(cls, text: str) -> "ModelSource":
        """Parse `PATH` or `NAME=PATH`; a text that is the path of a file, such as `a=b.assay`, is a path.

        Raises:
            UsageError: the name or the path is empty.
        """
        name, found, path = text.partition("=")
        if not found or "/" in name or Path(text).exists():
            return cls(Path(text))
        if not name or not path:
            raise UsageError(f"{text!r} does not name a model: write NAME=PATH")
        return cls(Path(path), name)


PREFIX = "ASSAY_SERVE_"


def _host_name(text: str) -> str:
    if text != ANY_HOST and (host_name(text) is None or host_name(text) != host_name(f"{text}:1")):
        raise ValueError(f"{text!r} is not a host name; give it without scheme and port, as in photos.example")
    return text


HostName = Annotated[str, AfterValidator(_host_name)]
"""A name or an address, without a port; an IPv6 address in brackets."""


_ROOT_PATH_RULE = "must be empty, or begin with a slash and not end with one, such as /assay"


_HOST_CHARACTERS = re.compile(r"[\w.:%-]+")
"""Of names, IPv4 and IPv6 addresses, with the zone of the latter."""


def _without_brackets(host: str) -> str:
    """Return a host name or address; IPv6 addresses may be in the brackets of a URL."""
    if not host:
        raise ValueError("must not be empty; 0.0.0.0 means all addresses of this machine")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _HOST_CHARACTERS.fullmatch(host):
        raise ValueError(f"must be an address or a host name, such as 127.0.0.1 or photos.example, not {host!r}")
    return host


class ListenSettings(Settings):
    """The listening socket and the limits on connections."""

    host: Annotated[str, AfterValidator(_without_brackets)] = "127.0.0.1"
    """Address to listen at."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen at; 0: any that is free."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port; the processors are divided among them."""
    keep_alive: Annotated[float, Field(gt=0)] = 15.0
    """Seconds that an idle connection is kept open."""
    header_timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds in which a connection must have sent the headers of its first request."""
    write_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which a client must read some of a response; else its connection is closed."""
    max_connections: Annotated[int, Field(ge=1)] = 1024
    """Largest number of connections of a worker; a new one replaces one that is quiet."""
    max_connections_per_address: Annotated[int, Field(ge=1)] = 512
    """Largest number of connections of one address in a worker (of a /64 for IPv6); `auth.proxies` are exempt."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may use the API from a browser; none: CORS is off."""
    root_path: Annotated[str, matches(r"(/[A-Za-z0-9._~-]+)*", _ROOT_PATH_RULE)] = ""
    """Path prefix under which a proxy exposes the server, as /assay; the proxy may strip it or not. Unset: /."""
    allowed_hosts: tuple[HostName, ...] = ()
    """Host names, without ports, that a server without keys accepts; `*`: any. Unset: at a loopback address only
    localhost and loopback addresses, elsewhere any."""


class ModelSettings(Settings):
    """How models run."""

    engine: str = "auto"
    """auto, openvino, onnxruntime or cuda."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """auto: the precision that the bundle prefers."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads for inference in each worker; unset: the number of processors divided by that of the workers."""
    measure: bool = True
    """Measure, while no requests are processed, which engine settings are fastest for this server, and use them."""
    golden: Path | None = None
    """Folder of images that a new bundle must classify before it is used; those in a folder named after a class
    must be classified as that class."""


class UploadSettings(Settings):
    """Limits on uploads; where one is unset, that of the bundle applies."""

    formats: Annotated[tuple[ImageFormat, ...], Field(min_length=1)] | None = None
    """Accepted image formats, detected by content."""
    max_megabytes: Annotated[float, Field(gt=0)] | None = None
    """Largest file, in MiB."""
    max_side: Annotated[int, Field(ge=1)] | None = None
    """Largest width and height, in pixels."""
    batch_images: Annotated[int, Field(ge=1)] = 32
    """Largest number of images of one request to `/classify/batch`."""
    batch_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Largest body of such a request, and of one to `/v2` with binary data, in MiB."""
    json_megabytes: Annotated[float, Field(gt=0)] = 32.0
    """Largest JSON of a request to `/v2`, in MiB; binary data after it do not count."""
    json_memory: Annotated[float, Field(gt=0)] = 48.0
    """MiB of memory that all JSON bodies of a worker together may take."""
    upload_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds in which a body must have arrived."""
    upload_memory: Annotated[float, Field(gt=0)] = 256.0
    """MiB of memory that all uploads of a worker together may take."""
    decode_memory: Annotated[float, Field(gt=0)] = 192.0
    """MiB of memory that decoding may take in a worker; a larger image is decoded alone."""


class BatchSettings(Settings):
    """How requests are batched, and how long they may wait."""

    batch_size: Annotated[int, Field(ge=1, le=256)] | None = None
    """Largest batch; unset: the measured size, which is 4 unless another one was clearly faster."""
    queue: Annotated[int, Field(ge=1)] = 64
    """Largest number of images in progress or waiting; further ones are rejected with 503."""
    deadline: Annotated[float, Field(gt=0)] = 10.0
    """Seconds from the complete upload to the response; then 504."""


class TlsSettings(Settings):
    """Certificate and key of the server."""

    cert: Path | None = None
    """PEM file with the certificate, followed by those that lead to its root; unset: plain HTTP."""
    key: Path | None = None
    """PEM file with the private key, not encrypted."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("give --tls-cert and --tls-key, or neither")
        return self

    @property
    def on(self) -> bool:
        """Whether the server uses TLS."""
        return self.cert is not None


_STOP_MARGIN = 10.0


class LifecycleSettings(Settings):
    """How a server shuts down."""

    drain_delay: Annotated[float, Field(ge=0)] = 1.0
    """Seconds from SIGTERM, when `/ready` becomes 503, until no more connections are accepted."""
    shutdown_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that accepted requests may still take."""

    @property
    def stop_timeout(self) -> float:
        """Seconds after which a stopping worker is killed; its records are written by then."""
        return self.drain_delay + self.shutdown_timeout + _STOP_MARGIN


class CacheSettings(Settings):
    """The result cache in each process, and the Redis behind it."""

    entries: Annotated[int, Field(ge=0)] = 10_000
    """Maximum number of results cached in each process; 0: none."""
    megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Maximum memory for results in each process, in MiB."""
    ttl: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds until a cached result expires, in the process and in Redis."""
    redis: SecretStr | None = None
    """Address of a Redis shared by all processes: redis://, rediss:// or unix://. Give that Redis a
    `maxmemory` and the policy allkeys-lru."""
    timeout: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Maximum seconds that a request waits for Redis, once to read and once to write."""


LogLevel = Literal["debug", "info", "warning", "error"]


class TelemetrySettings(Settings):
    """Log files and drift detection. Traces are configured by the usual `OTEL_*` variables."""

    log_dir: Path | None = None
    """Folder for the access log and the error log; unset: they go to standard output and standard error."""
    log_level: LogLevel = "info"
    """Minimum level of log lines. A request is logged as info below status 400, as warning below 500, else as error."""
    log_megabytes: Annotated[float, Field(gt=0)] = 32.0
    """Size at which a log file is rotated, in MiB."""
    log_files: Annotated[int, Field(ge=1)] = 5
    """Rotated files kept per log."""
    drift_window: Annotated[int, Field(ge=100)] = 1000
    """Latest predictions of each worker and model that are compared with validation."""


class WebSettings(Settings):
    """The web pages of the server."""

    page: bool = True
    """Serve the page at `/` and the labelling page at `/relabel`."""
    examples: tuple[Path, ...] = ()
    """Photos, or folders of photos, that visitors of the page can classify with a click; at most 12 are shown."""
    suspects: Path | None = None
    """Photos with suspected label errors: a report's `label_issues.csv`, or the JSON of `assay check --model`."""
    data: Path | None = None
    """Manifest of the training data (a run's manifest.csv); the corrected labels are merged into a copy of it."""
    labels: Path | None = None
    """Manifest that labels are written to; unset: labels.csv in the folder of uncertain photos, else beside
    the file of suspects."""


class ServeSettings(BaseSettings):
    """All settings of a server."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    listen: ListenSettings = ListenSettings()
    models: ModelSettings = ModelSettings()
    uploads: UploadSettings = UploadSettings()
    batching: BatchSettings = BatchSettings()
    web: WebSettings = WebSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()
    cache: CacheSettings = CacheSettings()
    auth: AuthSettings = Field(default_factory=AuthSettings)
    limits: RateLimitSettings = RateLimitSettings()
    tls: TlsSettings = TlsSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    request_log: RequestLogSettings = RequestLogSettings()
    uncertain: UncertainSampleSettings = UncertainSampleSettings()

    @classmethod
    def read(cls, options: Mapping[str, Mapping[str, Any]]) -> Self:
        """Read all settings: from `options` by topic and name, else the environment, else the defaults.

        Raises:
            UsageError: a value is invalid.
        """
        values: dict[str, Any] = dict(options)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            names = [part for part in first["loc"] if isinstance(part, str) and part != "[key]"]
            variable = f"{PREFIX}{'__'.join(names).upper()}"
            setting = f"{names[-1].replace('_', '-')} ({variable})" if names[-1] else variable
            if first["type"] == "missing":
                raise UsageError(f"{setting} is missing") from None
            problem = describe_invalid(first, json=True)
            if first["type"] == "extra_forbidden":
                problem += f"; the nearest is {nearest_variable(cls, PREFIX, variable)}"
            raise UsageError(f"{setting} cannot be used: {problem}") from None
        except SettingsError as error:
            raise UsageError(variable_that_is_not_json(cls, PREFIX, os.environ) or str(error)) from None

    @classmethod
    def ignored(cls) -> list[str]:
        """Return a sentence for each variable that looks like one of a setting but is not read, such as a typo."""
        return unread_variables(cls, PREFIX, os.environ)
