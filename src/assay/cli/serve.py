"""`assay serve`: serve classifiers over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import echo
from assay.core.errors import UsageError

if TYPE_CHECKING:
    from socket import socket

    from assay.serving.model_registry import ModelRegistry
    from assay.serving.settings import ModelSource, ServeSettings
    from assay.serving.supervisor import WorkerConfig

Options = dict[str, dict[str, Any]]
"""Values by settings group and name."""

_FORMAT_ALIASES = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000", "pgm": "ppm", "pbm": "ppm", "pnm": "ppm"}
"""Format names by file extension."""

_LISTEN_PANEL = "Network"
_MODEL_PANEL = "Model"
_AUTH_PANEL = "Authentication"
_STORAGE_PANEL = "Storage and logs"
_WEB_PANEL = "Web pages"


def serve(
    models: Annotated[
        list[str], typer.Argument(help=".assay files, optionally as NAME=FILE; the first is the default model.")
    ],
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. (default: 127.0.0.1)", rich_help_panel=_LISTEN_PANEL)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 chooses a free one. (default: 8000)", rich_help_panel=_LISTEN_PANEL)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Worker processes, which share the CPUs. (default: 1)", rich_help_panel=_LISTEN_PANEL),
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(help="URL prefix behind a reverse proxy, e.g. /assay.", rich_help_panel=_LISTEN_PANEL),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name accepted by a server without API keys, besides localhost; repeatable.",
            rich_help_panel=_LISTEN_PANEL,
        ),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).", rich_help_panel=_LISTEN_PANEL)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="TLS private key (PEM).", rich_help_panel=_LISTEN_PANEL)] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Inference engine: auto, openvino, onnxruntime or cuda. (default: auto)", rich_help_panel=_MODEL_PANEL
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16 or int8. (default: auto)", rich_help_panel=_MODEL_PANEL)
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="Accepted image formats, e.g. jpeg,png,webp. (default: JPEG, PNG and the training formats)",
            rich_help_panel=_MODEL_PANEL,
        ),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(
            help="Labelled photos that a new model must classify correctly before it is activated.",
            rich_help_panel=_MODEL_PANEL,
        ),
    ] = None,
    auth: Annotated[
        bool | None,
        typer.Option("--auth/--no-auth", help="Require API keys. (default: if any exist)", rich_help_panel=_AUTH_PANEL),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of the API keys; see `assay keys`.", rich_help_panel=_AUTH_PANEL)
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(
            help="Redis for the result cache and rate limits, e.g. redis://host:6379/0.", rich_help_panel=_STORAGE_PANEL
        ),
    ] = None,
    request_log: Annotated[
        str | None,
        typer.Option(
            help="Request log: an SQLite file, mongodb://HOST/DATABASE, or none. "
            "(default: ~/.local/state/assay/requests.sqlite)",
            rich_help_panel=_STORAGE_PANEL,
        ),
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option(
            help="Days to keep records in the request log. (default: for ever)", rich_help_panel=_STORAGE_PANEL
        ),
    ] = None,
    keep_uncertain: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the photos with the lowest confidence, for labelling.", rich_help_panel=_STORAGE_PANEL
        ),
    ] = None,
    web: Annotated[
        bool | None,
        typer.Option("--web/--no-web", help="Serve the web pages / and /relabel.", rich_help_panel=_WEB_PANEL),
    ] = None,
    example: Annotated[
        list[Path] | None,
        typer.Option(
            help="Photo or folder of photos that visitors of the page can classify with a click; repeatable.",
            rich_help_panel=_WEB_PANEL,
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(
            help="Photos to relabel: label_issues.csv of a report, or the JSON output of `assay check --model`.",
            rich_help_panel=_WEB_PANEL,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Manifest of the dataset to relabel.", rich_help_panel=_WEB_PANEL),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Manifest that new labels are written to.", rich_help_panel=_WEB_PANEL)
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder for access and error logs.", rich_help_panel=_STORAGE_PANEL)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error. (default: info)", rich_help_panel=_STORAGE_PANEL)
    ] = None,
) -> None:
    """Serve a classifier over HTTP.

    POST photos to /classify; GET /openapi.json describes all routes. Every setting can also be given as an
    environment variable, e.g. ASSAY_SERVE_BATCHING__QUEUE=128. SIGHUP reloads the models; SIGTERM shuts down
    gracefully.

    Example: assay serve model.assay --port 9000
    """
    from assay.serving.settings import ModelSource, ServeSettings
    from assay.serving.sockets import open_listening_socket
    from assay.serving.supervisor import WorkerConfig

    options: Options = {
        "listen": {
            "host": host,
            "port": port,
            "workers": workers,
            "root_path": root_path,
            "allowed_hosts": allowed_host,
        },
        "tls": {"cert": tls_cert, "key": tls_key},
        "models": {"engine": engine, "precision": precision, "golden": golden},
        "uploads": {"formats": None if formats is None else _formats(formats)},
        "auth": {"folder": keys, "required": auth},
        "cache": {"redis": redis},
        "limits": {"redis": redis},
        "request_log": {"url": request_log, "keep_days": keep_days},
        "uncertain": {"folder": keep_uncertain},
        "web": {"page": web, "examples": example, "suspects": suspects, "data": data, "labels": labels},
        "telemetry": {"log_dir": log_dir, "log_level": log_level},
    }
    typed = _without_unset(options)
    settings = _with_auth_default(ServeSettings.read(typed), typed)
    for sentence in [*ServeSettings.ignored(), *_unencrypted_keys(settings)]:
        echo(f"warning: {sentence}", err=True)
    sources = [ModelSource.parse(model) for model in models]
    with open_listening_socket(settings.listen) as listening:
        if settings.listen.workers > 1:
            _serve_by_workers(WorkerConfig(typed, models, listening.fileno()), listening, settings)
        else:
            _serve_here(settings, sources, listening)


def _formats(text: str) -> list[str]:
    """Parse `jpeg,png`; file extensions are accepted too.

    Raises:
        UsageError: a format is unknown.
    """
    from typing import get_args

    from assay.recipe import ImageFormat

    known = get_args(ImageFormat)
    names = [_FORMAT_ALIASES.get(name, name) for name in (name.strip().lower() for name in text.split(","))]
    for name in names:
        if name not in known:
            raise UsageError(f"--formats: unknown image format {name!r}: choose from {', '.join(known)}")
    return list(dict.fromkeys(names))


def _serve_here(settings: "ServeSettings", sources: "list[ModelSource]", listening: "socket") -> None:
    from assay.serving.worker import run_server, startup_messages

    def started(loaded: "ModelRegistry") -> None:
        for line in startup_messages(settings, loaded, listening):
            echo(line)

    run_server(settings, sources, listening, started)


def _serve_by_workers(config: "WorkerConfig", listening: "socket", settings: "ServeSettings") -> None:
    from assay.serving.supervisor import WorkerSupervisor
    from assay.serving.telemetry.metrics import multiprocess_metrics

    with multiprocess_metrics():
        end_timeout = settings.lifecycle.stop_timeout
        WorkerSupervisor(config, listening, settings.listen.workers, echo, end_timeout).run()


def _without_unset(options: Options) -> Options:
    """Drop options that were not given."""
    typed = {
        concern: {name: value for name, value in values.items() if value is not None}
        for concern, values in options.items()
    }
    return {concern: values for concern, values in typed.items() if values}


def _with_auth_default(settings: "ServeSettings", typed: Options) -> "ServeSettings":
    """Require API keys if any exist, unless the setting was given.

    Raises:
        UsageError: there are no keys and the server would be reachable from other machines.
    """
    from assay.serving.auth.keys import KEYS_FILE
    from assay.serving.auth.origin_policy import is_loopback
    from assay.serving.settings import ServeSettings

    if "required" in settings.auth.model_fields_set:
        return settings
    required = "folder" in settings.auth.model_fields_set or (settings.auth.folder / KEYS_FILE).exists()
    if not required and not is_loopback(settings.listen.host):
        raise UsageError(
            f"{settings.listen.host} is reachable from other machines but there are no API keys: "
            "create one with `assay keys create`, or give --no-auth"
        )
    typed["auth"] = {**typed.get("auth", {}), "required": required}
    return ServeSettings.read(typed)


def _unencrypted_keys(settings: "ServeSettings") -> list[str]:
    """Return a warning if API keys come over the network without TLS and without a known proxy."""
    from assay.serving.auth.origin_policy import is_loopback

    listen, auth = settings.listen, settings.auth
    if not auth.required or settings.tls.on or auth.proxies or is_loopback(listen.host):
        return []
    way = "give --tls-cert and --tls-key, or name a proxy that has TLS in ASSAY_SERVE_AUTH__PROXIES"
    return [f"API keys and photos reach {listen.host} unencrypted: {way}"]
