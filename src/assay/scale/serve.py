"""The HTTP API as a Ray Serve application: `serve run assay.scale.serve:app models=model.assay`.

Every replica is one process with the models, as a worker of `assay serve`; Ray Serve starts and stops replicas and
replaces them one after the other when the application is deployed again.
"""

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ray import serve
from ray.serve.exceptions import RayServeException

from assay.bundle import Bundle
from assay.core.errors import AssayError, UsageError
from assay.recipe.validation_text import describe_invalid

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from assay.serving.service import Service
    from assay.serving.telemetry.telemetry import Telemetry

NAME: Final = "assay"
_LOG: Final = logging.getLogger("ray.serve")
_QUEUE: Final = 64
"""Requests in a replica, waiting or in progress; the limit of one server process (`batching.queue`)."""
_START_ATTEMPTS: Final = 3
"""Failed starts of replicas after which a deployment has failed; Ray Serve waits longer after each."""
_METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class ServeArguments(BaseModel):
    """Arguments of the application."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    models: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
    """Bundle files, as `PATH` or `NAME=PATH`; the first is the default model. They must exist on every machine. One
    may be given as text."""
    settings: dict[str, dict[str, Any]] = {}
    """Settings of the server by group and name, as in `{"cache": {"redis": "redis://host"}}`. Others are taken from
    `ASSAY_SERVE_*` variables, which every replica must have; `listen` and `tls` do not apply, since Ray Serve
    accepts the connections."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the arguments of a configuration file.

        Raises:
            UsageError: one of them is unknown, missing or of another type.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(["args", *(str(part) for part in first["loc"] if part != "[key]")])
            problem = describe_invalid(first)
            sentence = "is missing" if first["type"] == "missing" else f"cannot be used: {problem}"
            raise UsageError(f"{where} {sentence}") from None


def app(arguments: dict[str, Any]) -> serve.Application:
    """Return the application.

    Args:
        arguments: as for `ServeArguments`.

    Raises:
        RayServeException: an argument, a setting, a model or the folder of the API keys cannot be used. Ray Serve shows
            only the message of such an exception as the status of the application, and tries it once.
    """
    try:
        chosen = ServeArguments.read(arguments)
        _check(chosen)
    except AssayError as error:
        raise RayServeException(str(error)) from None
    except OSError as error:
        raise RayServeException(f"{error.filename} cannot be read: {error.strerror or error}") from None
    folder = Path(tempfile.gettempdir()) / f"assay-metrics-{os.getuid()}-{os.urandom(4).hex()}"
    deployment: serve.Deployment = Replica.options(  # type: ignore[attr-defined]
        # The metrics of the replicas of a machine are added up; the variable must be set when their process starts.
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": {_METRICS_VARIABLE: str(folder)}}},
    )
    bound: serve.Application = deployment.bind(chosen.models, chosen.settings)
    return bound


def _check(arguments: ServeArguments) -> None:
    """Raise AssayError for what would prevent every replica from starting."""
    from assay.serving.auth.authorizer import make_authorizer  # noqa: PLC0415
    from assay.serving.cache.result_cache import make_cache  # noqa: PLC0415
    from assay.serving.settings import ModelSource, ServeSettings  # noqa: PLC0415
    from assay.serving.telemetry import NullTelemetry  # noqa: PLC0415

    settings, telemetry = ServeSettings.read(arguments.settings), NullTelemetry()
    for sentence in ServeSettings.ignored():
        _LOG.warning(sentence)
    for model in arguments.models:
        Bundle.open(ModelSource.parse(model).path)
    make_authorizer(settings.auth, settings.limits, telemetry)
    make_cache(settings.cache, telemetry)


@serve.deployment(
    name=NAME,
    max_ongoing_requests=_QUEUE,
    autoscaling_config={"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 8},
    # Besides `app`, which checks what it can on one machine, a replica says what is wrong on its own.
    max_constructor_retry_count=_START_ATTEMPTS,
    health_check_period_s=5,
    health_check_timeout_s=10,
    # Until the requests in progress are answered; then the replica is stopped.
    graceful_shutdown_wait_loop_s=1,
    graceful_shutdown_timeout_s=40,
)
@serve.ingress()
class Replica:
    """One process that answers requests.

    Args:
        models: `PATH` or `NAME=PATH` of bundles.
        settings: of the server, by group and name.

    Raises:
        AssayError: a model or a component cannot be used.
    """

    _service: "Service"
    _telemetry: "Telemetry"

    def __init__(self, models: Sequence[str], settings: Mapping[str, Mapping[str, Any]]) -> None:
        Path(os.environ[_METRICS_VARIABLE]).mkdir(mode=0o700, exist_ok=True)
        # The variable is read when prometheus_client is imported.
        from assay.serving.components import make_components  # noqa: PLC0415
        from assay.serving.compute_pool import ComputePool  # noqa: PLC0415
        from assay.serving.model_registry import ModelRegistry  # noqa: PLC0415
        from assay.serving.service import Service  # noqa: PLC0415
        from assay.serving.settings import ModelSource, ServeSettings  # noqa: PLC0415
        from assay.serving.telemetry.telemetry import make_telemetry  # noqa: PLC0415

        chosen = ServeSettings.read(settings)
        self._telemetry = make_telemetry(chosen.telemetry, {})
        registry = ModelRegistry(
            [ModelSource.parse(model) for model in models],
            settings=chosen.models,
            pool=ComputePool(chosen.models.threads or 1),
            batching=chosen.batching,
            uploads=chosen.uploads,
            telemetry=self._telemetry,
        )
        self._service = Service(chosen, registry, make_components(chosen, self._telemetry))

    def __serve_build_asgi_app__(self) -> "ASGIApp":
        """Return the same application as that of `assay serve`, which starts and closes its stores."""
        from assay.serving.app import create_app  # noqa: PLC0415

        answer = create_app(self._service)

        async def application(scope: "Scope", receive: "Receive", send: "Send") -> None:
            if scope["type"] == "lifespan":
                await self._lifespan(receive, send)
            else:
                await answer(scope, receive, send)

        return application

    async def _lifespan(self, receive: "Receive", send: "Send") -> None:
        """Handle the start and the end of the process, as the ASGI specification 3.0 defines them."""
        await receive()
        try:
            await self._service.components.start()
        except AssayError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        self._service.lifecycle.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._service.lifecycle.drain()
        await self._service.close()
        self._telemetry.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def check_health(self) -> None:
        """Called by Ray Serve, which replaces a replica that raises.

        Raises:
            AssayError: the server is not ready.
        """
        if not self._service.lifecycle.ready:
            raise AssayError("the server is not ready")
