"""All benchmarks by name: how each is run, and its rows.

A benchmark receives a place and a progress callback; it returns rows, failures that do not affect the other rows,
and everything that it measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import networks
import server_engine
import servers
import slow
from processes import Place, measure_apart
from results import Row

import training

_FLOORS = {
    "amx": {"resnet18": 14.0, "lite0": 5.0, "file": 5.0, "servers": 1.3, "flask": 4.5},
    "vnni": {"resnet18": 4.5, "lite0": 3.5, "file": 4.0, "servers": 1.3, "flask": 3.5},
    "avx2": {"resnet18": 2.5, "lite0": 2.5, "file": 3.0, "servers": 1.2, "flask": 2.5},
}
"""Targets that depend on the class of the processor."""


def _floor(place: Place, what: str) -> float | None:
    return _FLOORS.get(place.processor, {}).get(what)


Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """The result of a benchmark."""

    rows: list[Row]
    raw: Any
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A benchmark and its title."""

    title: str
    run: Callable[[Place, Say], Found]


def _repeated(module: str, place: Place, say: Say, rounds: int, **options: Any) -> list[dict[str, Any]]:
    """Measure in several fresh processes."""
    found = []
    for turn in range(1 if place.quick else rounds):
        say(f"round {turn + 1} of {1 if place.quick else rounds}")
        found.append(measure_apart(module, place, **options))
    return found


def _all(found: list[dict[str, Any]], key: str) -> tuple[float, ...]:
    return tuple(float(item[key]) for item in found)


def _ratios(above: list[float], below: list[float]) -> tuple[float, ...]:
    """Return the ratio of each round: both sides of a round met the same machine."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


def _network(place: Place, say: Say) -> Found:
    times, failures = networks.measure(place, say)
    ours, plain = times["Assay"], times[networks.PLAIN]
    rows = [
        Row(
            f"ResNet-18 at 224, batch 1, {precision}: speedup over eager PyTorch",
            _ratios(plain["forward"], ours[f"forward {precision}"]),
            "×",
            target,
        )
        for precision, target in (("int8", _floor(place, "resnet18")), ("fp32", 1.8), ("bf16", None))
        if f"forward {precision}" in ours
    ]
    best = "fp32" if place.processor == "avx2" else "int8"  # without VNNI, sums of int8 products saturate
    rows += [
        Row(
            f"EfficientNet-Lite0 at 224, batch 1, {precision}: speedup over eager PyTorch",
            _ratios(plain["forward lite0"], ours[f"forward lite0 {precision}"]),
            "×",
            _floor(place, "lite0") if precision == best else None,
        )
        for precision in ("int8", "fp32", "bf16")
        if f"forward lite0 {precision}" in ours
    ]
    views = {"whole": "whole photo", "region": "top 30 %"}
    rows += [
        Row(
            f"from file to prediction, JPEG of 1080 × 1920, {result}: speedup over eager PyTorch",
            _ratios(plain[task], ours[task]),
            "×",
            _floor(place, "file") if task == "whole" else None,
        )
        for task, result in views.items()
    ]
    result = {"forward": "forward pass", **{task: f"from file to prediction, {view}" for task, view in views.items()}}
    result["forward lite0"] = "forward pass of EfficientNet-Lite0"
    for precision in ("int8", "fp32", "bf16"):
        result[f"forward {precision}"] = f"forward pass, {precision}"
        result[f"forward lite0 {precision}"] = f"forward pass of EfficientNet-Lite0, {precision}"
    result |= {"read": "decode and preprocess, whole photo", "many": "get_preds on 20 photos, time per photo"}
    rows += [
        Row(f"{name}: {result[task]}", tuple(values), " ms")
        for name, tasks in times.items()
        for task, values in tasks.items()
    ]
    return Found(rows, times, tuple(failures))


def _server(place: Place, say: Say) -> Found:
    found, failures = servers.measure(place, say)
    ours, plain = found["Assay"], found[servers.PLAIN]
    added = [alone - bare for alone, bare in zip(ours["alone"], ours["bare"], strict=True)]
    rows = [
        Row(
            f"requests per second relative to {servers.PLAIN}, no cache hits",
            _ratios(ours["rate"], plain["rate"]),
            "×",
            _floor(place, "flask"),
        ),
        Row(
            f"requests per second relative to {servers.PLAIN}, all cache hits",
            _ratios(ours["hits"], plain["rate"]),
            "×",
            30.0,
        ),
    ]
    rows += [
        Row(
            f"requests per second relative to {name}, same model and threads, no cache hits",
            _ratios(ours["rate"], found[name]["rate"]),
            "×",
            _floor(place, "servers") if name in {"LitServe", "BentoML"} else None,
        )
        for name in servers.RIVALS
        if found.get(name)
    ]
    if found.get(servers.LIMIT):
        rows.append(
            Row(
                f"requests per second relative to {servers.LIMIT}",
                _ratios(ours["rate"], found[servers.LIMIT]["rate"]),
                note="photos per second of a program that only decodes them and runs the network",
            )
        )
    rows += [
        Row(
            "latency of a single request minus decoding and inference, p50",
            tuple(added),
            " ms",
            3.0,
            at_least=False,
        ),
        Row("peak memory of the serving process", tuple(ours["memory"]), " MiB", 400.0, at_least=False),
        Row("torch imported by the serving process (0: no)", tuple(ours["torch"]), "", 0.0, at_least=False),
    ]
    for name, values in found.items():
        if values:
            rows.append(Row(f"{name}: requests per second, concurrency 8", tuple(values["rate"])))
            rows += [
                Row(f"{name}: latency {key}", tuple(values[key]), " ms") for key in ("p50", "p99") if key in values
            ]
    rows.append(Row("Assay: requests per second, all cache hits", tuple(ours["hits"])))
    return Found(rows, found, tuple(failures))


def _engine(place: Place, say: Say) -> Found:
    found = server_engine.measure(place, say)
    rows = [
        Row("requests per second after engines were measured, against a fresh server", tuple(found["rate"]), "×", 0.97),
        Row("processor time per request, likewise", tuple(found["processor time"]), "×", 1.03, at_least=False),
        Row("decoding + inference, share of the processor time of a request", tuple(found["useful"]), "", 0.85),
        Row(
            "requests per second relative to (processors - client) / (decoding + inference)",
            tuple(found["share of the limit"]),
            "",
            0.85,
        ),
    ]
    return Found(rows, found)


def _overload(place: Place, say: Say) -> Found:
    found = servers.overload(place, say)
    peaks = " to ".join(f"{rate:.0f}" for rate in (min(_all(found, "peak")), max(_all(found, "peak"))))
    rows = [
        Row(
            "goodput relative to the peak rate",
            tuple(100 * share for share in _all(found, "goodput_share")),
            " %",
            90.0,
            note=f"peak {peaks} requests/s at concurrency 16, before and after each round; "
            "the client shares the processors",
        ),
        Row("answers 5xx other than 503", _all(found, "other_5xx"), "", 0.0, at_least=False),
        Row("requests without an answer", _all(found, "unanswered"), "", 0.0, at_least=False),
        Row("latency p99 of accepted requests", _all(found, "accepted_p99"), " ms"),
        Row("peak memory", _all(found, "memory"), " MiB"),
        Row("largest delay of the client's send times", _all(found, "latest"), " ms"),
    ]
    if all("503" in item["counts"] for item in found):
        p99 = _all(found, "rejection_p99")
        rows.insert(1, Row("rejections, p99", p99, " ms", 50.0, at_least=False))
        return Found(rows, found)
    return Found(rows, found, ("rejections, p99: nothing was rejected",))


def _slow(place: Place, say: Say) -> Found:
    result = slow.measure(place, say)
    rows = [
        Row(
            f"p99 latency during the attack ({slow.CONNECTIONS} connections) relative to that without it",
            _ratios(result["beside"], result["alone"]),
            "×",
            2.0,
            at_least=False,
        ),
        Row(
            "requests of the two clients that did not return 200",
            (result["failed"],),
            "",
            0.0,
            at_least=False,
        ),
        Row("p99 latency without the attack", tuple(result["alone"]), " ms"),
        Row("p99 latency during the attack", tuple(result["beside"]), " ms"),
    ]
    return Found(rows, result)


def _startup(place: Place, say: Say) -> Found:
    found = _repeated("startup", place, say, 3, work=str(place.work), repeats=2 if place.quick else 5)
    rows = [
        Row("assay predict of one photo, whole process", _all(found, "predict"), " s", 0.5, at_least=False),
        Row("assay predict of one photo, processor time", _all(found, "predict cpu"), " s"),
        Row("assay serve until the first answer", _all(found, "ready"), " s", 1.0, at_least=False),
        Row(
            "assay serve, all workers killed, until the next answer", _all(found, "replaced"), " s", 1.0, at_least=False
        ),
        Row("assay --help", _all(found, "help"), " s", 0.3, at_least=False),
    ]
    return Found(rows, found)


def _loader(place: Place, say: Say) -> Found:
    found = _repeated("loader", place, say, 3)
    rows = [
        Row("epochs after the first: speedup by the pixel cache", _all(found, "ratio"), "×", 5.0),
        Row("loading a photo without the pixel cache", _all(found, "decode_ms"), " ms per photo"),
        Row("loading a photo with the pixel cache", _all(found, "cached_ms"), " ms per photo"),
    ]
    return Found(rows, found)


def _training(place: Place, say: Say) -> Found:
    rates, failures = training.measure(place, say)
    rows = [
        Row(
            f"{network}: photos per second relative to {name}",
            _ratios(programs["Assay"]["later"], found["later"]),
            "×",
            1.5,
        )
        for network, programs in rates.items()
        for name, found in programs.items()
        if name != "Assay" and found
    ]
    rows += [
        Row(f"{network}, {name}: photos per second{words}", tuple(found[key]))
        for network, programs in rates.items()
        for name, found in programs.items()
        for key, words in (("later", ""), ("first", ", first epoch"))
        if found
    ]
    return Found(rows, rates, tuple(failures))


def _probe(place: Place, say: Say) -> Found:
    say("some minutes")
    result = measure_apart("probe", place)
    named = {key: value for key, value in result.items() if key.startswith("times faster")}
    first, kept = (next(v for k, v in named.items() if word in k) for word in ("first", "kept"))
    trials = next(value for key, value in result.items() if "trials alone" in key)
    sweep = next(value for key, value in result.items() if "settings of" in key)
    rows = [
        Row(
            "10 epochs with cached embeddings: speedup over a forward pass in every epoch",
            (kept,),
            "×",
            15.0,
        ),
        Row("the same, including decoding and the computation of the embeddings", (first,), "×"),
        Row("100 settings of a linear probe with cached embeddings", (sweep,), " s", 60.0, at_least=False),
        Row("of which training and evaluation of the heads", (trials,), " s"),
    ]
    return Found(rows, result)


def _int8(place: Place, say: Say) -> Found:
    found = _repeated("int8", place, say, 2)
    peaks = [max(item["peak_gops"].values()) for item in found]
    rows = [
        Row(
            "ResNet-18 int8: fraction of the processor's int8 peak",
            _all(found, "share_of_peak"),
            "",
            0.5,
            note="batch 16; the peak is the fastest of several large int8 matrix products and convolutions, "
            "measured in the same process",
        ),
        Row("the peak", tuple(peaks), " billion operations/s"),
        Row("ResNet-18 int8, batch 16", _all(found, "resnet18_int8_gops"), " billion operations/s"),
    ]
    return Found(rows, found)


def _accuracy(place: Place, say: Say) -> Found:
    say("four short trainings")
    result = measure_apart("int8_accuracy", place, quick=place.quick)
    rows = [
        Row(
            f"int8 accuracy drop, {name}",
            (item["drop_points"],),
            " points",
            0.5,
            at_least=False,
            note=f"{item['photos']} test photos, {100 * item['fp32']:.1f} % with 32 bits"
            + ("" if item["kept"] else "; training rejected int8, so the fp32 model is used"),
        )
        for name, item in result.items()
    ]
    return Found(rows, result)


def _folder(place: Place, say: Say) -> Found:
    model = str(place.work / "whole.assay")
    found = _repeated("predict_many", place, say, 2, model=model, count=160 if place.quick else 640)
    large = _repeated("predict_many", place, say, 2, model=model, count=20 if place.quick else 160, enlarge=2.4)
    lower = [min(item["decode"], item["infer"]) for item in found]
    rows = [
        Row(
            "images per second relative to the slower of decoding alone and inference alone",
            _all(found, "of_lower_limit"),
            "",
            0.85,
        ),
        Row(
            "images per second relative to the upper bound when both share the processors",
            _all(found, "of_shared_limit"),
            "",
            note="1 / (1 / decoding + 1 / inference), because each alone already uses all processors",
        ),
        Row("images per second", _all(found, "predict")),
        Row("decoding alone", _all(found, "decode"), " per second"),
        Row("inference alone", _all(found, "infer"), " per second"),
        Row("the slower of the two", tuple(lower), " per second"),
        Row(
            "12 megapixels: images per second relative to the slower of decoding alone and inference alone",
            _all(large, "of_lower_limit"),
            "",
            0.85,
            note="the same photos, enlarged 2.4 times in width and height",
        ),
        Row("12 megapixels: images per second", _all(large, "predict")),
        Row("12 megapixels: decoding alone", _all(large, "decode"), " per second"),
    ]
    return Found(rows, {"photos": found, "12 megapixels": large})


BENCHMARKS = {
    "network": Benchmark("One photo at a time, in one process.", _network),
    "server": Benchmark("Photos over HTTP, eight at a time; client and server share the processors.", _server),
    "engine": Benchmark("Whether measuring engines slows a server down, and its share of the limit.", _engine),
    "overload": Benchmark(
        "Requests at twice the rate that the server can handle, sent at fixed times (open loop).", _overload
    ),
    "slow": Benchmark(
        "Two clients during a slow-loris attack, in which 100 connections send their requests byte by byte.", _slow
    ),
    "startup": Benchmark("Whole processes, including start-up.", _startup),
    "loader": Benchmark("The data loader of training, on photos of 1080 × 1920.", _loader),
    "training": Benchmark(
        "Fine-tuning of all layers on 192 photos, with decoding, augmentation and validation.", _training
    ),
    "probe": Benchmark("A linear probe on 2,624 photos of solar cells.", _probe),
    "int8": Benchmark("int8 inference relative to the processor's peak.", _int8),
    "accuracy": Benchmark("Accuracy lost by int8 quantization, on test photos.", _accuracy),
    "folder": Benchmark("`assay predict` on a folder of photos of 1080 × 1920 and of 12 megapixels.", _folder),
}


def summary(rows: list[Row]) -> str:
    """Return the rows with targets, one per line."""
    with_target = [row for row in rows if row.met is not None]
    return "\n".join(
        f"    {'met   ' if row.met else 'MISSED'} {row.what}: {median(row.values):.3g}{row.unit}" for row in with_target
    )
