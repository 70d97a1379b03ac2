"""Classify images: cache, decoding, batched inference and heat maps; also the server's lifecycle state."""

import asyncio
import enum
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from assay.core.errors import AssayError
from assay.image import HEAD_BYTES, sniff
from assay.serving.admission_control import AdmissionController
from assay.serving.cache.single_flight import SingleFlight
from assay.serving.cache.tiered_cache import cache_key
from assay.serving.components import Components
from assay.serving.decoding import DecodedImage, Decoder, SpeculativeDecode, SpeculativeDecoder
from assay.serving.errors import MODEL_NOT_FOUND, TOO_LARGE, ApiError, DeadlineError, UploadError
from assay.serving.models import ModelRegistry, ServedModel
from assay.serving.request_context import ImageOutcome, RequestContext
from assay.serving.request_record import ImageMetadata
from assay.serving.results import ClassificationResult, StageTimings
from assay.serving.settings import ServeSettings
from assay.serving.telemetry import RequestCompleted, StageCompleted
from assay.serving.uploads import Upload, UploadMemoryLimiter


class LifecyclePhase(enum.Enum):
    """Where in its life a server is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    """It answers, but nothing new should be sent to it."""


class Lifecycle:
    """The phase that a server is in."""

    def __init__(self) -> None:
        self._phase = LifecyclePhase.STARTING

    @property
    def phase(self) -> LifecyclePhase:
        """Where the server is."""
        return self._phase

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self._phase is LifecyclePhase.READY

    @property
    def draining(self) -> bool:
        """Whether connections should be given up after their answer."""
        return self._phase is LifecyclePhase.DRAINING

    def start(self) -> None:
        """Everything is there."""
        if self._phase is LifecyclePhase.STARTING:
            self._phase = LifecyclePhase.READY

    def drain(self) -> None:
        """The end has been asked for."""
        self._phase = LifecyclePhase.DRAINING


_MIB = 2**20


@dataclass(frozen=True, slots=True)
class TimedResult:
    """A result and how it came about."""

    result: ClassificationResult
    timings: StageTimings
    cached: bool


_Work = Coroutine[Any, Any, TimedResult]


def to_the_end(work: _Work) -> _Work:
    """Work, whether the client still waits or not."""
    return work


class Service:
    """All that answers requests in one process; use it from one event loop.

    Attributes:
        settings: of the server.
        models: what answers.
        parts: gate, telemetry, cache, journal.
        lifecycle: whether requests are welcome.
        places: photos under way.
        memory: bytes of uploads.
        json_memory: bytes of JSON bodies, counted in `memory` too.
        parsing: held while a JSON body is parsed.
        decoder: threads that decode.
        reloaded: told when a client has had the models read anew.
    """

    def __init__(self, settings: ServeSettings, models: ModelRegistry, parts: Components, *, threads: int) -> None:
        self.settings, self.models, self.parts = settings, models, parts
        self.lifecycle = Lifecycle()
        self.places = AdmissionController(settings.batching.queue)
        self.memory = UploadMemoryLimiter(int(settings.uploads.upload_memory * _MIB))
        self.json_memory = UploadMemoryLimiter(int(settings.uploads.json_memory * _MIB))
        self.parsing = asyncio.Semaphore(1)
        self.reloaded: Callable[[], None] = lambda: None
        self.decoder = Decoder(threads, int(settings.uploads.decode_memory * _MIB))
        self._flights: SingleFlight[TimedResult] = SingleFlight()
        self._head_start: SpeculativeDecoder[DecodedImage] = SpeculativeDecoder()

    def model(self, name: str | None) -> ServedModel:
        """Return a model by name, the default for None.

        Raises:
            ApiError: there is none of that name.
        """
        model = self.models.get(name)
        if model is None:
            raise ApiError(404, MODEL_NOT_FOUND)
        return model

    async def classify(
        self,
        call: RequestContext,
        model: ServedModel,
        upload: Upload,
        *,
        explain: bool,
        while_there: Callable[[_Work], _Work] = to_the_end,
    ) -> TimedResult:
        """Answer one photo, and note in the call what became of it.

        Args:
            call: the request.
            model: what answers.
            upload: the photo.
            explain: draw a heat map.
            while_there: does the work that an answer takes which is not kept; may give it up by raising.

        Raises:
            ApiError: the photo cannot be taken, or the deadline has passed.
        """
        outcome = ImageOutcome(photo=None if self.parts.uncertain is None else upload.data)
        call.outcomes.append(outcome)
        try:
            classified = await self._within_deadline(model, upload, while_there, explain=explain)
        except ApiError as error:
            outcome.status, outcome.error = error.status, error.text
            if upload.data:
                outcome.image = ImageMetadata(len(upload.data), sniff(upload.data[:HEAD_BYTES]) or "unknown", None)
            raise
        outcome.status, outcome.result = 200, classified.result
        outcome.image, outcome.cached = classified.result.image, classified.cached
        self._tell(classified)
        return classified

    async def classify_many(
        self, call: RequestContext, model: ServedModel, uploads: Sequence[Upload], *, explain: bool
    ) -> list[TimedResult | ApiError]:
        """Answer several photos, each with its own result or error, in their order.

        Raises:
            OverloadError: there is no room for all of them.
        """
        self.places.check(len(uploads))

        async def one(upload: Upload) -> TimedResult | ApiError:
            try:
                return await self.classify(call, model, upload, explain=explain)
            except ApiError as error:
                return error

        return await asyncio.gather(*map(one, uploads))

    async def classify_pixels(
        self, call: RequestContext, model: ServedModel, squares: np.ndarray
    ) -> list[ClassificationResult]:
        """Answer squares of pixels that a client has prepared itself, uint8 [N, S, S, 3].

        Raises:
            ApiError: there is no room for all of them, or the deadline has passed.
        """
        side, count = squares.shape[1], len(squares)
        facts = ImageMetadata(squares[0].nbytes, "pixels", (side, side))
        outcomes = [ImageOutcome(image=facts) for _ in squares]
        call.outcomes.extend(outcomes)
        seconds = self.settings.batching.deadline
        try:
            with self.places.take(count):
                async with asyncio.timeout(seconds):
                    timed = await asyncio.gather(*map(model.batcher.submit, squares))
        except TimeoutError:
            raise DeadlineError(seconds) from None
        self.places.left(time.perf_counter(), count)
        results = [ClassificationResult.of(facts, one.output) for one in timed]
        for outcome, result in zip(outcomes, results, strict=True):
            outcome.status, outcome.result = 200, result
        return results

    async def _within_deadline(
        self, model: ServedModel, upload: Upload, while_there: Callable[[_Work], _Work], *, explain: bool
    ) -> TimedResult:
        if upload.too_large:
            raise UploadError(TOO_LARGE)
        seconds = self.settings.batching.deadline
        until = asyncio.get_running_loop().time() + seconds
        try:
            return await self._cached(model, upload, while_there, until, explain=explain)
        except TimeoutError:
            raise DeadlineError(seconds) from None

    async def _cached(
        self,
        model: ServedModel,
        upload: Upload,
        while_there: Callable[[_Work], _Work],
        until: float,
        *,
        explain: bool,
    ) -> TimedResult:
        """Answer from the cache, which bounds its own time, or compute until a loop time."""
        cache = self.parts.cache
        if cache is None:
            async with asyncio.timeout_at(until):
                return await while_there(self._compute(model, upload, explain=explain))
        started = self._head_start.begin(upload.data, lambda: self._decode(model, upload), idle=not self.places.taken)
        key = cache_key(await upload.sha256(), model.identity, {"explain": explain})
        kept = await cache.get(key)
        if kept is not None:
            return TimedResult(
                ClassificationResult.load(kept) if explain else _load_cached(kept), StageTimings(), cached=True
            )

        async def compute() -> TimedResult:
            classified = await self._compute(model, upload, started, explain=explain)
            await cache.put(key, classified.result.dump())
            return classified

        joined = key in self._flights
        async with asyncio.timeout_at(until):
            classified = await while_there(self._flights.run(key, compute))
        return replace(classified, cached=joined)

    def _decode(self, model: ServedModel, upload: Upload) -> asyncio.Future[DecodedImage]:
        return self.decoder.read(upload.data, model.limits, model.classifier.preprocess)

    async def _compute(
        self,
        model: ServedModel,
        upload: Upload,
        started: SpeculativeDecode[DecodedImage] | None = None,
        *,
        explain: bool,
    ) -> TimedResult:
        with self.places.take():
            start = time.perf_counter() if started is None else started.since
            facts, square = await (self._decode(model, upload) if started is None else started.work)
            decoded = time.perf_counter()
            timed = await model.batcher.submit(square)
            heat_map = await self._heat_map(model, upload.data, facts) if explain else None
        self.places.left(time.perf_counter())
        result = ClassificationResult.of(facts, timed.output, heat_map)
        return TimedResult(result, StageTimings(timed.queue, decoded - start, timed.inference), cached=False)

    async def _heat_map(self, model: ServedModel, data: bytes, facts: ImageMetadata) -> bytes:
        try:
            return await self.decoder.run(lambda: model.classifier.explain(data).png(), facts)
        except AssayError as error:
            raise ApiError(422, f"No heat map can be drawn: {error}") from None

    def _tell(self, classified: TimedResult) -> None:
        if classified.cached:
            return
        # One after the other, the last of them until just now: so do traces show them.
        timings, ended = classified.timings, time.perf_counter()
        for name in ("inference", "queue", "decode"):
            seconds: float | None = getattr(timings, name)
            if seconds is not None:
                self.parts.telemetry.emit(StageCompleted(name, seconds, ended))
                ended -= seconds

    async def close(self) -> None:
        """Flush, and let go of connections and threads."""
        self.decoder.close()
        await self.parts.close()

    def release_upload(self, call: RequestContext) -> None:
        """Count a call's upload no longer: a client that is slow to read its answer keeps no memory."""
        self.memory.give_back(call.bytes_held)
        call.bytes_held = 0

    def finish(self, call: RequestContext, status: int) -> None:
        """Record a call whose answer has gone out."""
        self.release_upload(call)
        if not call.recorded:
            return
        parts, records = self.parts, call.records(status)
        for record in records:
            parts.telemetry.emit(RequestCompleted(record, call.tier))
            if parts.journal is not None:
                parts.journal.record(record)
        if parts.uncertain is not None:
            for outcome, record in zip(call.outcomes, records, strict=False):
                if outcome.photo is not None:
                    parts.uncertain.offer(outcome.photo, record)
        self.parts.telemetry.emit(StageCompleted("total", call.elapsed))


@lru_cache(maxsize=1024)
def _load_cached(kept: bytes) -> ClassificationResult:
    """Read an answer without a heat map, once for as long as it is asked for often."""
    return ClassificationResult.load(kept)
