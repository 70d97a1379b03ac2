"""`assay serve`: serve classifiers over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assay.cli.console import echo
from assay.core.errors import UsageError

if TYPE_CHECKING:
    from socket import socket

    from assay.serving.models import ModelRegistry
    from assay.serving.settings import ModelSource, ServeSettings
    from assay.serving.supervisor import WorkerConfig

Options = dict[str, dict[str, Any]]
"""Settings by concern and name."""

_FORMAT_ALIASES = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000", "pgm": "ppm", "pbm": "ppm", "pnm": "ppm"}
"""Formats by other names."""

_LISTEN_PANEL = "Listening"
_MODEL_PANEL = "Model"
_AUTH_PANEL = "Keys"
_STORAGE_PANEL = "What is kept"
_WEB_PANEL = "Pages"


def serve(
    models: Annotated[list[str], typer.Argument(help=".assay files, or NAME=FILE; the first is the default.")],
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; usually 127.0.0.1.", rich_help_panel=_LISTEN_PANEL)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, usually 8000; 0: any free.", rich_help_panel=_LISTEN_PANEL)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes, usually 1; the processors are shared out.", rich_help_panel=_LISTEN_PANEL),
    ] = None,
    root_path: Annotated[
        str | None,
        typer.Option(help="Path under which a proxy shows the server, as /assay.", rich_help_panel=_LISTEN_PANEL),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name under which a server without keys is reached, besides localhost; may be repeated.",
            rich_help_panel=_LISTEN_PANEL,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate for HTTPS, PEM.", rich_help_panel=_LISTEN_PANEL)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.", rich_help_panel=_LISTEN_PANEL)] = None,
    engine: Annotated[
        str | None, typer.Option(help="auto, openvino, onnxruntime or cuda.", rich_help_panel=_MODEL_PANEL)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16 or int8.", rich_help_panel=_MODEL_PANEL)
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="Image formats to take, as jpeg,png,webp; usually JPEG, PNG and those trained on.",
            rich_help_panel=_MODEL_PANEL,
        ),
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(help="Photos that a new model must answer before it is used.", rich_help_panel=_MODEL_PANEL),
    ] = None,
    auth: Annotated[
        bool | None,
        typer.Option(
            "--auth/--no-auth", help="Ask for keys; by default where there are some.", rich_help_panel=_AUTH_PANEL
        ),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Folder of keys, as `assay keys` makes it.", rich_help_panel=_AUTH_PANEL)
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option(help="Redis for answers and rates, as redis://host:6379/0.", rich_help_panel=_STORAGE_PANEL),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(
            help="Where requests are recorded: an SQLite file (usually ~/.local/state/assay/journal.sqlite), "
            "mongodb://HOST/DATABASE, or none.",
            rich_help_panel=_STORAGE_PANEL,
        ),
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(help="Days that records are kept.", rich_help_panel=_STORAGE_PANEL)
    ] = None,
    keep_uncertain: Annotated[
        Path | None, typer.Option(help="Folder for the least sure photos, to label.", rich_help_panel=_STORAGE_PANEL)
    ] = None,
    web: Annotated[
        bool | None,
        typer.Option("--web/--no-web", help="Pages for people, at / and /relabel.", rich_help_panel=_WEB_PANEL),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(
            help="Photos to relabel: a report's suspects.csv, or the JSON of `assay check --model`.",
            rich_help_panel=_WEB_PANEL,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Manifest of the data set that labels are given on top of.", rich_help_panel=_WEB_PANEL),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Manifest that labels are written to.", rich_help_panel=_WEB_PANEL)
    ] = None,
    log_dir: Annotated[
        Path | None, typer.Option(help="Folder for request and error logs.", rich_help_panel=_STORAGE_PANEL)
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", rich_help_panel=_STORAGE_PANEL)
    ] = None,
) -> None:
    """Answer photos over HTTP: POST /classify, GET /health, and what GET /openapi.json tells.

    Every setting can also come from the environment, such as ASSAY_SERVE_BATCHING__QUEUE=128. SIGHUP reads
    the models anew; SIGTERM ends after the last answer.

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
        "keep": {"journal": journal, "days": keep_days, "uncertain": keep_uncertain},
        "web": {"page": web, "suspects": suspects, "data": data, "labels": labels},
        "watch": {"log_dir": log_dir, "log_level": log_level},
    }
    typed = _without_unset(options)
    settings = _with_auth_default(ServeSettings.read(typed), typed)
    sources = [ModelSource.parse(model) for model in models]
    with open_listening_socket(settings.listen) as listening:
        if settings.listen.workers > 1:
            _serve_by_workers(WorkerConfig(typed, models, listening.fileno()), listening, settings)
        else:
            _serve_here(settings, sources, listening)


def _formats(text: str) -> list[str]:
    """Read `jpeg,png`; the endings of files are understood too.

    Raises:
        UsageError: one is none that Assay reads.
    """
    from typing import get_args

    from assay.recipe import ImageFormat

    known = get_args(ImageFormat)
    names = [_FORMAT_ALIASES.get(one, one) for one in (name.strip().lower() for name in text.split(","))]
    for name in names:
        if name not in known:
            raise UsageError(f"--formats: {name!r} is no image format; there are {', '.join(known)}")
    return list(dict.fromkeys(names))


def _serve_here(settings: "ServeSettings", sources: "list[ModelSource]", listening: "socket") -> None:
    from assay.serving.worker import run_server, startup_messages

    def started(loaded: "ModelRegistry") -> None:
        for line in startup_messages(settings, loaded, listening):
            echo(line)

    run_server(settings, sources, listening, started)


def _serve_by_workers(order: "WorkerConfig", listening: "socket", settings: "ServeSettings") -> None:
    from assay.serving.supervisor import WorkerSupervisor
    from assay.serving.telemetry import multiprocess_metrics

    with multiprocess_metrics():
        end_timeout = settings.lifecycle.longest_end
        WorkerSupervisor(order, listening, settings.listen.workers, echo, end_timeout).run()


def _without_unset(options: Options) -> Options:
    """Leave out what was not typed."""
    typed = {
        concern: {name: value for name, value in values.items() if value is not None}
        for concern, values in options.items()
    }
    return {concern: values for concern, values in typed.items() if values}


def _with_auth_default(settings: "ServeSettings", typed: Options) -> "ServeSettings":
    """Decide whether keys are asked for where nobody has said it: where there are some.

    Raises:
        UsageError: there are none, and other machines could ask.
    """
    from assay.serving.auth.keys import KEYS_FILE
    from assay.serving.auth.origins import is_loopback
    from assay.serving.settings import ServeSettings

    if "required" in settings.auth.model_fields_set:
        return settings
    required = "folder" in settings.auth.model_fields_set or (settings.auth.folder / KEYS_FILE).exists()
    if not required and not is_loopback(settings.listen.host):
        raise UsageError(
            f"{settings.listen.host} can be reached from other machines and there are no keys: make one with "
            "`assay keys create`, or spell out --no-auth"
        )
    typed["auth"] = {**typed.get("auth", {}), "required": required}
    return ServeSettings.read(typed)
