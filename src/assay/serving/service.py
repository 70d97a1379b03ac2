"""Classify images: cache, decoding, batched inference and heat maps; also the server's lifecycle state."""

import asyncio
import enum
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from starlette.types import Receive

from assay.core.errors import AssayError
from assay.image import HEAD_BYTES, sniff
from assay.serving.admission_control import AdmissionController, MemoryLimiter
from assay.serving.cache.result_cache import SingleFlight, cache_key
from assay.serving.components import Components
from assay.serving.decoding import DecodedImage, Decoder, SpeculativeDecode, SpeculativeDecoder
from assay.serving.errors import MODEL_NOT_FOUND, TOO_LARGE, ApiError, UploadError
from assay.serving.model_registry import ModelRegistry, ServedModel
from assay.serving.multipart import Upload
from assay.serving.request_context import ImageOutcome, RequestContext, cancel_on_disconnect, fail_at
from assay.serving.request_record import ImageMetadata
from assay.serving.results import ClassificationResult, StageTimings
from assay.serving.settings import ServeSettings
from assay.serving.telemetry import RequestCompleted, StageCompleted

_MIB = 2**20


class LifecyclePhase(enum.Enum):
    """The lifecycle of a server."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """Requests are answered, but no new ones should be sent."""


class Lifecycle:
    """The phase that a server is in."""

    def __init__(self) -> None:
        self.phase = LifecyclePhase.STARTING

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent."""
        return self.phase is LifecyclePhase.READY

    @property
    def draining(self) -> bool:
        """Whether connections should be closed after their response."""
        return self.phase is LifecyclePhase.DRAINING

    def start(self) -> None:
        """Become ready, unless the server is draining already."""
        if self.phase is LifecyclePhase.STARTING:
            self.phase = LifecyclePhase.READY

    def drain(self) -> None:
        """Begin to drain."""
        self.phase = LifecyclePhase.DRAINING


@dataclass(frozen=True, slots=True)
class TimedResult:
    """A result with its timings."""

    result: ClassificationResult
    timings: StageTimings
    cached: bool


class Service:
    """Classifies images in one process; use it from one event loop.

    Attributes:
        admission: images in progress.
        upload_memory: bytes of uploads.
        json_memory: bytes of JSON bodies, which count in `upload_memory` too.
        json_parsing: held while a JSON body is parsed.
        on_reload: called when a client has reloaded the models.
    """

    def __init__(self, settings: ServeSettings, models: ModelRegistry, components: Components) -> None:
        self.settings, self.models, self.components = settings, models, components
        self.lifecycle = Lifecycle()
        self.admission = AdmissionController(settings.batching.queue)
        self.upload_memory = MemoryLimiter(int(settings.uploads.upload_memory * _MIB))
        self.json_memory = MemoryLimiter(int(settings.uploads.json_memory * _MIB))
        self.json_parsing = asyncio.Semaphore(1)
        self.on_reload: Callable[[], None] = lambda: None
        self.decoder = Decoder(models.pool, int(settings.uploads.decode_memory * _MIB))
        self._in_flight: SingleFlight[TimedResult] = SingleFlight()
        self._speculative: SpeculativeDecoder[DecodedImage] = SpeculativeDecoder()

    def get_model(self, name: str | None) -> ServedModel:
        """Return a model by name, the default for None; raise `ApiError` (404) if there is none."""
        model = self.models.get(name)
        if model is None:
            raise ApiError(404, MODEL_NOT_FOUND)
        return model

    async def classify(
        self,
        context: RequestContext,
        model: ServedModel,
        upload: Upload,
        *,
        explain: bool,
        receive: Receive | None = None,
    ) -> TimedResult:
        """Classify one image, from the cache if it has the result, and add the outcome to `context`.

        With `explain`, the result has a heat map. With `receive`, work that is not cached is cancelled when the client
        disconnects, unless another request waits for the same result.

        Raises:
            ApiError: the image is not accepted, there is no capacity, or the deadline has passed.
            ClientDisconnectedError: the client disconnected.
        """
        outcome = ImageOutcome(content=None if self.components.uncertain_samples is None else upload.data)
        context.outcomes.append(outcome)
        deadline, cache = self.settings.batching.deadline, self.components.cache
        end = asyncio.get_running_loop().time() + deadline
        decode = partial(self.decoder.decode, upload.data, model.image_limits, model.classifier.preprocess)
        key, content, started = None, None, None
        try:
            if upload.too_large:
                raise UploadError(TOO_LARGE)
            if cache is not None:
                started = self._speculative.start(upload.data, decode, idle=not self.admission.in_progress)
                key = cache_key(await upload.sha256(), model.identity, {"explain": explain})
                content = await cache.get(key)
            if content is not None:
                result = ClassificationResult.from_json(content) if explain else _load_cached(content)
                timed = TimedResult(result, StageTimings(), cached=True)
            else:
                compute = partial(self._compute, model, upload, decode, started, key, explain=explain)
                async with fail_at(end, deadline), cancel_on_disconnect(receive):
                    if key is None:
                        timed = await compute()
                    else:
                        joined = key in self._in_flight
                        timed = replace(await self._in_flight.run(key, compute), cached=joined)
        except ApiError as error:
            outcome.status, outcome.error = error.status, error.text
            if upload.data:
                image_format = sniff(upload.data[:HEAD_BYTES]) or "unknown"
                outcome.image = ImageMetadata(len(upload.data), image_format, None)
            raise
        outcome.status, outcome.result = 200, timed.result
        outcome.image, outcome.cached = timed.result.image, timed.cached
        if not timed.cached:
            self._report_stages(timed.timings)
        return timed

    async def classify_batch(
        self, context: RequestContext, model: ServedModel, uploads: Sequence[Upload], *, explain: bool
    ) -> list[TimedResult | ApiError]:
        """Classify several images; return the result or error of each, in order.

        Raises:
            OverloadError: there is no capacity for all of them.
        """
        self.admission.check(len(uploads))

        async def classify(upload: Upload) -> TimedResult | ApiError:
            try:
                return await self.classify(context, model, upload, explain=explain)
            except ApiError as error:
                return error

        return await asyncio.gather(*map(classify, uploads))

    async def classify_pixels(
        self, context: RequestContext, model: ServedModel, pixels: np.ndarray
    ) -> list[ClassificationResult]:
        """Classify images that the client has preprocessed, uint8 [N, S, S, 3].

        Raises:
            ApiError: there is no capacity for all of them, or the deadline has passed.
        """
        side, count = pixels.shape[1], len(pixels)
        image = ImageMetadata(pixels[0].nbytes, "pixels", (side, side))
        outcomes = [ImageOutcome(image=image) for _ in pixels]
        context.outcomes.extend(outcomes)
        deadline = self.settings.batching.deadline
        end = asyncio.get_running_loop().time() + deadline
        with self.admission.acquire(count):
            async with fail_at(end, deadline):
                outputs = await asyncio.gather(
                    *(model.batcher.submit(image, self.admission.in_progress) for image in pixels)
                )
        self.admission.completed(time.perf_counter(), count)
        results = [ClassificationResult.from_prediction(image, each.output) for each in outputs]
        for outcome, result in zip(outcomes, results, strict=True):
            outcome.status, outcome.result = 200, result
        return results

    async def _compute(
        self,
        model: ServedModel,
        upload: Upload,
        decode: Callable[[], asyncio.Future[DecodedImage]],
        started: SpeculativeDecode[DecodedImage] | None,
        key: str | None,
        *,
        explain: bool,
    ) -> TimedResult:
        """Decode an image, unless that has started, classify it, and cache the result."""
        with self.admission.acquire():
            start = time.perf_counter() if started is None else started.since
            image, pixels = await (decode() if started is None else started.work)
            decoded = time.perf_counter()
            batched = await model.batcher.submit(pixels, self.admission.in_progress)
            heat_map = await self._heat_map(model, upload.data, image) if explain else None
        self.admission.completed(time.perf_counter())
        result = ClassificationResult.from_prediction(image, batched.output, heat_map)
        if key is not None and self.components.cache is not None:
            await self.components.cache.put(key, result.to_json())
        timings = StageTimings(batched.queue, decoded - start, batched.inference)
        return TimedResult(result, timings, cached=False)

    async def _heat_map(self, model: ServedModel, data: bytes, image: ImageMetadata) -> bytes:
        try:
            return await self.decoder.run(lambda: model.classifier.explain(data).png(), image)
        except AssayError as error:
            raise ApiError(422, f"No heat map can be drawn: {error}") from None

    def _report_stages(self, timings: StageTimings) -> None:
        # In reverse, the last one ending now: so traces show them one after the other.
        end = time.perf_counter()
        for name in ("inference", "queue", "decode"):
            seconds: float | None = getattr(timings, name)
            if seconds is not None:
                self.components.telemetry.emit(StageCompleted(name, seconds, end))
                end -= seconds

    async def close(self) -> None:
        """Flush the request log, and close connections and threads."""
        self.models.pool.close()
        await self.components.close()

    def release_upload(self, context: RequestContext) -> None:
        """Release the memory of an upload before the response is sent, so that slow readers reserve none."""
        self.upload_memory.release(context.reserved_bytes)
        context.reserved_bytes = 0

    def finish(self, context: RequestContext, status: int) -> None:
        """Record a request after its response was sent."""
        self.release_upload(context)
        if not context.is_classification:
            return
        components, records = self.components, context.to_records(status, self.settings.request_log.region)
        for record in records:
            components.telemetry.emit(RequestCompleted(record, context.tier))
            if components.request_log is not None:
                components.request_log.record(record)
        if components.uncertain_samples is not None:
            for outcome, record in zip(context.outcomes, records, strict=False):
                if outcome.content is not None:
                    components.uncertain_samples.offer(outcome.content, record)
        components.telemetry.emit(StageCompleted("total", context.elapsed))


@lru_cache(maxsize=1024)
def _load_cached(content: bytes) -> ClassificationResult:
    """Parse a result without a heat map; cached, since the same result may be requested often."""
    return ClassificationResult.from_json(content)
